package sealpost

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A Promise is the relay's signed word that a group of statements will be in
// the log by a time (leaf 4). It is signed once per group: its root is over
// the group's entries, and each statement gets its path. It is not logged and
// needs no promise of its own.
type Promise struct {
	Root     Hash      `cbor:"1,keyasint"` // RFC 9162 2.1.1 over the group's entries
	Count    uint16    `cbor:"2,keyasint"` // entries in the group, 1 to PromiseGroup
	Origin   string    `cbor:"3,keyasint"` // the log's name
	Accepted UnixMilli `cbor:"4,keyasint"`
	TreeSize uint64    `cbor:"5,keyasint"` // of the log, then
	LogBy    UnixMilli `cbor:"6,keyasint"`
}

// Kind is KindPromise.
func (Promise) Kind() Kind { return KindPromise }

func (p *Promise) read(r *reader) {
	r.fields()
	r.field(1)
	r.fixed(p.Root[:])
	r.field(2)
	p.Count = uint16(r.uint(math.MaxUint16))
	r.field(3)
	p.Origin = r.text()
	r.field(4)
	p.Accepted = r.time()
	r.field(5)
	p.TreeSize = r.uint(math.MaxUint64)
	r.field(6)
	p.LogBy = r.time()
}

func (p Promise) write(w *writer) {
	w.fields(6)
	w.field(1)
	w.bytes(p.Root[:])
	w.field(2)
	w.uint(uint64(p.Count))
	w.field(3)
	w.text(p.Origin)
	w.field(4)
	w.time(p.Accepted)
	w.field(5)
	w.uint(p.TreeSize)
	w.field(6)
	w.time(p.LogBy)
}

func (p Promise) check() error {
	return firstFault([]fault{
		{p.Count == 0 || p.Count > PromiseGroup, "count"},
		{p.Origin == "" || len(p.Origin) > 4*NameMax, "origin"},
		{p.LogBy <= p.Accepted, "log-by: not after accepted"},
	})
}

// A PromiseEntry is what is promised of one statement.
type PromiseEntry struct {
	_         struct{} `cbor:",toarray"`
	Leaf      Leaf
	Statement Hash
	OutcomeBy int64 // Unix milliseconds for a commitment, 0 for every other kind
}

func (e *PromiseEntry) read(r *reader) {
	r.tuple(3)
	r.fixed(e.Leaf[:])
	r.fixed(e.Statement[:])
	e.OutcomeBy = r.int(math.MaxInt64)
}

func (e *PromiseEntry) write(w *writer) {
	w.tuple(3)
	w.bytes(e.Leaf[:])
	w.bytes(e.Statement[:])
	w.int(e.OutcomeBy)
}

// entrySize is the most bytes of an entry.
const entrySize = 1 + (2 + len(Leaf{})) + (2 + len(Hash{})) + headSize

// promiseLabel stands before an entry where it is hashed, behind the octet of a
// leaf (RFC 9162 2.1.1): no other tree's leaf can stand for it.
const promiseLabel = "\x00sealpost/promise/v1"

// leafHash is the entry's hash as a leaf of the group's tree.
func (e *PromiseEntry) leafHash() Hash {
	var b [len(promiseLabel) + entrySize]byte
	w := writer{b: append(b[:0], promiseLabel...)}
	e.write(&w)
	return sha256.Sum256(w.b)
}

// A Promised is one statement's part of a promise, as it travels: the signed
// root, the entry and its path.
type Promised struct {
	_      struct{} `cbor:",toarray"`
	Signed []byte   // the promise statement
	Entry  PromiseEntry
	Index  uint16
	Path   []Hash // at most 8
}

func (p *Promised) read(r *reader) {
	r.tuple(4)
	p.Signed = r.own()
	p.Entry.read(r)
	p.Index = uint16(r.uint(math.MaxUint16))
	p.Path = r.hashes()
}

func (p *Promised) write(w *writer) {
	w.tuple(4)
	w.bytes(p.Signed)
	p.Entry.write(w)
	w.uint(uint64(p.Index))
	w.hashes(p.Path)
}

// Encode is the promise as it travels.
func (p Promised) Encode() []byte {
	w := writer{b: make([]byte, 0, 1+headSize+len(p.Signed)+entrySize+2*headSize+len(p.Path)*(2+len(Hash{})))}
	p.write(&w)
	return w.b
}

// ParsePromised reads what Encode writes; the signature is not yet checked.
func ParsePromised(b []byte) (p Promised, err error) {
	r := reader{s: string(b)}
	if p.read(&r); !r.end() {
		return Promised{}, fmt.Errorf("promise: %w", r.fault)
	}
	return p, nil
}

// Check verifies the promise of a statement under the relay's key and returns
// what was signed. salt opens the leaf.
func (p Promised) Check(relay PublicKey, salt Salt, statement []byte) (Promise, error) {
	signed, err := Parse(p.Signed)
	if err != nil {
		return Promise{}, fmt.Errorf("promise: %w", err)
	}
	if err := signed.Verify(relay); err != nil {
		return Promise{}, err
	}
	return p.CheckUnder(signed, salt, statement)
}

// CheckUnder is Check where the caller has verified the signed root before, as
// one does for many statements of one group.
func (p Promised) CheckUnder(root Signed, salt Salt, statement []byte) (Promise, error) {
	promise, err := root.Promise()
	if err != nil {
		return Promise{}, err
	}
	leaf := MakeLeaf(salt, statement)
	sum := Hash(sha256.Sum256(statement))
	switch {
	case !hmac.Equal(leaf[:], p.Entry.Leaf[:]):
		return Promise{}, malformed("promise: the leaf is not this statement under this salt")
	case sum != p.Entry.Statement:
		return Promise{}, malformed("promise: another statement")
	case !promiseIncluded(p.Entry.leafHash(), int(p.Index), int(promise.Count), p.Path, promise.Root):
		return Promise{}, malformed("promise: the path does not lead to the signed root")
	}
	return promise, nil
}

// A GroupPromise is a signed promise with the hashes of all entries of its
// group: each entry's part can be made of it again, so that a holder of many
// keeps it once.
type GroupPromise struct {
	signed []byte
	tree   [][]Hash // every level, the entries' hashes first
}

// SignPromise signs one promise over at most PromiseGroup entries and returns
// each entry's part.
func SignPromise(entries []PromiseEntry, origin string, accepted UnixMilli, size uint64, mergeDelay time.Duration, by Signer) ([]Promised, error) {
	_, parts, err := SignGroupPromise(entries, origin, accepted, size, mergeDelay, by)
	return parts, err
}

// SignGroupPromise is SignPromise for a caller that keeps the whole as well.
func SignGroupPromise(entries []PromiseEntry, origin string, accepted UnixMilli, size uint64, mergeDelay time.Duration, by Signer) (*GroupPromise, []Promised, error) {
	if len(entries) == 0 || len(entries) > PromiseGroup {
		return nil, nil, malformed("promise: %d entries in one group", len(entries))
	}
	n := len(entries)
	hashes := make([]Hash, 0, treeNodes(n))
	for i := range entries {
		hashes = append(hashes, entries[i].leafHash())
	}
	tree := promiseTree(hashes)
	signed, err := Sign(Promise{Root: tree[len(tree)-1][0], Count: uint16(n), Origin: origin,
		Accepted: accepted, TreeSize: size, LogBy: accepted.Add(mergeDelay)}, by)
	if err != nil {
		return nil, nil, err
	}
	g := &GroupPromise{signed.Bytes(), tree}
	parts, depth := make([]Promised, n), len(tree)-1
	paths := make([]Hash, n*depth)
	for i, e := range entries {
		parts[i] = g.part(i, e, paths[:0:depth])
		paths = paths[depth:]
	}
	return g, parts, nil
}

// Part is the part of an entry at its place in the group. It is refused where
// another entry stands there.
func (g *GroupPromise) Part(i int, e PromiseEntry) (Promised, error) {
	if i < 0 || i >= len(g.tree[0]) || g.tree[0][i] != e.leafHash() {
		return Promised{}, malformed("promise: entry %d of the group is another", i)
	}
	return g.part(i, e, make([]Hash, 0, len(g.tree)-1)), nil
}

// part is Part of an entry that is known to stand there; path has room for it.
func (g *GroupPromise) part(i int, e PromiseEntry, path []Hash) Promised {
	return Promised{Signed: g.signed, Entry: e, Index: uint16(i), Path: appendPath(path, g.tree, i)}
}

// Encode is the group's promise as a store keeps it: [signed, [hash …]].
func (g *GroupPromise) Encode() []byte {
	w := writer{b: make([]byte, 0, 1+2*headSize+len(g.signed)+len(g.tree[0])*(2+len(Hash{})))}
	w.tuple(2)
	w.bytes(g.signed)
	w.hashes(g.tree[0])
	return w.b
}

// ParseGroupPromise reads what Encode writes: the hashes must lead to the root
// that was signed. The signature is not checked.
func ParseGroupPromise(b []byte) (*GroupPromise, error) {
	r := reader{s: string(b)}
	r.tuple(2)
	g := &GroupPromise{signed: r.own()}
	hashes := r.hashes()
	if !r.end() {
		return nil, fmt.Errorf("promise of a group: %w", r.fault)
	}
	signed, err := Parse(g.signed)
	if err != nil {
		return nil, fmt.Errorf("promise of a group: %w", err)
	}
	p, err := signed.Promise()
	if err != nil {
		return nil, fmt.Errorf("promise of a group: %w", err)
	}
	if len(hashes) != int(p.Count) {
		return nil, malformed("promise of a group: %d hashes of %d", len(hashes), p.Count)
	}
	g.tree = promiseTree(hashes)
	if g.tree[len(g.tree)-1][0] != p.Root {
		return nil, malformed("promise of a group: the hashes do not lead to the signed root")
	}
	return g, nil
}

// The promise tree is RFC 9162 2.1 with SHA-256, kept free of allocations per
// node because it stands on the hot path.

func promiseNode(left, right *Hash) Hash {
	var b [65]byte
	b[0] = 1
	copy(b[1:33], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// treeNodes is the most nodes of a tree: a level is half of the one below,
// rounded up.
func treeNodes(n int) int { return 2*n + bits.Len(uint(n)) }

// promiseTree is every level over the hashes of the entries, root last. It
// appends to nodes, whose memory may hold all of them.
func promiseTree(nodes []Hash) [][]Hash {
	n := len(nodes)
	tree := append(make([][]Hash, 0, bits.Len(uint(n))+1), nodes)
	for level := nodes; len(level) > 1; {
		from := len(nodes)
		for i := 0; i+1 < len(level); i += 2 {
			nodes = append(nodes, promiseNode(&level[i], &level[i+1]))
		}
		if len(level)%2 == 1 {
			nodes = append(nodes, level[len(level)-1])
		}
		level = nodes[from:]
		tree = append(tree, level)
	}
	return tree
}

// appendPath appends the inclusion proof of leaf i (RFC 9162 2.1.3).
func appendPath(path []Hash, tree [][]Hash, i int) []Hash {
	for _, level := range tree[:len(tree)-1] {
		if sibling := i ^ 1; sibling < len(level) {
			path = append(path, level[sibling])
		}
		i >>= 1
	}
	return path
}

// promiseIncluded verifies an inclusion proof.
func promiseIncluded(leaf Hash, i, n int, path []Hash, root Hash) bool {
	if i >= n {
		return false
	}
	at := leaf
	for n > 1 {
		sibling := i ^ 1
		if sibling < n {
			if len(path) == 0 {
				return false
			}
			if i&1 == 0 {
				at = promiseNode(&at, &path[0])
			} else {
				at = promiseNode(&path[0], &at)
			}
			path = path[1:]
		}
		i, n = i>>1, (n+1)/2
	}
	return len(path) == 0 && at == root
}
