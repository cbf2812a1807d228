package mls

import (
	"bytes"
	"crypto/hpke"
	"fmt"
)

// ExternalOptions are what an external join may do beyond joining.
type ExternalOptions struct {
	// Resync names the leaf of an older appearance of the joiner, which the same
	// Commit removes (12.2).
	Resync *uint32
	// PSKs are ids of external pre-shared keys to inject, found by Policy.PSK.
	PSKs [][]byte
	// AAD is authenticated with the Commit and readable by everyone.
	AAD []byte
}

// externalPSKsMax bounds the pre-shared keys of one external join.
const externalPSKsMax = 16

// ExternalJoin enters a group without an invitation, by a Commit of one's own
// (12.4.3.2). groupInfo must carry the external public key; the tree may come
// apart, else ratchetTree is nil. Everything is checked that [Join] checks, except
// the confirmation tag, whose key an outsider lacks: a GroupInfo of a group that
// never was like this makes a Commit that no member takes.
//
// The group must be stored before the Commit is sent; it is used once the members
// have taken that, and dropped if another one was faster. Members refuse unless
// their policy allows it.
func ExternalJoin(groupInfo, ratchetTree []byte, c Credential, sg Signer, v Validator, p Policy, o ExternalOptions) (g *Group, commit []byte, err error) {
	p = p.withDefaults()
	m, err := readMessage(groupInfo, p.Limits)
	if err != nil {
		return nil, nil, fmt.Errorf("read group info: %w", err)
	}
	if m.groupInfo == nil {
		return nil, nil, malformed("message is no group info")
	}
	if len(ratchetTree) > p.Limits.Message {
		return nil, nil, malformed("ratchet tree of %d bytes", len(ratchetTree))
	}
	j := &entering{side: &side{sg, v, p}, credential: c, o: o}
	after, commit, err := j.enter(m.groupInfo, bytes.Clone(ratchetTree))
	if err != nil {
		return nil, nil, fmt.Errorf("external join: %w", err)
	}
	if g, err = newGroup(after, j.side); err != nil {
		return nil, nil, fmt.Errorf("external join: %w", err)
	}
	return g, commit, nil
}

// entering is one outsider on its way in.
type entering struct {
	*side
	credential Credential
	o          ExternalOptions

	before   *epoch // the group as the GroupInfo shows it: it has no secrets
	kem      []byte // kem_output of 8.3
	initial  []byte // the init secret that kem carries
	proposed []sentProposal
	commit   *commit
}

// enter follows 12.4.3.2: look at the group, make the Commit, derive its epoch.
func (j *entering) enter(gi *groupInfo, tree []byte) (*epoch, []byte, error) {
	if err := j.look(gi, tree); err != nil {
		return nil, nil, err
	}
	if err := j.propose(); err != nil {
		return nil, nil, err
	}
	x, err := j.path()
	if err != nil {
		return nil, nil, err
	}
	return j.finish(x)
}

// look reads the group that the GroupInfo shows and draws an init secret for it.
func (j *entering) look(gi *groupInfo, given []byte) error {
	cs, err := j.policy.suite(gi.context.suite)
	if err != nil {
		return err
	}
	t, err := gi.openTree(cs, given, j.validator, &j.policy)
	if err != nil {
		return err
	}
	j.before = &epoch{
		cs: cs, context: gi.context, encoded: gi.context.encode(), tree: t, keys: new(epochSecrets),
		confirmationTag: gi.confirmationTag, interim: cs.interimHash(gi.context.confirmed, gi.confirmationTag),
	}
	j.kem, j.initial, err = gi.encapsulate(cs, j.policy.Limits.Items)
	return err
}

// encapsulate sends a fresh init secret to the group's external key, 8.3.
func (x *groupInfo) encapsulate(cs *cryptoSuite, items int) (kem, initSecret []byte, err error) {
	data, ok := x.extensions.find(extExternalPub)
	if !ok {
		return nil, nil, refused("group info carries no external public key")
	}
	var key []byte
	if err := decode(data, items, func(r *reader) { key = r.vec() }); err != nil {
		return nil, nil, fmt.Errorf("read external public key: %w", err)
	}
	pub, err := cs.kem.NewPublicKey(key)
	if err != nil {
		return nil, nil, refused("external public key: %v", err)
	}
	kem, s, err := hpke.NewSender(pub, cs.kdf, cs.aead, nil)
	if err != nil {
		return nil, nil, refused("encapsulate to the external public key: %v", err)
	}
	initSecret, err = s.Export(labelPrefix+"external init secret", cs.nh())
	return kem, initSecret, err
}

// propose lists the proposals, all by value: the init secret, the removal of an
// older self, pre-shared keys. They are held to what the members will hold them to.
func (j *entering) propose() error {
	list := []*proposal{{kind: proposalExternalInit, kemOutput: j.kem}}
	if leaf := j.o.Resync; leaf != nil {
		list = append(list, &proposal{kind: proposalRemove, remove: *leaf})
	}
	if len(j.o.PSKs) > externalPSKsMax {
		return refused("%d pre-shared keys, more than %d", len(j.o.PSKs), externalPSKsMax)
	}
	for _, id := range j.o.PSKs {
		nonce, err := j.before.cs.random(j.policy.Rand)
		if err != nil {
			return err
		}
		list = append(list, &proposal{kind: proposalPSK, psk: pskID{kind: pskExternal, id: bytes.Clone(id), nonce: nonce}})
	}
	j.commit = new(commit)
	for _, p := range list {
		j.commit.proposals = append(j.commit.proposals, proposalOrRef{proposal: p})
	}
	me := sender{kind: senderNewMemberCommit}
	var err error
	if j.proposed, err = j.before.resolve(j.commit, me); err != nil {
		return err
	}
	return checkList(j.proposed, me)
}

// path takes the leftmost free leaf and gives it a path, 12.4.2.
func (j *entering) path() (*transition, error) {
	e, cs := j.before, j.before.cs
	n, err := e.plan(j.proposed)
	if err != nil {
		return nil, err
	}
	x := &transition{plan: n, initSecret: j.initial}
	if x.own, err = n.tree.freeLeaf(); err != nil {
		return nil, err
	}
	template := new(leafNode)
	spare, err := newLeaf(cs, template, j.credential, j.signer, j.policy.ownLeaf(), j.policy.Rand)
	if err != nil {
		return nil, err
	}
	clear(spare) // the path draws another key for the leaf
	fresh, err := n.tree.newPath(cs, x.own, *template, e.context.groupID, j.signer, j.policy.Rand)
	if err != nil {
		return nil, err
	}
	defer fresh.forget()
	ctx := e.provisional(n)
	if j.commit.path, err = fresh.seal(cs, n.tree, nil, ctx.encode()); err != nil {
		return nil, err
	}
	n.replacedByPath(e, &j.commit.path.leaf, sender{kind: senderNewMemberCommit, index: x.own})
	if err := n.validate(e, j.side); err != nil {
		return nil, err
	}
	x.privs, x.commitSecret = fresh.privs, fresh.commit
	x.pskSecret, err = cs.pskSecret(n.psks, j.policy.externalPSK)
	return x, err
}

// finish signs the Commit and derives the epoch it starts.
func (j *entering) finish(x *transition) (*epoch, []byte, error) {
	e := j.before
	a := &authContent{wire: wirePublicMessage, content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, sender: sender{kind: senderNewMemberCommit},
		aad: append([]byte{}, j.o.AAD...), kind: contentCommit, commit: j.commit,
	}}
	if err := a.sign(j.signer, e.encoded); err != nil {
		return nil, nil, err
	}
	x.content = a
	after, joiner, member := e.next(x)
	clear(joiner)
	clear(member)
	clear(x.initSecret)
	a.auth.confirmationTag = after.confirmationTag
	pm, err := e.cs.publicFrom(a, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	return after, writeMessage(wirePublicMessage, pm.write), nil
}
