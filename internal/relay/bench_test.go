package relay

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// nullStore holds nothing, gives seqs, and takes the time of one sync for each
// group without using a processor, so that what is measured is ours.
type nullStore struct {
	Store
	keys    []sealpost.Device
	devices []sealpost.Device
	next    uint64
}

func (s *nullStore) Spool(_ context.Context, blobs [][]byte) ([]sealpost.Spooled, error) {
	return make([]sealpost.Spooled, len(blobs)), nil
}
func (s *nullStore) GiveUp([]sealpost.Spooled) error { return nil }
func (s *nullStore) Hold(_ context.Context, group []sealpost.Hold) ([]sealpost.Held, error) {
	time.Sleep(2 * time.Millisecond)
	out := make([]sealpost.Held, len(group))
	for i := range group {
		out[i].Record = group[i].Record
		out[i].Record.Seq = s.next
		s.next++
	}
	return out, nil
}

func (s *nullStore) Size(context.Context) (uint64, error) { return 2, nil }
func (s *nullStore) SenderKeys(context.Context, string) ([]sealpost.Device, error) {
	return s.keys, nil
}
func (s *nullStore) Devices(context.Context, string, sealpost.Recipient) ([]sealpost.Device, error) {
	return s.devices, nil
}
func (s *nullStore) Closable(context.Context, sealpost.UnixMilli, int) ([]sealpost.Closing, error) {
	return nil, nil
}

// nullLog takes everything.
type nullLog struct {
	Log
	size atomic.Uint64
}

func (l *nullLog) Append(_ context.Context, leaves [][]byte) (uint64, error) {
	n := uint64(len(leaves))
	return l.size.Add(n) - n, nil
}
func (l *nullLog) IntegratedSize(context.Context) (uint64, error) { return l.size.Load(), nil }
func (l *nullLog) Published(context.Context) (uint64, error)      { return l.size.Load(), nil }
func (l *nullLog) WaitPublished(ctx context.Context, size uint64) error {
	for l.size.Load() < size {
		if !pause(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// BenchmarkSubmit measures what the relay costs for one message, store and log
// apart: checks, verification, leaf and promise, over 1,000 sender keys.
func BenchmarkSubmit(b *testing.B) {
	for name, size := range map[string]int{"single": 1, "batch32": 32} {
		b.Run(name, func(b *testing.B) { benchSubmit(b, size) })
	}
}

func benchSubmit(b *testing.B, size int) {
	const senders, callers = 1000, 256
	store := &nullStore{next: 2}
	var signers []*sealpost.PrivateKey
	for range senders {
		k := newKey(b, sealpost.EdDSA)
		signers = append(signers, k)
		store.keys = append(store.keys, sealpost.Device{App: bank, Key: k.Public()})
	}
	store.devices = []sealpost.Device{{App: bank, Assurance: sealpost.AssuranceSoftware}}
	log := &nullLog{}
	log.size.Store(2)
	r, err := New(Config{Store: store, Log: log, Statement: signers[0], Origin: "log.example", Carriers: []sealpost.Carrier{sealpost.FCM},
		Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	r.published.start(2, 2, time.Now())
	r.projector.next, r.projector.end = 2, 2
	ctx, cancel := context.WithCancel(b.Context())
	var loops sync.WaitGroup
	loops.Go(func() { r.verifier.run(ctx) })
	loops.Go(func() { r.preparer.run(ctx, func(error) {}) })
	loops.Go(func() { r.committer.run(ctx, func(error) {}) })
	loops.Go(func() { _ = r.projector.run(ctx) })
	loops.Go(func() { r.publish(ctx) })
	r.admission.open()

	const drafts = 4096
	sealed := make([]sealpost.Sealed, drafts)
	for i := range sealed {
		w := &world{t: b, sender: signers[i%senders], recipient: sealpost.Recipient{byte(i)}}
		d := w.draft()
		d.envelope.Message = append(privateMessage([]byte("group"), 3, contentApplication, d.c.AAD())[:4+6+8+1+49+12], append([]byte{0x44, 0xb0}, bytes.Repeat([]byte("c"), 1200)...)...)
		sealed[i] = d.seal(b)
	}
	caller := api.Caller{App: bank}
	b.ResetTimer()
	before, start := cpu(b), time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for {
				at := int(next.Add(int64(size))) - size
				if at >= b.N {
					return
				}
				at %= drafts - size
				for _, v := range r.Submit(ctx, caller, sealed[at:at+size]) {
					if v.Accepted == nil {
						b.Error(v.Problem)
						return
					}
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/message")
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
	b.StopTimer()
	cancel()
	loops.Wait()
}

// cpu is the process's time on all processors.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
