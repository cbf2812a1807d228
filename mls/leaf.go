package mls

import (
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

// ownCapabilities are what this package can do. The grease value keeps peers
// honest about ignoring what they do not know (13.5).
func ownCapabilities(grease byte, lastResort bool, also Support) capabilities {
	g := uint16(grease%15)<<12 | uint16(grease%15)<<4 | 0x0a0a
	c := capabilities{
		versions:    []uint16{versionMLS10},
		suites:      append(slices.Clone(groupSuites), g),
		extensions:  []uint16{g},
		proposals:   []uint16{g},
		credentials: []uint16{CredentialBasic, CredentialX509, g},
	}
	if lastResort {
		c.extensions = append(c.extensions, extLastResort)
	}
	c.extensions = append(c.extensions, also.Extensions...)
	c.proposals = append(c.proposals, also.Proposals...)
	return c
}

// drawCapabilities are ownCapabilities with a random grease value.
func drawCapabilities(lastResort bool, also Support, random io.Reader) (capabilities, error) {
	var grease [1]byte
	if _, err := io.ReadFull(random, grease[:]); err != nil {
		return capabilities{}, fmt.Errorf("read randomness: %w", err)
	}
	return ownCapabilities(grease[0], lastResort, also), nil
}

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
	for _, e := range x.extensions {
		if !isDefaultExtension(e.kind) && !slices.Contains(c.extensions, e.kind) {
			return refused("leaf does not support its own extension %d", e.kind)
		}
	}
	if _, err := cs.kem.NewPublicKey(x.encryptionKey); err != nil {
		return refused("encryption key of the leaf")
	}
	return x.credential.bindsKey(x.signatureKey)
}
