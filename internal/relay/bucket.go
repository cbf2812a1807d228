package relay

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// buckets limit a rate for each key: burst at once, then one more each every.
type buckets[K comparable] struct {
	burst float64
	every time.Duration

	mu  sync.Mutex
	lru *simplelru.LRU[K, bucket]
}

type bucket struct {
	left float64
	at   time.Time
}

func newBuckets[K comparable](burst int, every time.Duration, size int) *buckets[K] {
	lru, err := simplelru.NewLRU[K, bucket](size, nil)
	if err != nil {
		panic("relay: buckets of no size: " + err.Error())
	}
	return &buckets[K]{burst: float64(burst), every: every, lru: lru}
}

// take spends n, or spends nothing and says how long to wait.
func (b *buckets[K]) take(k K, n int, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.burst
	if had, ok := b.lru.Get(k); ok {
		left = min(b.burst, had.left+float64(now.Sub(had.at))/float64(b.every))
	}
	if short := float64(n) - left; short > 0 {
		b.lru.Add(k, bucket{left, now})
		return max(time.Second, time.Duration(short*float64(b.every)))
	}
	b.lru.Add(k, bucket{left - float64(n), now})
	return 0
}
