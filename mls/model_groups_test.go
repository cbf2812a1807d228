package mls_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost/mls"
	"pgregory.net/rapid"
)

// How members of the model enter from outside, and how groups follow from groups.

// info describes the group for an outsider, with the tree in it or apart.
func (w *world) info() (groupInfo, tree []byte) {
	m := pick(w, "who describes the group", w.members)
	w.catchUp(m)
	o := mls.GroupInfoOptions{External: true, WithoutTree: w.flip("tree apart")}
	groupInfo, err := m.g.GroupInfo(o)
	w.must(err, "group info")
	if o.WithoutTree {
		tree, err = m.g.RatchetTree()
		w.must(err, "ratchet tree")
	}
	return groupInfo, tree
}

// join lets somebody in by an external Commit.
func (w *world) join(p *member, resync *uint32) {
	o := mls.ExternalOptions{Resync: resync}
	d := &effect{added: []*newcomer{{member: p}}, path: true}
	if w.flip("with a psk") {
		o.PSKs, d.psks = [][]byte{[]byte("psk")}, 1
	}
	gi, tree := w.info()
	g, msg, err := mls.ExternalJoin(gi, tree, mls.BasicCredential([]byte(p.name)), p.signer, names{}, p.policy, o)
	w.must(err, "%s enters", p.name)
	if resync != nil {
		d.removed = []uint32{*resync}
	}
	w.leavesAfter(d)
	d.committer = d.joins[0]
	w.moves(&handshake{msg: msg, epoch: w.epoch, does: d})
	p.begin(w, g, d.committer)
	w.members = append(w.members, p)
}

func (w *world) enter() {
	if w.room() <= 0 {
		w.Skip("full")
	}
	w.join(w.person(""), nil)
}

// resync: a member that lost its state takes its own place.
func (w *world) resync() {
	m := pick(w, "who lost its state", w.members)
	if len(w.members) < 2 {
		w.Skip("alone")
	}
	again := w.person(m.name)
	if w.flip("same signer") {
		w.catchUp(m)
		again.signer = m.signer
	}
	w.join(again, &m.leaf)
	w.note("resync")
}

// branch makes a subgroup, which talks and is forgotten.
func (w *world) branch() {
	if w.number("really", 0, 2) > 0 || len(w.members) < 2 {
		w.Skip("not now")
	}
	w.followAll()
	n := w.number("branch members", 2, min(3, len(w.members)))
	w.named++
	w.follow(w.members[:n], func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error) {
		return old.g.Branch(fmt.Append(nil, "branch ", w.named), mls.BasicCredential([]byte(first.name)), first.signer, names{}, first.policy,
			mls.ResumeOptions{KeyPackages: kps})
	})
	w.note("branch")
}

// follow makes a group from another; the new members are returned in the order of
// their leaves.
func (w *world) follow(old []*member, make func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error)) (out []*newcomer) {
	var kps [][]byte
	for _, m := range old {
		n := w.packed(w.person(m.name))
		out, kps = append(out, n), append(kps, n.pub)
	}
	first, welcome, err := make(old[0], out[0], kps[1:])
	w.must(err, "make a group from another")
	out[0].g = first
	for i, n := range out[1:] {
		w.unchanged(old[i+1], "joining the next group", func() {
			n.g, err = mls.JoinFrom(old[i+1].g, welcome, nil, n.secrets, n.signer, names{}, n.policy)
			w.must(err, "%s joins from its group", n.name)
		})
	}
	msg, err := first.Protect(nil, []byte(w.id))
	w.must(err, "protect")
	for _, to := range out[1:] {
		if ev, err := to.g.Process(msg); err != nil || string(ev.(mls.Application).Plaintext) != w.id {
			w.Fatalf("%s opens the first message of the next group: %+v %v", to.name, ev, err)
		}
	}
	return out
}

// reInit: the group goes on as another one, in any suite, and the world with it.
func (w *world) reInit() {
	if w.number("really", 0, 3) > 0 || len(w.members) < 2 {
		w.Skip("not now")
	}
	w.followAll()
	by := w.sender("who ends the group")
	w.named++
	id, next := fmt.Sprint("group ", w.named), rapid.SampledFrom([]mls.Suite{mls.X25519AES128, mls.P256AES128, mls.X25519ChaCha}).Draw(w.T, "next suite")
	s, err := by.g.Commit(mls.CommitOptions{OnlyOwn: true, NoPath: true, Proposals: []mls.Proposal{mls.ReInitProposal([]byte(id), next, nil)}})
	w.must(err, "close the group")
	w.must(by.g.Apply(s), "apply")
	old := slices.Clone(w.members)
	for _, m := range old {
		if m != by {
			ev, err := m.g.Process(s.Commit)
			w.must(err, "%s follows the end", m.name)
			w.must(m.g.Apply(ev.(*mls.Staged)), "apply")
		}
		w.unchanged(m, "a message to a closed group", func() {
			if _, err := m.g.Protect(nil, nil); !errors.Is(err, mls.ErrRefused) {
				w.Fatalf("protect in a closed group: %v", err)
			}
		})
	}
	w.suite = next
	made := w.follow(old, func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error) {
		return old.g.ReInit(mls.BasicCredential([]byte(first.name)), first.signer, names{}, first.policy, mls.ResumeOptions{KeyPackages: kps})
	})
	w.outside = slices.DeleteFunc(w.outside, func(m *member) bool { return m.out })
	w.id, w.epoch, w.leaves, w.log, w.asked, w.members = id, 1, nil, nil, nil, nil
	w.outsider, w.listed = newSigner(w), false
	for i, n := range made {
		w.leaves = append(w.leaves, n.name)
		n.begin(w, n.g, uint32(i))
		w.members = append(w.members, n.member)
		n.lanes[lane{1, 0}] = &window{next: 1}
	}
	w.members[0].sent = 1
	w.note("reinit")
}
