package store

import (
	"context"

	"github.com/sealpost/sealpost"
)

// nonces are those remembered, by value in memory and in order on disk: a
// random key on disk would write a page for each request.
type nonces struct {
	until map[[tagSize]byte]sealpost.UnixMilli
	next  int64 // row
}

func loadNonces(c *conn) (*nonces, error) {
	n := &nonces{until: map[[tagSize]byte]sealpost.UnixMilli{}, next: 1}
	err := c.each(`SELECT id, tag, until FROM nonces`, func(r row) error {
		n.next = max(n.next, r.int(0)+1)
		if len(r.bytes(1)) == tagSize {
			n.until[[tagSize]byte(r.bytes(1))] = sealpost.UnixMilli(r.int(2))
		}
		return nil
	})
	return n, err
}

func (v *vault) markNonce(id int64, tag []byte, until sealpost.UnixMilli) []byte {
	return v.mark(markNonce, id, int64(until), tag)
}

// Nonce remembers a key's nonce until a time, durably, and says whether it was
// new. Calls that come together share one commit.
func (db *DB) Nonce(ctx context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (fresh bool, err error) {
	tag := [tagSize]byte(db.vault.tag(tagNonce, key[:], nonce[:]))
	err = db.write(ctx, "nonce", func(g *group) error {
		if _, seen := g.nonces.until[tag]; seen || g.seen[tag] {
			fresh = false
			return nil
		}
		if len(g.nonces.until)+len(g.seen) >= NoncesMax {
			return ErrFull
		}
		id := g.nonces.next
		g.nonces.next++ // a number that rolls back is left out
		if _, err := g.c.exec(`INSERT INTO nonces (id, tag, until, mark) VALUES (?, ?, ?, ?)`, id, tag[:], int64(until), g.vault.markNonce(id, tag[:], until)); err != nil {
			return err
		}
		if g.seen == nil {
			g.seen = map[[tagSize]byte]bool{}
		}
		g.seen[tag] = true
		fresh = true
		g.then(func() { g.nonces.until[tag] = until })
		return nil
	})
	return fresh && err == nil, err
}
