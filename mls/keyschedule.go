package mls

// groupContext is GroupContext, 8.1.
type groupContext struct {
	suite      Suite
	groupID    []byte
	epoch      uint64
	treeHash   []byte
	confirmed  []byte // confirmed_transcript_hash
	extensions extensions
}

func (x *groupContext) read(r *reader) {
	if v := r.u16(); v != versionMLS10 {
		r.fail("protocol version %d", v)
	}
	x.suite = Suite(r.u16())
	x.groupID = r.vec()
	x.epoch = r.u64()
	x.treeHash = r.vec()
	x.confirmed = r.vec()
	x.extensions.read(r)
}

func (x *groupContext) write(w *writer) {
	w.u16(versionMLS10)
	w.u16(uint16(x.suite))
	w.vec(x.groupID)
	w.u64(x.epoch)
	w.vec(x.treeHash)
	w.vec(x.confirmed)
	x.extensions.write(w)
}

func (x *groupContext) encode() []byte { return encode(x.write) }

// epochSecrets are the secrets an epoch keeps, table 4 of 8. The encryption
// secret is not among them: the secret tree consumes it at once.
type epochSecrets struct {
	senderData    []byte
	exporter      []byte
	authenticator []byte
	external      []byte
	confirmation  []byte
	membership    []byte
	resumption    []byte
	init          []byte
}

func (x *epochSecrets) all() []*[]byte {
	return []*[]byte{&x.senderData, &x.exporter, &x.authenticator, &x.external,
		&x.confirmation, &x.membership, &x.resumption, &x.init}
}

// joinerSecret starts the key schedule of 8 from the epoch before.
func (c *cryptoSuite) joinerSecret(initSecret, commitSecret, context []byte) []byte {
	extracted := c.extract(initSecret, commitSecret)
	defer clear(extracted)
	return c.expandLabel(extracted, "joiner", context, c.nh())
}

// memberSecret is the value between joiner and epoch secret, from which both the
// Welcome and the epoch hang.
func (c *cryptoSuite) memberSecret(joiner, psk []byte) []byte { return c.extract(joiner, psk) }

// welcomeKey is the key and nonce that hide a GroupInfo, 12.4.3.1.
func (c *cryptoSuite) welcomeKey(member []byte) (key, nonce []byte) {
	welcome := c.derive(member, "welcome")
	defer clear(welcome)
	x := c.under(welcome)
	return x.expand("key", nil, c.nk), x.expand("nonce", nil, nonceSize)
}

// epochFrom derives an epoch's secrets, and apart from them the encryption
// secret for the secret tree.
func (c *cryptoSuite) epochFrom(epochSecret []byte) (*epochSecrets, []byte) {
	x := c.under(epochSecret)
	return &epochSecrets{
		senderData:    x.derive("sender data"),
		exporter:      x.derive("exporter"),
		authenticator: x.derive("authentication"),
		external:      x.derive("external"),
		confirmation:  x.derive("confirm"),
		membership:    x.derive("membership"),
		resumption:    x.derive("resumption"),
		init:          x.derive("init"),
	}, x.derive("encryption")
}

// enterEpoch derives an epoch from its member secret and its context.
func (c *cryptoSuite) enterEpoch(member, context []byte) (*epochSecrets, []byte) {
	epochSecret := c.expandLabel(member, "epoch", context, c.nh())
	defer clear(epochSecret)
	return c.epochFrom(epochSecret)
}

// export is MLS-Exporter, 8.5.
func (c *cryptoSuite) export(exporter []byte, label string, context []byte, n int) []byte {
	secret := c.derive(exporter, label)
	defer clear(secret)
	return c.expandLabel(secret, "exported", c.digest(context), n)
}

// confirmedHash and interimHash are the transcript hashes of 8.2.
func (c *cryptoSuite) confirmedHash(interimBefore []byte, a *authContent) []byte {
	return c.digest(interimBefore, encode(func(w *writer) {
		w.u16(a.wire)
		a.content.write(w)
		w.vec(a.auth.signature)
	}))
}

func (c *cryptoSuite) interimHash(confirmed, confirmationTag []byte) []byte {
	return c.digest(confirmed, encode(func(w *writer) { w.vec(confirmationTag) }))
}
