package mls

// choose takes those of the waiting proposals that can be committed together
// beside own ones, in the order in which they came, 12.4. What does not fit is
// left out, always the same: removes go first, a reinit, which fits only alone,
// last. It takes what it can at once and divides the rest, so that a few that do not
// fit cost a few plans of the tree; it costs at most two for each proposal.
func (g *Group) choose(own []*proposal) []cachedProposal {
	waiting := g.candidates()
	taken := make([]bool, len(waiting))
	list := func() (out []cachedProposal) {
		for i, p := range waiting {
			if taken[i] {
				out = append(out, p)
			}
		}
		return out
	}
	var take func(some []int)
	take = func(some []int) {
		for _, i := range some {
			taken[i] = true
		}
		if len(some) == 0 || g.fits(list(), own) {
			return
		}
		for _, i := range some {
			taken[i] = false
		}
		if half := len(some) / 2; half > 0 {
			take(some[:half])
			take(some[half:])
		}
	}
	take(removesFirst(waiting))
	return list()
}

// removesFirst are the places of proposals in the order in which they are tried.
func removesFirst(waiting []cachedProposal) (order []int) {
	for _, turn := range []func(kind uint16) bool{
		func(kind uint16) bool { return kind == proposalRemove },
		func(kind uint16) bool { return kind != proposalRemove && kind != proposalReInit },
		func(kind uint16) bool { return kind == proposalReInit },
	} {
		for i, p := range waiting {
			if turn(p.proposal.kind) {
				order = append(order, i)
			}
		}
	}
	return order
}

// candidates are the waiting proposals without updates that the same member has
// replaced by a later one, and without KeyPackages whose time is over.
func (g *Group) candidates() []cachedProposal {
	e := g.cur()
	newest := make(map[uint32]int) // update, by leaf
	for i, p := range e.proposals {
		if p.proposal.kind == proposalUpdate {
			newest[p.sender.index] = i
		}
	}
	var out []cachedProposal
	for i, p := range e.proposals {
		switch p.proposal.kind {
		case proposalUpdate:
			if newest[p.sender.index] != i {
				continue
			}
		case proposalAdd:
			if g.s.policy.checkLifetime(&p.proposal.add.leaf) != nil {
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

// fits says that a receiver would take these proposals in one Commit of ours.
func (g *Group) fits(waiting []cachedProposal, own []*proposal) bool {
	e, me := g.cur(), sender{senderMember, g.cur().own}
	var list []sentProposal
	for i := range waiting {
		list = append(list, waiting[i].sent())
	}
	for _, p := range own {
		list = append(list, sentProposal{me, p, nil})
	}
	if checkList(list, me) != nil {
		return false
	}
	n, err := e.plan(list)
	if err != nil || n.validate(e, g.s) != nil {
		return false
	}
	secret, err := e.cs.pskSecret(n.psks, g.psk)
	clear(secret)
	return err == nil
}
