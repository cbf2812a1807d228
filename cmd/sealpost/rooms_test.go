package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client/clienttest"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
	"github.com/sealpost/sealpost/internal/relay/relaytest"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/store/storetest"
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

// Wall 5: the store in memory that the relay is tested with is held to the contract
// of the one that a relay really has.
func TestStoreInMemory(t *testing.T) {
	kept := map[string]*relaytest.Store{} // by place: opening again finds what was there
	storetest.Run(t, func(t testing.TB, place string, now func() time.Time) storetest.Store {
		s := kept[place]
		if s == nil {
			s = relaytest.NewStore(t)
			s.Now, s.Forgiving = now, true
			kept[place] = s
		}
		return memoryStore{s}
	})
}

// A memoryStore can be closed, and finds all of it again.
type memoryStore struct{ *relaytest.Store }

func (memoryStore) Close() error { return nil }

// Wall 5: a whole relay behind the client ends over HTTP is held to the contract of
// the one in memory that the SDK is tested with.
func TestRelayOverHTTP(t *testing.T) {
	clienttest.Relay(t, func(t *testing.T) clienttest.Rig {
		b := newBank(t)
		url := "http://" + b.server.listener.Addr().String()
		sender, err := api.NewSenderClient(url, b.secret, nil)
		b.must(err)
		return clienttest.Rig{App: bankApp, Key: b.key, Now: b.stamp, Relay: b.server.statement.Public(), LogKey: b.server.key.VKey,
			Sender: sender, Log: sender, Until: b.until,
			Device: func(key *sealpost.PrivateKey) clienttest.Device {
				device, err := api.NewDeviceClient(url, key, b.now, rand.Reader, nil)
				b.must(err)
				return device
			}}
	})
}

// Wall 5: so is the log.
func TestRelayLog(t *testing.T) {
	relaytest.LogContract(t, func(t *testing.T) relaytest.LogRig {
		dir := t.TempDir()
		key, err := signer.OpenLog(filepath.Join(dir, "log.key"), filepath.Join(dir, "guard"), "log.example/test")
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
			if err := errors.Join(l.Close(ctx), key.Close()); err != nil {
				t.Error(err)
			}
		})
		return relaytest.LogRig{Log: relayLog{l}, Head: func() sealpost.Head {
			c := l.Checkpoint()
			return sealpost.Head{Size: c.Size, Root: c.Root}
		}}
	})
}
