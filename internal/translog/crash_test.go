package translog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost/internal/signer"
)

// A process with this variable set appends to the log in that folder until it
// is killed.
const (
	victimDir  = "SEALPOST_TRANSLOG_VICTIM"
	victimKeys = "SEALPOST_TRANSLOG_VICTIM_KEYS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := beVictim(dir, os.Getenv(victimKeys)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beVictim prints the size after each append that was answered.
func beVictim(dir, keys string) error {
	key, err := openVictimKey(keys)
	if err != nil {
		return err
	}
	cfg := Config{Dir: dir, Signer: key, BatchAge: BatchAgeMin, CheckpointInterval: CheckpointIntervalMin, Compare: isTestLeaf}
	ctx := context.Background()
	l, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	size, err := l.IntegratedSize(ctx)
	if err != nil {
		return err
	}
	fmt.Println(size)
	for {
		n := 1 + rand.IntN(900)
		if err := l.AppendAt(ctx, size, testLeaves(size, n)); err != nil {
			return err
		}
		size += uint64(n)
		fmt.Println(size)
	}
}

// openVictimKey opens the key and its guard on the disk, which the kill hits too.
func openVictimKey(keys string) (*signer.LogKey, error) {
	return signer.OpenLog(filepath.Join(keys, "log.key"), filepath.Join(keys, "guard"), "log.example/victim")
}

// A kill at any moment loses no leaf that Append answered for, moves none, and
// leaves a log that is sound and goes on.
func TestKill(t *testing.T) {
	kills := 6
	if os.Getenv("SEALPOST_LONG") != "" {
		kills = 100
	}
	dir := filepath.Join(t.TempDir(), "log")
	keys := t.TempDir()
	key, err := openVictimKey(keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(key.VKey)
	if err != nil {
		t.Fatal(err)
	}
	var answered uint64
	for range kills {
		answered = killOne(t, dir, keys, answered)
		report, err := Fsck(t.Context(), dir, verifier, FsckOptions{OnLeaf: isTestLeaf})
		if err != nil {
			t.Fatal(err)
		}
		if report.Integrated < answered || report.Entries != report.Integrated {
			t.Fatalf("%d leaves were answered for, the log has %+v", answered, report)
		}
	}
	if answered < uint64(kills) {
		t.Fatalf("only %d leaves in %d runs", answered, kills)
	}

	if key, err = openVictimKey(keys); err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	l := mustOpen(t, Config{Dir: dir, Signer: key, Compare: isTestLeaf})
	size, err := l.IntegratedSize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, 3*tileWidth) // over what a crash left beyond the tree
	mustClose(t, l)
	report, err := Fsck(t.Context(), dir, verifier, FsckOptions{OnLeaf: isTestLeaf})
	if err != nil || report.Size != size+3*tileWidth {
		t.Fatalf("%+v, %v", report, err)
	}
	if len(report.Leftovers) > 0 {
		t.Errorf("kills left %v", report.Leftovers)
	}
}

// killOne lets a process append for a while and kills it. It returns the last
// size the process told.
func killOne(t *testing.T, dir, keys string, answered uint64) uint64 {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimKeys+"="+keys)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for kill, told := 1+rand.IntN(12), 0; lines.Scan(); told++ {
		size, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil || size < answered {
			t.Fatalf("process told %q after %d", lines.Text(), answered)
		}
		answered = size
		if told == kill {
			time.AfterFunc(rand.N(15*time.Millisecond), func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
		t.Fatalf("the process ended by itself: %v", err)
	}
	return answered
}

// Leaves that Tessera put in another place are taken out again before they are
// signed, and the log goes on.
func TestWrongOrderIsUndone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	mustAppend(t, l, 300)
	add := l.add
	for name, spoil := range map[string]tessera.AddFn{
		"a stranger's leaf in between": func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			add(ctx, tessera.NewEntry(make([]byte, LeafSize)))
			return add(ctx, e)
		},
		"a leaf is lost": func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			if string(e.Data()) == string(testLeaf(303)) {
				return nil
			}
			return add(ctx, e)
		},
		"two leaves change places": swapFirst(add),
		"integrated, then an error": func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			done := add(ctx, e)
			return func() (tessera.Index, error) {
				index, _ := done()
				return index, errors.New("disk failed")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l.add = spoil
			if _, err := l.Append(t.Context(), testLeaves(300, 500)); err == nil || errors.Is(err, ErrBroken) {
				t.Fatalf("append: %v, want an error that was undone", err)
			}
			l.add = add
			if size, err := l.IntegratedSize(t.Context()); err != nil || size != 300 {
				t.Fatalf("size %d, %v after undo", size, err)
			}
			if state, err := readTreeState(dir); err != nil || state.Size != 300 {
				t.Fatalf("tree state %d, %v after undo", state.Size, err)
			}
		})
	}
	mustAppend(t, l, 500)
	mustClose(t, l)
	mustFsck(t, dir, 800)
}

// swapFirst gives Tessera the second leaf before the first.
func swapFirst(add tessera.AddFn) tessera.AddFn {
	var first *tessera.Entry
	swapped := false
	return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
		switch {
		case swapped:
		case first == nil:
			first = e
			return nil
		default:
			swapped = true
			add(ctx, e)
			return add(ctx, first)
		}
		return add(ctx, e)
	}
}

// When not even the tree state can be read, the log takes no more leaves and
// signs nothing.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	mustAppend(t, l, 10)
	cp, err := l.WaitPublished(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(dir, treeStateFile))
	if err != nil {
		t.Fatal(err)
	}
	add := l.add
	l.add = func(context.Context, *tessera.Entry) tessera.IndexFuture {
		return func() (tessera.Index, error) {
			return tessera.Index{}, os.WriteFile(filepath.Join(dir, treeStateFile), []byte("{}"), filePerm)
		}
	}
	if _, err := l.Append(t.Context(), testLeaves(10, 5)); !errors.Is(err, ErrBroken) {
		t.Fatalf("append: %v, want ErrBroken", err)
	}
	l.add = add // what happens to the disk meanwhile is not for us to judge
	if err := os.WriteFile(filepath.Join(dir, treeStateFile), state, filePerm); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), testLeaves(10, 5)); !errors.Is(err, ErrBroken) {
		t.Fatalf("append after that: %v, want ErrBroken", err)
	}
	mustClose(t, l)
	if got := l.Checkpoint(); got.Size != cp.Size {
		t.Errorf("signed %d after the log broke", got.Size)
	}
}

// Open signs nothing over a folder that does not fit together.
func TestOpenRefuses(t *testing.T) {
	honest := builtLog(t, 300, 300)
	half := copyLog(t, builtLog(t, 300))
	aside := t.TempDir()
	l := mustOpen(t, testConfig(aside))
	if _, err := l.Append(t.Context(), testLeaves(1000, 300)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	read := func(dir, name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  error
	}{
		"older tree state": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, treeStateFile), read(half, treeStateFile), filePerm)
		}, ErrRolledBack},
		"signed another history": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, checkpointFile), read(aside, checkpointFile), filePerm)
		}, ErrDamaged},
		"lost tree state":     {func(dir string) error { return os.Remove(filepath.Join(dir, treeStateFile)) }, ErrRolledBack},
		"lost checkpoint":     {func(dir string) error { return os.Remove(filepath.Join(dir, checkpointFile)) }, ErrDamaged},
		"lost edge":           {func(dir string) error { return os.Remove(filepath.Join(dir, "tile/0/002.p/88")) }, ErrDamaged},
		"spoiled edge":        {func(dir string) error { flip(t, filepath.Join(dir, "tile/0/002.p/88"), 9); return nil }, ErrDamaged},
		"spoiled upper tile":  {func(dir string) error { flip(t, filepath.Join(dir, "tile/1/000.p/2"), 9); return nil }, ErrDamaged},
		"spoiled root":        {func(dir string) error { flip(t, filepath.Join(dir, treeStateFile), 25); return nil }, ErrDamaged},
		"another log's notes": {func(dir string) error { flip(t, filepath.Join(dir, checkpointFile), 1); return nil }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyLog(t, honest)
			mustClose(t, mustOpen(t, testConfig(dir)))
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(dir, checkpointFile))
			if _, err := Open(t.Context(), testConfig(dir)); !errors.Is(err, c.want) {
				t.Errorf("open: %v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, checkpointFile)); !slices.Equal(before, after) {
				t.Error("a checkpoint was written")
			}
		})
	}

	// The store does not know a leaf that was never signed.
	unknown := errors.New("not in the store")
	cfg := testConfig(copyLog(t, honest))
	if err := os.WriteFile(filepath.Join(cfg.Dir, checkpointFile), read(half, checkpointFile), filePerm); err != nil {
		t.Fatal(err)
	}
	cfg.Compare = func(index uint64, _ []byte) error {
		if index == 301 {
			return unknown
		}
		return nil
	}
	if _, err := Open(t.Context(), cfg); !errors.Is(err, unknown) {
		t.Errorf("open: %v, want the store's refusal", err)
	}
	if !slices.Equal(read(cfg.Dir, checkpointFile), read(half, checkpointFile)) {
		t.Error("signed what the store does not know")
	}
}
