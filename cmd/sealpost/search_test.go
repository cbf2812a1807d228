package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// A needle is a text in one of the forms in which it could lie about.
type needle struct {
	what string // the text and its form
	form []byte
}

// needleMin is the shortest form worth a search: four bytes are its index.
const needleMin = 8

// needles are the forms of a text: as it is, in hexadecimal, in base64 at each
// of the three places where it can begin in a group, and in UTF-16.
func needles(text string) (out []needle) {
	add := func(form string, b []byte) {
		if len(b) < needleMin {
			panic("a needle that short is found by chance")
		}
		out = append(out, needle{fmt.Sprintf("%q (%s)", text, form), b})
	}
	add("plain", []byte(text))
	add("hex", []byte(hex.EncodeToString([]byte(text))))
	add("HEX", []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))))
	for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 {
			all := enc.EncodeToString(append(make([]byte, before), text...))
			from, to := (before*8+5)/6, (before+len(text))*8/6 // characters that depend on the text alone
			add(fmt.Sprintf("%s+%d", name, before), []byte(all[from:to]))
		}
	}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(text)) {
		little, big = binary.LittleEndian.AppendUint16(little, u), binary.BigEndian.AppendUint16(big, u)
	}
	add("UTF-16LE", little)
	add("UTF-16BE", big)
	return out
}

// A search looks for many needles in one pass.
type search struct {
	maybe  [1 << 16]bool       // by a hash of the first four bytes
	byHead map[uint32][]needle // by the first four bytes
	most   int                 // length of the longest form
}

func newSearch(texts ...string) *search {
	s := &search{byHead: map[uint32][]needle{}}
	for _, text := range texts {
		for _, n := range needles(text) {
			head := binary.LittleEndian.Uint32(n.form)
			s.maybe[headHash(head)] = true
			s.byHead[head] = append(s.byHead[head], n)
			s.most = max(s.most, len(n.form))
		}
	}
	return s
}

func headHash(head uint32) uint32 { return head * 2654435761 >> 16 }

// in names the needles that stand in b.
func (s *search) in(b []byte) (found []string) {
	for i := 0; i+4 <= len(b); i++ {
		head := binary.LittleEndian.Uint32(b[i:])
		if !s.maybe[headHash(head)] {
			continue
		}
		for _, n := range s.byHead[head] {
			if bytes.HasPrefix(b[i:], n.form) && !slices.Contains(found, n.what) {
				found = append(found, n.what)
			}
		}
	}
	return found
}

// none fails the test for each needle that stands in b.
func (s *search) none(t *testing.T, where string, b []byte) {
	t.Helper()
	for _, n := range s.in(b) {
		t.Errorf("%s holds %s", where, n)
	}
}

// inFiles names the needles that stand in the files of a folder, and counts
// the bytes that were read.
func (s *search) inFiles(t *testing.T, root string) (found []string, read int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read += len(b)
		for _, n := range append(s.in(b), s.in([]byte(path))...) {
			found = append(found, path+" holds "+n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, read
}

// memoryChunk is how much of a process is read at once.
const memoryChunk = 4 << 20

// inMemory names the needles that stand in the memory of a live process, and
// counts the bytes that were read. Linux only: what a core dump would hold, and
// the mapped files besides.
func (s *search) inMemory(pid int) (found []string, read int, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, 0, err
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, 0, err
	}
	defer mem.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		from, to, ok := readableRange(lines.Text())
		for ok && from < to {
			b := make([]byte, min(to-from, memoryChunk))
			n, err := mem.ReadAt(b, int64(from))
			if n == 0 || (err != nil && err != io.EOF) {
				break // a guard page, or unmapped since
			}
			read += n
			for _, what := range s.in(b[:n]) {
				found = append(found, fmt.Sprintf("memory at %x holds %s", from, what))
			}
			if n < len(b) || from+uint64(n) == to {
				break
			}
			from += uint64(n - s.most) // a needle may lie across
		}
	}
	return found, read, nil
}

// readableRange reads one line of /proc/PID/maps.
func readableRange(line string) (from, to uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) < 2 || !strings.HasPrefix(f[1], "r") || strings.HasSuffix(line, "[vvar]") || strings.HasSuffix(line, "[vsyscall]") {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(f[0], "-")
	from, errFrom := strconv.ParseUint(a, 16, 64)
	to, errTo := strconv.ParseUint(b, 16, 63)
	return from, to, errFrom == nil && errTo == nil
}

// TestSearchFinds shows that a search that finds nothing means something: each
// form is found at each place, and beside it nothing is.
func TestSearchFinds(t *testing.T) {
	const text = "Xkanarivogel0042"
	s := newSearch(text, "491555999001")
	noise := []byte(strings.Repeat("Xkanarivoge 0042 49155599900 ", 20))
	s.none(t, "noise", noise)
	for before := range 9 {
		raw := append(bytes.Repeat([]byte{'a'}, before), text+"zz"...)
		for form, b := range map[string][]byte{
			"plain":     raw,
			"hex":       []byte(hex.EncodeToString(raw)),
			"HEX":       bytes.ToUpper([]byte(hex.EncodeToString(raw))),
			"base64":    []byte(base64.StdEncoding.EncodeToString(raw)),
			"base64url": []byte(base64.URLEncoding.EncodeToString(raw)),
		} {
			if got := s.in(slices.Concat(noise, b, noise)); len(got) == 0 {
				t.Errorf("%s after %d bytes: not found", form, before)
			}
		}
	}
	for i := range needles(text) { // spoil one byte of each form: not found
		n := needles(text)[i]
		for at := range n.form {
			b := bytes.Clone(n.form)
			b[at] ^= 1
			if got := s.in(b); len(got) != 0 {
				t.Errorf("%s with byte %d spoiled: found %v", n.what, at, got)
			}
		}
	}
}
