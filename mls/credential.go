package mls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
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

// A Validator is the authentication service of 5.3.1. Both methods may be called
// at the same time and change nothing they are shown; an error refuses the whole
// operation.
//
// Validate is called for every leaf that enters the caller's view: at create, add
// and join, for the leaves that a proposal or a Commit brings, and for external
// senders when the group's list of them is new. It decides whether the credential may be used with that signature key.
// It may be called again for a leaf it has seen.
//
// Successor is called where a member goes on with another credential: its leaf is
// replaced by an update, by the path of its Commit, or by an external Commit that
// removes its older leaf (7.3, 12.2), or it is a member of a group that follows
// another one or branches off it (11.2, 11.3). It decides whether both name the
// same member; of members of two groups it is asked about any two. Validate is
// called for the later one apart.
type Validator interface {
	Validate(c Credential, signatureKey []byte) error
	Successor(before, after Credential) error
}

func (c *Credential) equal(d *Credential) bool {
	return bytes.Equal(encode(c.write), encode(d.write))
}

// validateSuccessor asks whether a leaf may take the place of another one of the
// same member. A credential that stays as it is need not be asked about.
func (x *leafNode) validateSuccessor(v Validator, after *leafNode) error {
	if x.credential.equal(&after.credential) {
		return nil
	}
	if err := v.Successor(x.credential, after.credential); err != nil {
		return fmt.Errorf("%w: succeed another credential: %w", ErrRefused, err)
	}
	return nil
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
	cert, err := c.endEntity()
	if err != nil {
		return err
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

// endEntity is the certificate that names the leaf's owner.
func (c *Credential) endEntity() (*x509.Certificate, error) {
	if len(c.Certificates) == 0 {
		return nil, refused("empty certificate chain")
	}
	cert, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return nil, refused("end entity certificate: %v", err)
	}
	return cert, nil
}
