package main

import (
	"context"

	"github.com/sealpost/sealpost"
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
