package mls

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	_ "crypto/sha256" // the hashes that the suites name
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// Suite is a cipher suite, 5.1 and 17.1.
type Suite uint16

// The suites this package has. Suites 4 and 6 are on X448 and Ed448, which the
// standard library lacks.
const (
	X25519AES128 Suite = 1 // MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519
	P256AES128   Suite = 2 // MLS_128_DHKEMP256_AES128GCM_SHA256_P256
	X25519ChaCha Suite = 3 // MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519
	P521AES256   Suite = 5 // MLS_256_DHKEMP521_AES256GCM_SHA512_P521
	P384AES256   Suite = 7 // MLS_256_DHKEMP384_AES256GCM_SHA384_P384
)

// Experimental suites of draft-ietf-mls-pq-ciphersuites-06: their KEM withstands
// a quantum computer, their signatures do not. The draft's code points are still
// to be assigned (TBD1 and TBD3), so these are ours, of the range for private
// use: another implementation has other ones, and they will go when the registry
// has them. They are [ErrUnsupported] unless Policy.Experimental and
// KeyPackageOptions.Experimental are set.
const (
	X25519MLKEM768 Suite = 0xf0a1 // MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519
	P256MLKEM768   Suite = 0xf0a3 // MLS_128_MLKEM768P256_AES128GCM_SHA256_P256
)

func (s Suite) experimental() bool { return s == X25519MLKEM768 || s == P256MLKEM768 }

const (
	versionMLS10 = 1  // ProtocolVersion mls10, 6
	nonceSize    = 12 // AEAD.Nn of every suite
	labelPrefix  = "MLS 1.0 "
)

// cryptoSuite is what a Suite stands for.
type cryptoSuite struct {
	id      Suite
	hash    crypto.Hash
	nk      int // AEAD.Nk
	kem     hpke.KEM
	kdf     hpke.KDF
	aead    hpke.AEAD
	content func(key []byte) (cipher.AEAD, error) // aead outside HPKE
	sig     signatureScheme
}

// suite finds a suite that this side is willing to use.
func (p *Policy) suite(s Suite) (*cryptoSuite, error) {
	if s.experimental() && !p.Experimental {
		return nil, fmt.Errorf("%w: cipher suite %#x is experimental", ErrUnsupported, s)
	}
	return lookupSuite(s)
}

// lookupSuite finds any suite, the experimental ones too.
func lookupSuite(s Suite) (*cryptoSuite, error) {
	switch s {
	case X25519AES128:
		return suite1, nil
	case P256AES128:
		return suite2, nil
	case X25519ChaCha:
		return suite3, nil
	case P521AES256:
		return suite5, nil
	case P384AES256:
		return suite7, nil
	case X25519MLKEM768:
		return suiteX25519MLKEM, nil
	case P256MLKEM768:
		return suiteP256MLKEM, nil
	}
	return nil, fmt.Errorf("%w: cipher suite %d", ErrUnsupported, s)
}

var (
	suite1 = &cryptoSuite{X25519AES128, crypto.SHA256, 16, hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES128GCM(), gcm, ed25519Scheme{}}
	suite2 = &cryptoSuite{P256AES128, crypto.SHA256, 16, hpke.DHKEM(ecdh.P256()), hpke.HKDFSHA256(), hpke.AES128GCM(), gcm, p256Scheme}
	suite3 = &cryptoSuite{X25519ChaCha, crypto.SHA256, 32, hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), chacha20poly1305.New, ed25519Scheme{}}
	suite5 = &cryptoSuite{P521AES256, crypto.SHA512, 32, hpke.DHKEM(ecdh.P521()), hpke.HKDFSHA512(), hpke.AES256GCM(), gcm, p521Scheme}
	suite7 = &cryptoSuite{P384AES256, crypto.SHA384, 32, hpke.DHKEM(ecdh.P384()), hpke.HKDFSHA384(), hpke.AES256GCM(), gcm, p384Scheme}

	suiteX25519MLKEM = &cryptoSuite{X25519MLKEM768, crypto.SHA256, 16, hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES128GCM(), gcm, ed25519Scheme{}}
	suiteP256MLKEM   = &cryptoSuite{P256MLKEM768, crypto.SHA256, 16, hpke.MLKEM768P256(), hpke.HKDFSHA256(), hpke.AES128GCM(), gcm, p256Scheme}
)

// ownSuites and experimentalSuites are advertised in capabilities, most wanted
// first.
var (
	ownSuites          = []uint16{uint16(X25519AES128), uint16(P256AES128), uint16(X25519ChaCha), uint16(P521AES256), uint16(P384AES256)}
	experimentalSuites = []uint16{uint16(X25519MLKEM768), uint16(P256MLKEM768)}
)

func (c *cryptoSuite) nh() int            { return c.hash.Size() }
func (c *cryptoSuite) newHash() hash.Hash { return c.hash.New() }
func (c *cryptoSuite) zero() []byte       { return make([]byte, c.nh()) }
func (c *cryptoSuite) digest(b ...[]byte) []byte {
	h := c.newHash()
	for _, p := range b {
		h.Write(p)
	}
	return h.Sum(nil)
}

func (c *cryptoSuite) mac(key, data []byte) []byte {
	m := hmac.New(c.newHash, key)
	m.Write(data)
	return m.Sum(nil)
}

// checkMAC compares full lengths, so that an empty or cut tag never passes.
func (c *cryptoSuite) checkMAC(key, data, tag []byte) bool {
	return hmac.Equal(c.mac(key, data), tag)
}

// extract is KDF.Extract(salt, ikm), 8.
func (c *cryptoSuite) extract(salt, ikm []byte) []byte {
	out, err := hkdf.Extract(c.newHash, ikm, salt)
	if err != nil {
		panic("mls: extract: " + err.Error())
	}
	return out
}

// An expander derives from one secret under several labels. It takes the secret in
// once: that is half of the work of deriving a key.
type expander struct {
	cs    *cryptoSuite
	mac   hash.Hash // HMAC under the secret
	label writer    // KDFLabel, the latest
	used  bool
}

func (c *cryptoSuite) under(secret []byte) *expander {
	return &expander{cs: c, mac: hmac.New(c.newHash, secret), label: writer{make([]byte, 0, 96)}}
}

// expand is ExpandWithLabel, 8, for up to Nh bytes: one block of HKDF (RFC 5869
// 2.3).
func (x *expander) expand(label string, context []byte, n int) []byte {
	if n > x.cs.nh() {
		panic("mls: more than one block of a label")
	}
	if x.used {
		x.mac.Reset()
	}
	x.used = true
	x.label.b = x.label.b[:0]
	x.label.kdfLabel(label, context, n)
	x.label.u8(1) // the block's number
	x.mac.Write(x.label.b)
	return x.mac.Sum(make([]byte, 0, x.cs.nh()))[:n:n]
}

// derive is DeriveSecret, 8.
func (x *expander) derive(label string) []byte { return x.expand(label, nil, x.cs.nh()) }

// deriveTree is DeriveTreeSecret, 9.1.
func (x *expander) deriveTree(label string, generation uint32, n int) []byte {
	var context [4]byte
	binary.BigEndian.PutUint32(context[:], generation)
	return x.expand(label, context[:], n)
}

// kdfLabel is KDFLabel, 8.
func (w *writer) kdfLabel(label string, context []byte, n int) {
	w.u16(uint16(n))
	w.length(len(labelPrefix) + len(label))
	w.b = append(append(w.b, labelPrefix...), label...)
	w.vec(context)
}

// expandLabel is ExpandWithLabel, 8.
func (c *cryptoSuite) expandLabel(secret []byte, label string, context []byte, n int) []byte {
	if n <= c.nh() {
		return c.under(secret).expand(label, context, n)
	}
	var w writer
	w.kdfLabel(label, context, n)
	out, err := hkdf.Expand(c.newHash, secret, string(w.b), n)
	if err != nil {
		panic("mls: expand: " + err.Error()) // only for lengths no caller asks for
	}
	return out
}

// derive is DeriveSecret, 8.
func (c *cryptoSuite) derive(secret []byte, label string) []byte {
	return c.under(secret).derive(label)
}

// refHash is RefHash, 5.2.
func (c *cryptoSuite) refHash(label string, value []byte) []byte {
	return c.digest(encode(func(w *writer) {
		w.vec([]byte(label))
		w.vec(value)
	}))
}

// labelled is SignContent of 5.1.2 and EncryptContext of 5.1.3.
func labelled(label string, content []byte) []byte {
	w := writer{b: make([]byte, 0, len(content)+48)}
	w.vec([]byte(labelPrefix + label))
	w.vec(content)
	return w.b
}

// sign is SignWithLabel, 5.1.2.
func sign(sg Signer, label string, content []byte) ([]byte, error) {
	sig, err := sg.Sign(labelled(label, content))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", label, err)
	}
	return sig, nil
}

// verify is VerifyWithLabel, 5.1.2.
func (c *cryptoSuite) verify(pub []byte, label string, content, sig []byte) error {
	if !c.sig.verify(pub, labelled(label, content), sig) {
		return refused("signature over %s", label)
	}
	return nil
}

// hpkeCiphertext is HPKECiphertext, 7.6.
type hpkeCiphertext struct{ kemOutput, ciphertext []byte }

func (x *hpkeCiphertext) read(r *reader) {
	x.kemOutput = r.vec()
	x.ciphertext = r.vec()
}

func (x *hpkeCiphertext) write(w *writer) {
	w.vec(x.kemOutput)
	w.vec(x.ciphertext)
}

// seal is EncryptWithLabel, 5.1.3.
func (c *cryptoSuite) seal(pub []byte, label string, context, plaintext []byte) (hpkeCiphertext, error) {
	pk, err := c.kem.NewPublicKey(pub)
	if err != nil {
		return hpkeCiphertext{}, refused("HPKE public key: %v", err)
	}
	enc, s, err := hpke.NewSender(pk, c.kdf, c.aead, labelled(label, context))
	if err != nil {
		return hpkeCiphertext{}, refused("encapsulate to HPKE public key: %v", err)
	}
	ct, err := s.Seal(nil, plaintext)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("hpke seal: %w", err)
	}
	return hpkeCiphertext{enc, ct}, nil
}

// open is DecryptWithLabel, 5.1.3.
func (c *cryptoSuite) open(priv []byte, label string, context []byte, ct hpkeCiphertext) ([]byte, error) {
	sk, err := c.kem.NewPrivateKey(priv)
	if err != nil {
		return nil, refused("HPKE private key")
	}
	r, err := hpke.NewRecipient(ct.kemOutput, sk, c.kdf, c.aead, labelled(label, context))
	if err != nil {
		return nil, refused("decapsulate: %v", err)
	}
	pt, err := r.Open(nil, ct.ciphertext)
	if err != nil {
		return nil, refused("hpke open %s", label)
	}
	return pt, nil
}

// keyPair is KEM.DeriveKeyPair: the private and the public encoding.
func (c *cryptoSuite) keyPair(ikm []byte) (priv, pub []byte, err error) {
	sk, err := c.kem.DeriveKeyPair(ikm)
	if err != nil {
		return nil, nil, fmt.Errorf("derive key pair: %w", err)
	}
	if priv, err = sk.Bytes(); err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	return priv, sk.PublicKey().Bytes(), nil
}

// freshKeyPair derives a key pair from Nh fresh random bytes.
func (c *cryptoSuite) freshKeyPair(random io.Reader) (priv, pub []byte, err error) {
	ikm, err := c.random(random)
	if err != nil {
		return nil, nil, err
	}
	defer clear(ikm)
	return c.keyPair(ikm)
}

// publicOf is the public key of a private one.
func (c *cryptoSuite) publicOf(priv []byte) ([]byte, error) {
	sk, err := c.kem.NewPrivateKey(priv)
	if err != nil {
		return nil, refused("HPKE private key")
	}
	return sk.PublicKey().Bytes(), nil
}

// random reads Nh bytes.
func (c *cryptoSuite) random(from io.Reader) ([]byte, error) {
	b := make([]byte, c.nh())
	if _, err := io.ReadFull(from, b); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return b, nil
}

// gcm is AES-GCM under a key of either size.
func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("aes: %w", err)
	}
	return cipher.NewGCM(block)
}
