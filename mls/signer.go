package mls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// A Signer signs with a leaf's signature key, which may live elsewhere: in a
// keystore, an HSM, another process.
//
// Public returns the key in its MLS encoding and never changes: 32 bytes of
// Ed25519, or an uncompressed point, 65 bytes of P-256. Sign signs the whole
// message, not a digest, and returns the MLS encoding: 64 bytes of Ed25519, or
// an ASN.1 DER ECDSA signature over the message's digest by the suite's hash. An error is passed on to
// the caller and leaves the group as it was.
type Signer interface {
	Public() []byte
	Sign(msg []byte) ([]byte, error)
}

// signatureScheme verifies one kind of signature, 5.1.2.
type signatureScheme interface {
	verify(pub, msg, sig []byte) bool
	validPublic(pub []byte) bool
}

type ed25519Scheme struct{}

func (ed25519Scheme) verify(pub, msg, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && len(sig) == ed25519.SignatureSize && ed25519.Verify(pub, msg, sig)
}

func (ed25519Scheme) validPublic(pub []byte) bool { return len(pub) == ed25519.PublicKeySize }

// ecdsaScheme takes uncompressed points only, 5.1.1.
type ecdsaScheme struct {
	curve elliptic.Curve
	hash  crypto.Hash
}

var (
	p256Scheme = ecdsaScheme{elliptic.P256(), crypto.SHA256}
	p384Scheme = ecdsaScheme{elliptic.P384(), crypto.SHA384}
	p521Scheme = ecdsaScheme{elliptic.P521(), crypto.SHA512}
)

func (s ecdsaScheme) digest(msg []byte) []byte {
	h := s.hash.New()
	h.Write(msg)
	return h.Sum(nil)
}

func (s ecdsaScheme) verify(pub, msg, sig []byte) bool {
	key, err := ecdsa.ParseUncompressedPublicKey(s.curve, pub)
	return err == nil && ecdsa.VerifyASN1(key, s.digest(msg), sig)
}

func (s ecdsaScheme) validPublic(pub []byte) bool {
	_, err := ecdsa.ParseUncompressedPublicKey(s.curve, pub)
	return err == nil
}

// softSigner holds its key in a closure, where no print verb reaches.
type softSigner struct {
	public []byte
	sign   func(msg []byte) ([]byte, error)
}

func (s softSigner) Public() []byte                  { return s.public }
func (s softSigner) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }
func (s softSigner) Format(f fmt.State, _ rune)      { io.WriteString(f, "[mls signer]") }

// NewEd25519Signer signs in software for [X25519AES128] and [X25519ChaCha]; seed
// is 32 bytes.
func NewEd25519Signer(seed []byte) (Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("ed25519 seed: want %d bytes, have %d", ed25519.SeedSize, len(seed))
	}
	key := ed25519.NewKeyFromSeed(seed)
	return softSigner{
		public: key.Public().(ed25519.PublicKey),
		sign:   func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil },
	}, nil
}

// NewP256Signer signs in software for [P256AES128]; scalar is 32 bytes, big
// endian.
func NewP256Signer(scalar []byte) (Signer, error) { return newECDSASigner(p256Scheme, scalar) }

// NewP384Signer signs in software for [P384AES256]; scalar is 48 bytes, big
// endian.
func NewP384Signer(scalar []byte) (Signer, error) { return newECDSASigner(p384Scheme, scalar) }

// NewP521Signer signs in software for [P521AES256]; scalar is 66 bytes, big
// endian.
func NewP521Signer(scalar []byte) (Signer, error) { return newECDSASigner(p521Scheme, scalar) }

func newECDSASigner(s ecdsaScheme, scalar []byte) (Signer, error) {
	key, err := ecdsa.ParseRawPrivateKey(s.curve, scalar)
	if err != nil {
		return nil, errors.New("ecdsa scalar: not a private key of the curve")
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode ecdsa public key: %w", err)
	}
	return softSigner{
		public: public,
		sign:   func(msg []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, key, s.digest(msg)) },
	}, nil
}

// absentSigner stands for the signer of an own update that was committed after a
// restart, until [Group.SetSigner] brings it.
type absentSigner []byte

func (s absentSigner) Public() []byte            { return s }
func (absentSigner) Sign([]byte) ([]byte, error) { return nil, ErrNoSigner }

// SetSigner gives the signer of this member's leaf, or of an update of it that
// waits for a Commit, after a restart: signers are not part of a group's state.
func (g *Group) SetSigner(sg Signer) error {
	e := g.cur()
	if e == nil {
		return ErrRemoved
	}
	key, known := sg.Public(), false
	if bytes.Equal(key, e.tree.leaf(e.own).signatureKey) {
		side := *g.s
		side.signer = sg
		g.s, known = &side, true
	}
	for _, p := range e.proposals {
		if p.own != nil && bytes.Equal(key, p.proposal.update.signatureKey) {
			p.own.signer, known = sg, true
		}
	}
	if !known {
		return refused("signer is not that of the group's own leaf or an update of it")
	}
	return nil
}
