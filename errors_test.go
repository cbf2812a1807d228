package sealpost

import (
	"errors"
	"testing"
)

// What a caller acts on has a sentinel of its own, which says malformed too and
// is no other's (R7).
func TestMalformations(t *testing.T) {
	sign := func(spoil func(*Commitment)) error {
		c := honestCommitment()
		spoil(&c)
		_, err := Sign(c, testKey(EdDSA, 1))
		return err
	}
	if err := sign(func(*Commitment) {}); err != nil {
		t.Fatalf("honest: %v", err)
	}
	signed, err := Sign(honestCommitment(), testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	blob := make([]byte, BlobMax+1)
	_, mismatch := NewSealed(signed, blob[:1])
	_, longBlob := NewSealed(signed, blob)
	_, longStatement := Parse(make([]byte, StatementMax+1))
	_, longSubmission := ParseSealed(make([]byte, SubmissionMax+1))
	_, longEnvelope := ParseEnvelope(blob)
	_, unwritable := EncodeEnvelope(Envelope{Message: blob})
	all := []error{ErrTooLarge, ErrCanonicalization, ErrPattern, ErrBlobMismatch, ErrUnknownAlgorithm}
	for name, c := range map[string]struct{ err, want error }{
		"canonicalization": {sign(func(c *Commitment) { c.Canonicalization = 2 }), ErrCanonicalization},
		"pattern":          {sign(func(c *Commitment) { c.Pattern = 2 }), ErrPattern},
		// Another version may have other rules, so the version is named first.
		"canonicalization and a rule": {sign(func(c *Commitment) { c.Canonicalization, c.App = 2, "" }), ErrCanonicalization},
		"blob mismatch":               {mismatch, ErrBlobMismatch},
		"blob too long":               {longBlob, ErrTooLarge},
		"statement too long":          {longStatement, ErrTooLarge},
		"submission too long":         {longSubmission, ErrTooLarge},
		"envelope too long":           {longEnvelope, ErrTooLarge},
		"envelope to write too long":  {unwritable, ErrTooLarge},
		"hash algorithm":              {sign(func(c *Commitment) { c.HashAlg = -18 }), ErrUnknownAlgorithm},
		"another rule":                {sign(func(c *Commitment) { c.App = "" }), ErrMalformed},
	} {
		for _, s := range all {
			if errors.Is(c.err, s) != (s == c.want) || !errors.Is(c.err, ErrMalformed) {
				t.Errorf("%s: %v: matching %q is %v", name, c.err, s, errors.Is(c.err, s))
			}
		}
	}
}
