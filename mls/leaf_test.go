package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// greaseValues are those of 13.5.
func greaseValues() (out []uint16) {
	for i := range uint16(15) {
		out = append(out, i<<12|i<<4|0x0a0a)
	}
	return out
}

// TestSupportIsListed: a leaf lists what its owner supports beyond the RFC, never
// a default type (7.2), and one grease value of each kind.
func TestSupportIsListed(t *testing.T) {
	p := newPerson(t, X25519AES128, "phone")
	o := KeyPackageOptions{NotAfter: 1, Support: Support{Extensions: []uint16{0xf001, extExternalSenders}, Proposals: []uint16{0xf003, proposalAdd}}}
	_, priv, err := NewKeyPackage(X25519AES128, p.credential(), p.signer, o)
	if err != nil {
		t.Fatal(err)
	}
	p.policy.Support = o.Support
	for name, c := range map[string]capabilities{
		"key package": priv.k().kp.leaf.capabilities, "creator": p.create(t, X25519AES128).cur().tree.leaf(0).capabilities,
	} {
		greased := func(list []uint16) bool {
			n := 0
			for _, v := range list {
				if slices.Contains(greaseValues(), v) {
					n++
				}
			}
			return n == 1
		}
		if !slices.Contains(c.extensions, 0xf001) || !slices.Contains(c.proposals, 0xf003) {
			t.Errorf("%s: support is not listed: %+v", name, c)
		}
		if slices.ContainsFunc(c.extensions, isDefaultExtension) || slices.ContainsFunc(c.proposals, isDefaultProposal) {
			t.Errorf("%s: a default type is listed: %+v", name, c)
		}
		if !greased(c.suites) || !greased(c.extensions) || !greased(c.proposals) || !greased(c.credentials) {
			t.Errorf("%s: not one grease value of each kind: %+v", name, c)
		}
	}
	o.Support.Proposals = make([]uint16, supportMax+1)
	if _, _, err := NewKeyPackage(X25519AES128, p.credential(), p.signer, o); !errors.Is(err, ErrRefused) {
		t.Errorf("too many types: %v", err)
	}
}

// greasy are changes to a KeyPackage that an honest peer may make and that must
// not disturb anybody (13.5).
var greasy = map[string]func(*keyPackage){
	"grease in capabilities": func(k *keyPackage) {
		for _, list := range []*[]uint16{&k.leaf.capabilities.versions, &k.leaf.capabilities.suites,
			&k.leaf.capabilities.extensions, &k.leaf.capabilities.proposals, &k.leaf.capabilities.credentials} {
			*list = append(greaseValues(), *list...)
		}
	},
	"grease in the leaf's extensions": func(k *keyPackage) {
		k.leaf.capabilities.extensions = append(k.leaf.capabilities.extensions, 0x4a4a)
		k.leaf.extensions = append(k.leaf.extensions, extension{0x4a4a, []byte("whatever")})
	},
	"grease in the key package's extensions": func(k *keyPackage) {
		k.extensions = extensions{{0x5a5a, []byte("whatever")}, {0x6a6a, nil}} // it draws one, which may be one of these
	},
	"an application id in the leaf": func(k *keyPackage) {
		k.leaf.extensions = append(k.leaf.extensions, extension{extApplicationID, []byte("app")})
	},
	"no list but what it must have": func(k *keyPackage) {
		k.leaf.capabilities = capabilities{versions: []uint16{versionMLS10}, credentials: []uint16{CredentialBasic}}
	},
}

// TestGreaseDisturbsNobody: a member whose leaf carries what is allowed and means
// nothing is added, joins, writes, commits, is followed and restored.
func TestGreaseDisturbsNobody(t *testing.T) {
	for name, change := range greasy {
		t.Run(name, func(t *testing.T) { lifeOf(t, change) })
	}
}

// TestMLSRS319_DefaultTypesInCapabilities (738e250a): a peer must not list default
// types (7.2), and some do. Nobody is left behind for it: a member who refused it
// would fork the group.
func TestMLSRS319_DefaultTypesInCapabilities(t *testing.T) {
	lifeOf(t, func(k *keyPackage) {
		k.leaf.capabilities.extensions = append(k.leaf.capabilities.extensions, 1, 2, 3, 4, 5)
		k.leaf.capabilities.proposals = append(k.leaf.capabilities.proposals, 1, 2, 3, 4, 5, 6, 7)
	})
}

// lifeOf is that of a member with a changed KeyPackage in a group of others.
func lifeOf(t *testing.T, change func(*keyPackage)) {
	_, g := trio(t, X25519AES128)
	p := newPerson(t, X25519AES128, "greasy")
	_, drawn := p.keyPackage(t, X25519AES128)
	kp := drawn.k().kp
	change(kp)
	resign(t, p, kp)
	secrets, err := newKeyPackageSecrets(encode(kp.write), drawn.k().init, drawn.k().leaf)
	if err != nil {
		t.Fatal(err)
	}
	pub := writeMessage(wireKeyPackage, kp.write)
	if _, err := ParseKeyPackage(pub); err != nil {
		t.Fatalf("parse: %v", err)
	}
	staged, err := g[0].Add(pub)
	if err != nil {
		t.Fatalf("add: %v", err)
	}
	for _, o := range g[1:] {
		mustFollow(t, o, staged.Commit)
	}
	if err := g[0].Apply(staged); err != nil {
		t.Fatal(err)
	}
	own := p.join(t, staged.Welcome, secrets)
	path := hostile{g: own}.commit(t) // honest, and with the leaf as it was
	for _, o := range g {
		mustFollow(t, o, path.Commit)
	}
	if err := own.Apply(path); err != nil {
		t.Fatal(err)
	}
	own = p.restore(t, own)
	agree(t, own, g[0], g[1], g[2])
	mustOpen(t, g[2], mustProtect(t, own, "hello"), "hello")
	mustOpen(t, own, mustProtect(t, g[0], "hello"), "hello")
}

func resign(t testing.TB, p *person, kp *keyPackage) {
	t.Helper()
	if err := kp.leaf.sign(p.signer, nil, 0); err != nil {
		t.Fatal(err)
	}
	var err error
	if kp.signature, err = sign(p.signer, "KeyPackageTBS", encode(kp.writeUnsigned)); err != nil {
		t.Fatal(err)
	}
}

// TestRequiredCapabilities: what a group requires, every member must have listed,
// those who come later too; default types are never required.
func TestRequiredCapabilities(t *testing.T) {
	x := RequiredCapabilities([]uint16{0xf001, 1, 2, 3, 4, 5}, []uint16{0xf003, 1, 7}, []uint16{CredentialBasic})
	if want := RequiredCapabilities([]uint16{0xf001}, []uint16{0xf003}, []uint16{CredentialBasic}); !bytes.Equal(x.Data, want.Data) {
		t.Errorf("default types are required: %x", x.Data)
	}
	able, lacking := newPerson(t, X25519AES128, "able"), newPerson(t, X25519AES128, "lacking")
	able.policy.Support = Support{Extensions: []uint16{0xf001}, Proposals: []uint16{0xf003}}
	invite := func(p *person, s Support) ([]byte, *KeyPackageSecrets) {
		pub, priv, err := NewKeyPackage(X25519AES128, p.credential(), p.signer, KeyPackageOptions{NotAfter: 1, Support: s})
		if err != nil {
			t.Fatal(err)
		}
		return pub, priv
	}
	requires := []*proposal{{kind: proposalContextExtensions, extensions: extensionsOf([]Extension{x})}}
	g := able.create(t, X25519AES128)
	phone := newPerson(t, X25519AES128, "phone")
	pub, priv := invite(phone, able.policy.Support)
	staged, err := g.Add(pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(staged); err != nil {
		t.Fatal(err)
	}
	device := phone.join(t, staged.Welcome, priv)
	change := hostile{g: g, proposals: requires}.commit(t)
	mustFollow(t, device, change.Commit)
	if err := g.Apply(change); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Support{
		"nothing": {}, "no extension": {Proposals: able.policy.Support.Proposals}, "no proposal": {Extensions: able.policy.Support.Extensions},
	} {
		pub, priv := invite(lacking, s)
		if _, err := g.Add(pub); !errors.Is(err, ErrRefused) {
			t.Errorf("a newcomer who supports %s: %v", name, err)
		}
		// The same by a committer who does not mind: the others and the joiner do.
		m, err := readMessage(pub, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		forced := hostile{g: g, proposals: []*proposal{{kind: proposalAdd, add: m.keyPackage}}}.commit(t)
		if _, err := device.Process(forced.Commit); !errors.Is(err, ErrRefused) {
			t.Errorf("a commit that adds one who supports %s: %v", name, err)
		}
		if _, err := Join(forced.Welcome, priv, lacking.signer, anyCredential{}, lacking.policy); !errors.Is(err, ErrRefused) {
			t.Errorf("a joiner who supports %s: %v", name, err)
		}
	}
	pub, _ = invite(lacking, able.policy.Support)
	if _, err := g.Add(pub); err != nil {
		t.Errorf("a newcomer who has what is required: %v", err)
	}
	plain := newPerson(t, X25519AES128, "plain").create(t, X25519AES128)
	n, err := plain.cur().plan([]sentProposal{{from: sender{kind: senderMember}, proposal: requires[0]}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.validate(plain.cur(), plain.s); !errors.Is(err, ErrRefused) {
		t.Errorf("a member asks for what it lacks itself: %v", err)
	}
}

// TestOwnExtensionsAreBounded: what this member would send is held to what it
// would read.
func TestOwnExtensionsAreBounded(t *testing.T) {
	many := func(n int) (out []Extension) {
		for i := range n {
			out = append(out, Extension{uint16(0xf000 + i), nil})
		}
		return out
	}
	for name, list := range map[string][]Extension{"none": nil, "most": many(ownExtensionsMax), "longest": {{0xf000, make([]byte, ownExtensionDataMax)}}} {
		x := extensionsOf(list)
		var again extensions
		if err := x.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := decode(encode(x.write), 1000, again.read); err != nil || fmt.Sprint(again) != fmt.Sprint(x) {
			t.Errorf("%s: read as %v (%v)", name, again, err)
		}
	}
	for name, list := range map[string][]Extension{
		"too many": many(ownExtensionsMax + 1), "too long": {{0xf000, make([]byte, ownExtensionDataMax+1)}}, "one twice": {{0xf000, nil}, {0xf001, nil}, {0xf000, nil}},
	} {
		if err := extensionsOf(list).check(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range []Proposal{ContextExtensionsProposal(list), ReInitProposal([]byte("next"), X25519AES128, list)} {
			if _, err := p.draft(nil); !errors.Is(err, ErrRefused) {
				t.Errorf("%s in a proposal: %v", name, err)
			}
		}
	}
}

// TestLeafUsesWhatItLists: a leaf whose capabilities lack what it uses itself is
// refused (7.2), wherever it comes from.
func TestLeafUsesWhatItLists(t *testing.T) {
	_, g := trio(t, X25519AES128)
	for name, change := range map[string]func(*leafNode){
		"an unlisted extension":       func(l *leafNode) { l.extensions = extensions{{0xf00d, []byte{}}} },
		"what looks like grease":      func(l *leafNode) { l.extensions = extensions{{0x3a3b, []byte{}}} },
		"an unlisted credential type": func(l *leafNode) { l.capabilities.credentials = []uint16{CredentialX509} },
		"no protocol version":         func(l *leafNode) { l.capabilities.versions = nil },
	} {
		p := newPerson(t, X25519AES128, "newcomer")
		kp := remadeKeyPackage(t, p, func(k *keyPackage) { change(&k.leaf) }).add
		if _, err := ParseKeyPackage(writeMessage(wireKeyPackage, kp.write)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s in a key package: %v", name, err)
		}
		if _, err := g[1].Process(hostile{g: g[0], leaf: change}.commit(t).Commit); !errors.Is(err, ErrRefused) {
			t.Errorf("%s in a commit: %v", name, err)
		}
	}
	if _, err := g[1].Process(hostile{g: g[0], leaf: func(l *leafNode) {
		l.extensions = extensions{{0xf00d, []byte{}}}
		l.capabilities.extensions = append(slices.Clone(l.capabilities.extensions), 0xf00d)
	}}.commit(t).Commit); err != nil {
		t.Errorf("an extension that is listed: %v", err)
	}
}

// TestMLSRS323_WrongVersion (1f0959e4): what is not of mls10 is refused, wherever a
// version stands.
func TestMLSRS323_WrongVersion(t *testing.T) {
	x := invite(t, X25519AES128)
	bank := x.group
	for _, version := range []uint16{0, 2, 0x0a0a, 0xffff} {
		kp := *x.secrets.k().kp
		kp.version = version
		resign(t, x.phone, &kp)
		if _, err := ParseKeyPackage(writeMessage(wireKeyPackage, kp.write)); !errors.Is(err, ErrRefused) {
			t.Errorf("key package of version %d: %v", version, err)
		}
		if _, err := bank.Add(writeMessage(wireKeyPackage, kp.write)); !errors.Is(err, ErrRefused) {
			t.Errorf("add a key package of version %d: %v", version, err)
		}
		for name, msg := range map[string][]byte{"key package": x.pub, "welcome": x.staged.Welcome, "commit": x.staged.Commit} {
			msg = append([]byte{byte(version >> 8), byte(version)}, msg[2:]...)
			if _, err := readMessage(msg, DefaultLimits()); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s in a message of version %d: %v", name, version, err)
			}
		}
		ctx := append([]byte{byte(version >> 8), byte(version)}, bank.cur().encoded[2:]...)
		if err := decode(ctx, 1000, new(groupContext).read); !errors.Is(err, ErrMalformed) {
			t.Errorf("group context of version %d: %v", version, err)
		}
		leaf := *x.secrets.k().kp
		leaf.leaf.capabilities.versions = []uint16{version}
		resign(t, x.phone, &leaf)
		if _, err := ParseKeyPackage(writeMessage(wireKeyPackage, leaf.write)); !errors.Is(err, ErrRefused) {
			t.Errorf("leaf that supports version %d alone: %v", version, err)
		}
	}
	if _, err := x.join(x.staged.Welcome); err != nil {
		t.Errorf("all of mls10: %v", err)
	}
}

// TestTSMLS_CompressedKeys: ts-mls writes compressed P-256 signature keys. 5.1.1
// knows no such form, of any key; taken here and not there, it would fork a group.
func TestTSMLS_CompressedKeys(t *testing.T) {
	_, g := trio(t, P256AES128)
	sender := newPerson(t, P256AES128, "sender")
	for name, change := range map[string]func(*keyPackage){
		"signature key":  func(k *keyPackage) { k.leaf.signatureKey = compress(k.leaf.signatureKey) },
		"encryption key": func(k *keyPackage) { k.leaf.encryptionKey = compress(k.leaf.encryptionKey) },
		"init key":       func(k *keyPackage) { k.initKey = compress(k.initKey) },
	} {
		p := newPerson(t, P256AES128, "phone")
		_, priv := p.keyPackage(t, P256AES128)
		kp := priv.k().kp
		change(kp)
		resign(t, p, kp)
		if _, err := ParseKeyPackage(writeMessage(wireKeyPackage, kp.write)); !errors.Is(err, ErrRefused) {
			t.Errorf("compressed %s: %v", name, err)
		}
	}
	for name, h := range map[string]hostile{
		"key of a path": {path: func(p *updatePath) { p.nodes[0].encryptionKey = compress(p.nodes[0].encryptionKey) }},
		"key of a leaf": {leaf: func(l *leafNode) { l.signatureKey = compress(l.signatureKey) }},
		"kem output": {path: func(p *updatePath) {
			for i := range p.nodes {
				for j := range p.nodes[i].encrypted {
					p.nodes[i].encrypted[j].kemOutput = compress(p.nodes[i].encrypted[j].kemOutput)
				}
			}
		}},
	} {
		h.g = g[0]
		if _, err := g[1].Process(h.commit(t).Commit); !errors.Is(err, ErrRefused) {
			t.Errorf("compressed %s: %v", name, err)
		}
	}
	if p256Scheme.validPublic(compress(sender.signer.Public())) || !p256Scheme.validPublic(sender.signer.Public()) {
		t.Error("a compressed signature key is one, or an uncompressed is none")
	}
	if _, err := g[1].Process(hostile{g: g[0]}.commit(t).Commit); err != nil {
		t.Errorf("no key compressed: %v", err)
	}
}
