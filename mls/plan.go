package mls

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// A plan is what a list of proposals makes of a group, 12.3: the tree and context
// of the next epoch, still without path and transcript.
type plan struct {
	tree         *tree
	extensions   extensions
	newContext   bool // extensions are replaced
	added        []uint32
	addedPackage []*keyPackage // of added
	removed      []uint32
	removedLeaf  []*leafNode // of removed
	replaced     []replacement
	psks         []pskID
	kemOutput    []byte // of an external commit
	reInit       *reInit
	custom       []sentProposal
	ownUpdate    *ownUpdate // of our own leaf, if the Commit names one
	needsPath    bool
}

// A replacement is a member's leaf before and after an update, a path or a
// resync.
type replacement struct {
	leaf          uint32 // after
	before, after *leafNode
}

// sentProposal is a proposal with its sender, and what it puts to use if that is
// this member.
type sentProposal struct {
	from sender
	*proposal
	own *ownUpdate
}

// event is the proposal as the caller sees it.
func (p *sentProposal) event(aad []byte) ProposalReceived {
	ev := ProposalReceived{Sender: p.from.index, FromMember: p.from.kind == senderMember, Type: p.kind, Removed: p.remove, AAD: aad}
	switch p.kind {
	case proposalAdd:
		ev.Member = memberOf(0, &p.add.leaf)
	case proposalUpdate:
		ev.Member = memberOf(p.from.index, p.update)
	case proposalPSK:
		psk := p.psk.public()
		ev.PSK = &psk
	case proposalReInit:
		ev.Next = p.reInit.public()
	case proposalContextExtensions:
		ev.Extensions = p.extensions.public()
	}
	ev.Custom = bytes.Clone(p.custom)
	return ev
}

// resolve finds the proposals of a Commit; those by value are the committer's.
func (e *epoch) resolve(c *commit, committer sender) ([]sentProposal, error) {
	var out []sentProposal
	for _, pr := range c.proposals {
		if pr.proposal != nil {
			if err := e.checkProposal(pr.proposal, committer); err != nil {
				return nil, err
			}
			out = append(out, sentProposal{committer, pr.proposal, nil})
			continue
		}
		if committer.kind != senderMember {
			return nil, refused("external commit with a proposal by reference")
		}
		cached := e.cachedProposal(pr.ref)
		if cached == nil {
			return nil, refused("commit of a proposal that was not received")
		}
		out = append(out, cached.sent())
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
		if p.psk.isOrigin() && !e.origin.is(&p.psk) {
			return refused("resumption psk of usage %d outside its operation", p.psk.usage)
		}
	case proposalReInit:
		if p.reInit.version < versionMLS10 {
			return refused("reinit to protocol version %d", p.reInit.version)
		}
	case proposalExternalInit:
		if from.kind != senderNewMemberCommit {
			return refused("external init from a member")
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

// planOf is what a Commit makes of the group, 12.2 and 12.3, made or received.
func (e *epoch) planOf(c *commit, committer sender) (*plan, error) {
	list, err := e.resolve(c, committer)
	if err != nil {
		return nil, err
	}
	if err := checkList(list, committer); err != nil {
		return nil, err
	}
	return e.plan(list)
}

// plan applies a list that checkList has passed, 12.3.
func (e *epoch) plan(list []sentProposal) (*plan, error) {
	if e.context.epoch == math.MaxUint64 {
		return nil, refused("epochs of the group are used up")
	}
	n := &plan{tree: e.tree.clone(), extensions: e.context.extensions, needsPath: len(list) == 0}
	for _, p := range list {
		n.needsPath = n.needsPath || p.needsPath()
		if !isDefaultProposal(p.kind) {
			n.custom = append(n.custom, p)
		}
		switch p.kind {
		case proposalContextExtensions:
			n.extensions, n.newContext = p.extensions, true
		case proposalUpdate:
			n.replaced = append(n.replaced, replacement{p.from.index, e.tree.leaf(p.from.index), p.update})
			n.tree.update(p.from.index, p.update)
			if (p.from == sender{senderMember, e.own}) {
				n.ownUpdate = p.own
			}
		case proposalPSK:
			n.psks = append(n.psks, p.psk)
		case proposalExternalInit:
			n.kemOutput = p.kemOutput
		case proposalReInit:
			n.reInit = &p.reInit
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
	return n, e.knowCustom(n)
}

// knowCustom: who processes a Commit lists the types of proposals in it, 12.2;
// those that it adds or removes need not.
func (e *epoch) knowCustom(n *plan) error {
	var kinds []uint16
	for _, p := range n.custom {
		kinds = append(kinds, p.kind)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	removed := make(map[uint32]bool)
	for _, i := range n.removed {
		removed[i] = true
	}
	for i := range e.tree.leaves() {
		l := e.tree.leaf(i)
		if l == nil || removed[i] {
			continue
		}
		if kind, lacks := missing(l.capabilities.proposals, kinds); lacks {
			return refused("leaf %d does not support proposal type %d", i, kind)
		}
	}
	return nil
}

// validate checks the tree that the whole Commit makes, 7.3 and 12.2, and asks
// the authentication service about every leaf and external sender that is new in it.
func (n *plan) validate(e *epoch, s *side) error {
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
		if l := n.tree.leaf(i); l != nil && l != e.tree.leaf(i) {
			if err := l.validateCredential(s.validator); err != nil {
				return err
			}
		}
	}
	for _, r := range n.replaced {
		if err := r.before.validateSuccessor(s.validator, r.after); err != nil {
			return fmt.Errorf("leaf %d: %w", r.leaf, err)
		}
	}
	if n.extensions.sameSenders(e.context.extensions) {
		return nil // or one that has expired would be in the way of every Commit
	}
	return n.extensions.validateSenders(s.validator, s.policy.Limits.Items)
}
