package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// jsonDepthMax bounds the nesting of a request (RFC 8259 9 lets a parser choose).
const jsonDepthMax = 16

var errNotJSON = errors.New("Invalid JSON payload received. Unexpected token.")

// A jsonReader walks one JSON text (RFC 8259) without building a tree: the shapes
// of fcm_schema.go say what may come next. It accepts nothing that is not JSON.
type jsonReader struct {
	b     []byte
	i     int
	depth int
}

// space skips white space and returns the next byte without taking it, 0 at the end.
func (r *jsonReader) space() byte {
	for r.i < len(r.b) {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return c
		}
	}
	return 0
}

func (r *jsonReader) take(c byte) error {
	if r.space() != c {
		return errNotJSON
	}
	r.i++
	return nil
}

// str reads one string. The result may alias the input.
func (r *jsonReader) str() ([]byte, error) {
	if err := r.take('"'); err != nil {
		return nil, err
	}
	start := r.i
	end := bytes.IndexByte(r.b[start:], '"')
	if end < 0 {
		return nil, errNotJSON
	}
	s := r.b[start : start+end]
	if plain(s) {
		r.i = start + end + 1
		return s, nil
	}
	return r.escaped(start)
}

// plain reports that s is printable ASCII without a backslash: it stands for itself.
func plain(s []byte) bool {
	for _, c := range s {
		if c < 0x20 || c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

// escaped reads a string that needs more than a copy, from its first byte on.
func (r *jsonReader) escaped(start int) ([]byte, error) {
	i := start
	for i < len(r.b) && r.b[i] != '"' {
		if r.b[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(r.b) {
		return nil, errNotJSON
	}
	literal := r.b[start-1 : i+1]
	if !utf8.Valid(literal) {
		return nil, errNotJSON
	}
	var s string
	if json.Unmarshal(literal, &s) != nil {
		return nil, errNotJSON
	}
	r.i = i + 1
	return []byte(s), nil
}

// literal reads a number, true, false or null.
func (r *jsonReader) literal() ([]byte, error) {
	r.space()
	start := r.i
	for r.i < len(r.b) && bytes.IndexByte([]byte(" \t\r\n,]}:"), r.b[r.i]) < 0 {
		r.i++
	}
	lit := r.b[start:r.i]
	if len(lit) == 0 || lit[0] == '"' || lit[0] == '{' || lit[0] == '[' || !json.Valid(lit) {
		return nil, errNotJSON
	}
	return lit, nil
}

// list reads an object or an array, calling each at the start of every member.
func (r *jsonReader) list(open, shut byte, each func() error) error {
	if err := r.take(open); err != nil {
		return err
	}
	if r.depth++; r.depth > jsonDepthMax {
		return fmt.Errorf("Invalid JSON payload received. Nested deeper than %d.", jsonDepthMax)
	}
	defer func() { r.depth-- }()
	if r.space() == shut {
		r.i++
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		switch r.space() {
		case ',':
			r.i++
		case shut:
			r.i++
			return nil
		default:
			return errNotJSON
		}
	}
}

func (r *jsonReader) object(member func(key []byte) error) error {
	return r.list('{', '}', func() error {
		key, err := r.str()
		if err != nil {
			return err
		}
		if err := r.take(':'); err != nil {
			return err
		}
		return member(key)
	})
}

// skip reads any value.
func (r *jsonReader) skip() error {
	switch r.space() {
	case '"':
		_, err := r.str()
		return err
	case '{':
		return r.object(func([]byte) error { return r.skip() })
	case '[':
		return r.list('[', ']', r.skip)
	default:
		_, err := r.literal()
		return err
	}
}

// null takes a null if one is next: in proto3 JSON that means the field is absent.
func (r *jsonReader) null() bool {
	if r.space() == 'n' && bytes.HasPrefix(r.b[r.i:], []byte("null")) {
		r.i += 4
		return true
	}
	return false
}

// end reports whether only white space is left.
func (r *jsonReader) end() error {
	if r.space() != 0 || r.i != len(r.b) {
		return errNotJSON
	}
	return nil
}
