package mls

import "bytes"

// PSKType and ResumptionPSKUsage, 8.4.
const (
	pskExternal   = 1
	pskResumption = 2

	usageApplication = 1
	usageReInit      = 2
	usageBranch      = 3
)

// pskID is PreSharedKeyID, 8.4.
type pskID struct {
	kind    uint8
	id      []byte // pskExternal
	usage   uint8  // pskResumption, as the two below
	groupID []byte
	epoch   uint64
	nonce   []byte
}

func (x *pskID) read(r *reader) {
	switch x.kind = r.u8(); x.kind {
	case pskExternal:
		x.id = r.vec()
	case pskResumption:
		if x.usage = r.u8(); x.usage < usageApplication || x.usage > usageBranch {
			r.fail("resumption usage %d", x.usage)
		}
		x.groupID = r.vec()
		x.epoch = r.u64()
	default:
		r.fail("psk type %d", x.kind)
	}
	x.nonce = r.vec()
}

func (x *pskID) write(w *writer) {
	w.u8(x.kind)
	if x.kind == pskExternal {
		w.vec(x.id)
	} else {
		w.u8(x.usage)
		w.vec(x.groupID)
		w.u64(x.epoch)
	}
	w.vec(x.nonce)
}

// A PSK names a pre-shared key that a Commit injects: an external one by its ID or,
// where that is nil, the resumption key of an Epoch of a group.
type PSK struct {
	ID      []byte
	GroupID []byte
	Epoch   uint64
}

func (x *pskID) public() PSK {
	if x.kind == pskExternal {
		return PSK{ID: append([]byte{}, x.id...)}
	}
	return PSK{GroupID: bytes.Clone(x.groupID), Epoch: x.epoch}
}

// readPSKs reads the psks of a GroupSecrets.
func readPSKs(r *reader) (out []pskID) {
	r.list(func(r *reader) {
		var id pskID
		id.read(r)
		out = append(out, id)
	})
	return out
}

// isOrigin says that a key is the link from one group to another, 11.2 and 11.3.
func (x *pskID) isOrigin() bool { return x.kind == pskResumption && x.usage != usageApplication }

// psksMax is as many pre-shared keys as PSKLabel can count, 8.4.
const psksMax = 1<<16 - 1

// pskSecret folds pre-shared keys into one secret, 8.4; without any it is zero.
func (c *cryptoSuite) pskSecret(ids []pskID, lookup func(pskID) ([]byte, error)) ([]byte, error) {
	if len(ids) > psksMax {
		return nil, refused("%d pre-shared keys, more than %d", len(ids), psksMax)
	}
	secret := c.zero()
	for i, id := range ids {
		if len(id.nonce) != c.nh() {
			return nil, refused("psk nonce of %d bytes", len(id.nonce))
		}
		psk, err := lookup(id)
		if err != nil {
			return nil, err
		}
		extracted := c.extract(c.zero(), psk)
		input := c.expandLabel(extracted, "derived psk", encode(func(w *writer) {
			id.write(w)
			w.u16(uint16(i))
			w.u16(uint16(len(ids)))
		}), c.nh())
		secret = c.extract(input, secret)
		clear(extracted)
		clear(input)
	}
	return secret, nil
}

// externalPSK looks up an external key through the policy.
func (p *Policy) externalPSK(id pskID) ([]byte, error) {
	if id.kind == pskExternal && p.PSK != nil {
		if psk, ok := p.PSK(id.id); ok {
			return psk, nil
		}
	}
	if id.kind == pskResumption {
		return nil, refused("resumption key of epoch %d is not kept", id.epoch)
	}
	return nil, refused("pre-shared key is not known")
}
