package dispatch_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
	"pgregory.net/rapid"
)

func TestMemoryQueue(t *testing.T) {
	dispatchtest.Queue(t, func(t *testing.T) dispatchtest.QueueRig {
		now := time.Now()
		clock := func() time.Time { return now }
		q := dispatchtest.NewMemory(t, clock)
		return dispatchtest.QueueRig{
			Queue: q, Now: clock, Restart: func() dispatch.Queue { return q.Restart() },
			Advance: func(d time.Duration) { now = now.Add(d) },
			Add: func(n int) {
				for range n {
					what := dispatchtest.Sealed(t, 100, now, now.Add(time.Hour))
					q.Add(dispatchtest.Work(what, endpoint(t, sealpost.FCM, "device")))
				}
			},
		}
	})
}

// Section 11: the wait is at least the floor, at most floor plus range, and the
// next attempt lies before the deadline, whatever is drawn.
func TestScheduleProperties(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		s := dispatch.Schedule{
			Base:     time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "base")),
			Attempts: rapid.IntRange(1, 100).Draw(t, "attempts"),
		}
		s.Cap = s.Base + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "cap"))
		n := rapid.IntRange(1, 120).Draw(t, "n")
		floor := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "floor"))
		life := time.Duration(rapid.Int64Range(-int64(time.Second), int64(2*time.Hour)).Draw(t, "life"))
		u := rapid.Float64Range(0, 0.999999999).Draw(t, "u")
		at, ok := s.Next(now, now.Add(life), n, floor, u)
		if want := n < s.Attempts && floor < life; ok != want {
			t.Fatalf("ok %v, want %v", ok, want)
		}
		if !ok {
			return
		}
		wait := at.Sub(now)
		if wait < floor || wait > floor+s.Cap || !at.Before(now.Add(life)) {
			t.Fatalf("wait %v, floor %v, cap %v, life %v", wait, floor, s.Cap, life)
		}
	})
}

func TestScheduleGrows(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := dispatch.Schedule{Base: time.Second, Cap: time.Minute, Attempts: 1000}
	for n, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 6: 32, 7: 60, 64: 60, 900: 60} {
		at, _ := s.Next(now, now.Add(time.Hour), n, 0, 0.5)
		if got := at.Sub(now); got != want*time.Second/2 {
			t.Errorf("n=%d at u=0.5: %v, want %v", n, got, want*time.Second/2)
		}
	}
}

// The edges that drawn values miss.
func TestScheduleEdges(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := dispatch.Schedule{Base: 100_000 * time.Hour, Cap: 100_000 * time.Hour, Attempts: 3}
	if at, ok := s.Next(now, now.Add(time.Minute), 1, time.Minute, 0); ok {
		t.Errorf("a floor that ends at the deadline gave %v", at)
	}
	const most = 1 - 1.0/(1<<53) // the largest draw there is
	deadline := now.Add(100_000 * time.Hour)
	if at, ok := s.Next(now, deadline, 1, 0, most); !ok || !at.Before(deadline) {
		t.Errorf("%v %v, deadline %v", at, ok, deadline)
	}
}

func TestBucket(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := dispatch.NewBucket(10, 2)
	take := func(want time.Duration) {
		t.Helper()
		if wait, ok := b.Take(now, time.Second); !ok || wait.Round(time.Millisecond) != want {
			t.Errorf("wait %v, %v, want %v", wait, ok, want)
		}
	}
	take(0)
	take(0)
	take(100 * time.Millisecond) // booked ahead
	take(200 * time.Millisecond)
	if _, ok := b.Take(now, 250*time.Millisecond); ok {
		t.Error("booked beyond the longest wait")
	}
	now = now.Add(400 * time.Millisecond)
	take(0)
	take(0)
	take(100 * time.Millisecond)
	// A complaint halves the rate once a second; peace brings it back.
	b.Shrink(now)
	b.Shrink(now)
	if b.Rate() != 5 {
		t.Errorf("rate %v after one second's complaints, want 5", b.Rate())
	}
	for range 20 {
		now = now.Add(time.Second)
		b.Shrink(now)
	}
	if r := b.Rate(); r < 10.0/33 || r > 0.5 {
		t.Errorf("rate %v after a long storm", r)
	}
	for range 40 {
		now = now.Add(time.Second)
		b.Take(now, 0)
	}
	if b.Rate() != 10 {
		t.Errorf("rate %v after 40 s of peace, want 10", b.Rate())
	}
}

func TestBreaker(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var b dispatch.Breaker
	admit := func(want bool) dispatch.Pass {
		t.Helper()
		p, wait, ok := b.Admit(now)
		if ok != want || !ok && wait <= 0 {
			t.Fatalf("admitted %v, wait %v, want %v", ok, wait, want)
		}
		return p
	}
	for range 9 {
		b.Note(now, admit(true), outage)
	}
	b.Note(now, admit(true), no) // speaks of a device: the route works
	for i := range 10 {
		if opened := b.Note(now, admit(true), outage); opened != (i == 9) {
			t.Fatalf("failure %d: opened %v", i+1, opened)
		}
	}
	admit(false)
	now = now.Add(time.Second)
	probe := admit(true)
	admit(false) // one probe at a time
	if !b.Note(now, probe, outage) {
		t.Error("a failed probe did not shut the route again")
	}
	now = now.Add(time.Second)
	admit(false) // the second pause is longer
	now = now.Add(time.Second)
	b.Forgo(admit(true))
	b.Note(now, admit(true), taken)
	admit(true)
	admit(true)
	// A wish of the provider outlasts the pause, and a fault of ours opens at once.
	b.Note(now, admit(true), dispatch.Result{Outcome: sealpost.ConfigFault, Code: "X", RetryAfter: 10 * time.Minute})
	now = now.Add(10*time.Minute - 1)
	admit(false)
	now = now.Add(1)
	probe = admit(true)
	// A straggler from before the opening does not close it, and cannot pass for the probe.
	b.Note(now, dispatch.Pass{}, taken)
	admit(false)
	b.Note(now, probe, taken)
	admit(true)
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"0": 0, "30": 30 * time.Second, "99999999999": dispatch.RetryAfterMax,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
	} {
		if got, ok := dispatch.ParseRetryAfter(in, now); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "-1", "1.5", "soon", "+3", "1e3"} {
		if got, ok := dispatch.ParseRetryAfter(in, now); ok {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{"30", "-1", "Mon, 23 Nov 2026 12:01:00 GMT", "18446744073709551616"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := dispatch.ParseRetryAfter(s, now); d < 0 || d > dispatch.RetryAfterMax || !ok && d != 0 {
			t.Errorf("%q: %v %v", s, d, ok)
		}
	})
}

func TestValidCode(t *testing.T) {
	for s, want := range map[string]bool{
		"OK": true, "HTTP_503": true, "63003": true, "A-B.C": true,
		"": false, "ok": false, "A B": false, "+49151": false, "Ä": false,
		string(make([]byte, 65)): false, "A\n": false,
	} {
		if dispatch.ValidCode(s) != want {
			t.Errorf("%q: want %v", s, want)
		}
	}
}
