package client

import (
	"crypto/sha256"
	"fmt"

	"github.com/sealpost/sealpost"
)

// FaultsMax bounds what is kept of others' faults. When it is reached the
// oldest stay: whoever floods a device cannot push out what it did before.
const FaultsMax = 512

// A Fault is somebody else's fault, kept as evidence: what was wrong, and the
// bytes that show it.
type Fault struct {
	Time  sealpost.UnixMilli `cbor:"1,keyasint"`           // by our clock
	What  string             `cbor:"2,keyasint"`           // in words, no content
	ID    sealpost.MessageID `cbor:"3,keyasint"`           // zero where no message is concerned
	Parts [][]byte           `cbor:"4,keyasint,omitempty"` // as received
}

// keepFault makes a fault durable, once.
func keepFault(tx Tx, f Fault) error {
	h := sha256.New()
	h.Write([]byte(f.What))
	h.Write(f.ID[:])
	for _, p := range f.Parts {
		sum := sha256.Sum256(p)
		h.Write(sum[:])
	}
	key := at("fault", h.Sum(nil))
	n, err := count(tx, "fault/")
	if err != nil || n >= FaultsMax || tx.Get(key) != nil {
		return err
	}
	return save(tx, key, f)
}

// recordFault is keepFault in a transaction of its own.
func recordFault(s Store, f Fault) error {
	if err := s.Update(func(tx Tx) error { return keepFault(tx, f) }); err != nil {
		return fmt.Errorf("keep evidence of a fault: %w", err)
	}
	return nil
}

func listFaults(s Store) (all []Fault, err error) {
	err = s.View(func(tx Tx) error { all, err = loadAll[Fault](tx, "fault/"); return err })
	return all, err
}
