package main

import (
	"context"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/relay"
	"github.com/sealpost/sealpost/internal/translog"
)

// Rooms do not know each other; what one says in its own words another hears
// through the few lines here.

// relayLog is the log as the relay asks for it.
type relayLog struct{ *translog.Log }

var _ relay.Log = relayLog{}

func (l relayLog) Published(context.Context) (uint64, error) { return l.Checkpoint().Size, nil }

func (l relayLog) WaitPublished(ctx context.Context, size uint64) error {
	_, err := l.Log.WaitPublished(ctx, size)
	return err
}

func (l relayLog) Proofs(ctx context.Context, indices []uint64) ([][]byte, error) {
	newest := l.Checkpoint()
	proofs := make([][]byte, len(indices))
	for i, index := range indices {
		if index >= newest.Size {
			continue
		}
		p, err := l.TLogProofIn(ctx, index, newest)
		if err != nil {
			return nil, err
		}
		proofs[i] = p
	}
	return proofs, nil
}

func (l relayLog) Had(_ context.Context, head sealpost.Head) (bool, error) {
	if head.Size > l.Checkpoint().Size {
		return false, nil
	}
	root, err := l.RootAt(head.Size)
	return err == nil && root == head.Root, err
}

// relayQueue is the relay's outbox as a dispatcher's route asks for it.
type relayQueue struct {
	relay *relay.Relay
	wake  <-chan struct{}
}

var _ dispatch.Queue = relayQueue{}

func newRelayQueue(r *relay.Relay) relayQueue { return relayQueue{r, r.Wake()} }

func (q relayQueue) Wake() <-chan struct{} { return q.wake }

func (q relayQueue) Claim(ctx context.Context, n int, lease time.Duration) ([]sealpost.Work, error) {
	return q.relay.ClaimWork(ctx, lease, n)
}

// Complete holds a statement of every attempt that was made. Work that was not
// attempted is free again when its lease ends.
func (q relayQueue) Complete(ctx context.Context, done []dispatch.Done) error {
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
	if len(tried) == 0 {
		return nil
	}
	return q.relay.CompleteAttempts(ctx, tried)
}
