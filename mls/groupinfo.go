package mls

import (
	"bytes"
	"fmt"
	"io"
)

// groupInfo is GroupInfo, 12.4.3.
type groupInfo struct {
	context         groupContext
	extensions      extensions
	confirmationTag []byte
	signer          uint32
	signature       []byte
}

func (x *groupInfo) read(r *reader) {
	x.context.read(r)
	x.extensions.read(r)
	x.confirmationTag = r.vec()
	x.signer = r.u32()
	x.signature = r.vec()
}

func (x *groupInfo) writeUnsigned(w *writer) {
	x.context.write(w)
	x.extensions.write(w)
	w.vec(x.confirmationTag)
	w.u32(x.signer)
}

func (x *groupInfo) write(w *writer) {
	x.writeUnsigned(w)
	w.vec(x.signature)
}

func (x *groupInfo) sign(sg Signer) (err error) {
	x.signature, err = sign(sg, "GroupInfoTBS", encode(x.writeUnsigned))
	return err
}

func (x *groupInfo) verify(cs *cryptoSuite, pub []byte) error {
	return cs.verify(pub, "GroupInfoTBS", encode(x.writeUnsigned), x.signature)
}

// GroupInfoOptions say what a GroupInfo carries beyond the group's context.
type GroupInfoOptions struct {
	// External adds the external public key, with which whoever has the GroupInfo
	// can make an external Commit ([ExternalJoin]). It serves one join: that join
	// starts another epoch.
	External bool
	// WithoutTree leaves the ratchet tree out; see [Group.RatchetTree].
	WithoutTree bool
}

// GroupInfo is a signed description of the current epoch, an MLSMessage. It
// holds no secret, but with its tree it names all members.
func (g *Group) GroupInfo(o GroupInfoOptions) ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	gi, err := g.cur().groupInfo(g.s.signer, o, g.s.policy.Rand)
	if err != nil {
		return nil, err
	}
	return writeMessage(wireGroupInfo, gi.write), nil
}

// RatchetTree is the public tree of the current epoch, the ratchet_tree of
// 12.4.3.3, for those who get a Welcome or a GroupInfo without it.
func (g *Group) RatchetTree() ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	return g.cur().tree.encode(), nil
}

// groupInfo carries an extension that means nothing, so that joiners ignore what
// they do not know (12.4.3, 13.5).
func (e *epoch) groupInfo(sg Signer, o GroupInfoOptions, random io.Reader) (*groupInfo, error) {
	gi := &groupInfo{context: e.context, confirmationTag: e.confirmationTag, signer: e.own}
	if !o.WithoutTree {
		gi.extensions = append(gi.extensions, extension{extRatchetTree, e.tree.encode()})
	}
	if o.External {
		_, pub, err := e.cs.keyPair(e.keys.external)
		if err != nil {
			return nil, err
		}
		gi.extensions = append(gi.extensions, extension{extExternalPub, encode(func(w *writer) { w.vec(pub) })})
	}
	grease, err := drawGrease(random)
	if err != nil {
		return nil, err
	}
	gi.extensions = append(gi.extensions, extension{grease, []byte{}})
	return gi, gi.sign(sg)
}

// openTree finds the ratchet tree of a GroupInfo, in it or given apart, and holds
// both to each other and to 12.4.3.1, for whoever joins by it.
func (x *groupInfo) openTree(cs *cryptoSuite, given []byte, v Validator, p *Policy) (*tree, error) {
	if x.context.suite != cs.id {
		return nil, refused("group of cipher suite %d", x.context.suite)
	}
	encoded, ok := x.extensions.find(extRatchetTree)
	if !ok {
		encoded = given
	}
	if encoded == nil {
		return nil, refused("group info carries no ratchet tree and none was given")
	}
	t, err := readTree(encoded, p.Limits)
	if err != nil {
		return nil, fmt.Errorf("read ratchet tree: %w", err)
	}
	signer := t.leaf(x.signer)
	if signer == nil {
		return nil, refused("group info is signed by blank leaf %d", x.signer)
	}
	if err := x.verify(cs, signer.signatureKey); err != nil {
		return nil, err
	}
	if !bytes.Equal(t.rootHash(cs), x.context.treeHash) {
		return nil, refused("tree hash")
	}
	req, err := x.context.extensions.required(p.Limits.Items)
	if err != nil {
		return nil, fmt.Errorf("read required capabilities: %w", err)
	}
	if err := t.validate(cs, x.context.groupID, req); err != nil {
		return nil, err
	}
	if err := t.supports(x.context.extensions); err != nil {
		return nil, err
	}
	if err := x.context.extensions.validateSenders(v, p.Limits.Items); err != nil {
		return nil, err
	}
	return t, t.validateCredentials(v)
}
