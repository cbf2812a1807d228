package mls

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"slices"
	"testing"
)

// outsider makes external commits, which the package itself only receives.
type outsider struct {
	*person
	leaf leafNode
	next *epoch
}

// externalCommit makes a Commit that brings the outsider in, and takes out leaf
// remove unless it is negative. change may spoil the Commit before it is signed.
func (o *outsider) externalCommit(t testing.TB, g *Group, remove int, change func(*framedContent)) []byte {
	t.Helper()
	e, cs := g.cur(), g.cur().cs
	n := &plan{tree: e.tree.clone(), extensions: e.context.extensions}
	c := &commit{}
	_, extPub, err := cs.keyPair(e.keys.external)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := cs.kem.NewPublicKey(extPub)
	if err != nil {
		t.Fatal(err)
	}
	enc, s, err := hpke.NewSender(pk, cs.kdf, cs.aead, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalExternalInit, kemOutput: enc}})
	if remove >= 0 {
		n.tree.remove(uint32(remove))
		c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalRemove, remove: uint32(remove)}})
	}
	leaf, err := n.tree.freeLeaf()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := n.tree.newPath(cs, leaf, o.leaf, e.context.groupID, o.signer, g.s.policy.Rand)
	if err != nil {
		t.Fatal(err)
	}
	ctx := e.provisional(n)
	if c.path, err = fresh.seal(cs, n.tree, nil, ctx.encode()); err != nil {
		t.Fatal(err)
	}
	a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
		sender: sender{kind: senderNewMemberCommit}, aad: []byte{}, kind: contentCommit, commit: c}}
	if change != nil {
		change(&a.content)
	}
	if err := a.sign(o.signer, e.encoded); err != nil {
		t.Fatal(err)
	}
	x := &transition{plan: n, content: a, own: leaf, privs: fresh.privs, commitSecret: fresh.commit, pskSecret: cs.zero()}
	if x.initSecret, err = s.Export(labelPrefix+"external init secret", cs.nh()); err != nil {
		t.Fatal(err)
	}
	o.next, _, _ = e.next(x)
	a.auth.confirmationTag = o.next.confirmationTag
	pm, err := cs.publicFrom(a, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return writeMessage(wirePublicMessage, pm.write)
}

func newOutsider(t testing.TB, name string) *outsider {
	t.Helper()
	p := newPerson(t, X25519AES128, name)
	_, s := p.keyPackage(t, X25519AES128)
	return &outsider{person: p, leaf: s.k().kp.leaf}
}

// TestExternalCommit: refused unless the policy allows it, and then only in the
// form of 12.2. CVE-2026-71890: it may remove only its own older appearance.
func TestExternalCommit(t *testing.T) {
	people, g := trio(t, X25519AES128)
	joiner := newOutsider(t, "tablet")
	if _, err := g[1].Process(joiner.externalCommit(t, g[0], -1, nil)); !errors.Is(err, ErrRefused) {
		t.Fatalf("external commit under the default policy: %v", err)
	}
	for i := range g {
		people[i].policy.AllowExternal = true
		g[i] = people[i].restore(t, g[i])
	}
	before := digest(t, g[1])
	again := newOutsider(t, "phone") // the phone's name, a key of its own
	spoil := func(o *outsider, remove int, change func(*framedContent)) []byte {
		return o.externalCommit(t, g[0], remove, change)
	}
	for name, msg := range map[string][]byte{
		"removes a stranger": spoil(joiner, 2, nil),
		"no path":            spoil(joiner, -1, func(c *framedContent) { c.commit.path = nil }),
		"no external init":   spoil(joiner, -1, func(c *framedContent) { c.commit.proposals = nil }),
		"two external inits": spoil(joiner, -1, func(c *framedContent) {
			c.commit.proposals = append(c.commit.proposals, c.commit.proposals[0])
		}),
		"two removes": spoil(again, 1, func(c *framedContent) {
			c.commit.proposals = append(c.commit.proposals, proposalOrRef{proposal: &proposal{kind: proposalRemove, remove: 2}})
		}),
		"a reference": spoil(joiner, -1, func(c *framedContent) {
			c.commit.proposals = append(c.commit.proposals, proposalOrRef{ref: make([]byte, 32)})
		}),
		"an update": spoil(joiner, -1, func(c *framedContent) {
			c.commit.proposals = append(c.commit.proposals, proposalOrRef{proposal: &proposal{kind: proposalUpdate, update: &joiner.leaf}})
		}),
		"another kem output": spoil(joiner, -1, func(c *framedContent) { c.commit.proposals[0].proposal.kemOutput[0] ^= 1 }),
		"empty kem output":   spoil(joiner, -1, func(c *framedContent) { c.commit.proposals[0].proposal.kemOutput = nil }),
		"a proposal, not a commit": spoil(joiner, -1, func(c *framedContent) {
			c.kind, c.proposal = contentProposal, &proposal{kind: proposalRemove, remove: 2}
		}),
		"signed for another leaf": spoil(joiner, -1, func(c *framedContent) {
			_ = c.commit.path.leaf.sign(joiner.signer, c.groupID, 0)
		}),
	} {
		if ev, err := g[1].Process(msg); err == nil {
			t.Fatalf("%s: %+v", name, ev)
		}
	}
	if digest(t, g[1]) != before {
		t.Fatal("a refused external commit changed the state")
	}
	enter := func(o *outsider, remove int) {
		t.Helper()
		msg := o.externalCommit(t, g[0], remove, nil)
		for i := range g {
			ev, err := follow(g[i], msg)
			if err != nil {
				t.Fatalf("member %d follows: %v", i, err)
			}
			if out := i == remove; ev.OwnRemoved != out {
				t.Fatalf("member %d: %+v", i, ev)
			}
		}
		own := &Group{e: hold(o.next), s: &side{o.signer, anyCredential{}, o.policy.withDefaults()}}
		agree(t, g[0], own)
		mustOpen(t, g[0], mustProtect(t, own, "hello"), "hello")
	}
	enter(joiner, -1)
	enter(again, 1) // resync of the phone
}

// TestWelcomeWithPath: an add beside a proposal that needs a path. The new
// members get path secrets and can follow at once.
func TestWelcomeWithPath(t *testing.T) {
	_, g := trio(t, X25519AES128)
	e := g[2].cur()
	a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
		sender: sender{senderMember, 2}, aad: []byte{}, kind: contentProposal, proposal: &proposal{kind: proposalRemove, remove: 2}}}
	if err := a.sign(g[2].s.signer, e.encoded); err != nil {
		t.Fatal(err)
	}
	pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1} {
		if _, err := g[i].Process(writeMessage(wirePublicMessage, pm.write)); err != nil {
			t.Fatal(err)
		}
	}
	one, two := newPerson(t, X25519AES128, "one"), newPerson(t, X25519AES128, "two")
	pub1, priv1 := one.keyPackage(t, X25519AES128)
	pub2, priv2 := two.keyPackage(t, X25519AES128)
	staged, err := g[0].Add(pub1, pub2)
	if err != nil {
		t.Fatal(err)
	}
	mustFollow(t, g[1], staged.Commit)
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	g1, g2 := one.join(t, staged.Welcome, priv1), two.join(t, staged.Welcome, priv2)
	agree(t, g[0], g[1], g1, g2)
	if n := len(g1.cur().privs); n < 2 {
		t.Errorf("new member holds %d private keys: no path secret reached it", n)
	}
	if staged, err = g1.Remove(1); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*Group{g[0], g2} {
		mustFollow(t, other, staged.Commit)
	}
	if err := g1.Apply(staged); err != nil {
		t.Fatal(err)
	}
	agree(t, g[0], g1, g2)
}

// TestExternalSender: only a listed one, only proposals, only with its own key.
func TestExternalSender(t *testing.T) {
	_, g := trio(t, X25519AES128)
	server := newPerson(t, X25519AES128, "server")
	senders := extensions{{extExternalSenders, encode(func(w *writer) {
		w.nested(func(w *writer) {
			w.vec(server.signer.Public())
			c := server.credential()
			c.write(w)
		})
	})}}
	message := func(sg Signer, index uint32, p *proposal) []byte {
		e := g[0].cur()
		a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
			sender: sender{senderExternal, index}, aad: []byte{}, kind: contentProposal, proposal: p}}
		if err := a.sign(sg, nil); err != nil {
			t.Fatal(err)
		}
		pm, err := e.cs.publicFrom(a, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return writeMessage(wirePublicMessage, pm.write)
	}
	evict := &proposal{kind: proposalRemove, remove: 2}
	if _, err := g[1].Process(message(server.signer, 0, evict)); !errors.Is(err, ErrRefused) {
		t.Fatalf("external sender of a group that lists none: %v", err)
	}
	g[1].s.validator = only("phone")
	staged, err := g[0].stage([]*proposal{{kind: proposalContextExtensions, extensions: senders}}, CommitOptions{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g[1].Process(staged.Commit); !errors.Is(err, ErrRefused) {
		t.Fatalf("an external sender the validator does not know: %v", err)
	}
	g[1].s.validator = anyCredential{}
	mustFollow(t, g[1], staged.Commit)
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	update := g[0].cur().tree.leaf(0)
	for name, msg := range map[string][]byte{
		"another key":      message(newPerson(t, X25519AES128, "x").signer, 0, evict),
		"another index":    message(server.signer, 1, evict),
		"an update":        message(server.signer, 0, &proposal{kind: proposalUpdate, update: update}),
		"an external init": message(server.signer, 0, &proposal{kind: proposalExternalInit, kemOutput: []byte{}}),
	} {
		if _, err := g[1].Process(msg); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g[1].Process(message(server.signer, 0, evict)); err != nil {
		t.Fatal(err)
	}
	g[1].DropProposals()
	if _, err := g[1].Protect(nil, nil); err != nil {
		t.Errorf("protect after the proposals were dropped: %v", err)
	}
	msg := message(server.signer, 0, evict)
	for i := range 2 {
		if ev, err := g[i].Process(msg); err != nil || ev.(ProposalReceived).FromMember {
			t.Fatalf("%+v %v", ev, err)
		}
	}
	if staged, err = g[0].Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	if ev, err := follow(g[1], staged.Commit); err != nil || !slices.Equal(leavesOf(ev.Removed), []uint32{2}) {
		t.Fatalf("%+v %v", ev, err)
	}
}

// TestPreSharedKeys: a Commit injects an external and a resumption key; who
// lacks one is left behind with its state whole.
func TestPreSharedKeys(t *testing.T) {
	people, g := trio(t, X25519AES128)
	known := func(id []byte) ([]byte, bool) { return []byte("shared"), bytes.Equal(id, []byte("psk")) }
	people[0].policy.PSK, people[0].policy.PastResumption = known, 2
	people[1].policy.PSK, people[1].policy.PastResumption = known, 2
	g[0], g[1] = people[0].restore(t, g[0]), people[1].restore(t, g[1])
	nonce := bytes.Repeat([]byte{7}, 32)
	old := pskID{kind: pskResumption, usage: usageApplication, groupID: g[0].GroupID(), epoch: g[0].Epoch(), nonce: nonce}
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 2} {
		mustFollow(t, g[i], staged.Commit)
	}
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	g[0], g[1] = people[0].restore(t, g[0]), people[1].restore(t, g[1])
	for name, id := range map[string]pskID{
		"unknown":     {kind: pskExternal, id: []byte("?"), nonce: nonce},
		"short nonce": {kind: pskExternal, id: []byte("psk"), nonce: nonce[1:]},
		"branch":      {kind: pskResumption, usage: usageBranch, groupID: old.groupID, epoch: old.epoch, nonce: nonce},
		"never":       {kind: pskResumption, usage: usageApplication, groupID: old.groupID, epoch: 99, nonce: nonce},
	} {
		if _, err := g[0].stage([]*proposal{{kind: proposalPSK, psk: id}}, CommitOptions{}, false); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	external := pskID{kind: pskExternal, id: []byte("psk"), nonce: nonce}
	both := []*proposal{{kind: proposalPSK, psk: external}, {kind: proposalPSK, psk: old}}
	if _, err := g[0].stage([]*proposal{both[0], both[0]}, CommitOptions{}, false); !errors.Is(err, ErrRefused) {
		t.Errorf("one key twice: %v", err)
	}
	if staged, err = g[0].stage(both, CommitOptions{}, false); err != nil {
		t.Fatal(err)
	}
	before := digest(t, g[2])
	if _, err := g[2].Process(staged.Commit); !errors.Is(err, ErrRefused) || digest(t, g[2]) != before {
		t.Errorf("a member without the keys: %v", err)
	}
	mustFollow(t, g[1], staged.Commit)
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	agree(t, g[0], g[1])
}
