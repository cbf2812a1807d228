// Package signer keeps the relay's own keys, each bound to one purpose: the
// log's note key and the statement key. This is the file kind, for development
// and for a machine whose disk is trusted; key services come behind the same
// functions.
//
// The log's key signs behind a [Guard], which remembers the last head that was
// signed, outside the log and its backup, and signs only what extends it. A
// relay that was put back to an older copy of its log signs nothing.
//
// A key file names its purpose, and a key of another purpose is refused, so
// that no configuration can make one key sign two kinds of things.
//
// # Errors
//
// Every error leaves the file as it was. A file that others can read is
// refused: a key that leaked once is no key.
package signer

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealpost/sealpost"
)

// Loud is what serve prints when its keys are files.
const Loud = "the relay's keys are files on this disk: whoever reads them can sign as this relay"

// fileMax bounds a key file, bytes.
const fileMax = 4 << 10

// purposeStatement is the first word of a statement key's file.
const purposeStatement = "sealpost-statement-key-v1"

// Statement loads the statement key at path, and makes it if there is none.
func Statement(path string) (*sealpost.PrivateKey, error) {
	return keyFile(path, purposeStatement)
}

func keyFile(path, purpose string) (*sealpost.PrivateKey, error) {
	text, err := loadOrMake(path, func() (string, error) {
		k, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
		if err != nil {
			return "", err
		}
		return purpose + " " + base64.StdEncoding.EncodeToString(k.Seed()), nil
	})
	if err != nil {
		return nil, err
	}
	found, secret, _ := strings.Cut(text, " ")
	if found != purpose {
		return nil, fmt.Errorf("key file %s: it is not a %s", path, purpose)
	}
	seed, err := base64.StdEncoding.Strict().DecodeString(secret)
	if err != nil {
		return nil, fmt.Errorf("key file %s: it is damaged", path)
	}
	k, err := sealpost.NewPrivateKey(sealpost.EdDSA, seed)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// loadOrMake reads a key file, or writes a new one durably with mode 0600.
func loadOrMake(path string, make func() (string, error)) (string, error) {
	text, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = make(); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	if err := write(path, text+"\n"); err != nil {
		return "", fmt.Errorf("key file %s: %w", path, err)
	}
	return text, nil
}

func load(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("key file %s: others can read it (mode %o); run chmod 600 on it", path, info.Mode().Perm())
	}
	if info.Size() > fileMax {
		return "", fmt.Errorf("key file %s: larger than %d bytes", path, fileMax)
	}
	b, err := os.ReadFile(path)
	return strings.TrimSuffix(string(b), "\n"), err
}

// write makes the file whole or not at all, and never over another.
func write(path, text string) error { return writeFile(path, text, os.Link) } // Link fails where path exists

// replace puts a file in the place of another.
func replace(path, text string) error { return writeFile(path, text, os.Rename) }

func writeFile(path, text string, put func(draft, path string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}
