package relay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/sealpost/sealpost"
)

// preparedEnough is how many statements are worth making ready while the group
// before is being held.
const preparedEnough = 256

// The preparer makes verified statements ready to be held, while the committer
// holds the group before. In order, for each group:
//
//	1 fill    salts, leaves, one promise for each 256; nothing is durable, and no
//	          promise is given out before its statement is held
//	2 spool   the blobs are synced; nothing refers to them yet
//	3 pass on to the committer
type preparer struct {
	*stage
	next   *committer
	store  Statements
	lost   []error
	logger *slog.Logger

	random    io.Reader
	signer    sealpost.Signer
	origin    string
	delay     time.Duration
	now       func() time.Time
	published *published
}

func newPreparer(cfg Config, s *stage, p *published, next *committer) *preparer {
	return &preparer{stage: s, next: next, store: cfg.Store, lost: cfg.Lost, logger: cfg.Logger,
		random: cfg.Rand, signer: cfg.Statement, origin: cfg.Origin, delay: cfg.MergeDelay, now: cfg.Now, published: p}
}

// run prepares until ctx ends. It reports that the store takes nothing more and
// goes on turning away what comes.
func (p *preparer) run(ctx context.Context, report func(error)) {
	p.stage.run(ctx, func(group []*item) {
		err := p.prepare(ctx, group)
		if err == nil {
			p.next.push(group)
			return
		}
		p.logger.Error("turn a group away", "statements", len(group), "err", err)
		turnAllAway(group, err)
		if isLost(p.lost, err) {
			report(err)
		}
	})
}

func (p *preparer) prepare(ctx context.Context, group []*item) error {
	if err := p.fill(group); err != nil {
		return fmt.Errorf("prepare a group: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := p.spool(ctx, group); err != nil {
		return fmt.Errorf("spool a group: %w", err)
	}
	return nil
}

// spool makes the blobs of the commitments durable.
func (p *preparer) spool(ctx context.Context, group []*item) error {
	blobs := make([][]byte, 0, len(group))
	for _, it := range group {
		if it.hold.Commitment != nil {
			blobs = append(blobs, it.hold.Blob)
		}
	}
	spooled, err := p.store.Spool(ctx, blobs)
	if err != nil {
		return err
	}
	for _, it := range group {
		if it.hold.Commitment != nil {
			it.hold.Spooled, spooled = spooled[0], spooled[1:]
		}
	}
	return nil
}

// fill draws the salts and makes leaves and promises.
func (p *preparer) fill(group []*item) error {
	salts := make([]byte, len(group)*len(sealpost.Salt{}))
	if _, err := io.ReadFull(p.random, salts); err != nil {
		return fmt.Errorf("draw salts: %w", err)
	}
	var promised []*item
	for i, it := range group {
		h := &it.hold
		h.Salt = sealpost.Salt(salts[i*len(h.Salt):])
		h.Leaf = sealpost.MakeLeaf(h.Salt, h.Statement)
		if it.promised {
			promised = append(promised, it)
		}
	}
	for part := range slices.Chunk(promised, sealpost.PromiseGroup) {
		if err := p.promise(part); err != nil {
			return err
		}
	}
	return nil
}

// promise signs once for a part of the group.
func (p *preparer) promise(part []*item) error {
	entries := make([]sealpost.PromiseEntry, len(part))
	for i, it := range part {
		entries[i] = sealpost.PromiseEntry{Leaf: it.hold.Leaf, Statement: it.hold.Hash, OutcomeBy: it.outcomeBy}
	}
	group, promised, err := sealpost.SignGroupPromise(entries, p.origin, sealpost.FromTime(p.now()), p.published.size(), p.delay, p.signer)
	if err != nil {
		return fmt.Errorf("sign a promise: %w", err)
	}
	for i, it := range part {
		it.hold.Promise = promised[i].Encode()
		it.hold.Part = &sealpost.PromisePart{Group: group, Place: i, OutcomeBy: it.outcomeBy}
	}
	return nil
}
