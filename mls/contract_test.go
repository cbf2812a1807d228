package mls_test

import (
	"bytes"
	"testing"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
)

// DESIGN section 5, wall 5.
func TestSoftwareSigners(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	for suite, make := range map[mls.Suite]func([]byte) (mls.Signer, error){mls.X25519AES128: mls.NewEd25519Signer, mls.P256AES128: mls.NewP256Signer} {
		s, err := make(secret)
		if err != nil {
			t.Fatal(err)
		}
		mlstest.Signer(t, suite, s, secret)
	}
}

// Wall 5: the store of the tests is no kinder than another.
func TestMemoryStore(t *testing.T) {
	mlstest.Store(t, func(*testing.T) (mls.Store, func() mls.Store) { return new(mlstest.Memory), nil })
}

// Wall 5: the validator that the example shows is one to copy.
func TestKnownKeys(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	mlstest.Validator(t, knownKeys{key}, mls.BasicCredential([]byte("phone")), key)
}
