package dispatch_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
)

// A scripted carrier answers from a function and keeps when it was asked.
type scripted struct {
	traits dispatch.Traits
	answer func(ctx context.Context, n int, what sealpost.Sealed) dispatch.Result

	mu    sync.Mutex
	asked []time.Time
	busy  int
	most  int
}

func (s *scripted) Traits() dispatch.Traits { return s.traits }

func (s *scripted) Send(ctx context.Context, _ sealpost.Endpoint, what sealpost.Sealed, _ time.Time) dispatch.Result {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	n := len(s.asked)
	s.busy++
	s.most = max(s.most, s.busy)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.busy--; s.mu.Unlock() }()
	return s.answer(ctx, n, what)
}

func (s *scripted) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func newScripted(carrier sealpost.Carrier, answer func(ctx context.Context, n int, what sealpost.Sealed) dispatch.Result) *scripted {
	return &scripted{answer: answer, traits: dispatch.Traits{
		Carrier: carrier, Retry: dispatch.Schedule{Base: time.Second, Cap: time.Minute, Attempts: 12},
		Timeout: 10 * time.Second, InFlight: 8, PerSecond: 1000, Burst: 100,
	}}
}

// hangs answers when it is cut off.
func hangs(ctx context.Context, _ int, _ sealpost.Sealed) dispatch.Result {
	<-ctx.Done()
	return dispatch.Result{Outcome: sealpost.Ambiguous, Code: "TIMEOUT"}
}

func always(r dispatch.Result) func(context.Context, int, sealpost.Sealed) dispatch.Result {
	return func(context.Context, int, sealpost.Sealed) dispatch.Result { return r }
}

var (
	taken   = dispatch.Result{Outcome: sealpost.Accepted, Code: "OK"}
	outage  = dispatch.Result{Outcome: sealpost.Transient, Code: "UNAVAILABLE"}
	no      = dispatch.Result{Outcome: sealpost.Unreachable, Code: "NO"}
	quiet   = slog.New(slog.DiscardHandler)
	aMinute = time.Minute
)

// A world is one dispatcher over queues in memory, in the bubble's time.
type world struct {
	t      *testing.T
	queues []*dispatchtest.Memory
	d      *dispatch.Dispatcher
	stop   func()
}

func newWorld(t *testing.T, carriers ...dispatch.Carrier) *world {
	w := &world{t: t}
	cfg := dispatch.Config{Now: time.Now, Random: rand.Reader, Log: quiet}
	for _, c := range carriers {
		q := dispatchtest.NewMemory(t, time.Now)
		w.queues = append(w.queues, q)
		cfg.Routes = append(cfg.Routes, dispatch.Route{Carrier: c, Queue: q})
	}
	d, err := dispatch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.d = d
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func endpoint(t testing.TB, c sealpost.Carrier, value string) sealpost.Endpoint {
	t.Helper()
	e, err := sealpost.NewEndpoint(c, sealpost.EndpointFCMToken, value)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) add(route, n int, c sealpost.Carrier, life time.Duration) {
	w.t.Helper()
	now := time.Now()
	works := make([]sealpost.Work, n)
	for i := range works {
		what := dispatchtest.Sealed(w.t, 600, now, now.Add(life))
		works[i] = dispatchtest.Work(what, endpoint(w.t, c, fmt.Sprintf("device-%d", i)))
	}
	w.queues[route].Add(works...)
}

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(taken))
		w := newWorld(t, c)
		w.add(0, 100, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		if n := w.queues[0].Open(); n != 0 || c.calls() != 100 {
			t.Errorf("%d open after %d attempts, want 0 after 100", n, c.calls())
		}
		if c.most > c.traits.InFlight {
			t.Errorf("%d sends at once, at most %d are allowed", c.most, c.traits.InFlight)
		}
		s := w.d.Stats()[0]
		if s.Outcomes[sealpost.Accepted] != 100 || s.Completed != 100 || s.Held != 0 || s.InFlight != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Which outcomes are tried again, and which end the work at once.
func TestRetriesByOutcome(t *testing.T) {
	for outcome, retried := range map[sealpost.Result]bool{
		sealpost.Accepted: false, sealpost.Unreachable: false, sealpost.EndpointGone: false, sealpost.Invalid: false,
		sealpost.Throttled: true, sealpost.Transient: true, sealpost.ConfigFault: true, sealpost.Ambiguous: true,
	} {
		t.Run(outcome.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newScripted(sealpost.FCM, func(_ context.Context, n int, _ sealpost.Sealed) dispatch.Result {
					if n == 1 {
						return dispatch.Result{Outcome: outcome, Code: "FIRST"}
					}
					return taken
				})
				w := newWorld(t, c)
				w.add(0, 1, sealpost.FCM, time.Hour)
				time.Sleep(5 * time.Minute)
				want := 1
				if retried {
					want = 2
				}
				if got := w.queues[0].Attempts(); len(got) != want || w.queues[0].Open() != 0 {
					t.Errorf("%d attempts, want %d; %d open", len(got), want, w.queues[0].Open())
				}
			})
		})
	}
}

// R74: the schedule of retries is visible in the attempts: numbers rise, each wait
// lies within the jitter of its attempt, and the last one comes before the deadline.
func TestScheduleIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(outage))
		c.traits.Retry = dispatch.Schedule{Base: 4 * time.Second, Cap: 30 * time.Second, Attempts: 6}
		w := newWorld(t, c)
		w.add(0, 1, sealpost.FCM, time.Hour)
		time.Sleep(30 * time.Minute)
		got := w.queues[0].Attempts()
		if len(got) != 6 {
			t.Fatalf("%d attempts, want the schedule's 6", len(got))
		}
		reach := []time.Duration{4, 8, 16, 30, 30}
		for i, d := range got[:5] {
			wait := d.Retry.Time().Sub(d.Ended.Time())
			if wait < 0 || wait > reach[i]*time.Second {
				t.Errorf("attempt %d: retry after %v, want at most %v", i+1, wait, reach[i]*time.Second)
			}
			if next := got[i+1]; next.Started < d.Retry {
				t.Errorf("attempt %d began at %v, before it was due at %v", i+2, next.Started, d.Retry)
			}
		}
		if last := got[5]; last.Retry != 0 {
			t.Errorf("the last attempt has a retry at %v", last.Retry)
		}
	})
}

// Retry-After is a floor, and no retry comes at or after the deadline.
func TestRetryAfterAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wish = 40 * time.Second
		c := newScripted(sealpost.FCM, always(dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA", RetryAfter: wish}))
		w := newWorld(t, c)
		w.add(0, 1, sealpost.FCM, 100*time.Second)
		time.Sleep(10 * time.Minute)
		got := w.queues[0].Attempts()
		if len(got) < 2 || len(got) > 3 {
			t.Fatalf("%d attempts in 100 s with waits of 40 s and more", len(got))
		}
		for i, d := range got[:len(got)-1] {
			if wait := d.Retry.Time().Sub(d.Ended.Time()); wait < wish {
				t.Errorf("attempt %d: retry after %v, the carrier asked for %v", i+1, wait, wish)
			}
		}
		if last := got[len(got)-1]; last.Retry != 0 {
			t.Errorf("a retry at %v, deadline %v", last.Retry, last.Work.Message.Expires)
		}
	})
}

// Work whose deadline passes while its route is shut is never sent.
func TestDeadlinePassesUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(dispatch.Result{
			Outcome: sealpost.ConfigFault, Code: "PERMISSION_DENIED", RetryAfter: 10 * time.Minute,
		}))
		w := newWorld(t, c)
		w.add(0, 1, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		w.add(0, 20, sealpost.FCM, aMinute)
		time.Sleep(9 * time.Minute)
		if c.calls() != 1 {
			t.Errorf("%d attempts on a route that asked for ten minutes of peace", c.calls())
		}
		time.Sleep(20 * time.Minute)
		for _, d := range w.queues[0].Attempts() {
			if d.Started >= d.Work.Message.Expires {
				t.Errorf("attempt at %v, deadline %v", d.Started, d.Work.Message.Expires)
			}
		}
		if open := w.queues[0].Open(); open > 1 {
			t.Errorf("%d open, want none of the 20 that expired", open)
		}
	})
}

// R73: a storm of refusals meets a breaker: after it opens, single probes go out,
// none is taken twice, and all is delivered when the storm is over.
func TestStorm(t *testing.T) {
	for name, bad := range map[string]dispatch.Result{
		"429": {Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: 30 * time.Second},
		"503": {Outcome: sealpost.Transient, Code: "UNAVAILABLE", RetryAfter: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calm := time.Now().Add(5 * time.Minute)
				delivered := map[sealpost.MessageID]int{}
				var mu sync.Mutex
				c := newScripted(sealpost.FCM, func(_ context.Context, _ int, what sealpost.Sealed) dispatch.Result {
					if time.Now().Before(calm) {
						return bad
					}
					mu.Lock()
					defer mu.Unlock()
					delivered[what.ID()]++
					return taken
				})
				w := newWorld(t, c)
				w.add(0, 300, sealpost.FCM, time.Hour)
				time.Sleep(5 * time.Minute)
				// Ten failures open it; sends in flight then end; a probe per opening follows.
				if n := c.calls(); n < 10 || n > 10+c.traits.InFlight+30 {
					t.Errorf("%d requests into a storm of 5 minutes", n)
				}
				// What was in hand when it opened is given back once; a probe takes no
				// more than itself.
				if n := w.d.Stats()[0].Outcomes[dispatch.NotAttempted]; n > 300 {
					t.Errorf("work was given back %d times", n)
				}
				time.Sleep(30 * time.Minute)
				if w.queues[0].Open() != 0 || len(delivered) != 300 {
					t.Errorf("%d delivered, %d open", len(delivered), w.queues[0].Open())
				}
				for id, n := range delivered {
					if n != 1 {
						t.Errorf("%v was sent %d times", id, n)
					}
				}
			})
		})
	}
}

// One dead route does not starve another: each has its own workers and queue.
func TestDeadRouteStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := newScripted(sealpost.RCS, hangs)
		good := newScripted(sealpost.FCM, always(taken))
		w := newWorld(t, dead, good)
		w.add(0, 500, sealpost.RCS, time.Hour)
		time.Sleep(time.Second)
		w.add(1, 200, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		if n := w.queues[1].Open(); n != 0 {
			t.Errorf("%d of 200 wait behind another route", n)
		}
	})
}

// The route's rate is kept.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(taken))
		c.traits.PerSecond, c.traits.Burst = 20, 5
		w := newWorld(t, c)
		w.add(0, 400, sealpost.FCM, time.Hour)
		time.Sleep(5 * time.Second)
		if n := c.calls(); n < 80 || n > 5+5*20+1 {
			t.Errorf("%d attempts in 5 s at 20 per second and a burst of 5", n)
		}
		time.Sleep(time.Minute)
		if n := w.queues[0].Open(); n != 0 {
			t.Errorf("%d open", n)
		}
	})
}

// No attempt could outlast the lease that covers it: what waited too long in hand is
// given back and claimed anew.
func TestLeaseCoversAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, func(ctx context.Context, _ int, _ sealpost.Sealed) dispatch.Result {
			pause(ctx, 9*time.Second)
			return taken
		})
		c.traits.InFlight = 1
		w := newWorld(t, c)
		w.add(0, 20, sealpost.FCM, time.Hour)
		time.Sleep(20 * 9 * time.Second * 2)
		got := w.queues[0].Attempts()
		if len(got) != 20 || w.queues[0].Open() != 0 {
			t.Errorf("%d attempts, %d open", len(got), w.queues[0].Open())
		}
		for _, d := range got {
			if d.Started.Add(c.traits.Timeout) > d.Work.Lease {
				t.Errorf("an attempt begun at %v under a lease until %v", d.Started, d.Work.Lease)
			}
		}
	})
}

// An attempt does not outlast the deadline of its message.
func TestAttemptEndsByDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, hangs)
		w := newWorld(t, c)
		w.add(0, 1, sealpost.FCM, 4*time.Second)
		time.Sleep(time.Minute)
		for _, d := range w.queues[0].Attempts() {
			if d.Ended > d.Work.Message.Expires {
				t.Errorf("ended at %v, deadline %v", d.Ended, d.Work.Message.Expires)
			}
		}
		if len(w.queues[0].Attempts()) != 1 {
			t.Error("want one attempt")
		}
	})
}

// R73: single refusals among successes do not shut the route but slow it down, and
// the rate comes back.
func TestThrottledSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, func(_ context.Context, n int, _ sealpost.Sealed) dispatch.Result {
			if n <= 100 && n%3 == 0 {
				return dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: time.Second}
			}
			return taken
		})
		w := newWorld(t, c)
		w.add(0, 100, sealpost.FCM, time.Hour)
		time.Sleep(500 * time.Millisecond)
		if s := w.d.Stats()[0]; s.Rate >= c.traits.PerSecond || s.Shut != 0 {
			t.Errorf("rate %v of %v, shut for %v", s.Rate, c.traits.PerSecond, s.Shut)
		}
		time.Sleep(5 * time.Minute)
		w.add(0, 1, sealpost.FCM, time.Hour)
		time.Sleep(time.Minute)
		if s := w.d.Stats()[0]; s.Rate != c.traits.PerSecond || w.queues[0].Open() != 0 {
			t.Errorf("rate %v after the peace, %d open", s.Rate, w.queues[0].Open())
		}
	})
}

// A stop lets attempts in hand end, records them, and gives the rest back unsent.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, func(ctx context.Context, _ int, _ sealpost.Sealed) dispatch.Result {
			if !pause(ctx, 3*time.Second) {
				return dispatch.Result{Outcome: sealpost.Ambiguous, Code: "TIMEOUT"}
			}
			return taken
		})
		w := newWorld(t, c)
		w.add(0, 50, sealpost.FCM, time.Hour)
		time.Sleep(time.Second) // eight are in hand
		w.stop()
		got := w.queues[0].Attempts()
		if len(got) != c.traits.InFlight {
			t.Errorf("%d attempts recorded, want the %d in hand", len(got), c.traits.InFlight)
		}
		for _, d := range got {
			if d.Result != taken {
				t.Errorf("an attempt in hand ended with %+v", d.Result)
			}
		}
		if n := w.queues[0].Leased(); n != 0 {
			t.Errorf("%d leases left behind", n)
		}
		if n := w.queues[0].Open(); n != 50-c.traits.InFlight {
			t.Errorf("%d open, want the %d that were not begun", n, 50-c.traits.InFlight)
		}
	})
}

// A carrier that never ends cannot hold a stop up for longer than Drain.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, hangs)
		c.traits.Timeout = 25 * time.Second
		w := newWorld(t, c)
		w.add(0, 1, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > dispatch.DrainDefault+time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

// stuck never gets around to giving back.
type stuck struct{ *dispatchtest.Memory }

func (stuck) GiveBack(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Nor can a queue that does not take work back.
func TestGiveBackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(taken))
		d, err := dispatch.New(dispatch.Config{Now: time.Now, Random: rand.Reader, Log: quiet,
			Routes: []dispatch.Route{{Carrier: c, Queue: stuck{dispatchtest.NewMemory(t, time.Now)}}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := d.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the stop took %v", took-time.Second)
		}
	})
}

// R73: what was not begun comes back although every attempt in hand outlasts the drain:
// only those, whose results are lost with it, keep their lease.
func TestDrainGivesBackBesideHangingAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, hangs)
		c.traits.Timeout = 25 * time.Second
		w := newWorld(t, c)
		w.add(0, 50, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		if n := w.queues[0].Leased(); n != 50 || c.calls() != c.traits.InFlight {
			t.Fatalf("%d leased and %d begun, want all and %d", n, c.calls(), c.traits.InFlight)
		}
		w.stop()
		if n := w.queues[0].Leased(); n != c.traits.InFlight || c.calls() != c.traits.InFlight {
			t.Errorf("%d leased and %d begun, want those %d in hand", n, c.calls(), c.traits.InFlight)
		}
	})
}

// A route that is shut has given its work back for later, and a stop gives it back
// for good.
func TestDrainOfAShutRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(dispatch.Result{Outcome: sealpost.ConfigFault, Code: "PERMISSION_DENIED", RetryAfter: 10 * time.Minute}))
		c.traits.InFlight = 1
		w := newWorld(t, c)
		w.add(0, 50, sealpost.FCM, time.Hour)
		time.Sleep(time.Second)
		if n := w.queues[0].Leased(); n != 49 || c.calls() != 1 {
			t.Fatalf("%d leased after %d attempts, want 49 after one", n, c.calls())
		}
		w.stop()
		if n := w.queues[0].Leased(); n != 0 {
			t.Errorf("%d leases left behind", n)
		}
	})
}

// Results that could not be recorded, or whose recording was not acknowledged, are
// recorded again: no attempt is lost and none is made twice.
func TestCompleteFails(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%v", applied), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newScripted(sealpost.FCM, always(taken))
				w := newWorld(t, c)
				w.queues[0].FailNext(5, applied)
				w.add(0, 40, sealpost.FCM, time.Hour)
				time.Sleep(30 * time.Second)
				if got := w.queues[0].Attempts(); len(got) != 40 || c.calls() != 40 {
					t.Errorf("%d recorded, %d made, want 40", len(got), c.calls())
				}
			})
		})
	}
}

// An adapter that panics, or hands out text as a code, harms neither the route nor
// the record.
func TestAdapterMisbehaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, func(_ context.Context, n int, _ sealpost.Sealed) dispatch.Result {
			switch n {
			case 1:
				panic("poison")
			case 2:
				return dispatch.Result{Outcome: sealpost.Unreachable, Code: "token +491511234567 unknown"}
			}
			return taken
		})
		c.traits.InFlight = 1
		w := newWorld(t, c)
		w.add(0, 3, sealpost.FCM, time.Hour)
		time.Sleep(5 * time.Minute)
		var codes []string
		for _, d := range w.queues[0].Attempts() {
			codes = append(codes, d.Result.Code)
		}
		if got := strings.Join(codes, " "); got != "CARRIER_PANIC UNREADABLE_CODE OK OK" {
			t.Errorf("codes %s", got)
		}
	})
}

// Work of another carrier is not sent over this route.
func TestWrongRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(sealpost.FCM, always(taken))
		w := newWorld(t, c)
		w.add(0, 1, sealpost.SMS, time.Hour)
		time.Sleep(10 * time.Second)
		if c.calls() != 0 {
			t.Error("a route sent another carrier's work")
		}
	})
}

// Nothing the dispatcher logs holds an endpoint.
func TestLogsHoldNoEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := newScripted(sealpost.FCM, func(_ context.Context, n int, _ sealpost.Sealed) dispatch.Result {
			if n == 1 {
				panic("poison")
			}
			return dispatch.Result{Outcome: sealpost.ConfigFault, Code: "PERMISSION_DENIED"}
		})
		q := dispatchtest.NewMemory(t, time.Now)
		q.FailNext(1, false)
		d, err := dispatch.New(dispatch.Config{
			Now: time.Now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &log}, nil)),
			Routes: []dispatch.Route{{Carrier: c, Queue: q}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		for i, carrier := range []sealpost.Carrier{sealpost.FCM, sealpost.FCM, sealpost.SMS} {
			what := dispatchtest.Sealed(t, 600, time.Now(), time.Now().Add(time.Hour))
			q.Add(dispatchtest.Work(what, endpoint(t, carrier, fmt.Sprintf("canary-%d", i))))
		}
		if err := d.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if log.Len() == 0 || strings.Contains(log.String(), "canary") {
			t.Errorf("log: %s", log.String())
		}
	})
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func TestNewChecks(t *testing.T) {
	honest := func() dispatch.Config {
		return dispatch.Config{
			Now: time.Now, Random: rand.Reader, Log: quiet,
			Routes: []dispatch.Route{{Carrier: newScripted(sealpost.FCM, always(taken)), Queue: dispatchtest.NewMemory(t, time.Now)}},
		}
	}
	if _, err := dispatch.New(honest()); err != nil {
		t.Fatalf("honest set-up: %v", err)
	}
	carrier := func(c dispatch.Config) *scripted { return c.Routes[0].Carrier.(*scripted) }
	for name, spoil := range map[string]func(*dispatch.Config){
		"no routes":     func(c *dispatch.Config) { c.Routes = nil },
		"no clock":      func(c *dispatch.Config) { c.Now = nil },
		"no randomness": func(c *dispatch.Config) { c.Random = nil },
		"no log":        func(c *dispatch.Config) { c.Log = nil },
		"huge batch":    func(c *dispatch.Config) { c.Batch = dispatch.BatchMax + 1 },
		"short lease":   func(c *dispatch.Config) { c.Lease = 11 * time.Second },
		"no workers":    func(c *dispatch.Config) { carrier(*c).traits.InFlight = 0 },
		"no rate":       func(c *dispatch.Config) { carrier(*c).traits.PerSecond = 0 },
		"no schedule":   func(c *dispatch.Config) { carrier(*c).traits.Retry.Attempts = 0 },
		"no queue":      func(c *dispatch.Config) { c.Routes[0].Queue = nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := honest()
			spoil(&c)
			if _, err := dispatch.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}
