package client

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sealpost/sealpost"
)

// A Store is a small transactional map that survives a crash. Each face has one
// of its own, to which nobody else writes; only a [SenderConfig.Shared] is written
// by every replica of a sender.
//
// Update runs one transaction at a time, whichever process asks, and f once in each:
// what f read, nobody else changes before it has written. When it returns nil, everything that f
// wrote is durable together; when it or f fails, nothing was written. View sees
// one consistent state. Both may be called concurrently, and neither may be
// called from inside f.
type Store interface {
	Update(f func(Tx) error) error
	View(f func(Tx) error) error
	Close() error
}

// A Tx is one transaction; it is not used after f returns. Get returns a copy,
// nil where there is nothing. Scan goes through the keys with a prefix in
// ascending order; its function does not write, and an error of it ends the scan and
// is what Scan answers.
type Tx interface {
	Get(key string) []byte
	Put(key string, value []byte) error
	Delete(key string) error
	Scan(prefix string, each func(key string, value []byte) error) error
}

// errReadOnly is a write inside View: a fault of ours.
var errReadOnly = errors.New("write in a read-only transaction")

// errStop ends a scan of scan early.
var errStop = errors.New("stop")

// scan is [Tx.Scan] until the function answers errStop.
func scan(tx Tx, prefix string, each func(key string, value []byte) error) error {
	err := tx.Scan(prefix, each)
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// load reads one record; found is false where there is none.
func load[T any](tx Tx, key string) (v T, found bool, err error) {
	b := tx.Get(key)
	if b == nil {
		return v, false, nil
	}
	if err := sealpost.Decode(b, &v); err != nil {
		return v, false, fmt.Errorf("read record %s: %w", family(key), err)
	}
	return v, true, nil
}

// save writes one record.
func save(tx Tx, key string, v any) error {
	b, err := sealpost.Encode(v)
	if err != nil {
		return fmt.Errorf("write record %s: %w", family(key), err)
	}
	return tx.Put(key, b)
}

// loadAll reads every record under a prefix, in the order of the keys.
func loadAll[T any](tx Tx, prefix string) (all []T, err error) {
	err = tx.Scan(prefix, func(key string, value []byte) error {
		var v T
		if err := sealpost.Decode(value, &v); err != nil {
			return fmt.Errorf("read record %s: %w", family(key), err)
		}
		all = append(all, v)
		return nil
	})
	return all, err
}

// count counts the keys under a prefix.
func count(tx Tx, prefix string) (n int, err error) {
	return n, tx.Scan(prefix, func(string, []byte) error { n++; return nil })
}

// family is the part of a key that identifies nobody.
func family(key string) string {
	name, _, _ := strings.Cut(key, "/")
	return name
}

// at joins the parts of a key; binary parts are in hexadecimal.
func at(name string, parts ...[]byte) string {
	var b strings.Builder
	b.WriteString(name)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(hex.EncodeToString(p))
	}
	return b.String()
}

// parseIDKey reads a message id at the end of a key.
func parseIDKey(text string) (id sealpost.MessageID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != text {
		return id, fmt.Errorf("%w: key of a message", sealpost.ErrMalformed)
	}
	return sealpost.MessageID(b), nil
}
