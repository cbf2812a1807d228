package signer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/sealpost/sealpost"
)

// ErrInUse says that another process, or another part of this one, holds the
// guard or its key.
var ErrInUse = errors.New("the signing guard is in use")

// headVersion is the first line of a head file.
const headVersion = "sealpost-signing-guard-v1"

// The files of a guard's folder.
const (
	headName  = "head"
	headDraft = "head.next"
	headLock  = "lock"
)

// A headState is the file: five lines, in one form.
type headState struct {
	id     string // drawn once; the key names it, so that no second guard serves that key
	origin string
	head   sealpost.Head
}

func (s headState) String() string {
	return fmt.Sprintf("%s\n%s\n%s\n%d\n%s\n", headVersion, s.id, s.origin, s.head.Size, base64.StdEncoding.EncodeToString(s.head.Root[:]))
}

// parseHeadState accepts exactly what String writes.
func parseHeadState(text string) (s headState, err error) {
	bad := errors.New("it is damaged")
	lines := strings.Split(text, "\n")
	if len(lines) != 6 || len(lines[1]) != 2*guardIDSize {
		return s, bad
	}
	s.id, s.origin = lines[1], lines[2]
	if s.head.Size, err = strconv.ParseUint(lines[3], 10, 64); err != nil {
		return s, bad
	}
	root, err := base64.StdEncoding.DecodeString(lines[4])
	if err != nil || len(root) != len(s.head.Root) {
		return s, bad
	}
	copy(s.head.Root[:], root)
	if s.String() != text || s.head.Size == 0 && s.head != Nothing {
		return s, bad
	}
	return s, nil
}

const guardIDSize = 16 // bytes

// HeadFile is the [Heads] of one machine: a file in a folder that it locks.
type HeadFile struct {
	dir  string
	lock *os.File
	id   string

	mu     sync.Mutex
	origin string
	step   func(name string) error // before and after what is durable; for tests
}

// OpenHeadFile takes the folder, and begins a file at [Nothing] in it if begin
// says so and there is none. Where there is none and begin is false the error
// matches fs.ErrNotExist.
func OpenHeadFile(dir, origin string, begin bool) (*HeadFile, error) {
	if begin {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := lockFile(filepath.Join(dir, headLock))
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", dir, err)
	}
	h := &HeadFile{dir: dir, lock: lock, origin: origin, step: func(string) error { return nil }}
	if err := h.begin(begin); err != nil {
		return nil, errors.Join(fmt.Errorf("guard %s: %w", dir, err), lock.Close())
	}
	return h, nil
}

// lockFile makes a file and takes it with flock(2), which ends with the process
// and excludes a second owner in the same process too.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (h *HeadFile) begin(make bool) error {
	s, err := readHeadState(h.dir)
	if errors.Is(err, fs.ErrNotExist) && make {
		id := [guardIDSize]byte{}
		rand.Read(id[:])
		s = headState{hex.EncodeToString(id[:]), h.origin, Nothing}
		err = h.write(s)
	}
	if err != nil {
		return err
	}
	if s.origin != h.origin {
		return fmt.Errorf("it is the guard of log %q, not of %q", s.origin, h.origin)
	}
	h.id = s.id
	return nil
}

// ReadHead returns what a guard's folder holds, without taking it.
func ReadHead(dir string) (sealpost.Head, error) {
	s, err := readHeadState(dir)
	return s.head, err
}

func readHeadState(dir string) (headState, error) {
	path := filepath.Join(dir, headName)
	b, err := os.ReadFile(path)
	if err != nil {
		return headState{}, err
	}
	s, err := parseHeadState(string(b))
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Last reads the file.
func (h *HeadFile) Last(context.Context) (sealpost.Head, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.read()
	return s.head, err
}

// read takes no file but its own: one that was put in its place is not it.
func (h *HeadFile) read() (headState, error) {
	s, err := readHeadState(h.dir)
	if err == nil && s.id != h.id {
		err = fmt.Errorf("guard %s: its file was exchanged", h.dir)
	}
	return s, err
}

// Swap replaces the file. It writes also where from is to: the Swap that wrote
// it first may have failed before the disk had it.
func (h *HeadFile) Swap(_ context.Context, from, to sealpost.Head) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.read()
	if err != nil {
		return err
	}
	if s.head != from {
		return ErrMoved
	}
	s.head = to
	return h.write(s)
}

// write replaces the file: a crash leaves the old one or the new one, and a
// draft that the next write takes over.
func (h *HeadFile) write(s headState) error {
	draft, name := filepath.Join(h.dir, headDraft), filepath.Join(h.dir, headName)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return writeSynced(draft, s.String()) }},
		{"rename", func() error { return os.Rename(draft, name) }},
		{"sync", func() error { return syncDir(h.dir) }},
	} {
		if err := h.step("before " + step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
		if err := h.step("after " + step.name); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close lets the folder go.
func (h *HeadFile) Close() error { return h.lock.Close() }
