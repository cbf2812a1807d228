package clienttest

import (
	"bytes"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

func invitations(w *world) {
	ctx := w.Context()
	p := w.newPhone(alice)
	in := w.invite(p.recipient)
	if len(in.Challenge) != 32 || in.Expires <= w.Now() {
		w.Errorf("an invitation with a challenge of %d bytes that expires at %d", len(in.Challenge), in.Expires)
	}
	if again := w.invite(p.recipient); again.ID == in.ID || bytes.Equal(again.Challenge, in.Challenge) {
		w.Error("two invitations are one")
	}
	waiting := func(when string, want int) []api.EnrolmentView {
		w.Helper()
		list, err := w.Sender.Answered(ctx, 10)
		if err != nil || len(list) != want {
			w.Fatalf("%s: %d answered invitations, want %d; %v", when, len(list), want, err)
		}
		return list
	}
	honest := w.answerTo(in, p)
	waiting("before the answer", 0)
	w.must(p.Answer(ctx, honest))
	got := waiting("after the answer", 1)[0]
	if got.ID != in.ID || !bytes.Equal(got.Recipient, p.recipient[:]) || !bytes.Equal(got.Challenge, in.Challenge) || !bytes.Equal(got.Key, honest.Key) ||
		!bytes.Equal(got.Leaf, honest.Leaf) || !bytes.Equal(got.ByKey, honest.ByKey) || !bytes.Equal(got.ByLeaf, honest.ByLeaf) ||
		got.Assurance != honest.Assurance || !bytes.Equal(got.MAC, honest.MAC) {
		w.Error("the sender is not shown the answer as it was given")
	}
	if err := p.Answer(ctx, honest); err != nil {
		w.Errorf("the same answer again: %v", err) // what it was told may have been lost
	}
	honest.KeyPackages = honest.KeyPackages[1:]
	if err := p.Answer(ctx, honest); err != nil {
		w.Errorf("the same keys again with a smaller pool: %v", err)
	}
	other := w.newPhone(p.recipient)
	w.refused("another answer", other.Answer(ctx, w.answerTo(in, other)), api.ErrChallenge)
	w.refused("an answer to nothing", other.Answer(ctx, w.answerTo(api.Invited{ID: sealpost.EnrolmentID{1}}, other)), api.ErrChallenge)
	for _, c := range []struct {
		name  string
		spoil func(*api.Answer)
		want  *api.Problem
	}{
		{"a leaf that is no key", func(a *api.Answer) { a.Leaf = a.Leaf[1:] }, api.ErrMalformed},
		{"a short MAC", func(a *api.Answer) { a.MAC = a.MAC[1:] }, api.ErrMalformed},
		{"a pair that the key did not sign", func(a *api.Answer) { a.ByKey[0] ^= 1 }, api.ErrSignature},
		{"a pair that the leaf did not sign", func(a *api.Answer) { a.ByLeaf[0] ^= 1 }, api.ErrSignature},
	} {
		a := w.answerTo(w.invite(p.recipient), other)
		c.spoil(&a)
		w.refused(c.name, other.Answer(ctx, a), c.want)
	}
	waiting("after answers that were refused", 1)
	next := w.newPhone(p.recipient)
	w.must(next.Answer(ctx, w.answerTo(w.invite(p.recipient), next)))
	waiting("after another phone's", 2)
	if list, err := w.Sender.Answered(ctx, 1); err != nil || len(list) != 1 {
		w.Errorf("%d answered invitations of at most 1, %v", len(list), err)
	}
	for name, in := range map[string]api.Invitation{
		"a short recipient": {Recipient: p.recipient[1:], SecretHash: make([]byte, 32)},
		"a long hash":       {Recipient: p.recipient[:], SecretHash: make([]byte, 33)},
	} {
		_, err := w.Sender.Invite(ctx, in)
		w.refused(name, err, api.ErrMalformed)
	}
}

func keyEvents(w *world) {
	ctx := w.Context()
	p := w.newPhone(alice)
	in := w.invite(p.recipient)
	honest := w.enrolEvent(in, p)
	post := func(statement []byte) error {
		_, err := w.Sender.PostKeyEvent(ctx, statement)
		return err
	}
	w.refused("before the answer", post(w.sign(honest, w.Key)), api.ErrChallenge)
	w.must(p.Answer(ctx, w.answerTo(in, p)))
	_, err := p.Enrolment(ctx)
	w.refused("an enrolment that nobody signed", err, api.ErrNotFound)
	_, err = p.Inbox(ctx, 0, 1, 0)
	w.refused("the inbox of a device that is not enrolled", err, api.ErrUnknownKey)

	elsewhere := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: w.App + "-2", Created: w.Now(), Key: w.Key.Public()}
	w.refused("another tenant's", post(w.sign(elsewhere, w.Key)), api.ErrWrongApp)
	w.refused("by a stranger", post(w.sign(honest, w.newKey())), api.ErrUnknownKey)
	w.refused("no statement", post([]byte("statement")), api.ErrMalformed)
	forged := w.sign(honest, w.Key)
	forged[len(forged)-1] ^= 1
	w.refused("a spoiled signature", post(forged), api.ErrSignature)

	event := w.sign(honest, w.Key)
	first, err := w.Sender.PostKeyEvent(ctx, event)
	w.must(err)
	w.promised("a key event", first.Salt, first.Promise, event)
	again, err := w.Sender.PostKeyEvent(ctx, event)
	if err != nil || first.Again || !again.Again || !bytes.Equal(again.Salt, first.Salt) || !bytes.Equal(again.Promise, first.Promise) {
		w.Errorf("the same key event again is another: again %v and then %v, %v", first.Again, again.Again, err)
	}
	var x api.Exhibit
	w.Until(func() (err error) {
		x, err = p.Enrolment(ctx)
		return err
	})
	if !bytes.Equal(x.Statement, event) || !bytes.Equal(x.Salt, first.Salt) || !bytes.Equal(x.Promise, first.Promise) {
		w.Error("the device is shown another key event than the one that was held")
	}
	w.proven("an enrolment", []api.Exhibit{x})
	if list, err := w.Sender.Answered(ctx, 10); err != nil || len(list) != 0 {
		w.Errorf("%d answered invitations wait after the key event, %v", len(list), err)
	}
}

// R14: a KeyPackage is claimed once, but the last resort, when no other is left.
func packages(w *world) {
	ctx := w.Context()
	r := alice
	a, b, stranger := w.enrol(r), w.enrol(r), w.enrol(bob)
	claim := func(ids ...sealpost.KeyID) ([]api.ClaimedPackage, error) { return w.Sender.ClaimPackages(ctx, r, ids) }
	got := map[string]int{}
	for left := 1; left >= 0; left-- {
		list, err := claim(b.id, a.id)
		w.must(err)
		if len(list) != 2 || list[0].Device != b.id || list[1].Device != a.id || list[0].Left != left || list[1].Left != left {
			w.Fatalf("%d KeyPackages, want one of each device in the order that was asked for and %d left", len(list), left)
		}
		got[string(list[1].KeyPackage)]++
	}
	if got["first"] != 1 || got["second"] != 1 {
		w.Errorf("KeyPackages %v, want each once", got)
	}
	_, err := claim(a.id, b.id)
	w.refused("two empty pools", err, api.ErrNoPackage)
	w.must(a.Stock(ctx, [][]byte{[]byte("third"), []byte("fourth")}, nil))
	if list, err := claim(a.id, b.id); err != nil || len(list) != 1 || list[0].Device != a.id || list[0].Left != 1 {
		w.Errorf("one empty pool: %d KeyPackages, %v", len(list), err)
	}
	for _, c := range []struct {
		name string
		ids  []sealpost.KeyID
		want *api.Problem
	}{
		{"no device", nil, api.ErrMalformed},
		{"a device twice", []sealpost.KeyID{a.id, a.id}, api.ErrMalformed},
		{"a device that there is not", []sealpost.KeyID{a.id, {1}}, api.ErrNotFound},
		{"a device of another recipient", []sealpost.KeyID{a.id, stranger.id}, api.ErrNotFound},
		{"more devices than a recipient has", slices.Repeat([]sealpost.KeyID{{1}}, sealpost.DevicesMax+1), api.ErrMalformed},
	} {
		_, err := claim(c.ids...)
		w.refused(c.name, err, c.want)
	}
	if list, err := claim(a.id); err != nil || len(list) != 1 || list[0].Left != 0 {
		w.Errorf("what was refused took a KeyPackage: %v", err)
	}
	w.refused("an empty KeyPackage", a.Stock(ctx, [][]byte{{}}, nil), api.ErrTooLarge)
	w.refused("too many KeyPackages", a.Stock(ctx, slices.Repeat([][]byte{{1}}, api.BatchMax+1), nil), api.ErrTooLarge)
	w.refused("an endpoint of no carrier", a.Stock(ctx, nil, []api.DeviceEndpoint{{Value: "token"}}), api.ErrMalformed)
	w.refused("a stranger's KeyPackage", w.newPhone(r).Stock(ctx, [][]byte{{1}}, nil), api.ErrUnauthenticated)
}

// The last resort is given out when no other is left, as often as it is asked for,
// until a newer one takes its place; the device hears what is left.
func lastResort(w *world) {
	ctx := w.Context()
	p := w.enrol(alice)
	pool := func(what string, want api.Pool) {
		w.Helper()
		answer, err := p.Inbox(ctx, 0, 1, 0)
		if w.must(err); answer.Pool != want {
			w.Errorf("%s: the device hears of the pool %+v, want %+v", what, answer.Pool, want)
		}
	}
	claims := func(want api.ClaimedPackage) {
		w.Helper()
		list, err := w.Sender.ClaimPackages(ctx, alice, []sealpost.KeyID{p.id})
		w.must(err)
		if len(list) != 1 || !bytes.Equal(list[0].KeyPackage, want.KeyPackage) || list[0].LastResort != want.LastResort || list[0].Left != want.Left {
			w.Errorf("%d KeyPackages, not the one that was wanted: last resort %v, %d left", len(list), want.LastResort, want.Left)
		}
	}
	one, two := w.lastResort(p), w.lastResort(p)
	pool("as it was enrolled", api.Pool{Left: 2})
	w.must(p.Stock(ctx, [][]byte{one}, nil))
	pool("with a last resort", api.Pool{Left: 2, LastResort: true})
	claims(api.ClaimedPackage{KeyPackage: []byte("second"), Left: 1})
	claims(api.ClaimedPackage{KeyPackage: []byte("first")})
	claims(api.ClaimedPackage{KeyPackage: one, LastResort: true})
	claims(api.ClaimedPackage{KeyPackage: one, LastResort: true})
	pool("the last resort alone", api.Pool{LastResort: true})
	w.refused("two of last resort at once", p.Stock(ctx, [][]byte{one, two}, nil), api.ErrMalformed)
	w.must(p.Stock(ctx, [][]byte{two}, nil))
	claims(api.ClaimedPackage{KeyPackage: two, LastResort: true})
}

func revocation(w *world) {
	ctx := w.Context()
	p := w.enrol(alice)
	s, _ := w.send(p.recipient)
	if list, err := p.Inbox(ctx, 0, 10, 0); err != nil || len(list.Arrivals) != 1 {
		w.Fatalf("%d messages before the revocation, %v", len(list.Arrivals), err)
	}
	_, err := w.Sender.PostKeyEvent(ctx, w.revokeEvent(w.newPhone(p.recipient)))
	w.refused("the revocation of a stranger", err, api.ErrKeyEvent)
	event := w.revokeEvent(p)
	first, err := w.Sender.PostKeyEvent(ctx, event)
	w.must(err)
	w.promised("a revocation", first.Salt, first.Promise, event)
	if again, err := w.Sender.PostKeyEvent(ctx, event); err != nil || !again.Again || !bytes.Equal(again.Salt, first.Salt) {
		w.Errorf("the same revocation again: %v", err)
	}
	w.verdicts("a message to nobody", w.Sender.Submit(ctx, []sealpost.Sealed{w.message(p.recipient)}), api.ErrRecipient)
	_, err = p.Inbox(ctx, 0, 10, 0)
	w.refused("its inbox", err, api.ErrUnauthenticated)
	_, err = p.Arrival(ctx, s.ID())
	w.refused("its message", err, api.ErrUnauthenticated)
	w.verdicts("its receipt", p.PostReceipts(ctx, [][]byte{w.receiptOf(s, p, sealpost.Decrypted)}), api.ErrUnauthenticated)
	w.refused("its KeyPackage", p.Stock(ctx, [][]byte{{1}}, nil), api.ErrUnauthenticated)
	_, err = w.Sender.ClaimPackages(ctx, p.recipient, []sealpost.KeyID{p.id})
	w.refused("a KeyPackage of it", err, api.ErrRevokedKey)
}
