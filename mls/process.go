package mls

import (
	"bytes"
	"fmt"
)

// An Event is what a processed message was: [Application], [ProposalReceived] or
// *[Staged], a Commit that takes effect with [Group.Apply].
type Event interface{ event() }

// Application is a message from another member. Its signature, its ciphertext
// and its AAD are verified.
type Application struct {
	Sender     uint32 // leaf
	Member     Member // that sent it, as of the message's epoch
	Epoch      uint64
	Generation uint32
	AAD        []byte
	Plaintext  []byte
}

// ProposalReceived says that a proposal waits for a Commit. Until one is made or
// received, or DropProposals is called, nothing can be protected (12.4).
type ProposalReceived struct {
	// Sender is a leaf, meant only if FromMember.
	Sender     uint32
	FromMember bool
	// Type is a ProposalType of 17.4: 1 add, 2 update, 3 remove, 4 pre-shared key,
	// 5 reinit, 7 extensions of the context.
	Type uint16
	// Removed is the leaf that a remove proposal names.
	Removed uint32
	// Member is who an add proposes, its leaf not yet known, or who an update
	// would make of its sender.
	Member Member
	// Extensions are those that the group would have in its context, Next is the
	// group as which it would go on, PSK the key to be injected; nil of other types.
	Extensions []Extension
	Next       *Reinitialisation
	PSK        *PSK
	// Custom is the content of a proposal of a private-use type.
	Custom []byte
	// AAD is readable by everyone and authenticated.
	AAD []byte
}

func (Application) event()      {}
func (ProposalReceived) event() {}

// Process takes one message of the group. On an error the group is exactly what
// it was: a forged, replayed or refused message costs nothing. Only past epochs whose
// time is over go before anything is read. The group must be stored before the
// caller acts on the event.
func (g *Group) Process(msg []byte) (Event, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	if err := g.expire(); err != nil {
		return nil, err
	}
	m, err := readMessage(msg, g.s.policy.Limits)
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	switch m.wire {
	case wirePublicMessage:
		return g.processPublic(m.public)
	case wirePrivateMessage:
		return g.processPrivate(m.private)
	}
	return nil, refused("wire format %d is not a message of the group", m.wire)
}

// addressed checks that a message is for this group and epoch.
func (e *epoch) addressed(groupID []byte, epoch uint64) error {
	if !bytes.Equal(groupID, e.context.groupID) {
		return ErrWrongGroup
	}
	if epoch != e.context.epoch {
		return fmt.Errorf("%w: %d, now in %d", ErrWrongEpoch, epoch, e.context.epoch)
	}
	return nil
}

// processPrivate opens a message with a successor of its sender's ratchet, which
// becomes real only when everything about the message has been checked, and of a
// Commit only when it is applied.
func (g *Group) processPrivate(pm *privateMessage) (Event, error) {
	r, err := g.readingOf(pm)
	if err != nil {
		return nil, err
	}
	a, from, u, generation, err := g.openPrivate(r, pm)
	if err != nil {
		return nil, err
	}
	switch pm.kind {
	case contentApplication:
		if err := g.spend(r.number, r.secrets, u, nil); err != nil {
			return nil, err
		}
		return Application{from.Leaf, from, r.number, generation, pm.aad, a.content.application}, nil
	case contentProposal:
		return g.receiveProposal(a, u)
	}
	s, err := g.receiveCommit(a)
	if err != nil {
		return nil, err
	}
	s.outcome().use = u
	return s, nil
}

// processPublic takes a handshake message in the clear.
func (g *Group) processPublic(pm *publicMessage) (Event, error) {
	e := g.cur()
	if err := e.addressed(pm.content.groupID, pm.content.epoch); err != nil {
		return nil, err
	}
	a, err := e.cs.openPublic(pm, e.keys.membership, e.encoded)
	if err != nil {
		return nil, err
	}
	if a.content.sender == (sender{senderMember, e.own}) {
		return nil, ErrOwnMessage
	}
	pub, err := e.signatureKey(a, &g.s.policy)
	if err != nil {
		return nil, err
	}
	if err := a.verify(e.cs, pub, e.encoded); err != nil {
		return nil, err
	}
	if a.content.kind == contentCommit {
		return staged(g.receiveCommit(a))
	}
	return g.receiveProposal(a, nil)
}

// staged keeps a nil Staged from becoming an Event.
func staged(s *Staged, err error) (Event, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// signatureKey is the key that must have signed a public message, 6.1.
func (e *epoch) signatureKey(a *authContent, p *Policy) ([]byte, error) {
	c := &a.content
	switch c.sender.kind {
	case senderMember:
		if l := e.tree.leaf(c.sender.index); l != nil {
			return l.signatureKey, nil
		}
		return nil, refused("sender's leaf %d is blank", c.sender.index)
	case senderNewMemberCommit:
		if c.kind == contentCommit && c.commit.path != nil {
			return c.commit.path.leaf.signatureKey, nil
		}
		return nil, refused("external commit without a path")
	case senderNewMemberProposal:
		if c.kind == contentProposal && c.proposal.kind == proposalAdd {
			return c.proposal.add.leaf.signatureKey, nil
		}
		return nil, refused("a new member may propose to add itself and nothing else")
	}
	return e.externalSenderKey(c, p.Limits.Items)
}

// externalSenderKey is that of a sender the group context lists, 12.1.8.
func (e *epoch) externalSenderKey(c *framedContent, items int) ([]byte, error) {
	if c.kind != contentProposal {
		return nil, refused("external sender of content type %d", c.kind)
	}
	if !externalMay(c.proposal.kind) {
		return nil, refused("external sender of proposal type %d", c.proposal.kind)
	}
	senders, err := e.context.extensions.externalSenders(items)
	if err != nil {
		return nil, fmt.Errorf("read external senders: %w", err)
	}
	if c.sender.index >= uint32(len(senders)) {
		return nil, refused("external sender %d is not listed", c.sender.index)
	}
	return senders[c.sender.index].SignatureKey, nil
}

// proposalsMax bounds the proposals that wait in one epoch. All together they take
// no more bytes than one message may, Limits.Message.
const proposalsMax = 256

func (g *Group) receiveProposal(a *authContent, u *use) (Event, error) {
	e, p := g.cur(), a.content.proposal
	if e.closed() {
		return nil, refused("group is being reinitialised")
	}
	if err := e.checkProposal(p, a.content.sender); err != nil {
		return nil, err
	}
	// Who shall come in is asked for now, not only when it is committed (7.3): until
	// then the proposal keeps application messages waiting (12.4), and one of
	// new_member_proposal anybody can sign (12.1.8).
	if l := p.leaf(); l != nil {
		if err := l.validateCredential(g.s.validator); err != nil {
			return nil, err
		}
	}
	ev := (&sentProposal{from: a.content.sender, proposal: p}).event(a.content.aad)
	if allow := g.s.policy.AllowProposal; allow != nil {
		if err := allow(ev); err != nil {
			return nil, fmt.Errorf("%w: proposal of type %d: %w", ErrRefused, p.kind, err)
		}
	}
	if err := g.takeProposal(a, nil, u); err != nil {
		return nil, err
	}
	return ev, nil
}

// DropProposals forgets the proposals that wait for a Commit.
func (g *Group) DropProposals() error {
	e := g.cur()
	if e == nil {
		return ErrRemoved
	}
	var c Change
	for i := range e.proposals {
		c.delete(recordProposal, e.context.epoch, uint32(i))
	}
	if err := g.save(c); err != nil {
		return err
	}
	e.dropProposals()
	return nil
}
