package mls

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// A person is one test member with its own key.
type person struct {
	name   string
	signer Signer
	policy Policy
}

func newPerson(t testing.TB, s Suite, name string) *person {
	t.Helper()
	seed := make([]byte, 32)
	rand.Read(seed)
	var sg Signer
	var err error
	switch s {
	case X25519AES128, X25519ChaCha, X25519MLKEM768:
		sg, err = NewEd25519Signer(seed)
	case P256AES128, P256MLKEM768:
		seed[0] &= 0x7f // below the order of the curve
		sg, err = NewP256Signer(seed)
	case P384AES256:
		sg, err = NewP384Signer(append(make([]byte, 16), seed...))
	case P521AES256:
		sg, err = NewP521Signer(append(make([]byte, 34), seed...))
	}
	if err != nil {
		t.Fatalf("signer of %s: %v", name, err)
	}
	p := &person{name, sg, DefaultPolicy()}
	p.policy.Experimental = s.experimental()
	return p
}

func (p *person) credential() Credential { return BasicCredential([]byte(p.name)) }

func (p *person) create(t testing.TB, s Suite) *Group {
	t.Helper()
	g, err := Create(s, []byte("group "+p.name), p.credential(), p.signer, anyCredential{}, p.policy)
	if err != nil {
		t.Fatalf("%s creates: %v", p.name, err)
	}
	return g
}

func (p *person) keyPackage(t testing.TB, s Suite) ([]byte, *KeyPackageSecrets) {
	t.Helper()
	pub, priv, err := NewKeyPackage(s, p.credential(), p.signer, KeyPackageOptions{NotAfter: 1 << 40, Support: p.policy.Support, Experimental: p.policy.Experimental})
	if err != nil {
		t.Fatalf("key package of %s: %v", p.name, err)
	}
	return pub, priv
}

func (p *person) join(t testing.TB, welcome []byte, kp *KeyPackageSecrets) *Group {
	t.Helper()
	g, err := Join(welcome, kp, p.signer, anyCredential{}, p.policy)
	if err != nil {
		t.Fatalf("%s joins: %v", p.name, err)
	}
	return g
}

func (p *person) restore(t testing.TB, g *Group) *Group {
	t.Helper()
	state, err := g.Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	out, err := Unmarshal(state, p.signer, anyCredential{}, p.policy)
	if err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	return out
}

// pair is a sender and one device in one group.
func pair(t testing.TB, s Suite) (a, b *person, ga, gb *Group) {
	t.Helper()
	a, b = newPerson(t, s, "bank"), newPerson(t, s, "phone")
	ga = a.create(t, s)
	pub, priv := b.keyPackage(t, s)
	staged, err := ga.Add(pub)
	if err != nil {
		t.Fatalf("add: %v", err)
	}
	if err := ga.Apply(staged); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return a, b, ga, b.join(t, staged.Welcome, priv)
}

func mustProtect(t testing.TB, g *Group, text string) []byte {
	t.Helper()
	msg, err := g.Protect([]byte("aad"), []byte(text))
	if err != nil {
		t.Fatalf("protect: %v", err)
	}
	return msg
}

func mustOpen(t testing.TB, g *Group, msg []byte, text string) Application {
	t.Helper()
	ev, err := g.Process(msg)
	if err != nil {
		t.Fatalf("process: %v", err)
	}
	app, ok := ev.(Application)
	if !ok || string(app.Plaintext) != text || string(app.AAD) != "aad" {
		t.Fatalf("event %+v, want %q", ev, text)
	}
	return app
}

// follow processes a Commit and applies it at once.
func follow(g *Group, commit []byte) (Summary, error) {
	ev, err := g.Process(commit)
	if err != nil {
		return Summary{}, err
	}
	s := ev.(*Staged)
	return s.Summary, g.Apply(s)
}

func mustFollow(t testing.TB, g *Group, commit []byte) Summary {
	t.Helper()
	sum, err := follow(g, commit)
	if err != nil {
		t.Fatalf("follow a commit: %v", err)
	}
	return sum
}

func mustApply(t testing.TB, g *Group, s *Staged, err error) *Staged {
	t.Helper()
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	if err := g.Apply(s); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return s
}

func leavesOf(members []Member) (out []uint32) {
	for _, m := range members {
		out = append(out, m.Leaf)
	}
	return out
}

func agree(t testing.TB, groups ...*Group) {
	t.Helper()
	for i, g := range groups {
		if !bytes.Equal(g.EpochAuthenticator(), groups[0].EpochAuthenticator()) || !bytes.Equal(g.TreeHash(), groups[0].TreeHash()) {
			t.Fatalf("member %d sees another epoch than member 0", i)
		}
	}
}

func TestTwoMembers(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128, X25519ChaCha, P521AES256, P384AES256, X25519MLKEM768, P256MLKEM768} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			_, _, ga, gb := pair(t, s)
			agree(t, ga, gb)
			for i := range 3 {
				text := fmt.Sprintf("code %d", i)
				if app := mustOpen(t, gb, mustProtect(t, ga, text), text); app.Sender != ga.OwnLeaf() || app.Generation != uint32(i) {
					t.Fatalf("sender %d generation %d", app.Sender, app.Generation)
				}
				mustOpen(t, ga, mustProtect(t, gb, text), text)
			}
			ea, err := ga.Export("label", []byte("ctx"), 40)
			if err != nil {
				t.Fatal(err)
			}
			eb, err := gb.Export("label", []byte("ctx"), 40)
			if err != nil || !bytes.Equal(ea, eb) {
				t.Fatalf("exported secrets differ (%v)", err)
			}
			if m := gb.Members(); len(m) != 2 || string(m[0].Credential.Identity) != "bank" || m[1].Leaf != 1 {
				t.Fatalf("members %+v", m)
			}
		})
	}
}

// TestGroupLife runs a group of many through adds, removes and key updates, each
// committed by another member, every member restored from its state every time.
func TestGroupLife(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128, X25519MLKEM768, P256MLKEM768} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			people := map[uint32]*person{0: newPerson(t, s, "m0")}
			groups := map[uint32]*Group{0: people[0].create(t, s)}
			spread := func(by uint32, staged *Staged, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("stage: %v", err)
				}
				for leaf, g := range groups {
					if leaf == by {
						continue
					}
					g = people[leaf].restore(t, g)
					sum, err := follow(g, staged.Commit)
					if err != nil {
						t.Fatalf("leaf %d processes commit of %d: %v", leaf, by, err)
					}
					if groups[leaf] = g; sum.OwnRemoved {
						delete(groups, leaf)
					}
				}
				if err := groups[by].Apply(staged); err != nil {
					t.Fatal(err)
				}
				var all []*Group
				for _, g := range groups {
					all = append(all, g)
				}
				agree(t, all...)
				text := fmt.Sprintf("epoch %d", groups[by].Epoch())
				msg := mustProtect(t, groups[by], text)
				for leaf, g := range groups {
					if leaf != by {
						mustOpen(t, g, msg, text)
					}
				}
			}
			add := func(by uint32, names ...string) {
				t.Helper()
				var pubs [][]byte
				var privs []*KeyPackageSecrets
				var ps []*person
				for _, n := range names {
					p := newPerson(t, s, n)
					pub, priv := p.keyPackage(t, s)
					pubs, privs, ps = append(pubs, pub), append(privs, priv), append(ps, p)
				}
				staged, err := groups[by].Add(pubs...)
				if err != nil {
					t.Fatalf("add: %v", err)
				}
				for i, p := range ps {
					g := p.join(t, staged.Welcome, privs[i])
					defer func() { people[g.OwnLeaf()], groups[g.OwnLeaf()] = p, g }()
				}
				spread(by, staged, nil)
			}
			add(0, "m1", "m2", "m3")
			add(1, "m4")
			commit := func(by uint32) { staged, err := groups[by].Commit(CommitOptions{}); spread(by, staged, err) }
			remove := func(by uint32, who ...uint32) { staged, err := groups[by].Remove(who...); spread(by, staged, err) }
			commit(2)
			commit(4)
			add(3, "m5", "m6")
			commit(5)
			remove(0, 1, 3)
			add(6, "m7")
			commit(1) // m7 took the freed leaf
			remove(2, 4, 5, 6)
			commit(0)
			if n := len(groups[0].Members()); n != 3 {
				t.Fatalf("%d members, want 3", n)
			}
		})
	}
}

func TestStagedIsStale(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	one, err := ga.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := gb.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// mls-rs c09a3e69: a commit of another arrives while an own one is pending.
	if _, err := follow(ga, two.Commit); err != nil {
		t.Fatalf("process: %v", err)
	}
	if err := gb.Apply(two); err != nil {
		t.Fatal(err)
	}
	if err := ga.Apply(one); !errors.Is(err, ErrStale) {
		t.Fatalf("apply a commit of the epoch before: %v", err)
	}
	if err := gb.Apply(two); !errors.Is(err, ErrStale) {
		t.Fatalf("apply twice: %v", err)
	}
	agree(t, ga, gb)
	mustOpen(t, gb, mustProtect(t, ga, "still here"), "still here")
}

func digest(t testing.TB, g *Group) [32]byte {
	t.Helper()
	b, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// TestEpochsEnd: there is no epoch after the last one, so that none comes twice.
func TestEpochsEnd(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	staged := must(ga.Commit(CommitOptions{}))(t)
	for _, g := range []*Group{ga, gb} {
		e := g.cur()
		e.context.epoch = math.MaxUint64
		e.encoded = e.context.encode()
	}
	if _, err := ga.Commit(CommitOptions{}); !errors.Is(err, ErrRefused) {
		t.Errorf("a commit after the last epoch: %v", err)
	}
	msg := resignedPublic(t, ga, staged.Commit, func(pm *publicMessage) { pm.content.epoch = math.MaxUint64 })
	if _, err := gb.Process(msg); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("and one that is received: %v", err)
	}
}
