package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// Staged is a Commit that was made and has not taken effect. Commit goes to the
// other members, Welcome to those it adds (nil if none); both must be stored
// with the group that results before either is sent. GroupInfo describes the
// new epoch, for members that join by other means; it holds no secret. A Staged
// that is not applied is simply dropped.
type Staged struct {
	Commit, Welcome, GroupInfo []byte

	from, next held[epoch] // nil once applied
}

// Apply enters the epoch that a staged Commit starts. It is refused with
// ErrStale when the group has moved on since.
func (g *Group) Apply(s *Staged) error {
	if g.cur() == nil {
		return ErrRemoved
	}
	if s == nil || s.next == nil || s.from() != g.cur() {
		return ErrStale
	}
	g.enter(s.next())
	s.from, s.next = nil, nil
	return nil
}

// Add stages a Commit that adds the owners of KeyPackages, in order. It needs no
// path: nobody's keys change.
func (g *Group) Add(keyPackages ...[]byte) (*Staged, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	if len(keyPackages) == 0 {
		return nil, refused("nobody to add")
	}
	var list []*proposal
	for i, b := range keyPackages {
		kp, _, err := g.s.policy.readKeyPackage(b)
		if err != nil {
			return nil, fmt.Errorf("add %d: %w", i, err)
		}
		if err := g.s.policy.checkLifetime(&kp.leaf); err != nil {
			return nil, fmt.Errorf("add %d: %w", i, err)
		}
		list = append(list, &proposal{kind: proposalAdd, add: kp})
	}
	return g.stage(list, false)
}

// Remove stages a Commit that removes members and gives all others fresh keys. A
// member cannot remove itself.
func (g *Group) Remove(leaves ...uint32) (*Staged, error) {
	if len(leaves) == 0 {
		return nil, refused("nobody to remove")
	}
	var list []*proposal
	for _, leaf := range leaves {
		list = append(list, &proposal{kind: proposalRemove, remove: leaf})
	}
	return g.stage(list, true)
}

// Commit stages a Commit of the proposals that were received, if any, and gives
// this member and the nodes above it fresh keys (12.4).
func (g *Group) Commit() (*Staged, error) { return g.stage(nil, true) }

// stage makes a Commit of the proposals that were received and then of own ones.
// The group is not changed.
func (g *Group) stage(own []*proposal, path bool) (*Staged, error) {
	e := g.cur()
	if e == nil {
		return nil, ErrRemoved
	}
	if e.closed {
		return nil, refused("group is being reinitialised")
	}
	me := sender{senderMember, e.own}
	c := &commit{}
	for i := range e.proposals {
		c.proposals = append(c.proposals, proposalOrRef{ref: e.proposals[i].ref})
	}
	for _, p := range own {
		c.proposals = append(c.proposals, proposalOrRef{proposal: p})
	}
	list, err := e.resolve(c, me)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := checkList(list, me); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	n, err := e.plan(list)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	x := &transition{plan: n, own: e.own, initSecret: e.keys.init, commitSecret: e.cs.zero(), pastKept: g.s.policy.PastResumption}
	fresh, err := g.stagePath(c, x, path || n.needsPath)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := n.validate(e.tree, g.s); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if x.pskSecret, err = e.cs.pskSecret(n.psks, g.psk); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	s, err := g.finish(c, x, fresh)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return s, nil
}

// stagePath gives the Commit its path, if it is to have one.
func (g *Group) stagePath(c *commit, x *transition, with bool) (*freshPath, error) {
	e, n := g.cur(), x.plan
	x.privs = keptPrivs(e.privs, e.tree, n.tree)
	if !with {
		return nil, nil
	}
	template := *e.tree.leaf(e.own)
	fresh, err := n.tree.newPath(e.cs, e.own, template, e.context.groupID, g.s.signer, g.s.policy.Rand)
	if err != nil {
		return nil, err
	}
	x.privs = keptPrivs(e.privs, e.tree, n.tree)
	for node, priv := range fresh.privs {
		x.privs[node] = priv
	}
	x.commitSecret = fresh.commit
	ctx := e.provisional(n)
	c.path, err = fresh.seal(e.cs, n.tree, n.added, ctx.encode())
	return fresh, err
}

// finish signs the Commit, derives its epoch, and makes the messages.
func (g *Group) finish(c *commit, x *transition, fresh *freshPath) (*Staged, error) {
	e := g.cur()
	a := &authContent{wire: wirePublicMessage, content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, sender: sender{senderMember, e.own},
		aad: []byte{}, kind: contentCommit, commit: c,
	}}
	if err := a.sign(g.s.signer, e.encoded); err != nil {
		return nil, err
	}
	x.content = a
	after, joiner, member := e.next(x)
	defer clear(joiner)
	defer clear(member)
	a.auth.confirmationTag = after.confirmationTag
	pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
	if err != nil {
		return nil, err
	}
	gi, err := after.groupInfo(g.s.signer)
	if err != nil {
		return nil, err
	}
	s := &Staged{
		Commit:    writeMessage(wirePublicMessage, pm.write),
		GroupInfo: writeMessage(wireGroupInfo, gi.write),
		from:      hold(e), next: hold(after),
	}
	if len(x.plan.added) > 0 {
		s.Welcome, err = e.welcome(x.plan, fresh, gi, joiner, member)
	}
	return s, err
}

// welcome seals the new epoch to those who were added, 12.4.3.1.
func (e *epoch) welcome(n *plan, fresh *freshPath, gi *groupInfo, joiner, member []byte) ([]byte, error) {
	cs := e.cs
	key, nonce := cs.welcomeKey(member)
	aead, err := cs.content(key)
	if err != nil {
		return nil, err
	}
	w := &welcome{suite: cs.id, groupInfo: aead.Seal(nil, nonce, encode(gi.write), nil)}
	for i, kp := range n.addedPackage {
		secrets := groupSecrets{joiner: joiner, psks: slices.Clone(n.psks)}
		if fresh != nil {
			secrets.pathSecret = bytes.Clone(fresh.secretFor(n.added[i]))
		}
		sealed, err := cs.seal(kp.initKey, "Welcome", w.groupInfo, encode(secrets.write))
		if err != nil {
			return nil, err
		}
		w.secrets = append(w.secrets, encryptedSecrets{kp.ref(cs), sealed})
	}
	return writeMessage(wireWelcome, w.write), nil
}
