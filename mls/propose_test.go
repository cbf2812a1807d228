package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

const customType = 0xf00d // a private-use proposal of the tests

// A circle is a group of people who all follow what one of them sends. policy
// changes each one's before the group is made.
type circle struct {
	t      testing.TB
	people []*person
	groups []*Group
}

func newCircle(t testing.TB, policy func(*Policy), names ...string) *circle {
	t.Helper()
	c := &circle{t: t}
	for _, name := range names {
		p := newPerson(t, X25519AES128, name)
		policy(&p.policy)
		c.people = append(c.people, p)
	}
	c.groups = []*Group{c.people[0].create(t, X25519AES128)}
	if len(names) == 1 {
		return c
	}
	var pubs [][]byte
	var privs []*KeyPackageSecrets
	for _, p := range c.people[1:] {
		pub, priv := p.keyPackage(t, X25519AES128)
		pubs, privs = append(pubs, pub), append(privs, priv)
	}
	staged, err := c.groups[0].Add(pubs...)
	mustApply(t, c.groups[0], staged, err)
	for i, p := range c.people[1:] {
		c.groups = append(c.groups, p.join(t, staged.Welcome, privs[i]))
	}
	return c
}

// restart restores every member from its state.
func (c *circle) restart() {
	c.t.Helper()
	for i, g := range c.groups {
		if !g.Removed() {
			c.groups[i] = c.people[i].restore(c.t, g)
		}
	}
}

func (c *circle) propose(by int, p Proposal) {
	c.t.Helper()
	msg, err := c.groups[by].Propose(p)
	if err != nil {
		c.t.Fatalf("propose: %v", err)
	}
	for i, g := range c.groups {
		if i == by {
			if _, err := g.Process(msg); !errors.Is(err, ErrOwnMessage) {
				c.t.Fatalf("own proposal: %v", err)
			}
			continue
		}
		if _, err := g.Process(msg); err != nil {
			c.t.Fatalf("member %d takes the proposal: %v", i, err)
		}
	}
}

// commit is made by one member and followed by all.
func (c *circle) commit(by int, o CommitOptions) *Staged {
	c.t.Helper()
	staged, err := c.groups[by].Commit(o)
	if err != nil {
		c.t.Fatalf("commit: %v", err)
	}
	var left []*Group
	for i, g := range c.groups {
		if i != by && !g.Removed() {
			if _, err := follow(g, staged.Commit); err != nil {
				c.t.Fatalf("member %d follows: %v", i, err)
			}
		}
	}
	mustApply(c.t, c.groups[by], staged, nil)
	for _, g := range c.groups {
		if !g.Removed() {
			left = append(left, g)
		}
	}
	agree(c.t, left...)
	msg := mustProtect(c.t, c.groups[by], "after the commit")
	for _, g := range left {
		if g != c.groups[by] {
			mustOpen(c.t, g, msg, "after the commit")
		}
	}
	return staged
}

// capable knows the tests' custom proposal, an external key and past epochs' keys.
func capable(p *Policy) {
	p.Support.Proposals = []uint16{customType}
	p.PSK = func(id []byte) ([]byte, bool) { return []byte("shared"), string(id) == "psk" }
	p.PastResumption = 3
}

// everyKind is one proposal of every kind that members propose, and the check
// that it took effect.
func everyKind(t testing.TB) map[string]struct {
	proposal Proposal
	took     func(s Summary) bool
} {
	pub, _ := newPerson(t, X25519AES128, "newcomer").keyPackage(t, X25519AES128)
	type kind = struct {
		proposal Proposal
		took     func(s Summary) bool
	}
	return map[string]kind{
		"add":            {AddProposal(pub), func(s Summary) bool { return len(s.Added) == 1 && string(s.Added[0].Credential.Identity) == "newcomer" }},
		"remove":         {RemoveProposal(3), func(s Summary) bool { return slices.Equal(leavesOf(s.Removed), []uint32{3}) }},
		"external psk":   {ExternalPSKProposal([]byte("psk")), func(s Summary) bool { return len(s.PSKs) == 1 && string(s.PSKs[0].ID) == "psk" }},
		"resumption psk": {ResumptionPSKProposal(1), func(s Summary) bool { return len(s.PSKs) == 1 && s.PSKs[0].ID == nil && s.PSKs[0].Epoch == 1 }},
		"reinit":         {ReInitProposal([]byte("next"), P256AES128, nil), func(s Summary) bool { return s.ReInit && s.Extensions == nil }},
		"context extensions": {ContextExtensionsProposal([]Extension{{extRequiredCapabilities, []byte{0, 0, 2, 0, 1}}}),
			func(s Summary) bool {
				return len(s.Extensions) == 1 && s.Extensions[0].Type == extRequiredCapabilities && bytes.Equal(s.Extensions[0].Data, []byte{0, 0, 2, 0, 1})
			}},
		"custom": {CustomProposal(customType, []byte("data")), func(s Summary) bool {
			return len(s.Custom) == 1 && s.Custom[0].Type == customType && string(s.Custom[0].Custom) == "data"
		}},
	}
}

// TestEveryProposal: each kind by value and by reference, in the clear and
// encrypted, with all members restored from their states at every step.
func TestEveryProposal(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		for name, k := range everyKind(t) {
			for _, reference := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/encrypt=%v/reference=%v", name, encrypt, reference), func(t *testing.T) {
					c := newCircle(t, func(p *Policy) { capable(p); p.EncryptHandshake = encrypt }, "bank", "phone", "tablet", "laptop")
					var o CommitOptions
					if reference {
						c.propose(1, k.proposal)
					} else {
						o.Proposals = []Proposal{k.proposal}
					}
					c.restart()
					staged, err := c.groups[0].Commit(o)
					if err != nil {
						t.Fatal(err)
					}
					if !k.took(staged.Summary) {
						t.Errorf("summary of the committer %+v", staged.Summary)
					}
					for i, g := range c.groups[1:] {
						if sum := mustFollow(t, g, staged.Commit); !k.took(sum) || sum.OwnRemoved != (name == "remove" && i == 2) {
							t.Errorf("summary of member %d %+v", i+1, sum)
						}
					}
					mustApply(t, c.groups[0], staged, nil)
					c.restart()
					agree(t, c.groups[:3]...)
					if _, err := c.groups[0].Protect(nil, nil); (err != nil) != (name == "reinit") {
						t.Errorf("protect: %v", err)
					}
				})
			}
		}
	}
}

// TestUpdate: a member's own update is committed by another one. Its private key
// is part of the state until a Commit names it, and of no later state than the
// epoch's if none does.
func TestUpdate(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		c := newCircle(t, func(p *Policy) { p.EncryptHandshake = encrypt }, "bank", "phone", "tablet")
		before := c.groups[1].cur().tree.leaf(1).encryptionKey
		c.propose(1, UpdateProposal(LeafOptions{}))
		if m := c.groups[0].cur().proposals[0].sent(); m.event(nil).Member.Leaf != 1 {
			t.Errorf("event %+v", m.event(nil))
		}
		priv := bytes.Clone(c.groups[1].cur().proposals[0].own.priv)
		old := bytes.Clone(c.groups[1].cur().privs[2])
		c.restart()
		if sum := c.commit(0, CommitOptions{}).Summary; !slices.Equal(leavesOf(sum.Updated), []uint32{1, 0}) {
			t.Errorf("updated %+v", sum.Updated)
		}
		if bytes.Equal(before, c.groups[0].cur().tree.leaf(1).encryptionKey) {
			t.Error("the leaf is the old one")
		}
		state, err := c.groups[1].Marshal()
		if err != nil || !bytes.Contains(state, priv) || bytes.Contains(state, old) {
			t.Errorf("private keys in the state: new %v, old %v, %v", bytes.Contains(state, priv), bytes.Contains(state, old), err)
		}
		c.restart()
		c.commit(2, CommitOptions{}) // its path is sealed to the new key

		c.propose(1, UpdateProposal(LeafOptions{}))
		kept := c.groups[1].cur().proposals[0].own
		forgotten := bytes.Clone(kept.priv)
		c.commit(2, CommitOptions{OnlyOwn: true})
		if state, err = c.groups[1].Marshal(); err != nil || bytes.Contains(state, forgotten) || !bytes.Equal(kept.priv, make([]byte, 32)) {
			t.Error("the key of an update that nobody committed is kept")
		}
		// A committer does not commit its own update, but renews its leaf by its path.
		c.propose(1, UpdateProposal(LeafOptions{}))
		if sum := c.commit(1, CommitOptions{}).Summary; !slices.Equal(leavesOf(sum.Updated), []uint32{1}) {
			t.Errorf("updated %+v", sum.Updated)
		}
	}
}

// TestUpdateIsChecked: another key or no key for an own update in a stored state.
func TestUpdateIsChecked(t *testing.T) {
	c := newCircle(t, func(*Policy) {}, "bank", "phone")
	c.propose(1, UpdateProposal(LeafOptions{}))
	restore := func(g *Group) error {
		state, err := g.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Unmarshal(state, c.people[1].signer, anyCredential{}, c.people[1].policy)
		return err
	}
	if err := restore(c.groups[1]); err != nil {
		t.Fatalf("honest state: %v", err)
	}
	own := &c.groups[1].cur().proposals[0].own
	honest := *own
	*own = &ownUpdate{priv: bytes.Repeat([]byte{1}, 32)}
	if err := restore(c.groups[1]); !errors.Is(err, ErrMalformed) {
		t.Errorf("another private key: %v", err)
	}
	*own = nil
	if err := restore(c.groups[1]); !errors.Is(err, ErrMalformed) {
		t.Errorf("no private key: %v", err)
	}
	*own = honest
	c.groups[1].cur().proposals = nil
	c.propose(0, RemoveProposal(0))
	c.groups[1].cur().proposals[0].own = honest
	if err := restore(c.groups[1]); !errors.Is(err, ErrMalformed) {
		t.Errorf("a private key of no update: %v", err)
	}
}

// TestLeftOut: received proposals that cannot be committed together are left out
// as 12.4 wants, always the same; the Commit is one that all accept.
func TestLeftOut(t *testing.T) {
	newcomer := newPerson(t, X25519AES128, "newcomer")
	first, _ := newcomer.keyPackage(t, X25519AES128)
	again, _ := newcomer.keyPackage(t, X25519AES128)
	phone := newPerson(t, X25519AES128, "phone again")
	type said struct {
		by int
		p  Proposal
	}
	required := func(kind byte) Proposal {
		return ContextExtensionsProposal([]Extension{{extRequiredCapabilities, []byte{0, 2, 0xf0, kind, 0}}})
	}
	for name, x := range map[string]struct {
		said []said
		own  []Proposal
		want []int // of said
	}{
		"all fit":                        {[]said{{1, UpdateProposal(LeafOptions{})}, {2, AddProposal(first)}}, nil, []int{0, 1}},
		"remove before update":           {[]said{{3, UpdateProposal(LeafOptions{})}, {1, RemoveProposal(3)}}, nil, []int{1}},
		"remove twice":                   {[]said{{1, RemoveProposal(3)}, {2, RemoveProposal(3)}}, nil, []int{0}},
		"the newest update":              {[]said{{1, UpdateProposal(LeafOptions{})}, {1, UpdateProposal(LeafOptions{})}}, nil, []int{1}},
		"own update":                     {[]said{{0, UpdateProposal(LeafOptions{})}, {1, UpdateProposal(LeafOptions{})}}, nil, []int{1}},
		"own removal":                    {[]said{{1, RemoveProposal(0)}, {1, UpdateProposal(LeafOptions{})}}, nil, []int{1}},
		"one client twice":               {[]said{{1, AddProposal(first)}, {2, AddProposal(again)}}, nil, []int{0}},
		"what the committer does itself": {[]said{{3, UpdateProposal(LeafOptions{})}, {1, UpdateProposal(LeafOptions{})}}, []Proposal{RemoveProposal(3)}, []int{1}},
		"reinit beside others":           {[]said{{1, ReInitProposal([]byte("n"), P256AES128, nil)}, {2, UpdateProposal(LeafOptions{})}}, nil, []int{1}},
		"reinit alone":                   {[]said{{1, ReInitProposal([]byte("n"), P256AES128, nil)}}, nil, []int{0}},
		"two context changes":            {[]said{{1, required(0x0d)}, {2, ContextExtensionsProposal(nil)}}, nil, []int{0}},
		"a context nobody can meet":      {[]said{{1, required(0x99)}, {2, ContextExtensionsProposal(nil)}}, nil, []int{1}},
		"a psk the committer lacks":      {[]said{{1, ExternalPSKProposal([]byte("?"))}, {2, ExternalPSKProposal([]byte("psk"))}}, nil, []int{1}},
		"a type nobody lists":            {[]said{{1, CustomProposal(0xf123, nil)}, {2, CustomProposal(customType, nil)}}, nil, []int{1}},
		"a member's key again": {[]said{{1, AddProposal(first)}, {2, AddProposal(first)}, {3, Proposal{kind: proposalAdd, make: func(*drafting) (*proposal, error) {
			return remadeKeyPackage(t, &person{"phone", phone.signer, DefaultPolicy()}, func(k *keyPackage) {}), nil
		}}}}, nil, []int{0, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCircle(t, capable, "bank", "phone", "tablet", "laptop")
			for _, s := range x.said {
				c.propose(s.by, s.p)
			}
			var want [][]byte
			for _, i := range x.want {
				want = append(want, c.groups[0].cur().proposals[i].ref)
			}
			for range 3 {
				var have [][]byte
				staged, err := c.groups[0].Commit(CommitOptions{Proposals: x.own})
				if err != nil {
					t.Fatal(err)
				}
				m, err := readMessage(staged.Commit, DefaultLimits())
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range m.public.content.commit.proposals {
					if p.proposal == nil {
						have = append(have, p.ref)
					}
				}
				if !slices.EqualFunc(have, want, bytes.Equal) {
					t.Fatalf("committed %x, want %x", have, want)
				}
			}
			staged, err := c.groups[0].Commit(CommitOptions{Proposals: x.own})
			if err != nil {
				t.Fatal(err)
			}
			for i, g := range c.groups[1:] {
				if _, err := follow(g, staged.Commit); err != nil {
					t.Errorf("member %d refuses what is left: %v", i+1, err)
				}
			}
		})
	}
}

// TestHostileReferences: a committer that names what cannot stand together, though
// each by itself was received and kept, is refused by all (12.2).
func TestHostileReferences(t *testing.T) {
	newcomer := newPerson(t, X25519AES128, "newcomer")
	first, _ := newcomer.keyPackage(t, X25519AES128)
	again, _ := newcomer.keyPackage(t, X25519AES128)
	type said struct {
		by int
		p  Proposal
	}
	update := UpdateProposal(LeafOptions{})
	for name, list := range map[string][]said{
		"what fits":             {{1, update}, {2, RemoveProposal(3)}, {2, AddProposal(first)}},
		"the committer's own":   {{1, RemoveProposal(3)}, {0, update}},
		"its removal":           {{1, RemoveProposal(0)}},
		"two updates":           {{1, update}, {1, update}},
		"update and remove":     {{3, update}, {1, RemoveProposal(3)}},
		"two removes":           {{1, RemoveProposal(3)}, {2, RemoveProposal(3)}},
		"one client twice":      {{1, AddProposal(first)}, {2, AddProposal(again)}},
		"two context changes":   {{1, ContextExtensionsProposal(nil)}, {2, ContextExtensionsProposal(nil)}},
		"reinit beside another": {{1, ReInitProposal([]byte("n"), P256AES128, nil)}, {2, RemoveProposal(3)}},
	} {
		c := newCircle(t, capable, "bank", "phone", "tablet", "laptop")
		for _, s := range list {
			c.propose(s.by, s.p)
		}
		before := digest(t, c.groups[2])
		ev, err := c.groups[2].Process(hostile{g: c.groups[0], waiting: true}.commit(t).Commit)
		if name == "what fits" != (err == nil) || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v %v", name, ev, err)
		}
		if digest(t, c.groups[2]) != before {
			t.Errorf("%s: the state changed", name)
		}
	}
}

// TestLateAddIsLeftOut: a KeyPackage whose time passes while it waits is not
// committed.
func TestLateAddIsLeftOut(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := newCircle(t, func(p *Policy) { p.Now, p.MaxLifetime = func() time.Time { return now }, 0 }, "bank", "phone")
	pub, _ := newPerson(t, X25519AES128, "newcomer").keyPackage(t, X25519AES128)
	c.propose(1, AddProposal(pub))
	for _, passed := range []bool{false, true} {
		if passed {
			now = time.Unix(1<<40+1, 0)
		}
		staged, err := c.groups[0].Commit(CommitOptions{})
		if err != nil || len(staged.Summary.Added) == 1 == passed {
			t.Errorf("time passed %v: %+v %v", passed, staged.Summary, err)
		}
	}
}

// TestCommitterRefusesItself: what receivers would refuse is not built, and a
// refused Commit changes nothing.
func TestCommitterRefusesItself(t *testing.T) {
	c := newCircle(t, capable, "bank", "phone", "tablet")
	g := c.groups[0]
	pub, _ := newPerson(t, X25519AES128, "newcomer").keyPackage(t, X25519AES128)
	foreign, _ := newPerson(t, P256AES128, "foreigner").keyPackage(t, P256AES128)
	late := newPerson(t, X25519AES128, "late")
	twice := []Extension{{extApplicationID, nil}, {extApplicationID, nil}}
	before := digest(t, g)
	for name, o := range map[string]CommitOptions{
		"own removal":                  {Proposals: []Proposal{RemoveProposal(0)}},
		"removal of nobody":            {Proposals: []Proposal{RemoveProposal(3)}},
		"one removal twice":            {Proposals: []Proposal{RemoveProposal(1), RemoveProposal(1)}},
		"an update by value":           {Proposals: []Proposal{UpdateProposal(LeafOptions{})}},
		"one client twice":             {Proposals: []Proposal{AddProposal(pub), AddProposal(pub)}},
		"another suite":                {Proposals: []Proposal{AddProposal(foreign)}},
		"no key package":               {Proposals: []Proposal{AddProposal([]byte("?"))}},
		"reinit beside another":        {Proposals: []Proposal{ReInitProposal([]byte("n"), P256AES128, nil), RemoveProposal(1)}},
		"two context changes":          {Proposals: []Proposal{ContextExtensionsProposal(nil), ContextExtensionsProposal(nil)}},
		"a context extension twice":    {Proposals: []Proposal{ContextExtensionsProposal(twice)}},
		"a reinit extension twice":     {Proposals: []Proposal{ReInitProposal([]byte("n"), P256AES128, twice)}},
		"a context nobody supports":    {Proposals: []Proposal{ContextExtensionsProposal([]Extension{{0xf0f0, nil}})}},
		"a psk it lacks":               {Proposals: []Proposal{ExternalPSKProposal([]byte("?"))}},
		"a resumption key it lacks":    {Proposals: []Proposal{ResumptionPSKProposal(7)}},
		"a type nobody lists":          {Proposals: []Proposal{CustomProposal(0xf123, nil)}},
		"a type of the standard":       {Proposals: []Proposal{CustomProposal(8, nil)}},
		"no proposal":                  {Proposals: []Proposal{{}}},
		"a removal without a path":     {Proposals: []Proposal{RemoveProposal(1)}, NoPath: true},
		"nothing without a path":       {NoPath: true},
		"a new leaf without a path":    {Proposals: []Proposal{AddProposal(pub)}, NoPath: true, Leaf: LeafOptions{Signer: late.signer}},
		"another member's key":         {Leaf: LeafOptions{Signer: c.people[1].signer}},
		"a key of another suite":       {Leaf: LeafOptions{Signer: newPerson(t, P256AES128, "x").signer}},
		"a certificate of another key": {Leaf: LeafOptions{Credential: &Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}}},
	} {
		if s, err := g.Commit(o); err == nil || s != nil {
			t.Errorf("%s: committed", name)
		} else if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if digest(t, g) != before {
			t.Fatalf("%s: the group changed", name)
		}
	}
	c.commit(0, CommitOptions{Proposals: []Proposal{AddProposal(pub), RemoveProposal(2), CustomProposal(customType, nil)}, AAD: []byte("aad")})
}

// TestCustomNeedsAll: a type counts only where all who process the Commit list
// it; those it adds or removes need not (12.2). Types for private use are read,
// others are not.
func TestCustomNeedsAll(t *testing.T) {
	c := newCircle(t, func(*Policy) {}, "bank")
	c.people[0].policy.Support.Proposals = []uint16{customType}
	c.groups[0] = c.people[0].restore(t, c.groups[0])
	c.commit(0, CommitOptions{}) // the path's leaf advertises what the policy now says
	custom := CommitOptions{Proposals: []Proposal{CustomProposal(customType, []byte("x"))}}
	if len(c.commit(0, custom).Summary.Custom) != 1 {
		t.Fatal("a group where all list the type")
	}
	plain := newPerson(t, X25519AES128, "plain")
	pub, priv := plain.keyPackage(t, X25519AES128)
	staged, err := c.groups[0].Commit(CommitOptions{Proposals: append(custom.Proposals, AddProposal(pub))})
	mustApply(t, c.groups[0], staged, err)
	c.people, c.groups = append(c.people, plain), append(c.groups, plain.join(t, staged.Welcome, priv))
	if _, err := c.groups[0].Commit(custom); !errors.Is(err, ErrRefused) {
		t.Errorf("a group where one does not list it: %v", err)
	}
	broken := hostile{g: c.groups[0], unplanned: []*proposal{{kind: customType, custom: []byte("x")}}}
	if _, err := c.groups[1].Process(broken.commit(t).Commit); !errors.Is(err, ErrRefused) {
		t.Errorf("a committer who does it nevertheless: %v", err)
	}
	if _, err := c.groups[0].Commit(CommitOptions{Proposals: append(custom.Proposals, RemoveProposal(1))}); err != nil {
		t.Errorf("it is removed by the same commit: %v", err)
	}
	for kind, private := range map[uint16]bool{0xf000: true, 0xffff: true, 0xefff: false, 8: false, 0x0a0a: false} {
		b := []byte{byte(kind >> 8), byte(kind), 1, 7}
		p := new(proposal)
		if err := decode(b, 0, p.read); (err == nil) != private || private && !bytes.Equal(encode(p.write), b) {
			t.Errorf("type %#x: %v", kind, err)
		}
	}
}

// TestAllowProposal: the caller refuses a proposal, and with it any Commit that
// names it.
func TestAllowProposal(t *testing.T) {
	people, g := trio(t, X25519AES128)
	msg, err := g[2].Propose(RemoveProposal(1))
	if err != nil {
		t.Fatal(err)
	}
	var asked []ProposalReceived
	people[1].policy.AllowProposal = func(p ProposalReceived) error {
		if asked = append(asked, p); p.Type == proposalRemove {
			return errors.New("not from mallory")
		}
		return nil
	}
	g[1] = people[1].restore(t, g[1])
	before := digest(t, g[1])
	if _, err := g[1].Process(msg); !errors.Is(err, ErrRefused) || digest(t, g[1]) != before {
		t.Errorf("a proposal that the caller refuses: %v", err)
	}
	if len(asked) != 1 || asked[0].Sender != 2 || !asked[0].FromMember || asked[0].Removed != 1 {
		t.Errorf("asked %+v", asked)
	}
	if _, err := g[0].Process(msg); err != nil {
		t.Fatal(err)
	}
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g[1].Process(staged.Commit); !errors.Is(err, ErrRefused) {
		t.Errorf("a commit that names it: %v", err)
	}
	if msg, err = g[2].Propose(UpdateProposal(LeafOptions{})); err != nil {
		t.Fatal(err)
	}
	if _, err := g[1].Process(msg); err != nil {
		t.Errorf("a proposal that the caller allows: %v", err)
	}
}

// TestClosedGroupTakesNoProposal: after a ReInit nothing of the group can be
// committed any more, so nothing waits either.
func TestClosedGroupTakesNoProposal(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		c := newCircle(t, func(p *Policy) { p.EncryptHandshake = encrypt }, "bank", "phone")
		staged := must(c.groups[0].Commit(CommitOptions{Proposals: []Proposal{ReInitProposal([]byte("next"), P256AES128, nil)}}))(t)
		mustFollow(t, c.groups[1], staged.Commit)
		mustApply(t, c.groups[0], staged, nil)
		closed := c.groups[1].cur().reInit
		if _, err := c.groups[1].Propose(RemoveProposal(0)); !errors.Is(err, ErrRefused) {
			t.Errorf("propose: %v", err)
		}
		c.groups[1].cur().reInit = nil
		msg := must(c.groups[1].Propose(RemoveProposal(0)))(t)
		c.groups[1].cur().reInit = closed
		before := digest(t, c.groups[0])
		if _, err := c.groups[0].Process(msg); !errors.Is(err, ErrRefused) || digest(t, c.groups[0]) != before {
			t.Errorf("a member that proposes nevertheless: %v", err)
		}
	}
}

// TestProposalsAreBounded: more than proposalsMax do not wait, own or received.
func TestProposalsAreBounded(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	var msg []byte
	for i := range proposalsMax {
		var err error
		if msg, err = ga.Propose(CustomProposal(customType, []byte{byte(i), byte(i >> 8)})); err != nil {
			t.Fatal(err)
		}
		if _, err := gb.Process(msg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ga.Propose(RemoveProposal(1)); !errors.Is(err, ErrRefused) {
		t.Errorf("one more of our own: %v", err)
	}
	ga.DropProposals()
	msg, err := ga.Propose(RemoveProposal(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gb.Process(msg); !errors.Is(err, ErrRefused) {
		t.Errorf("one more received: %v", err)
	}
}

// TestProposalsAreBoundedInBytes: all that wait take no more than one message may.
func TestProposalsAreBoundedInBytes(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	limit := ga.s.policy.Limits.Message
	large := func(i int) ([]byte, error) {
		return ga.Propose(CustomProposal(customType, append(make([]byte, limit/3), byte(i))))
	}
	for i := range 2 {
		must(gb.Process(must(large(i))(t)))(t)
	}
	before := digest(t, ga)
	if _, err := large(2); !errors.Is(err, ErrRefused) || digest(t, ga) != before {
		t.Errorf("one more of our own: %v", err)
	}
	if err := ga.DropProposals(); err != nil {
		t.Fatal(err)
	}
	msg := must(large(2))(t)
	before = digest(t, gb)
	if _, err := gb.Process(msg); !errors.Is(err, ErrRefused) || digest(t, gb) != before {
		t.Errorf("one more received: %v", err)
	}
	must(gb.Process(must(ga.Propose(CustomProposal(customType, nil)))(t)))(t) // there is room for a small one
}

// TestProposedLeafIsValidated: who is proposed, or would be after an update, is the
// validator's matter as soon as the proposal comes (7.3).
func TestProposedLeafIsValidated(t *testing.T) {
	known := func(*Policy) {}
	c := newCircle(t, known, "bank", "phone")
	pub, _ := newPerson(t, X25519AES128, "stranger").keyPackage(t, X25519AES128)
	other := BasicCredential([]byte("stranger"))
	for name, p := range map[string]Proposal{"add": AddProposal(pub), "update": UpdateProposal(LeafOptions{Credential: &other})} {
		msg, err := c.groups[0].Propose(p)
		if err != nil {
			t.Fatal(err)
		}
		g := c.people[1].restore(t, c.groups[1])
		if _, err := g.Process(msg); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g = c.people[1].restore(t, c.groups[1])
		g.s.validator = only("phone")
		before := digest(t, g)
		if _, err := g.Process(msg); !errors.Is(err, ErrRefused) {
			t.Errorf("%s of a stranger: %v", name, err)
		}
		if digest(t, g) != before {
			t.Errorf("a refused %s changed the state", name)
		}
	}
}

// TestProposalIsTold: whoever allows a proposal sees what it would do.
func TestProposalIsTold(t *testing.T) {
	c := newCircle(t, capable, "bank", "phone")
	for name, k := range map[string]struct {
		proposal Proposal
		told     func(ProposalReceived) bool
	}{
		"psk":    {ExternalPSKProposal([]byte("psk")), func(p ProposalReceived) bool { return p.PSK != nil && string(p.PSK.ID) == "psk" }},
		"reinit": {ReInitProposal([]byte("next"), P256AES128, nil), func(p ProposalReceived) bool { return p.Next != nil && string(p.Next.GroupID) == "next" }},
		"context": {ContextExtensionsProposal([]Extension{{extRequiredCapabilities, []byte{0, 0, 0}}}),
			func(p ProposalReceived) bool { return len(p.Extensions) == 1 && p.PSK == nil && p.Next == nil }},
	} {
		msg := must(c.groups[0].Propose(k.proposal))(t)
		if ev := must(c.groups[1].Process(msg))(t); !k.told(ev.(ProposalReceived)) {
			t.Errorf("%s: %+v", name, ev)
		}
	}
}
