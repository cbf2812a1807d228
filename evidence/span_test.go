package evidence_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// hour is after the log-by of every promise of a story.
const hour = evidencetest.Start + 2*3_600_000

// honestSpan is a story that ends well, with the leaves of the log from the
// commitment's promise on and a later word of the relay.
func honestSpan() (*evidencetest.World, *evidence.Bundle) {
	w := evidencetest.New().Tell()
	b := w.Bundle()
	b.Span = w.Log.Span(3, 14)
	b.Span.Later = w.Later(hour, 14)
	return w, b
}

// The relay kept its promises: the span says so, and nothing else changes.
func TestPromiseKept(t *testing.T) {
	w, b := honestSpan()
	v := evidence.Verify(encode(t, b), w.Policy(), hour)
	want(t, v, evidence.Proven, "")
	if len(v.Findings) != 0 || len(v.Conflicts) != 0 || !has(v, evidence.AboutPromise, "and kept it: leaf 4.") || !has(v, evidence.AboutPromise, "that the log had 14 leaves") {
		t.Errorf("findings %v, claims %v", v.Findings, about(v, evidence.AboutPromise))
	}
}

// R41, leaf 4.5: a statement that was promised and is not among the leaves is
// proof of fault, and the file convinces with what is in it.
func TestPromiseBroken(t *testing.T) {
	w, b := evidencetest.Dropped()
	raw := encode(t, b)
	v := evidence.Verify(raw, w.Policy(), hour)
	want(t, v, evidence.Diverged, "is not among the leaves from 3 up to there")
	if !has(v, evidence.AboutPromise, "and did not keep it") || !has(v, evidence.AboutPromise, "no witness is needed against their own word") {
		t.Errorf("claims %v", about(v, evidence.AboutPromise))
	}
	promised, err := sealpost.ParsePromised(w.Entries["commitment"].Promise)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Conflicts) != 1 || !bytes.Equal(v.Conflicts[0].A, promised.Signed) || !bytes.Equal(v.Conflicts[0].B, b.Span.Checkpoint) || !bytes.Equal(v.Conflicts[0].Tie, b.Span.Later) {
		t.Errorf("the proof is not kept: %v", v.Conflicts)
	}
	// Proof of fault is so at any time.
	want(t, evidence.Verify(raw, w.Policy(), evidencetest.Start), evidence.Diverged, "broken promise")
}

// Each part of the file carries the proof: without it, or spoilt, there is none.
func TestPromiseBrokenSpoilt(t *testing.T) {
	w, honest := evidencetest.Dropped()
	want(t, evidence.Verify(encode(t, honest), w.Policy(), hour), evidence.Diverged, "broken promise")
	other := evidencetest.Key(sealpost.EdDSA, 77)
	foreign := evidencetest.NewLog(evidencetest.Origin, 61)
	for range 13 {
		foreign.Append(bytes.Repeat([]byte{1}, 33))
	}
	for name, c := range map[string]struct {
		spoil  func(b *evidence.Bundle, c *evidence.Exhibit)
		status evidence.Status
		why    string
	}{
		"promise":    {func(_ *evidence.Bundle, c *evidence.Exhibit) { c.Promise[40] ^= 1 }, evidence.Refused, "commitment"},
		"no promise": {func(_ *evidence.Bundle, c *evidence.Exhibit) { c.Promise = nil }, evidence.Incomplete, ""},
		"salt":       {func(_ *evidence.Bundle, c *evidence.Exhibit) { c.Salt[0] ^= 1 }, evidence.Refused, "the leaf is not this statement under this salt"},
		"leaf":       {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Leaves[33*4+5] ^= 1 }, evidence.Refused, "its leaves are not those of the log"},
		"leaves swapped": {func(b *evidence.Bundle, _ *evidence.Exhibit) {
			b.Span.Leaves = append(b.Span.Leaves[33:], b.Span.Leaves[:33]...)
		}, evidence.Refused, "its leaves are not those of the log"},
		"a leaf left out":           {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Leaves = b.Span.Leaves[33:] }, evidence.Refused, "do not end at the checkpoint"},
		"a leaf left out in front":  {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Leaves, b.Span.From = b.Span.Leaves[33:], 4 }, evidence.Refused, "hashes stand for"},
		"hash before":               {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Before[0][0] ^= 1 }, evidence.Refused, "its leaves are not those of the log"},
		"hash before left out":      {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Before = b.Span.Before[1:] }, evidence.Refused, "hashes stand for"},
		"from":                      {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.From = 2 }, evidence.Refused, "do not end at the checkpoint"},
		"from far away":             {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.From = 1 << 63 }, evidence.Refused, "do not end at the checkpoint"},
		"checkpoint":                {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Checkpoint[len(evidencetest.Origin)+8] ^= 1 }, evidence.Refused, "checkpoint"},
		"checkpoint by another log": {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Checkpoint = foreign.Checkpoint(13) }, evidence.Refused, "checkpoint"},
		"checkpoint of before":      {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Checkpoint = w.Log.Checkpoint(12) }, evidence.Refused, "do not end at the checkpoint"},
		"later":                     {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Later[len(b.Span.Later)-3] ^= 1 }, evidence.Refused, "later promise"},
		"no later word":             {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Later = nil }, evidence.Incomplete, "nothing in it shows that the checkpoint is of after"},
		"later is at log-by": {func(b *evidence.Bundle, _ *evidence.Exhibit) {
			b.Span.Later = w.Later(evidencetest.Start+3_600_000, 13)
		}, evidence.Incomplete, "nothing in it shows"},
		"later of a larger log":      {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Later = w.Later(hour, 14) }, evidence.Incomplete, "nothing in it shows"},
		"later of a log of before":   {func(b *evidence.Bundle, _ *evidence.Exhibit) { b.Span.Later = w.Later(hour, 2) }, evidence.Incomplete, "nothing in it shows"},
		"a commitment for a promise": {func(b *evidence.Bundle, c *evidence.Exhibit) { b.Span.Later = c.Statement }, evidence.Refused, "later promise"},
		"span begins after the promise": {func(b *evidence.Bundle, _ *evidence.Exhibit) {
			later := b.Span.Later
			b.Span = w.Log.Span(4, 13)
			b.Span.Later = later
		}, evidence.Incomplete, ""},
		"later by a stranger": {func(b *evidence.Bundle, _ *evidence.Exhibit) {
			all, err := sealpost.SignPromise([]sealpost.PromiseEntry{{}}, evidencetest.Origin, hour, 13, sealpost.MergeDelay, other)
			if err != nil {
				t.Fatal(err)
			}
			b.Span.Later = all[0].Signed
		}, evidence.Refused, "which is no relay key of the policy"},
		"later of another log": {func(b *evidence.Bundle, _ *evidence.Exhibit) {
			all, err := sealpost.SignPromise([]sealpost.PromiseEntry{{}}, "other.example", hour, 13, sealpost.MergeDelay, w.Relay)
			if err != nil {
				t.Fatal(err)
			}
			b.Span.Later = all[0].Signed
		}, evidence.Refused, `for the log "other.example"`},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := evidence.ParseBundle(encode(t, honest)) // a copy
			if err != nil {
				t.Fatal(err)
			}
			for i := range b.Exhibits {
				if bytes.Equal(b.Exhibits[i].Statement, w.Entries["commitment"].Signed.Bytes()) {
					c.spoil(b, &b.Exhibits[i])
				}
			}
			v := evidence.Verify(encode(t, b), w.Policy(), hour)
			want(t, v, c.status, c.why)
			if len(v.Conflicts) != 0 || has(v, evidence.AboutPromise, "did not keep it") {
				t.Errorf("still claimed: %v", v.Conflicts)
			}
		})
	}
}

// A leaf that came only after log-by is late, and the promise broken all the
// same; with it the proof of its place changes nothing.
func TestPromiseKeptLate(t *testing.T) {
	for _, proven := range []bool{false, true} {
		w, b := evidencetest.Dropped()
		e := w.Entries["commitment"]
		leaf := sealpost.MakeLeaf(e.Salt, e.Signed.Bytes())
		later := b.Span.Later
		at := w.Log.Append(leaf[:])
		b.Span = w.Log.Span(3, 14)
		b.Span.Later = later
		if proven {
			for i := range b.Exhibits {
				if bytes.Equal(b.Exhibits[i].Statement, e.Signed.Bytes()) {
					b.Exhibits[i].Proof = w.Log.Prove(at, 14)
				}
			}
		}
		v := evidence.Verify(encode(t, b), w.Policy(), hour)
		want(t, v, evidence.Diverged, fmt.Sprintf("but only leaf %d", at))
		b.Span.Later = w.Later(hour, 14) // by the relay's later word it was there in time
		v = evidence.Verify(encode(t, b), w.Policy(), hour)
		want(t, v, evidence.Incomplete, "")
		if !has(v, evidence.AboutPromise, "and kept it") {
			t.Errorf("claims %v", about(v, evidence.AboutPromise))
		}
	}
}

// An outcome that is logged after its time breaks the promise; one that is not
// shown proves nothing, and the verdict says why.
func TestOutcomePromise(t *testing.T) {
	by := evidencetest.Start + 300_000 + 3_600_000
	w, b := honestSpan()
	want(t, evidence.Verify(encode(t, b), w.Policy(), hour), evidence.Proven, "") // leaf 10, and then the log had 14
	b.Span.Later = w.Later(hour, 10)
	v := evidence.Verify(encode(t, b), w.Policy(), hour)
	want(t, v, evidence.Diverged, "that an outcome will be in the log by")
	if !strings.Contains(v.Conflicts[0].What, "but only leaf 10") {
		t.Errorf("conflicts %v", v.Conflicts)
	}
	b.Span.Later = w.Later(sealpost.UnixMilli(by), 10) // not after its time
	want(t, evidence.Verify(encode(t, b), w.Policy(), hour), evidence.Proven, "")

	b = w.Bundle("outcome")
	b.Span = w.Log.Span(3, 14)
	b.Span.Later = w.Later(hour, 14)
	v = evidence.Verify(encode(t, b), w.Policy(), hour)
	want(t, v, evidence.Incomplete, "it is not in the bundle")
	if len(v.Conflicts) != 0 || !has(v, evidence.AboutPromise, "The relay can answer by showing it.") {
		t.Errorf("conflicts %v, claims %v", v.Conflicts, about(v, evidence.AboutPromise))
	}
}

// Witnesses tell how late it is where the relay gives no later word.
func TestPromiseBrokenBeforeWitnesses(t *testing.T) {
	w, b := evidencetest.Dropped()
	late := []string{w.Log.AddWitness("witness.example/a", 40, hour), w.Log.AddWitness("witness.example/b", 41, hour)}
	early := w.Log.AddWitness("witness.example/c", 42, evidencetest.Start+3_600_000)
	b.Span = w.Log.Span(3, 13)
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 2, late
	v := evidence.Verify(encode(t, b), p, hour)
	want(t, v, evidence.Diverged, "2 of the policy's witnesses cosigned 13 leaves after that")
	p.WitnessKeys = []string{late[0], early}
	want(t, evidence.Verify(encode(t, b), p, hour), evidence.Incomplete, "nothing in it shows that the checkpoint is of after")
	want(t, evidence.Verify(encode(t, b), w.Policy(), hour), evidence.Incomplete, "nothing in it shows that the checkpoint is of after")
}

// A span in which the log's other heads do not fit shows two histories.
func TestSpanOfAnotherHistory(t *testing.T) {
	w, b := honestSpan()
	want(t, evidence.Verify(encode(t, b), w.Policy(), hour), evidence.Proven, "")
	fork := w.Log.Fork(3)
	for range 11 {
		fork.Append(bytes.Repeat([]byte{1}, 33))
	}
	b.Span = fork.Span(3, 14)
	want(t, evidence.Verify(encode(t, b), w.Policy(), hour), evidence.Diverged, "two heads of size 14 with different roots")
}
