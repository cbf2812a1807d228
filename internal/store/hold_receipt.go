package store

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// holdReceipt writes a receipt and what it says of the message's progress. One
// that comes after the outcome is held too; it changes no end.
func (g *group) holdReceipt(h *sealpost.Hold) (sealpost.Held, error) {
	r := h.Receipt
	m, app, err := g.message(h, r.ID, r.Commitment)
	if err != nil {
		return sealpost.Held{}, err
	}
	mine, err := g.routeOf(&m, r.Key)
	if err != nil {
		return sealpost.Held{}, err
	}
	tag := g.vault.tag(tagStatement, h.Hash[:])
	if seq, found, err := g.held(m.seq, h.Kind, tag); err != nil {
		return sealpost.Held{}, err
	} else if found {
		return g.sameOrConflict(seq, h.Statement)
	}
	if mine.receipts >= ReceiptsMax {
		return sealpost.Held{}, fmt.Errorf("receipts of this device for this message: %w", ErrFull)
	}
	held, err := g.insertStatement(h, app, int64(m.seq), tag)
	if err != nil {
		return sealpost.Held{}, err
	}
	mine.receipts++
	if mine.advance(r.Level) {
		if err := g.leaveInbox(mine.device, m.seq); err != nil {
			return sealpost.Held{}, err
		}
	}
	err = g.settle(&m)
	g.then(func() { g.recent.note(m.seq, h.Kind, h.Hash, m.ready) })
	return held, err
}

// routeOf finds the route to the device with a key.
func (g *group) routeOf(m *messageRow, key sealpost.KeyID) (*route, error) {
	id, found, err := g.deviceID(key)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("device: %w", sealpost.ErrNotFound)
	}
	if mine := m.route(id); mine != nil {
		return mine, nil
	}
	return nil, fmt.Errorf("the message has no route to this device: %w", sealpost.ErrNotFound)
}

// advance moves a route to what its device says. It says whether the device
// wants the message no more: then it needs no waking either.
func (r *route) advance(level sealpost.Level) (done bool) {
	has := level == sealpost.HandedOver || level.Positive()
	switch {
	case level.Positive():
		r.state = routeOpened
	case level.Negative() && r.state != routeOpened:
		r.state = routeRefused
	case level == sealpost.HandedOver && r.state < routeHanded:
		r.state = routeHanded
	}
	r.handed = r.handed || has
	if done = has || level.Negative(); done {
		r.unqueue()
	}
	return done
}
