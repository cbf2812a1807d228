package store_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// Small writes that wait together are one commit, and still see each other: of
// one nonce used by all of them one is fresh (R44), and an error that is an
// answer stays with its caller.
func TestWritesInOneCommit(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	db := w.Store.(*store.DB)
	const callers = 16
	var wins atomic.Int32
	var wg sync.WaitGroup
	release := db.HoldWriter()
	for range callers {
		wg.Go(func() {
			fresh, err := w.Nonce(ctx, sealpost.KeyID{1}, [16]byte{1}, w.Now+1)
			if err != nil {
				t.Error(err)
			}
			if fresh {
				wins.Add(1)
			}
		})
		wg.Go(func() {
			if err := w.RevokeAPIKey(ctx, w.App, "nothing", w.Now); !errors.Is(err, sealpost.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	for db.Waiting() < 2*callers {
		runtime.Gosched()
	}
	release()
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("one nonce was fresh %d times", wins.Load())
	}
}

// After Close every call says so, and Close may be called again.
func TestClosed(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	w.Must(w.Store.Close())
	w.Must(w.Store.Close())
	_, hold := w.Hold(ctx, []sealpost.Hold{w.Message(storetest.Recipient("nobody"))})
	_, size := w.Size(ctx)
	_, nonce := w.Nonce(ctx, sealpost.KeyID{}, [16]byte{}, 1)
	for name, err := range map[string]error{"hold": hold, "size": size, "nonce": nonce} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
