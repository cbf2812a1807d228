package mls

// Content types, sender types and wire formats, 6 and 17.2.
const (
	contentApplication = 1
	contentProposal    = 2
	contentCommit      = 3

	senderMember            = 1
	senderExternal          = 2
	senderNewMemberProposal = 3
	senderNewMemberCommit   = 4

	wirePublicMessage  = 1
	wirePrivateMessage = 2
	wireWelcome        = 3
	wireGroupInfo      = 4
	wireKeyPackage     = 5
)

// sender is Sender, 6.
type sender struct {
	kind  uint8
	index uint32 // leaf of a member, or index of an external sender
}

func (x *sender) read(r *reader) {
	switch x.kind = r.u8(); x.kind {
	case senderMember, senderExternal:
		x.index = r.u32()
	case senderNewMemberProposal, senderNewMemberCommit:
	default:
		r.fail("sender type %d", x.kind)
	}
}

func (x *sender) write(w *writer) {
	w.u8(x.kind)
	if x.kind == senderMember || x.kind == senderExternal {
		w.u32(x.index)
	}
}

// framedContent is FramedContent, 6.
type framedContent struct {
	groupID     []byte
	epoch       uint64
	sender      sender
	aad         []byte // authenticated_data
	kind        uint8
	application []byte
	proposal    *proposal
	commit      *commit
}

func (x *framedContent) read(r *reader) {
	x.groupID = r.vec()
	x.epoch = r.u64()
	x.sender.read(r)
	x.aad = r.vec()
	x.kind = r.u8()
	x.readBody(r)
}

// readBody reads what the content type selects.
func (x *framedContent) readBody(r *reader) {
	switch x.kind {
	case contentApplication:
		x.application = r.vec()
	case contentProposal:
		x.proposal = new(proposal)
		x.proposal.read(r)
	case contentCommit:
		x.commit = new(commit)
		x.commit.read(r)
	default:
		r.fail("content type %d", x.kind)
	}
}

func (x *framedContent) write(w *writer) {
	w.vec(x.groupID)
	w.u64(x.epoch)
	x.sender.write(w)
	w.vec(x.aad)
	w.u8(x.kind)
	x.writeBody(w)
}

func (x *framedContent) writeBody(w *writer) {
	switch x.kind {
	case contentApplication:
		w.vec(x.application)
	case contentProposal:
		x.proposal.write(w)
	case contentCommit:
		x.commit.write(w)
	}
}

// authData is FramedContentAuthData, 6.1.
type authData struct {
	signature       []byte
	confirmationTag []byte // contentCommit only
}

func (x *authData) read(r *reader, kind uint8) {
	x.signature = r.vec()
	if kind == contentCommit {
		x.confirmationTag = r.vec()
	}
}

func (x *authData) write(w *writer, kind uint8) {
	w.vec(x.signature)
	if kind == contentCommit {
		w.vec(x.confirmationTag)
	}
}

// authContent is AuthenticatedContent, 6.
type authContent struct {
	wire    uint16
	content framedContent
	auth    authData
}

func (x *authContent) read(r *reader) {
	x.wire = r.u16()
	x.content.read(r)
	x.auth.read(r, x.content.kind)
}

func (x *authContent) write(w *writer) {
	w.u16(x.wire)
	x.content.write(w)
	x.auth.write(w, x.content.kind)
}

// tbs is FramedContentTBS, 6.1.
func (x *authContent) tbs(context []byte) []byte {
	c := &x.content
	about := 64 + len(c.groupID) + len(c.aad) + len(c.application) + len(context)
	return encodeAbout(about, func(w *writer) { x.writeTBS(w, context) })
}

func (x *authContent) writeTBS(w *writer, context []byte) {
	w.u16(versionMLS10)
	w.u16(x.wire)
	x.content.write(w)
	if k := x.content.sender.kind; k == senderMember || k == senderNewMemberCommit {
		w.raw(context)
	}
}

func (x *authContent) sign(sg Signer, context []byte) (err error) {
	x.auth.signature, err = sign(sg, "FramedContentTBS", x.tbs(context))
	return err
}

func (x *authContent) verify(cs *cryptoSuite, pub, context []byte) error {
	return cs.verify(pub, "FramedContentTBS", x.tbs(context), x.auth.signature)
}

// tbm is AuthenticatedContentTBM, 6.2.
func (x *authContent) tbm(context []byte) []byte {
	return encode(func(w *writer) {
		x.writeTBS(w, context)
		x.auth.write(w, x.content.kind)
	})
}

// publicMessage is PublicMessage, 6.2.
type publicMessage struct {
	content       framedContent
	auth          authData
	membershipTag []byte // senderMember only
}

func (x *publicMessage) read(r *reader) {
	x.content.read(r)
	x.auth.read(r, x.content.kind)
	if x.content.sender.kind == senderMember {
		x.membershipTag = r.vec()
	}
}

func (x *publicMessage) write(w *writer) {
	x.content.write(w)
	x.auth.write(w, x.content.kind)
	if x.content.sender.kind == senderMember {
		w.vec(x.membershipTag)
	}
}

// privateMessage is PrivateMessage, 6.3.
type privateMessage struct {
	groupID    []byte
	epoch      uint64
	kind       uint8
	aad        []byte
	senderData []byte
	ciphertext []byte
}

func (x *privateMessage) read(r *reader) {
	x.groupID = r.vec()
	x.epoch = r.u64()
	if x.kind = r.u8(); x.kind < contentApplication || x.kind > contentCommit {
		r.fail("content type %d", x.kind)
	}
	x.aad = r.vec()
	x.senderData = r.vec()
	x.ciphertext = r.vec()
}

func (x *privateMessage) write(w *writer) {
	w.vec(x.groupID)
	w.u64(x.epoch)
	w.u8(x.kind)
	w.vec(x.aad)
	w.vec(x.senderData)
	w.vec(x.ciphertext)
}

// message is MLSMessage, 6; the field that wire names is set.
type message struct {
	wire       uint16
	public     *publicMessage
	private    *privateMessage
	welcome    *welcome
	groupInfo  *groupInfo
	keyPackage *keyPackage
}

func (x *message) read(r *reader) {
	if v := r.u16(); v != versionMLS10 {
		r.fail("protocol version %d", v)
		return
	}
	switch x.wire = r.u16(); x.wire {
	case wirePublicMessage:
		x.public = new(publicMessage)
		x.public.read(r)
	case wirePrivateMessage:
		x.private = new(privateMessage)
		x.private.read(r)
	case wireWelcome:
		x.welcome = new(welcome)
		x.welcome.read(r)
	case wireGroupInfo:
		x.groupInfo = new(groupInfo)
		x.groupInfo.read(r)
	case wireKeyPackage:
		x.keyPackage = new(keyPackage)
		x.keyPackage.read(r)
	default:
		r.fail("wire format %d", x.wire)
	}
}

// readMessage copies b, bounds it and reads the message that fills it.
func readMessage(b []byte, lim Limits) (*message, error) {
	if len(b) > lim.Message {
		return nil, malformed("%d bytes, more than %d", len(b), lim.Message)
	}
	m := new(message)
	own := make([]byte, len(b))
	copy(own, b)
	return m, decode(own, lim.Items, m.read)
}

// writeMessage wraps one body in an MLSMessage.
func writeMessage(wire uint16, body func(*writer)) []byte {
	return encode(func(w *writer) {
		w.u16(versionMLS10)
		w.u16(wire)
		body(w)
	})
}
