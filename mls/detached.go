package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// DetachedComponent is the component id under which this package signs what is
// not MLS, of the range for private use (draft-ietf-mls-extensions-10, 7.6).
const DetachedComponent uint16 = 0x8000

// detachedLabelMax bounds the label of a detached signature, in bytes.
const detachedLabelMax = 255

// operationLabel is ComponentOperationLabel of draft-ietf-mls-extensions-10, 4.1,
// which SafeSignWithLabel (4.3) uses as the label of SignWithLabel. Its first byte
// is the length of the base label, so that it is no label of RFC 9420 whatever the
// caller asks for: what is signed so can never pass as a message, a leaf, a
// KeyPackage or a GroupInfo, nor they as it.
func operationLabel(label string) (string, error) {
	if label == "" || len(label) > detachedLabelMax {
		return "", refused("label of %d bytes, want 1 to %d", len(label), detachedLabelMax)
	}
	return string(encode(func(w *writer) {
		w.vec([]byte("MLS Component"))
		w.u16(DetachedComponent)
		w.vec([]byte(label))
	})), nil
}

// SignDetached signs content with the key of this member's leaf, for use outside
// MLS. label says what the signature is for: one purpose, one label. Neither the
// group nor the epoch is signed; who needs them puts them into content.
func (g *Group) SignDetached(label string, content []byte) ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	l, err := operationLabel(label)
	if err != nil {
		return nil, err
	}
	return sign(g.s.signer, l, content)
}

// VerifyDetached verifies a signature that the member at leaf made with
// SignDetached. It holds for the key that the leaf has in the current epoch.
func (g *Group) VerifyDetached(leaf uint32, label string, content, sig []byte) error {
	e := g.cur()
	if e == nil {
		return ErrRemoved
	}
	l := e.tree.leaf(leaf)
	if l == nil {
		return refused("leaf %d is blank", leaf)
	}
	return VerifyDetached(e.cs.id, l.signatureKey, label, content, sig)
}

// VerifyDetached verifies a detached signature by the key alone, for those who are
// not in the group. What the key stands for, the caller must know.
func VerifyDetached(s Suite, signatureKey []byte, label string, content, sig []byte) error {
	cs, err := lookupSuite(s)
	if err != nil {
		return err
	}
	l, err := operationLabel(label)
	if err != nil {
		return err
	}
	return cs.verify(signatureKey, l, content, sig)
}

// A SignedProposal is a statement of one member in the form of a proposal that
// proposes nothing: a PublicMessage whose proposal is its type alone, while what
// is said stands in the authenticated data. It is the form of the signed receipts
// of GSMA RCC.16 (rcs_signature, 0xf002), bare as deployed peers are described to
// write it: the document itself was not at hand. It is signed with the group's
// context, is never cached and never committed.
type SignedProposal struct {
	Type   uint16
	Sender uint32 // leaf
	Epoch  uint64
	AAD    []byte
}

// Context is the serialized GroupContext of the current epoch (8.1). It holds no
// secret, and whoever has it can verify what members signed in this epoch.
func (g *Group) Context() ([]byte, error) {
	if g.cur() == nil {
		return nil, ErrRemoved
	}
	return bytes.Clone(g.cur().encoded), nil
}

// SignedProposal states aad in the form of an empty proposal of a type that this
// member's leaf lists. Anybody can read it. The group does not change by it.
func (g *Group) SignedProposal(kind uint16, aad []byte) ([]byte, error) {
	e := g.cur()
	if e == nil {
		return nil, ErrRemoved
	}
	if e.closed() {
		return nil, refused("group is being reinitialised")
	}
	if len(aad) > g.s.policy.Limits.Message/2 {
		return nil, refused("statement of %d bytes", len(aad))
	}
	if err := e.tree.leaf(e.own).listsProposal(kind); err != nil {
		return nil, err
	}
	a := &authContent{wire: wirePublicMessage, content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, sender: sender{senderMember, e.own},
		aad: aad, kind: contentProposal, proposal: &proposal{kind: kind, bare: true},
	}}
	if err := a.sign(g.s.signer, e.encoded); err != nil {
		return nil, fmt.Errorf("signed proposal: %w", err)
	}
	pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
	if err != nil {
		return nil, err
	}
	return writeMessage(wirePublicMessage, pm.write), nil
}

// listsProposal says that a leaf advertises a type beyond RFC 9420's own.
func (x *leafNode) listsProposal(kind uint16) error {
	if isDefaultProposal(kind) || !slices.Contains(x.capabilities.proposals, kind) {
		return refused("leaf does not list proposal type %d", kind)
	}
	return nil
}

// OpenSignedProposal verifies a statement of a member, this one included, that was
// made in the current epoch: its membership tag, its signature, and that the
// sender's leaf lists the type. The group does not change by it, and it may be
// opened again: what is said must name what it is about. Of an epoch that is over
// [VerifySignedProposal] still verifies what was said in it, by its [Group.Context].
func (g *Group) OpenSignedProposal(msg []byte, kind uint16) (SignedProposal, error) {
	e := g.cur()
	if e == nil {
		return SignedProposal{}, ErrRemoved
	}
	pm, err := readSignedProposal(msg, kind, g.s.policy.Limits)
	if err != nil {
		return SignedProposal{}, err
	}
	if err := e.addressed(pm.content.groupID, pm.content.epoch); err != nil {
		return SignedProposal{}, err
	}
	l := e.tree.leaf(pm.content.sender.index)
	if l == nil {
		return SignedProposal{}, refused("sender's leaf %d is blank", pm.content.sender.index)
	}
	if err := l.listsProposal(kind); err != nil {
		return SignedProposal{}, err
	}
	a, err := e.cs.openPublic(pm, e.keys.membership, e.encoded)
	if err != nil {
		return SignedProposal{}, err
	}
	return a.statement(e.cs, l.signatureKey, e.encoded)
}

// VerifySignedProposal verifies a statement outside the group, by the serialized
// context of its epoch and the sender's signature key. An auditor cannot check the
// membership tag, whose key only members have, nor that the key is that of the
// leaf: what context and key stand for, the caller must know.
func VerifySignedProposal(msg []byte, kind uint16, context, signatureKey []byte) (SignedProposal, error) {
	lim := DefaultLimits()
	var ctx groupContext
	if err := decode(bytes.Clone(context), lim.Items, ctx.read); err != nil {
		return SignedProposal{}, fmt.Errorf("read group context: %w", err)
	}
	cs, err := lookupSuite(ctx.suite)
	if err != nil {
		return SignedProposal{}, err
	}
	pm, err := readSignedProposal(msg, kind, lim)
	if err != nil {
		return SignedProposal{}, err
	}
	c := &pm.content
	if !bytes.Equal(c.groupID, ctx.groupID) {
		return SignedProposal{}, ErrWrongGroup
	}
	if c.epoch != ctx.epoch {
		return SignedProposal{}, fmt.Errorf("%w: %d, the context is of %d", ErrWrongEpoch, c.epoch, ctx.epoch)
	}
	a := &authContent{wire: wirePublicMessage, content: *c, auth: pm.auth}
	return a.statement(cs, signatureKey, context)
}

// statement is what was signed, if it was.
func (x *authContent) statement(cs *cryptoSuite, signatureKey, context []byte) (SignedProposal, error) {
	if err := x.verify(cs, signatureKey, context); err != nil {
		return SignedProposal{}, err
	}
	c := &x.content
	return SignedProposal{Type: c.proposal.kind, Sender: c.sender.index, Epoch: c.epoch, AAD: c.aad}, nil
}

// readSignedProposal reads the PublicMessage of a member whose proposal is its
// type alone, which the general reader refuses: the length of such a proposal is
// known only to those who expect it.
func readSignedProposal(msg []byte, kind uint16, lim Limits) (*publicMessage, error) {
	if isDefaultProposal(kind) {
		return nil, refused("proposal type %d is not empty", kind)
	}
	if len(msg) > lim.Message {
		return nil, malformed("%d bytes, more than %d", len(msg), lim.Message)
	}
	pm := &publicMessage{}
	err := decode(bytes.Clone(msg), lim.Items, func(r *reader) {
		version, wire := r.u16(), r.u16()
		c := &pm.content
		c.groupID, c.epoch = r.vec(), r.u64()
		c.sender.read(r)
		c.aad, c.kind = r.vec(), r.u8()
		c.proposal = &proposal{kind: r.u16(), bare: true}
		if version != versionMLS10 || wire != wirePublicMessage || c.sender.kind != senderMember ||
			c.kind != contentProposal || c.proposal.kind != kind {
			r.fail("not a member's empty proposal of type %d", kind)
			return
		}
		pm.auth.read(r, c.kind)
		pm.membershipTag = r.vec()
	})
	if err != nil {
		return nil, fmt.Errorf("read signed proposal: %w", err)
	}
	return pm, nil
}
