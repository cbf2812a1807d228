package dispatchtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// A Memory is a queue in memory that fails its test when it is misused: when a
// result is reported twice, or for work that was never handed out, or with times
// that cannot be.
type Memory struct {
	t    testing.TB
	now  func() time.Time
	wake chan struct{}

	mu       sync.Mutex
	items    []*item
	index    map[key]*item
	attempts []dispatch.Done // that were made, in the order of their completion
	failing  int
	lost     int
	seen     map[sealpost.AttemptID]bool
}

type item struct {
	work  sealpost.Work
	due   sealpost.UnixMilli
	lease sealpost.UnixMilli
	// unsent work came back without an attempt: this process has it still, under its
	// lease, and hands it out when it is due.
	unsent bool
	final  bool
	done   []dispatch.Done
}

// NewMemory makes an empty queue.
func NewMemory(t testing.TB, now func() time.Time) *Memory {
	return &Memory{t: t, now: now, wake: make(chan struct{}, 1),
		index: map[key]*item{}, seen: map[sealpost.AttemptID]bool{}}
}

var _ dispatch.Queue = (*Memory)(nil)

// ErrQueue is the error of a failing queue.
var ErrQueue = errors.New("the queue is told to fail")

// Add makes work due at once and wakes the dispatcher.
func (m *Memory) Add(works ...sealpost.Work) {
	m.mu.Lock()
	for _, w := range works {
		it := &item{work: w, due: sealpost.FromTime(m.now())}
		m.items = append(m.items, it)
		m.index[keyOf(&w)] = it
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// FailNext makes the next calls of Complete fail: with applied false nothing is
// recorded, with applied true all is and only the answer is lost.
func (m *Memory) FailNext(calls int, applied bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if applied {
		m.lost = calls
	} else {
		m.failing = calls
	}
}

// Claim implements [dispatch.Queue].
func (m *Memory) Claim(_ context.Context, n int, lease time.Duration) ([]sealpost.Work, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := sealpost.FromTime(m.now())
	var out []sealpost.Work
	for _, it := range m.items {
		if len(out) == n {
			break
		}
		if it.final || it.due > now || it.lease > now && !it.unsent {
			continue
		}
		it.lease, it.unsent = now.Add(lease), false
		w := it.work
		w.Lease = it.lease
		out = append(out, w)
	}
	return out, nil
}

// Complete implements [dispatch.Queue].
func (m *Memory) Complete(ctx context.Context, done []dispatch.Done) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.failing > 0 {
		m.failing--
		return ErrQueue
	}
	for _, d := range done {
		m.record(m.index[keyOf(d.Work)], d)
	}
	if m.lost > 0 {
		m.lost--
		return ErrQueue
	}
	return nil
}

// GiveBack implements [dispatch.Queue].
func (m *Memory) GiveBack(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, it := range m.items {
		if it.unsent {
			it.unsent, it.lease, it.due = false, 0, 0
		}
	}
	return nil
}

// Restart is the queue as the next process finds it: only work and leases are left.
func (m *Memory) Restart() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range m.items {
		if it.unsent {
			it.unsent, it.due = false, 0
		}
	}
	return m
}

type key struct {
	message sealpost.MessageID
	device  sealpost.KeyID
}

func keyOf(w *sealpost.Work) key { return key{w.Message.ID, w.Device} }

func (m *Memory) record(it *item, d dispatch.Done) {
	if d.Attempted() && m.seen[d.Attempt] {
		return // a repeated Complete
	}
	switch {
	case it == nil:
		m.t.Errorf("a result for work that was never handed out")
		return
	case !d.Attempted() && (d.Started != 0 || d.Ended != 0 || d.Attempt != sealpost.AttemptID{}):
		m.t.Errorf("work given back unsent has the times or the id of an attempt")
	case d.Attempted() && (d.Started == 0 || d.Ended < d.Started || d.Started >= d.Work.Message.Expires):
		m.t.Errorf("attempt from %v to %v, deadline %v", d.Started, d.Ended, d.Work.Message.Expires)
	case d.Retry != 0 && d.Retry >= d.Work.Message.Expires:
		m.t.Errorf("retry at %v, at or after the deadline %v", d.Retry, d.Work.Message.Expires)
	case !dispatch.ValidCode(d.Result.Code):
		m.t.Errorf("code %q is outside the alphabet", d.Result.Code)
	}
	if d.Attempted() {
		m.seen[d.Attempt] = true
		m.attempts = append(m.attempts, d)
		it.work.Number++
	}
	it.done = append(it.done, d)
	it.due, it.final = d.Retry, d.Retry == 0
	if it.unsent = !d.Attempted() && !it.final; !it.unsent {
		it.lease = 0
	}
}

// Wake implements [dispatch.Queue].
func (m *Memory) Wake() <-chan struct{} { return m.wake }

// Attempts returns the attempts recorded so far.
func (m *Memory) Attempts() []dispatch.Done {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.attempts)
}

// Open is how much work is not final yet.
func (m *Memory) Open() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range m.items {
		if !it.final {
			n++
		}
	}
	return n
}

// Leased is how much work is leased at present.
func (m *Memory) Leased() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := sealpost.FromTime(m.now())
	for _, it := range m.items {
		if it.lease > now && !it.final {
			n++
		}
	}
	return n
}
