package lab

import (
	"bytes"
	"sync"
	"time"
)

// Bounds of a journal that was configured without any.
const (
	JournalEntriesDefault = 16384
	JournalBytesDefault   = 64 << 20
)

// An Entry is one request as it arrived, whatever the answer was.
type Entry struct {
	Seq    uint64    `json:"seq"` // 1 for the first request the server saw
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Proto  string    `json:"proto"`  // "HTTP/1.1", "HTTP/2.0"
	Status int       `json:"status"` // 0: the connection was broken instead
	Code   string    `json:"code,omitempty"`
	Body   []byte    `json:"body,omitempty"` // raw; do not modify
}

// A Journal keeps the newest requests, bounded by count and by bytes. It is safe
// for concurrent use.
type Journal struct {
	mu       sync.Mutex
	ring     []Entry
	head     int // index of the oldest entry
	count    int
	bytes    int
	maxBytes int
	seen     uint64
	codes    map[string]uint64
}

// NewJournal makes a journal of at most entries requests whose bodies together
// hold at most maxBytes. Zero means the default.
func NewJournal(entries, maxBytes int) *Journal {
	if entries <= 0 {
		entries = JournalEntriesDefault
	}
	if maxBytes <= 0 {
		maxBytes = JournalBytesDefault
	}
	return &Journal{ring: make([]Entry, entries), maxBytes: maxBytes, codes: map[string]uint64{}}
}

func (j *Journal) add(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen++
	e.Seq = j.seen
	j.codes[e.Code]++
	for j.count > 0 && (j.count == len(j.ring) || j.bytes+len(e.Body) > j.maxBytes) {
		j.bytes -= len(j.ring[j.head].Body)
		j.ring[j.head] = Entry{}
		j.head = (j.head + 1) % len(j.ring)
		j.count--
	}
	if j.bytes+len(e.Body) > j.maxBytes {
		e.Body = e.Body[:j.maxBytes-j.bytes]
	}
	j.ring[(j.head+j.count)%len(j.ring)] = e
	j.count++
	j.bytes += len(e.Body)
}

// Seen is the number of requests ever recorded, dropped ones included. A search
// that found nothing proves something only while Seen equals len(Entries()).
func (j *Journal) Seen() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seen
}

// Count is the number of requests ever answered with this code ("" is a success).
func (j *Journal) Count(code string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.codes[code]
}

// Entries returns what is kept, oldest first.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Entry, 0, j.count)
	for i := range j.count {
		out = append(out, j.ring[(j.head+i)%len(j.ring)])
	}
	return out
}

// Find returns the first kept entry whose path or raw body holds canary.
func (j *Journal) Find(canary []byte) (Entry, bool) {
	for _, e := range j.Entries() {
		if bytes.Contains(e.Body, canary) || bytes.Contains([]byte(e.Path), canary) {
			return e, true
		}
	}
	return Entry{}, false
}
