package mls

import (
	"bytes"
	"crypto/hpke"
	"fmt"
	"slices"
)

// A plan is what a list of proposals makes of a group, 12.3: the tree and context
// of the next epoch, still without path and transcript.
type plan struct {
	tree         *tree
	extensions   extensions
	added        []uint32
	addedPackage []*keyPackage // of added
	removed      []uint32
	removedLeaf  []*leafNode // of removed
	psks         []pskID
	kemOutput    []byte // of an external commit
	reInit       bool
	needsPath    bool
}

// sentProposal is a proposal with its sender.
type sentProposal struct {
	from sender
	*proposal
}

// resolve finds the proposals of a Commit; those by value are the committer's.
func (e *epoch) resolve(c *commit, committer sender) ([]sentProposal, error) {
	var out []sentProposal
	for _, pr := range c.proposals {
		if pr.proposal != nil {
			if err := e.checkProposal(pr.proposal, committer); err != nil {
				return nil, err
			}
			out = append(out, sentProposal{committer, pr.proposal})
			continue
		}
		if committer.kind != senderMember {
			return nil, refused("external commit with a proposal by reference")
		}
		cached := e.cachedProposal(pr.ref)
		if cached == nil {
			return nil, refused("commit of a proposal that was not received")
		}
		out = append(out, sentProposal{cached.sender, cached.proposal})
	}
	return out, nil
}

// checkProposal checks a proposal by itself, 12.1.
func (e *epoch) checkProposal(p *proposal, from sender) error {
	switch p.kind {
	case proposalAdd:
		return p.add.validate(e.cs)
	case proposalUpdate:
		return e.checkUpdate(p.update, from)
	case proposalRemove:
		if e.tree.leaf(p.remove) == nil {
			return refused("remove of blank leaf %d", p.remove)
		}
	case proposalPSK:
		if len(p.psk.nonce) != e.cs.nh() {
			return refused("psk nonce of %d bytes", len(p.psk.nonce))
		}
		if p.psk.kind == pskResumption && p.psk.usage != usageApplication {
			return refused("resumption psk of usage %d outside its operation", p.psk.usage)
		}
	case proposalReInit:
		if p.reInit.version < versionMLS10 {
			return refused("reinit to protocol version %d", p.reInit.version)
		}
	}
	return nil
}

func (e *epoch) checkUpdate(l *leafNode, from sender) error {
	if from.kind != senderMember {
		return refused("update from a non-member")
	}
	old := e.tree.leaf(from.index)
	if old == nil || l.source != sourceUpdate || bytes.Equal(old.encryptionKey, l.encryptionKey) {
		return refused("update of leaf %d", from.index)
	}
	return l.validateAlone(e.cs, e.context.groupID, from.index)
}

// checkList checks the proposals of one Commit together, 12.2.
func checkList(list []sentProposal, committer sender) error {
	if committer.kind == senderNewMemberCommit {
		return checkExternalList(list)
	}
	changed, keys, psks := make(map[uint32]bool), make(map[string]bool), make(map[string]bool)
	contextChanges := 0
	for _, p := range list {
		leaf, changes := uint32(0), false
		switch p.kind {
		case proposalAdd:
			if keys[string(p.add.leaf.signatureKey)] {
				return refused("two adds of one signature key")
			}
			keys[string(p.add.leaf.signatureKey)] = true
		case proposalUpdate:
			leaf, changes = p.from.index, true
		case proposalRemove:
			leaf, changes = p.remove, true
		case proposalPSK:
			id := string(encode(p.psk.write))
			if psks[id] {
				return refused("two proposals of one psk")
			}
			psks[id] = true
		case proposalReInit:
			if len(list) > 1 {
				return refused("reinit beside other proposals")
			}
		case proposalExternalInit:
			return refused("external init in a member's commit")
		case proposalContextExtensions:
			if contextChanges++; contextChanges > 1 {
				return refused("two group context extensions proposals")
			}
		}
		if !changes {
			continue
		}
		if leaf == committer.index {
			return refused("commit that updates or removes its own sender")
		}
		if changed[leaf] {
			return refused("two proposals change leaf %d", leaf)
		}
		changed[leaf] = true
	}
	return nil
}

// checkExternalList: exactly one external init, at most one remove, psks.
func checkExternalList(list []sentProposal) error {
	count := make(map[uint16]int)
	for _, p := range list {
		switch p.kind {
		case proposalExternalInit, proposalRemove, proposalPSK:
			count[p.kind]++
		default:
			return refused("proposal type %d in an external commit", p.kind)
		}
	}
	if count[proposalExternalInit] != 1 || count[proposalRemove] > 1 {
		return refused("external commit with %d external inits and %d removes", count[proposalExternalInit], count[proposalRemove])
	}
	return nil
}

// plan applies a list that checkList has passed, 12.3.
func (e *epoch) plan(list []sentProposal) (*plan, error) {
	n := &plan{tree: e.tree.clone(), extensions: e.context.extensions, needsPath: len(list) == 0}
	for _, p := range list {
		n.needsPath = n.needsPath || p.needsPath()
		switch p.kind {
		case proposalContextExtensions:
			n.extensions = p.extensions
		case proposalUpdate:
			n.tree.update(p.from.index, p.update)
		case proposalPSK:
			n.psks = append(n.psks, p.psk)
		case proposalExternalInit:
			n.kemOutput = p.kemOutput
		case proposalReInit:
			n.reInit = true
		}
	}
	for _, p := range list {
		if p.kind == proposalRemove {
			n.removed = append(n.removed, p.remove)
			n.removedLeaf = append(n.removedLeaf, e.tree.leaf(p.remove))
			n.tree.remove(p.remove)
		}
	}
	for _, p := range list {
		if p.kind == proposalAdd {
			leaf, err := n.tree.add(&p.add.leaf)
			if err != nil {
				return nil, err
			}
			n.added, n.addedPackage = append(n.added, leaf), append(n.addedPackage, p.add)
		}
	}
	return n, nil
}

// validate checks the tree that the whole Commit makes, 7.3 and 12.2, and asks
// the authentication service about every leaf that is new in it.
func (n *plan) validate(before *tree, s *side) error {
	if n.tree.leaves() > s.policy.Limits.Leaves {
		return refused("more than %d leaves", s.policy.Limits.Leaves)
	}
	req, err := n.extensions.required(s.policy.Limits.Items)
	if err != nil {
		return fmt.Errorf("read required capabilities: %w", err)
	}
	if err := n.tree.validateMembers(req); err != nil {
		return err
	}
	if err := n.tree.supports(n.extensions); err != nil {
		return err
	}
	for i := range n.tree.leaves() {
		l, old := n.tree.leaf(i), before.leaf(i)
		if l == nil || l == old {
			continue
		}
		if err := l.validateCredential(s.validator); err != nil {
			return err
		}
		if old != nil && l.source != sourceKeyPackage { // else somebody new has the place
			if err := old.validateSuccessor(s.validator, l); err != nil {
				return err
			}
		}
	}
	return n.extensions.validateSenders(s.validator, s.policy.Limits.Items)
}

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
// the joiner secret and the member secret for its Welcome.
func (e *epoch) next(x *transition) (after *epoch, joiner, member []byte) {
	cs := e.cs
	ctx := e.provisional(x.plan)
	ctx.confirmed = cs.confirmedHash(e.interim, x.content)
	joiner = cs.joinerSecret(x.initSecret, x.commitSecret, ctx.encode())
	member = cs.memberSecret(joiner, x.pskSecret)
	keys, encryption := cs.enterEpoch(member, ctx.encode())
	after = newEpoch(cs, ctx, x.plan.tree, x.own, x.privs, keys, encryption)
	after.confirmationTag = cs.mac(keys.confirmation, ctx.confirmed)
	after.interim = cs.interimHash(ctx.confirmed, after.confirmationTag)
	after.closed = x.plan.reInit
	after.past = e.pastAfter(x.pastKept)
	return after, joiner, member
}

// psk looks up the pre-shared keys of a Commit.
func (g *Group) psk(id pskID) ([]byte, error) {
	if e := g.cur(); id.kind == pskResumption && bytes.Equal(id.groupID, e.context.groupID) {
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

// receiveCommit applies a Commit whose signature has been verified, 12.4.2.
// Everything is built aside and takes effect in one step at the end.
func (g *Group) receiveCommit(a *authContent) (Event, error) {
	e, c := g.cur(), a.content.commit
	if e.closed {
		return nil, refused("group is being reinitialised")
	}
	committer := a.content.sender
	external := committer.kind == senderNewMemberCommit
	if external && !g.s.policy.AllowExternal {
		return nil, refused("external commits are not allowed")
	}
	list, err := e.resolve(c, committer)
	if err != nil {
		return nil, err
	}
	if err := checkList(list, committer); err != nil {
		return nil, err
	}
	n, err := e.plan(list)
	if err != nil {
		return nil, err
	}
	if n.needsPath && c.path == nil {
		return nil, refused("commit without the path it needs")
	}
	if external {
		if err := n.resyncsItself(g.s.validator, c.path); err != nil {
			return nil, err
		}
		if committer.index, err = n.tree.freeLeaf(); err != nil {
			return nil, err
		}
	}
	steps, err := e.applyPath(n, c.path, committer)
	if err != nil {
		return nil, err
	}
	if err := n.validate(e.tree, g.s); err != nil {
		return nil, err
	}
	if err := g.allow(n, committer, external); err != nil {
		return nil, err
	}
	ev := CommitApplied{Epoch: e.context.epoch + 1, Committer: committer.index, Added: n.added, Removed: n.removed}
	if slices.Contains(n.removed, e.own) {
		g.leave()
		ev.OwnRemoved = true
		return ev, nil
	}
	after, err := g.follow(a, n, steps)
	if err != nil {
		return nil, err
	}
	g.enter(after)
	return ev, nil
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
	return n.tree.mergePath(e.cs, committer.index, path)
}

// resyncsItself: an external commit may remove only an older appearance of its
// own sender, one that its leaf succeeds (12.2).
func (n *plan) resyncsItself(v Validator, path *updatePath) error {
	for _, l := range n.removedLeaf {
		if err := l.validateSuccessor(v, &path.leaf); err != nil {
			return fmt.Errorf("external commit removes another member: %w", err)
		}
	}
	return nil
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

// allow asks the caller's policy.
func (g *Group) allow(n *plan, committer sender, external bool) error {
	if g.s.policy.AllowCommit == nil {
		return nil
	}
	sum := CommitSummary{Committer: committer.index, External: external}
	for i, leaf := range n.added {
		sum.Added = append(sum.Added, memberOf(leaf, &n.addedPackage[i].leaf))
	}
	for i, leaf := range n.removed {
		sum.Removed = append(sum.Removed, memberOf(leaf, n.removedLeaf[i]))
	}
	if err := g.s.policy.AllowCommit(sum); err != nil {
		return fmt.Errorf("%w: commit by leaf %d: %w", ErrRefused, committer.index, err)
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

// enter replaces the epoch and erases the old one's secrets.
func (g *Group) enter(after *epoch) {
	before := g.cur()
	g.e = hold(after)
	before.erase(after)
}

// leave erases the group after this member was removed.
func (g *Group) leave() {
	g.cur().erase(nil)
	g.e = nil
}
