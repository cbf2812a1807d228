package mls

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

// GroupInfoOptions say what a GroupInfo carries.
type GroupInfoOptions struct {
	// External adds the key to which an external Commit is made (12.4.3.2).
	External bool
	// WithoutTree leaves out the ratchet tree, which then goes another way.
	WithoutTree bool
}

// GroupInfo is a signed description of the current epoch, an MLSMessage. It holds
// no secret, but with the ratchet tree it names all members.
func (g *Group) GroupInfo(o GroupInfoOptions) ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	gi, err := g.cur().groupInfo(g.s.signer, o)
	if err != nil {
		return nil, err
	}
	return writeMessage(wireGroupInfo, gi.write), nil
}

func (e *epoch) groupInfo(sg Signer, o GroupInfoOptions) (*groupInfo, error) {
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
	return gi, gi.sign(sg)
}
