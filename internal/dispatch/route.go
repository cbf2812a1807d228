package dispatch

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
)

// A route is one carrier at work: a claimer, its workers, a completer.
type route struct {
	cfg     *Config
	carrier Carrier
	traits  Traits
	queue   Queue
	bucket  *Bucket
	breaker Breaker

	work chan *sealpost.Work
	done chan Done
	held atomic.Int64  // claimed and not yet handed to the completer
	room chan struct{} // a worker has finished something

	outcomes  [sealpost.Ambiguous + 1]atomic.Uint64
	inFlight  atomic.Int64
	completed atomic.Uint64
}

// Stats is what a route has done since it was made.
type Stats struct {
	Carrier sealpost.Carrier
	// Outcomes counts results by outcome; index 0 is work given back unsent.
	Outcomes  [sealpost.Ambiguous + 1]uint64
	Completed uint64 // results the queue has taken
	InFlight  int
	Held      int
	Rate      float64 // attempts per second the route allows itself now
	Shut      time.Duration
}

func newRoute(cfg *Config, r Route) *route {
	t := r.Carrier.Traits()
	return &route{
		cfg: cfg, carrier: r.Carrier, traits: t, queue: r.Queue,
		bucket: NewBucket(t.PerSecond, t.Burst),
		work:   make(chan *sealpost.Work, cfg.Batch+t.InFlight),
		done:   make(chan Done, cfg.Batch),
		room:   make(chan struct{}, 1),
	}
}

// run works until ctx ends and then drains, until hard ends at the latest. What no
// worker has begun by then waits for none of them: it comes back at once, and is
// the queue's own again in the end.
func (r *route) run(ctx, hard context.Context) {
	var workers, completer sync.WaitGroup
	completer.Go(func() { r.complete(hard) })
	for range r.traits.InFlight {
		workers.Go(func() {
			for w := range r.work {
				r.finish(r.attempt(ctx, hard, w))
			}
		})
	}
	r.claim(ctx)
	close(r.work)
	for w := range r.work {
		r.finish(r.giveBack(w, CodeShutdown, 0))
	}
	workers.Wait()
	close(r.done)
	completer.Wait()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackMax)
	defer cancel()
	if err := r.queue.GiveBack(within); err != nil {
		r.cfg.Log.Warn("give work back; its leases will run out", "carrier", r.traits.Carrier, "err", err)
	}
}

// claim keeps the workers supplied while there is due work and the route is open.
func (r *route) claim(ctx context.Context) {
	for ctx.Err() == nil {
		shut, probe := r.breaker.Shut(r.cfg.Now())
		if shut > 0 {
			pause(ctx, shut)
			continue
		}
		n := r.free()
		if probe {
			n = min(n, 1)
		}
		if n == 0 {
			r.await(ctx, nil)
			continue
		}
		works, err := r.queue.Claim(ctx, n, r.cfg.Lease)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("claim work", "carrier", r.traits.Carrier, "err", err)
		}
		if len(works) > n {
			panic("dispatch: the queue handed out more work than was asked for")
		}
		if probe {
			r.forgetRoom()
		}
		r.held.Add(int64(len(works)))
		for i := range works {
			r.work <- &works[i]
		}
		switch {
		case len(works) == 0:
			r.await(ctx, r.queue.Wake())
		case probe:
			r.await(ctx, nil) // for what the probe brings
		}
	}
}

// forgetRoom takes back a signal of room that nobody has waited for.
func (r *route) forgetRoom() {
	select {
	case <-r.room:
	default:
	}
}

// free is how much work may be claimed: nothing until half a batch fits, so that
// claims stay large while the route is busy.
func (r *route) free() int {
	free := cap(r.work) - int(r.held.Load())
	if free < (r.cfg.Batch+1)/2 {
		return 0
	}
	return min(free, r.cfg.Batch)
}

// await returns when a worker has finished something, the queue wakes (if asked
// for), it is time to poll, or ctx ends.
func (r *route) await(ctx context.Context, wake <-chan struct{}) {
	t := time.NewTimer(r.cfg.Poll)
	defer t.Stop()
	room := r.room
	if wake != nil {
		room = nil // what is missing is work, not room for it
	}
	select {
	case <-room:
	case <-wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// finish hands a result to the completer.
func (r *route) finish(d Done) {
	r.outcomes[d.Result.Outcome].Add(1)
	r.done <- d
	r.held.Add(-1)
	select {
	case r.room <- struct{}{}:
	default:
	}
}

// attempt makes one attempt if its time, its lease, the route's breaker and the
// route's rate allow it, and gives the work back unsent if one of them does not.
func (r *route) attempt(ctx, hard context.Context, w *sealpost.Work) Done {
	if w.Endpoint.Carrier != r.traits.Carrier {
		r.cfg.Log.Error("work of another carrier", "route", r.traits.Carrier, "work", w.Endpoint.Carrier)
		return r.giveBack(w, CodeWrongRoute, breakerOpenMax)
	}
	if ctx.Err() != nil {
		return r.giveBack(w, CodeShutdown, 0)
	}
	now, deadline := r.cfg.Now(), w.Message.Expires.Time()
	pass, shut, ok := r.breaker.Admit(now)
	if !ok {
		return r.giveBack(w, CodeRouteShut, shut)
	}
	wait, ok := r.bucket.Take(now, rateWaitMax)
	if !ok {
		r.breaker.Forgo(pass)
		return r.giveBack(w, CodeRouteShut, wait)
	}
	if wait > 0 && !pause(ctx, wait) {
		r.breaker.Forgo(pass)
		return r.giveBack(w, CodeShutdown, 0)
	}
	started := r.cfg.Now()
	if !started.Before(deadline) || started.Add(r.traits.Timeout).After(w.Lease.Time()) {
		r.breaker.Forgo(pass)
		return r.giveBack(w, CodeLeaseSpent, 0)
	}
	result := r.send(hard, w, min(r.traits.Timeout, deadline.Sub(started))).bounded()
	ended := r.cfg.Now()
	r.note(ended, pass, result)
	return Done{
		Work: w, Attempt: r.name(started), Result: result, Retry: r.retry(w, ended, result),
		Started: sealpost.FromTime(started), Ended: sealpost.FromTime(ended),
	}
}

// send asks the carrier, and survives its panic: one poisonous message must not
// stop a route.
func (r *route) send(hard context.Context, w *sealpost.Work, timeout time.Duration) (result Result) {
	r.inFlight.Add(1)
	defer r.inFlight.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			r.cfg.Log.Error("carrier panicked", "carrier", r.traits.Carrier, "message", w.Message.ID)
			result = Result{Outcome: sealpost.Ambiguous, Code: CodePanic}
		}
	}()
	ctx, cancel := context.WithTimeout(hard, timeout)
	defer cancel()
	return r.carrier.Send(ctx, w.Endpoint, w.Sealed, w.Message.Expires.Time())
}

// note lets rate and breaker learn from a result.
func (r *route) note(now time.Time, pass Pass, result Result) {
	if result.Outcome == sealpost.Throttled {
		r.bucket.Shrink(now)
	}
	if r.breaker.Note(now, pass, result) {
		r.cfg.Log.Warn("route shut", "carrier", r.traits.Carrier, "outcome", result.Outcome, "code", result.Code)
	}
}

// retry is when the work is due again, zero for never.
func (r *route) retry(w *sealpost.Work, now time.Time, result Result) sealpost.UnixMilli {
	if !result.Retries() {
		return 0
	}
	at, ok := r.traits.Retry.Next(now, w.Message.Expires.Time(), int(w.Number), result.RetryAfter, r.jitter())
	if !ok {
		return 0
	}
	return sealpost.FromTime(at)
}

// giveBack returns work unsent, due again after wait and a little jitter, or never
// if its deadline comes first.
func (r *route) giveBack(w *sealpost.Work, code string, wait time.Duration) Done {
	d := Done{Work: w, Result: Result{Outcome: NotAttempted, Code: code}}
	if wait > 0 {
		wait += time.Duration(r.jitter() * float64(breakerOpenMin))
	}
	if at := r.cfg.Now().Add(wait); at.Before(w.Message.Expires.Time()) {
		d.Retry = sealpost.FromTime(at)
	} else {
		d.Result.Code = CodeDeadline
	}
	return d
}

// name draws the id of an attempt.
func (r *route) name(started time.Time) sealpost.AttemptID {
	id, err := sealpost.NewAttemptID(sealpost.FromTime(started), r.cfg.Random)
	if err != nil {
		panic("dispatch: no id for an attempt: " + err.Error())
	}
	return id
}

// jitter draws from [0,1) with 53 bits.
func (r *route) jitter() float64 {
	var b [8]byte
	if _, err := io.ReadFull(r.cfg.Random, b[:]); err != nil {
		panic("dispatch: no randomness: " + err.Error())
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

func (r *route) stats() Stats {
	shut, _ := r.breaker.Shut(r.cfg.Now())
	s := Stats{
		Carrier: r.traits.Carrier, Completed: r.completed.Load(), InFlight: int(r.inFlight.Load()),
		Held: int(r.held.Load()), Rate: r.bucket.Rate(), Shut: shut,
	}
	for i := range r.outcomes {
		s.Outcomes[i] = r.outcomes[i].Load()
	}
	return s
}

// pause waits for d and reports true, or false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
