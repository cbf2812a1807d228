package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// ClaimWork takes up to n tries out of the outbox: those that are due by now
// and released (their seq is below logged, or the rule is held), not leased to
// another and not expired. A message that has ended has none, but one for each
// device that was not tried yet when another's receipt ended it as delivered. Each
// try is leased until lease; one that is not answered by an attempt comes back
// then. It costs time in proportion to what it returns. A message that is to be
// witnessed waits for logged like any other: the caller gives the size that its
// rule of release covers.
func (db *DB) ClaimWork(ctx context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) ([]sealpost.Work, error) {
	var claims []claim
	err := db.write(ctx, "claim work", func(g *group) (err error) {
		claims, err = g.claim(now, lease, logged, page(n))
		return err
	})
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	return db.loadWork(context.WithoutCancel(ctx), claims, lease) // what is leased is handed out: nobody else may have it
}

// A claim is a leased route.
type claim struct {
	message uint64
	device  *device
	tries   int64
	at      endpoint
}

// claims are what one call leases.
type claims struct {
	*group
	now, lease sealpost.UnixMilli
	out        []claim
	most       int
}

func (c *claims) room() int { return c.most - len(c.out) }

// claim leases what is due, in this order. Retries take at most half of a full
// claim, so that a carrier's bad hour does not hold up what is new.
func (g *group) claim(now, lease sealpost.UnixMilli, logged uint64, n int) ([]claim, error) {
	c := &claims{group: g, now: now, lease: lease, most: n}
	if err := c.timed((n + 1) / 2); err != nil {
		return nil, err
	}
	if err := c.released(logged); err != nil {
		return nil, err
	}
	return c.out, c.timed(c.room())
}

// inTurn asks for messages by turn. SQLite takes the partial index only where the
// index's own bound stands in the text.
var inTurn = fmt.Sprintf(`SELECT %s FROM messages WHERE turn <= ? AND turn < %#x ORDER BY turn LIMIT ?`, messageColumns, int64(never))

// timed leases routes whose turn has come: tries to be made again, leases that
// ended, and messages whose rule of release is held.
func (c *claims) timed(most int) error {
	if most <= 0 {
		return nil
	}
	rows, err := c.c.all(inTurn, int64(c.now), most)
	if err != nil {
		return err
	}
	_, err = c.leaseAll(rows)
	return err
}

// released leases the routes of messages that are logged now and were never
// claimed, in seq order.
func (c *claims) released(logged uint64) error {
	if logged = min(logged, c.next); c.fresh >= logged || c.room() <= 0 {
		return nil
	}
	most := c.room()
	rows, err := c.c.all(`SELECT `+messageColumns+` FROM messages WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?`, c.fresh, logged, most)
	if err != nil {
		return err
	}
	from := c.fresh
	if len(rows) == most {
		logged = rows[most-1].uint(0) + 1 // beyond are more
	}
	c.fresh = logged // what a full claim leaves over has its turn
	left, err := c.leaseAll(rows)
	if err != nil {
		return err
	}
	if left < len(rows) {
		c.fresh = rows[left].uint(0)
	}
	if c.fresh == from {
		return nil
	}
	_, err = c.c.exec(`UPDATE marks SET fresh = ?`, c.fresh)
	return err
}

// leaseAll leases routes of messages until there is no room, and says how many
// messages it came to.
func (c *claims) leaseAll(rows []row) (n int, err error) {
	for n = range rows {
		if c.room() <= 0 {
			return n, nil
		}
		m, err := readMessageRow(rows[n])
		if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others waiting
			c.log.Error("a message cannot be sent", "err", err)
			if _, err := c.c.exec(`UPDATE messages SET turn = ? WHERE seq = ?`, int64(never), rows[n].uint(0)); err != nil {
				return n, err
			}
			continue
		}
		if err != nil {
			return n, err
		}
		if err := c.leaseMessage(&m); err != nil {
			return n, err
		}
	}
	return len(rows), nil
}

// leaseMessage takes the routes of a message that are due, as far as there is
// room, and ends the queueing of those that can no longer be tried.
func (c *claims) leaseMessage(m *messageRow) error {
	changed := false
	for i := range m.routes {
		r := &m.routes[i]
		changed = changed || r.queued // if only in that it is fresh no more
		if !r.queued || r.turn > c.now || c.room() <= 0 {
			continue
		}
		d, err := c.device(r.device)
		if errors.Is(err, ErrDamaged) {
			c.log.Error("a device cannot be woken", "seq", m.seq, "err", err)
			r.unqueue()
			continue
		}
		if err != nil {
			return err
		}
		at, reachable := d.reach(m.carriers)
		if m.expires <= c.now || !reachable || d.Revoked != 0 {
			r.unqueue()
			r.endpoint = 0
			continue
		}
		r.queue(c.lease)
		r.endpoint = at.id
		c.out = append(c.out, claim{m.seq, d, r.tries, at})
	}
	if !changed {
		return nil
	}
	return c.save(m)
}

// work is the try of a claim.
func (cl claim) work(hash sealpost.Hash, sealed sealpost.Sealed) sealpost.Work {
	commitment := sealed.Commitment()
	return sealpost.Work{Message: describe(messageRow{seq: cl.message}, hash, &commitment), Device: cl.device.keyID, Endpoint: cl.at.Endpoint,
		Sealed: sealed, Number: uint32(cl.tries + 1)}
}

// loadWork finds what claims are about: in memory, or in the database. The writer
// is free meanwhile; a claim whose device needs no waking since is dropped.
func (db *DB) loadWork(ctx context.Context, claims []claim, lease sealpost.UnixMilli) (out []sealpost.Work, err error) {
	var older []claim
	for _, cl := range claims {
		if hash, sealed, found := db.recent.message(cl.message); found {
			w := cl.work(hash, sealed)
			w.Lease = lease
			out = append(out, w)
		} else {
			older = append(older, cl)
		}
	}
	if len(older) == 0 {
		return out, nil
	}
	err = db.read(ctx, "claim work", func(c *conn) error {
		for _, cl := range older {
			m, found, err := messageAt(c, cl.message)
			if r := m.route(cl.device.id); err == nil && (!found || r == nil || !m.wakes(r)) {
				continue
			}
			var w sealpost.Work
			if err == nil {
				w, err = db.work(c, m, cl)
			}
			if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others waiting
				db.log.Error("a message cannot be sent", "seq", cl.message, "err", err)
				continue
			}
			if err != nil {
				return fmt.Errorf("seq %d: %w", cl.message, err)
			}
			w.Lease = lease
			out = append(out, w)
		}
		return nil
	})
	return out, err
}

func (db *DB) work(c *conn, m messageRow, cl claim) (w sealpost.Work, err error) {
	signed, err := db.vault.signed(c, m)
	if err != nil {
		return w, err
	}
	blob, err := db.spool.read(m.blob)
	if err != nil {
		return w, err
	}
	sealed, err := sealpost.NewSealed(signed, blob)
	if err != nil {
		return w, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return cl.work(signed.Hash(), sealed), nil
}
