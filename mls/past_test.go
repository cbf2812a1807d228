package mls

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

// remembering keeps two epochs, for a minute by a clock that the test moves.
func remembering(now *time.Time) func(*Policy) {
	return func(p *Policy) {
		p.PastEpochs, p.PastEpochTTL, p.MaxLifetime = 2, time.Minute, 0
		p.Now = func() time.Time { return *now }
	}
}

func newRemembering(t *testing.T) (c *circle, now *time.Time) {
	t.Helper()
	now = new(time.Unix(1_800_000_000, 0))
	return newCircle(t, remembering(now), "bank", "phone", "tablet"), now
}

// TestOpenMLS1944_PastEpochs: a message that comes late is opened with what its epoch left,
// once, in any order, also after a restart; its sender is who it was then.
func TestOpenMLS1944_PastEpochs(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint(restart), func(t *testing.T) {
			c, _ := newRemembering(t)
			var late [][]byte
			for i := range 4 {
				late = append(late, mustProtect(t, c.groups[0], fmt.Sprint(i)))
			}
			fromTablet := mustProtect(t, c.groups[2], "tablet")
			mustOpen(t, c.groups[1], late[2], "2")
			renamed := BasicCredential([]byte("bank 2"))
			c.commit(0, CommitOptions{Leaf: LeafOptions{Credential: &renamed}})
			c.commit(1, CommitOptions{Proposals: []Proposal{RemoveProposal(2)}})
			phone := c.groups[1]
			for _, i := range []int{3, 0, 1} {
				if restart {
					phone = c.people[1].restore(t, phone)
				}
				app := mustOpen(t, phone, late[i], fmt.Sprint(i))
				if app.Epoch != 1 || app.Generation != uint32(i) || string(app.Member.Credential.Identity) != "bank" || app.Member.Leaf != 0 {
					t.Errorf("message %d: %+v", i, app)
				}
			}
			if restart {
				phone = c.people[1].restore(t, phone)
			}
			if app := mustOpen(t, phone, fromTablet, "tablet"); string(app.Member.Credential.Identity) != "tablet" {
				t.Errorf("a member that is gone: %+v", app)
			}
			if restart {
				phone = c.people[1].restore(t, phone)
			}
			before := digest(t, phone)
			for i, msg := range append(late, fromTablet) {
				if _, err := phone.Process(msg); !errors.Is(err, ErrReplay) {
					t.Errorf("message %d again: %v", i, err)
				}
			}
			if _, err := c.groups[0].Process(late[0]); !errors.Is(err, ErrOwnMessage) {
				t.Errorf("own message of a past epoch: %v", err)
			}
			if digest(t, phone) != before {
				t.Error("a replay changed the state")
			}
		})
	}
}

// TestPastEpochIsForged: what is true of a message of this epoch is true of one
// of the past: no byte may be changed, and nothing is burnt.
func TestPastEpochIsForged(t *testing.T) {
	c, _ := newRemembering(t)
	msg := mustProtect(t, c.groups[0], "late")
	stranger := impersonate(t, c.groups[2], 0, 0, nil)
	c.commit(0, CommitOptions{})
	before := digest(t, c.groups[1])
	for i := range msg {
		forged := bytes.Clone(msg)
		forged[i] ^= 1
		if _, err := c.groups[1].Process(forged); err == nil {
			t.Fatalf("byte %d changed: opened", i)
		}
	}
	if _, err := c.groups[1].Process(stranger); !errors.Is(err, ErrRefused) {
		t.Errorf("signed by another member: %v", err)
	}
	if digest(t, c.groups[1]) != before {
		t.Fatal("a forged message changed the state")
	}
	mustOpen(t, c.groups[1], msg, "late")
}

// TestPastEpochsAreBounded: by number, by time, and not kept at all by default or
// without the clock that a time needs.
func TestPastEpochsAreBounded(t *testing.T) {
	for name, x := range map[string]struct {
		policy  func(*Policy)
		commits int
		passed  time.Duration
		opens   bool
	}{
		"default":              {func(p *Policy) { p.PastEpochs = 0 }, 1, 0, false},
		"kept":                 {func(*Policy) {}, 2, 0, true},
		"one epoch too many":   {func(*Policy) {}, 3, 0, false},
		"in time":              {func(*Policy) {}, 1, time.Minute, true},
		"too late":             {func(*Policy) {}, 1, time.Minute + time.Second, false},
		"without a time":       {func(p *Policy) { p.PastEpochTTL = 0 }, 1, 1000 * time.Hour, true},
		"a time, but no clock": {func(p *Policy) { p.Now = nil }, 1, 0, false},
		"nothing is too many":  {func(p *Policy) { p.PastEpochs = 1 << 30 }, pastEpochsMax, 0, true},
		"but for the bound":    {func(p *Policy) { p.PastEpochs = 1 << 30 }, pastEpochsMax + 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_800_000_000, 0)
			c := newCircle(t, func(p *Policy) { remembering(&now)(p); x.policy(p) }, "bank", "phone")
			msg := mustProtect(t, c.groups[0], "late")
			first := c.groups[1].cur().keys.senderData
			secret := bytes.Clone(first)
			for range x.commits {
				c.commit(0, CommitOptions{})
			}
			var kept *pastEpoch
			if len(c.groups[1].cur().earlier) > 0 {
				kept = c.groups[1].cur().earlier[0]
			}
			now = now.Add(x.passed)
			ev, err := c.groups[1].Process(msg)
			if x.opens != (err == nil) || err != nil && !errors.Is(err, ErrWrongEpoch) {
				t.Fatalf("%+v %v", ev, err)
			}
			if state := must(c.groups[1].Marshal())(t); bytes.Contains(state, secret) != x.opens {
				t.Errorf("sender data secret in the state: %v", !x.opens)
			}
			if kept != nil && x.passed > time.Minute && !x.opens && !bytes.Equal(kept.senderData, make([]byte, 32)) {
				t.Error("an epoch whose time is over is not overwritten")
			}
			if !bytes.Equal(first, make([]byte, 32)) {
				t.Error("the epoch that ended still has its own secrets")
			}
		})
	}
}

// TestPastEpochSecrets: a state that keeps past epochs holds, of each, nothing
// that leads to another epoch, opens a handshake message or a message that was
// opened or sent.
func TestPastEpochSecrets(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		now := time.Unix(1_800_000_000, 0)
		c := newCircle(t, func(p *Policy) { remembering(&now)(p); p.EncryptHandshake = encrypt }, "bank", "phone", "tablet")
		phone := c.groups[1]
		e := phone.cur()
		gone, kept := map[string][]byte{}, map[string][]byte{"sender data": bytes.Clone(e.keys.senderData)}
		for i, s := range e.keys.all() {
			if s != &e.keys.senderData && s != &e.keys.resumption {
				gone[fmt.Sprint("epoch secret ", i)] = bytes.Clone(*s)
			}
		}
		gone["resumption"] = bytes.Clone(e.keys.resumption)
		for x, priv := range e.privs {
			gone[fmt.Sprint("private key ", x)] = bytes.Clone(priv)
		}
		bank := must(c.groups[0].cur().secrets.view(e.cs, 0))(t).pair
		gone["bank's handshake ratchet"] = bytes.Clone(bank.handshake.secret)
		for what, s := range secretsOf(e.cs, cloneRatchet(bank.handshake), 2) {
			gone["bank's handshake "+what] = s
		}
		for what, s := range secretsOf(e.cs, cloneRatchet(bank.application), 4) {
			gone["bank's "+what] = s
		}
		own := e.secrets.ratchets[1]
		gone["own handshake ratchet"] = bytes.Clone(own.handshake.secret)
		for what, s := range secretsOf(e.cs, cloneRatchet(own.application), 4) {
			gone["own "+what] = s
		}
		for _, still := range []string{"key 1", "nonce 1", "ratchet secret 3"} {
			kept[still] = gone["bank's "+still]
			delete(gone, "bank's "+still)
		}
		delete(gone, "bank's key 3") // follow from ratchet secret 3, and stand nowhere
		delete(gone, "bank's nonce 3")
		mustProtect(t, phone, "own")
		for i := range 3 {
			if msg := mustProtect(t, c.groups[0], fmt.Sprint(i)); i != 1 { // 1 is late
				mustOpen(t, phone, msg, fmt.Sprint(i))
			}
		}
		c.commit(0, CommitOptions{}) // encrypted, it is bank's handshake generation 0
		c.commit(1, CommitOptions{})
		state := must(phone.Marshal())(t)
		for what, s := range gone {
			if bytes.Contains(state, s) {
				t.Errorf("encrypt %v: the state holds %s of a past epoch", encrypt, what)
			}
		}
		for what, s := range kept {
			if !bytes.Contains(state, s) {
				t.Errorf("encrypt %v: the state lacks %s of a past epoch: this test sees nothing", encrypt, what)
			}
		}
	}
}

// TestPastEpochEndedPrivately: a Commit that is the first message of its sender
// leaves no secret above the sender's leaf, from which its key would follow.
func TestPastEpochEndedPrivately(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		now := time.Unix(1_800_000_000, 0)
		c := newCircle(t, func(p *Policy) { remembering(&now)(p); p.EncryptHandshake = encrypt }, "bank", "phone", "tablet")
		late := mustProtect(t, c.groups[2], "late")
		mustFollow(t, c.groups[1], must(c.groups[2].Commit(CommitOptions{}))(t).Commit)
		left := c.groups[1].cur().earlier[0].secrets
		if have := left.ratchets[2] != nil && left.nodes[leafNodeIndex(2)] == nil && left.nodes[parentOf(leafNodeIndex(2))] == nil; have != encrypt {
			t.Errorf("encrypt %v: the sender's ratchets are derived: %v", encrypt, have)
		}
		mustOpen(t, c.groups[1], late, "late")
	}
}

// TestMessageBetweenCommitAndApply: what is opened while a Commit of the same
// sender is staged stays opened, in the past epoch as well.
func TestMessageBetweenCommitAndApply(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		now := time.Unix(1_800_000_000, 0)
		c := newCircle(t, func(p *Policy) { remembering(&now)(p); p.EncryptHandshake = encrypt }, "bank", "phone", "tablet")
		first, second := mustProtect(t, c.groups[2], "first"), mustProtect(t, c.groups[2], "second")
		phone := c.groups[1]
		staged := must(phone.Process(must(c.groups[2].Commit(CommitOptions{}))(t).Commit))(t).(*Staged)
		mustOpen(t, phone, second, "second")
		if err := phone.Apply(staged); err != nil {
			t.Fatal(err)
		}
		if _, err := phone.Process(second); !errors.Is(err, ErrReplay) {
			t.Errorf("encrypt %v: opened for the second time: %v", encrypt, err)
		}
		mustOpen(t, phone, first, "first")
	}
}

// TestPastEpochHandshake: proposals and Commits of a past epoch stay out.
func TestPastEpochHandshake(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		now := time.Unix(1_800_000_000, 0)
		c := newCircle(t, func(p *Policy) { remembering(&now)(p); p.EncryptHandshake = encrypt }, "bank", "phone", "tablet")
		proposal := must(c.groups[2].Propose(RemoveProposal(0)))(t)
		commit := must(c.groups[2].Commit(CommitOptions{}))(t).Commit
		if err := c.groups[2].DropProposals(); err != nil {
			t.Fatal(err)
		}
		c.commit(0, CommitOptions{})
		before := digest(t, c.groups[1])
		for _, msg := range [][]byte{proposal, commit} {
			if _, err := c.groups[1].Process(msg); !errors.Is(err, ErrWrongEpoch) || digest(t, c.groups[1]) != before {
				t.Errorf("handshake message of a past epoch: %v", err)
			}
		}
	}
}

// TestPastEpochIsChecked: a stored past epoch that does not fit is refused.
func TestPastEpochIsChecked(t *testing.T) {
	c, _ := newRemembering(t)
	mustOpen(t, c.groups[1], mustProtect(t, c.groups[0], "x"), "x")
	c.commit(0, CommitOptions{})
	for name, change := range map[string]func(p *pastEpoch){
		"as it is":             func(*pastEpoch) {},
		"another group":        func(p *pastEpoch) { p.context.groupID = []byte("another") },
		"another suite":        func(p *pastEpoch) { p.context.suite = P256AES128 },
		"an epoch to come":     func(p *pastEpoch) { p.context.epoch = 99 },
		"no leaves":            func(p *pastEpoch) { p.secrets.leaves = 0 },
		"three leaves":         func(p *pastEpoch) { p.secrets.leaves = 3 },
		"too many leaves":      func(p *pastEpoch) { p.secrets.leaves = 1 << 31 },
		"short sender data":    func(p *pastEpoch) { p.senderData = p.senderData[1:] },
		"members out of order": func(p *pastEpoch) { p.members[0], p.members[1] = p.members[1], p.members[0] },
		"a member far away":    func(p *pastEpoch) { p.members[2].Leaf = 1 << 30 },
		"own ratchets":         func(p *pastEpoch) { p.secrets.ratchets[p.own] = p.secrets.ratchets[0] },
		"a handshake ratchet":  func(p *pastEpoch) { p.secrets.ratchets[0].handshake = p.secrets.ratchets[0].application },
		"a short ratchet":      func(p *pastEpoch) { p.secrets.ratchets[0].application.secret = []byte{1} },
		"a node far away":      func(p *pastEpoch) { p.secrets.nodes[1<<30] = make([]byte, 32) },
	} {
		g := c.people[1].restore(t, c.groups[1])
		change(g.cur().earlier[0])
		_, err := Unmarshal(must(g.Marshal())(t), c.people[1].signer, anyCredential{}, c.people[1].policy)
		if (err == nil) != (name == "as it is") || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPastEpochStagedEarly: between the arrival of a Commit and its application
// other messages are opened. What they used up is gone from the past epoch too,
// also where the Commit was the first message of a part of the tree.
func TestPastEpochStagedEarly(t *testing.T) {
	for _, by := range []int{2, 3} { // the Commit's sender and its neighbour in the tree
		now := time.Unix(1_800_000_000, 0)
		c := newCircle(t, func(p *Policy) { remembering(&now)(p); p.EncryptHandshake = true }, "bank", "phone", "tablet", "watch")
		e := c.groups[by].cur()
		secrets := secretsOf(e.cs, cloneRatchet(e.secrets.ratchets[uint32(by)].application), 1)
		secrets["node"] = bytes.Clone(must(c.groups[1].cur().secrets.view(e.cs, uint32(5-by)))(t).derived[leafNodeIndex(uint32(by))])
		msg, late := mustProtect(t, c.groups[by], "between"), mustProtect(t, c.groups[by], "late")
		staged := must(c.groups[1].Process(must(c.groups[2].Commit(CommitOptions{}))(t).Commit))(t).(*Staged)
		mustOpen(t, c.groups[1], msg, "between")
		mustApply(t, c.groups[1], staged, nil)
		if _, err := c.groups[1].Process(msg); !errors.Is(err, ErrReplay) {
			t.Errorf("leaf %d: the message again, from the past: %v", by, err)
		}
		state := must(c.groups[1].Marshal())(t)
		for what, s := range secrets {
			if bytes.Contains(state, s) {
				t.Errorf("leaf %d: the state holds %s of a message that was opened", by, what)
			}
		}
		mustOpen(t, c.groups[1], late, "late")
	}
}
