package mls

import (
	"bytes"
	"testing"
	"time"
)

// The fuzz targets of this file are insiders: what they write is signed, tagged
// and encrypted with valid keys, so that the fuzzer is at once behind all that
// keeps strangers out. Targets for the decoders stand beside the codecs' tests.

// fuzzLimits keep one input small.
func fuzzLimits() Limits { return Limits{Message: 1 << 16, Leaves: 64, Items: 1 << 12} }

// fuzzWork bounds what one message may cost, on a slow machine that does other
// things too.
const fuzzWork = 5 * time.Second

// arena is a live group of four with all that a message can name: a kept epoch,
// waiting proposals, external senders, pre-shared keys. The last member is the
// insider. Each input finds it as it was.
type arena struct {
	people []*person
	states [][]byte
	joiner *person
	add    *KeyPackageSecrets
}

func newArena(f testing.TB) *arena {
	c := newCircle(f, func(p *Policy) {
		capable(p)
		p.Limits, p.AllowExternal, p.PastEpochs, p.MaxForward, p.SkippedKeys = fuzzLimits(), true, 1, 50, 5
	}, "bank", "phone", "tablet", "mallory")
	x := &arena{people: c.people, joiner: newPerson(f, X25519AES128, "newcomer")}
	x.joiner.policy = c.people[0].policy
	_, x.add = x.joiner.keyPackage(f, X25519AES128)
	outsider := ExternalSender{SignatureKey: x.joiner.signer.Public(), Credential: x.joiner.credential()}
	c.commit(0, CommitOptions{Proposals: []Proposal{ContextExtensionsProposal([]Extension{ExternalSenders(outsider)})}})
	c.commit(3, CommitOptions{})
	mustProtect(f, c.groups[2], "late")
	c.propose(2, UpdateProposal(LeafOptions{}))
	c.propose(1, RemoveProposal(0))
	for _, g := range c.groups {
		x.states = append(x.states, must(g.Marshal())(f))
	}
	return x
}

func (x *arena) member(t testing.TB, i int) *Group {
	return must(Unmarshal(x.states[i], x.people[i].signer, anyCredential{}, x.people[i].policy))(t)
}

func (x *arena) draft(t testing.TB, p Proposal) *proposal {
	policy := x.people[0].policy.withDefaults()
	return must(p.draft(&drafting{suite1, []byte("group bank"), &policy}))(t)
}

// victim is the member that processes what the fuzzer makes.
func (x *arena) victim(t testing.TB) *Group { return x.member(t, 1) }

// insider may write anything: its own decoder's limits do not bind it.
func (x *arena) insider(t testing.TB) *Group {
	g := x.member(t, 3)
	g.s.policy.Limits = DefaultLimits()
	return g
}

// take holds the victim to the contract, whatever the message: an error changes
// nothing, and success leads to a state that is stored and used like any other.
func (x *arena) take(t *testing.T, msg []byte) (*Group, Event) {
	t.Helper()
	g, start := x.victim(t), time.Now()
	ev, err := g.Process(msg)
	if d := time.Since(start); d > fuzzWork {
		t.Fatalf("%d bytes took %v", len(msg), d)
	}
	if err != nil {
		if !bytes.Equal(must(g.Marshal())(t), x.states[1]) {
			t.Fatalf("a message that is refused (%v) changed the state", err)
		}
		return nil, nil
	}
	if m, err := readMessage(msg, g.s.policy.Limits); err != nil || !bytes.Equal(encode(m.write), msg) {
		t.Fatalf("accepted a message that is not in its one encoding: %v", err)
	}
	if s, ok := ev.(*Staged); ok {
		if !bytes.Equal(must(g.Marshal())(t), x.states[1]) {
			t.Fatal("a commit changed the state before it was applied")
		}
		if err := g.Apply(s); err != nil {
			t.Fatalf("apply what was accepted: %v", err)
		}
	}
	if g.Removed() {
		return g, ev
	}
	state := must(g.Marshal())(t)
	again, err := Unmarshal(state, g.s.signer, anyCredential{}, g.s.policy)
	if err != nil || !bytes.Equal(must(again.Marshal())(t), state) {
		t.Fatalf("the state after an accepted message is not restored: %v", err)
	}
	return again, ev
}

// FuzzInsiderContent: an insider signs and frames any content. The body of a
// message is the fuzzer's, in the clear or encrypted, as any sender.
func FuzzInsiderContent(f *testing.F) {
	x := newArena(f)
	for name, k := range everyKind(f) {
		made := x.draft(f, k.proposal)
		for _, private := range []bool{false, true} {
			f.Add(private, uint8(contentProposal), uint8(senderMember), uint32(3), uint32(len(name)), encode(made.write), []byte{})
		}
		f.Add(false, uint8(contentProposal), uint8(senderExternal), uint32(0), uint32(0), encode(made.write), []byte{})
	}
	add := encode((&proposal{kind: proposalAdd, add: x.add.k().kp}).write)
	f.Add(false, uint8(contentProposal), uint8(senderNewMemberProposal), uint32(0), uint32(0), add, []byte{})
	f.Add(true, uint8(contentApplication), uint8(senderMember), uint32(3), uint32(1), encode(func(w *writer) { w.vec([]byte("text")) }), []byte{0, 0})
	f.Add(true, uint8(contentCommit), uint8(senderMember), uint32(3), uint32(0), encode(new(commit).write), []byte{1})
	f.Fuzz(func(t *testing.T, private bool, kind, from uint8, leaf, generation uint32, body, tail []byte) {
		g := x.insider(t)
		e := g.cur()
		a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
			sender: sender{from, leaf}, aad: []byte{}, kind: kind}}
		if private {
			a.wire = wirePrivateMessage
		}
		r := newReader(bytes.Clone(body), 1<<12)
		if a.content.readBody(r); r.err != nil || len(r.b) > 0 || kind < contentApplication || kind > contentCommit || from < senderMember || from > senderNewMemberCommit {
			return
		}
		signer := g.s.signer
		if from != senderMember {
			signer = x.joiner.signer
		}
		if err := a.sign(signer, e.encoded); err != nil {
			return
		}
		a.auth.confirmationTag = bytes.Repeat([]byte{1}, len(tail))
		pm := &publicMessage{content: a.content, auth: a.auth}
		msg := func() []byte {
			pm.membershipTag = e.cs.mac(e.keys.membership, a.tbm(e.encoded))
			return writeMessage(wirePublicMessage, pm.write)
		}
		if private {
			msg = func() []byte { return sealRaw(t, g, kind, leaf, generation, nil, append(encodeBody(a), tail...)) }
		}
		out := msg()
		_, ev := x.take(t, out)
		if _, ok := ev.(Application); ok && (!private || leaf != 3 || len(bytes.Trim(tail, "\x00")) > 0) {
			t.Fatalf("leaf %d, in the clear %v, padding %x: opened as %+v", leaf, !private, tail, ev)
		}
		if _, ok := ev.(*Staged); ok {
			t.Fatalf("a commit with a wrong confirmation tag: %+v", ev)
		}
		if from == senderMember && leaf != 3 && ev != nil {
			t.Fatalf("taken as leaf %d: %+v", leaf, ev)
		}
	})
}

func encodeBody(a *authContent) []byte {
	return encode(func(w *writer) {
		a.content.writeBody(w)
		a.auth.write(w, a.content.kind)
	})
}

// sealRaw encrypts any plaintext with the keys of a leaf and generation, as every
// member could.
func sealRaw(t *testing.T, g *Group, kind uint8, leaf, generation uint32, aad, plain []byte) []byte {
	t.Helper()
	e := g.cur()
	d := must(e.secrets.view(e.cs, min(leaf, e.tree.leaves()-1)))(t)
	r := cloneRatchet(*d.pair.of(kind))
	for r.next < min(generation, 100) {
		r = e.cs.ratchetSkip(r)
	}
	key, _ := e.cs.ratchetStep(r)
	sd := senderData{leaf: leaf, generation: generation}
	pm := &privateMessage{groupID: e.context.groupID, epoch: e.context.epoch, kind: kind, aad: aad}
	pm.ciphertext = must(e.cs.content(key.key))(t).Seal(nil, guarded(key.nonce, sd.guard), plain, pm.contentAAD())
	outer := e.cs.senderDataKey(e.keys.senderData, pm.ciphertext)
	pm.senderData = must(e.cs.content(outer.key))(t).Seal(nil, outer.nonce, encode(sd.write), pm.senderAAD())
	return writeMessage(wirePrivateMessage, pm.write)
}

// FuzzInsiderPlaintext: what is decrypted may be anything.
func FuzzInsiderPlaintext(f *testing.F) {
	x := newArena(f)
	f.Add(uint8(contentApplication), uint32(3), uint32(1), []byte{4, 't', 'e', 'x', 't', 0, 0})
	f.Add(uint8(contentProposal), uint32(3), uint32(0), []byte{0, 3, 0, 0, 0, 1, 0})
	f.Add(uint8(contentCommit), uint32(3), uint32(49), []byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind uint8, leaf, generation uint32, plain []byte) {
		if _, ev := x.take(t, sealRaw(t, x.insider(t), kind, leaf, generation, nil, plain)); ev != nil {
			t.Fatalf("taken without a signature: %+v", ev)
		}
	})
}

// FuzzInsiderCommit: an insider, or an outsider that joins, commits any proposals
// with a path of its own whose leaf and nodes are the fuzzer's, and derives the
// epoch that this leads to. If the victim takes it, they agree.
func FuzzInsiderCommit(f *testing.F) {
	x := newArena(f)
	list := func(ps ...*proposal) []byte {
		return encode(func(w *writer) {
			for _, p := range ps {
				p.write(w)
			}
		})
	}
	own := x.insider(f).cur().tree.leaf(3)
	for _, k := range everyKind(f) {
		f.Add(uint8(0), list(x.draft(f, k.proposal)), []byte{}, []byte{})
	}
	f.Add(uint8(1), list(), []byte{}, []byte{})
	f.Add(uint8(2), list(&proposal{kind: proposalRemove, remove: 3}), []byte{}, []byte{})
	f.Add(uint8(0), list(&proposal{kind: proposalAdd, add: x.add.k().kp}), encode(own.write), []byte{})
	f.Add(uint8(0), list(&proposal{kind: proposalRemove, remove: 0}), encode(own.write), []byte{0x20, 1, 2, 3})
	f.Fuzz(func(t *testing.T, mode uint8, proposals, leaf, nodes []byte) {
		g := x.insider(t)
		var made, unplanned []*proposal
		for r := newReader(bytes.Clone(proposals), 1<<12); len(r.b) > 0; {
			p := new(proposal)
			if p.read(r); r.err != nil {
				return
			}
			if p.add != nil && mode&8 == 0 {
				resign(t, x.joiner, p.add)
			}
			if p.kind == proposalRemove && g.cur().tree.leaf(p.remove) == nil {
				unplanned = append(unplanned, p) // leads to no epoch
				continue
			}
			made = append(made, p)
		}
		var msg []byte
		var after *Group
		if mode&2 != 0 {
			after, msg = x.outsider(t, g, made)
		} else {
			g.s.policy.EncryptHandshake = mode&4 != 0
			h := hostile{g: g, proposals: made, unplanned: unplanned, noPath: mode&1 != 0}
			if changed := new(leafNode); decode(bytes.Clone(leaf), 1<<12, changed.read) == nil {
				h.leaf = func(l *leafNode) { *l = *changed }
			}
			if changed := []updatePathNode(nil); len(nodes) > 0 && decode(bytes.Clone(nodes), 1<<12, func(r *reader) {
				for len(r.b) > 0 && r.err == nil {
					changed = append(changed, updatePathNode{encryptionKey: r.vec(), encrypted: []hpkeCiphertext{{r.vec(), r.vec()}}})
				}
			}) == nil {
				h.path = func(p *updatePath) { p.nodes = changed }
			}
			s, err := h.try()
			if err != nil {
				return
			}
			if msg = s.Commit; g.Apply(s) == nil {
				after = g
			}
		}
		if victim, _ := x.take(t, msg); victim != nil && !victim.Removed() {
			agree(t, victim, after)
			if after.cur().closed() {
				return
			}
			mustOpen(t, victim, mustProtect(t, after, "after"), "after")
		}
	})
}

// outsider enters with any proposals beside its own.
func (x *arena) outsider(t *testing.T, g *Group, made []*proposal) (*Group, []byte) {
	gi := must(readMessage(externalInfo(t, g, GroupInfoOptions{}), DefaultLimits()))(t).groupInfo
	j := &entering{side: &side{x.joiner.signer, anyCredential{}, x.joiner.policy.withDefaults()}, credential: x.joiner.credential()}
	if err := j.look(gi, nil); err != nil {
		t.Fatal(err)
	}
	me := sender{kind: senderNewMemberCommit}
	j.commit = new(commit)
	for _, p := range append([]*proposal{{kind: proposalExternalInit, kemOutput: j.kem}}, made...) {
		j.commit.proposals = append(j.commit.proposals, proposalOrRef{proposal: p})
		j.proposed = append(j.proposed, sentProposal{me, p, nil})
	}
	tr, err := j.path()
	if err != nil {
		return nil, writeMessage(wireKeyPackage, x.add.k().kp.write)
	}
	after, msg, err := j.finish(tr)
	if err != nil {
		t.Fatal(err)
	}
	return must(newGroup(after, j.side))(t), msg
}

// FuzzInsiderWelcome: the GroupInfo and the secrets of a Welcome are any that an
// insider signs, tags and seals to the joiner.
func FuzzInsiderWelcome(f *testing.F) {
	x := invite(f, X25519AES128)
	x.phone.policy.Limits = fuzzLimits()
	e := x.staged.outcome().next
	gi := must(e.groupInfo(x.bank.signer, GroupInfoOptions{}, x.bank.policy.withDefaults().Rand))(f)
	joiner := bytes.Repeat([]byte{7}, 32)
	f.Add(uint8(0), encode(gi.write), []byte{}, []byte{})
	f.Add(uint8(1), encode(gi.write), bytes.Repeat([]byte{1}, 32), []byte{})
	f.Add(uint8(0), encode(gi.write), []byte{}, encode((&pskID{kind: pskExternal, id: []byte("psk"), nonce: make([]byte, 32)}).write))
	f.Fuzz(func(t *testing.T, mode uint8, info, path, psks []byte) {
		secrets := groupSecrets{joiner: joiner}
		if mode&1 != 0 {
			secrets.pathSecret = path
		}
		for r := newReader(bytes.Clone(psks), 1<<10); len(r.b) > 0; {
			var id pskID
			if id.read(r); r.err != nil {
				return
			}
			secrets.psks = append(secrets.psks, id)
		}
		psk, err := suite1.pskSecret(secrets.psks, func(pskID) ([]byte, error) { return []byte("shared"), nil })
		if err != nil {
			return
		}
		member := suite1.memberSecret(joiner, psk)
		if made := new(groupInfo); mode&2 == 0 && decode(bytes.Clone(info), 1<<12, made.read) == nil {
			keys, _ := suite1.enterEpoch(member, made.context.encode())
			made.confirmationTag = suite1.mac(keys.confirmation, made.context.confirmed)
			if err := made.sign(x.bank.signer); err != nil {
				t.Fatal(err)
			}
			info = encode(made.write)
		}
		key, nonce := suite1.welcomeKey(member)
		w := &welcome{suite: X25519AES128, groupInfo: must(suite1.content(key))(t).Seal(nil, nonce, info, nil)}
		kp := x.secrets.k().kp
		sealed := must(suite1.seal(kp.initKey, "Welcome", w.groupInfo, encode(secrets.write)))(t)
		w.secrets = []encryptedSecrets{{kp.ref(suite1), sealed}}
		phone := *x.phone
		capable(&phone.policy)
		start := time.Now()
		g, err := Join(writeMessage(wireWelcome, w.write), x.secrets, phone.signer, anyCredential{}, phone.policy)
		if d := time.Since(start); d > fuzzWork {
			t.Fatalf("%d bytes took %v", len(info), d)
		}
		if err != nil {
			return
		}
		g = phone.restore(t, g)
		mustProtect(t, g, "joined")
		if s, err := g.Commit(CommitOptions{}); err == nil {
			mustApply(t, g, s, nil)
		}
	})
}

// FuzzInsiderGroupInfo: an outsider is shown a group that a member made up.
func FuzzInsiderGroupInfo(f *testing.F) {
	_, g := openTrio(f, X25519AES128)
	joiner := newPerson(f, X25519AES128, "tablet")
	joiner.policy.Limits = fuzzLimits()
	for _, o := range []GroupInfoOptions{{}, {WithoutTree: true}} {
		f.Add(encode(must(readMessage(externalInfo(f, g[0], o), DefaultLimits()))(f).groupInfo.write), g[0].cur().tree.encode())
	}
	f.Fuzz(func(t *testing.T, info, tree []byte) {
		gi := new(groupInfo)
		if decode(bytes.Clone(info), 1<<12, gi.read) != nil {
			return
		}
		if tr, err := readTree(tree, fuzzLimits()); err == nil && int(gi.context.suite) == 1 {
			gi.context.treeHash = tr.rootHash(suite1)
		}
		if err := gi.sign(g[0].s.signer); err != nil {
			t.Fatal(err)
		}
		own, msg, err := ExternalJoin(writeMessage(wireGroupInfo, gi.write), tree, joiner.credential(), joiner.signer, anyCredential{}, joiner.policy, ExternalOptions{})
		if err != nil {
			return
		}
		if m, err := readMessage(msg, DefaultLimits()); err != nil || m.public == nil || !bytes.Equal(encode(m.write), msg) {
			t.Fatalf("an external commit that cannot be read: %v", err)
		}
		mustProtect(t, joiner.restore(t, own), "entered")
	})
}

// FuzzRecords: a store may return anything. What is taken for a group is one that
// is used like any other, or it is refused.
func FuzzRecords(f *testing.F) {
	x := newArena(f)
	honest := x.victim(f).cur().records()
	for i, r := range honest {
		f.Add(uint8(i), r.Key, r.Data, false)
	}
	f.Add(uint8(0), "", []byte{}, true)
	f.Fuzz(func(t *testing.T, at uint8, key string, data []byte, drop bool) {
		records := x.victim(t).cur().records()
		if i := int(at) % (len(records) + 1); i == len(records) {
			records = append(records, Record{key, data})
		} else if drop {
			records = append(records[:i], records[i+1:]...)
		} else {
			records[i] = Record{key, data}
		}
		p := x.people[1].policy
		p.Store = fixed(records)
		g, err := Load(x.people[1].signer, anyCredential{}, p)
		if err != nil {
			return
		}
		state := must(g.Marshal())(t)
		if again, err := Unmarshal(state, x.people[1].signer, anyCredential{}, x.people[1].policy); err != nil || !bytes.Equal(must(again.Marshal())(t), state) {
			t.Fatalf("a loaded group is not restored: %v", err)
		}
		_, _ = g.Commit(CommitOptions{})
		_ = g.DropProposals()
		_, _ = g.Protect(nil, nil)
	})
}

// fixed is a store that holds what it holds.
type fixed []Record

func (fixed) Save(Change) error         { return nil }
func (s fixed) Load() ([]Record, error) { return s, nil }

// TestArena: what is honest is taken, so that what the targets refuse is refused
// for what is wrong with it.
func TestArena(t *testing.T) {
	x := newArena(t)
	mallory := x.insider(t)
	body := &authContent{wire: wirePrivateMessage, content: framedContent{groupID: mallory.GroupID(), epoch: mallory.Epoch(),
		sender: sender{senderMember, 3}, aad: []byte{}, kind: contentApplication, application: []byte("text")}}
	if err := body.sign(mallory.s.signer, mallory.cur().encoded); err != nil {
		t.Fatal(err)
	}
	if _, ev := x.take(t, sealRaw(t, mallory, contentApplication, 3, 7, nil, append(encodeBody(body), 0))); ev == nil || string(ev.(Application).Plaintext) != "text" {
		t.Errorf("application message: %+v", ev)
	}
	if _, ev := x.take(t, must(x.insider(t).Propose(RemoveProposal(2)))(t)); ev == nil {
		t.Error("a proposal is refused")
	}
	resign(t, x.joiner, x.add.k().kp)
	for _, made := range [][]*proposal{nil, {{kind: proposalAdd, add: x.add.k().kp}}, {{kind: proposalRemove, remove: 0}}} {
		g := x.insider(t)
		s := hostile{g: g, proposals: made}.commit(t)
		mustApply(t, g, s, nil)
		victim, ev := x.take(t, s.Commit)
		if ev == nil {
			t.Fatalf("a commit of %d proposals is refused", len(made))
		}
		agree(t, victim, g)
	}
	after, msg := x.outsider(t, x.insider(t), nil)
	if victim, ev := x.take(t, msg); ev == nil {
		t.Error("an outsider is refused")
	} else {
		agree(t, victim, after)
	}
}
