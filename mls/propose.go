package mls

import (
	"bytes"
	"fmt"
)

// A Proposal is a change that a member asks for with [Group.Propose] or makes
// with [Group.Commit], 12.1. What it is made from is checked only then.
type Proposal struct {
	kind uint16
	make func(*drafting) (*proposal, error)
	leaf LeafOptions // of an update
}

// drafting is the group that a proposal is made for.
type drafting struct {
	cs      *cryptoSuite
	groupID []byte
	policy  *Policy
}

// LeafOptions say what a member changes in its leaf. Its keys for encryption are
// fresh in any case.
type LeafOptions struct {
	// Signer replaces the signature key; nil keeps it. It is not part of the
	// group's state: keep it before the message that names its key is sent, for
	// [Unmarshal] and [Group.SetSigner].
	Signer Signer
	// Credential replaces the credential; nil keeps it.
	Credential *Credential
}

// AddProposal asks for the owner of a KeyPackage to be added, 12.1.1.
func AddProposal(keyPackage []byte) Proposal {
	return Proposal{kind: proposalAdd, make: func(d *drafting) (*proposal, error) {
		kp, _, err := d.policy.readKeyPackage(keyPackage)
		if err != nil {
			return nil, err
		}
		return &proposal{kind: proposalAdd, add: kp}, d.policy.checkLifetime(&kp.leaf)
	}}
}

// UpdateProposal asks for fresh keys for this member's own leaf, 12.1.2. It can
// be proposed, for another member to commit; a member that commits renews its
// leaf by the path of its Commit ([CommitOptions].Leaf).
func UpdateProposal(o LeafOptions) Proposal { return Proposal{kind: proposalUpdate, leaf: o} }

// RemoveProposal asks for a member to be removed, 12.1.3.
func RemoveProposal(leaf uint32) Proposal {
	return plainProposal(proposal{kind: proposalRemove, remove: leaf})
}

// ExternalPSKProposal asks for a pre-shared key that all members know by id,
// 12.1.4.
func ExternalPSKProposal(id []byte) Proposal {
	return pskProposal(func(*drafting) pskID { return pskID{kind: pskExternal, id: bytes.Clone(id)} })
}

// ResumptionPSKProposal asks for the resumption key of an epoch of this group,
// 8.6. Only members that keep it (Policy.PastResumption) can follow.
func ResumptionPSKProposal(epoch uint64) Proposal {
	return pskProposal(func(d *drafting) pskID {
		return pskID{kind: pskResumption, usage: usageApplication, groupID: d.groupID, epoch: epoch}
	})
}

func pskProposal(id func(*drafting) pskID) Proposal {
	return Proposal{kind: proposalPSK, make: func(d *drafting) (_ *proposal, err error) {
		p := &proposal{kind: proposalPSK, psk: id(d)}
		p.psk.nonce, err = d.cs.random(d.policy.Rand)
		return p, err
	}}
}

// ReInitProposal asks for the group to end and to go on as another one with its
// own id, suite and extensions, 12.1.5. It is committed alone.
func ReInitProposal(groupID []byte, s Suite, ext []Extension) Proposal {
	return plainProposal(proposal{kind: proposalReInit, reInit: reInit{
		groupID: bytes.Clone(groupID), version: versionMLS10, suite: uint16(s), extensions: extensionsOf(ext)}})
}

// ContextExtensionsProposal asks for the group's extensions to be replaced, all
// of them, 12.1.7; [Group.Extensions] are those that it has.
func ContextExtensionsProposal(ext []Extension) Proposal {
	return plainProposal(proposal{kind: proposalContextExtensions, extensions: extensionsOf(ext)})
}

// CustomProposal is one of a private-use type, 17.4. It goes through a Commit
// without effect on the group, where every member lists its type
// ([Support].Proposals).
func CustomProposal(kind uint16, data []byte) Proposal {
	return Proposal{kind: kind, make: func(*drafting) (*proposal, error) {
		if !isPrivateUse(kind) {
			return nil, refused("custom proposal of type %d, which is not for private use", kind)
		}
		return &proposal{kind: kind, custom: bytes.Clone(data)}, nil
	}}
}

// plainProposal is one that is the same in every group.
func plainProposal(p proposal) Proposal {
	return Proposal{kind: p.kind, make: func(*drafting) (*proposal, error) {
		made := p
		if err := p.extensions.check(); err != nil {
			return nil, err
		}
		return &made, p.reInit.extensions.check()
	}}
}

// draft makes the proposal for one group.
func (p Proposal) draft(d *drafting) (*proposal, error) {
	if p.make == nil {
		return nil, refused("proposal of type %d is not one to make here", p.kind)
	}
	return p.make(d)
}

// Propose makes a message that asks all members for a change, which waits for a
// Commit, here too. Like a received proposal it goes before any application
// message ([ProposalReceived]). The group must be stored before the message
// leaves.
func (g *Group) Propose(p Proposal) ([]byte, error) {
	e := g.cur()
	switch {
	case e == nil:
		return nil, ErrRemoved
	case e.closed():
		return nil, refused("group is being reinitialised")
	}
	made, update, err := g.draft(p)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	me := sender{senderMember, e.own}
	if err := e.checkProposal(made, me); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	a := &authContent{content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch, sender: me,
		aad: []byte{}, kind: contentProposal, proposal: made}}
	if err := g.signHandshake(a); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	msg, use, err := g.sealHandshake(a)
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	if err := g.takeProposal(a, update, use); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	return msg, nil
}

// takeProposal keeps a verified proposal, once, and makes the use of its message
// real.
func (g *Group) takeProposal(a *authContent, own *ownUpdate, u *use) error {
	e := g.cur()
	p := cachedProposal{sender: a.content.sender, proposal: a.content.proposal, encoded: encode(a.write), own: own}
	p.ref = e.cs.refHash("MLS 1.0 Proposal Reference", p.encoded)
	known := e.cachedProposal(p.ref) != nil
	if !known {
		if err := e.room(&p, g.s.policy.Limits); err != nil {
			return err
		}
	}
	err := g.spend(e.context.epoch, e.secrets, u, func(c *Change) {
		if !known {
			c.put(recordProposal, e.context.epoch, uint32(len(e.proposals)), p.write)
		}
	})
	if err == nil && !known {
		e.proposals = append(e.proposals, p)
	}
	return err
}

// room says that one proposal more may wait.
func (e *epoch) room(p *cachedProposal, lim Limits) error {
	if len(e.proposals) >= proposalsMax {
		return refused("%d proposals wait already", proposalsMax)
	}
	size := len(p.encoded)
	for i := range e.proposals {
		size += len(e.proposals[i].encoded)
	}
	if size > lim.Message {
		return refused("waiting proposals of %d bytes, more than %d", size, lim.Message)
	}
	return nil
}

// draft makes a proposal for this group; an own update comes with its secrets.
func (g *Group) draft(p Proposal) (*proposal, *ownUpdate, error) {
	e := g.cur()
	if p.kind != proposalUpdate {
		made, err := p.draft(&drafting{e.cs, e.context.groupID, &g.s.policy})
		return made, nil, err
	}
	leaf, signer, err := g.nextLeaf(p.leaf)
	if err != nil {
		return nil, nil, err
	}
	leaf.source = sourceUpdate
	priv, pub, err := e.cs.freshKeyPair(g.s.policy.Rand)
	if err != nil {
		return nil, nil, fmt.Errorf("make leaf key: %w", err)
	}
	leaf.encryptionKey = pub
	if err := leaf.sign(signer, e.context.groupID, e.own); err != nil {
		return nil, nil, err
	}
	return &proposal{kind: proposalUpdate, update: &leaf}, &ownUpdate{priv, signer}, nil
}

// nextLeaf is this member's leaf with what changes in it, without new keys and
// signature, and who is to sign it.
func (g *Group) nextLeaf(o LeafOptions) (leafNode, Signer, error) {
	e, signer := g.cur(), g.s.signer
	leaf := *e.tree.leaf(e.own)
	leaf.notBefore, leaf.notAfter, leaf.parentHash = 0, 0, nil
	if o.Signer != nil {
		signer = o.Signer
		leaf.signatureKey = bytes.Clone(signer.Public())
	}
	if o.Credential != nil {
		leaf.credential = o.Credential.clone()
	}
	var err error
	if leaf.capabilities, err = drawCapabilities(g.s.policy.ownLeaf(), g.s.policy.Rand); err != nil {
		return leaf, nil, err
	}
	return leaf, signer, leaf.validateForm(e.cs)
}

// signHandshake signs a proposal or Commit for the wire format it is to have.
func (g *Group) signHandshake(a *authContent) error {
	a.wire = wirePublicMessage
	if g.s.policy.EncryptHandshake {
		a.wire = wirePrivateMessage
	}
	return a.sign(g.s.signer, g.cur().encoded)
}

// sealHandshake frames what signHandshake has signed, and says what that uses up.
func (g *Group) sealHandshake(a *authContent) ([]byte, *use, error) {
	e := g.cur()
	if a.wire == wirePrivateMessage {
		return e.sealPrivate(a, &g.s.policy)
	}
	pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
	if err != nil {
		return nil, nil, err
	}
	return writeMessage(wirePublicMessage, pm.write), nil, nil
}
