package client

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// A device joins while messages are on their way, in the same group: no other
// device's KeyPackage is spent, and what was sealed before opens after what was
// sealed later.
func TestJoinWhileMessagesAreOnTheirWay(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("c1", sealpost.EdDSA)
	opens := func(what string, p *phone, id sealpost.MessageID) {
		t.Helper()
		if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	first, late := w.send(otp("c1", "100001")), w.send(otp("c1", "100002"))
	opens("before the change", a, first)
	must(w.sender.Sync(w.ctx, first))(t)
	b := w.enrol("c1", sealpost.EdDSA)
	third := w.send(otp("c1", "100003"))
	if e := w.envelope(third); len(e.Commits) != 1 || w.relay.claims != 2 {
		t.Errorf("%d commits and %d claims, want a commit for the one device that joins", len(e.Commits), w.relay.claims)
	}
	later := w.send(otp("c1", "100004"))
	opens("the device that joins, at its second message", b, later)
	opens("the other one, at that message", a, later)
	opens("a message of the epoch before", a, late)
	opens("the first of the epoch", a, third)
	opens("the first of the epoch, by the device that joined", b, third)
	// Its Welcome not heard of, a third device costs a fresh group, and no message.
	between := w.send(otp("c1", "100005"))
	c := w.enrol("c1", sealpost.EdDSA)
	last := w.send(otp("c1", "100006"))
	if e := w.envelope(last); len(e.Commits) != 0 || w.relay.claims != 5 {
		t.Errorf("%d commits and %d claims, want a fresh group", len(e.Commits), w.relay.claims)
	}
	for _, p := range []*phone{a, b, c} {
		opens("in the fresh group", p, last)
	}
	opens("in the group before", a, between)
	opens("in the group before, by the device that joined", b, between)
}

// A revoked device is removed by a commit with fresh keys: it opens nothing that is
// sealed after, whatever it is brought, and the others open what was on its way.
func TestRemovedDevice(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	first, late := w.send(otp("c1", "100001")), w.send(otp("c1", "100002"))
	for _, p := range []*phone{a, b} {
		must(p.Handle(w.ctx, w.push(first)))(t)
	}
	must(w.sender.Sync(w.ctx, first))(t)
	if err := w.sender.Revoke(w.ctx, b.ID()); err != nil {
		t.Fatal(err)
	}
	after := w.send(otp("c1", "100003"))
	if e := w.envelope(after); len(e.Commits) != 1 || w.relay.claims != 2 {
		t.Errorf("%d commits and %d claims, want one commit and no more claims", len(e.Commits), w.relay.claims)
	}
	for _, id := range []sealpost.MessageID{after, late} {
		if n, err := a.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
			t.Errorf("the device that stays: %v", err)
		}
	}
	_, err := b.Handle(w.ctx, w.push(after))
	if refusal, refused := errors.AsType[*Refusal](err); !refused || refusal.Level != sealpost.DecryptFailed {
		t.Errorf("the removed device: %v", err)
	}
	for _, id := range must(w.sender.Messages())(t) {
		m := must(w.sender.message(id))(t)
		if roster := must(sealpost.ParseRoster(m.Roster))(t); roster.Has(b.ID()) == (id == after) {
			t.Errorf("the removed device is in the roster of the wrong messages")
		}
	}
}

// The sender's keys in a group are fresh now and then, by time and by count, and its
// devices follow; where one does not acknowledge, by a fresh group in the end.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	read := func(id sealpost.MessageID, by ...*phone) {
		t.Helper()
		for _, p := range by {
			if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
				t.Fatalf("a message does not open: %v", err)
			}
		}
		must(w.sender.Sync(w.ctx, id))(t)
	}
	place := func(id sealpost.MessageID) (string, uint64) {
		t.Helper()
		m := must(w.sender.message(id))(t)
		return string(m.Group), m.Epoch
	}
	first := w.send(otp("c1", "100001"))
	read(first, a, b)
	group, epoch := place(first)
	wants := func(what string, id sealpost.MessageID, later uint64, commits int) {
		t.Helper()
		if g, e := place(id); g != group || e != epoch+later || len(w.envelope(id).Commits) != commits {
			t.Errorf("%s: epoch %d with %d commits, want %d with %d", what, e-epoch, len(w.envelope(id).Commits), later, commits)
		}
	}
	w.pass(renewEvery - time.Second)
	id := w.send(otp("c1", "100002"))
	wants("before it is due", id, 0, 0)
	w.pass(time.Second)
	id = w.send(otp("c1", "100003"))
	wants("when it is due", id, 1, 1)
	read(id, a)
	id = w.send(otp("c1", "100004"))
	wants("until all acknowledge", id, 1, 1)
	read(id, b)
	id = w.send(otp("c1", "100005"))
	wants("when all have", id, 1, 0)
	for range renewAfter - 3 { // three were sent in this epoch
		id = w.send(otp("c1", "100006"))
	}
	wants("as many as an epoch takes", id, 1, 0)
	id = w.send(otp("c1", "100007"))
	wants("one more", id, 2, 1)
	read(id, a, b)
	for i := range commitsKept {
		w.pass(renewEvery)
		id = w.send(otp("c1", "100008"))
		read(id, a) // and b does not
		if i < 13 {
			wants("one behind", id, 3+uint64(i), 1+i)
		}
	}
	read(id, b)
	w.pass(sealpost.LifetimeMax + time.Hour)
	id = w.send(otp("c1", "100009"))
	read(id, a, b)
}

// The Welcome stays in every envelope until each device that it names has
// acknowledged: one that missed the first message joins by the second.
func TestWelcomeStaysUntilAcknowledged(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	must(a.Handle(w.ctx, w.push(first)))(t)
	must(w.sender.Sync(w.ctx, first))(t)
	second := w.send(otp("c1", "100002"))
	if n, err := b.Handle(w.ctx, w.push(second)); err != nil || n.Text == "" {
		t.Errorf("the device that missed the Welcome: %v", err)
	}
}

// A message for another recipient of the same sender is none of this device's.
func TestOtherRecipient(t *testing.T) {
	w := newWorld(t)
	p, _ := w.enrol("c1", sealpost.EdDSA), w.enrol("c2", sealpost.EdDSA)
	id := w.send(otp("c2", "483920"))
	if _, err := p.Handle(w.ctx, w.push(id)); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	p.wantSigned(t, id)
}

// Two commitments under one id, both by the sender: the first one stands, the
// pair is kept.
func TestTwoCommitmentsUnderOneID(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id, push := w.craft("c1", spoil{})
	must(p.Handle(w.ctx, push))(t)
	_, other := w.craft("c1", spoil{commitment: func(c *sealpost.Commitment) { c.ID = id }})
	if _, err := p.Handle(w.ctx, other); !errors.Is(err, sealpost.ErrConflict) {
		t.Errorf("got %v", err)
	}
	faults := must(p.Faults())(t)
	if len(faults) != 1 || len(faults[0].Parts) != 2 || faults[0].ID != id {
		t.Errorf("faults: %+v", faults)
	}
}

// A message sealed by another member of the group is not the sender's, although
// the sender's commitment names its blob.
func TestSealedByAnotherMember(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	for _, p := range []*phone{a, b} {
		must(p.Handle(w.ctx, w.push(first)))(t)
	}
	g := b.group(t)
	_, push := w.craft("c1", spoil{aad: func(aad []byte) []byte { return aad }, blob: func(e *sealpost.Envelope) {
		e.Welcome, e.Commits = nil, nil
		e.Message = must(g.Protect([]byte("any"), make([]byte, 512)))(t)
	}})
	_, err := a.Handle(w.ctx, push)
	if refusal, refused := errors.AsType[*Refusal](err); !refused || refusal.Reason != sealpost.ReasonSenderKey || refusal.Level != sealpost.Mismatch {
		t.Errorf("got %v", err)
	}
}

// Only the sender commits: another member's commit changes nothing.
func TestCommitByAnotherMember(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	for _, p := range []*phone{a, b} {
		must(p.Handle(w.ctx, w.push(first)))(t)
	}
	g := b.group(t)
	staged := must(g.Commit(mls.CommitOptions{}))(t)
	if err := g.Apply(staged); err != nil {
		t.Fatal(err)
	}
	u := &unsealing{sender: a.pinned.Sender.ID(), group: a.group(t)}
	before := u.group.Epoch()
	if err := u.follow([][]byte{staged.Commit}, u.group.GroupID(), before+1); err == nil || u.group.Epoch() != before {
		t.Errorf("a device's commit was followed: %v", err)
	}
}

// group is a device's own MLS group, for a test that abuses it.
func (p *phone) group(t *testing.T) (g *mls.Group) {
	t.Helper()
	err := p.store.View(func(tx Tx) error {
		all, err := loadAll[deviceGroup](tx, "mls/")
		if err != nil || len(all) != 1 {
			return errors.Join(err, missing(len(all) != 1, "exactly one group"))
		}
		g, err = mls.Unmarshal(all[0].State, p.leaf, validator(p.validate), p.mlsPolicy())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A promise is of our log, by the relay's key, and for a commitment until its
// outcome is due.
func TestPromiseChecks(t *testing.T) {
	relay := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	other := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	statement, salt := []byte("statement"), sealpost.Salt{1}
	make := func(origin string, by sealpost.Signer, outcomeBy int64) []byte {
		entry := sealpost.PromiseEntry{Leaf: sealpost.MakeLeaf(salt, statement), Statement: blobHash(statement), OutcomeBy: outcomeBy}
		return must(sealpost.SignPromise([]sealpost.PromiseEntry{entry}, origin, 1000, 0, time.Hour, by))(t)[0].Encode()
	}
	check := func(promise, statement []byte) error {
		_, err := checkPromise(relay.Public(), "log.example", salt[:], promise, statement, 7)
		return err
	}
	if err := check(make("log.example", relay, 7), statement); err != nil {
		t.Fatalf("the honest promise: %v", err)
	}
	for name, err := range map[string]error{
		"another log":        check(make("other.example", relay, 7), statement),
		"another key":        check(make("log.example", other, 7), statement),
		"a later outcome":    check(make("log.example", relay, 8), statement),
		"no outcome":         check(make("log.example", relay, 0), statement),
		"another statement":  check(make("log.example", relay, 7), []byte("another")),
		"no promise at all":  check(nil, statement),
		"bytes that are not": check([]byte{1, 2, 3}, statement),
	} {
		if !errors.Is(err, ErrUnpromised) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A positive receipt for another blob or roster does not count, even by the
// right device.
func TestReceiptForAnotherRoster(t *testing.T) {
	for name, change := range map[string]func(*sealpost.Receipt){
		"blob":   func(r *sealpost.Receipt) { r.Blob[0] ^= 1 },
		"roster": func(r *sealpost.Receipt) { r.Roster[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.enrol("c1", sealpost.EdDSA)
			id := w.send(otp("c1", "483920"))
			must(p.Handle(w.ctx, w.push(id)))(t)
			w.relay.bend = func(_ string, v any) {
				list, is := v.(*[]api.Exhibit)
				if !is {
					return
				}
				for i := range *list {
					signed := must(sealpost.Parse((*list)[i].Statement))(t)
					if r, err := signed.Receipt(); err == nil && r.Level == sealpost.Decrypted {
						change(&r)
						(*list)[i] = api.Exhibit{Statement: must(sealpost.Sign(r, p.key))(t).Bytes(), Salt: (*list)[i].Salt}
					}
				}
			}
			st, err := w.sender.Sync(w.ctx, id)
			if !errors.Is(err, ErrExhibit) || len(st.Receipts) != 1 {
				t.Errorf("%d receipts count, %v", len(st.Receipts), err)
			}
		})
	}
}

// A hole that is filled in time is no gap: each number that arrives leaves it.
func TestHolesAreFilled(t *testing.T) {
	st := sequenceState{Next: 11, Holes: []hole{{From: 3, To: 7}, {From: 9, To: 9}}}
	for _, n := range []uint64{5, 9, 3, 7} {
		st.fill(n)
	}
	if len(st.Holes) != 2 || st.Holes[0].From != 4 || st.Holes[0].To != 4 || st.Holes[1].From != 6 || st.Holes[1].To != 6 {
		t.Errorf("holes %+v", st.Holes)
	}
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	ids := []sealpost.MessageID{w.send(otp("c1", "100001")), w.send(otp("c1", "100002")), w.send(otp("c1", "100003"))}
	for _, i := range []int{0, 2, 1} { // the second comes last, and in time
		must(p.Handle(w.ctx, w.push(ids[i])))(t)
	}
	w.pass(6 * time.Minute)
	must(p.Sync(w.ctx, 0))(t)
	w.wantReceipts(ids[2], sealpost.HandedOver, sealpost.Decrypted)
}

// A relay erases what every device has, and a carrier may bring a ticket twice: the
// second is answered from the inbox.
func TestTicketComesTwice(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	first := must(p.Handle(w.ctx, id[:]))(t)
	if _, err := p.cfg.API.Arrival(w.ctx, id); !errors.Is(err, api.ErrNotFound) {
		t.Fatalf("the relay has it still: %v", err)
	}
	again, err := p.Handle(w.ctx, id[:])
	if err != nil || first.Again || !again.Again || again.Text != first.Text {
		t.Errorf("the ticket again: %+v, %v", again, err)
	}
	id[0] ^= 1
	if _, err := p.Handle(w.ctx, id[:]); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("a ticket for nothing: %v", err)
	}
}

// The sender's signature key in a group is another after RotateLeaf, from the next
// message on, and devices follow, from where they are.
func TestRotateLeaf(t *testing.T) {
	for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
		w := newWorld(t)
		p := w.enrol("c1", alg)
		leaf := func(id sealpost.MessageID) []byte {
			t.Helper()
			m := must(w.sender.message(id))(t)
			for _, x := range must(sealpost.ParseRoster(m.Roster))(t).Members {
				if x.Device == w.key.Public().ID() {
					return x.Leaf
				}
			}
			t.Fatal("the sender is not in the roster")
			return nil
		}
		opens := func(what string, id sealpost.MessageID) {
			t.Helper()
			if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
				t.Errorf("%v, %s: %v", alg, what, err)
			}
		}
		first := w.send(otp("c1", "100001"))
		opens("the first", first)
		must(w.sender.Sync(w.ctx, first))(t)
		late := w.send(otp("c1", "100002"))
		if err := w.sender.RotateLeaf(); err != nil {
			t.Fatal(err)
		}
		w.sender = w.newSender(w.store) // a new process
		second := w.send(otp("c1", "100003"))
		if e := w.envelope(second); len(e.Commits) != 1 || bytes.Equal(leaf(first), leaf(second)) || !bytes.Equal(leaf(first), leaf(late)) {
			t.Errorf("%v: %d commits, the leaf key is another: %v", alg, len(e.Commits), !bytes.Equal(leaf(first), leaf(second)))
		}
		opens("after the rotation", second)
		opens("what was on its way", late)
		third := w.send(otp("c1", "100004"))
		if !bytes.Equal(leaf(second), leaf(third)) {
			t.Errorf("%v: the leaf key changed once more", alg)
		}
		opens("the next", third)
	}
}

// A device that cannot join yet, because the relay gives out no KeyPackage of it,
// costs the others none.
func TestWaitingDeviceCostsNoKeyPackage(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("c1", sealpost.EdDSA)
	w.send(otp("c1", "100001")) // whose Welcome is not heard of: another one takes a fresh group
	b := w.enrol("c1", sealpost.EdDSA)
	d := w.relay.devices[b.ID()]
	packages, last := d.packages, d.resort
	d.packages, d.resort = nil, nil
	left := len(w.relay.devices[a.ID()].packages)
	for range 3 {
		w.pass(changeRetry)
		if s := w.sender.SendAll(w.ctx, []Message{otp("c1", "100002")})[0]; s.Err != nil || len(s.Left) != 1 || s.LeftErr == nil {
			t.Errorf("sent %+v", s)
		}
	}
	if now := len(w.relay.devices[a.ID()].packages); now != left {
		t.Errorf("%d KeyPackages of the other device were spent", left-now)
	}
	d.packages, d.resort = packages, last
	w.pass(changeRetry)
	id := w.send(otp("c1", "100003"))
	for _, p := range []*phone{a, b} {
		if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
			t.Errorf("when there is one: %v", err)
		}
	}
}

// A relay that is not ready to give out a KeyPackage, as the device's key event is not
// in the log yet, is asked again when it says; about anything else, after a minute.
func TestChangeIsRetried(t *testing.T) {
	for name, c := range map[string]struct {
		says error
		wait time.Duration
	}{
		"not yet":        {api.ErrUnavailable.After(2 * time.Second), 2 * time.Second},
		"much too early": {api.ErrBusy.After(time.Hour), changeRetry},
		"no answer":      {api.ErrUnavailable, changeRetry},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.enrol("c1", sealpost.EdDSA)
			must(a.Handle(w.ctx, w.push(w.send(otp("c1", "100001")))))(t)
			w.enrol("c1", sealpost.EdDSA)
			w.relay.refuse = func(call string) error {
				if call == "ClaimPackages" {
					return c.says
				}
				return nil
			}
			send := func(what string, left int) {
				t.Helper()
				if s := w.sender.SendAll(w.ctx, []Message{otp("c1", "100002")})[0]; s.Err != nil || len(s.Left) != left {
					t.Errorf("%s: %+v, want %d left out", what, s, left)
				}
			}
			send("refused", 1)
			w.relay.refuse = nil
			w.pass(c.wait - 1)
			send("too early", 1)
			w.pass(1)
			send("in time", 0)
		})
	}
}

// A device that was away for longer than its KeyPackages live costs itself the
// message, and no other device.
func TestExpiredKeyPackage(t *testing.T) {
	w := newWorld(t)
	a, away := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	w.pass(packageLifetime * 3 / 4)
	must(a.Sync(w.ctx, 0))(t) // makes new ones
	w.pass(packageLifetime / 2)
	s := w.sender.SendAll(w.ctx, []Message{otp("c1", "100001")})[0]
	if s.Err != nil || len(s.Left) != 1 || s.Left[0] != away.ID() || s.LeftErr == nil {
		t.Fatalf("sent %+v", s)
	}
	if n, err := a.Handle(w.ctx, w.push(s.ID)); err != nil || n.Text == "" {
		t.Errorf("the device that was there: %v", err)
	}
	must(a.Sync(w.ctx, 0))(t)
	must(w.sender.Sync(w.ctx, s.ID))(t)
	must(away.Sync(w.ctx, 0))(t)
	w.pass(changeRetry)
	s = w.sender.SendAll(w.ctx, []Message{otp("c1", "100002")})[0]
	if s.Err != nil || len(s.Left) != 0 {
		t.Fatalf("when it is back: %+v", s)
	}
	for _, p := range []*phone{a, away} {
		if n, err := p.Handle(w.ctx, w.push(s.ID)); err != nil || n.Text == "" {
			t.Errorf("when it is back: %v", err)
		}
	}
}
