package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// trio is three members; the last one is the hostile insider of the tests.
func trio(t testing.TB, s Suite) (people []*person, groups []*Group) {
	t.Helper()
	people = []*person{newPerson(t, s, "bank"), newPerson(t, s, "phone"), newPerson(t, s, "mallory")}
	groups = []*Group{people[0].create(t, s)}
	var pubs [][]byte
	var privs []*KeyPackageSecrets
	for _, p := range people[1:] {
		pub, priv := p.keyPackage(t, s)
		pubs, privs = append(pubs, pub), append(privs, priv)
	}
	staged, err := groups[0].Add(pubs...)
	if err != nil {
		t.Fatal(err)
	}
	if err := groups[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	for i, p := range people[1:] {
		groups = append(groups, p.join(t, staged.Welcome, privs[i]))
	}
	return people, groups
}

// TestForgedCiphertextBurnsNothing: whatever byte is changed, the message is
// refused, the state is untouched, and the honest message still opens.
func TestForgedCiphertextBurnsNothing(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	msg := mustProtect(t, ga, "code 123456")
	before := digest(t, gb)
	for i := range msg {
		forged := bytes.Clone(msg)
		forged[i] ^= 1
		if ev, err := gb.Process(forged); err == nil {
			t.Fatalf("byte %d changed: opened as %+v", i, ev)
		}
		if _, err := gb.Process(msg[:i]); err == nil {
			t.Fatalf("cut to %d bytes: opened", i)
		}
	}
	if _, err := gb.Process(append(bytes.Clone(msg), 0)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("a byte too many: %v", err)
	}
	if digest(t, gb) != before {
		t.Fatal("a forged message changed the state")
	}
	mustOpen(t, gb, msg, "code 123456")
}

// impersonate seals content as another leaf: an insider has the ratchets of all.
func impersonate(t *testing.T, g *Group, leaf, generation uint32, change func(*authContent)) []byte {
	t.Helper()
	e := g.cur()
	d, err := e.secrets.view(e.cs, min(leaf, e.tree.leaves()-1))
	if err != nil {
		t.Fatal(err)
	}
	r := cloneRatchet(d.pair.application)
	for r.next < generation {
		r = e.cs.ratchetSkip(r)
	}
	a := &authContent{wire: wirePrivateMessage, content: framedContent{
		groupID: e.context.groupID, epoch: e.context.epoch, aad: []byte("aad"),
		kind: contentApplication, application: []byte("forged"), sender: sender{senderMember, leaf},
	}}
	if err := a.sign(g.s.signer, e.encoded); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(a)
	}
	s := &sealing{e.cs, e.keys.senderData, r, g.s.policy.Padding, g.s.policy.Rand}
	pm, _, err := s.private(a)
	if err != nil {
		t.Fatal(err)
	}
	return writeMessage(wirePrivateMessage, pm.write)
}

// TestInsiderCannotImpersonate: a member can encrypt as another one, but not
// sign, and its attempt does not burn the other's generation.
func TestInsiderCannotImpersonate(t *testing.T) {
	_, g := trio(t, X25519AES128)
	genuine := mustProtect(t, g[0], "genuine")
	before := digest(t, g[1])
	if _, err := g[1].Process(impersonate(t, g[2], 0, 0, nil)); !errors.Is(err, ErrRefused) {
		t.Fatalf("message signed by another member: %v", err)
	}
	if _, err := g[1].Process(impersonate(t, g[2], 0, 0, func(a *authContent) { a.auth.signature = nil })); !errors.Is(err, ErrRefused) {
		t.Fatalf("message without signature: %v", err)
	}
	if digest(t, g[1]) != before {
		t.Fatal("an impersonation changed the state")
	}
	mustOpen(t, g[1], genuine, "genuine")
	// The insider's own message does pass, so the test can tell.
	own := cloneRatchet(g[2].cur().secrets.ratchets[2].application)
	mustOpenForged(t, g[1], impersonate(t, g[2], 2, own.next, nil))
}

func mustOpenForged(t *testing.T, g *Group, msg []byte) {
	t.Helper()
	if _, err := g.Process(msg); err != nil {
		t.Fatalf("honest message of the same making: %v", err)
	}
}

// TestCVE2026_17507_LeafIndexOutOfRange (bc-java a6224957, mls-rs 1cb617bc, #286):
// an index beyond the tree is an error, not a loop or a wrap, whoever names it.
func TestCVE2026_17507_LeafIndexOutOfRange(t *testing.T) {
	_, g := trio(t, X25519AES128)
	public := func(from sender) []byte {
		e := g[2].cur()
		a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
			sender: from, aad: []byte{}, kind: contentProposal, proposal: &proposal{kind: proposalRemove, remove: 0}}}
		if err := a.sign(g[2].s.signer, e.encoded); err != nil {
			t.Fatal(err)
		}
		pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
		if err != nil {
			t.Fatal(err)
		}
		return writeMessage(wirePublicMessage, pm.write)
	}
	before := digest(t, g[1])
	for _, leaf := range []uint32{3, 4, 1 << 30, 1 << 31, 1<<31 + 1, 1<<32 - 1} {
		if _, err := g[1].Process(impersonate(t, g[2], leaf, 0, nil)); !errors.Is(err, ErrRefused) {
			t.Errorf("message from leaf %d: %v", leaf, err)
		}
		if _, err := g[0].Remove(leaf); !errors.Is(err, ErrRefused) {
			t.Errorf("remove leaf %d: %v", leaf, err)
		}
		for _, kind := range []uint8{senderMember, senderExternal} {
			if _, err := g[1].Process(public(sender{kind, leaf})); !errors.Is(err, ErrRefused) {
				t.Errorf("proposal of sender type %d index %d: %v", kind, leaf, err)
			}
		}
	}
	if digest(t, g[1]) != before {
		t.Error("state changed")
	}
	if _, err := g[1].Process(public(sender{senderMember, 2})); err != nil {
		t.Errorf("the same by the member itself: %v", err)
	}
}

// TestPaddingMustBeZero: 6.3.1, padding is no covert channel.
func TestPaddingMustBeZero(t *testing.T) {
	a, b, ga, gb := pair(t, X25519AES128)
	a.policy.Padding = func(n int) int { return 512 - n%512 }
	ga = a.restore(t, ga)
	msg := mustProtect(t, ga, "short")
	if longer := mustProtect(t, ga, "a little longer"); len(msg) != len(longer) {
		t.Errorf("padded to %d and %d bytes", len(msg), len(longer))
	}
	mustOpen(t, gb, msg, "short")
	gb = b.restore(t, gb)
	e := ga.cur()
	d, err := e.secrets.view(e.cs, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readMessage(mustProtect(t, a.restore(t, ga), "x"), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	sd, err := e.cs.openSenderData(e.keys.senderData, m.private)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := e.cs.ratchetOpen(cloneRatchet(d.pair.application), sd.generation, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := e.cs.content(key.key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, guarded(key.nonce, sd.guard), m.private.ciphertext, m.private.contentAAD())
	if err != nil {
		t.Fatal(err)
	}
	reseal := func(plain []byte) []byte {
		pm := *m.private
		pm.ciphertext = aead.Seal(nil, guarded(key.nonce, sd.guard), plain, pm.contentAAD())
		outer := e.cs.senderDataKey(e.keys.senderData, pm.ciphertext)
		out, err := e.cs.content(outer.key)
		if err != nil {
			t.Fatal(err)
		}
		pm.senderData = out.Seal(nil, outer.nonce, encode(sd.write), pm.senderAAD())
		return writeMessage(wirePrivateMessage, pm.write)
	}
	spoiled := bytes.Clone(plain)
	spoiled[len(spoiled)-1] = 1
	if _, err := gb.Process(reseal(spoiled)); !errors.Is(err, ErrMalformed) {
		t.Errorf("padding that is not zero: %v", err)
	}
	mustOpen(t, gb, reseal(plain), "x")
}

// resignedPublic rebuilds a Commit of leaf 0 after change, with honest signature
// and tags where the insider can make them.
func resignedPublic(t *testing.T, g *Group, msg []byte, change func(*publicMessage)) []byte {
	t.Helper()
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	pm := m.public
	change(pm)
	a := &authContent{wire: wirePublicMessage, content: pm.content, auth: pm.auth}
	if err := a.sign(g.s.signer, g.cur().encoded); err != nil {
		t.Fatal(err)
	}
	pm.auth = a.auth
	pm.membershipTag = g.cur().cs.mac(g.cur().keys.membership, a.tbm(g.cur().encoded))
	return writeMessage(wirePublicMessage, pm.write)
}

// TestGHSA8x3w_qj7j_gqhf_TagsAreWhole: a tag that is empty, cut or longer never
// passes, in the comparison itself and in a Commit.
func TestGHSA8x3w_qj7j_gqhf_TagsAreWhole(t *testing.T) {
	tag := suite1.mac([]byte("key"), []byte("data"))
	if !suite1.checkMAC([]byte("key"), []byte("data"), bytes.Clone(tag)) || suite1.checkMAC([]byte("key"), []byte("data"), append(bytes.Clone(tag), 0)) {
		t.Error("whole tag, or a longer one")
	}
	_, g := trio(t, X25519AES128)
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := digest(t, g[1])
	for name, of := range map[string]func(*publicMessage) *[]byte{
		"membership":   func(m *publicMessage) *[]byte { return &m.membershipTag },
		"confirmation": func(m *publicMessage) *[]byte { return &m.auth.confirmationTag },
	} {
		spoil := func(change func(*[]byte)) {
			t.Helper()
			m, err := readMessage(staged.Commit, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			pm, x := m.public, of(m.public)
			change(x)
			if x != &pm.membershipTag { // a member makes the other one anew
				a := &authContent{wire: wirePublicMessage, content: pm.content, auth: pm.auth}
				pm.membershipTag = suite1.mac(g[0].cur().keys.membership, a.tbm(g[0].cur().encoded))
			}
			if _, err := g[1].Process(writeMessage(wirePublicMessage, pm.write)); !errors.Is(err, ErrRefused) {
				t.Errorf("%s tag of %d bytes: %v", name, len(*x), err)
			}
		}
		for n := range tag {
			spoil(func(x *[]byte) { *x = (*x)[:n] })
			if suite1.checkMAC([]byte("key"), []byte("data"), tag[:n]) {
				t.Errorf("tag cut to %d bytes passes", n)
			}
		}
		spoil(func(x *[]byte) { *x = append(bytes.Clone(*x), 0) })
	}
	if digest(t, g[1]) != before {
		t.Error("state changed")
	}
	mustFollow(t, g[1], staged.Commit)
}

// TestCommitIsChecked spoils one part of a Commit at a time; the sender itself
// signs what is spoiled wherever a signature would give it away.
func TestCommitIsChecked(t *testing.T) {
	people, g := trio(t, X25519AES128)
	staged, err := g[0].Remove(2)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newPerson(t, X25519AES128, "stranger")
	pub, _ := stranger.keyPackage(t, X25519AES128)
	km, err := readMessage(pub, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	before := digest(t, g[1])
	refuse := func(name string, msg []byte) {
		t.Helper()
		if ev, err := g[1].Process(msg); err == nil {
			t.Fatalf("%s: accepted as %+v", name, ev)
		} else if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if digest(t, g[1]) != before {
			t.Fatalf("%s: the state changed", name)
		}
	}
	for i := range staged.Commit {
		forged := bytes.Clone(staged.Commit)
		forged[i] ^= 0x40
		if _, err := g[1].Process(forged); err == nil {
			t.Fatalf("byte %d changed: accepted", i)
		}
	}
	for name, change := range map[string]func(*publicMessage){
		"another confirmation tag": func(m *publicMessage) { m.auth.confirmationTag[0] ^= 1 },
		"no path":                  func(m *publicMessage) { m.content.commit.path = nil },
		"path of another leaf source": func(m *publicMessage) {
			m.content.commit.path.leaf.source = sourceUpdate
		},
		"spoiled leaf signature": func(m *publicMessage) { m.content.commit.path.leaf.signature[0] ^= 1 },
		"spoiled parent hash": func(m *publicMessage) {
			l := &m.content.commit.path.leaf
			l.parentHash = bytes.Clone(l.parentHash)
			l.parentHash[0] ^= 1
			_ = l.sign(people[0].signer, g[0].cur().context.groupID, 0)
		},
		"path of too few nodes": func(m *publicMessage) { m.content.commit.path.nodes = m.content.commit.path.nodes[:0] },
		"spoiled path secret":   func(m *publicMessage) { m.content.commit.path.nodes[0].encrypted[0].ciphertext[0] ^= 1 },
		"a path secret missing": func(m *publicMessage) { m.content.commit.path.nodes[0].encrypted = nil },
		"reused encryption key": func(m *publicMessage) {
			l := &m.content.commit.path.leaf
			l.encryptionKey = g[0].cur().tree.leaf(0).encryptionKey
			_ = l.sign(people[0].signer, g[0].cur().context.groupID, 0)
		},
		"remove of the committer":       func(m *publicMessage) { m.content.commit.proposals[0].proposal.remove = 0 },
		"remove of a blank leaf":        func(m *publicMessage) { m.content.commit.proposals[0].proposal.remove = 3 },
		"remove of a far leaf":          func(m *publicMessage) { m.content.commit.proposals[0].proposal.remove = 1 << 31 },
		"remove twice":                  func(m *publicMessage) { c := m.content.commit; c.proposals = append(c.proposals, c.proposals[0]) },
		"unknown proposal by reference": func(m *publicMessage) { m.content.commit.proposals[0] = proposalOrRef{ref: make([]byte, 32)} },
		"external init": func(m *publicMessage) {
			c := m.content.commit
			c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalExternalInit, kemOutput: make([]byte, 32)}})
		},
		"unknown psk": func(m *publicMessage) {
			c := m.content.commit
			c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalPSK,
				psk: pskID{kind: pskExternal, id: []byte("?"), nonce: make([]byte, 32)}}})
		},
		"a ghost the committer did not plan for": func(m *publicMessage) {
			c := m.content.commit
			c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalAdd, add: km.keyPackage}})
		},
		"group context extension nobody supports": func(m *publicMessage) {
			c := m.content.commit
			c.proposals = append(c.proposals, proposalOrRef{proposal: &proposal{kind: proposalContextExtensions,
				extensions: extensions{{0xf0f0, []byte{}}}}})
		},
		"application data in the clear": func(m *publicMessage) {
			m.content.kind, m.content.application = contentApplication, []byte("x")
		},
		"an external sender nobody listed": func(m *publicMessage) { m.content.sender = sender{senderExternal, 0} },
		"external commit":                  func(m *publicMessage) { m.content.sender = sender{kind: senderNewMemberCommit} },
		"sent by another member":           func(m *publicMessage) { m.content.sender.index = 2 },
		"sent by a far leaf":               func(m *publicMessage) { m.content.sender.index = 1 << 31 },
	} {
		refuse(name, resignedPublic(t, g[0], staged.Commit, change))
	}
	if _, err := follow(g[1], resignedPublic(t, g[0], staged.Commit, func(*publicMessage) {})); err != nil {
		t.Fatalf("the honest commit, remade: %v", err)
	}
	if ev, err := follow(g[2], staged.Commit); err != nil || !ev.OwnRemoved || !g[2].Removed() {
		t.Fatalf("removed member: %+v, %v", ev, err)
	}
	for name, err := range map[string]error{
		"protect": second(g[2].Protect(nil, nil)), "process": second(g[2].Process(staged.Commit)),
		"marshal": second(g[2].Marshal()), "export": second(g[2].Export("x", nil, 1)), "add": second(g[2].Add(pub)),
		"skip": g[2].SkipTo(1), "apply": g[2].Apply(staged), "info": second(g[2].GroupInfo(GroupInfoOptions{})),
	} {
		if !errors.Is(err, ErrRemoved) {
			t.Errorf("%s after removal: %v", name, err)
		}
	}
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	agree(t, g[0], g[1])
}

func second[T any](_ T, err error) error { return err }

// TestReceivedCommitIsStaged: a Commit changes nothing until it is applied, and
// its summary says who did what, so that a device can follow the sender alone.
func TestReceivedCommitIsStaged(t *testing.T) {
	_, g := trio(t, X25519AES128)
	before := digest(t, g[1])
	stranger, err := g[2].Commit(CommitOptions{AAD: []byte("why")})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := g[1].Process(stranger.Commit)
	if err != nil || digest(t, g[1]) != before {
		t.Fatalf("a commit took effect before it was applied: %v", err)
	}
	refused := ev.(*Staged)
	if s := refused.Summary; s.Committer != 2 || s.External || string(s.AAD) != "why" || !slices.Equal(leavesOf(s.Updated), []uint32{2}) {
		t.Errorf("summary %+v", s)
	}
	staged, err := g[0].Remove(2)
	if err != nil {
		t.Fatal(err)
	}
	last := mustFollow(t, g[1], staged.Commit)
	if last.Committer != 0 || last.Epoch != 2 || len(last.Removed) != 1 || string(last.Removed[0].Credential.Identity) != "mallory" || len(last.Added) != 0 {
		t.Errorf("summary %+v", last)
	}
	if err := g[1].Apply(refused); !errors.Is(err, ErrStale) {
		t.Errorf("the commit that was dropped is applied later: %v", err)
	}
	mustApply(t, g[0], staged, nil)
	agree(t, g[0], g[1])
}

// TestProposals: a proposal waits, blocks application data (12.4), survives a
// restart, and is committed by reference.
func TestProposals(t *testing.T) {
	people, g := trio(t, X25519AES128)
	propose := func(by int, p *proposal) []byte {
		e := g[by].cur()
		a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
			sender: sender{senderMember, e.own}, aad: []byte{}, kind: contentProposal, proposal: p}}
		if err := a.sign(g[by].s.signer, e.encoded); err != nil {
			t.Fatal(err)
		}
		pm, err := e.cs.publicFrom(a, e.keys.membership, e.encoded)
		if err != nil {
			t.Fatal(err)
		}
		return writeMessage(wirePublicMessage, pm.write)
	}
	msg := propose(2, &proposal{kind: proposalRemove, remove: 2})
	for i := range 2 {
		ev, err := g[i].Process(msg)
		if err != nil {
			t.Fatal(err)
		}
		if p := ev.(ProposalReceived); p.Sender != 2 || !p.FromMember || p.Removed != 2 {
			t.Errorf("event %+v", p)
		}
		if _, err := g[i].Process(msg); err != nil {
			t.Fatal(err)
		}
		if n := len(g[i].cur().proposals); n != 1 {
			t.Errorf("the same proposal twice: %d wait", n)
		}
		g[i] = people[i].restore(t, g[i])
		if _, err := g[i].Protect(nil, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("application data before the commit: %v", err)
		}
	}
	if _, err := g[1].Process(propose(2, &proposal{kind: proposalRemove, remove: 7})); !errors.Is(err, ErrRefused) {
		t.Errorf("proposal to remove nobody: %v", err)
	}
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := follow(g[1], staged.Commit)
	if err != nil || !slices.Equal(leavesOf(ev.Removed), []uint32{2}) {
		t.Fatalf("commit by reference: %+v %v", ev, err)
	}
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, g[1], mustProtect(t, g[0], "again"), "again")
}
