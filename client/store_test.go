package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealpost/sealpost/client/clienttest"
)

// Wall 5: every store keeps the contract of Store, one that two have open at once
// too.
func TestStores(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, path string) Store{
		"memory": func(*testing.T, string) Store { return NewMemoryStore() },
		"file":   func(t *testing.T, path string) Store { return must(OpenStore(path))(t) },
		"shared": func(t *testing.T, path string) Store { return must(OpenSharedStore(path))(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "store"))
			defer s.Close()
			clienttest.Store[Tx](t, s, s)
		})
	}
	t.Run("two of one file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store")
		a, b := must(OpenSharedStore(path))(t), must(OpenSharedStore(path))(t)
		clienttest.Store[Tx](t, a, b)
	})
}

// A scan that has what it wants ends without an error.
func TestScanStops(t *testing.T) {
	s := NewMemoryStore()
	err := s.Update(func(tx Tx) error { return errors.Join(tx.Put("a/1", nil), tx.Put("a/2", nil)) })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.View(func(tx Tx) error { return scan(tx, "a/", func(string, []byte) error { n++; return errStop }) })
	if err != nil || n != 1 {
		t.Errorf("stopped after %d with %v", n, err)
	}
}

// The file holds private keys: it is made for its owner alone, and one that
// others may read is refused.
func TestStoreFile(t *testing.T) {
	for name, open := range map[string]func(string) (Store, error){"alone": OpenStore, "shared": OpenSharedStore} {
		t.Run(name, func(t *testing.T) { testStoreFile(t, open) })
	}
}

func testStoreFile(t *testing.T, open func(string) (Store, error)) {
	path := filepath.Join(t.TempDir(), "store")
	s := must(open(path))(t)
	if err := s.Update(func(tx Tx) error { return tx.Put("k", []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if mode := must(os.Stat(path))(t).Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %04o, want 0600", mode)
	}
	s = must(open(path))(t)
	err := s.View(func(tx Tx) error {
		if string(tx.Get("k")) != "v" {
			t.Errorf("the store forgot")
		}
		return nil
	})
	if err := errors.Join(err, s.Close(), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	if s, err := open(path); err == nil {
		_ = s.Close()
		t.Errorf("a store that others may read was opened")
	}
}

// The whole road stands on the file store as on the one in memory.
func TestRoadOnFiles(t *testing.T) {
	w := newWorld(t)
	w.store = must(OpenStore(filepath.Join(t.TempDir(), "sender")))(t)
	defer w.store.Close()
	w.sender = w.newSender(w.store)
	p := w.enrol("c1", -8)
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "483920")))))(t)
}
