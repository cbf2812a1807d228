package main

import (
	"bytes"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
	"github.com/sealpost/sealpost/spec/vectors"
)

// at is when bundles are judged.
const at = evidencetest.Start + 3_600_000

// draft is the shortest story that is proven.
func draft() *evidencetest.World {
	w := evidencetest.New()
	w.Devices = w.Devices[:1]
	w.Steps = []string{"enrol-0", "commitment", "attempt-0", "decrypted-0", "outcome"}
	return w
}

func minimal() *evidencetest.World { return draft().Tell() }

// bundle keeps one case, judged at the usual time.
func (m *maker) bundle(name string, raw []byte, p evidence.Policy, status evidence.Status, why string) {
	m.bundleAt(at, name, raw, p, status, why)
}

func (m *maker) bundleAt(at sealpost.UnixMilli, name string, raw []byte, p evidence.Policy, status evidence.Status, why string) {
	policy, err := p.Encode()
	check(err)
	m.index.Bundles = append(m.index.Bundles, vectors.Bundle{Name: name, File: m.put("bundles", name, ".sealpost", raw), Policy: m.put("bundles", name, ".policy.json", policy),
		At: at.String(), Status: status.String(), ExitCode: status.ExitCode(), Why: why})
}

func (m *maker) bundles() {
	encode := func(b *evidence.Bundle) []byte {
		raw, err := b.Encode()
		check(err)
		return raw
	}
	m.proven(encode)
	m.spoilt(encode)

	// 30: two histories.
	w := draft()
	w.Steps = append(w.Steps, "outcome-again")
	w.Tell()
	m.bundle("diverged-two-outcomes", encode(w.Bundle()), w.Policy(), evidence.Diverged, "two outcomes")
	w = draft()
	fork := evidencetest.NewLog(evidencetest.Origin, 9)
	for range 5 {
		fork.Append([]byte("another history"))
	}
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Checkpoint = string(fork.Checkpoint(5)) })
	w.Tell()
	m.bundle("diverged-fork", encode(w.Bundle()), w.Policy(), evidence.Diverged, "different roots")

	m.broken(encode)

	// 20: the policy is over.
	w = minimal()
	p := w.Policy()
	p.ValidUntil = at - 1
	m.bundle("expired-policy", encode(w.Bundle()), p, evidence.TrustExpired, "valid until")
	m.notYet(encode)
}

// notYet judges before the usual time: what does not exist yet proves nothing,
// and only a device's clock is free to say what it likes.
func (m *maker) notYet(encode func(*evidence.Bundle) []byte) {
	window := sealpost.UnixMilli(sealpost.FreshnessWindow.Milliseconds())
	const late = at + 24*3_600_000
	w := minimal()
	early := evidencetest.Start - window
	m.bundleAt(early-1, "incomplete-before-the-commitment", encode(w.Bundle()), w.Policy(), evidence.Incomplete, "the sender made it")

	w = draft()
	edit(w, "outcome", func(o *sealpost.Outcome) { o.Decided = late })
	w.Tell()
	m.bundleAt(late-window, "proven-at-the-end-of-the-window", encode(w.Bundle()), w.Policy(), evidence.Proven, "")
	m.bundleAt(late-window-1, "incomplete-before-the-outcome", encode(w.Bundle()), w.Policy(), evidence.Incomplete, "the relay decided it")

	w = draft()
	w.Accepted["decrypted-0"] = late
	w.Tell()
	m.bundle("incomplete-before-a-promise", encode(w.Bundle()), w.Policy(), evidence.Incomplete, "its promise was given")

	w = draft()
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.DeviceTime = late + 3650*24*3_600_000 })
	w.Tell()
	m.bundle("proven-device-clock-ten-years-ahead", encode(w.Bundle()), w.Policy(), evidence.Proven, "")

	w = draft()
	key := w.Log.AddWitness("witness.example/a", 40, late)
	w.Tell()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 1, []string{key}
	m.bundle("incomplete-before-a-cosignature", encode(w.Bundle()), p, evidence.Incomplete, "1 more only after the time of judgement")

	w = draft()
	w.By["decrypted-0"] = w.Relay
	w.Tell()
	m.bundleAt(early-1, "refused-at-any-time", encode(w.Bundle()), w.Policy(), evidence.Refused, "is signed by")
}

func (m *maker) proven(encode func(*evidence.Bundle) []byte) {
	w := evidencetest.New().Tell()
	m.bundle("proven-two-devices", encode(w.Bundle()), w.Policy(), evidence.Proven, "")

	w = minimal()
	b := w.Bundle()
	m.bundle("proven", encode(b), w.Policy(), evidence.Proven, "")
	b.PolicyHash = bytes.Repeat([]byte{0xee}, 32)
	m.bundle("proven-with-a-foreign-policy-hint", encode(b), w.Policy(), evidence.Proven, "")
	b = w.Bundle()
	var err error
	b.Disclosed, err = evidence.DiscloseAll(w.Payload)
	check(err)
	m.bundle("proven-disclosed", encode(b), w.Policy(), evidence.Proven, "")
	b.Disclosed, err = evidence.DiscloseFields(w.Payload, "amount")
	check(err)
	m.bundle("proven-one-field", encode(b), w.Policy(), evidence.Proven, "")

	w = draft()
	w.HashAlg, w.Sender, w.Relay = sealpost.SHA384, evidencetest.Key(sealpost.ES256, 1), evidencetest.Key(sealpost.ES256, 2)
	w.Tell()
	m.bundle("proven-es256-sha384", encode(w.Bundle()), w.Policy(), evidence.Proven, "")

	w = draft()
	key := w.Log.AddWitness("witness.example/a", 40, evidencetest.Start+5000)
	w.Tell()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 1, []string{key}
	m.bundle("proven-witnessed", encode(w.Bundle()), p, evidence.Proven, "")
	other := evidencetest.NewLog("x.example", 50)
	p.Witnesses, p.WitnessKeys = 2, []string{key, other.AddWitness("witness.example/b", 41, at)}
	m.bundle("incomplete-too-few-witnesses", encode(w.Bundle()), p, evidence.Incomplete, "2 are needed")

	w = draft()
	w.Steps = []string{"enrol-0", "commitment", "attempt-0", "mismatch-0", "outcome"}
	w.Tell()
	p = w.Policy()
	p.Require = evidence.RequireOutcome
	m.bundle("proven-refusal", encode(w.Bundle()), p, evidence.Proven, "")
	m.bundle("incomplete-refusal-is-no-delivery", encode(w.Bundle()), w.Policy(), evidence.Incomplete, "no logged receipt of level decrypted")
}

func (m *maker) spoilt(encode func(*evidence.Bundle) []byte) {
	w := minimal()
	// 10: something is missing.
	for _, part := range []string{"commitment", "outcome", "attempt-0", "decrypted-0", "enrol-0"} {
		m.bundle("incomplete-without-"+part, encode(w.Bundle(part)), w.Policy(), evidence.Incomplete, "")
	}
	b := w.Bundle()
	b.Rosters = nil
	m.bundle("incomplete-without-roster", encode(b), w.Policy(), evidence.Incomplete, "roster")
	b = w.Bundle()
	b.Exhibits[0].Proof = nil
	m.bundle("incomplete-without-a-proof", encode(b), w.Policy(), evidence.Incomplete, "no proof that it is in the log")

	// 40: a check fails.
	raw := encode(w.Bundle())
	raw[len(raw)/2] ^= 1
	m.bundle("refused-flipped-byte", raw, w.Policy(), evidence.Refused, "digest")
	b = w.Bundle()
	b.Exhibits[1].Salt[0] ^= 1
	m.bundle("refused-salt", encode(b), w.Policy(), evidence.Refused, "statement and salt are not leaf")
	p := w.Policy()
	p.Senders[0].Key = w.Relay.Public()
	m.bundle("refused-sender-not-pinned", encode(w.Bundle()), p, evidence.Refused, "no key of")
	p = w.Policy()
	p.RelayKeys = []sealpost.PublicKey{w.Sender.Public()}
	m.bundle("refused-relay-not-pinned", encode(w.Bundle()), p, evidence.Refused, "no relay key")
	p = w.Policy()
	p.LogKey = evidencetest.NewLog("other.example", 60).Key()
	m.bundle("refused-another-log", encode(w.Bundle()), p, evidence.Refused, "checkpoint")
	p = w.Policy()
	p.LeastAssurance = sealpost.AssuranceTEE
	m.bundle("refused-weak-device", encode(w.Bundle()), p, evidence.Refused, "the policy wants tee")

	for _, x := range []struct {
		name, why string
		spoil     func(*evidencetest.World)
	}{
		{"another-commitment", "another commitment", func(w *evidencetest.World) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Commitment[0] ^= 1 })
		}},
		{"another-ciphertext", "another ciphertext", func(w *evidencetest.World) { edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Blob[0] ^= 1 }) }},
		{"another-roster", "another roster", func(w *evidencetest.World) {
			edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Roster[0] ^= 1 })
		}},
		{"receipt-by-the-relay", "is signed by", func(w *evidencetest.World) { w.By["decrypted-0"] = w.Relay }},
		{"device-enrolled-by-the-relay", "no key of", func(w *evidencetest.World) { w.By["enrol-0"] = w.Relay }},
		{"revoked-before-the-receipt", "is revoked at leaf", func(w *evidencetest.World) {
			w.Steps = []string{"enrol-0", "commitment", "revoke-0", "decrypted-0", "outcome"}
		}},
		{"sender-revoked-before-the-commitment", "is revoked at leaf", func(w *evidencetest.World) {
			w.Steps = []string{"enrol-0", "revoke-sender", "commitment", "decrypted-0", "outcome"}
		}},
		{"forbidden-carrier", "did not allow the carrier", func(w *evidencetest.World) {
			edit(w, "attempt-0", func(a *sealpost.Attempt) { a.Carrier = sealpost.SMS })
		}},
		{"delivered-without-a-receipt", "no receipt that it counts", func(w *evidencetest.World) {
			w.Steps = []string{"enrol-0", "commitment", "handed_over-0", "outcome", "decrypted-0"}
			edit(w, "outcome", func(o *sealpost.Outcome) { o.End = sealpost.Delivered })
		}},
	} {
		w := draft()
		x.spoil(w)
		w.Tell()
		m.bundle("refused-"+x.name, encode(w.Bundle()), w.Policy(), evidence.Refused, x.why)
	}
	w = draft()
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Opened = make([]byte, 32) })
	w.Tell()
	b = w.Bundle()
	var err error
	b.Disclosed, err = evidence.DiscloseAll(w.Payload)
	check(err)
	m.bundle("refused-opened-by-nobody", encode(b), w.Policy(), evidence.Refused, "not by a holder of the opening")
}

// edit changes a step's statement before it is signed.
func edit[S sealpost.Statement](w *evidencetest.World, step string, change func(*S)) {
	w.Edit[step] = func(st sealpost.Statement) sealpost.Statement {
		s := st.(S)
		change(&s)
		return s
	}
}

// broken has what a relay promised and did not log, and what its span must have.
func (m *maker) broken(encode func(*evidence.Bundle) []byte) {
	const late = at + 3_600_000
	w, b := evidencetest.Dropped()
	m.bundleAt(late, "diverged-broken-promise", encode(b), w.Policy(), evidence.Diverged, "is not among the leaves from 3 up to there")
	b.Span.Later = nil
	m.bundleAt(late, "incomplete-broken-promise-without-a-time", encode(b), w.Policy(), evidence.Incomplete, "nothing in it shows")
	_, b = evidencetest.Dropped()
	b.Span.Leaves[40] ^= 1
	m.bundleAt(late, "refused-span", encode(b), w.Policy(), evidence.Refused, "its leaves are not those of the log")

	w = minimal()
	b = w.Bundle()
	b.Span = w.Log.Span(1, 5)
	b.Span.Later = w.Later(late, 5)
	m.bundleAt(late, "proven-with-a-kept-promise", encode(b), w.Policy(), evidence.Proven, "")
	b.Span.Later = w.Later(late, 4)
	m.bundleAt(late, "diverged-late-outcome", encode(b), w.Policy(), evidence.Diverged, "but only leaf 4")
}
