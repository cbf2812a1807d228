package relay

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// The honest road: accepted with a promise that verifies, logged at its seq.
func TestSubmit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.draft().seal(t)
		v := w.submit(s)[0]
		if v.Accepted == nil || v.Accepted.Again || v.Accepted.ID != s.ID() {
			t.Fatalf("an honest submission: %+v, %v", v.Accepted, v.Problem)
		}
		promised, err := sealpost.ParsePromised(v.Accepted.Promise)
		if err != nil {
			t.Fatal(err)
		}
		p, err := promised.Check(w.statement.Public(), sealpost.Salt(v.Accepted.Salt), s.Statement().Bytes())
		if err != nil {
			t.Fatalf("the promise: %v", err)
		}
		if p.Origin != "log.example" || p.LogBy != p.Accepted.Add(sealpost.MergeDelay) || p.TreeSize != 2 {
			t.Errorf("the promise says %+v", p)
		}
		if by := int64(s.Commitment().Expires.Add(sealpost.OutcomeGrace)); promised.Entry.OutcomeBy != by {
			t.Errorf("outcome by %d, want %d", promised.Entry.OutcomeBy, by)
		}
	})
}

// R7: mutated submissions, each with a problem type of its own, and none of them
// changes anything.
func TestSubmitRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		other := newKey(t, sealpost.EdDSA)
		revoked := newKey(t, sealpost.EdDSA)
		enrol := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: revoked.Public()}
		w.mustPost(enrol, w.sender)
		enrol.Event = sealpost.Revoke
		w.mustPost(enrol, w.sender)
		held := w.send()
		shared := privateMessage([]byte("group"), 3, contentCommit, nil)
		first := w.draft()
		first.envelope.Commits = [][]byte{shared}
		if v := w.submit(first.seal(t))[0]; v.Accepted == nil {
			t.Fatalf("an honest commit: %v", v.Problem)
		}
		cases := map[string]func(d *draft){
			"envelope":     func(d *draft) { d.blob = []byte("no envelope") },
			"wrong-app":    func(d *draft) { d.c.App = "shop" },
			"unknown-key":  func(d *draft) { d.signer = other },
			"revoked-key":  func(d *draft) { d.signer = revoked },
			"signature":    func(d *draft) { d.tamper = func(b []byte) { b[len(b)-1] ^= 1 } },
			"stale":        func(d *draft) { d.c.Created = w.now().Add(-sealpost.FreshnessWindow - time.Millisecond) },
			"expired":      func(d *draft) { d.c.Created = w.now().Add(-time.Minute); d.c.Expires = w.now() },
			"recipient":    func(d *draft) { d.c.Recipient = sealpost.Recipient{9} },
			"carrier":      func(d *draft) { d.c.Carriers = []sealpost.Carrier{sealpost.SMS} },
			"unknown-head": func(d *draft) { d.c.NotBefore = sealpost.Head{Size: 2, Root: sealpost.Hash{1}} },
			"conflict":     func(d *draft) { d.c.ID = held.ID() },
			"epoch-taken": func(d *draft) {
				d.envelope.Commits = [][]byte{append([]byte(nil), shared...)}
				d.envelope.Commits[0][len(shared)-1] ^= 1
			},
		}
		synctest.Wait()
		before := len(w.store.All())
		for want, spoil := range cases {
			d := w.draft()
			spoil(d)
			if got := problemOf(w.submit(d.seal(t))[0]); got != want {
				t.Errorf("problem %q, want %q", got, want)
			}
		}
		synctest.Wait()
		if after := len(w.store.All()); after != before {
			t.Errorf("%d statements were held", after-before)
		}
	})
}

// What is spoiled in more than one way is refused for the first in the list.
func TestSubmitOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.draft()
		d.tamper = func(b []byte) { b[len(b)-1] ^= 1 }
		d.c.Created = 1
		d.c.Expires = 2
		if got := problemOf(w.submit(d.seal(t))[0]); got != "signature" {
			t.Errorf("a stale submission with a wrong signature: %q", got)
		}
	})
}

// The edges of the freshness window, of a head and of an envelope are allowed.
func TestSubmitEdges(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, change := range map[string]func(d *draft){
			"as old as may be":     func(d *draft) { d.c.Created = w.now().Add(-sealpost.FreshnessWindow) },
			"as early as may be":   func(d *draft) { d.c.Created = w.now().Add(sealpost.FreshnessWindow) },
			"a head of this log":   func(d *draft) { d.c.NotBefore = w.log.Head() },
			"the empty log's root": func(d *draft) { d.c.NotBefore = sealpost.Head{Root: sha256.Sum256(nil)} },
			"several carriers":     func(d *draft) { d.c.Carriers = []sealpost.Carrier{sealpost.RCS, sealpost.FCM} },
			"the same commit in another envelope": func(d *draft) {
				d.envelope.Commits = [][]byte{privateMessage([]byte("g"), 1, contentCommit, nil)}
			},
		} {
			for range 2 {
				d := w.draft()
				change(d)
				if v := w.submit(d.seal(t))[0]; v.Accepted == nil {
					t.Errorf("%s: %v", name, v.Problem)
				}
			}
		}
	})
}

// R44: the same bytes get the same answer and are held once, at once, in one
// batch, and long after they have become stale.
func TestSubmitAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.draft().seal(t)
		both := w.submit(s, s)
		if both[0].Accepted == nil || both[1].Accepted == nil || both[0].Accepted.Again || !both[1].Accepted.Again {
			t.Fatalf("twice in one batch: %+v", both)
		}
		first := both[0].Accepted
		for _, later := range []time.Duration{0, time.Minute, 30 * time.Minute, 3 * time.Hour} {
			time.Sleep(later)
			v := w.submit(s)[0]
			if v.Accepted == nil || !v.Accepted.Again {
				t.Fatalf("after %v: %v", later, v.Problem)
			}
			if string(v.Accepted.Promise) != string(first.Promise) || string(v.Accepted.Salt) != string(first.Salt) {
				t.Errorf("after %v: another answer", later)
			}
		}
		if n := w.count(s.ID(), sealpost.KindCommitment); n != 1 {
			t.Errorf("held %d times", n)
		}
	})
}

// A replay by another tenant, and other bytes under the same id, learn nothing
// and change nothing.
func TestSubmitAgainByOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		v := w.relay.Submit(t.Context(), api.Caller{App: "shop"}, []sealpost.Sealed{s})[0]
		if got := problemOf(v); got != "wrong-app" {
			t.Errorf("another tenant's replay: %q", got)
		}
		d := w.draft()
		d.c.ID = s.ID()
		if got := problemOf(w.submit(d.seal(t))[0]); got != "conflict" {
			t.Errorf("other bytes: %q", got)
		}
		time.Sleep(time.Hour)
		if got := problemOf(w.submit(d.seal(t))[0]); got != "stale" {
			t.Errorf("other bytes, stale: %q", got)
		}
	})
}

// A key that is revoked while a submission waits for the committer does not sign
// anything that is held after the revocation (DESIGN section 12, Keys in time).
func TestRevokedWhileWaiting(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		key := newKey(t, sealpost.EdDSA)
		e := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: key.Public()}
		w.mustPost(e, w.sender)
		entered, leave := make(chan struct{}), make(chan struct{})
		w.store.BeforeHold = func(group []sealpost.Hold) {
			if group[0].KeyEvent != nil {
				close(entered)
				<-leave
			}
		}
		e.Event = sealpost.Revoke
		posted := make(chan error, 1)
		go func() {
			s, err := sealpost.Sign(e, w.sender)
			if err == nil {
				_, err = w.relay.PostKeyEvent(t.Context(), w.caller, s.Bytes())
			}
			posted <- err
		}()
		<-entered
		verdicts := make(chan []api.Verdict, 1)
		d := w.draft()
		d.signer = key
		go func() { verdicts <- w.submit(d.seal(t)) }()
		synctest.Wait() // checked under a key in force, waiting behind the revocation
		close(leave)
		if err := <-posted; err != nil {
			t.Fatal(err)
		}
		if got := problemOf((<-verdicts)[0]); got != "revoked-key" {
			t.Errorf("held after the revocation: problem %q", got)
		}
	})
}

// A submission that was checked before a revocation was held is held before it,
// also where both are in one group: its promise would be worth nothing otherwise.
func TestRevokedInTheGroup(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		key := newKey(t, sealpost.EdDSA)
		e := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: key.Public()}
		w.mustPost(e, w.sender)
		leave := make(chan struct{})
		w.store.BeforeHold = func([]sealpost.Hold) { <-leave }
		go w.submit(w.draft().seal(t)) // occupies the committer
		time.Sleep(time.Second)
		e.Event = sealpost.Revoke
		revocation, err := sealpost.Sign(e, w.sender)
		if err != nil {
			t.Fatal(err)
		}
		posted := make(chan api.Accepted, 1)
		go func() {
			a, err := w.relay.PostKeyEvent(t.Context(), w.caller, revocation.Bytes())
			if err != nil {
				t.Error(err)
			}
			posted <- a
		}()
		time.Sleep(time.Second)
		d := w.draft()
		d.signer = key
		s := d.seal(t)
		verdicts := make(chan []api.Verdict, 1)
		go func() { verdicts <- w.submit(s) }()
		time.Sleep(time.Second)
		close(leave)
		<-posted
		if v := (<-verdicts)[0]; v.Accepted == nil {
			t.Fatalf("checked before the revocation: %v", v.Problem)
		}
		last := w.store.All()[len(w.store.All())-1]
		if last.Hash != revocation.Hash() {
			t.Error("the revocation is held before what was checked before it")
		}
	})
}

// A key acts when a checkpoint covers its event, and not before.
func TestKeyBeforeItIsLogged(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.log.Hold()
		key := newKey(t, sealpost.EdDSA)
		w.mustPost(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: key.Public()}, w.sender)
		d := w.draft()
		d.signer = key
		s := d.seal(t)
		v := w.submit(s)[0]
		if problemOf(v) != "unavailable" || v.Problem.Retry == 0 {
			t.Errorf("under a key that is not logged: %v", v.Problem)
		}
		w.log.Publish()
		synctest.Wait()
		if v := w.submit(s)[0]; v.Accepted == nil {
			t.Errorf("once it is logged: %v", v.Problem)
		}
		w.log.Hold()
		to := sealpost.Recipient{2}
		w.enrolDevice(newKey(t, sealpost.ES256), to)
		d = w.draft()
		d.c.Recipient = to
		if got := problemOf(w.submit(d.seal(t))[0]); got != "unavailable" {
			t.Errorf("to a device that is not logged: %q", got)
		}
		w.log.Publish()
		synctest.Wait()
		if v := w.submit(d.seal(t))[0]; v.Accepted == nil {
			t.Errorf("once it is logged: %v", v.Problem)
		}
	})
}
