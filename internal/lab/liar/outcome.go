package liar

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// twoOutcomes needs a second history: the store holds one outcome for each
// message, and the log has it.
func twoOutcomes(o *operator, honest rooms) rooms {
	honest.Reading = &secondThoughts{Reading: honest.Reading, o: o, told: map[sealpost.MessageID]bool{}}
	return honest
}

type secondThoughts struct {
	api.Reading
	o    *operator
	mu   sync.Mutex
	told map[sealpost.MessageID]bool
}

// Evidence gives the true outcome once and denies it from then on, with a proof
// that the log's key signs.
func (s *secondThoughts) Evidence(ctx context.Context, caller api.Caller, id sealpost.MessageID) ([]api.Exhibit, error) {
	list, err := s.Reading.Evidence(ctx, caller, id)
	for i, x := range list {
		signed, err := sealpost.Parse(x.Statement)
		if err != nil {
			return nil, err
		}
		if signed.Kind() != sealpost.KindOutcome || len(x.Proof) == 0 {
			continue
		}
		s.mu.Lock()
		before := s.told[id]
		s.told[id] = true
		s.mu.Unlock()
		if !before {
			continue
		}
		if list[i], err = s.deny(ctx, x.Seq, signed); err != nil {
			return nil, err
		}
	}
	return list, err
}

// deny is another outcome, in the place of the true one.
func (s *secondThoughts) deny(ctx context.Context, seq uint64, truth sealpost.Signed) (api.Exhibit, error) {
	o, err := truth.Outcome()
	if err != nil {
		return api.Exhibit{}, err
	}
	o.End, o.Receipts = sealpost.Undeliverable, nil
	signed, err := sealpost.Sign(o, s.o.Statement)
	if err != nil {
		return api.Exhibit{}, err
	}
	var salt sealpost.Salt
	_, _ = rand.Read(salt[:]) // never fails
	h := &history{}
	for uint64(h.size) < seq {
		leaves, err := s.o.Leaves(ctx, uint64(h.size), int(seq)-int(h.size))
		if err != nil || len(leaves) == 0 {
			return api.Exhibit{}, fmt.Errorf("copy the log at leaf %d: %w", h.size, err)
		}
		for _, l := range leaves {
			if err := h.append(l); err != nil {
				return api.Exhibit{}, err
			}
		}
	}
	if err := h.append(sealpost.MakeLeaf(salt, signed.Bytes())); err != nil {
		return api.Exhibit{}, err
	}
	proof, err := h.prove(int64(seq), s.o.Log)
	return api.Exhibit{Seq: seq, Statement: signed.Bytes(), Salt: salt[:], Proof: proof}, err
}

// A history is a log that nobody publishes: a copy of the true one as far as it
// suits.
type history struct {
	size   int64
	hashes []tlog.Hash
}

// ReadHashes gives stored hashes to package tlog.
func (h *history) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = h.hashes[x]
	}
	return out, nil
}

func (h *history) append(leaf sealpost.Leaf) error {
	more, err := tlog.StoredHashes(h.size, leaf[:], h)
	if err != nil {
		return err
	}
	h.hashes = append(h.hashes, more...)
	h.size++
	return nil
}

// prove is a C2SP tlog-proof under a checkpoint of the whole history.
func (h *history) prove(index int64, by note.Signer) ([]byte, error) {
	root, err := tlog.TreeHash(h.size, h)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveRecord(h.size, index, h)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", by.Name(), h.size, base64.StdEncoding.EncodeToString(root[:]))
	checkpoint, err := note.Sign(&note.Note{Text: text}, by)
	if err != nil {
		return nil, err
	}
	hashes := make([][32]byte, len(path))
	for i, p := range path {
		hashes[i] = p
	}
	return tlogproof.TLogProof{Index: uint64(index), Hashes: hashes, Checkpoint: checkpoint}.Marshal(), nil
}
