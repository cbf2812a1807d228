package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// published is how far the log is: what the store holds, what a signed
// checkpoint covers, and for how long the rest has waited.
type published struct {
	logged atomic.Uint64

	mu    sync.Mutex
	end   uint64 // the store has so many statements
	marks []mark // oldest first
}

// A mark says that statements up to end waited since at.
type mark struct {
	end uint64
	at  time.Time
}

// Marks closer together than markEvery are one; there are at most marksMax.
const (
	markEvery = 100 * time.Millisecond
	marksMax  = 1024
)

func newPublished() *published { return &published{} }

// size is what the newest checkpoint covers: `logged` in DESIGN section 12.
func (p *published) size() uint64 { return p.logged.Load() }

func (p *published) held() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func (p *published) start(held, logged uint64, now time.Time) {
	p.logged.Store(logged)
	p.hold(held, now)
}

// hold notes that the store has at least end statements.
func (p *published) hold(end uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end <= p.end {
		return
	}
	p.end = end
	if end <= p.logged.Load() {
		return
	}
	if n := len(p.marks); n > 0 && (n == marksMax || now.Sub(p.marks[n-1].at) < markEvery) {
		p.marks[n-1].end = end
		return
	}
	p.marks = append(p.marks, mark{end, now})
}

// publish notes a checkpoint.
func (p *published) publish(size uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logged.Store(max(size, p.logged.Load()))
	for len(p.marks) > 0 && p.marks[0].end <= size {
		p.marks = p.marks[1:]
	}
}

// lag is how long the oldest statement without a checkpoint has waited.
func (p *published) lag(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.marks) == 0 {
		return 0
	}
	return now.Sub(p.marks[0].at)
}

// publish follows the checkpoints and releases what each one covers.
func (r *Relay) publish(ctx context.Context) {
	for ctx.Err() == nil {
		size, err := r.nextCheckpoint(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.cfg.Logger.Error("follow the log's checkpoints", "err", err)
				pause(ctx, appendPause)
			}
			continue
		}
		r.published.publish(size)
		r.inboxes.release(size)
		r.wakes.ring()
		signal(r.closing)
		r.cfg.Metrics.Logged(r.published.held(), size)
	}
}

// nextCheckpoint waits for one that covers more than the last.
func (r *Relay) nextCheckpoint(ctx context.Context) (uint64, error) {
	if err := r.cfg.Log.WaitPublished(ctx, r.published.size()+1); err != nil {
		return 0, err
	}
	return r.cfg.Log.Published(ctx)
}
