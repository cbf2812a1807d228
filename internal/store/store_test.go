package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

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
