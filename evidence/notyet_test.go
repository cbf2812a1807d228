package evidence_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// R12, R44: what did not exist yet proves nothing. The same bytes are proven at
// the end of the freshness window and not one millisecond before it.
func TestNotYet(t *testing.T) {
	const window = sealpost.UnixMilli(sealpost.FreshnessWindow / time.Millisecond)
	const noon = evidencetest.Start + 24*3_600_000 // long after the rest of the story
	type world = evidencetest.World
	for name, c := range map[string]struct {
		spoil func(*world)
		where string
		why   string
		gone  evidence.Subject // of which nothing is claimed before its time
	}{
		"commitment made later": {spoil: func(w *world) {
			edit(w, "commitment", func(c *sealpost.Commitment) { c.Created, c.Expires = noon, noon+300_000 })
		}, where: "commitment", why: "the sender made it at", gone: evidence.AboutSender},
		"attempt ended later": {spoil: func(w *world) {
			edit(w, "commitment", func(c *sealpost.Commitment) { c.Expires = noon })
			edit(w, "attempt-0", func(a *sealpost.Attempt) { a.Ended = noon })
		}, where: "attempt", why: "the attempt ended at", gone: evidence.AboutCarrier},
		"carrier claimed later": {spoil: func(w *world) {
			w.Steps = []string{"enrol-0", "commitment", "claim-0", "decrypted-0", "outcome"}
			edit(w, "claim-0", func(c *sealpost.CarrierClaim) { c.Received = noon })
		}, where: "carrier-claim", why: "the relay received it at", gone: evidence.AboutCarrier},
		"outcome decided later": {spoil: func(w *world) {
			edit(w, "outcome", func(o *sealpost.Outcome) { o.Decided = noon })
		}, where: "outcome", why: "the relay decided it at", gone: evidence.AboutOutcome},
		"commitment promised later": {spoil: func(w *world) { w.Accepted["commitment"] = noon }, where: "commitment", why: "its promise was given at", gone: evidence.AboutSender},
		"receipt promised later":    {spoil: func(w *world) { w.Accepted["decrypted-0"] = noon }, where: "receipt", why: "its promise was given at", gone: evidence.AboutDevice},
		"device enrolled later":     {spoil: func(w *world) { w.Accepted["enrol-0"] = noon }, where: "key-event", why: "its promise was given at", gone: evidence.AboutKey},
	} {
		t.Run(name, func(t *testing.T) {
			w := evidencetest.New()
			w.Devices = w.Devices[:1]
			w.Steps = []string{"enrol-0", "commitment", "attempt-0", "decrypted-0", "outcome"}
			c.spoil(w)
			w.Tell()
			raw := encode(t, w.Bundle())
			honest := evidence.Verify(raw, w.Policy(), noon-window)
			want(t, honest, evidence.Proven, "")
			if len(about(honest, c.gone)) == 0 {
				t.Fatalf("nothing is claimed about %s at its time", c.gone)
			}
			v := evidence.Verify(raw, w.Policy(), noon-window-1)
			want(t, v, evidence.Incomplete, "at that time it could not be proven yet")
			if !slices.ContainsFunc(v.Findings, func(f evidence.Finding) bool {
				return strings.HasPrefix(f.Where, c.where) && strings.Contains(f.Why, c.why) && f.Bytes != nil
			}) || len(v.Findings) != 1 {
				t.Errorf("findings %v, want one that says %q of the %s", v.Findings, c.why, c.where)
			}
			if claims := about(v, c.gone); len(claims) != 0 {
				t.Errorf("it is claimed before its time: %v", claims)
			}
		})
	}
}

// R44: before the story began nothing of it is claimed; what is wrong at any
// time stays what it is.
func TestBeforeTheStory(t *testing.T) {
	const before = evidencetest.Start - 3_600_000
	w := evidencetest.New().Tell()
	raw := encode(t, w.Bundle())
	want(t, evidence.Verify(raw, w.Policy(), at), evidence.Proven, "")
	v := evidence.Verify(raw, w.Policy(), before)
	want(t, v, evidence.Incomplete, "could not be proven yet")
	if len(v.Claims) != 0 {
		t.Errorf("an hour before the story it is claimed: %v", v.Claims)
	}

	p := w.Policy()
	p.ValidUntil = before - 1
	want(t, evidence.Verify(raw, p, before), evidence.TrustExpired, "valid until")

	spoilt := evidencetest.New()
	spoilt.By["commitment"] = evidencetest.Key(sealpost.EdDSA, 77)
	spoilt.Tell()
	v = evidence.Verify(encode(t, spoilt.Bundle()), spoilt.Policy(), before)
	want(t, v, evidence.Refused, "no key of")
	for _, f := range v.Findings { // a stranger's word on a time is no word
		if strings.HasPrefix(f.Where, "commitment") && f.Status == evidence.Incomplete {
			t.Errorf("a refused statement is dated: %v", f)
		}
	}

	two := evidencetest.New()
	two.Steps = append(two.Steps, "outcome-again")
	two.Tell()
	want(t, evidence.Verify(encode(t, two.Bundle()), two.Policy(), before), evidence.Diverged, "two outcomes")
}

// A cosignature of after the time of judgement does not count yet.
func TestCosignedLater(t *testing.T) {
	const window = sealpost.UnixMilli(sealpost.FreshnessWindow / time.Millisecond)
	const noon = evidencetest.Start + 24*3_600_000 // cosignatures are in seconds
	w := evidencetest.New()
	keys := []string{w.Log.AddWitness("witness.example/a", 40, evidencetest.Start+5000), w.Log.AddWitness("witness.example/b", 41, noon)}
	w.Tell()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 2, keys
	raw := encode(t, w.Bundle())
	want(t, evidence.Verify(raw, p, noon-window), evidence.Proven, "")
	want(t, evidence.Verify(raw, p, noon-window-1), evidence.Incomplete, "1 of the policy's witnesses cosigned it (1 more only after the time of judgement), 2 are needed")
	p.Witnesses = 1
	want(t, evidence.Verify(raw, p, noon-window-1), evidence.Proven, "")
}
