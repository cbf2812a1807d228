package translog

import (
	"encoding/base64"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Drafts that a crash left are removed; files of the tree are not.
func TestDraftsAreSwept(t *testing.T) {
	dir := builtLog(t, 300, 300)
	drafts := []string{
		".state/treeState1234567", ".state/checkpoint.next", "checkpoint99",
		"tile/0/002998877", "tile/0/003123456789", "tile/entries/0021", "tile/0/002.p/8812345", "tile/0/002.p/256",
		"tile/0/002.p/89", "tile/0/002", "tile/0/003.p/1", "tile/entries/003", "tile/1/000.p/3", // whole, but beyond the tree "tile/entries/002.p/88999999",
	}
	if err := os.MkdirAll(filepath.Join(dir, "tile/0/003.p"), dirPerm); err != nil {
		t.Fatal(err)
	}
	for _, name := range drafts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), filePerm); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, mustOpen(t, testConfig(dir)))
	for _, name := range drafts {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s stays", name)
		}
	}
	if report := mustFsck(t, dir, 600); len(report.Leftovers) > 0 {
		t.Errorf("leftovers %v", report.Leftovers)
	}
}

// Partial files go once a checkpoint shows the full file, and not before.
func TestPartialsAreSwept(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	growth(t, l, 200, 200, 300)
	l.loop.Go(l.sweepPartials)
	mustClose(t, l)
	for name, want := range map[string]bool{
		"tile/0/000.p": false, "tile/entries/000.p": false, "tile/0/001.p": false, "tile/entries/001.p": false,
		"tile/0/002.p/188": true, "tile/entries/002.p/188": true, "tile/1/000.p/2": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: there is %v, want %v", name, err == nil, want)
		}
	}
	if got := readSwept(dir, 700); got != 2 {
		t.Errorf("swept mark %d, want 2", got)
	}
	mustFsck(t, dir, 700)
	if got := len(filledBy(1<<16 - 1)); got != 4 {
		t.Errorf("the 65536th bundle fills %d files, want 4", got)
	}
}

func TestWidths(t *testing.T) {
	for _, c := range []struct {
		name tileName
		size uint64
		want int
	}{
		{tileName{}, 0, 0}, {tileName{}, 1, 1}, {tileName{}, 255, 255}, {tileName{}, 256, 256}, {tileName{}, 1 << 40, 256},
		{tileName{index: 1}, 256, 0}, {tileName{index: 1}, 257, 1}, {tileName{entries: true, index: 1}, 300, 44},
		{tileName{level: 1}, 255, 0}, {tileName{level: 1}, 600, 2}, {tileName{level: 7}, math.MaxUint64, 255},
		{tileName{index: math.MaxUint64 / 2}, 1 << 40, 0},
	} {
		if got := c.name.widthAt(c.size); got != c.want {
			t.Errorf("%+v in %d: %d wide, want %d", c.name, c.size, got, c.want)
		}
	}
}

// Accepted bytes re-encode to themselves, whatever is asked for.
func FuzzTileName(f *testing.F) {
	for _, s := range []string{
		"tile/0/000", "tile/0/000.p/255", "tile/entries/x001/x234/067.p/8", "tile/7/000", "tile/8/000", "tile/0/../../x",
		"tile/entries/x999/x999/x999/x999/x999/999", "checkpoint", "tile/0/000.p/0", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseTileName(s)
		if !ok {
			return
		}
		if n.path() != s || strings.Contains(s, "..") || n.width < 1 || n.width > tileWidth || n.level > levelMax {
			t.Errorf("accepted %q as %+v", s, n)
		}
	})
}

func FuzzTreeState(f *testing.F) {
	f.Add([]byte(`{"size":1,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`))
	f.Add([]byte(`{"Size":1,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV="}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseTreeState(raw)
		if err != nil {
			return
		}
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, stateDir), dirPerm); err != nil {
			t.Fatal(err)
		}
		if err := writeTreeState(dir, s); err != nil {
			t.Fatal(err)
		}
		if again, err := os.ReadFile(filepath.Join(dir, treeStateFile)); err != nil || string(again) != string(raw) {
			t.Errorf("accepted %q, wrote %q", raw, again)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add("o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Add("o\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Add("o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\nextension\n")
	f.Fuzz(func(t *testing.T, text string) {
		size, root, err := parseCheckpointText(text, "o")
		if err != nil {
			return
		}
		if again := fmt.Sprintf("o\n%d\n%s\n", size, base64.StdEncoding.EncodeToString(root[:])); again != text {
			t.Errorf("accepted %q, writes %q", text, again)
		}
	})
}
