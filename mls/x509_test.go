package mls_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
)

// issued is when every certificate of the tests begins; it lives for a day.
var issued = time.Unix(1_700_000_000, 0)

// An authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: issued,
		NotAfter: issued.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a := &authority{t, tmpl, key}
	if parent == nil {
		parent = a
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// rcsClient is a purpose that crypto/x509 has no name for, as RCS has one.
var rcsClient = asn1.ObjectIdentifier{2, 23, 146, 2, 1, 3}

// issue certifies a key for a URI; change may spoil the certificate.
func (a *authority) issue(key crypto.PublicKey, uri string, change func(*x509.Certificate)) []byte {
	a.t.Helper()
	name, err := url.Parse(uri)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), URIs: []*url.URL{name}, NotBefore: issued,
		NotAfter: issued.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{rcsClient}}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// firstURI is the identity of the tests.
func firstURI(c *x509.Certificate) ([]byte, error) {
	if len(c.URIs) == 0 {
		return nil, errors.New("no URI")
	}
	return []byte(c.URIs[0].String()), nil
}

// keyOf makes a signature key for a suite, as certificates and as groups want it.
func keyOf(t *testing.T, s mls.Suite) (crypto.PublicKey, mls.Signer) {
	t.Helper()
	if s == mls.X25519AES128 {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sg, err := mls.NewEd25519Signer(priv.Seed())
		if err != nil {
			t.Fatal(err)
		}
		return pub, sg
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	sg, err := mls.NewP256Signer(scalar)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public(), sg
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

// takesAnybody is the authentication service of a hostile member.
type takesAnybody struct{ mls.Validator }

func (takesAnybody) Successor(_, _ mls.Credential) error { return nil }

// TestX509Validator: an honest chain of root, intermediate and end entity, then
// one thing spoiled at a time.
func TestX509Validator(t *testing.T) {
	root, stranger := newAuthority(t, "root", nil), newAuthority(t, "stranger", nil)
	between := newAuthority(t, "between", root)
	for _, s := range []mls.Suite{mls.X25519AES128, mls.P256AES128} {
		public, sg := keyOf(t, s)
		otherPublic, other := keyOf(t, s)
		leaf := func(change func(*x509.Certificate)) mls.Credential {
			return mls.X509Credential(between.issue(public, "tel:+4915112345678", change), between.cert.Raw)
		}
		honest := mls.X509Validator{Roots: pool(root.cert), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			Purposes: []asn1.ObjectIdentifier{rcsClient}, Now: at(issued.Add(time.Minute)), Identity: firstURI}
		c := leaf(nil)
		mlstest.Validator(t, &honest, c, sg.Public())
		with := func(change func(*mls.X509Validator)) *mls.X509Validator {
			v := honest
			change(&v)
			return &v
		}
		for name, v := range map[string]*mls.X509Validator{
			"no roots":          with(func(v *mls.X509Validator) { v.Roots = nil }),
			"no clock":          with(func(v *mls.X509Validator) { v.Now = nil }),
			"no identity":       with(func(v *mls.X509Validator) { v.Identity = nil }),
			"another root":      with(func(v *mls.X509Validator) { v.Roots = pool(stranger.cert) }),
			"expired":           with(func(v *mls.X509Validator) { v.Now = at(issued.Add(2 * time.Hour)) }),
			"not yet valid":     with(func(v *mls.X509Validator) { v.Now = at(issued.Add(-time.Minute)) }),
			"another key usage": with(func(v *mls.X509Validator) { v.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }),
			"another purpose":   with(func(v *mls.X509Validator) { v.Purposes = []asn1.ObjectIdentifier{{1, 2, 3}} }),
			"an identity failed": with(func(v *mls.X509Validator) {
				v.Identity = func(*x509.Certificate) ([]byte, error) { return nil, errors.New("x") }
			}),
			"an empty identity": with(func(v *mls.X509Validator) { v.Identity = func(*x509.Certificate) ([]byte, error) { return nil, nil } }),
		} {
			if err := v.Validate(c, sg.Public()); err == nil {
				t.Errorf("suite %d, %s: accepted", s, name)
			} else if missing := v.Roots == nil || v.Now == nil || v.Identity == nil; missing != strings.Contains(err.Error(), "without roots") {
				t.Errorf("suite %d, %s: %v", s, name, err)
			}
		}
		for name, bad := range map[string]mls.Credential{
			"no intermediate":       mls.X509Credential(c.Certificates[0]),
			"a broken intermediate": mls.X509Credential(c.Certificates[0], []byte("x")),
			"an intermediate first": mls.X509Credential(between.cert.Raw, c.Certificates[0]),
			"another key":           mls.X509Credential(between.issue(otherPublic, "tel:+4915112345678", nil), between.cert.Raw),
			"a stranger's":          mls.X509Credential(stranger.issue(public, "tel:+4915112345678", nil), stranger.cert.Raw),
			"no key usage": leaf(func(c *x509.Certificate) {
				c.ExtKeyUsage, c.UnknownExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []asn1.ObjectIdentifier{rcsClient}
			}),
			"no purpose": leaf(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }),
			"nobody":     leaf(func(c *x509.Certificate) { c.URIs = nil }),
			"too long":   mls.X509Credential(append([][]byte{c.Certificates[0]}, slices.Repeat([][]byte{between.cert.Raw}, 8)...)...),
			"a critical extension nobody knows": leaf(func(c *x509.Certificate) {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
			}),
		} {
			if err := honest.Validate(bad, sg.Public()); err == nil {
				t.Errorf("suite %d, %s: accepted", s, name)
			}
		}
		if err := honest.Validate(c, other.Public()); err == nil {
			t.Errorf("suite %d: accepted with another leaf's key", s)
		}
		if err := with(func(v *mls.X509Validator) { v.Intermediates = pool(between.cert) }).Validate(mls.X509Credential(c.Certificates[0]), sg.Public()); err != nil {
			t.Errorf("suite %d, an intermediate that the validator has: %v", s, err)
		}
		if err := with(func(v *mls.X509Validator) { v.KeyUsages, v.Purposes = nil, nil }).Validate(leaf(func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, nil
		}), sg.Public()); err != nil {
			t.Errorf("suite %d, no key usage where any will do: %v", s, err)
		}

		renewed := mls.X509Credential(between.issue(otherPublic, "tel:+4915112345678", nil), between.cert.Raw)
		somebody := mls.X509Credential(between.issue(otherPublic, "tel:+4915187654321", nil), between.cert.Raw)
		late := with(func(v *mls.X509Validator) { v.Now = at(issued.Add(2 * time.Hour)) })
		if err := late.Successor(c, renewed); err != nil {
			t.Errorf("suite %d, renewed for another key after it expired: %v", s, err)
		}
		if err := new(mls.X509Validator).Successor(c, renewed); err == nil {
			t.Errorf("suite %d: a validator that knows no identities accepts a successor", s)
		}
		for name, after := range map[string]mls.Credential{"somebody else": somebody, "a bare name": mls.BasicCredential([]byte("tel:+4915112345678")), "nobody": leaf(func(c *x509.Certificate) { c.URIs = nil })} {
			if err := honest.Successor(c, after); err == nil {
				t.Errorf("suite %d, %s succeeds", s, name)
			}
		}
	}
}

// TestX509Group: two members with certificates, from KeyPackage to message and to a
// renewed certificate; and a clock by which one of them has expired lets nobody in.
func TestX509Group(t *testing.T) {
	root := newAuthority(t, "root", nil)
	for _, s := range []mls.Suite{mls.X25519AES128, mls.P256AES128} {
		v := &mls.X509Validator{Roots: pool(root.cert), Now: at(issued.Add(time.Minute)), Identity: firstURI}
		late := &mls.X509Validator{Roots: v.Roots, Now: at(issued.Add(2 * time.Hour)), Identity: firstURI}
		bankPublic, bankKey := keyOf(t, s)
		phonePublic, phoneKey := keyOf(t, s)
		bankCert := mls.X509Credential(root.issue(bankPublic, "https://bank.example", func(c *x509.Certificate) { c.NotAfter = issued.Add(24 * time.Hour) }))
		pub, priv, err := mls.NewKeyPackage(s, mls.X509Credential(root.issue(phonePublic, "tel:+4915112345678", nil)), phoneKey, mls.KeyPackageOptions{NotAfter: 1})
		check(err)
		add := func(v mls.Validator) (*mls.Group, *mls.Staged, error) {
			g, err := mls.Create(s, []byte("group"), bankCert, bankKey, v, mls.DefaultPolicy())
			check(err)
			staged, err := g.Add(pub)
			return g, staged, err
		}
		if _, _, err := add(late); !errors.Is(err, mls.ErrRefused) {
			t.Errorf("suite %d: an expired member was added: %v", s, err)
		}
		bank, staged, err := add(v)
		check(err)
		check(bank.Apply(staged))
		if _, err := mls.Join(staged.Welcome, priv, phoneKey, late, mls.DefaultPolicy()); !errors.Is(err, mls.ErrRefused) {
			t.Errorf("suite %d: joined with an expired member: %v", s, err)
		}
		phone, err := mls.Join(staged.Welcome, priv, phoneKey, v, mls.DefaultPolicy())
		check(err)
		sealed, err := bank.Protect(nil, []byte("hello"))
		check(err)
		event, err := phone.Process(sealed)
		check(err)
		if text := fmt.Sprintf("%s", event.(mls.Application).Plaintext); text != "hello" {
			t.Errorf("suite %d: %q", s, text)
		}

		// The phone's certificate is renewed for another key, by a Commit. Somebody
		// else's does not take its place, whoever says so.
		nextPublic, nextKey := keyOf(t, s)
		state, err := phone.Marshal()
		check(err)
		hostile, err := mls.Unmarshal(state, phoneKey, takesAnybody{v}, mls.DefaultPolicy())
		check(err)
		rotate := func(g *mls.Group, uri string) (*mls.Staged, error) {
			next := mls.X509Credential(root.issue(nextPublic, uri, nil))
			return g.Commit(mls.CommitOptions{Leaf: mls.LeafOptions{Signer: nextKey, Credential: &next}})
		}
		if _, err := rotate(phone, "tel:+4915187654321"); !errors.Is(err, mls.ErrRefused) {
			t.Errorf("suite %d: the phone made a commit as somebody else: %v", s, err)
		}
		forged, err := rotate(hostile, "tel:+4915187654321")
		check(err)
		if _, err := bank.Process(forged.Commit); !errors.Is(err, mls.ErrRefused) {
			t.Errorf("suite %d: somebody else's certificate took a member's place: %v", s, err)
		}
		renewed, err := rotate(phone, "tel:+4915112345678")
		check(err)
		event, err = bank.Process(renewed.Commit)
		check(err)
		check(bank.Apply(event.(*mls.Staged)))
		check(phone.Apply(renewed))
		sealed, err = phone.Protect(nil, []byte("by another key"))
		check(err)
		if _, err = bank.Process(sealed); err != nil {
			t.Errorf("suite %d: after the renewal: %v", s, err)
		}
	}
}

// A member shows a certificate chain; peers trust one root and take the URI for
// the member's identity.
func ExampleX509Validator() {
	now := time.Unix(1_700_000_000, 0)
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	}
	rootKey := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)) // random in earnest
	root := template(1, "Example root")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	check(err)
	root, err = x509.ParseCertificate(rootDER)
	check(err)

	// The leaf's signature key is the one that the certificate is for.
	bankKey, err := mls.NewEd25519Signer(bytes.Repeat([]byte{2}, 32))
	check(err)
	leaf := template(2, "Bank")
	leaf.URIs = []*url.URL{{Scheme: "https", Host: "bank.example"}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, ed25519.PublicKey(bankKey.Public()), rootKey)
	check(err)

	trusted := &mls.X509Validator{Roots: x509.NewCertPool(), Now: func() time.Time { return now },
		Identity: func(c *x509.Certificate) ([]byte, error) {
			if len(c.URIs) != 1 {
				return nil, errors.New("certificate without one URI")
			}
			return []byte(c.URIs[0].String()), nil
		}}
	trusted.Roots.AddCert(root)
	g, err := mls.Create(mls.X25519AES128, []byte("group 1"), mls.X509Credential(leafDER), bankKey, trusted, mls.DefaultPolicy())
	check(err)
	fmt.Println(len(g.Members()), "member of credential type", g.Members()[0].Credential.Type)

	// A bare name has no certificate.
	_, err = mls.Create(mls.X25519AES128, []byte("group 2"), mls.BasicCredential([]byte("bank")), bankKey, trusted, mls.DefaultPolicy())
	fmt.Println(err)
	// Output:
	// 1 member of credential type 2
	// create group: refused: validate credential: credential type 1, want 2
}
