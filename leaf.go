package sealpost

import (
	"crypto/hmac"
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

// MakeLeaf computes the leaf of a statement's bytes.
func MakeLeaf(salt Salt, statement []byte) (l Leaf) {
	m := hmac.New(sha256.New, salt[:])
	m.Write(statement)
	l[0] = LeafVersion
	m.Sum(l[1:1])
	return l
}
