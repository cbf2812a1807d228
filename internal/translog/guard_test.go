package translog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/signer/signertest"
)

// An older copy of the folder, or another history, is not signed: the signer
// remembers what the folder cannot.
func TestOpenAsksWhatWasSigned(t *testing.T) {
	old := builtLog(t, 300)
	grown := copyLog(t, old)
	l := mustOpen(t, testConfig(grown))
	mustAppend(t, l, 300)
	mustClose(t, l)
	signed := l.Checkpoint()
	aside := copyLog(t, old)
	l = mustOpen(t, testConfig(aside))
	if _, err := l.Append(t.Context(), testLeaves(1000, 300)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)

	for name, c := range map[string]struct {
		dir  string
		last sealpost.Head
		want error
	}{
		"the log itself":       {grown, sealpost.Head{Size: signed.Size, Root: signed.Root}, nil},
		"a restored backup":    {old, sealpost.Head{Size: signed.Size, Root: signed.Root}, ErrRolledBack},
		"an empty folder":      {t.TempDir(), sealpost.Head{Size: signed.Size, Root: signed.Root}, ErrRolledBack},
		"another history":      {aside, sealpost.Head{Size: signed.Size, Root: signed.Root}, ErrForked},
		"the guard's backup":   {grown, sealpost.Head{Size: 300, Root: mustRoot(t, old, 300)}, ErrForgotten},
		"a guard that is new":  {grown, signer.Nothing, ErrForgotten},
		"an older root at 600": {grown, sealpost.Head{Size: 600, Root: mustRoot(t, old, 300)}, ErrForked},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(copyLog(t, c.dir))
			key := &countingSigner{Signer: testKey.signer}
			heads := signertest.NewMemory()
			heads.Tell(c.last)
			cfg.Signer = signer.NewGuard(key, heads)
			before, _ := os.ReadFile(filepath.Join(cfg.Dir, checkpointFile))
			l, err := Open(t.Context(), cfg)
			if !errors.Is(err, c.want) {
				t.Fatalf("open: %v, want %v", err, c.want)
			}
			if err == nil {
				mustAppend(t, l, 5)
				mustClose(t, l)
				if got, _ := heads.Last(t.Context()); got.Size != signed.Size+5 {
					t.Errorf("the guard remembers %d leaves, want %d", got.Size, signed.Size+5)
				}
				return
			}
			if n := key.count.Load(); n != 0 {
				t.Errorf("the key signed %d times", n)
			}
			if after, _ := os.ReadFile(filepath.Join(cfg.Dir, checkpointFile)); !slices.Equal(before, after) {
				t.Error("a checkpoint was written")
			}
		})
	}
}

func mustRoot(t testing.TB, dir string, size uint64) [32]byte {
	t.Helper()
	root, err := ReadRoot(dir, size, size)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// What the signer returns is looked at: it may be another process.
func TestSignerSignsSomethingElse(t *testing.T) {
	cfg := testConfig(t.TempDir())
	mustClose(t, mustOpen(t, cfg))
	signed, err := note.Sign(&note.Note{Text: "log.example/test\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"}, testKey.signer)
	if err != nil {
		t.Fatal(err)
	}
	cfg = testConfig(t.TempDir())
	cfg.Signer = strayer{cfg.Signer, signed}
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Fatal("published what was not asked for")
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, checkpointFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a checkpoint was written: %v", err)
	}
}

// A strayer signs one note, whatever it is asked for.
type strayer struct {
	Signer
	note []byte
}

func (s strayer) Sign(context.Context, sealpost.Head, [][]byte) ([]byte, error) { return s.note, nil }
