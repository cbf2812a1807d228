package relay

import (
	"context"
	"sync/atomic"
)

// A stage is one goroutine of the pipeline with the queue in front of it. It
// takes what waits after its last group ended, never before, so that groups are
// as large as the load is.
type stage struct {
	queue   *queue
	busy    atomic.Bool
	current atomic.Int64  // Unix nanoseconds of the oldest item's admission in hand, 0: none
	idle    chan struct{} // rings when nothing waits any more
}

func newStage() stage { return stage{queue: newQueue(), idle: make(chan struct{}, 1)} }

// run hands groups to do until ctx ends.
func (s *stage) run(ctx context.Context, do func(group []*item)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.queue.bell:
		}
		s.busy.Store(true)
		for group := s.queue.take(groupMax, groupBytesMax); len(group) > 0; group = s.queue.take(groupMax, groupBytesMax) {
			s.current.Store(group[0].at.UnixNano())
			do(group)
			s.current.Store(0)
		}
		s.busy.Store(false)
		signal(s.idle)
	}
}
