package store

import (
	"context"
	"errors"

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

// An expirySweep is what there is to do about a row of expiring.
type expirySweep struct {
	expiry
	blobs []messageRow // of ended messages, to be given up
	over  bool         // the row may go: its second is over, and no message in it is open
}

func (s *expirySweep) rows() int {
	if s.over {
		return len(s.blobs) + 1
	}
	return len(s.blobs)
}

// toSweep looks at the messages of a row. An open message keeps its blob until
// its outcome, which expiry brings about, and its row of expiring with it; a
// damaged one stays where fsck finds it.
func (e expiry) toSweep(c *conn, now sealpost.UnixMilli) (s expirySweep, err error) {
	_, last := e.span()
	s = expirySweep{expiry: e, over: last <= int64(now)}
	err = e.expired(c, now, func(r row) (bool, error) {
		m, err := readMessageRow(r)
		if err != nil || m.outcome == 0 {
			s.over = false
		} else if m.blob.segment != 0 {
			s.blobs = append(s.blobs, m)
		}
		return true, nil
	})
	return s, err
}

// sweepExpired gives up the blobs of ended messages that expired.
func (db *DB) sweepExpired(ctx context.Context, now sealpost.UnixMilli) (more bool, err error) {
	var due []expiry
	err = db.read(ctx, "expired blobs", func(c *conn) error {
		due, more, err = dueExpiries(c, now)
		return err
	})
	if err != nil || len(due) == 0 {
		return false, err
	}
	return more, db.write(ctx, "expired blobs", func(g *group) error {
		for _, e := range due {
			if err := g.sweepExpiry(e, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// dueExpiries lists rows about which there is something to do, as many as one
// transaction takes.
func dueExpiries(c *conn, now sealpost.UnixMilli) (due []expiry, more bool, err error) {
	const each = 64 // rows that are read together
	after, rows := expiry{-1, -1}, 0
	for {
		list, err := expiries(c, after, int64(now)/1000, each)
		if err != nil {
			return nil, false, err
		}
		for _, e := range list {
			s, err := e.toSweep(c, now)
			if err != nil {
				return nil, false, err
			}
			if after = e; s.rows() == 0 {
				continue
			}
			due = append(due, e)
			if rows += s.rows(); rows >= SweepMax {
				return due, true, nil
			}
		}
		if len(list) < each {
			return due, false, nil
		}
	}
}

func (g *group) sweepExpiry(e expiry, now sealpost.UnixMilli) error {
	s, err := e.toSweep(g.c, now)
	if err != nil {
		return err
	}
	for i := range s.blobs {
		m := &s.blobs[i]
		if err := errors.Join(g.giveUpBlob(m), g.stopWaiting(m)); err != nil {
			return err
		}
		m.stopWaking()
		if err := g.save(m); err != nil {
			return err
		}
	}
	if !s.over {
		return nil
	}
	delete(g.expiries, e)
	_, err = g.c.exec(`DELETE FROM expiring WHERE second = ? AND block = ?`, e.second, e.block)
	return err
}
