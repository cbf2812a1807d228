package mls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
)

// Credential types, 17.5.
const (
	CredentialBasic uint16 = 1
	CredentialX509  uint16 = 2
)

// A Credential says who a leaf is, 5.3. A basic one is a bare assertion: only
// the [Validator] makes it mean anything.
type Credential struct {
	Type uint16
	// Identity is set for CredentialBasic.
	Identity []byte
	// Certificates is set for CredentialX509: DER, the end entity first.
	Certificates [][]byte
}

// BasicCredential asserts an identity in the application's own encoding.
func BasicCredential(identity []byte) Credential {
	return Credential{Type: CredentialBasic, Identity: identity}
}

// X509Credential presents a chain of DER certificates, the end entity first. Its
// public key must be the leaf's signature key; every leaf is held to that.
func X509Credential(chain ...[]byte) Credential {
	return Credential{Type: CredentialX509, Certificates: chain}
}

// A Validator is the authentication service of 5.3.1. Validate is called for
// every leaf that enters the caller's view: at create, add and join, and for
// the leaves that a received Commit adds or replaces. It decides whether the
// credential may be used with that signature key; an error refuses the whole
// operation. It may be called again for a leaf it has seen.
type Validator interface {
	Validate(c Credential, signatureKey []byte) error
}

func (c *Credential) read(r *reader) {
	switch c.Type = r.u16(); c.Type {
	case CredentialBasic:
		c.Identity = r.vec()
	case CredentialX509:
		r.list(func(r *reader) { c.Certificates = append(c.Certificates, r.vec()) })
	default:
		r.fail("credential type %d", c.Type)
	}
}

func (c *Credential) write(w *writer) {
	w.u16(c.Type)
	if c.Type == CredentialBasic {
		w.vec(c.Identity)
		return
	}
	w.nested(func(w *writer) {
		for _, cert := range c.Certificates {
			w.vec(cert)
		}
	})
}

func (c *Credential) clone() Credential {
	out := Credential{Type: c.Type, Identity: bytes.Clone(c.Identity)}
	for _, cert := range c.Certificates {
		out.Certificates = append(out.Certificates, bytes.Clone(cert))
	}
	return out
}

// bindsKey holds an X.509 credential to its leaf: the end entity's public key
// is the signature key (5.3). A basic credential names no key.
func (c *Credential) bindsKey(signatureKey []byte) error {
	switch c.Type {
	case CredentialBasic:
		return nil
	case CredentialX509:
	default:
		return refused("credential type %d", c.Type)
	}
	if len(c.Certificates) == 0 {
		return refused("empty certificate chain")
	}
	cert, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return refused("end entity certificate: %v", err)
	}
	var public []byte
	switch key := cert.PublicKey.(type) {
	case ed25519.PublicKey:
		public = key
	case *ecdsa.PublicKey:
		if public, err = key.Bytes(); err != nil {
			return refused("end entity key: %v", err)
		}
	}
	if len(public) == 0 || !bytes.Equal(public, signatureKey) {
		return refused("certificate is for another key than the leaf's")
	}
	return nil
}
