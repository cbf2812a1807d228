package mls

import (
	"bytes"
	"fmt"
)

// An origin is the old group that a new one hangs on by a resumption key: as the
// group that follows it (11.2) or as a subgroup of it (11.3).
type origin struct {
	id  pskID
	psk []byte
	old *epoch
}

// is says that id names the link. Of a nil origin nothing does.
func (o *origin) is(id *pskID) bool {
	return o != nil && bytes.Equal(encode(o.id.write), encode(id.write))
}

// A FollowsError says that a Welcome is to a group that follows another one, or
// branches off it: [JoinFrom] needs that one.
type FollowsError struct {
	GroupID []byte // of the old group
	Epoch   uint64 // that it must be in
	Branch  bool   // a subgroup; otherwise the old group is over
}

func (e *FollowsError) Error() string {
	if e.Branch {
		return "welcome to a subgroup: join it from the group that it branches off"
	}
	return "welcome to a reinitialised group: join it from the old one"
}

// Unwrap makes it a refusal.
func (e *FollowsError) Unwrap() error { return ErrRefused }

// A Reinitialisation is the group as which a closed one goes on, 12.1.5.
type Reinitialisation struct {
	GroupID    []byte
	Version    uint16 // 1 is MLS 1.0, the only one that this package can follow
	Suite      Suite
	Extensions []Extension
}

// Reinitialised says how a group goes on that a Commit has closed, so that its
// members can make KeyPackages for it. It is nil while the group is open.
func (g *Group) Reinitialised() *Reinitialisation {
	if g.cur() == nil || !g.cur().closed() {
		return nil
	}
	return g.cur().reInit.public()
}

func (x *reInit) public() *Reinitialisation {
	return &Reinitialisation{bytes.Clone(x.groupID), x.version, Suite(x.suite), x.extensions.public()}
}

// ResumeOptions say who goes along into a group made from another.
type ResumeOptions struct {
	// KeyPackages are those of the other members, one for each leaf.
	KeyPackages [][]byte
	// WithoutTree leaves the ratchet tree out of the Welcome; see
	// [Group.RatchetTree].
	WithoutTree bool
}

// ReInit makes the group that follows this one, after a Commit has closed it by a
// ReInit proposal (11.2, step 3). Its id, suite and extensions are those of the
// proposal, and every member must come along. Credential, signer, validator and
// policy are the caller's in the new group, whose suite may be another.
//
// The new group must be stored before the Welcome is sent. Any one member makes
// it; that only one does, or which one counts, the delivery service decides, as
// with Commits.
func (g *Group) ReInit(c Credential, sg Signer, v Validator, p Policy, o ResumeOptions) (next *Group, welcome []byte, err error) {
	e := g.cur()
	switch {
	case e == nil:
		return nil, nil, ErrRemoved
	case !e.closed():
		return nil, nil, refused("group is not being reinitialised")
	case e.reInit.version != versionMLS10:
		return nil, nil, fmt.Errorf("%w: reinit to protocol version %d", ErrUnsupported, e.reInit.version)
	}
	store := p.Store
	p.Store = nil
	next, err = Create(Suite(e.reInit.suite), e.reInit.groupID, c, sg, v, p)
	if err != nil {
		return nil, nil, fmt.Errorf("reinit: %w", err)
	}
	welcome, err = next.resume(e, usageReInit, e.reInit.extensions, store, o)
	if err != nil {
		return nil, nil, fmt.Errorf("reinit: %w", err)
	}
	return next, welcome, nil
}

// Branch makes a subgroup of this group (11.3): with its suite and extensions, an
// id of its own, and such members only as are in this group. This group goes on.
//
// The subgroup must be stored before the Welcome is sent. It can be joined as long
// as the joiner's view of this group is still in the current epoch.
func (g *Group) Branch(groupID []byte, c Credential, sg Signer, v Validator, p Policy, o ResumeOptions) (sub *Group, welcome []byte, err error) {
	e := g.cur()
	switch {
	case e == nil:
		return nil, nil, ErrRemoved
	case e.closed():
		return nil, nil, refused("group is being reinitialised")
	}
	store := p.Store
	p.Store = nil
	sub, err = Create(e.cs.id, groupID, c, sg, v, p)
	if err != nil {
		return nil, nil, fmt.Errorf("branch: %w", err)
	}
	welcome, err = sub.resume(e, usageBranch, e.context.extensions, store, o)
	if err != nil {
		return nil, nil, fmt.Errorf("branch: %w", err)
	}
	return sub, welcome, nil
}

// resume takes a group of one into its first epoch with others, linked to an old
// group. The link exists in epoch 0 only, which nobody else is in and which is
// never stored; so do the extensions that the group starts with.
func (g *Group) resume(old *epoch, usage uint8, ext extensions, store Store, o ResumeOptions) (welcome []byte, err error) {
	e := g.cur()
	if err := ext.validateSenders(g.s.validator, g.s.policy.Limits.Items); err != nil {
		return nil, err
	}
	e.context.extensions = ext
	e.encoded = e.context.encode()
	e.origin = &origin{old: old, psk: old.keys.resumption,
		id: pskID{kind: pskResumption, usage: usage, groupID: old.context.groupID, epoch: old.context.epoch}}
	if e.origin.id.nonce, err = e.cs.random(g.s.policy.Rand); err != nil {
		return nil, err
	}
	commit := CommitOptions{NoPath: true, WithoutTree: o.WithoutTree}
	for _, kp := range o.KeyPackages {
		commit.Proposals = append(commit.Proposals, AddProposal(kp))
	}
	commit.Proposals = append(commit.Proposals, plainProposal(proposal{kind: proposalPSK, psk: e.origin.id}))
	s, err := g.Commit(commit)
	if err != nil {
		return nil, err
	}
	after := s.outcome().next
	if err := e.origin.check(&after.context, after.tree, g.s.validator); err != nil {
		return nil, err
	}
	g.s.policy.Store = store
	return s.Welcome, g.Apply(s)
}

// JoinFrom enters a group that follows old or branches off it, from a Welcome
// that says so; ratchetTree is nil if the Welcome carries it. Besides all that
// [Join] checks, the new group is held to the old one, 11.2 and 11.3. A group that
// follows may have members that the old one lacks: see [Group.Members]. The old
// group does not change; once a group that follows is durable, the old one is to
// be deleted.
func JoinFrom(old *Group, welcome, ratchetTree []byte, kp *KeyPackageSecrets, sg Signer, v Validator, p Policy) (*Group, error) {
	if old.cur() == nil {
		return nil, ErrRemoved
	}
	return join(old.cur(), welcome, ratchetTree, kp, sg, v, p)
}

// originOf finds the resumption key that a Welcome names in the old group.
func (j *joining) originOf(id pskID) (*origin, error) {
	if j.old == nil {
		return nil, &FollowsError{GroupID: id.groupID, Epoch: id.epoch, Branch: id.usage == usageBranch}
	}
	o := &origin{id: id, psk: j.old.keys.resumption, old: j.old}
	switch ctx := &j.old.context; {
	case !bytes.Equal(id.groupID, ctx.groupID):
		return nil, fmt.Errorf("%w: welcome from another group than the old one", ErrWrongGroup)
	case id.epoch != ctx.epoch:
		return nil, fmt.Errorf("%w: welcome from %d of the old group, which is in %d", ErrWrongEpoch, id.epoch, ctx.epoch)
	case (id.usage == usageReInit) != j.old.closed():
		return nil, refused("welcome with a resumption key of usage %d, old group closed: %t", id.usage, j.old.closed())
	}
	return o, nil
}

// check holds the new group to the old one, 12.4.3.1 at its end.
func (o *origin) check(ctx *groupContext, t *tree, v Validator) error {
	if ctx.epoch != 1 {
		return refused("group that follows another starts in epoch %d", ctx.epoch)
	}
	if o.id.usage == usageReInit {
		return o.checkReInit(ctx, t, v)
	}
	return o.checkBranch(ctx, t, v)
}

// checkReInit: the group is the one that the ReInit announced, and nobody was left
// behind (11.2). The version is that of the Welcome, which was read as MLS 1.0.
func (o *origin) checkReInit(ctx *groupContext, t *tree, v Validator) error {
	r := o.old.reInit
	switch {
	case r.version != versionMLS10:
		return fmt.Errorf("%w: reinit to protocol version %d", ErrUnsupported, r.version)
	case !bytes.Equal(ctx.groupID, r.groupID):
		return refused("reinitialised group has another id than was announced")
	case ctx.suite != Suite(r.suite):
		return refused("reinitialised group has suite %d, announced was %d", ctx.suite, r.suite)
	case !bytes.Equal(encode(ctx.extensions.write), encode(r.extensions.write)):
		return refused("reinitialised group has other extensions than were announced")
	}
	return o.old.tree.eachIn(t, "member at leaf %d is not in the reinitialised group", func(before, after *leafNode) error { return before.validateSuccessor(v, after) })
}

// checkBranch: the subgroup has the parameters of the group and no member that the
// group lacks (11.3).
func (o *origin) checkBranch(ctx *groupContext, t *tree, v Validator) error {
	switch {
	case bytes.Equal(ctx.groupID, o.old.context.groupID):
		return refused("subgroup has the id of the group that it branches off")
	case ctx.suite != o.old.context.suite:
		return refused("subgroup has suite %d, the group has %d", ctx.suite, o.old.context.suite)
	}
	return t.eachIn(o.old.tree, "leaf %d of the subgroup is no member of the group", func(after, before *leafNode) error { return before.validateSuccessor(v, after) })
}

// successorsMax bounds how often one join asks the validator whether two leaves
// are the same client: whoever made the new group chose how many there are.
const successorsMax = 1 << 16

// eachIn holds every leaf of t to present a client that other has, 11.3: the
// credential is the same, or the application says that one succeeds the other. The
// refusal names the leaf that does not. It asks about the leaf in the same place first, where a group that was only renewed
// has the same member.
func (t *tree) eachIn(other *tree, refusal string, same func(l, there *leafNode) error) error {
	known := make(map[string]bool)
	for i := range other.leaves() {
		if l := other.leaf(i); l != nil {
			known[string(encode(l.credential.write))] = true
		}
	}
	asked := 0
	has := func(i uint32, l *leafNode) bool {
		for j := range other.leaves() {
			there := other.leaf((i + j) % other.leaves())
			if there == nil {
				continue
			}
			if asked++; asked > successorsMax {
				return false
			}
			if same(l, there) == nil {
				return true
			}
		}
		return false
	}
	for i := range t.leaves() {
		l := t.leaf(i)
		if l == nil || known[string(encode(l.credential.write))] || has(i, l) {
			continue
		}
		if asked > successorsMax {
			return refused("more than %d questions about who succeeds whom", successorsMax)
		}
		return refused(refusal, i)
	}
	return nil
}
