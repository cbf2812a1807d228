package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
//	2 hold        all or none; a crash after this is a retry by whoever waits
//	3 tell        the projector, the caches, the closer: what is lost here is read
//	              from the store again
//	4 answer
type committer struct {
	*stage
	store   Statements
	lost    []error
	now     func() time.Time
	logger  *slog.Logger
	settled func(group []*item, n news)
	unsure  func() // what the store has is not known

	revoked map[sealpost.KeyID]time.Time // by events held since the start
	holds   []sealpost.Hold              // of one group after the other
}

func newCommitter(cfg Config, s *stage, settled func([]*item, news), unsure func()) *committer {
	return &committer{stage: s, store: cfg.Store, lost: cfg.Lost, now: cfg.Now, logger: cfg.Logger, settled: settled, unsure: unsure,
		revoked: map[sealpost.KeyID]time.Time{}}
}

// run commits until ctx ends. It reports that the store takes nothing more and
// goes on turning away what comes.
func (c *committer) run(ctx context.Context, report func(error)) {
	c.stage.run(ctx, func(group []*item) {
		if err := c.commit(ctx, group); isLost(c.lost, err) {
			report(err)
		}
	})
}

func (c *committer) commit(ctx context.Context, group []*item) error {
	if group = c.turnAway(group); len(group) == 0 {
		return nil
	}
	inOrder(group)
	for _, it := range group {
		c.holds = append(c.holds, it.hold)
	}
	held, err := c.hold(ctx, c.holds)
	clear(c.holds)
	c.holds = c.holds[:0]
	if err != nil {
		c.logger.Error("turn a group away", "statements", len(group), "err", err)
		turnAllAway(group, err)
		c.unsure()
		return err
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
			c.giveUp(it)
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
		it.held = &held[i]
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

// giveUp takes back the blob of an item that is not held.
func (c *committer) giveUp(it *item) {
	if it.hold.Commitment == nil {
		return
	}
	if err := c.store.GiveUp([]sealpost.Spooled{it.hold.Spooled}); err != nil {
		c.logger.Error("give up what was spooled", "err", err)
	}
}

// turnAllAway turns a whole group away: as far as we know nothing of it is held.
// Whoever repeats the same bytes gets the right answer either way.
func turnAllAway(group []*item, err error) {
	for _, it := range group {
		it.err = err
		it.turnAway(api.ErrUnavailable.After(retryUnavailable))
	}
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
		held[i] = *it.held
	}
	return held, nil
}

// holdOf is the Hold of a statement; the caller sets the payload's pointer.
func holdOf(app string, id sealpost.MessageID, s sealpost.Signed) sealpost.Hold {
	return sealpost.Hold{Record: sealpost.Record{Kind: s.Kind(), App: app, ID: id, Statement: s.Bytes(), Hash: s.Hash()}}
}
