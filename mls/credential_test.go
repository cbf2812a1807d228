package mls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"
)

func certificate(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certified is a person whose signature key a certificate names.
func certified(t *testing.T, s Suite, name string) (p *person, right Credential) {
	t.Helper()
	p = newPerson(t, s, name)
	var err error
	if s == P256AES128 {
		key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		scalar, keyErr := key.Bytes()
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		p.signer, err = NewP256Signer(scalar)
		right = X509Credential(certificate(t, key))
	} else {
		_, key, keyErr := ed25519.GenerateKey(rand.Reader)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		p.signer, err = NewEd25519Signer(key.Seed())
		right = X509Credential(certificate(t, key))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, right
}

// agreeable is an authentication service that minds nothing, so that only the
// package itself can refuse.
type agreeable struct{ anyCredential }

func (agreeable) Successor(_, _ Credential) error { return nil }

// watchedPair is a group of a bank, which asks v, and p at leaf 1.
func watchedPair(t *testing.T, v Validator, p *person) (bank, own *Group) {
	t.Helper()
	bank = newPerson(t, X25519AES128, "bank").create(t, X25519AES128)
	pub, priv := p.keyPackage(t, X25519AES128)
	staged, err := bank.Add(pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := bank.Apply(staged); err != nil {
		t.Fatal(err)
	}
	own = p.join(t, staged.Welcome, priv)
	bank.s.validator = v
	return bank, own
}

// replacements are the ways by which p, a member by its name, goes on with
// credential c in the eyes of another member, who asks v.
func replacements(t *testing.T) map[string]func(v Validator, p *person, c Credential) error {
	return map[string]func(v Validator, p *person, c Credential) error{
		"an update": func(v Validator, p *person, c Credential) error {
			bank, own := watchedPair(t, v, p)
			l := *own.cur().tree.leaf(1)
			l.source, l.credential = sourceUpdate, c
			var err error
			if _, l.encryptionKey, err = suite1.freshKeyPair(rand.Reader); err != nil {
				t.Fatal(err)
			}
			if err := l.sign(p.signer, own.GroupID(), 1); err != nil {
				t.Fatal(err)
			}
			e, update, from := bank.cur(), &proposal{kind: proposalUpdate, update: &l}, sender{senderMember, 1}
			if err := e.checkProposal(update, from); err != nil {
				return err
			}
			n, err := e.plan([]sentProposal{{from: from, proposal: update}})
			if err != nil {
				t.Fatal(err)
			}
			return n.validate(e, bank.s)
		},
		"the path of a commit": func(v Validator, p *person, c Credential) error {
			bank, own := watchedPair(t, v, p)
			_, err := bank.Process(hostile{g: own, leaf: func(l *leafNode) { l.credential = c }}.commit(t).Commit)
			return err
		},
		"a resync": func(v Validator, p *person, c Credential) error {
			bank := newPerson(t, X25519AES128, "bank").create(t, X25519AES128)
			gone, _ := newPerson(t, X25519AES128, "gone").keyPackage(t, X25519AES128)
			older, _ := p.keyPackage(t, X25519AES128)
			staged, err := bank.Add(gone, older)
			if err == nil {
				err = bank.Apply(staged)
			}
			if err == nil {
				staged, err = bank.Remove(1) // the place that p will take
			}
			if err == nil {
				err = bank.Apply(staged)
			}
			if err != nil {
				t.Fatal(err)
			}
			bank.s.policy.AllowExternal, bank.s.validator = true, v
			second := uint32(2)
			_, err = bank.Process(forcedEntry(t, p, c, bank, &second))
			return err
		},
	}
}

// forcedEntry is an external Commit of p with credential c, by an engine that does
// not look at it first; resync names p's older leaf.
func forcedEntry(t *testing.T, p *person, c Credential, g *Group, resync *uint32) []byte {
	t.Helper()
	cs := g.cur().cs
	m, err := readMessage(externalInfo(t, g, GroupInfoOptions{}), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	j := &entering{side: &side{p.signer, agreeable{}, p.policy.withDefaults()}, o: ExternalOptions{Resync: resync}}
	if err := errors.Join(j.look(m.groupInfo, nil), j.propose()); err != nil {
		t.Fatal(err)
	}
	n, err := j.before.plan(j.proposed)
	if err != nil {
		t.Fatal(err)
	}
	own, err := n.tree.freeLeaf()
	if err != nil {
		t.Fatal(err)
	}
	_, drawn := p.keyPackage(t, g.Suite())
	template := drawn.k().kp.leaf // newPath signs it again
	template.credential = c
	fresh, err := n.tree.newPath(cs, own, template, g.GroupID(), p.signer, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx := j.before.provisional(n)
	if j.commit.path, err = fresh.seal(cs, n.tree, nil, ctx.encode()); err != nil {
		t.Fatal(err)
	}
	_, msg, err := j.finish(&transition{plan: n, initSecret: j.initial, own: own, privs: fresh.privs, commitSecret: fresh.commit, pskSecret: cs.zero()})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// leafPlaces are all the ways by which a credential enters a group. Each makes a
// world of its own, in which p presents c.
func leafPlaces(t *testing.T) map[string]func(p *person, c Credential) error {
	withCredential := func(p *person, c Credential) *keyPackage {
		return remadeKeyPackage(t, p, func(k *keyPackage) { k.leaf.credential = c }).add
	}
	join := func(h hostile) error {
		joiner := newPerson(t, X25519AES128, "joiner")
		pub, priv := joiner.keyPackage(t, X25519AES128)
		m, err := readMessage(pub, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		h.proposals = append(h.proposals, &proposal{kind: proposalAdd, add: m.keyPackage})
		_, err = Join(h.commit(t).Welcome, priv, joiner.signer, agreeable{}, joiner.policy)
		return err
	}
	senders := func(p *person, c Credential) *proposal {
		x := ExternalSenders(ExternalSender{p.signer.Public(), c})
		return &proposal{kind: proposalContextExtensions, extensions: extensionsOf([]Extension{x})}
	}
	places := map[string]func(p *person, c Credential) error{
		"create": func(p *person, c Credential) error {
			_, err := Create(X25519AES128, []byte("g"), c, p.signer, agreeable{}, p.policy)
			return err
		},
		"key package": func(p *person, c Credential) error {
			_, _, err := NewKeyPackage(X25519AES128, c, p.signer, KeyPackageOptions{NotAfter: 1})
			return err
		},
		"parse": func(p *person, c Credential) error {
			_, err := ParseKeyPackage(writeMessage(wireKeyPackage, withCredential(p, c).write))
			return err
		},
		"add": func(p *person, c Credential) error {
			_, err := newPerson(t, X25519AES128, "bank").create(t, X25519AES128).Add(writeMessage(wireKeyPackage, withCredential(p, c).write))
			return err
		},
		"a commit that adds": func(p *person, c Credential) error {
			_, g := trio(t, X25519AES128)
			_, err := g[1].Process(hostile{g: g[0], proposals: []*proposal{{kind: proposalAdd, add: withCredential(p, c)}}}.commit(t).Commit)
			return err
		},
		"a proposal to add oneself": func(p *person, c Credential) error {
			_, g := trio(t, X25519AES128)
			e := g[0].cur()
			a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
				sender: sender{kind: senderNewMemberProposal}, aad: []byte{}, kind: contentProposal, proposal: &proposal{kind: proposalAdd, add: withCredential(p, c)}}}
			if err := a.sign(p.signer, nil); err != nil {
				t.Fatal(err)
			}
			pm, err := e.cs.publicFrom(a, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = g[1].Process(writeMessage(wirePublicMessage, pm.write))
			return err
		},
		"a tree that is joined": func(p *person, c Credential) error {
			g := p.create(t, X25519AES128)
			e, l := g.cur(), *g.cur().tree.leaf(0)
			l.credential = c
			if err := l.sign(p.signer, nil, 0); err != nil {
				t.Fatal(err)
			}
			e.tree.set(0, node{leaf: &l})
			e.context.treeHash = e.tree.rootHash(e.cs)
			e.encoded = e.context.encode()
			return join(hostile{g: g, noPath: true})
		},
		"an external commit": func(p *person, c Credential) error {
			_, g := trio(t, X25519AES128)
			g[1].s.policy.AllowExternal = true
			_, err := g[1].Process(forcedEntry(t, p, c, g[0], nil))
			return err
		},
		"an external sender": func(p *person, c Credential) error {
			_, g := trio(t, X25519AES128)
			_, err := g[1].Process(hostile{g: g[0], proposals: []*proposal{senders(p, c)}}.commit(t).Commit)
			return err
		},
		"an external sender of a group that is joined": func(p *person, c Credential) error {
			return join(hostile{g: newPerson(t, X25519AES128, "bank").create(t, X25519AES128), proposals: []*proposal{senders(p, c)}})
		},
	}
	for name, replace := range replacements(t) {
		places[name] = func(p *person, c Credential) error { return replace(agreeable{}, p, c) }
	}
	return places
}

// TestCVE2026_71885: a certificate for another key than the leaf's is refused
// wherever a credential can enter, whatever the authentication service says.
func TestCVE2026_71885(t *testing.T) {
	p, right := certified(t, X25519AES128, "phone")
	_, wrong := certified(t, X25519AES128, "phone")
	_, curve := certified(t, P256AES128, "phone")
	for place, enter := range leafPlaces(t) {
		if err := enter(p, right); err != nil {
			t.Errorf("%s, its own certificate: %v", place, err)
		}
		for name, c := range map[string]Credential{
			"another key": wrong, "a key of another curve": curve, "another key first": X509Credential(wrong.Certificates[0], right.Certificates[0]),
			"no chain": X509Credential(), "no certificate": X509Credential([]byte("x")),
		} {
			if err := enter(p, c); !errors.Is(err, ErrRefused) {
				t.Errorf("%s, %s: %v", place, name, err)
			}
		}
	}
	p256, right := certified(t, P256AES128, "phone")
	if _, _, err := NewKeyPackage(P256AES128, X509Credential(right.Certificates[0], wrong.Certificates[0]), p256.signer, KeyPackageOptions{NotAfter: 1}); err != nil {
		t.Errorf("P-256, its own certificate: %v", err)
	}
	for name, c := range map[string]Credential{"another key": curve, "a key of another curve": wrong, "no type": {}} {
		if _, _, err := NewKeyPackage(P256AES128, c, p256.signer, KeyPackageOptions{NotAfter: 1}); !errors.Is(err, ErrRefused) {
			t.Errorf("P-256, %s: %v", name, err)
		}
	}
}

// never lets nobody change anything.
type never struct{ anyCredential }

func (never) Successor(_, _ Credential) error { return errors.New("nobody changes") }

// TestSuccessor: where a member's leaf is replaced, the authentication service is
// asked whether it is the same member (7.3, 12.2). It is not asked about a
// credential that stays, nor where somebody new takes a place.
func TestSuccessor(t *testing.T) {
	for place, replace := range replacements(t) {
		p := newPerson(t, X25519AES128, "phone")
		named := func(name string) Credential { return BasicCredential([]byte(name)) }
		if err := replace(anyCredential{}, p, named("phone, the new one")); err != nil {
			t.Errorf("%s by a successor: %v", place, err)
		}
		if err := replace(never{}, p, named("phone")); err != nil {
			t.Errorf("%s with the same credential: %v", place, err)
		}
		for _, c := range []Credential{named("mallory"), named("")} {
			if err := replace(anyCredential{}, p, c); !errors.Is(err, ErrRefused) {
				t.Errorf("%s by %q: %v", place, c.Identity, err)
			}
		}
	}
	_, g := trio(t, X25519AES128)
	g[1].s.validator = never{}
	newcomer := remadeKeyPackage(t, newPerson(t, X25519AES128, "newcomer"), func(*keyPackage) {})
	staged := hostile{g: g[0], proposals: []*proposal{{kind: proposalRemove, remove: 2}, newcomer}}.commit(t)
	if ev, err := g[1].Process(staged.Commit); err != nil || ev.(*Staged).Summary.Added[0].Leaf != 2 {
		t.Errorf("somebody new in the place of one who is removed: %+v %v", ev, err)
	}
}
