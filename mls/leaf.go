package mls

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// LeafNodeSource, 7.2.
const (
	sourceKeyPackage = 1
	sourceUpdate     = 2
	sourceCommit     = 3
)

// capabilities is Capabilities, 7.2.
type capabilities struct{ versions, suites, extensions, proposals, credentials []uint16 }

func (x *capabilities) read(r *reader) {
	x.versions = r.u16list()
	x.suites = r.u16list()
	x.extensions = r.u16list()
	x.proposals = r.u16list()
	x.credentials = r.u16list()
}

func (x *capabilities) write(w *writer) {
	w.u16list(x.versions)
	w.u16list(x.suites)
	w.u16list(x.extensions)
	w.u16list(x.proposals)
	w.u16list(x.credentials)
}

// missing is the first of the wanted types that a list of capabilities lacks. Both
// lists are as long as a stranger makes them, so each is gone through once.
func missing(have, wanted []uint16) (kind uint16, lacks bool) {
	if len(wanted) == 0 {
		return 0, false
	}
	var listed [1 << 16 / 64]uint64 // one bit for each type
	for _, k := range have {
		listed[k/64] |= 1 << (k % 64)
	}
	for _, k := range wanted {
		if listed[k/64]&(1<<(k%64)) == 0 {
			return k, true
		}
	}
	return 0, false
}

// supportMax is how many types of each kind a client may add to what it lists.
const supportMax = 64

// drawGrease is one of the 15 values that mean nothing in any registry, 13.5.
func drawGrease(random io.Reader) (uint16, error) {
	var b [1]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("read randomness: %w", err)
	}
	return uint16(b[0]%15)<<12 | uint16(b[0]%15)<<4 | 0x0a0a, nil
}

// drawCapabilities are what this package and its caller can do, with a random
// grease value, which keeps peers honest about ignoring what they do not know
// (13.5). Default types are supported by every client and never listed (7.2).
func drawCapabilities(o KeyPackageOptions, random io.Reader) (capabilities, error) {
	if len(o.Support.Extensions) > supportMax || len(o.Support.Proposals) > supportMax {
		return capabilities{}, refused("support for more than %d types of a kind", supportMax)
	}
	grease, err := drawGrease(random)
	if err != nil {
		return capabilities{}, err
	}
	c := capabilities{
		versions:    []uint16{versionMLS10},
		suites:      slices.Clone(ownSuites),
		extensions:  slices.DeleteFunc(slices.Clone(o.Support.Extensions), isDefaultExtension),
		proposals:   slices.DeleteFunc(slices.Clone(o.Support.Proposals), isDefaultProposal),
		credentials: []uint16{CredentialBasic, CredentialX509, grease},
	}
	if o.Experimental {
		c.suites = append(c.suites, experimentalSuites...)
	}
	if o.LastResort {
		c.extensions = append(c.extensions, extLastResort)
	}
	c.suites = append(c.suites, grease)
	c.extensions = append(c.extensions, grease)
	c.proposals = append(c.proposals, grease)
	return c, nil
}

// grease is the value among the extensions of drawn capabilities. What a KeyPackage
// has beside its leaf is taken from there: OpenMLS refuses one that the leaf does not
// list.
func (x *capabilities) grease() uint16 { return x.extensions[len(x.extensions)-1] }

// leafNode is LeafNode, 7.2. It is never changed once it is in a tree.
type leafNode struct {
	encryptionKey, signatureKey []byte
	credential                  Credential
	capabilities                capabilities
	source                      uint8
	notBefore, notAfter         uint64 // sourceKeyPackage
	parentHash                  []byte // sourceCommit
	extensions                  extensions
	signature                   []byte
}

func (x *leafNode) read(r *reader) {
	x.encryptionKey = r.vec()
	x.signatureKey = r.vec()
	x.credential.read(r)
	x.capabilities.read(r)
	switch x.source = r.u8(); x.source {
	case sourceKeyPackage:
		x.notBefore = r.u64()
		x.notAfter = r.u64()
	case sourceUpdate:
	case sourceCommit:
		x.parentHash = r.vec()
	default:
		r.fail("leaf node source %d", x.source)
	}
	x.extensions.read(r)
	x.signature = r.vec()
}

func (x *leafNode) writeUnsigned(w *writer) {
	w.vec(x.encryptionKey)
	w.vec(x.signatureKey)
	x.credential.write(w)
	x.capabilities.write(w)
	w.u8(x.source)
	switch x.source {
	case sourceKeyPackage:
		w.u64(x.notBefore)
		w.u64(x.notAfter)
	case sourceCommit:
		w.vec(x.parentHash)
	}
	x.extensions.write(w)
}

func (x *leafNode) write(w *writer) {
	x.writeUnsigned(w)
	w.vec(x.signature)
}

// tbs is LeafNodeTBS, 7.2.
func (x *leafNode) tbs(groupID []byte, leaf uint32) []byte {
	return encode(func(w *writer) {
		x.writeUnsigned(w)
		if x.source != sourceKeyPackage {
			w.vec(groupID)
			w.u32(leaf)
		}
	})
}

func (x *leafNode) sign(sg Signer, groupID []byte, leaf uint32) (err error) {
	x.signature, err = sign(sg, "LeafNodeTBS", x.tbs(groupID, leaf))
	return err
}

// validateAlone checks what can be said of a leaf without its group (7.3): its
// signature, its credential, and that it is consistent with its capabilities.
func (x *leafNode) validateAlone(cs *cryptoSuite, groupID []byte, leaf uint32) error {
	if err := x.validateForm(cs); err != nil {
		return err
	}
	return cs.verify(x.signatureKey, "LeafNodeTBS", x.tbs(groupID, leaf), x.signature)
}

// validateForm leaves out the list of suites: 7.3 does not ask for it, a
// KeyPackage signs its own suite, and there are peers that list none but 1 to 3.
func (x *leafNode) validateForm(cs *cryptoSuite) error {
	c := &x.capabilities
	switch {
	case !slices.Contains(c.versions, versionMLS10):
		return refused("leaf does not support mls10")
	case !slices.Contains(c.credentials, x.credential.Type):
		return refused("leaf does not support its own credential type")
	case !cs.sig.validPublic(x.signatureKey):
		return refused("signature key of the leaf")
	}
	if e, lacks := missing(c.extensions, slices.DeleteFunc(x.extensions.kinds(), isDefaultExtension)); lacks {
		return refused("leaf does not support its own extension %d", e)
	}
	if _, err := cs.kem.NewPublicKey(x.encryptionKey); err != nil {
		return refused("encryption key of the leaf")
	}
	return x.credential.bindsKey(x.signatureKey)
}

// newLeaf fills a signed leaf of source key_package and returns its private key.
func newLeaf(cs *cryptoSuite, l *leafNode, c Credential, sg Signer, o KeyPackageOptions, random io.Reader) ([]byte, error) {
	can, err := drawCapabilities(o, random)
	if err != nil {
		return nil, err
	}
	priv, pub, err := cs.freshKeyPair(random)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	*l = leafNode{
		encryptionKey: pub,
		signatureKey:  bytes.Clone(sg.Public()),
		credential:    c.clone(),
		capabilities:  can,
		source:        sourceKeyPackage,
		notBefore:     o.NotBefore,
		notAfter:      o.NotAfter,
	}
	if err := l.validateForm(cs); err != nil {
		return nil, err
	}
	return priv, l.sign(sg, nil, 0)
}
