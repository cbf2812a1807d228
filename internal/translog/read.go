package translog

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/note"
)

// ReadLeaf returns a leaf from the files of a log that somebody else may be
// writing, of which a checkpoint over size leaves was seen. The error matches
// fs.ErrNotExist where the file of that size has since been replaced by a
// wider one: read the checkpoint again.
func ReadLeaf(dir string, index, size uint64) ([]byte, error) { return readLeaf(dir, index, size) }

// ReadRoot returns the root over the first at leaves from the files of a log
// that has size leaves.
func ReadRoot(dir string, at, size uint64) (root [32]byte, err error) {
	if at > size {
		return root, fmt.Errorf("root at %d: the log has %d", at, size)
	}
	return newTiles(dir, func() uint64 { return size }).rootAt(at)
}

// ReadCheckpoint checks the signature of a checkpoint and reads it.
func ReadCheckpoint(raw []byte, verifier note.Verifier) (Checkpoint, error) {
	return openCheckpoint(raw, verifier, nil)
}

// A FileReader gives the public files of a log by their path (tlog-tiles,
// "Paths"), such as "tile/0/000". It need not be trusted.
type FileReader interface {
	Tile(ctx context.Context, path string) ([]byte, error)
}

// ReadSpan reads the leaves from one index up to a size, and the roots of the
// perfect subtrees over all leaves before, left to right. Nothing is checked
// but shapes: whoever uses them computes the root of a checkpoint.
func ReadSpan(ctx context.Context, files FileReader, from, size uint64) (leaves [][]byte, before [][hashSize]byte, err error) {
	if from > size {
		return nil, nil, fmt.Errorf("read leaves %d to %d: none", from, size)
	}
	for _, id := range compact.RangeNodes(0, from, nil) {
		key, level, index := place(id)
		data, err := fetchTile(ctx, files, tileName{level: key.level, index: key.index}.in(size))
		if err != nil {
			return nil, nil, err
		}
		t := newTile(data)
		if !t.has(level, index) {
			return nil, nil, fmt.Errorf("node %d of level %d is outside the tree", id.Index, id.Level)
		}
		before = append(before, *t.at(level, index))
	}
	for i := from; i < size; {
		n := tileName{entries: true, index: i / tileWidth}.in(size)
		bundle, err := fetchTile(ctx, files, n)
		if err != nil {
			return nil, nil, err
		}
		for j := int(i % tileWidth); j < n.width; j, i = j+1, i+1 {
			leaf, err := entryAt(bundle, j)
			if err != nil {
				return nil, nil, fmt.Errorf("leaf %d in %s: %w", i, n.path(), err)
			}
			leaves = append(leaves, leaf)
		}
	}
	return leaves, before, nil
}

// fetchTile gives the items that n names. Where a partial file is gone because
// the tree has filled it, the full one gives the same (tlog-tiles, "Partial
// tiles").
func fetchTile(ctx context.Context, files FileReader, n tileName) ([]byte, error) {
	data, err := files.Tile(ctx, n.path())
	if err != nil && n.width < tileWidth {
		if wider, werr := files.Tile(ctx, n.full().path()); werr == nil {
			data, err = wider, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", n.path(), err)
	}
	if want := n.width * n.itemSize(); len(data) < want {
		return nil, &sizeError{path: n.path(), got: len(data), want: want}
	}
	return data[:n.width*n.itemSize()], nil
}
