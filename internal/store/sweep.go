package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sealpost/sealpost"
)

// Sweep forgets what has had its time: ranges of the spool that were given up
// (erased in place, a segment deleted once it is empty), blobs of ended messages
// that expired, nonces, unused invitations and commits of old epochs. It relieves
// the inbox. It is made to be called every second or so, because what was handed
// over is erased by it: where nothing is due it reads an index entry for each
// step and waits for no writer; where something is, it has the writer for SweepMax
// rows at a time, and SweepRounds times for each step. What is left is the next
// sweep's; a crash inside it is made good by the next too.
func (db *DB) Sweep(ctx context.Context, now sealpost.UnixMilli) error {
	for _, step := range []func(context.Context, sealpost.UnixMilli) (more bool, err error){
		db.sweepExpired, db.sweepSpool, db.sweepSegments, db.sweepNonces, db.sweepEnrolments, db.sweepEpochs, db.sweepInbox,
	} {
		for range SweepRounds {
			more, err := step(ctx, now)
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// due says whether a step has anything to do, without the writer.
func (db *DB) due(ctx context.Context, text string, args ...any) (found bool, err error) {
	err = db.read(ctx, "due", func(c *conn) error {
		_, found, err = c.one(text, args...)
		return err
	})
	return found, err
}

// sweepSpool erases given-up ranges first and forgets them after, so that a
// crash between the two erases again. A row that is not what was written is left
// for fsck to name: it may lead to a blob that somebody waits for.
func (db *DB) sweepSpool(ctx context.Context, _ sealpost.UnixMilli) (more bool, err error) {
	var ranges []ref
	rows, damaged := 0, 0
	err = db.read(ctx, "spool", func(c *conn) error {
		return c.each(`SELECT segment, start, length, mark FROM spent ORDER BY segment, start LIMIT ?`, func(r row) error {
			rows++
			if at := (ref{r.int(0), r.int(1), r.int(2)}); bytes.Equal(r.bytes(3), db.vault.markSpent(at)) {
				ranges = append(ranges, at)
			} else {
				damaged++
			}
			return nil
		}, SweepMax)
	})
	if damaged > 0 {
		db.log.Error("ranges of the spool are not erased, because their rows are damaged", "ranges", damaged)
	}
	if err != nil || len(ranges) == 0 {
		return false, err
	}
	for _, run := range bySegment(ranges) {
		if err := db.spool.erase(run[0].segment, adjoin(run)); err != nil {
			return false, err
		}
	}
	return rows == SweepMax, db.forgetRanges(ctx, ranges)
}

// bySegment splits ordered ranges at each change of segment.
func bySegment(ranges []ref) (out [][]ref) {
	from := 0
	for i := range ranges {
		if i+1 == len(ranges) || ranges[i+1].segment != ranges[from].segment {
			out = append(out, ranges[from:i+1])
			from = i + 1
		}
	}
	return out
}

// adjoin joins ranges that touch: one system call instead of many.
func adjoin(ranges []ref) (out []ref) {
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && out[last].start+out[last].length == r.start {
			out[last].length += r.length
		} else {
			out = append(out, r)
		}
	}
	return out
}

func (db *DB) forgetRanges(ctx context.Context, ranges []ref) error {
	return db.write(ctx, "spool", func(g *group) error {
		gone := map[int64]int{}
		for _, r := range ranges {
			n, err := g.c.exec(`DELETE FROM spent WHERE segment = ? AND start = ?`, r.segment, r.start)
			if err != nil {
				return err
			}
			gone[r.segment] += n
		}
		for segment, n := range gone {
			if _, err := g.c.exec(`UPDATE segments SET live = live - ? WHERE id = ?`, n, segment); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepSegments deletes segments that nothing refers to, but the one that is
// written. The row goes first: a file without a row is removed by [Open].
func (db *DB) sweepSegments(ctx context.Context, _ sealpost.UnixMilli) (more bool, err error) {
	const text = `SELECT id FROM segments WHERE live = 0 AND id < (SELECT max(id) FROM segments)`
	if due, err := db.due(ctx, text+` LIMIT 1`); err != nil || !due {
		return false, err
	}
	var empty []int64
	err = db.write(ctx, "segments", func(g *group) error {
		rows, err := g.c.all(text+` LIMIT ?`, SweepMax)
		if err != nil {
			return err
		}
		empty = empty[:0]
		for _, r := range rows {
			if db.spool.isAwaited(r.int(0)) {
				continue
			}
			if _, err := g.c.exec(`DELETE FROM segments WHERE id = ?`, r.int(0)); err != nil {
				return err
			}
			empty = append(empty, r.int(0))
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, id := range empty {
		if err := db.spool.remove(id); err != nil {
			return false, err
		}
	}
	return len(empty) == SweepMax, nil
}

func (db *DB) sweepNonces(ctx context.Context, now sealpost.UnixMilli) (more bool, err error) {
	if due, err := db.due(ctx, `SELECT 1 FROM (SELECT until FROM nonces ORDER BY id LIMIT 1) WHERE until < ?`, int64(now)); err != nil || !due {
		return false, err
	}
	err = db.write(ctx, "nonces", func(g *group) error {
		rows, err := g.c.all(`SELECT id, tag, until FROM nonces ORDER BY id LIMIT ?`, SweepMax)
		if err != nil {
			return err
		}
		over := 0
		for _, r := range rows {
			if sealpost.UnixMilli(r.int(2)) >= now {
				break // they came in time order but for a minute; the next sweep sees the rest
			}
			if _, err := g.c.exec(`DELETE FROM nonces WHERE id = ?`, r.int(0)); err != nil {
				return err
			}
			over++
			if len(r.bytes(1)) == tagSize {
				tag := [tagSize]byte(r.bytes(1))
				g.then(func() { delete(g.nonces.until, tag) })
			}
		}
		more = over == SweepMax
		return nil
	})
	return more, err
}

// sweepEnrolments forgets invitations that were not answered in time, and
// answers that the sender did not sign in AnswersKept.
func (db *DB) sweepEnrolments(ctx context.Context, now sealpost.UnixMilli) (more bool, err error) {
	const text = `SELECT id FROM enrolments WHERE signing_key IS NULL AND expires < ?
		UNION ALL SELECT id FROM enrolments WHERE signing_key IS NOT NULL AND expires < ? LIMIT ?`
	open, answered := int64(now), int64(now.Add(-AnswersKept))
	if due, err := db.due(ctx, text, open, answered, 1); err != nil || !due {
		return false, err
	}
	err = db.write(ctx, "enrolments", func(g *group) error {
		n, err := g.c.exec(`DELETE FROM enrolments WHERE id IN (`+text+`)`, open, answered, SweepMax)
		more = n == SweepMax
		return err
	})
	return more, err
}

// sweepInbox moves the older half of an inbox that has grown too large from
// memory to disk, and the mark with it.
func (db *DB) sweepInbox(ctx context.Context, _ sealpost.UnixMilli) (bool, error) {
	if size, err := db.Size(ctx); err != nil || db.inbox.over(size) == 0 {
		return false, err
	}
	var to, mark uint64
	for more := true; more; {
		err := db.write(ctx, "inbox", func(g *group) error {
			if to == 0 {
				to = g.inbox.over(g.DB.next)
			}
			if more = to > 0; !more {
				return nil
			}
			mark = min(to, g.inbox.mark+SweepMax)
			for _, w := range g.inbox.before(mark) {
				if _, err := g.c.exec(`INSERT INTO waiting (device, message) SELECT id, ? FROM signing_keys WHERE id = ? AND revoked = 0 ON CONFLICT DO NOTHING`, w.message, w.device); err != nil {
					return err
				}
			}
			if _, err := g.c.exec(`UPDATE marks SET inbox = ?`, mark); err != nil {
				return err
			}
			g.then(func() { g.inbox.moved(mark) })
			more = mark < to
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	if to > 0 {
		db.inbox.relieve()
	}
	return to > 0, nil // until it is small enough
}
