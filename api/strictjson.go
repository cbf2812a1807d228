package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeJSON reads one JSON value into v, a pointer to a struct of this
// package, and is stricter than encoding/json: a name stands once and in its
// own case, none is unknown, none is missing, nothing is null, nothing
// follows. The problem names the member at fault by its JSON pointer (RFC
// 6901).
func decodeJSON(b []byte, v any) *Problem {
	if !utf8.Valid(b) { // encoding/json would mend it silently
		return notJSON("")
	}
	return fillJSON(b, reflect.ValueOf(v).Elem(), "")
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func fillJSON(b []byte, v reflect.Value, at string) *Problem {
	switch {
	case v.Addr().Type().Implements(textType):
		return fillLeaf(b, v, at)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fillJSON(b, v.Elem(), at)
	case v.Kind() == reflect.Struct:
		return fillObject(b, v, at)
	case v.Kind() == reflect.Slice:
		return fillArray(b, v, at)
	}
	return fillLeaf(b, v, at)
}

// fillLeaf reads a string, number or truth value. encoding/json leaves a value
// alone where null stands; we refuse it.
func fillLeaf(b []byte, v reflect.Value, at string) *Problem {
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return ErrMalformed.With("null is not a value here").At(at)
	}
	if err := json.Unmarshal(b, v.Addr().Interface()); err != nil {
		return ErrMalformed.With("the value is not of its type").At(at)
	}
	return nil
}

func fillObject(b []byte, v reflect.Value, at string) *Problem {
	seen := map[string]bool{}
	p := eachMember(b, at, func(name string, value json.RawMessage) *Problem {
		here := at + "/" + pointerToken(name)
		if seen[name] {
			return ErrMalformed.With("the member stands twice").At(here)
		}
		seen[name] = true
		i := slices.IndexFunc(jsonMembers(v.Type()), func(m jsonMember) bool { return m.name == name })
		if i < 0 {
			return ErrMalformed.With("the member is not known").At(here)
		}
		return fillJSON(value, v.Field(jsonMembers(v.Type())[i].field), here)
	})
	if p != nil {
		return p
	}
	for _, m := range jsonMembers(v.Type()) {
		if !seen[m.name] && !m.optional {
			return ErrMalformed.With("the member is missing").At(at + "/" + m.name)
		}
	}
	return nil
}

func fillArray(b []byte, v reflect.Value, at string) *Problem {
	return eachElement(b, at, BatchMax, func(i int, value json.RawMessage) *Problem {
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		return fillJSON(value, v.Index(i), at+"/"+strconv.Itoa(i))
	})
}

// eachMember calls do for each member of an object, which must be all of b.
func eachMember(b []byte, at string, do func(name string, value json.RawMessage) *Problem) *Problem {
	d, p := openJSON(b, '{', at)
	if p != nil {
		return p
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return notJSON(at)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return notJSON(at)
		}
		if p := do(name.(string), value); p != nil { // a member's name is a string, or Token errs
			return p
		}
	}
	return closeJSON(d, at)
}

// eachElement calls do for each element of an array of at most most, which
// must be all of b.
func eachElement(b []byte, at string, most int, do func(i int, value json.RawMessage) *Problem) *Problem {
	d, p := openJSON(b, '[', at)
	if p != nil {
		return p
	}
	for i := 0; d.More(); i++ {
		if i == most {
			return ErrTooLarge.With("more than %d elements", most).At(at)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return notJSON(at)
		}
		if p := do(i, value); p != nil {
			return p
		}
	}
	return closeJSON(d, at)
}

func openJSON(b []byte, open json.Delim, at string) (*json.Decoder, *Problem) {
	d := json.NewDecoder(bytes.NewReader(b))
	t, err := d.Token()
	if err != nil {
		return nil, notJSON(at)
	}
	if t != open {
		return nil, ErrMalformed.With("the value is not of its type").At(at)
	}
	return d, nil
}

func closeJSON(d *json.Decoder, at string) *Problem {
	if _, err := d.Token(); err != nil {
		return notJSON(at)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ErrMalformed.With("something follows the value").At(at)
	}
	return nil
}

func notJSON(at string) *Problem { return ErrMalformed.With("not JSON").At(at) }

// A jsonMember is one member of a struct's JSON object.
type jsonMember struct {
	name     string
	field    int
	optional bool
}

// jsonMembers lists the members of a struct type of this package, each of
// which names all of its fields by tags.
func jsonMembers(t reflect.Type) []jsonMember {
	var members []jsonMember
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			members = append(members, jsonMember{name, i, options == "omitempty"})
		}
	}
	return members
}

// pointerMax bounds a caller's own name in a pointer, bytes.
const pointerMax = 64

// pointerToken escapes a member's name (RFC 6901 3). A name that is not plain
// is not repeated.
func pointerToken(name string) string {
	if len(name) > pointerMax {
		return "?"
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return "?"
		}
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
