package store

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sealpost/sealpost"
)

// The inbox knows which open messages wait for which device. On disk this
// would be an index with a random key, a page written for each message; in
// memory it costs eight bytes, and [Open] rebuilds it from the open routes.
type inbox struct {
	mu       sync.RWMutex
	byDevice map[int64][]uint64 // seqs of commitments, ascending
}

func loadInbox(c *conn) (*inbox, error) {
	b := &inbox{byDevice: map[int64][]uint64{}}
	err := c.each(`SELECT r.device, r.message FROM messages m CROSS JOIN routes r ON r.message = m.seq
		WHERE m.phase = ? AND m.turn IS NOT NULL AND r.state <= ? AND r.handed = 0`, func(r row) error {
		b.byDevice[r.int(0)] = append(b.byDevice[r.int(0)], r.uint(1))
		return nil
	}, phaseOpen, routeFailed)
	for _, seqs := range b.byDevice {
		slices.Sort(seqs)
	}
	return b, err
}

func (b *inbox) add(device int64, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byDevice[device] = append(b.byDevice[device], seq)
}

func (b *inbox) drop(device int64, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seqs := b.byDevice[device]
	if i, found := slices.BinarySearch(seqs, seq); found {
		seqs = slices.Delete(seqs, i, i+1)
		if len(seqs) == 0 {
			delete(b.byDevice, device)
		} else {
			b.byDevice[device] = seqs
		}
	}
}

func (b *inbox) forget(device int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byDevice, device)
}

// list copies a device's seqs after one, from 0 where all is set.
func (b *inbox) list(device int64, after uint64, all bool) []uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	seqs := b.byDevice[device]
	i, found := slices.BinarySearch(seqs, after)
	if found && !all {
		i++
	}
	return slices.Clone(seqs[i:])
}

// Arrivals lists open, unexpired messages for a device that may be released
// (seq below logged, or the release rule is held) and that it does not have
// yet, oldest first, after a seq.
func (db *DB) Arrivals(ctx context.Context, key sealpost.KeyID, after uint64, logged uint64, limit int) (out []sealpost.Delivery, err error) {
	limit = page(limit)
	err = db.read(ctx, "arrivals", func(c *conn) error {
		d, found, err := db.vault.findDevice(c, `tag = ?`, db.vault.tag(tagKey, key[:]))
		if err != nil {
			return err
		}
		if !found || d.Revoked != 0 {
			return sealpost.ErrNotFound
		}
		now := sealpost.FromTime(db.now())
		for _, seq := range db.inbox.list(d.id, after, false) {
			if len(out) >= limit {
				break
			}
			delivery, released, err := db.arrival(c, seq, now, logged)
			if err != nil {
				return err
			}
			if released {
				out = append(out, delivery)
			}
		}
		return nil
	})
	return out, err
}

// arrival reads a message for a device, if it is open, in time and released.
func (db *DB) arrival(c *conn, seq uint64, now sealpost.UnixMilli, logged uint64) (out sealpost.Delivery, released bool, err error) {
	r, found, err := c.one(`SELECT `+messageColumns+`, release FROM messages WHERE seq = ? AND outcome = 0 AND segment IS NOT NULL AND expires > ?`, seq, int64(now))
	if err != nil || !found {
		return out, false, err
	}
	if seq >= logged && sealpost.ReleaseRule(r.int(10)) != sealpost.ReleaseHeld {
		return out, false, nil
	}
	if out.Record, err = db.vault.record(c, seq); err != nil {
		return out, false, err
	}
	out.Blob, err = db.spool.read(readMessageRow(r).blob)
	return out, err == nil, err
}

// Arrival reads one message for a device that it is routed to, as long as its
// blob is held; whether it may be released is the caller's to say.
func (db *DB) Arrival(ctx context.Context, key sealpost.KeyID, id sealpost.MessageID) (out sealpost.Delivery, err error) {
	err = db.read(ctx, "arrival", func(c *conn) error {
		d, found, err := db.vault.findDevice(c, `tag = ?`, db.vault.tag(tagKey, key[:]))
		if err != nil {
			return err
		}
		if !found || d.Revoked != 0 {
			return sealpost.ErrNotFound
		}
		m, err := db.vault.findMessage(c, id)
		if err != nil {
			return err
		}
		if m.blob.segment == 0 || m.expires <= sealpost.FromTime(db.now()) {
			return sealpost.ErrNotFound
		}
		if _, mine, err := c.one(`SELECT 1 FROM routes WHERE message = ? AND device = ?`, m.seq, d.id); err != nil {
			return err
		} else if !mine {
			return sealpost.ErrNotFound
		}
		if out.Record, err = db.vault.record(c, m.seq); err != nil {
			return err
		}
		if out.Blob, err = db.spool.read(m.blob); err != nil {
			return fmt.Errorf("seq %d: %w", m.seq, err)
		}
		return nil
	})
	return out, err
}
