package mls

import (
	"bytes"
	"errors"
	"testing"
)

func encrypted(p *Policy) { p.EncryptHandshake = true }

// wireOf is the wire format and content type that anyone can read of a message.
func wireOf(t *testing.T, msg []byte) (wire uint16, kind uint8) {
	t.Helper()
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if m.private != nil {
		return m.wire, m.private.kind
	}
	return m.wire, m.public.content.kind
}

// TestEncryptHandshake: proposals and Commits go as PrivateMessage, padded like
// any, and take generations of the handshake ratchet; application messages keep
// their own.
func TestEncryptHandshake(t *testing.T) {
	c := newCircle(t, func(p *Policy) {
		encrypted(p)
		p.Padding = func(n int) int { return (1024 - n%1024) % 1024 }
	}, "bank", "phone", "tablet")
	proposal, err := c.groups[1].Propose(RemoveProposal(2))
	if err != nil {
		t.Fatal(err)
	}
	if wire, kind := wireOf(t, proposal); wire != wirePrivateMessage || kind != contentProposal {
		t.Errorf("proposal of wire format %d and kind %d", wire, kind)
	}
	longer, err := c.groups[1].Propose(ExternalPSKProposal([]byte("a longer proposal")))
	if err != nil || len(longer) != len(proposal) {
		t.Errorf("padded to %d and %d bytes, %v", len(proposal), len(longer), err)
	}
	if _, err := c.groups[0].Process(proposal); err != nil {
		t.Fatal(err)
	}
	if _, err := c.groups[0].Process(proposal); !errors.Is(err, ErrReplay) {
		t.Errorf("the proposal again: %v", err)
	}
	staged, err := c.groups[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if wire, kind := wireOf(t, staged.Commit); wire != wirePrivateMessage || kind != contentCommit {
		t.Errorf("commit of wire format %d and kind %d", wire, kind)
	}
	if g := c.groups[0].Generation(); g != 0 {
		t.Errorf("a handshake message took application generation %d", g)
	}
	mustFollow(t, c.groups[1], staged.Commit)
	mustApply(t, c.groups[0], staged, nil)
	agree(t, c.groups[0], c.groups[1])
	mustOpen(t, c.groups[1], mustProtect(t, c.groups[0], "x"), "x")
}

// TestHandshakeGenerations: an own encrypted Commit takes its generation at once,
// so that dropping it never leads to two messages under one key; a received one
// takes its generation only when it is applied.
func TestHandshakeGenerations(t *testing.T) {
	c := newCircle(t, encrypted, "bank", "phone")
	bank, phone := c.groups[0], c.groups[1]
	var staged *Staged
	for want := range uint32(3) {
		var err error
		if staged, err = bank.Commit(CommitOptions{}); err != nil { // dropped but for the last
			t.Fatal(err)
		}
		if have := generationOf(t, phone, staged.Commit); have != want {
			t.Fatalf("generation %d, want %d", have, want)
		}
		bank = c.people[0].restore(t, bank)
	}
	if staged, _ = bank.Commit(CommitOptions{}); staged == nil {
		t.Fatal("no commit")
	}
	before := digest(t, phone)
	for range 2 {
		if _, err := phone.Process(staged.Commit); err != nil || digest(t, phone) != before {
			t.Fatalf("a commit that is not applied: %v", err)
		}
	}
	for i := range staged.Commit {
		forged := bytes.Clone(staged.Commit)
		forged[i] ^= 1
		if _, err := phone.Process(forged); err == nil {
			t.Fatalf("byte %d changed: accepted", i)
		}
	}
	if digest(t, phone) != before {
		t.Fatal("a forged commit changed the state")
	}
	mustFollow(t, phone, staged.Commit)
	mustApply(t, bank, staged, nil)
	agree(t, bank, phone)
}

// TestMLSRSc09a3e69_TwoCommitsAtOnce (also mls-rs 492f03bc, c38cdefd): while an own Commit
// is pending, another's is applied: a member's, an outsider's, one that removes
// this member. The own one is stale then, and the group whole.
func TestMLSRSc09a3e69_TwoCommitsAtOnce(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		for name, other := range map[string]func(c *circle) []byte{
			"a member's": func(c *circle) []byte { return must(c.groups[1].Commit(CommitOptions{}))(c.t).Commit },
			"a member's, which names this one's update": func(c *circle) []byte {
				c.propose(0, UpdateProposal(LeafOptions{}))
				return must(c.groups[1].Commit(CommitOptions{}))(c.t).Commit
			},
			"an outsider's": func(c *circle) []byte {
				_, msg := newPerson(c.t, X25519AES128, "laptop").enter(c.t, c.groups[1], ExternalOptions{})
				return msg
			},
			"one that removes the committer": func(c *circle) []byte { return must(c.groups[1].Remove(0))(c.t).Commit },
		} {
			t.Run(name, func(t *testing.T) {
				c := newCircle(t, func(p *Policy) { p.EncryptHandshake, p.AllowExternal = encrypt, true }, "bank", "phone", "tablet")
				msg := other(c)
				own := must(c.groups[0].Commit(CommitOptions{Proposals: []Proposal{RemoveProposal(1)}}))(t)
				ev := must(c.groups[0].Process(msg))(t).(*Staged)
				if err := c.groups[0].Apply(ev); err != nil {
					t.Fatal(err)
				}
				mustFollow(t, c.groups[2], msg)
				for _, s := range []*Staged{own, ev, nil} {
					want := ErrStale
					if ev.Summary.OwnRemoved {
						want = ErrRemoved
					}
					if err := c.groups[0].Apply(s); !errors.Is(err, want) {
						t.Errorf("applied afterwards: %v", err)
					}
				}
				if ev.Summary.OwnRemoved {
					return
				}
				agree(t, c.groups[0], c.groups[2])
				c.groups[0] = c.people[0].restore(t, c.groups[0])
				mustFollow(t, c.groups[2], mustApply(t, c.groups[0], must(c.groups[0].Commit(CommitOptions{}))(t), nil).Commit)
				agree(t, c.groups[0], c.groups[2])
			})
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestOpenMLS2143_NewSigner: a Commit that changes the signature key is
// signed with the old one; its GroupInfo and Welcome, and all that follows, with
// the new one. A restart takes the signer of the leaf as it is.
func TestOpenMLS2143_NewSigner(t *testing.T) {
	c := newCircle(t, func(*Policy) {}, "bank", "phone")
	bank, phone := c.groups[0], c.groups[1]
	next, renamed := newPerson(t, X25519AES128, "bank"), BasicCredential([]byte("bank 2"))
	joiner := newPerson(t, X25519AES128, "laptop")
	pub, priv := joiner.keyPackage(t, X25519AES128)
	o := CommitOptions{Proposals: []Proposal{AddProposal(pub)}, Leaf: LeafOptions{Signer: next.signer, Credential: &renamed}}
	before := digest(t, bank)
	must(bank.Commit(o))(t)
	if digest(t, bank) != before {
		t.Fatal("a staged rotation changed the group")
	}
	plain := must(bank.Commit(CommitOptions{}))(t)
	mustFollow(t, phone, plain.Commit)
	mustApply(t, bank, plain, nil)
	agree(t, bank, phone)

	staged := must(bank.Commit(o))(t)
	sum := mustFollow(t, phone, staged.Commit)
	if len(sum.Updated) != 1 || string(sum.Updated[0].Credential.Identity) != "bank 2" || !bytes.Equal(sum.Updated[0].SignatureKey, next.signer.Public()) {
		t.Errorf("summary %+v", sum)
	}
	mustApply(t, bank, staged, nil)
	laptop := joiner.join(t, staged.Welcome, priv) // verifies the GroupInfo with the new leaf's key
	agree(t, bank, phone, laptop)
	mustOpen(t, laptop, mustProtect(t, bank, "new key"), "new key")
	state := must(bank.Marshal())(t)
	if _, err := Unmarshal(state, c.people[0].signer, anyCredential{}, c.people[0].policy); !errors.Is(err, ErrRefused) {
		t.Errorf("the old signer: %v", err)
	}
	bank = must(Unmarshal(state, next.signer, anyCredential{}, c.people[0].policy))(t)
	mustOpen(t, phone, mustProtect(t, bank, "after a restart"), "after a restart")
}

// TestUpdateWithNewSigner: the same by an update that another member commits.
// After a restart the new signer must be given again, before or after the Commit.
func TestUpdateWithNewSigner(t *testing.T) {
	for _, restart := range []string{"no", "told before", "told after"} {
		t.Run(restart, func(t *testing.T) {
			c := newCircle(t, func(*Policy) {}, "bank", "phone")
			next := newPerson(t, X25519AES128, "phone")
			c.propose(1, UpdateProposal(LeafOptions{Signer: next.signer}))
			if restart != "no" {
				c.groups[1] = c.people[1].restore(t, c.groups[1])
			}
			phone := c.groups[1]
			if err := phone.SetSigner(c.people[0].signer); !errors.Is(err, ErrRefused) {
				t.Errorf("a signer of nobody: %v", err)
			}
			if restart == "told before" {
				if err := phone.SetSigner(next.signer); err != nil {
					t.Fatal(err)
				}
			}
			staged := must(c.groups[0].Commit(CommitOptions{}))(t)
			mustFollow(t, phone, staged.Commit)
			mustApply(t, c.groups[0], staged, nil)
			if restart == "told after" {
				before := digest(t, phone)
				if _, err := phone.Protect(nil, nil); !errors.Is(err, ErrNoSigner) || digest(t, phone) != before {
					t.Errorf("protect without the new signer: %v", err)
				}
				if err := phone.SetSigner(c.people[1].signer); !errors.Is(err, ErrRefused) {
					t.Errorf("the old signer: %v", err)
				}
				if err := phone.SetSigner(next.signer); err != nil {
					t.Fatal(err)
				}
			}
			mustOpen(t, c.groups[0], mustProtect(t, phone, "new key"), "new key")
		})
	}
}
