package mls

import (
	"crypto/hpke"
	"testing"
)

// outsider makes external commits with a leaf that ExternalJoin would not make.
type outsider struct {
	*person
	leaf leafNode
}

// externalCommit makes a Commit that brings the outsider in, and takes out leaf
// remove unless it is negative. All about it but the leaf is as it should be.
func (o *outsider) externalCommit(t testing.TB, g *Group, remove int) []byte {
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
	if err := a.sign(o.signer, e.encoded); err != nil {
		t.Fatal(err)
	}
	x := &transition{plan: n, content: a, own: leaf, privs: fresh.privs, commitSecret: fresh.commit, pskSecret: cs.zero()}
	if x.initSecret, err = s.Export(labelPrefix+"external init secret", cs.nh()); err != nil {
		t.Fatal(err)
	}
	after, _, _ := e.next(x)
	a.auth.confirmationTag = after.confirmationTag
	pm, err := cs.publicFrom(a, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return writeMessage(wirePublicMessage, pm.write)
}
