package relay

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Signatures are verified in batches, because one equation over many is three
// times cheaper than many. A batch grows only while the next stage is busy, when
// waiting costs nothing.
const (
	batchMax    = 256                  // signatures in one equation
	batchEnough = 128                  // worth starting although the next stage is busy
	lingerMax   = 5 * time.Millisecond // the longest wait for more, while the next stage is busy
)

// A verifier takes items, verifies their signatures and hands the sound ones to
// the preparer, one batch at a time for each processor.
type verifier struct {
	queue *queue
	next  *stage
	judge *ed25519Judge
	now   func() time.Time
	slots chan struct{}
}

func newVerifier(next *stage, now func() time.Time, report func(int, bool)) *verifier {
	return &verifier{queue: newQueue(), next: next, judge: newEd25519Judge(report), now: now,
		slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (v *verifier) run(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.queue.bell:
		}
		for v.queue.len() > 0 {
			select {
			case <-ctx.Done():
				return
			case v.slots <- struct{}{}: // while we wait for a processor, the batch grows
			}
			v.linger()
			batch := v.queue.take(batchMax, groupBytesMax)
			busy.Go(func() {
				v.verify(batch)
				<-v.slots
			})
		}
	}
}

// linger lets a batch grow while its signatures could not go on anyway.
func (v *verifier) linger() {
	if !v.next.busy.Load() || v.queue.len() >= batchEnough {
		return
	}
	timer := time.NewTimer(lingerMax)
	defer timer.Stop()
	for v.queue.len() < batchEnough {
		select {
		case <-timer.C:
			return
		case <-v.next.idle:
			return
		case <-v.queue.bell:
		}
	}
}

// verify judges one batch and passes on what is sound.
func (v *verifier) verify(batch []*item) {
	var edwards, others []*item
	for _, it := range batch {
		if it.check.key.Alg() == sealpost.EdDSA {
			edwards = append(edwards, it)
		} else {
			others = append(others, it)
		}
	}
	sound, refused := v.judge.verify(edwards, v.now())
	for _, it := range others {
		if it.check.key.Verify(it.check.msg, it.check.sig) == nil {
			sound = append(sound, it)
		} else {
			refused = append(refused, it)
		}
	}
	for _, it := range refused {
		it.turnAway(api.ErrSignature)
	}
	pass := make([]*item, 0, len(sound))
	for _, it := range sound {
		if it.late != nil {
			it.turnAway(it.late)
		} else {
			pass = append(pass, it)
		}
	}
	v.next.queue.push(pass)
}
