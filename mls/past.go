package mls

import (
	"bytes"
	"math"
	"sort"
)

// pastEpochsMax bounds Policy.PastEpochs.
const pastEpochsMax = 64

// A pastEpoch is what is left of an epoch that is over: enough to open application
// messages that others sent in it. It has no init secret, no private key and none
// of the keys for handshake messages, so that nothing leads from it to a later
// epoch, and none of what this member sent.
type pastEpoch struct {
	context    groupContext
	encoded    []byte
	own        uint32
	members    []Member // ascending by leaf
	senderData []byte
	secrets    *secretTree
	until      uint64 // Unix seconds, the last at which it is kept
}

// keepsPast says whether epochs are kept at all.
func (p *Policy) keepsPast() bool { return p.PastEpochs > 0 && (p.PastEpochTTL <= 0 || p.Now != nil) }

// pastAt is until when an epoch is kept that ends now.
func (p *Policy) pastAt() uint64 {
	if p.PastEpochTTL <= 0 {
		return math.MaxUint64
	}
	return uint64(max(0, p.Now().Add(p.PastEpochTTL).Unix()))
}

// over says which of the kept epochs, oldest first, are no longer to be kept.
func (p *Policy) over(past []*pastEpoch) (gone, kept []*pastEpoch) {
	most := min(max(0, p.PastEpochs), pastEpochsMax)
	if !p.keepsPast() {
		most = 0
	}
	for i, e := range past {
		expired := p.PastEpochTTL > 0 && p.Now != nil && uint64(max(0, p.Now().Unix())) > e.until
		if expired || len(past)-i > most {
			gone = append(gone, e)
		} else {
			kept = append(kept, e)
		}
	}
	return gone, kept
}

// pass makes the past of an epoch that ends, without changing it. The message that
// ends it, if it was private, was not used up in the secret tree: who sent it gets
// its ratchets, so that no secret is left above them.
func (e *epoch) pass(u *use, until uint64) *pastEpoch {
	past := &pastEpoch{context: e.context, encoded: e.encoded, own: e.own, members: e.tree.members(),
		senderData: bytes.Clone(e.keys.senderData), secrets: e.secrets.clone(), until: until}
	if u != nil {
		past.secrets.derive(e.cs, u.d.leaf)
	}
	past.secrets.receiveOnly(e.own)
	return past
}

// clone shares no secret with t.
func (t *secretTree) clone() *secretTree {
	out := &secretTree{leaves: t.leaves, nodes: make(map[nodeIndex][]byte), ratchets: make(map[uint32]*ratchetPair)}
	for x, s := range t.nodes {
		out.nodes[x] = bytes.Clone(s)
	}
	for leaf, p := range t.ratchets {
		out.ratchets[leaf] = &ratchetPair{p.handshake.clone(), p.application.clone()}
	}
	return out
}

func (x *ratchet) clone() ratchet {
	out := ratchet{secret: bytes.Clone(x.secret), next: x.next}
	for _, k := range x.skipped {
		out.skipped = append(out.skipped, skippedKey{k.generation, messageKey{bytes.Clone(k.key), bytes.Clone(k.nonce)}})
	}
	return out
}

// receiveOnly drops what opens no application message of others.
func (t *secretTree) receiveOnly(own uint32) {
	t.past = true
	if p := t.ratchets[own]; p != nil {
		p.erase()
		delete(t.ratchets, own)
	}
	for _, p := range t.ratchets {
		p.handshake.erase()
		p.handshake = ratchet{}
	}
}

func (p *pastEpoch) erase() {
	clear(p.senderData)
	p.secrets.erase()
}

// pastEpoch is the kept epoch with a number, or nil.
func (e *epoch) pastEpoch(number uint64) *pastEpoch {
	at, ok := sort.Find(len(e.earlier), func(i int) int {
		switch have := e.earlier[i].context.epoch; {
		case number < have:
			return -1
		case number > have:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return e.earlier[at]
}

// expire overwrites past epochs whose time is over, or which the policy no longer
// wants. It is the clock that changes the state here, not the message at hand.
func (g *Group) expire() error {
	e := g.cur()
	if len(e.earlier) == 0 {
		return nil
	}
	gone, kept := g.s.policy.over(e.earlier)
	if len(gone) == 0 {
		return nil
	}
	var c Change
	for _, p := range gone {
		for _, r := range p.records() {
			c.Delete = append(c.Delete, r.Key)
			clear(r.Data)
		}
	}
	if err := g.save(c); err != nil {
		return err
	}
	for _, p := range gone {
		p.erase()
	}
	e.earlier = kept
	return nil
}

func (p *pastEpoch) write(w *writer) {
	p.context.write(w)
	w.u32(p.own)
	w.u32(p.secrets.leaves)
	w.vec(p.senderData)
	w.u64(p.until)
	w.nested(func(w *writer) {
		for _, m := range p.members {
			w.u32(m.Leaf)
			w.vec(m.SignatureKey)
			m.Credential.write(w)
		}
	})
}

func (p *pastEpoch) read(r *reader) {
	p.context.read(r)
	p.own = r.u32()
	p.secrets = newPastTree(r.u32())
	p.senderData = r.vec()
	p.until = r.u64()
	r.list(func(r *reader) {
		m := Member{Leaf: r.u32(), SignatureKey: r.vec()}
		m.Credential.read(r)
		p.members = append(p.members, m)
	})
	p.encoded = p.context.encode()
}

func newPastTree(leaves uint32) *secretTree {
	return &secretTree{leaves: leaves, past: true, nodes: make(map[nodeIndex][]byte), ratchets: make(map[uint32]*ratchetPair)}
}

func (p *pastEpoch) records() []Record {
	var c Change
	c.put(recordPast, p.context.epoch, 0, p.write)
	c.tree(p.context.epoch, p.secrets)
	return c.Put
}

// check holds a restored past epoch to what the rest of the package relies on.
func (p *pastEpoch) check(now *epoch, lim Limits) error {
	if !bytes.Equal(p.context.groupID, now.context.groupID) || p.context.suite != now.context.suite || p.context.epoch >= now.context.epoch {
		return malformed("past epoch %d of another group", p.context.epoch)
	}
	n := p.secrets.leaves
	if n == 0 || n&(n-1) != 0 || n > lim.Leaves || len(p.senderData) != now.cs.nh() {
		return malformed("past epoch %d of %d leaves", p.context.epoch, n)
	}
	for i, m := range p.members {
		if m.Leaf >= n || i > 0 && m.Leaf <= p.members[i-1].Leaf {
			return malformed("member %d of past epoch %d", m.Leaf, p.context.epoch)
		}
	}
	if p.secrets.ratchets[p.own] != nil {
		return malformed("own ratchets of past epoch %d", p.context.epoch)
	}
	return p.secrets.check(now.cs)
}
