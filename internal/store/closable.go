package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/sealpost/sealpost"
)

// Closable lists open messages whose outcome can be decided now, with all that
// an outcome counts:
//
//	delivered      a device opened it
//	refused        every device that could still open it refused it
//	undeliverable  every way to every device failed
//	expired        none of these, and its time is over
//
// Between two seconds of now it may list only what memory came to know since, so
// that a busy relay closes without asking the database; the first call of a second
// lists all. The same message comes again until its outcome is held. An outcome made of an
// answer that a later statement outdated is refused by [DB.Hold].
func (db *DB) Closable(ctx context.Context, now sealpost.UnixMilli, limit int) (out []sealpost.Closing, err error) {
	limit = page(limit)
	// Once in a second the database is asked, which has them all: what expired, and
	// what memory never had or gave out in vain.
	if second := int64(now) / 1000; db.closedIn.Swap(second) == second {
		if out := db.recent.closable(limit); len(out) > 0 {
			return out, nil
		}
	}
	err = db.read(ctx, "closable", func(c *conn) error {
		add := func(r row) (more bool, err error) {
			m, err := readMessageRow(r)
			if err == nil {
				var closing sealpost.Closing
				if closing, err = db.vault.closing(c, m); err == nil {
					out = append(out, closing)
				}
			}
			if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others open
				db.log.Error("a message cannot be closed", "seq", r.uint(0), "err", err)
				err = nil
			}
			return len(out) < limit, err
		}
		rows, err := c.all(`SELECT `+messageColumns+` FROM messages WHERE ready != 0 AND outcome = 0 ORDER BY seq LIMIT ?`, limit)
		for _, r := range rows {
			if _, err := add(r); err != nil {
				return err
			}
		}
		if err != nil || len(out) == limit {
			return err
		}
		return expiredOpen(c, now, add)
	})
	return out, err
}

// expiredOpen hands over messages that expired with their end not decided.
func expiredOpen(c *conn, now sealpost.UnixMilli, add func(row) (more bool, err error)) error {
	const each = 64 // rows of expiring that are looked at together
	after, more := expiry{-1, -1}, true
	for more {
		due, err := expiries(c, after, int64(now)/1000, each)
		if err != nil {
			return err
		}
		for _, e := range due {
			err := e.expired(c, now, func(r row) (bool, error) {
				if ready, outcome := r.int(10), r.int(11); ready != 0 || outcome != 0 {
					return true, nil
				}
				more, err = add(r)
				return more, err
			})
			if err != nil || !more {
				return err
			}
			after = e
		}
		more = len(due) == each
	}
	return nil
}

func (v *vault) closing(c *conn, m messageRow) (out sealpost.Closing, err error) {
	if out.Message, err = v.describeRow(c, m); err != nil {
		return out, err
	}
	if out.End = m.ready; out.End == 0 {
		out.End = sealpost.Expired
	}
	counted := map[sealpost.Kind]*[]sealpost.Hash{
		sealpost.KindAttempt: &out.Attempts, sealpost.KindCarrierClaim: &out.Claims, sealpost.KindReceipt: &out.Receipts,
	}
	rows, err := c.all(`SELECT `+statementColumns+` FROM statements WHERE message = ?`, m.seq)
	if err != nil {
		return out, err
	}
	for _, r := range rows {
		statement, _, err := v.openStatement(c, r)
		if err != nil {
			return out, err
		}
		if hashes := counted[sealpost.Kind(r.int(1))]; hashes != nil {
			*hashes = append(*hashes, sha256.Sum256(statement))
		}
	}
	for _, hashes := range counted {
		slices.SortFunc(*hashes, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	}
	return out, nil
}
