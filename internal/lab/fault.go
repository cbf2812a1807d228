package lab

import (
	"strings"
	"sync"
	"time"
)

// FaultKind is a way to misbehave.
type FaultKind string

const (
	FaultStatus   FaultKind = "status"   // answer with Status and Code, do nothing
	FaultReset    FaultKind = "reset"    // break the connection (h2: the stream), do nothing
	FaultLost     FaultKind = "lost"     // do the work, then break the connection: done but unacknowledged
	FaultTruncate FaultKind = "truncate" // do the work, promise a whole body, send half of it
	FaultSlow     FaultKind = "slow"     // do the work, send half of the answer, the rest after Delay
	FaultDelay    FaultKind = "delay"    // wait for Delay, then serve honestly
	FaultGarbage  FaultKind = "garbage"  // do the work, answer 200 with a page that is no JSON
	FaultFlood    FaultKind = "flood"    // do the work, answer 200 with a body of FloodBytes
)

// FloodBytes is the size of the answer of a FaultFlood.
const FloodBytes = 4 << 20

// A Fault is one line of a script. Faults are used up in order: a request takes
// the first one that matches it and has uses left.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Status and Code are the answer of a FaultStatus. Code is the vendor's own
	// error code; with an empty one the answer has no vendor detail.
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	// RetryAfter is sent when positive, in whole seconds, as an HTTP date if Date.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	Date       bool          `json:"date,omitempty"`
	Delay      time.Duration `json:"delay,omitempty"`
	// Times is how many requests it hits. Zero means one, negative means for ever.
	Times int `json:"times,omitempty"`
	// Target limits the fault to one push target, Path to requests whose path ends so.
	Target string `json:"target,omitempty"`
	Path   string `json:"path,omitempty"`
}

// A script is the remaining faults of a server.
type script struct {
	mu     sync.Mutex
	faults []Fault
}

func (s *script) add(fs []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range fs {
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, f)
	}
}

func (s *script) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take uses up one fault that hits this request.
func (s *script) take(path, target string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		if f.Target != "" && f.Target != target || !strings.HasSuffix(path, f.Path) {
			continue
		}
		hit := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return hit, true
	}
	return Fault{}, false
}
