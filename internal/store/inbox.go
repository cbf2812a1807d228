package store

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sealpost/sealpost"
)

// The inbox knows which open messages wait for which device. On disk alone this
// would be an index with a random key, a page written for each message. So new
// routes are known in memory, and most end there; where too many stay open, a
// sweep moves the older half to the index on disk, below a mark. [Open] rebuilds
// memory from the open routes above the mark.
type inbox struct {
	mu       sync.RWMutex
	mark     uint64             // memory knows the messages from here on
	byDevice map[int64][]uint64 // seqs of commitments, ascending
	count    int
	most     int
}

func loadInbox(c *conn) (*inbox, error) {
	b := &inbox{byDevice: map[int64][]uint64{}, most: inboxMax}
	r, found, err := c.one(`SELECT seq FROM inbox_mark`)
	if err == nil && !found {
		err = fmt.Errorf("%w: inbox_mark is missing", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	b.mark = r.uint(0)
	err = c.each(`SELECT r.device, r.message FROM messages m CROSS JOIN routes r ON r.message = m.seq
		WHERE m.phase IN (?, ?) AND m.turn IS NOT NULL AND m.outcome IN (0, ?) AND m.seq >= ? AND r.state <= ? AND r.handed = 0`, func(r row) error {
		b.byDevice[r.int(0)] = append(b.byDevice[r.int(0)], r.uint(1))
		b.count++
		return nil
	}, phaseOpen, phaseEnded, int(sealpost.Delivered), b.mark, routeFailed)
	for _, seqs := range b.byDevice {
		slices.Sort(seqs)
	}
	return b, err
}

func (b *inbox) add(device int64, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byDevice[device] = append(b.byDevice[device], seq)
	b.count++
}

func (b *inbox) drop(device int64, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, found := slices.BinarySearch(b.byDevice[device], seq); found {
		b.set(device, slices.Delete(b.byDevice[device], i, i+1), 1)
	}
}

func (b *inbox) forget(device int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(device, nil, len(b.byDevice[device]))
}

// set replaces what waits for a device after less of it.
func (b *inbox) set(device int64, seqs []uint64, less int) {
	b.count -= less
	if len(seqs) == 0 {
		delete(b.byDevice, device)
	} else {
		b.byDevice[device] = seqs
	}
}

// list gives up to limit seqs from one on that wait for a device, oldest first.
func (b *inbox) list(c *conn, device int64, from uint64, limit int) (out []uint64, err error) {
	b.mu.RLock()
	mark, seqs := b.mark, b.byDevice[device]
	i, _ := slices.BinarySearch(seqs, max(from, mark))
	recent := slices.Clone(seqs[i:])
	b.mu.RUnlock()
	if from < mark {
		err = c.each(`SELECT message FROM routes WHERE device = ? AND message >= ? AND message < ? AND waiting IS NOT NULL ORDER BY message LIMIT ?`,
			func(r row) error { out = append(out, r.uint(0)); return nil }, device, from, mark, limit)
	}
	out = append(out, recent...)
	return out[:min(limit, len(out))], err
}

func (b *inbox) full() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.count > b.most
}

// over says up to which seq memory is to be relieved, 0 where it is not.
func (b *inbox) over(next uint64) (to uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.count <= b.most {
		return 0
	}
	return b.mark + (next-b.mark+1)/2
}

// moved raises the mark: what is below is on disk.
func (b *inbox) moved(mark uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = mark
}

// relieve drops what is below the mark from memory.
func (b *inbox) relieve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for device, seqs := range b.byDevice {
		if i, _ := slices.BinarySearch(seqs, b.mark); i > 0 {
			b.set(device, slices.Clone(seqs[i:]), i)
		}
	}
}

// Arrivals lists open, unexpired messages for a device that may be released
// (seq below logged, or the release rule is held) and that it does not have
// yet, oldest first, after a seq. It looks at waitingMax messages at most.
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
		waiting, err := db.inbox.list(c, d.id, after+1, waitingMax)
		if err != nil {
			return err
		}
		for _, seq := range waiting {
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

// arrival reads a message for a device, if it is open or was delivered to another
// device, in time and released.
func (db *DB) arrival(c *conn, seq uint64, now sealpost.UnixMilli, logged uint64) (out sealpost.Delivery, released bool, err error) {
	r, found, err := c.one(`SELECT `+messageColumns+`, release FROM messages WHERE seq = ? AND outcome IN (0, ?) AND segment IS NOT NULL AND expires > ?`, seq, int(sealpost.Delivered), int64(now))
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
