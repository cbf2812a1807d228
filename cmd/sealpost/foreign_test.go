package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// R41: a checker that is not ours accepts the demo's log as it is on disk, and
// refuses it with one byte changed.
func TestForeignCheckerAcceptsTheLog(t *testing.T) {
	d := demoFolders(t)
	dir := filepath.Join(t.TempDir(), "log")
	copyTree(t, filepath.Join(d.data, relayDir, "log"), dir)
	vkey := strings.TrimSpace(string(mustRead(t, filepath.Join(d.data, relayDir, "log.vkey"))))
	if err := foreignCheck(t, dir, vkey); err != nil {
		t.Fatalf("the demo's log: %v", err)
	}
	size := d.summary.Log.Size
	for _, name := range []string{
		"checkpoint",
		fmt.Sprintf("tile/0/000.p/%d", size),
		fmt.Sprintf("tile/entries/000.p/%d", size),
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		honest := mustRead(t, path)
		flip(t, path, len(honest)/2, 1)
		if err := foreignCheck(t, dir, vkey); err == nil {
			t.Errorf("%s with one bit flipped is accepted", name)
		}
		if err := os.WriteFile(path, honest, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := foreignCheck(t, dir, vkey); err != nil {
		t.Errorf("restored: %v", err)
	}
}

func foreignCheck(t *testing.T, dir, vkey string) error {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return fsck.New(v.Name(), v, &client.FileFetcher{Root: dir}, entryHashes, fsck.Opts{N: 2}).Check(t.Context())
}

// entryHashes are the RFC 6962 leaf hashes of one entry bundle.
func entryHashes(bundle []byte) (hashes [][]byte, err error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	for _, e := range b.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}
