package mls

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// closedTrio is three members of a group that a Commit has closed, to go on as
// group "next" in another suite.
func closedTrio(t *testing.T, from, to Suite, ext []Extension) ([]*person, []*Group) {
	t.Helper()
	people, g := trio(t, from)
	msg, err := g[1].Propose(ReInitProposal([]byte("next"), to, ext))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		if _, err := g[i].Process(msg); err != nil {
			t.Fatal(err)
		}
	}
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if sum := staged.Summary; !sum.ReInit || sum.Next == nil || string(sum.Next.GroupID) != "next" || sum.Next.Suite != to {
		t.Errorf("the summary does not say that the group ends: %+v", sum)
	}
	for _, i := range []int{1, 2} {
		g[i], _ = people[i].take(t, g[i], staged.Commit)
	}
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	g[0] = people[0].restore(t, g[0])
	agree(t, g...)
	return people, g
}

// renewed are the same people with keys for a suite, and their KeyPackages.
func renewed(t *testing.T, people []*person, s Suite) (again []*person, pubs [][]byte, privs []*KeyPackageSecrets) {
	t.Helper()
	for _, p := range people {
		q := newPerson(t, s, p.name)
		pub, priv := q.keyPackage(t, s)
		again, pubs, privs = append(again, q), append(pubs, pub), append(privs, priv)
	}
	return again, pubs, privs
}

func (p *person) joinFrom(old *Group, welcome, tree []byte, kp *KeyPackageSecrets) (*Group, error) {
	return JoinFrom(old, welcome, tree, kp, p.signer, anyCredential{}, p.policy)
}

// TestReInit: a group goes on as another one, in its own suite or another (11.2),
// one against quantum computers too.
// Who proposed, who committed and who makes the new group are three members.
func TestReInit(t *testing.T) {
	for _, s := range [][2]Suite{{X25519AES128, X25519AES128}, {X25519AES128, P256AES128}, {P256AES128, X25519AES128}, {P256AES128, P384AES256}, {X25519AES128, X25519MLKEM768}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			ext := []Extension{{extRequiredCapabilities, encode(func(w *writer) {
				w.u16list(nil)
				w.u16list(nil)
				w.u16list([]uint16{CredentialBasic})
			})}}
			people, old := closedTrio(t, s[0], s[1], ext)
			r := old[2].Reinitialised()
			if r == nil || string(r.GroupID) != "next" || r.Suite != s[1] || r.Version != versionMLS10 || len(r.Extensions) != 1 {
				t.Fatalf("goes on as %+v", r)
			}
			for name, err := range map[string]error{
				"protect": second(old[0].Protect(nil, nil)), "commit": second(old[0].Commit(CommitOptions{})),
				"propose": second(old[0].Propose(RemoveProposal(1))), "remove": second(old[0].Remove(1)),
				"state": second(old[0].SignedProposal(receiptType, nil)),
			} {
				because(t, name+" in a closed group", err, ErrRefused, "reinitialised")
			}
			again, pubs, privs := renewed(t, people, s[1])
			maker := again[2]
			maker.policy.EncryptHandshake = s[0] == s[1]
			next, welcome, err := old[2].ReInit(maker.credential(), maker.signer, anyCredential{}, maker.policy,
				ResumeOptions{KeyPackages: pubs[:2], WithoutTree: true})
			if err != nil {
				t.Fatal(err)
			}
			if next.Epoch() != 1 || next.Suite() != s[1] || string(next.GroupID()) != "next" {
				t.Fatalf("made %v of suite %d", next, next.Suite())
			}
			next = maker.restore(t, next)
			tree, err := next.RatchetTree()
			if err != nil {
				t.Fatal(err)
			}
			groups := []*Group{next}
			for i := range 2 {
				before := digest(t, old[i])
				_, err := Join(welcome, privs[i], again[i].signer, anyCredential{}, again[i].policy)
				follows, ok := errors.AsType[*FollowsError](err)
				if !ok || follows.Branch || follows.Epoch != old[i].Epoch() || !bytes.Equal(follows.GroupID, old[i].GroupID()) || !errors.Is(err, ErrRefused) {
					t.Fatalf("join without the old group: %v", err)
				}
				g, err := again[i].joinFrom(old[i], welcome, tree, privs[i])
				if err != nil {
					t.Fatalf("member %d: %v", i, err)
				}
				if digest(t, old[i]) != before {
					t.Error("the old group changed")
				}
				groups = append(groups, again[i].restore(t, g))
			}
			converse(t, groups...)
			staged, err := groups[1].Remove(0)
			if err != nil {
				t.Fatal(err)
			}
			groups[2], _ = again[1].take(t, groups[2], staged.Commit)
			if err := groups[1].Apply(staged); err != nil {
				t.Fatal(err)
			}
			converse(t, groups[1:]...)
		})
	}
}

// A linking is a group made from another one, as a hostile member would.
type linking struct {
	suite  Suite
	id     []byte
	ext    extensions
	psk    pskID
	before int // epochs before the one with the link
	kps    [][]byte
}

func (l linking) make(t *testing.T, old *Group, by *person) (g *Group, welcome []byte) {
	t.Helper()
	g, err := Create(l.suite, l.id, by.credential(), by.signer, anyCredential{}, by.policy)
	if err != nil {
		t.Fatal(err)
	}
	for range l.before {
		s, err := g.Commit(CommitOptions{})
		mustApply(t, g, s, err)
	}
	e := g.cur()
	e.context.extensions = l.ext
	e.encoded = e.context.encode()
	l.psk.nonce = bytes.Repeat([]byte{5}, e.cs.nh())
	e.origin = &origin{id: l.psk, psk: old.cur().keys.resumption, old: old.cur()}
	o := CommitOptions{NoPath: true, Proposals: []Proposal{plainProposal(proposal{kind: proposalPSK, psk: l.psk})}}
	for _, kp := range l.kps {
		o.Proposals = append(o.Proposals, AddProposal(kp))
	}
	s, err := g.Commit(o)
	mustApply(t, g, s, err)
	return g, s.Welcome
}

func because(t *testing.T, name string, err, is error, text string) {
	t.Helper()
	if !errors.Is(err, is) || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: %v, want one about %q", name, err, text)
	}
}

// TestReInitIsChecked: the joiner holds the new group to what was announced and to
// the members of the old one, one thing at a time.
func TestReInitIsChecked(t *testing.T) {
	for _, s := range [][2]Suite{{X25519AES128, P256AES128}, {P256AES128, X25519AES128}} {
		people, old := closedTrio(t, s[0], s[1], nil)
		again, pubs, privs := renewed(t, people, s[1])
		maker := again[0]
		honest := linking{suite: s[1], id: []byte("next"), kps: pubs[1:],
			psk: pskID{kind: pskResumption, usage: usageReInit, groupID: old[0].GroupID(), epoch: old[0].Epoch()}}
		another := func(change func(*linking)) linking {
			l := honest
			change(&l)
			return l
		}
		for name, c := range map[string]struct {
			l    linking
			is   error
			text string
		}{
			"another id":        {another(func(l *linking) { l.id = []byte("nexT") }), ErrRefused, "another id"},
			"other extensions":  {another(func(l *linking) { l.ext = extensions{{extExternalSenders, []byte{0}}} }), ErrRefused, "other extensions"},
			"a member missing":  {another(func(l *linking) { l.kps = pubs[1:2] }), ErrRefused, "leaf 2 is not in"},
			"epoch 2":           {another(func(l *linking) { l.before = 1 }), ErrRefused, "epoch 2"},
			"usage branch":      {another(func(l *linking) { l.psk.usage = usageBranch }), ErrRefused, "usage 3"},
			"another old group": {another(func(l *linking) { l.psk.groupID = []byte("x") }), ErrWrongGroup, ""},
			"the epoch before":  {another(func(l *linking) { l.psk.epoch-- }), ErrWrongEpoch, ""},
			"an epoch to come":  {another(func(l *linking) { l.psk.epoch++ }), ErrWrongEpoch, ""},
			"usage application": {another(func(l *linking) { l.psk.usage = usageApplication }), ErrRefused, "does not follow"},
		} {
			_, welcome := c.l.make(t, old[0], maker)
			_, err := again[1].joinFrom(old[1], welcome, nil, privs[1])
			because(t, name, err, c.is, c.text)
		}
		// Another suite than announced: everything of the new group is in it.
		others, otherPubs, otherPrivs := renewed(t, people, s[0])
		_, welcome := another(func(l *linking) { l.suite, l.kps = s[0], otherPubs[1:] }).make(t, old[0], others[0])
		_, err := others[1].joinFrom(old[1], welcome, nil, otherPrivs[1])
		because(t, "another suite", err, ErrRefused, "announced was")

		next, welcome := honest.make(t, old[0], maker)
		_, open := trio(t, s[0]) // the same names, in the same epoch, another group
		staged, err := open[1].Commit(CommitOptions{})
		mustApply(t, open[1], staged, err)
		_, err = again[1].joinFrom(open[1], welcome, nil, privs[1])
		because(t, "from a group that is open", err, ErrRefused, "closed: false")
		_, closed := closedTrio(t, s[0], s[1], nil)
		_, err = again[1].joinFrom(closed[1], welcome, nil, privs[1])
		because(t, "from a group with another key", err, ErrRefused, "does not decrypt")

		plain := maker.create(t, s[1])
		invited, err := plain.Add(pubs[1])
		if err != nil {
			t.Fatal(err)
		}
		_, err = again[1].joinFrom(old[1], invited.Welcome, nil, privs[1])
		because(t, "a group that follows none", err, ErrRefused, "does not follow")
		link := honest.psk
		link.nonce = make([]byte, 32)
		_, err = (&joining{k: privs[1].k(), p: &maker.policy, old: old[1].cur()}).pskSecret([]pskID{link, link})
		because(t, "two links", err, ErrRefused, "follows two")

		g, err := again[1].joinFrom(old[1], welcome, nil, privs[1])
		if err != nil {
			t.Fatalf("the honest group: %v", err)
		}
		converse(t, next, g)

		// More may come along than were there (12.4.3.1).
		_, more, _ := renewed(t, []*person{newPerson(t, s[1], "stranger")}, s[1])
		next, welcome, err = old[0].ReInit(maker.credential(), maker.signer, anyCredential{}, maker.policy,
			ResumeOptions{KeyPackages: append(more, pubs[1:]...)})
		if err != nil {
			t.Fatal(err)
		}
		if g, err = again[1].joinFrom(old[1], welcome, nil, privs[1]); err != nil || len(g.Members()) != 4 {
			t.Fatalf("a group of the old members and one more: %v", err)
		}
		converse(t, next, g)
	}
}

// TestReInitIsRefused: what the maker of the new group gets wrong.
func TestReInitIsRefused(t *testing.T) {
	people, old := closedTrio(t, X25519AES128, P256AES128, []Extension{{0xf00d, nil}})
	again, pubs, _ := renewed(t, people, P256AES128)
	make := func(g *Group, o ResumeOptions) error {
		_, _, err := g.ReInit(again[0].credential(), again[0].signer, anyCredential{}, again[0].policy, o)
		return err
	}
	because(t, "an extension that nobody supports", make(old[0], ResumeOptions{KeyPackages: pubs[1:]}), ErrRefused, "does not support")
	server := newPerson(t, P256AES128, "server")
	_, old = closedTrio(t, X25519AES128, P256AES128, []Extension{senderList(server)})
	_, _, err := old[0].ReInit(again[0].credential(), again[0].signer, binding{"server": nil}, again[0].policy, ResumeOptions{KeyPackages: pubs[1:]})
	because(t, "an external sender who is not valid", err, ErrRefused, "external sender")
	_, old = closedTrio(t, X25519AES128, P256AES128, nil)
	_, open := trio(t, X25519AES128)
	_, wrong := newPerson(t, X25519AES128, "phone").keyPackage(t, X25519AES128)
	because(t, "an open group", make(open[0], ResumeOptions{KeyPackages: pubs[1:]}), ErrRefused, "not being reinitialised")
	because(t, "nobody else", make(old[0], ResumeOptions{}), ErrRefused, "leaf 1 is not in")
	because(t, "one too few", make(old[0], ResumeOptions{KeyPackages: pubs[2:]}), ErrRefused, "leaf 1 is not in")
	because(t, "one in another suite", make(old[0], ResumeOptions{KeyPackages: [][]byte{pubs[1], wrong.Public()}}), ErrRefused, "suite")
	for _, c := range []struct {
		change func(*reInit)
		is     error
	}{
		{func(r *reInit) { r.version++ }, ErrUnsupported},
		{func(r *reInit) { r.suite = 99 }, ErrUnsupported},
		{func(r *reInit) { r.groupID = nil }, ErrRefused},
	} {
		r := *old[0].cur().reInit
		honest := r
		c.change(&r)
		old[0].cur().reInit = &r
		if err := make(old[0], ResumeOptions{KeyPackages: pubs[1:]}); !errors.Is(err, c.is) {
			t.Errorf("goes on as %+v: %v", r, err)
		}
		old[0].cur().reInit = &honest
	}
	if err := make(old[0], ResumeOptions{KeyPackages: pubs[1:]}); err != nil {
		t.Fatalf("the honest maker: %v", err)
	}
}

// TestBranch: two of three members go on among themselves (11.3), and the group
// goes on as well.
func TestBranch(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			people, old := trio(t, s)
			again, pubs, privs := renewed(t, people, s)
			sub, welcome, err := old[0].Branch([]byte("sub"), again[0].credential(), again[0].signer, anyCredential{}, again[0].policy,
				ResumeOptions{KeyPackages: pubs[1:2]})
			if err != nil {
				t.Fatal(err)
			}
			sub = again[0].restore(t, sub)
			if sub.Epoch() != 1 || sub.Suite() != s || string(sub.GroupID()) != "sub" {
				t.Fatalf("made %v", sub)
			}
			_, err = Join(welcome, privs[1], again[1].signer, anyCredential{}, again[1].policy)
			if follows, ok := errors.AsType[*FollowsError](err); !ok || !follows.Branch {
				t.Fatalf("join without the group: %v", err)
			}
			g, err := again[1].joinFrom(people[1].restore(t, old[1]), welcome, nil, privs[1])
			if err != nil {
				t.Fatal(err)
			}
			converse(t, sub, again[1].restore(t, g))
			converse(t, old...)

			stranger, pub, _ := renewed(t, []*person{newPerson(t, s, "stranger")}, s)
			bring := func(id string, by *person, kps ...[]byte) error {
				_, _, err := old[0].Branch([]byte(id), by.credential(), by.signer, anyCredential{}, by.policy, ResumeOptions{KeyPackages: kps})
				return err
			}
			because(t, "with a stranger", bring("sub", again[0], pub[0]), ErrRefused, "leaf 1 of the subgroup")
			because(t, "as a stranger", bring("sub", stranger[0], pubs[1]), ErrRefused, "leaf 0 of the subgroup")
			because(t, "under the same id", bring("group bank", again[0], pubs[1]), ErrRefused, "the id of the group")
			_, closed := closedTrio(t, s, s, nil)
			_, _, err = closed[0].Branch([]byte("sub"), again[0].credential(), again[0].signer, anyCredential{}, again[0].policy, ResumeOptions{})
			because(t, "of a closed group", err, ErrRefused, "reinitialised")
		})
	}
}

// TestBranchIsChecked: the joiner holds the subgroup to the group.
func TestBranchIsChecked(t *testing.T) {
	people, old := trio(t, X25519AES128)
	again, pubs, privs := renewed(t, people, X25519AES128)
	_, stranger, _ := renewed(t, []*person{newPerson(t, X25519AES128, "stranger")}, X25519AES128)
	honest := linking{suite: X25519AES128, id: []byte("sub"), kps: pubs[1:2],
		psk: pskID{kind: pskResumption, usage: usageBranch, groupID: old[0].GroupID(), epoch: old[0].Epoch()}}
	another := func(change func(*linking)) linking {
		l := honest
		change(&l)
		return l
	}
	for name, c := range map[string]struct {
		l    linking
		is   error
		text string
	}{
		"a stranger":        {another(func(l *linking) { l.kps = [][]byte{pubs[1], stranger[0]} }), ErrRefused, "leaf 2 of the subgroup"},
		"the same id":       {another(func(l *linking) { l.id = old[0].GroupID() }), ErrRefused, "the id of the group"},
		"epoch 2":           {another(func(l *linking) { l.before = 1 }), ErrRefused, "epoch 2"},
		"usage reinit":      {another(func(l *linking) { l.psk.usage = usageReInit }), ErrRefused, "usage 2"},
		"another group":     {another(func(l *linking) { l.psk.groupID = []byte("x") }), ErrWrongGroup, ""},
		"the epoch before":  {another(func(l *linking) { l.psk.epoch-- }), ErrWrongEpoch, ""},
		"usage application": {another(func(l *linking) { l.psk.usage = usageApplication }), ErrRefused, "does not follow"},
	} {
		_, welcome := c.l.make(t, old[0], again[0])
		_, err := again[1].joinFrom(old[1], welcome, nil, privs[1])
		because(t, name, err, c.is, c.text)
	}
	others, otherPubs, otherPrivs := renewed(t, people, P256AES128)
	_, welcome := another(func(l *linking) { l.suite, l.kps = P256AES128, otherPubs[1:2] }).make(t, old[0], others[0])
	_, err := others[1].joinFrom(old[1], welcome, nil, otherPrivs[1])
	because(t, "another suite", err, ErrRefused, "subgroup has suite 2")

	sub, welcome := honest.make(t, old[0], again[0])
	g, err := again[1].joinFrom(old[1], welcome, nil, privs[1])
	if err != nil {
		t.Fatalf("the honest subgroup: %v", err)
	}
	converse(t, sub, g)
	staged, err := old[1].Commit(CommitOptions{})
	mustApply(t, old[1], staged, err)
	_, err = again[1].joinFrom(old[1], welcome, nil, privs[1])
	because(t, "from the epoch after", err, ErrWrongEpoch, "")
	outcast, _ := people[2].take(t, old[2], staged.Commit)
	if staged, err = old[1].Remove(2); err != nil {
		t.Fatal(err)
	}
	outcast, _ = people[2].take(t, outcast, staged.Commit)
	_, err = again[1].joinFrom(outcast, welcome, nil, privs[1])
	because(t, "from a group that one was removed from", err, ErrRemoved, "")
}

// renaming lets "phone" go on as "phone 2".
type renaming struct{ anyCredential }

func (renaming) Successor(before, after Credential) error {
	if string(before.Identity) == "phone" && string(after.Identity) == "phone 2" {
		return nil
	}
	return errors.New("another client")
}

// TestSuccessorIsTheSameClient: who is the same under another credential, the
// validator decides (11.3).
func TestSuccessorIsTheSameClient(t *testing.T) {
	_, old := trio(t, X25519AES128)
	bank, phone := newPerson(t, X25519AES128, "bank"), newPerson(t, X25519AES128, "phone 2")
	pub, priv := phone.keyPackage(t, X25519AES128)
	branch := func(v Validator) (*Group, []byte, error) {
		return old[0].Branch([]byte("sub"), bank.credential(), bank.signer, v, bank.policy, ResumeOptions{KeyPackages: [][]byte{pub}})
	}
	_, _, err := branch(never{})
	because(t, "a validator without successors", err, ErrRefused, "no member of the group")
	sub, welcome, err := branch(renaming{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = JoinFrom(old[1], welcome, nil, priv, phone.signer, never{}, phone.policy)
	because(t, "a joiner whose validator has none", err, ErrRefused, "no member of the group")
	g, err := JoinFrom(old[1], welcome, nil, priv, phone.signer, renaming{}, phone.policy)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, sub, g)

	// And for who comes back into the same group (12.2).
	again, leaf := newPerson(t, X25519AES128, "phone 2"), uint32(1)
	old[0].s.policy.AllowExternal, old[2].s.policy.AllowExternal = true, true
	gi := externalInfo(t, old[0], GroupInfoOptions{})
	_, _, err = ExternalJoin(gi, nil, again.credential(), again.signer, never{}, again.policy, ExternalOptions{Resync: &leaf})
	because(t, "a resync without successors", err, ErrRefused, "another credential")
	own, commit, err := ExternalJoin(gi, nil, again.credential(), again.signer, renaming{}, again.policy, ExternalOptions{Resync: &leaf})
	if err != nil {
		t.Fatal(err)
	}
	old[2].s.validator = never{}
	_, err = old[2].Process(commit)
	because(t, "a member whose validator has none", err, ErrRefused, "another credential")
	for _, i := range []int{0, 2} {
		old[i].s.validator = renaming{}
		mustFollow(t, old[i], commit)
	}
	converse(t, old[0], own, old[2])
}
