package store

import (
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A route's row, as the writer needs it.
type routeRow struct {
	device   int64
	state    int
	handed   bool
	receipts int64
	tries    int64
	endpoint int64
	queued   bool
	waiting  bool // in the inbox on disk
}

// routes are all routes of a message; there are at most DevicesMax.
func (g *group) routes(message uint64) (out []routeRow, err error) {
	err = g.c.each(`SELECT device, state, handed, receipts, tries, endpoint, queue, waiting FROM routes WHERE message = ?`, func(r row) error {
		out = append(out, routeRow{r.int(0), int(r.int(1)), r.int(2) != 0, r.int(3), r.int(4), r.int(5), !r.null(6), !r.null(7)})
		return nil
	}, message)
	return out, err
}

// routeOf finds the route to a device among those of its message.
func (g *group) routeOf(message uint64, device sealpost.KeyID) (routes []routeRow, mine *routeRow, err error) {
	id, found, err := g.deviceID(device)
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, fmt.Errorf("device: %w", sealpost.ErrNotFound)
	}
	if routes, err = g.routes(message); err != nil {
		return nil, nil, err
	}
	for i := range routes {
		if routes[i].device == id {
			return routes, &routes[i], nil
		}
	}
	return nil, nil, fmt.Errorf("the message has no route to this device: %w", sealpost.ErrNotFound)
}

// holdReceipt writes a receipt and what it says of the message's progress. One
// that comes after the outcome is held too; it changes no end.
func (g *group) holdReceipt(h *sealpost.Hold) (sealpost.Held, error) {
	r := h.Receipt
	m, app, err := g.message(h, r.ID, r.Commitment)
	if err != nil {
		return sealpost.Held{}, err
	}
	routes, mine, err := g.routeOf(m.seq, r.Key)
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
	if err := g.advance(m, mine, r.Level); err != nil {
		return sealpost.Held{}, err
	}
	return held, errors.Join(g.decide(m, routes), g.dropIfHanded(m, routes))
}

// advance moves a route to what its device says. A device that has the message
// needs no more waking.
func (g *group) advance(m messageRow, mine *routeRow, level sealpost.Level) error {
	has := level == sealpost.HandedOver || level.Positive()
	switch {
	case level.Positive():
		mine.state = routeOpened
	case level.Negative() && mine.state != routeOpened:
		mine.state = routeRefused
	case level == sealpost.HandedOver && mine.state < routeHanded:
		mine.state = routeHanded
	}
	mine.handed = mine.handed || has
	if has || level.Negative() {
		mine.queued, mine.waiting = false, false
		device := mine.device
		g.then(func() { g.inbox.drop(device, m.seq) })
	}
	return g.saveRoute(m.seq, mine)
}

// saveRoute writes a route's progress; a route that is not queued leaves its queue.
func (g *group) saveRoute(message uint64, r *routeRow) error {
	_, err := g.c.exec(`UPDATE routes SET state = ?, handed = ?, receipts = ?, tries = ?, queue = CASE WHEN ? THEN queue END, waiting = CASE WHEN ? THEN waiting END WHERE message = ? AND device = ?`,
		r.state, flag(r.handed), r.receipts, r.tries, flag(r.queued), flag(r.waiting), message, r.device)
	return err
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// decide says whether an open message's outcome can be decided now, and which.
func (g *group) decide(m messageRow, routes []routeRow) error {
	if m.outcome != 0 {
		return nil
	}
	end := endOf(routes)
	if end == m.ready {
		return nil
	}
	turn := int64(0)
	if end == 0 {
		turn = int64(m.expires)
	}
	_, err := g.c.exec(`UPDATE messages SET ready = ?, turn = ? WHERE seq = ?`, int(end), turn, m.seq)
	return err
}

// endOf is the end that a message's routes have reached, 0 while one of them
// may still change it. A single device that opened it decides.
func endOf(routes []routeRow) sealpost.End {
	var refused, pending bool
	for _, r := range routes {
		switch r.state {
		case routeOpened:
			return sealpost.Delivered
		case routeRefused:
			refused = true
		case routeOpen, routeHanded:
			pending = true
		}
	}
	switch {
	case pending || len(routes) == 0:
		return 0
	case refused:
		return sealpost.Refused
	}
	return sealpost.Undeliverable
}

// dropIfHanded gives up the blob once every device has it (12, Crash).
func (g *group) dropIfHanded(m messageRow, routes []routeRow) error {
	for _, r := range routes {
		if !r.handed {
			return nil
		}
	}
	return g.dropBlob(m)
}
