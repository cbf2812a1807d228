package translog

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
)

// cacheTiles bounds the hash tiles kept in memory; each takes 16 KiB with all
// its inner hashes. The newest 262,144 leaves fit, so their proofs read no file.
const cacheTiles = 1024

// ranges builds compact ranges with the hash of RFC 6962 section 2.1.
var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

type tileKey struct{ level, index uint64 }

// A tile is a hash tile with the inner hashes of its tree, so that a proof
// costs look-ups and no hashing. It may grow while it is read: hashes beyond
// what width covers are the writer's alone.
type tile struct {
	width  atomic.Int64 // hashes at level 0 of the tile
	hashes [2*tileWidth - 2][hashSize]byte
}

// at returns the place of the hash at the given level (0 to 7) and index.
func (t *tile) at(level uint, index uint64) *[hashSize]byte {
	return &t.hashes[(2*tileWidth-(2*tileWidth)>>level)+int(index)]
}

// has tells whether the tile is wide enough for the hash.
func (t *tile) has(level uint, index uint64) bool {
	return int64((index+1)<<level) <= t.width.Load()
}

// newTile computes the inner hashes over the hashes of a tile file.
func newTile(data []byte) *tile {
	t := new(tile)
	width := len(data) / hashSize
	for i := range width {
		copy(t.at(0, uint64(i))[:], data[i*hashSize:])
	}
	for level := uint(1); level < layout.TileHeight; level++ {
		for i := range uint64(width >> level) {
			copy(t.at(level, i)[:], rfc6962.DefaultHasher.HashChildren(t.at(level-1, 2*i)[:], t.at(level-1, 2*i+1)[:]))
		}
	}
	t.width.Store(int64(width))
	return t
}

// tiles reads the hashes of a tree from its tile files through a cache. It is
// safe for concurrent use.
type tiles struct {
	dir  string
	size func() uint64 // the tree whose files are known to exist; never shrinks

	mu    sync.Mutex
	cache *simplelru.LRU[tileKey, *tile]
}

func newTiles(dir string, size func() uint64) *tiles {
	cache, err := simplelru.NewLRU[tileKey, *tile](cacheTiles, nil)
	if err != nil {
		panic("translog: tile cache: " + err.Error()) // only for a size below one
	}
	return &tiles{dir: dir, size: size, cache: cache}
}

// place returns the tile that holds a node and the node's place in it.
func place(id compact.NodeID) (key tileKey, level uint, index uint64) {
	tileLevel, tileIndex, level, index := layout.NodeCoordsToTileAddress(uint64(id.Level), id.Index)
	return tileKey{tileLevel, tileIndex}, level, index
}

// node returns the hash of a perfect subtree of the tree.
func (ts *tiles) node(id compact.NodeID) ([]byte, error) {
	key, level, index := place(id)
	if t := ts.cached(key); t != nil && t.has(level, index) {
		return t.at(level, index)[:], nil
	}
	t, err := ts.load(key)
	if err != nil {
		return nil, err
	}
	if !t.has(level, index) {
		return nil, fmt.Errorf("node %d of level %d is outside the tree", id.Index, id.Level)
	}
	return t.at(level, index)[:], nil
}

func (ts *tiles) cached(key tileKey) *tile {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, _ := ts.cache.Get(key)
	return t
}

// load reads a tile from its file and keeps it, unless a wider one came first.
func (ts *tiles) load(key tileKey) (*tile, error) {
	name := tileName{level: key.level, index: key.index}.in(ts.size())
	if name.width == 0 {
		return nil, fmt.Errorf("tile %d of level %d is outside the tree", key.index, key.level)
	}
	data, _, err := readTile(ts.dir, name)
	if err != nil {
		return nil, err
	}
	t := newTile(data)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if old, ok := ts.cache.Get(key); ok && old.width.Load() >= t.width.Load() {
		return old, nil
	}
	ts.cache.Add(key, t)
	return t, nil
}

// A treeNode is a hash that an append added to the tree.
type treeNode struct {
	id   compact.NodeID
	hash []byte
}

// grow puts the hashes of an append into the cache. They come in the order in
// which [compact.Range.Append] visits them, which for each tile is dense.
func (ts *tiles) grow(nodes []treeNode) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	widths := make(map[*tile]int64, len(nodes)/tileWidth+1)
	for _, n := range nodes {
		key, level, index := place(n.id)
		t, ok := ts.cache.Peek(key)
		if !ok {
			if level != 0 || index != 0 {
				continue // begun before the cache knew it; its file has the rest
			}
			t = new(tile)
			ts.cache.Add(key, t)
		}
		width, touched := widths[t]
		if !touched {
			width = t.width.Load()
		}
		if level == 0 {
			if int64(index) != width {
				ts.cache.Remove(key) // a stale copy: the file is right
				continue
			}
			width++
		}
		copy(t.at(level, index)[:], n.hash)
		widths[t] = width
	}
	for t, width := range widths {
		t.width.Store(width)
	}
}

// rangeAt returns the compact range over the first size leaves.
func (ts *tiles) rangeAt(size uint64) (*compact.Range, error) {
	ids := compact.RangeNodes(0, size, nil)
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		h, err := ts.node(id)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return ranges.NewRange(0, size, hashes)
}

// rootAt returns the root hash over the first size leaves.
func (ts *tiles) rootAt(size uint64) ([hashSize]byte, error) {
	r, err := ts.rangeAt(size)
	if err != nil {
		return [hashSize]byte{}, err
	}
	return rootOf(r)
}

// rootOf returns the root hash of a range that begins at 0. RFC 6962 2.1: that
// of no leaves is the hash of nothing.
func rootOf(r *compact.Range) ([hashSize]byte, error) {
	if r.End() == 0 {
		return [hashSize]byte(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return [hashSize]byte{}, fmt.Errorf("root of %d leaves: %w", r.End(), err)
	}
	return [hashSize]byte(root), nil
}
