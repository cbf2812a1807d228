package store_test

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// crowd is a world with recipients of one device each, and messages to them.
func crowd(b testing.TB, recipients, messages int) (*storetest.World, []storetest.Device, []sealpost.Hold) {
	w := storetest.NewWorld(b, open)
	devices := make([]storetest.Device, recipients)
	for i := range devices {
		devices[i] = w.Enrol(storetest.Recipient(fmt.Sprint(i)), w.Token(fmt.Sprint("token ", i)))
	}
	holds := make([]sealpost.Hold, messages)
	for i := range holds {
		if i%20 == 0 { // 20,000 a second
			w.Now++
		}
		holds[i] = w.Message(devices[i%len(devices)].Recipient, func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) })
	}
	for part := range slices.Chunk(holds, sealpost.PromiseGroup) { // as the relay promises them
		entries := make([]sealpost.PromiseEntry, len(part))
		for i, h := range part {
			entries[i] = sealpost.PromiseEntry{Leaf: h.Leaf, Statement: h.Hash}
		}
		group, _, err := sealpost.SignGroupPromise(entries, "log.example", w.Now, 0, sealpost.MergeDelay, w.Relay)
		w.Must(err)
		for i := range part {
			part[i].Part = &sealpost.PromisePart{Group: group, Place: i}
		}
	}
	return w, devices, holds
}

func BenchmarkHold(b *testing.B) {
	for _, size := range []int{64, 256, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, _, holds := crowd(b, 64, max(b.N, size))
			b.ResetTimer()
			before := cpu()
			for i := 0; i < b.N; i += size {
				held, err := w.Hold(context.Background(), holds[i:min(i+size, len(holds))])
				if err != nil || held[0].Err != nil {
					b.Fatal(err, held)
				}
			}
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLifecycle is what the store does for a whole message: hold, claim,
// attempt, two receipts, closing, outcome.
func BenchmarkLifecycle(b *testing.B) {
	const size = 256
	w, devices, holds := crowd(b, 64, max(b.N, size))
	byID := map[sealpost.KeyID]storetest.Device{}
	for _, d := range devices {
		byID[d.ID] = d
	}
	ctx := context.Background()
	step := map[string]time.Duration{}
	last := time.Now()
	lap := func(name string) { now := time.Now(); step[name] += now.Sub(last); last = now }
	b.ResetTimer()
	for i := 0; i < b.N; i += size {
		b.StopTimer()
		group := holds[i:min(i+size, len(holds))]
		var attempts, receipts, outcomes []sealpost.Hold
		for j, m := range group {
			d := devices[(i+j)%len(devices)]
			attempts = append(attempts, w.Attempt(m, d, 1, sealpost.Accepted, 0))
			receipts = append(receipts, w.Receipt(m, d, sealpost.HandedOver), w.Receipt(m, d, sealpost.Decrypted))
		}
		b.StartTimer()
		last = time.Now()
		w.MustHold(group...)
		lap("hold")
		work, err := w.ClaimWork(ctx, w.Now, w.Now.Add(time.Minute), 1<<40, size)
		if err != nil || len(work) != len(group) {
			b.Fatal(err, len(work), len(group))
		}
		lap("claim")
		w.MustHold(attempts...)
		lap("attempt")
		w.MustHold(receipts...)
		lap("receipts")
		closings, err := w.Closable(ctx, w.Now, size)
		if err != nil || len(closings) != len(group) {
			b.Fatal(err, len(closings))
		}
		lap("closable")
		b.StopTimer()
		for _, c := range closings {
			outcomes = append(outcomes, w.Outcome(c))
		}
		b.StartTimer()
		last = time.Now()
		w.MustHold(outcomes...)
		lap("outcome")
		w.Must(w.Sweep(ctx, w.Now))
		lap("sweep")
	}
	for name, d := range step {
		b.ReportMetric(float64(d.Microseconds())/float64(b.N), name+"-µs")
	}
}
