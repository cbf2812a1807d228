package store

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/sealpost/sealpost"
)

const statementColumns = `seq, kind, message, data_key, leaf, statement, salt, promise, place, outcome_by`

// openStatement opens a row's statement, and nothing else of it.
func (v *vault) openStatement(c *conn, r row) (statement []byte, k *dataKey, err error) {
	p := placeOf(r)
	if k, err = v.stored(c, r.int(3)); err != nil {
		return nil, nil, fmt.Errorf("seq %d: %w", p.seq, err)
	}
	if statement, err = k.open(p, columnStatement, r.bytes(5)); err != nil {
		return nil, nil, fmt.Errorf("seq %d: %w: the statement does not open", p.seq, ErrDamaged)
	}
	return statement, k, nil
}

// openRecord opens a statement's row; whose message it is about is not read.
func (v *vault) openRecord(c *conn, r row) (out sealpost.Record, err error) {
	p := placeOf(r)
	statement, k, err := v.openStatement(c, r)
	if err != nil {
		return out, err
	}
	damaged := func(what string) (sealpost.Record, error) {
		return out, fmt.Errorf("seq %d: %w: %s", p.seq, ErrDamaged, what)
	}
	salt, err := k.open(p, columnSalt, r.bytes(6))
	if err != nil || len(salt) != len(sealpost.Salt{}) {
		return damaged("the salt does not open")
	}
	if len(r.bytes(4)) != len(sealpost.Leaf{}) {
		return damaged("the leaf has another length")
	}
	out = sealpost.Record{Seq: p.seq, Kind: p.kind, App: k.app, Statement: statement, Hash: sha256.Sum256(statement),
		Salt: sealpost.Salt(salt), Leaf: sealpost.Leaf(r.bytes(4))}
	if out.Promise, err = v.promise(c, r, out.Leaf, out.Hash); err != nil {
		return out, fmt.Errorf("seq %d: %w", p.seq, err)
	}
	return out, nil
}

// readRecord opens a statement's row in full.
func (v *vault) readRecord(c *conn, r row) (out sealpost.Record, err error) {
	if out, err = v.openRecord(c, r); err != nil {
		return out, err
	}
	if out.ID, err = statementID(out.Kind, out.Statement); err != nil {
		return sealpost.Record{}, fmt.Errorf("seq %d: %w: the statement is not of its kind: %w", out.Seq, ErrDamaged, err)
	}
	return out, nil
}

func placeOf(r row) place {
	p := place{r.uint(0), sealpost.Kind(r.int(1)), -1}
	if !r.null(2) {
		p.message = r.int(2)
	}
	return p
}

// statementID reads which message a statement is about, zero for a key event.
func statementID(kind sealpost.Kind, raw []byte) (id sealpost.MessageID, err error) {
	s, err := sealpost.Parse(raw)
	if err != nil {
		return id, err
	}
	if s.Kind() != kind {
		return id, fmt.Errorf("it is a %v", s.Kind())
	}
	switch kind {
	case sealpost.KindCommitment:
		c, err := s.Commitment()
		return c.ID, err
	case sealpost.KindAttempt:
		a, err := s.Attempt()
		return a.ID, err
	case sealpost.KindReceipt:
		r, err := s.Receipt()
		return r.ID, err
	case sealpost.KindOutcome:
		o, err := s.Outcome()
		return o.ID, err
	case sealpost.KindKeyEvent:
		_, err := s.KeyEvent()
		return id, err
	}
	return id, fmt.Errorf("%v is never held", kind)
}

// statementRow reads the row that must stand at seq.
func statementRow(c *conn, seq uint64) (row, error) {
	r, found, err := c.one(`SELECT `+statementColumns+` FROM statements WHERE seq = ?`, seq)
	if err == nil && !found {
		err = fmt.Errorf("%w: seq %d is missing", ErrDamaged, seq)
	}
	return r, err
}

// record opens the statement that must stand at seq.
func (v *vault) record(c *conn, seq uint64) (sealpost.Record, error) {
	r, err := statementRow(c, seq)
	if err != nil {
		return sealpost.Record{}, err
	}
	return v.readRecord(c, r)
}

// Size is the number of statements held, and so the seq of the next.
func (db *DB) Size(ctx context.Context) (size uint64, err error) {
	err = db.read(ctx, "size", func(c *conn) error {
		r, _, err := c.one(`SELECT max(seq) FROM statements`)
		if err == nil && !r.null(0) {
			size = r.uint(0) + 1
		}
		return err
	})
	return size, err
}

// Leaves gives up to limit leaves in seq order, the first one that of seq from.
func (db *DB) Leaves(ctx context.Context, from uint64, limit int) (out []sealpost.Leaf, err error) {
	err = db.read(ctx, "leaves", func(c *conn) error {
		next := from
		return c.each(`SELECT seq, leaf FROM statements WHERE seq >= ? ORDER BY seq LIMIT ?`, func(r row) error {
			if r.uint(0) != next || len(r.bytes(1)) != len(sealpost.Leaf{}) {
				return fmt.Errorf("%w: the leaf of seq %d", ErrDamaged, next)
			}
			next++
			out = append(out, sealpost.Leaf(r.bytes(1)))
			return nil
		}, from, page(limit))
	})
	return out, err
}

// Record gives the statement at a seq.
func (db *DB) Record(ctx context.Context, seq uint64) (out sealpost.Record, err error) {
	err = db.read(ctx, "record", func(c *conn) error {
		r, found, err := c.one(`SELECT `+statementColumns+` FROM statements WHERE seq = ?`, seq)
		if err == nil && !found {
			err = sealpost.ErrNotFound
		}
		if err == nil {
			out, err = db.vault.readRecord(c, r)
		}
		return err
	})
	return out, err
}

// Records gives every statement about a tenant's message in seq order, the
// commitment first.
func (db *DB) Records(ctx context.Context, app string, id sealpost.MessageID) (out []sealpost.Record, err error) {
	err = db.read(ctx, "records", func(c *conn) error {
		m, err := db.vault.findMessage(c, id)
		if err != nil {
			return err
		}
		record, err := db.vault.record(c, m.seq)
		if err != nil {
			return err
		}
		if record.App != app {
			return sealpost.ErrNotFound
		}
		out = append(out, record)
		rows, err := c.all(`SELECT seq FROM statements WHERE message = ? ORDER BY seq`, m.seq)
		for _, r := range rows {
			record, err := db.vault.record(c, r.uint(0))
			if err != nil {
				return err
			}
			out = append(out, record)
		}
		return err
	})
	return out, err
}

// RecordByHash finds a key event of a tenant by the hash of its statement.
// Statements of other kinds are found through their message: ErrNotFound here.
func (db *DB) RecordByHash(ctx context.Context, app string, kind sealpost.Kind, h sealpost.Hash) (out sealpost.Record, err error) {
	err = db.read(ctx, "record by hash", func(c *conn) error {
		if kind != sealpost.KindKeyEvent {
			return sealpost.ErrNotFound
		}
		r, found, err := c.one(`SELECT seq FROM key_events WHERE tag = ?`, db.vault.tag(tagStatement, h[:]))
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		record, err := db.vault.record(c, r.uint(0))
		if err == nil && record.App != app {
			err = sealpost.ErrNotFound
		}
		if err == nil {
			out = record
		}
		return err
	})
	return out, err
}

// findMessage finds a message's row.
func (v *vault) findMessage(c *conn, id sealpost.MessageID) (m messageRow, err error) {
	r, found, err := c.one(`SELECT `+messageColumns+` FROM messages WHERE lookup = ?`, v.messageLookup(id))
	if err != nil {
		return m, err
	}
	if !found {
		return m, sealpost.ErrNotFound
	}
	return readMessageRow(r)
}

// signed opens the commitment statement of a message.
func (v *vault) signed(c *conn, m messageRow) (s sealpost.Signed, err error) {
	r, err := statementRow(c, m.seq)
	if err != nil {
		return s, err
	}
	raw, _, err := v.openStatement(c, r)
	if err != nil {
		return s, err
	}
	if s, err = sealpost.Parse(raw); err != nil {
		err = fmt.Errorf("seq %d: %w: %w", m.seq, ErrDamaged, err)
	}
	return s, err
}

// describe is what is told of a message: all but its end stands in the commitment.
func describe(m messageRow, hash sealpost.Hash, c *sealpost.Commitment) sealpost.Message {
	return sealpost.Message{ID: c.ID, App: c.App, Recipient: c.Recipient, Commitment: hash, Seq: m.seq, Blob: c.Blob,
		Roster: c.Roster, Created: c.Created, Expires: c.Expires, Release: c.Release, End: m.outcome}
}

// describeRow opens a message's commitment to describe it.
func (v *vault) describeRow(c *conn, m messageRow) (sealpost.Message, error) {
	s, err := v.signed(c, m)
	if err != nil {
		return sealpost.Message{}, err
	}
	commitment, err := s.Commitment()
	if err != nil {
		return sealpost.Message{}, fmt.Errorf("seq %d: %w: %w", m.seq, ErrDamaged, err)
	}
	return describe(m, s.Hash(), &commitment), nil
}

// Message finds a message.
func (db *DB) Message(ctx context.Context, id sealpost.MessageID) (out sealpost.Message, err error) {
	err = db.read(ctx, "message", func(c *conn) error {
		m, err := db.vault.findMessage(c, id)
		if err == nil {
			out, err = db.vault.describeRow(c, m)
		}
		return err
	})
	return out, err
}

// Messages lists a tenant's messages in seq order, beginning after a seq.
func (db *DB) Messages(ctx context.Context, app string, after uint64, limit int) (out []sealpost.Message, err error) {
	limit = page(limit)
	err = db.read(ctx, "messages", func(c *conn) error {
		r, found, err := c.one(`SELECT id FROM apps WHERE tag = ?`, db.vault.tag(tagApp, []byte(app)))
		if err != nil || !found {
			return err
		}
		rows, err := messagesOf(c, r.int(0), after, limit)
		for _, m := range rows {
			message, err := db.vault.describeRow(c, m)
			if err != nil {
				return err
			}
			out = append(out, message)
		}
		return err
	})
	return out, err
}

// messagesOf walks the blocks that hold messages of a tenant.
func messagesOf(c *conn, app int64, after uint64, limit int) (out []messageRow, err error) {
	block := (after + 1) / blockSize
	for len(out) < limit {
		r, found, err := c.one(`SELECT block FROM app_blocks WHERE app = ? AND block >= ? ORDER BY block LIMIT 1`, app, block)
		if err != nil || !found {
			return out, err
		}
		block = r.uint(0)
		err = c.each(`SELECT `+messageColumns+` FROM messages WHERE seq > ? AND seq >= ? AND seq < ? AND app = ? ORDER BY seq LIMIT ?`, func(r row) error {
			m, err := readMessageRow(r)
			out = append(out, m)
			return err
		}, after, block*blockSize, (block+1)*blockSize, app, limit-len(out))
		if err != nil {
			return out, err
		}
		block++
	}
	return out, nil
}
