package mls

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// Defects of other engines that concern a group over its life. The README lists
// all of them with their tests.

// TestGHSAqr9h_x63w_vqfm_RestoreAfterEveryStep (also Amethyst PR 3499): every send
// and every receipt on a state just restored uses no key twice, opens nothing
// twice, and leaves a state from which no older key follows.
func TestGHSAqr9h_x63w_vqfm_RestoreAfterEveryStep(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		c := newCircle(t, func(p *Policy) { capable(p); p.EncryptHandshake, p.PastEpochs = encrypt, 1 }, "bank", "phone")
		generations := make(map[string]bool)
		var gone [][]byte
		used := make(map[string][]byte)
		for round := range 3 {
			e := c.groups[1].cur()
			chain := secretsOf(suite1, cloneRatchet(must(e.secrets.view(suite1, 0))(t).pair.application), 4)
			for i := range 4 {
				msg := mustProtect(t, c.groups[0], fmt.Sprint(i))
				c.restart()
				name := fmt.Sprint(c.groups[0].Epoch(), " ", generationOf(t, c.groups[1], msg))
				if generations[name] {
					t.Fatalf("epoch and generation %s twice", name)
				}
				generations[name] = true
				mustOpen(t, c.groups[1], msg, fmt.Sprint(i))
				c.restart()
				gone = append(gone, msg)
				for _, what := range []string{"key", "ratchet secret"} {
					name := fmt.Sprintf("%s %d", what, i)
					used[fmt.Sprintf("%s of round %d", name, round)] = chain[name]
				}
				for _, old := range gone {
					if _, err := c.groups[1].Process(old); !errors.Is(err, ErrReplay) && !errors.Is(err, ErrWrongEpoch) {
						t.Fatalf("an old message opens after a restart: %v", err)
					}
				}
				for who, g := range c.groups {
					state := must(g.Marshal())(t)
					for what, s := range used {
						if bytes.Contains(state, s) {
							t.Fatalf("member %d still has %s", who, what)
						}
					}
				}
			}
			c.propose(0, CustomProposal(customType, nil))
			c.restart()
			staged := must(c.groups[1].Commit(CommitOptions{}))(t)
			mustFollow(t, c.groups[0], staged.Commit)
			mustApply(t, c.groups[1], staged, nil)
			c.restart()
		}
	}
}

// TestMLSRS228_TwiceAndForged (543b050c): a message that comes twice, and one that
// is forged under the generation of another, cost nothing: neither the message
// itself nor any that follows, of any kind, in this epoch and the one before.
func TestMLSRS228_TwiceAndForged(t *testing.T) {
	c := newCircle(t, func(p *Policy) { capable(p); p.EncryptHandshake, p.PastEpochs = true, 1 }, "bank", "phone", "mallory")
	phone := c.groups[1]
	spoil := func(what string, msg []byte, again error) {
		t.Helper()
		before := digest(t, phone)
		forged := bytes.Clone(msg)
		forged[len(forged)-1] ^= 1
		if _, err := phone.Process(forged); err == nil || digest(t, phone) != before {
			t.Errorf("%s, forged: %v", what, err)
		}
		must(phone.Process(msg))(t)
		before = digest(t, phone)
		for range 3 {
			if _, err := phone.Process(msg); !errors.Is(err, again) || digest(t, phone) != before {
				t.Errorf("%s again: %v", what, err)
			}
		}
	}
	late := [][]byte{mustProtect(t, c.groups[0], "late 0"), mustProtect(t, c.groups[0], "late 1")}
	for i := range 3 {
		spoil("application message", mustProtect(t, c.groups[0], fmt.Sprint(i)), ErrReplay)
	}
	// A forger inside names a generation to come, which the sender then uses.
	if _, err := phone.Process(impersonate(t, c.groups[2], 0, 5, nil)); !errors.Is(err, ErrRefused) {
		t.Errorf("another's generation: %v", err)
	}
	spoil("the next message", mustProtect(t, c.groups[0], "next"), ErrReplay)
	for range 2 {
		msg := must(c.groups[0].Propose(CustomProposal(customType, []byte("x"))))(t)
		must(c.groups[2].Process(msg))(t)
		spoil("proposal", msg, ErrReplay)
	}
	staged := must(c.groups[0].Commit(CommitOptions{}))(t)
	spoil("commit", staged.Commit, nil) // it is used up when it is applied
	mustFollow(t, c.groups[2], staged.Commit)
	mustFollow(t, phone, staged.Commit)
	mustApply(t, c.groups[0], staged, nil)
	for _, msg := range late {
		spoil("late message", msg, ErrReplay)
	}
	converse(t, c.groups...)
}

// TestOpenMLS453_OutOfOrder (#18): whatever the order of some messages, each opens
// once; a gap of two or more loses nothing inside the window.
func TestOpenMLS453_OutOfOrder(t *testing.T) {
	const n = 5
	_, b, ga, gb := pair(t, X25519AES128)
	var msgs [][]byte
	for i := range n {
		msgs = append(msgs, mustProtect(t, ga, fmt.Sprint(i)))
	}
	orders := 0
	var permute func(order []int, left []int)
	permute = func(order, left []int) {
		if len(left) > 0 {
			for i, x := range left {
				rest := append(append([]int{}, left[:i]...), left[i+1:]...)
				permute(append(order[:len(order):len(order)], x), rest)
			}
			return
		}
		orders++
		g := b.restore(t, gb)
		for _, i := range order {
			mustOpen(t, g, msgs[i], fmt.Sprint(i))
			if _, err := g.Process(msgs[i]); !errors.Is(err, ErrReplay) {
				t.Fatalf("order %v: message %d again: %v", order, i, err)
			}
		}
		if r := g.cur().secrets.ratchets[0].application; len(r.skipped) != 0 || r.next != n {
			t.Fatalf("order %v: %d keys left, next %d", order, len(r.skipped), r.next)
		}
	}
	permute(nil, []int{0, 1, 2, 3, 4})
	if orders != 120 {
		t.Errorf("%d orders", orders)
	}
}

// TestRFC9750_InsiderReplay (mls-architecture #271): what a member signed is signed
// without the generation. Any other member can encrypt it once more under another
// generation of the signer's ratchet, and MLS does NOT tell: receivers deduplicate
// by an identifier in the AAD, which is signed. In another epoch it is refused.
func TestRFC9750_InsiderReplay(t *testing.T) {
	_, g := trio(t, X25519AES128)
	msg := must(g[0].Protect([]byte("message id 1"), []byte("pay 10")))(t)
	pm := must(readMessage(msg, DefaultLimits()))(t).private
	signed, _, _, _, err := g[2].openPrivate(g[2].cur().reading(), pm)
	if err != nil {
		t.Fatal(err)
	}
	replay := func(generation uint32) []byte {
		return sealRaw(t, g[2], contentApplication, 0, generation, pm.aad, encodeBody(signed))
	}
	seen := make(map[string]int)
	for _, m := range [][]byte{msg, replay(1), replay(2)} {
		app := must(g[1].Process(m))(t).(Application)
		if app.Sender != 0 || string(app.Plaintext) != "pay 10" {
			t.Fatalf("%+v", app)
		}
		seen[string(app.AAD)]++
	}
	if len(seen) != 1 || seen["message id 1"] != 3 {
		t.Errorf("identifiers %v: they do not tell a replay", seen)
	}
	// The insider cannot give it another identifier, or take it into another epoch.
	if _, err := g[1].Process(sealRaw(t, g[2], contentApplication, 0, 3, []byte("message id 2"), encodeBody(signed))); !errors.Is(err, ErrRefused) {
		t.Errorf("under another identifier: %v", err)
	}
	staged := must(g[0].Commit(CommitOptions{}))(t)
	mustFollow(t, g[1], staged.Commit)
	mustFollow(t, g[2], staged.Commit)
	mustApply(t, g[0], staged, nil)
	signed.content.epoch++
	if _, err := g[1].Process(replay(0)); !errors.Is(err, ErrRefused) {
		t.Errorf("in another epoch: %v", err)
	}
	mustOpen(t, g[1], mustProtect(t, g[0], "honest"), "honest")
}
