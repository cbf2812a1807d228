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
	return marshal(g.cur().records()), nil
}

// marshal writes records one after the other, in the order of their keys.
func marshal(records []Record) []byte {
	return encode(func(w *writer) {
		w.u8(stateVersion)
		for _, r := range records {
			w.raw([]byte(r.Key))
			w.vec(r.Data)
			clear(r.Data)
		}
	})
}

// records are the state, in the order of their keys.
func (e *epoch) records() []Record {
	var c Change
	number := e.context.epoch
	c.put(recordEpoch, number, 0, e.write)
	c.tree(number, e.secrets)
	for i := range e.proposals {
		c.put(recordProposal, number, uint32(i), e.proposals[i].write)
	}
	for _, p := range e.earlier {
		c.Put = append(c.Put, p.records()...)
	}
	slices.SortFunc(c.Put, compareRecords)
	return c.Put
}

// tree adds what there is of an epoch's secret tree.
func (c *Change) tree(epoch uint64, t *secretTree) {
	for x, s := range t.nodes {
		c.put(recordNode, epoch, x, func(w *writer) { w.raw(s) })
	}
	for leaf, p := range t.ratchets {
		c.put(recordRatchets, epoch, leaf, p.write)
	}
}

// write is what changes only with the epoch.
func (e *epoch) write(w *writer) {
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
	w.nested(func(w *writer) {
		for _, x := range slices.Sorted(maps.Keys(e.privs)) {
			w.u32(x)
			w.vec(e.privs[x])
		}
	})
}

func (p *ratchetPair) write(w *writer) {
	p.handshake.write(w)
	p.application.write(w)
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

func (p *cachedProposal) write(w *writer) {
	w.vec(p.encoded)
	w.present(p.own != nil)
	if p.own != nil {
		w.vec(p.own.priv)
	}
}

// Unmarshal restores a group from what Marshal wrote. The signer must hold the
// key of the group's own leaf. Validator and policy are those of now; members
// already in the group are not validated again. A store in the policy is given
// the group, in place of what it holds.
func Unmarshal(state []byte, sg Signer, v Validator, p Policy) (*Group, error) {
	p = p.withDefaults()
	var stored []Record
	err := decode(bytes.Clone(state), 0, func(r *reader) {
		if v := r.u8(); v != stateVersion {
			r.fail("group state of version %d", v)
		}
		for len(r.b) > 0 {
			stored = append(stored, Record{string(r.take(recordKeySize)), r.vec()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read group state: %w", err)
	}
	if !slices.IsSortedFunc(stored, compareRecords) {
		return nil, malformed("records of the group state are out of order")
	}
	e, err := readRecords(stored, &p)
	if err != nil {
		return nil, fmt.Errorf("read group state: %w", err)
	}
	g, err := restored(e, &side{sg, v, p})
	if err != nil {
		return nil, err
	}
	if p.Store != nil {
		if err := g.save(e.whole()); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func restored(e *epoch, s *side) (*Group, error) {
	if !bytes.Equal(e.tree.leaf(e.own).signatureKey, s.signer.Public()) {
		return nil, refused("signer is not that of the group's own leaf")
	}
	return &Group{e: hold(e), s: s}, nil
}

// readRecords builds an epoch from its records, which it takes over. Each must be
// in the one encoding that records writes.
func readRecords(stored []Record, p *Policy) (*epoch, error) {
	slices.SortFunc(stored, compareRecords)
	e, err := readEpoch(stored, p)
	if err != nil {
		return nil, err
	}
	for _, r := range stored {
		if err := e.readRecord(r, p.Limits); err != nil {
			return nil, err
		}
	}
	if err := e.check(p.Limits); err != nil {
		return nil, err
	}
	again := e.records()
	if !slices.EqualFunc(again, stored, func(a, b Record) bool { return a.Key == b.Key && bytes.Equal(a.Data, b.Data) }) {
		return nil, malformed("group state is not in its one encoding")
	}
	for _, r := range again {
		clear(r.Data)
	}
	return e, nil
}

// readEpoch reads the record of the epoch and those of past ones, on which the
// others depend.
func readEpoch(stored []Record, p *Policy) (*epoch, error) {
	e := &epoch{keys: new(epochSecrets), privs: make(map[nodeIndex][]byte)}
	var encodedTree []byte
	var err error
	for _, r := range stored {
		switch kind, _, _, _ := r.parts(); kind {
		case recordEpoch:
			err = decode(r.Data, len(r.Data), func(r *reader) { encodedTree = e.read(r) })
		case recordPast:
			past := new(pastEpoch)
			err = decode(r.Data, len(r.Data), past.read)
			e.earlier = append(e.earlier, past)
		}
		if err != nil {
			return nil, err
		}
	}
	if encodedTree == nil {
		return nil, malformed("group state without an epoch")
	}
	if e.cs, err = p.suite(e.context.suite); err != nil {
		return nil, err
	}
	if e.tree, err = readTree(encodedTree, p.Limits); err != nil {
		return nil, err
	}
	e.secrets = &secretTree{leaves: e.tree.leaves(), nodes: make(map[nodeIndex][]byte), ratchets: make(map[uint32]*ratchetPair)}
	e.encoded = e.context.encode()
	return e, nil
}

// read returns the encoded tree.
func (e *epoch) read(r *reader) []byte {
	e.context.read(r)
	encodedTree := r.vec()
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
	r.list(func(r *reader) {
		x := r.u32()
		e.privs[x] = r.vec()
	})
	return encodedTree
}

// readRecord takes one record that belongs to the epoch or to a past one.
func (e *epoch) readRecord(r Record, lim Limits) error {
	kind, number, index, ok := r.parts()
	t := e.secrets
	if past := e.pastEpoch(number); past != nil {
		t = past.secrets
	} else if !ok || number != e.context.epoch {
		return malformed("record of epoch %d, which is not kept", number)
	}
	switch kind {
	case recordEpoch, recordPast:
		return nil
	case recordNode:
		t.nodes[index] = r.Data
		return nil
	case recordRatchets:
		t.ratchets[index] = new(ratchetPair)
		return decode(r.Data, len(r.Data), t.ratchets[index].read)
	case recordProposal:
		return e.readProposal(r.Data, lim)
	}
	return malformed("record of kind %d", kind)
}

func (p *ratchetPair) read(r *reader) {
	p.handshake.read(r)
	p.application.read(r)
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

// readProposal takes a waiting proposal apart, of which only the encoding was
// stored.
func (e *epoch) readProposal(b []byte, lim Limits) error {
	var p cachedProposal
	err := decode(b, 0, func(r *reader) {
		p.encoded = r.vec()
		if r.optional() {
			p.own = &ownUpdate{priv: r.vec()}
		}
	})
	if err != nil {
		return err
	}
	a := new(authContent)
	if err := decode(p.encoded, lim.Items, a.read); err != nil {
		return err
	}
	if a.content.kind != contentProposal {
		return malformed("cached proposal of content type %d", a.content.kind)
	}
	p.ref = e.cs.refHash("MLS 1.0 Proposal Reference", p.encoded)
	p.sender, p.proposal = a.content.sender, a.content.proposal
	if p.sender.kind == senderMember && e.tree.leaf(p.sender.index) == nil {
		return malformed("cached proposal of blank leaf %d", p.sender.index)
	}
	if err := e.checkProposal(p.proposal, p.sender); err != nil {
		return fmt.Errorf("cached proposal: %w", err)
	}
	if err := e.checkOwnUpdate(&p); err != nil {
		return err
	}
	e.proposals = append(e.proposals, p)
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
func (e *epoch) check(lim Limits) error {
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
	for x := range e.privs {
		if x >= nodeCount(leaves) || e.tree.nodes[x].blank() {
			return malformed("private key of blank node %d", x)
		}
	}
	if len(e.proposals) > proposalsMax || len(e.earlier) > pastEpochsMax {
		return malformed("%d proposals, %d past epochs", len(e.proposals), len(e.earlier))
	}
	for _, p := range e.earlier {
		if err := p.check(e, lim); err != nil {
			return err
		}
	}
	return e.secrets.check(e.cs)
}

func (t *secretTree) check(cs *cryptoSuite) error {
	for x, s := range t.nodes {
		if x >= nodeCount(t.leaves) || len(s) != cs.nh() {
			return malformed("secret of tree node %d", x)
		}
	}
	for leaf, p := range t.ratchets {
		if leaf >= t.leaves || !p.application.sound(cs) || t.past != p.handshake.none() || !t.past && !p.handshake.sound(cs) {
			return malformed("ratchet of leaf %d", leaf)
		}
	}
	return nil
}

func (x *ratchet) none() bool { return len(x.secret) == 0 && x.next == 0 && len(x.skipped) == 0 }

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
