package mls

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// chainMax is how many certificates a credential may carry.
const chainMax = 8

// An X509Validator accepts X.509 credentials that chain to a root of its own, and
// no others. Nothing is fetched: revocation is the caller's matter, by
// certificates that live short or by a Validator around this one.
//
// It judges by its clock, so a member whose certificate has expired is in the way
// of whoever joins: certificates are renewed into each group by a Commit with
// another credential ([Validator].Successor).
type X509Validator struct {
	// Roots are trusted. They must be set: those of the system are never used.
	Roots *x509.CertPool
	// Intermediates help to find a path, beside those in the credential.
	Intermediates *x509.CertPool
	// KeyUsages are the extended key usages of which a chain must allow one. Nil
	// accepts any.
	KeyUsages []x509.ExtKeyUsage
	// Purposes are extended key usages by OID, for those that crypto/x509 does not
	// know. The end entity must name one, unless there are none here.
	Purposes []asn1.ObjectIdentifier
	// Now is the clock. It must be set: this package has none.
	Now func() time.Time
	// Identity says whom a certificate names, in bytes that stay the same when it
	// is renewed. It must be set; an error refuses the certificate.
	Identity func(*x509.Certificate) ([]byte, error)
}

var errIncomplete = errors.New("x509 validator without roots, clock or identity")

// Validate verifies the chain, and that its end entity is for the signature key.
func (v *X509Validator) Validate(c Credential, signatureKey []byte) error {
	if v.Roots == nil || v.Now == nil || v.Identity == nil {
		return errIncomplete
	}
	if c.Type != CredentialX509 {
		return fmt.Errorf("credential type %d, want %d", c.Type, CredentialX509)
	}
	if len(c.Certificates) > chainMax {
		return fmt.Errorf("%d certificates, more than %d", len(c.Certificates), chainMax)
	}
	if err := c.bindsKey(signatureKey); err != nil {
		return err
	}
	cert, err := c.endEntity()
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	if v.Intermediates != nil {
		between = v.Intermediates.Clone()
	}
	for i, der := range c.Certificates[1:] {
		link, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		between.AddCert(link)
	}
	usages := v.KeyUsages
	if len(usages) == 0 {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: v.Roots, Intermediates: between, CurrentTime: v.Now(), KeyUsages: usages}); err != nil {
		return fmt.Errorf("verify certificate: %w", err)
	}
	if len(v.Purposes) > 0 && !slices.ContainsFunc(cert.UnknownExtKeyUsage, v.isPurpose) {
		return errors.New("certificate is for another purpose")
	}
	_, err = v.identity(cert)
	return err
}

func (v *X509Validator) isPurpose(id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(v.Purposes, id.Equal)
}

// Successor accepts a certificate that names whom the one before it named. That
// one may have expired.
func (v *X509Validator) Successor(before, after Credential) error {
	if v.Identity == nil {
		return errIncomplete
	}
	var names [2][]byte
	for i, c := range []Credential{before, after} {
		cert, err := c.endEntity()
		if err != nil {
			return err
		}
		if names[i], err = v.identity(cert); err != nil {
			return err
		}
	}
	if !bytes.Equal(names[0], names[1]) {
		return errors.New("certificates name different identities")
	}
	return nil
}

// identity refuses a certificate that names nobody: nobody would be equal to
// nobody.
func (v *X509Validator) identity(cert *x509.Certificate) ([]byte, error) {
	name, err := v.Identity(cert)
	if err != nil {
		return nil, fmt.Errorf("identity of the certificate: %w", err)
	}
	if len(name) == 0 {
		return nil, errors.New("certificate names nobody")
	}
	return name, nil
}
