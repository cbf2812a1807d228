package relay

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/api"
)

// admission counts what is in the pipeline. It is the only place where a caller
// is turned away for want of room, and it stands before every check.
type admission struct {
	mu     sync.Mutex
	isOpen bool
	bytes  int64
	most   int64
	n      int           // tickets
	empty  chan struct{} // closed when shut and n is 0
	report func(bytes int64)
}

func newAdmission(most int64, report func(int64)) *admission {
	return &admission{most: most, empty: make(chan struct{}), report: report}
}

func (a *admission) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.isOpen = true
}

func (a *admission) isServing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.isOpen
}

func (a *admission) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.isOpen = false
	if a.n == 0 {
		close(a.empty)
	}
}

// drained waits for the last ticket after close.
func (a *admission) drained(ctx context.Context) {
	select {
	case <-a.empty:
	case <-ctx.Done():
	}
}

// enter makes the ticket of some items. Statements of our own are not turned
// away for want of room: those who make them wait for them one batch at a time.
func (a *admission) enter(items []*item, now time.Time, ours bool) (*ticket, *api.Problem) {
	var bytes int64
	for _, it := range items {
		bytes += it.size()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.isOpen:
		return nil, api.ErrUnavailable.With("the relay is starting or stopping").After(retryUnavailable)
	case !ours && a.bytes+bytes > a.most:
		return nil, api.ErrBusy.After(retryBusy)
	}
	a.bytes += bytes
	a.n++
	t := &ticket{done: make(chan struct{}), free: func() { a.leave(bytes) }}
	t.left.Store(int32(len(items)))
	for _, it := range items {
		it.ticket, it.at = t, now
	}
	a.report(a.bytes)
	return t, nil
}

func (a *admission) leave(bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes -= bytes
	a.n--
	a.report(a.bytes)
	if a.n == 0 && !a.isOpen {
		close(a.empty)
	}
}

// overdue says why newcomers must wait although there is room: the oldest in
// the pipeline, or the oldest that is held and not logged, waits for too long.
func (r *Relay) overdue(now time.Time) *api.Problem {
	oldest := now
	for _, nanos := range []int64{r.verifier.queue.head.Load(), r.preparer.queue.head.Load(), r.preparer.current.Load(), r.committer.queue.head.Load(), r.committer.current.Load()} {
		if at := time.Unix(0, nanos); nanos != 0 && at.Before(oldest) {
			oldest = at
		}
	}
	switch {
	case now.Sub(oldest) > r.cfg.QueueAge:
		return api.ErrUnavailable.With("what was sent before is not durable yet").After(retryUnavailable)
	case r.published.lag(now) > r.cfg.Lag:
		return api.ErrUnavailable.With("the log has no new checkpoint").After(retryUnavailable)
	}
	return nil
}
