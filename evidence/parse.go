package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"github.com/sealpost/sealpost"
)

// A Range is where a part stands in a bundle: bytes From to To-1.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Holds says whether an offset lies in the range.
func (r Range) Holds(at int) bool { return r.From <= at && at < r.To }

// spans says where each part of a parsed bundle stands.
type spans struct {
	id, policy, disclosed, digest Range
	span                          Range
	exhibits                      []exhibitSpans
	rosters                       []Range
	consistency                   []Range
}

type exhibitSpans struct{ whole, statement, promise, proof Range }

// A shapeError names the part of a bundle that is not what bundle 1 to 3 say.
type shapeError struct {
	part string
	at   Range
	why  string
}

func (e *shapeError) Error() string {
	return fmt.Sprintf("bundle: %s (bytes %d to %d): %s", e.part, e.at.From, e.at.To-1, e.why)
}

func (e *shapeError) Unwrap() error { return sealpost.ErrMalformed }

// ParseBundle reads a bundle and its digest. It accepts the one encoding that
// [Bundle.Encode] writes; statements, promises and proofs inside are bounded
// and not yet read.
func ParseBundle(raw []byte) (*Bundle, error) {
	b, shape := parseBody(raw)
	if err := checkDigest(raw); err != nil {
		return nil, err
	}
	if shape != nil {
		return nil, shape
	}
	return b, nil
}

// checkDigest compares the last 32 bytes with the digest of those before.
func checkDigest(raw []byte) error {
	if len(raw) < digestSize || len(raw) > BundleMax {
		return &shapeError{"size", Range{0, len(raw)}, fmt.Sprintf("%d bytes, want %d to %d", len(raw), digestSize, BundleMax)}
	}
	body, digest := raw[:len(raw)-digestSize], raw[len(raw)-digestSize:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], digest) {
		return &shapeError{"digest", Range{len(body), len(raw)}, "the last 32 bytes are not the SHA-256 of those before"}
	}
	return nil
}

// parseBody takes a bundle apart without regard to its digest, so that a
// damaged one can still be told where it is damaged. One of its results is nil.
func parseBody(raw []byte) (*Bundle, *shapeError) {
	if len(raw) < digestSize || len(raw) > BundleMax {
		return nil, &shapeError{"size", Range{0, len(raw)}, fmt.Sprintf("%d bytes, want %d to %d", len(raw), digestSize, BundleMax)}
	}
	end := len(raw) - digestSize
	w := &walker{b: raw[:end]}
	b := &Bundle{}
	b.spans.digest = Range{end, len(raw)}
	w.bundle(b)
	if w.err != nil {
		return nil, w.err
	}
	return b, nil
}

// A walker reads the bundle's grammar: CBOR heads in shortest form, map keys
// ascending, optional parts absent rather than empty. It stops at its first
// error; from is the start of the earliest part that the error can lie in.
type walker struct {
	b    []byte
	at   int
	part string
	from int
	err  *shapeError
}

func (w *walker) fail(why string) {
	const head = 9 // bytes of the longest head, any of which may be at fault
	if w.err == nil {
		w.err = &shapeError{w.part, Range{w.from, min(w.at+head, max(len(w.b), 1))}, why}
	}
	w.at = len(w.b)
}

// in names the part that errors lie in, and where it can have begun.
func (w *walker) in(part string, from int) {
	if w.err == nil {
		w.part, w.from = part, from
	}
}

// Major types of CBOR (RFC 8949 3.1).
const (
	majorUint  = 0x00
	majorBytes = 0x40
	majorText  = 0x60
	majorArray = 0x80
	majorMap   = 0xa0
)

// head reads a head of a major type in its shortest form.
func (w *walker) head(major byte) uint64 {
	if w.err != nil || w.at >= len(w.b) || w.b[w.at]&0xe0 != major {
		w.fail("another type of value, or none")
		return 0
	}
	info := w.b[w.at] & 0x1f
	if info < 24 {
		w.at++
		return uint64(info)
	}
	width := 1 << (info - 24)
	if info > 27 || len(w.b)-w.at-1 < width {
		w.fail("a length that is not definite, or cut off")
		return 0
	}
	var n uint64
	for _, c := range w.b[w.at+1 : w.at+1+width] {
		n = n<<8 | uint64(c)
	}
	least := uint64(24)
	if width > 1 {
		least = 1 << (8 * width / 2)
	}
	if n < least {
		w.fail("a number that is not in shortest form")
		return 0
	}
	w.at += 1 + width
	return n
}

// count reads the head of an array or map of least to most entries.
func (w *walker) count(major byte, least, most uint64) int {
	n := w.head(major)
	if w.err == nil && (n < least || n > most) {
		w.fail(fmt.Sprintf("%d entries, want %d to %d", n, least, most))
		return 0
	}
	return int(n)
}

// bytes reads a byte or text string of least to most bytes.
func (w *walker) bytes(major byte, least, most int) []byte {
	n := w.head(major)
	if w.err != nil {
		return nil
	}
	if n < uint64(least) || n > uint64(most) || n > uint64(len(w.b)-w.at) {
		w.fail(fmt.Sprintf("%d bytes, want %d to %d, and %d are left", n, least, most, len(w.b)-w.at))
		return nil
	}
	out := w.b[w.at : w.at+int(n) : w.at+int(n)]
	w.at += int(n)
	return out
}

func (w *walker) hash() (h sealpost.Hash) {
	copy(h[:], w.bytes(majorBytes, len(h), len(h)))
	return h
}

// keys walks a map: each key must be greater than the one before, and each is
// given to read with where its entry begins. It returns the keys seen as bits.
func (w *walker) keys(most uint64, read func(key uint64, from int)) (seen uint64) {
	n := w.count(majorMap, 1, most)
	last := uint64(0)
	for range n {
		from := w.at
		k := w.head(majorUint)
		if w.err == nil && (k <= last || k > most) {
			w.fail("an unknown key, or one out of order")
		}
		if w.err != nil {
			return seen
		}
		read(k, from)
		last, seen = k, seen|1<<k
	}
	return seen
}

// need fails unless all keys of a map are there.
func (w *walker) need(seen uint64, keys ...uint64) {
	for _, k := range keys {
		if w.err == nil && seen&(1<<k) == 0 {
			w.fail(fmt.Sprintf("key %d is missing", k))
		}
	}
}

func (w *walker) bundle(b *Bundle) {
	w.in("head", 0)
	last := 0 // where the entry before began
	seen := w.keys(8, func(key uint64, from int) {
		w.entry(b, key, from, last)
		w.in("entries", last)
		last = from
	})
	w.in("head", 0)
	w.need(seen, 1, 2, 3)
	if w.err == nil && w.at != len(w.b) {
		w.fail("more bytes than the map has entries for")
	}
}

// entry reads one entry of the bundle's map. What is wrong with it may be the
// fault of the entry before, whose length then is wrong.
func (w *walker) entry(b *Bundle, key uint64, from, before int) {
	switch key {
	case 1:
		w.in("version", 0)
		if v := w.head(majorUint); w.err == nil && v != Version {
			w.fail(fmt.Sprintf("version %d is not known", v))
		}
		b.Version = Version
	case 2:
		w.in("message id", before)
		copy(b.ID[:], w.bytes(majorBytes, len(b.ID), len(b.ID)))
		b.spans.id = Range{from, w.at}
	case 3:
		w.exhibits(b, before)
	case 4:
		w.rosters(b, before)
	case 5:
		w.disclosure(b, from, before)
	case 6:
		w.in("policy hint", before)
		b.PolicyHash = bytes.Clone(w.bytes(majorBytes, digestSize, digestSize))
		b.spans.policy = Range{from, w.at}
	case 7:
		w.consistency(b, before)
	case 8:
		w.span(b, from, before)
	}
}

func (w *walker) exhibits(b *Bundle, before int) {
	w.in("exhibits", before)
	n := w.count(majorArray, 1, ExhibitsMax)
	for i := range n {
		var e Exhibit
		var at exhibitSpans
		start := w.at
		w.in(fmt.Sprintf("exhibit %d", i), before)
		seen := w.keys(4, func(key uint64, from int) {
			switch key {
			case 1:
				e.Statement = bytes.Clone(w.bytes(majorBytes, 1, sealpost.StatementMax))
				at.statement = Range{from, w.at}
			case 2:
				copy(e.Salt[:], w.bytes(majorBytes, len(e.Salt), len(e.Salt)))
			case 3:
				e.Promise = bytes.Clone(w.bytes(majorBytes, 1, PromiseMax))
				at.promise = Range{from, w.at}
			case 4:
				e.Proof = bytes.Clone(w.bytes(majorBytes, 1, ProofMax))
				at.proof = Range{from, w.at}
			}
		})
		w.need(seen, 1, 2)
		if w.err != nil {
			return
		}
		if i > 0 && compareHashes(b.Exhibits[i-1].Statement, e.Statement) >= 0 {
			w.err = w.unordered(b, i)
			return
		}
		at.whole = Range{start, w.at}
		b.Exhibits = append(b.Exhibits, e)
		b.spans.exhibits = append(b.spans.exhibits, at)
		before = start
	}
}

// unordered says that exhibit i does not follow the one before. The statement
// that is damaged may be either.
func (w *walker) unordered(b *Bundle, i int) *shapeError {
	from := b.spans.exhibits[i-1].whole.From
	return &shapeError{fmt.Sprintf("exhibits %d and %d", i-1, i), Range{from, w.at}, "not in the order of their statements' hashes"}
}

func (w *walker) rosters(b *Bundle, before int) {
	w.in("rosters", before)
	n := w.count(majorArray, 1, RostersMax)
	for i := range n {
		start := w.at
		r := w.bytes(majorBytes, 1, RosterMax)
		if w.err == nil && i > 0 && bytes.Compare(b.Rosters[i-1], r) >= 0 {
			w.fail("rosters are not in order")
		}
		if w.err != nil {
			return
		}
		b.Rosters = append(b.Rosters, bytes.Clone(r))
		b.spans.rosters = append(b.spans.rosters, Range{start, w.at})
	}
}

func (w *walker) disclosure(b *Bundle, from, before int) {
	w.in("disclosure", before)
	d := &Disclosure{}
	seen := w.keys(3, func(key uint64, _ int) {
		switch key {
		case 1:
			d.Payload = bytes.Clone(w.bytes(majorBytes, 1, PayloadMax))
		case 2:
			w.disclosedFields(d)
		case 3:
			for range w.count(majorArray, sealpost.FieldsMax, sealpost.FieldsMax) {
				d.Slots = append(d.Slots, bytes.Clone(w.bytes(majorBytes, 32, 64)))
			}
		}
	})
	if all := seen == 1<<1; w.err == nil && !all && seen != 1<<2|1<<3 {
		w.fail("either the payload, or fields with their slots")
	}
	b.Disclosed = d
	b.spans.disclosed = Range{from, w.at}
}

func (w *walker) disclosedFields(d *Disclosure) {
	for i := range w.count(majorArray, 1, sealpost.FieldsMax) {
		w.count(majorArray, 4, 4)
		var f DisclosedField
		slot := w.head(majorUint)
		if w.err == nil && (slot >= sealpost.FieldsMax || i > 0 && slot <= uint64(d.Fields[i-1].Slot)) {
			w.fail("a slot is out of range or out of order")
		}
		f.Slot = uint8(slot)
		copy(f.R[:], w.bytes(majorBytes, len(f.R), len(f.R)))
		f.Name = w.text(1, sealpost.NameMax)
		f.Value = w.text(0, sealpost.FieldValueMax)
		if w.err != nil {
			return
		}
		d.Fields = append(d.Fields, f)
	}
}

func (w *walker) text(least, most int) string {
	s := w.bytes(majorText, least, most)
	if w.err == nil && !utf8.Valid(s) {
		w.fail("text is not UTF-8")
	}
	return string(s)
}

func (w *walker) consistency(b *Bundle, before int) {
	w.in("consistency proofs", before)
	for i := range w.count(majorArray, 1, ConsistencyMax) {
		var c Consistency
		start := w.at
		seen := w.keys(4, func(key uint64, _ int) {
			switch key {
			case 1:
				c.From = w.head(majorUint)
			case 2:
				c.Root = w.hash()
			case 3:
				c.To = w.head(majorUint)
			case 4:
				c.Path = []sealpost.Hash{}
				for range w.count(majorArray, 0, pathMax) {
					c.Path = append(c.Path, w.hash())
				}
			}
		})
		w.need(seen, 1, 2, 3, 4)
		if w.err == nil && i > 0 && compareConsistency(b.Consistency[i-1], c) >= 0 {
			w.fail("consistency proofs are not in order")
		}
		if w.err != nil {
			return
		}
		b.Consistency = append(b.Consistency, c)
		b.spans.consistency = append(b.spans.consistency, Range{start, w.at})
	}
}

func (w *walker) span(b *Bundle, from, before int) {
	w.in(spanName, before)
	s := &Span{}
	seen := w.keys(5, func(key uint64, _ int) {
		switch key {
		case 1:
			s.From = w.head(majorUint)
		case 2:
			s.Leaves = bytes.Clone(w.bytes(majorBytes, 0, SpanMax*len(sealpost.Leaf{})))
			if w.err == nil && len(s.Leaves)%len(sealpost.Leaf{}) != 0 {
				w.fail("leaves that are not whole")
			}
		case 3:
			s.Before = []sealpost.Hash{}
			for range w.count(majorArray, 0, pathMax) {
				s.Before = append(s.Before, w.hash())
			}
		case 4:
			s.Checkpoint = bytes.Clone(w.bytes(majorBytes, 1, sealpost.NoteMax))
		case 5:
			s.Later = bytes.Clone(w.bytes(majorBytes, 1, PromiseMax))
		}
	})
	w.need(seen, 1, 2, 3, 4)
	b.Span, b.spans.span = s, Range{from, w.at}
}
