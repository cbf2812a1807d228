package sealpost

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/big"

	"github.com/hdevalence/ed25519consensus"
)

// An Alg is a COSE algorithm number (RFC 9053) of a signature.
type Alg int8

// The signature algorithms of statements. DESIGN section 1.3: hardware keys
// sign P-256; software and key services sign Ed25519.
const (
	EdDSA Alg = -8 // Ed25519, verified as ZIP 215 says
	ES256 Alg = -7 // ECDSA P-256 with SHA-256, r and s of 32 bytes each, low s only
)

func (a Alg) String() string {
	switch a {
	case EdDSA:
		return "Ed25519"
	case ES256:
		return "ES256"
	}
	return fmt.Sprintf("COSE algorithm %d", int(a))
}

// SignatureSize is the length in bytes of every signature of a statement.
const SignatureSize = 64

// A KeyID is the COSE Key Thumbprint (RFC 9679) with SHA-256 of a public key.
type KeyID [32]byte

func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// ParseKeyID reads 64 hexadecimal digits in lower case.
func ParseKeyID(s string) (k KeyID, err error) {
	return k, parseHex32(s, (*[32]byte)(&k), "key id")
}

// MarshalText writes 64 hexadecimal digits.
func (k KeyID) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (k *KeyID) UnmarshalText(b []byte) (err error) { *k, err = ParseKeyID(string(b)); return err }

// A PublicKey is an Ed25519 or P-256 key. It is comparable; its zero value is
// no key. In CBOR it is a COSE_Key (RFC 9052 7) with the required parameters
// only, the very bytes whose SHA-256 is its [KeyID].
type PublicKey struct {
	alg Alg
	raw string // 32 bytes of Ed25519, or x and y of P-256 with 32 bytes each
}

// NewEd25519Key takes the 32 bytes of RFC 8032 5.1.5. Whether they are a point
// shows when a signature is checked; ZIP 215 accepts any encoding of one.
func NewEd25519Key(raw []byte) (PublicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, malformed("Ed25519 key has %d bytes, want 32", len(raw))
	}
	return PublicKey{EdDSA, string(raw)}, nil
}

// NewES256Key takes an uncompressed point (SEC 1 2.3.3), 65 bytes, on P-256.
func NewES256Key(point []byte) (PublicKey, error) {
	if len(point) != 65 || point[0] != 4 {
		return PublicKey{}, malformed("P-256 key is not an uncompressed point of 65 bytes")
	}
	if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return PublicKey{}, malformed("P-256 key: %v", err)
	}
	return PublicKey{ES256, string(point[1:])}, nil
}

// Alg is the algorithm that the key signs with.
func (k PublicKey) Alg() Alg { return k.alg }

// IsZero says that there is no key.
func (k PublicKey) IsZero() bool { return k.raw == "" }

// Bytes is the raw key: 32 bytes of Ed25519, 65 of an uncompressed P-256 point.
// It is also the form of an MLS SignaturePublicKey (RFC 9420 5.1.1).
func (k PublicKey) Bytes() []byte {
	if k.alg == ES256 {
		return append([]byte{4}, k.raw...)
	}
	return []byte(k.raw)
}

// COSE_Key heads: kty, crv and the label and length of x, in bytewise order.
const (
	okpHead = "\xa3\x01\x01\x20\x06\x21\x58\x20"
	ec2Head = "\xa4\x01\x02\x20\x01\x21\x58\x20"
	ec2Y    = "\x22\x58\x20"

	okpSize = len(okpHead) + 32
	ec2Size = len(ec2Head) + 32 + len(ec2Y) + 32
)

// COSE is the key as a COSE_Key.
func (k PublicKey) COSE() []byte { return k.appendCOSE(make([]byte, 0, ec2Size)) }

func (k PublicKey) appendCOSE(b []byte) []byte {
	switch k.alg {
	case EdDSA:
		return append(append(b, okpHead...), k.raw...)
	case ES256:
		b = append(append(b, ec2Head...), k.raw[:32]...)
		return append(append(b, ec2Y...), k.raw[32:]...)
	}
	panic("sealpost: a zero PublicKey has no encoding")
}

// ID is the key's RFC 9679 thumbprint.
func (k PublicKey) ID() KeyID {
	var b [ec2Size]byte
	return sha256.Sum256(k.appendCOSE(b[:0]))
}

// MarshalCBOR writes the COSE_Key.
func (k PublicKey) MarshalCBOR() ([]byte, error) {
	if k.IsZero() {
		return nil, malformed("no key")
	}
	return k.COSE(), nil
}

// UnmarshalCBOR reads the one encoding of a key.
func (k *PublicKey) UnmarshalCBOR(b []byte) error {
	v, err := ParsePublicKey(b)
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// ParsePublicKey reads a COSE_Key as [PublicKey.COSE] writes it.
func ParsePublicKey(b []byte) (PublicKey, error) {
	s := string(b)
	switch {
	case len(s) == okpSize && s[:len(okpHead)] == okpHead:
		return NewEd25519Key(b[len(okpHead):])
	case len(s) == ec2Size && s[:len(ec2Head)] == ec2Head && s[len(ec2Head)+32:][:len(ec2Y)] == ec2Y:
		x, y := s[len(ec2Head):][:32], s[len(s)-32:]
		return NewES256Key([]byte("\x04" + x + y))
	}
	return PublicKey{}, malformed("COSE_Key is neither Ed25519 nor P-256 in its one encoding")
}

// Verify checks a signature of 64 bytes over msg. Ed25519 follows ZIP 215, so
// that single and batch verification agree on every input; ES256 wants s in
// the lower half, so that a signature has one form.
func (k PublicKey) Verify(msg, sig []byte) error {
	ok := false
	switch {
	case len(sig) != SignatureSize:
	case k.alg == EdDSA:
		ok = ed25519consensus.Verify([]byte(k.raw), msg, sig)
	case k.alg == ES256:
		ok = verifyES256(k, msg, sig)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

func verifyES256(k PublicKey, msg, sig []byte) bool {
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	if s.Cmp(halfOrder) > 0 {
		return false
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.Bytes())
	if err != nil {
		return false
	}
	sum := sha256.Sum256(msg)
	return ecdsa.Verify(pub, sum[:], r, s)
}

// halfOrder is half of the order of P-256, rounded down.
var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// A Signer signs statements with one key. Sign may be called concurrently and
// returns 64 bytes in the form of [PublicKey.Verify].
type Signer interface {
	Public() PublicKey
	Sign(msg []byte) ([]byte, error)
}

// A PrivateKey is a software key. It lives in closures, so that no verb of fmt
// and no encoder can print it.
type PrivateKey struct {
	public PublicKey
	sign   func(msg []byte) ([]byte, error)
	secret func() []byte
}

// KeySeed is the length in bytes of what a software key is made from.
const KeySeed = 32

// NewPrivateKey makes a key of alg from 32 secret bytes: the Ed25519 seed or
// the P-256 scalar.
func NewPrivateKey(alg Alg, seed []byte) (*PrivateKey, error) {
	if len(seed) != KeySeed {
		return nil, malformed("private key has %d bytes, want %d", len(seed), KeySeed)
	}
	secret := append([]byte(nil), seed...)
	k := &PrivateKey{secret: func() []byte { return append([]byte(nil), secret...) }}
	switch alg {
	case EdDSA:
		priv := ed25519.NewKeyFromSeed(secret)
		k.public = PublicKey{EdDSA, string(priv[32:])}
		k.sign = func(msg []byte) ([]byte, error) { return ed25519.Sign(priv, msg), nil }
	case ES256:
		priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
		if err != nil {
			return nil, malformed("P-256 scalar: %v", err)
		}
		point, err := priv.PublicKey.Bytes()
		if err != nil {
			return nil, malformed("P-256 key: %v", err)
		}
		k.public = PublicKey{ES256, string(point[1:])}
		k.sign = func(msg []byte) ([]byte, error) { return signES256(priv, msg) }
	default:
		return nil, fmt.Errorf("%w: %v", ErrUnknownAlgorithm, alg)
	}
	return k, nil
}

// GenerateKey draws a new software key.
func GenerateKey(alg Alg, random io.Reader) (*PrivateKey, error) {
	const draws = 8 // a P-256 scalar of zero or beyond the order comes once in 2^32 draws
	var err error
	for range draws {
		var seed [KeySeed]byte
		if _, err := io.ReadFull(random, seed[:]); err != nil {
			return nil, fmt.Errorf("draw a key: %w", err)
		}
		var k *PrivateKey
		if k, err = NewPrivateKey(alg, seed[:]); err == nil {
			return k, nil
		}
	}
	return nil, err
}

// Public is the key to verify with.
func (k *PrivateKey) Public() PublicKey { return k.public }

// Sign signs msg.
func (k *PrivateKey) Sign(msg []byte) ([]byte, error) { return k.sign(msg) }

// Seed is the secret that [NewPrivateKey] takes; only a key store asks for it.
func (k *PrivateKey) Seed() []byte { return k.secret() }

// Format prints the public half only.
func (k *PrivateKey) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "[private key %s]", k.public.ID()) }

// LogValue prints no secret.
func (k *PrivateKey) LogValue() slog.Value { return slog.StringValue("[private key]") }

func signES256(priv *ecdsa.PrivateKey, msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	der, err := priv.Sign(nil, sum[:], crypto.SHA256) // nil: deterministic, RFC 6979
	if err != nil {
		return nil, fmt.Errorf("sign with P-256: %w", err)
	}
	return NormalizeES256(der)
}
