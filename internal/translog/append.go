package translog

import (
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/tessera"
)

// Append adds leaves, in their order, at consecutive indices beginning with
// first. It returns when they are durable and integrated; a checkpoint over
// them follows ([Log.WaitPublished]).
//
// On an error some of the leaves may have been added, always a prefix of them:
// the caller reads [Log.IntegratedSize] and goes on from there. An error that
// matches [ErrBroken] ends the use of this Log. If ctx ends while a batch is
// being written, Append returns at once and the batch settles behind it.
func (l *Log) Append(ctx context.Context, leaves [][]byte) (first uint64, err error) {
	return l.append(ctx, nil, leaves)
}

// AppendAt is Append for a caller who knows the index of its first leaf. If
// that is not the integrated size it returns [ErrNotNext] and adds nothing.
func (l *Log) AppendAt(ctx context.Context, first uint64, leaves [][]byte) error {
	_, err := l.append(ctx, &first, leaves)
	return err
}

func (l *Log) append(ctx context.Context, at *uint64, leaves [][]byte) (uint64, error) {
	if len(leaves) > AppendMax {
		return 0, fmt.Errorf("append %d leaves: at most %d at once", len(leaves), AppendMax)
	}
	for i, leaf := range leaves {
		if len(leaf) != LeafSize {
			return 0, fmt.Errorf("append: leaf %d of %d has %d bytes, want %d", i, len(leaves), len(leaf), LeafSize)
		}
	}
	if err := l.takeTurn(ctx); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	first := l.size()
	if at != nil && *at != first {
		l.turn <- struct{}{}
		return first, fmt.Errorf("append at %d: %w, which is %d", *at, ErrNotNext, first)
	}
	done := make(chan error, 1)
	go func() {
		err := l.appendBatches(ctx, leaves)
		l.turn <- struct{}{}
		done <- err
	}()
	select {
	case err := <-done:
		return first, err
	case <-ctx.Done():
		l.abandoned.Store(true)
		return first, fmt.Errorf("append at %d given up, it may still succeed: %w", first, ctx.Err())
	}
}

// takeTurn waits until no other append is in progress.
func (l *Log) takeTurn(ctx context.Context) error {
	if _, closed := l.current(); closed {
		return ErrClosed
	}
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, closed := l.current(); closed {
		l.turn <- struct{}{} // Close is waiting for it
		return ErrClosed
	}
	return nil
}

// appendBatches gives Tessera one batch at a time and waits for each. Were two
// in its queue, the first could fail and the second succeed, and every later
// leaf would stand at an index that is not its own.
func (l *Log) appendBatches(ctx context.Context, leaves [][]byte) error {
	for len(leaves) > 0 {
		if l.broken != nil {
			return l.broken
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(leaves), int(l.cfg.BatchMax))
		if err := l.appendBatch(leaves[:n]); err != nil {
			return err
		}
		leaves = leaves[n:]
	}
	return nil
}

// appendBatch adds one batch, in this order:
//
//	1 queue    Tessera has the leaves
//	2 compute  what the tree must be with them
//	3 wait     Tessera has synced bundles, tiles and tree state
//	4 settle   the tree state is what step 2 says, or it is put back
//
// A crash before the end of 3 leaves the old tree or the new one.
func (l *Log) appendBatch(leaves [][]byte) error {
	base, _ := l.current()
	entries, hashes := newEntries(leaves)
	var last tessera.IndexFuture
	for _, e := range entries {
		last = l.add(l.tessera, e)
	}
	next, nodes, err := extend(base, hashes)
	if err != nil {
		return l.breakOff(fmt.Errorf("compute the tree: %w", err))
	}
	// Tessera flushes in order on one goroutine, so the last leaf answers for
	// all of them, even if its timer made two batches of ours.
	index, err := last()
	if err == nil && index.Index != next.size-1 {
		err = fmt.Errorf("leaf got index %d, want %d", index.Index, next.size-1)
	}
	return l.settle(base, next, nodes, err)
}

// newEntries copies the leaves, because Tessera may still read them when the
// caller has given up and uses its memory again. It takes out the leaf hashes
// before Tessera has the entries, which it writes to.
func newEntries(leaves [][]byte) (entries []*tessera.Entry, hashes [][]byte) {
	data := make([]byte, 0, len(leaves)*LeafSize)
	entries, hashes = make([]*tessera.Entry, len(leaves)), make([][]byte, len(leaves))
	for i, leaf := range leaves {
		data = append(data, leaf...)
		entries[i] = tessera.NewEntry(data[i*LeafSize : len(data) : len(data)])
		hashes[i] = entries[i].LeafHash()
	}
	return entries, hashes
}

// extend computes the tree with the leaves and the hashes that they add to it.
func extend(base head, leafHashes [][]byte) (head, []treeNode, error) {
	r, err := peaksOf(base)
	if err != nil {
		return head{}, nil, err
	}
	nodes := make([]treeNode, 0, 2*len(leafHashes)+64)
	visit := func(id compact.NodeID, hash []byte) { nodes = append(nodes, treeNode{id, hash}) }
	for _, h := range leafHashes {
		if err := r.Append(h, visit); err != nil {
			return head{}, nil, err
		}
	}
	root, err := rootOf(r)
	if err != nil {
		return head{}, nil, err
	}
	return head{size: r.End(), root: root, peaks: r.Hashes()}, nodes, nil
}

// settle compares the tree on disk with the one computed. The root commits to
// every leaf and its index, so equal roots mean that order and density hold.
func (l *Log) settle(base, next head, nodes []treeNode, failed error) error {
	state, err := readTreeState(l.cfg.Dir)
	switch {
	case err != nil:
		return l.breakOff(errors.Join(failed, err))
	case failed == nil && state.is(next):
		l.advance(next, nodes)
		return nil
	case state.is(base) && failed != nil:
		return fmt.Errorf("append at %d: %w", base.size, failed)
	}
	// Something else was integrated: part of the batch, or leaves in another
	// place. It is not signed, so it can still be put back.
	failed = errors.Join(failed, fmt.Errorf("tree of %d leaves where %d were to follow %d", state.Size, next.size-base.size, base.size))
	if err := writeTreeState(l.cfg.Dir, treeState{Size: base.size, Root: base.root[:]}); err != nil {
		return l.breakOff(errors.Join(failed, fmt.Errorf("put the tree back: %w", err)))
	}
	if err := sweepBeyond(l.cfg.Dir, base.size); err != nil {
		return l.breakOff(errors.Join(failed, fmt.Errorf("remove what it wrote: %w", err)))
	}
	return fmt.Errorf("append at %d, undone: %w", base.size, failed)
}

func (s treeState) is(h head) bool { return s.Size == h.size && [hashSize]byte(s.Root) == h.root }

func (l *Log) breakOff(err error) error {
	l.broken = fmt.Errorf("%w: %w", ErrBroken, err)
	return l.broken
}

// advance makes next the tree that is proved from and published.
func (l *Log) advance(next head, nodes []treeNode) {
	l.tiles.grow(nodes)
	l.mu.Lock()
	l.head = next
	l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default: // the publisher has been told and will read the newest head
	}
}
