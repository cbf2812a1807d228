package translog

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	f_log "github.com/transparency-dev/formats/log"
	f_proof "github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// growth appends batches and keeps every checkpoint on the way.
func growth(t *testing.T, l *Log, batches ...int) []Checkpoint {
	t.Helper()
	cps := []Checkpoint{l.Checkpoint()}
	for _, n := range batches {
		mustAppend(t, l, n)
		if err := l.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		cps = append(cps, l.Checkpoint())
	}
	return cps
}

// R9, R41: a reader with nothing but the verifier key and foreign libraries
// finds each leaf in each checkpoint, and each checkpoint in each later one.
func TestProofs(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	cps := growth(t, l, 1, 1, 1, 252, 1, 1, 255, 900, 3000)
	checkProofs(t, l, cps)
	mustClose(t, l)

	// The same from files alone, with nothing in the cache.
	l = mustOpen(t, testConfig(dir))
	defer mustClose(t, l)
	l.tiles.cache.Purge()
	checkProofs(t, l, cps)
}

func checkProofs(t *testing.T, l *Log, cps []Checkpoint) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i, cp := range cps {
		read, _, _, err := f_log.ParseCheckpoint(cp.Note, testKey.verifier.Name(), testKey.verifier)
		if err != nil {
			t.Fatal(err)
		}
		if read.Size != cp.Size || !bytes.Equal(read.Hash, cp.Root[:]) {
			t.Fatalf("checkpoint of %d says %d", cp.Size, read.Size)
		}
		for range min(cp.Size, 60) {
			checkInclusion(t, l, rnd.Uint64N(cp.Size), cp)
		}
		for _, earlier := range cps[:i+1] {
			path, err := l.ProveConsistency(t.Context(), earlier.Size, cp.Size)
			if err != nil {
				t.Fatal(err)
			}
			if earlier.Size == 0 {
				continue // RFC 6962: nothing to prove
			}
			if err := merkle.VerifyConsistency(rfc6962.DefaultHasher, earlier.Size, cp.Size, path, earlier.Root[:], cp.Root[:]); err != nil {
				t.Fatalf("%d to %d: %v", earlier.Size, cp.Size, err)
			}
		}
	}
}

func checkInclusion(t *testing.T, l *Log, index uint64, cp Checkpoint) {
	t.Helper()
	text, err := l.TLogProofIn(t.Context(), index, cp)
	if err != nil {
		t.Fatal(err)
	}
	var p f_proof.TLogProof
	if err := p.Unmarshal(text); err != nil {
		t.Fatal(err)
	}
	if p.Index != index || !bytes.Equal(p.Checkpoint, cp.Note) || !bytes.Equal(p.Marshal(), text) {
		t.Fatalf("proof text of leaf %d reads as leaf %d", index, p.Index)
	}
	path := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		path[i] = p.Hashes[i][:]
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(testLeaf(index))
	if err := merkle.VerifyInclusion(rfc6962.DefaultHasher, index, cp.Size, leaf, path, cp.Root[:]); err != nil {
		t.Fatalf("leaf %d in %d: %v", index, cp.Size, err)
	}
}

func TestProveRefuses(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	defer mustClose(t, l)
	cps := growth(t, l, 300, 300)
	half, whole := cps[1], cps[2]
	if _, err := l.Prove(t.Context(), 299, half); err != nil {
		t.Fatal(err)
	}
	beyond := whole
	beyond.Size++
	foreign := whole
	foreign.Root[0] ^= 1
	for name, c := range map[string]struct {
		index uint64
		in    Checkpoint
	}{
		"leaf after the checkpoint": {300, half},
		"checkpoint of the future":  {1, beyond},
		"another tree's root":       {1, foreign},
		"empty checkpoint":          {0, cps[0]},
	} {
		if _, err := l.Prove(t.Context(), c.index, c.in); err == nil {
			t.Errorf("%s: proved", name)
		}
	}
	for _, c := range [][2]uint64{{2, 1}, {1, 601}} {
		if _, err := l.ProveConsistency(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("proved that %d extends %d", c[1], c[0])
		}
	}

	// A damaged tile is an error, never a wrong proof.
	l.tiles.cache.Purge()
	flip(t, filepath.Join(dir, "tile/0/000"), 5*hashSize)
	if _, err := l.Prove(t.Context(), 4, whole); err == nil {
		t.Error("proved from a damaged tile")
	}
}

// flip changes one bit of the byte at the place.
func flip(t testing.TB, file string, at int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(file, data, filePerm); err != nil {
		t.Fatal(err)
	}
}

// A copy of a tile that missed an append is dropped, not patched.
func TestStaleTileIsDropped(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	defer mustClose(t, l)
	mustAppend(t, l, 100)
	key := tileKey{0, 0}
	stale := newTile(l.tiles.cached(key).hashes[0][:])
	mustAppend(t, l, 10)
	l.tiles.cache.Add(key, stale)
	cps := growth(t, l, 50)
	for index := range cps[1].Size {
		checkInclusion(t, l, index, cps[1])
	}
}

// Proofs are made while the tree grows and while tiles leave the cache.
func TestProveWhileGrowing(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	defer mustClose(t, l)
	l.tiles.cache.Resize(3)
	mustAppend(t, l, 100)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, seed))
			for ctx.Err() == nil {
				cp := l.Checkpoint()
				if cp.Size == 0 {
					continue
				}
				if _, err := l.Prove(t.Context(), rnd.Uint64N(cp.Size), cp); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	for range 25 {
		mustAppend(t, l, 1+rnd.IntN(700))
		if err := l.publish(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop()
	readers.Wait()
}

func TestRootAtIsWhatEveryCheckpointOfThatSizeNamed(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	defer mustClose(t, l)
	if root, err := l.RootAt(0); err != nil || root != l.Checkpoint().Root {
		t.Fatalf("empty log: %x, %v; its checkpoint names %x", root, err, l.Checkpoint().Root)
	}
	seen := growth(t, l, 1, 2, 254, 300)
	for _, cp := range seen {
		if root, err := l.RootAt(cp.Size); err != nil || root != cp.Root {
			t.Errorf("root at %d: %x, %v; want %x", cp.Size, root, err, cp.Root)
		}
	}
	if _, err := l.RootAt(10_000); err == nil {
		t.Error("a root beyond the log")
	}
}
