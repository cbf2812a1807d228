package evidence_test

import (
	"slices"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// A receipt carries a head that the same log key signed over another history:
// the recipients are witnesses too.
func TestForkShownByAReceipt(t *testing.T) {
	w := evidencetest.New()
	fork := evidencetest.NewLog(evidencetest.Origin, 9)
	for range 14 {
		fork.Append([]byte("another history"))
	}
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Checkpoint = string(fork.Checkpoint(14)) })
	w.Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Diverged, "two heads of size 14 with different roots")
	if len(v.Conflicts) != 1 || len(v.Conflicts[0].A) == 0 || len(v.Conflicts[0].B) == 0 || slices.Equal(v.Conflicts[0].A, v.Conflicts[0].B) {
		t.Errorf("the proof of the fork is not kept: %v", v.Conflicts)
	}
}

// Heads of different sizes conflict where a consistency proof leads to the one
// from another root than the other has.
func TestForkShownByConsistency(t *testing.T) {
	w := evidencetest.New()
	fork := evidencetest.NewLog(evidencetest.Origin, 9)
	for range 5 {
		fork.Append([]byte("another history"))
	}
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Checkpoint = string(fork.Checkpoint(5)) })
	w.Tell()
	b := w.Bundle()
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Proven, "") // two sizes alone are no conflict
	b.Consistency = []evidence.Consistency{w.Log.Consistency(5, w.Log.Size())}
	v := evidence.Verify(encode(t, b), w.Policy(), at)
	want(t, v, evidence.Diverged, "its head of size 14 does not extend")
	if len(v.Conflicts) != 1 || len(v.Conflicts[0].Tie) == 0 {
		t.Errorf("the proof of the fork is not kept: %v", v.Conflicts)
	}
}

// Exhibits under two checkpoints need a proof that one extends the other.
func TestTwoCheckpoints(t *testing.T) {
	w := evidencetest.New().Tell()
	b := w.Bundle()
	e := w.Entries["commitment"]
	for i := range b.Exhibits {
		if string(b.Exhibits[i].Statement) == string(e.Signed.Bytes()) {
			b.Exhibits[i].Proof = w.Log.Prove(e.Index, 9)
		}
	}
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Incomplete, "nothing shows that the one of size 14 extends the one of size 9")
	tie := w.Log.Consistency(9, 14)
	b.Consistency = []evidence.Consistency{tie}
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Proven, "")
	for name, spoil := range map[string]func(*evidence.Consistency){
		"root":      func(c *evidence.Consistency) { c.Root[0] ^= 1 },
		"from":      func(c *evidence.Consistency) { c.From-- },
		"from none": func(c *evidence.Consistency) { c.From = 0 },
		"to":        func(c *evidence.Consistency) { c.To-- },
		"path":      func(c *evidence.Consistency) { c.Path[0][0] ^= 1 },
		"cut":       func(c *evidence.Consistency) { c.Path = c.Path[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			c := tie
			c.Path = slices.Clone(tie.Path)
			spoil(&c)
			b.Consistency = []evidence.Consistency{c}
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "consistency proof 0")
		})
	}
}

// A checkpoint of another log inside a receipt says nothing, and the claim says
// so; none at all needs no word.
func TestForeignCheckpointInAReceipt(t *testing.T) {
	foreign := evidencetest.NewLog("other.example", 60)
	foreign.Append([]byte("leaf"))
	const said = "is not by this policy's log"
	for note, wanted := range map[string]bool{string(foreign.Checkpoint(1)): true, "no note": true, "": false} {
		w := evidencetest.New()
		w.Devices = w.Devices[:1]
		w.Steps = []string{"enrol-0", "commitment", "decrypted-0", "outcome"}
		edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Checkpoint = note })
		w.Tell()
		v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
		want(t, v, evidence.Proven, "")
		if has(v, evidence.AboutDevice, said) != wanted || about(v, evidence.AboutDevice)[0].NotBefore != nil {
			t.Errorf("checkpoint %.20q: claims %v", note, about(v, evidence.AboutDevice))
		}
	}
}

// A receipt that carries a witnessed checkpoint was made after it was cosigned.
func TestReceiptBoundsItsTime(t *testing.T) {
	w := evidencetest.New()
	key := w.Log.AddWitness("witness.example/a", 40, evidencetest.Start+5000)
	w.Tell()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 1, []string{key}
	v := evidence.Verify(encode(t, w.Bundle()), p, at)
	want(t, v, evidence.Proven, "")
	for _, c := range about(v, evidence.AboutDevice) {
		if c.NotBefore == nil || c.NotBefore.Time != evidencetest.Start+5000 || c.NotAfter == nil || c.NotAfter.Time != evidencetest.Start+5000 {
			t.Errorf("bounds %v to %v: %s", c.NotBefore, c.NotAfter, c.What)
		}
	}
}

func TestTwoCommitmentsAreProofOfFault(t *testing.T) {
	w := evidencetest.New().Tell()
	c, err := w.Entries["commitment"].Signed.Commitment()
	if err != nil {
		t.Fatal(err)
	}
	c.Transaction = "txn-4712"
	again, err := sealpost.Sign(c, w.Sender)
	if err != nil {
		t.Fatal(err)
	}
	w.Add("commitment-again", again, at)
	want(t, evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), evidence.Diverged, "two commitments")
}

func TestWitnesses(t *testing.T) {
	w := evidencetest.New()
	keys := []string{w.Log.AddWitness("witness.example/a", 40, evidencetest.Start+5000), w.Log.AddWitness("witness.example/b", 41, evidencetest.Start+7000)}
	w.Tell()
	p := w.Policy()
	p.WitnessKeys = keys
	raw := encode(t, w.Bundle())
	for _, n := range []int{0, 1, 2} {
		p.Witnesses = n
		v := evidence.Verify(raw, p, at)
		want(t, v, evidence.Proven, "")
		if got := has(v, evidence.AboutLog, "ordered by the relay's own word"); got != (n == 0) {
			t.Errorf("%d witnesses: the log claim says the relay's own word: %v", n, got)
		}
		bound := about(v, evidence.AboutLog)[0].NotAfter
		switch {
		case n == 0 && bound != nil, n > 0 && bound == nil:
			t.Errorf("%d witnesses: not-after %v", n, bound)
		case n > 0 && bound.Time != evidencetest.Start+[]sealpost.UnixMilli{5000, 7000}[n-1]:
			t.Errorf("%d witnesses: not after %v", n, bound.Time)
		}
	}
	// A third witness is asked for that cosigned nothing.
	other := evidencetest.NewLog("x.example", 50)
	p.Witnesses, p.WitnessKeys = 3, append(keys, other.AddWitness("witness.example/c", 42, at))
	v := evidence.Verify(raw, p, at)
	want(t, v, evidence.Incomplete, "2 of the policy's witnesses cosigned it, 3 are needed")
	if !has(v, evidence.AboutLog, "Too few witnesses") {
		t.Error("too few witnesses, and the claim does not say so")
	}
}
