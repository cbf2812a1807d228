package mls

import "slices"

// Staged is a Commit that has not taken effect: one that was made ([Group.Commit])
// or received ([Group.Process]). [Group.Apply] enters its epoch. A Staged that is
// not applied is simply dropped, and better soon: it holds the secrets of the epoch
// that it would start, which are in memory until it is collected.
type Staged struct {
	// Commit goes to the other members, Welcome to those it adds (nil if none);
	// both must be stored with the group that results before either is sent.
	// GroupInfo describes the new epoch, for members that join by other means;
	// it holds no secret. All are nil of a received Commit.
	Commit, Welcome, GroupInfo []byte
	// Summary is what the Commit does, for the caller to judge.
	Summary Summary

	outcome held[outcome] // nil once applied
}

func (*Staged) event() {}

// outcome is what applying a Commit does.
type outcome struct {
	from, next *epoch // next is nil if this member is removed
	signer     Signer // of the own leaf in next
	use        *use   // of the received message, if it was private
}

// A Summary is what a Commit does to the group.
type Summary struct {
	// Epoch is the one that the Commit starts.
	Epoch uint64
	// Committer is the leaf that sent it, or the leaf it takes if External.
	Committer uint32
	// External says that the committer joins by this Commit. It is in Added too.
	External bool
	Added    []Member
	Removed  []Member
	// Updated are members whose leaf is replaced, as they are afterwards: by an
	// update, or the committer by the path of its Commit.
	Updated []Member
	// Extensions are all of the group's context from now on, if the Commit replaces
	// them; nil if not. They say what members must support and who may propose from
	// outside.
	Extensions []Extension
	// PSKs are the pre-shared keys that it injects, in order.
	PSKs []PSK
	// Custom are the proposals of private-use types.
	Custom []ProposalReceived
	// ReInit says that the group ends and goes on as another one, Next.
	ReInit bool
	Next   *Reinitialisation
	// OwnRemoved says that this member is out: the group is of no more use.
	OwnRemoved bool
	// AAD is readable by everyone and authenticated.
	AAD []byte
}

// summary of a Commit that is validated.
func (e *epoch) summary(n *plan, committer sender, path *updatePath, aad []byte) Summary {
	external := committer.kind == senderNewMemberCommit
	sum := Summary{Epoch: e.context.epoch + 1, Committer: committer.index, External: external,
		ReInit: n.reInit != nil, OwnRemoved: slices.Contains(n.removed, e.own), AAD: aad}
	for i, leaf := range n.added {
		sum.Added = append(sum.Added, memberOf(leaf, &n.addedPackage[i].leaf))
	}
	if external {
		sum.Added = append(sum.Added, memberOf(committer.index, &path.leaf))
	}
	for i, leaf := range n.removed {
		sum.Removed = append(sum.Removed, memberOf(leaf, n.removedLeaf[i]))
	}
	for _, r := range n.replaced {
		if !external {
			sum.Updated = append(sum.Updated, memberOf(r.leaf, r.after))
		}
	}
	if n.newContext {
		sum.Extensions = n.extensions.public()
	}
	for i := range n.psks {
		sum.PSKs = append(sum.PSKs, n.psks[i].public())
	}
	if n.reInit != nil {
		sum.Next = n.reInit.public()
	}
	for _, p := range n.custom {
		sum.Custom = append(sum.Custom, p.event(nil))
	}
	return sum
}

// Apply enters the epoch that a staged Commit starts. It is refused with
// ErrStale when the group has moved on since. The group must be stored before
// anything that comes of the new epoch is let out.
func (g *Group) Apply(s *Staged) error {
	e := g.cur()
	if e == nil {
		return ErrRemoved
	}
	if s == nil || s.outcome == nil || s.outcome().from != e {
		return ErrStale
	}
	o := s.outcome()
	if o.next == nil {
		return g.leave(s)
	}
	p := &g.s.policy
	earlier := e.earlier
	if p.keepsPast() {
		earlier = append(slices.Clone(earlier), e.pass(o.use, p.pastAt()))
	}
	gone, kept := p.over(earlier)
	o.next.earlier = kept
	if p.Store != nil {
		if err := g.save(o.next.whole()); err != nil {
			for _, copied := range earlier[len(e.earlier):] {
				copied.erase()
			}
			return err
		}
	}
	for _, over := range gone {
		over.erase()
	}
	side := *g.s
	side.signer = o.signer
	g.e, g.s, s.outcome = hold(o.next), &side, nil
	e.erase(o.next)
	o.forget()
	return nil
}

// leave ends the group for this member, which a Commit removes.
func (g *Group) leave(s *Staged) error {
	if g.s.policy.Store != nil {
		if err := g.save(Change{Whole: true}); err != nil {
			return err
		}
	}
	e, o := g.cur(), s.outcome()
	g.e, s.outcome = nil, nil
	e.erase(nil)
	o.forget()
	return nil
}

// forget overwrites what the message that brought the Commit used, once its epoch
// is over.
func (o *outcome) forget() {
	if o.use != nil {
		o.use.erase()
	}
}
