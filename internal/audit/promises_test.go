package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
	"github.com/sealpost/sealpost/internal/audit"
)

// late is after the log-by and outcome-by of every promise of a story.
const late = evidencetest.Start + 2*3_600_000

// published are the public files of a story's log, of fewer than 256 leaves.
type published map[string][]byte

func (p published) Checkpoint(ctx context.Context) ([]byte, error) { return p.Tile(ctx, "checkpoint") }

func (p published) Tile(_ context.Context, path string) ([]byte, error) {
	if b, ok := p[path]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func publish(l *evidencetest.Log) published {
	n := l.Size()
	all := l.Span(0, n).Leaves
	var entries, hashes []byte
	for i := range n {
		leaf := all[33*i : 33*i+33]
		entries = append(append(entries, 0, 33), leaf...)
		h := sha256.Sum256(append([]byte{0}, leaf...))
		hashes = append(hashes, h[:]...)
	}
	return published{"checkpoint": l.Checkpoint(n), fmt.Sprintf("tile/entries/000.p/%d", n): entries, fmt.Sprintf("tile/0/000.p/%d", n): hashes}
}

// hears gives a bundle a later word of the relay, as another bundle would have.
func hears(w *evidencetest.World, b *evidence.Bundle, accepted sealpost.UnixMilli, size uint64) *evidence.Bundle {
	b.Span = w.Log.Span(size, size)
	b.Span.Later = w.Later(accepted, size)
	return b
}

func promises(t *testing.T, files audit.Files, w *evidencetest.World, at sealpost.UnixMilli, bundles ...*evidence.Bundle) audit.Report {
	t.Helper()
	r, err := audit.Promises(t.Context(), files, bundles, w.Policy(), at)
	if err != nil {
		t.Fatal(err)
	}
	if r.Promises != r.Kept+r.NotDue+len(r.Broken)+len(r.Open) {
		t.Errorf("the report does not add up: %+v", r)
	}
	return r
}

// Nothing is found of a relay that kept its promises, with the proofs at hand
// and without, twice the same bundle too.
func TestHonestRelay(t *testing.T) {
	w := evidencetest.New().Tell()
	b := hears(w, w.Bundle(), late, 14)
	for _, strip := range []bool{false, true} {
		if strip {
			for i := range b.Exhibits {
				b.Exhibits[i].Proof = nil
			}
		}
		r := promises(t, publish(w.Log), w, late, b, b)
		// Three enrolments, the commitment, five receipts and the outcome.
		if len(r.Broken) != 0 || len(r.Open) != 0 || r.Kept != 10 {
			t.Errorf("proofs stripped: %v: %+v", strip, r)
		}
	}
	if r := promises(t, publish(w.Log), w, evidencetest.Start+2000, b); r.NotDue != 10 || r.Kept != 0 {
		t.Errorf("before anything is due: %+v", r)
	}
}

// A promise that was not kept is found, and what is written convinces others.
func TestBrokenPromise(t *testing.T) {
	w, b := evidencetest.Dropped()
	r := promises(t, publish(w.Log), w, late, b)
	if len(r.Broken) != 1 || len(r.Open) != 0 || r.Kept != 1 || !strings.HasPrefix(r.Broken[0].File, w.Message.String()) {
		t.Fatalf("%+v", r)
	}
	v := evidence.Verify(r.Broken[0].Bundle, w.Policy(), late)
	if v.Status != evidence.Diverged || len(v.Conflicts) != 1 || v.Conflicts[0].What != r.Broken[0].What {
		t.Errorf("judged %v: %v", v.Status, v.Findings)
	}

	// The outcome of what is not shown to be dropped is open as well.
	b.Span.Later = nil
	if r = promises(t, publish(w.Log), w, late, b); len(r.Broken) != 0 || len(r.Open) != 2 || !strings.Contains(r.Open[0].Why, "post anything") {
		t.Errorf("without a later word: %+v", r)
	}
	b.Span.Later = w.Later(late, 14) // of a log that this checkpoint does not reach
	if r = promises(t, publish(w.Log), w, late, b); len(r.Broken) != 0 || len(r.Open) != 2 {
		t.Errorf("with a word on a larger log: %+v", r)
	}
	if r = promises(t, publish(w.Log), w, evidencetest.Start+3_600_000, b); len(r.Broken)+len(r.Open) != 0 || r.NotDue != 2 {
		t.Errorf("before it is due: %+v", r)
	}
}

// What came after its time is late, whatever proves that it is there now.
func TestLateLeaf(t *testing.T) {
	w, b := evidencetest.Dropped()
	e := w.Entries["commitment"]
	leaf := sealpost.MakeLeaf(e.Salt, e.Signed.Bytes())
	at := w.Log.Append(leaf[:])
	for i := range b.Exhibits {
		if bytes.Equal(b.Exhibits[i].Statement, e.Signed.Bytes()) {
			b.Exhibits[i].Proof = w.Log.Prove(at, 14)
		}
	}
	if r := promises(t, publish(w.Log), w, late, hears(w, b, late, 14)); len(r.Broken) != 0 {
		t.Errorf("it was there by then: %+v", r)
	}
	if r := promises(t, publish(w.Log), w, late, hears(w, b, late, 13)); len(r.Broken) != 1 || !strings.Contains(r.Broken[0].What, "but only leaf 13") {
		t.Errorf("%+v", r)
	}
}

// A late outcome is broken; one that is not at hand cannot be told.
func TestOutcome(t *testing.T) {
	w := evidencetest.New().Tell()
	if r := promises(t, publish(w.Log), w, late, hears(w, w.Bundle(), late, 14)); len(r.Broken)+len(r.Open) != 0 {
		t.Fatalf("%+v", r)
	}
	r := promises(t, publish(w.Log), w, late, hears(w, w.Bundle(), late, 10))
	if len(r.Broken) != 1 || !strings.Contains(r.Broken[0].What, "that an outcome will be in the log by") {
		t.Errorf("late: %+v", r)
	}
	r = promises(t, publish(w.Log), w, late, hears(w, w.Bundle("outcome"), late, 14))
	if len(r.Broken) != 0 || len(r.Open) != 1 || !strings.Contains(r.Open[0].What, "outcome of commitment") {
		t.Errorf("not at hand: %+v", r)
	}
}

// A log that does not give its own checkpoint shows nothing: neither that a
// promise was kept nor that it was broken.
func TestLogThatCannotBeRead(t *testing.T) {
	w, b := evidencetest.Dropped()
	files := publish(w.Log)
	promises(t, files, w, late, b)
	for name, spoil := range map[string]func(published){
		"a leaf":                  func(p published) { p["tile/entries/000.p/13"][35*5+9] ^= 1 },
		"an entry's length":       func(p published) { p["tile/entries/000.p/13"][35*5+1] ^= 1 },
		"a hash before":           func(p published) { p["tile/0/000.p/13"][0] ^= 1 },
		"a file cut":              func(p published) { p["tile/entries/000.p/13"] = p["tile/entries/000.p/13"][:50] },
		"no entries":              func(p published) { delete(p, "tile/entries/000.p/13") },
		"no tile":                 func(p published) { delete(p, "tile/0/000.p/13") },
		"the checkpoint":          func(p published) { p["checkpoint"][len(evidencetest.Origin)+8] ^= 1 },
		"a checkpoint by another": func(p published) { p["checkpoint"] = evidencetest.NewLog(evidencetest.Origin, 60).Checkpoint(0) },
		"no checkpoint":           func(p published) { delete(p, "checkpoint") },
	} {
		t.Run(name, func(t *testing.T) {
			p := publish(w.Log)
			spoil(p)
			if r, err := audit.Promises(t.Context(), p, []*evidence.Bundle{b}, w.Policy(), late); err == nil || len(r.Broken)+len(r.Open) != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// What does not fit into one file is said and not begun.
func TestTooManyLeaves(t *testing.T) {
	w, b := evidencetest.Dropped()
	for w.Log.Size() < 3+evidence.SpanMax+1 {
		w.Log.Append(make([]byte, 33))
	}
	head := published{"checkpoint": w.Log.Checkpoint(w.Log.Size())}
	if r := promises(t, head, w, late, b); len(r.Open) != 2 || !strings.Contains(r.Open[0].Why, "200001 leaves came since, and one file holds 200000") {
		t.Errorf("%+v", r)
	}
	short := w.Log.Fork(w.Log.Size() - 1)
	head = published{"checkpoint": short.Checkpoint(short.Size())}
	if _, err := audit.Promises(t.Context(), head, []*evidence.Bundle{b}, w.Policy(), late); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the most leaves are not read: %v", err)
	}
}
