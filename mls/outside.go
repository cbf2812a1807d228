package mls

import (
	"bytes"
	"fmt"
)

// externalMay says that one who is no member may propose a type, 12.1.8: of those
// of RFC 9420 some may, of those for private use none is known to.
func externalMay(kind uint16) bool {
	switch kind {
	case proposalAdd, proposalRemove, proposalPSK, proposalReInit, proposalContextExtensions:
		return true
	}
	return false
}

// Extensions are those of the group's context. A [ContextExtensionsProposal] replaces
// all of them: what is to stay must be in it again.
func (g *Group) Extensions() []Extension {
	if g.cur() == nil {
		return nil
	}
	return g.cur().context.extensions.public()
}

// ExternalSenders lists who may propose to the group from outside, in the order of
// their indexes.
func (g *Group) ExternalSenders() ([]ExternalSender, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	senders, err := g.cur().context.extensions.externalSenders(g.s.policy.Limits.Items)
	for i := range senders {
		s := &senders[i]
		s.SignatureKey, s.Credential = bytes.Clone(s.SignatureKey), s.Credential.clone()
	}
	return senders, err
}

// ExternalProposal makes a proposal by a sender that the group lists in its
// context ([ExternalSenders]) at index: to add, to remove, to inject a pre-shared
// key, to reinitialise, or to replace the context's extensions (12.1.8). The group
// must be in the epoch named. Members check the rest.
func ExternalProposal(groupID []byte, epoch uint64, s Suite, index uint32, p Proposal, sg Signer) ([]byte, error) {
	policy := DefaultPolicy().withDefaults()
	policy.Experimental = true // who names such a suite asks for it
	cs, err := policy.suite(s)
	if err != nil {
		return nil, err
	}
	if !externalMay(p.kind) {
		return nil, refused("external sender of proposal type %d", p.kind)
	}
	made, err := p.draft(&drafting{cs, groupID, &policy})
	if err != nil {
		return nil, fmt.Errorf("external proposal: %w", err)
	}
	if made.kind == proposalAdd {
		if err := made.add.validate(cs); err != nil {
			return nil, fmt.Errorf("external proposal: %w", err)
		}
	}
	return proposeFromOutside(cs, groupID, epoch, sender{kind: senderExternal, index: index}, made, sg)
}

// SelfAddProposal asks for oneself to be added, by a KeyPackage of one's own
// (new_member_proposal, 12.1.8). The group must be in the epoch named. A member
// that commits it sends the Welcome.
func SelfAddProposal(groupID []byte, epoch uint64, keyPackage []byte, sg Signer) ([]byte, error) {
	policy := DefaultPolicy()
	policy.Experimental = true // who made a KeyPackage of such a suite asked for it then
	kp, cs, err := policy.readKeyPackage(keyPackage)
	if err != nil {
		return nil, err
	}
	if err := kp.validate(cs); err != nil {
		return nil, err
	}
	if !bytes.Equal(sg.Public(), kp.leaf.signatureKey) {
		return nil, refused("signer is not that of the key package")
	}
	return proposeFromOutside(cs, groupID, epoch, sender{kind: senderNewMemberProposal}, &proposal{kind: proposalAdd, add: kp}, sg)
}

// proposeFromOutside signs without the group's context, which an outsider need not
// know (6.1); a PublicMessage is the only form it can have (12.1.8).
func proposeFromOutside(cs *cryptoSuite, groupID []byte, epoch uint64, from sender, p *proposal, sg Signer) ([]byte, error) {
	if !cs.sig.validPublic(sg.Public()) {
		return nil, refused("signer of another kind than the suite's")
	}
	a := &authContent{wire: wirePublicMessage, content: framedContent{
		groupID: bytes.Clone(groupID), epoch: epoch, sender: from, aad: []byte{}, kind: contentProposal, proposal: p,
	}}
	if err := a.sign(sg, nil); err != nil {
		return nil, err
	}
	pm, err := cs.publicFrom(a, nil, nil)
	if err != nil {
		return nil, err
	}
	return writeMessage(wirePublicMessage, pm.write), nil
}
