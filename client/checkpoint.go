package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sealpost/sealpost"
)

// A LogReader reads the public files of the log: the newest checkpoint, and
// tiles by their path (C2SP tlog-tiles), such as "tile/0/000" or
// "tile/0/x001/067.p/5". It need not be trusted: everything is checked against
// the log's key and the checkpoint held.
type LogReader interface {
	Checkpoint(ctx context.Context) ([]byte, error)
	Tile(ctx context.Context, path string) ([]byte, error)
}

// A ForkError holds two checkpoints, signed by one log, that cannot both be
// honest. It is not a complaint about proof, it is the proof; it is also kept
// among the faults.
type ForkError struct{ Held, Shown []byte }

func (e *ForkError) Error() string { return "the log shows two histories" }

// errUnproven is a newer checkpoint whose consistency could not be shown.
var errUnproven = errors.New("no proof that the newer checkpoint extends the one held")

// headKey is where a face keeps the newest checkpoint it holds.
const headKey = "head"

// A checkpoint is a signed note with what it says.
type checkpoint struct {
	Note string        `cbor:"1,keyasint"`
	Head sealpost.Head `cbor:"2,keyasint"`
}

// logView is one log as one party sees it: its verifier and, where there is
// one, a reader of its tiles.
type logView struct {
	verifier note.Verifier
	reader   LogReader
}

func newLogView(vkey string, reader LogReader) (*logView, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log verifier key: %w", err)
	}
	return &logView{v, reader}, nil
}

// origin is the log's name, the first line of its checkpoints.
func (l *logView) origin() string { return l.verifier.Name() }

// read checks a checkpoint's signature and reads it (C2SP tlog-checkpoint).
func (l *logView) read(raw []byte) (checkpoint, error) {
	if len(raw) > sealpost.NoteMax {
		return checkpoint{}, fmt.Errorf("checkpoint of %d bytes, at most %d are allowed", len(raw), sealpost.NoteMax)
	}
	n, err := note.Open(raw, note.VerifierList(l.verifier))
	if err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) < 4 || lines[0] != l.origin() {
		return checkpoint{}, fmt.Errorf("checkpoint: %w: not of this log", sealpost.ErrMalformed)
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("checkpoint: %w: size", sealpost.ErrMalformed)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return checkpoint{}, fmt.Errorf("checkpoint: %w: root hash", sealpost.ErrMalformed)
	}
	return checkpoint{string(raw), sealpost.Head{Size: size, Root: sealpost.Hash(root)}}, nil
}

// held is the newest checkpoint in the store; its Note is empty before the first.
func held(tx Tx) (checkpoint, error) {
	c, _, err := load[checkpoint](tx, headKey)
	return c, err
}

// advance takes a newer checkpoint, with a proof that it extends the one held
// (DESIGN section 12, Log). The first one is taken as it is. An older or equal
// one changes nothing. Two that cannot both be honest are kept and returned as
// a [ForkError].
func (l *logView) advance(ctx context.Context, s Store, raw []byte, now sealpost.UnixMilli) error {
	shown, err := l.read(raw)
	if err != nil {
		return err
	}
	var have checkpoint
	if err := s.View(func(tx Tx) (err error) { have, err = held(tx); return err }); err != nil {
		return err
	}
	if have.Note != "" {
		if err := l.extends(ctx, have.Head, shown.Head); err != nil {
			if fork, forked := errors.AsType[*ForkError](err); forked {
				fork.Held, fork.Shown = []byte(have.Note), raw
				return errors.Join(err, recordFault(s, Fault{Time: now, What: "the log shows two histories", Parts: [][]byte{fork.Held, fork.Shown}}))
			}
			return err
		}
	}
	return s.Update(func(tx Tx) error {
		again, err := held(tx)
		if err != nil || again.Note != have.Note || (have.Note != "" && shown.Head.Size <= have.Head.Size) {
			return err // not newer, or another call was faster
		}
		return save(tx, headKey, shown)
	})
}

// extends proves that one tree extends another, from the log's tiles. Only a
// disagreement is a fork; a tile that cannot be had proves nothing.
func (l *logView) extends(ctx context.Context, from, to sealpost.Head) error {
	switch {
	case from.Size == to.Size && from.Root != to.Root:
		return &ForkError{}
	case from.Size >= to.Size || from.Size == 0:
		return nil
	case l.reader == nil:
		return errUnproven
	}
	tiles := &tileReader{ctx, l.reader}
	tree := tlog.Tree{N: int64(to.Size), Hash: tlog.Hash(to.Root)}
	root, err := tlog.TreeHash(int64(from.Size), tlog.TileHashReader(tree, tiles))
	if err != nil {
		return fmt.Errorf("%w: %w", errUnproven, err)
	}
	if sealpost.Hash(root) != from.Root {
		return &ForkError{}
	}
	return nil
}

// tileReader reads tiles for package tlog, which checks them against a tree.
type tileReader struct {
	ctx    context.Context // of one call of advance, no longer
	reader LogReader
}

// tileHeight is that of C2SP tlog-tiles: 256 hashes in a full tile.
const tileHeight = 8

func (*tileReader) Height() int                         { return tileHeight }
func (*tileReader) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		b, err := r.reader.Tile(r.ctx, tilePath(t))
		if err != nil {
			return nil, err
		}
		if len(b) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile of %d bytes, want %d", len(b), t.W*tlog.HashSize)
		}
		out[i] = b[:t.W*tlog.HashSize]
	}
	return out, nil
}

// tilePath is a tile's path in C2SP tlog-tiles: the height is not named, and
// the index is in groups of three digits.
func tilePath(t tlog.Tile) string {
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	path := fmt.Sprintf("tile/%d/%s", t.L, n)
	if t.W < 1<<tileHeight {
		path += fmt.Sprintf(".p/%d", t.W)
	}
	return path
}
