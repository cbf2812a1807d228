package store

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// holdAttempt writes an attempt and sets the route's next turn, or ends it.
func (g *group) holdAttempt(h *sealpost.Hold) (sealpost.Held, error) {
	a := h.Attempt
	m, app, err := g.message(h, a.ID, a.Commitment)
	if err != nil {
		return sealpost.Held{}, err
	}
	tag := g.vault.tag(tagAttempt, a.Attempt[:])
	if seq, found, err := g.held(m.seq, h.Kind, tag); err != nil {
		return sealpost.Held{}, err
	} else if found {
		return g.sameOrConflict(seq, h.Statement)
	}
	mine, err := g.routeOf(&m, a.Device)
	if err != nil {
		return sealpost.Held{}, err
	}
	if err := g.boundAttempts(m.seq, mine.tries); err != nil {
		return sealpost.Held{}, err
	}
	held, err := g.insertStatement(h, app, int64(m.seq), tag)
	if err != nil {
		return sealpost.Held{}, err
	}
	mine.tries = max(mine.tries, int64(a.Number))
	if a.Result == sealpost.EndpointGone {
		if err := g.dropEndpoint(mine, a.Carrier); err != nil {
			return sealpost.Held{}, err
		}
	}
	if err := g.reschedule(&m, mine, a.Result, h.Retry); err != nil {
		return sealpost.Held{}, err
	}
	err = g.settle(&m)
	g.then(func() { g.recent.note(m.seq, h.Kind, h.Hash, m.ready) })
	return held, err
}

// boundAttempts keeps the attempts of a message within what an outcome lists.
func (g *group) boundAttempts(message uint64, tries int64) error {
	if tries < attemptsFree {
		return nil
	}
	r, _, err := g.c.one(`SELECT count(*) FROM statements WHERE message = ? AND kind = ?`, message, int(sealpost.KindAttempt))
	if err == nil && r.int(0) >= AttemptsMax {
		err = fmt.Errorf("attempts of this message: %w", ErrFull)
	}
	return err
}

// dropEndpoint forgets the endpoint that the try was made with; where the try
// was claimed before a restart of its row, all of the device's on that carrier.
func (g *group) dropEndpoint(mine *route, carrier sealpost.Carrier) error {
	var err error
	if mine.endpoint != 0 {
		_, err = g.c.exec(`DELETE FROM endpoints WHERE id = ? AND device = ? AND carrier = ?`, mine.endpoint, mine.device, int(carrier))
	} else {
		_, err = g.c.exec(`DELETE FROM endpoints WHERE device = ? AND carrier = ?`, mine.device, int(carrier))
	}
	g.devices.dropDevice(mine.device)
	return err
}

// reschedule queues the next try. Without one the route has failed, unless the
// carrier took the message or may have: then the device has its time to come.
func (g *group) reschedule(m *messageRow, mine *route, result sealpost.Result, retry sealpost.UnixMilli) error {
	mine.unqueue()
	if mine.state != routeOpen || m.outcome != 0 {
		return nil
	}
	if retry > 0 {
		d, err := g.device(mine.device)
		if err != nil {
			return err
		}
		if _, reachable := d.reach(m.carriers); reachable && d.Revoked == 0 {
			mine.queue(max(retry, atOnce))
			return nil
		}
	}
	if result != sealpost.Accepted && result != sealpost.Ambiguous {
		mine.state = routeFailed
	}
	return nil
}
