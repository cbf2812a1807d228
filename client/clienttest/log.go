package clienttest

import (
	"bytes"
	"fmt"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// logged waits until all that the relay holds of a message is logged.
func (w *world) logged(id sealpost.MessageID) (list []api.Exhibit) {
	w.Helper()
	w.Until(func() (err error) {
		if list, err = w.Sender.Evidence(w.Context(), id); err != nil {
			return err
		}
		for _, x := range list {
			if len(x.Proof) == 0 {
				return api.ErrUnavailable
			}
		}
		return nil
	})
	return list
}

// head opens a checkpoint.
func (w *world) head(raw []byte) tlog.Tree {
	w.Helper()
	v, err := note.NewVerifier(w.LogKey)
	w.must(err)
	n, err := note.Open(raw, note.VerifierList(v))
	w.must(err)
	var origin, root string
	var tree tlog.Tree
	_, err = fmt.Sscanf(n.Text, "%s\n%d\n%s\n", &origin, &tree.N, &root)
	w.must(err)
	tree.Hash, err = tlog.ParseHash(root)
	w.must(err)
	return tree
}

// proven wants every exhibit proven at its seq, all under one checkpoint.
func (w *world) proven(what string, list []api.Exhibit) {
	w.Helper()
	var first []byte
	for _, x := range list {
		var p tlogproof.TLogProof
		w.must(p.Unmarshal(x.Proof))
		if first == nil {
			first = p.Checkpoint
		}
		if !bytes.Equal(first, p.Checkpoint) {
			w.Errorf("%s: proofs under two checkpoints", what)
		}
		tree := w.head(p.Checkpoint)
		path := make([][]byte, len(p.Hashes))
		for i := range p.Hashes {
			path[i] = p.Hashes[i][:]
		}
		leaf := sealpost.MakeLeaf(sealpost.Salt(x.Salt), x.Statement)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, uint64(tree.N), rfc6962.DefaultHasher.HashLeaf(leaf[:]), path, tree.Hash[:]); err != nil || p.Index != x.Seq {
			w.Errorf("%s: exhibit %d is proven at %d: %v", what, x.Seq, p.Index, err)
		}
	}
}

func logFiles(w *world) {
	ctx := w.Context()
	s, a := w.send(w.enrol(alice).recipient)
	w.logged(s.ID())
	raw, err := w.Log.Checkpoint(ctx)
	w.must(err)
	tree := w.head(raw)
	path := fmt.Sprintf("tile/0/000.p/%d", tree.N) // a log of less than a full tile
	tile, err := w.Log.Tile(ctx, path)
	w.must(err)
	if int64(len(tile)) != tree.N*tlog.HashSize {
		w.Fatalf("a tile of %d bytes, want %d hashes", len(tile), tree.N)
	}
	leaf := sealpost.MakeLeaf(sealpost.Salt(a.Salt), s.Statement().Bytes())
	if hash := tlog.RecordHash(leaf[:]); !bytes.Contains(tile, hash[:]) {
		w.Error("the message's leaf is not in the log's tile")
	}
	root, err := tlog.TreeHash(tree.N, hashesOf(tile))
	if err != nil || root != tree.Hash {
		w.Errorf("the tile's hashes do not come to the checkpoint's root: %v", err)
	}
	for _, path := range []string{"tile/0/x999/999", "tile/9/000", "tile/0/000.p/0", "tile/0/../../checkpoint", "tile", ""} {
		if _, err := w.Log.Tile(ctx, path); err == nil {
			w.Errorf("a tile at %q", path)
		}
	}
}

// hashesOf computes the hashes of a tree of less than a tile's leaves.
func hashesOf(tile []byte) tlog.HashReader {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, x := range at {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n := 0; n*tlog.HashSize < len(tile); n++ {
		more, err := tlog.StoredHashesForRecordHash(int64(n), tlog.Hash(tile[n*tlog.HashSize:]), read)
		if err != nil {
			panic(err) // it reads only what was stored before
		}
		stored = append(stored, more...)
	}
	return read
}
