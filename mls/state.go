package mls

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// stateVersion is the first byte of a marshalled group. There is one encoding of
// a state: what Unmarshal accepts, Marshal writes.
const stateVersion = 2

// Marshal encodes the whole state, unprotected: the caller seals it at rest and
// overwrites the older one. It holds no secret that was consumed: no key of a
// message sent or opened, and nothing one could be derived from.
func (g *Group) Marshal() ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	return encode(g.cur().write), nil
}

func (e *epoch) write(w *writer) {
	w.u8(stateVersion)
	e.context.write(w)
	w.vec(e.tree.encode())
	w.u32(e.own)
	w.vec(e.confirmationTag)
	w.vec(e.interim)
	w.present(e.closed())
	if e.closed() {
		e.reInit.write(w)
	}
	for _, s := range e.keys.all() {
		w.vec(*s)
	}
	w.nested(func(w *writer) {
		for _, p := range e.past {
			w.u64(p.epoch)
			w.vec(p.psk)
		}
	})
	writeSecrets(w, e.privs)
	writeSecrets(w, e.secrets.nodes)
	e.secrets.writeRatchets(w)
	w.nested(func(w *writer) {
		for i := range e.proposals {
			w.vec(e.proposals[i].encoded)
			update := e.proposals[i].own
			w.present(update != nil)
			if update != nil {
				w.vec(update.priv)
			}
		}
	})
}

func writeSecrets(w *writer, m map[nodeIndex][]byte) {
	w.nested(func(w *writer) {
		for _, x := range slices.Sorted(maps.Keys(m)) {
			w.u32(x)
			w.vec(m[x])
		}
	})
}

func (t *secretTree) writeRatchets(w *writer) {
	w.nested(func(w *writer) {
		for _, leaf := range slices.Sorted(maps.Keys(t.ratchets)) {
			w.u32(leaf)
			t.ratchets[leaf].handshake.write(w)
			t.ratchets[leaf].application.write(w)
		}
	})
}

func (x *ratchet) write(w *writer) {
	w.vec(x.secret)
	w.u32(x.next)
	w.nested(func(w *writer) {
		for _, k := range x.skipped {
			w.u32(k.generation)
			w.vec(k.key)
			w.vec(k.nonce)
		}
	})
}

// Unmarshal restores a group from what Marshal wrote. The signer must hold the
// key of the group's own leaf. Validator and policy are those of now; members
// already in the group are not validated again.
func Unmarshal(state []byte, sg Signer, v Validator, p Policy) (*Group, error) {
	p = p.withDefaults()
	e, err := readEpoch(bytes.Clone(state), &p)
	if err != nil {
		return nil, fmt.Errorf("read group state: %w", err)
	}
	if !bytes.Equal(e.tree.leaf(e.own).signatureKey, sg.Public()) {
		return nil, refused("signer is not that of the group's own leaf")
	}
	return &Group{e: hold(e), s: &side{sg, v, p}}, nil
}

func readEpoch(b []byte, p *Policy) (*epoch, error) {
	e := &epoch{keys: new(epochSecrets)}
	var encodedTree []byte
	var proposals []cachedProposal
	err := decode(b, len(b), func(r *reader) {
		if v := r.u8(); v != stateVersion {
			r.fail("group state of version %d", v)
		}
		e.context.read(r)
		encodedTree = r.vec()
		e.own = r.u32()
		e.confirmationTag = r.vec()
		e.interim = r.vec()
		if r.optional() {
			e.reInit = new(reInit)
			e.reInit.read(r)
		}
		for _, s := range e.keys.all() {
			*s = r.vec()
		}
		r.list(func(r *reader) { e.past = append(e.past, pastPSK{r.u64(), r.vec()}) })
		e.privs = readSecrets(r)
		e.secrets = &secretTree{nodes: readSecrets(r), ratchets: readRatchets(r)}
		r.list(func(r *reader) {
			p := cachedProposal{encoded: r.vec()}
			if r.optional() {
				p.own = &ownUpdate{priv: r.vec()}
			}
			proposals = append(proposals, p)
		})
	})
	if err != nil {
		return nil, err
	}
	if e.cs, err = p.suite(e.context.suite); err != nil {
		return nil, err
	}
	if e.tree, err = readTree(encodedTree, p.Limits); err != nil {
		return nil, err
	}
	e.secrets.leaves = e.tree.leaves()
	e.encoded = e.context.encode()
	if err := e.readProposals(proposals, p.Limits); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(encode(e.write), b) {
		return nil, malformed("group state is not in its one encoding")
	}
	return e, nil
}

func readSecrets(r *reader) map[nodeIndex][]byte {
	m := make(map[nodeIndex][]byte)
	r.list(func(r *reader) {
		x := r.u32()
		m[x] = r.vec()
	})
	return m
}

func readRatchets(r *reader) map[uint32]*ratchetPair {
	m := make(map[uint32]*ratchetPair)
	r.list(func(r *reader) {
		leaf, p := r.u32(), new(ratchetPair)
		p.handshake.read(r)
		p.application.read(r)
		m[leaf] = p
	})
	return m
}

func (x *ratchet) read(r *reader) {
	x.secret = r.vec()
	x.next = r.u32()
	r.list(func(r *reader) {
		k := skippedKey{generation: r.u32()}
		k.key, k.nonce = r.vec(), r.vec()
		x.skipped = append(x.skipped, k)
	})
}

// readProposals takes the waiting proposals apart, of which only the encoding
// was stored.
func (e *epoch) readProposals(stored []cachedProposal, lim Limits) error {
	for _, p := range stored {
		a := new(authContent)
		if err := decode(p.encoded, lim.Items, a.read); err != nil {
			return err
		}
		if a.content.kind != contentProposal {
			return malformed("cached proposal of content type %d", a.content.kind)
		}
		p.ref = e.cs.refHash("MLS 1.0 Proposal Reference", p.encoded)
		p.sender, p.proposal = a.content.sender, a.content.proposal
		if err := e.checkOwnUpdate(&p); err != nil {
			return err
		}
		e.proposals = append(e.proposals, p)
	}
	return nil
}

// checkOwnUpdate: an update of our own has its private key, and nothing else has
// one.
func (e *epoch) checkOwnUpdate(p *cachedProposal) error {
	own := p.proposal.kind == proposalUpdate && p.sender == sender{senderMember, e.own}
	if own != (p.own != nil) {
		return malformed("private key of a cached proposal of type %d", p.proposal.kind)
	}
	if !own {
		return nil
	}
	pub, err := e.cs.publicOf(p.own.priv)
	if err != nil || !bytes.Equal(pub, p.proposal.update.encryptionKey) {
		return malformed("private key of another update")
	}
	return nil
}

// check holds a restored epoch to what the rest of the package relies on.
func (e *epoch) check() error {
	nh, leaves := e.cs.nh(), e.tree.leaves()
	if e.tree.leaf(e.own) == nil || e.privs[leafNodeIndex(e.own)] == nil || e.secrets.ratchets[e.own] == nil {
		return malformed("group state without its own leaf")
	}
	if !bytes.Equal(e.tree.rootHash(e.cs), e.context.treeHash) {
		return malformed("tree of the group state has another hash than its context")
	}
	for _, s := range e.keys.all() {
		if len(*s) != nh {
			return malformed("epoch secret of %d bytes", len(*s))
		}
	}
	for x, s := range e.secrets.nodes {
		if x >= nodeCount(leaves) || len(s) != nh {
			return malformed("secret of tree node %d", x)
		}
	}
	for x := range e.privs {
		if x >= nodeCount(leaves) || e.tree.nodes[x].blank() {
			return malformed("private key of blank node %d", x)
		}
	}
	for leaf, p := range e.secrets.ratchets {
		if leaf >= leaves || !p.handshake.sound(e.cs) || !p.application.sound(e.cs) {
			return malformed("ratchet of leaf %d", leaf)
		}
	}
	return nil
}

// sound says that skipped keys ascend, lie behind, and have the right sizes.
func (x *ratchet) sound(cs *cryptoSuite) bool {
	for i, k := range x.skipped {
		if k.generation >= x.next || i > 0 && k.generation <= x.skipped[i-1].generation ||
			len(k.key) != cs.nk || len(k.nonce) != nonceSize {
			return false
		}
	}
	return len(x.secret) == cs.nh()
}
