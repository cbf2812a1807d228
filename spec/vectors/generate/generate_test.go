package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealpost/sealpost/spec/vectors"
)

// The files in the folder are those that the command makes, byte for byte.
func TestRegenerating(t *testing.T) {
	made := Files()
	for name, b := range made {
		held, err := vectors.FS.ReadFile(name)
		if err != nil {
			t.Errorf("%v: run go run ./spec/vectors/generate", err)
		} else if !bytes.Equal(held, b) {
			t.Errorf("%s: regenerating gives other bytes", name)
		}
	}
	err := fs.WalkDir(vectors.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && made[p] == nil {
			if _, empty := made[p]; !empty {
				t.Errorf("%s: nothing makes it", p)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	again := Files()
	for name, b := range made {
		if !bytes.Equal(again[name], b) {
			t.Errorf("%s: two runs give other bytes", name)
		}
	}
}

// The command writes into its folder only, and what it wrote before and no
// longer makes is gone.
func TestRunWritesTheFolder(t *testing.T) {
	out := t.TempDir()
	if err := run(out); err == nil {
		t.Fatal("it wrote into a folder that is not its own")
	}
	stale := filepath.Join(out, "bundles", "stale.sealpost")
	for _, err := range []error{os.WriteFile(filepath.Join(out, "vectors.go"), nil, 0o644), os.Mkdir(filepath.Join(out, "bundles"), 0o755), os.WriteFile(stale, nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := run(out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a stale case stayed")
	}
	b, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err != nil || !bytes.Equal(b, Files()["index.json"]) {
		t.Errorf("the index is not what is made: %v", err)
	}
}
