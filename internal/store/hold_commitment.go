package store

import (
	"bytes"
	"errors"

	"github.com/sealpost/sealpost"
)

// holdCommitment writes the message, with a route for each of its recipient's
// devices, in the transaction of its statement.
func (g *group) holdCommitment(h *sealpost.Hold, blob ref) (sealpost.Held, error) {
	c := h.Commitment
	app, err := g.appID(c.App)
	if err != nil {
		return sealpost.Held{}, err
	}
	m := messageRow{seq: g.next, tag: g.vault.tag(tagStatement, h.Hash[:]), app: app, expires: c.Expires,
		carriers: carrierSet(c.Carriers), release: c.Release, blob: blob}
	if m.routes, err = g.planRoutes(c); err != nil {
		return sealpost.Held{}, err
	}
	lookup := g.vault.messageLookup(c.ID)
	if taken, err := g.epochTaken(h.Commits); err != nil {
		return sealpost.Held{}, err
	} else if taken {
		return g.heldCommitment(lookup, m.tag, blob)
	}
	inserted, err := g.c.exec(`INSERT INTO messages (seq, lookup, tag, app, expires, carriers, release, segment, start, length, ready, outcome, routes, turn)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?) ON CONFLICT (lookup) DO NOTHING`,
		m.seq, lookup, m.tag, m.app, int64(m.expires), m.carriers, int(m.release), blob.segment, blob.start, blob.length,
		encodeRoutes(m.routes), int64(g.turnOf(&m)))
	if err != nil {
		return sealpost.Held{}, err
	}
	if inserted == 0 {
		return g.heldCommitment(lookup, m.tag, blob)
	}
	g.refer(blob)
	held, err := g.insertStatement(h, c.App, -1, nil)
	if err != nil {
		return sealpost.Held{}, err
	}
	if err := errors.Join(g.markBlock(app, m.seq), g.takeEpochs(h.Commits, c.Expires)); err != nil {
		return sealpost.Held{}, err
	}
	g.arrive(&m)
	g.made(c.ID, m)
	g.then(func() { g.recent.add(m, h) })
	return held, g.markExpiry(m.expires, m.seq)
}

// heldCommitment answers for an id or an epoch that is taken, and gives up the
// blob that was spooled for nothing.
func (g *group) heldCommitment(lookup, tag []byte, blob ref) (sealpost.Held, error) {
	if blob.length > 0 {
		g.refer(blob) // counted down again once the range is erased
		if err := g.spend(blob); err != nil {
			return sealpost.Held{}, err
		}
	}
	r, found, err := g.c.one(`SELECT seq, tag FROM messages WHERE lookup = ?`, lookup)
	if err != nil {
		return sealpost.Held{}, err
	}
	if !found {
		return sealpost.Held{}, sealpost.ErrEpochTaken
	}
	if !bytes.Equal(r.bytes(1), tag) {
		return sealpost.Held{}, sealpost.ErrConflict
	}
	return g.again(r.uint(0))
}

// planRoutes makes one route for each device that is enrolled and in force.
// Whether a carrier reaches it is seen when the route is claimed.
func (g *group) planRoutes(c *sealpost.Commitment) ([]route, error) {
	devices, err := g.recipient(c.App, c.Recipient)
	if err != nil {
		return nil, err
	}
	routes := make([]route, 0, len(devices))
	for _, d := range devices {
		if d.Revoked == 0 {
			routes = append(routes, route{device: d.id, queued: true, turn: atOnce})
		}
	}
	return routes, nil
}

// carrierSet is a set of carriers as bits.
func carrierSet(carriers []sealpost.Carrier) (set int64) {
	for _, c := range carriers {
		set |= 1 << c
	}
	return set
}

// markBlock notes that a block of seqs has messages of a tenant.
func (g *group) markBlock(app int64, seq uint64) error {
	block := seq / blockSize
	if g.blocks[app] == block+1 {
		return nil
	}
	if _, err := g.c.exec(`INSERT INTO app_blocks (app, block) VALUES (?, ?) ON CONFLICT DO NOTHING`, app, block); err != nil {
		return err
	}
	g.blocks[app] = block + 1 // dropped where the group rolls back
	return nil
}

// spend gives up a range of the spool; a sweep erases it.
func (g *group) spend(blob ref) error {
	_, err := g.c.exec(`INSERT INTO spent (segment, start, length, mark) VALUES (?, ?, ?, ?)`, blob.segment, blob.start, blob.length, g.vault.markSpent(blob))
	return err
}
