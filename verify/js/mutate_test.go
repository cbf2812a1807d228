package js_test

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

const mutants = 10_000 // bundles of one run, all from one seed

// stories are honest bundles that the vectors do not have: longer ones, carrier
// claims, witnesses, and proofs under several checkpoints that are tied.
func stories(t *testing.T) (all []trial) {
	t.Helper()
	at := evidencetest.Start + 3_600_000
	keep := func(name string, w *evidencetest.World, b *evidence.Bundle, p evidence.Policy) {
		raw, err := b.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, trial{name, raw, p, at})
	}
	w := evidencetest.New().Tell()
	keep("both devices", w, w.Bundle(), w.Policy())

	w = evidencetest.New()
	w.Devices = w.Devices[:1]
	w.Steps = []string{"enrol-sender", "enrol-0", "commitment", "attempt-0", "claim-0", "handed_over-0", "decrypted-0", "outcome", "acted-0"}
	witness := w.Log.AddWitness("witness.example/a", 21, evidencetest.Start+1_800_000)
	w.Tell()
	p := w.Policy()
	p.WitnessKeys, p.Witnesses = []string{witness}, 1
	keep("carrier claim and witness", w, w.Bundle(), p)

	w = evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "decrypted-0", "outcome"}
	w.Tell()
	b := w.Bundle()
	size := w.Log.Size()
	for i := range b.Exhibits {
		s, err := sealpost.Parse(b.Exhibits[i].Statement)
		if err != nil {
			t.Fatal(err)
		}
		if s.Kind() != sealpost.KindKeyEvent && s.Kind() != sealpost.KindCommitment {
			continue
		}
		for _, e := range w.Entries {
			if e.Signed.Hash() == s.Hash() {
				b.Exhibits[i].Proof = w.Log.Prove(e.Index, size-1)
			}
		}
	}
	b.Consistency = []evidence.Consistency{w.Log.Consistency(size-1, size)}
	disclosed, err := evidence.DiscloseAll(w.Payload)
	if err != nil {
		t.Fatal(err)
	}
	b.Disclosed = disclosed
	keep("two checkpoints, disclosed", w, b, w.Policy())
	return all
}

const tellings = 200 // stories told in another order, or with a step by another key

// retold are stories whose every signature and proof is good, and whose order,
// signers or details the seed has drawn: what no change of bytes can reach.
func retold(t *testing.T, r *rand.Rand) (all []trial) {
	t.Helper()
	for len(all) < tellings {
		w := evidencetest.New()
		w.Steps = []string{"enrol-sender", "enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "handed_over-0", "decrypted-0", "displayed-0", "decrypted-1", "outcome", "revoke-0", "revoke-1"}
		for range r.IntN(4) { // one step is told later or earlier, or left out
			i, k := r.IntN(len(w.Steps)), r.IntN(len(w.Steps))
			step := w.Steps[i]
			w.Steps = slices.Delete(w.Steps, i, i+1)
			if r.IntN(3) > 0 {
				w.Steps = slices.Insert(w.Steps, min(k, len(w.Steps)), step)
			}
		}
		if r.IntN(3) == 0 {
			w.By[w.Steps[r.IntN(len(w.Steps))]] = []sealpost.Signer{w.Relay, w.Sender, w.Devices[0].Key}[r.IntN(3)]
		}
		if r.IntN(3) == 0 {
			edit(w, r)
		}
		if !tell(w) {
			continue // nobody can sign that
		}
		if r.IntN(2) == 0 { // the same statements in another order, which only the log tells
			order := slices.Sorted(maps.Keys(w.Entries))
			slices.SortFunc(order, func(a, b string) int { return cmp.Compare(w.Entries[a].Index, w.Entries[b].Index) })
			i, k := r.IntN(len(order)), r.IntN(len(order))
			order[i], order[k] = order[k], order[i]
			w.Relog(order...)
		}
		p, at := w.Policy(), evidencetest.Start+3_600_000
		b := w.Bundle()
		if d, err := evidence.DiscloseAll(w.Payload); err == nil && r.IntN(2) == 0 {
			b.Disclosed = d
		}
		raw, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, trial{"a story retold", raw, p, at})
	}
	return all
}

// edit has one step say something else.
func edit(w *evidencetest.World, r *rand.Rand) {
	n := r.IntN(16)
	w.Edit[w.Steps[r.IntN(len(w.Steps))]] = func(s sealpost.Statement) sealpost.Statement {
		switch v := s.(type) {
		case sealpost.Commitment:
			v.NotBefore.Size = uint64(n % 8)
			v.NotBefore.Root[0] = byte(n % 8)
			v.LeastAssurance = sealpost.Assurance(1 + n%3)
			return v
		case sealpost.Attempt:
			v.Carrier = sealpost.Carrier(1 + n%5)
			v.Started += sealpost.UnixMilli(n) * 100_000
			v.Ended = v.Started
			return v
		case sealpost.CarrierClaim:
			v.Carrier = sealpost.Carrier(1 + n%5)
			return v
		case sealpost.Receipt:
			switch n % 5 {
			case 0:
				v.Blob[0] ^= 1
			case 1:
				v.Roster = sealpost.Hash{}
			case 2:
				v.Commitment[0] ^= 1
			case 3:
				v.Key[0] ^= 1
			case 4:
				v.Checkpoint = string(w.Log.Checkpoint(uint64(n) % max(1, w.Log.Size())))
			}
			return v
		case sealpost.Outcome:
			switch n % 4 {
			case 0:
				v.End = sealpost.Expired
			case 1:
				v.End = sealpost.Refused
			case 2:
				v.Receipts = nil
			case 3:
				v.Decided += sealpost.UnixMilli(n) * 100_000
			}
			return v
		}
		return s
	}
}

// tell tells a story, and says whether it can be told.
func tell(w *evidencetest.World) (told bool) {
	defer func() {
		if recover() != nil {
			told = false
		}
	}()
	w.Tell()
	return true
}

// A mutator spoils bundles as a seed says.
type mutator struct {
	*rand.Rand
	from []trial // honest and spoiled
}

// mutant is one trial with one to three things changed.
func (m *mutator) mutant() trial {
	c := m.from[m.IntN(len(m.from))]
	c.raw = slices.Clone(c.raw)
	for range 1 + m.IntN(2) {
		switch m.IntN(16) {
		case 0:
			m.flip(c.raw) // the digest tells
		case 1, 2:
			m.flip(c.raw[:len(c.raw)-sha256.Size])
			c.raw = digest(c.raw)
		case 3:
			c.raw = m.resize(c.raw)
		case 4:
			c.policy, c.at = m.trust(c.policy, c.at)
		default:
			c.raw = m.parts(c.raw)
		}
	}
	return c
}

func (m *mutator) flip(b []byte) {
	if len(b) == 0 {
		return
	}
	if i := m.IntN(len(b)); m.IntN(2) == 0 {
		b[i] ^= 1 << m.IntN(8)
	} else {
		b[i] = byte(m.Uint32())
	}
}

// digest writes the digest anew.
func digest(raw []byte) []byte {
	body := raw[:max(0, len(raw)-sha256.Size)]
	sum := sha256.Sum256(body)
	return slices.Concat(body, sum[:])
}

// resize cuts, doubles or adds bytes anywhere.
func (m *mutator) resize(raw []byte) []byte {
	i := m.IntN(len(raw) + 1)
	k := min(len(raw), i+m.IntN(64))
	switch m.IntN(3) {
	case 0:
		raw = slices.Delete(raw, i, k)
	case 1:
		raw = slices.Insert(raw, i, slices.Clone(raw[i:k])...)
	default:
		raw = slices.Insert(raw, i, byte(m.Uint32()))
	}
	if m.IntN(2) == 0 {
		return digest(raw)
	}
	return raw
}

// trust changes whom the verifier trusts, what it wants, and when it judges.
func (m *mutator) trust(p evidence.Policy, at sealpost.UnixMilli) (evidence.Policy, sealpost.UnixMilli) {
	other := m.from[m.IntN(len(m.from))].policy
	q := p
	switch m.IntN(9) {
	case 0:
		q.LogKey = other.LogKey
	case 1:
		q.Witnesses, q.WitnessKeys = other.Witnesses, other.WitnessKeys
	case 2:
		q.RelayKeys = other.RelayKeys
	case 3:
		q.Senders = other.Senders
	case 4:
		q.LeastAssurance = sealpost.Assurance(1 + m.IntN(3))
	case 5:
		q.Require = []evidence.Requirement{evidence.RequireDecrypted, evidence.RequireDisplayed, evidence.RequireActed, evidence.RequireOutcome}[m.IntN(4)]
	case 6:
		q.ValidUntil = at + sealpost.UnixMilli(m.IntN(3)) - 1
	default:
		at = evidencetest.Start - 300_000 + sealpost.UnixMilli(m.IntN(8)*1000)
	}
	if q.Check() != nil {
		return p, at
	}
	return q, at
}

// parts takes a bundle apart and changes one part of it: one left out, one taken
// from elsewhere, one byte of it changed. A bundle that cannot be written stays.
func (m *mutator) parts(raw []byte) []byte {
	b, err := evidence.ParseBundle(raw)
	if err != nil {
		return raw
	}
	x := &b.Exhibits[m.IntN(len(b.Exhibits))]
	y := b.Exhibits[m.IntN(len(b.Exhibits))]
	if o, err := evidence.ParseBundle(m.from[m.IntN(len(m.from))].raw); err == nil {
		if m.IntN(2) == 0 {
			y = o.Exhibits[m.IntN(len(o.Exhibits))]
		}
		if m.IntN(12) == 0 {
			b.Rosters, b.Disclosed = o.Rosters, o.Disclosed
		}
		if m.IntN(12) == 0 {
			b.Consistency = o.Consistency
		}
	}
	switch m.IntN(12) {
	case 0, 1:
		if len(b.Exhibits) > 1 {
			i := m.IntN(len(b.Exhibits))
			b.Exhibits = slices.Delete(b.Exhibits, i, i+1)
		}
	case 2:
		b.Exhibits = append(b.Exhibits, y)
	case 3:
		*x = y
	case 4:
		x.Promise = y.Promise
	case 5:
		x.Proof = y.Proof
	case 6:
		x.Salt = y.Salt
	case 7:
		x.Proof = nil
	case 8:
		x.Promise = nil
	case 9:
		m.flip(x.Statement)
	case 10:
		m.flip(x.Promise)
	case 11:
		m.flip(x.Proof)
	}
	if changed, err := b.Encode(); err == nil {
		return changed
	}
	return raw
}

// Both judges give 10,000 mutated bundles the same verdict for the same claims.
func TestBothJudgesAgreeOnMutants(t *testing.T) {
	needSecond(t)
	s := startSecond(t)
	m := &mutator{Rand: rand.New(rand.NewPCG(20, 26))}
	m.from = slices.Concat(fromVectors(t), stories(t), retold(t, m.Rand))
	for _, c := range stories(t) { // the honest case first
		if ours, difference := s.try(t, c); ours.Code != 0 || difference != "" {
			t.Fatalf("%s: not proven by both: %v%s", c.name, ours, difference)
		}
	}
	for _, c := range m.from {
		if _, difference := s.try(t, c); difference != "" {
			t.Errorf("%s: the judges differ: %s", c.name, difference)
		}
	}
	codes, bad := map[int]int{}, 0
	for i := range mutants {
		c := m.mutant()
		ours, difference := s.try(t, c)
		codes[ours.Code]++
		if difference == "" {
			continue
		}
		if bad++; bad <= 10 {
			t.Errorf("mutant %d of %s: the judges differ: %s", i, c.name, difference)
		}
	}
	t.Logf("%d mutants by exit code: %v; they differ on %d", mutants, codes, bad)
	for _, code := range []int{0, 10, 20, 30, 40} {
		if codes[code] < mutants/1000 {
			t.Errorf("only %d mutants end with %d: the mutations are too alike to show anything", codes[code], code)
		}
	}
}
