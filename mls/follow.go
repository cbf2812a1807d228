package mls

import (
	"bytes"
	"crypto/hpke"
	"fmt"
)

// context is the GroupContext of the next epoch with the confirmed transcript
// hash of this one: the provisional context of 12.4.1.
func (e *epoch) provisional(n *plan) groupContext {
	return groupContext{
		suite: e.cs.id, groupID: e.context.groupID, epoch: e.context.epoch + 1,
		treeHash: n.tree.rootHash(e.cs), confirmed: e.context.confirmed, extensions: n.extensions,
	}
}

// transition is a Commit on its way to the epoch it starts.
type transition struct {
	plan         *plan
	content      *authContent // signed; its confirmation tag is set by the sender
	own          uint32
	privs        map[nodeIndex][]byte
	initSecret   []byte
	commitSecret []byte
	pskSecret    []byte
	pastKept     int // Policy.PastResumption
}

// next derives the epoch that a Commit starts, 12.4.1 and 12.4.2, and with it
// the joiner secret and the member secret for its Welcome. It uses up the commit
// secret and the secret of the pre-shared keys.
func (e *epoch) next(x *transition) (after *epoch, joiner, member []byte) {
	cs := e.cs
	defer clear(x.commitSecret)
	defer clear(x.pskSecret)
	ctx := e.provisional(x.plan)
	ctx.confirmed = cs.confirmedHash(e.interim, x.content)
	joiner = cs.joinerSecret(x.initSecret, x.commitSecret, ctx.encode())
	member = cs.memberSecret(joiner, x.pskSecret)
	keys, encryption := cs.enterEpoch(member, ctx.encode())
	after = newEpoch(cs, ctx, x.plan.tree, x.own, x.privs, keys, encryption)
	after.confirmationTag = cs.mac(keys.confirmation, ctx.confirmed)
	after.interim = cs.interimHash(ctx.confirmed, after.confirmationTag)
	after.reInit = x.plan.reInit
	after.past = e.pastAfter(x.pastKept)
	return after, joiner, member
}

// psk looks up the pre-shared keys of a Commit.
func (g *Group) psk(id pskID) ([]byte, error) {
	e := g.cur()
	if e.origin.is(&id) {
		return e.origin.psk, nil
	}
	if id.kind == pskResumption && bytes.Equal(id.groupID, e.context.groupID) {
		if id.epoch == e.context.epoch {
			return e.keys.resumption, nil
		}
		for _, p := range e.past {
			if p.epoch == id.epoch {
				return p.psk, nil
			}
		}
	}
	return g.s.policy.externalPSK(id)
}

// receiveCommit stages a Commit whose signature has been verified, 12.4.2.
func (g *Group) receiveCommit(a *authContent) (*Staged, error) {
	e, c := g.cur(), a.content.commit
	if e.closed() {
		return nil, refused("group is being reinitialised")
	}
	committer := a.content.sender
	external := committer.kind == senderNewMemberCommit
	if external && !g.s.policy.AllowExternal {
		return nil, refused("external commits are not allowed")
	}
	n, err := e.planOf(c, committer)
	if err != nil {
		return nil, err
	}
	if n.needsPath && c.path == nil {
		return nil, refused("commit without the path it needs")
	}
	if external {
		if committer.index, err = n.tree.freeLeaf(); err != nil {
			return nil, err
		}
	}
	steps, err := e.applyPath(n, c.path, committer)
	if err != nil {
		return nil, err
	}
	if err := n.validate(e, g.s); err != nil {
		return nil, err
	}
	s := &Staged{Summary: e.summary(n, committer, c.path, a.content.aad)}
	o := &outcome{from: e}
	if !s.Summary.OwnRemoved {
		if o.next, err = g.follow(a, n, steps); err != nil {
			return nil, err
		}
		o.signer = g.signerAfter(n)
	}
	s.outcome = hold(o)
	return s, nil
}

// signerAfter signs for this member once the Commit is applied.
func (g *Group) signerAfter(n *plan) Signer {
	key := n.tree.leaf(g.cur().own).signatureKey
	switch u := n.ownUpdate; {
	case bytes.Equal(key, g.s.signer.Public()):
		return g.s.signer
	case u != nil && u.signer != nil:
		return u.signer
	}
	return absentSigner(bytes.Clone(key))
}

// applyPath validates a Commit's path and merges it into the planned tree.
func (e *epoch) applyPath(n *plan, path *updatePath, committer sender) ([]pathStep, error) {
	if path == nil {
		return nil, nil
	}
	l := &path.leaf
	if l.source != sourceCommit {
		return nil, refused("leaf of a commit has source %d", l.source)
	}
	if err := l.validateAlone(e.cs, e.context.groupID, committer.index); err != nil {
		return nil, err
	}
	if err := freshKeys(n, path); err != nil {
		return nil, err
	}
	n.replacedByPath(e, l, committer)
	return n.tree.mergePath(e.cs, committer.index, path)
}

// replacedByPath notes whose leaf the path's leaf replaces: the committer's own,
// or that which an external Commit removes, which may only be an older appearance
// of its sender (12.2).
func (n *plan) replacedByPath(e *epoch, after *leafNode, committer sender) {
	if committer.kind == senderMember {
		n.replaced = append(n.replaced, replacement{committer.index, e.tree.leaf(committer.index), after})
		return
	}
	for _, before := range n.removedLeaf {
		n.replaced = append(n.replaced, replacement{committer.index, before, after})
	}
}

// freshKeys: no public key of the path stands in the tree already, or stood in
// a leaf that the same Commit removes.
func freshKeys(n *plan, path *updatePath) error {
	known := make(map[string]bool)
	for _, x := range n.tree.nodes {
		if !x.blank() {
			known[string(x.key())] = true
		}
	}
	for _, l := range n.removedLeaf {
		known[string(l.encryptionKey)] = true
	}
	keys := [][]byte{path.leaf.encryptionKey}
	for _, x := range path.nodes {
		keys = append(keys, x.encryptionKey)
	}
	for _, k := range keys {
		if known[string(k)] {
			return refused("update path repeats a public key")
		}
		known[string(k)] = true
	}
	return nil
}

// follow derives the epoch of a received Commit and checks its confirmation tag.
func (g *Group) follow(a *authContent, n *plan, steps []pathStep) (*epoch, error) {
	e := g.cur()
	x := &transition{
		plan: n, content: a, own: e.own, privs: keptPrivs(e.privs, e.tree, n.tree),
		initSecret: e.keys.init, commitSecret: e.cs.zero(), pastKept: g.s.policy.PastResumption,
	}
	if n.ownUpdate != nil {
		x.privs[leafNodeIndex(e.own)] = bytes.Clone(n.ownUpdate.priv)
	}
	var err error
	if path := a.content.commit.path; path != nil {
		ctx := e.provisional(n)
		if x.commitSecret, err = n.tree.openPath(e.cs, e.own, path, steps, n.added, x.privs, ctx.encode()); err != nil {
			return nil, err
		}
	}
	if n.kemOutput != nil {
		if x.initSecret, err = e.externalInit(n.kemOutput); err != nil {
			return nil, err
		}
		defer clear(x.initSecret)
	}
	if x.pskSecret, err = e.cs.pskSecret(n.psks, g.psk); err != nil {
		return nil, err
	}
	after, joiner, member := e.next(x)
	clear(joiner)
	clear(member)
	if !e.cs.checkMAC(after.keys.confirmation, after.context.confirmed, a.auth.confirmationTag) {
		return nil, refused("confirmation tag of the commit")
	}
	return after, nil
}

// externalInit is the init secret that a joiner chose, 8.3.
func (e *epoch) externalInit(kemOutput []byte) ([]byte, error) {
	priv, err := e.cs.kem.DeriveKeyPair(e.keys.external)
	if err != nil {
		return nil, fmt.Errorf("derive external key: %w", err)
	}
	r, err := hpke.NewRecipient(kemOutput, priv, e.cs.kdf, e.cs.aead, nil)
	if err != nil {
		return nil, refused("external init: %v", err)
	}
	return r.Export(labelPrefix+"external init secret", e.cs.nh())
}
