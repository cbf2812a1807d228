package store

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// holdOutcome closes a message, once. An outcome that does not count all that
// is held of it, or names an end that it has not come to, was decided on an
// older state: it is a conflict, and the message stays to be closed.
func (g *group) holdOutcome(h *sealpost.Hold) (sealpost.Held, error) {
	o := h.Outcome
	m, app, err := g.message(h, o.ID, o.Commitment)
	if err != nil {
		return sealpost.Held{}, err
	}
	tag := g.vault.tag(tagStatement, h.Hash[:])
	if m.outcome != 0 {
		seq, found, err := g.held(m.seq, h.Kind, tag)
		if err == nil && !found {
			err = sealpost.ErrEnded
		}
		if err != nil {
			return sealpost.Held{}, err
		}
		return g.sameOrConflict(seq, h.Statement)
	}
	if err := g.checkOutcome(&m, o); err != nil {
		return sealpost.Held{}, err
	}
	held, err := g.insertStatement(h, app, int64(m.seq), tag)
	if err != nil {
		return sealpost.Held{}, err
	}
	return held, g.end(&m, o.End)
}

func (g *group) checkOutcome(m *messageRow, o *sealpost.Outcome) error {
	if m.ready == 0 && o.End != sealpost.Expired || m.ready != 0 && o.End != m.ready && !(o.End == sealpost.Expired && m.ready != sealpost.Delivered) {
		return fmt.Errorf("the message has not come to %v: %w", o.End, sealpost.ErrConflict)
	}
	want := map[sealpost.Kind]int{
		sealpost.KindAttempt: len(o.Attempts), sealpost.KindCarrierClaim: len(o.Claims), sealpost.KindReceipt: len(o.Receipts),
	}
	err := g.c.each(`SELECT kind, count(*) FROM statements WHERE message = ? GROUP BY kind`, func(r row) error {
		want[sealpost.Kind(r.int(0))] -= int(r.int(1))
		return nil
	}, m.seq)
	if err != nil {
		return err
	}
	for kind, off := range want {
		if off != 0 {
			return fmt.Errorf("the outcome does not count every %v that is held: %w", kind, sealpost.ErrConflict)
		}
	}
	return nil
}

// end stops trying to deliver a message. Where it was delivered, the roster's other
// devices may still fetch it, and one that was never tried is woken still: one
// device's receipt takes nothing from the others. Its blob goes with the last device
// that wants it, at the latest when it expires.
func (g *group) end(m *messageRow, end sealpost.End) error {
	m.outcome, m.ready = end, end
	seq := m.seq
	g.then(func() { g.recent.ended(seq) })
	m.stopWaking()
	if err := g.save(m); err != nil || end == sealpost.Delivered {
		return err
	}
	return g.stopWaiting(m)
}
