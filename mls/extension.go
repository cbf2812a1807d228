package mls

import "slices"

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

// An Extension is one of a group's, 13. Its data is the encoding of its type.
type Extension struct {
	Type uint16
	Data []byte
}

func extensionsOf(list []Extension) extensions {
	var out extensions
	for _, x := range list {
		out = append(out, extension{x.Type, append([]byte{}, x.Data...)})
	}
	return out
}

// unique holds a list of our own making to what read refuses.
func (x extensions) unique() error {
	for i, e := range x {
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

// requiredCapabilities is RequiredCapabilities, 11.1.
type requiredCapabilities struct{ extensions, proposals, credentials []uint16 }

func (x *requiredCapabilities) read(r *reader) {
	x.extensions = r.u16list()
	x.proposals = r.u16list()
	x.credentials = r.u16list()
}

// required reads the group's requirements; a group without any requires nothing.
func (x extensions) required(items int) (requiredCapabilities, error) {
	var req requiredCapabilities
	data, ok := x.find(extRequiredCapabilities)
	if !ok {
		return req, nil
	}
	return req, decode(data, items, req.read)
}

// meets says whether c covers the requirements.
func (x *requiredCapabilities) meets(c *capabilities) error {
	for _, e := range x.extensions {
		if !isDefaultExtension(e) && !slices.Contains(c.extensions, e) {
			return refused("leaf lacks required extension %d", e)
		}
	}
	for _, p := range x.proposals {
		if !isDefaultProposal(p) && !slices.Contains(c.proposals, p) {
			return refused("leaf lacks required proposal %d", p)
		}
	}
	for _, k := range x.credentials {
		if !slices.Contains(c.credentials, k) {
			return refused("leaf lacks required credential type %d", k)
		}
	}
	return nil
}

// externalSender is ExternalSender, 12.1.8.1.
type externalSender struct {
	signatureKey []byte
	credential   Credential
}

func (x *externalSender) read(r *reader) {
	x.signatureKey = r.vec()
	x.credential.read(r)
}

func (x extensions) externalSenders(items int) ([]externalSender, error) {
	data, ok := x.find(extExternalSenders)
	if !ok {
		return nil, nil
	}
	var out []externalSender
	err := decode(data, items, func(r *reader) {
		r.list(func(r *reader) {
			var s externalSender
			s.read(r)
			out = append(out, s)
		})
	})
	return out, err
}
