package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
)

const closeMax = 256 // messages closed in one round

// closeMessages gives every message its one outcome: when a receipt or the end
// of its routes decides it, or when it has expired. It is never recomputed: the
// store holds one for each message, and says so of a second.
func (r *Relay) closeMessages(ctx context.Context) {
	tick := time.NewTicker(r.cfg.CloseEvery)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			n, err := r.closeRound(ctx)
			if err != nil && ctx.Err() == nil {
				r.cfg.Logger.Error("close messages", "err", err)
			}
			more = err == nil && n == closeMax
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.closing:
		}
	}
}

// closeRound signs and holds the outcomes of messages that are due.
func (r *Relay) closeRound(ctx context.Context) (n int, err error) {
	due, err := r.cfg.Store.Closable(ctx, r.now(), closeMax)
	if err != nil {
		return 0, fmt.Errorf("look for closable messages: %w", err)
	}
	holds := make([]sealpost.Hold, 0, len(due))
	for _, c := range due {
		h, err := r.outcome(c)
		if err != nil {
			r.cfg.Logger.Error("decide an outcome", "err", err)
			continue
		}
		holds = append(holds, h)
	}
	held, err := r.HoldAll(ctx, holds)
	if err != nil {
		return 0, fmt.Errorf("hold %d outcomes: %w", len(holds), err)
	}
	for _, h := range held {
		switch {
		case h.Err == nil, errors.Is(h.Err, sealpost.ErrEnded):
		case errors.Is(h.Err, sealpost.ErrConflict): // overtaken
			signal(r.closing)
		default:
			return 0, fmt.Errorf("hold an outcome: %w", h.Err)
		}
	}
	return len(holds), nil
}

// outcome signs what was decided and on what. The store bounds the attempts,
// claims and receipts of a message, so that an outcome can list them all.
func (r *Relay) outcome(c sealpost.Closing) (sealpost.Hold, error) {
	m := c.Message
	o := sealpost.Outcome{ID: m.ID, Commitment: m.Commitment, End: c.End, Decided: r.now(),
		Attempts: c.Attempts, Claims: c.Claims, Receipts: c.Receipts}
	s, err := sealpost.Sign(o, r.cfg.Statement)
	if err != nil {
		return sealpost.Hold{}, fmt.Errorf("sign an outcome: %w", err)
	}
	h := holdOf(m.App, m.ID, s)
	h.Outcome = &o
	return h, nil
}
