package translog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// FaultsDefault is how many faults [Fsck] gathers before it stops.
const FaultsDefault = 64

// FsckOptions widen what [Fsck] does.
type FsckOptions struct {
	// Verifiers check additional signatures of the log; each must be there.
	Verifiers []note.Verifier

	// OnLeaf, if set, is given every leaf in order. An error from it is a fault
	// of that leaf: so a caller compares the log with its store.
	OnLeaf func(index uint64, leaf []byte) error

	// FaultsMax bounds the faults gathered. Default [FaultsDefault].
	FaultsMax int
}

// A Report says what [Fsck] read.
type Report struct {
	Origin     string
	Size       uint64   // of the checkpoint
	Root       [32]byte // of the checkpoint
	Integrated uint64   // size of the tree on disk; Size in a copy without tree state
	Entries    uint64   // leaves read
	Files      uint64   // bundles and tiles read
	Leftovers  []string // files outside the tree, as a crash leaves them; harmless
}

// leftoversMax bounds Report.Leftovers.
const leftoversMax = 1000

// A Fault names one thing that is wrong.
type Fault struct {
	File       string // below the log folder
	From, To   int64  // bytes of File; both 0 for all of it
	First, End uint64 // leaves affected; both 0 if none in particular
	Err        error
}

func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.To > 0 {
		fmt.Fprintf(&b, ", bytes %d to %d", f.From, f.To-1)
	}
	switch {
	case f.End == f.First+1:
		fmt.Fprintf(&b, ", leaf %d", f.First)
	case f.End > 0:
		fmt.Fprintf(&b, ", leaves %d to %d", f.First, f.End-1)
	}
	return b.String() + ": " + f.Err.Error()
}

func (f Fault) Unwrap() error { return f.Err }

// A DamageError says that the log was read and is not sound.
type DamageError struct{ Faults []Fault }

func (e *DamageError) Error() string {
	s := fmt.Sprintf("the log is damaged: %v", e.Faults[0])
	if n := len(e.Faults) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

func (e *DamageError) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}

// Fsck reads the whole log in dir and recomputes it from its entries, in this
// order:
//
//	1 head     the checkpoint is signed by verifier; the tree state is readable
//	2 entries  each leaf has the hash that its level-0 tile says
//	3 tiles    each tile has the hash that the tile above says
//	4 root     the right edge gives the root in checkpoint and tree state
//	5 rest     every other file is an older part of the tree, or a leftover
//
// Together they show that the entries give the signed root. A hash that does
// not fit accuses two files, the one that holds it and the one it is of; the
// accused is the one that the file above, or the root, does not vouch for. The
// error is then a [*DamageError]. A log may be written to while it is checked.
func Fsck(ctx context.Context, dir string, verifier note.Verifier, opts FsckOptions) (Report, error) {
	orDefault(&opts.FaultsMax, FaultsDefault)
	c := &check{dir: dir, opts: opts, unvouched: make(map[tileKey]bool)}
	err := c.run(ctx, verifier)
	if err == nil {
		c.judge()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return c.report, fmt.Errorf("check log %s: %w", dir, err)
	}
	if len(c.faults) > 0 {
		return c.report, &DamageError{Faults: c.faults}
	}
	return c.report, nil
}

// errEnough ends a check that has found as many faults as it may, or one that
// leaves nothing to compare with.
var errEnough = errors.New("enough faults")

// A check is one run of Fsck.
type check struct {
	dir    string
	opts   FsckOptions
	report Report
	faults []Fault

	signed   Checkpoint
	state    treeState
	hasState bool

	suspects  []suspect
	unvouched map[tileKey]bool // tiles whose hash is not what the tile above says
	edgeOK    bool             // the right edge gives the root
}

// A suspect is a hash in a tile that is not the hash of what it stands for.
type suspect struct {
	tile  tileName
	inner Fault // if the tile is right
	outer Fault // if the tile is wrong
}

func (c *check) run(ctx context.Context, verifier note.Verifier) error {
	if err := c.readHead(verifier); err != nil {
		return err
	}
	below, err := c.checkEntries(ctx)
	if err != nil {
		return err
	}
	for level := uint64(1); len(below) > 0 && level <= levelMax; level++ {
		if below, err = c.checkTiles(ctx, level, below); err != nil {
			return err
		}
	}
	c.checkRoots()
	return c.checkRest(ctx)
}

// add notes a fault, and says when it is enough.
func (c *check) add(f Fault) error {
	c.faults = append(c.faults, f)
	if len(c.faults) >= c.opts.FaultsMax {
		return errEnough
	}
	return nil
}

// readHead reads checkpoint and tree state.
func (c *check) readHead(verifier note.Verifier) error {
	raw, err := os.ReadFile(filepath.Join(c.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c.stopAt(checkpointFile, errors.New("missing"))
	}
	if err != nil {
		return err
	}
	if c.signed, err = openCheckpoint(raw, verifier, c.opts.Verifiers); err != nil {
		return c.stopAt(checkpointFile, err)
	}
	c.report = Report{Origin: verifier.Name(), Size: c.signed.Size, Root: c.signed.Root, Integrated: c.signed.Size}

	c.state, err = readTreeState(c.dir)
	switch {
	case errors.Is(err, errNoTreeState):
		return nil // a copy of the public files
	case err != nil:
		return c.add(Fault{File: treeStateFile, Err: err})
	case c.state.Size < c.signed.Size:
		return c.add(Fault{File: treeStateFile, Err: fmt.Errorf("%w: %d leaves, signed %d", ErrRolledBack, c.state.Size, c.signed.Size)})
	}
	c.hasState = true
	c.report.Integrated = c.state.Size
	return nil
}

// stopAt ends the check with one fault.
func (c *check) stopAt(file string, err error) error {
	c.faults = append(c.faults, Fault{File: file, Err: err})
	return errEnough
}

// openCheckpoint checks the signatures of a checkpoint and that it has its one
// encoding: base64 leaves bits over that no signature covers.
func openCheckpoint(raw []byte, verifier note.Verifier, others []note.Verifier) (Checkpoint, error) {
	cp, err := parseCheckpoint(raw, verifier.Name())
	if err != nil {
		return Checkpoint{}, err
	}
	n, err := note.Open(raw, note.VerifierList(append([]note.Verifier{verifier}, others...)...))
	if err != nil {
		return Checkpoint{}, err
	}
	for _, v := range append([]note.Verifier{verifier}, others...) {
		if !signedBy(n, v) {
			return Checkpoint{}, fmt.Errorf("no signature by key %08x of %q", v.KeyHash(), v.Name())
		}
	}
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("signature by %q is not in its one encoding: %w", s.Name, err)
		}
	}
	return cp, nil
}

func signedBy(n *note.Note, v note.Verifier) bool {
	for _, s := range n.Sigs {
		if s.Name == v.Name() && s.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

// read returns the items of a file of the tree. A file that is missing or of
// the wrong length is a fault, and gives nil.
func (c *check) read(n tileName) (data []byte, path string, err error) {
	data, path, err = readTile(c.dir, n)
	if err == nil {
		c.report.Files++
		return data, path, nil
	}
	if _, wrong := errors.AsType[*sizeError](err); !wrong && !errors.Is(err, fs.ErrNotExist) {
		return nil, path, err
	}
	first, end := n.leaves(0, n.width)
	return nil, path, c.add(Fault{File: path, First: first, End: end, Err: err})
}

// leaves returns the leaves below the items from and to of the file.
func (n tileName) leaves(from, to int) (first, end uint64) {
	shift := 8 * n.level
	return (n.index*tileWidth + uint64(from)) << shift, (n.index*tileWidth + uint64(to)) << shift
}

// item is a fault of one item of a file.
func (n tileName) item(path string, i int, err error) Fault {
	size := int64(n.itemSize())
	first, end := n.leaves(i, i+1)
	return Fault{File: path, From: int64(i) * size, To: int64(i+1) * size, First: first, End: end, Err: err}
}

var (
	errLeafHash  = errors.New("the leaf does not have the hash in the tile above")
	errTileHash  = errors.New("the hash is not that of what it stands over")
	errInnerHash = errors.New("the tile does not have the hash in the tile above")
)

// checkEntries compares every leaf with its level-0 tile and returns the roots
// of the full tiles of that level.
func (c *check) checkEntries(ctx context.Context) ([][]byte, error) {
	var roots [][]byte
	size := c.report.Integrated
	for i := uint64(0); i*tileWidth < size; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		bundleName := tileName{entries: true, index: i}.in(size)
		bundle, bundlePath, err := c.read(bundleName)
		if err != nil {
			return nil, err
		}
		name := tileName{index: i}.in(size)
		hashes, path, err := c.read(name)
		if err != nil {
			return nil, err
		}
		for j := 0; j < name.width && bundle != nil; j++ {
			hash, err := c.checkEntry(bundleName, bundlePath, bundle, j)
			if err != nil {
				return nil, err
			}
			if hash != nil && hashes != nil && !bytes.Equal(hash, hashes[j*hashSize:(j+1)*hashSize]) {
				c.suspects = append(c.suspects, suspect{
					tile:  name,
					inner: bundleName.item(bundlePath, j, errLeafHash),
					outer: name.item(path, j, errTileHash),
				})
			}
		}
		roots = appendRoot(roots, name, hashes)
		if len(c.suspects) >= c.opts.FaultsMax {
			break
		}
	}
	return roots, nil
}

// checkEntry gives one leaf to the caller and returns its hash, or nil if the
// entry is no leaf, which is noted.
func (c *check) checkEntry(n tileName, path string, bundle []byte, j int) ([]byte, error) {
	leaf, err := entryAt(bundle, j)
	if err != nil {
		return nil, c.add(n.item(path, j, err))
	}
	c.report.Entries++
	if c.opts.OnLeaf != nil {
		if err := c.opts.OnLeaf(n.index*tileWidth+uint64(j), leaf); err != nil {
			if err := c.add(n.item(path, j, err)); err != nil {
				return nil, err
			}
		}
	}
	return rfc6962.DefaultHasher.HashLeaf(leaf), nil
}

// appendRoot adds the root of a full tile; nil for one that could not be read.
func appendRoot(roots [][]byte, n tileName, hashes []byte) [][]byte {
	switch {
	case n.width < tileWidth:
		return roots
	case hashes == nil:
		return append(roots, nil)
	}
	t := newTile(hashes)
	return append(roots, rfc6962.DefaultHasher.HashChildren(t.at(7, 0)[:], t.at(7, 1)[:]))
}

// checkTiles compares the tiles of a level with the roots of those below, and
// returns the roots of its own full tiles.
func (c *check) checkTiles(ctx context.Context, level uint64, below [][]byte) ([][]byte, error) {
	var roots [][]byte
	for i := 0; i*tileWidth < len(below); i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := tileName{level: level, index: uint64(i), width: min(tileWidth, len(below)-i*tileWidth)}
		hashes, path, err := c.read(name)
		if err != nil {
			return nil, err
		}
		for j := 0; j < name.width && hashes != nil; j++ {
			root := below[i*tileWidth+j]
			if root == nil || bytes.Equal(root, hashes[j*hashSize:(j+1)*hashSize]) {
				continue
			}
			under := tileName{level: level - 1, index: uint64(i*tileWidth + j), width: tileWidth}
			c.unvouched[under.key()] = true
			first, end := under.leaves(0, tileWidth)
			c.suspects = append(c.suspects, suspect{
				tile:  name,
				inner: Fault{File: under.path(), First: first, End: end, Err: errInnerHash},
				outer: name.item(path, j, errTileHash),
			})
		}
		roots = appendRoot(roots, name, hashes)
	}
	return roots, nil
}

func (n tileName) key() tileKey { return tileKey{n.level, n.index} }

// checkRoots compares the right edge with the signed and the integrated root.
// A mismatch is a fault of its own only if no file explains it.
func (c *check) checkRoots() {
	ts := newTiles(c.dir, func() uint64 { return c.report.Integrated })
	root, err := ts.rootAt(c.signed.Size)
	signedOK := err == nil && root == c.signed.Root
	stateOK := true
	if c.hasState {
		root, err := ts.rootAt(c.state.Size)
		stateOK = err == nil && bytes.Equal(root[:], c.state.Root)
	}
	c.edgeOK = signedOK && (stateOK || c.report.Integrated == c.signed.Size)
	if len(c.suspects) > 0 || len(c.faults) > 0 {
		return
	}
	if !signedOK {
		c.faults = append(c.faults, Fault{File: checkpointFile, End: c.signed.Size,
			Err: fmt.Errorf("the tree of %d leaves does not have the signed root", c.signed.Size)})
	} else if !stateOK {
		c.faults = append(c.faults, Fault{File: treeStateFile, End: c.state.Size,
			Err: fmt.Errorf("the tree of %d leaves does not have this root", c.state.Size)})
	}
}

// judge turns suspects into faults.
func (c *check) judge() {
	accused := make(map[string]bool)
	for _, f := range c.faults {
		accused[f.File] = true
	}
	for _, s := range c.suspects {
		f := s.inner
		if c.isUnvouched(s.tile) {
			f = s.outer
		} else if f.To == 0 && accused[f.File] {
			continue // the hash within that file which is wrong has been named
		}
		accused[f.File] = true
		if c.add(f) != nil {
			return
		}
	}
}

// isUnvouched tells whether nothing confirms the tile. What confirms a full
// one is the tile above, where there is one, and otherwise the root.
func (c *check) isUnvouched(n tileName) bool {
	if n.width == tileWidth && c.report.Integrated>>(8*(n.level+1)) > n.index {
		above := tileName{level: n.level + 1, index: n.index / tileWidth}
		if above.in(c.report.Integrated).width > int(n.index%tileWidth) {
			return c.unvouched[n.key()]
		}
	}
	return !c.edgeOK
}
