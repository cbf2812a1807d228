package mls

import (
	"errors"
	"testing"
)

// A hostile member makes Commits that break one rule and are otherwise whole:
// their signature, tags and key schedule are those of the broken Commit, so that
// only the rule itself can refuse them.
type hostile struct {
	g         *Group
	proposals []*proposal
	// waiting names everything that waits, whether it fits together or not.
	waiting bool
	// unplanned stand in the Commit without effect on its epoch.
	unplanned []*proposal
	noPath    bool
	// leaf changes the committer's new leaf before it is signed again.
	leaf func(*leafNode)
	// spoilSignature leaves the new leaf without a valid signature.
	spoilSignature bool
	// path changes the path after its secrets were sealed.
	path func(*updatePath)
}

func (h hostile) commit(t testing.TB) *Staged {
	t.Helper()
	s, err := h.try()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// try fails where there is no epoch for the Commit to lead to.
func (h hostile) try() (*Staged, error) {
	e, sg := h.g.cur(), h.g.s.signer
	me := sender{senderMember, e.own}
	c := &commit{}
	var list []sentProposal
	for _, p := range h.proposals {
		list = append(list, sentProposal{me, p, nil})
		c.proposals = append(c.proposals, proposalOrRef{proposal: p})
	}
	for i := range e.proposals {
		if h.waiting {
			list = append(list, e.proposals[i].sent())
			c.proposals = append(c.proposals, proposalOrRef{ref: e.proposals[i].ref})
		}
	}
	n, err := e.plan(list)
	if err != nil {
		return nil, err
	}
	for _, p := range h.unplanned {
		c.proposals = append(c.proposals, proposalOrRef{proposal: p})
	}
	x := &transition{plan: n, own: e.own, initSecret: e.keys.init, commitSecret: e.cs.zero(), pskSecret: e.cs.zero()}
	x.privs = keptPrivs(e.privs, e.tree, e.tree)
	if n.kemOutput != nil {
		if x.initSecret, err = e.externalInit(n.kemOutput); err != nil {
			return nil, err
		}
	}
	var fresh *freshPath
	if !h.noPath {
		if fresh, err = n.tree.newPath(e.cs, e.own, *e.tree.leaf(e.own), e.context.groupID, sg, h.g.s.policy.Rand); err != nil {
			return nil, err
		}
		if h.leaf != nil {
			h.leaf(fresh.leaf)
			if err := fresh.leaf.sign(sg, e.context.groupID, e.own); err != nil {
				return nil, err
			}
		}
		if h.spoilSignature {
			fresh.leaf.signature[0] ^= 1
		}
		n.tree.set(leafNodeIndex(e.own), node{leaf: fresh.leaf})
		x.commitSecret = fresh.commit
		ctx := e.provisional(n)
		if c.path, err = fresh.seal(e.cs, n.tree, n.added, ctx.encode()); err != nil {
			return nil, err
		}
		if h.path != nil {
			h.path(c.path)
		}
	}
	m := &making{g: h.g, c: c, x: x, fresh: fresh, signer: sg}
	return m.finish()
}

// remadeKeyPackage is a KeyPackage of p, changed and signed again.
func remadeKeyPackage(t *testing.T, p *person, change func(*keyPackage)) *proposal {
	t.Helper()
	_, s := p.keyPackage(t, X25519AES128)
	kp := s.k().kp
	change(kp)
	resign(t, p, kp)
	return &proposal{kind: proposalAdd, add: kp}
}

// TestHostileCommitter: each rule of 7.3, 12.2 and 12.4.2 stands on its own.
func TestHostileCommitter(t *testing.T) {
	_, g := trio(t, X25519AES128)
	remove := func(leaf uint32) *proposal { return &proposal{kind: proposalRemove, remove: leaf} }
	bank, phone := g[0].cur().tree.leaf(0), g[0].cur().tree.leaf(1)
	newcomer := newPerson(t, X25519AES128, "newcomer")
	plain := remadeKeyPackage(t, newcomer, func(*keyPackage) {})
	own := *bank
	own.source, own.encryptionKey = sourceUpdate, plain.add.initKey
	if err := own.sign(g[0].s.signer, g[0].cur().context.groupID, 0); err != nil {
		t.Fatal(err)
	}
	before := digest(t, g[1])
	for name, h := range map[string]hostile{
		"a remove without a path":    {proposals: []*proposal{remove(2)}, noPath: true},
		"nothing and no path":        {noPath: true},
		"a remove of the committer":  {proposals: []*proposal{remove(0)}},
		"an update of the committer": {proposals: []*proposal{{kind: proposalUpdate, update: &own}}},
		"an external init":           {proposals: []*proposal{{kind: proposalExternalInit, kemOutput: plain.add.initKey}}},
		"two context changes": {proposals: []*proposal{
			{kind: proposalContextExtensions}, {kind: proposalContextExtensions}}},
		"reinit beside an add": {proposals: []*proposal{
			{kind: proposalReInit, reInit: reInit{version: versionMLS10}}, plain}},
		"a group extension nobody has": {proposals: []*proposal{
			{kind: proposalContextExtensions, extensions: extensions{{0xf0f0, []byte{}}}}}},
		"a required extension nobody has": {proposals: []*proposal{{kind: proposalContextExtensions,
			extensions: extensions{{extRequiredCapabilities, encode(func(w *writer) {
				w.u16list([]uint16{0xf0f0})
				w.u16list(nil)
				w.u16list(nil)
			})}}}}},
		"a member's signature key again": {proposals: []*proposal{remadeKeyPackage(t, &person{"phone", g[1].s.signer, DefaultPolicy()}, func(*keyPackage) {})}},
		"a member's encryption key again": {proposals: []*proposal{remadeKeyPackage(t, newcomer, func(k *keyPackage) {
			k.leaf.encryptionKey = phone.encryptionKey
		})}},
		"a key package with a spoiled signature": {proposals: []*proposal{func() *proposal {
			p := remadeKeyPackage(t, newcomer, func(*keyPackage) {})
			p.add.signature[0] ^= 1
			return p
		}()}},
		"the committer's old encryption key": {leaf: func(l *leafNode) { l.encryptionKey = bank.encryptionKey }},
		"another member's encryption key":    {leaf: func(l *leafNode) { l.encryptionKey = phone.encryptionKey }},
		"a leaf of an update":                {leaf: func(l *leafNode) { l.source = sourceUpdate }},
		"a leaf without mls10":               {leaf: func(l *leafNode) { l.capabilities.versions = nil }},
		"another parent hash":                {leaf: func(l *leafNode) { l.parentHash = make([]byte, 32) }},
		"a leaf with a spoiled signature":    {spoilSignature: true},
		"a path node too many": {path: func(p *updatePath) {
			p.nodes = append(p.nodes, updatePathNode{encryptionKey: plain.add.initKey})
		}},
		"a path secret too many": {path: func(p *updatePath) {
			n := &p.nodes[len(p.nodes)-1]
			n.encrypted = append(n.encrypted, n.encrypted[0])
		}},
	} {
		h.g = g[0]
		if ev, err := g[1].Process(h.commit(t).Commit); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v %v", name, ev, err)
		}
		if g[1].Removed() || digest(t, g[1]) != before {
			t.Fatalf("%s: the state changed", name)
		}
	}
	honest := hostile{g: g[0], proposals: []*proposal{remove(2), plain}}
	if _, err := follow(g[1], honest.commit(t).Commit); err != nil {
		t.Fatalf("a commit of the same making that breaks no rule: %v", err)
	}
}

// TestHostileWelcome: a group that its own members agree on, and that the joiner
// must still refuse.
func TestHostileWelcome(t *testing.T) {
	x := invite(t, X25519AES128)
	add := &proposal{kind: proposalAdd, add: x.secrets.k().kp}
	unknown := hostile{g: x.group, proposals: []*proposal{
		{kind: proposalContextExtensions, extensions: extensions{{0xf0f0, []byte{}}}}, add}}
	if _, err := x.join(unknown.commit(t).Welcome); !errors.Is(err, ErrRefused) {
		t.Errorf("a group extension the joiner does not have: %v", err)
	}
	relabelled := *suite1
	relabelled.id = P256AES128
	x.group.cur().cs = &relabelled
	m, err := readMessage(hostile{g: x.group, proposals: []*proposal{add}}.commit(t).Welcome, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	m.welcome.suite = X25519AES128
	if _, err := x.join(writeMessage(wireWelcome, m.welcome.write)); !errors.Is(err, ErrRefused) {
		t.Errorf("a group context of another suite: %v", err)
	}
	x.group.cur().cs = suite1
	if _, err := x.join(hostile{g: x.group, proposals: []*proposal{add}}.commit(t).Welcome); err != nil {
		t.Fatalf("an honest welcome of the same making: %v", err)
	}
}

// TestGhostLeaf: a leaf that no update path knew of and no parent lists as
// unmerged, at a place where no hash covers it: only 7.9.2's look at the
// resolution can tell.
func TestGhostLeaf(t *testing.T) {
	_, g := trio(t, X25519AES128)
	staged, err := g[2].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g[2].Apply(staged); err != nil {
		t.Fatal(err)
	}
	tr := g[2].cur().tree.clone()
	if err := tr.validateParents(suite1); err != nil {
		t.Fatalf("honest tree: %v", err)
	}
	_, s := newPerson(t, X25519AES128, "ghost").keyPackage(t, X25519AES128)
	tr.set(leafNodeIndex(3), node{leaf: &s.k().kp.leaf})
	if err := tr.validateParents(suite1); !errors.Is(err, ErrRefused) {
		t.Errorf("ghost leaf: %v", err)
	}
}

// TestUnmergedBetween: a parent between an unmerged leaf and a parent that lists
// it must list it too (12.4.3.1).
func TestUnmergedBetween(t *testing.T) {
	tr := &tree{nodes: make([]node, 7), hashes: make([][]byte, 7)}
	for i := range uint32(4) {
		tr.set(leafNodeIndex(i), node{leaf: &leafNode{}})
	}
	root := &parentNode{unmerged: []uint32{1}}
	tr.set(1, node{parent: &parentNode{unmerged: []uint32{1}}})
	if err := tr.validateUnmerged(3, root); err != nil {
		t.Fatalf("listed at both: %v", err)
	}
	tr.set(1, node{parent: &parentNode{}})
	if err := tr.validateUnmerged(3, root); !errors.Is(err, ErrRefused) {
		t.Errorf("forgotten between: %v", err)
	}
	tr.set(1, node{})
	if err := tr.validateUnmerged(3, root); err != nil {
		t.Errorf("blank between: %v", err)
	}
}
