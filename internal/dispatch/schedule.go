package dispatch

import "time"

// A Schedule says when to try again: exponential backoff with full jitter above a
// floor (R74).
type Schedule struct {
	Base     time.Duration // upper end of the jitter after the first attempt
	Cap      time.Duration // the jitter's range doubles up to this
	Attempts int           // after so many there is no other
}

// Schedules of the reference: somebody waits for an interactive message.
const (
	InteractiveBase = time.Second
	InteractiveCap  = time.Minute
	AttemptsDefault = 12
)

// Next returns when attempt n+1 is due, n having ended at now: after the floor (the
// carrier's wish) plus u times the jitter range min(Cap, Base·2^(n-1)), u in [0,1)
// being drawn by the caller. The jitter stands on the floor and not beside it, so
// that a thousand messages told "30 s" do not come back in one instant. The range
// is cut so that the attempt still falls before the deadline; ok is false if even
// the floor does not, or if all attempts are used.
func (s Schedule) Next(now, deadline time.Time, n int, floor time.Duration, u float64) (at time.Time, ok bool) {
	if n >= s.Attempts {
		return time.Time{}, false
	}
	left := deadline.Sub(now) - max(floor, 0)
	if left <= 0 {
		return time.Time{}, false
	}
	jitter := time.Duration(u * float64(min(s.reach(n), left)))
	return now.Add(max(floor, 0) + jitter), true
}

// reach is min(Cap, Base·2^(n-1)) without overflow.
func (s Schedule) reach(n int) time.Duration {
	d := s.Base
	for ; n > 1 && d < s.Cap; n-- {
		d *= 2
	}
	return min(d, s.Cap)
}
