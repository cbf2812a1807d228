package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
)

// The projector's limits.
const (
	appendMax    = 4096    // leaves in one append
	fileLeaves   = 256     // leaves that fill a file of the log (C2SP tlog-tiles)
	feedMax      = 1 << 15 // leaves that wait in memory; more are read from the store
	comparedLast = 256     // leaves compared with the store at the start
	appendPause  = 100 * time.Millisecond
	appendPauses = 5 * time.Second // the longest pause
)

// ErrDiverged says that log and store are not one history. Nothing was changed.
var ErrDiverged = errors.New("log and store differ")

// The projector writes the log: the store's leaves, in seq order, each at the
// index that is its seq. It is the log's only writer. What the committer tells
// it is a short cut; where that is missing, it reads the store.
type projector struct {
	store  Statements
	log    Projection
	lost   []error
	logger *slog.Logger
	gather time.Duration

	mu     sync.Mutex
	first  uint64          // seq of the first leaf in memory
	leaves []sealpost.Leaf // consecutive
	end    uint64          // the store has at least so many
	unsure bool            // and may have more
	next   uint64          // the log has so many
	bell   chan struct{}
	full   chan struct{} // rings when a full append waits
	hurry  chan struct{} // closed when the rest is to be appended without gathering
	caught chan struct{} // rings whenever next reaches end
	ended  chan struct{} // closed when run has returned
}

func newProjector(cfg Config) *projector {
	return &projector{store: cfg.Store, log: cfg.Log, lost: cfg.Lost, logger: cfg.Logger, gather: cfg.Gather,
		bell: make(chan struct{}, 1), full: make(chan struct{}, 1), hurry: make(chan struct{}), caught: make(chan struct{}, 1), ended: make(chan struct{})}
}

// feed takes the news of one group commit.
func (p *projector) feed(n news) {
	p.mu.Lock()
	switch {
	case len(n.leaves) == 0 || len(p.leaves)+len(n.leaves) > feedMax:
	case len(p.leaves) == 0:
		p.first, p.leaves = n.first, n.leaves
	case n.first == p.first+uint64(len(p.leaves)):
		p.leaves = append(p.leaves, n.leaves...)
	}
	p.end = max(p.end, n.end)
	if p.end-p.next >= appendMax {
		signal(p.full)
	}
	p.mu.Unlock()
	signal(p.bell)
}

// ask makes the projector read how many statements the store has.
func (p *projector) ask() {
	p.mu.Lock()
	p.unsure = true
	p.mu.Unlock()
	signal(p.bell)
}

// sure reads how many statements the store has, where that is in doubt.
func (p *projector) sure(ctx context.Context) error {
	p.mu.Lock()
	unsure := p.unsure
	p.unsure = false
	p.mu.Unlock()
	if !unsure {
		return nil
	}
	size, err := p.store.Size(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.unsure = true
		return fmt.Errorf("read the store's size: %w", err)
	}
	p.end = max(p.end, size)
	return nil
}

// resume finds where the log stands and compares its last leaves with the
// store's. It returns the store's size.
func (p *projector) resume(ctx context.Context) (held uint64, err error) {
	integrated, err := p.log.IntegratedSize(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the log's size: %w", err)
	}
	if held, err = p.store.Size(ctx); err != nil {
		return 0, fmt.Errorf("read the store's size: %w", err)
	}
	if integrated > held {
		return 0, fmt.Errorf("%w: the log has %d leaves and the store %d statements", ErrDiverged, integrated, held)
	}
	from := integrated - min(integrated, comparedLast)
	if err := p.compare(ctx, from, integrated); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.end = integrated, held
	signal(p.bell)
	return held, nil
}

// compare reads leaves from both sides.
func (p *projector) compare(ctx context.Context, from, to uint64) error {
	for from < to {
		ours, err := p.store.Leaves(ctx, from, int(to-from))
		if err != nil {
			return fmt.Errorf("read leaves from %d: %w", from, err)
		}
		if len(ours) == 0 {
			return fmt.Errorf("%w: the store has no leaf %d", ErrDiverged, from)
		}
		for i, leaf := range ours {
			index := from + uint64(i)
			theirs, err := p.log.Leaf(ctx, index)
			if err != nil {
				return fmt.Errorf("read the log's leaf %d: %w", index, err)
			}
			if !bytes.Equal(theirs, leaf[:]) {
				return fmt.Errorf("%w: leaf %d is another one", ErrDiverged, index)
			}
		}
		from += uint64(len(ours))
	}
	return nil
}

// run appends until ctx ends. It returns an error only where going on would
// write a second history, or where the log takes nothing more.
func (p *projector) run(ctx context.Context) error {
	defer close(p.ended)
	wait := appendPause
	gathered := time.NewTimer(0)
	defer gathered.Stop()
	for ctx.Err() == nil {
		if p.gather > 0 {
			select {
			case <-gathered.C:
			case <-p.full:
			case <-p.hurry:
			case <-ctx.Done():
				return nil
			}
			gathered.Reset(p.gather)
		}
		more, err := p.step(ctx)
		switch {
		case errors.Is(err, ErrDiverged), isLost(p.lost, err):
			p.logger.Error("project the store into the log", "err", err)
			return err
		case err != nil && ctx.Err() == nil:
			p.logger.Error("project the store into the log", "err", err)
			pause(ctx, wait)
			wait = min(2*wait, appendPauses)
			continue
		}
		wait = appendPause
		if !more {
			signal(p.caught)
			select {
			case <-ctx.Done():
			case <-p.bell:
			}
		}
	}
	return nil
}

// step appends one batch and says whether there was one.
func (p *projector) step(ctx context.Context) (more bool, err error) {
	if err := p.sure(ctx); err != nil {
		return false, err
	}
	batch, err := p.batch(ctx)
	if err != nil || len(batch) == 0 {
		return false, err
	}
	raw := make([][]byte, len(batch))
	for i := range batch {
		raw[i] = batch[i][:]
	}
	first, err := p.log.Append(ctx, raw)
	if err != nil {
		return false, errors.Join(fmt.Errorf("append %d leaves at %d: %w", len(raw), p.next, err), p.recover(ctx, uint64(len(raw))))
	}
	if first != p.next {
		return false, fmt.Errorf("%w: the log put leaf %d at %d", ErrDiverged, p.next, first)
	}
	p.advance(p.next + uint64(len(raw)))
	return true, nil
}

// batch takes the next leaves from memory, or from the store where memory does
// not have them.
func (p *projector) batch(ctx context.Context) ([]sealpost.Leaf, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next >= p.end {
		return nil, nil
	}
	if p.drop(); len(p.leaves) > 0 && p.first == p.next {
		n := toFullFile(p.next, min(len(p.leaves), appendMax))
		return p.leaves[:n:n], nil
	}
	n := toFullFile(p.next, int(min(p.end-p.next, appendMax)))
	p.mu.Unlock()
	leaves, err := p.store.Leaves(ctx, p.next, n)
	p.mu.Lock()
	if err == nil && len(leaves) == 0 {
		err = errors.New("the store has none")
	}
	if err != nil {
		return nil, fmt.Errorf("read leaves from %d: %w", p.next, err)
	}
	return leaves, nil
}

// toFullFile shortens an append of many leaves to end where a file is full. The
// rest goes with the next append, and nothing is written that the next would
// write again.
func toFullFile(next uint64, n int) int {
	if n > fileLeaves {
		n -= int((next + uint64(n)) % fileLeaves)
	}
	return n
}

// drop forgets leaves that the log has. The caller holds mu.
func (p *projector) drop() {
	if gone := min(p.next-min(p.next, p.first), uint64(len(p.leaves))); gone > 0 {
		p.leaves = p.leaves[gone:]
		p.first += gone
	}
	if len(p.leaves) == 0 {
		p.leaves = nil
	}
}

// recover finds out what became of an append that failed.
func (p *projector) recover(ctx context.Context, n uint64) error {
	size, err := p.log.IntegratedSize(ctx)
	if err != nil {
		return fmt.Errorf("read the log's size: %w", err)
	}
	if size < p.next || size > p.next+n {
		return fmt.Errorf("%w: the log has %d leaves after an append of %d at %d", ErrDiverged, size, n, p.next)
	}
	if err := p.compare(ctx, p.next, size); err != nil {
		return err
	}
	p.advance(size)
	return nil
}

// advance moves next, which only the projector's own goroutine reads unlocked.
func (p *projector) advance(to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = to
}

// drained waits until the log has all that the store has, as far as is known.
// It is called once.
func (p *projector) drained(ctx context.Context) {
	close(p.hurry)
	for {
		p.mu.Lock()
		done := p.next >= p.end && !p.unsure
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.caught:
		case <-p.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
