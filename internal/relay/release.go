package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// wakes tell the dispatcher that new work may be due.
type wakes struct {
	mu    sync.Mutex
	bells []chan struct{}
}

func (w *wakes) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.bells {
		signal(b)
	}
}

// Wake makes a channel that receives when work may have been released. It never
// closes and may receive for no reason; each queue of work asks for its own.
func (r *Relay) Wake() <-chan struct{} {
	r.wakes.mu.Lock()
	defer r.wakes.mu.Unlock()
	b := make(chan struct{}, 1)
	r.wakes.bells = append(r.wakes.bells, b)
	return b
}

// ClaimWork leases at most n tries that are due and released: those whose
// commitment a checkpoint covers, or whose sender asked for no more than held.
func (r *Relay) ClaimWork(ctx context.Context, lease time.Duration, n int) ([]sealpost.Work, error) {
	now := r.now()
	work, err := r.cfg.Store.ClaimWork(ctx, now, now.Add(lease), r.published.size(), n)
	if err != nil {
		return nil, fmt.Errorf("claim work: %w", err)
	}
	return work, nil
}

// GiveBackWork ends the leases of tries that were claimed and not begun: they are
// due at once.
func (r *Relay) GiveBackWork(ctx context.Context, works []sealpost.Work) error {
	if err := r.cfg.Store.GiveBackWork(ctx, works); err != nil {
		return fmt.Errorf("give back work: %w", err)
	}
	return nil
}

// A Tried is one attempt that took place.
type Tried struct {
	App     string
	Attempt sealpost.Attempt
	Retry   sealpost.UnixMilli // when to try this route again; 0 ends it
}

// CompleteAttempts signs a statement of each attempt and holds it with its
// retry. It returns when all are durable. It may be repeated after an error: an
// attempt is known by its id, and one statement of it exists. An attempt that
// the store does not take, because the message has ended or has too many, is
// not tried again; neither is an error here.
func (r *Relay) CompleteAttempts(ctx context.Context, tried []Tried) error {
	holds := make([]sealpost.Hold, len(tried))
	for i, t := range tried {
		s, err := sealpost.Sign(t.Attempt, r.cfg.Statement)
		if err != nil {
			return fmt.Errorf("complete an attempt: %w", err)
		}
		holds[i] = holdOf(t.App, t.Attempt.ID, s)
		holds[i].Attempt, holds[i].Retry = &tried[i].Attempt, t.Retry
	}
	held, err := r.HoldAll(ctx, holds)
	if err != nil {
		return fmt.Errorf("hold %d attempts: %w", len(holds), err)
	}
	for _, h := range held {
		if h.Err != nil && !errors.Is(h.Err, sealpost.ErrEnded) {
			r.cfg.Logger.Error("an attempt is not held", "err", h.Err)
		}
	}
	return nil
}

// A recipientKey names a recipient within its tenant.
type recipientKey struct {
	app       string
	recipient sealpost.Recipient
}

// inboxes wakes the devices that wait for a message, and only those for whose
// recipient one was released.
type inboxes struct {
	mu      sync.Mutex
	waiting map[recipientKey]map[*waiter]struct{}
	due     []arrival // held, not released, for recipients with somebody waiting
	n       int
}

type waiter struct {
	ready chan struct{} // capacity 1
}

type arrival struct {
	to  recipientKey
	seq uint64
}

// Bounds of waiting.
const (
	waitersMax = 1 << 15          // devices that wait at once; others are answered at once
	arrivalMax = 1 << 16          // remembered; beyond, everybody who waits is woken
	waitMax    = 30 * time.Second // of one Inbox call
)

func newInboxes() *inboxes {
	return &inboxes{waiting: map[recipientKey]map[*waiter]struct{}{}}
}

// join adds a waiter; end is the store's size then: what the waiter did not see
// because it is held and not released will wake it. Nil: too many wait.
func (b *inboxes) join(k recipientKey, end uint64) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n >= waitersMax {
		return nil
	}
	w := &waiter{ready: make(chan struct{}, 1)}
	if b.waiting[k] == nil {
		b.waiting[k] = map[*waiter]struct{}{}
	}
	b.waiting[k][w] = struct{}{}
	b.n++
	if end > 0 {
		b.due = append(b.due, arrival{k, end - 1})
	}
	return w
}

func (b *inboxes) leave(k recipientKey, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting[k], w)
	if len(b.waiting[k]) == 0 {
		delete(b.waiting, k)
	}
	b.n--
}

// arrived notes a held message.
func (b *inboxes) arrived(k recipientKey, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting[k]) > 0 {
		b.due = append(b.due, arrival{k, seq})
	}
}

// release wakes whoever waits for a message below size.
func (b *inboxes) release(size uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.due[:0]
	for _, a := range b.due {
		if a.seq >= size && len(b.due) < arrivalMax {
			kept = append(kept, a)
			continue
		}
		b.wake(a.to)
	}
	b.due = kept
}

// wakeAll sends everybody home.
func (b *inboxes) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.waiting {
		b.wake(k)
	}
}

func (b *inboxes) wake(k recipientKey) {
	for w := range b.waiting[k] {
		signal(w.ready)
	}
}

// notYet is the problem of a key whose event no checkpoint covers yet.
func notYet() *api.Problem {
	return api.ErrUnavailable.With("the key's event is not in the log yet").After(retryBusy)
}
