package mls

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// takes fails if f takes longer than a bound, in seconds, which is some ten times
// what it takes where each element is looked at once.
func takes(t *testing.T, name string, bound time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > bound {
		t.Errorf("%s took %v, more than %v", name, took, bound)
	} else {
		t.Logf("%s took %v", name, took)
	}
}

// types are n distinct types from first on.
func types(first, n int) (out []uint16) {
	for i := range n {
		out = append(out, uint16(first+i))
	}
	return out
}

// TestLongListsOfTypes: what a leaf lists and what a group asks for is looked up,
// not searched for, however long the lists are that a stranger sends.
func TestLongListsOfTypes(t *testing.T) {
	p := newPerson(t, X25519AES128, "stranger")
	const first, n = 0xb00, 50_000
	many := remadeKeyPackage(t, p, func(kp *keyPackage) {
		c := &kp.leaf.capabilities
		c.extensions = append(slices.Repeat([]uint16{7}, 100_000), types(first, n)...)
		for _, kind := range types(first, n) {
			kp.leaf.extensions = append(kp.leaf.extensions, extension{kind, []byte{}})
		}
	})
	l := &many.add.leaf
	takes(t, "a key package with many extensions", time.Second, func() {
		if err := many.add.validate(suite1); err != nil {
			t.Error(err)
		}
	})
	ext := extensions{{extRequiredCapabilities, encode(func(w *writer) {
		w.u16list(slices.Repeat(types(first+n-1, 1), 200_000))
		w.u16list(nil)
		w.u16list(nil)
	})}}
	takes(t, "required capabilities that repeat themselves", time.Second, func() {
		req, err := ext.required(DefaultLimits().Items)
		if err != nil {
			t.Fatal(err)
		}
		if err := newTree(l).validateMembers(req); err != nil {
			t.Error(err)
		}
	})
	takes(t, "a group with many extensions", time.Second, func() {
		if err := newTree(l).supports(l.extensions); err != nil {
			t.Error(err)
		}
	})
	l.capabilities.extensions = l.capabilities.extensions[:len(l.capabilities.extensions)-1]
	if newTree(l).supports(l.extensions) == nil || l.validateForm(suite1) == nil {
		t.Error("one type is missing, and nobody says so")
	}
}

// TestManyProposalsInOneCommit: the smallest proposal is four bytes, and a message
// is read before anybody knows who sent it.
func TestManyProposalsInOneCommit(t *testing.T) {
	c := newCircle(t, capable, "bank", "phone")
	ga, gb := c.groups[0], c.groups[1]
	read := func(n int) error {
		return decode(encode((&commit{proposals: slices.Repeat([]proposalOrRef{byValue(&proposal{kind: customType})}, n)}).write),
			DefaultLimits().Items, new(commit).read)
	}
	if err := read(commitProposalsMax); err != nil {
		t.Fatal(err)
	}
	if err := read(commitProposalsMax + 1); !errors.Is(err, ErrMalformed) {
		t.Errorf("one proposal more is read: %v", err)
	}
	many := func(n int) error {
		return second(ga.Commit(CommitOptions{Proposals: slices.Repeat([]Proposal{CustomProposal(customType, nil)}, n)}))
	}
	staged := must(ga.Commit(CommitOptions{Proposals: slices.Repeat([]Proposal{CustomProposal(customType, nil)}, commitProposalsMax)}))(t)
	takes(t, "a commit with as many proposals as there may be", time.Second, func() { must(gb.Process(staged.Commit))(t) })
	if err := many(commitProposalsMax + 1); !errors.Is(err, ErrRefused) {
		t.Errorf("one proposal more is committed: %v", err)
	}
}

// TestPSKsAreCounted: their number is 16 bits wide in what is derived from (8.4).
func TestPSKsAreCounted(t *testing.T) {
	psks := func(n int) error {
		return second(suite1.pskSecret(slices.Repeat([]pskID{{kind: pskExternal, nonce: suite1.zero()}}, n),
			func(pskID) ([]byte, error) { return []byte("psk"), nil }))
	}
	if err := psks(psksMax); err != nil {
		t.Fatal(err)
	}
	if err := psks(psksMax + 1); !errors.Is(err, ErrRefused) {
		t.Errorf("a count that does not fit: %v", err)
	}
}

// asking counts how often it is asked who succeeds whom, and knows of nobody.
type asking struct {
	anyCredential
	times int
}

func (a *asking) Successor(_, _ Credential) error {
	a.times++
	return errors.New("another client")
}

// TestMembersOfTwoGroups: groups are compared in one go where credentials stay as
// they are, and who makes up others does not keep the validator busy for long.
func TestMembersOfTwoGroups(t *testing.T) {
	const n = 1 << 13
	crowd := func(name string) *tree {
		out := &tree{nodes: make([]node, 2*n-1)}
		for i := range uint32(n) {
			out.nodes[leafNodeIndex(i)].leaf = &leafNode{credential: BasicCredential(fmt.Appendf(nil, "%s %d", name, i))}
		}
		return out
	}
	v := new(asking)
	succeeds := func(l, there *leafNode) error { return l.validateSuccessor(v, there) }
	takes(t, "the same members", time.Second, func() {
		if err := crowd("member").eachIn(crowd("member"), "leaf %d", succeeds); err != nil || v.times != 0 {
			t.Errorf("asked %d times: %v", v.times, err)
		}
	})
	if err := crowd("member").eachIn(crowd("stranger"), "leaf %d", succeeds); !errors.Is(err, ErrRefused) || v.times != n {
		t.Errorf("no member of the other group, asked %d times: %v", v.times, err)
	}
	v.times = 0
	twins := func(l, there *leafNode) error {
		if v.Successor(l.credential, there.credential); l.credential.Identity[len(l.credential.Identity)-1] == '0' &&
			string(there.credential.Identity) == "renamed 7" {
			return nil
		}
		return errors.New("another client")
	}
	some := crowd("renamed")
	for i := range uint32(n) {
		if i%10 != 0 {
			some.nodes[leafNodeIndex(i)].leaf = nil
		}
	}
	if err := some.eachIn(crowd("renamed"), "leaf %d", twins); err != nil {
		t.Errorf("credentials that stay: %v", err)
	}
	for i := range uint32(n) {
		if l := some.leaf(i); l != nil {
			some.nodes[leafNodeIndex(i)].leaf = &leafNode{credential: BasicCredential(fmt.Appendf(nil, "older %d", i))}
		}
	}
	if err := some.eachIn(crowd("renamed"), "leaf %d", twins); !errors.Is(err, ErrRefused) || v.times > successorsMax {
		t.Errorf("asked %d times: %v", v.times, err)
	}
}

// counting counts the leaves that it is asked about.
type counting struct {
	anyCredential
	leaves int
}

func (c *counting) Validate(Credential, []byte) error {
	c.leaves++
	return nil
}

// TestOneMisfit: a proposal that cannot be committed costs a committer a few plans
// of the tree, not one for each proposal that waits.
func TestOneMisfit(t *testing.T) {
	const n = 128
	g := newPerson(t, X25519AES128, "bank").create(t, X25519AES128)
	for i := range n {
		add := remadeKeyPackage(t, newPerson(t, X25519AES128, fmt.Sprint("member ", i)), func(*keyPackage) {})
		if i == 77 {
			add.add.leaf.signatureKey = g.s.signer.Public() // as if it were a member already
		}
		e := g.cur()
		e.proposals = append(e.proposals, cachedProposal{ref: []byte{byte(i)}, sender: sender{senderExternal, 0}, proposal: add})
	}
	asked := new(counting)
	g.s.validator = asked
	if took := g.choose(nil); len(took) != n-1 {
		t.Fatalf("%d of %d proposals are taken", len(took), n)
	}
	if asked.leaves > 10*n {
		t.Errorf("the validator was asked %d times about %d leaves", asked.leaves, n)
	}
}
