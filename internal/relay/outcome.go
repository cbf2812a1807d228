package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
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
		h, err := r.outcome(ctx, c)
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
		if h.Err != nil && !errors.Is(h.Err, sealpost.ErrEnded) {
			return 0, fmt.Errorf("hold an outcome: %w", h.Err)
		}
	}
	return len(holds), nil
}

// outcome signs what was decided and on what.
func (r *Relay) outcome(ctx context.Context, c sealpost.Closing) (sealpost.Hold, error) {
	m := c.Message
	if max(len(c.Attempts), len(c.Claims), len(c.Receipts)) > sealpost.CountedMax {
		if err := r.countFewer(ctx, &c); err != nil {
			return sealpost.Hold{}, err
		}
	}
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

// countFewer keeps an outcome within CountedMax where a device or a carrier was
// too talkative: the receipts that decide first, then whatever came first.
func (r *Relay) countFewer(ctx context.Context, c *sealpost.Closing) error {
	records, err := r.cfg.Store.Records(ctx, c.Message.App, c.Message.ID)
	if err != nil {
		return fmt.Errorf("count a message's statements: %w", err)
	}
	c.Attempts = firstOf(records, sealpost.KindAttempt, c.Attempts)
	c.Claims = firstOf(records, sealpost.KindCarrierClaim, c.Claims)
	slices.SortStableFunc(records, func(a, b sealpost.Record) int { return weight(a) - weight(b) })
	c.Receipts = firstOf(records, sealpost.KindReceipt, c.Receipts)
	return nil
}

// weight sorts deciding receipts before others.
func weight(rec sealpost.Record) int {
	if rec.Kind == sealpost.KindReceipt {
		if s, err := sealpost.Parse(rec.Statement); err == nil {
			if receipt, err := s.Receipt(); err == nil && (receipt.Level.Positive() || receipt.Level.Negative()) {
				return 0
			}
		}
	}
	return 1
}

// firstOf returns at most CountedMax hashes of those counted, ascending.
func firstOf(records []sealpost.Record, kind sealpost.Kind, counted []sealpost.Hash) []sealpost.Hash {
	if len(counted) <= sealpost.CountedMax {
		return counted
	}
	out := make([]sealpost.Hash, 0, sealpost.CountedMax)
	for _, rec := range records {
		if rec.Kind == kind && slices.Contains(counted, rec.Hash) && len(out) < sealpost.CountedMax {
			out = append(out, rec.Hash)
		}
	}
	slices.SortFunc(out, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}
