package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func senderList(senders ...*person) Extension {
	var list []ExternalSender
	for _, p := range senders {
		list = append(list, ExternalSender{p.signer.Public(), p.credential()})
	}
	return ExternalSenders(list...)
}

// overseen is three members of a group that lists external senders.
func overseen(t *testing.T, s Suite, senders ...*person) ([]*person, []*Group) {
	t.Helper()
	people, g := trio(t, s)
	staged, err := g[0].Commit(CommitOptions{Proposals: []Proposal{ContextExtensionsProposal([]Extension{senderList(senders...)})}})
	mustApply(t, g[0], staged, err)
	for _, i := range []int{1, 2} {
		g[i], _ = people[i].take(t, g[i], staged.Commit)
	}
	return people, g
}

// heard lets all members take a proposal from outside, and the first one commit
// what waits.
func heard(t *testing.T, people []*person, g []*Group, msg []byte) *Staged {
	t.Helper()
	for i := range g {
		ev, err := g[i].Process(msg)
		if err != nil || ev.(ProposalReceived).FromMember {
			t.Fatalf("member %d hears %+v: %v", i, ev, err)
		}
		g[i] = people[i].restore(t, g[i])
	}
	staged, err := g[0].Commit(CommitOptions{})
	mustApply(t, g[0], staged, err)
	return staged
}

// TestExternalProposal: a listed sender proposes each type that it may, and the
// group goes on after each (12.1.8).
func TestExternalProposal(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128, X25519MLKEM768} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			police, server := newPerson(t, s, "police"), newPerson(t, s, "server")
			people, g := overseen(t, s, police, server)
			listed, err := g[1].ExternalSenders()
			if err != nil || len(listed) != 2 || !bytes.Equal(listed[1].SignatureKey, server.signer.Public()) || string(listed[0].Credential.Identity) != "police" {
				t.Fatalf("external senders %+v: %v", listed, err)
			}
			listed[1].SignatureKey[0] ^= 1 // a copy
			known := func(id []byte) ([]byte, bool) { return []byte("shared"), string(id) == "psk" }
			for i := range g {
				people[i].policy.PSK = known
				g[i] = people[i].restore(t, g[i])
			}
			propose := func(p Proposal) []byte {
				t.Helper()
				msg, err := ExternalProposal(g[0].GroupID(), g[0].Epoch(), s, 1, p, server.signer)
				if err != nil {
					t.Fatal(err)
				}
				return msg
			}
			everyone := func(staged *Staged) {
				t.Helper()
				for i := range g[1:] {
					g[i+1], _ = people[i+1].take(t, g[i+1], staged.Commit)
				}
			}
			tablet := newPerson(t, s, "tablet")
			tablet.policy.PSK = known
			pub, priv := tablet.keyPackage(t, s)
			staged := heard(t, people, g, propose(AddProposal(pub)))
			everyone(staged)
			people, g = append(people, tablet), append(g, tablet.join(t, staged.Welcome, priv))
			converse(t, g...)

			everyone(heard(t, people, g, propose(ExternalPSKProposal([]byte("psk")))))
			converse(t, g...)

			staged = heard(t, people, g, propose(RemoveProposal(2)))
			out, gone := people[2].take(t, g[2], staged.Commit)
			if !gone || !out.Removed() {
				t.Error("the removed member is still in")
			}
			people, g = slices.Delete(people, 2, 3), slices.Delete(g, 2, 3)
			everyone(staged)
			converse(t, g...)

			everyone(heard(t, people, g, propose(ContextExtensionsProposal([]Extension{senderList(server, server)}))))
			converse(t, g...)

			staged = heard(t, people, g, propose(ReInitProposal([]byte("next"), s, nil)))
			everyone(staged)
			agree(t, g...)
			if g[2].Reinitialised() == nil {
				t.Error("the group is still open")
			}
		})
	}
}

// TestExternalProposalIsChecked: only a listed sender, only such types, and only
// with its own key.
func TestExternalProposalIsChecked(t *testing.T) {
	server := newPerson(t, X25519AES128, "server")
	_, plain := trio(t, X25519AES128)
	people, g := overseen(t, X25519AES128, server)
	evict := RemoveProposal(2)
	message := func(index uint32, epoch uint64, id []byte, sg Signer) []byte {
		msg, err := ExternalProposal(id, epoch, X25519AES128, index, evict, sg)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	raw := func(p *proposal) []byte {
		msg, err := proposeFromOutside(suite1, g[1].GroupID(), g[1].Epoch(), sender{kind: senderExternal}, p, server.signer)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	honest := message(0, g[1].Epoch(), g[1].GroupID(), server.signer)
	before := digest(t, g[1])
	for name, c := range map[string]struct {
		msg []byte
		is  error
	}{
		"another key":      {message(0, g[1].Epoch(), g[1].GroupID(), newPerson(t, X25519AES128, "x").signer), ErrRefused},
		"another index":    {message(1, g[1].Epoch(), g[1].GroupID(), server.signer), ErrRefused},
		"a far index":      {message(1<<31, g[1].Epoch(), g[1].GroupID(), server.signer), ErrRefused},
		"the epoch before": {message(0, g[1].Epoch()-1, g[1].GroupID(), server.signer), ErrWrongEpoch},
		"another group":    {message(0, g[1].Epoch(), []byte("x"), server.signer), ErrWrongGroup},
		"an update":        {raw(&proposal{kind: proposalUpdate, update: g[0].cur().tree.leaf(0)}), ErrRefused},
		"an external init": {raw(&proposal{kind: proposalExternalInit, kemOutput: []byte{}}), ErrRefused},
		"a custom type":    {raw(&proposal{kind: 0xf00d}), ErrRefused},
		"remove of nobody": {raw(&proposal{kind: proposalRemove, remove: 3}), ErrRefused},
		"usage branch": {raw(&proposal{kind: proposalPSK, psk: pskID{kind: pskResumption, usage: usageBranch,
			groupID: g[1].GroupID(), epoch: 1, nonce: make([]byte, 32)}}), ErrRefused},
		"usage reinit": {raw(&proposal{kind: proposalPSK, psk: pskID{kind: pskResumption, usage: usageReInit,
			groupID: g[1].GroupID(), epoch: 1, nonce: make([]byte, 32)}}), ErrRefused},
	} {
		if _, err := g[1].Process(c.msg); !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range honest {
		forged := bytes.Clone(honest)
		forged[i] ^= 1
		if _, err := g[1].Process(forged); err == nil {
			t.Fatalf("byte %d changed: taken", i)
		}
	}
	if digest(t, g[1]) != before {
		t.Fatal("a refused proposal changed the state")
	}
	for i := range plain {
		if _, err := plain[i].Process(message(0, plain[i].Epoch(), plain[i].GroupID(), server.signer)); !errors.Is(err, ErrRefused) {
			t.Errorf("a group that lists nobody: %v", err)
		}
	}
	other, _ := newPerson(t, P256AES128, "x").keyPackage(t, P256AES128)
	make := func(s Suite, p Proposal, sg Signer) error {
		return second(ExternalProposal(g[1].GroupID(), g[1].Epoch(), s, 0, p, sg))
	}
	for name, c := range map[string]struct{ err, is error }{
		"making an update":            {make(X25519AES128, UpdateProposal(LeafOptions{}), server.signer), ErrRefused},
		"making a custom one":         {make(X25519AES128, CustomProposal(0xf00d, nil), server.signer), ErrRefused},
		"adding of another suite":     {make(X25519AES128, AddProposal(other), server.signer), ErrRefused},
		"adding no key package":       {make(X25519AES128, AddProposal(honest), server.signer), ErrMalformed},
		"making with another's curve": {make(P256AES128, evict, server.signer), ErrRefused},
		"making for no suite":         {make(99, evict, server.signer), ErrUnsupported},
	} {
		if !errors.Is(c.err, c.is) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	// The validator judges a list of senders, and dropping what waits ends the wait.
	g[1].s.validator = only("phone")
	staged, err := g[0].Commit(CommitOptions{Proposals: []Proposal{ContextExtensionsProposal([]Extension{senderList(server)})}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g[1].Process(staged.Commit); !errors.Is(err, ErrRefused) {
		t.Errorf("an external sender the validator does not know: %v", err)
	}
	g[1].s.validator = anyCredential{}
	if _, err := g[1].Process(honest); err != nil {
		t.Fatalf("the honest proposal: %v", err)
	}
	if _, err := g[1].Protect(nil, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("protect while a proposal waits: %v", err)
	}
	g[1].DropProposals()
	g[1] = people[1].restore(t, g[1])
	converse(t, g...)
}

// TestSelfAddProposal: one who is no member asks to be added, and is.
func TestSelfAddProposal(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		people, g := trio(t, s)
		tablet := newPerson(t, s, "tablet")
		pub, priv := tablet.keyPackage(t, s)
		ask := func(kp []byte, sg Signer) ([]byte, error) {
			return SelfAddProposal(g[0].GroupID(), g[0].Epoch(), kp, sg)
		}
		msg, err := ask(pub, tablet.signer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ask(pub, people[1].signer)
		because(t, "another signer", err, ErrRefused, "signer")
		_, err = ask(msg, tablet.signer)
		because(t, "no key package", err, ErrMalformed, "")
		before := digest(t, g[1])
		raw := func(p *proposal, sg Signer) []byte {
			m, err := proposeFromOutside(g[0].cur().cs, g[0].GroupID(), g[0].Epoch(), sender{kind: senderNewMemberProposal}, p, sg)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		for name, m := range map[string][]byte{
			"a remove":                raw(&proposal{kind: proposalRemove, remove: 2}, tablet.signer),
			"signed by another":       raw(&proposal{kind: proposalAdd, add: priv.k().kp}, people[1].signer),
			"a key package not whole": raw(&proposal{kind: proposalAdd, add: spoiledPackage(priv.k().kp)}, tablet.signer),
		} {
			if _, err := g[1].Process(m); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		g[1].s.validator = only("bank")
		_, err = g[1].Process(msg)
		because(t, "a stranger to the validator", err, ErrRefused, "credential")
		g[1].s.validator = anyCredential{}
		g[1].s.policy.AllowProposal = func(p ProposalReceived) error {
			if !p.FromMember {
				return errors.New("only members propose")
			}
			return nil
		}
		_, err = g[1].Process(msg)
		because(t, "a policy against it", err, ErrRefused, "only members")
		g[1].s.policy.AllowProposal = nil
		if digest(t, g[1]) != before {
			t.Fatal("a refused proposal changed the state")
		}
		converse(t, g...)
		staged := heard(t, people, g, msg)
		for _, i := range []int{1, 2} {
			g[i], _ = people[i].take(t, g[i], staged.Commit)
		}
		converse(t, append(g, tablet.join(t, staged.Welcome, priv))...)
	}
}

func spoiledPackage(kp *keyPackage) *keyPackage {
	out := *kp
	out.signature = bytes.Clone(kp.signature)
	out.signature[len(out.signature)-1] ^= 1
	return &out
}

// TestOpenMLS2125ContextExtensions: whichever way new extensions of the group come,
// by value, by reference, from outside or with an add, all members must support
// what they ask for.
func TestOpenMLS2125ContextExtensions(t *testing.T) {
	needs := func(e, p, c []uint16) Extension {
		return Extension{extRequiredCapabilities, encode(func(w *writer) {
			w.u16list(e)
			w.u16list(p)
			w.u16list(c)
		})}
	}
	server := newPerson(t, X25519AES128, "server")
	_, g := overseen(t, X25519AES128, server)
	stranger, _ := newPerson(t, X25519AES128, "stranger").keyPackage(t, X25519AES128)
	for name, c := range map[string]struct {
		because string
		ext     []Extension
	}{
		"an extension nobody supports":    {"does not support", []Extension{{0xf00d, nil}}},
		"a required extension":            {"lacks required extension", []Extension{needs([]uint16{0xf00d}, nil, nil)}},
		"a required proposal":             {"lacks required proposal", []Extension{needs(nil, []uint16{0xf00d}, nil)}},
		"a required credential":           {"lacks required credential", []Extension{needs(nil, nil, []uint16{0xf00d})}},
		"a requirement that is cut":       {"read required", []Extension{{extRequiredCapabilities, []byte{0, 0}}}},
		"senders that are cut":            {"read external senders", []Extension{{extExternalSenders, []byte{5, 1}}}},
		"one type twice":                  {"twice", []Extension{senderList(server), senderList(server)}},
		"a ratchet tree (OpenMLS #1830)":  {"does not belong", []Extension{{extRatchetTree, nil}}},
		"an external key (OpenMLS #1830)": {"does not belong", []Extension{{extExternalPub, nil}}},
		"an application id":               {"does not belong", []Extension{{extApplicationID, nil}}},
	} {
		ext := c.ext
		change := ContextExtensionsProposal(ext)
		for _, own := range [][]Proposal{{change}, {change, AddProposal(stranger)}, {AddProposal(stranger), change}} {
			if _, err := g[0].Commit(CommitOptions{Proposals: own}); err == nil {
				t.Errorf("%s: committed by value", name)
			}
		}
		// A member that does not check sends it, by value and by reference.
		list := []*proposal{{kind: proposalContextExtensions, extensions: extensionsOf(ext)}}
		msg, err := proposeFromOutside(suite1, g[1].GroupID(), g[1].Epoch(), sender{kind: senderExternal}, list[0], server.signer)
		if err != nil {
			t.Fatal(err)
		}
		before := digest(t, g[1])
		plain, err := g[0].Commit(CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for how, p := range map[string]proposalOrRef{"value": byValue(list[0]), "reference": {ref: refOf(t, g[1], msg)}} {
			if how == "reference" {
				if _, err := g[1].Process(msg); err != nil {
					continue // refused as soon as it came
				}
			}
			bad := resignedPublic(t, g[0], plain.Commit, func(m *publicMessage) { m.content.commit.proposals = []proposalOrRef{p} })
			if ev, err := g[1].Process(bad); err == nil {
				t.Errorf("%s by %s: %+v", name, how, ev)
			} else if !strings.Contains(err.Error(), c.because) {
				t.Errorf("%s by %s: refused, but because of %q", name, how, err)
			}
		}
		g[1].DropProposals()
		if digest(t, g[1]) != before {
			t.Fatalf("%s: the state changed", name)
		}
	}
	staged, err := g[0].Commit(CommitOptions{Proposals: []Proposal{ContextExtensionsProposal([]Extension{needs(nil, nil, []uint16{CredentialBasic}), senderList(server)})}})
	mustApply(t, g[0], staged, err)
	mustFollow(t, g[1], staged.Commit)
	mustFollow(t, g[2], staged.Commit)
	converse(t, g...)
}

// refOf is the reference by which a Commit names a proposal, 5.2.
func refOf(t *testing.T, g *Group, msg []byte) []byte {
	t.Helper()
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		return make([]byte, 32) // it is refused where it is received
	}
	a := &authContent{wire: wirePublicMessage, content: m.public.content, auth: m.public.auth}
	return g.cur().cs.refHash("MLS 1.0 Proposal Reference", encode(a.write))
}

// TestExternalSenderExpires: one that the validator no longer takes is in the way
// of nobody's Commit, and of every list that is new.
func TestExternalSenderExpires(t *testing.T) {
	server := newPerson(t, X25519AES128, "server")
	_, g := overseen(t, X25519AES128, server)
	for i := range g {
		g[i].s.validator = binding{"server": nil}
	}
	if ext := g[1].Extensions(); len(ext) != 1 || ext[0].Type != extExternalSenders {
		t.Errorf("extensions of the group %+v", ext)
	}
	relist := CommitOptions{Proposals: []Proposal{ContextExtensionsProposal([]Extension{senderList(server, server)})}}
	if _, err := g[0].Commit(relist); !errors.Is(err, ErrRefused) {
		t.Errorf("a new list with an invalid sender: %v", err)
	}
	staged, err := g[0].Commit(CommitOptions{})
	mustApply(t, g[0], staged, err)
	mustFollow(t, g[1], staged.Commit)
}
