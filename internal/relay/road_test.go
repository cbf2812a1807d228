package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/internal/relay/relaytest"
)

// tryOnce claims the work that is due, one attempt each, and completes it.
func (w *world) tryOnce(result sealpost.Result, retry sealpost.UnixMilli) []Tried {
	w.t.Helper()
	work, err := w.relay.ClaimWork(w.t.Context(), time.Minute, 10)
	if err != nil {
		w.t.Fatal(err)
	}
	tried := make([]Tried, len(work))
	for i, k := range work {
		id, err := sealpost.NewAttemptID(w.now(), rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		tried[i] = Tried{App: k.Message.App, Retry: retry, Attempt: sealpost.Attempt{Attempt: id, ID: k.Message.ID,
			Commitment: k.Message.Commitment, Device: k.Device, Carrier: k.Endpoint.Carrier, Number: k.Number,
			Started: w.now(), Ended: w.now(), Result: result, Code: "OK"}}
	}
	return tried
}

func (w *world) complete(tried []Tried) {
	w.t.Helper()
	if err := w.relay.CompleteAttempts(w.t.Context(), tried); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// The whole road: accepted, logged, released, tried, received, closed, each step
// a statement with one leaf, and all of it in evidence under one checkpoint.
func TestRoad(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		w.complete(w.tryOnce(sealpost.Accepted, 0))
		for _, level := range []sealpost.Level{sealpost.HandedOver, sealpost.Decrypted, sealpost.Displayed} {
			if v := w.postReceipt(w.receipt(s, level), w.device); v.Accepted == nil {
				t.Fatalf("%v: %v", level, v.Problem)
			}
		}
		time.Sleep(2 * CloseEveryDefault)
		view, err := w.relay.Message(t.Context(), w.caller, s.ID())
		if err != nil {
			t.Fatal(err)
		}
		if view.End != "delivered" {
			t.Errorf("ended %q", view.End)
		}
		want := []string{"commitment", "attempt", "receipt", "receipt", "outcome", "receipt"}
		var got []string
		for _, e := range view.Timeline {
			got = append(got, e.Kind)
		}
		if len(got) != len(want) {
			t.Errorf("timeline %v, want %v", got, want)
		}
		exhibits, err := w.relay.Evidence(t.Context(), w.caller, s.ID())
		if err != nil {
			t.Fatal(err)
		}
		if len(exhibits) != len(want)+2 {
			t.Errorf("%d exhibits, want the timeline and two key events", len(exhibits))
		}
		for i, e := range exhibits {
			if string(e.Proof) == "" || i > 0 && e.Seq <= exhibits[i-1].Seq {
				t.Errorf("exhibit %d: seq %d, proof %q", i, e.Seq, e.Proof)
			}
		}
	})
}

// R105: a device that was not tried when another one's receipt ended the message is
// woken all the same. Its attempt is a statement like any other; the outcome, which
// counts what came before it, stays the one.
func TestSecondDeviceIsWokenAfterTheEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		second := newKey(t, sealpost.ES256)
		w.enrolDevice(second, w.recipient)
		s := w.send()
		if v := w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device); v.Accepted == nil { // it asked by itself
			t.Fatal(v.Problem)
		}
		time.Sleep(2 * CloseEveryDefault)
		if n := w.count(s.ID(), sealpost.KindOutcome); n != 1 {
			t.Fatalf("%d outcomes before anybody was tried, want one", n)
		}
		tried := w.tryOnce(sealpost.Transient, w.now()+1)
		if len(tried) != 1 || tried[0].Attempt.Device != second.Public().ID() {
			t.Fatalf("%d tries %+v, want the second device's", len(tried), tried)
		}
		w.complete(tried)
		time.Sleep(2 * CloseEveryDefault)
		if again := w.tryOnce(sealpost.Accepted, 0); len(again) != 0 {
			t.Errorf("%d tries more of a message that has ended", len(again))
		}
		view, err := w.relay.Message(t.Context(), w.caller, s.ID())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range view.Timeline {
			got = append(got, e.Kind)
		}
		if want := []string{"commitment", "receipt", "outcome", "attempt"}; view.End != "delivered" || !slices.Equal(got, want) {
			t.Errorf("ended %q, timeline %v, want %v", view.End, got, want)
		}
	})
}

// Faults of the store, lost and done but not acknowledged, at each kind of
// statement: each is held once, and whoever was turned away may repeat itself.
func TestHoldFaults(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for _, n := range []int{1, holdTries, holdTries + 1} {
			inWorld(t, func(t *testing.T, w *world) {
				again := n >= holdTries
				fail := func() { w.store.FailHolds(n, applied) }

				s := w.draft().seal(t)
				fail()
				v := w.submit(s)[0]
				if again && !applied { // where it was applied, the relay finds it held
					if problemOf(v) != "unavailable" || v.Problem.Retry == 0 {
						t.Fatalf("with a store that fails %d times: %v", n, v.Problem)
					}
					time.Sleep(v.Problem.Retry)
					v = w.submit(s)[0]
				}
				if v.Accepted == nil || v.Accepted.Again != applied {
					t.Fatalf("applied %v, %d times: %+v, %v", applied, n, v.Accepted, v.Problem)
				}
				promised, err := sealpost.ParsePromised(v.Accepted.Promise)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := promised.Check(w.statement.Public(), sealpost.Salt(v.Accepted.Salt), s.Statement().Bytes()); err != nil {
					t.Errorf("the promise is not of what is held: %v", err)
				}

				synctest.Wait()
				tried := w.tryOnce(sealpost.Accepted, 0)
				if len(tried) != 1 {
					t.Fatalf("%d tries are due", len(tried))
				}
				fail()
				if err := w.relay.CompleteAttempts(t.Context(), tried); again != (err != nil) {
					t.Fatalf("complete: %v", err)
				} else if again {
					w.complete(tried)
				}

				r := w.receipt(s, sealpost.Decrypted)
				fail()
				if v := w.postReceipt(r, w.device); again != (v.Problem != nil) {
					t.Fatalf("receipt: %v", v.Problem)
				} else if again {
					if v := w.postReceipt(r, w.device); v.Accepted == nil {
						t.Fatalf("receipt, again: %v", v.Problem)
					}
				}
				time.Sleep(2 * CloseEveryDefault)
				for _, kind := range []sealpost.Kind{sealpost.KindCommitment, sealpost.KindAttempt, sealpost.KindReceipt, sealpost.KindOutcome} {
					if c := w.count(s.ID(), kind); c != 1 {
						t.Errorf("%v held %d times", kind, c)
					}
				}
			})
		}
	}
}

// A fault while the outcome is held: there is one.
func TestOutcomeFaults(t *testing.T) {
	for _, applied := range []bool{false, true} {
		inWorld(t, func(t *testing.T, w *world) {
			s := w.send()
			w.store.BeforeHold = func(group []sealpost.Hold) {
				if group[0].Outcome != nil {
					w.store.BeforeHold = nil
					w.store.FailHolds(holdTries, applied)
				}
			}
			if v := w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device); v.Accepted == nil {
				t.Fatal(v.Problem)
			}
			time.Sleep(time.Minute)
			if n := w.count(s.ID(), sealpost.KindOutcome); n != 1 {
				t.Errorf("%d outcomes", n)
			}
		})
	}
}

// An outcome that a receipt overtakes is decided again, with that receipt.
func TestOutcomeOvertaken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		entered, leave := make(chan struct{}), make(chan struct{})
		w.store.BeforeHold = func(group []sealpost.Hold) {
			if group[0].Receipt != nil {
				w.store.BeforeHold = nil
				close(entered)
				<-leave
			}
		}
		go w.postReceipt(w.receipt(s, sealpost.Displayed), w.device)
		<-entered
		// The closer now decides that the message has expired, behind the receipt.
		time.Sleep(time.Hour + CloseEveryDefault)
		close(leave)
		time.Sleep(2 * CloseEveryDefault)
		m, err := w.store.Message(t.Context(), s.ID())
		if err != nil || m.End != sealpost.Delivered {
			t.Errorf("ended %v, %v", m.End, err)
		}
	})
}

// Faults of the log: each statement has one leaf in the end (checked by inWorld).
func TestAppendFaults(t *testing.T) {
	for _, applied := range []bool{false, true} {
		inWorld(t, func(t *testing.T, w *world) {
			for range 3 {
				w.log.FailAppends(2, applied)
				w.send()
				w.send()
				time.Sleep(time.Minute)
			}
			if w.relay.published.size() != uint64(len(w.store.All())) {
				t.Errorf("logged %d of %d", w.relay.published.size(), len(w.store.All()))
			}
		})
	}
}

// A restart resumes where the log stands, also where the relay ended between
// store and log, more than one page of the store behind.
func TestRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.send()
		w.log.FailAppends(1<<30, false)
		for range 300 {
			if v := w.submit(w.draft().seal(t))[0]; v.Accepted == nil {
				t.Fatal(v.Problem)
			}
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if len(w.log.All()) >= len(w.store.All()) {
			t.Fatal("the log has everything: the restart shows nothing")
		}
		w.log.FailAppends(0, false)
		w.start()
		if logged, held := len(w.log.All()), len(w.store.All()); logged != held {
			t.Errorf("the log has %d of %d", logged, held)
		}
		w.send()
	})
}

// R8: the store is swept every second, so that an envelope which every device has
// goes soon after (DESIGN section 12, Crash).
func TestSweepsEverySecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		before := w.store.Sweeps()
		time.Sleep(10*time.Second + time.Millisecond)
		if n := w.store.Sweeps() - before; n != 10 {
			t.Errorf("%d sweeps in ten seconds", n)
		}
	})
}

// One commit stands for each group and epoch (DESIGN section 12, Sender replicas),
// also after a restart, whoever comes with another.
func TestEpochsOutliveARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		commit := privateMessage([]byte("group"), 3, contentCommit, nil)
		rival := append([]byte(nil), commit...)
		rival[len(rival)-1] ^= 1
		carrying := func(commit []byte) string {
			d := w.draft()
			d.envelope.Commits = [][]byte{commit}
			return problemOf(w.submit(d.seal(t))[0])
		}
		if got := carrying(commit); got != "" {
			t.Fatalf("an honest commit: %q", got)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.start()
		if got := carrying(rival); got != "epoch-taken" {
			t.Errorf("another commit after a restart: %q", got)
		}
		if got := carrying(commit); got != "" {
			t.Errorf("the same commit in another envelope after a restart: %q", got)
		}
	})
}

// A log that is not the store's is not written to.
func TestDiverged(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"the log has more": func(w *world) { w.log.Put(make([]byte, 33)) },
		"another last leaf": func(w *world) {
			w.cfg.Log = otherLeaf{w.log, uint64(len(w.log.All()) - 1)}
		},
		"another leaf, 200 from the end": func(w *world) {
			for range 210 {
				w.send()
			}
			w.cfg.Log = otherLeaf{w.log, uint64(len(w.log.All()) - 200)}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.enrol()
			w.send()
			if err := w.stop(); err != nil {
				t.Fatal(err)
			}
			w.start()
			spoil(w)
			if err := w.stop(); err != nil {
				t.Fatal(err)
			}
			w.start()
			if err := w.stop(); !errors.Is(err, ErrDiverged) {
				t.Errorf("%s: the relay started: %v", name, err)
			}
			if v := w.submit(w.draft().seal(t))[0]; problemOf(v) != "unavailable" {
				t.Errorf("%s: and accepts: %v", name, v.Problem)
			}
		})
	}
}

// otherLeaf is a log with one leaf changed.
type otherLeaf struct {
	*relaytest.Log
	at uint64
}

func (l otherLeaf) Leaf(ctx context.Context, i uint64) ([]byte, error) {
	leaf, err := l.Log.Leaf(ctx, i)
	if err == nil && i == l.at {
		leaf = append([]byte(nil), leaf...)
		leaf[32] ^= 1
	}
	return leaf, err
}

// A log that puts a leaf elsewhere while the relay runs ends it.
func TestDivergedRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enrol()
		w.log.Put(make([]byte, 33))
		w.submit(w.draft().seal(t))
		if err := w.stop(); !errors.Is(err, ErrDiverged) {
			t.Errorf("ended with %v", err)
		}
	})
}

// A store that must be opened again ends the relay; callers get 503.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enrol()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.cfg.Lost = []error{relaytest.ErrFault}
		w.start()
		w.store.FailHolds(1, false)
		if v := w.submit(w.draft().seal(t))[0]; problemOf(v) != "unavailable" {
			t.Errorf("answered %v", v.Problem)
		}
		if err := w.stop(); !errors.Is(err, relaytest.ErrFault) {
			t.Errorf("ended with %v", err)
		}
		w.start()
		w.log.FailAppends(1, false)
		w.send()
		if err := w.stop(); !errors.Is(err, relaytest.ErrFault) {
			t.Errorf("with a log that takes nothing more: ended with %v", err)
		}
	})
}

// Full queues turn newcomers away before anything is accepted, and everything
// that was accepted is answered.
func TestBusy(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.cfg.QueueBytes = sealpost.SubmissionMax
		w.cfg.QueueAge = time.Minute
		w.start()
		leave := make(chan struct{})
		w.store.BeforeHold = func([]sealpost.Hold) { <-leave }
		const sent = 100
		answers := make(chan api.Verdict, sent)
		for range sent {
			s := w.draft().seal(t)
			go func() { answers <- w.submit(s)[0] }()
		}
		synctest.Wait()
		refused := len(answers)
		for range refused {
			if v := <-answers; problemOf(v) != "busy" || v.Problem.Retry == 0 {
				t.Errorf("a full queue answers %v", v.Problem)
			}
		}
		if refused == 0 || refused == sent {
			t.Fatalf("%d of %d are turned away: nothing is shown", refused, sent)
		}
		time.Sleep(w.cfg.QueueAge + time.Second)
		if v := w.submit(w.draft().seal(t))[0]; problemOf(v) != "unavailable" || v.Problem.Retry == 0 {
			t.Errorf("an overdue queue answers %v", v.Problem)
		}
		held := len(w.store.All())
		close(leave)
		for range sent - refused {
			if v := <-answers; v.Accepted == nil {
				t.Errorf("turned away after it was accepted: %v", v.Problem)
			}
		}
		if n := len(w.store.All()) - held; n != sent-refused {
			t.Errorf("%d held of %d accepted", n, sent-refused)
		}
		if v := w.submit(w.draft().seal(t))[0]; v.Accepted == nil {
			t.Errorf("once it is empty: %v", v.Problem)
		}
	})
}

// Without checkpoints the relay stops promising.
func TestNoCheckpoints(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.log.Hold()
		if v := w.submit(w.draft().seal(t))[0]; v.Accepted == nil {
			t.Fatal(v.Problem)
		}
		time.Sleep(LagDefault)
		if v := w.submit(w.draft().seal(t))[0]; v.Accepted == nil {
			t.Fatalf("just in time: %v", v.Problem)
		}
		time.Sleep(time.Second)
		if v := w.submit(w.draft().seal(t))[0]; problemOf(v) != "unavailable" {
			t.Errorf("without a checkpoint for %v: %v", LagDefault, v.Problem)
		}
		if work, err := w.relay.ClaimWork(t.Context(), time.Minute, 10); err != nil || len(work) != 0 {
			t.Errorf("%d tries are released without a checkpoint, %v", len(work), err)
		}
		w.log.Publish()
		synctest.Wait()
		if v := w.submit(w.draft().seal(t))[0]; v.Accepted == nil {
			t.Errorf("with a checkpoint: %v", v.Problem)
		}
	})
}

// Shutting down answers what was accepted and turns the rest away.
func TestDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		leave := make(chan struct{})
		w.store.BeforeHold = func([]sealpost.Hold) { <-leave }
		answer := make(chan api.Verdict, 1)
		s := w.draft().seal(t)
		go func() { answer <- w.submit(s)[0] }()
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- w.stop() }()
		synctest.Wait()
		if v := w.submit(w.draft().seal(t))[0]; problemOf(v) != "unavailable" {
			t.Errorf("accepted while stopping: %v", v.Problem)
		}
		close(leave)
		if v := <-answer; v.Accepted == nil {
			t.Errorf("accepted before: %v", v.Problem)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A message that nobody answers ends once it has expired, not before.
func TestExpired(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		time.Sleep(time.Hour - time.Second)
		if m, _ := w.store.Message(t.Context(), s.ID()); m.End != 0 {
			t.Fatalf("ended %v before it expired", m.End)
		}
		time.Sleep(2 * CloseEveryDefault)
		if m, _ := w.store.Message(t.Context(), s.ID()); m.End != sealpost.Expired {
			t.Errorf("ended %v", m.End)
		}
		if v := w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device); v.Accepted == nil {
			t.Errorf("a late receipt: %v", v.Problem)
		}
		time.Sleep(time.Minute)
		if n := w.count(s.ID(), sealpost.KindOutcome); n != 1 {
			t.Errorf("%d outcomes", n)
		}
	})
}
