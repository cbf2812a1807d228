package store

import (
	"errors"
	"os"
	"syscall"
)

// fallocate(2): free the blocks, keep the size; the range reads as zeros.
const punchHole = 0x02 | 0x01

func eraseRange(f *os.File, start, length int64) error {
	err := syscall.Fallocate(int(f.Fd()), punchHole, start, length)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return overwrite(f, start, length)
	}
	return err
}

// syncData is fdatasync(2): the bytes and the size, without the times.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
