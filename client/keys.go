package client

import (
	"fmt"
	"io"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/mls"
)

// keyRecord is a software key in the store.
type keyRecord struct {
	Alg  sealpost.Alg `cbor:"1,keyasint"`
	Seed secret       `cbor:"2,keyasint"`
}

// LoadKey gives the software key of a name from a store, and draws it where
// there is none yet. A key of another algorithm under that name is an error:
// keys are never replaced in place.
func LoadKey(s Store, name string, alg sealpost.Alg, random io.Reader) (*sealpost.PrivateKey, error) {
	if !sealpost.IsName(name) {
		return nil, fmt.Errorf("load key: the name is not allowed")
	}
	var key *sealpost.PrivateKey
	err := s.Update(func(tx Tx) error {
		at := "key/" + name
		r, found, err := load[keyRecord](tx, at)
		if err != nil {
			return err
		}
		if found {
			if r.Alg != alg {
				return fmt.Errorf("the stored key is %v, not %v", r.Alg, alg)
			}
			key, err = sealpost.NewPrivateKey(r.Alg, r.Seed)
			return err
		}
		if key, err = sealpost.GenerateKey(alg, random); err != nil {
			return err
		}
		return save(tx, at, keyRecord{alg, key.Seed()})
	})
	if err != nil {
		return nil, fmt.Errorf("load key %q: %w", name, err)
	}
	return key, nil
}

// suiteOf is the MLS suite whose signature scheme is that of a leaf key. An MLS
// group has one suite, so all devices of one recipient have leaf keys of one
// algorithm: that of the first that was enrolled.
func suiteOf(leaf sealpost.Alg) mls.Suite {
	if leaf == sealpost.ES256 {
		return mls.P256AES128
	}
	return mls.X25519AES128
}

// leafAlg is the algorithm of leaf keys in a suite.
func leafAlg(s mls.Suite) sealpost.Alg {
	if s == mls.P256AES128 {
		return sealpost.ES256
	}
	return sealpost.EdDSA
}

// mlsSigner signs for MLS with a software leaf key.
func mlsSigner(k *sealpost.PrivateKey) (mls.Signer, error) {
	if k.Public().Alg() == sealpost.ES256 {
		return mls.NewP256Signer(k.Seed())
	}
	return mls.NewEd25519Signer(k.Seed())
}
