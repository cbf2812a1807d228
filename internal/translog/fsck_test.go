package translog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// builtLog makes a log with partial files of several sizes at three places.
func builtLog(t testing.TB, batches ...int) string {
	t.Helper()
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	for _, n := range batches {
		mustAppend(t, l, n)
	}
	mustClose(t, l)
	return dir
}

// logFiles lists every file that Fsck answers for.
func logFiles(t testing.TB, dir string) []string {
	t.Helper()
	names := []string{checkpointFile, treeStateFile}
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, p)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// R39: whichever byte of whichever file changes, the check names that file and
// the place in it.
func TestEveryFlippedByteIsNamed(t *testing.T) {
	dir := builtLog(t, 300, 5, 1, 600, 20, 7)
	mustFsck(t, dir, 933)
	files := logFiles(t, dir)
	if len(files) < 15 {
		t.Fatalf("only %d files: %v", len(files), files)
	}
	for _, name := range files {
		file := filepath.Join(dir, name)
		honest, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range places(len(honest), strings.HasPrefix(name, "tile")) {
			for _, bit := range []byte{1, 2, 0x80} {
				spoiled := slices.Clone(honest)
				spoiled[at] ^= bit
				if err := os.WriteFile(file, spoiled, filePerm); err != nil {
					t.Fatal(err)
				}
				mustAccuse(t, dir, name, at)
			}
		}
		if err := os.WriteFile(file, honest, filePerm); err != nil {
			t.Fatal(err)
		}
	}
	mustFsck(t, dir, 933)
}

// places are the offsets to try: all of a small file, some of a tile.
func places(size int, tile bool) []int {
	var at []int
	step := 1
	if tile {
		step = max(1, size/5)
	}
	for i := 0; i < size; i += step {
		at = append(at, i)
	}
	return append(at, size-1)
}

// mustAccuse demands that the check finds damage, and all of it in one file.
func mustAccuse(t testing.TB, dir, name string, at int) {
	t.Helper()
	_, err := Fsck(t.Context(), dir, testKey.verifier, FsckOptions{OnLeaf: isTestLeaf})
	damage, ok := errors.AsType[*DamageError](err)
	if !ok {
		t.Fatalf("%s, byte %d flipped: %v", name, at, err)
	}
	placed := !strings.HasPrefix(name, "tile/")
	for _, f := range damage.Faults {
		if f.File != name {
			t.Errorf("%s, byte %d flipped: accused %v", name, at, f)
		}
		if f.To > f.From && (int64(at) < f.From || int64(at) >= f.To) {
			t.Errorf("%s, byte %d flipped: named the wrong place: %v", name, at, f)
		}
		placed = placed || f.To > 0 && f.End == f.First+1 || f.To > 0 && strings.HasPrefix(name, "tile/1")
	}
	if !placed {
		t.Errorf("%s, byte %d flipped: no place named in %v", name, at, err)
	}
}

// Files cut short, lengthened or missing are named too, and a copy without the
// private state can be checked.
func TestFilesMissingAndCut(t *testing.T) {
	honest := builtLog(t, 300, 300)
	for name, spoil := range map[string]func(file string) error{
		"cut":     func(f string) error { return os.Truncate(f, 31) },
		"longer":  func(f string) error { return appendTo(f, make([]byte, 35)) },
		"missing": os.Remove,
	} {
		for _, file := range []string{"checkpoint", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"} {
			t.Run(name+" "+file, func(t *testing.T) {
				dir := copyLog(t, honest)
				if err := spoil(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				_, err := Fsck(t.Context(), dir, testKey.verifier, FsckOptions{})
				damage, ok := errors.AsType[*DamageError](err)
				if !ok || damage.Faults[0].File != file {
					t.Errorf("%v, want damage in %s", err, file)
				}
			})
		}
	}
	public := copyLog(t, honest)
	if err := os.RemoveAll(filepath.Join(public, stateDir)); err != nil {
		t.Fatal(err)
	}
	mustFsck(t, public, 600)
}

func appendTo(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func copyLog(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// Base64 has bits that no signature covers: a note changed there still opens,
// and is named all the same.
func TestLooseBase64IsNamed(t *testing.T) {
	dir := builtLog(t, 10)
	file := filepath.Join(dir, checkpointFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(raw) - len("x=\n")
	raw[last] = alphabet[strings.IndexByte(alphabet, raw[last])+1]
	if _, err := note.Open(raw, note.VerifierList(testKey.verifier)); err != nil {
		t.Fatalf("the premise fails: %v", err)
	}
	if err := os.WriteFile(file, raw, filePerm); err != nil {
		t.Fatal(err)
	}
	mustAccuse(t, dir, checkpointFile, last)
}

// A history that is changed in all its files is still not the signed one, and
// a checkpoint by another key is none.
func TestRewrittenHistory(t *testing.T) {
	dir := builtLog(t, 700)
	other := t.TempDir()
	l := mustOpen(t, testConfig(other))
	leaves := testLeaves(0, 700)
	leaves[600][5] ^= 1
	if _, err := l.Append(t.Context(), leaves); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if _, err := Fsck(t.Context(), other, testKey.verifier, FsckOptions{}); err != nil {
		t.Fatal(err) // a sound log, but another one
	}
	if err := os.RemoveAll(filepath.Join(other, stateDir)); err != nil {
		t.Fatal(err)
	}
	honest, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, checkpointFile), honest, filePerm); err != nil {
		t.Fatal(err)
	}
	_, err = Fsck(t.Context(), other, testKey.verifier, FsckOptions{})
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.Faults[0].File != checkpointFile {
		t.Errorf("rewritten history: %v", err)
	}

	_, vkey, err := GenerateKey(testKey.verifier.Name())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fsck(t.Context(), dir, stranger, FsckOptions{}); err == nil {
		t.Error("accepted under another key")
	}
	if _, err := Fsck(t.Context(), dir, testKey.verifier, FsckOptions{Verifiers: []note.Verifier{stranger}}); err == nil {
		t.Error("accepted without the second signature")
	}
}

// The caller's own comparison names the leaf; a check that was stopped is not
// a verdict.
func TestFsckCallerAndContext(t *testing.T) {
	dir := builtLog(t, 700)
	differs := errors.New("the store has another leaf")
	_, err := Fsck(t.Context(), dir, testKey.verifier, FsckOptions{OnLeaf: func(index uint64, _ []byte) error {
		if index == 300 {
			return differs
		}
		return nil
	}})
	damage, ok := errors.AsType[*DamageError](err)
	if !ok || !errors.Is(err, differs) || len(damage.Faults) != 1 {
		t.Fatalf("%v, want one fault", err)
	}
	if f := damage.Faults[0]; f.File != "tile/entries/001" || f.First != 300 || f.From != 44*entrySize {
		t.Errorf("named %+v", f)
	}
	_, err = Fsck(t.Context(), dir, testKey.verifier, FsckOptions{FaultsMax: 3, OnLeaf: func(uint64, []byte) error { return differs }})
	if damage, ok := errors.AsType[*DamageError](err); !ok || len(damage.Faults) != 3 {
		t.Errorf("%v, want three faults", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Fsck(ctx, dir, testKey.verifier, FsckOptions{})
	if _, ok := errors.AsType[*DamageError](err); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("stopped check: %v", err)
	}
}

// foreignHasher reads bundles as Tessera's own tool does.
func foreignHasher(bundle []byte) ([][]byte, error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, e := range b.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}

func foreignCheck(t testing.TB, dir string) error {
	t.Helper()
	return fsck.New(testKey.verifier.Name(), testKey.verifier, client.FileFetcher{Root: dir}, foreignHasher, fsck.Opts{N: 2}).Check(t.Context())
}

// R41: Tessera's fsck accepts our log and sees the bytes that we flip.
func TestForeignCheck(t *testing.T) {
	dir := builtLog(t, 300, 5, 1000)
	if err := foreignCheck(t, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tile/0/001", "tile/1/000.p/5", "tile/entries/002", "tile/entries/005.p/25", "checkpoint"} {
		spoiled := copyLog(t, dir)
		flip(t, filepath.Join(spoiled, name), 40)
		if err := foreignCheck(t, spoiled); err == nil {
			t.Errorf("%s: flipped byte not seen by the foreign checker", name)
		}
	}
}
