package dispatch

import (
	"sync"
	"time"

	"github.com/sealpost/sealpost"
)

// Bounds of a breaker.
const (
	breakerTrips   = 10 // failures in a row that open it
	breakerOpenMin = time.Second
	breakerOpenMax = time.Minute
	retryAfterMax  = time.Hour // the longest wish of a provider that shuts a whole route
)

// A Breaker keeps a route that fails shut for a while, so that neither its provider
// nor our workers are worn down (R73). It opens after breakerTrips failures in a
// row, or at once on a fault of our own set-up; when its time is up it lets a
// single attempt through, and what comes of that one decides. The caller supplies
// the time. It is safe for concurrent use. The zero Breaker is closed.
//
// A failure is an answer that speaks of the route: Throttled, Transient, Ambiguous,
// ConfigFault. One that speaks of a device or a message shows that the route works.
type Breaker struct {
	mu      sync.Mutex
	row     int // failures since the last success
	opened  int // times it opened since the last success
	open    bool
	until   time.Time // no attempt before this while open
	probing bool
}

// A Pass is leave to make one attempt. It goes back with [Breaker.Note] when the
// attempt was made, with [Breaker.Forgo] when it was not.
type Pass struct{ probe bool }

// Admit gives a pass, or says for how long the route is shut.
func (b *Breaker) Admit(now time.Time) (p Pass, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return Pass{}, 0, true
	}
	if wait := b.shut(now); wait > 0 {
		return Pass{}, wait, false
	}
	b.probing = true
	return Pass{probe: true}, 0, true
}

// Shut says for how long no pass will be given, and whether the next one is a
// probe, so that there is no use in more work than one piece.
func (b *Breaker) Shut(now time.Time) (wait time.Duration, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return 0, false
	}
	return b.shut(now), true
}

func (b *Breaker) shut(now time.Time) time.Duration {
	wait := max(b.until.Sub(now), 0)
	if b.probing {
		return max(wait, breakerOpenMin)
	}
	return wait
}

// Forgo gives a pass back unused.
func (b *Breaker) Forgo(p Pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = b.probing && !p.probe
}

// Note tells what came of the attempt made with p. It reports true if that opened
// the breaker.
func (b *Breaker) Note(now time.Time, p Pass, r Result) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = b.probing && !p.probe
	straggler := b.open && !p.probe // began before the breaker opened
	if !r.Retries() {
		if !straggler {
			b.row, b.opened, b.open = 0, 0, false
		}
		return false
	}
	wish := now.Add(min(r.RetryAfter, retryAfterMax))
	if straggler {
		b.until = later(b.until, wish)
		return false
	}
	b.row++
	if b.row < breakerTrips && r.Outcome != sealpost.ConfigFault && !p.probe {
		return false
	}
	b.open, b.until = true, later(now.Add(b.pause()), wish)
	b.opened++
	return true
}

// pause doubles each time the breaker opens without a success in between.
func (b *Breaker) pause() time.Duration {
	return Schedule{Base: breakerOpenMin, Cap: breakerOpenMax}.reach(b.opened + 1)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
