package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// An item is one statement in the pipeline: verified, held, answered.
type item struct {
	hold      sealpost.Hold
	promised  bool  // its poster gets a promise
	outcomeBy int64 // of that promise, 0 for every kind but a commitment

	signer sealpost.KeyID // whose revocation turns it away; zero: ours
	check  signatureCheck // zero: needs none
	late   *api.Problem   // turns it away once its signature is sound

	at      time.Time      // of admission
	held    *sealpost.Held // once it is held
	problem *api.Problem
	err     error // a fault of ours, with problem set
	ticket  *ticket
}

// A signatureCheck is one signature to verify.
type signatureCheck struct {
	key     sealpost.PublicKey
	message toBeSigned
	sig     []byte
}

// A toBeSigned is a signature's message, made only when it is wanted.
type toBeSigned interface{ AppendToBeSigned(b []byte) []byte }

// checkOf is the check of a statement's signature.
func checkOf(key sealpost.PublicKey, s sealpost.Signed) signatureCheck {
	return signatureCheck{key, s, s.Signature()}
}

func (c signatureCheck) isZero() bool { return c.key.IsZero() }

// turnAway ends an item that is not held.
func (it *item) turnAway(p *api.Problem) {
	it.problem = p
	it.ticket.finish()
}

// size is what an item counts for in the queue.
func (it *item) size() int64 {
	const overhead = 512 // its own fields and its promise
	return int64(len(it.hold.Statement)+len(it.hold.Blob)) + overhead
}

// A ticket is what one caller waits for: all of its items.
type ticket struct {
	left atomic.Int32
	done chan struct{}
	free func()
}

func (t *ticket) finish() {
	if t.left.Add(-1) == 0 {
		t.free()
		close(t.done)
	}
}

// A queue is items in the order of their coming. Its bound is the admission's.
type queue struct {
	mu    sync.Mutex
	items []*item
	head  atomic.Int64 // Unix nanoseconds of the oldest item's admission, 0: none
	bell  chan struct{}
}

func newQueue() *queue { return &queue{bell: make(chan struct{}, 1)} }

func (q *queue) push(items []*item) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.head.Store(q.items[0].at.UnixNano())
	q.mu.Unlock()
	signal(q.bell)
}

// take removes the oldest items, at most n and no more bytes than that, but at
// least one where there is one; the returned slice is the caller's.
func (q *queue) take(n int, bytes int64) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.items))
	for i, it := range q.items[:n] {
		if bytes -= it.size(); bytes < 0 && i > 0 {
			n = i
			break
		}
	}
	if len(q.items) == n {
		out := q.items
		q.items = nil
		q.head.Store(0)
		return out
	}
	out := q.items[:n:n]
	q.items = q.items[n:]
	q.head.Store(q.items[0].at.UnixNano())
	return out
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// pass sends items through the pipeline and returns when each is answered. When
// ctx ends first, the items must not be read: they may still be held.
func (r *Relay) pass(ctx context.Context, items []*item) error {
	var signed, ours []*item
	for _, it := range items {
		if it.check.isZero() {
			ours = append(ours, it)
		} else {
			signed = append(signed, it)
		}
	}
	t := items[0].ticket
	r.verifier.queue.push(signed)
	r.preparer.push(ours)
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
