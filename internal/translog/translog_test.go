package translog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/signer/signertest"
)

// testKey is one log key for all tests of the package.
var testKey = func() (k struct {
	signer   note.Signer
	verifier note.Verifier
}) {
	TesseraLogTo(slog.New(slog.NewTextHandler(io.Discard, nil)))
	skey, vkey, err := GenerateKey("log.example/test")
	if err == nil {
		k.signer, err = note.NewSigner(skey)
	}
	if err == nil {
		k.verifier, err = note.NewVerifier(vkey)
	}
	if err != nil {
		panic(err)
	}
	return k
}()

func testConfig(dir string) Config {
	return Config{Dir: dir, Signer: guarded(dir, testKey.signer), BatchAge: BatchAgeMin}
}

// guarded puts a guard before a key that was told of the checkpoint in dir, if
// there is one, and remembers nothing else.
func guarded(dir string, key note.Signer) *signer.Guard {
	heads := signertest.NewMemory()
	if note, err := os.ReadFile(filepath.Join(dir, checkpointFile)); err == nil {
		if c, err := parseCheckpoint(note, key.Name()); err == nil {
			heads.Tell(sealpost.Head{Size: c.Size, Root: c.Root})
		}
	}
	return signer.NewGuard(key, heads)
}

// testLeaf is the leaf that every test expects at an index.
func testLeaf(index uint64) []byte {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, index))
	return append([]byte{1}, h[:]...)
}

func testLeaves(first uint64, n int) [][]byte {
	leaves := make([][]byte, n)
	for i := range leaves {
		leaves[i] = testLeaf(first + uint64(i))
	}
	return leaves
}

func mustOpen(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func mustAppend(t testing.TB, l *Log, n int) {
	t.Helper()
	size, err := l.IntegratedSize(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.Append(context.Background(), testLeaves(size, n))
	if err != nil {
		t.Fatal(err)
	}
	if first != size {
		t.Fatalf("append went to %d, want %d", first, size)
	}
}

// mustFsck demands a sound log of the given size that holds the test leaves.
func mustFsck(t testing.TB, dir string, size uint64) Report {
	t.Helper()
	report, err := Fsck(t.Context(), dir, testKey.verifier, FsckOptions{OnLeaf: isTestLeaf})
	if err != nil {
		t.Fatal(err)
	}
	if report.Size != size || report.Entries < size {
		t.Fatalf("checked %+v, want size %d", report, size)
	}
	return report
}

func isTestLeaf(index uint64, leaf []byte) error {
	if string(leaf) != string(testLeaf(index)) {
		return errors.New("not the leaf that was appended here")
	}
	return nil
}

// R9, R39: leaves stand in the order in which they were appended, densely, over
// several opens of the log, and every one is in a checkpoint at the end.
func TestOrderAndRestart(t *testing.T) {
	dir := t.TempDir()
	var size uint64
	for _, batches := range [][]int{{1}, {255, 1}, {1, 700, 3}, {5000}, {}, {256}} {
		seen := uint64(0)
		cfg := testConfig(dir)
		cfg.Compare = func(index uint64, leaf []byte) error {
			seen++
			return isTestLeaf(index, leaf)
		}
		l := mustOpen(t, cfg)
		if want := min(size, CompareMin); seen != want {
			t.Errorf("open at %d compared %d leaves, want %d", size, seen, want)
		}
		if got, err := l.IntegratedSize(t.Context()); err != nil || got != size {
			t.Fatalf("resumed at %d, %v, want %d", got, err, size)
		}
		if cp := l.Checkpoint(); cp.Size != size {
			t.Fatalf("resumed with a checkpoint of %d, want %d", cp.Size, size)
		}
		for _, n := range batches {
			mustAppend(t, l, n)
			size += uint64(n)
		}
		if size > 0 {
			leaf, err := l.Leaf(t.Context(), size-1)
			if err != nil || isTestLeaf(size-1, leaf) != nil {
				t.Fatalf("leaf %d: %x, %v", size-1, leaf, err)
			}
		}
		if _, err := l.Leaf(t.Context(), size); err == nil {
			t.Error("read a leaf beyond the log")
		}
		mustClose(t, l)
		report := mustFsck(t, dir, size)
		if report.Entries != size || len(report.Leftovers) > 0 {
			t.Errorf("checked %+v, want %d entries and no leftovers", report, size)
		}
	}
}

// The published checkpoint follows the leaves without waiting when the log was
// quiet, and then at the interval; an unchanged tree is signed again.
func TestPublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counter := &countingSigner{Signer: testKey.signer}
		cfg := testConfig(t.TempDir())
		cfg.Signer, cfg.CheckpointInterval, cfg.RepublishInterval = guarded(cfg.Dir, counter), time.Second, time.Minute
		l := mustOpen(t, cfg)
		defer mustClose(t, l)
		time.Sleep(2 * time.Second)

		at := time.Now()
		mustAppend(t, l, 10)
		cp, err := l.WaitPublished(t.Context(), 10)
		if err != nil || cp.Size != 10 {
			t.Fatalf("published %d, %v", cp.Size, err)
		}
		if waited := time.Since(at); waited > 100*time.Millisecond {
			t.Errorf("a lone leaf was published after %v", waited)
		}
		mustAppend(t, l, 10)
		at = time.Now()
		if cp, err = l.WaitPublished(t.Context(), 20); err != nil || cp.Size != 20 {
			t.Fatalf("published %d, %v", cp.Size, err)
		}
		if waited := time.Since(at); waited < 500*time.Millisecond || waited > time.Second {
			t.Errorf("the next checkpoint came after %v, want the interval", waited)
		}
		before := counter.count.Load()
		time.Sleep(10*time.Minute + time.Second)
		if got := counter.count.Load() - before; got != 10 {
			t.Errorf("signed an unchanged tree %d times in 10 minutes, want 10", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.WaitPublished(ctx, 21); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a leaf that never came: %v", err)
		}
	})
}

// countingSigner counts, and fails while fail is set.
type countingSigner struct {
	note.Signer
	count atomic.Int64
	fail  atomic.Pointer[error]
}

func (s *countingSigner) Sign(msg []byte) ([]byte, error) {
	if fail := s.fail.Load(); fail != nil {
		return nil, *fail
	}
	s.count.Add(1)
	return s.Signer.Sign(msg)
}

// R10: without the key no checkpoint appears, leaves are still taken, and the
// checkpoint follows when the key is back.
func TestSignerOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &countingSigner{Signer: testKey.signer}
		cfg := testConfig(t.TempDir())
		cfg.Signer = guarded(cfg.Dir, key)
		l := mustOpen(t, cfg)
		defer mustClose(t, l)
		down := errors.New("key service is down")
		key.fail.Store(&down)
		mustAppend(t, l, 300)
		time.Sleep(time.Minute)
		synctest.Wait()
		if cp := l.Checkpoint(); cp.Size != 0 {
			t.Fatalf("a checkpoint of %d without a key", cp.Size)
		}
		if err := l.PublishFault(); !errors.Is(err, down) {
			t.Errorf("fault %v, want the signer's", err)
		}
		key.fail.Store(nil)
		if cp, err := l.WaitPublished(t.Context(), 300); err != nil || cp.Size != 300 {
			t.Fatalf("published %d, %v", cp.Size, err)
		}
		synctest.Wait()
		if err := l.PublishFault(); err != nil {
			t.Errorf("fault %v after recovery", err)
		}
	})
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	if _, err := Open(t.Context(), testConfig(dir)); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: %v, want ErrInUse", err)
	}
	mustAppend(t, l, 3)
	mustClose(t, l)
	if err := l.Close(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := l.Append(t.Context(), testLeaves(3, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	mustClose(t, mustOpen(t, testConfig(dir)))
}

func TestAppendRefuses(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	defer mustClose(t, l)
	if err := l.AppendAt(t.Context(), 0, testLeaves(0, 2)); err != nil {
		t.Fatal(err)
	}
	if err := l.AppendAt(t.Context(), 3, testLeaves(3, 1)); !errors.Is(err, ErrNotNext) {
		t.Errorf("append beyond the end: %v", err)
	}
	if err := l.AppendAt(t.Context(), 1, testLeaves(1, 1)); !errors.Is(err, ErrNotNext) {
		t.Errorf("append over a leaf: %v", err)
	}
	for name, leaves := range map[string][][]byte{
		"short leaf": {testLeaf(2), make([]byte, LeafSize-1)},
		"long leaf":  {make([]byte, LeafSize+1)},
		"nil leaf":   {nil},
		"too many":   testLeaves(2, AppendMax+1),
	} {
		if _, err := l.Append(t.Context(), leaves); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ended, nil); err == nil {
		if size, _ := l.IntegratedSize(t.Context()); size != 2 {
			t.Errorf("size %d after an append of nothing", size)
		}
	}
	if size, err := l.IntegratedSize(t.Context()); err != nil || size != 2 {
		t.Errorf("size %d, %v after refusals, want 2", size, err)
	}
}

// An append that its caller gives up settles before the size is told, so a
// caller who resumes from that size writes no leaf twice.
func TestAppendGivenUp(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	for range 20 {
		size, err := l.IntegratedSize(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err = l.Append(ctx, testLeaves(size, 3000))
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	size, err := l.IntegratedSize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	mustFsck(t, dir, size)
}

func TestConfigFaults(t *testing.T) {
	honest := testConfig(filepath.Join(t.TempDir(), "log"))
	if _, err := honest.withDefaults(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no folder":         func(c *Config) { c.Dir = "" },
		"no signer":         func(c *Config) { c.Signer = nil },
		"interval too low":  func(c *Config) { c.CheckpointInterval = CheckpointIntervalMin - 1 },
		"republish too low": func(c *Config) { c.RepublishInterval = CheckpointIntervalMin },
		"batch too large":   func(c *Config) { c.BatchMax = BatchMaxLimit + 1 },
		"age too low":       func(c *Config) { c.BatchAge = BatchAgeMin - 1 },
		"age too high":      func(c *Config) { c.BatchAge = BatchAgeLimit + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := honest
			spoil(&cfg)
			if _, err := Open(t.Context(), cfg); err == nil {
				t.Error("accepted")
			}
			if _, err := os.Stat(honest.Dir); err == nil {
				t.Error("made a folder for a faulty config")
			}
		})
	}
}
