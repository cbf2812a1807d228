package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// replica is one of several senders over one shared store.
type replica struct {
	*Sender
	own Store
}

// replicas makes n of them; the world's own sender is the first.
func (w *world) replicas(shared Store, n int) []replica {
	w.t.Helper()
	out := make([]replica, n)
	for i := range out {
		own := NewMemoryStore()
		out[i] = replica{w.newReplica(shared, own, uint32(i)), own}
	}
	w.sender, w.store = out[0].Sender, shared
	if err := w.sender.EnrolSelf(w.ctx); err != nil {
		w.t.Fatalf("enrol the sender: %v", err)
	}
	return out
}

func (w *world) newReplica(shared, own Store, number uint32) *Sender {
	w.t.Helper()
	s, err := w.tryReplica(shared, own, number)
	return must(s, err)(w.t)
}

func (w *world) tryReplica(shared, own Store, number uint32) (*Sender, error) {
	return NewSender(SenderConfig{App: app, Key: w.key, Store: own, Shared: shared, Replica: number, API: senderFace{w.relay}, Log: w.relay,
		Now: w.now, Rand: rand.Reader, RelayURL: "https://relay.example", RelayKey: w.relay.key.Public(), LogKey: w.relay.log.vkey})
}

// wantOnce wants every generation of every epoch to have been used once, by what
// the replicas' stores say of all that they sealed, and gives how many there are.
func wantOnce(t *testing.T, stores ...Store) (used int) {
	t.Helper()
	by := map[string]sealpost.MessageID{}
	for _, s := range stores {
		err := s.View(func(tx Tx) error {
			return tx.Scan("message/", func(key string, value []byte) error {
				var m messageRecord
				if err := sealpost.Decode(value, &m); err != nil {
					return err
				}
				id := must(parseIDKey(key[len("message/"):]))(t)
				place := fmt.Sprintf("%x/%d/%d", m.Group, m.Epoch, m.Generation)
				if other, taken := by[place]; taken {
					t.Errorf("generation %d of epoch %d was used by %v and by %v", m.Generation, m.Epoch, other, id)
				}
				by[place] = id
				used++
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return used
}

// openAll has a phone take everything that waits for it, and gives how often it
// showed each code. A refusal fails the test.
func (w *world) openAll(p *phone) map[string]int {
	w.t.Helper()
	shown := map[string]int{}
	got, err := p.Sync(w.ctx, 0)
	if err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	for _, a := range got {
		if a.Err != nil {
			w.t.Errorf("a message does not open: %v", a.Err)
			continue
		}
		shown[a.Fields[0].Value]++
	}
	for _, f := range must(p.Faults())(w.t) {
		w.t.Errorf("the device saw %s", f.What)
	}
	return shown
}

// openSome is openAll for a phone that was enrolled while messages were sealed: what
// was not sealed to it, it refuses.
func (w *world) openSome(p *phone) map[string]int {
	w.t.Helper()
	shown := map[string]int{}
	for _, a := range must(p.Sync(w.ctx, 0))(w.t) {
		if refusal, refused := errors.AsType[*Refusal](a.Err); refused && refusal.Level == sealpost.DecryptFailed {
			continue
		}
		if a.Err != nil {
			w.t.Errorf("a message does not open: %v", a.Err)
			continue
		}
		shown[a.Fields[0].Value]++
	}
	return shown
}

// wantShown wants each code to have been shown once.
func wantShown(t *testing.T, shown map[string]int, codes ...string) {
	t.Helper()
	for _, c := range codes {
		if shown[c] != 1 {
			t.Errorf("code %s was shown %d times", c, shown[c])
		}
	}
	if len(shown) != len(codes) {
		t.Errorf("%d codes were shown, want %d", len(shown), len(codes))
	}
}

// DESIGN section 12, Sender replicas: three replicas send to one recipient at the
// same time, more than a block each. Every message opens once on every device, and
// no generation of an epoch is used twice. On a store in memory and on a file that
// each has open on its own.
func TestReplicas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	for name, c := range map[string]struct {
		open func() Store
		each int
	}{
		"memory": {func() func() Store { s := NewMemoryStore(); return func() Store { return s } }(), 2*generationBlock + 10},
		"file":   {func() Store { return must(OpenSharedStore(path))(t) }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			all := w.replicas(c.open(), 3)
			phones := []*phone{w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)}
			var mu sync.Mutex
			var codes []string
			var wg sync.WaitGroup
			for i, r := range all {
				wg.Go(func() {
					for j := range c.each {
						code := fmt.Sprintf("%d%05d", i+1, j)
						if _, err := r.Send(w.ctx, otp("c1", code)); err != nil {
							t.Errorf("replica %d: %v", i, err)
							return
						}
						mu.Lock()
						codes = append(codes, code)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			var owns []Store
			for _, r := range all {
				owns = append(owns, r.own)
			}
			if used := wantOnce(t, owns...); used != 3*c.each {
				t.Errorf("%d generations, want %d", used, 3*c.each)
			}
			for _, p := range phones {
				wantShown(t, w.openAll(p), codes...)
			}
			for _, r := range all { // their receipts count for all
				for _, id := range must(r.Messages())(t)[:1] {
					if st := must(r.Sync(w.ctx, id))(t); len(st.Receipts) == 0 {
						t.Error("a replica got no receipt")
					}
				}
			}
			if w.relay.claims > 4*len(phones) {
				t.Errorf("%d KeyPackages were claimed for two devices", w.relay.claims)
			}
		})
	}
}

// A replica ends at every write of its own store and of the shared one, before and
// after it is done: while it sends the first message, a second that needs another
// block, and one after a device was enrolled. Whatever became of it, it and the other
// one go on, everything posted opens once, and no generation is used twice.
func TestReplicaCrashes(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for step := 0; ; step++ {
			crashed := false
			t.Run(fmt.Sprintf("applied=%v step=%d", applied, step), func(t *testing.T) {
				w := newWorld(t)
				shared := NewMemoryStore()
				all := w.replicas(shared, 2)
				one := w.enrol("c1", sealpost.EdDSA)
				f := &fuse{left: step, applied: applied}
				dying, err := w.tryReplica(failingStore{shared, f}, failingStore{all[0].own, f}, 0)
				if err == nil {
					_, err = dying.Send(w.ctx, otp("c1", "100001"))
				}
				if err == nil {
					x := must(all[0].load(w.sender.Recipient("c1")))(t) // the rest of its block is used up
					err = dying.cfg.Store.Update(func(tx Tx) error {
						return errors.Join(x.group.SkipTo(x.end), x.keep(tx))
					})
				}
				if err == nil {
					_, err = dying.Send(w.ctx, otp("c1", "100002"))
				}
				two := w.enrol("c1", sealpost.EdDSA)
				if err == nil {
					_, err = dying.Send(w.ctx, otp("c1", "100003"))
				}
				if crashed = f.dead; !crashed && err != nil {
					t.Fatalf("send: %v", err)
				}
				other := all[1]
				w.pass(changeLease + time.Second) // that the dead one may hold
				must(other.Send(w.ctx, otp("c1", "200001")))(t)
				again := w.newReplica(shared, all[0].own, 0) // a new process
				for _, x := range must(again.Flush(w.ctx))(t) {
					if x.Err != nil {
						t.Errorf("flush: %v", x.Err)
					}
				}
				must(again.Send(w.ctx, otp("c1", "100004")))(t)
				wantOnce(t, all[0].own, other.own)
				shown := w.openAll(one)
				if shown["200001"] != 1 || shown["100004"] != 1 || len(shown) != len(w.posted()) {
					t.Errorf("%d messages were posted, the first device showed %v", len(w.posted()), shown)
				}
				if later := w.openSome(two); later["100004"] != 1 {
					t.Errorf("the second device showed %v", later)
				}
			})
			if !crashed {
				if step < 10 {
					t.Fatalf("only %d steps were crashed", step)
				}
				break
			}
		}
	}
}

// One replica at a time changes a group. Another one goes on with the group as it
// stands where it can, waits where it cannot, and takes over when the lease ends.
func TestChangesAreLeased(t *testing.T) {
	w := newWorld(t)
	shared := NewMemoryStore()
	all := w.replicas(shared, 2)
	r := w.sender.Recipient("c1")
	p := w.enrol("c1", sealpost.EdDSA)
	x := must(all[0].load(r))(t)
	end, err := x.claimChange()
	if err != nil {
		t.Fatal(err)
	}
	y := must(all[1].load(r))(t)
	if _, err := y.claimChange(); !errors.Is(err, errHeld) {
		t.Fatalf("two replicas change one group: %v", err)
	}
	sent := make(chan error)
	go func() { _, err := all[1].Send(w.ctx, otp("c1", "200001")); sent <- err }()
	select {
	case err := <-sent:
		t.Fatalf("sent without a group while another makes it: %v", err)
	case <-time.After(5 * sharePause):
	}
	end(errors.New("nothing came of it"))
	if err := <-sent; err != nil {
		t.Fatalf("after the other one's change: %v", err)
	}
	// The group is there, and a device is to be added: what another one is about to do
	// holds up nobody.
	two := w.enrol("c1", sealpost.EdDSA)
	x = must(all[0].load(r))(t)
	if _, err := x.claimChange(); err != nil {
		t.Fatal(err)
	}
	s := all[1].SendAll(w.ctx, []Message{otp("c1", "200002")})[0]
	if s.Err != nil || len(s.Left) != 1 || s.Left[0] != two.ID() || !errors.Is(s.LeftErr, ErrReplicas) {
		t.Errorf("while another adds a device: %+v", s)
	}
	w.pass(changeLease + 1) // the other one is gone
	if s := all[1].SendAll(w.ctx, []Message{otp("c1", "200003")})[0]; s.Err != nil || len(s.Left) != 0 {
		t.Errorf("after the lease: %+v", s)
	}
	// And if the other one was only slow, what it publishes now is dropped.
	if err := x.publish(must(x.unmarshal(x.record.Suite, x.record.Leaf, x.record.State))(t), func(*groupRecord) {}); !errors.Is(err, errMoved) {
		t.Errorf("a change of a group that has moved: %v", err)
	}
	wantShown(t, w.openAll(p), "200001", "200002", "200003")
	wantShown(t, w.openSome(two), "200003")
}

// A replica that changes a group and never ends holds up a message for a bounded
// time, which is the caller's to try again.
func TestWaitForAChangeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.replicas(NewMemoryStore(), 2)
		w.enrol("c1", sealpost.EdDSA)
		must(must(all[0].load(w.sender.Recipient("c1")))(t).claimChange())(t)
		start := time.Now()
		if _, err := all[1].Send(w.ctx, otp("c1", "200001")); !errors.Is(err, ErrReplicas) || time.Since(start) != shareTries*sharePause {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		w.pass(changeLease + 1)
		must(all[1].Send(w.ctx, otp("c1", "200001")))(t)
	})
}

// A replica whose own store is set back to a backup counts its messages anew, which
// devices blame on it; but it uses no generation again.
func TestReplicaIsSetBack(t *testing.T) {
	w := newWorld(t)
	shared := NewMemoryStore()
	all := w.replicas(shared, 1)
	w.enrol("c1", sealpost.EdDSA)
	send := func(s *Sender) sealpost.MessageID { return must(s.Send(w.ctx, otp("c1", "100001")))(t) }
	first := send(all[0].Sender)
	backup := &memoryStore{data: families{}}
	for _, of := range all[0].own.(*memoryStore).data {
		for k, v := range of {
			backup.data.put(k, v)
		}
	}
	send(all[0].Sender)
	again := w.newReplica(shared, backup, 0)
	send(again)
	send(again)
	// The first message is in both stores.
	if err := backup.Update(func(tx Tx) error { return tx.Delete(messageKey(first)) }); err != nil {
		t.Fatal(err)
	}
	if n := wantOnce(t, all[0].own, backup); n != 4 {
		t.Errorf("%d generations, want 4", n)
	}
}

// A replica's number belongs to one store: another one would count anew.
func TestReplicaNumbers(t *testing.T) {
	w := newWorld(t)
	shared := NewMemoryStore()
	all := w.replicas(shared, 2)
	if _, err := w.tryReplica(shared, all[1].own, 1); err != nil {
		t.Fatalf("the same replica again: %v", err)
	}
	if _, err := w.tryReplica(shared, NewMemoryStore(), 1); !errors.Is(err, ErrReplica) {
		t.Errorf("another store under a number that is taken: %v", err)
	}
	if _, err := w.tryReplica(shared, all[1].own, 0); !errors.Is(err, ErrReplica) {
		t.Errorf("a replica under another's number: %v", err)
	}
}

// What one sender set up alone, several replicas take over: its store becomes the
// shared one.
func TestOneBecomesMany(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	w.send(otp("c1", "100001"))
	a, b := NewMemoryStore(), NewMemoryStore()
	for i, own := range []Store{a, b} {
		if _, err := w.newReplica(w.store, own, uint32(i+1)).Send(w.ctx, otp("c1", fmt.Sprint(100002+i))); err != nil {
			t.Fatal(err)
		}
	}
	wantOnce(t, w.store, a, b)
	wantShown(t, w.openAll(p), "100001", "100002", "100003")
}

// The relay takes one commit for each group and epoch. A sender whose store was set
// back makes another, is answered 409, and goes on in a fresh group: the message
// arrives all the same.
func TestEpochTaken(t *testing.T) {
	w := newWorld(t)
	one := w.enrol("c1", sealpost.EdDSA)
	r := w.sender.Recipient("c1")
	read := func(id sealpost.MessageID) {
		t.Helper()
		for _, p := range []*phone{one} {
			must(p.Sync(w.ctx, 0))(t)
		}
		must(w.sender.Sync(w.ctx, id))(t)
	}
	read(w.send(otp("c1", "100001")))
	var before []byte
	if err := w.store.View(func(tx Tx) error { before = tx.Get(groupKey(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	two := w.enrol("c1", sealpost.EdDSA)
	w.send(otp("c1", "100002")) // adds it by a commit
	if len(w.relay.epochs) != 1 {
		t.Fatalf("%d commits at the relay, want that of the second device", len(w.relay.epochs))
	}
	if err := w.store.Update(func(tx Tx) error { return tx.Put(groupKey(r), before) }); err != nil {
		t.Fatal(err)
	}
	w.send(otp("c1", "100003"))
	wantShown(t, w.openAll(two), "100002", "100003")
	// A relay that answers so for ever is asked no more than a few times.
	w.relay.refuse = func(call string) error {
		if call == "Submit" {
			return api.ErrEpochTaken
		}
		return nil
	}
	n := len(must(w.sender.Messages())(t))
	if _, err := w.sender.Send(w.ctx, otp("c1", "100004")); !errors.Is(err, api.ErrEpochTaken) {
		t.Errorf("%v", err)
	}
	if tried := len(must(w.sender.Messages())(t)) - n; tried != 1+epochTries {
		t.Errorf("sealed %d times", tried)
	}
}

// Replicas send while devices come and go and receipts reach them, all at once: each
// device shows what was sealed to it, once; one commit stands for each epoch; no
// generation is used twice. A message that one replica seals in an epoch that another
// has just ended opens too.
func TestReplicasWhileDevicesChange(t *testing.T) {
	w := newWorld(t)
	all := w.replicas(NewMemoryStore(), 2)
	const each, changes = 40, 6
	phones := []*phone{w.enrol("c1", sealpost.EdDSA)}
	var revoked []*phone
	shown := map[sealpost.KeyID]map[string]int{}
	var codes sync.Map // by message
	read := func(p *phone) {
		got, err := p.Sync(w.ctx, 0)
		if err != nil {
			t.Errorf("sync: %v", err)
		}
		if shown[p.ID()] == nil {
			shown[p.ID()] = map[string]int{}
		}
		for _, a := range got {
			if a.Err == nil {
				shown[p.ID()][a.Fields[0].Value]++
			}
		}
	}
	var sending sync.WaitGroup
	for i, r := range all {
		sending.Go(func() {
			for j := range each {
				code := fmt.Sprintf("%d%05d", i+1, j)
				id, err := r.Send(w.ctx, otp("c1", code))
				if err != nil {
					t.Errorf("replica %d: %v", i, err)
					return
				}
				codes.Store(id, code)
				if j%5 == 4 {
					if _, err := r.Sync(w.ctx, id); err != nil {
						t.Errorf("evidence: %v", err)
					}
				}
			}
		})
	}
	for i := range changes {
		for _, p := range phones {
			read(p)
		}
		if i%3 == 2 {
			p := phones[0]
			phones, revoked = phones[1:], append(revoked, p)
			if err := all[i%2].Revoke(w.ctx, p.ID()); err != nil {
				t.Fatal(err)
			}
		} else {
			phones = append(phones, w.enrol("c1", sealpost.EdDSA))
		}
	}
	sending.Wait()
	for _, r := range all {
		must(r.Send(w.ctx, otp("c1", "999999")))(t) // so that nobody's Welcome is missing
	}
	wantOnce(t, all[0].own, all[1].own)
	for _, p := range phones {
		read(p)
		for _, f := range must(p.Faults())(t) {
			t.Errorf("a device saw %s", f.What)
		}
		for _, r := range all {
			for _, id := range must(r.Messages())(t) {
				m := must(r.message(id))(t)
				roster := must(sealpost.ParseRoster(m.Roster))(t)
				code, sent := codes.Load(id)
				want := 0
				if roster.Has(p.ID()) {
					want = 1
				}
				if sent && shown[p.ID()][code.(string)] != want {
					t.Errorf("%s was shown %d times, want %d", code, shown[p.ID()][code.(string)], want)
				}
				if m.Problem != "" {
					t.Errorf("%s was refused: %s", code, m.Problem)
				}
			}
		}
	}
	if len(revoked) == 0 || len(phones) < 2 {
		t.Fatalf("%d devices left and %d stayed: nothing changed", len(revoked), len(phones))
	}
}
