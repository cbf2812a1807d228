package mls

import (
	"bytes"
	"fmt"
)

// CommitOptions say what a Commit carries. The zero value commits the proposals
// that were received, if any, and gives this member and the nodes above it fresh
// keys (12.4).
type CommitOptions struct {
	// Proposals are committed by value, after the received ones.
	Proposals []Proposal
	// OnlyOwn leaves the received proposals out.
	OnlyOwn bool
	// NoPath leaves the path out, and with it all fresh keys. It is an error
	// where a proposal needs a path or there is none at all.
	NoPath bool
	// Leaf changes this member's leaf, which the path carries.
	Leaf LeafOptions
	// WithoutTree leaves the ratchet tree out of Welcome and GroupInfo: it goes
	// another way ([JoinWithTree]).
	WithoutTree bool
	// AAD is readable by everyone and authenticated.
	AAD []byte
}

// Commit stages a Commit. The group is unchanged, except that an encrypted Commit
// (Policy.EncryptHandshake) takes a generation for good, applied or not.
//
// Received proposals that cannot be committed are left out, always the same way
// (12.4): what fails a check, an update of a leaf that is removed or updated
// again later, this member's own updates and removal.
func (g *Group) Commit(o CommitOptions) (*Staged, error) {
	return g.commit(o, !o.NoPath)
}

// Add stages a Commit that adds the owners of KeyPackages, in order. It has no
// path unless a received proposal needs one: nobody's keys change.
func (g *Group) Add(keyPackages ...[]byte) (*Staged, error) {
	var o CommitOptions
	for _, kp := range keyPackages {
		o.Proposals = append(o.Proposals, AddProposal(kp))
	}
	if g.cur() != nil && len(keyPackages) == 0 {
		return nil, refused("nobody to add")
	}
	return g.commit(o, false)
}

// Remove stages a Commit that removes members and gives all others fresh keys. A
// member cannot remove itself.
func (g *Group) Remove(leaves ...uint32) (*Staged, error) {
	var o CommitOptions
	for _, leaf := range leaves {
		o.Proposals = append(o.Proposals, RemoveProposal(leaf))
	}
	if g.cur() != nil && len(leaves) == 0 {
		return nil, refused("nobody to remove")
	}
	return g.commit(o, true)
}

func (g *Group) commit(o CommitOptions, path bool) (*Staged, error) {
	e := g.cur()
	if e == nil {
		return nil, ErrRemoved
	}
	if err := g.expire(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	var own []*proposal
	for i, p := range o.Proposals {
		made, err := p.draft(&drafting{e.cs, e.context.groupID, &g.s.policy})
		if err != nil {
			return nil, fmt.Errorf("commit: proposal %d: %w", i, err)
		}
		own = append(own, made)
	}
	s, err := g.stage(own, o, path)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return s, nil
}

// stage makes a Commit of the proposals that were received and then of own ones,
// with a path or only if one is needed.
func (g *Group) stage(own []*proposal, o CommitOptions, path bool) (*Staged, error) {
	e := g.cur()
	if e.closed() {
		return nil, refused("group is being reinitialised")
	}
	me := sender{senderMember, e.own}
	c := &commit{}
	if !o.OnlyOwn {
		for _, p := range g.choose(own) {
			c.proposals = append(c.proposals, proposalOrRef{ref: p.ref})
		}
	}
	for _, p := range own {
		c.proposals = append(c.proposals, proposalOrRef{proposal: p})
	}
	if len(c.proposals) > commitProposalsMax {
		return nil, refused("%d proposals in one commit, more than %d", len(c.proposals), commitProposalsMax)
	}
	n, err := e.planOf(c, me)
	if err != nil {
		return nil, err
	}
	if o.NoPath && n.needsPath {
		return nil, refused("a commit of these proposals needs a path")
	}
	x := &transition{plan: n, own: e.own, initSecret: e.keys.init, commitSecret: e.cs.zero(), pastKept: g.s.policy.PastResumption}
	m := &making{g: g, c: c, x: x, o: o, signer: g.s.signer}
	defer m.forget()
	if path || n.needsPath {
		if err := m.path(); err != nil {
			return nil, err
		}
	} else if o.Leaf != (LeafOptions{}) {
		return nil, refused("a commit without a path changes no leaf")
	} else {
		x.privs = keptPrivs(e.privs, e.tree, n.tree)
	}
	if err := n.validate(e, g.s); err != nil {
		return nil, err
	}
	if x.pskSecret, err = e.cs.pskSecret(n.psks, g.psk); err != nil {
		return nil, err
	}
	return m.finish()
}

// making is a Commit of our own on its way out.
type making struct {
	g      *Group
	c      *commit
	x      *transition
	o      CommitOptions
	fresh  *freshPath // nil without a path
	signer Signer     // of our leaf in the next epoch
}

// forget overwrites what was needed only to make the Commit.
func (m *making) forget() {
	if m.fresh != nil {
		m.fresh.forget()
	}
}

// path gives the Commit its path.
func (m *making) path() error {
	e, n := m.g.cur(), m.x.plan
	template, signer, err := m.g.nextLeaf(m.o.Leaf)
	if err != nil {
		return err
	}
	m.signer = signer
	if m.fresh, err = n.tree.newPath(e.cs, e.own, template, e.context.groupID, signer, m.g.s.policy.Rand); err != nil {
		return err
	}
	n.replacedByPath(e, m.fresh.leaf, sender{senderMember, e.own})
	m.x.privs = keptPrivs(e.privs, e.tree, n.tree)
	for node, priv := range m.fresh.privs {
		m.x.privs[node] = priv
	}
	m.x.commitSecret = m.fresh.commit
	ctx := e.provisional(n)
	m.c.path, err = m.fresh.seal(e.cs, n.tree, n.added, ctx.encode())
	return err
}

// finish signs the Commit, derives its epoch, and makes the messages. What the
// new epoch says of itself is signed with its leaf's key, which the Commit may
// just have replaced.
func (m *making) finish() (*Staged, error) {
	g, e, n := m.g, m.g.cur(), m.x.plan
	me := sender{senderMember, e.own}
	a := &authContent{content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, sender: me,
		aad: append([]byte{}, m.o.AAD...), kind: contentCommit, commit: m.c,
	}}
	if err := g.signHandshake(a); err != nil {
		return nil, err
	}
	m.x.content = a
	after, joiner, member := e.next(m.x)
	defer clear(joiner)
	defer clear(member)
	a.auth.confirmationTag = after.confirmationTag
	gi, err := after.groupInfo(m.signer, GroupInfoOptions{WithoutTree: m.o.WithoutTree}, g.s.policy.Rand)
	if err != nil {
		return nil, err
	}
	s := &Staged{
		GroupInfo: writeMessage(wireGroupInfo, gi.write),
		Summary:   e.summary(n, me, m.c.path, bytes.Clone(m.o.AAD)),
		outcome:   hold(&outcome{from: e, next: after, signer: m.signer}),
	}
	if len(n.added) > 0 {
		if s.Welcome, err = e.welcome(n, m.fresh, gi, joiner, member); err != nil {
			return nil, err
		}
	}
	msg, use, err := g.sealHandshake(a)
	if err != nil {
		return nil, err
	}
	s.Commit = msg
	if use == nil {
		return s, nil
	}
	if err := g.spend(e.context.epoch, e.secrets, use, nil); err != nil {
		return nil, err
	}
	return s, nil
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
		secrets := groupSecrets{joiner: joiner, psks: n.psks}
		if fresh != nil {
			secrets.pathSecret = fresh.secretFor(n.added[i])
		}
		plain := encode(secrets.write)
		sealed, err := cs.seal(kp.initKey, "Welcome", w.groupInfo, plain)
		clear(plain)
		if err != nil {
			return nil, err
		}
		w.secrets = append(w.secrets, encryptedSecrets{kp.ref(cs), sealed})
	}
	return writeMessage(wireWelcome, w.write), nil
}
