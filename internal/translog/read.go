package translog

import "fmt"

// ReadLeaf returns a leaf from the files of a log that somebody else may be
// writing, of which a checkpoint over size leaves was seen. The error matches
// fs.ErrNotExist where the file of that size has since been replaced by a
// wider one: read the checkpoint again.
func ReadLeaf(dir string, index, size uint64) ([]byte, error) { return readLeaf(dir, index, size) }

// ReadRoot returns the root over the first at leaves from the files of a log
// that has size leaves.
func ReadRoot(dir string, at, size uint64) (root [32]byte, err error) {
	if at > size {
		return root, fmt.Errorf("root at %d: the log has %d", at, size)
	}
	return newTiles(dir, func() uint64 { return size }).rootAt(at)
}
