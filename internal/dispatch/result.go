package dispatch

import (
	"time"

	"github.com/sealpost/sealpost"
)

// CodeMax is the longest [Result.Code], in bytes.
const CodeMax = 64

// NotAttempted is the Outcome of work that comes back unsent. It is never signed:
// no attempt statement is made of it.
const NotAttempted sealpost.Result = 0

// Codes of the dispatcher itself, all with NotAttempted but CodePanic.
const (
	CodeDeadline   = "DEADLINE_PASSED"
	CodeLeaseSpent = "LEASE_SPENT"     // it lay in hand for so long that others may have it now
	CodeRouteShut  = "ROUTE_SHUT"      // breaker open or rate spent for longer than it is worth to wait
	CodeWrongRoute = "WRONG_ROUTE"     // the queue handed out work of another carrier
	CodeShutdown   = "SHUTTING_DOWN"   // Run ended first
	CodePanic      = "CARRIER_PANIC"   // the adapter panicked; whether it sent is unknown
	CodeBadCode    = "UNREADABLE_CODE" // what an adapter's code outside the alphabet is replaced by
)

// A Result is what came of one attempt.
type Result struct {
	Outcome sealpost.Result
	// Code is the carrier's own word for it, or the adapter's: 1 to CodeMax
	// characters of A-Z, 0-9 and '_', '-', '.', from a list the adapter knows.
	// It never holds an identifier or any text of the carrier's choosing.
	Code string
	// RetryAfter is the least wait before another attempt: what the carrier asked
	// for, or its documented minimum. Zero: no wish.
	RetryAfter time.Duration
	// GoneAt is when the carrier learned that an endpoint was gone, if it says so:
	// a registration newer than that still stands.
	GoneAt time.Time
}

// Retries reports whether another attempt of the same work over the same route
// can make sense.
//
// Ambiguous is retried: the device deduplicates, and a lost notification is worse
// than a second wake-up. ConfigFault is retried because operators mend set-ups.
func (r Result) Retries() bool {
	switch r.Outcome {
	case sealpost.Throttled, sealpost.Transient, sealpost.Ambiguous, sealpost.ConfigFault:
		return true
	}
	return false
}

// bounded replaces what an adapter must not hand on.
func (r Result) bounded() Result {
	if !ValidCode(r.Code) {
		r.Code = CodeBadCode
	}
	if r.RetryAfter < 0 {
		r.RetryAfter = 0
	}
	return r
}

// ValidCode reports whether s may stand as a [Result.Code].
func ValidCode(s string) bool {
	if s == "" || len(s) > CodeMax {
		return false
	}
	for _, c := range []byte(s) {
		if !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}
