package translog

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Prove returns the proof that leaf index is in the checkpoint (RFC 6962
// 2.1.1). It is checked before it is returned, so a checkpoint of another tree,
// or a damaged tile, is an error.
func (l *Log) Prove(_ context.Context, index uint64, in Checkpoint) ([][]byte, error) {
	if size := l.size(); in.Size > size {
		return nil, fmt.Errorf("prove leaf %d in %d: the log has %d", index, in.Size, size)
	}
	nodes, err := merkle.Inclusion(index, in.Size)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in %d: %w", index, in.Size, err)
	}
	path, err := l.tiles.fetch(nodes)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in %d: %w", index, in.Size, err)
	}
	leaf, err := l.tiles.node(compact.NewNodeID(0, index))
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in %d: %w", index, in.Size, err)
	}
	if err := merkle.VerifyInclusion(rfc6962.DefaultHasher, index, in.Size, leaf, path, in.Root[:]); err != nil {
		return nil, fmt.Errorf("prove leaf %d in %d: %w", index, in.Size, err)
	}
	return path, nil
}

// ProveConsistency returns the proof that the tree of size to extends that of
// size from (RFC 6962 2.1.2). It is empty if from is 0 or equals to.
func (l *Log) ProveConsistency(_ context.Context, from, to uint64) ([][]byte, error) {
	if size := l.size(); to > size {
		return nil, fmt.Errorf("prove that %d extends %d: the log has %d", to, from, size)
	}
	nodes, err := merkle.Consistency(from, to)
	if err != nil {
		return nil, fmt.Errorf("prove that %d extends %d: %w", to, from, err)
	}
	path, err := l.tiles.fetch(nodes)
	if err != nil {
		return nil, fmt.Errorf("prove that %d extends %d: %w", to, from, err)
	}
	return path, nil
}

// fetch gathers the hashes of a proof.
func (ts *tiles) fetch(nodes merkle.Nodes) ([][]byte, error) {
	hashes := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		h, err := ts.node(id)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// TLogProof returns the proof of a leaf in the newest checkpoint as a
// c2sp.org/tlog-proof text, which holds the checkpoint.
func (l *Log) TLogProof(ctx context.Context, index uint64) ([]byte, error) {
	return l.TLogProofIn(ctx, index, l.Checkpoint())
}

// TLogProofIn is TLogProof for a checkpoint that the caller holds.
func (l *Log) TLogProofIn(ctx context.Context, index uint64, in Checkpoint) ([]byte, error) {
	path, err := l.Prove(ctx, index, in)
	if err != nil {
		return nil, err
	}
	hashes := make([][sha256.Size]byte, len(path))
	for i, h := range path {
		hashes[i] = [sha256.Size]byte(h)
	}
	return proof.TLogProof{Index: index, Hashes: hashes, Checkpoint: in.Note}.Marshal(), nil
}
