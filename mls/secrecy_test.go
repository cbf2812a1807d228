package mls

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// What 16.6 says of compromise, as tests. Forward secrecy: a state that is
// captured opens nothing that was sent or opened before. Post-compromise security:
// who was captured and then renews its leaf shuts the captured state out.

// A ledger knows, of each member, every secret that is behind it, and looks for
// them in all states after each step. It derives them itself, from what the
// members of an epoch hold at its beginning.
type ledger struct {
	*circle
	keeps  int // past epochs
	chains map[uint64]map[string][]byte
	behind []map[string][]byte // by member
	used   []map[string]bool   // ratchet secrets of messages, by member
	found  int                 // secrets that a state held while they were not yet behind
}

const ledgerGenerations = 8 // of each ratchet that a chain follows

func chainName(epoch uint64, leaf int, kind uint8, what string) string {
	return fmt.Sprintf("epoch %d leaf %d kind %d %s", epoch, leaf, kind, what)
}

// begins derives all ratchets of the epoch that everybody is in.
func (l *ledger) begins() {
	epoch := l.groups[0].Epoch()
	chain := make(map[string][]byte)
	for leaf, g := range l.groups {
		if g.Removed() {
			continue
		}
		witness := l.groups[0]
		if leaf == 0 {
			witness = l.groups[1]
		}
		pair := must(witness.cur().secrets.view(suite1, uint32(leaf)))(l.t).pair
		for kind, r := range map[uint8]ratchet{contentApplication: pair.application, contentProposal: pair.handshake} {
			for what, s := range secretsOf(suite1, cloneRatchet(r), ledgerGenerations) {
				chain[chainName(epoch, leaf, kind, what)] = s
			}
		}
	}
	l.chains[epoch] = chain
}

// spends puts one message behind a member: its key, and the ratchet secret of its
// generation.
func (l *ledger) spends(member int, epoch uint64, leaf int, kind uint8, generation int) {
	for _, what := range []string{"key", "nonce", "ratchet secret"} {
		name := chainName(epoch, leaf, kind, fmt.Sprintf("%s %d", what, generation))
		l.behind[member][name] = l.chains[epoch][name]
	}
	l.used[member][string(l.chains[epoch][chainName(epoch, leaf, kind, fmt.Sprint("ratchet secret ", generation))])] = true
}

// leadsBack says that a secret above a leaf is left from which the leaf's ratchets
// follow, though a message of them was used.
func (l *ledger) leadsBack(member int, t *secretTree) bool {
	whole := *t
	whole.past = false // handshake ratchets too
	for leaf := range t.leaves {
		if t.ratchets[leaf] != nil {
			continue
		}
		if d, err := whole.view(suite1, leaf); err == nil &&
			(l.used[member][string(d.pair.application.secret)] || l.used[member][string(d.pair.handshake.secret)]) {
			return true
		}
	}
	return false
}

// ends puts an epoch behind a member, but for what opens late messages if it keeps
// them.
func (l *ledger) ends(member int, e *epoch) func() {
	number := e.context.epoch
	kept := make(map[string][]byte)
	for i, s := range e.keys.all() {
		kept[fmt.Sprintf("epoch %d secret %d", number, i)] = bytes.Clone(*s)
	}
	if l.keeps > 0 {
		delete(kept, fmt.Sprintf("epoch %d secret 0", number)) // sender data
	}
	privs := make(map[nodeIndex][]byte)
	for x, priv := range e.privs {
		privs[x] = bytes.Clone(priv)
	}
	return func() {
		g := l.groups[member]
		for name, s := range kept {
			l.behind[member][name] = s
		}
		for x, priv := range privs {
			if g.Removed() || !bytes.Equal(g.cur().privs[x], priv) {
				l.behind[member][fmt.Sprintf("epoch %d private key %d", number, x)] = priv
			}
		}
		for name, s := range l.chains[number] {
			mine := bytes.HasPrefix([]byte(name), []byte(chainName(number, member, contentApplication, "")))
			handshake := bytes.Contains([]byte(name), fmt.Appendf(nil, "kind %d", contentProposal))
			if l.keeps == 0 || mine || handshake {
				l.behind[member][name] = s
			}
		}
		if over := number - uint64(l.keeps); l.keeps > 0 && number >= uint64(l.keeps) {
			for name, s := range l.chains[over] {
				l.behind[member][name] = s
			}
		}
	}
}

// look searches every state for what is behind its member.
func (l *ledger) look(step string) {
	l.t.Helper()
	for i, g := range l.groups {
		if g.Removed() {
			continue
		}
		state := must(g.Marshal())(l.t)
		for name, s := range l.behind[i] {
			if bytes.Contains(state, s) {
				l.t.Fatalf("after %s, the state of %s holds %s", step, l.people[i].name, name)
			}
		}
		back := l.leadsBack(i, g.cur().secrets)
		for _, past := range g.cur().earlier {
			back = back || l.leadsBack(i, past.secrets)
		}
		if back {
			l.t.Fatalf("after %s, the state of %s holds a secret above one that was used", step, l.people[i].name)
		}
		for name, s := range l.chains[g.Epoch()] {
			if l.behind[i][name] == nil && bytes.Contains(state, s) {
				l.found++
			}
		}
	}
}

// say sends one message, which is opened by the members named.
func (l *ledger) say(by int, to ...int) []byte {
	g := l.groups[by]
	generation := int(g.Generation())
	msg := mustProtect(l.t, g, "x")
	l.spends(by, g.Epoch(), by, contentApplication, generation)
	l.hear(msg, by, g.Epoch(), generation, to...)
	return msg
}

func (l *ledger) hear(msg []byte, by int, epoch uint64, generation int, to ...int) {
	for _, i := range to {
		mustOpen(l.t, l.groups[i], msg, "x")
		l.spends(i, epoch, by, contentApplication, generation)
	}
	l.look(fmt.Sprintf("message %d of %s", generation, l.people[by].name))
}

// turn takes everybody through a Commit.
func (l *ledger) turn(by int, o CommitOptions) {
	l.t.Helper()
	var after []func()
	for i, g := range l.groups {
		if !g.Removed() {
			after = append(after, l.ends(i, g.cur()))
		}
	}
	e := l.groups[by].cur()
	epoch, generation := e.context.epoch, int(e.secrets.ratchets[uint32(by)].handshake.next)
	s := must(l.groups[by].Commit(o))(l.t)
	for i, g := range l.groups {
		if l.people[i].policy.EncryptHandshake {
			l.spends(i, epoch, by, contentProposal, generation)
		}
		if i != by && !g.Removed() {
			mustFollow(l.t, g, s.Commit)
		}
	}
	mustApply(l.t, l.groups[by], s, nil)
	for _, then := range after {
		then()
	}
	l.begins()
	l.look(fmt.Sprintf("the commit of %s", l.people[by].name))
}

// TestNoStateHoldsWhatIsBehind: through messages in order, out of order and late,
// proposals, updates and Commits of every kind, no state of anybody holds a secret
// that is behind it: of a message sent or opened, of an epoch that is over, of a
// leaf or node that was renewed.
func TestNoStateHoldsWhatIsBehind(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		for keeps := range 2 {
			t.Run(fmt.Sprintf("encrypt=%v past=%d", encrypt, keeps), func(t *testing.T) {
				c := newCircle(t, func(p *Policy) { capable(p); p.EncryptHandshake, p.PastEpochs, p.PastResumption = encrypt, keeps, 0 },
					"bank", "phone", "tablet", "watch")
				l := &ledger{circle: c, keeps: keeps, chains: make(map[uint64]map[string][]byte)}
				for range c.people {
					l.behind, l.used = append(l.behind, make(map[string][]byte)), append(l.used, make(map[string]bool))
				}
				l.begins()
				l.look("the beginning")
				l.say(0, 1, 2, 3)
				lost := l.say(0)
				l.say(0, 1, 2)
				l.hear(lost, 0, l.groups[0].Epoch(), 1, 2, 1)
				late, epoch := l.say(3, 0), l.groups[0].Epoch()
				l.turn(1, CommitOptions{})
				if keeps > 0 {
					l.hear(late, 3, epoch, 0, 1, 2)
				}
				for generation, p := range []Proposal{UpdateProposal(LeafOptions{}), CustomProposal(customType, nil)} {
					c.propose(2, p)
					for i := range c.groups {
						if encrypt {
							l.spends(i, c.groups[0].Epoch(), 2, contentProposal, generation)
						}
					}
					l.look("a proposal")
				}
				l.turn(0, CommitOptions{})
				l.say(2, 0, 1, 3)
				l.turn(3, CommitOptions{NoPath: true, Proposals: []Proposal{ExternalPSKProposal([]byte("psk"))}})
				l.say(1, 0, 2, 3)
				l.turn(0, CommitOptions{Proposals: []Proposal{RemoveProposal(3)}})
				l.say(1, 0, 2)
				c.restart()
				l.look("a restart")
				l.turn(2, CommitOptions{})
				if l.found == 0 || len(l.behind[1]) < 100 {
					t.Errorf("%d secrets found while in use, %d behind the phone: this test sees nothing", l.found, len(l.behind[1]))
				}
			})
		}
	}
}

// cracks tries every private key of a captured epoch on every path secret of a
// Commit that leads from before to after.
func cracks(t *testing.T, captured *Group, commit []byte, before, after *epoch) bool {
	t.Helper()
	m := must(readMessage(commit, DefaultLimits()))(t)
	if m.public.content.commit.path == nil {
		t.Fatal("a commit without a path")
	}
	ctx := after.context
	ctx.confirmed = before.context.confirmed
	for _, n := range m.public.content.commit.path.nodes {
		for _, ct := range n.encrypted {
			for _, priv := range captured.cur().privs {
				if _, err := suite1.open(priv, "UpdatePathNode", ctx.encode(), ct); err == nil {
					return true
				}
			}
		}
	}
	return false
}

// TestPostCompromise: what a captured state can follow, and from when on it cannot
// (16.6). The thief has the state and the signature key, and no other.
func TestPostCompromise(t *testing.T) {
	type step struct {
		what    string
		by      int
		o       CommitOptions
		propose bool // the phone proposes an update first
		follows bool
	}
	add := func(t *testing.T) CommitOptions {
		pub, _ := newPerson(t, X25519AES128, "newcomer").keyPackage(t, X25519AES128)
		return CommitOptions{NoPath: true, Proposals: []Proposal{AddProposal(pub)}}
	}
	for name, steps := range map[string]func(t *testing.T) []step{
		"others renew themselves": func(t *testing.T) []step {
			return []step{{"bank", 0, CommitOptions{}, false, true}, {"tablet", 2, CommitOptions{}, false, true}}
		},
		"a commit without a path": func(t *testing.T) []step {
			return []step{{"add", 0, add(t), false, true}, {"bank", 0, CommitOptions{}, false, true}}
		},
		"the phone commits": func(t *testing.T) []step {
			return []step{{"phone", 1, CommitOptions{}, false, false}, {"bank", 0, CommitOptions{}, false, false}, {"tablet", 2, CommitOptions{}, false, false}}
		},
		"an update that nobody commits": func(t *testing.T) []step {
			return []step{{"bank", 0, CommitOptions{OnlyOwn: true}, true, true}, {"tablet", 2, CommitOptions{}, false, true}}
		},
		"an update that the tablet commits": func(t *testing.T) []step { // to whom the node above the phone would do
			return []step{{"tablet", 2, CommitOptions{}, true, false}, {"bank", 0, CommitOptions{}, false, false}}
		},
		"the phone is removed": func(t *testing.T) []step {
			return []step{{"tablet", 2, CommitOptions{Proposals: []Proposal{RemoveProposal(1)}}, false, false}, {"bank", 0, CommitOptions{}, false, false}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCircle(t, func(*Policy) {}, "bank", "phone", "tablet", "watch")
			for i := range c.groups {
				c.commit(i, CommitOptions{}) // now no parent is blank, and the phone has keys of all above it
			}
			thief := c.people[1].restore(t, c.groups[1])
			for _, s := range steps(t) {
				if s.propose {
					c.propose(1, UpdateProposal(LeafOptions{}))
				}
				before := *c.groups[2].cur()
				staged := must(c.groups[s.by].Commit(s.o))(t)
				for i, g := range c.groups {
					if i != s.by && !g.Removed() {
						mustFollow(t, g, staged.Commit)
					}
				}
				mustApply(t, c.groups[s.by], staged, nil)
				now := c.groups[2].cur()
				if s.o.NoPath {
					// The commit secret is zero: the init secret alone leads on (8).
				} else if have := cracks(t, thief, staged.Commit, &before, now); have != s.follows {
					t.Fatalf("%s: the captured state opens a path secret: %v", s.what, have)
				}
				still := c.people[1].restore(t, thief)
				if err := second(follow(thief, staged.Commit)); (err == nil && !thief.Removed()) != s.follows {
					t.Fatalf("%s: the captured state follows: %v", s.what, err)
				}
				if thief.Removed() {
					thief = still // it does not erase itself
				}
				msg := mustProtect(t, c.groups[0], "after")
				if _, err := thief.Process(msg); (err == nil) != s.follows {
					t.Fatalf("%s: the captured state reads on: %v", s.what, err)
				}
				if have := bytes.Equal(thief.EpochAuthenticator(), c.groups[0].EpochAuthenticator()); have != s.follows {
					t.Fatalf("%s: the captured state is in the epoch: %v", s.what, have)
				}
			}
		})
	}
}

// TestStolenSigner: a path renews the keys of the tree and not the signature key.
// Whoever has that enters in its owner's place by a resync, until the owner
// replaces it.
func TestStolenSigner(t *testing.T) {
	c := newCircle(t, func(p *Policy) { p.AllowExternal = true }, "bank", "phone")
	leaf := uint32(1)
	thief := &person{"phone", c.people[1].signer, c.people[1].policy}
	c.commit(1, CommitOptions{})
	_, msg := thief.enter(t, c.groups[0], ExternalOptions{Resync: &leaf})
	if s, ok := must(c.groups[0].Process(msg))(t).(*Staged); !ok || !s.Summary.External || len(s.Summary.Removed) != 1 {
		t.Fatalf("what the bank may judge: %+v", s)
	}
	next := newPerson(t, X25519AES128, "phone")
	c.commit(1, CommitOptions{Leaf: LeafOptions{Signer: next.signer}})
	e := c.groups[1].cur()
	a := &authContent{wire: wirePrivateMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
		sender: sender{senderMember, 1}, aad: []byte{}, kind: contentApplication, application: []byte("x")}}
	for i, sg := range []Signer{thief.signer, next.signer} {
		if err := a.sign(sg, e.encoded); err != nil {
			t.Fatal(err)
		}
		generation := c.groups[1].Generation()
		if _, err := c.groups[0].Process(sealRaw(t, c.groups[1], contentApplication, 1, generation, nil, encodeBody(a))); (err == nil) != (i == 1) {
			t.Errorf("signer %d: %v", i, err)
		}
	}
}

// TestForwardSecrecyOverEpochs: a state captured in a later epoch opens what was
// not opened of the epochs that it keeps, and nothing else of what came before.
func TestForwardSecrecyOverEpochs(t *testing.T) {
	for keeps := range 3 {
		c := newCircle(t, func(p *Policy) { p.PastEpochs = keeps }, "bank", "phone", "tablet")
		type sent struct {
			epoch  uint64
			msg    []byte
			opened bool
		}
		var all []sent
		for range 3 {
			for _, opened := range []bool{true, false} {
				s := sent{c.groups[0].Epoch(), mustProtect(t, c.groups[0], "x"), opened}
				if all = append(all, s); opened {
					mustOpen(t, c.groups[1], s.msg, "x")
				}
			}
			c.commit(2, CommitOptions{})
		}
		for _, s := range all {
			thief := c.people[1].restore(t, c.groups[1])
			_, err := thief.Process(s.msg)
			inside := thief.Epoch()-s.epoch <= uint64(keeps)
			want := map[bool]error{true: ErrReplay, false: ErrWrongEpoch}[inside]
			if inside && !s.opened {
				want = nil
			}
			if !errors.Is(err, want) {
				t.Errorf("%d epochs kept, message of epoch %d, opened before: %v: %v", keeps, s.epoch, s.opened, err)
			}
		}
	}
}
