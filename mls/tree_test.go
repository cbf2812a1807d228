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

// TestTreeIsChecked spoils one property of a tree at a time.
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
	usual, err := (extensions{{extRequiredCapabilities, encode(func(w *writer) {
		w.u16list([]uint16{1, 5})
		w.u16list([]uint16{7})
		w.u16list([]uint16{CredentialX509})
	})}}).required(DefaultLimits().Items)
	if err != nil {
		t.Fatal(err)
	}
	if err := honest.validate(cs, id, usual); err != nil {
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

// TestReadTreeIsCanonical (12.4.3.3): a ratchet_tree does not end in a blank node,
// and its nodes stand where their types may.
func TestReadTreeIsCanonical(t *testing.T) {
	honest := bigTree(t).cur().tree.encode()
	for name, b := range map[string][]byte{
		"empty":            {0},
		"nothing":          {},
		"one blank":        {1, 0},
		"trailing blank":   encode(func(w *writer) { w.vec(append(bytes.Clone(newReader(honest, 0).vec()), 0)) }),
		"parent at a leaf": encode(func(w *writer) { w.nested(func(w *writer) { w.u8(1); w.u8(2); (&parentNode{}).write(w) }) }),
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

// TestMLSRS321_UnsortedUnmergedLeaves (8b8b5216): the list ascends (7.1), so it has
// no leaf twice either.
func TestMLSRS321_UnsortedUnmergedLeaves(t *testing.T) {
	read := func(unmerged ...uint32) error {
		return decode(encode((&parentNode{unmerged: unmerged}).write), 100, new(parentNode).read)
	}
	if err := errors.Join(read(), read(1), read(1, 2, 7)); err != nil {
		t.Errorf("in order: %v", err)
	}
	for _, unmerged := range [][]uint32{{2, 1}, {1, 1}, {1, 3, 2}, {0, 7, 7}} {
		if err := read(unmerged...); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %v", unmerged, err)
		}
	}
}

// parentHashes are the places in a tree that carry one, with what spoils it.
func parentHashes(tr *tree) map[nodeIndex]func(*tree, []byte) {
	out := make(map[nodeIndex]func(*tree, []byte))
	for x, n := range tr.nodes {
		switch {
		case n.parent != nil && len(n.parent.parentHash) > 0:
			out[nodeIndex(x)] = func(tr *tree, hash []byte) {
				p := *n.parent
				p.parentHash = hash
				tr.set(nodeIndex(x), node{parent: &p})
			}
		case n.leaf != nil && n.leaf.source == sourceCommit:
			out[nodeIndex(x)] = func(tr *tree, hash []byte) {
				l := *n.leaf
				l.parentHash = hash
				tr.set(nodeIndex(x), node{leaf: &l})
			}
		}
	}
	return out
}

// TestMLSRS315_EveryParentIsChecked (4d5ca263): one good link does not end the
// check; whichever parent hash is spoiled, the tree is refused.
func TestMLSRS315_EveryParentIsChecked(t *testing.T) {
	honest := bigTree(t).cur().tree
	if err := honest.validateParents(suite1); err != nil {
		t.Fatalf("honest tree: %v", err)
	}
	places := parentHashes(honest)
	if len(places) < 5 {
		t.Fatalf("only %d parent hashes: the tree is too plain", len(places))
	}
	for x, spoil := range places {
		tr := honest.clone()
		spoil(tr, make([]byte, 32))
		if err := tr.validateParents(suite1); !errors.Is(err, ErrRefused) {
			t.Errorf("parent hash of node %d: %v", x, err)
		}
	}
}

// TestMLSRS360_NullParentHash (0ec79562): an empty parent hash is not one that
// need not be checked.
func TestMLSRS360_NullParentHash(t *testing.T) {
	honest := bigTree(t).cur().tree
	for x, spoil := range parentHashes(honest) {
		tr := honest.clone()
		spoil(tr, []byte{})
		if err := tr.validateParents(suite1); !errors.Is(err, ErrRefused) {
			t.Errorf("no parent hash at node %d: %v", x, err)
		}
	}
}

// plant is a tree of n members who all came by KeyPackages.
func plant(t *testing.T, n int) (tr *tree, leaf func() *leafNode, path func(uint32)) {
	t.Helper()
	p := newPerson(t, X25519AES128, "p")
	leaf = func() *leafNode {
		l := new(leafNode)
		if _, err := newLeaf(suite1, l, p.credential(), p.signer, KeyPackageOptions{NotAfter: 1}, p.policy.withDefaults().Rand); err != nil {
			t.Fatal(err)
		}
		return l
	}
	tr = newTree(leaf())
	for range n - 1 {
		if _, err := tr.add(leaf()); err != nil {
			t.Fatal(err)
		}
	}
	path = func(i uint32) {
		t.Helper()
		if _, err := tr.newPath(suite1, i, *tr.leaf(i), []byte("g"), p.signer, p.policy.withDefaults().Rand); err != nil {
			t.Fatal(err)
		}
	}
	return tr, leaf, path
}

// TestMLSRSa1e82101_BlankIntermediate (#352): a leaf that came after a path, below
// nodes that were blank then, changes no parent hash that was honest.
func TestMLSRSa1e82101_BlankIntermediate(t *testing.T) {
	tr, leaf, path := plant(t, 8)
	path(4)
	tr.remove(5) // blanks 9, 11 and the root
	path(0)      // the root again, with blank 11 for its sibling
	if i, err := tr.add(leaf()); err != nil || i != 5 {
		t.Fatalf("leaf %d: %v", i, err)
	}
	if root := tr.nodes[tr.root()]; !tr.nodes[11].blank() || root.blank() || !slices.Equal(root.parent.unmerged, []uint32{5}) {
		t.Fatal("this tree does not show the case")
	}
	if err := tr.validateParents(suite1); err != nil {
		t.Errorf("honest tree: %v", err)
	}
	fresh, err := readTree(tr.encode(), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.validateParents(suite1); err != nil {
		t.Errorf("as another member reads it: %v", err)
	}
	for x, spoil := range parentHashes(tr) {
		spoiled := tr.clone()
		spoil(spoiled, make([]byte, 32))
		if err := spoiled.validateParents(suite1); !errors.Is(err, ErrRefused) {
			t.Errorf("parent hash of node %d: %v", x, err)
		}
	}
}

// TestMLSPP430_EmptyLeftSubtree (fd3fc392): where all members of the left half are
// gone, the root is not in the filtered path, and what hangs below it must still
// agree on its parent hashes.
func TestMLSPP430_EmptyLeftSubtree(t *testing.T) {
	tr, leaf, path := plant(t, 4)
	path(2)
	tr.remove(0)
	tr.remove(1)
	path(2)
	if !tr.nodes[tr.root()].blank() || tr.nodes[5].blank() {
		t.Fatal("this tree does not show the case")
	}
	if err := tr.validateParents(suite1); err != nil {
		t.Errorf("honest tree: %v", err)
	}
	if _, err := tr.add(leaf()); err != nil {
		t.Fatal(err)
	}
	path(3)
	fresh, err := readTree(tr.encode(), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.validateParents(suite1); err != nil {
		t.Errorf("after another came and committed: %v", err)
	}
}

// TestWidestTree: a tree of as many leaves as the limit says is read, and none with
// a node more, which would make it twice as wide.
func TestWidestTree(t *testing.T) {
	l := newPerson(t, X25519AES128, "bank").create(t, X25519AES128).cur().tree.leaf(0)
	tr := &tree{nodes: make([]node, 7)}
	tr.nodes[6].leaf = l
	if got, err := readTree(tr.encode(), Limits{Leaves: 4, Items: 100}); err != nil || got.leaves() != 4 {
		t.Fatal(err)
	}
	tr.nodes = append(tr.nodes, node{parent: &parentNode{encryptionKey: l.encryptionKey}})
	if _, err := readTree(tr.encode(), Limits{Leaves: 4, Items: 100}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a node more: %v", err)
	}
}

// TestParentCoversItsUnmerged: below a blank node stands one leaf that made the
// parent, and whoever else is there has come since and is listed (7.9.2).
func TestParentCoversItsUnmerged(t *testing.T) {
	tr, _, _ := plant(t, 4)
	for _, x := range []nodeIndex{1, 3, 5} {
		tr.set(x, node{})
	}
	root := func(unmerged ...uint32) error {
		p := &parentNode{encryptionKey: []byte("key"), parentHash: []byte{}, unmerged: unmerged}
		made := *tr.leaf(0)
		made.source, made.parentHash = sourceCommit, tr.parentHash(suite1, p, 5)
		tr.set(3, node{parent: p})
		tr.set(0, node{leaf: &made})
		return tr.validateParents(suite1)
	}
	if err := root(1); err != nil {
		t.Fatalf("the other leaf has come since: %v", err)
	}
	if err := root(); !errors.Is(err, ErrRefused) {
		t.Errorf("the other leaf was always there: %v", err)
	}
	if err := root(0, 1); !errors.Is(err, ErrRefused) {
		t.Errorf("nobody made the parent: %v", err)
	}
}
