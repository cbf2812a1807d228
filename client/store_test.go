package client

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Both stores keep the contract of Store.
func TestStores(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) Store{
		"memory": func(*testing.T) Store { return NewMemoryStore() },
		"bolt": func(t *testing.T) Store {
			return must(OpenStore(filepath.Join(t.TempDir(), "store")))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			testStore(t, s)
		})
	}
}

func testStore(t *testing.T, s Store) {
	get := func(key string) (v []byte) {
		if err := s.View(func(tx Tx) error { v = tx.Get(key); return nil }); err != nil {
			t.Fatal(err)
		}
		return v
	}
	put := func(pairs ...string) error {
		return s.Update(func(tx Tx) error {
			for i := 0; i < len(pairs); i += 2 {
				if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := put("a/1", "one", "a/3", "three", "b/1", "other", "a/2", ""); err != nil {
		t.Fatal(err)
	}
	if string(get("a/1")) != "one" || get("a/9") != nil || get("a/2") == nil {
		t.Errorf("get: %q %q %q", get("a/1"), get("a/9"), get("a/2"))
	}
	// A transaction that fails writes nothing, and sees its own writes until then.
	failed := errors.New("failed")
	err := s.Update(func(tx Tx) error {
		if err := errors.Join(tx.Put("a/1", []byte("new")), tx.Delete("a/3"), tx.Put("a/4", []byte("four"))); err != nil {
			return err
		}
		var keys []string
		err := tx.Scan("a/", func(k string, _ []byte) error { keys = append(keys, k); return nil })
		if !slices.Equal(keys, []string{"a/1", "a/2", "a/4"}) || string(tx.Get("a/1")) != "new" || tx.Get("a/3") != nil {
			t.Errorf("inside: %v %q %q", keys, tx.Get("a/1"), tx.Get("a/3"))
		}
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) || string(get("a/1")) != "one" || string(get("a/3")) != "three" || get("a/4") != nil {
		t.Errorf("a failed transaction changed something, or its error is lost: %v", err)
	}
	// What Get and Scan give is the caller's own.
	err = s.Update(func(tx Tx) error {
		tx.Get("a/1")[0] = 'X'
		return tx.Scan("a/", func(_ string, v []byte) error {
			for i := range v {
				v[i] = 'X'
			}
			return nil
		})
	})
	if err != nil || string(get("a/1")) != "one" || string(get("a/3")) != "three" {
		t.Errorf("a copy was none: %q %q %v", get("a/1"), get("a/3"), err)
	}
	err = s.View(func(tx Tx) error {
		if tx.Put("a/1", nil) == nil || tx.Delete("a/1") == nil {
			t.Errorf("a read-only transaction wrote")
		}
		n := 0
		if err := tx.Scan("a/", func(string, []byte) error { n++; return errStop }); err != nil || n != 1 {
			t.Errorf("scan stopped after %d with %v", n, err)
		}
		return tx.Scan("a/", func(string, []byte) error { return failed })
	})
	if !errors.Is(err, failed) {
		t.Errorf("scan lost an error: %v", err)
	}
}

// The file holds private keys: it is made for its owner alone, and one that
// others may read is refused.
func TestStoreFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := must(OpenStore(path))(t)
	if err := s.Update(func(tx Tx) error { return tx.Put("k", []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if mode := must(os.Stat(path))(t).Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %04o, want 0600", mode)
	}
	s = must(OpenStore(path))(t)
	err := s.View(func(tx Tx) error {
		if string(tx.Get("k")) != "v" {
			t.Errorf("the store forgot")
		}
		return nil
	})
	if err := errors.Join(err, s.Close(), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenStore(path); err == nil {
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
