package sealpost

import (
	"crypto/sha256"
	"fmt"
)

// LeafVersion is the first byte of every leaf.
const LeafVersion = 1

// A Leaf is what the log holds of a statement (leaf 2): a version byte and
// HMAC-SHA256(salt, statement bytes). Without the salt it is noise.
type Leaf [33]byte

// A Salt opens one leaf. It travels beside the promise; deleting it erases.
type Salt [32]byte

// Format prints no secret.
func (Salt) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[salt]") }

// MarshalText prints no secret into JSON or a log; nothing reads it back.
func (Salt) MarshalText() ([]byte, error) { return []byte("[salt]"), nil }

// MakeLeaf computes the leaf of a statement's bytes. It is HMAC by its
// definition (RFC 2104 2): a salt is used once, and what crypto/hmac sets up
// for a key that comes again costs more than hashing a statement.
func MakeLeaf(salt Salt, statement []byte) (l Leaf) {
	var inner, outer [sha256.BlockSize]byte
	for i := range inner {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i := range salt {
		inner[i] ^= salt[i]
		outer[i] ^= salt[i]
	}
	h := sha256.New()
	h.Write(inner[:])
	h.Write(statement)
	var sum Hash
	h.Sum(sum[:0])
	h.Reset()
	h.Write(outer[:])
	h.Write(sum[:])
	l[0] = LeafVersion
	h.Sum(l[1:1])
	return l
}
