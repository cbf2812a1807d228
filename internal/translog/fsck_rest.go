package translog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkRest looks at every file in the folder that the tree does not need: a
// partial file of an earlier size must be the beginning of the file that is
// there now, and anything beyond the tree is noted.
func (c *check) checkRest(ctx context.Context) error {
	accused := make(map[string]bool) // its other parts say nothing new
	for _, f := range c.faults {
		accused[f.File] = true
	}
	for _, s := range c.suspects {
		accused[s.inner.File], accused[s.outer.File] = true, true
	}
	var whole wholeFile
	return filepath.WalkDir(c.dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // swept while we look
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(c.dir, p)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case name == stateDir:
			return fs.SkipDir
		case d.IsDir() || name == checkpointFile:
			return nil
		}
		n, ok := parseTileName(name)
		if !ok || n.width > n.widthAt(c.report.Integrated) {
			c.leftover(name)
			return nil
		}
		if n.width == n.widthAt(c.report.Integrated) {
			return nil // read already
		}
		current, at := whole.of(c.dir, n.in(c.report.Integrated))
		if current == nil || accused[at] {
			return nil
		}
		return c.checkPart(p, n, current, at)
	})
}

func (c *check) leftover(name string) {
	if len(c.report.Leftovers) < leftoversMax {
		c.report.Leftovers = append(c.report.Leftovers, strings.Clone(name))
	}
}

// checkPart compares an earlier partial file with the current one.
func (c *check) checkPart(p string, n tileName, current []byte, at string) error {
	data, err := os.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.report.Files++
	size := n.itemSize()
	if len(data) != n.width*size {
		first, end := n.leaves(0, n.width)
		return c.add(Fault{File: n.path(), First: first, End: end, Err: &sizeError{n.path(), len(data), n.width * size}})
	}
	for i := range n.width {
		if !bytes.Equal(data[i*size:(i+1)*size], current[i*size:(i+1)*size]) {
			return c.add(n.item(n.path(), i, fmt.Errorf("differs from %s", at)))
		}
	}
	return nil
}

// A wholeFile remembers the file read last: partial files of one tile come one
// after another.
type wholeFile struct {
	name tileName
	data []byte
	path string
}

func (w *wholeFile) of(dir string, n tileName) ([]byte, string) {
	if w.name != n {
		data, path, err := readTile(dir, n)
		if err != nil {
			data = nil // noted when the tree was read
		}
		*w = wholeFile{n, data, path}
	}
	return w.data, w.path
}
