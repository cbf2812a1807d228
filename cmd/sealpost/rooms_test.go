package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
	"github.com/sealpost/sealpost/internal/relay/relaytest"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/translog"
)

// DESIGN section 5, wall 5: the queue that a relay really has is held to the same
// contract as the one in memory that dispatch is tested with.
func TestRelayQueue(t *testing.T) {
	dispatchtest.Queue(t, func(t *testing.T) dispatchtest.QueueRig {
		b := newBank(t)
		q := newRelayQueue(b.server.relay, b.now)
		select {
		case <-q.Wake(): // of what came before
		default:
		}
		return dispatchtest.QueueRig{Queue: q, Now: b.now, Advance: func(d time.Duration) { b.advance(d) },
			Restart: func() dispatch.Queue { return newRelayQueue(b.server.relay, b.now) },
			Add: func(n int) {
				for range n {
					b.send()
				}
			}}
	})
}

// What came back unsent fills a relay's queue only so far: then nothing more is
// claimed, so that all of it can be given back at a stop.
func TestRelayQueueIsBounded(t *testing.T) {
	b := newBank(t)
	q := newRelayQueue(b.server.relay, b.now)
	b.send()
	later := b.stamp().Add(time.Minute)
	for range givenBackMax - 1 {
		q.again = append(q.again, givenBack{sealpost.Work{Lease: later}, later})
	}
	for _, c := range []struct {
		more    func()
		claimed int
		what    string
	}{
		{func() {}, 1, "with room for one"},
		{func() { b.send(); q.again = append(q.again, givenBack{sealpost.Work{Lease: later}, later}) }, 0, "without room"},
		{func() { b.advance(time.Minute + time.Second) }, 2, "when the leases have ended"},
	} {
		c.more()
		works, err := q.Claim(t.Context(), 10, time.Minute)
		b.must(err)
		if len(works) != c.claimed {
			t.Errorf("%s: %d pieces of work, want %d", c.what, len(works), c.claimed)
		}
	}
}

// Wall 5: so is the log.
func TestRelayLog(t *testing.T) {
	relaytest.LogContract(t, func(t *testing.T) relaytest.LogRig {
		dir := t.TempDir()
		key, _, err := signer.Note(filepath.Join(dir, "log.key"), "log.example/test")
		if err != nil {
			t.Fatal(err)
		}
		l, err := translog.Open(t.Context(), translog.Config{Dir: filepath.Join(dir, "log"), Signer: key,
			CheckpointInterval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
			Compare: func(uint64, []byte) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), bankWithin)
			defer cancel()
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
		})
		return relaytest.LogRig{Log: relayLog{l}, Head: func() sealpost.Head {
			c := l.Checkpoint()
			return sealpost.Head{Size: c.Size, Root: c.Root}
		}}
	})
}
