package translog

import "fmt"

// RootAt returns the root that the log had at a size, which any checkpoint of
// that size must name.
func (l *Log) RootAt(size uint64) (root [32]byte, err error) {
	if now := l.size(); size > now {
		return root, fmt.Errorf("root at %d: the log has %d", size, now)
	}
	if root, err = l.tiles.rootAt(size); err != nil {
		return root, fmt.Errorf("root at %d: %w", size, err)
	}
	return root, nil
}
