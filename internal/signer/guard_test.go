package signer_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/signer/signertest"
)

const origin = "log.example/guarded"

func TestMemoryHeads(t *testing.T) {
	signertest.HeadsContract(t, func(*testing.T) (signer.Heads, func() signer.Heads) {
		m := signertest.NewMemory()
		return m, func() signer.Heads { return m }
	})
}

func TestHeadFile(t *testing.T) {
	signertest.HeadsContract(t, func(t *testing.T) (signer.Heads, func() signer.Heads) {
		dir := t.TempDir()
		h := openHeads(t, dir)
		return h, func() signer.Heads {
			h.Close()
			return openHeads(t, dir)
		}
	})
}

func openHeads(t testing.TB, dir string) *signer.HeadFile {
	t.Helper()
	h, err := signer.OpenHeadFile(dir, origin, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// A tree is a log's leaves, so that heads and proofs are true.
type tree [][]byte

func newTree(marks ...string) (t tree) {
	for _, m := range marks {
		t = append(t, rfc6962.DefaultHasher.HashLeaf([]byte(m)))
	}
	return t
}

func (t tree) root(from, to uint64) []byte {
	r := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, h := range t[from:to] {
		r.Append(h, nil)
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		panic(err)
	}
	return root
}

func (t tree) head(size uint64) sealpost.Head {
	if size == 0 {
		return signer.Nothing
	}
	return sealpost.Head{Size: size, Root: sealpost.Hash(t.root(0, size))}
}

func (t tree) proof(from, to uint64) [][]byte {
	nodes, err := merkle.Consistency(from, to)
	if err != nil {
		panic(err)
	}
	var hashes [][]byte
	for _, id := range nodes.IDs {
		hashes = append(hashes, t.root(id.Index<<id.Level, (id.Index+1)<<id.Level))
	}
	out, err := nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		panic(err)
	}
	return out
}

// A testKey counts, and fails while it is down.
type testKey struct {
	note.Signer
	verifier note.Verifier
	signed   atomic.Int64
	down     error
}

func (k *testKey) Sign(msg []byte) ([]byte, error) {
	if k.down != nil {
		return nil, k.down
	}
	k.signed.Add(1)
	return k.Signer.Sign(msg)
}

func newKey(t testing.TB) *testKey {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &testKey{Signer: s, verifier: v}
}

// R10: a head that is smaller, forked, replayed or without proof is not signed,
// and the key is not even asked.
func TestGuardSignsOnlyWhatExtends(t *testing.T) {
	honest := newTree("a", "b", "c", "d", "e", "f", "g", "h")
	forked := newTree("a", "b", "c", "d", "E", "f", "g", "h")
	ctx := t.Context()
	key := newKey(t)
	heads := openHeads(t, t.TempDir())
	g := signer.NewGuard(key, heads)
	for _, s := range [][2]uint64{{0, 0}, {0, 3}, {3, 3}, {3, 5}, {5, 5}} {
		signed, err := g.Sign(ctx, honest.head(s[1]), honest.proof(s[0], s[1]))
		if err != nil {
			t.Fatalf("from %d to %d: %v", s[0], s[1], err)
		}
		n, err := note.Open(signed, note.VerifierList(key.verifier))
		if err != nil || !strings.HasPrefix(n.Text, fmt.Sprintf("%s\n%d\n", origin, s[1])) {
			t.Fatalf("signed %q, %v", signed, err)
		}
	}
	asked := key.signed.Load()
	for name, c := range map[string]struct {
		next  sealpost.Head
		proof [][]byte
	}{
		"smaller":                      {honest.head(3), honest.proof(3, 5)},
		"nothing":                      {signer.Nothing, nil},
		"the same size, another root":  {forked.head(5), nil},
		"larger, forked":               {forked.head(8), forked.proof(5, 8)},
		"larger, the honest proof":     {forked.head(8), honest.proof(5, 8)},
		"larger, no proof":             {honest.head(8), nil},
		"larger, a proof from another": {honest.head(8), honest.proof(3, 8)},
	} {
		if signed, err := g.Sign(ctx, c.next, c.proof); !errors.Is(err, signer.ErrFork) || signed != nil {
			t.Errorf("%s: %q, %v, want ErrFork", name, signed, err)
		}
	}
	if n := key.signed.Load(); n != asked {
		t.Errorf("the key signed %d times more", n-asked)
	}
	if last, err := g.Last(ctx); err != nil || last != honest.head(5) {
		t.Errorf("last is %v, %v", last, err)
	}
	if _, err := g.Sign(ctx, honest.head(8), honest.proof(5, 8)); err != nil {
		t.Errorf("what extends: %v", err)
	}
}

// A head is remembered before the key is asked. Without the key nothing is
// signed, and the same head is signed when it is back; another is not.
func TestGuardKeepsBeforeItSigns(t *testing.T) {
	honest, forked := newTree("a", "b", "c"), newTree("a", "b", "C")
	ctx := t.Context()
	key := newKey(t)
	g := signer.NewGuard(key, openHeads(t, t.TempDir()))
	key.down = errors.New("the key service is down")
	if signed, err := g.Sign(ctx, honest.head(3), nil); !errors.Is(err, key.down) || signed != nil {
		t.Fatalf("%q, %v, want the outage", signed, err)
	}
	if last, err := g.Last(ctx); err != nil || last != honest.head(3) {
		t.Fatalf("last is %v, %v", last, err)
	}
	key.down = nil
	if _, err := g.Sign(ctx, forked.head(3), nil); !errors.Is(err, signer.ErrFork) {
		t.Errorf("another head after the outage: %v, want ErrFork", err)
	}
	if _, err := g.Sign(ctx, honest.head(3), nil); err != nil {
		t.Errorf("the same head after the outage: %v", err)
	}
}

// A crash before or after each step of the write leaves the old head or the new
// one, gives out no signature, and the guard goes on from what is there.
func TestGuardCrashes(t *testing.T) {
	honest, forked := newTree("a", "b", "c", "d"), newTree("a", "B", "c", "d")
	crash := errors.New("crash")
	for _, c := range []struct {
		step string
		kept bool // the new head is there
	}{
		{"before write", false}, {"after write", false},
		{"before rename", false}, {"after rename", true},
		{"before sync", true}, {"after sync", true},
	} {
		t.Run(c.step, func(t *testing.T) {
			ctx, dir, key := t.Context(), t.TempDir(), newKey(t)
			heads := openHeads(t, dir)
			g := signer.NewGuard(key, heads)
			if _, err := g.Sign(ctx, honest.head(2), nil); err != nil {
				t.Fatal(err)
			}
			asked, reached := key.signed.Load(), false
			heads.StopAt(func(step string) error {
				if step == c.step {
					reached = true
					return crash
				}
				return nil
			})
			if signed, err := g.Sign(ctx, honest.head(4), honest.proof(2, 4)); !errors.Is(err, crash) || signed != nil || !reached {
				t.Fatalf("%q, %v, want the crash", signed, err)
			}
			if key.signed.Load() != asked {
				t.Error("the key signed what was not kept")
			}
			heads.Close()
			again := openHeads(t, dir)
			last, err := again.Last(ctx)
			want := honest.head(2)
			if c.kept {
				want = honest.head(4)
			}
			if err != nil || last != want {
				t.Fatalf("after the crash %v, %v, want %v", last, err, want)
			}
			g = signer.NewGuard(key, again)
			if _, err := g.Sign(ctx, forked.head(4), forked.proof(2, 4)); !errors.Is(err, signer.ErrFork) {
				t.Errorf("a fork after the crash: %v, want ErrFork", err)
			}
			if _, err := g.Sign(ctx, honest.head(4), honest.proof(last.Size, 4)); err != nil {
				t.Errorf("the head after the crash: %v", err)
			}
		})
	}
}

// The file is read in one form, and what is not that form signs nothing.
func TestHeadFileDamage(t *testing.T) {
	dir := t.TempDir()
	h := openHeads(t, dir)
	if err := h.Swap(t.Context(), signer.Nothing, newTree("a", "b").head(2)); err != nil {
		t.Fatal(err)
	}
	h.Close()
	path := filepath.Join(dir, "head")
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := signer.OpenHeadFile(dir, origin, true); err != nil {
		t.Fatal(err)
	} else if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	spoiled := map[string]string{
		"empty":       "",
		"a line more": string(honest) + "\n",
		"size +2":     strings.Replace(string(honest), "\n2\n", "\n+2\n", 1),
		"size 0":      strings.Replace(string(honest), "\n2\n", "\n0\n", 1),
		"another log": strings.Replace(string(honest), origin, "log.example/other", 1),
		"version":     strings.Replace(string(honest), "v1", "v2", 1),
		"cut":         string(honest[:len(honest)-1]),
	}
	for name, text := range spoiled {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := signer.OpenHeadFile(dir, origin, true); err == nil {
			h.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

// A file that is put in the place of the guard's own while it serves is not it.
func TestHeadFileExchanged(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	h := openHeads(t, dir)
	openHeads(t, other)
	if _, err := h.Last(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(other, "head"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "head"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Last(t.Context()); err == nil {
		t.Error("read another guard's file")
	}
	if err := h.Swap(t.Context(), signer.Nothing, newTree("a").head(1)); err == nil {
		t.Error("wrote over another guard's file")
	}
}

type rig struct{ key, guard string }

func newRig(t testing.TB) rig {
	dir := t.TempDir()
	return rig{filepath.Join(dir, "keys", "log.key"), filepath.Join(dir, "guard")}
}

func (r rig) open(t testing.TB) *signer.LogKey {
	t.Helper()
	k, err := signer.OpenLog(r.key, r.guard, origin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func refused(t *testing.T, key, guard, origin, mend string) {
	t.Helper()
	k, err := signer.OpenLog(key, guard, origin)
	if err == nil {
		k.Close()
		t.Errorf("opened, want %q", mend)
	} else if !strings.Contains(err.Error(), mend) {
		t.Errorf("%v, want %q", err, mend)
	}
}

// No configuration gives a key a second guard, and no second process either.
func TestLogKeyHasOneGuard(t *testing.T) {
	r := newRig(t)
	k := r.open(t)
	honest := newTree("a", "b", "c")
	if _, err := k.Sign(t.Context(), honest.head(2), nil); err != nil {
		t.Fatal(err)
	}
	if vkey, err := signer.LogVKey(r.key, r.guard, origin); err != nil || vkey != k.VKey {
		t.Errorf("beside a running relay: %q, %v", vkey, err)
	}
	t.Run("while it is in use", func(t *testing.T) { refused(t, r.key, r.guard, origin, signer.ErrInUse.Error()) })
	stranger := newRig(t)
	stranger.open(t).Close()
	t.Run("another guard, while it is in use", func(t *testing.T) { refused(t, r.key, stranger.guard, origin, "bound to another guard") })
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	again := r.open(t)
	if again.VKey != k.VKey {
		t.Error("another key after a restart")
	}
	if last, err := again.Last(t.Context()); err != nil || last != honest.head(2) {
		t.Errorf("after a restart %v, %v", last, err)
	}
	again.Close()
	t.Run("another guard", func(t *testing.T) { refused(t, r.key, stranger.guard, origin, "bound to another guard") })
	t.Run("a guard that is not there", func(t *testing.T) {
		refused(t, r.key, filepath.Join(t.TempDir(), "guard"), origin, "sealpost log guard")
	})
	t.Run("an empty folder", func(t *testing.T) { refused(t, r.key, t.TempDir(), origin, "sealpost log guard") })
	t.Run("another log", func(t *testing.T) { refused(t, r.key, r.guard, "log.example/other", "log.example/other") })
	t.Run("the key is gone", func(t *testing.T) {
		refused(t, r.key+".gone", r.guard, origin, "restore it")
	})
	r.open(t)
}

// A guard that was lost is told where the log stands by a checkpoint of it.
func TestBindLog(t *testing.T) {
	r := newRig(t)
	k := r.open(t)
	honest, forked := newTree("a", "b", "c", "d"), newTree("a", "b", "C", "d")
	sign := func(k *signer.LogKey, size, from uint64) []byte {
		t.Helper()
		signed, err := k.Sign(t.Context(), honest.head(size), honest.proof(from, size))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	older, newest := sign(k, 2, 0), sign(k, 3, 2)
	k.Close()
	elsewhere := rig{r.key, filepath.Join(t.TempDir(), "guard")}
	bind := func(checkpoint []byte) error {
		_, err := signer.BindLog(context.Background(), elsewhere.key, elsewhere.guard, origin, checkpoint)
		return err
	}
	if err := bind(newest); err != nil {
		t.Fatal(err)
	}
	k = elsewhere.open(t)
	if _, err := k.Sign(t.Context(), forked.head(3), nil); !errors.Is(err, signer.ErrFork) {
		t.Errorf("a fork after binding: %v, want ErrFork", err)
	}
	sign(k, 4, 3)
	if err := bind(newest); !errors.Is(err, signer.ErrInUse) {
		t.Errorf("while in use: %v, want ErrInUse", err)
	}
	k.Close()
	t.Run("the guard of before", func(t *testing.T) { refused(t, r.key, r.guard, origin, "bound to another guard") })
	for name, checkpoint := range map[string][]byte{
		"older":         newest,
		"much older":    older,
		"not signed":    []byte(strings.Replace(string(newest), "\n3\n", "\n9\n", 1)),
		"no checkpoint": []byte("hello"),
	} {
		if err := bind(checkpoint); err == nil {
			t.Errorf("%s: the guard went there", name)
		}
	}
	if info, err := os.Stat(r.key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info.Mode(), err)
	}
	if last, err := elsewhere.open(t).Last(t.Context()); err != nil || last != honest.head(4) {
		t.Errorf("last is %v, %v", last, err)
	}
}
