package client

import (
	"crypto/sha256"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// FaultsMax bounds what is kept of others' faults. When it is reached the
// oldest stay: whoever floods a device cannot push out what it did before.
const FaultsMax = 512

// A Fault is somebody else's fault, kept as evidence: what was wrong, and the
// bytes that show it. The statements among them are exhibits, with what the
// relay gave for each, so that a bundle can show them to others.
type Fault struct {
	Time     sealpost.UnixMilli `cbor:"1,keyasint"`           // by our clock
	What     string             `cbor:"2,keyasint"`           // in words, no content
	ID       sealpost.MessageID `cbor:"3,keyasint"`           // zero where no message is concerned
	Parts    [][]byte           `cbor:"4,keyasint,omitempty"` // as received
	Exhibits []evidence.Exhibit `cbor:"5,keyasint,omitempty"` // as received
}

// keepFault makes a fault durable, once. The same again only adds the promises
// and proofs that its exhibits lacked: a log proof is another under each
// checkpoint, and whoever asks often must not fill the store.
func keepFault(tx Tx, f Fault) error {
	h := sha256.New()
	h.Write([]byte(f.What))
	h.Write(f.ID[:])
	for _, p := range f.Parts {
		sum := sha256.Sum256(p)
		h.Write(sum[:])
	}
	for _, x := range f.Exhibits {
		leaf := sealpost.MakeLeaf(x.Salt, x.Statement)
		h.Write(leaf[:])
	}
	key := at("fault", h.Sum(nil))
	old, again, err := load[Fault](tx, key)
	if err != nil {
		return err
	}
	if again {
		return save(tx, key, old.with(f))
	}
	n, err := count(tx, "fault/")
	if err != nil || n >= FaultsMax {
		return err
	}
	return save(tx, key, f)
}

// with is a kept fault with what its repetition adds.
func (f Fault) with(again Fault) Fault {
	for i, x := range again.Exhibits {
		if len(f.Exhibits[i].Promise) == 0 {
			f.Exhibits[i].Promise = x.Promise
		}
		if len(f.Exhibits[i].Proof) == 0 {
			f.Exhibits[i].Proof = x.Proof
		}
	}
	return f
}

// recordFault is keepFault in a transaction of its own.
func recordFault(s Store, f Fault) error {
	if err := s.Update(func(tx Tx) error { return keepFault(tx, f) }); err != nil {
		return fmt.Errorf("keep evidence of a fault: %w", err)
	}
	return nil
}

// offered makes an exhibit of a statement as the relay gave it. What a bundle
// has no room for is none.
func offered(statement, salt, promise, proof []byte) (x evidence.Exhibit, ok bool) {
	if len(salt) != len(x.Salt) || len(statement) == 0 || len(statement) > sealpost.StatementMax ||
		len(promise) > evidence.PromiseMax || len(proof) > evidence.ProofMax {
		return x, false
	}
	return evidence.Exhibit{Statement: statement, Salt: sealpost.Salt(salt), Promise: promise, Proof: proof}, true
}

// refusedExhibits are the exhibits that were refused about one message.
func refusedExhibits(tx Tx, id sealpost.MessageID) (all []evidence.Exhibit, err error) {
	faults, err := loadAll[Fault](tx, "fault/")
	for _, f := range faults {
		if f.ID == id {
			all = append(all, f.Exhibits...)
		}
	}
	return all, err
}

func listFaults(s Store) (all []Fault, err error) {
	err = s.View(func(tx Tx) error { all, err = loadAll[Fault](tx, "fault/"); return err })
	return all, err
}
