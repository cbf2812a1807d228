package sealpost_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/spec/vectors"
)

// Ed25519 follows ZIP 215 on every edge: points of small and mixed order,
// encodings that are not canonical, s out of range. The standard library
// refuses some of what ZIP 215 accepts, so it must not be what decides.
func TestSignatureVectors(t *testing.T) {
	cases, err := vectors.ReadSignatures()
	if err != nil {
		t.Fatal(err)
	}
	differs, valid := 0, 0
	for _, c := range cases {
		raw, err1 := hex.DecodeString(c.Key)
		msg, err2 := hex.DecodeString(c.Message)
		sig, err3 := hex.DecodeString(c.Signature)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		make := sealpost.NewEd25519Key
		if c.Alg == "ES256" {
			make = sealpost.NewES256Key
		}
		key, err := make(raw)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		err = key.Verify(msg, sig)
		if (err == nil) != c.Valid || err != nil && !errors.Is(err, sealpost.ErrSignature) {
			t.Errorf("%s: %v, want valid %v", c.Name, err, c.Valid)
		}
		if c.Valid {
			valid++
		}
		if c.Alg == "Ed25519" && ed25519.Verify(raw, msg, sig) != c.Valid {
			differs++
		}
	}
	if valid < 200 || differs < 50 {
		t.Errorf("%d valid cases, %d that the standard library judges otherwise: too few to show anything", valid, differs)
	}
	t.Logf("%d cases, %d valid; the standard library judges %d otherwise", len(cases), valid, differs)
}
