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
// times cheaper than many.
const (
	batchMax    = 512 // signatures in one equation
	batchEnough = 256 // worth starting although what comes after is busy
)

// A verifier takes items, verifies their signatures and hands the sound ones to
// the preparer, one batch at a time for each processor.
type verifier struct {
	queue *queue
	next  *stage
	busy  *traffic // verifying, and all that comes after
	judge *ed25519Judge
	now   func() time.Time
	slots chan struct{}
}

func newVerifier(next *stage, busy *traffic, now func() time.Time, report func(int, bool)) *verifier {
	return &verifier{queue: newQueue(), next: next, busy: busy, judge: newEd25519Judge(report), now: now,
		slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (v *verifier) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
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
			v.busy.linger(v.queue, batchEnough)
			batch := v.queue.take(batchMax, groupBytesMax)
			v.busy.enter()
			running.Go(func() {
				v.verify(batch)
				v.busy.leave()
				<-v.slots
			})
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
		if it.check.key.Verify(it.check.message.AppendToBeSigned(nil), it.check.sig) == nil {
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
	v.next.push(pass)
}
