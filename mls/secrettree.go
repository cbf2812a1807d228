package mls

import (
	"fmt"
	"slices"
)

// messageKey seals or opens one message and is then gone.
type messageKey struct{ key, nonce []byte }

// skippedKey is a key whose message has not come yet. It is the key, not a
// ratchet secret: it opens its own message and no other.
type skippedKey struct {
	generation uint32
	messageKey
}

// A ratchet is one sender's hash ratchet for one kind of content, 9.1. It is
// replaced, never changed: a message is tried on a successor, which takes its
// place only when the message has proved genuine.
type ratchet struct {
	secret  []byte // of the next generation; nil when the ratchet is spent
	next    uint32
	skipped []skippedKey // ascending, shared between successors
}

// generationMax is never used, so that the next one always fits a uint32.
const generationMax = 1<<32 - 1

// key derives the key of the next generation and the secret after it.
func (c *cryptoSuite) ratchetStep(r ratchet) (messageKey, ratchet) {
	x := c.under(r.secret)
	k := messageKey{
		key:   x.deriveTree("key", r.next, c.nk),
		nonce: x.deriveTree("nonce", r.next, nonceSize),
	}
	return k, r.skip(x)
}

// ratchetSkip passes over one generation without deriving its key.
func (c *cryptoSuite) ratchetSkip(r ratchet) ratchet { return r.skip(c.under(r.secret)) }

// skip takes the ratchet's secret as an expander.
func (r ratchet) skip(x *expander) ratchet {
	return ratchet{x.deriveTree("secret", r.next, x.cs.nh()), r.next + 1, r.skipped}
}

// open returns the key of a generation and the ratchet without it.
func (c *cryptoSuite) ratchetOpen(r ratchet, generation, maxForward, maxSkipped uint32) (messageKey, ratchet, error) {
	switch {
	case generation < r.next:
		return r.takeSkipped(generation)
	case generation-r.next > maxForward || generation == generationMax:
		return messageKey{}, r, ErrTooFarAhead
	}
	if generation > r.next {
		r = c.ratchetForward(r, generation, maxSkipped)
	}
	k, r := c.ratchetStep(r)
	return k, r, nil
}

// ratchetForward moves to a generation and keeps the keys it passes, the newest
// maxSkipped of all.
func (c *cryptoSuite) ratchetForward(r ratchet, generation, maxSkipped uint32) ratchet {
	r.skipped = slices.Clone(r.skipped)
	for r.next < generation {
		if generation-r.next > maxSkipped {
			r = c.ratchetSkip(r)
			continue
		}
		k, after := c.ratchetStep(r)
		after.skipped = append(after.skipped, skippedKey{r.next, k})
		r = after
	}
	if over := len(r.skipped) - int(maxSkipped); over > 0 {
		r.skipped = slices.Clone(r.skipped[over:])
	}
	return r
}

// takeSkipped returns a kept key and the ratchet without it.
func (r ratchet) takeSkipped(generation uint32) (messageKey, ratchet, error) {
	at, ok := slices.BinarySearchFunc(r.skipped, generation, func(s skippedKey, g uint32) int {
		return int(int64(s.generation) - int64(g))
	})
	if !ok {
		return messageKey{}, r, ErrReplay
	}
	k := r.skipped[at].messageKey
	r.skipped = slices.Delete(slices.Clone(r.skipped), at, at+1)
	return k, r, nil
}

// ratchetPair are the two ratchets of one leaf.
type ratchetPair struct{ handshake, application ratchet }

func (p *ratchetPair) of(content uint8) *ratchet {
	if content == contentApplication {
		return &p.application
	}
	return &p.handshake
}

// A secretTree derives the ratchets of an epoch, 9. A node's secret is deleted
// when its children are derived, a leaf's when its ratchets are.
type secretTree struct {
	leaves   uint32
	past     bool // of an epoch that is over: there are no handshake ratchets
	nodes    map[nodeIndex][]byte
	ratchets map[uint32]*ratchetPair
}

// newSecretTree takes the encryption secret over.
func newSecretTree(leaves uint32, encryptionSecret []byte) *secretTree {
	return &secretTree{
		leaves:   leaves,
		nodes:    map[nodeIndex][]byte{rootOf(leaves): encryptionSecret},
		ratchets: make(map[uint32]*ratchetPair),
	}
}

// A descent is a leaf's ratchets and what deriving them would change in the
// tree. Looking changes nothing, so a forged message leaves no trace.
type descent struct {
	leaf     uint32
	pair     *ratchetPair
	consumed nodeIndex            // the node it was derived from, if derived is set
	derived  map[nodeIndex][]byte // siblings passed on the way down
}

// view finds a leaf's ratchets, deriving them if this is their first use.
func (t *secretTree) view(cs *cryptoSuite, leaf uint32) (descent, error) {
	if leaf >= t.leaves {
		return descent{}, refused("leaf %d is beyond the tree", leaf)
	}
	if p := t.ratchets[leaf]; p != nil {
		return descent{leaf: leaf, pair: p}, nil
	}
	target := leafNodeIndex(leaf)
	x := target
	for t.nodes[x] == nil {
		if x == rootOf(t.leaves) {
			return descent{}, refused("secrets of leaf %d are gone", leaf)
		}
		x = parentOf(x)
	}
	d := descent{leaf: leaf, consumed: x, derived: make(map[nodeIndex][]byte)}
	secret := t.nodes[x]
	for x != target {
		down := cs.under(secret)
		l := down.expand("tree", []byte("left"), cs.nh())
		r := down.expand("tree", []byte("right"), cs.nh())
		if inSubtree(target, left(x)) {
			d.derived[right(x)], secret, x = r, l, left(x)
		} else {
			d.derived[left(x)], secret, x = l, r, right(x)
		}
	}
	d.pair = &ratchetPair{application: ratchet{secret: cs.expandLabel(secret, "application", nil, cs.nh())}}
	if !t.past {
		d.pair.handshake.secret = cs.expandLabel(secret, "handshake", nil, cs.nh())
	}
	return d, nil
}

// derive gives a leaf its ratchets, if it has none yet.
func (t *secretTree) derive(cs *cryptoSuite, leaf uint32) {
	d, err := t.view(cs, leaf)
	if err != nil {
		panic(fmt.Sprintf("mls: there is no secret for leaf %d: %v", leaf, err))
	}
	t.accept(d, contentApplication, d.pair.application)
}

// accept makes a descent and one ratchet's successor real, and deletes the
// secrets they replace.
func (t *secretTree) accept(d descent, content uint8, after ratchet) {
	if d.derived != nil {
		clear(t.nodes[d.consumed])
		delete(t.nodes, d.consumed)
		for x, secret := range d.derived {
			t.nodes[x] = secret
		}
		t.ratchets[d.leaf] = d.pair
	}
	r := d.pair.of(content)
	if r.next != after.next {
		clear(r.secret)
	}
	for _, k := range r.skipped { // taken or evicted, the oldest first
		if len(after.skipped) > 0 && k.generation >= after.skipped[0].generation {
			break
		}
		clear(k.key)
	}
	*r = after
}

// A use is one generation of one ratchet that a message takes.
type use struct {
	d     descent
	kind  uint8 // content type
	after ratchet
	key   messageKey // of a received message
}

// use makes a use real; of nil there is none.
func (t *secretTree) use(u *use) {
	if u != nil {
		t.accept(u.d, u.kind, u.after)
		clear(u.key.key)
	}
}

// erase overwrites what a use brings that never became real. What it shares with
// its tree goes too.
func (u *use) erase() {
	clear(u.key.key)
	for _, s := range u.d.derived {
		clear(s)
	}
	u.d.pair.erase()
	u.after.erase()
}

// erase overwrites all secrets.
func (t *secretTree) erase() {
	for _, s := range t.nodes {
		clear(s)
	}
	for _, p := range t.ratchets {
		p.erase()
	}
}

func (p *ratchetPair) erase() {
	p.handshake.erase()
	p.application.erase()
}

func (x *ratchet) erase() {
	clear(x.secret)
	for _, k := range x.skipped {
		clear(k.key)
	}
}
