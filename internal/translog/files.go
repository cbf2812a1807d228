package translog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/tessera/api/layout"
)

// The files of a log folder, relative to it. Those under stateDir are private
// to the machine that writes; treeState and version are Tessera's own.
const (
	checkpointFile  = layout.CheckpointPath
	stateDir        = ".state"
	treeStateFile   = stateDir + "/treeState"
	lockFile        = stateDir + "/owner.lock"
	sweptFile       = stateDir + "/swept"
	checkpointDraft = stateDir + "/checkpoint.next"
	treeStateDraft  = stateDir + "/treeState.undo"
)

const (
	dirPerm  = 0o755
	filePerm = 0o644

	hashSize  = 32
	tileWidth = layout.TileWidth // tlog-tiles: 256 hashes or entries in a full file

	// entrySize is one entry of a bundle: a two-byte length and the leaf.
	// tlog-tiles, "Entry bundles".
	entrySize = 2 + LeafSize
)

// A treeState is what Tessera has integrated, in Tessera's own encoding.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

// errNoTreeState says that the folder has no tree state: nothing was ever
// integrated, or this is a copy of the public files only.
var errNoTreeState = errors.New("no tree state")

func readTreeState(dir string) (treeState, error) {
	raw, err := os.ReadFile(filepath.Join(dir, treeStateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return treeState{}, errNoTreeState
	}
	if err != nil {
		return treeState{}, fmt.Errorf("read tree state: %w", err)
	}
	return parseTreeState(raw)
}

// parseTreeState accepts exactly the bytes that Tessera writes, so that no
// change to the file goes unseen.
func parseTreeState(raw []byte) (treeState, error) {
	var s treeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return treeState{}, fmt.Errorf("parse tree state: %w", err)
	}
	if len(s.Root) != hashSize {
		return treeState{}, fmt.Errorf("parse tree state: root of %d bytes, want %d", len(s.Root), hashSize)
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, raw) {
		return treeState{}, errors.New("parse tree state: not in its one encoding")
	}
	return s, nil
}

// writeTreeState replaces the tree state, durably.
func writeTreeState(dir string, s treeState) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode tree state: %w", err)
	}
	return replaceFile(dir, treeStateDraft, treeStateFile, raw)
}

// replaceFile writes data under the name draft, syncs it, renames it to name
// and syncs the folder it now stands in. A crash leaves the old file or the
// new one, and a draft that the next call overwrites.
func replaceFile(dir, draft, name string, data []byte) error {
	draft, name = filepath.Join(dir, draft), filepath.Join(dir, name)
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", draft, err)
	}
	if err := os.Rename(draft, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A tileName names one file of a log: an entry bundle or a hash tile.
type tileName struct {
	entries bool   // an entry bundle; then level is 0
	level   uint64 // of a hash tile, 0 to 7
	index   uint64
	width   int // hashes or entries in the file, 1 to 256
}

// levelMax is the highest tile level of a tree with fewer than 2^64 leaves.
const levelMax = 7

// path returns the file's path below the log folder (tlog-tiles, "Paths").
func (n tileName) path() string {
	p := uint8(n.width % tileWidth) // tlog-tiles, and layout, write a full file as partial 0
	if n.entries {
		return layout.EntriesPath(n.index, p)
	}
	return layout.TilePath(n.level, n.index, p)
}

// full returns the name that the file has once it is full.
func (n tileName) full() tileName {
	n.width = tileWidth
	return n
}

// itemSize is the number of bytes that one hash or entry takes in the file.
func (n tileName) itemSize() int {
	if n.entries {
		return entrySize
	}
	return hashSize
}

// widthAt returns how many items the file has in a tree of the given size: 0
// if the tree does not reach it.
func (n tileName) widthAt(size uint64) int {
	items := size >> (n.level * layout.TileHeight)
	if n.index > items/tileWidth {
		return 0
	}
	return int(min(items-n.index*tileWidth, tileWidth))
}

// in returns the name under which the tree of the given size has this file.
func (n tileName) in(size uint64) tileName {
	n.width = n.widthAt(size)
	return n
}

// parseTileName reads a path below the log folder. It accepts exactly what
// path writes.
func parseTileName(p string) (tileName, bool) {
	rest, ok := strings.CutPrefix(p, "tile/")
	if !ok {
		return tileName{}, false
	}
	levelText, indexText, ok := strings.Cut(rest, "/")
	if !ok {
		return tileName{}, false
	}
	n := tileName{entries: levelText == "entries"}
	if n.entries {
		levelText = "0"
	}
	level, index, partial, err := layout.ParseTileLevelIndexPartial(levelText, indexText)
	if err != nil || level > levelMax {
		return tileName{}, false
	}
	n.level, n.index, n.width = level, index, int(partial)
	if n.width == 0 {
		n.width = tileWidth
	}
	return n, n.path() == p
}

// readTile returns the items of the file that n names, and the path it read.
// Where a partial file is gone because the tree has filled it, the full file
// gives the same items (tlog-tiles, "Partial tiles").
func readTile(dir string, n tileName) (data []byte, path string, err error) {
	path = n.path()
	data, err = os.ReadFile(filepath.Join(dir, path))
	width := n.width
	if errors.Is(err, fs.ErrNotExist) && n.width < tileWidth {
		full := n.full()
		if wider, ferr := os.ReadFile(filepath.Join(dir, full.path())); ferr == nil {
			data, path, width, err = wider, full.path(), tileWidth, nil
		}
	}
	if err != nil {
		return nil, path, fmt.Errorf("read %s: %w", path, err)
	}
	if got := len(data); got != width*n.itemSize() {
		return nil, path, &sizeError{path: path, got: got, want: width * n.itemSize()}
	}
	return data[:n.width*n.itemSize()], path, nil
}

// A sizeError says that a file of the log has the wrong length.
type sizeError struct {
	path      string
	got, want int
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, want %d", e.path, e.got, e.want)
}

// entryAt returns the leaf at place i of a bundle, or an error if its length
// says that it is no leaf of ours.
func entryAt(bundle []byte, i int) ([]byte, error) {
	e := bundle[i*entrySize : (i+1)*entrySize]
	if n := binary.BigEndian.Uint16(e); n != LeafSize {
		return nil, fmt.Errorf("entry of %d bytes, want %d", n, LeafSize)
	}
	return e[2:], nil
}

// readLeaf returns leaf index of a tree of the given size.
func readLeaf(dir string, index, size uint64) ([]byte, error) {
	n := tileName{entries: true, index: index / tileWidth}.in(size)
	bundle, path, err := readTile(dir, n)
	if err != nil {
		return nil, err
	}
	leaf, err := entryAt(bundle, int(index%tileWidth))
	if err != nil {
		return nil, fmt.Errorf("leaf %d in %s: %w", index, path, err)
	}
	return leaf, nil
}
