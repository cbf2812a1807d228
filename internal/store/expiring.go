package store

import (
	"context"

	"github.com/sealpost/sealpost"
)

// When messages expire. A row of table expiring says that one of blockSize
// messages expires within one second; who asks then looks at those messages.

// An expiry is such a row.
type expiry struct{ second, block int64 }

func expiryOf(expires sealpost.UnixMilli, seq uint64) expiry {
	return expiry{int64(expires) / 1000, int64(seq / blockSize)}
}

// span is the times that the second of an expiry has, first and last.
func (e expiry) span() (from, to int64) { return e.second * 1000, e.second*1000 + 999 }

// markExpiry notes when a message expires. What the block that is being filled
// has noted is remembered; it is dropped where the group rolls back.
func (g *group) markExpiry(expires sealpost.UnixMilli, seq uint64) error {
	e := expiryOf(expires, seq)
	if g.expiries[e] {
		return nil
	}
	if _, err := g.c.exec(`INSERT INTO expiring (second, block) VALUES (?, ?) ON CONFLICT DO NOTHING`, e.second, e.block); err != nil {
		return err
	}
	for known := range g.expiries {
		if known.block != e.block {
			clear(g.expiries)
		}
		break
	}
	g.expiries[e] = true
	return nil
}

// expiries lists rows up to a second, in order, after one of them.
func expiries(c *conn, after expiry, until int64, limit int) (out []expiry, err error) {
	err = c.each(`SELECT second, block FROM expiring WHERE (second, block) > (?, ?) AND second <= ? ORDER BY second, block LIMIT ?`, func(r row) error {
		out = append(out, expiry{r.int(0), r.int(1)})
		return nil
	}, after.second, after.block, until, limit)
	return out, err
}

// expired hands over the messages of a row that have expired by now, until do
// says that it has enough.
func (e expiry) expired(c *conn, now sealpost.UnixMilli, do func(m row) (more bool, err error)) error {
	from, to := e.span()
	rows, err := c.all(`SELECT `+messageColumns+` FROM messages WHERE seq >= ? AND seq < ? AND expires >= ? AND expires <= ? ORDER BY seq`,
		e.block*blockSize, (e.block+1)*blockSize, from, min(to, int64(now)))
	if err != nil {
		return err
	}
	for _, r := range rows {
		if more, err := do(r); err != nil || !more {
			return err
		}
	}
	return nil
}

// sweepExpired gives up the blobs of ended messages that expired. An open
// message keeps its blob until its outcome, which expiry brings about, and its
// row of expiring with it.
func (db *DB) sweepExpired(ctx context.Context, now sealpost.UnixMilli) (more bool, err error) {
	const each = SweepMax / blockSize // rows in one transaction
	after := expiry{-1, -1}
	for more = true; more; {
		err = db.write(ctx, "expired blobs", func(g *group) error {
			due, err := expiries(g.c, after, int64(now)/1000, each)
			if err != nil {
				return err
			}
			for _, e := range due {
				if err := g.sweepExpiry(e, now); err != nil {
					return err
				}
			}
			if more = len(due) == each; more {
				after = due[len(due)-1]
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func (g *group) sweepExpiry(e expiry, now sealpost.UnixMilli) error {
	open := false
	err := e.expired(g.c, now, func(r row) (bool, error) {
		m, err := readMessageRow(r)
		if err != nil || m.outcome == 0 {
			open = true // and a damaged row stays where fsck finds it
			return true, nil
		}
		if m.blob.segment == 0 {
			return true, nil
		}
		if err := g.giveUpBlob(&m); err != nil {
			return false, err
		}
		if err := g.stopWaiting(&m); err != nil {
			return false, err
		}
		return true, g.save(&m)
	})
	if _, last := e.span(); err != nil || open || last > int64(now) {
		return err
	}
	delete(g.expiries, e)
	_, err = g.c.exec(`DELETE FROM expiring WHERE second = ? AND block = ?`, e.second, e.block)
	return err
}
