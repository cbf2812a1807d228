package translog

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// GenerateKey makes an Ed25519 note key (c2sp.org/signed-note). name becomes
// the origin of the log. skey is secret; vkey is what verifiers are given.
func GenerateKey(name string) (skey, vkey string, err error) {
	skey, vkey, err = note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", fmt.Errorf("generate log key: %w", err)
	}
	if _, err := note.NewVerifier(vkey); err != nil {
		return "", "", fmt.Errorf("generate log key for %q: %w", name, err)
	}
	return skey, vkey, nil
}

// refusingSigner is the signer that Tessera is given, which wants one and must
// not sign.
type refusingSigner struct{ name string }

func (s refusingSigner) Name() string  { return s.name }
func (refusingSigner) KeyHash() uint32 { return 0 }
func (refusingSigner) Sign([]byte) ([]byte, error) {
	return nil, errors.New("tessera does not sign checkpoints here")
}
