package mls

import (
	"bytes"
	"slices"
	"sort"
)

// parentNode is ParentNode, 7.1. It is never changed once it is in a tree.
type parentNode struct {
	encryptionKey []byte
	parentHash    []byte
	unmerged      []uint32 // ascending
}

func (x *parentNode) read(r *reader) {
	x.encryptionKey = r.vec()
	x.parentHash = r.vec()
	x.unmerged = r.u32list()
	for i := 1; i < len(x.unmerged); i++ {
		if x.unmerged[i-1] >= x.unmerged[i] {
			r.fail("unmerged leaves out of order")
		}
	}
}

func (x *parentNode) write(w *writer) {
	w.vec(x.encryptionKey)
	w.vec(x.parentHash)
	w.u32list(x.unmerged)
}

// A node is blank, a leaf or a parent.
type node struct {
	leaf   *leafNode
	parent *parentNode
}

func (n node) blank() bool { return n.leaf == nil && n.parent == nil }

func (n node) key() []byte {
	if n.leaf != nil {
		return n.leaf.encryptionKey
	}
	return n.parent.encryptionKey
}

// A tree is a ratchet tree, 4 and 7. Nodes are replaced, never changed, so a
// clone shares them. hashes caches tree hashes; nil means not known.
type tree struct {
	nodes  []node
	hashes [][]byte
}

func newTree(creator *leafNode) *tree {
	return &tree{nodes: []node{{leaf: creator}}, hashes: make([][]byte, 1)}
}

func (t *tree) clone() *tree {
	return &tree{nodes: slices.Clone(t.nodes), hashes: slices.Clone(t.hashes)}
}

func (t *tree) leaves() uint32  { return uint32(len(t.nodes)+1) / 2 }
func (t *tree) root() nodeIndex { return rootOf(t.leaves()) }

// leaf is the leaf at an index that may come from the wire: nil if it is blank
// or beyond the tree.
func (t *tree) leaf(i uint32) *leafNode {
	if i >= t.leaves() {
		return nil
	}
	return t.nodes[leafNodeIndex(i)].leaf
}

// set replaces a node and forgets the hashes that covered it.
func (t *tree) set(x nodeIndex, n node) {
	t.nodes[x] = n
	t.hashes[x] = nil
	for root := t.root(); x != root; {
		x = parentOf(x)
		t.hashes[x] = nil
	}
}

func (t *tree) direct(leaf uint32) []nodeIndex {
	return directPath(leafNodeIndex(leaf), t.leaves())
}

// blankPath blanks every parent above the leaf.
func (t *tree) blankPath(leaf uint32) {
	for _, x := range t.direct(leaf) {
		t.set(x, node{})
	}
}

// freeLeaf is the leftmost blank leaf, after growing the tree if there is none
// (7.7).
func (t *tree) freeLeaf() (uint32, error) {
	for i := range t.leaves() {
		if t.nodes[leafNodeIndex(i)].leaf == nil {
			return i, nil
		}
	}
	n := t.leaves()
	if n >= leavesMax {
		return 0, refused("tree is full")
	}
	t.nodes = append(t.nodes, make([]node, 2*n)...)
	t.hashes = append(t.hashes, make([][]byte, 2*n)...)
	return n, nil
}

// members lists the occupied leaves in order.
func (t *tree) members() (out []Member) {
	for i := range t.leaves() {
		if l := t.leaf(i); l != nil {
			out = append(out, memberOf(i, l))
		}
	}
	return out
}

// add puts a new member into the leftmost blank leaf, 12.1.1.
func (t *tree) add(l *leafNode) (uint32, error) {
	i, err := t.freeLeaf()
	if err != nil {
		return 0, err
	}
	for _, x := range t.direct(i) {
		p := t.nodes[x].parent
		if p == nil {
			continue
		}
		at, _ := slices.BinarySearch(p.unmerged, i)
		unmerged := slices.Insert(slices.Clone(p.unmerged), at, i)
		t.set(x, node{parent: &parentNode{p.encryptionKey, p.parentHash, unmerged}})
	}
	t.set(leafNodeIndex(i), node{leaf: l})
	return i, nil
}

// update replaces a member's leaf, 12.1.2.
func (t *tree) update(i uint32, l *leafNode) {
	t.set(leafNodeIndex(i), node{leaf: l})
	t.blankPath(i)
}

// remove blanks a member and cuts the tree where its right half is empty, 12.1.3.
func (t *tree) remove(i uint32) {
	t.set(leafNodeIndex(i), node{})
	t.blankPath(i)
	t.truncate()
}

func (t *tree) truncate() {
	for n := t.leaves(); n > 1; n = t.leaves() {
		for i := n / 2; i < n; i++ {
			if t.nodes[leafNodeIndex(i)].leaf != nil {
				return
			}
		}
		t.nodes = t.nodes[:n-1]
		t.hashes = t.hashes[:n-1]
	}
}

// resolution is the ordered list of nodes that cover all leaves below x, 4.1.2.
func (t *tree) resolution(x nodeIndex) []nodeIndex {
	n := t.nodes[x]
	switch {
	case n.parent != nil:
		out := []nodeIndex{x}
		for _, l := range n.parent.unmerged {
			out = append(out, leafNodeIndex(l))
		}
		return out
	case n.leaf != nil:
		return []nodeIndex{x}
	case isLeaf(x):
		return nil
	}
	return append(t.resolution(left(x)), t.resolution(right(x))...)
}

// A pathStep is one node of a filtered direct path with its copath child.
type pathStep struct{ node, copath nodeIndex }

// filteredPath is the direct path without the nodes whose copath child has an
// empty resolution, 4.1.2.
func (t *tree) filteredPath(leaf uint32) []pathStep {
	var out []pathStep
	x := leafNodeIndex(leaf)
	for root := t.root(); x != root; x = parentOf(x) {
		if copath := siblingOf(x); len(t.resolution(copath)) > 0 {
			out = append(out, pathStep{parentOf(x), copath})
		}
	}
	return out
}

// hash is the tree hash of the subtree under x, 7.8.
func (t *tree) hash(cs *cryptoSuite, x nodeIndex) []byte {
	if t.hashes[x] == nil {
		t.hashes[x] = t.hashExcept(cs, x, nil)
	}
	return t.hashes[x]
}

func (t *tree) rootHash(cs *cryptoSuite) []byte { return t.hash(cs, t.root()) }

// hashExcept is the tree hash of x with the leaves of without blanked and taken
// out of every unmerged list: the original tree hash of 7.9.
func (t *tree) hashExcept(cs *cryptoSuite, x nodeIndex, without []uint32) []byte {
	if without != nil && !touches(x, without) {
		return t.hash(cs, x)
	}
	return cs.digest(encode(func(w *writer) {
		n := t.nodes[x]
		if isLeaf(x) {
			w.u8(1)
			w.u32(x / 2)
			there := n.leaf != nil && !contains(without, x/2)
			w.present(there)
			if there {
				n.leaf.write(w)
			}
			return
		}
		w.u8(2)
		w.present(n.parent != nil)
		if n.parent != nil {
			p := *n.parent
			p.unmerged = minus(p.unmerged, without)
			p.write(w)
		}
		if without == nil {
			w.vec(t.hash(cs, left(x)))
			w.vec(t.hash(cs, right(x)))
		} else {
			w.vec(t.hashExcept(cs, left(x), without))
			w.vec(t.hashExcept(cs, right(x), without))
		}
	}))
}

func contains(sorted []uint32, v uint32) bool {
	_, ok := slices.BinarySearch(sorted, v)
	return ok
}

func minus(a, b []uint32) []uint32 {
	if len(b) == 0 {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(v uint32) bool { return contains(b, v) })
}

// touches says whether one of the leaves lies under x.
func touches(x nodeIndex, leaves []uint32) bool {
	half := uint32(1)<<level(x) - 1
	first := (x - half) / 2
	at := sort.Search(len(leaves), func(i int) bool { return leaves[i] >= first })
	return at < len(leaves) && leaves[at] <= (x+half)/2
}

// parentHash is the parent hash of p with copath child s, 7.9.
func (t *tree) parentHash(cs *cryptoSuite, p *parentNode, s nodeIndex) []byte {
	var original []byte
	if touches(s, p.unmerged) {
		original = t.hashExcept(cs, s, p.unmerged)
	} else {
		original = t.hash(cs, s)
	}
	return cs.digest(encode(func(w *writer) {
		w.vec(p.encryptionKey)
		w.vec(p.parentHash)
		w.vec(original)
	}))
}

// readTree reads the ratchet_tree of 12.4.3.3 and fills it up to a full tree.
func readTree(b []byte, lim Limits) (*tree, error) {
	t := &tree{}
	err := decode(b, lim.Items, func(r *reader) {
		r.list(func(r *reader) {
			n := t.readNode(r)
			if t.nodes = append(t.nodes, n); uint32(len(t.nodes)) > nodeCount(lim.Leaves) {
				r.fail("more than %d leaves", lim.Leaves)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	if len(t.nodes) == 0 || t.nodes[len(t.nodes)-1].blank() {
		return nil, malformed("ratchet tree is empty or ends in a blank node")
	}
	full := 1
	for full < len(t.nodes) {
		full = 2*full + 1
	}
	t.nodes = append(t.nodes, make([]node, full-len(t.nodes))...)
	t.hashes = make([][]byte, full)
	return t, nil
}

// readNode reads one entry; leaves stand at even places, parents at odd ones.
func (t *tree) readNode(r *reader) node {
	if !r.optional() {
		return node{}
	}
	kind, want := r.u8(), uint8(1)
	if !isLeaf(nodeIndex(len(t.nodes))) {
		want = 2
	}
	if kind != want {
		r.fail("node type %d at node %d", kind, len(t.nodes))
		return node{}
	}
	if kind == 1 {
		l := new(leafNode)
		l.read(r)
		return node{leaf: l}
	}
	p := new(parentNode)
	p.read(r)
	return node{parent: p}
}

func (t *tree) write(w *writer) {
	end := len(t.nodes)
	for end > 0 && t.nodes[end-1].blank() {
		end--
	}
	w.nested(func(w *writer) {
		for _, n := range t.nodes[:end] {
			w.present(!n.blank())
			switch {
			case n.leaf != nil:
				w.u8(1)
				n.leaf.write(w)
			case n.parent != nil:
				w.u8(2)
				n.parent.write(w)
			}
		}
	})
}

func (t *tree) encode() []byte { return encode(t.write) }

// find is the leaf that equals l byte for byte.
func (t *tree) find(l *leafNode) (uint32, bool) {
	want := encode(l.write)
	for i := range t.leaves() {
		if have := t.leaf(i); have != nil && bytes.Equal(encode(have.write), want) {
			return i, true
		}
	}
	return 0, false
}
