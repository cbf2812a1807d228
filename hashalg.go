package sealpost

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// A HashAlg is a COSE hash algorithm (RFC 9054) of a hiding commitment.
type HashAlg int8

// The hash algorithms of commitments: SHA-256 is the default.
const (
	SHA256 HashAlg = -16
	SHA384 HashAlg = -43
	SHA512 HashAlg = -44
)

func (a HashAlg) String() string {
	switch a {
	case SHA256:
		return "SHA-256"
	case SHA384:
		return "SHA-384"
	case SHA512:
		return "SHA-512"
	}
	return fmt.Sprintf("COSE algorithm %d", int(a))
}

// Size is the digest's length in bytes, 0 for an algorithm that is not ours.
func (a HashAlg) Size() int {
	switch a {
	case SHA256:
		return sha256.Size
	case SHA384:
		return sha512.Size384
	case SHA512:
		return sha512.Size
	}
	return 0
}

func (a HashAlg) check() error {
	if a.Size() == 0 {
		return fmt.Errorf("%w: %v", ErrUnknownAlgorithm, a)
	}
	return nil
}

func (a HashAlg) new() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	panic("sealpost: " + a.String() + " was not checked before use")
}

// An Opening is the 32 random bytes that open one commitment. Its length is
// fixed, because HMAC pads keys with zeros and a shorter one would have twins.
type Opening [32]byte

// Format prints no secret.
func (Opening) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[opening]") }

// MarshalText prints no secret into JSON or a log; nothing reads it back.
func (Opening) MarshalText() ([]byte, error) { return []byte("[opening]"), nil }

// mac is HMAC-H(r, msg) (RFC 2104).
func (a HashAlg) mac(r Opening, msg []byte) []byte {
	m := hmac.New(a.new, r[:])
	m.Write(msg)
	return m.Sum(nil)
}
