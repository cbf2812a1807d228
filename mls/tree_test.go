package mls

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// bigTree is the tree of a group with unmerged leaves, blanks and several
// generations of paths.
func bigTree(t *testing.T) *Group {
	t.Helper()
	s := X25519AES128
	p := newPerson(t, s, "p0")
	g := p.create(t, s)
	grow := func(names ...string) map[string]*Group {
		var pubs [][]byte
		var privs []*KeyPackageSecrets
		var people []*person
		for _, n := range names {
			q := newPerson(t, s, n)
			pub, priv := q.keyPackage(t, s)
			pubs, privs, people = append(pubs, pub), append(privs, priv), append(people, q)
		}
		staged, err := g.Add(pubs...)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Apply(staged); err != nil {
			t.Fatal(err)
		}
		out := make(map[string]*Group)
		for i, q := range people {
			out[q.name] = q.join(t, staged.Welcome, privs[i])
		}
		return out
	}
	others := grow("p1", "p2", "p3", "p4", "p5")
	for _, name := range []string{"p3", "p5", "p1"} {
		staged, err := others[name].Commit(CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := follow(g, staged.Commit); err != nil {
			t.Fatal(err)
		}
		for n, o := range others {
			if n == name {
				err = o.Apply(staged)
			} else {
				_, err = follow(o, staged.Commit)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	grow("p6")
	return g
}

// TestTreeIsChecked spoils one property of a tree at a time (mls-rs 4d5ca263,
// 0ec79562, a1e82101; mlspp fd3fc392; mls-rs 8b8b5216).
func TestTreeIsChecked(t *testing.T) {
	g := bigTree(t)
	cs, id := g.cur().cs, g.cur().context.groupID
	honest := g.cur().tree
	if err := honest.validate(cs, id, requiredCapabilities{}); err != nil {
		t.Fatalf("honest tree: %v", err)
	}
	var parents []nodeIndex
	unmerged := nodeIndex(0)
	for x, n := range honest.nodes {
		if n.parent == nil {
			continue
		}
		parents = append(parents, nodeIndex(x))
		if len(n.parent.unmerged) > 0 {
			unmerged = nodeIndex(x)
		}
	}
	if len(parents) < 4 || unmerged == 0 {
		t.Fatalf("tree is too plain for the test: parents %v", parents)
	}
	with := func(x nodeIndex, change func(*parentNode)) func(*tree) {
		return func(tr *tree) {
			p := *tr.nodes[x].parent
			p.unmerged = slices.Clone(p.unmerged)
			change(&p)
			tr.set(x, node{parent: &p})
		}
	}
	cases := map[string]func(*tree){
		"unmerged leaf forgotten": with(unmerged, func(p *parentNode) { p.unmerged = nil }),
		"unmerged leaf is blank":  with(unmerged, func(p *parentNode) { p.unmerged = append(p.unmerged, 7) }),
		"unmerged leaf is far":    with(unmerged, func(p *parentNode) { p.unmerged = append(p.unmerged, 1<<31) }),
		"two leaves, one encryption key": func(tr *tree) {
			l := *tr.leaf(1)
			l.encryptionKey = tr.leaf(0).encryptionKey
			tr.set(2, node{leaf: &l})
		},
		"a leaf twice":   func(tr *tree) { tr.set(leafNodeIndex(7), node{leaf: tr.leaf(2)}) },
		"a spoiled leaf": func(tr *tree) { l := *tr.leaf(4); l.signature = make([]byte, 64); tr.set(8, node{leaf: &l}) },
		"leaf in the wrong place": func(tr *tree) {
			a, b := tr.leaf(3), tr.leaf(5)
			tr.set(6, node{leaf: b})
			tr.set(10, node{leaf: a})
		},
	}
	for _, x := range parents {
		cases["key of parent "+string(rune('0'+x))] = with(x, func(p *parentNode) {
			p.encryptionKey = bytes.Clone(p.encryptionKey)
			p.encryptionKey[0] ^= 1
		})
		cases["parent hash of parent "+string(rune('0'+x))] = with(x, func(p *parentNode) { p.parentHash = make([]byte, 32) })
		if x != honest.root() {
			cases["no parent hash at parent "+string(rune('0'+x))] = with(x, func(p *parentNode) { p.parentHash = []byte{} })
		}
		cases["an unmerged leaf invented at parent "+string(rune('0'+x))] = with(x, func(p *parentNode) {
			if first := (x - (1<<level(x) - 1)) / 2; !contains(p.unmerged, first) {
				p.unmerged = slices.Insert(p.unmerged, 0, first)
			}
		})
	}
	for name, spoil := range cases {
		tr := honest.clone()
		spoil(tr)
		if err := tr.validate(cs, id, requiredCapabilities{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := honest.validate(cs, []byte("another group"), requiredCapabilities{}); !errors.Is(err, ErrRefused) {
		t.Errorf("leaves signed for another group: %v", err)
	}
	if err := honest.validate(cs, id, requiredCapabilities{extensions: []uint16{0xf00d}}); !errors.Is(err, ErrRefused) {
		t.Errorf("required extension: %v", err)
	}
	if err := honest.validate(cs, id, requiredCapabilities{credentials: []uint16{CredentialX509}, extensions: []uint16{1, 5}, proposals: []uint16{7}}); err != nil {
		t.Errorf("what we support and what is default: %v", err)
	}
}

// TestTreeHashCache: whatever was done to a tree, its cached hash is that of a
// tree read afresh.
func TestTreeHashCache(t *testing.T) {
	tr := bigTree(t).cur().tree.clone()
	cs := suite1
	check := func(what string) {
		t.Helper()
		fresh, err := readTree(tr.encode(), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh.rootHash(cs), tr.rootHash(cs)) {
			t.Errorf("%s: cached tree hash is stale", what)
		}
	}
	check("start")
	tr.remove(3)
	check("remove")
	l := *tr.leaf(0)
	tr.update(5, &l)
	check("update")
	for range 4 {
		if _, err := tr.add(&l); err != nil {
			t.Fatal(err)
		}
		check("add")
	}
	for i := tr.leaves() - 1; i > 1; i-- {
		tr.remove(i)
		check("remove from the right")
	}
	if tr.leaves() != 2 {
		t.Errorf("%d leaves after truncating, want 2", tr.leaves())
	}
}

func TestReadTreeIsCanonical(t *testing.T) {
	honest := bigTree(t).cur().tree.encode()
	for name, b := range map[string][]byte{
		"empty":            {0},
		"nothing":          {},
		"one blank":        {1, 0},
		"trailing blank":   encode(func(w *writer) { w.vec(append(bytes.Clone(newReader(honest, 0).vec()), 0)) }),
		"parent at a leaf": encode(func(w *writer) { w.nested(func(w *writer) { w.u8(1); w.u8(2); (&parentNode{}).write(w) }) }),
		"unmerged leaves out of order": encode(func(w *writer) {
			w.nested(func(w *writer) {
				w.u8(0)
				w.u8(1)
				w.u8(2)
				(&parentNode{unmerged: []uint32{2, 1}}).write(w)
			})
		}),
	} {
		if _, err := readTree(b, DefaultLimits()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readTree(honest, Limits{Message: 1 << 20, Leaves: 3, Items: 1 << 10}); !errors.Is(err, ErrMalformed) {
		t.Errorf("more leaves than allowed: %v", err)
	}
	if _, err := readTree(honest, Limits{Message: 1 << 20, Leaves: 100, Items: 5}); !errors.Is(err, ErrMalformed) {
		t.Errorf("more items than allowed: %v", err)
	}
}
