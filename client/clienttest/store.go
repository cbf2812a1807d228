package clienttest

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
)

// A Tx is client.Tx.
type Tx interface {
	Get(key string) []byte
	Put(key string, value []byte) error
	Delete(key string) error
	Scan(prefix string, each func(key string, value []byte) error) error
}

// A Transactions is client.Store, by the type of its transactions: client.Tx.
type Transactions[T Tx] interface {
	Update(f func(T) error) error
	View(f func(T) error) error
}

// Store is the contract of client.Store: clienttest.Store[client.Tx](t, a, b). a and
// b are one empty store, as two replicas of a sender have it open; where only one
// process ever opens it, the same value twice.
func Store[T Tx](t *testing.T, a, b Transactions[T]) {
	get := func(key string) (v []byte) {
		t.Helper()
		if err := b.View(func(tx T) error { v = tx.Get(key); return nil }); err != nil {
			t.Fatal(err)
		}
		return v
	}
	put := func(pairs ...string) error {
		return a.Update(func(tx T) error {
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
	err := a.Update(func(tx T) error {
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
	err = a.Update(func(tx T) error {
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
	err = a.View(func(tx T) error {
		if tx.Put("a/1", nil) == nil || tx.Delete("a/1") == nil {
			t.Errorf("a read-only transaction wrote")
		}
		n := 0
		err := tx.Scan("a/", func(string, []byte) error { n++; return failed })
		if n != 1 {
			t.Errorf("a scan went on after an error, %d times", n)
		}
		return err
	})
	if !errors.Is(err, failed) {
		t.Errorf("scan lost an error: %v", err)
	}
	serial(t, a, b)
}

// serial: what one transaction reads, no other changes before it has written. A
// lease of MLS generations rests on this.
func serial[T Tx](t *testing.T, stores ...Transactions[T]) {
	const each, workers = 20, 3
	var wg sync.WaitGroup
	for _, s := range stores {
		for range workers {
			wg.Go(func() {
				for range each {
					err := s.Update(func(tx T) error {
						n := uint64(0)
						if b := tx.Get("count"); b != nil {
							n = binary.BigEndian.Uint64(b)
						}
						return tx.Put("count", binary.BigEndian.AppendUint64(nil, n+1))
					})
					if err != nil {
						t.Errorf("count: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	err := stores[0].View(func(tx T) error {
		if b := tx.Get("count"); b == nil || binary.BigEndian.Uint64(b) != uint64(each*workers*len(stores)) {
			t.Errorf("%d transactions counted to %x: one read what another was changing", each*workers*len(stores), b)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
