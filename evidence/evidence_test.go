package evidence_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// at is when the tests judge.
const at = evidencetest.Start + 3_600_000

func encode(t testing.TB, b *evidence.Bundle) []byte {
	t.Helper()
	raw, err := b.Encode()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return raw
}

// want fails unless the verdict has a status, and a finding of that status
// that says why.
func want(t *testing.T, v evidence.Verdict, status evidence.Status, why string) {
	t.Helper()
	if v.Status != status {
		t.Errorf("status %v, want %v", v.Status, status)
	}
	said := why == ""
	for _, f := range v.Findings {
		said = said || f.Status == status && strings.Contains(f.String(), why)
	}
	if !said {
		t.Errorf("no %v finding says %q", status, why)
	}
	if t.Failed() {
		t.Logf("findings: %v", v.Findings)
	}
}

// restsOnRefused names a claim that rests on an exhibit that a check refused.
// What is in the log is claimed all the same: that it is there holds by itself.
func restsOnRefused(v evidence.Verdict) string {
	for _, c := range v.Claims {
		for _, f := range v.Findings {
			if c.About != evidence.AboutLog && f.Status == evidence.Refused && slices.Contains(c.Evidence, f.Where) {
				return c.What + " // " + f.String()
			}
		}
	}
	return ""
}

// about gives the claims about a subject.
func about(v evidence.Verdict, s evidence.Subject) (out []evidence.Claim) {
	for _, c := range v.Claims {
		if c.About == s {
			out = append(out, c)
		}
	}
	return out
}

// has says whether a claim about a subject says something in words or limits.
func has(v evidence.Verdict, s evidence.Subject, text string) bool {
	return slices.ContainsFunc(about(v, s), func(c evidence.Claim) bool {
		return strings.Contains(c.What, text) || strings.Contains(c.Limit, text)
	})
}

// edit changes a step's statement before it is signed.
func edit[S sealpost.Statement](w *evidencetest.World, step string, change func(*S)) {
	w.Edit[step] = func(st sealpost.Statement) sealpost.Statement {
		s := st.(S)
		change(&s)
		return s
	}
}

func TestHonestStoryIsProven(t *testing.T) {
	w := evidencetest.New().Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Proven, "")
	if len(v.Findings) != 0 {
		t.Errorf("findings on an honest bundle: %v", v.Findings)
	}
	// R58: each level is a claim of its own, with its own limit.
	for _, text := range []string{"holds the sealed message", "opened the message", "displayed the text", "a person acted"} {
		if !has(v, evidence.AboutDevice, text) {
			t.Errorf("no device claim says %q", text)
		}
	}
	if !has(v, evidence.AboutDevice, "does not prove that a person read it") || !has(v, evidence.AboutDevice, "assurance: software") {
		t.Error("a device claim lacks its limit or its assurance")
	}
	// DESIGN 12: without witnesses each claim that rests on the log says whose word orders it.
	for _, s := range []evidence.Subject{evidence.AboutLog, evidence.AboutSender, evidence.AboutDevice, evidence.AboutOutcome, evidence.AboutCarrier} {
		if len(about(v, s)) == 0 {
			t.Errorf("nothing is claimed about %s", s)
		}
		for _, c := range about(v, s) {
			if !strings.Contains(c.What+c.Limit, "ordered by the relay's own word") {
				t.Errorf("claim about %s does not say that the relay alone orders: %s", s, c.What)
			}
		}
	}
	if len(about(v, evidence.AboutKey)) != 2 || !has(v, evidence.AboutRoster, "to 2 devices and to no other") {
		t.Error("the devices' keys or the roster are not claimed")
	}
	if !has(v, evidence.AboutDevice, "No revocation is shown in this bundle") {
		t.Error("no claim says that a revocation is not excluded")
	}
}

// Each case spoils one thing in the story that TestHonestStoryIsProven proves.
func TestSpoiltStories(t *testing.T) {
	stranger := evidencetest.Key(sealpost.EdDSA, 77)
	type world = evidencetest.World
	for name, c := range map[string]struct {
		spoil  func(*world)
		status evidence.Status
		why    string
	}{
		"commitment by a stranger's key": {func(w *world) { w.By["commitment"] = stranger }, evidence.Refused, "no key of"},
		"commitment of another app":      {func(w *world) { edit(w, "commitment", func(c *sealpost.Commitment) { c.App = "other" }) }, evidence.Refused, `no key of "other"`},
		"commitment names a head of another history": {func(w *world) {
			edit(w, "commitment", func(c *sealpost.Commitment) { c.NotBefore = sealpost.Head{Size: 14, Root: sealpost.Hash{1}} })
		}, evidence.Refused, "is not the log's"},
		"commitment names a head after itself": {func(w *world) {
			edit(w, "commitment", func(c *sealpost.Commitment) { c.NotBefore.Size = 13 })
		}, evidence.Refused, "stands at leaf 4 before that"},
		"device enrolled by a stranger": {func(w *world) { w.By["enrol-0"] = stranger }, evidence.Refused, "no key of"},
		"device enrolled by the relay": {func(w *world) { w.By["enrol-0"] = w.Relay }, evidence.Refused,
			"it is the relay's statement key, which may sign no key-event; the relay logged it all the same, as leaf 1"},
		"commitment by the relay": {func(w *world) { w.By["commitment"] = w.Relay }, evidence.Refused,
			"it is the relay's statement key, which may sign no commitment; the relay logged it"},
		"device of another recipient": {func(w *world) {
			w.Edit["enrol-0"] = func(sealpost.Statement) sealpost.Statement {
				other := evidencetest.New()
				other.Recipient[0] ^= 1
				other.Steps = []string{"enrol-0"}
				e, _ := other.Tell().Entries["enrol-0"].Signed.KeyEvent()
				return e
			}
		}, evidence.Refused, "another recipient"},
		"device enrolled after its receipt": {func(w *world) {
			w.Steps = []string{"enrol-1", "commitment", "decrypted-0", "enrol-0", "outcome"}
		}, evidence.Refused, "after it at leaf"},
		"device revoked before its receipt": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "revoke-0", "decrypted-0", "outcome"}
		}, evidence.Refused, "its key is revoked at leaf 3, before it"},
		"revocation by a stranger": {func(w *world) {
			w.Steps = append(w.Steps, "revoke-0")
			w.By["revoke-0"] = stranger
		}, evidence.Refused, "no key of"},
		"sender revoked before the commitment": {func(w *world) {
			w.Steps = slices.Insert(w.Steps, 4, "revoke-sender")
		}, evidence.Refused, "its key is revoked at leaf 4, before it"},
		"sender revoked before it enrols a device": {func(w *world) {
			w.Steps = slices.Insert(w.Steps, 1, "revoke-sender")
		}, evidence.Refused, "the key that signed it is revoked at leaf 1"},
		"sender enrolled after the commitment": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "enrol-sender", "decrypted-0", "outcome"}
		}, evidence.Refused, "enrolled at leaf 3, after it"},
		"receipt by the relay's key": {func(w *world) { w.By["decrypted-0"] = w.Relay }, evidence.Refused,
			"it is the relay's statement key, which may sign no receipt; the relay logged it"},
		"receipt in another device's name": {func(w *world) {
			w.By["decrypted-0"] = w.Devices[1].Key
		}, evidence.Refused, "is signed by"},
		// R59: a receipt for another commitment, message or ciphertext.
		"receipt for another commitment": {func(w *world) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Commitment[0] ^= 1 })
		}, evidence.Refused, "another commitment"},
		"receipt for another message": {func(w *world) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.ID[15] ^= 1 })
		}, evidence.Refused, "it is about msg_"},
		"receipt for another ciphertext": {func(w *world) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Blob[0] ^= 1 })
		}, evidence.Refused, "another ciphertext"},
		"receipt for another roster": {func(w *world) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Roster[0] ^= 1 })
		}, evidence.Refused, "another roster"},
		"attempt over a carrier that the sender forbids": {func(w *world) {
			edit(w, "attempt-0", func(a *sealpost.Attempt) { a.Carrier = sealpost.SMS })
		}, evidence.Refused, "did not allow the carrier sms"},
		"attempt after the message expired": {func(w *world) {
			edit(w, "attempt-0", func(a *sealpost.Attempt) { a.Started, a.Ended = a.Started+400_000, a.Ended+400_000 })
		}, evidence.Refused, "after the message expired"},
		"attempt for another commitment": {func(w *world) {
			edit(w, "attempt-0", func(a *sealpost.Attempt) { a.Commitment[0] ^= 1 })
		}, evidence.Refused, "another commitment"},
		"attempt by a stranger": {func(w *world) { w.By["attempt-0"] = stranger }, evidence.Refused, "no relay key"},
		"outcome by a stranger": {func(w *world) { w.By["outcome"] = stranger }, evidence.Refused, "no relay key"},
		"outcome by the sender": {func(w *world) { w.By["outcome"] = w.Sender }, evidence.Refused, "no relay key"},
		"outcome for another commitment": {func(w *world) {
			edit(w, "outcome", func(o *sealpost.Outcome) { o.Commitment[0] ^= 1 })
		}, evidence.Refused, "another commitment"},
		"outcome counts what is not there": {func(w *world) {
			edit(w, "outcome", func(o *sealpost.Outcome) { o.Claims = []sealpost.Hash{{1}} })
		}, evidence.Incomplete, "it counts the carrier-claim 01000000, which is not in the bundle"},
		"delivered without a receipt that shows it": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "handed_over-0", "outcome", "decrypted-0"}
			edit(w, "outcome", func(o *sealpost.Outcome) { o.End = sealpost.Delivered })
		}, evidence.Refused, "no receipt that it counts shows it"},
		"expired before its time": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "outcome", "decrypted-0"}
			edit(w, "outcome", func(o *sealpost.Outcome) { o.End = sealpost.Expired })
		}, evidence.Refused, "before the message expires"},
		"undeliverable and yet delivered": {func(w *world) {
			edit(w, "outcome", func(o *sealpost.Outcome) { o.End = sealpost.Undeliverable })
		}, evidence.Refused, "counts a receipt that shows delivery"},
		"refused and nobody refuses": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "outcome", "decrypted-0"}
			edit(w, "outcome", func(o *sealpost.Outcome) { o.End = sealpost.Refused })
		}, evidence.Refused, "no receipt that it counts refuses"},
		"two outcomes": {func(w *world) {
			w.Steps = append(w.Steps, "outcome-again")
		}, evidence.Diverged, "two outcomes"},
		"ghost device in the roster": {func(w *world) {
			w.Devices = append(w.Devices, evidencetest.Device{Key: stranger, Leaf: stranger, Assurance: sealpost.AssuranceSoftware})
		}, evidence.Incomplete, "a ghost device is not excluded"},
		"key weaker than the commitment demands": {func(w *world) {
			edit(w, "commitment", func(c *sealpost.Commitment) { c.LeastAssurance = sealpost.AssuranceTEE })
		}, evidence.Refused, "the commitment demands tee"},
		"never opened": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "handed_over-0", "displayed-0", "outcome"}
		}, evidence.Incomplete, "no logged receipt of level decrypted"}, // R58: displayed does not imply decrypted
		"mismatch": {func(w *world) {
			w.Steps = []string{"enrol-0", "enrol-1", "commitment", "mismatch-0", "outcome"}
		}, evidence.Incomplete, "no logged receipt of level decrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			w := evidencetest.New()
			c.spoil(w)
			w.Tell()
			v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
			want(t, v, c.status, c.why)
			if claim := restsOnRefused(v); claim != "" {
				t.Errorf("a claim rests on what is refused: %s", claim)
			}
			if name == "ghost device in the roster" && len(about(v, evidence.AboutRoster)) != 0 {
				t.Error("a ghost is in the roster, and it is claimed to be complete")
			}
		})
	}
}

// A statement whose signature is forged is refused even though it is logged,
// promised and names the right key, whichever kind it is.
func TestForgedSignatures(t *testing.T) {
	steps := []string{"enrol-sender", "enrol-0", "commitment", "attempt-0", "claim-0", "decrypted-0", "outcome", "revoke-0"}
	for _, forged := range append([]string{""}, steps...) {
		w := evidencetest.New()
		w.Devices = w.Devices[:1]
		w.Steps = steps
		w.Spoil[forged] = func(b []byte) { b[len(b)-1] ^= 1 }
		w.Tell()
		v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
		if forged == "" {
			want(t, v, evidence.Proven, "")
			continue
		}
		want(t, v, evidence.Refused, "signature does not verify; the relay logged it all the same, as leaf")
		if claim := restsOnRefused(v); claim != "" {
			t.Errorf("%s: a claim rests on what is refused: %s", forged, claim)
		}
	}
}

// Whoever makes up a statement cannot lay it to the relay: it took what its
// log or its promise is over, and nothing else.
func TestForgeryIsLaidToWhoTookIt(t *testing.T) {
	w := evidencetest.New()
	w.By["enrol-0"] = evidencetest.Key(sealpost.EdDSA, 77)
	w.Tell()
	for _, c := range []struct {
		part         func(*evidence.Exhibit)
		says, saysNo string
	}{
		{func(*evidence.Exhibit) {}, "the relay logged it", "promised"},
		{func(x *evidence.Exhibit) { x.Proof = nil }, "the relay promised to log it", "logged it"},
		{func(x *evidence.Exhibit) { x.Proof, x.Promise = nil, nil }, "no key of", "the relay"},
	} {
		b := w.Bundle("enrol-0")
		x := w.Exhibit("enrol-0")
		c.part(&x)
		b.Exhibits = append(b.Exhibits, x)
		v := evidence.Verify(encode(t, b), w.Policy(), at)
		want(t, v, evidence.Refused, c.says)
		for _, f := range v.Findings {
			if f.Status == evidence.Refused && strings.Contains(f.Why, c.saysNo) {
				t.Errorf("said without evidence: %v", f)
			}
		}
	}
}

// A roster whose leaves are not those that the sender enrolled, or with two of
// the sender's, is refused even though the sender signed it.
func TestSpoiltRoster(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*evidencetest.World, *sealpost.Roster)
		status evidence.Status
		why    string
	}{
		"another leaf": {func(w *evidencetest.World, r *sealpost.Roster) {
			for i, m := range r.Members {
				if m.Device == w.Devices[0].Key.Public().ID() {
					r.Members[i].Leaf = evidencetest.Key(sealpost.EdDSA, 90).Public().Bytes()
				}
			}
		}, evidence.Refused, "is not the one that the sender enrolled"},
		"two of the sender": {func(w *evidencetest.World, r *sealpost.Roster) {
			r.Members = append(r.Members, sealpost.RosterMember{Leaf: []byte("second"), Device: w.Sender.Public().ID()})
		}, evidence.Refused, "2 leaves are the sender's"},
		"without the device": {func(w *evidencetest.World, r *sealpost.Roster) {
			r.Members = slices.DeleteFunc(r.Members, func(m sealpost.RosterMember) bool { return m.Device == w.Devices[0].Key.Public().ID() })
		}, evidence.Refused, "is not in the roster"},
	} {
		t.Run(name, func(t *testing.T) {
			w := evidencetest.New()
			probe := evidencetest.New().Tell().Roster
			c.spoil(w, &probe)
			r := sealpost.NewRoster(probe.Group, probe.Epoch, probe.TreeHash, probe.Members)
			edit(w, "commitment", func(c *sealpost.Commitment) { c.Roster = r.Digest() })
			for _, step := range w.Steps {
				if strings.HasPrefix(step, "decrypted") || strings.HasPrefix(step, "displayed") || strings.HasPrefix(step, "acted") {
					edit(w, step, func(x *sealpost.Receipt) { x.Roster = r.Digest() })
				}
			}
			w.Tell()
			b := w.Bundle()
			b.Rosters = [][]byte{r.Encode()}
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), c.status, c.why)
		})
	}
	w := evidencetest.New().Tell()
	b := w.Bundle()
	other := w.Roster
	other.Epoch++
	b.Rosters = append(b.Rosters, other.Encode())
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "neither the commitment nor a receipt names it")
	b.Rosters = [][]byte{w.Roster.Encode(), []byte("no roster")}
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "roster 0")
}

// The log's order is checked: the same statements in another order are refused.
func TestOrder(t *testing.T) {
	w := evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "decrypted-0", "outcome"}
	w.Tell()
	for _, c := range []struct {
		order  []string
		status evidence.Status
		why    string
	}{
		{w.Steps, evidence.Proven, ""},
		{[]string{"enrol-0", "enrol-1", "commitment", "decrypted-0", "claim-0", "attempt-0", "outcome"}, evidence.Proven, ""},
		{[]string{"enrol-0", "enrol-1", "decrypted-0", "commitment", "attempt-0", "claim-0", "outcome"}, evidence.Refused, "it stands at leaf 2, before the commitment at leaf 3"},
		{[]string{"enrol-0", "enrol-1", "attempt-0", "commitment", "claim-0", "decrypted-0", "outcome"}, evidence.Refused, "it stands at leaf 2, before the commitment"},
		{[]string{"enrol-0", "enrol-1", "claim-0", "commitment", "attempt-0", "decrypted-0", "outcome"}, evidence.Refused, "it stands at leaf 2, before the commitment"},
		{[]string{"enrol-0", "enrol-1", "outcome", "commitment", "attempt-0", "claim-0", "decrypted-0"}, evidence.Refused, "it stands at leaf 2, before the commitment"},
		{[]string{"enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "outcome", "decrypted-0"}, evidence.Refused, "which stands after it at leaf 6"},
	} {
		w.Relog(c.order...)
		want(t, evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), c.status, c.why)
	}
}

// R105: an attempt to wake another device after the outcome is supplementary, like a
// later receipt. It is judged like any other, and the bundle is whole without it.
func TestAttemptAfterTheOutcome(t *testing.T) {
	w := evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "decrypted-0", "outcome", "attempt-1"}
	w.Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Proven, "")
	if n := len(about(v, evidence.AboutCarrier)); n != 2 {
		t.Errorf("%d claims about attempts, want both", n)
	}
	want(t, evidence.Verify(encode(t, w.Bundle("attempt-1")), w.Policy(), at), evidence.Proven, "")
	want(t, evidence.Verify(encode(t, w.Bundle("attempt-0")), w.Policy(), at), evidence.Incomplete, "which is not in the bundle")
	w = evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "decrypted-0", "outcome", "attempt-1"}
	edit(w, "attempt-1", func(a *sealpost.Attempt) { a.Carrier = sealpost.SMS })
	w.Tell()
	want(t, evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), evidence.Refused, "the sender did not allow the carrier")
}

// A promise is checked wherever there is one.
func TestPromise(t *testing.T) {
	w := evidencetest.New().Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	if !has(v, evidence.AboutPromise, "The relay promised at 2026-") {
		t.Error("a good promise is not claimed")
	}
	place := func(b *evidence.Bundle, name string) *evidence.Exhibit {
		i := slices.IndexFunc(b.Exhibits, func(e evidence.Exhibit) bool { return string(e.Statement) == string(w.Entries[name].Signed.Bytes()) })
		return &b.Exhibits[i]
	}
	for name, spoil := range map[string]func(*evidence.Exhibit){
		"of another statement": func(e *evidence.Exhibit) { e.Promise = w.Entries["decrypted-0"].Promise },
		"not a promise":        func(e *evidence.Exhibit) { e.Promise = []byte("yes") },
		"flipped":              func(e *evidence.Exhibit) { e.Promise = slices.Clone(e.Promise); e.Promise[len(e.Promise)-1] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			b := w.Bundle()
			spoil(place(b, "commitment"))
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "promise")
		})
	}
	t.Run("kept too early to be true", func(t *testing.T) {
		w := evidencetest.New()
		w.Steps = []string{"enrol-0", "enrol-1", "commitment", "decrypted-0", "outcome"}
		w.Tell()
		promise := w.Entries["commitment"].Promise
		w.Relog("commitment", "enrol-0", "enrol-1", "decrypted-0", "outcome")
		b := w.Bundle()
		for i := range b.Exhibits {
			if string(b.Exhibits[i].Statement) == string(w.Entries["commitment"].Signed.Bytes()) {
				b.Exhibits[i].Promise = promise
			}
		}
		want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "made when the log had 2 leaves, and the statement is leaf 0")
	})
	t.Run("overdue", func(t *testing.T) {
		b := w.Bundle("outcome")
		place(b, "commitment").Proof = nil
		v := evidence.Verify(encode(t, b), w.Policy(), evidencetest.Start+2*3_600_000)
		want(t, v, evidence.Incomplete, "no proof that it is in the log")
		if !has(v, evidence.AboutPromise, "does not show it kept") {
			t.Error("an overdue promise is not told")
		}
	})
}

// What was promised and is not shown in the log is owed, whatever it is; once
// its time is past, that is said.
func TestOwedReceipt(t *testing.T) {
	w := evidencetest.New().Tell()
	if has(evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), evidence.AboutPromise, "that the receipt") {
		t.Error("what is in the log is said to be owed")
	}
	b := w.Bundle("decrypted-0")
	x := w.Exhibit("decrypted-0")
	x.Proof = nil
	b.Exhibits = append(b.Exhibits, x)
	for _, late := range []bool{false, true} {
		at := evidencetest.Start + 60_000
		if late {
			at += sealpost.UnixMilli(sealpost.MergeDelay.Milliseconds())
		}
		v := evidence.Verify(encode(t, b), w.Policy(), at)
		if !has(v, evidence.AboutPromise, "The relay promised at") || !has(v, evidence.AboutPromise, "that the receipt will be in the log") {
			t.Errorf("late %v: the promise of the receipt is not claimed: %+v", late, about(v, evidence.AboutPromise))
		}
		if has(v, evidence.AboutPromise, "does not show it kept") != late {
			t.Errorf("late %v: %+v", late, about(v, evidence.AboutPromise))
		}
	}
}

// A bundle that lacks one part is incomplete and says which.
func TestMissingParts(t *testing.T) {
	w := evidencetest.New().Tell()
	for name, why := range map[string]string{
		"commitment":    "commitment: it is not in the bundle",
		"enrol-0":       "no key event of the sender for device",
		"attempt-1":     "which is not in the bundle",
		"decrypted-1":   "which is not in the bundle",
		"handed_over-0": "which is not in the bundle",
		"outcome":       "how the message ended is not shown",
	} {
		want(t, evidence.Verify(encode(t, w.Bundle(name)), w.Policy(), at), evidence.Incomplete, why)
	}
	// What the outcome could not count may be left out: it came later.
	want(t, evidence.Verify(encode(t, w.Bundle("displayed-0", "acted-0", "enrol-sender")), w.Policy(), at), evidence.Proven, "")

	b := w.Bundle()
	b.Rosters = nil
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Incomplete, "who could open the message is not shown")
	b = w.Bundle()
	for i, e := range b.Exhibits {
		for _, step := range []string{"decrypted-0", "decrypted-1"} {
			if string(e.Statement) == string(w.Entries[step].Signed.Bytes()) {
				b.Exhibits[i].Proof = nil
			}
		}
	}
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Incomplete, "no logged receipt of level decrypted")
	for i := range b.Exhibits {
		b := w.Bundle()
		b.Exhibits[i].Proof = nil
		want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Incomplete, "no proof that it is in the log")
	}
}

// R13: sender and device signed; each is a claim of its own, and without either
// the claims say less.
func TestSenderAndDeviceAreClaimedApart(t *testing.T) {
	w := evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "decrypted-0", "outcome"}
	w.Tell()
	both := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	if len(about(both, evidence.AboutSender)) != 1 || len(about(both, evidence.AboutDevice)) != 1 {
		t.Fatalf("want one claim of the sender and one of the device, got %v", both.Claims)
	}
	sender := evidence.Verify(encode(t, w.Bundle("decrypted-0")), w.Policy(), at)
	if len(about(sender, evidence.AboutDevice)) != 0 || len(about(sender, evidence.AboutSender)) != 1 {
		t.Error("without the receipt a device is still claimed, or the sender is not")
	}
	device := evidence.Verify(encode(t, w.Bundle("commitment")), w.Policy(), at)
	if len(about(device, evidence.AboutSender)) != 0 {
		t.Error("without the commitment the sender is still claimed")
	}
}

// Log order decides and clocks do not: wild device times change no verdict.
func TestDeviceClockDecidesNothing(t *testing.T) {
	for _, wild := range []sealpost.UnixMilli{0, sealpost.TimeLast} {
		w := evidencetest.New()
		for _, step := range []string{"decrypted-0", "decrypted-1"} {
			edit(w, step, func(r *sealpost.Receipt) { r.DeviceTime = wild })
		}
		w.Tell()
		want(t, evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), evidence.Proven, "")
	}
}

// R3: other hash and signature algorithms prove the same.
func TestAlgorithms(t *testing.T) {
	for _, hash := range []sealpost.HashAlg{sealpost.SHA256, sealpost.SHA384, sealpost.SHA512} {
		for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
			w := evidencetest.New()
			w.HashAlg, w.Sender, w.Relay = hash, evidencetest.Key(alg, 1), evidencetest.Key(alg, 2)
			w.Tell()
			b := w.Bundle()
			b.Disclosed, _ = evidence.DiscloseAll(w.Payload)
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Proven, "")
		}
	}
}

// A revocation after the fact is told and does not undo what stood before it.
func TestLaterRevocationIsTold(t *testing.T) {
	w := evidencetest.New()
	w.Steps = append(w.Steps, "revoke-0", "revoke-sender")
	w.Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Proven, "")
	if !has(v, evidence.AboutDevice, "revoked later, at leaf 14") || !has(v, evidence.AboutSender, "revoked later, at leaf 15") {
		t.Errorf("later revocations are not told: %v", v.Claims)
	}
}

// Where a key lives limits what its signature shows.
func TestAssuranceIsTold(t *testing.T) {
	for a := sealpost.AssuranceSoftware; a <= sealpost.AssuranceStrongBox; a++ {
		w := evidencetest.New()
		w.Devices = w.Devices[:1]
		w.Devices[0].Assurance = a
		w.Steps = []string{"enrol-0", "commitment", "decrypted-0", "outcome"}
		v := evidence.Verify(encode(t, w.Tell().Bundle()), w.Policy(), at)
		want(t, v, evidence.Proven, "")
		if !has(v, evidence.AboutDevice, "assurance: "+a.String()) || has(v, evidence.AboutDevice, "whoever copied it") != (a == sealpost.AssuranceSoftware) {
			t.Errorf("%v: %v", a, about(v, evidence.AboutDevice))
		}
	}
}

// A device's refusal is its own assertion, and the verdict says so.
func TestMismatchIsAnAssertion(t *testing.T) {
	w := evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "mismatch-0", "gap-0", "decrypt-failed-1", "outcome"}
	w.Tell()
	p := w.Policy()
	p.Require = evidence.RequireOutcome
	v := evidence.Verify(encode(t, w.Bundle()), p, at)
	want(t, v, evidence.Proven, "")
	if !has(v, evidence.AboutDevice, "commitment does not open") || !has(v, evidence.AboutDevice, "This is the device's assertion") || !has(v, evidence.AboutOutcome, "ended: refused") {
		t.Errorf("refusals are not told as assertions: %v", v.Claims)
	}
}

func TestCarrierClaimIsOnlyAClaim(t *testing.T) {
	w := evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "outcome"}
	w.Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Incomplete, "no logged receipt of level decrypted")
	if !has(v, evidence.AboutCarrier, "A carrier's claim is no delivery") {
		t.Error("a carrier's claim lacks its limit")
	}

	// bundle 5.5: one that a check refused shows nothing.
	b := w.Bundle()
	for i, e := range b.Exhibits {
		if string(e.Statement) == string(w.Entries["claim-0"].Signed.Bytes()) {
			b.Exhibits[i].Salt[0] ^= 1
		}
	}
	v = evidence.Verify(encode(t, b), w.Policy(), at)
	want(t, v, evidence.Refused, "statement and salt are not leaf")
	if has(v, evidence.AboutCarrier, "A carrier's claim is no delivery") {
		t.Error("a carrier's claim that the log does not hold is stated")
	}

	// bundle 4.9: over a carrier that the sender did not allow.
	w = evidencetest.New()
	w.Steps = []string{"enrol-0", "enrol-1", "commitment", "attempt-0", "claim-0", "outcome"}
	w.Edit["claim-0"] = func(s sealpost.Statement) sealpost.Statement {
		c := s.(sealpost.CarrierClaim)
		c.Carrier = sealpost.SMS
		return c
	}
	w.Tell()
	want(t, evidence.Verify(encode(t, w.Bundle()), w.Policy(), at), evidence.Refused, "did not allow the carrier")
}

// The bundle's hint of a policy never changes a verdict.
func TestPolicyHintDecidesNothing(t *testing.T) {
	w := evidencetest.New().Tell()
	b := w.Bundle()
	b.PolicyHash = make([]byte, 32)
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Proven, "")
}
