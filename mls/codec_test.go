package mls

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestOpenMLS2147_LengthHeaders: the edges between header sizes, 0x3fff above all,
// and headers that are longer than they need be (2.1.2).
func TestOpenMLS2147_LengthHeaders(t *testing.T) {
	for _, n := range []int{0, 1, 0x3e, 0x3f, 0x40, 0x3ffe, 0x3fff, 0x4000, vectorMax} {
		w := &writer{}
		w.length(n)
		r := newReader(w.b, 0)
		if have := r.length(); have != n || r.finish() != nil {
			t.Errorf("length %d read as %d (%v)", n, have, r.err)
		}
	}
	for name, b := range map[string][]byte{
		"two bytes for 63":     {0x40, 0x3f},
		"two bytes for 0":      {0x40, 0x00},
		"four bytes for 16383": {0x80, 0x00, 0x3f, 0xff},
		"reserved prefix":      {0xc0},
		"cut":                  {0x80, 0x00},
		"nothing":              {},
	} {
		r := newReader(b, 0)
		if r.length(); !errors.Is(r.finish(), ErrMalformed) {
			t.Errorf("%s: %v", name, r.err)
		}
	}
}

func TestNestedVector(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 16383, 16384, 70000} {
		body := bytes.Repeat([]byte{7}, n)
		nested := encode(func(w *writer) { w.u8(1); w.nested(func(w *writer) { w.raw(body) }); w.u8(2) })
		plain := encode(func(w *writer) { w.u8(1); w.vec(body); w.u8(2) })
		if !bytes.Equal(nested, plain) {
			t.Errorf("nested vector of %d bytes is not the plain one", n)
		}
	}
}

func TestReaderStops(t *testing.T) {
	long := encode(func(w *writer) { w.u32(vectorMax | 2<<30); w.u8(1) }) // claims 2^30-1 bytes
	if r := newReader(long, 0); len(r.vec()) != 0 || !errors.Is(r.err, ErrMalformed) {
		t.Errorf("vector longer than its input: %v", r.err)
	}
	r := newReader([]byte{2}, 0)
	if r.optional() || !errors.Is(r.err, ErrMalformed) {
		t.Errorf("presence byte 2: %v", r.err)
	}
	if r.u64() != 0 || r.u16() != 0 || len(r.u32list()) != 0 {
		t.Error("a reader that failed goes on reading")
	}
}

// TestGHSAw62v_gv48_63rh_ManyExtensions: ten thousand extensions are refused at the
// first that repeats, and by the item limit; looking for it costs one look-up each.
func TestGHSAw62v_gv48_63rh_ManyExtensions(t *testing.T) {
	many := func(n int, kind func(i int) uint16) []byte {
		var x extensions
		for i := range n {
			x = append(x, extension{kind(i), []byte{}})
		}
		return encode(x.write)
	}
	distinct := func(i int) uint16 { return uint16(i) }
	var x extensions
	if err := decode(many(10_000, func(int) uint16 { return 9 }), 1<<20, x.read); !errors.Is(err, ErrMalformed) || len(x) != 1 {
		t.Errorf("one type ten thousand times: %v, %d kept", err, len(x))
	}
	x = nil
	if err := decode(many(10_000, distinct), 500, x.read); !errors.Is(err, ErrMalformed) || len(x) != 500 {
		t.Errorf("more items than allowed: %v, %d kept", err, len(x))
	}
	x = nil
	if err := decode(many(10_000, distinct), 1<<20, x.read); err != nil || len(x) != 10_000 {
		t.Errorf("within the limit: %v, %d kept", err, len(x))
	}
	x = nil
	if err := decode(many(10_001, func(i int) uint16 { return uint16(i % 10_000) }), 1<<20, x.read); !errors.Is(err, ErrMalformed) || len(x) != 10_000 {
		t.Errorf("the first one again at the end: %v, %d kept", err, len(x))
	}
}

// TestGHSArrmv_c79f_cf5r_ShortBuffers: every message cut at every byte, and every
// byte made as large as it can be, is an error, never a panic or an allocation
// that the input does not pay for.
func TestGHSArrmv_c79f_cf5r_ShortBuffers(t *testing.T) {
	_, device, msgs := samples(t)
	for name, msg := range msgs {
		if _, err := readMessage(msg, DefaultLimits()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range msg {
			if _, err := readMessage(msg[:i], DefaultLimits()); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut to %d bytes: %v", name, i, err)
			}
			large := bytes.Clone(msg)
			large[i] = 0xbf // a length header of four bytes, 2.1.2
			_, _ = device.Process(large)
		}
	}
	claim := encode(func(w *writer) { w.u32(vectorMax | 2<<30) }) // 2^30-1 bytes follow, it says
	if n := testing.AllocsPerRun(10, func() {
		r := newReader(claim, 0)
		r.list(func(*reader) {})
	}); n > 12 {
		t.Errorf("a list that is not there costs %v allocations", n)
	}
}

// TestGHSAgc79_23g3_8g52_NestedLists: the item limit is one for all lists of an
// encoding, those in the elements of others too.
func TestGHSAgc79_23g3_8g52_NestedLists(t *testing.T) {
	path := &updatePath{leaf: leafNode{source: sourceUpdate, credential: BasicCredential(nil)}}
	for range 10 {
		path.nodes = append(path.nodes, updatePathNode{encrypted: make([]hpkeCiphertext, 10)})
	}
	const items = 10 + 10*10
	if err := decode(encode(path.write), items, new(updatePath).read); err != nil {
		t.Fatalf("as many as allowed: %v", err)
	}
	if err := decode(encode(path.write), items-1, new(updatePath).read); !errors.Is(err, ErrMalformed) {
		t.Errorf("one more than allowed: %v", err)
	}
	// An extension's data is opaque until its type is asked for, and bounded again then.
	inner := RequiredCapabilities(make([]uint16, items), nil, nil)
	group := extensionsOf([]Extension{inner})
	if err := decode(encode(group.write), 1, new(extensions).read); err != nil {
		t.Errorf("one extension: %v", err)
	}
	if _, err := group.required(items); err != nil {
		t.Errorf("as many inside as allowed: %v", err)
	}
	if _, err := group.required(items - 1); !errors.Is(err, ErrMalformed) {
		t.Errorf("one more inside than allowed: %v", err)
	}
}

// TestNonMinimalLengths (2.1.2): each length header of a message, written longer
// than it need be, makes another message, which is refused.
func TestNonMinimalLengths(t *testing.T) {
	_, device, msgs := samples(t)
	group := device.GroupID()
	for _, name := range []string{"private", "path commit"} {
		short := append([]byte{byte(len(group))}, group...)
		long := append([]byte{0x40, byte(len(group))}, group...)
		msg := bytes.Replace(msgs[name], short, long, 1)
		if bytes.Equal(msg, msgs[name]) {
			t.Fatalf("%s does not begin with its group", name)
		}
		if _, err := device.Process(msg); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := device.Process(msgs["private"]); err != nil {
		t.Errorf("as it should be: %v", err)
	}
}

// samples are one message of every kind from a live group.
func samples(t testing.TB) (x *invited, device *Group, msgs map[string][]byte) {
	x = invite(t, X25519AES128)
	device = x.phone.join(t, x.staged.Welcome, x.secrets)
	msgs = map[string][]byte{
		"key package": x.pub, "welcome": x.staged.Welcome, "commit": x.staged.Commit, "group info": x.staged.GroupInfo,
	}
	if err := x.group.Apply(x.staged); err != nil {
		t.Fatal(err)
	}
	staged, err := x.group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	msgs["path commit"] = staged.Commit
	msgs["private"] = mustProtect(t, x.group, "code 123456")
	return x, device, msgs
}

// FuzzMessage: what is accepted is written back to the same bytes.
func FuzzMessage(f *testing.F) {
	_, _, msgs := samples(f)
	for _, m := range msgs {
		f.Add(m)
	}
	f.Add([]byte("\x00\x01\x00\x05"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(b, Limits{Message: 1 << 16, Leaves: 64, Items: 1 << 12})
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("decoder: %v", err)
			}
			return
		}
		if !bytes.Equal(encode(m.write), b) {
			t.Fatalf("accepted %x, writes %x", b, encode(m.write))
		}
	})
}

// FuzzTree: an accepted ratchet tree is written back to the same bytes, and its
// checks neither panic nor loop.
func FuzzTree(f *testing.F) {
	x, _, _ := samples(f)
	f.Add(x.group.cur().tree.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := readTree(b, Limits{Message: 1 << 16, Leaves: 64, Items: 1 << 12})
		if err != nil {
			return
		}
		if !bytes.Equal(tr.encode(), b) {
			t.Fatalf("accepted %x, writes %x", b, tr.encode())
		}
		_ = tr.validate(suite1, []byte("g"), requiredCapabilities{})
	})
}

// FuzzProcess: no message panics, and what is refused changes nothing.
func FuzzProcess(f *testing.F) {
	x, device, msgs := samples(f)
	for _, m := range msgs {
		f.Add(m)
	}
	state, err := device.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Unmarshal(state, x.phone.signer, anyCredential{}, x.phone.policy)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Process(b); err == nil {
			return
		}
		after, err := g.Marshal()
		if err != nil || !bytes.Equal(after, state) {
			t.Fatal("a refused message changed the state")
		}
	})
}

// FuzzUnmarshal: an accepted state is written back to the same bytes and can be
// used without a panic.
func FuzzUnmarshal(f *testing.F) {
	x, device, msgs := samples(f)
	for range 3 {
		mustProtect(f, x.group, "skipped")
	}
	late := mustProtect(f, x.group, "late")
	mustOpen(f, device, late, "late")
	late = mustProtect(f, x.group, "of a past epoch")
	x.phone.policy.PastEpochs = 1
	past := x.phone.restore(f, device)
	mustFollow(f, past, msgs["path commit"])
	if _, err := x.group.Propose(UpdateProposal(LeafOptions{})); err != nil {
		f.Fatal(err)
	}
	for _, g := range []*Group{device, x.group, past} {
		state, err := g.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(state)
	}
	either := map[string]Signer{string(x.phone.signer.Public()): x.phone.signer, string(x.bank.signer.Public()): x.bank.signer}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, sg := range either {
			g, err := Unmarshal(b, sg, anyCredential{}, DefaultPolicy())
			if err != nil {
				continue
			}
			again, err := g.Marshal()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("accepted %x, writes %x", b, again)
			}
			_, _ = g.Protect(nil, nil)
			_, _ = g.Process(msgs["private"])
			_, _ = g.Process(late)
			if ev, err := g.Process(msgs["path commit"]); err == nil {
				_ = g.Apply(ev.(*Staged))
			}
			_, _ = g.Propose(UpdateProposal(LeafOptions{}))
			_, _ = g.Commit(CommitOptions{})
			_ = g.Members()
		}
	})
}

// FuzzKeyPackageSecrets: accepted secrets are written back to the same bytes.
func FuzzKeyPackageSecrets(f *testing.F) {
	x := invite(f, X25519AES128)
	b, err := x.secrets.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := UnmarshalKeyPackageSecrets(b)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, writes %x", b, again)
		}
	})
}

// TestRandomDamage is a short walk of the fuzz targets that every test run
// takes: real messages with a few bytes changed, cut or repeated.
func TestRandomDamage(t *testing.T) {
	x, device, msgs := samples(t)
	state, err := device.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	damage := func(b []byte) []byte {
		b = bytes.Clone(b)
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(b))
			switch rng.IntN(3) {
			case 0:
				b[at] = byte(rng.Uint32())
			case 1:
				b = b[:at+1]
			case 2:
				b = append(b[:at:at], b[at/2:]...)
			}
		}
		return b
	}
	for range 300 {
		for name, msg := range msgs {
			bad := damage(msg)
			if bytes.Equal(bad, msg) {
				continue
			}
			if _, err := device.Process(bad); err == nil {
				t.Fatalf("damaged %s was accepted: %x", name, bad)
			}
		}
		if bad := damage(state); !bytes.Equal(bad, state) {
			if g, err := Unmarshal(bad, x.phone.signer, anyCredential{}, x.phone.policy); err == nil {
				_, _ = g.Process(msgs["private"])
			} else if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("damaged state: %v", err)
			}
		}
	}
	mustOpen(t, device, msgs["private"], "code 123456")
}

// TestStateIsChecked: a state of another member, version or suite is refused,
// and so is one whose secrets do not fit.
func TestStateIsChecked(t *testing.T) {
	x := invite(t, X25519AES128)
	device := x.phone.join(t, x.staged.Welcome, x.secrets)
	if err := x.group.Apply(x.staged); err != nil {
		t.Fatal(err)
	}
	state, err := device.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	restore := func(b []byte, sg Signer) error {
		_, err := Unmarshal(b, sg, anyCredential{}, x.phone.policy)
		return err
	}
	if err := restore(state, x.phone.signer); err != nil {
		t.Fatalf("honest state: %v", err)
	}
	waiting := x.phone.restore(t, device)
	cacheForged(sender{senderMember, 0}, &proposal{kind: proposalRemove, remove: 1})(waiting.cur())
	if err := restore(must(waiting.Marshal())(t), x.phone.signer); err != nil {
		t.Fatalf("honest state with a proposal that waits: %v", err)
	}
	if err := restore(state, x.bank.signer); !errors.Is(err, ErrRefused) {
		t.Errorf("another member's signer: %v", err)
	}
	for name, change := range map[string]func(*epoch){
		"own leaf is blank":      func(e *epoch) { e.own = 9 },
		"suite":                  func(e *epoch) { e.context.suite = 4 },
		"tree hash":              func(e *epoch) { e.context.treeHash[0] ^= 1 },
		"short secret":           func(e *epoch) { e.keys.exporter = e.keys.exporter[1:] },
		"no private key":         func(e *epoch) { delete(e.privs, leafNodeIndex(e.own)) },
		"private key of a blank": func(e *epoch) { e.privs[1] = e.privs[2] },
		"private key far away":   func(e *epoch) { e.privs[1<<31] = e.privs[2] },
		"no own ratchets":        func(e *epoch) { delete(e.secrets.ratchets, e.own) },
		"ratchets far away":      func(e *epoch) { e.secrets.ratchets[1<<31] = e.secrets.ratchets[e.own] },
		"short ratchet secret":   func(e *epoch) { e.secrets.ratchets[e.own].application.secret = []byte{1} },
		"tree secret far away":   func(e *epoch) { e.secrets.nodes[1<<31] = make([]byte, 32) },
		"short tree secret":      func(e *epoch) { e.secrets.nodes[0] = []byte{} },
		"skipped key not behind": func(e *epoch) {
			e.secrets.ratchets[e.own].application.skipped = []skippedKey{{5, messageKey{make([]byte, 16), make([]byte, 12)}}}
		},
		"cached proposal of nobody":          cacheForged(sender{senderMember, 9}, &proposal{kind: proposalRemove}),
		"cached update of nobody":            cacheForged(sender{senderMember, 1 << 20}, &proposal{kind: proposalUpdate, update: device.cur().tree.leaf(0)}),
		"cached update of a stranger":        cacheForged(sender{kind: senderExternal}, &proposal{kind: proposalUpdate, update: device.cur().tree.leaf(0)}),
		"cached removal of nobody":           cacheForged(sender{senderMember, 0}, &proposal{kind: proposalRemove, remove: 1 << 20}),
		"cached update signed for elsewhere": cacheForged(sender{senderMember, 0}, &proposal{kind: proposalUpdate, update: device.cur().tree.leaf(1)}),
		"cached commit":                      func(e *epoch) { e.proposals = []cachedProposal{{encoded: []byte{0, 1}}} },
	} {
		g := x.phone.restore(t, device)
		change(g.cur())
		b, err := g.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := restore(b, x.phone.signer); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	mustOpen(t, device, mustProtect(t, x.group, "x"), "x") // now it has ratchets of both leaves
	number := device.Epoch()
	for name, change := range map[string]func([]Record) []Record{
		"as it is":         func(r []Record) []Record { return r },
		"out of order":     func(r []Record) []Record { r[1], r[2] = r[2], r[1]; return r },
		"a record twice":   func(r []Record) []Record { return append(r, r[len(r)-1]) },
		"no epoch":         func(r []Record) []Record { return r[1:] },
		"no own ratchets":  func(r []Record) []Record { return r[:len(r)-1] },
		"of another kind":  func(r []Record) []Record { return append(r, Record{recordKey('Z', number, 0), nil}) },
		"of another epoch": func(r []Record) []Record { return append(r, Record{recordKey(recordRatchets, number+1, 0), r[1].Data}) },
		"an epoch's other name": func(r []Record) []Record {
			r[0].Key = recordKey(recordEpoch, number+1, 0)
			return r
		},
		"a past epoch, twice the present": func(r []Record) []Record {
			return slices.Insert(r, 1, Record{recordKey(recordPast, number, 0), encode(device.cur().pass(nil, 0).write)})
		},
	} {
		b := marshal(change(device.cur().records()))
		if err := restore(b, x.phone.signer); (err == nil) != (name == "as it is") || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("records %s: %v", name, err)
		}
	}
	if err := restore(append([]byte{1}, state[1:]...), x.phone.signer); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("another version: %v", err)
	}
}

// cacheForged puts a proposal into a state that no honest member keeps.
func cacheForged(from sender, p *proposal) func(*epoch) {
	return func(e *epoch) {
		a := &authContent{wire: wirePublicMessage, content: framedContent{groupID: e.context.groupID, epoch: e.context.epoch,
			sender: from, aad: []byte{}, kind: contentProposal, proposal: p}}
		e.proposals = []cachedProposal{{encoded: encode(a.write)}}
	}
}

// FuzzSecret: what only travels encrypted is written back to the same bytes too;
// whoever encrypts it need not be honest.
func FuzzSecret(f *testing.F) {
	structs := []func() codec{
		func() codec { return new(groupSecrets) }, func() codec { return new(senderData) },
		func() codec { return new(groupInfo) }, func() codec { return new(commit) },
	}
	for i, x := range []codec{&groupSecrets{joiner: []byte("joiner"), pathSecret: []byte("path")}, &senderData{leaf: 1, generation: 2}} {
		f.Add(i, encode(x.write))
	}
	x, _, _ := samples(f)
	f.Add(2, encode((&groupInfo{context: x.group.cur().context, signature: []byte("s")}).write))
	f.Add(3, encode(new(commit).write))
	f.Fuzz(func(t *testing.T, kind int, b []byte) {
		if kind < 0 || kind >= len(structs) {
			return
		}
		v := structs[kind]()
		if err := decode(b, 1<<12, v.read); err == nil && !bytes.Equal(encode(v.write), b) {
			t.Fatalf("%T: accepted %x, writes %x", v, b, encode(v.write))
		}
	})
}
