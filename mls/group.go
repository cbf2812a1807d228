package mls

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// A Group is one member's view of one group. It prints as nothing secret and is
// for one goroutine at a time.
type Group struct {
	e held[epoch] // nil once this member was removed
	s *side
	// unsure says that a Save failed: the store may hold either state.
	unsure bool
}

// held keeps secrets where no print verb reaches: of a func every verb prints an
// address at most, while of a pointer some print what it points to.
type held[T any] func() *T

func hold[T any](v *T) held[T] { return func() *T { return v } }

// cur is the current epoch, nil once this member was removed.
func (g *Group) cur() *epoch {
	if g.e == nil {
		return nil
	}
	return g.e()
}

// side is what does not belong to the group's state: the member's own means.
type side struct {
	signer    Signer
	validator Validator
	policy    Policy
}

// Format prints no secret.
func (g Group) Format(f fmt.State, _ rune) {
	if g.cur() == nil {
		io.WriteString(f, "[mls group, left]")
		return
	}
	fmt.Fprintf(f, "[mls group %x epoch %d]", g.cur().context.groupID, g.cur().context.epoch)
}

// groupIDMax bounds a group id that this package makes; received ones are
// bounded by their message.
const groupIDMax = 255

// A Member is one occupied leaf.
type Member struct {
	Leaf         uint32
	SignatureKey []byte
	Credential   Credential
}

func memberOf(leaf uint32, l *leafNode) Member {
	return Member{leaf, bytes.Clone(l.signatureKey), l.credential.clone()}
}

// Create makes a group of one, 11. The group id should be random and is never
// used for a second group. Nothing is sent until another member is added.
func Create(s Suite, groupID []byte, c Credential, sg Signer, v Validator, p Policy) (*Group, error) {
	p = p.withDefaults()
	cs, err := p.suite(s)
	if err != nil {
		return nil, err
	}
	if len(groupID) == 0 || len(groupID) > groupIDMax {
		return nil, refused("group id of %d bytes, want 1 to %d", len(groupID), groupIDMax)
	}
	l := new(leafNode)
	priv, err := newLeaf(cs, l, c, sg, p.ownLeaf(), p.Rand)
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	if err := l.validateCredential(v); err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	secret, err := cs.random(p.Rand)
	if err != nil {
		return nil, fmt.Errorf("create group: %w", err)
	}
	defer clear(secret)
	t := newTree(l)
	ctx := groupContext{suite: s, groupID: bytes.Clone(groupID), treeHash: t.rootHash(cs), confirmed: []byte{}}
	keys, encryption := cs.epochFrom(secret)
	e := newEpoch(cs, ctx, t, 0, map[nodeIndex][]byte{0: priv}, keys, encryption)
	e.confirmationTag = cs.mac(keys.confirmation, ctx.confirmed)
	e.interim = cs.interimHash(ctx.confirmed, e.confirmationTag)
	return newGroup(e, &side{sg, v, p})
}

// ownLeaf is what a leaf without a KeyPackage says. It lives from an hour ago, for
// MaxLifetime, or unbounded without a clock.
func (p *Policy) ownLeaf() KeyPackageOptions {
	o := KeyPackageOptions{NotAfter: math.MaxUint64, Support: p.Support, Experimental: p.Experimental}
	if p.Now != nil && p.MaxLifetime > 0 {
		const clockSlack = 3600 // seconds that another member's clock may be behind
		o.NotBefore = uint64(max(0, p.Now().Unix()-clockSlack))
		o.NotAfter = o.NotBefore + uint64(p.MaxLifetime.Seconds())
	}
	return o
}

// GroupID names the group.
func (g *Group) GroupID() []byte {
	if g.cur() == nil {
		return nil
	}
	return bytes.Clone(g.cur().context.groupID)
}

// Epoch counts the Commits since the group was made.
func (g *Group) Epoch() uint64 {
	if g.cur() == nil {
		return 0
	}
	return g.cur().context.epoch
}

// Suite is the group's cipher suite.
func (g *Group) Suite() Suite {
	if g.cur() == nil {
		return 0
	}
	return g.cur().cs.id
}

// OwnLeaf is this member's place in the tree.
func (g *Group) OwnLeaf() uint32 {
	if g.cur() == nil {
		return 0
	}
	return g.cur().own
}

// Removed says that a Commit removed this member. All but the name is erased.
func (g *Group) Removed() bool { return g.cur() == nil }

// TreeHash commits to all members and their keys, 7.8.
func (g *Group) TreeHash() []byte {
	if g.cur() == nil {
		return nil
	}
	return bytes.Clone(g.cur().context.treeHash)
}

// EpochAuthenticator is equal for members with the same view, 8.7.
func (g *Group) EpochAuthenticator() []byte {
	if g.cur() == nil {
		return nil
	}
	return bytes.Clone(g.cur().keys.authenticator)
}

// Members lists the occupied leaves in order.
func (g *Group) Members() []Member {
	if g.cur() == nil {
		return nil
	}
	return g.cur().tree.members()
}

// Export derives n bytes for use outside MLS, bound to label, context and this
// epoch (8.5). n is 1 to 255 times the suite's hash size.
func (g *Group) Export(label string, context []byte, n int) ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	if most := 255 * g.cur().cs.nh(); n < 1 || n > most {
		return nil, fmt.Errorf("export %d bytes: want 1 to %d", n, most)
	}
	return g.cur().cs.export(g.cur().keys.exporter, label, context, n), nil
}

// Generation is the next generation this member's application messages use.
func (g *Group) Generation() uint32 {
	if g.cur() == nil {
		return 0
	}
	return g.cur().secrets.ratchets[g.cur().own].application.next
}

// SkipTo gives up this member's application generations before generation, for
// good: after a crash that may have used them, or because another replica owns
// them. It reaches at most Policy.MaxForward ahead, since receivers reach no
// further, and never back.
func (g *Group) SkipTo(generation uint32) error {
	if g.cur() == nil {
		return ErrRemoved
	}
	r := g.cur().secrets.ratchets[g.cur().own].application
	switch {
	case generation < r.next:
		return fmt.Errorf("skip to generation %d, next is %d: %w", generation, r.next, ErrReplay)
	case generation-r.next > g.s.policy.MaxForward:
		return fmt.Errorf("skip to generation %d, next is %d: %w", generation, r.next, ErrTooFarAhead)
	}
	e := g.cur()
	d, err := e.secrets.view(e.cs, e.own)
	if err != nil {
		return err
	}
	for first := r.next; r.next < generation; {
		spent := r.secret
		if r = e.cs.ratchetSkip(r); r.next-1 != first { // the first still is the group's
			clear(spent)
		}
	}
	return g.spend(e.context.epoch, e.secrets, &use{d: d, kind: contentApplication, after: r}, nil)
}

// Protect seals one application message, an MLSMessage with a PrivateMessage.
// aad is authenticated and readable by everyone. The group must be stored
// before the message leaves. Nobody can open it with this group afterwards, not
// even this member.
func (g *Group) Protect(aad, plaintext []byte) ([]byte, error) {
	e := g.cur()
	switch {
	case e == nil:
		return nil, ErrRemoved
	case e.closed():
		return nil, refused("group is being reinitialised")
	case len(e.proposals) > 0:
		return nil, refused("proposals wait for a commit, which goes first (12.4)")
	case len(aad)+len(plaintext) > g.s.policy.Limits.Message/2:
		return nil, refused("message of %d bytes", len(aad)+len(plaintext))
	}
	if err := g.expire(); err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	a := &authContent{wire: wirePrivateMessage, content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, aad: aad,
		kind: contentApplication, application: plaintext, sender: sender{senderMember, e.own},
	}}
	if err := a.sign(g.s.signer, e.encoded); err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	msg, use, err := e.sealPrivate(a, &g.s.policy)
	if err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	if err := g.spend(e.context.epoch, e.secrets, use, nil); err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	return msg, nil
}

// sealPrivate encrypts signed content of our own, without using anything up yet.
func (e *epoch) sealPrivate(a *authContent, p *Policy) ([]byte, *use, error) {
	d, err := e.secrets.view(e.cs, e.own)
	if err != nil {
		return nil, nil, err
	}
	s := &sealing{e.cs, e.keys.senderData, *d.pair.of(a.content.kind), p.Padding, p.Rand}
	pm, after, err := s.private(a)
	if err != nil {
		return nil, nil, err
	}
	return writeMessage(wirePrivateMessage, pm.write), &use{d: d, kind: a.content.kind, after: after}, nil
}
