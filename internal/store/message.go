package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// A held message's row. What stands above routes never changes.
type messageRow struct {
	seq      uint64
	tag      []byte
	app      int64
	expires  sealpost.UnixMilli
	carriers int64
	release  sealpost.ReleaseRule

	routes  []route
	blob    ref          // segment 0 once it is given up
	ready   sealpost.End // that its outcome may name now
	outcome sealpost.End
}

const messageColumns = `seq, tag, app, expires, carriers, release, routes, segment, start, length, ready, outcome`

func readMessageRow(r row) (m messageRow, err error) {
	m = messageRow{
		seq: r.uint(0), tag: r.bytes(1), app: r.int(2), expires: sealpost.UnixMilli(r.int(3)), carriers: r.int(4),
		release: sealpost.ReleaseRule(r.int(5)), blob: ref{r.int(7), r.int(8), r.int(9)},
		ready: sealpost.End(r.int(10)), outcome: sealpost.End(r.int(11)),
	}
	if m.routes, err = decodeRoutes(r.bytes(6)); err != nil {
		err = fmt.Errorf("seq %d: %w", m.seq, err)
	}
	return m, err
}

// route finds the one to a device, nil where there is none.
func (m *messageRow) route(device int64) *route {
	for i := range m.routes {
		if m.routes[i].device == device {
			return &m.routes[i]
		}
	}
	return nil
}

// turnOf is when a message is to be tried next. One that is fresh needs no turn:
// the walk that claims such messages will come to it once it is released.
func (g *group) turnOf(m *messageRow) sealpost.UnixMilli {
	turn := never
	if g.isFresh(m) {
		return turn
	}
	for i := range m.routes {
		if r := &m.routes[i]; r.queued {
			turn = min(turn, r.turn)
		}
	}
	return turn
}

func (g *group) isFresh(m *messageRow) bool {
	return m.release != sealpost.ReleaseHeld && m.seq >= g.fresh
}

// save writes all of a message's row that may change.
func (g *group) save(m *messageRow) error {
	row := *m
	row.routes = slices.Clone(m.routes)
	g.wrote(row)
	g.then(func() { g.recent.saved(row) })
	_, err := g.c.exec(`UPDATE messages SET segment = ?, ready = ?, outcome = ?, routes = ?, turn = ? WHERE seq = ?`,
		m.blob.segment, int(m.ready), int(m.outcome), encodeRoutes(m.routes), int64(g.turnOf(m)), m.seq)
	return err
}

// settle lets an open message's routes decide its end, gives up its blob once
// every device has it (12, Crash), and saves it.
func (g *group) settle(m *messageRow) error {
	if m.outcome == 0 {
		m.ready = endOf(m.routes)
	}
	handed := true
	for i := range m.routes {
		handed = handed && m.routes[i].handed
	}
	var err error
	if handed {
		err = g.giveUpBlob(m)
	}
	return errors.Join(err, g.save(m))
}

// giveUpBlob lets a sweep erase a message's blob. The caller saves the row.
func (g *group) giveUpBlob(m *messageRow) error {
	if m.blob.segment == 0 {
		return nil
	}
	err := g.spend(m.blob)
	m.blob.segment = 0
	return err
}

// stopWaking takes a message out of the outbox, but for devices that are woken still.
func (m *messageRow) stopWaking() {
	for i := range m.routes {
		if r := &m.routes[i]; !m.wakes(r) {
			r.unqueue()
		}
	}
}

// stopWaiting takes a message out of every inbox.
func (g *group) stopWaiting(m *messageRow) error {
	for i := range m.routes {
		if err := g.leaveInbox(m.routes[i].device, m.seq); err != nil {
			return err
		}
	}
	return nil
}

// message finds the row of a message that a statement is about, and checks
// that it names the commitment which is held and stays within its tenant.
func (g *group) message(h *sealpost.Hold, id sealpost.MessageID, commitment sealpost.Hash) (m messageRow, app string, err error) {
	m, found := g.remembered(id)
	if !found {
		r, there, err := g.c.one(`SELECT `+messageColumns+` FROM messages WHERE lookup = ?`, g.vault.messageLookup(id))
		if err != nil {
			return m, "", err
		}
		if !there {
			return m, "", sealpost.ErrNotFound
		}
		if m, err = readMessageRow(r); err != nil {
			return m, "", err
		}
	}
	if !bytes.Equal(m.tag, g.vault.tag(tagStatement, commitment[:])) {
		return m, "", fmt.Errorf("another commitment: %w", sealpost.ErrNotFound)
	}
	if app, err = g.appName(m.app); err == nil && h.App != "" && h.App != app {
		err = sealpost.ErrNotFound
	}
	return m, app, err
}

// remembered is a message's row where the group wrote it or memory has it.
func (g *group) remembered(id sealpost.MessageID) (m messageRow, found bool) {
	if seq, made := g.ids[id]; made {
		m, found = g.rows[seq], true
	} else if m, found = g.recent.find(id); found {
		if row, wrote := g.rows[m.seq]; wrote {
			m = row
		}
	}
	m.routes = slices.Clone(m.routes)
	return m, found
}

// made and wrote remember a row within the group.
func (g *group) made(id sealpost.MessageID, m messageRow) {
	if g.ids == nil {
		g.ids = map[sealpost.MessageID]uint64{}
	}
	g.ids[id] = m.seq
	g.wrote(m)
}

func (g *group) wrote(m messageRow) {
	if g.rows == nil {
		g.rows = map[uint64]messageRow{}
	}
	g.rows[m.seq] = m
}

// messageAt reads the row of a message by its seq.
func messageAt(c *conn, seq uint64) (m messageRow, found bool, err error) {
	r, found, err := c.one(`SELECT `+messageColumns+` FROM messages WHERE seq = ?`, seq)
	if err != nil || !found {
		return m, false, err
	}
	m, err = readMessageRow(r)
	return m, true, err
}
