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
// The same message comes again until its outcome is held. An outcome made of an
// answer that a later statement outdated is refused by [DB.Hold].
func (db *DB) Closable(ctx context.Context, now sealpost.UnixMilli, limit int) (out []sealpost.Closing, err error) {
	err = db.read(ctx, "closable", func(c *conn) error {
		rows, err := c.all(`SELECT `+messageColumns+` FROM messages WHERE phase = ? AND turn <= ? ORDER BY turn LIMIT ?`, phaseOpen, int64(now), page(limit))
		for _, r := range rows {
			closing, err := db.vault.closing(c, readMessageRow(r))
			if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others open
				db.log.Error("a message cannot be closed", "seq", r.uint(0), "err", err)
				continue
			}
			if err != nil {
				return err
			}
			out = append(out, closing)
		}
		return err
	})
	return out, err
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
