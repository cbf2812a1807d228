package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/sealpost/sealpost"
)

// A Report is what [DB.Fsck] found. The store is sound if Faulty is 0.
type Report struct {
	Statements, Messages, Blobs, Keys uint64 // that were looked at
	Faulty                            uint64 // how many faults were found
	Faults                            []Fault
}

// A Fault is one row, or one blob, that is not what was written.
type Fault struct {
	Seq  uint64 // of the statement, or of the message's commitment; 0 where Row says more
	Row  string // table and row, or spool segment and offset
	What string
}

func (f Fault) String() string { return fmt.Sprintf("seq %d: %s: %s", f.Seq, f.Row, f.What) }

// Fsck reads every row and blob and checks it against what else is held: seqs
// are dense; statement, salt and promise open in their place; the statement is
// one of its kind and its leaf is the salt's over it; look-ups lead where they
// should; a blob that is still there hashes to its commitment's word. What the
// road works with (routes, turns, counts) is derived again from the statements,
// and what cannot be is bound by its row's seal or mark. compare, if it is not
// nil, is given every leaf and says whether the log holds it. An error says that
// the check did not run to its end.
func (db *DB) Fsck(ctx context.Context, compare func(seq uint64, leaf sealpost.Leaf) error) (Report, error) {
	f := &fsck{db: db, compare: compare}
	for _, step := range []func(context.Context) error{
		f.pages, f.storeKeys, f.dataKeys, f.statements, f.promises, f.marks, f.segments, f.messages, f.bounds, f.keys, f.sealedRows, f.markedRows,
	} {
		err := step(ctx)
		if errors.Is(err, ErrDamaged) {
			f.fault(0, "database", "%v", err)
		} else if err != nil {
			return f.report, fmt.Errorf("fsck: %w", err)
		}
	}
	return f.report, nil
}

type fsck struct {
	db      *DB
	compare func(seq uint64, leaf sealpost.Leaf) error
	report  Report

	dataKeyRows map[int64]bool
	size        uint64         // statements
	fresh       fsckMark       // from where no message was ever claimed
	inbox       fsckMark       // from where memory knows who waits
	endpoints   int64          // the highest number that an endpoint ever had
	endpoint    int64          // the highest that a route names
	short       map[int64]bool // segments that count more envelopes than refer to them
}

func (f *fsck) fault(seq uint64, row, format string, args ...any) {
	f.report.Faulty++
	if len(f.report.Faults) < FaultsMax {
		f.report.Faults = append(f.report.Faults, Fault{seq, row, fmt.Sprintf(format, args...)})
	}
}

// gap names the rows that are missing before one, the first FaultsMax of them: a
// flipped bit of a number can leave out more than can be counted one by one.
func (f *fsck) gap(from, to uint64, name func(n uint64)) {
	for n := from; n < to; n++ {
		if n-from == FaultsMax {
			f.report.Faulty += to - n
			return
		}
		name(n)
	}
}

// walk hands pages of rows to check, in the order of their first column. A
// page that cannot be read is a fault, and the rest of its table with it.
func (f *fsck) walk(ctx context.Context, table, columns string, check func(c *conn, r row) error) error {
	for from, more := int64(math.MinInt64), true; more; { // a flipped sign is damage too
		more = false
		err := f.db.read(ctx, table, func(c *conn) error {
			key, _, _ := strings.Cut(columns, ",") // the row's own key, an integer
			rows, err := c.all(`SELECT `+columns+` FROM `+table+` WHERE `+key+` > ? ORDER BY 1 LIMIT ?`, from, SweepMax)
			if err != nil {
				f.fault(0, fmt.Sprintf("%s after row %d", table, from), "cannot be read: %v", err)
				return nil
			}
			for _, r := range rows {
				if err := check(c, r); err != nil {
					return err
				}
				from = r.int(0)
			}
			more = len(rows) == SweepMax
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pages asks the database about its own structure.
func (f *fsck) pages(ctx context.Context) error {
	return f.db.read(ctx, "integrity", func(c *conn) error {
		err := c.each(`PRAGMA integrity_check(100)`, func(r row) error {
			if s, _ := r[0].(string); s != "ok" {
				f.fault(0, "database", "%s", s)
			}
			return nil
		})
		if err != nil {
			f.fault(0, "database", "cannot be read: %v", err)
		}
		return nil
	})
}

// promises checks that statements and promises lead to each other.
func (f *fsck) promises(ctx context.Context) error {
	err := f.each(ctx, `promises`, `SELECT id FROM promises EXCEPT SELECT promise FROM statements`, func(_ *conn, r row) {
		f.fault(0, fmt.Sprintf("promises row %d", r.int(0)), "it is of no statement")
	})
	if err != nil {
		return err
	}
	return f.each(ctx, `promises`, `SELECT seq, promise FROM statements WHERE promise NOT IN (SELECT id FROM promises)`, func(_ *conn, r row) {
		f.fault(r.uint(0), fmt.Sprintf("promises row %d", r.int(1)), "missing")
	})
}

func (f *fsck) statements(ctx context.Context) error {
	next := uint64(0)
	return f.walk(ctx, `statements`, statementColumns+`, tag`, func(c *conn, r row) error {
		seq := r.uint(0)
		f.gap(next, seq, func(n uint64) { f.fault(n, "statements", "missing") })
		next = seq + 1
		f.size = next
		f.report.Statements++
		if !f.dataKeyRows[r.int(3)] { // memory may still know it
			f.fault(seq, fmt.Sprintf("data_keys row %d", r.int(3)), "missing")
		}
		record, err := f.db.vault.readRecord(c, r)
		if err == nil && r.int(1) != int64(record.Kind) {
			err = fmt.Errorf("%w: kind %d", ErrDamaged, r.int(1))
		}
		if err != nil {
			f.fault(seq, "statements", "%v", err)
		} else {
			if record.Leaf != sealpost.MakeLeaf(record.Salt, record.Statement) {
				f.fault(seq, "statements", "the leaf is not the salt's over the statement")
			}
			f.link(c, r, record)
		}
		if f.compare != nil && len(r.bytes(4)) == len(sealpost.Leaf{}) {
			if err := f.compare(seq, sealpost.Leaf(r.bytes(4))); err != nil {
				f.fault(seq, "log", "%v", err)
			}
		}
		return nil
	})
}

// link checks that a statement is found where one looks for it.
func (f *fsck) link(c *conn, r row, record sealpost.Record) {
	if mine := record.Kind == sealpost.KindAttempt || record.Kind == sealpost.KindOutcome; r.null(7) != mine || mine && (r.int(8) != 0 || r.int(9) != 0) {
		f.fault(record.Seq, "statements", "it has a promise, or none, unlike others of its kind")
	}
	if about := record.Kind != sealpost.KindCommitment && record.Kind != sealpost.KindKeyEvent; r.null(10) == about {
		f.fault(record.Seq, "statements", "it has a look-up, or none, unlike others of its kind")
	}
	switch record.Kind {
	case sealpost.KindCommitment:
		if _, found, err := c.one(`SELECT 1 FROM messages WHERE seq = ?`, record.Seq); err != nil || !found {
			f.fault(record.Seq, "messages", "missing")
		}
	case sealpost.KindKeyEvent:
		f.linkKeyEvent(c, record)
	default:
		m, found, err := c.one(`SELECT seq FROM messages WHERE lookup = ?`, f.db.vault.messageLookup(record.ID))
		if err != nil || !found || m.int(0) != r.int(2) {
			f.fault(record.Seq, "statements", "it is linked to another message")
		}
		if !bytes.Equal(r.bytes(10), f.tagOf(record)) {
			f.fault(record.Seq, "statements", "its look-up is of another statement")
		}
	}
}

func (f *fsck) tagOf(record sealpost.Record) []byte {
	if record.Kind == sealpost.KindAttempt {
		if s, err := sealpost.Parse(record.Statement); err == nil {
			if a, err := s.Attempt(); err == nil {
				return f.db.vault.tag(tagAttempt, a.Attempt[:])
			}
		}
		return nil
	}
	return f.db.vault.tag(tagStatement, record.Hash[:])
}

func (f *fsck) keys(ctx context.Context) error {
	next := uint64(1)
	return f.walk(ctx, `signing_keys`, keyColumns+`, owner, app`, func(c *conn, r row) error {
		f.report.Keys++
		name := fmt.Sprintf("signing_keys row %d", r.int(0))
		f.gap(next, r.uint(0), func(n uint64) { f.fault(0, fmt.Sprintf("signing_keys row %d", n), "missing") })
		next = r.uint(0) + 1
		d, subject, err := f.db.vault.readDevice(r)
		if err != nil {
			f.fault(r.uint(3), name, "%v", err)
			return nil
		}
		owner := f.db.vault.senderOwner(d.App)
		if subject == sealpost.SubjectDevice {
			owner = f.db.vault.deviceOwner(d.App, d.Recipient)
		}
		if !bytes.Equal(r.bytes(1), f.db.vault.tag(tagKey, d.keyID[:])) || !bytes.Equal(r.bytes(5), owner) {
			f.fault(r.uint(3), name, "its look-ups are of another key")
		}
		if app, err := f.db.vault.appName(c, r.int(6)); err != nil || app != d.App {
			f.fault(r.uint(3), name, "it is listed with another tenant")
		}
		f.keyEvent(c, name, d, d.Enrolled, sealpost.Enrol)
		if d.Revoked != 0 {
			f.keyEvent(c, name, d, d.Revoked, sealpost.Revoke)
		}
		return nil
	})
}

// linkKeyEvent checks that a key event is listed with its owner and took effect.
func (f *fsck) linkKeyEvent(c *conn, record sealpost.Record) {
	s, err := sealpost.Parse(record.Statement)
	if err != nil {
		return // named by whoever opened it
	}
	e, err := s.KeyEvent()
	if err != nil {
		return
	}
	id := e.Key.ID()
	k, found, err := c.one(`SELECT id, owner, enrolled, revoked FROM signing_keys WHERE tag = ?`, f.db.vault.tag(tagKey, id[:]))
	if err != nil || !found {
		f.fault(record.Seq, "signing_keys", "the key of this event is missing")
		return
	}
	if at := k.uint(2); e.Event == sealpost.Enrol && at != record.Seq {
		f.fault(record.Seq, fmt.Sprintf("signing_keys row %d", k.int(0)), "it was enrolled by another event")
	}
	if at := k.uint(3); e.Event == sealpost.Revoke && at != record.Seq {
		f.fault(record.Seq, fmt.Sprintf("signing_keys row %d", k.int(0)), "it was revoked, and does not say so")
	}
	listed, found, err := c.one(`SELECT tag, owner FROM key_events WHERE seq = ?`, record.Seq)
	if err != nil || !found || !bytes.Equal(listed.bytes(0), f.db.vault.tag(tagStatement, record.Hash[:])) || !bytes.Equal(listed.bytes(1), k.bytes(1)) {
		f.fault(record.Seq, "key_events", "missing, or its look-ups are of another statement")
	}
}

// keyEvent checks that the statement which a key's row names did what it says.
func (f *fsck) keyEvent(c *conn, name string, d *device, seq uint64, event sealpost.Event) {
	record, err := f.db.vault.record(c, seq)
	if err == nil {
		var s sealpost.Signed
		if s, err = sealpost.Parse(record.Statement); err == nil {
			var e sealpost.KeyEvent
			if e, err = s.KeyEvent(); err == nil && e.Event == event && e.Key == d.Key && e.App == d.App {
				return
			}
		}
	}
	f.fault(seq, name, "the statement that it names is not its key event")
}
