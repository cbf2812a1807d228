package mls_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost/mls"
)

// The handshake messages of the model: proposals, Commits, and what they do by
// the model's own reading of RFC 9420.

func (w *world) behind() (out []*member) {
	for _, m := range w.members {
		if m.at < len(w.log) {
			out = append(out, m)
		}
	}
	return out
}

func (w *world) forgeHandshake() {
	m := pick(w, "member", w.behind())
	h := w.log[m.at]
	w.unchanged(m, "a forged handshake message", func() {
		if _, err := m.g.Process(w.damaged(h.msg)); err == nil {
			w.Fatalf("%s takes a forged handshake message", m.name)
		}
	})
}

// oldHandshake brings what was taken, or came too late, once more.
func (w *world) oldHandshake() {
	m := pick(w, "member", w.members)
	h := pick(w, "handshake", w.log)
	if h.epoch == m.epoch && slices.Index(w.log, h) >= m.at {
		w.Skip("not yet taken")
	}
	w.unchanged(m, "an old handshake message", func() {
		switch _, err := m.g.Process(h.msg); {
		case h.epoch != m.epoch:
			if !errors.Is(err, mls.ErrWrongEpoch) {
				w.Fatalf("%s in %d takes a handshake message of epoch %d: %v", m.name, m.epoch, h.epoch, err)
			}
		case h.by == m:
			if !errors.Is(err, mls.ErrOwnMessage) {
				w.Fatalf("%s takes its own handshake message: %v", m.name, err)
			}
		case err != nil && !errors.Is(err, mls.ErrReplay):
			w.Fatalf("%s takes a proposal again: %v", m.name, err)
		}
	})
}

func (w *world) followOne() { w.step(pick(w, "follower", w.behind())) }

func (w *world) followAll() {
	for _, m := range w.members {
		w.catchUp(m)
	}
	for _, m := range slices.Clone(w.outside) {
		for !m.out && m.at < len(w.log) && m.id == w.id {
			if w.step(m); m.at < 0 {
				break
			}
		}
	}
}

func (w *world) catchUp(m *member) {
	for m.at < len(w.log) {
		w.step(m)
	}
}

// step lets a member take the next handshake message.
func (w *world) step(m *member) {
	h := w.log[m.at]
	m.at++
	if h.ask != nil {
		ev, err := m.g.Process(h.msg)
		w.must(err, "%s takes a proposal of leaf %d", m.name, h.ask.by)
		if p, ok := ev.(mls.ProposalReceived); !ok || p.FromMember != (h.by != nil) || p.Sender != h.ask.by {
			w.Fatalf("%s takes a proposal as %+v", m.name, ev)
		}
		m.waiting++
		return
	}
	var ev mls.Event
	w.unchanged(m, "a commit that is not applied", func() {
		for range w.number("looks", 1, 2) {
			var err error
			ev, err = m.g.Process(h.msg)
			w.must(err, "%s in epoch %d takes the commit of leaf %d", m.name, m.epoch, h.does.committer)
		}
	})
	s, ok := ev.(*mls.Staged)
	if !ok {
		w.Fatalf("%s takes a commit as %+v", m.name, ev)
	}
	w.summary(&s.Summary, h)
	if len(w.letters) > 0 && w.flip("a letter between") {
		w.note("between")
		w.read(m, w.letter(m))
	}
	w.must(m.g.Apply(s), "%s applies", m.name)
	w.enters(m, h)
}

// enters moves the model of a member into the epoch of a Commit.
func (w *world) enters(m *member, h *handshake) {
	if slices.Contains(h.does.removed, m.leaf) {
		m.out = true
		if !m.g.Removed() {
			w.Fatalf("%s is removed and does not know", m.name)
		}
	} else {
		m.epoch, m.waiting, m.sent, m.sealed, m.updating = h.epoch+1, 0, 0, 0, nil
		if s := h.does.signers[m.leaf]; s != nil {
			m.signer = s
		}
	}
	if m.pending == nil {
		return
	}
	w.unchanged(m, "a stale commit", func() {
		if err := m.g.Apply(m.pending); !errors.Is(err, mls.ErrStale) && !m.out {
			w.Fatalf("%s applies a commit that was not picked: %v", m.name, err)
		}
	})
	w.note("stale")
	m.pending = nil
}

// summary holds what a Commit says of itself to the model.
func (w *world) summary(s *mls.Summary, h *handshake) {
	var added, wantAdded []string
	for _, x := range s.Added {
		added = append(added, fmt.Sprint(x.Leaf, string(x.Credential.Identity)))
	}
	for i, x := range h.does.added {
		wantAdded = append(wantAdded, fmt.Sprint(h.does.joins[i], x.name))
	}
	var removed, updated []uint32
	for _, x := range s.Removed {
		removed = append(removed, x.Leaf)
	}
	for _, x := range s.Updated {
		updated = append(updated, x.Leaf)
	}
	want := slices.Clone(h.does.updated)
	if h.does.path && !s.External {
		want = append(want, h.does.committer)
	}
	for _, list := range [][]uint32{removed, updated, want, h.does.removed} {
		slices.Sort(list)
	}
	if s.Epoch != h.epoch+1 || s.Committer != h.does.committer || s.External != (h.by == nil) || !slices.Equal(added, wantAdded) ||
		!slices.Equal(removed, h.does.removed) || !slices.Equal(updated, want) || len(s.Custom) != h.does.custom ||
		len(s.PSKs) != h.does.psks || (s.Extensions != nil) != (h.does.context != nil) {
		w.Fatalf("commit in epoch %d by leaf %d: %+v\nby the model it adds %v, removes %v, updates %v", h.epoch, h.does.committer, *s, wantAdded, h.does.removed, want)
	}
}

// ask draws a proposal that by may make.
func (w *world) ask(by *member, byValue bool) *asked {
	a := &asked{by: by.leaf}
	switch kind := w.number("kind", 0, 7); {
	case kind <= 1 && w.room() > 0:
		a = w.asksAdd()
		a.by = by.leaf
	case kind == 2:
		leaf := w.someLeaf(by)
		a.remove = &leaf
		a.proposal = mls.RemoveProposal(leaf)
	case kind <= 4 && !byValue:
		a.update = true
		var o mls.LeafOptions
		if w.flip("new signer") {
			o.Signer = newSigner(w)
			a.signer = o.Signer
		}
		a.proposal = mls.UpdateProposal(o)
	case kind == 5:
		a.context = true
		var ext []mls.Extension
		if a.lists = w.flip("external senders"); a.lists {
			ext = append(ext, mls.ExternalSenders(mls.ExternalSender{SignatureKey: w.outsider.Public(), Credential: mls.BasicCredential([]byte("outsider"))}))
		} else if w.flip("extensions") {
			ext = []mls.Extension{mls.RequiredCapabilities(nil, []uint16{modelProposal}, nil), {Type: modelExtension, Data: []byte(w.id)}}
		}
		a.proposal = mls.ContextExtensionsProposal(ext)
	case kind == 6:
		a.custom = true
		w.named++ // the same proposal twice would be one
		a.proposal = mls.CustomProposal(modelProposal, fmt.Appendf(nil, "%d", w.named))
	default:
		a.psk = true
		a.proposal = mls.ExternalPSKProposal([]byte("psk"))
	}
	return a
}

// room is how many may still be added.
func (w *world) room() int {
	n := modelMembers - len(w.members)
	for _, a := range w.asked {
		if a.add != nil {
			n--
		}
	}
	return n
}

// asksAdd proposes somebody new, or one who was removed and comes back with the
// same name.
func (w *world) asksAdd() *asked {
	name := ""
	var free []string
	for _, m := range w.outside {
		taken := slices.Contains(w.leaves, m.name) || slices.ContainsFunc(w.asked, func(a *asked) bool { return a.add != nil && a.add.name == m.name })
		if m.out && m.id == w.id && !taken {
			free = append(free, m.name)
		}
	}
	if len(free) > 0 && w.flip("come back") {
		name = pick(w, "who comes back", free)
	}
	n := w.packed(w.person(name))
	return &asked{add: n, proposal: mls.AddProposal(n.pub)}
}

func (w *world) someLeaf(but *member) uint32 {
	var others []uint32
	for leaf, name := range w.leaves {
		if name != "" && uint32(leaf) != but.leaf {
			others = append(others, uint32(leaf))
		}
	}
	return pick(w, "leaf", others)
}

// sender is a member that has taken all there is and may still encrypt.
func (w *world) sender(what string) *member {
	m := pick(w, what, w.members)
	w.catchUp(m)
	if m.sealed >= modelHandshake {
		w.Skip("enough handshake messages")
	}
	return m
}

func (w *world) propose() {
	for range w.number("proposals", 1, 3) {
		m := w.sender("proposer")
		a := w.ask(m, false)
		msg, err := m.g.Propose(a.proposal)
		w.must(err, "%s proposes", m.name)
		if a.update {
			m.updating = append(m.updating, a.signer)
		}
		w.unchanged(m, "its own proposal", func() {
			if _, err := m.g.Process(msg); !errors.Is(err, mls.ErrOwnMessage) {
				w.Fatalf("%s takes its own proposal: %v", m.name, err)
			}
		})
		w.asked = append(w.asked, a)
		w.log = append(w.log, &handshake{msg: msg, by: m, epoch: w.epoch, ask: a})
		m.at, m.waiting, m.sealed = len(w.log), m.waiting+1, m.sealed+1
	}
}

// proposeFromOutside: a sender that the group lists proposes, or one that it does
// not list is refused.
func (w *world) proposeFromOutside() {
	a := &asked{proposal: mls.ExternalPSKProposal([]byte("psk")), psk: true}
	if w.flip("remove") {
		leaf := w.someLeaf(&member{leaf: 1 << 20})
		a = &asked{proposal: mls.RemoveProposal(leaf), remove: &leaf}
	} else if w.room() > 0 && w.flip("add") {
		a = w.asksAdd()
	}
	msg, err := mls.ExternalProposal([]byte(w.id), w.epoch, w.suite, 0, a.proposal, w.outsider)
	w.must(err, "propose from outside")
	if !w.listed {
		m := pick(w, "who is asked", w.members)
		w.catchUp(m)
		w.unchanged(m, "a sender that is not listed", func() {
			if _, err := m.g.Process(msg); !errors.Is(err, mls.ErrRefused) {
				w.Fatalf("%s takes a proposal of a sender that is not listed: %v", m.name, err)
			}
		})
		return
	}
	w.note("external sender")
	w.asked = append(w.asked, a)
	w.log = append(w.log, &handshake{msg: msg, epoch: w.epoch, ask: a})
}

// askFromOutside: somebody asks to be added.
func (w *world) askFromOutside() {
	if w.room() <= 0 {
		w.Skip("full")
	}
	a := w.asksAdd()
	msg, err := mls.SelfAddProposal([]byte(w.id), w.epoch, a.add.pub, a.add.signer)
	w.must(err, "%s asks to be added", a.add.name)
	w.asked = append(w.asked, a)
	w.log = append(w.log, &handshake{msg: msg, epoch: w.epoch, ask: a})
}

// effectOf is the model's reading of 12.2 to 12.4: which of the waiting proposals
// go with own ones, and what all of them do.
func (w *world) effectOf(by *member, own []*asked, o mls.CommitOptions) *effect {
	d := &effect{committer: by.leaf, signers: make(map[uint32]mls.Signer)}
	list := slices.Clone(own)
	if !o.OnlyOwn {
		list = append(list, w.together(by, own)...)
	}
	updates := make(map[uint32]*asked)
	for _, a := range list {
		switch {
		case a.remove != nil:
			d.removed = append(d.removed, *a.remove)
		case a.update:
			updates[a.by] = a
		}
		if a.context {
			d.context = a
		}
		if a.custom {
			d.custom++
		}
		if a.psk {
			d.psks++
		}
	}
	for _, a := range w.asked { // received ones come first
		if a.add != nil && slices.Contains(list, a) {
			d.added = append(d.added, a.add)
		}
	}
	for _, a := range own {
		if a.add != nil {
			d.added = append(d.added, a.add)
		}
	}
	for leaf, a := range updates {
		d.updated = append(d.updated, leaf)
		if a.signer != nil {
			d.signers[leaf] = a.signer
		}
	}
	d.path = len(list) == 0 || len(d.removed) > 0 || len(d.updated) > 0 || d.context != nil
	w.leavesAfter(d)
	return d
}

// together are the waiting proposals that can be committed beside own ones, as
// 12.4 wants: a removal goes before an update, the newest update of a member
// counts, and the committer neither updates nor removes itself.
func (w *world) together(by *member, own []*asked) (out []*asked) {
	gone, context := make(map[uint32]bool), false
	for _, a := range own {
		if a.remove != nil {
			gone[*a.remove] = true
		}
		context = context || a.context
	}
	newest := make(map[uint32]*asked)
	for _, a := range w.asked {
		if a.remove != nil && *a.remove != by.leaf && !gone[*a.remove] {
			gone[*a.remove] = true
			out = append(out, a)
		}
		if a.update {
			newest[a.by] = a
		}
	}
	for _, a := range w.asked {
		switch {
		case a.remove != nil:
		case a.update:
			if newest[a.by] == a && a.by != by.leaf && !gone[a.by] {
				out = append(out, a)
			}
		case a.context:
			if !context {
				context = true
				out = append(out, a)
			}
		default:
			out = append(out, a)
		}
	}
	return out
}

// leavesAfter seats those who are added at the leftmost free leaves.
func (w *world) leavesAfter(d *effect) {
	d.leaves = slices.Clone(w.leaves)
	for _, leaf := range d.removed {
		d.leaves[leaf] = ""
	}
	for _, n := range d.added {
		at := slices.Index(d.leaves, "")
		if at < 0 {
			at = len(d.leaves)
			d.leaves = append(d.leaves, "")
		}
		d.leaves[at] = n.name
		d.joins = append(d.joins, uint32(at))
	}
}

// attempt is a staged Commit and what it is to do.
type attempt struct {
	staged *mls.Staged
	does   *effect
	tree   []byte // to go beside the Welcome
}

// stage makes a Commit, or nil where the model says that it must be refused.
func (w *world) stage(by *member, own []*asked, o mls.CommitOptions) *attempt {
	for _, a := range own {
		o.Proposals = append(o.Proposals, a.proposal)
	}
	d := w.effectOf(by, own, o)
	if o.NoPath && d.path {
		w.unchanged(by, "a refused commit", func() {
			if _, err := by.g.Commit(o); !errors.Is(err, mls.ErrRefused) {
				w.Fatalf("%s leaves a path out: %v", by.name, err)
			}
		})
		return nil
	}
	if d.path = !o.NoPath; d.path && o.Leaf.Signer != nil {
		d.signers[by.leaf] = o.Leaf.Signer
	}
	encrypted := by.policy.EncryptHandshake
	var s *mls.Staged
	stage := func() {
		var err error
		s, err = by.g.Commit(o)
		w.must(err, "%s commits", by.name)
	}
	if encrypted {
		stage()
		by.sealed++
	} else {
		w.unchanged(by, "staging", stage)
	}
	w.summary(&s.Summary, &handshake{by: by, epoch: w.epoch, does: d})
	return &attempt{staged: s, does: d}
}

// draws are a Commit's own proposals and options.
func (w *world) draws(by *member) (own []*asked, o mls.CommitOptions) {
	removes, context := make(map[uint32]bool), false
	for range w.number("own proposals", 0, 3) {
		a := w.ask(by, true)
		taken := func(b *asked) bool { return a.add != nil && b.add != nil && a.add.name == b.add.name }
		if a.remove != nil && removes[*a.remove] || a.context && context || slices.ContainsFunc(own, taken) || a.add != nil && w.room() <= len(own) {
			continue
		}
		if a.remove != nil {
			removes[*a.remove] = true
		}
		context = context || a.context
		own = append(own, a)
	}
	o = mls.CommitOptions{OnlyOwn: w.number("only own", 0, 3) == 0, NoPath: w.number("no path", 0, 3) == 0, WithoutTree: w.flip("without tree")}
	if !o.NoPath && w.flip("new signer") {
		o.Leaf.Signer = newSigner(w)
	}
	return own, o
}

// fromThePast injects the resumption key of an epoch that all members were in.
func (w *world) fromThePast(by *member, own []*asked, o *mls.CommitOptions) []*asked {
	since := uint64(0)
	for _, m := range w.members {
		since = max(since, m.joined)
	}
	adds := slices.ContainsFunc(slices.Concat(own, w.asked), func(a *asked) bool { return a.add != nil })
	if since = max(since, w.epoch-min(w.epoch, modelPast)); adds || since >= w.epoch || !w.flip("from the past") {
		return own
	}
	w.note("kept from the past")
	return append(own, &asked{by: by.leaf, psk: true, proposal: mls.ResumptionPSKProposal(since)})
}

func (w *world) commit() {
	by := w.sender("committer")
	own, o := w.draws(by)
	own = w.fromThePast(by, own, &o)
	if a := w.stage(by, own, o); a != nil && w.number("dropped", 0, 5) > 0 {
		w.take(by, a)
	}
}

// twoCommits: the delivery service picks one of two.
func (w *world) twoCommits() {
	first, second := w.sender("first"), w.sender("second")
	if first == second {
		w.Skip("one member")
	}
	own, o := w.draws(first)
	a := w.stage(first, own, o)
	own, o = w.draws(second)
	b := w.stage(second, own, o)
	if a == nil || b == nil {
		return
	}
	second.pending = b.staged
	w.take(first, a)
	w.note("two commits")
	m := pick(w, "who gets the other", w.members)
	w.unchanged(m, "a commit that was not picked", func() {
		_, err := m.g.Process(b.staged.Commit)
		if m.epoch > second.epoch && !errors.Is(err, mls.ErrWrongEpoch) || m == second && !errors.Is(err, mls.ErrOwnMessage) {
			w.Fatalf("%s takes the other commit: %v", m.name, err)
		}
	})
}

// take lets the delivery service take a Commit: its sender and those it adds are
// in the new epoch at once, the others when it comes to them.
func (w *world) take(by *member, a *attempt) {
	h := &handshake{msg: a.staged.Commit, by: by, epoch: w.epoch, does: a.does}
	w.must(by.g.Apply(a.staged), "%s applies its own commit", by.name)
	tree, err := by.g.RatchetTree()
	w.must(err, "ratchet tree")
	w.moves(h)
	w.enters(by, h)
	by.at = len(w.log)
	for i, n := range a.does.added {
		g, err := mls.JoinWithTree(a.staged.Welcome, tree, n.secrets, n.signer, names{}, n.policy)
		w.must(err, "%s joins", n.name)
		n.begin(w, g, a.does.joins[i])
		w.members = append(w.members, n.member)
	}
}

// moves brings the model into the epoch of a Commit. Of those who are removed a
// copy stays as it is: it will try to read on.
func (w *world) moves(h *handshake) {
	w.log = append(w.log, h)
	w.epoch, w.asked, w.leaves = w.epoch+1, nil, h.does.leaves
	if h.does.context != nil {
		w.listed = h.does.context.lists
	}
	for _, leaf := range h.does.removed {
		at := slices.IndexFunc(w.members, func(m *member) bool { return m.leaf == leaf })
		m := w.members[at]
		w.members = slices.Delete(w.members, at, at+1)
		w.outside = append(w.outside, m, w.ghost(m))
	}
}
