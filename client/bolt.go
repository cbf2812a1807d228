package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// storeMode is the mode of a store's file: it holds private keys.
const storeMode = 0o600

// openTimeout bounds the wait for another process that has the store open.
const openTimeout = 5 * time.Second

var storeBucket = []byte("sealpost")

// OpenStore opens or makes a store in one file. Every transaction is synced to
// disk before it returns. The file holds private keys and contents in clear:
// it is made with mode 0600, and one that others may read is refused.
func OpenStore(path string) (Store, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open store: mode %04o lets others read private keys; want 0600", info.Mode().Perm())
	}
	db, err := bolt.Open(path, storeMode, &bolt.Options{Timeout: openTimeout})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(storeBucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.Close())
	}
	return boltStore{db}, nil
}

// OpenSharedStore opens or makes a store in one file that several processes of one
// host have open at a time, such as the replicas of one sender
// ([SenderConfig.Shared]): each transaction opens the file under its lock and
// closes it again, which costs some milliseconds where another holds it. Everything
// else is as with [OpenStore]. The file must not be on a network file system.
func OpenSharedStore(path string) (Store, error) {
	s, err := OpenStore(path)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &sharedStore{path: path}, nil
}

// sharedStore is a boltStore for the length of each transaction.
type sharedStore struct {
	path string
	mu   sync.Mutex // one at a time here, so that only other processes are waited for
}

func (s *sharedStore) Update(f func(Tx) error) error {
	return s.open(false, func(b boltStore) error { return b.Update(f) })
}

func (s *sharedStore) View(f func(Tx) error) error {
	return s.open(true, func(b boltStore) error { return b.View(f) })
}

func (s *sharedStore) open(readOnly bool, f func(boltStore) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	db, err := bolt.Open(s.path, storeMode, &bolt.Options{Timeout: openTimeout, ReadOnly: readOnly})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer db.Close() // whose error changes nothing of what was written
	return f(boltStore{db})
}

func (s *sharedStore) Close() error { return nil }

type boltStore struct{ db *bolt.DB }

type boltTx struct{ bucket *bolt.Bucket }

func (s boltStore) Update(f func(Tx) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return f(boltTx{tx.Bucket(storeBucket)}) })
}

func (s boltStore) View(f func(Tx) error) error {
	return s.db.View(func(tx *bolt.Tx) error { return f(boltTx{tx.Bucket(storeBucket)}) })
}

func (s boltStore) Close() error { return s.db.Close() }

func (t boltTx) Get(key string) []byte { return bytes.Clone(t.bucket.Get([]byte(key))) }

func (t boltTx) Put(key string, value []byte) error {
	if !t.bucket.Writable() {
		return errReadOnly
	}
	return t.bucket.Put([]byte(key), value)
}

func (t boltTx) Delete(key string) error {
	if !t.bucket.Writable() {
		return errReadOnly
	}
	return t.bucket.Delete([]byte(key))
}

func (t boltTx) Scan(prefix string, each func(string, []byte) error) error {
	c := t.bucket.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := each(string(k), bytes.Clone(v)); err != nil {
			return err
		}
	}
	return nil
}
