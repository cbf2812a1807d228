package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
)

var (
	// ErrLocked says that another process has the data folder.
	ErrLocked = errors.New("another process has the data folder")
	// ErrUncertain says that it is unknown whether a commit happened. The DB
	// refuses writes from then on; opening it again shows what is held.
	ErrUncertain = errors.New("the outcome of a commit is unknown")
	// ErrFull says that a named limit is reached; nothing changed.
	ErrFull = errors.New("a limit of the store is reached")
	// ErrDamaged says that a row or a blob is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrClosed says that the DB is closed.
	ErrClosed = errors.New("the store is closed")
)

// Config is what a store is opened with. All but Logger are needed.
type Config struct {
	// Dir is the data folder; it is made where it is missing. The store keeps
	// sealpost.db and spool/ in it and takes it for one process at a time.
	Dir string
	// Keys is the key service. Its own key must not lie in Dir.
	Keys Keys
	// Now is the clock; it chooses the day of a data key and nothing else.
	Now func() time.Time
	// Logger hears of what the store mended by itself, in counts.
	Logger *slog.Logger
}

// A DB is the open store.
type DB struct {
	now      func() time.Time
	log      *slog.Logger
	vault    *vault
	spool    *spool
	inbox    *inbox
	recent   *recent
	closedIn atomic.Int64 // the second in which [DB.Closable] last asked the database

	release func() error
	readers chan *conn
	mover   *mover

	waiting struct {
		sync.Mutex
		jobs []*job
	}

	// writer guards all below.
	writer      sync.Mutex
	c           *conn
	next        uint64 // the seq of the next statement
	failed      error  // why no more writes are taken
	sealer      sealer
	devices     *devices
	apps        map[string]int64 // tenants' rows by name
	names       map[int64]string
	blocks      map[int64]uint64 // the last block marked of each tenant, plus one
	expiries    map[expiry]bool  // marked of the block that is being filled
	fresh       uint64           // the first seq whose message was never claimed
	nextPromise int64            // the id of the next group's promise
	nonces      *nonces
}

// Open takes the folder, brings its schema up to date and loads what the road
// needs in memory: open routes by device, and nonces. It costs time in
// proportion to what is open, not to what is held.
func Open(ctx context.Context, cfg Config) (_ *DB, err error) {
	if cfg.Dir == "" || cfg.Keys == nil || cfg.Now == nil {
		return nil, errors.New("open store: Dir, Keys and Now must be set")
	}
	if f, ok := cfg.Keys.(*FileKeys); ok && f.liesIn(cfg.Dir) {
		return nil, errors.New("open store: the key file lies in the data folder that it protects")
	}
	db := &DB{now: cfg.Now, log: cfg.Logger, apps: map[string]int64{}, names: map[int64]string{}, blocks: map[int64]uint64{}, expiries: map[expiry]bool{}, recent: newRecent()}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open store: %w", err), db.Close())
		}
	}()
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "spool"), 0o700); err != nil {
		return nil, err
	}
	if db.release, err = lockFile(filepath.Join(cfg.Dir, "lock")); err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, "sealpost.db")
	if err := migrate(ctx, dsn(path)); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if err := db.connect(path); err != nil {
		return nil, err
	}
	if err := db.load(cfg, filepath.Join(cfg.Dir, "spool")); err != nil {
		return nil, err
	}
	if db.mover, err = newMover(path); err != nil {
		return nil, err
	}
	go db.move()
	return db, nil
}

func (db *DB) connect(path string) (err error) {
	if db.c, err = connect(path, cacheKiB, false); err != nil {
		return err
	}
	db.readers = make(chan *conn, readers)
	for range readers {
		c, err := connect(path, readCacheKiB, true)
		if err != nil {
			return err
		}
		db.readers <- c
	}
	return nil
}

// load rebuilds what lives in memory from what is held.
func (db *DB) load(cfg Config, spoolDir string) error {
	lookup, routing, err := storeKeys(db.c, cfg.Keys)
	if err != nil {
		return err
	}
	if db.vault, err = newVault(cfg.Keys, lookup, routing); err != nil {
		return err
	}
	last, _, err := db.c.one(`SELECT max(seq) FROM statements`)
	if err != nil {
		return err
	}
	if !last.null(0) {
		db.next = last.uint(0) + 1
	}
	if db.spool, err = loadSpool(db.c, db.vault, spoolDir); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if db.devices, err = newDevices(); err != nil {
		return err
	}
	marks, found, err := db.c.one(`SELECT fresh, inbox FROM marks`)
	if err == nil && !found {
		err = fmt.Errorf("%w: marks row 1 is missing; restore the data folder from a backup", ErrDamaged)
	}
	if err != nil {
		return err
	}
	db.fresh = marks.uint(0)
	promise, _, err := db.c.one(`SELECT coalesce(max(id), 0) + 1 FROM promises`)
	if err != nil {
		return err
	}
	db.nextPromise = promise.int(0)
	if db.inbox, err = loadInbox(db.c, marks.uint(1)); err != nil {
		return err
	}
	db.nonces, err = loadNonces(db.c)
	return err
}

// loadSpool refuses a damaged row before anything acts on it: what lies behind
// the end of a segment, or in one that no row knows, is removed.
func loadSpool(c *conn, v *vault, dir string) (*spool, error) {
	known := map[int64]bool{}
	var id, tail int64
	err := c.each(`SELECT id, tail, mark FROM segments ORDER BY id`, func(r row) error {
		if id, tail = r.int(0), r.int(1); !bytes.Equal(r.bytes(2), v.mark(markSegment, id, tail)) {
			return fmt.Errorf("%w: segments row %d; restore the data folder from a backup", ErrDamaged, id)
		}
		known[id] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return openSpool(dir, known, id, tail)
}

// Close ends the store: it waits for the writer, takes no more writes, and
// gives the folder back. It is safe to call twice.
func (db *DB) Close() error {
	db.writer.Lock()
	if errors.Is(db.failed, ErrClosed) {
		db.writer.Unlock()
		return nil
	}
	db.failed = ErrClosed
	db.writer.Unlock() // which nobody gets a write through any more
	var errs []error
	if db.mover != nil {
		errs = append(errs, db.mover.close())
	}
	for range cap(db.readers) {
		select {
		case c := <-db.readers:
			if c != nil {
				errs = append(errs, c.close())
			}
		default:
			if db.vault != nil { // opened: wait for the reader that is out
				errs = append(errs, (<-db.readers).close())
			}
		}
	}
	if db.readers != nil {
		close(db.readers)
	}
	if db.c != nil {
		errs = append(errs, db.c.close())
	}
	if db.spool != nil {
		errs = append(errs, db.spool.close())
	}
	if db.release != nil {
		errs = append(errs, db.release())
	}
	return errors.Join(errs...)
}

// read runs do in one snapshot of the committed state.
func (db *DB) read(ctx context.Context, what string, do func(c *conn) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
	}()
	var c *conn
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c = <-db.readers:
	}
	if c == nil {
		return ErrClosed
	}
	defer func() { db.readers <- c }()
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	err = do(c)
	if _, end := c.exec("COMMIT"); err == nil {
		err = end
	}
	return err
}

// today is the day that data keys of now belong to.
func (db *DB) today() int64 { return db.now().Unix() / (24 * 60 * 60) }

// checkApp makes sure that a tenant's name may be held.
func checkApp(app string) error {
	if !sealpost.IsName(app) {
		return fmt.Errorf("%w: app id", sealpost.ErrMalformed)
	}
	return nil
}
