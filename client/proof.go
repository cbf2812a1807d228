package client

import (
	"bytes"
	"fmt"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/sealpost/sealpost"
)

// Limits of a log proof: its text, and the hashes on its path (a tree of 2^63
// leaves needs 63).
const (
	proofMax     = sealpost.NoteMax + 4<<10 // bytes
	proofPathMax = 63
)

// proved is what a log proof shows of a leaf.
type proved struct {
	Index      uint64
	Checkpoint checkpoint
}

// checkProof verifies a C2SP tlog-proof of a statement's leaf under the log's
// own key.
func (l *logView) checkProof(raw []byte, salt sealpost.Salt, statement []byte) (proved, error) {
	var p tlogproof.TLogProof
	if len(raw) > proofMax {
		return proved{}, fmt.Errorf("log proof of %d bytes, at most %d are allowed", len(raw), proofMax)
	}
	if err := p.Unmarshal(raw); err != nil {
		return proved{}, fmt.Errorf("log proof: %w: %w", sealpost.ErrMalformed, err)
	}
	if !bytes.Equal(p.Marshal(), raw) || len(p.Hashes) > proofPathMax {
		return proved{}, fmt.Errorf("log proof: %w: not the one encoding", sealpost.ErrMalformed)
	}
	cp, err := l.read(p.Checkpoint)
	if err != nil {
		return proved{}, fmt.Errorf("log proof: %w", err)
	}
	path := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		path[i] = p.Hashes[i][:]
	}
	leaf := sealpost.MakeLeaf(salt, statement)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, cp.Head.Size, rfc6962.DefaultHasher.HashLeaf(leaf[:]), path, cp.Head.Root[:]); err != nil {
		return proved{}, fmt.Errorf("log proof of leaf %d: %w", p.Index, err)
	}
	return proved{p.Index, cp}, nil
}
