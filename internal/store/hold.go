package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// Hold makes a group of statements durable in one commit and gives each its
// seq, dense and in slice order. An error says that nothing of the group is
// held; one that matches [ErrUncertain] that this is unknown. What a single
// hold came to stands in its Held: the same statement again, an id that is
// taken, a message that is unknown or has ended.
//
// Blobs that were not given to [DB.Spool] before go there first. The caller has
// checked the statements; Hold relies on Hash being the statement's and Leaf
// being the salt's over it, and [DB.Fsck] shows where they are not.
func (db *DB) Hold(ctx context.Context, holds []sealpost.Hold) ([]sealpost.Held, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	if err := checkGroup(holds); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	if err := db.warmKeys(holds); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	if err := db.spoolRest(ctx, holds); err != nil {
		return nil, err
	}
	db.writer.Lock()
	defer db.writer.Unlock()
	out, err := db.holdGroup(holds)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	return out, nil
}

// holdGroup commits a group. A hold that meets a damaged row is answered with
// that and the group is held without it: fsck names the row, and one recipient's
// damage must not stop the relay.
func (db *DB) holdGroup(holds []sealpost.Hold) (out []sealpost.Held, err error) {
	out = make([]sealpost.Held, len(holds))
	damaged := make([]error, len(holds))
	for range holds {
		at := 0
		err = db.commit(func(g *group) error {
			for at = range holds {
				held, err := sealpost.Held{}, damaged[at]
				if err == nil {
					held, err = g.hold(&holds[at], refOf(holds[at].Spooled))
				}
				if err != nil && !isAnswer(err) && err != damaged[at] {
					return fmt.Errorf("statement %d of the group: %w", at, err)
				}
				held.Err = err
				out[at] = held
			}
			return nil
		})
		if !errors.Is(err, ErrDamaged) || db.failed != nil {
			break
		}
		damaged[at] = err
	}
	for i := range holds {
		if at := refOf(holds[i].Spooled); err == nil && damaged[i] != nil && at.segment != 0 {
			err = db.spool.giveUp(at)
		}
	}
	return out, err
}

func checkGroup(holds []sealpost.Hold) error {
	if len(holds) > GroupMax {
		return fmt.Errorf("%d statements in one group: %w", len(holds), ErrFull)
	}
	size := 0
	for i := range holds {
		h := &holds[i]
		size += len(h.Statement) + len(h.Blob)
		if payloadKind(h) != h.Kind || h.Kind == 0 {
			return fmt.Errorf("statement %d of the group: %w: its payload is not of its kind", i, sealpost.ErrMalformed)
		}
		if len(h.Statement) == 0 || len(h.Statement) > sealpost.StatementMax || len(h.Blob) > sealpost.BlobMax {
			return fmt.Errorf("statement %d of the group: %w: size", i, sealpost.ErrMalformed)
		}
	}
	if size > GroupBytesMax {
		return fmt.Errorf("%d bytes in one group: %w", size, ErrFull)
	}
	return nil
}

// payloadKind is the kind of the one payload that is set, 0 for none or two.
func payloadKind(h *sealpost.Hold) (k sealpost.Kind) {
	set := 0
	note := func(is bool, kind sealpost.Kind) {
		if is {
			k, set = kind, set+1
		}
	}
	note(h.Commitment != nil, sealpost.KindCommitment)
	note(h.Attempt != nil, sealpost.KindAttempt)
	note(h.Receipt != nil, sealpost.KindReceipt)
	note(h.Outcome != nil, sealpost.KindOutcome)
	note(h.KeyEvent != nil, sealpost.KindKeyEvent)
	if set != 1 {
		return 0
	}
	return k
}

// warmKeys has the key service wrap what a group needs before the transaction
// begins, so that a slow service holds up nobody else.
func (db *DB) warmKeys(holds []sealpost.Hold) error {
	day, last := db.today(), ""
	for i := range holds {
		if c := holds[i].Commitment; c != nil && c.App != last {
			if _, err := db.vault.dataKeyFor(c.App, day); err != nil {
				return err
			}
			last = c.App
		}
	}
	return nil
}

// spoolRest spools what was not spooled before.
func (db *DB) spoolRest(ctx context.Context, holds []sealpost.Hold) error {
	var rest []*sealpost.Hold
	var blobs [][]byte
	for i := range holds {
		if h := &holds[i]; h.Commitment != nil && h.Spooled == (sealpost.Spooled{}) {
			rest, blobs = append(rest, h), append(blobs, h.Blob)
		}
	}
	spooled, err := db.Spool(ctx, blobs)
	if err != nil {
		return err
	}
	for i, h := range rest {
		h.Spooled = spooled[i]
	}
	return nil
}

// Spool puts the blobs of a group that is about to be held behind each other and
// syncs them, so that the group need not wait for it: Hold goes on while the next
// group is spooled. It says where each blob is, for its [sealpost.Hold]. What is
// not held after all is given up with [DB.GiveUp]; what a crash leaves over,
// [Open] cuts off.
func (db *DB) Spool(ctx context.Context, blobs [][]byte) ([]sealpost.Spooled, error) {
	if len(blobs) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := checkBlobs(blobs); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	spooled, err := db.spool.put(blobs)
	if err != nil { // nothing is known of the file, and only opening it again shows what it holds (fsync(2))
		db.writer.Lock()
		defer db.writer.Unlock()
		if db.failed == nil {
			db.failed = fmt.Errorf("the spool failed before, open the store again: %w", err)
		}
		return nil, fmt.Errorf("spool: %w", err)
	}
	return spooled, nil
}

func checkBlobs(blobs [][]byte) error {
	if len(blobs) > GroupMax {
		return fmt.Errorf("%d blobs in one group: %w", len(blobs), ErrFull)
	}
	size := 0
	for i, b := range blobs {
		if size += len(b); len(b) > sealpost.BlobMax {
			return fmt.Errorf("blob %d of the group: %w: size", i, sealpost.ErrMalformed)
		}
	}
	if size > GroupBytesMax {
		return fmt.Errorf("%d bytes in one group: %w", size, ErrFull)
	}
	return nil
}

// GiveUp erases blobs whose statements are not held.
func (db *DB) GiveUp(blobs []sealpost.Spooled) error {
	var errs []error
	for _, b := range blobs {
		if at := refOf(b); at.segment != 0 {
			errs = append(errs, db.spool.giveUp(at))
		}
	}
	return errors.Join(errs...)
}

func refOf(s sealpost.Spooled) ref { return ref{s.Segment, s.Start, s.Length} }

func (g *group) hold(h *sealpost.Hold, blob ref) (sealpost.Held, error) {
	switch {
	case h.Commitment != nil:
		return g.holdCommitment(h, blob)
	case h.Attempt != nil:
		return g.holdAttempt(h)
	case h.Receipt != nil:
		return g.holdReceipt(h)
	case h.Outcome != nil:
		return g.holdOutcome(h)
	}
	return g.holdKeyEvent(h)
}

// insertStatement gives h its seq and writes its row. message is the
// commitment's seq, -1 where the statement is about none or is one.
func (g *group) insertStatement(h *sealpost.Hold, app string, message int64, tag []byte) (sealpost.Held, error) {
	k, err := g.dataKey(app)
	if err != nil {
		return sealpost.Held{}, err
	}
	p := place{g.next, h.Kind, message}
	var link any
	if message >= 0 {
		link = message
	}
	promise, err := g.promiseOf(h.Part)
	if err != nil {
		return sealpost.Held{}, err
	}
	_, err = g.c.exec(`INSERT INTO statements (seq, kind, message, data_key, tag, leaf, statement, salt, promise, place, outcome_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.next, int(h.Kind), link, k.id, tag, h.Leaf[:],
		g.sealer.seal(k, p, columnStatement, h.Statement), g.sealer.seal(k, p, columnSalt, h.Salt[:]), promise.id, promise.place, promise.outcomeBy)
	if err != nil {
		return sealpost.Held{}, err
	}
	held := sealpost.Held{Record: h.Record}
	held.Record.Seq, held.Record.App = g.next, app
	g.next++
	return held, nil
}

// again is the answer for a statement that is held: its record, with the salt
// and promise that were given then.
func (g *group) again(seq uint64) (sealpost.Held, error) {
	r, err := g.vault.record(g.c, seq)
	return sealpost.Held{Record: r, Again: true}, err
}

// held looks for a statement about a message by its tag.
func (g *group) held(message uint64, kind sealpost.Kind, tag []byte) (seq uint64, found bool, err error) {
	r, found, err := g.c.one(`SELECT seq FROM statements WHERE message = ? AND kind = ? AND tag = ?`, message, int(kind), tag)
	if err != nil || !found {
		return 0, false, err
	}
	return r.uint(0), true, nil
}

// sameOrConflict answers a hold whose id is taken: again where the bytes are
// the same, a conflict where they are not.
func (g *group) sameOrConflict(seq uint64, statement []byte) (sealpost.Held, error) {
	held, err := g.again(seq)
	if err != nil {
		return sealpost.Held{}, err
	}
	if !bytes.Equal(held.Record.Statement, statement) {
		return sealpost.Held{}, sealpost.ErrConflict
	}
	return held, nil
}
