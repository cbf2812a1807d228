// Package signertest has the contract of what keeps a log's last signed head,
// and a memory that stands it.
package signertest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/signer"
)

// A Memory is [signer.Heads] for tests: it forgets with the process.
type Memory struct {
	mu   sync.Mutex
	last sealpost.Head
}

// NewMemory returns a Memory of a new log.
func NewMemory() *Memory { return &Memory{last: signer.Nothing} }

// Tell makes a head the last one, whatever was before.
func (m *Memory) Tell(h sealpost.Head) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = h
}

// Last returns the last head.
func (m *Memory) Last(context.Context) (sealpost.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

// Swap stores a head.
func (m *Memory) Swap(_ context.Context, from, to sealpost.Head) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last != from {
		return signer.ErrMoved
	}
	m.last = to
	return nil
}

// Head is a head that differs for every size and mark.
func Head(size uint64, mark byte) sealpost.Head {
	h := sealpost.Head{Size: size}
	h.Root[0], h.Root[1] = mark, byte(size)
	return h
}

// swappers is how many swap at once.
const swappers = 16

// HeadsContract is what every [signer.Heads] does. open returns one of a new
// log, and a way to have it again as after a restart.
func HeadsContract(t *testing.T, open func(t *testing.T) (heads signer.Heads, again func() signer.Heads)) {
	ctx := context.Background()
	is := func(t *testing.T, h signer.Heads, want sealpost.Head) {
		t.Helper()
		if got, err := h.Last(ctx); err != nil || got != want {
			t.Fatalf("last is %v, %v, want %v", got, err, want)
		}
	}
	one, two, other := Head(1, 1), Head(2, 1), Head(2, 2)

	t.Run("it keeps what was swapped in", func(t *testing.T) {
		h, again := open(t)
		is(t, h, signer.Nothing)
		for _, s := range [][2]sealpost.Head{{signer.Nothing, one}, {one, two}, {two, two}} {
			if err := h.Swap(ctx, s[0], s[1]); err != nil {
				t.Fatal(err)
			}
			is(t, h, s[1])
		}
		is(t, again(), two)
	})
	t.Run("it swaps from the last head only", func(t *testing.T) {
		h, again := open(t)
		if err := h.Swap(ctx, signer.Nothing, two); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]sealpost.Head{"an older head": one, "nothing": signer.Nothing, "another root": other} {
			if err := h.Swap(ctx, from, Head(3, 1)); !errors.Is(err, signer.ErrMoved) {
				t.Errorf("from %s: %v, want ErrMoved", name, err)
			}
			is(t, h, two)
		}
		is(t, again(), two)
	})
	t.Run("of many that swap from one head, one does", func(t *testing.T) {
		h, again := open(t)
		var swapping sync.WaitGroup
		done := make(chan sealpost.Head, swappers)
		for i := range swappers {
			swapping.Go(func() {
				to := Head(5, byte(i))
				switch err := h.Swap(ctx, signer.Nothing, to); {
				case err == nil:
					done <- to
				case !errors.Is(err, signer.ErrMoved):
					t.Error(err)
				}
			})
		}
		swapping.Wait()
		if len(done) != 1 {
			t.Fatalf("%d swapped, want one", len(done))
		}
		is(t, again(), <-done)
	})
}
