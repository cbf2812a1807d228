package sealpost

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"
)

// This file reads and writes deterministic CBOR (RFC 8949 4.2.1) by hand, for
// what stands on the hot path: a reader and a writer that each type drives
// through its own fields, in the order of their keys. What the reader accepts
// is canonical by construction, so nothing needs to be encoded again. [Encode]
// and [Decode] work from the struct tags of the same types; tests hold the two
// ways against each other, byte by byte.

// Major types (RFC 8949 3.1), as they stand in a head.
const (
	majorUint  = 0x00
	majorNint  = 0x20
	majorBytes = 0x40
	majorText  = 0x60
	majorArray = 0x80
	majorMap   = 0xa0
)

// itemsMax bounds the elements of one array, whichever way it is read.
const itemsMax = 1024

// appendHead writes a head of a major type with its shortest length.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendBytes[B ~string | ~[]byte](b []byte, v B) []byte {
	return append(appendHead(b, majorBytes, uint64(len(v))), v...)
}

// headSize is the most bytes that [appendHead] writes.
const headSize = 9

// A reader walks over one encoding. The first fault sticks and ends it: later
// calls return zero values, so that a type reads all its fields in a row and
// asks once, with end.
type reader struct {
	s     string
	at    int
	pairs uint64 // of the outer map, not yet read
	key   byte   // of the field at hand; 0 outside a map
	fault error
}

func (r *reader) fail(words string) {
	if r.key != 0 {
		words = "field " + itoa(int(r.key)) + ": " + words
	}
	r.failWith(malformed("CBOR: %s", words))
}

func (r *reader) failWith(err error) {
	if r.fault == nil {
		r.fault = err
	}
	r.s, r.at = "", 0
}

// end says whether all was read and nothing is left.
func (r *reader) end() bool {
	if r.fault == nil && (r.at != len(r.s) || r.pairs != 0) {
		r.key = 0
		r.fail("there is more than is known")
	}
	return r.fault == nil
}

// head reads a head of a major type, in its shortest form.
func (r *reader) head(major byte) uint64 {
	if r.at >= len(r.s) {
		r.fail("ends too early")
		return 0
	}
	b := r.s[r.at]
	if b&0xe0 != major {
		r.fail("is of another type")
		return 0
	}
	r.at++
	if info := b & 0x1f; info >= 24 {
		return r.argument(info)
	}
	return uint64(b & 0x1f)
}

// argument reads the one to eight bytes that follow a head.
func (r *reader) argument(info byte) (n uint64) {
	if info > 27 {
		r.fail("has no definite length")
		return 0
	}
	width := 1 << (info - 24)
	if len(r.s)-r.at < width {
		r.fail("ends too early")
		return 0
	}
	for i := range width {
		n = n<<8 | uint64(r.s[r.at+i])
	}
	r.at += width
	if n < 24 || width > 1 && n>>(4*width) == 0 {
		r.fail("is not in its shortest form")
		return 0
	}
	return n
}

// literal steps over exact bytes.
func (r *reader) literal(want string) bool {
	if !strings.HasPrefix(r.s[r.at:], want) {
		r.fail("is not as it must be")
		return false
	}
	r.at += len(want)
	return true
}

// fields begins the outer map.
func (r *reader) fields() { r.pairs = r.head(majorMap) }

// field reads the key of a field that must be there. Keys are below 24.
func (r *reader) field(key byte) {
	if !r.has(key) {
		r.key = key
		r.fail("missing, or not in its order")
	}
}

// has reads the key of a field that may be there.
func (r *reader) has(key byte) bool {
	if r.pairs == 0 || r.at >= len(r.s) || r.s[r.at] != key {
		return false
	}
	r.pairs, r.key = r.pairs-1, key
	r.at++
	return true
}

// tuple reads the head of an array of a known length.
func (r *reader) tuple(n uint64) {
	if r.head(majorArray) != n {
		r.fail("has another number of elements")
	}
}

// list reads the head of an array whose elements have at least size bytes
// each. It bounds what is allocated for them.
func (r *reader) list(size int) int {
	n := r.head(majorArray)
	if n > itemsMax || n*uint64(size) > uint64(len(r.s)-r.at) {
		r.fail("has too many elements")
		return 0
	}
	return int(n)
}

func (r *reader) content(major byte) string {
	n := r.head(major)
	if n > uint64(len(r.s)-r.at) {
		r.fail("ends too early")
		return ""
	}
	from := r.at
	r.at += int(n)
	return r.s[from:r.at]
}

// bytes reads a byte string as a part of what is read.
func (r *reader) bytes() string { return r.content(majorBytes) }

// own reads a byte string into memory of its own.
func (r *reader) own() []byte { return []byte(r.bytes()) }

// some is own for a field that is left out when it is empty.
func (r *reader) some() []byte {
	b := r.own()
	if len(b) == 0 {
		r.fail("is empty, and must then be left out")
	}
	return b
}

// fixed reads a byte string of the length of its place.
func (r *reader) fixed(to []byte) {
	b := r.bytes()
	if len(b) != len(to) {
		r.fail("has another length")
		return
	}
	copy(to, b)
}

func (r *reader) hash() (h Hash) { r.fixed(h[:]); return h }

func (r *reader) hashes() []Hash {
	out := make([]Hash, r.list(2+len(Hash{})))
	for i := range out {
		r.fixed(out[i][:])
	}
	return out
}

// text reads a text string as a part of what is read.
func (r *reader) text() string {
	s := r.content(majorText)
	if !utf8.ValidString(s) {
		r.fail("is not UTF-8")
		return ""
	}
	return s
}

func (r *reader) uint(most uint64) uint64 {
	n := r.head(majorUint)
	if n > most {
		r.fail("is too large")
		return 0
	}
	return n
}

func (r *reader) uint8() uint8 { return uint8(r.uint(math.MaxUint8)) }

// number is uint8 for a field that is left out when it is zero.
func (r *reader) number() uint8 {
	n := r.uint8()
	if n == 0 {
		r.fail("is zero, and must then be left out")
	}
	return n
}

// int reads a number from -most-1 to most.
func (r *reader) int(most int64) int64 {
	major := byte(majorUint)
	if r.at < len(r.s) && r.s[r.at]&0xe0 == majorNint {
		major = majorNint
	}
	n := r.head(major)
	switch {
	case n > uint64(most):
		r.fail("is too large")
		return 0
	case major == majorNint:
		return -1 - int64(n)
	}
	return int64(n)
}

func (r *reader) time() UnixMilli {
	t, ok := parseTime(r.content(majorText))
	if !ok {
		r.fail("is not a time in RFC 3339 UTC with milliseconds")
	}
	return t
}

// publicKey reads a COSE_Key, which says by its first bytes how long it is.
func (r *reader) publicKey() PublicKey {
	size := okpSize
	if strings.HasPrefix(r.s[r.at:], ec2Head) {
		size = ec2Size
	}
	if size > len(r.s)-r.at {
		r.fail("ends too early")
		return PublicKey{}
	}
	k, err := ParsePublicKey([]byte(r.s[r.at : r.at+size]))
	if err != nil {
		r.failWith(err)
		return PublicKey{}
	}
	r.at += size
	return k
}

// A writer writes what a reader reads. A value that has no encoding is a fault,
// and the first one sticks.
type writer struct {
	b     []byte
	fault error
}

func (w *writer) fields(n int)   { w.b = appendHead(w.b, majorMap, uint64(n)) }
func (w *writer) field(key byte) { w.b = append(w.b, key) }
func (w *writer) tuple(n int)    { w.b = appendHead(w.b, majorArray, uint64(n)) }
func (w *writer) bytes(v []byte) { w.b = appendBytes(w.b, v) }
func (w *writer) text(s string)  { w.b = append(appendHead(w.b, majorText, uint64(len(s))), s...) }
func (w *writer) uint(n uint64)  { w.b = appendHead(w.b, majorUint, n) }
func (w *writer) uint8(n uint8)  { w.uint(uint64(n)) }
func (w *writer) hashes(v []Hash) {
	w.tuple(len(v))
	for i := range v {
		w.bytes(v[i][:])
	}
}

// count is how many fields are there, of those that may be.
func count(there ...bool) (n int) {
	for _, t := range there {
		if t {
			n++
		}
	}
	return n
}

func (w *writer) int(n int64) {
	if n < 0 {
		w.b = appendHead(w.b, majorNint, uint64(-1-n))
		return
	}
	w.uint(uint64(n))
}

func (w *writer) time(t UnixMilli) {
	if err := t.check(); err != nil {
		w.fail(err)
		return
	}
	w.b = appendTime(appendHead(w.b, majorText, uint64(len(timeLayout))), t)
}

func (w *writer) publicKey(k PublicKey) {
	if k.IsZero() {
		w.fail(malformed("no key"))
		return
	}
	w.b = k.appendCOSE(w.b)
}

func (w *writer) fail(err error) {
	if w.fault == nil {
		w.fault = err
	}
}
