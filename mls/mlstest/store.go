package mlstest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/sealpost/sealpost/mls"
)

// Memory is a store that lives as long as the test. Its zero value is empty.
type Memory struct {
	records map[string][]byte
	// Fail is asked at every Save: whether the change is made, and the error that
	// is reported. Nil makes all changes and reports none.
	Fail func(c mls.Change) (made bool, err error)
	// Saves counts the changes that were made, Written the bytes put by the last.
	Saves, Written int
}

// Save is that of [mls.Store].
func (m *Memory) Save(c mls.Change) error {
	made, err := true, error(nil)
	if m.Fail != nil {
		made, err = m.Fail(c)
	}
	if !made {
		return err
	}
	after := make(map[string][]byte)
	if !c.Whole {
		maps.Copy(after, m.records)
	}
	for _, key := range c.Delete {
		delete(after, key)
	}
	m.Written = 0
	for _, r := range c.Put {
		after[r.Key] = bytes.Clone(r.Data)
		m.Written += len(r.Key) + len(r.Data)
	}
	m.Saves++
	m.records = after
	return err
}

// Load is that of [mls.Store].
func (m *Memory) Load() (out []mls.Record, err error) {
	for key, data := range m.records {
		out = append(out, mls.Record{Key: key, Data: bytes.Clone(data)})
	}
	return out, nil
}

// Store holds a store to the contract of [mls.Store]. open gives a new and empty
// one and a way to open the same one again, as after a crash; nil where the store
// does not outlive its process.
func Store(t *testing.T, open func(t *testing.T) (s mls.Store, again func() mls.Store)) {
	s, again := open(t)
	reopen := func() {
		if again != nil {
			s = again()
		}
	}
	holds := func(when string, want map[string]string) {
		t.Helper()
		for range 2 { // before and after a crash
			records, err := s.Load()
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			have := make(map[string]string)
			for _, r := range records {
				if _, twice := have[r.Key]; twice {
					t.Errorf("%s: record %q twice", when, r.Key)
				}
				have[r.Key] = string(r.Data)
				clear(r.Data) // what Load returns is the caller's
			}
			if !maps.Equal(have, want) {
				t.Fatalf("%s: it holds %q, want %q", when, have, want)
			}
			reopen()
		}
	}
	save := func(c mls.Change) {
		t.Helper()
		if err := s.Save(c); err != nil {
			t.Fatal(err)
		}
		for _, r := range c.Put {
			clear(r.Data) // as the group does
		}
	}
	record := func(key, data string) mls.Record { return mls.Record{Key: key, Data: []byte(data)} }
	holds("a new store", map[string]string{})
	save(mls.Change{Whole: true, Put: []mls.Record{record("a", "1"), record("b\x00\xff", "2"), record("c", "")}})
	holds("a whole state", map[string]string{"a": "1", "b\x00\xff": "2", "c": ""})
	save(mls.Change{Put: []mls.Record{record("a", "3"), record("d", "4")}, Delete: []string{"c", "never there"}})
	holds("a change", map[string]string{"a": "3", "b\x00\xff": "2", "d": "4"})
	save(mls.Change{})
	holds("no change", map[string]string{"a": "3", "b\x00\xff": "2", "d": "4"})
	save(mls.Change{Whole: true, Put: []mls.Record{record("d", "5")}})
	holds("another whole state", map[string]string{"d": "5"})
	big := string(bytes.Repeat([]byte("x"), 1<<20))
	save(mls.Change{Put: []mls.Record{record("big", big)}})
	holds("a record of a megabyte", map[string]string{"d": "5", "big": big})
	save(mls.Change{Whole: true})
	holds("nothing", map[string]string{})

	group(t, func() mls.Store { reopen(); return s })
}

// group is a group that lives in a store and is loaded from it at every step.
func group(t *testing.T, store func() mls.Store) {
	signer, err := mls.NewEd25519Signer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	p := mls.DefaultPolicy()
	p.Store = store()
	if _, err := mls.Load(signer, everybody{}, p); err == nil {
		t.Error("a group was loaded from an empty store")
	}
	g, err := mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte("a")), signer, everybody{}, p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		switch i % 3 {
		case 0:
			_, err = g.Protect(nil, fmt.Append(nil, i))
		case 1:
			err = g.SkipTo(g.Generation() + 5)
		case 2:
			var s *mls.Staged
			if s, err = g.Commit(mls.CommitOptions{}); err == nil {
				err = g.Apply(s)
			}
		}
		want, wantErr := g.Marshal()
		if err := errors.Join(err, wantErr); err != nil {
			t.Fatal(err)
		}
		p.Store = store()
		if g, err = mls.Load(signer, everybody{}, p); err != nil {
			t.Fatalf("load after step %d: %v", i, err)
		}
		if have, err := g.Marshal(); err != nil || !bytes.Equal(have, want) {
			t.Fatalf("after step %d it holds another state: %v", i, err)
		}
	}
}
