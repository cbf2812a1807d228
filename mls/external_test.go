package mls

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// take lets a member follow a Commit and says whether it is out by it. The member
// is restored from its state before and after.
func (p *person) take(t testing.TB, g *Group, commit []byte) (*Group, bool) {
	t.Helper()
	g = p.restore(t, g)
	ev, err := g.Process(commit)
	if err != nil {
		t.Fatalf("%s follows a commit: %v", p.name, err)
	}
	s := ev.(*Staged)
	if err := g.Apply(s); err != nil {
		t.Fatalf("%s applies a commit: %v", p.name, err)
	}
	if s.Summary.OwnRemoved {
		return g, true
	}
	return p.restore(t, g), false
}

// converse: every member opens what every other says, in equal epochs.
func converse(t testing.TB, groups ...*Group) {
	t.Helper()
	agree(t, groups...)
	for i, from := range groups {
		text := fmt.Sprintf("from %d in epoch %d", i, from.Epoch())
		msg := mustProtect(t, from, text)
		for j, to := range groups {
			if j != i {
				mustOpen(t, to, msg, text)
			}
		}
	}
}

// openTrio lets external commits into a group of three.
func openTrio(t testing.TB, s Suite) ([]*person, []*Group) {
	t.Helper()
	people, g := trio(t, s)
	for i := range g {
		people[i].policy.AllowExternal = true
		g[i] = people[i].restore(t, g[i])
	}
	return people, g
}

func externalInfo(t testing.TB, g *Group, o GroupInfoOptions) []byte {
	t.Helper()
	o.External = true
	gi, err := g.GroupInfo(o)
	if err != nil {
		t.Fatal(err)
	}
	return gi
}

func (p *person) enter(t testing.TB, g *Group, o ExternalOptions) (*Group, []byte) {
	t.Helper()
	own, msg, err := ExternalJoin(externalInfo(t, g, GroupInfoOptions{}), nil, p.credential(), p.signer, anyCredential{}, p.policy, o)
	if err != nil {
		t.Fatalf("%s enters: %v", p.name, err)
	}
	return own, msg
}

// TestExternalJoin: a stranger enters, with the tree in the GroupInfo and apart
// from it, and with a pre-shared key; then an older appearance is replaced.
func TestExternalJoin(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128, X25519ChaCha, X25519MLKEM768} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			people, g := openTrio(t, s)
			known := func(id []byte) ([]byte, bool) { return []byte("shared"), string(id) == "psk" }
			everyone := func(commit []byte, newcomer *person, own *Group) (gone int) {
				t.Helper()
				gone = -1
				for i := range g {
					people[i].policy.PSK = known
					var out bool
					if g[i], out = people[i].take(t, g[i], commit); out {
						gone = i
					}
				}
				if gone >= 0 {
					people, g = slices.Delete(people, gone, gone+1), slices.Delete(g, gone, gone+1)
				}
				people, g = append(people, newcomer), append(g, newcomer.restore(t, own))
				converse(t, g...)
				return gone
			}
			tablet := newPerson(t, s, "tablet")
			tablet.policy.AllowExternal = true
			own, commit := tablet.enter(t, g[0], ExternalOptions{})
			if out := everyone(commit, tablet, own); out >= 0 || own.OwnLeaf() != 3 {
				t.Fatalf("tablet sits at leaf %d, member %d is out", own.OwnLeaf(), out)
			}

			watch := newPerson(t, s, "watch")
			watch.policy.AllowExternal, watch.policy.PSK = true, known
			tree, err := g[1].RatchetTree()
			if err != nil {
				t.Fatal(err)
			}
			bare := externalInfo(t, g[1], GroupInfoOptions{WithoutTree: true})
			o := ExternalOptions{PSKs: [][]byte{[]byte("psk")}, AAD: []byte("a watch")}
			if _, _, err := ExternalJoin(bare, nil, watch.credential(), watch.signer, anyCredential{}, watch.policy, o); !errors.Is(err, ErrRefused) {
				t.Errorf("no tree: %v", err)
			}
			own, commit, err = ExternalJoin(bare, tree, watch.credential(), watch.signer, anyCredential{}, watch.policy, o)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(commit, []byte("a watch")) {
				t.Error("the commit lacks its AAD")
			}
			everyone(commit, watch, own)

			again := newPerson(t, s, "phone") // the phone's name, a key of its own
			again.policy.AllowExternal = true
			leaf := uint32(1)
			own, commit = again.enter(t, g[0], ExternalOptions{Resync: &leaf})
			if out := everyone(commit, again, own); out != 1 || own.OwnLeaf() != 1 {
				t.Fatalf("the new phone sits at leaf %d, member %d is out", own.OwnLeaf(), out)
			}
			// The same key comes back as well: the state was lost, the key was not.
			own, commit = again.enter(t, g[0], ExternalOptions{Resync: &leaf})
			if out := everyone(commit, again, own); out < 0 {
				t.Fatal("nobody is out after a resync")
			}
			// A member of old commits, and who entered follows.
			staged, err := g[0].Commit(CommitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range g[1:] {
				g[i+1], _ = people[i+1].take(t, g[i+1], staged.Commit)
			}
			if err := g[0].Apply(staged); err != nil {
				t.Fatal(err)
			}
			converse(t, g...)
		})
	}
}

// respoil changes an external Commit and signs it as its sender would.
func respoil(t *testing.T, g *Group, sg Signer, msg []byte, change func(*framedContent)) []byte {
	t.Helper()
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	a := &authContent{wire: wirePublicMessage, content: m.public.content, auth: m.public.auth}
	change(&a.content)
	if err := a.sign(sg, g.cur().encoded); err != nil {
		t.Fatal(err)
	}
	pm := &publicMessage{content: a.content, auth: a.auth}
	return writeMessage(wirePublicMessage, pm.write)
}

func byValue(p *proposal) proposalOrRef { return proposalOrRef{proposal: p} }

// TestBCJava68768f79ExternalCommit: refused unless the policy allows it, and then
// only in the form of 12.2 and 12.4.3.2, whatever of it is missing or too much.
func TestBCJava68768f79ExternalCommit(t *testing.T) {
	people, g := trio(t, X25519AES128)
	joiner := newPerson(t, X25519AES128, "tablet")
	own, honest := joiner.enter(t, g[0], ExternalOptions{})
	if _, err := g[1].Process(honest); !errors.Is(err, ErrRefused) {
		t.Fatalf("external commit under the default policy: %v", err)
	}
	people[1].policy.AllowExternal = true
	g[1] = people[1].restore(t, g[1])
	before := digest(t, g[1])
	_, strangers := joiner.keyPackage(t, X25519AES128)
	add := func(p *proposal) func(*framedContent) {
		return func(c *framedContent) { c.commit.proposals = append(c.commit.proposals, byValue(p)) }
	}
	for name, c := range map[string]struct {
		because string
		change  func(*framedContent)
	}{
		"no path":            {"without a path", func(c *framedContent) { c.commit.path = nil }},
		"no proposals":       {"0 external inits", func(c *framedContent) { c.commit.proposals = nil }},
		"two external inits": {"2 external inits", func(c *framedContent) { add(c.commit.proposals[0].proposal)(c) }},
		"two removes": {"2 removes", func(c *framedContent) {
			add(&proposal{kind: proposalRemove, remove: 1})(c)
			add(&proposal{kind: proposalRemove, remove: 2})(c)
		}},
		"a reference": {"by reference", func(c *framedContent) {
			c.commit.proposals = append(c.commit.proposals, proposalOrRef{ref: make([]byte, 32)})
		}},
		"an add":               {"proposal type 1", add(&proposal{kind: proposalAdd, add: strangers.k().kp})},
		"an update":            {"update", add(&proposal{kind: proposalUpdate, update: g[0].cur().tree.leaf(0)})},
		"a reinit":             {"proposal type 5", add(&proposal{kind: proposalReInit, reInit: reInit{version: versionMLS10}})},
		"context extensions":   {"proposal type 7", add(&proposal{kind: proposalContextExtensions})},
		"a key nobody has":     {"not known", add(&proposal{kind: proposalPSK, psk: pskID{kind: pskExternal, nonce: make([]byte, 32)}})},
		"remove of nobody":     {"blank leaf", add(&proposal{kind: proposalRemove, remove: 3})},
		"remove of a far leaf": {"blank leaf", add(&proposal{kind: proposalRemove, remove: 1 << 31})},
		"another kem output": {"confirmation tag", func(c *framedContent) {
			p := *c.commit.proposals[0].proposal
			p.kemOutput = bytes.Clone(p.kemOutput)
			p.kemOutput[0] ^= 1
			c.commit.proposals[0].proposal = &p
		}},
		"empty kem output": {"external init", func(c *framedContent) {
			c.commit.proposals[0].proposal = &proposal{kind: proposalExternalInit, kemOutput: []byte{}}
		}},
		// RUSTSEC-2026-0069 to 0072: the shared secret would be zero.
		"zero kem output": {"external init", func(c *framedContent) {
			c.commit.proposals[0].proposal = &proposal{kind: proposalExternalInit, kemOutput: make([]byte, 32)}
		}},
		"signed for another leaf": {"LeafNodeTBS", func(c *framedContent) {
			_ = c.commit.path.leaf.sign(joiner.signer, c.groupID, 0)
		}},
		"leaf of a key package": {"source", func(c *framedContent) { c.commit.path.leaf.source = sourceKeyPackage }},
		"a path too short":      {"update path of", func(c *framedContent) { c.commit.path.nodes = c.commit.path.nodes[1:] }},
		"a proposal, not a commit": {"without a path", func(c *framedContent) {
			c.kind, c.proposal = contentProposal, &proposal{kind: proposalRemove, remove: 2}
		}},
		"of a new member's proposal": {"propose to add itself", func(c *framedContent) { c.sender.kind = senderNewMemberProposal }},
		"of an external sender":      {"content type 3", func(c *framedContent) { c.sender.kind = senderExternal }},
		"of another epoch":           {"another epoch", func(c *framedContent) { c.epoch++ }},
		"of another group":           {"another group", func(c *framedContent) { c.groupID = []byte("another") }},
	} {
		msg := respoil(t, g[1], joiner.signer, honest, c.change)
		if ev, err := g[1].Process(msg); err == nil {
			t.Fatalf("%s: %+v", name, ev)
		} else if !strings.Contains(err.Error(), c.because) {
			t.Errorf("%s: refused, but because of %q", name, err)
		}
	}
	if _, err := g[1].Process(respoil(t, g[1], newPerson(t, X25519AES128, "x").signer, honest, func(*framedContent) {})); !errors.Is(err, ErrRefused) {
		t.Errorf("signed by another: %v", err)
	}
	for i := range honest {
		if _, err := g[1].Process(honest[:i]); err == nil {
			t.Fatalf("cut to %d bytes: taken", i)
		}
		forged := bytes.Clone(honest)
		forged[i] ^= 1
		if _, err := g[1].Process(forged); err == nil {
			t.Fatalf("byte %d changed: taken", i)
		}
	}
	if digest(t, g[1]) != before {
		t.Fatal("a refused external commit changed the state")
	}
	member, _ := people[1].take(t, g[1], respoil(t, g[1], joiner.signer, honest, func(*framedContent) {}))
	if member.Epoch() != own.Epoch() {
		t.Fatalf("member in epoch %d", member.Epoch())
	}
	converse(t, member, own)
}

// TestCVE202671890RemoveOfAnother: an external commit may remove no one but an
// older appearance of its own sender.
func TestCVE202671890RemoveOfAnother(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		people, g := openTrio(t, s)
		phone := newPerson(t, s, "phone")
		self, other, nobody := uint32(1), uint32(2), uint32(3)
		own, honest := phone.enter(t, g[0], ExternalOptions{Resync: &self})
		before := digest(t, g[0])
		for name, leaf := range map[string]uint32{"another": other, "nobody": nobody, "far": 1 << 31} {
			msg := respoil(t, g[0], phone.signer, honest, func(c *framedContent) {
				c.commit.proposals[1] = byValue(&proposal{kind: proposalRemove, remove: leaf})
			})
			reason := "remove of blank leaf"
			if leaf == other {
				msg, reason = forcedEntry(t, phone, phone.credential(), g[0], &leaf), "another credential"
			}
			if _, err := g[0].Process(msg); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), reason) {
				t.Errorf("suite %d: remove of %s: %v", s, name, err)
			}
			gi := externalInfo(t, g[0], GroupInfoOptions{})
			if _, _, err := ExternalJoin(gi, nil, phone.credential(), phone.signer, anyCredential{}, phone.policy, ExternalOptions{Resync: &leaf}); !errors.Is(err, ErrRefused) {
				t.Errorf("suite %d: made a remove of %s: %v", s, name, err)
			}
		}
		// Mallory says that it is the phone: who it is, the validator decides.
		g[0].s.validator = binding{"phone": phone.signer.Public()}
		mallory := newPerson(t, s, "phone")
		_, forged := mallory.enter(t, g[1], ExternalOptions{Resync: &self})
		if _, err := g[0].Process(forged); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "credential") {
			t.Errorf("suite %d: the phone's name with another's key: %v", s, err)
		}
		if digest(t, g[0]) != before {
			t.Fatal("a refused commit changed the state")
		}
		g[0], _ = people[0].take(t, g[0], honest)
		g[2], _ = people[2].take(t, g[2], honest)
		converse(t, g[0], own, g[2])
	}
}

// binding validates names that it knows with their keys, and all other names.
type binding map[string][]byte

func (b binding) Validate(c Credential, key []byte) error {
	if want, ok := b[string(c.Identity)]; ok && !bytes.Equal(want, key) {
		return fmt.Errorf("%q has another key", c.Identity)
	}
	return nil
}

func (b binding) Successor(_, _ Credential) error { return nil }

// TestGroupInfoIsChecked: what a joiner by Welcome verifies, one who enters does
// too. The signature of a member is remade over what is spoiled.
func TestGroupInfoIsChecked(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		people, g := openTrio(t, s)
		joiner := newPerson(t, s, "tablet")
		ghost := newPerson(t, s, "ghost")
		_, ghostSecrets := ghost.keyPackage(t, s)
		cs := g[0].cur().cs
		remake := func(resign bool, change func(*groupInfo)) []byte {
			m, err := readMessage(externalInfo(t, g[0], GroupInfoOptions{}), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			change(m.groupInfo)
			if resign {
				if err := m.groupInfo.sign(people[0].signer); err != nil {
					t.Fatal(err)
				}
			}
			return writeMessage(wireGroupInfo, m.groupInfo.write)
		}
		enter := func(gi []byte, v Validator) (*Group, []byte, error) {
			return ExternalJoin(gi, nil, joiner.credential(), joiner.signer, v, joiner.policy, ExternalOptions{})
		}
		external := func(data []byte) func(*groupInfo) {
			return func(gi *groupInfo) {
				for i := range gi.extensions {
					if gi.extensions[i].kind == extExternalPub {
						gi.extensions[i].data = data
					}
				}
			}
		}
		retree := func(gi *groupInfo, change func(*tree)) {
			for i, e := range gi.extensions {
				if e.kind == extRatchetTree {
					tr, err := readTree(e.data, DefaultLimits())
					if err != nil {
						t.Fatal(err)
					}
					change(tr)
					gi.extensions[i].data, gi.context.treeHash = tr.encode(), tr.rootHash(cs)
				}
			}
		}
		required := func(e, p, c []uint16) func(*groupInfo) {
			return func(gi *groupInfo) {
				gi.context.extensions = extensions{{extRequiredCapabilities, encode(func(w *writer) {
					w.u16list(e)
					w.u16list(p)
					w.u16list(c)
				})}}
			}
		}
		for name, c := range map[string]struct {
			resign bool
			change func(*groupInfo)
		}{
			"signature":           {false, func(gi *groupInfo) { gi.signature[0] ^= 1 }},
			"no signature":        {false, func(gi *groupInfo) { gi.signature = nil }},
			"epoch, not signed":   {false, func(gi *groupInfo) { gi.context.epoch++ }},
			"suite":               {true, func(gi *groupInfo) { gi.context.suite ^= 3 }},
			"unknown suite":       {true, func(gi *groupInfo) { gi.context.suite = 99 }},
			"signer":              {true, func(gi *groupInfo) { gi.signer = 1 }},
			"blank signer":        {true, func(gi *groupInfo) { gi.signer = 3 }},
			"far signer":          {true, func(gi *groupInfo) { gi.signer = 1 << 31 }},
			"tree hash":           {true, func(gi *groupInfo) { gi.context.treeHash[0] ^= 1 }},
			"no external key":     {true, func(gi *groupInfo) { gi.extensions = gi.extensions[:1] }},
			"external key of 0 B": {true, external([]byte{0})},
			"external key cut":    {true, external([]byte{32, 1, 2})},
			"external key zero":   {true, external(encode(func(w *writer) { w.vec(make([]byte, 32)) }))}, // RUSTSEC-2026-0069 to 0072
			"no tree":             {true, func(gi *groupInfo) { gi.extensions = gi.extensions[1:] }},
			"a leaf that nobody signed": {true, func(gi *groupInfo) {
				retree(gi, func(tr *tree) {
					l := *tr.leaf(2)
					l.signatureKey = ghost.signer.Public()
					tr.set(leafNodeIndex(2), node{leaf: &l})
				})
			}},
			"one key in two leaves": {true, func(gi *groupInfo) {
				retree(gi, func(tr *tree) { tr.set(leafNodeIndex(3), node{leaf: tr.leaf(2)}) })
			}},
			"a group extension nobody supports": {true, func(gi *groupInfo) { gi.context.extensions = extensions{{0xf00d, []byte{}}} }},
			"a required extension":              {true, required([]uint16{0xf00d}, nil, nil)},
			"a required proposal":               {true, required(nil, []uint16{0xf00d}, nil)},
			"a required credential":             {true, required(nil, nil, []uint16{0xf00d})},
		} {
			if _, _, err := enter(remake(c.resign, c.change), anyCredential{}); err == nil {
				t.Errorf("suite %d: %s: entered", s, name)
			}
		}
		for name, v := range map[string]Validator{"knows only the joiner": only("tablet"), "does not know the joiner": binding{"tablet": nil}} {
			if _, _, err := enter(remake(true, func(*groupInfo) {}), v); !errors.Is(err, ErrRefused) {
				t.Errorf("suite %d: a validator that %s: %v", s, name, err)
			}
		}
		// A ghost in tree and hash is a group that never was: no member takes the commit.
		before := digest(t, g[1])
		_, commit, err := enter(remake(true, func(gi *groupInfo) {
			retree(gi, func(tr *tree) {
				if _, err := tr.add(&ghostSecrets.k().kp.leaf); err != nil {
					t.Fatal(err)
				}
			})
		}), anyCredential{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g[1].Process(commit); err == nil || digest(t, g[1]) != before {
			t.Errorf("suite %d: a commit to a group that never was: %v", s, err)
		}
		own, commit, err := enter(remake(true, func(*groupInfo) {}), anyCredential{})
		if err != nil {
			t.Fatalf("the honest group info, remade: %v", err)
		}
		member, _ := people[1].take(t, g[1], commit)
		converse(t, member, own)
	}
}

// TestExternalJoinIsRefused: what the joiner itself gets wrong.
func TestExternalJoinIsRefused(t *testing.T) {
	_, g := openTrio(t, X25519AES128)
	joiner := newPerson(t, X25519AES128, "tablet")
	honest := externalInfo(t, g[0], GroupInfoOptions{})
	kp, _ := joiner.keyPackage(t, X25519AES128)
	without, err := g[0].GroupInfo(GroupInfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	narrow, knowing := joiner.policy, joiner.policy
	narrow.Limits.Leaves = 3
	knowing.PSK = sharedKey("one")
	many := slices.Repeat([][]byte{[]byte("psk")}, externalPSKsMax+1)
	for name, c := range map[string]struct {
		gi      []byte
		c       Credential
		sg      Signer
		p       Policy
		o       ExternalOptions
		because string
	}{
		"a key package":            {kp, joiner.credential(), joiner.signer, joiner.policy, ExternalOptions{}, "no group info"},
		"no external key":          {without, joiner.credential(), joiner.signer, joiner.policy, ExternalOptions{}, "no external public key"},
		"cut":                      {honest[:len(honest)-1], joiner.credential(), joiner.signer, joiner.policy, ExternalOptions{}, "read group info"},
		"a member, again":          {honest, joiner.credential(), g[1].s.signer, joiner.policy, ExternalOptions{}, "appears twice"},
		"no credential":            {honest, Credential{}, joiner.signer, joiner.policy, ExternalOptions{}, "credential"},
		"a signer of another kind": {honest, joiner.credential(), newPerson(t, P256AES128, "x").signer, joiner.policy, ExternalOptions{}, "signature key"},
		"a key that is not known":  {honest, joiner.credential(), joiner.signer, joiner.policy, ExternalOptions{PSKs: [][]byte{[]byte("psk")}}, "not known"},
		"too many keys":            {honest, joiner.credential(), joiner.signer, knowing, ExternalOptions{PSKs: many}, "17 pre-shared keys"},
		"a group too wide":         {honest, joiner.credential(), joiner.signer, narrow, ExternalOptions{}, "leaves"},
	} {
		_, _, err := ExternalJoin(c.gi, nil, c.c, c.sg, anyCredential{}, c.p, c.o)
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.because) {
			t.Errorf("%s: %v, want one about %q", name, err, c.because)
		}
	}
	if _, _, err := ExternalJoin(honest, nil, joiner.credential(), joiner.signer, anyCredential{}, knowing, ExternalOptions{PSKs: many[1:]}); err != nil {
		t.Fatalf("as many keys as may be: %v", err)
	}
	if _, _, err := ExternalJoin(honest, nil, joiner.credential(), joiner.signer, anyCredential{}, joiner.policy, ExternalOptions{}); err != nil {
		t.Fatalf("the honest join: %v", err)
	}
}

// smallOrder are X25519 points that make every shared secret zero (RFC 7748, 6.1):
// 0, 1, p-1, p, p+1 and two points of order 8.
func smallOrder() map[string][]byte {
	points := map[string][]byte{"0": make([]byte, 32), "1": append([]byte{1}, make([]byte, 31)...)}
	for name, last := range map[string]byte{"p-1": 0xec, "p": 0xed, "p+1": 0xee} {
		p := bytes.Repeat([]byte{0xff}, 32)
		p[0], p[31] = last, 0x7f
		points[name] = p
	}
	points["of order 8"] = []byte{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00}
	points["of order 8, the other"] = []byte{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57}
	return points
}

// TestHPKERSZeroSharedSecret (RUSTSEC-2026-0069 to 0072): where a public key or a KEM output comes in
// from outside, one that makes the shared secret zero is refused, and nothing is
// encrypted to it.
func TestHPKERSZeroSharedSecret(t *testing.T) {
	people, g := openTrio(t, X25519AES128)
	joiner := newPerson(t, X25519AES128, "tablet")
	_, honest := joiner.enter(t, g[0], ExternalOptions{})
	staged, err := g[0].Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x := invite(t, X25519AES128)
	before := digest(t, g[1])
	for name, point := range smallOrder() {
		m, err := readMessage(externalInfo(t, g[0], GroupInfoOptions{}), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.groupInfo.extensions {
			if m.groupInfo.extensions[i].kind == extExternalPub {
				m.groupInfo.extensions[i].data = encode(func(w *writer) { w.vec(point) })
			}
		}
		if err := m.groupInfo.sign(people[0].signer); err != nil {
			t.Fatal(err)
		}
		gi := writeMessage(wireGroupInfo, m.groupInfo.write)
		_, _, err = ExternalJoin(gi, nil, joiner.credential(), joiner.signer, anyCredential{}, joiner.policy, ExternalOptions{})
		because(t, "external key "+name, err, ErrRefused, "external public key")

		_, err = g[1].Process(respoil(t, g[1], joiner.signer, honest, func(c *framedContent) {
			c.commit.proposals[0] = byValue(&proposal{kind: proposalExternalInit, kemOutput: point})
		}))
		because(t, "kem output of an external init "+name, err, ErrRefused, "external init")

		_, err = g[1].Process(resignedPublic(t, g[0], staged.Commit, func(m *publicMessage) {
			for i := range m.content.commit.path.nodes {
				for j := range m.content.commit.path.nodes[i].encrypted {
					m.content.commit.path.nodes[i].encrypted[j].kemOutput = point
				}
			}
		}))
		because(t, "kem output of a path "+name, err, ErrRefused, "decapsulate")

		w, err := readMessage(x.staged.Welcome, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		w.welcome.secrets[0].sealed.kemOutput = point
		_, err = x.join(writeMessage(wireWelcome, w.welcome.write))
		because(t, "kem output of a welcome "+name, err, ErrRefused, "decapsulate")

		_, err = suite1.seal(point, "Welcome", nil, []byte("secret"))
		because(t, "sealing to "+name, err, ErrRefused, "")
	}
	if digest(t, g[1]) != before {
		t.Fatal("a refused commit changed the state")
	}
	if _, err := g[1].Process(honest); err != nil {
		t.Fatalf("the honest external commit: %v", err)
	}
	if _, err := x.join(x.staged.Welcome); err != nil {
		t.Fatalf("the honest welcome: %v", err)
	}
}

// TestHPKERSExportLength (RUSTSEC-2026-0069 to 0072): an export is as long as HKDF allows and no
// longer, and no length wraps (8.5).
func TestHPKERSExportLength(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P384AES256} {
		_, _, ga, gb := pair(t, s)
		most := 255 * ga.cur().cs.nh()
		for _, n := range []int{1, 255, 256, most} {
			a, err := ga.Export("label", nil, n)
			if err != nil || len(a) != n {
				t.Fatalf("suite %d: %d bytes: %d, %v", s, n, len(a), err)
			}
			if b, err := gb.Export("label", nil, n); err != nil || !bytes.Equal(a, b) {
				t.Fatalf("suite %d: members export different %d bytes: %v", s, n, err)
			}
		}
		for _, n := range []int{-1, 0, most + 1, 1 << 16, 1<<16 + 1, 1<<31 - 1} {
			if b, err := ga.Export("label", nil, n); err == nil {
				t.Errorf("suite %d: %d bytes: exported %d", s, n, len(b))
			}
		}
	}
}

// TestExternalCrowd: strangers enter and old selves are replaced in a group with
// blank leaves, blank parents and unmerged leaves; everybody follows every time.
// Half of them encrypt what they commit, as far as they can.
func TestExternalCrowd(t *testing.T) {
	people, groups := map[uint32]*person{}, map[uint32]*Group{}
	bank := newPerson(t, X25519AES128, "bank")
	bank.policy.AllowExternal = true
	people[0], groups[0] = bank, bank.create(t, X25519AES128)
	spread := func(by uint32, commit []byte) {
		t.Helper()
		for leaf, g := range groups {
			if leaf == by {
				continue
			}
			var out bool
			if groups[leaf], out = people[leaf].take(t, g, commit); out {
				delete(groups, leaf)
				delete(people, leaf)
			}
		}
	}
	meet := func() {
		t.Helper()
		var all []*Group
		for _, leaf := range slices.Sorted(maps.Keys(groups)) {
			all = append(all, groups[leaf])
		}
		converse(t, all...)
	}
	enter := func(name string, seen uint32, resync *uint32) {
		t.Helper()
		p := newPerson(t, X25519AES128, name)
		p.policy.AllowExternal, p.policy.EncryptHandshake = true, len(people)%2 == 1
		own, commit := p.enter(t, groups[seen], ExternalOptions{Resync: resync})
		spread(own.OwnLeaf(), commit)
		if resync != nil && own.OwnLeaf() != *resync {
			if _, still := groups[*resync]; still {
				t.Fatalf("%s is in the group twice", name)
			}
		}
		people[own.OwnLeaf()], groups[own.OwnLeaf()] = p, p.restore(t, own)
		meet()
	}
	commit := func(by uint32, staged *Staged, err error) {
		t.Helper()
		mustApply(t, groups[by], staged, err)
		spread(by, staged.Commit)
		meet()
	}
	for i := range 8 {
		enter(fmt.Sprint("m", i+1), uint32(i/2), nil)
	}
	staged, err := groups[3].Remove(1, 6, 7)
	commit(3, staged, err)
	enter("m9", 8, nil) // takes leaf 1
	five, eight := uint32(5), uint32(8)
	enter("m5", 0, &five) // its place is taken by its new self, at a blank leaf before
	enter("m8", 2, &eight)
	staged, err = groups[4].Commit(CommitOptions{})
	commit(4, staged, err)
	one, two := newPerson(t, X25519AES128, "one"), newPerson(t, X25519AES128, "two")
	var pubs [][]byte
	var privs []*KeyPackageSecrets
	for _, p := range []*person{one, two} {
		p.policy.AllowExternal = true
		pub, priv := p.keyPackage(t, X25519AES128)
		pubs, privs = append(pubs, pub), append(privs, priv)
	}
	staged, err = groups[2].Add(pubs...) // unmerged leaves
	mustApply(t, groups[2], staged, err)
	spread(2, staged.Commit)
	for i, p := range []*person{one, two} {
		g := p.join(t, staged.Welcome, privs[i])
		people[g.OwnLeaf()], groups[g.OwnLeaf()] = p, g
	}
	meet()
	enter("m10", 4, nil)
	two4 := uint32(4)
	enter("m4", 0, &two4)
	staged, err = groups[0].Remove(2)
	commit(0, staged, err)
}

// FuzzExternalJoin: no GroupInfo panics, and what is accepted makes a Commit.
func FuzzExternalJoin(f *testing.F) {
	_, g := openTrio(f, X25519AES128)
	joiner := newPerson(f, X25519AES128, "tablet")
	f.Add(externalInfo(f, g[0], GroupInfoOptions{}), []byte{})
	tree, err := g[0].RatchetTree()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(externalInfo(f, g[0], GroupInfoOptions{WithoutTree: true}), tree)
	leaf := uint32(2)
	f.Fuzz(func(t *testing.T, gi, tree []byte) {
		for _, o := range []ExternalOptions{{}, {Resync: &leaf}} {
			own, commit, err := ExternalJoin(gi, tree, joiner.credential(), joiner.signer, anyCredential{}, joiner.policy, o)
			if (err == nil) != (own != nil && commit != nil) {
				t.Fatalf("%v %x %v", own, commit, err)
			}
		}
	})
}

// TestTwoOutsidersAtOnce: a GroupInfo serves one join. Who came second is refused,
// starts over, and neither its own Commit nor the lost one disturbs it.
func TestTwoOutsidersAtOnce(t *testing.T) {
	people, g := openTrio(t, P256AES128)
	first, second := newPerson(t, P256AES128, "tablet"), newPerson(t, P256AES128, "watch")
	first.policy.AllowExternal = true
	own, commit := first.enter(t, g[0], ExternalOptions{})
	lost, late := second.enter(t, g[0], ExternalOptions{})
	for i := range g {
		g[i], _ = people[i].take(t, g[i], commit)
		if _, err := g[i].Process(late); !errors.Is(err, ErrWrongEpoch) {
			t.Errorf("member %d and the second outsider: %v", i, err)
		}
	}
	if _, err := own.Process(commit); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("its own commit: %v", err)
	}
	if _, err := lost.Process(mustProtect(t, g[0], "x")); err == nil {
		t.Error("who came second reads the group")
	}
	people, g = append(people, first), append(g, own)
	again, commit := second.enter(t, own, ExternalOptions{}) // the GroupInfo of who came first
	for i := range g {
		g[i], _ = people[i].take(t, g[i], commit)
	}
	converse(t, append(g, again)...)
}
