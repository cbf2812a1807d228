package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// States of a route, in the order in which one gives way to another. Any two
// differ in two bits, so that a flipped one makes none of them.
const (
	routeOpen    = 0 // the device may still be woken, or may fetch
	routeFailed  = 3 // every way to wake it failed; it may still fetch
	routeHanded  = 5 // it has the message and has not said more
	routeRefused = 6 // it refused the message
	routeOpened  = 9 // it opened the message
)

// Queues of the outbox. A route is in at most one; its turn orders the queue.
const (
	queueHeld   = iota // may be tried at once; by seq
	queueTimed         // tried or leased before; by the time of its next turn
	queueLogged        // waits for its seq to be logged; by seq
)

// Phases of a message, and with the turn the order in which they end.
const (
	phaseOpen  = iota // turn: 0 when its outcome can be decided, else expires
	phaseEnded        // turn: expires, when its blob goes; NULL when it is gone
)

// holdCommitment writes the message and a route for each of its recipient's
// devices in the transaction of its statement.
func (g *group) holdCommitment(h *sealpost.Hold, blob ref) (sealpost.Held, error) {
	c := h.Commitment
	app, err := g.appID(c.App)
	if err != nil {
		return sealpost.Held{}, err
	}
	tag := g.vault.tag(tagStatement, h.Hash[:])
	lookup := g.vault.messageLookup(c.ID)
	if taken, err := g.epochTaken(h.Commits); err != nil {
		return sealpost.Held{}, err
	} else if taken {
		return g.heldCommitment(lookup, tag, blob)
	}
	inserted, err := g.c.exec(`INSERT INTO messages (seq, lookup, tag, app, expires, carriers, release, segment, start, length, ready, outcome, phase, turn)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?) ON CONFLICT (lookup) DO NOTHING`,
		g.next, lookup, tag, app, int64(c.Expires), carrierSet(c.Carriers), int(c.Release), blob.segment, blob.start, blob.length, int64(c.Expires))
	if err != nil {
		return sealpost.Held{}, err
	}
	if inserted == 0 {
		return g.heldCommitment(lookup, tag, blob)
	}
	g.live++
	held, err := g.insertStatement(h, c.App, -1, nil)
	if err != nil {
		return sealpost.Held{}, err
	}
	if err := errors.Join(g.markBlock(app, held.Record.Seq), g.takeEpochs(h.Commits, c.Expires)); err != nil {
		return sealpost.Held{}, err
	}
	return held, g.planRoutes(c, held.Record.Seq)
}

// heldCommitment answers for an id or an epoch that is taken, and gives up the
// blob that was spooled for nothing.
func (g *group) heldCommitment(lookup, tag []byte, blob ref) (sealpost.Held, error) {
	if blob.length > 0 {
		g.live++ // counted down again once the range is erased
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

// planRoutes makes one route for each device that is enrolled and in force. A
// device that no allowed carrier reaches is in no queue: it may fetch.
func (g *group) planRoutes(c *sealpost.Commitment, seq uint64) error {
	devices, err := g.recipient(c.App, c.Recipient)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if d.Revoked != 0 {
			continue
		}
		var queue any
		if _, reachable := d.reach(carrierSet(c.Carriers)); reachable {
			queue = firstQueue(c.Release)
		}
		if _, err := g.c.exec(`INSERT INTO routes (message, device, state, handed, receipts, tries, endpoint, queue, turn) VALUES (?, ?, 0, 0, 0, 0, 0, ?, ?)`,
			seq, d.id, queue, seq); err != nil {
			return fmt.Errorf("route: %w", err)
		}
		g.then(func() { g.inbox.add(d.id, seq) })
	}
	return nil
}

func firstQueue(rule sealpost.ReleaseRule) int {
	if rule == sealpost.ReleaseHeld {
		return queueHeld
	}
	return queueLogged
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

// dropBlob gives up a message's blob.
func (g *group) dropBlob(m messageRow) error {
	if m.blob.segment == 0 {
		return nil
	}
	if _, err := g.c.exec(`UPDATE messages SET segment = NULL, start = 0, length = 0, turn = CASE WHEN phase = ? THEN NULL ELSE turn END WHERE seq = ?`, phaseEnded, m.seq); err != nil {
		return err
	}
	return g.spend(m.blob)
}
