package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
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
// should; a blob that is still there hashes to its commitment's word. compare,
// if it is not nil, is given every leaf and says whether the log holds it. An
// error says that the check did not run to its end.
func (db *DB) Fsck(ctx context.Context, compare func(seq uint64, leaf sealpost.Leaf) error) (Report, error) {
	f := &fsck{db: db, compare: compare}
	for _, step := range []func(context.Context) error{f.pages, f.statements, f.messages, f.keys, f.sealedRows, f.segments} {
		if err := step(ctx); err != nil {
			return f.report, fmt.Errorf("fsck: %w", err)
		}
	}
	return f.report, nil
}

type fsck struct {
	db      *DB
	compare func(seq uint64, leaf sealpost.Leaf) error
	report  Report
}

func (f *fsck) fault(seq uint64, row, format string, args ...any) {
	f.report.Faulty++
	if len(f.report.Faults) < FaultsMax {
		f.report.Faults = append(f.report.Faults, Fault{seq, row, fmt.Sprintf(format, args...)})
	}
}

// walk hands pages of rows to check, in the order of their first column. A
// page that cannot be read is a fault, and the rest of its table with it.
func (f *fsck) walk(ctx context.Context, table, columns string, check func(c *conn, r row) error) error {
	for from, more := int64(-1), true; more; {
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

func (f *fsck) statements(ctx context.Context) error {
	next := uint64(0)
	return f.walk(ctx, `statements`, statementColumns+`, tag`, func(c *conn, r row) error {
		seq := r.uint(0)
		for ; next < seq; next++ {
			f.fault(next, "statements", "missing")
		}
		next = seq + 1
		f.report.Statements++
		record, err := f.db.vault.readRecord(c, r)
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
	switch record.Kind {
	case sealpost.KindCommitment:
		if _, found, err := c.one(`SELECT 1 FROM messages WHERE seq = ?`, record.Seq); err != nil || !found {
			f.fault(record.Seq, "messages", "missing")
		}
	case sealpost.KindKeyEvent:
		e, found, err := c.one(`SELECT tag FROM key_events WHERE seq = ?`, record.Seq)
		if err != nil || !found || !bytes.Equal(e.bytes(0), f.db.vault.tag(tagStatement, record.Hash[:])) {
			f.fault(record.Seq, "key_events", "missing, or its look-up is of another statement")
		}
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

func (f *fsck) messages(ctx context.Context) error {
	return f.walk(ctx, `messages`, messageColumns+`, lookup`, func(c *conn, r row) error {
		f.report.Messages++
		m, err := readMessageRow(r)
		if err != nil {
			f.fault(m.seq, "messages", "%v", err)
		}
		record, err := f.db.vault.record(c, m.seq)
		if err != nil {
			return nil // named among the statements
		}
		s, err := sealpost.Parse(record.Statement)
		if err != nil {
			return nil
		}
		commitment, err := s.Commitment()
		if err != nil {
			f.fault(m.seq, "messages", "its statement is no commitment")
			return nil
		}
		app, err := f.db.vault.appName(c, m.app)
		if err != nil || app != commitment.App || !bytes.Equal(m.tag, f.db.vault.tag(tagStatement, record.Hash[:])) ||
			!bytes.Equal(r.bytes(12), f.db.vault.messageLookup(commitment.ID)) || m.expires != commitment.Expires ||
			m.carriers != carrierSet(commitment.Carriers) || m.release != commitment.Release {
			f.fault(m.seq, "messages", "it differs from its commitment")
		}
		f.outcome(c, m)
		f.blob(m, commitment)
		return nil
	})
}

// outcome checks that the end of a message is the one that was signed.
func (f *fsck) outcome(c *conn, m messageRow) {
	want := sealpost.End(0)
	rows, err := c.all(`SELECT seq FROM statements WHERE message = ? AND kind = ?`, m.seq, int(sealpost.KindOutcome))
	if err != nil || len(rows) > 1 {
		f.fault(m.seq, "messages", "it has %d outcomes", len(rows))
		return
	}
	if len(rows) == 1 {
		record, err := f.db.vault.record(c, rows[0].uint(0))
		if err != nil {
			return
		}
		if s, err := sealpost.Parse(record.Statement); err == nil {
			if o, err := s.Outcome(); err == nil {
				want = o.End
			}
		}
	}
	if m.outcome != want {
		f.fault(m.seq, "messages", "its end is not the signed one")
	}
}

func (f *fsck) blob(m messageRow, commitment sealpost.Commitment) {
	if m.blob.segment == 0 {
		return
	}
	f.report.Blobs++
	row := fmt.Sprintf("spool segment %s at %d", segmentName(m.blob.segment), m.blob.start)
	if m.blob.length < 0 || m.blob.length > sealpost.BlobMax || m.blob.start < 0 {
		f.fault(m.seq, row, "the reference is no range")
		return
	}
	b, err := f.db.spool.read(m.blob)
	if err != nil {
		f.fault(m.seq, row, "%v", err)
	} else if sha256.Sum256(b) != commitment.Blob {
		f.fault(m.seq, row, "the blob is not the one that the commitment names")
	}
}

func (f *fsck) keys(ctx context.Context) error {
	return f.walk(ctx, `signing_keys`, keyColumns+`, owner`, func(c *conn, r row) error {
		f.report.Keys++
		name := fmt.Sprintf("signing_keys row %d", r.int(0))
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
		f.keyEvent(c, name, d, d.Enrolled, sealpost.Enrol)
		if d.Revoked != 0 {
			f.keyEvent(c, name, d, d.Revoked, sealpost.Revoke)
		}
		return nil
	})
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

// sealedRows checks that every other sealed row opens where it stands.
func (f *fsck) sealedRows(ctx context.Context) error {
	v := f.db.vault
	for _, t := range []struct {
		table, columns string
		open           func(r row) error
	}{
		{"apps", `id, tag, sealed`, func(r row) error {
			name, err := v.open(tagApp, r.bytes(1), r.bytes(2))
			if err == nil && !bytes.Equal(r.bytes(1), v.tag(tagApp, name)) {
				err = fmt.Errorf("%w: its look-up is of another name", ErrDamaged)
			}
			return err
		}},
		{"promises", `id, sealed`, func(r row) error { _, err := v.openPromise(r.int(0), r.bytes(1)); return err }},
		{"endpoints", `id, device, sealed`, func(r row) error { _, err := v.open(tagEndpoint, rowKey(r.int(1)), r.bytes(2)); return err }},
		{"packages", `id, device, sealed`, func(r row) error { _, err := v.open(tagPackage, rowKey(r.int(1)), r.bytes(2)); return err }},
		{"enrolments", enrolmentColumns, func(r row) error { _, err := v.readEnrolment(r); return err }},
		{"api_keys", `id, tag, sealed, revoked`, func(r row) error { _, err := v.readAPIKey(r[1:]); return err }},
	} {
		err := f.walk(ctx, t.table, t.columns, func(_ *conn, r row) error {
			if err := t.open(r); err != nil {
				f.fault(0, fmt.Sprintf("%s row %d", t.table, r.int(0)), "%v", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// segments checks that the spool's files reach as far as they are written.
func (f *fsck) segments(ctx context.Context) error {
	return f.walk(ctx, `segments`, `id, tail, live`, func(_ *conn, r row) error {
		name := "spool segment " + segmentName(r.int(0))
		file, err := f.db.spool.file(r.int(0))
		if err != nil {
			f.fault(0, name, "%v", err)
			return nil
		}
		if info, err := file.Stat(); err != nil || info.Size() < r.int(1) {
			f.fault(0, name, "it is shorter than the %d bytes that were written", r.int(1))
		}
		return nil
	})
}
