package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// ClaimWork takes up to n tries out of the outbox: those that are due by now
// and released (their seq is below logged, or the rule is held), not leased to
// another, not ended and not expired. Each is leased until lease; a try that
// is not answered by an attempt comes back then. It costs time in proportion
// to what it returns. A message that is to be witnessed waits for logged like
// any other: the caller gives the size that its rule of release covers.
func (db *DB) ClaimWork(ctx context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) ([]sealpost.Work, error) {
	var claims []claim
	err := db.write(ctx, "claim work", func(g *group) (err error) {
		claims, err = g.claim(now, lease, logged, page(n))
		return err
	})
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	return db.loadWork(ctx, claims, lease)
}

// A claim is a leased route.
type claim struct {
	message uint64
	device  *device
	tries   int64
	at      endpoint
}

func (g *group) claim(now, lease sealpost.UnixMilli, logged uint64, n int) (out []claim, err error) {
	// Retries take at most half of a full claim, so that a carrier's bad hour
	// does not hold up what is new.
	for _, q := range []struct{ queue, most, until int64 }{
		{queueTimed, int64(n+1) / 2, int64(now)},
		{queueHeld, int64(n), 1<<63 - 1},
		{queueLogged, int64(n), int64(logged) - 1},
		{queueTimed, int64(n), int64(now)},
	} {
		most := min(q.most, int64(n-len(out)))
		if most <= 0 {
			continue
		}
		rows, err := g.c.all(`SELECT r.message, r.device, r.tries, m.expires, m.carriers FROM routes r JOIN messages m ON m.seq = r.message
			WHERE r.queue = ? AND r.turn <= ? ORDER BY r.turn LIMIT ?`, q.queue, q.until, most)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			c, ok, err := g.lease(r, now, lease)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// lease takes one route, or ends its queueing where it can no longer be tried.
func (g *group) lease(r row, now, lease sealpost.UnixMilli) (claim, bool, error) {
	message, expires := r.uint(0), sealpost.UnixMilli(r.int(3))
	unqueue := func() (claim, bool, error) {
		_, err := g.c.exec(`UPDATE routes SET queue = NULL, endpoint = 0 WHERE message = ? AND device = ?`, message, r.int(1))
		return claim{}, false, err
	}
	d, err := g.device(r.int(1))
	if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others waiting
		g.log.Error("a device cannot be woken", "seq", message, "err", err)
		return unqueue()
	}
	if err != nil {
		return claim{}, false, err
	}
	at, reachable := d.reach(r.int(4))
	if expires <= now || !reachable || d.Revoked != 0 {
		return unqueue()
	}
	_, err = g.c.exec(`UPDATE routes SET queue = ?, turn = ?, endpoint = ? WHERE message = ? AND device = ?`,
		queueTimed, int64(lease), at.id, message, d.id)
	return claim{message, d, r.int(2), at}, true, err
}

// loadWork reads what claims are about; the writer is free meanwhile. A claim
// whose message ended or lost its blob since is dropped.
func (db *DB) loadWork(ctx context.Context, claims []claim, lease sealpost.UnixMilli) (out []sealpost.Work, err error) {
	err = db.read(ctx, "claim work", func(c *conn) error {
		for _, cl := range claims {
			r, found, err := c.one(`SELECT `+messageColumns+` FROM messages WHERE seq = ? AND outcome = 0 AND segment IS NOT NULL`, cl.message)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			w, err := db.work(c, readMessageRow(r), cl)
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
	commitment := sealed.Commitment()
	return sealpost.Work{Message: describe(m, signed.Hash(), &commitment), Device: cl.device.keyID, Endpoint: cl.at.Endpoint,
		Sealed: sealed, Number: uint32(cl.tries + 1)}, nil
}
