package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// Extension types, 17.3.
const (
	extApplicationID        = 1
	extRatchetTree          = 2
	extRequiredCapabilities = 3
	extExternalPub          = 4
	extExternalSenders      = 5
	extLastResort           = 10 // draft-ietf-mls-extensions, KeyPackage only
)

// isDefaultExtension says that every client has the type (7.2).
func isDefaultExtension(t uint16) bool { return t >= extApplicationID && t <= extExternalSenders }

type extension struct {
	kind uint16
	data []byte
}

type extensions []extension

// An Extension is one of a group's context, 13. Data is the encoding that its
// type defines.
type Extension struct {
	Type uint16
	Data []byte
}

// Bounds of a list of extensions that this member makes; received ones are
// bounded by their message.
const (
	ownExtensionsMax    = 64      // extensions in one list
	ownExtensionDataMax = 1 << 16 // bytes in one of them
)

// extensionsOf copies a caller's list. What it holds is judged by check.
func extensionsOf(list []Extension) extensions {
	var out extensions
	for _, x := range list {
		out = append(out, extension{x.Type, append([]byte{}, x.Data...)})
	}
	return out
}

// check holds a list of our own making to its bounds and to what read refuses.
func (x extensions) check() error {
	if len(x) > ownExtensionsMax {
		return refused("%d extensions, more than %d", len(x), ownExtensionsMax)
	}
	for i, e := range x {
		if len(e.data) > ownExtensionDataMax {
			return refused("extension type %d of %d bytes, more than %d", e.kind, len(e.data), ownExtensionDataMax)
		}
		if _, again := x[i+1:].find(e.kind); again {
			return refused("extension type %d twice", e.kind)
		}
	}
	return nil
}

// read refuses a type that appears twice (13.4).
func (x *extensions) read(r *reader) {
	var seen map[uint16]bool
	r.list(func(r *reader) {
		e := extension{kind: r.u16(), data: r.vec()}
		if seen == nil {
			seen = make(map[uint16]bool)
		}
		if seen[e.kind] {
			r.fail("extension type %d twice", e.kind)
			return
		}
		seen[e.kind] = true
		*x = append(*x, e)
	})
}

func (x extensions) write(w *writer) {
	w.nested(func(w *writer) {
		for _, e := range x {
			w.u16(e.kind)
			w.vec(e.data)
		}
	})
}

func (x extensions) find(kind uint16) ([]byte, bool) {
	for _, e := range x {
		if e.kind == kind {
			return e.data, true
		}
	}
	return nil, false
}

// public is the list as callers see it, a copy; an empty one is not nil.
func (x extensions) public() []Extension {
	out := make([]Extension, 0, len(x))
	for _, e := range x {
		out = append(out, Extension{e.kind, bytes.Clone(e.data)})
	}
	return out
}

// kinds are the types of the list.
func (x extensions) kinds() []uint16 {
	out := make([]uint16, 0, len(x))
	for _, e := range x {
		out = append(out, e.kind)
	}
	return out
}

// requiredCapabilities is RequiredCapabilities, 11.1.
type requiredCapabilities struct{ extensions, proposals, credentials []uint16 }

// RequiredCapabilities is the extension by which a group asks all members, now and
// later, for support of types, 11.1. Default types are left out: every client has
// them, and some do not list them. A credential type has no default.
func RequiredCapabilities(extensions, proposals, credentials []uint16) Extension {
	return Extension{extRequiredCapabilities, encode(func(w *writer) {
		w.u16list(slices.DeleteFunc(slices.Clone(extensions), isDefaultExtension))
		w.u16list(slices.DeleteFunc(slices.Clone(proposals), isDefaultProposal))
		w.u16list(credentials)
	})}
}

func (x *requiredCapabilities) read(r *reader) {
	x.extensions = r.u16list()
	x.proposals = r.u16list()
	x.credentials = r.u16list()
}

// required reads the group's requirements, each once and without default types; a
// group without any requires nothing.
func (x extensions) required(items int) (requiredCapabilities, error) {
	var req requiredCapabilities
	data, ok := x.find(extRequiredCapabilities)
	if !ok {
		return req, nil
	}
	err := decode(data, items, req.read)
	req.extensions = slices.DeleteFunc(req.extensions, isDefaultExtension)
	req.proposals = slices.DeleteFunc(req.proposals, isDefaultProposal)
	for _, list := range []*[]uint16{&req.extensions, &req.proposals, &req.credentials} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return req, err
}

// meets says whether c covers the requirements.
func (x *requiredCapabilities) meets(c *capabilities) error {
	if e, lacks := missing(c.extensions, x.extensions); lacks {
		return refused("leaf lacks required extension %d", e)
	}
	if p, lacks := missing(c.proposals, x.proposals); lacks {
		return refused("leaf lacks required proposal %d", p)
	}
	if k, lacks := missing(c.credentials, x.credentials); lacks {
		return refused("leaf lacks required credential type %d", k)
	}
	return nil
}

// An ExternalSender is not a member and may send proposals to the group,
// 12.1.8.1: one of those that the group's context lists.
type ExternalSender struct {
	SignatureKey []byte
	Credential   Credential
}

// ExternalSenders is the extension by which a group lists them. A sender names
// itself by its place in the list.
func ExternalSenders(senders ...ExternalSender) Extension {
	return Extension{extExternalSenders, encode(func(w *writer) {
		w.nested(func(w *writer) {
			for i := range senders {
				w.vec(senders[i].SignatureKey)
				senders[i].Credential.write(w)
			}
		})
	})}
}

func (x *ExternalSender) read(r *reader) {
	x.SignatureKey = r.vec()
	x.Credential.read(r)
}

// validateSenders asks the authentication service about external senders, 5.3.1,
// and holds an X.509 one to the key of its certificate as any leaf is.
func (x extensions) validateSenders(v Validator, items int) error {
	senders, err := x.externalSenders(items)
	if err != nil {
		return fmt.Errorf("read external senders: %w", err)
	}
	for _, s := range senders {
		if err := s.Credential.bindsKey(s.SignatureKey); err != nil {
			return fmt.Errorf("external sender: %w", err)
		}
		if err := v.Validate(s.Credential, s.SignatureKey); err != nil {
			return fmt.Errorf("%w: validate external sender: %w", ErrRefused, err)
		}
	}
	return nil
}

func (x extensions) sameSenders(y extensions) bool {
	a, _ := x.find(extExternalSenders)
	b, _ := y.find(extExternalSenders)
	return bytes.Equal(a, b)
}

func (x extensions) externalSenders(items int) ([]ExternalSender, error) {
	data, ok := x.find(extExternalSenders)
	if !ok {
		return nil, nil
	}
	var out []ExternalSender
	err := decode(data, items, func(r *reader) {
		r.list(func(r *reader) {
			var s ExternalSender
			s.read(r)
			out = append(out, s)
		})
	})
	return out, err
}
