//go:build !unix

package store

import (
	"errors"
	"fmt"
	"os"
)

// lockFile takes the folder for this process by creating a file that must not
// exist; after a crash an operator removes it.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path+".held", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}
