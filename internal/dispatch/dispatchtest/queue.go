package dispatchtest

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// A QueueRig is a queue and the hand that fills it.
type QueueRig struct {
	Queue dispatch.Queue
	// Add makes n pieces of work due, each of another message, expiring in an hour.
	Add func(n int)
	// Restart gives the same queue as the next process finds it.
	Restart func() dispatch.Queue
	// Advance moves the queue's clock.
	Advance func(time.Duration)
	// Now is the queue's clock.
	Now func() time.Time
}

// Queue holds an implementation to the contract of [dispatch.Queue].
func Queue(t *testing.T, rig func(t *testing.T) QueueRig) {
	const lease = time.Minute
	claim := func(t *testing.T, r QueueRig, n, want int) []sealpost.Work {
		t.Helper()
		works, err := r.Queue.Claim(t.Context(), n, lease)
		if err != nil || len(works) != want {
			t.Fatalf("claim: %d pieces of work and %v, want %d", len(works), err, want)
		}
		return works
	}
	complete := func(t *testing.T, r QueueRig, done ...dispatch.Done) {
		t.Helper()
		if err := r.Queue.Complete(t.Context(), done); err != nil {
			t.Fatalf("complete: %v", err)
		}
	}
	t.Run("leases", func(t *testing.T) {
		r := rig(t)
		claim(t, r, 10, 0)
		r.Add(3)
		first := claim(t, r, 2, 2)
		if first[0].Message.ID == first[1].Message.ID {
			t.Fatal("one piece of work was handed out twice")
		}
		for _, w := range first {
			if w.Number != 1 || w.Lease.Time().Sub(r.Now()) < lease-time.Second {
				t.Errorf("number %d, lease %v", w.Number, w.Lease)
			}
		}
		claim(t, r, 10, 1)
		claim(t, r, 10, 0)
		r.Advance(lease + time.Millisecond)
		claim(t, r, 10, 3)
	})
	t.Run("final", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		d := attempted(t, r, &w[0], sealpost.Accepted, 0)
		complete(t, r, d)
		complete(t, r, d) // the answer was lost: the same again
		r.Advance(2 * lease)
		claim(t, r, 1, 0)
	})
	t.Run("retry", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		complete(t, r, attempted(t, r, &w[0], sealpost.Transient, 10*time.Second))
		claim(t, r, 1, 0)
		r.Advance(10*time.Second + time.Millisecond)
		if again := claim(t, r, 1, 1); again[0].Number != 2 {
			t.Errorf("number %d after one attempt, want 2", again[0].Number)
		}
	})
	t.Run("given back", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		complete(t, r, unsent(&w[0], dispatch.CodeRouteShut, sealpost.FromTime(r.Now())))
		if again := claim(t, r, 1, 1); again[0].Number != 1 {
			t.Errorf("number %d after no attempt, want 1", again[0].Number)
		}
	})
	t.Run("given back for later", func(t *testing.T) {
		r := rig(t)
		r.Add(2)
		w := claim(t, r, 2, 2)
		later := sealpost.FromTime(r.Now()).Add(lease / 4)
		complete(t, r, attempted(t, r, &w[0], sealpost.Accepted, 0),
			unsent(&w[1], dispatch.CodeRouteShut, later))
		claim(t, r, 2, 0)
		r.Advance(lease/4 + time.Millisecond)
		if again := claim(t, r, 2, 1); again[0].Message.ID != w[1].Message.ID || again[0].Number != 1 {
			t.Errorf("another piece of work, or number %d, want 1", again[0].Number)
		}
		claim(t, r, 2, 0)
		r.Advance(lease + time.Millisecond)
		if again := claim(t, r, 2, 1); again[0].Number != 1 { // it was not named: its lease is over
			t.Errorf("number %d after no attempt, want 1", again[0].Number)
		}
	})
	t.Run("given back without a lease", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		r.Advance(lease - 5*time.Second) // too little for an attempt
		complete(t, r, dispatch.Done{Work: &w[0], Result: dispatch.Result{Code: dispatch.CodeLeaseSpent}, Retry: sealpost.FromTime(r.Now())})
		again, err := r.Queue.Claim(t.Context(), 10, lease)
		if err == nil && len(again) == 0 { // it waits for the old lease to end
			r.Advance(5*time.Second + time.Millisecond)
			again, err = r.Queue.Claim(t.Context(), 10, lease)
		}
		if err != nil || len(again) != 1 {
			t.Fatalf("claim: %d pieces of work and %v, want 1", len(again), err)
		}
		if again[0].Number != 1 || again[0].Lease.Time().Sub(r.Now()) < lease-time.Second {
			t.Errorf("number %d, lease %v: a lease that was spent is no use again", again[0].Number, again[0].Lease)
		}
	})
	t.Run("given back and not asked for", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		complete(t, r, unsent(&w[0], dispatch.CodeRouteShut, sealpost.FromTime(r.Now())))
		r.Advance(lease + time.Millisecond)
		if again := claim(t, r, 10, 1); again[0].Lease.Time().Sub(r.Now()) < lease-time.Second {
			t.Errorf("lease %v is of before", again[0].Lease)
		}
		claim(t, r, 10, 0)
	})
	t.Run("given back at a stop", func(t *testing.T) {
		r := rig(t)
		r.Add(7)
		w := claim(t, r, 7, 7)
		now := sealpost.FromTime(r.Now())
		// The last is not named: it may have been sent.
		complete(t, r, attempted(t, r, &w[0], sealpost.Accepted, 0), attempted(t, r, &w[1], sealpost.Transient, lease/2),
			unsent(&w[2], dispatch.CodeShutdown, now), unsent(&w[3], dispatch.CodeRouteShut, now.Add(lease/2)),
			unsent(&w[4], dispatch.CodeRouteShut, now.Add(2*lease)), unsent(&w[5], dispatch.CodeLeaseSpent, now))
		for range 2 { // the second finds nothing to give back
			if err := r.Queue.GiveBack(t.Context()); err != nil {
				t.Fatalf("give back: %v", err)
			}
		}
		before := r.Queue
		r.Queue = r.Restart()
		due := map[sealpost.MessageID]bool{}
		for _, a := range claim(t, r, 10, 4) {
			if due[a.Message.ID] = true; a.Number != 1 || a.Lease.Time().Sub(r.Now()) < lease-time.Second {
				t.Errorf("number %d, lease %v", a.Number, a.Lease)
			}
		}
		for i := range w[2:6] {
			if !due[w[2+i].Message.ID] {
				t.Errorf("work %d is not due at once", 2+i)
			}
		}
		if works, err := before.Claim(t.Context(), 10, lease); err != nil || len(works) != 0 {
			t.Errorf("%d pieces of work and %v from the queue that gave them back", len(works), err)
		}
		claim(t, r, 10, 0)
		r.Advance(lease/2 + time.Millisecond)
		if retried := claim(t, r, 10, 1); retried[0].Message.ID != w[1].Message.ID {
			t.Error("other work than the retry was due in its place")
		}
		r.Advance(lease/2 + time.Millisecond)
		if begun := claim(t, r, 1, 1); begun[0].Number != 1 {
			t.Errorf("number %d", begun[0].Number)
		}
	})
	t.Run("handed out again before a stop", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		w := claim(t, r, 1, 1)
		complete(t, r, unsent(&w[0], dispatch.CodeRouteShut, sealpost.FromTime(r.Now())))
		claim(t, r, 1, 1) // and it may have been sent since
		if err := r.Queue.GiveBack(t.Context()); err != nil {
			t.Fatalf("give back: %v", err)
		}
		r.Queue = r.Restart()
		claim(t, r, 1, 0)
		r.Advance(lease + time.Millisecond)
		claim(t, r, 1, 1)
	})
	t.Run("wake", func(t *testing.T) {
		r := rig(t)
		r.Add(1)
		select {
		case <-r.Queue.Wake():
		case <-time.After(5 * time.Second):
			t.Error("new work did not wake the dispatcher")
		}
	})
}

// unsent is work that comes back without an attempt.
func unsent(w *sealpost.Work, code string, retry sealpost.UnixMilli) dispatch.Done {
	return dispatch.Done{Work: w, Result: dispatch.Result{Code: code}, Retry: retry}
}

func attempted(t *testing.T, r QueueRig, w *sealpost.Work, outcome sealpost.Result, retry time.Duration) dispatch.Done {
	t.Helper()
	now := sealpost.FromTime(r.Now())
	id, err := sealpost.NewAttemptID(now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := dispatch.Done{Work: w, Attempt: id, Started: now, Ended: now, Result: dispatch.Result{Outcome: outcome, Code: "TEST"}}
	if retry > 0 {
		d.Retry = now.Add(retry)
	}
	return d
}
