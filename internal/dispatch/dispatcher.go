package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Defaults and bounds of [Config].
const (
	BatchDefault = 256
	BatchMax     = 4096
	LeaseDefault = time.Minute
	PollDefault  = 200 * time.Millisecond
	DrainDefault = 10 * time.Second
	lingerMax    = 2 * time.Millisecond // a result waits so long for others to be completed with it
	rateWaitMax  = time.Second          // work waits so long in hand for its route's rate
	giveBackMax  = 2 * time.Second      // GiveBack may take so long, beyond the drain
	inFlightMax  = 4096
)

// A Route is one carrier and the queue of its work.
type Route struct {
	Carrier Carrier
	Queue   Queue
}

// Config is what a Dispatcher needs to know.
type Config struct {
	Routes []Route
	// Now is the clock, Random supplies attempt ids and jitter. Both are required and
	// are used concurrently.
	Now    func() time.Time
	Random io.Reader
	// Log gets ids, counts and codes. Required.
	Log *slog.Logger
	// Batch bounds one Claim and one Complete. Default BatchDefault.
	Batch int
	// Lease is how long claimed work is ours; at least two carrier timeouts.
	// Default LeaseDefault.
	Lease time.Duration
	// Poll is how often an idle route looks for work that has become due.
	// Default PollDefault.
	Poll time.Duration
	// Drain is how long Run lets attempts and completions go on after its context
	// has ended. Default DrainDefault.
	Drain time.Duration
}

// A Dispatcher runs its routes side by side.
type Dispatcher struct {
	cfg    Config
	routes []*route
}

// New checks the set-up, every fault at once, and starts nothing.
func New(cfg Config) (*Dispatcher, error) {
	orDefault(&cfg.Batch, BatchDefault)
	orDefault(&cfg.Lease, LeaseDefault)
	orDefault(&cfg.Poll, PollDefault)
	orDefault(&cfg.Drain, DrainDefault)
	faults := []error{
		want(len(cfg.Routes) > 0, "routes: want at least one"),
		want(cfg.Now != nil, "now: missing"),
		want(cfg.Random != nil, "random: missing"),
		want(cfg.Log != nil, "log: missing"),
		want(cfg.Batch > 0 && cfg.Batch <= BatchMax, "batch: want 1 to %d", BatchMax),
		want(cfg.Poll > 0 && cfg.Drain > 0, "poll, drain: want positive durations"),
	}
	d := &Dispatcher{}
	for i, r := range cfg.Routes {
		if r.Carrier == nil || r.Queue == nil {
			faults = append(faults, fmt.Errorf("route %d: want a carrier and a queue", i))
			continue
		}
		t := r.Carrier.Traits()
		faults = append(faults,
			want(t.InFlight > 0 && t.InFlight <= inFlightMax, "route %v: in flight: want 1 to %d", t.Carrier, inFlightMax),
			want(t.Timeout > 0 && cfg.Lease >= 2*t.Timeout, "route %v: want a lease of at least two timeouts", t.Carrier),
			want(t.PerSecond > 0 && t.Burst > 0, "route %v: want a rate", t.Carrier),
			want(t.Retry.Base > 0 && t.Retry.Cap >= t.Retry.Base && t.Retry.Attempts > 0, "route %v: want a schedule", t.Carrier))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("set up dispatch: %w", err)
	}
	d.cfg = cfg
	for _, r := range cfg.Routes {
		d.routes = append(d.routes, newRoute(&d.cfg, r))
	}
	return d, nil
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// Run dispatches until ctx ends. Then nothing more is claimed, attempts in hand end
// and are completed, all within Drain, and claimed work that was not begun is given
// back, so that whoever dispatches next need not wait for its lease. It returns nil:
// a queue that fails is retried, not fatal.
func (d *Dispatcher) Run(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	release := context.AfterFunc(ctx, func() { // the deadline of the drain
		t := time.NewTimer(d.cfg.Drain)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-hard.Done():
		}
	})
	defer release()
	var all sync.WaitGroup
	for _, r := range d.routes {
		all.Go(func() { r.run(ctx, hard) })
	}
	all.Wait()
	return nil
}

// Stats returns one entry per route, in the order of Config.Routes.
func (d *Dispatcher) Stats() []Stats {
	out := make([]Stats, len(d.routes))
	for i, r := range d.routes {
		out[i] = r.stats()
	}
	return out
}
