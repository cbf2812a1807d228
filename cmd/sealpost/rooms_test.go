package main

import (
	"testing"
	"time"

	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
)

// DESIGN section 5, wall 5: the queue that a relay really has is held to the same
// contract as the one in memory that dispatch is tested with.
func TestRelayQueue(t *testing.T) {
	dispatchtest.Queue(t, func(t *testing.T) dispatchtest.QueueRig {
		b := newBank(t)
		q := newRelayQueue(b.server.relay, b.now)
		select {
		case <-q.Wake(): // of what came before
		default:
		}
		return dispatchtest.QueueRig{Queue: q, Now: b.now, Advance: func(d time.Duration) { b.advance(d) },
			Add: func(n int) {
				for range n {
					b.send()
				}
			}}
	})
}
