package relay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/sealpost/sealpost"
)

// What the relay reads of an envelope: the clear heads of its MLS messages (RFC
// 9420 6). It opens nothing.
const (
	mlsVersion         = 1
	wirePublicMessage  = 1
	wirePrivateMessage = 2
	contentApplication = 1
	contentCommit      = 3
)

// readEnvelope says whether a blob is one sealed envelope that belongs to the
// commitment, and which MLS commits it carries. The message must be a
// PrivateMessage with application data that authenticates the message id and C
// (DESIGN section 12, Binding): anything else no device would open.
func readEnvelope(c sealpost.Commitment, blob []byte) (commits []sealpost.EpochCommit, ok bool) {
	e, ok := parseEnvelope(blob)
	if !ok {
		return nil, false
	}
	head, ok := readPrivateMessage(e.Message)
	if !ok || head.content != contentApplication || !bytes.Equal(head.aad, c.AAD()) {
		return nil, false
	}
	for _, commit := range e.Commits {
		key, ok := readCommit(c.App, commit)
		if !ok {
			return nil, false
		}
		commits = append(commits, key)
	}
	return commits, true
}

// parseEnvelope reads a blob. Nearly every one is a message alone, which is one
// CBOR map of one byte string; that is read by hand, because the general decoder
// costs more than all other checks together but the signature's.
func parseEnvelope(blob []byte) (sealpost.Envelope, bool) {
	const head = "\xa1\x03\x59" // map of one, key 3, byte string with a length of two bytes
	if len(blob) > len(head)+2 && len(blob) <= sealpost.BlobMax && string(blob[:len(head)]) == head {
		message := blob[len(head)+2:]
		if n := int(binary.BigEndian.Uint16(blob[len(head):])); n == len(message) && n > 0xff {
			return sealpost.Envelope{Message: message}, true
		}
	}
	e, err := sealpost.ParseEnvelope(blob)
	return e, err == nil
}

// A privateHead is the clear part of a PrivateMessage (RFC 9420 6.3).
type privateHead struct {
	group   []byte
	epoch   uint64
	content byte
	aad     []byte
}

func readPrivateMessage(b []byte) (h privateHead, ok bool) {
	r := mlsReader{b: b}
	version, wire := r.uint(2), r.uint(2)
	h = privateHead{group: r.vec(), epoch: r.uint(8), content: byte(r.uint(1)), aad: r.vec()}
	senderData, ciphertext := r.vec(), r.vec()
	return h, !r.bad && len(r.b) == 0 && version == mlsVersion && wire == wirePrivateMessage &&
		len(senderData) > 0 && len(ciphertext) > 0
}

// readCommit reads where a commit stands. Its group id and epoch come first in
// either wire format.
func readCommit(app string, b []byte) (k sealpost.EpochCommit, ok bool) {
	r := mlsReader{b: b}
	version, wire := r.uint(2), r.uint(2)
	group, epoch := r.vec(), r.uint(8)
	if r.bad || version != mlsVersion || len(group) == 0 {
		return k, false
	}
	switch wire {
	case wirePrivateMessage:
		if r.uint(1) != contentCommit || r.bad {
			return k, false
		}
	case wirePublicMessage:
	default:
		return k, false
	}
	return sealpost.EpochCommit{Place: placeOf(app, group, epoch), Commit: sha256.Sum256(b)}, true
}

// placeOf names a group's epoch within one tenant.
func placeOf(app string, group []byte, epoch uint64) sealpost.Hash {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], epoch)
	h.Write(n[:])
	binary.BigEndian.PutUint64(n[:], uint64(len(app)))
	h.Write(n[:])
	h.Write([]byte(app))
	h.Write(group)
	return sealpost.Hash(h.Sum(nil))
}

// An mlsReader walks the presentation language of RFC 9420 2.1. The first fault
// sticks. What it returns aliases its input.
type mlsReader struct {
	b   []byte
	bad bool
}

func (r *mlsReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *mlsReader) uint(n int) (v uint64) {
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

// vec reads opaque<V>; its length is in the shortest form (RFC 9420 2.1.2).
func (r *mlsReader) vec() []byte {
	first := r.uint(1)
	width := 1 << (first >> 6) // bytes of the length
	if r.bad || width > 4 {
		r.bad = true
		return nil
	}
	n := first & 0x3f
	for range width - 1 {
		n = n<<8 | r.uint(1)
	}
	if width == 2 && n < 1<<6 || width == 4 && n < 1<<14 {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}
