package clienttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// R7, R10: each submission has a verdict in its place, and an accepted one a
// promise that holds.
func submissions(w *world) {
	ctx := w.Context()
	r := w.enrol(alice).recipient
	if got := w.Sender.Submit(ctx, nil); len(got) != 0 {
		w.Errorf("%d verdicts on nothing", len(got))
	}
	cases := []struct {
		spoil func(*draft)
		want  *api.Problem
	}{
		{func(*draft) {}, nil},
		{func(d *draft) { d.App = "another" }, api.ErrWrongApp},
		{func(d *draft) { d.by = w.newKey() }, api.ErrUnknownKey},
		{func(d *draft) { d.Created = d.Created.Add(-sealpost.FreshnessWindow - time.Second) }, api.ErrStale},
		{func(d *draft) { d.Created = d.Created.Add(sealpost.FreshnessWindow + time.Minute) }, api.ErrStale},
		{func(*draft) {}, nil},
		{func(d *draft) { d.Created, d.Expires = d.Created.Add(-2*time.Minute), d.Created.Add(-time.Minute) }, api.ErrExpired},
		{func(d *draft) { d.Recipient = nobody }, api.ErrRecipient},
		{func(d *draft) { d.NotBefore = sealpost.Head{Size: 1 << 40, Root: sealpost.Hash{1}} }, api.ErrHead},
		{func(*draft) {}, nil},
	}
	var batch []sealpost.Sealed
	var want []*api.Problem
	for _, c := range cases {
		batch, want = append(batch, w.message(r, c.spoil)), append(want, c.want)
	}
	got := w.Sender.Submit(ctx, batch)
	w.verdicts("a batch", got, want...)
	for i, v := range got {
		if v.Accepted == nil {
			continue
		}
		if v.Accepted.ID != batch[i].ID() || v.Accepted.Again {
			w.Errorf("item %d: accepted as another message, or again", i)
		}
		w.promised(fmt.Sprintf("item %d", i), v.Accepted.Salt, v.Accepted.Promise, batch[i].Statement().Bytes())
	}
	for i := range batch { // alone, each is answered as in a batch
		w.verdicts(fmt.Sprintf("item %d alone", i), w.Sender.Submit(ctx, batch[i:i+1]), want[i])
	}
	forged := w.message(r)
	raw := forged.Statement().Bytes()
	raw[len(raw)-1] ^= 1
	statement, err := sealpost.Parse(raw)
	w.must(err)
	forged, err = sealpost.NewSealed(statement, forged.Blob())
	w.must(err)
	twin := w.message(r, func(d *draft) { d.ID = batch[0].ID() })
	w.verdicts("a spoiled signature and an id that is taken", w.Sender.Submit(ctx, []sealpost.Sealed{forged, twin}), api.ErrSignature, api.ErrConflict)
}

// R44: a message that is posted many times at once is held once, and everybody
// gets the one answer.
func sameAnswer(w *world) {
	s := w.message(w.enrol(alice).recipient)
	const callers = 8
	got := make([][]api.Verdict, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { got[i] = w.Sender.Submit(w.Context(), []sealpost.Sealed{s}) })
	}
	wg.Wait()
	first := 0
	for _, v := range got {
		w.verdicts("one message of many callers", v, nil)
		if w.Failed() {
			return
		}
		if !v[0].Accepted.Again {
			first++
		}
		if !bytes.Equal(v[0].Accepted.Salt, got[0][0].Accepted.Salt) || !bytes.Equal(v[0].Accepted.Promise, got[0][0].Accepted.Promise) {
			w.Error("one message has two answers")
		}
	}
	if first != 1 {
		w.Errorf("it was new %d times", first)
	}
}

func inbox(w *world) {
	ctx := w.Context()
	p, other := w.enrol(alice), w.enrol(bob)
	var sent []sealpost.Sealed
	var accepted []*api.Accepted
	for range 3 {
		s, a := w.send(p.recipient)
		sent, accepted = append(sent, s), append(accepted, a)
	}
	theirs, _ := w.send(other.recipient)
	page := func(what string, after uint64, limit int, want ...int) (seq uint64) {
		w.Helper()
		answer, err := p.Inbox(ctx, after, limit, 0)
		w.must(err)
		list := answer.Arrivals
		if len(list) != len(want) {
			w.Fatalf("%s: %d messages, want %d", what, len(list), len(want))
		}
		for i, m := range list {
			k := want[i]
			if m.Seq <= after || m.Seq <= seq || !bytes.Equal(m.Sealed, sent[k].Bytes()) || !bytes.Equal(m.Salt, accepted[k].Salt) || !bytes.Equal(m.Promise, accepted[k].Promise) {
				w.Errorf("%s: message %d of the page is not the one that was sent then", what, i)
			}
			seq = m.Seq
		}
		return seq
	}
	page("all", 0, 10, 0, 1, 2)
	page("as many as the relay likes", 0, 0, 0, 1, 2)
	second := page("a page of two", 0, 2, 0, 1)
	third := page("the next page", second, 2, 2)
	page("after the last", third, 2)
	if list, err := p.Inbox(ctx, third, 2, 20); err != nil || len(list.Arrivals) != 0 {
		w.Errorf("after the last, with a wait: %d messages, %v", len(list.Arrivals), err)
	}
	if one, err := p.Arrival(ctx, sent[1].ID()); err != nil || one.Seq != second || !bytes.Equal(one.Sealed, sent[1].Bytes()) {
		w.Errorf("one by its id: %v", err)
	}
	_, err := p.Arrival(ctx, theirs.ID())
	w.refused("another's message", err, api.ErrNotFound)
	_, err = p.Arrival(ctx, w.message(p.recipient).ID())
	w.refused("a message that was not sent", err, api.ErrNotFound)
	_, err = w.newPhone(p.recipient).Inbox(ctx, 0, 10, 0)
	w.refused("a stranger's inbox", err, api.ErrUnauthenticated)

	w.verdicts("a handover", p.PostReceipts(ctx, [][]byte{w.receiptOf(sent[0], p, sealpost.HandedOver)}), nil)
	page("after the first's handover", 0, 10, 1, 2)
	_, err = p.Arrival(ctx, sent[0].ID())
	w.refused("what every device has", err, api.ErrNotFound)
}

// R11, R59: each receipt has a verdict in its place.
func receipts(w *world) {
	ctx := w.Context()
	p, other := w.enrol(alice), w.enrol(bob)
	s, _ := w.send(p.recipient)
	if got := p.PostReceipts(ctx, nil); len(got) != 0 {
		w.Errorf("%d verdicts on nothing", len(got))
	}
	forged := w.receiptOf(s, p, sealpost.Decrypted)
	forged[len(forged)-1] ^= 1
	batch := [][]byte{
		w.receiptOf(s, p, sealpost.HandedOver),
		[]byte("receipt"),
		w.receiptOf(s, other, sealpost.Decrypted),
		w.receiptOf(w.message(p.recipient), p, sealpost.Decrypted),
		w.receiptOf(s, p, sealpost.Decrypted, func(r *sealpost.Receipt) { r.Commitment[0] ^= 1 }),
		w.receiptOf(s, p, sealpost.Decrypted, func(r *sealpost.Receipt) { r.Blob[0] ^= 1 }),
		w.receiptOf(s, p, sealpost.Decrypted, func(r *sealpost.Receipt) { r.Roster[0] ^= 1 }),
		forged,
		w.receiptOf(s, p, sealpost.Decrypted),
	}
	want := []*api.Problem{nil, api.ErrMalformed, api.ErrWrongDevice, api.ErrNotFound, api.ErrWrongCommitment, api.ErrWrongCommitment,
		api.ErrWrongCommitment, api.ErrSignature, nil}
	first := p.PostReceipts(ctx, batch)
	w.verdicts("a batch", first, want...)
	again := p.PostReceipts(ctx, batch)
	w.verdicts("the same batch", again, want...)
	for i, v := range again {
		if v.Accepted == nil || first[i].Accepted == nil {
			continue
		}
		w.promised(fmt.Sprintf("receipt %d", i), v.Accepted.Salt, v.Accepted.Promise, batch[i])
		if !v.Accepted.Again || first[i].Accepted.Again || v.Accepted.ID != s.ID() || !bytes.Equal(v.Accepted.Salt, first[i].Accepted.Salt) || !bytes.Equal(v.Accepted.Promise, first[i].Accepted.Promise) {
			w.Errorf("receipt %d again has another answer", i)
		}
	}
	w.verdicts("another recipient's", other.PostReceipts(ctx, [][]byte{w.receiptOf(s, other, sealpost.Decrypted)}), api.ErrNotFound)
}

// evidence: all that a bundle is made of, by seq, under one checkpoint.
func evidence(w *world) {
	ctx := w.Context()
	p, other := w.enrol(alice), w.enrol(bob)
	s, _ := w.send(p.recipient)
	w.send(p.recipient)
	handed := w.receiptOf(s, p, sealpost.HandedOver)
	w.verdicts("a handover", p.PostReceipts(ctx, [][]byte{handed}), nil)
	list := w.logged(s.ID())
	w.proven("evidence", list)
	has := func(statement []byte) bool {
		return slices.ContainsFunc(list, func(x api.Exhibit) bool { return bytes.Equal(x.Statement, statement) })
	}
	if !has(s.Statement().Bytes()) || !has(handed) || !has(p.event) || has(other.event) {
		w.Error("evidence is not the message, its receipt and its recipient's key events")
	}
	enrolled := false
	for i, x := range list {
		if i > 0 && x.Seq <= list[i-1].Seq {
			w.Error("evidence is not by seq")
		}
		signed, err := sealpost.Parse(x.Statement)
		w.must(err)
		if signed.Kind() == sealpost.KindKeyEvent {
			e, err := signed.KeyEvent()
			w.must(err)
			enrolled = enrolled || e.Subject == sealpost.SubjectSender && e.Key == w.Key.Public()
		}
		if len(x.Promise) > 0 {
			w.promised("an exhibit", x.Salt, x.Promise, x.Statement)
		}
	}
	if !enrolled {
		w.Error("evidence does not say whose key signed the message")
	}
	_, err := w.Sender.Evidence(ctx, w.message(p.recipient).ID())
	w.refused("of a message that was not sent", err, api.ErrNotFound)
}

// contexts: a call in a context that has ended does nothing, and one that waits
// ends with it.
func contexts(w *world) {
	p := w.enrol(alice)
	s, a := w.send(p.recipient)
	receipt, next := w.receiptOf(s, p, sealpost.HandedOver), w.message(p.recipient)
	ended, end := context.WithCancel(w.Context())
	end()
	for name, call := range map[string]func(context.Context) error{
		"evidence":   func(ctx context.Context) error { _, err := w.Sender.Evidence(ctx, s.ID()); return err },
		"answered":   func(ctx context.Context) error { _, err := w.Sender.Answered(ctx, 1); return err },
		"enrolment":  func(ctx context.Context) error { _, err := p.Enrolment(ctx); return err },
		"inbox":      func(ctx context.Context) error { _, err := p.Inbox(ctx, 0, 1, 0); return err },
		"arrival":    func(ctx context.Context) error { _, err := p.Arrival(ctx, s.ID()); return err },
		"stock":      func(ctx context.Context) error { return p.Stock(ctx, [][]byte{{1}}, nil) },
		"checkpoint": func(ctx context.Context) error { _, err := w.Log.Checkpoint(ctx); return err },
		"claim": func(ctx context.Context) error {
			_, err := w.Sender.ClaimPackages(ctx, p.recipient, []sealpost.KeyID{p.id})
			return err
		},
		"key event": func(ctx context.Context) error { _, err := w.Sender.PostKeyEvent(ctx, p.event); return err },
	} {
		if err := call(ended); !errors.Is(err, context.Canceled) && !errors.Is(err, api.ErrUnavailable) {
			w.Errorf("%s after the context ended: %v", name, err)
		}
		if err := call(w.Context()); err != nil {
			w.Errorf("%s before it ends: %v", name, err)
		}
	}
	w.verdicts("submissions after the context ended", w.Sender.Submit(ended, []sealpost.Sealed{next, s}), api.ErrUnavailable, api.ErrUnavailable)
	w.verdicts("receipts after the context ended", p.PostReceipts(ended, [][]byte{receipt, receipt}), api.ErrUnavailable, api.ErrUnavailable)
	got := append(w.Sender.Submit(w.Context(), []sealpost.Sealed{next, s}), p.PostReceipts(w.Context(), [][]byte{receipt})...)
	w.verdicts("the same again", got, nil, nil, nil)
	if !w.Failed() && (got[0].Accepted.Again || got[2].Accepted.Again || !bytes.Equal(got[1].Accepted.Salt, a.Salt)) {
		w.Error("what was asked for after the context ended was done")
	}

	// A device that waits for a message hangs up.
	const within = 30 * time.Second
	waiting, hangUp := context.WithCancel(w.Context())
	left := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(left)
		_, _ = p.Inbox(waiting, 1<<40, 1, int(within.Milliseconds()))
	}()
	hangUp()
	<-left
	if waited := time.Since(began); waited >= within {
		w.Errorf("a device that hung up waited for %v", waited)
	}
}

// zeros: what a caller did not fill in is refused by a problem that says so, or is
// nothing; it ends nobody's process.
func zeros(w *world) {
	ctx := w.Context()
	p := w.enrol(alice)
	_, err := w.Sender.Invite(ctx, api.Invitation{})
	w.refused("an empty invitation", err, api.ErrMalformed)
	_, err = w.Sender.PostKeyEvent(ctx, nil)
	w.refused("no key event", err, api.ErrMalformed)
	_, err = w.Sender.Evidence(ctx, sealpost.MessageID{})
	w.refused("evidence of nothing", err, api.ErrNotFound)
	_, err = w.Sender.ClaimPackages(ctx, sealpost.Recipient{}, nil)
	w.refused("KeyPackages of nobody", err, api.ErrMalformed)
	_, err = p.Arrival(ctx, sealpost.MessageID{})
	w.refused("no message", err, api.ErrNotFound)
	w.verdicts("no receipt", p.PostReceipts(ctx, [][]byte{nil}), api.ErrMalformed)
	w.verdicts("no submission", w.Sender.Submit(ctx, []sealpost.Sealed{{}}), api.ErrMalformed)
	w.must(p.Stock(ctx, nil, nil))
	if err := p.Answer(ctx, api.Answer{}); err == nil {
		w.Error("an empty answer was taken")
	} else if _, typed := errors.AsType[*api.Problem](err); !typed {
		w.Errorf("an empty answer: %v, want a problem", err)
	}
	if err := w.newPhone(p.recipient).Stock(ctx, nil, nil); err == nil {
		w.Error("nothing was stocked for a stranger") // who must not learn that it was nothing
	}
}

// DESIGN section 12, Sender replicas: one commit stands for each group and epoch.
func epochs(w *world) {
	p := w.enrol(alice)
	commit := func() []byte { // nothing but fresh keys, and so another each time
		staged, err := w.group.Commit(mls.CommitOptions{})
		w.must(err)
		return staged.Commit
	}
	one, two := commit(), commit()
	with := func(commits ...[]byte) sealpost.Sealed {
		return w.message(p.recipient, func(d *draft) { d.commits = commits })
	}
	ask := func(what string, want *api.Problem, commits ...[]byte) {
		w.Helper()
		w.verdicts(what, w.Sender.Submit(w.Context(), []sealpost.Sealed{with(commits...)}), want)
	}
	ask("two at once in one place", api.ErrEpochTaken, one, two)
	ask("the first", nil, one)
	ask("another in its place", api.ErrEpochTaken, two)
	ask("the same again, in another envelope", nil, one)
	ask("no commit", nil)
}
