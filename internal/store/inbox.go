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

func loadInbox(c *conn, mark uint64) (*inbox, error) {
	b := &inbox{byDevice: map[int64][]uint64{}, most: inboxMax, mark: mark}
	err := c.each(`SELECT `+messageColumns+` FROM messages WHERE seq >= ? AND outcome IN (0, ?) AND segment != 0 ORDER BY seq`, func(r row) error {
		m, err := readMessageRow(r)
		if err != nil {
			return nil // fsck names it; it must not keep the relay from starting
		}
		for i := range m.routes {
			if r := &m.routes[i]; r.waits() {
				b.byDevice[r.device] = append(b.byDevice[r.device], m.seq)
				b.count++
			}
		}
		return nil
	}, b.mark, int(sealpost.Delivered))
	return b, err
}

// arrive lets a message wait for its devices.
func (g *group) arrive(m *messageRow) {
	for i := range m.routes {
		device, seq := m.routes[i].device, m.seq
		g.then(func() { g.inbox.add(device, seq) })
	}
}

// leaveInbox ends a device's wait for a message.
func (g *group) leaveInbox(device int64, message uint64) error {
	g.then(func() { g.inbox.drop(device, message) })
	if message >= g.inbox.mark { // which only the writer moves
		return nil
	}
	_, err := g.c.exec(`DELETE FROM waiting WHERE device = ? AND message = ?`, device, message)
	return err
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
		err = c.each(`SELECT message FROM waiting WHERE device = ? AND message >= ? AND message < ? ORDER BY message LIMIT ?`,
			func(r row) error { out = append(out, r.uint(0)); return nil }, device, from, mark, limit)
	}
	out = append(out, recent...)
	return out[:min(limit, len(out))], err
}

// over says up to which seq memory is to be relieved, 0 where it is not: too many
// routes wait, or [Open] would have to walk along too many messages.
func (b *inbox) over(next uint64) (to uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.count <= b.most && next-b.mark <= inboxSpan {
		return 0
	}
	return b.mark + (next-b.mark+1)/2
}

// A wait is one message that waits for one device.
type wait struct {
	device  int64
	message uint64
}

// before lists what memory knows from the mark up to a seq.
func (b *inbox) before(seq uint64) (out []wait) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for device, seqs := range b.byDevice {
		from, _ := slices.BinarySearch(seqs, b.mark)
		to, _ := slices.BinarySearch(seqs, seq)
		for _, message := range seqs[from:max(from, to)] {
			out = append(out, wait{device, message})
		}
	}
	return out
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
	m, found, err := messageAt(c, seq)
	if err != nil || !found || m.outcome != 0 && m.outcome != sealpost.Delivered || m.blob.segment == 0 || m.expires <= now {
		return out, false, err
	}
	if seq >= logged && m.release != sealpost.ReleaseHeld {
		return out, false, nil
	}
	if out.Record, err = db.vault.record(c, seq); err != nil {
		return out, false, err
	}
	out.Blob, err = db.spool.read(m.blob)
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
		if m.route(d.id) == nil {
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
