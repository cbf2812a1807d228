package client

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
)

// NewMemoryStore makes a store that lives as long as the process, for tests and
// load. It keeps the contract of [Store] but durability.
func NewMemoryStore() Store { return &memoryStore{data: families{}} }

type memoryStore struct {
	mu   sync.RWMutex
	data families
}

// families groups keys by [family], so that a scan meets its own kind only.
type families map[string]map[string][]byte

func (f families) put(key string, value []byte) {
	of := f[family(key)]
	if of == nil {
		of = map[string][]byte{}
		f[family(key)] = of
	}
	of[key] = value
}

// memoryTx holds its writes apart until the transaction commits; a nil value is
// a deletion.
type memoryTx struct {
	data     families
	writes   map[string][]byte
	readOnly bool
}

func (s *memoryStore) Update(f func(Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &memoryTx{data: s.data, writes: map[string][]byte{}}
	if err := f(tx); err != nil {
		return err
	}
	for k, v := range tx.writes {
		if v == nil {
			delete(s.data[family(k)], k)
		} else {
			s.data.put(k, v)
		}
	}
	return nil
}

func (s *memoryStore) View(f func(Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(&memoryTx{data: s.data, readOnly: true})
}

func (s *memoryStore) Close() error { return nil }

func (t *memoryTx) Get(key string) []byte {
	if v, written := t.writes[key]; written {
		return bytes.Clone(v)
	}
	return bytes.Clone(t.data[family(key)][key])
}

func (t *memoryTx) Put(key string, value []byte) error {
	if t.readOnly {
		return errReadOnly
	}
	t.writes[key] = append([]byte{}, value...)
	return nil
}

func (t *memoryTx) Delete(key string) error {
	if t.readOnly {
		return errReadOnly
	}
	t.writes[key] = nil
	return nil
}

func (t *memoryTx) Scan(prefix string, each func(string, []byte) error) error {
	found := map[string]bool{}
	for _, m := range []map[string][]byte{t.data[family(prefix)], t.writes} {
		for k := range m {
			if strings.HasPrefix(k, prefix) {
				found[k] = true
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		v := t.Get(k)
		if v == nil {
			continue // deleted in this transaction
		}
		if err := each(k, v); err != nil {
			return err
		}
	}
	return nil
}
