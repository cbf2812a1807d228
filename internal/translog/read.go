package translog

// ReadLeaf returns a leaf from the files of a log that somebody else may be
// writing, of which a checkpoint over size leaves was seen. The error matches
// fs.ErrNotExist where the file of that size has since been replaced by a
// wider one: read the checkpoint again.
func ReadLeaf(dir string, index, size uint64) ([]byte, error) { return readLeaf(dir, index, size) }
