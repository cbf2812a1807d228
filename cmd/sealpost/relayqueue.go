package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/relay"
)

// givenBackMax is how many pieces of unsent work a relayQueue keeps before it
// claims no more; what the dispatcher has in hand then may come on top.
const givenBackMax = 1024

// relayQueue is the relay's outbox as a dispatcher's route asks for it.
//
// Work that comes back unsent stays leased and is handed out from memory when
// it is due again: a route that was shut for a second must not make a message
// wait for the rest of its lease. When the dispatcher stops the relay has it back;
// after a crash the lease ends it.
type relayQueue struct {
	relay *relay.Relay
	wake  <-chan struct{}
	now   func() time.Time

	mu    sync.Mutex
	again []givenBack
}

// givenBack is leased work that was not sent, and when it is due again.
type givenBack struct {
	work sealpost.Work
	due  sealpost.UnixMilli
}

var _ dispatch.Queue = (*relayQueue)(nil)

func newRelayQueue(r *relay.Relay, now func() time.Time) *relayQueue {
	return &relayQueue{relay: r, wake: r.Wake(), now: now}
}

func (q *relayQueue) Wake() <-chan struct{} { return q.wake }

// Claim hands out first what came back, because it is older than all that waits.
func (q *relayQueue) Claim(ctx context.Context, n int, lease time.Duration) ([]sealpost.Work, error) {
	works, room := q.takeAgain(n)
	if room = min(room, n-len(works)); room <= 0 {
		return works, nil
	}
	fresh, err := q.relay.ClaimWork(ctx, lease, room)
	if err != nil && len(works) > 0 {
		return works, nil // the next call hears of it
	}
	return append(works, fresh...), err
}

// takeAgain takes at most n pieces that are due again and still leased, and says
// how many more may be claimed. Where the lease has ended the relay hands the work
// out itself.
func (q *relayQueue) takeAgain(n int) (works []sealpost.Work, room int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := sealpost.FromTime(q.now())
	q.again = slices.DeleteFunc(q.again, func(g givenBack) bool {
		switch {
		case g.work.Lease <= now:
			return true
		case g.due > now || len(works) == n:
			return false
		}
		works = append(works, g.work)
		return true
	})
	return works, givenBackMax - len(q.again)
}

// Complete holds a statement of every attempt that was made.
func (q *relayQueue) Complete(ctx context.Context, done []dispatch.Done) error {
	tried := make([]relay.Tried, 0, len(done))
	for _, d := range done {
		if !d.Attempted() {
			continue
		}
		tried = append(tried, relay.Tried{App: d.Work.Message.App, Retry: d.Retry, Attempt: sealpost.Attempt{
			Attempt: d.Attempt, ID: d.Work.Message.ID, Commitment: d.Work.Message.Commitment,
			Device: d.Work.Device, Carrier: d.Work.Endpoint.Carrier, Number: d.Work.Number,
			Started: d.Started, Ended: d.Ended, Result: d.Result.Outcome, Code: d.Result.Code,
		}})
	}
	if len(tried) > 0 {
		if err := q.relay.CompleteAttempts(ctx, tried); err != nil {
			return err // the caller says all of it again
		}
	}
	q.keepAgain(done)
	return nil
}

// keepAgain keeps what came back unsent, also what is not due again within its
// lease. What came back because its lease is spent needs a new one, which only the
// relay gives.
func (q *relayQueue) keepAgain(done []dispatch.Done) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range done {
		if d.Attempted() || d.Retry == 0 {
			continue
		}
		due := d.Retry
		if d.Result.Code == dispatch.CodeLeaseSpent {
			due = d.Work.Lease
		}
		q.again = append(q.again, givenBack{*d.Work, due})
	}
}

// GiveBack lets the relay hand out at once what came back unsent.
func (q *relayQueue) GiveBack(ctx context.Context) error {
	q.mu.Lock()
	again := q.again
	q.again = nil
	q.mu.Unlock()
	works := make([]sealpost.Work, len(again))
	for i, g := range again {
		works[i] = g.work
	}
	return q.relay.GiveBackWork(ctx, works)
}
