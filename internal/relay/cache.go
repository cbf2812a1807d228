package relay

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// How much is remembered of the store, and for how long. What this process
// changes it forgets at once, and the store belongs to one process; the times
// bound what another hand in it changes. That of access is the promise of
// the gate's interface in package api.
const (
	accessFor        = 3 * time.Second
	keyringFor       = time.Minute
	messagesCached   = 1 << 16
	tenantsCached    = 4096
	recipientsCached = 1 << 16
	devicesCached    = 1 << 16
	apiKeysCached    = 4096
	headsCached      = 1024
)

// A cache remembers answers of the store for a time. Look-ups of one key that
// come together ask the store once.
type cache[K comparable, V any] struct {
	now func() time.Time
	ttl time.Duration

	mu      sync.Mutex
	lru     *simplelru.LRU[K, cached[V]]
	loading map[K]*load[V]
	forgets uint64 // so that an answer from before a forget is not kept
}

type cached[V any] struct {
	value V
	until time.Time
}

type load[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newCache[K comparable, V any](size int, ttl time.Duration, now func() time.Time) *cache[K, V] {
	lru, err := simplelru.NewLRU[K, cached[V]](size, nil)
	if err != nil {
		panic("relay: a cache of no size: " + err.Error())
	}
	return &cache[K, V]{now: now, ttl: ttl, lru: lru, loading: map[K]*load[V]{}}
}

// get answers from memory or asks fetch. Errors are not remembered.
func (c *cache[K, V]) get(ctx context.Context, k K, fetch func(context.Context, K) (V, error)) (V, error) {
	c.mu.Lock()
	if e, ok := c.lru.Get(k); ok && c.now().Before(e.until) {
		c.mu.Unlock()
		return e.value, nil
	}
	if l, ok := c.loading[k]; ok {
		c.mu.Unlock()
		return l.wait(ctx)
	}
	l := &load[V]{done: make(chan struct{})}
	c.loading[k] = l
	forgets := c.forgets
	c.mu.Unlock()

	l.value, l.err = fetch(context.WithoutCancel(ctx), k) // others may wait for it
	c.mu.Lock()
	if c.loading[k] == l {
		delete(c.loading, k)
	}
	if l.err == nil && c.forgets == forgets {
		c.lru.Add(k, cached[V]{l.value, c.now().Add(c.ttl)})
	}
	c.mu.Unlock()
	close(l.done)
	return l.value, l.err
}

func (l *load[V]) wait(ctx context.Context) (v V, err error) {
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

// put remembers what needs no asking.
func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Add(k, cached[V]{v, c.now().Add(c.ttl)})
}

// forget makes the next look-up of a key ask the store again, even where one is
// under way.
func (c *cache[K, V]) forget(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgets++
	c.lru.Remove(k)
	delete(c.loading, k)
}
