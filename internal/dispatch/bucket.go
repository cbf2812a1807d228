package dispatch

import (
	"sync"
	"time"
)

// How a bucket adapts: it halves at most once per adaptEvery and wins back
// 1/growSteps of its full rate per adaptEvery. Under complaints without end it so
// settles at 1/growSteps of its full rate.
const (
	adaptEvery = time.Second
	growSteps  = 32
)

// A Bucket is a token bucket whose rate shrinks when the provider complains and
// grows back when it does not. The caller supplies the time; calls with a time
// before an earlier one are taken as that earlier one. It is safe for concurrent use.
type Bucket struct {
	mu     sync.Mutex
	full   float64 // tokens per second at best
	rate   float64 // tokens per second now
	burst  float64
	tokens float64
	last   time.Time
	shrunk time.Time
}

// NewBucket makes a full bucket. It panics unless rate and burst are positive.
func NewBucket(perSecond float64, burst int) *Bucket {
	if !(perSecond > 0) || burst < 1 {
		panic("dispatch: a bucket needs a positive rate and burst")
	}
	return &Bucket{full: perSecond, rate: perSecond, burst: float64(burst), tokens: float64(burst)}
}

// Take takes one token and says how long the caller must wait before it acts. If
// that is longer than most it takes nothing, and ok is false.
func (b *Bucket) Take(now time.Time, most time.Duration) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	if missing := 1 - b.tokens; missing > 0 {
		wait = time.Duration(missing / b.rate * float64(time.Second))
	}
	if wait > most {
		return wait, false
	}
	b.tokens--
	return wait, true
}

// Shrink halves the rate: the provider throttled us.
func (b *Bucket) Shrink(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	if !b.shrunk.IsZero() && now.Sub(b.shrunk) < adaptEvery {
		return
	}
	b.shrunk = now
	b.rate /= 2
}

// Rate is the present rate per second.
func (b *Bucket) Rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate
}

func (b *Bucket) advance(now time.Time) {
	if b.last.IsZero() {
		b.last = now
	}
	if passed := now.Sub(b.last); passed > 0 {
		b.last = now
		b.tokens = min(b.burst, b.tokens+b.rate*passed.Seconds())
		if now.Sub(b.shrunk) >= adaptEvery {
			b.rate = min(b.full, b.rate+b.full/growSteps*passed.Seconds()/adaptEvery.Seconds())
		}
	}
}
