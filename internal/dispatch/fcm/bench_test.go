package fcm_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/lab"
)

// A supply is a queue of n pieces of work that are due at once, counting only: what
// the benchmark measures is the road from Claim to Complete.
type supply struct {
	works    []sealpost.Work
	wake     chan struct{}
	all      chan struct{}
	mu       sync.Mutex
	next     int
	accepted int
	finished int
	claims   int
	batches  int
}

func (s *supply) Claim(_ context.Context, n int, lease time.Duration) ([]sealpost.Work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.works)-s.next)
	out := s.works[s.next : s.next+n]
	s.next += n
	s.claims++
	until := sealpost.FromTime(time.Now().Add(lease))
	for i := range out {
		out[i].Lease = until
	}
	return out, nil
}

func (s *supply) Complete(_ context.Context, done []dispatch.Done) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for _, d := range done {
		if d.Result.Outcome == sealpost.Accepted {
			s.accepted++
		}
		s.finished++
	}
	if s.finished == len(s.works) {
		close(s.all)
	}
	return nil
}

func (s *supply) GiveBack(context.Context) error { return nil }

func (s *supply) Wake() <-chan struct{} { return s.wake }

// BenchmarkDispatch is queue, dispatcher, adapter and the lab's server in one
// process, a message of about 1.5 KB sealed bytes each, over loopback.
func BenchmarkDispatch(b *testing.B) {
	for _, c := range []struct {
		name   string
		secure bool
		conns  int
	}{{"http1", false, 1}, {"http2-1conn", true, 1}, {"http2-2conns", true, 2}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, c.secure, func(l *lab.FCMConfig, f *fcm.Config) {
				l.PerMinute, l.Now, f.Now = 1<<40, nil, time.Now
				f.Connections, f.PerSecond = c.conns, 1e6
			})
			run(b, r)
		})
	}
}

func run(b *testing.B, r *rig) {
	now := time.Now()
	const distinct = 64
	base := make([]sealpost.Work, distinct)
	for i := range base {
		d, err := r.server.Register(lab.Registration{})
		if err != nil {
			b.Fatal(err)
		}
		base[i] = dispatchtest.Work(dispatchtest.Sealed(b, 1000, now, now.Add(time.Hour)), byToken(b, d.Token))
	}
	s := &supply{wake: make(chan struct{}, 1), all: make(chan struct{}), works: make([]sealpost.Work, b.N)}
	for i := range s.works {
		s.works[i] = base[i%distinct]
	}
	d, err := dispatch.New(dispatch.Config{
		Routes: []dispatch.Route{{Carrier: r.carrier, Queue: s}}, Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- d.Run(ctx) }()
	<-s.all
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if s.accepted != b.N {
		b.Fatalf("%d of %d accepted", s.accepted, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
	b.ReportMetric(float64(b.N)/float64(s.batches), "results/batch")
}
