//go:build !linux

package store

import "os"

func eraseRange(f *os.File, start, length int64) error { return overwrite(f, start, length) }

func syncData(f *os.File) error { return f.Sync() }
