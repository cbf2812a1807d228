package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// Keys is the key service: it wraps the store's own keys, so that the data
// folder without it is noise. purpose binds a wrapped key to its use; Unwrap
// with another purpose, or of what Wrap did not make, returns an error matching
// [ErrDamaged], and any other error where the service cannot be asked. Both may be called concurrently and may be slow;
// the store caches what it unwraps.
type Keys interface {
	Wrap(purpose string, key []byte) ([]byte, error)
	Unwrap(purpose string, wrapped []byte) ([]byte, error)
}

// FileKeys is a key service for one machine: its key-encryption key is 32
// bytes in a file that must lie outside the data folder and its backup.
type FileKeys struct {
	path string
	aead func() cipher.AEAD // a closure, so that nothing can print a key
}

const kekSize = 32 // bytes of a key-encryption key, AES-256

// NewFileKeys reads the key-encryption key at path, or draws it where there is
// none. It refuses a file that others than its owner may read.
func NewFileKeys(path string) (*FileKeys, error) {
	kek, err := readKEK(path)
	if errors.Is(err, fs.ErrNotExist) {
		kek, err = createKEK(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	aead, err := randomNonceGCM(kek)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	return &FileKeys{path, func() cipher.AEAD { return aead }}, nil
}

func readKEK(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %o, want 600", path, info.Mode().Perm())
	}
	kek, err := os.ReadFile(path)
	if err == nil && len(kek) != kekSize {
		err = fmt.Errorf("%s has %d bytes, want %d", path, len(kek), kekSize)
	}
	return kek, err
}

// createKEK writes a new key and makes it durable before anything is wrapped
// under it.
func createKEK(path string) (kek []byte, err error) {
	kek = make([]byte, kekSize)
	if _, err := rand.Read(kek); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(kek)
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	return kek, nil
}

// Wrap encrypts key with AES-256-GCM, bound to purpose.
func (k *FileKeys) Wrap(purpose string, key []byte) ([]byte, error) {
	return k.aead().Seal(nil, nil, key, []byte(purpose)), nil
}

// Unwrap decrypts what Wrap made for the same purpose.
func (k *FileKeys) Unwrap(purpose string, wrapped []byte) ([]byte, error) {
	key, err := k.aead().Open(nil, nil, wrapped, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("%w: a wrapped key does not open: it is damaged (restore the data folder from a backup), or this is another key file", ErrDamaged)
	}
	return key, nil
}

// Format prints the path only.
func (k *FileKeys) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[keys in "+k.path+"]") }

// LogValue prints the path only.
func (k *FileKeys) LogValue() slog.Value { return slog.StringValue("[keys in " + k.path + "]") }

// liesIn says whether the key file lies in the folder that it protects.
func (k *FileKeys) liesIn(dir string) bool {
	file, err1 := filepath.Abs(k.path)
	folder, err2 := filepath.Abs(dir)
	if err1 != nil || err2 != nil {
		return true
	}
	rel, err := filepath.Rel(folder, file)
	return err == nil && filepath.IsLocal(rel)
}

// randomNonceGCM is AES-256-GCM that draws each nonce and puts it in front.
func randomNonceGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
