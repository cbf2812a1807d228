package translog

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// RootAt returns the root that the log had at a size, which any checkpoint of
// that size must name.
func (l *Log) RootAt(size uint64) (root [32]byte, err error) {
	if now := l.size(); size > now {
		return root, fmt.Errorf("root at %d: the log has %d", size, now)
	}
	if size == 0 {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	ids := compact.RangeNodes(0, size, nil)
	hashes := make([][]byte, len(ids))
	for i, id := range ids {
		if hashes[i], err = l.tiles.node(id); err != nil {
			return root, fmt.Errorf("root at %d: %w", size, err)
		}
	}
	edge, err := ranges.NewRange(0, size, hashes)
	if err != nil {
		return root, fmt.Errorf("root at %d: %w", size, err)
	}
	h, err := edge.GetRootHash(nil)
	if err != nil {
		return root, fmt.Errorf("root at %d: %w", size, err)
	}
	return [32]byte(h), nil
}
