package mls

import (
	"bytes"
	"errors"
	"testing"
)

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
