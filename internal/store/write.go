package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A group is one write transaction: everything in it is held together or not
// at all. What memory must learn of it waits in after until it is committed.
type group struct {
	*DB
	c     *conn
	next  uint64
	fresh uint64
	after []func()

	nextPromise int64
	promises    map[*sealpost.GroupPromise]int64 // held by this group

	rows map[uint64]messageRow         // that the group wrote, as it left them
	ids  map[sealpost.MessageID]uint64 // of messages that it made

	referred map[int64]referral // to segments of the spool, by this group

	seen map[[tagSize]byte]bool // nonces of this group
}

// then runs do once the group is committed.
func (g *group) then(do func()) { g.after = append(g.after, do) }

// A job is a small write that shares its commit with others. It must change
// nothing where it returns one of the errors that the package names.
type job struct {
	run  func(g *group) error
	err  error
	done bool
}

// write runs a small write and returns when it is durable. Whoever gets the
// writer first commits everything that waits.
func (db *DB) write(ctx context.Context, what string, run func(g *group) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	j := &job{run: run}
	db.waiting.Lock()
	if len(db.waiting.jobs) >= WaitingMax {
		db.waiting.Unlock()
		return fmt.Errorf("%s: too many writes are waiting: %w", what, ErrFull)
	}
	db.waiting.jobs = append(db.waiting.jobs, j)
	db.waiting.Unlock()

	db.writer.Lock()
	if !j.done {
		db.commitWaiting()
	}
	db.writer.Unlock()
	if j.err != nil {
		return fmt.Errorf("%s: %w", what, j.err)
	}
	return nil
}

func (db *DB) takeWaiting() []*job {
	db.waiting.Lock()
	defer db.waiting.Unlock()
	jobs := db.waiting.jobs
	db.waiting.jobs = nil
	return jobs
}

// commitWaiting runs all small writes that wait in one transaction. One that
// meets a damaged row is answered with that, and the others run without it.
func (db *DB) commitWaiting() {
	jobs := db.takeWaiting()
	for len(jobs) > 0 {
		var at int
		err := db.commit(func(g *group) error {
			for at = range jobs {
				if jobs[at].err = jobs[at].run(g); jobs[at].err != nil && !isAnswer(jobs[at].err) {
					return jobs[at].err
				}
			}
			return nil
		})
		if errors.Is(err, ErrDamaged) && db.failed == nil {
			jobs[at].done = true
			jobs = append(jobs[:at:at], jobs[at+1:]...)
			continue
		}
		for _, j := range jobs {
			j.done = true
			if err != nil {
				j.err = err
			}
		}
		return
	}
}

// isAnswer says whether an error leaves the transaction as it was.
func isAnswer(err error) bool {
	for _, answer := range []error{sealpost.ErrNotFound, sealpost.ErrConflict, sealpost.ErrEnded, sealpost.ErrMalformed, ErrFull} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// commit runs do in one transaction, in this order:
//
//	1 rows   nothing is durable but the group's blobs, to which nothing refers
//	         yet; an error rolls all of it back
//	2 commit rows and references are durable together
//	3 memory learns of it
//
// The caller has the writer.
func (db *DB) commit(do func(g *group) error) error {
	if db.failed != nil {
		return db.failed
	}
	if _, err := db.c.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	g := &group{DB: db, c: db.c, next: db.next, fresh: db.fresh, nextPromise: db.nextPromise}
	err := do(g)
	if err == nil {
		err = g.referToSpool()
	}
	if err != nil {
		return g.rollBack(err)
	}
	if _, err := db.c.exec("COMMIT"); err != nil {
		db.failed = fmt.Errorf("commit: %w: %w", ErrUncertain, err)
		db.forget()
		return db.failed
	}
	if db.mover != nil {
		db.mover.committed(g.next - db.next)
	}
	db.next, db.fresh, db.nextPromise = g.next, g.fresh, g.nextPromise
	for _, do := range g.after {
		do()
	}
	return nil
}

// A referral is what a group adds to a segment of the spool.
type referral struct {
	tail int64 // after the last blob that it refers to
	live int   // blobs
}

// refer notes that the group refers to a blob.
func (g *group) refer(blob ref) {
	if blob.segment == 0 {
		return
	}
	if g.referred == nil {
		g.referred = map[int64]referral{}
	}
	r := g.referred[blob.segment]
	g.referred[blob.segment] = referral{max(r.tail, blob.start+blob.length), r.live + 1}
}

// referToSpool counts the blobs.
func (g *group) referToSpool() error {
	for segment, r := range g.referred {
		tail := r.tail
		held, found, err := g.c.one(`SELECT tail FROM segments WHERE id = ?`, segment)
		if err != nil {
			return err
		}
		if found {
			tail = max(tail, held.int(0)) // an earlier blob may be referred to later
		}
		if _, err := g.c.exec(`INSERT INTO segments (id, tail, live, mark) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET tail = excluded.tail, live = live + excluded.live, mark = excluded.mark`,
			segment, tail, r.live, g.vault.mark(markSegment, segment, tail)); err != nil {
			return err
		}
		g.then(func() { g.spool.settled(segment, r.live) })
	}
	return nil
}

// rollBack undoes the transaction. Memory that followed it is dropped; data
// keys are, because the seqs of this group will come again with other content.
func (g *group) rollBack(cause error) error {
	g.forget()
	if _, err := g.c.exec("ROLLBACK"); err != nil {
		g.failed = fmt.Errorf("roll back: %w: %w", ErrUncertain, err)
		return errors.Join(cause, g.failed)
	}
	return cause
}

// forget drops every cache that may hold what a transaction did not keep.
func (db *DB) forget() {
	db.vault.forget()
	db.devices.purge()
	db.apps, db.names, db.blocks = map[string]int64{}, map[int64]string{}, map[int64]uint64{}
	clear(db.expiries)
}

// appID finds a tenant's row, making it where it is new.
func (g *group) appID(app string) (int64, error) {
	if id, ok := g.apps[app]; ok {
		return id, nil
	}
	tag := g.vault.tag(tagApp, []byte(app))
	r, found, err := g.c.one(`SELECT id FROM apps WHERE tag = ?`, tag)
	if err != nil {
		return 0, err
	}
	var id int64
	if found {
		id = r.int(0)
	} else if id, err = g.c.nextID(`apps`); err != nil {
		return 0, err
	} else if _, err = g.c.exec(`INSERT INTO apps (id, tag, sealed) VALUES (?, ?, ?)`, id, tag, g.vault.seal(tagApp, rowKey(id, tag), []byte(app))); err != nil {
		return 0, err
	}
	g.apps[app], g.names[id] = id, app
	return id, nil
}

// appName is the tenant of a row.
func (g *group) appName(id int64) (string, error) {
	if name, ok := g.names[id]; ok {
		return name, nil
	}
	name, err := g.vault.appName(g.c, id)
	if err == nil {
		g.apps[name], g.names[id] = id, name
	}
	return name, err
}

func (v *vault) appName(c *conn, id int64) (string, error) {
	r, found, err := c.one(`SELECT tag, sealed FROM apps WHERE id = ?`, id)
	if err != nil {
		return "", err
	}
	if !found {
		return "", fmt.Errorf("%w: apps row %d is missing", ErrDamaged, id)
	}
	name, err := v.open(tagApp, rowKey(id, r.bytes(0)), r.bytes(1))
	return string(name), err
}

// dataKey is the key for a tenant's statements in this group, stored with it.
func (g *group) dataKey(app string) (*dataKey, error) {
	k, err := g.vault.dataKeyFor(app, g.today())
	if err != nil || k.id != 0 {
		return k, err
	}
	if k.appID, err = g.appID(app); err != nil {
		return nil, err
	}
	k.id, err = g.c.insert(`INSERT INTO data_keys (app, day, wrapped) VALUES (?, ?, ?)`, k.appID, k.day, k.wrapped)
	return k, err
}
