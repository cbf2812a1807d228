package translog

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/transparency-dev/tessera/api/layout"
)

// sweepMax bounds the bundles whose partial files one publication removes.
const sweepMax = 1024

// sweepBeyond removes what a crash or an undone append left outside the tree of
// the given size: drafts, which Tessera writes under the name of a file with a
// random number behind it and then renames, and files that the tree does not
// reach yet. The latter must go: a partial file that was written for other
// leaves would later pass for an older part of the tree. Both stand at the
// right edge, within one batch of it.
func sweepBeyond(dir string, size uint64) error {
	faults := []error{
		removeIf(filepath.Join(dir, stateDir), isStateDraft),
		removeIf(dir, func(name string) bool { return isNumbered(name, checkpointFile) }),
	}
	seen := make(map[string]bool)
	for _, n := range edge(size, size+BatchMaxLimit) {
		p, width := n.full().path(), n.widthAt(size)
		if in := filepath.Join(dir, path.Dir(p)); !seen[in] {
			seen[in] = true
			faults = append(faults, removeIf(in, isTileDraft))
		}
		if width == tileWidth {
			continue
		}
		faults = append(faults,
			removeFile(filepath.Join(dir, p)),
			removeIf(filepath.Join(dir, p+".p"), func(name string) bool { return !isWidthWithin(name, width) }))
	}
	return errors.Join(faults...)
}

// edge names the files which change when a tree grows from one size to another.
func edge(from, to uint64) []tileName {
	var names []tileName
	for level := uint64(0); level <= levelMax; level++ {
		width := (level + 1) * layout.TileHeight
		for i := from >> width; i <= to>>width; i++ {
			names = append(names, tileName{level: level, index: i})
			if level == 0 {
				names = append(names, tileName{entries: true, index: i})
			}
			if width >= 64 {
				break
			}
		}
	}
	return names
}

func removeIf(dir string, isDraft func(name string) bool) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, f := range files {
		if f.Type().IsRegular() && isDraft(f.Name()) {
			err = errors.Join(err, removeFile(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isTileDraft: a file is called by three digits, its draft by more.
func isTileDraft(name string) bool { return len(name) > 3 && isDigits(name) }

// isWidthWithin tells whether a partial file, which is called by its width, is
// part of a file that is width wide.
func isWidthWithin(name string, width int) bool {
	n, err := strconv.Atoi(name)
	return isDigits(name) && err == nil && n <= width
}

func isStateDraft(name string) bool {
	return isNumbered(name, path.Base(treeStateFile)) || isNumbered(name, "version") ||
		name == path.Base(checkpointDraft) || name == path.Base(treeStateDraft)
}

func isNumbered(name, of string) bool {
	number, ok := strings.CutPrefix(name, of)
	return ok && isDigits(number)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// sweepPartials removes the partial files of bundles and tiles that a
// published checkpoint shows full. Readers who hold an older checkpoint find
// the full file instead (tlog-tiles, "Partial tiles").
func (l *Log) sweepPartials() {
	full := l.Checkpoint().Size / tileWidth
	from := l.swept
	for ; l.swept < min(full, from+sweepMax); l.swept++ {
		for _, n := range filledBy(l.swept) {
			if err := os.RemoveAll(filepath.Join(l.cfg.Dir, n.path()+".p")); err != nil {
				l.cfg.Logger.Warn("partial files stay", "bundle", l.swept, "error", err)
				return
			}
		}
	}
	if l.swept == from {
		return
	}
	if err := writeSwept(l.cfg.Dir, l.swept); err != nil {
		l.cfg.Logger.Warn("sweep mark not kept", "bundle", l.swept, "error", err)
	}
}

// filledBy names the files that are full when bundle i is.
func filledBy(i uint64) []tileName {
	names := []tileName{{entries: true, index: i, width: tileWidth}, {index: i, width: tileWidth}}
	for level := uint64(1); level <= levelMax && i%tileWidth == tileWidth-1; level++ {
		i /= tileWidth
		names = append(names, tileName{level: level, index: i, width: tileWidth})
	}
	return names
}

// readSwept returns up to which bundle partial files are gone. The mark is a
// hint: without it the search begins at the first bundle.
func readSwept(dir string, size uint64) uint64 {
	raw, err := os.ReadFile(filepath.Join(dir, sweptFile))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || n > size/tileWidth {
		return 0
	}
	return n
}

// writeSwept keeps the mark. It is not synced: an old one costs only time.
func writeSwept(dir string, n uint64) error {
	return os.WriteFile(filepath.Join(dir, sweptFile), strconv.AppendUint(nil, n, 10), filePerm)
}
