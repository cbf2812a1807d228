package dispatch

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfterMax bounds what a provider can ask for.
const RetryAfterMax = 24 * time.Hour

// ParseRetryAfter reads both forms of a Retry-After header (RFC 9110 10.2.3),
// seconds or a date, as a wait from now. What is neither counts as absent; a date
// that has passed is an expressed wish of 0.
func ParseRetryAfter(s string, now time.Time) (wait time.Duration, ok bool) {
	if s == "" {
		return 0, false
	}
	if sec, err := strconv.ParseUint(s, 10, 63); err == nil {
		return time.Duration(min(sec, uint64(RetryAfterMax/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), RetryAfterMax), true
}
