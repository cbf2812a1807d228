// Package mlstest is the contract of what package mls is given, as tests: a
// signer, which may live in an HSM, passes [Signer], an authentication service
// passes [Validator], and what keeps a group passes [Store].
package mlstest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealpost/sealpost/mls"
)

const callers = 8 // at the same time

// curves are the suites that sign with ECDSA, 17.1; the others take Ed25519.
var curves = map[mls.Suite]struct {
	curve elliptic.Curve
	hash  crypto.Hash
}{
	mls.P256AES128: {elliptic.P256(), crypto.SHA256},
	mls.P384AES256: {elliptic.P384(), crypto.SHA384},
	mls.P521AES256: {elliptic.P521(), crypto.SHA512},
}

// Signer holds a signer for a suite to the contract of [mls.Signer]. secret is its
// private key, nil where the caller does not have it.
func Signer(t *testing.T, suite mls.Suite, s mls.Signer, secret []byte) {
	verify := func(msg, sig []byte) bool {
		if c, ok := curves[suite]; ok {
			key, err := ecdsa.ParseUncompressedPublicKey(c.curve, s.Public())
			h := c.hash.New()
			h.Write(msg)
			return err == nil && ecdsa.VerifyASN1(key, h.Sum(nil), sig)
		}
		return len(s.Public()) == ed25519.PublicKeySize && len(sig) == ed25519.SignatureSize && ed25519.Verify(s.Public(), msg, sig)
	}
	public := bytes.Clone(s.Public())
	for _, msg := range [][]byte{[]byte("message"), {}, bytes.Repeat([]byte("m"), 64), make([]byte, 1<<20)} {
		before := bytes.Clone(msg)
		sig, err := s.Sign(msg)
		if err != nil || !verify(msg, sig) {
			t.Fatalf("the signature over %d bytes does not verify: %v", len(msg), err)
		}
		if !bytes.Equal(msg, before) {
			t.Errorf("signing changed the %d bytes", len(msg))
		}
		if verify(append(bytes.Clone(msg), 0), sig) {
			t.Errorf("it verifies over more than the %d bytes that were signed", len(msg))
		}
		if len(msg) > 0 {
			msg[len(msg)-1] ^= 1
			if verify(msg, sig) {
				t.Errorf("it does not cover the last of %d bytes", len(msg))
			}
		}
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			msg := fmt.Appendf(nil, "message %d", i)
			if sig, err := s.Sign(msg); err != nil || !verify(msg, sig) {
				t.Errorf("one of several at the same time: %v", err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(public, s.Public()) {
		t.Error("its public key changed")
	}
	g, err := mls.Create(suite, []byte("group"), mls.BasicCredential([]byte("signer")), s, everybody{}, mls.DefaultPolicy())
	if err == nil {
		_, err = g.Protect([]byte("aad"), []byte("content"))
	}
	if err != nil {
		t.Errorf("a group with it: %v", err)
	}
	if secret == nil {
		return
	}
	spelled := []string{fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), string(secret),
		strings.Trim(fmt.Sprint(secret), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed := fmt.Sprintf(verb+verb, s, struct{ s mls.Signer }{s})
		if slices.ContainsFunc(spelled, func(secret string) bool { return strings.Contains(printed, secret) }) {
			t.Errorf("%s prints its private key", verb)
		}
	}
}

type everybody struct{}

func (everybody) Validate(mls.Credential, []byte) error { return nil }
func (everybody) Successor(_, _ mls.Credential) error   { return nil }

// Validator holds one to the contract of [mls.Validator]: it accepts a credential
// with its key, as often as it is asked, and with no other key; and it takes
// nobody else for the successor of a member.
func Validator(t *testing.T, v mls.Validator, honest mls.Credential, key []byte) {
	identity, kept := bytes.Clone(honest.Identity), bytes.Clone(key)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if err := v.Validate(honest, key); err != nil {
				t.Errorf("the honest leaf: %v", err)
			}
			if err := v.Successor(honest, honest); err != nil {
				t.Errorf("the honest leaf after itself: %v", err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(identity, honest.Identity) || !bytes.Equal(kept, key) {
		t.Error("it changed what it was shown")
	}
	another := bytes.Clone(key)
	another[0] ^= 1
	for name, key := range map[string][]byte{"another key": another, "no key": nil, "a part of the key": key[:1], "more than the key": append(bytes.Clone(key), 0)} {
		if err := v.Validate(honest, key); err == nil {
			t.Errorf("the credential was accepted with %s", name)
		}
	}
	if err := v.Validate(honest, key); err != nil {
		t.Errorf("the honest leaf after others were refused: %v", err)
	}
	for name, c := range map[string]mls.Credential{
		"no credential": {}, "a credential of no type": {Identity: honest.Identity}, "a chain of nothing": mls.X509Credential(),
		"a part of the identity": mls.BasicCredential(honest.Identity[:min(1, len(honest.Identity))]), "no identity": mls.BasicCredential(nil),
	} {
		if err := v.Validate(c, another); err == nil {
			t.Errorf("%s was accepted with another key", name)
		}
		if err := v.Successor(honest, c); err == nil {
			t.Errorf("%s succeeds the honest leaf", name)
		}
		if err := v.Successor(c, honest); err == nil {
			t.Errorf("the honest leaf succeeds %s", name)
		}
	}
	somebody := bytes.Clone(honest.Identity)
	if len(somebody) == 0 {
		return // who else a chain could name is the validator's own matter
	}
	somebody[0] ^= 1
	if err := v.Successor(honest, mls.BasicCredential(somebody)); err == nil {
		t.Error("somebody else succeeds the honest leaf")
	}
}
