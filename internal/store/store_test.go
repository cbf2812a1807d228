package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// open opens a store in place/data under a key file beside it.
func open(t testing.TB, place string, now func() time.Time) storetest.Store {
	t.Helper()
	return openDB(t, place, now)
}

func openDB(t testing.TB, place string, now func() time.Time) *store.DB {
	t.Helper()
	keys, err := store.NewFileKeys(filepath.Join(place, "kek"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(context.Background(), store.Config{Dir: filepath.Join(place, "data"), Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestContract(t *testing.T) { storetest.Run(t, openChecked) }

// A checked store is found sound by fsck whenever it is closed: after all that the
// contract does with it, no row is where fsck does not expect it.
type checked struct {
	*store.DB
	t testing.TB
}

func openChecked(t testing.TB, place string, now func() time.Time) storetest.Store {
	return checked{openDB(t, place, now), t}
}

func (c checked) Close() error {
	r, err := c.Fsck(context.Background(), nil)
	if err != nil || r.Faulty != 0 {
		c.t.Errorf("fsck: %v, %v", r.Faults, err)
	}
	return c.DB.Close()
}

// A message whose try was answered before the walk along new messages came to it
// is tried again all the same, once its time has come; so is one that is held
// after the walk was told of a log that is longer than what is held.
func TestWalkLeavesNobodyBehind(t *testing.T) {
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"), w.Token("token"))
	early := w.Message(d.Recipient)
	w.MustHold(early, w.Attempt(early, d, 1, sealpost.Transient, w.Now+5000))
	if work := w.Work(all); len(work) != 0 {
		t.Fatalf("%d tries before their time", len(work))
	}
	if r := fsck(t, w); r.Faulty != 0 {
		t.Errorf("%v", r.Faults)
	}
	later := w.Message(d.Recipient)
	w.MustHold(later)
	w.Now += 5000
	w.Reopen()
	if work := w.Work(all); len(work) != 2 {
		t.Errorf("%d tries, want one of each message", len(work))
	}
}
