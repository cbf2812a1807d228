package dispatch

import (
	"context"
	"time"
)

// How often a failing Complete is repeated.
const (
	completeRetryMin = 20 * time.Millisecond
	completeRetryMax = 2 * time.Second
)

// complete reports results in batches until the workers have ended. A batch is what
// came in while the last one was being written, or within lingerMax.
func (r *route) complete(hard context.Context) {
	batch := make([]Done, 0, r.cfg.Batch)
	linger := time.NewTimer(lingerMax)
	defer linger.Stop()
	for first := range r.done {
		batch = append(batch[:0], first)
		linger.Reset(lingerMax)
		for open := true; open && len(batch) < cap(batch); {
			select {
			case d, ok := <-r.done:
				if open = ok; ok {
					batch = append(batch, d)
				}
			case <-linger.C:
				open = false
			}
		}
		r.report(hard, batch)
		clear(batch)
	}
}

// report repeats Complete until it succeeds: a result that is lost is an attempt
// made twice. It gives up only when the drain does; the leases then run out.
func (r *route) report(hard context.Context, batch []Done) {
	for wait := completeRetryMin; ; wait = min(2*wait, completeRetryMax) {
		err := r.queue.Complete(hard, batch)
		if err == nil {
			r.completed.Add(uint64(len(batch)))
			return
		}
		if !pause(hard, wait) {
			r.cfg.Log.Error("results not recorded; their leases will run out",
				"carrier", r.traits.Carrier, "count", len(batch), "err", err)
			return
		}
		r.cfg.Log.Warn("record results", "carrier", r.traits.Carrier, "count", len(batch), "err", err)
	}
}
