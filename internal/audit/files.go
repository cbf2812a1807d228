package audit

import (
	"context"
	"io"
	"os"

	"github.com/sealpost/sealpost"
)

// Files are the public files of a log: its newest checkpoint, and tiles and
// entry bundles by their path (C2SP tlog-tiles).
type Files interface {
	Checkpoint(ctx context.Context) ([]byte, error)
	Tile(ctx context.Context, path string) ([]byte, error)
}

const (
	fileMax  = 16 << 10 // bytes of one file: a full entry bundle has 8,960
	keptMost = 4096     // files kept in memory, 36 MB: all that one span has, several times
)

// A Folder is a log's own folder, or a copy of its public files.
type Folder string

// Checkpoint is the newest checkpoint in the folder.
func (f Folder) Checkpoint(context.Context) ([]byte, error) {
	return f.read("checkpoint", sealpost.NoteMax)
}

// Tile is a file below the folder, and none outside it.
func (f Folder) Tile(_ context.Context, path string) ([]byte, error) { return f.read(path, fileMax) }

func (f Folder) read(name string, most int64) ([]byte, error) {
	file, err := os.OpenInRoot(string(f), name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

// kept fetches each file once: what one promise needs the next mostly needs
// too. A file never changes under its name.
type kept struct {
	Files
	have map[string][]byte
}

func (k *kept) Tile(ctx context.Context, path string) ([]byte, error) {
	if b, ok := k.have[path]; ok {
		return b, nil
	}
	b, err := k.Files.Tile(ctx, path)
	if err == nil && len(k.have) < keptMost {
		k.have[path] = b
	}
	return b, err
}
