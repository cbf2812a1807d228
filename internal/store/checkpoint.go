package store

import "fmt"

// The database's write-ahead file is moved into the database beside the writer,
// not by it: a commit that stopped for that would make everybody who waits for
// it wait for thousands of pages. The writer rings after so much work; walPages
// remains as a bound where that should not keep up.
const (
	walStatements = 4096 // statements since the last move
	walCommits    = 256  // commits since then
)

// A mover moves the file, on a connection of its own.
type mover struct {
	c     *conn
	bell  chan struct{} // capacity 1; closed when the store closes
	ended chan struct{}

	statements, commits uint64 // since the last ring; the writer's
}

func newMover(path string) (*mover, error) {
	c, err := connect(path, readCacheKiB, false)
	if err != nil {
		return nil, err
	}
	return &mover{c: c, bell: make(chan struct{}, 1), ended: make(chan struct{})}, nil
}

// committed notes a commit and rings where it is time. The caller has the writer.
func (m *mover) committed(statements uint64) {
	m.statements += statements
	m.commits++
	if m.statements < walStatements && m.commits < walCommits {
		return
	}
	select {
	case m.bell <- struct{}{}:
		m.statements, m.commits = 0, 0
	default: // one is under way and another is due: the next commit asks again
	}
}

// move runs until the store closes. Most pages move while the writer goes on;
// what it added meanwhile moves with the writer held, so that the file ends
// empty and begins anew instead of growing.
func (db *DB) move() {
	defer close(db.mover.ended)
	for range db.mover.bell {
		err := db.mover.c.checkpoint()
		if err == nil {
			db.writer.Lock()
			err = db.mover.c.checkpoint()
			db.writer.Unlock()
		}
		if err != nil {
			db.log.Error("move the write-ahead file into the database", "err", err)
		}
	}
}

// checkpoint moves what no reader is still looking at; it waits for nobody.
func (c *conn) checkpoint() error {
	if _, _, err := c.one(`PRAGMA wal_checkpoint(PASSIVE)`); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// close waits for the mover. The caller has the writer no more.
func (m *mover) close() error {
	close(m.bell)
	<-m.ended
	return m.c.close()
}
