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
