package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// The committer's limits.
const (
	groupMax      = 1024     // statements in one group commit
	groupBytesMax = 32 << 20 // of one group, its blobs included
	holdTries     = 4        // of one group, before its callers are turned away
	holdPause     = 50 * time.Millisecond
	revokedFor    = time.Hour        // no item waits for so long: see admission
	commitTimeout = 30 * time.Second // of one call to the store
)

// The committer is the one goroutine that holds statements. It gathers what is
// waiting after the last commit ended, never before, so that groups are as large
// as the load is. In order, for each group:
//
//	1 turn away   what a revocation has overtaken
//	2 prepare     salts, leaves, one promise for each 256; nothing is durable
//	3 hold        all or none; a crash after this is a retry by whoever waits
//	4 tell        the projector, the caches, the closer: what is lost here is read
//	              from the store again
//	5 answer
type committer struct {
	queue   *queue
	busy    atomic.Bool
	current atomic.Int64  // Unix nanoseconds of the oldest item's admission in hand, 0: none
	idle    chan struct{} // rings when there is nothing to commit

	store     Statements
	lost      []error
	signer    sealpost.Signer
	origin    string
	delay     time.Duration
	now       func() time.Time
	random    io.Reader
	logger    *slog.Logger
	published *published
	settled   func(group []*item, n news)
	unsure    func() // what the store has is not known

	revoked map[sealpost.KeyID]time.Time // by events held since the start
}

func newCommitter(cfg Config, p *published, settled func([]*item, news), unsure func()) *committer {
	return &committer{queue: newQueue(), idle: make(chan struct{}, 1),
		store: cfg.Store, lost: cfg.Lost, signer: cfg.Statement, origin: cfg.Origin, delay: cfg.MergeDelay, now: cfg.Now,
		random: cfg.Rand, logger: cfg.Logger, published: p, settled: settled, unsure: unsure,
		revoked: map[sealpost.KeyID]time.Time{}}
}

// run commits until ctx ends. It reports that the store takes nothing more and
// goes on turning away what comes.
func (c *committer) run(ctx context.Context, report func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.queue.bell:
		}
		c.busy.Store(true)
		for group := c.take(); len(group) > 0; group = c.take() {
			c.current.Store(group[0].at.UnixNano())
			if err := c.commit(ctx, group); isLost(c.lost, err) {
				report(err)
			}
			c.current.Store(0)
		}
		c.busy.Store(false)
		signal(c.idle)
	}
}

func (c *committer) take() []*item { return c.queue.take(groupMax, groupBytesMax) }

func (c *committer) commit(ctx context.Context, group []*item) error {
	if group = c.turnAway(group); len(group) == 0 {
		return nil
	}
	inOrder(group)
	holds, err := c.prepare(group)
	if err != nil {
		return c.fail(group, fmt.Errorf("prepare a group: %w", err))
	}
	held, err := c.hold(ctx, holds)
	if err != nil {
		return c.fail(group, err)
	}
	c.settled(group, c.note(group, held))
	for _, it := range group {
		it.ticket.finish()
	}
	return nil
}

// turnAway keeps what may still be held. Items were checked before they queued;
// a revocation that was held since then counts (DESIGN section 12, Keys in time).
func (c *committer) turnAway(group []*item) []*item {
	kept := group[:0]
	for _, it := range group {
		if c.isRevoked(it) {
			it.turnAway(api.ErrRevokedKey)
		} else {
			kept = append(kept, it)
		}
	}
	return kept
}

func (c *committer) isRevoked(it *item) bool {
	if len(c.revoked) == 0 {
		return false
	}
	_, revoked := c.revoked[it.signer]
	return revoked
}

// inOrder puts key events last: what was checked before a revocation was held
// counts as before it.
func inOrder(group []*item) {
	slices.SortStableFunc(group, func(a, b *item) int { return isKeyEvent(a) - isKeyEvent(b) })
}

func isKeyEvent(it *item) int {
	if it.hold.KeyEvent != nil {
		return 1
	}
	return 0
}

// prepare draws the salts and makes leaves and promises.
func (c *committer) prepare(group []*item) ([]sealpost.Hold, error) {
	salts := make([]byte, len(group)*len(sealpost.Salt{}))
	if _, err := io.ReadFull(c.random, salts); err != nil {
		return nil, fmt.Errorf("draw salts: %w", err)
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
		if err := c.promise(part); err != nil {
			return nil, err
		}
	}
	holds := make([]sealpost.Hold, len(group))
	for i, it := range group {
		holds[i] = it.hold
	}
	return holds, nil
}

// promise signs once for a part of the group.
func (c *committer) promise(part []*item) error {
	entries := make([]sealpost.PromiseEntry, len(part))
	for i, it := range part {
		entries[i] = sealpost.PromiseEntry{Leaf: it.hold.Leaf, Statement: it.hold.Hash, OutcomeBy: it.outcomeBy}
	}
	group, err := sealpost.SignGroupPromise(entries, c.origin, sealpost.FromTime(c.now()), c.published.size(), c.delay, c.signer)
	if err != nil {
		return fmt.Errorf("sign a promise: %w", err)
	}
	for i, it := range part {
		p, err := group.Part(i, entries[i])
		if err != nil {
			return fmt.Errorf("take a promise apart: %w", err)
		}
		it.hold.Promise = p.Encode()
		it.hold.Part = &sealpost.PromisePart{Group: group, Place: i, OutcomeBy: it.outcomeBy}
	}
	return nil
}

// hold tries until the store answers. A group that the store may have taken
// without saying so is given again with the same bytes, and comes back as held
// before.
func (c *committer) hold(ctx context.Context, holds []sealpost.Hold) (held []sealpost.Held, err error) {
	for try := range holdTries {
		if try > 0 && !pause(ctx, holdPause<<try) {
			break
		}
		if held, err = c.holdOnce(ctx, holds); err == nil {
			return held, nil
		}
		c.logger.Warn("hold a group", "statements", len(holds), "try", try+1, "err", err)
		if isLost(c.lost, err) {
			break
		}
	}
	return nil, fmt.Errorf("hold a group: %w", err)
}

func (c *committer) holdOnce(ctx context.Context, holds []sealpost.Hold) ([]sealpost.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	held, err := c.store.Hold(ctx, holds)
	if err == nil && len(held) != len(holds) {
		panic(fmt.Sprintf("relay: the store answers %d of %d statements", len(held), len(holds)))
	}
	return held, err
}

// news is what one group commit added to the store.
type news struct {
	first  uint64          // seq of the first new leaf
	leaves []sealpost.Leaf // consecutive
	end    uint64          // the store has at least so many statements
}

// note writes the store's answers to the items and collects the new leaves.
// Where an earlier try had held the group without saying so, every one is held
// before and none is new: the end tells the projector to read the store.
func (c *committer) note(group []*item, held []sealpost.Held) (n news) {
	for i, it := range group {
		it.held = held[i]
		if it.held.Err != nil {
			continue
		}
		seq := it.held.Record.Seq
		n.end = max(n.end, seq+1)
		if e := it.hold.KeyEvent; e != nil && e.Event == sealpost.Revoke {
			c.revoke(e.Key.ID())
		}
		if it.held.Again {
			continue
		}
		if len(n.leaves) == 0 {
			n.first = seq
		} else if seq != n.first+uint64(len(n.leaves)) {
			panic(fmt.Sprintf("relay: the store gave seq %d after %d", seq, n.first+uint64(len(n.leaves))-1))
		}
		n.leaves = append(n.leaves, it.held.Record.Leaf)
	}
	return n
}

// revoke remembers a revocation for as long as an item checked before it can be
// in the queue.
func (c *committer) revoke(k sealpost.KeyID) {
	now := c.now()
	for k, at := range c.revoked {
		if now.Sub(at) > revokedFor {
			delete(c.revoked, k)
		}
	}
	c.revoked[k] = now
}

// fail turns a whole group away: as far as we know nothing of it is held. Whoever
// repeats the same bytes gets the right answer either way, and the projector asks
// the store.
func (c *committer) fail(group []*item, err error) error {
	c.logger.Error("turn a group away", "statements", len(group), "err", err)
	for _, it := range group {
		it.err = err
		it.turnAway(api.ErrUnavailable.After(retryUnavailable))
	}
	c.unsure()
	return err
}

// pause waits and says whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Hold makes one statement of the relay's own durable and returns its record.
func (r *Relay) Hold(ctx context.Context, h sealpost.Hold) (sealpost.Held, error) {
	held, err := r.HoldAll(ctx, []sealpost.Hold{h})
	if err != nil {
		return sealpost.Held{}, err
	}
	return held[0], nil
}

// HoldAll makes statements of the relay's own durable, each answered in order.
// App, ID, Kind, Statement and Hash of each are set, and the payload's pointer.
// After an error nothing is known of any; holding the same bytes again is safe.
func (r *Relay) HoldAll(ctx context.Context, holds []sealpost.Hold) ([]sealpost.Held, error) {
	if len(holds) == 0 {
		return nil, nil
	}
	items := make([]*item, len(holds))
	for i, h := range holds {
		items[i] = &item{hold: h}
	}
	if _, refused := r.admission.enter(items, r.cfg.Now(), true); refused != nil {
		return nil, refused
	}
	if err := r.pass(ctx, items); err != nil {
		return nil, fmt.Errorf("wait for the store: %w", err)
	}
	held := make([]sealpost.Held, len(items))
	for i, it := range items {
		if it.problem != nil {
			return nil, errors.Join(it.err, it.problem)
		}
		held[i] = it.held
	}
	return held, nil
}

// holdOf is the Hold of a statement; the caller sets the payload's pointer.
func holdOf(app string, id sealpost.MessageID, s sealpost.Signed) sealpost.Hold {
	return sealpost.Hold{Record: sealpost.Record{Kind: s.Kind(), App: app, ID: id, Statement: s.Bytes(), Hash: s.Hash()}}
}
