package store

import (
	"context"
	"os"

	"github.com/sealpost/sealpost"
)

// BreakSpool makes every further write to the spool fail.
func (db *DB) BreakSpool() error {
	db.writer.Lock()
	defer db.writer.Unlock()
	for id, f := range db.spool.files {
		readOnly, err := os.Open(f.Name())
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		db.spool.files[id] = readOnly
	}
	return nil
}

// FailCommit holds h in a group that fails at its end.
func (db *DB) FailCommit(h sealpost.Hold) error {
	db.writer.Lock()
	defer db.writer.Unlock()
	spooled, err := db.spool.put([][]byte{h.Blob})
	if err != nil {
		return err
	}
	return db.commit(func(g *group) error {
		if _, err := g.hold(&h, refOf(spooled[0])); err != nil {
			return err
		}
		return os.ErrDeadlineExceeded
	})
}

// InboxMost sets how many open routes stay in memory, and InMemory says how
// many do.
func (db *DB) InboxMost(n int) { db.inbox.most = n }

func (db *DB) InMemory() int { return db.inbox.count }

// SweepExpired gives up what expired, and does not erase it.
func (db *DB) SweepExpired(ctx context.Context, now sealpost.UnixMilli) error {
	_, err := db.sweepExpired(ctx, now)
	return err
}

// HoldWriter keeps every write waiting until release.
func (db *DB) HoldWriter() (release func()) {
	db.writer.Lock()
	return db.writer.Unlock
}

// Waiting is how many small writes wait.
func (db *DB) Waiting() int {
	db.waiting.Lock()
	defer db.waiting.Unlock()
	return len(db.waiting.jobs)
}
