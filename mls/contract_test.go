package mls_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
)

// DESIGN section 5, wall 5.
func TestSoftwareSigners(t *testing.T) {
	for suite, c := range map[mls.Suite]struct {
		size int
		make func([]byte) (mls.Signer, error)
	}{
		mls.X25519AES128: {32, mls.NewEd25519Signer}, mls.X25519ChaCha: {32, mls.NewEd25519Signer},
		mls.P256AES128: {32, mls.NewP256Signer}, mls.P384AES256: {48, mls.NewP384Signer}, mls.P521AES256: {66, mls.NewP521Signer},
	} {
		secret := append([]byte{0}, bytes.Repeat([]byte{7}, c.size-1)...) // below every curve's order
		s, err := c.make(secret)
		if err != nil {
			t.Fatal(err)
		}
		mlstest.Signer(t, suite, s, secret)
		if _, err := c.make(secret[1:]); err == nil {
			t.Errorf("suite %d: a signer of a private key that is too short", suite)
		}
	}
}

// Wall 5: the store of the tests is no kinder than another.
func TestMemoryStore(t *testing.T) {
	mlstest.Store(t, func(*testing.T) (mls.Store, func() mls.Store) { return new(mlstest.Memory), nil })
}

// Wall 5: the validator that the example shows is one to copy.
func TestKnownKeys(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	mlstest.Validator(t, knownKeys{key}, mls.BasicCredential([]byte("phone")), key)
}

// TestREADMEIsTheExample: the code that the README shows is that of the Example,
// which is compiled and run.
func TestREADMEIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```go\n")
	shown, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		t.Fatal("the README shows no code")
	}
	if inside := "\t" + strings.ReplaceAll(shown, "\n", "\n\t"); !strings.Contains(string(example), strings.ReplaceAll(inside, "\n\t\n", "\n\n")) {
		t.Errorf("the Example has not what the README shows:\n%s", shown)
	}
}
