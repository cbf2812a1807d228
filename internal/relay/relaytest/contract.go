package relaytest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A Port is the relay's Log, which this package cannot name: the relay's own
// tests are made of it.
type Port interface {
	Append(ctx context.Context, leaves [][]byte) (first uint64, err error)
	IntegratedSize(ctx context.Context) (uint64, error)
	Leaf(ctx context.Context, index uint64) ([]byte, error)
	Published(ctx context.Context) (size uint64, err error)
	WaitPublished(ctx context.Context, size uint64) error
	Proofs(ctx context.Context, indices []uint64) ([][]byte, error)
	Had(ctx context.Context, head sealpost.Head) (bool, error)
}

// A LogRig is a log and the hand that has it published.
type LogRig struct {
	Log Port
	// Head is the newest checkpoint's, as everybody sees it.
	Head func() sealpost.Head
}

// logWithin bounds what a log may take to publish.
const logWithin = 30 * time.Second

// LogContract holds an implementation to the contract of the relay's Log. What a
// proof says is the log's own business and is not looked at.
func LogContract(t *testing.T, rig func(t *testing.T) LogRig) {
	leaf := func(i int) []byte {
		l := sealpost.MakeLeaf(sealpost.Salt{byte(i), byte(i >> 8)}, []byte("statement"))
		return l[:]
	}
	leaves := func(from, n int) (out [][]byte) {
		for i := range n {
			out = append(out, leaf(from+i))
		}
		return out
	}
	grow := func(t *testing.T, l Port, from, n int) {
		t.Helper()
		first, err := l.Append(t.Context(), leaves(from, n))
		if err != nil || first != uint64(from) {
			t.Fatalf("append %d leaves: they begin at %d, want %d: %v", n, first, from, err)
		}
	}
	t.Run("leaves are in order and durable", func(t *testing.T) {
		l := rig(t).Log
		grow(t, l, 0, 3)
		grow(t, l, 3, 300)
		if size, err := l.IntegratedSize(t.Context()); err != nil || size != 303 {
			t.Fatalf("integrated size %d and %v, want 303", size, err)
		}
		for _, i := range []int{0, 2, 3, 255, 256, 302} {
			if got, err := l.Leaf(t.Context(), uint64(i)); err != nil || !bytes.Equal(got, leaf(i)) {
				t.Errorf("leaf %d: %x, %v", i, got, err)
			}
		}
		if _, err := l.Leaf(t.Context(), 303); err == nil {
			t.Error("a leaf beyond the last one")
		}
	})
	t.Run("a checkpoint covers what was appended", func(t *testing.T) {
		r := rig(t)
		grow(t, r.Log, 0, 5)
		ctx, cancel := context.WithTimeout(t.Context(), logWithin)
		defer cancel()
		if err := r.Log.WaitPublished(ctx, 5); err != nil {
			t.Fatal(err)
		}
		size, err := r.Log.Published(t.Context())
		if err != nil || size != 5 {
			t.Fatalf("published %d and %v, want 5", size, err)
		}
		proofs, err := r.Log.Proofs(t.Context(), []uint64{4, 0, 5, 99, 4})
		if err != nil || len(proofs) != 5 {
			t.Fatalf("%d proofs and %v, want 5", len(proofs), err)
		}
		if len(proofs[0]) == 0 || len(proofs[1]) == 0 || !bytes.Equal(proofs[0], proofs[4]) || bytes.Equal(proofs[0], proofs[1]) {
			t.Error("a leaf that is covered has no proof of its own")
		}
		if proofs[2] != nil || proofs[3] != nil {
			t.Error("a proof of what no checkpoint covers")
		}
		if none, err := r.Log.Proofs(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("no proofs asked for: %d and %v", len(none), err)
		}
	})
	t.Run("waiting ends with its context", func(t *testing.T) {
		l := rig(t).Log
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.WaitPublished(ctx, 1000) }()
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want that of the context", err)
			}
		case <-time.After(logWithin):
			t.Error("it waits on")
		}
	})
	t.Run("a head was the log's or was not", func(t *testing.T) {
		r := rig(t)
		ctx, cancel := context.WithTimeout(t.Context(), logWithin)
		defer cancel()
		var heads []sealpost.Head
		for from, n := 0, 3; len(heads) < 2; from += n {
			grow(t, r.Log, from, n)
			if err := r.Log.WaitPublished(ctx, uint64(from+n)); err != nil {
				t.Fatal(err)
			}
			heads = append(heads, r.Head())
		}
		had := func(what string, h sealpost.Head, want bool) {
			t.Helper()
			if got, err := r.Log.Had(t.Context(), h); err != nil || got != want {
				t.Errorf("%s: had is %v and %v, want %v", what, got, err, want)
			}
		}
		had("the newest head", heads[1], true)
		had("an older head", heads[0], true)
		had("another root", sealpost.Head{Size: heads[1].Size, Root: sealpost.Hash{1}}, false)
		had("another head's root", sealpost.Head{Size: heads[0].Size, Root: heads[1].Root}, false)
		had("a head to come", sealpost.Head{Size: heads[1].Size + 1, Root: heads[1].Root}, false)
	})
}
