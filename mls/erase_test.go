package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
)

// A drawing remembers the very memory that its random bytes were put into.
type drawing struct{ drawn [][]byte }

func (r *drawing) Read(p []byte) (int, error) {
	r.drawn = append(r.drawn, p)
	return rand.Read(p)
}

func zero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

// TestSecretsAreOverwritten: what only led to an epoch or a key is gone when it
// has.
func TestSecretsAreOverwritten(t *testing.T) {
	c := newCircle(t, func(p *Policy) { p.SkippedKeys, p.PastResumption = 2, 1 }, "bank", "phone", "tablet")
	g, drawn := c.groups[0], new(drawing)
	g.s.policy.Rand = drawn
	pub, _ := newPerson(t, X25519AES128, "watch").keyPackage(t, X25519AES128)
	staged := must(g.Commit(CommitOptions{Proposals: []Proposal{AddProposal(pub)}}))(t)
	secrets := 0
	for _, b := range drawn.drawn {
		if len(b) != suite1.nh() {
			continue // a reuse guard or a grease value
		}
		if secrets++; !zero(b) {
			t.Error("a path secret or a seed of a commit is left")
		}
	}
	if secrets < 2 {
		t.Fatalf("%d secrets drawn", secrets)
	}
	mustApply(t, g, staged, nil)
	mustFollow(t, c.groups[1], staged.Commit)

	e := g.cur()
	x := &transition{plan: must(e.plan(nil))(t), content: &authContent{content: framedContent{kind: contentCommit, commit: new(commit)}},
		privs: e.privs, initSecret: e.keys.init, commitSecret: bytes.Repeat([]byte{1}, 32), pskSecret: bytes.Repeat([]byte{2}, 32)}
	e.next(x)
	if !zero(x.commitSecret) || !zero(x.pskSecret) || zero(e.keys.init) {
		t.Error("what a commit injects is left, or what the epoch still needs is gone")
	}

	var msgs [][]byte
	for range 5 {
		msgs = append(msgs, mustProtect(t, g, "code"))
	}
	mustOpen(t, c.groups[1], msgs[2], "code")
	r := &c.groups[1].cur().secrets.ratchets[0].application
	first, second := r.skipped[0].key, r.skipped[1].key
	mustOpen(t, c.groups[1], msgs[4], "code")
	if !zero(first) || zero(second) {
		t.Error("the key that was evicted is left, or one is gone that is kept")
	}

	kept := c.groups[1].cur().past[0].psk
	if zero(kept) {
		t.Fatal("the resumption key of the epoch before is not there")
	}
	staged = must(g.Commit(CommitOptions{}))(t)
	mustApply(t, g, staged, nil)
	mustFollow(t, c.groups[1], staged.Commit)
	if !zero(kept) {
		t.Error("the resumption key of an epoch is left that the policy does not keep")
	}
}
