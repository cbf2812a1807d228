package mls

import (
	"bytes"
	"fmt"
	"io"
)

// keyPackage is KeyPackage, 10.
type keyPackage struct {
	version    uint16
	suite      Suite
	initKey    []byte
	leaf       leafNode
	extensions extensions
	signature  []byte
}

func (x *keyPackage) read(r *reader) {
	x.version = r.u16()
	x.suite = Suite(r.u16())
	x.initKey = r.vec()
	x.leaf.read(r)
	x.extensions.read(r)
	x.signature = r.vec()
}

func (x *keyPackage) writeUnsigned(w *writer) {
	w.u16(x.version)
	w.u16(uint16(x.suite))
	w.vec(x.initKey)
	x.leaf.write(w)
	x.extensions.write(w)
}

func (x *keyPackage) write(w *writer) {
	x.writeUnsigned(w)
	w.vec(x.signature)
}

// ref is KeyPackageRef, 5.2.
func (x *keyPackage) ref(cs *cryptoSuite) []byte {
	return cs.refHash("MLS 1.0 KeyPackage Reference", encode(x.write))
}

// validate checks a KeyPackage without a group, 10.1. Extensions it does not
// know are none of its business (13.4).
func (x *keyPackage) validate(cs *cryptoSuite) error {
	switch {
	case x.version != versionMLS10:
		return refused("key package of protocol version %d", x.version)
	case x.suite != cs.id:
		return refused("key package of cipher suite %d, want %d", x.suite, cs.id)
	case x.leaf.source != sourceKeyPackage:
		return refused("leaf of a key package has source %d", x.leaf.source)
	case bytes.Equal(x.leaf.encryptionKey, x.initKey):
		return refused("init key is also the encryption key")
	}
	if _, err := cs.kem.NewPublicKey(x.initKey); err != nil {
		return refused("init key")
	}
	if err := x.leaf.validateAlone(cs, nil, 0); err != nil {
		return err
	}
	return cs.verify(x.leaf.signatureKey, "KeyPackageTBS", encode(x.writeUnsigned), x.signature)
}

// checkLifetime holds a key package that we are about to use to our clock, 7.3.
func (p *Policy) checkLifetime(l *leafNode) error {
	if p.Now == nil {
		return nil
	}
	now := uint64(p.Now().Unix())
	if now < l.notBefore || now > l.notAfter {
		return refused("key package is valid from %d to %d, now is %d", l.notBefore, l.notAfter, now)
	}
	if limit := uint64(p.MaxLifetime.Seconds()); limit > 0 && l.notAfter-l.notBefore > limit {
		return refused("key package lives %d s, more than %d s", l.notAfter-l.notBefore, limit)
	}
	return nil
}

// KeyPackageOptions say how long a KeyPackage may be used and how often.
type KeyPackageOptions struct {
	// NotBefore and NotAfter are Unix seconds, both inclusive. NotAfter must not
	// be before NotBefore.
	NotBefore, NotAfter uint64
	// LastResort marks a KeyPackage that may be used more than once, when no
	// other is left (10, 16.8).
	LastResort bool
	// Support is what the leaf lists beyond RFC 9420's own.
	Support Support
	// Experimental admits a suite without a code point of its own, and lets the
	// leaf say that it has them.
	Experimental bool
	// Rand is the source of key material; nil is crypto/rand.
	Rand io.Reader
}

// KeyPackageSecrets are the private half of a KeyPackage. They open one Welcome
// and should then be deleted, unless the package is a last resort. They print as
// nothing.
type KeyPackageSecrets struct{ k held[keyPackagePrivate] }

type keyPackagePrivate struct {
	suite      *cryptoSuite
	pub        []byte // encoding of the KeyPackage
	kp         *keyPackage
	ref        []byte
	init, leaf []byte // HPKE private keys
}

// Format prints no secret.
func (KeyPackageSecrets) Format(f fmt.State, _ rune) { io.WriteString(f, "[mls key package secrets]") }

// NewKeyPackage makes a KeyPackage for one suite. pub is a whole MLSMessage to
// be published; the secrets must be durable before it is.
func NewKeyPackage(s Suite, c Credential, sg Signer, o KeyPackageOptions) (pub []byte, priv *KeyPackageSecrets, err error) {
	p := Policy{Experimental: o.Experimental, Rand: o.Rand}.withDefaults()
	cs, err := p.suite(s)
	if err != nil {
		return nil, nil, err
	}
	if o.NotAfter < o.NotBefore || o.NotAfter == 0 {
		return nil, nil, refused("key package lifetime from %d to %d", o.NotBefore, o.NotAfter)
	}
	kp := &keyPackage{version: versionMLS10, suite: s}
	k := &keyPackagePrivate{suite: cs, kp: kp}
	if k.init, kp.initKey, err = cs.freshKeyPair(p.Rand); err != nil {
		return nil, nil, fmt.Errorf("make init key: %w", err)
	}
	if k.leaf, err = newLeaf(cs, &kp.leaf, c, sg, o, p.Rand); err != nil {
		return nil, nil, err
	}
	kp.extensions = extensions{{kp.leaf.capabilities.grease(), []byte{}}} // 13.5
	if o.LastResort {
		kp.extensions = append(kp.extensions, extension{extLastResort, []byte{}})
	}
	if kp.signature, err = sign(sg, "KeyPackageTBS", encode(kp.writeUnsigned)); err != nil {
		return nil, nil, err
	}
	k.pub, k.ref = encode(kp.write), kp.ref(cs)
	return writeMessage(wireKeyPackage, kp.write), &KeyPackageSecrets{hold(k)}, nil
}

// KeyPackageInfo is what a KeyPackage says about its owner. Its signatures are
// verified; its credential is not validated.
type KeyPackageInfo struct {
	Suite               Suite
	SignatureKey        []byte
	Credential          Credential
	Ref                 []byte
	NotBefore, NotAfter uint64 // Unix seconds, inclusive
	LastResort          bool
}

// ParseKeyPackage reads and verifies a published KeyPackage under the default
// policy.
func ParseKeyPackage(pub []byte) (KeyPackageInfo, error) { return DefaultPolicy().ParseKeyPackage(pub) }

// ParseKeyPackage reads and verifies a published KeyPackage within the policy's
// limits, of the suites it admits. Lifetimes are not its matter.
func (p Policy) ParseKeyPackage(pub []byte) (KeyPackageInfo, error) {
	p = p.withDefaults()
	kp, cs, err := p.readKeyPackage(pub)
	if err != nil {
		return KeyPackageInfo{}, err
	}
	if err := kp.validate(cs); err != nil {
		return KeyPackageInfo{}, err
	}
	_, last := kp.extensions.find(extLastResort)
	return KeyPackageInfo{
		Suite: kp.suite, SignatureKey: kp.leaf.signatureKey, Credential: kp.leaf.credential,
		Ref: kp.ref(cs), NotBefore: kp.leaf.notBefore, NotAfter: kp.leaf.notAfter, LastResort: last,
	}, nil
}

func (p *Policy) readKeyPackage(pub []byte) (*keyPackage, *cryptoSuite, error) {
	m, err := readMessage(pub, p.Limits)
	if err != nil {
		return nil, nil, fmt.Errorf("read key package: %w", err)
	}
	if m.keyPackage == nil {
		return nil, nil, malformed("message is no key package")
	}
	cs, err := p.suite(m.keyPackage.suite)
	return m.keyPackage, cs, err
}

// Ref names the KeyPackage in a Welcome.
func (s *KeyPackageSecrets) Ref() []byte { return bytes.Clone(s.k().ref) }

// Public is the KeyPackage as it was published.
func (s *KeyPackageSecrets) Public() []byte { return writeMessage(wireKeyPackage, s.k().kp.write) }

const secretsVersion = 1

// Marshal encodes the secrets, unprotected: the caller seals them at rest.
func (s *KeyPackageSecrets) Marshal() ([]byte, error) {
	return encode(func(w *writer) {
		w.u8(secretsVersion)
		w.vec(s.k().pub)
		w.vec(s.k().init)
		w.vec(s.k().leaf)
	}), nil
}

// UnmarshalKeyPackageSecrets reads what Marshal wrote.
func UnmarshalKeyPackageSecrets(b []byte) (*KeyPackageSecrets, error) {
	var k keyPackagePrivate
	err := decode(bytes.Clone(b), 0, func(r *reader) {
		if v := r.u8(); v != secretsVersion {
			r.fail("key package secrets of version %d", v)
		}
		k.pub, k.init, k.leaf = r.vec(), r.vec(), r.vec()
	})
	if err != nil {
		return nil, err
	}
	return newKeyPackageSecrets(k.pub, k.init, k.leaf)
}

// newKeyPackageSecrets checks that the private keys are those of the KeyPackage.
func newKeyPackageSecrets(pub, initPriv, leafPriv []byte) (*KeyPackageSecrets, error) {
	kp := new(keyPackage)
	if err := decode(pub, DefaultLimits().Items, kp.read); err != nil {
		return nil, fmt.Errorf("read own key package: %w", err)
	}
	cs, err := lookupSuite(kp.suite)
	if err != nil {
		return nil, err
	}
	for _, pair := range [][2][]byte{{initPriv, kp.initKey}, {leafPriv, kp.leaf.encryptionKey}} {
		have, err := cs.publicOf(pair[0])
		if err != nil || !bytes.Equal(have, pair[1]) {
			return nil, refused("a private key is not that of the key package")
		}
	}
	return &KeyPackageSecrets{hold(&keyPackagePrivate{cs, pub, kp, kp.ref(cs), initPriv, leafPriv})}, nil
}
