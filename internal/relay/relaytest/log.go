package relaytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealpost/sealpost"
)

// Log is the relay's log in memory. Its root is a hash over all leaves, its
// proofs name index and checkpoint and prove nothing.
type Log struct {
	tb testing.TB

	appending atomic.Int32
	fault     faults

	mu        sync.Mutex
	leaves    [][]byte
	published uint64
	manual    bool
	changed   chan struct{}
	heads     map[uint64]sealpost.Hash
}

// NewLog makes an empty log that publishes whatever is appended.
func NewLog(tb testing.TB) *Log {
	return &Log{tb: tb, changed: make(chan struct{}), heads: map[uint64]sealpost.Hash{}}
}

// FailAppends makes the next n Appends fail, lost or done but not acknowledged.
func (l *Log) FailAppends(n int, applied bool) { l.fault.set(n, applied) }

// Hold stops publication until Publish.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.manual = true
}

// Publish publishes all there is and goes on publishing.
func (l *Log) Publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.manual = false
	l.publish()
}

func (l *Log) publish() {
	if l.manual {
		return
	}
	l.published = uint64(len(l.leaves))
	l.heads[l.published] = l.root()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Log) root() sealpost.Hash { return sha256.Sum256(bytes.Join(l.leaves, nil)) }

// Head is the newest checkpoint's.
func (l *Log) Head() sealpost.Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sealpost.Head{Size: l.published, Root: l.heads[l.published]}
}

// All is every leaf.
func (l *Log) All() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.leaves)
}

// Put appends a leaf behind the relay's back.
func (l *Log) Put(leaf []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaves = append(l.leaves, leaf)
	l.publish()
}

// Append implements the port.
func (l *Log) Append(ctx context.Context, leaves [][]byte) (uint64, error) {
	if l.appending.Add(1) != 1 {
		l.tb.Error("log: two Appends at once")
	}
	defer l.appending.Add(-1)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	fails, applied := l.fault.next()
	if fails && !applied {
		return 0, ErrFault
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first := uint64(len(l.leaves))
	for _, leaf := range leaves {
		if len(leaf) != len(sealpost.Leaf{}) || leaf[0] != sealpost.LeafVersion {
			l.tb.Errorf("log: a leaf of %d bytes", len(leaf))
		}
		l.leaves = append(l.leaves, bytes.Clone(leaf))
	}
	l.publish()
	if fails {
		return 0, ErrFault
	}
	return first, nil
}

// IntegratedSize implements the port.
func (l *Log) IntegratedSize(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.leaves)), nil
}

// Leaf implements the port.
func (l *Log) Leaf(_ context.Context, i uint64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i >= uint64(len(l.leaves)) {
		return nil, fmt.Errorf("leaf %d of %d", i, len(l.leaves))
	}
	return l.leaves[i], nil
}

// Published implements the port.
func (l *Log) Published(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published, nil
}

// WaitPublished implements the port.
func (l *Log) WaitPublished(ctx context.Context, size uint64) error {
	for {
		l.mu.Lock()
		done, changed := l.published >= size, l.changed
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Proofs implements the port.
func (l *Log) Proofs(_ context.Context, indices []uint64) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([][]byte, len(indices))
	for k, i := range indices {
		if i < l.published {
			out[k] = fmt.Appendf(nil, "leaf %d under %d", i, l.published)
		}
	}
	return out, nil
}

// Had implements the port.
func (l *Log) Had(_ context.Context, h sealpost.Head) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	root, ok := l.heads[h.Size]
	return ok && root == h.Root, nil
}
