package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// lingerMax is the longest that a group waits for more while what comes after it
// is busy.
const lingerMax = 5 * time.Millisecond

// A traffic counts what is busy behind some point of the pipeline. Large groups cost
// less for each statement than small ones, so a group grows while it could not go
// on anyway, and is taken as it is where it could.
type traffic struct {
	mu   sync.Mutex
	busy int
	calm chan struct{} // closed while nothing is busy
}

func newTraffic() *traffic {
	t := &traffic{calm: make(chan struct{})}
	close(t.calm)
	return t
}

func (t *traffic) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy++; t.busy == 1 {
		t.calm = make(chan struct{})
	}
}

func (t *traffic) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy--; t.busy == 0 {
		close(t.calm)
	}
}

func (t *traffic) whenCalm() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calm
}

// linger lets a queue grow until it has enough, or nothing is busy any more.
func (t *traffic) linger(q *queue, enough int) {
	calm := t.whenCalm()
	select {
	case <-calm:
		return
	default:
	}
	timer := time.NewTimer(lingerMax)
	defer timer.Stop()
	for q.len() < enough {
		select {
		case <-timer.C:
			return
		case <-calm:
			return
		case <-q.bell:
		}
	}
}

// A stage is one goroutine of the pipeline with the queue in front of it. It
// takes what waits after its last group ended, never before, so that groups are
// as large as the load is.
type stage struct {
	queue   *queue
	current atomic.Int64 // Unix nanoseconds of the oldest item's admission in hand, 0: none

	behind *traffic   // where that is busy, the stage waits until it has enough; nil: it never waits
	enough int        // items
	of     []*traffic // that the stage makes busy

	mu     sync.Mutex
	isBusy bool
}

// push hands items to the stage, which is busy from now on.
func (s *stage) push(items []*item) {
	if len(items) == 0 {
		return
	}
	s.setBusy(true)
	s.queue.push(items)
}

func (s *stage) setBusy(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isBusy == is {
		return
	}
	s.isBusy = is
	for _, t := range s.of {
		if is {
			t.enter()
		} else {
			t.leave()
		}
	}
}

// run hands groups to do until ctx ends.
func (s *stage) run(ctx context.Context, do func(group []*item)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.queue.bell:
		}
		s.setBusy(true)
		for s.queue.len() > 0 {
			if s.behind != nil {
				s.behind.linger(s.queue, s.enough)
			}
			group := s.queue.take(groupMax, groupBytesMax)
			s.current.Store(group[0].at.UnixNano())
			do(group)
			s.current.Store(0)
		}
		s.setBusy(false)
	}
}
