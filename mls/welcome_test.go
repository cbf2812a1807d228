package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// invited is a group whose Welcome nobody has used yet.
type invited struct {
	bank, phone *person
	group       *Group // of the bank, before Apply
	staged      *Staged
	pub         []byte
	secrets     *KeyPackageSecrets
}

func invite(t testing.TB, s Suite) *invited {
	t.Helper()
	x := &invited{bank: newPerson(t, s, "bank"), phone: newPerson(t, s, "phone")}
	x.group = x.bank.create(t, s)
	x.pub, x.secrets = x.phone.keyPackage(t, s)
	var err error
	if x.staged, err = x.group.Add(x.pub); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *invited) join(welcome []byte) (*Group, error) {
	return Join(welcome, x.secrets, x.phone.signer, anyCredential{}, x.phone.policy)
}

func TestWelcomeIsChecked(t *testing.T) {
	x := invite(t, X25519AES128)
	for i := range x.staged.Welcome {
		forged := bytes.Clone(x.staged.Welcome)
		forged[i] ^= 1
		if _, err := x.join(forged); err == nil {
			t.Fatalf("byte %d changed: joined", i)
		}
	}
	for name, join := range map[string]func() (*Group, error){
		"another key package of the same owner": func() (*Group, error) {
			_, other := x.phone.keyPackage(t, X25519AES128)
			return Join(x.staged.Welcome, other, x.phone.signer, anyCredential{}, x.phone.policy)
		},
		"another signer": func() (*Group, error) {
			return Join(x.staged.Welcome, x.secrets, x.bank.signer, anyCredential{}, x.phone.policy)
		},
		"a validator that knows nobody": func() (*Group, error) {
			return Join(x.staged.Welcome, x.secrets, x.phone.signer, only("phone"), x.phone.policy)
		},
		"a key package for a welcome": func() (*Group, error) { return x.join(x.pub) },
		"a commit for a welcome":      func() (*Group, error) { return x.join(x.staged.Commit) },
		"a welcome that is too long": func() (*Group, error) {
			p := x.phone.policy
			p.Limits.Message = len(x.staged.Welcome) - 1
			return Join(x.staged.Welcome, x.secrets, x.phone.signer, anyCredential{}, p)
		},
		"too many leaves": func() (*Group, error) {
			p := x.phone.policy
			p.Limits.Leaves = 1
			return Join(x.staged.Welcome, x.secrets, x.phone.signer, anyCredential{}, p)
		},
	} {
		if g, err := join(); err == nil || g != nil {
			t.Errorf("%s: joined", name)
		} else if name == "another key package of the same owner" && !errors.Is(err, ErrNotForUs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x.join(x.staged.Welcome); err != nil {
		t.Fatalf("the honest welcome: %v", err)
	}
}

// only validates one identity.
type only string

func (o only) Validate(c Credential, _ []byte) error {
	if string(c.Identity) != string(o) {
		return fmt.Errorf("%q is not %q", c.Identity, string(o))
	}
	return nil
}

func (o only) Successor(_, after Credential) error { return o.Validate(after, nil) }

// rewelcome seals a changed GroupInfo into the Welcome: what a hostile adder can
// do, who knows all its secrets. resign says whether it also signs it anew.
func (x *invited) rewelcome(t *testing.T, resign bool, change func(*groupInfo)) []byte {
	t.Helper()
	cs := suite1
	m, err := readMessage(x.staged.Welcome, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := m.welcome.openSecrets(x.secrets.k(), 100)
	if err != nil {
		t.Fatal(err)
	}
	member := cs.memberSecret(secrets.joiner, cs.zero())
	gi, err := m.welcome.openGroupInfo(cs, member, 1000)
	if err != nil {
		t.Fatal(err)
	}
	change(gi)
	if resign {
		if err := gi.sign(x.bank.signer); err != nil {
			t.Fatal(err)
		}
	}
	key, nonce := cs.welcomeKey(member)
	aead, err := cs.content(key)
	if err != nil {
		t.Fatal(err)
	}
	w := m.welcome
	w.groupInfo = aead.Seal(nil, nonce, encode(gi.write), nil)
	w.secrets[0].sealed, err = cs.seal(x.secrets.k().kp.initKey, "Welcome", w.groupInfo, encode(secrets.write))
	if err != nil {
		t.Fatal(err)
	}
	return writeMessage(wireWelcome, w.write)
}

// treeOf rewrites the ratchet tree of a GroupInfo; rehash makes the context agree.
func treeOf(t *testing.T, gi *groupInfo, rehash bool, change func(*tree)) {
	t.Helper()
	for i, e := range gi.extensions {
		if e.kind != extRatchetTree {
			continue
		}
		tr, err := readTree(e.data, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		change(tr)
		gi.extensions[i].data = tr.encode()
		if rehash {
			gi.context.treeHash = tr.rootHash(suite1)
		}
	}
}

// TestHostileAdder spoils one field of the GroupInfo at a time, with valid
// encryption and, where it helps the attacker, a valid signature. R25
func TestHostileAdder(t *testing.T) {
	x := invite(t, X25519AES128)
	ghost := newPerson(t, X25519AES128, "ghost")
	_, ghostSecrets := ghost.keyPackage(t, X25519AES128)
	addGhost := func(tr *tree) {
		if _, err := tr.add(&ghostSecrets.k().kp.leaf); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		resign bool
		change func(*groupInfo)
	}{
		"signature":         {false, func(gi *groupInfo) { gi.signature[0] ^= 1 }},
		"no signature":      {false, func(gi *groupInfo) { gi.signature = nil }},
		"epoch":             {true, func(gi *groupInfo) { gi.context.epoch++ }},
		"group id":          {true, func(gi *groupInfo) { gi.context.groupID = []byte("another") }},
		"suite":             {true, func(gi *groupInfo) { gi.context.suite = P256AES128 }},
		"confirmation tag":  {true, func(gi *groupInfo) { gi.confirmationTag[0] ^= 1 }},
		"cut tag":           {true, func(gi *groupInfo) { gi.confirmationTag = gi.confirmationTag[:1] }},
		"no tag":            {true, func(gi *groupInfo) { gi.confirmationTag = nil }},
		"tree hash":         {true, func(gi *groupInfo) { gi.context.treeHash[0] ^= 1 }},
		"transcript":        {true, func(gi *groupInfo) { gi.context.confirmed[0] ^= 1 }},
		"blank signer":      {true, func(gi *groupInfo) { gi.signer = 2 }},
		"far signer":        {true, func(gi *groupInfo) { gi.signer = 1 << 31 }},
		"we are the signer": {true, func(gi *groupInfo) { gi.signer = 1 }},
		"no tree":           {true, func(gi *groupInfo) { gi.extensions = nil }},
		"tree with trailing blank": {true, func(gi *groupInfo) {
			gi.extensions[0].data = encode(func(w *writer) {
				r := newReader(gi.extensions[0].data, 100)
				w.vec(append(bytes.Clone(r.vec()), 0))
			})
		}},
		"group extension we do not know": {true, func(gi *groupInfo) { gi.context.extensions = extensions{{0xf00d, []byte{}}} }},
		"required extension we do not have": {true, func(gi *groupInfo) {
			gi.context.extensions = extensions{{extRequiredCapabilities, encode(func(w *writer) {
				w.u16list([]uint16{0xf00d})
				w.u16list(nil)
				w.u16list(nil)
			})}}
		}},
		"ghost in the tree only":         {true, func(gi *groupInfo) { treeOf(t, gi, false, addGhost) }},
		"ghost in the tree and its hash": {true, func(gi *groupInfo) { treeOf(t, gi, true, addGhost) }},
		"we are not in the tree":         {true, func(gi *groupInfo) { treeOf(t, gi, true, func(tr *tree) { tr.remove(1) }) }},
		"a leaf with another signature key": {true, func(gi *groupInfo) {
			treeOf(t, gi, true, func(tr *tree) {
				l := *tr.leaf(0)
				l.signatureKey = ghost.signer.Public()
				tr.set(0, node{leaf: &l})
			})
		}},
	} {
		if _, err := x.join(x.rewelcome(t, c.resign, c.change)); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
	if _, err := x.join(x.rewelcome(t, true, func(*groupInfo) {})); err != nil {
		t.Fatalf("the honest welcome, remade: %v", err)
	}
}

func TestJoinWithTreeFromElsewhere(t *testing.T) {
	x := invite(t, X25519AES128)
	var ratchetTree []byte
	bare := x.rewelcome(t, true, func(gi *groupInfo) { ratchetTree, gi.extensions = gi.extensions[0].data, nil })
	join := func(tr []byte) (*Group, error) {
		return JoinWithTree(bare, tr, x.secrets, x.phone.signer, anyCredential{}, x.phone.policy)
	}
	if _, err := join(nil); !errors.Is(err, ErrRefused) {
		t.Errorf("no tree: %v", err)
	}
	for i := range ratchetTree {
		spoiled := bytes.Clone(ratchetTree)
		spoiled[i] ^= 1
		if _, err := join(spoiled); err == nil {
			t.Fatalf("byte %d of the tree changed: joined", i)
		}
	}
	if _, err := join(ratchetTree); err != nil {
		t.Fatalf("the honest tree: %v", err)
	}
}

func TestKeyPackageIsChecked(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		p := newPerson(t, s, "phone")
		pub, priv, err := NewKeyPackage(s, p.credential(), p.signer, KeyPackageOptions{NotBefore: 10, NotAfter: 20, LastResort: true})
		if err != nil {
			t.Fatal(err)
		}
		info, err := ParseKeyPackage(pub)
		if err != nil {
			t.Fatal(err)
		}
		if info.Suite != s || !info.LastResort || info.NotBefore != 10 || info.NotAfter != 20 ||
			!bytes.Equal(info.Ref, priv.Ref()) || !bytes.Equal(info.SignatureKey, p.signer.Public()) ||
			string(info.Credential.Identity) != "phone" || !bytes.Equal(priv.Public(), pub) {
			t.Errorf("info %+v", info)
		}
		for i := range pub {
			forged := bytes.Clone(pub)
			forged[i] ^= 1
			if _, err := ParseKeyPackage(forged); err == nil {
				t.Fatalf("suite %d: byte %d changed: accepted", s, i)
			}
		}
		b, err := priv.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := UnmarshalKeyPackageSecrets(b)
		if err != nil || !bytes.Equal(again.Ref(), priv.Ref()) {
			t.Fatalf("restore secrets: %v", err)
		}
		for i := range b {
			spoiled := bytes.Clone(b)
			spoiled[i] ^= 1
			if s, err := UnmarshalKeyPackageSecrets(spoiled); err == nil && bytes.Equal(s.Ref(), priv.Ref()) && !x25519Clamp(i, len(b)) {
				t.Fatalf("byte %d of the secrets changed: accepted", i)
			}
		}
	}
}

// x25519Clamp: the outer bytes of an X25519 scalar have bits that change nothing.
func x25519Clamp(i, n int) bool { return i == n-1 || i == n-32 || i == n-33-1 || i == n-33-32 }

// TestKeyPackageRules remakes a KeyPackage with honest signatures and one rule
// broken.
func TestKeyPackageRules(t *testing.T) {
	p := newPerson(t, P256AES128, "phone")
	weak := newPerson(t, P256AES128, "weak")
	remake := func(change func(*keyPackage)) []byte {
		_, s := p.keyPackage(t, P256AES128)
		kp := s.k().kp
		change(kp)
		if err := errors.Join(kp.leaf.sign(p.signer, nil, 0)); err != nil {
			t.Fatal(err)
		}
		var err error
		if kp.signature, err = sign(p.signer, "KeyPackageTBS", encode(kp.writeUnsigned)); err != nil {
			t.Fatal(err)
		}
		return writeMessage(wireKeyPackage, kp.write)
	}
	for name, change := range map[string]func(*keyPackage){
		"another suite":                  func(k *keyPackage) { k.suite = X25519AES128 },
		"leaf from an update":            func(k *keyPackage) { k.leaf.source = sourceUpdate },
		"leaf from a commit":             func(k *keyPackage) { k.leaf.source = sourceCommit },
		"init key is encryption key":     func(k *keyPackage) { k.initKey = k.leaf.encryptionKey },
		"init key of no curve":           func(k *keyPackage) { k.initKey = make([]byte, 65) },
		"empty init key":                 func(k *keyPackage) { k.initKey = nil },
		"encryption key of no curve":     func(k *keyPackage) { k.leaf.encryptionKey = []byte{4} },
		"another's signature key":        func(k *keyPackage) { k.leaf.signatureKey = weak.signer.Public() },
		"no mls10":                       func(k *keyPackage) { k.leaf.capabilities.versions = []uint16{7} },
		"credential it does not support": func(k *keyPackage) { k.leaf.capabilities.credentials = []uint16{2} },
		"extension it does not support": func(k *keyPackage) {
			k.leaf.extensions = extensions{{0xf00d, []byte{}}}
		},
	} {
		b := remake(change)
		if _, err := ParseKeyPackage(b); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: parse: %v", name, err)
		}
		if _, err := p.create(t, P256AES128).Add(b); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: add: %v", name, err)
		}
	}
	if _, err := ParseKeyPackage(remake(func(*keyPackage) {})); err != nil {
		t.Fatalf("the honest key package, remade: %v", err)
	}
	if _, err := ParseKeyPackage(remake(func(k *keyPackage) { k.extensions = extensions{{0x0a0a, []byte("grease")}} })); err != nil {
		t.Fatalf("an unknown extension must be ignored (13.4): %v", err)
	}
}

// compress is the short form of an uncompressed point, which ts-mls writes.
func compress(point []byte) []byte {
	half := len(point) / 2
	return append([]byte{2 | point[2*half]&1}, point[1:1+half]...)
}

// TestZeroKey: an X25519 key that makes every shared secret zero is refused.
func TestZeroKey(t *testing.T) {
	p := newPerson(t, X25519AES128, "phone")
	_, s := p.keyPackage(t, X25519AES128)
	kp := s.k().kp
	kp.initKey = make([]byte, 32)
	var err error
	if kp.signature, err = sign(p.signer, "KeyPackageTBS", encode(kp.writeUnsigned)); err != nil {
		t.Fatal(err)
	}
	if _, err := newPerson(t, X25519AES128, "bank").create(t, X25519AES128).Add(writeMessage(wireKeyPackage, kp.write)); !errors.Is(err, ErrRefused) {
		t.Errorf("add a member whose init key is zero: %v", err)
	}
}

func TestAddIsChecked(t *testing.T) {
	x := invite(t, X25519AES128)
	now := time.Unix(1_700_000_000, 0)
	timed := func(from, to uint64) []byte {
		p := newPerson(t, X25519AES128, "timed")
		pub, _, err := NewKeyPackage(X25519AES128, p.credential(), p.signer, KeyPackageOptions{NotBefore: from, NotAfter: to})
		if err != nil {
			t.Fatal(err)
		}
		return pub
	}
	x.bank.policy.Now = func() time.Time { return now }
	x.bank.policy.MaxLifetime = 1000 * time.Second
	g := x.bank.create(t, X25519AES128)
	at := uint64(now.Unix())
	own, _ := x.bank.keyPackage(t, X25519AES128)
	p256, _ := newPerson(t, P256AES128, "p256").keyPackage(t, P256AES128)
	good := timed(at-10, at+10)
	for name, pubs := range map[string][][]byte{
		"nobody":            {},
		"not yet valid":     {timed(at+1, at+10)},
		"no longer valid":   {timed(at-10, at-1)},
		"valid too long":    {timed(at-500, at+501)},
		"another suite":     {p256},
		"ourselves":         {own},
		"the same twice":    {good, good},
		"one good, one bad": {good, x.staged.Welcome},
	} {
		before := digest(t, g)
		if s, err := g.Add(pubs...); err == nil {
			t.Errorf("%s: staged %d bytes", name, len(s.Commit))
		}
		if digest(t, g) != before {
			t.Errorf("%s: the group changed", name)
		}
	}
	g.s.validator = only("bank")
	if _, err := g.Add(good); !errors.Is(err, ErrRefused) {
		t.Errorf("a validator that refuses the new member: %v", err)
	}
	g.s.validator = anyCredential{}
	before := digest(t, g)
	if _, err := g.Add(good); err != nil {
		t.Fatalf("the honest add: %v", err)
	}
	if digest(t, g) != before {
		t.Error("staging changed the group")
	}
	if _, err := Create(X25519AES128, []byte("g"), x.bank.credential(), x.bank.signer, only("somebody"), x.bank.policy); !errors.Is(err, ErrRefused) {
		t.Errorf("create with a validator that refuses us: %v", err)
	}
	for _, id := range [][]byte{nil, make([]byte, groupIDMax+1)} {
		if _, err := Create(X25519AES128, id, x.bank.credential(), x.bank.signer, anyCredential{}, x.bank.policy); !errors.Is(err, ErrRefused) {
			t.Errorf("group id of %d bytes: %v", len(id), err)
		}
	}
	for _, s := range []Suite{0, 4, 6, 8, 0xffff} {
		if _, err := Create(s, []byte("g"), x.bank.credential(), x.bank.signer, anyCredential{}, x.bank.policy); !errors.Is(err, ErrUnsupported) {
			t.Errorf("suite %d: %v", s, err)
		}
	}
}

// TestSecretsDoNotPrint: no verb shows a secret of anything a caller holds.
func TestSecretsDoNotPrint(t *testing.T) {
	x := invite(t, X25519AES128)
	type holder struct {
		g  Group
		p  *Group
		k  KeyPackageSecrets
		s  Staged
		sg Signer
	}
	g, err := x.join(x.staged.Welcome)
	if err != nil {
		t.Fatal(err)
	}
	h := holder{*g, g, *x.secrets, *x.staged, x.phone.signer}
	for _, v := range []any{h, &h, g, *g, x.secrets, *x.secrets, x.staged, x.phone.signer} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q"} {
			out := fmt.Sprintf(verb, v)
			for _, secret := range [][]byte{g.cur().keys.exporter, g.cur().privs[2], x.secrets.k().init, g.cur().secrets.ratchets[1].application.secret} {
				for _, form := range []string{fmt.Sprintf("%x", secret[:8]), fmt.Sprint(secret[:8])[1:20], string(secret[:8]), strings.TrimSuffix(fmt.Sprintf("%#v", secret[:8])[7:], "}")} {
					if strings.Contains(out, form) {
						t.Errorf("%s of %T shows a secret", verb, v)
					}
				}
			}
		}
	}
}

// TestGreaseExtensions: every KeyPackage and GroupInfo has one extension that means
// nothing (12.4.3), and the group's context none, where it would keep everybody out
// (13.5).
func TestGreaseExtensions(t *testing.T) {
	x := invite(t, X25519AES128)
	if kinds := x.secrets.k().kp.extensions.kinds(); len(kinds) != 1 || !slices.Contains(greaseValues(), kinds[0]) ||
		!slices.Contains(x.secrets.k().kp.leaf.capabilities.extensions, kinds[0]) {
		t.Errorf("key package: extensions %v", kinds)
	}
	for name, msg := range map[string][]byte{
		"of a commit": x.staged.GroupInfo,
		"asked for":   must(x.group.GroupInfo(GroupInfoOptions{External: true, WithoutTree: true}))(t),
	} {
		m, err := readMessage(msg, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		grease := slices.DeleteFunc(m.groupInfo.extensions.kinds(), func(k uint16) bool { return !slices.Contains(greaseValues(), k) })
		if len(grease) != 1 || len(m.groupInfo.context.extensions) != 0 {
			t.Errorf("group info %s: extensions %v, context %v", name, m.groupInfo.extensions.kinds(), m.groupInfo.context.extensions)
		}
	}
}

// TestWelcomeHasTheKeysAboveUs: a joiner gets the secret of the path that the Commit
// made, and it makes the keys of the tree (12.4.3.1).
func TestWelcomeHasTheKeysAboveUs(t *testing.T) {
	people, groups := trio(t, X25519AES128)
	x := &invited{bank: people[0], phone: newPerson(t, X25519AES128, "watch")}
	x.pub, x.secrets = x.phone.keyPackage(t, X25519AES128)
	x.staged = must(groups[0].Commit(CommitOptions{Proposals: []Proposal{AddProposal(x.pub)}}))(t)
	reseal := func(change func(*groupSecrets)) []byte {
		m, err := readMessage(x.staged.Welcome, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		w := m.welcome
		s := must(w.openSecrets(x.secrets.k(), 100))(t)
		change(s)
		if w.secrets[0].sealed, err = suite1.seal(x.secrets.k().kp.initKey, "Welcome", w.groupInfo, encode(s.write)); err != nil {
			t.Fatal(err)
		}
		return writeMessage(wireWelcome, w.write)
	}
	if _, err := x.join(reseal(func(*groupSecrets) {})); err != nil {
		t.Fatalf("the honest welcome, remade: %v", err)
	}
	for name, change := range map[string]func(*groupSecrets){
		"no path secret":      func(s *groupSecrets) { s.pathSecret = nil },
		"another path secret": func(s *groupSecrets) { s.pathSecret[0] ^= 1 },
		"another joiner":      func(s *groupSecrets) { s.joiner[0] ^= 1 },
		"a key nobody has":    func(s *groupSecrets) { s.psks = []pskID{{kind: pskExternal, nonce: suite1.zero()}} },
	} {
		if _, err := x.join(reseal(change)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
