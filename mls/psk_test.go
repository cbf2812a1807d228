package mls

import (
	"bytes"
	"fmt"
	"testing"
)

func sharedKey(value string) func([]byte) ([]byte, bool) {
	return func(id []byte) ([]byte, bool) { return []byte(value), string(id) == "psk" }
}

// TestOwnPreSharedKeys: keys are injected by proposals of our own, from outside and
// from epochs of the group, and reach new members by the Welcome (8.4, 8.6).
func TestOwnPreSharedKeys(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			people, g := trio(t, s)
			for i := range g {
				people[i].policy.PSK, people[i].policy.PastResumption = sharedKey("one"), 2
				g[i] = people[i].restore(t, g[i])
			}
			everyone := func(o CommitOptions) *Staged {
				t.Helper()
				staged, err := g[0].Commit(o)
				mustApply(t, g[0], staged, err)
				for i := range g[1:] {
					g[i+1], _ = people[i+1].take(t, g[i+1], staged.Commit)
				}
				g[0] = people[0].restore(t, g[0])
				converse(t, g...)
				return staged
			}
			external := ExternalPSKProposal([]byte("psk"))
			first := g[0].Epoch()
			everyone(CommitOptions{Proposals: []Proposal{external}, NoPath: true})

			msg, err := g[1].Propose(ResumptionPSKProposal(first)) // by reference
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{0, 2} {
				if _, err := g[i].Process(msg); err != nil {
					t.Fatal(err)
				}
			}
			everyone(CommitOptions{Proposals: []Proposal{external, external, ResumptionPSKProposal(g[0].Epoch())}}) // two nonces

			_, err = g[0].Commit(CommitOptions{Proposals: []Proposal{ResumptionPSKProposal(first)}})
			if err != nil {
				t.Errorf("a key of two epochs ago: %v", err)
			}
			everyone(CommitOptions{})
			_, err = g[0].Commit(CommitOptions{Proposals: []Proposal{ResumptionPSKProposal(first)}})
			because(t, "a key of three epochs ago", err, ErrRefused, "not kept")
			_, err = g[0].Commit(CommitOptions{Proposals: []Proposal{ResumptionPSKProposal(g[0].Epoch() + 1)}})
			because(t, "a key of an epoch to come", err, ErrRefused, "not kept")
			_, err = g[0].Commit(CommitOptions{Proposals: []Proposal{ExternalPSKProposal([]byte("?"))}})
			because(t, "a key that nobody has", err, ErrRefused, "not known")

			// A member with another key under the same id is left behind, whole.
			staged, err := g[0].Commit(CommitOptions{Proposals: []Proposal{external}})
			if err != nil {
				t.Fatal(err)
			}
			before := digest(t, g[1])
			g[1].s.policy.PSK = sharedKey("two")
			_, err = g[1].Process(staged.Commit)
			because(t, "another key", err, ErrRefused, "confirmation tag")
			if digest(t, g[1]) != before {
				t.Error("a refused commit changed the state")
			}
			g[1].s.policy.PSK = sharedKey("one")

			tablet := newPerson(t, s, "tablet")
			pub, priv := tablet.keyPackage(t, s)
			staged, err = g[0].Commit(CommitOptions{Proposals: []Proposal{AddProposal(pub), ResumptionPSKProposal(g[0].Epoch())}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = Join(staged.Welcome, priv, tablet.signer, anyCredential{}, tablet.policy)
			because(t, "a welcome with a key of an epoch before it", err, ErrRefused, "not kept")

			staged = everyone(CommitOptions{Proposals: []Proposal{external, AddProposal(pub)}})
			_, err = Join(staged.Welcome, priv, tablet.signer, anyCredential{}, tablet.policy)
			because(t, "a joiner without the key", err, ErrRefused, "not known")
			tablet.policy.PSK = sharedKey("two")
			_, err = Join(staged.Welcome, priv, tablet.signer, anyCredential{}, tablet.policy)
			because(t, "a joiner with another key", err, ErrRefused, "does not decrypt")
			tablet.policy.PSK = sharedKey("one")
			converse(t, append(g, tablet.join(t, staged.Welcome, priv))...)
		})
	}
}

// TestPSKNonceIsFresh: the same key is never injected twice the same way (8.4).
func TestPSKNonceIsFresh(t *testing.T) {
	_, _, ga, gb := pair(t, P256AES128)
	nonces := make(map[string]bool)
	for range 10 {
		p, err := ExternalPSKProposal([]byte("psk")).draft(&drafting{ga.cur().cs, ga.GroupID(), &gb.s.policy})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.psk.nonce) != ga.cur().cs.nh() || bytes.Equal(p.psk.nonce, make([]byte, ga.cur().cs.nh())) {
			t.Fatalf("nonce %x", p.psk.nonce)
		}
		nonces[string(p.psk.nonce)] = true
	}
	if len(nonces) != 10 {
		t.Errorf("%d nonces for 10 proposals", len(nonces))
	}
}
