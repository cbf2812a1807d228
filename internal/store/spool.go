package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/sealpost/sealpost"
)

// The spool holds the sealed envelopes in append-only segments. A group is one
// write and one sync, before the transaction that refers to it. A blob is
// erased in place when it is given up, and a segment is deleted once nothing
// refers to it any more.
type spool struct {
	dir string

	putting sync.Mutex // one group at a time: id and tail are its

	mu     sync.Mutex
	files  map[int64]*os.File // open segments
	id     int64              // of the segment being written
	tail   int64              // where the next blob goes in it
	orphan map[int64]int      // by segment: blobs that no transaction refers to yet
}

// A ref is where a blob lies.
type ref struct{ segment, start, length int64 }

const segmentSuffix = ".seg"

func segmentName(id int64) string { return fmt.Sprintf("%012d%s", id, segmentSuffix) }

// openSpool goes on after the segment id that is committed up to tail. Bytes
// beyond, and segments that no row knows, are of groups that never committed.
func openSpool(dir string, known map[int64]bool, id, tail int64) (*spool, error) {
	s := &spool{dir: dir, files: map[int64]*os.File{}, id: id, tail: tail, orphan: map[int64]int{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), segmentSuffix), 10, 64)
		if err != nil || e.Name() != segmentName(n) {
			return nil, fmt.Errorf("%s is not of the spool", e.Name())
		}
		if !known[n] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	if !known[id] {
		return s, nil
	}
	f, err := s.file(id)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < tail {
		return nil, fmt.Errorf("%w: spool segment %d has %d bytes, the database refers to %d", ErrDamaged, id, info.Size(), tail)
	}
	return s, f.Truncate(tail)
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = map[int64]*os.File{}
	return errors.Join(errs...)
}

// file opens a segment that exists.
func (s *spool) file(id int64) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.files[id]; ok {
		return f, nil
	}
	f, err := os.OpenFile(filepath.Join(s.dir, segmentName(id)), os.O_RDWR, 0)
	if err == nil {
		s.files[id] = f
	}
	return f, err
}

// put writes and syncs blobs behind each other and says where each is.
func (s *spool) put(blobs [][]byte) ([]sealpost.Spooled, error) {
	size := int64(0)
	for _, b := range blobs {
		size += int64(len(b))
	}
	s.putting.Lock()
	defer s.putting.Unlock()
	id, start := s.reserve(size, len(blobs))
	spooled, all := make([]sealpost.Spooled, len(blobs)), make([]byte, 0, size)
	for i, b := range blobs {
		spooled[i] = sealpost.Spooled{Segment: id, Start: start + int64(len(all)), Length: int64(len(b))}
		all = append(all, b...)
	}
	return spooled, s.write(id, start, all)
}

// reserve says where the next n blobs go, and keeps their segment.
func (s *spool) reserve(size int64, n int) (id, start int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == 0 || (s.tail > 0 && s.tail+size > SegmentMax) {
		s.id, s.tail = s.id+1, 0
	}
	id, start = s.id, s.tail
	s.tail += size
	s.orphan[id] += n
	return id, start
}

// settled says that n blobs of a segment are referred to now, or erased.
func (s *spool) settled(id int64, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orphan[id] -= n; s.orphan[id] <= 0 {
		delete(s.orphan, id)
	}
}

// isAwaited says whether a transaction may yet refer to a segment.
func (s *spool) isAwaited(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orphan[id] > 0 || id == s.id
}

// giveUp erases a blob that nothing refers to.
func (s *spool) giveUp(r ref) error {
	if err := s.erase(r.segment, []ref{r}); err != nil {
		return err
	}
	s.settled(r.segment, 1)
	return nil
}

// write puts the bytes of a group at its place and syncs them.
func (s *spool) write(id, start int64, b []byte) error {
	f, err := s.file(id)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.create(id)
	}
	if err != nil {
		return fmt.Errorf("open spool segment %d: %w", id, err)
	}
	if _, err := f.WriteAt(b, start); err != nil {
		return fmt.Errorf("write spool segment %d: %w", id, err)
	}
	if err := syncData(f); err != nil {
		return fmt.Errorf("sync spool segment %d: %w", id, err)
	}
	return nil
}

func (s *spool) create(id int64) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(s.dir, segmentName(id)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s.files[id] = f
	return f, syncDir(s.dir)
}

// read returns a blob's bytes.
func (s *spool) read(r ref) ([]byte, error) {
	f, err := s.file(r.segment)
	if err != nil {
		return nil, fmt.Errorf("%w: spool segment %d: %w", ErrDamaged, r.segment, err)
	}
	b := make([]byte, r.length)
	if _, err := f.ReadAt(b, r.start); err != nil {
		return nil, fmt.Errorf("%w: spool segment %d at %d: %w", ErrDamaged, r.segment, r.start, err)
	}
	return b, nil
}

// erase makes ranges of one segment unreadable, for good once it returns.
func (s *spool) erase(segment int64, ranges []ref) error {
	f, err := s.file(segment)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if err := eraseRange(f, r.start, r.length); err != nil {
			return fmt.Errorf("erase %d bytes at %d of spool segment %d: %w", r.length, r.start, segment, err)
		}
	}
	return syncData(f)
}

// remove deletes a segment that nothing refers to.
func (s *spool) remove(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.files[id]; ok {
		delete(s.files, id)
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(s.dir, segmentName(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(s.dir)
}

// overwrite is how a range is erased where holes cannot be punched.
func overwrite(f *os.File, start, length int64) error {
	zeros := make([]byte, min(length, 64<<10))
	for length > 0 {
		n := min(length, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], start); err != nil {
			return err
		}
		start, length = start+n, length-n
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
