package mls

import (
	"encoding/binary"
)

// Presentation language, 2.1. A reader accepts exactly what the writer writes:
// minimal length headers, 0 or 1 before an optional, no byte left over.

// vectorMax is the longest vector a length header can name (2.1.2).
const vectorMax = 1<<30 - 1

// A reader walks one encoding. The first fault sticks; later reads return zero
// values, so that a structure is read straight through and checked once.
// Byte strings it returns alias its input.
type reader struct {
	b     []byte
	items int // list elements still allowed, over the whole message
	err   error
}

func newReader(b []byte, items int) *reader { return &reader{b: b, items: items} }

// decode reads one structure that fills b.
func decode(b []byte, items int, read func(*reader)) error {
	r := newReader(b, items)
	read(r)
	return r.finish()
}

func (r *reader) finish() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail("%d bytes left over", len(r.b))
	}
	return r.err
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = malformed(format, a...)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail("want %d bytes, have %d", n, len(r.b))
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads a vector's length header, 2.1.2.
func (r *reader) length() int {
	first := r.u8()
	n := int(first & 0x3f)
	switch first >> 6 {
	case 0:
		return n
	case 1:
		n = n<<8 | int(r.u8())
		if n < 1<<6 {
			r.fail("length %d is not minimal", n)
		}
	case 2:
		for range 3 {
			n = n<<8 | int(r.u8())
		}
		if n < 1<<14 {
			r.fail("length %d is not minimal", n)
		}
	default:
		r.fail("length header 0x%02x", first)
	}
	return n
}

// vec reads opaque<V>. An absent and an empty string are both empty and not nil.
func (r *reader) vec() []byte {
	b := r.take(r.length())
	if b == nil {
		return []byte{}
	}
	return b
}

// list reads a vector of structures, calling one for each.
func (r *reader) list(one func(*reader)) {
	inner := &reader{b: r.vec(), items: r.items}
	for len(inner.b) > 0 && inner.err == nil {
		if inner.items--; inner.items < 0 {
			inner.fail("too many list elements")
			break
		}
		one(inner)
	}
	r.items = inner.items
	if inner.err != nil && r.err == nil {
		r.err, r.b = inner.err, nil
	}
}

// optional reads the presence byte, 2.1.1.
func (r *reader) optional() bool {
	switch v := r.u8(); v {
	case 0:
		return false
	case 1:
		return true
	default:
		r.fail("presence byte %d", v)
		return false
	}
}

func (r *reader) u16list() []uint16 {
	var out []uint16
	r.list(func(r *reader) { out = append(out, r.u16()) })
	return out
}

func (r *reader) u32list() []uint32 {
	var out []uint32
	r.list(func(r *reader) { out = append(out, r.u32()) })
	return out
}

// A writer appends one encoding.
type writer struct{ b []byte }

func encode(write func(*writer)) []byte { return encodeAbout(256, write) }

// encodeAbout is encode for what is known to take about n bytes: a message is then
// not copied as it grows.
func encodeAbout(n int, write func(*writer)) []byte {
	w := &writer{b: make([]byte, 0, n)}
	write(w)
	return w.b
}

func (w *writer) raw(b []byte) { w.b = append(w.b, b...) }
func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

func (w *writer) length(n int) {
	switch {
	case n < 1<<6:
		w.u8(uint8(n))
	case n < 1<<14:
		w.u16(uint16(n) | 1<<14)
	case n <= vectorMax:
		w.u32(uint32(n) | 2<<30)
	default:
		panic("mls: vector longer than a length header can say")
	}
}

func (w *writer) vec(b []byte) {
	w.length(len(b))
	w.raw(b)
}

// nested writes a vector whose content is what write writes.
func (w *writer) nested(write func(*writer)) {
	start := len(w.b)
	w.u8(0) // room for the shortest header, moved if a longer one is needed
	write(w)
	n := len(w.b) - start - 1
	if n < 1<<6 {
		w.b[start] = uint8(n)
		return
	}
	var head writer
	head.length(n)
	w.b = append(w.b, head.b[1:]...)
	copy(w.b[start+len(head.b):], w.b[start+1:start+1+n])
	copy(w.b[start:], head.b)
}

func (w *writer) present(is bool) {
	if is {
		w.u8(1)
	} else {
		w.u8(0)
	}
}

func (w *writer) u16list(vs []uint16) {
	w.length(2 * len(vs))
	for _, v := range vs {
		w.u16(v)
	}
}

func (w *writer) u32list(vs []uint32) {
	w.length(4 * len(vs))
	for _, v := range vs {
		w.u32(v)
	}
}
