package signer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestStatementKeyIsMadeOnceAndBoundToItsPurpose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "statement.key")
	first, err := Statement(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Statement(path)
	if err != nil || again.Public() != first.Public() {
		t.Fatalf("second load: %v, same key %v", err, again.Public() == first.Public())
	}
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoiled := range map[string]string{
		"another purpose": strings.Replace(string(honest), "statement", "receipts!", 1),
		"a short seed":    purposeStatement + " AAAA\n",
		"not base64":      purposeStatement + " ****\n",
		"empty":           "",
		"too long":        strings.Repeat("x", fileMax+1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(spoiled), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Statement(path); err == nil {
				t.Error("accepted")
			}
			if after, _ := os.ReadFile(path); string(after) != spoiled {
				t.Error("a refused key file was changed")
			}
		})
	}
	t.Run("readable by others", func(t *testing.T) {
		if err := os.WriteFile(path, honest, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Statement(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("want the mend in the error, got %v", err)
		}
	})
}

func TestLogKeyKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	path, guard := filepath.Join(dir, "log.key"), filepath.Join(dir, "guard")
	k, err := OpenLog(path, guard, "log.example/one")
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(k.VKey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := k.Sign(t.Context(), Nothing, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
		t.Errorf("the halves do not match: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := LogVKey(path, guard, "log.example/two"); err == nil {
		t.Error("a key of one log served another")
	}
	if _, err := Statement(path); err == nil {
		t.Error("a log key served as a statement key")
	}
}
