package evidence_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

func TestPolicyRoundTrip(t *testing.T) {
	w := evidencetest.New()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 1, []string{w.Log.AddWitness("witness.example/a", 40, at)}
	p.ValidUntil = at
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	q, err := evidence.ParsePolicy(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	again, err := q.Encode()
	if err != nil || string(again) != string(b) {
		t.Errorf("a policy does not survive its file: %v\n%s\n%s", err, b, again)
	}
}

func TestPolicyFileIsStrict(t *testing.T) {
	w := evidencetest.New()
	honest, err := w.Policy().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.ParsePolicy(honest); err != nil {
		t.Fatalf("honest policy: %v", err)
	}
	for name, c := range map[string]struct{ from, to, says string }{
		"unknown member":           {`"witnesses": 0`, `"witnesses": 0, "trust_all": true`, `"trust_all": unknown member`},
		"member in another case":   {`"witnesses"`, `"Witnesses"`, `"Witnesses": unknown member`},
		"repeated member":          {`"witnesses": 0`, `"witnesses": 0, "witnesses": 0`, "witnesses: stands twice"},
		"missing member":           {`"witnesses": 0,`, ``, "witnesses: missing"},
		"unknown in a sender":      {`"app": "bank.example"`, `"app": "bank.example", "name": "x"`, `senders[0]."name": unknown member`},
		"another version":          {`"version": 1`, `"version": 2`, "version: 2 is not known"},
		"more witnesses than keys": {`"witnesses": 0`, `"witnesses": 1`, "want 0 to the number of witness_keys"},
		"fewer than none":          {`"witnesses": 0`, `"witnesses": -1`, "want 0 to the number"},
		"log key":                  {`"log_key": "log.`, `"log_key": "lag.`, "log_key: not an Ed25519 verifier key"},
		"requirement":              {`"decrypted"`, `"read"`, "require: want"},
		"assurance":                {`"software"`, `"hardware"`, "least_assurance: want"},
		"type":                     {`"witnesses": 0`, `"witnesses": "0"`, "spec/policy.md"},
		"line break in a key":      {`"key": "`, `"key": "\n`, "senders[0].key: not unpadded base64url"},
		"app":                      {`"bank.example"`, `"bank example"`, "senders[0].app"},
		"time":                     {`"require": "decrypted"`, `"require": "decrypted", "valid_until": "2026-11-24"`, "not RFC 3339"},
		"null":                     {`"require": "decrypted"`, `"require": "decrypted", "valid_until": null`, "valid_until: null is no value"},
		"something after it":       {"}\n", "}\n{}", "not one JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := strings.Replace(string(honest), c.from, c.to, 1)
			if name == "something after it" {
				spoilt = string(honest) + "{}"
				c.says = "something stands after"
			}
			if spoilt == string(honest) {
				t.Fatal("the case changes nothing")
			}
			_, err := evidence.ParsePolicy([]byte(spoilt))
			if err == nil || !errors.Is(err, sealpost.ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
}

func TestPolicyNamesEveryFaultAtOnce(t *testing.T) {
	_, err := evidence.ParsePolicy([]byte(`{"version":3,"log_key":"x","witnesses":2,"witness_keys":["y"],"relay_keys":["!"],"senders":[],"least_assurance":"","require":"","extra":1}`))
	for _, says := range []string{"version", "log_key", "witnesses", "witness_keys[0]", "relay_keys[0]", "senders: none", "least_assurance", "require", `"extra"`} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error does not name %s: %v", says, err)
		}
	}
}

// Each member of the policy matters: change one and the honest bundle is no
// longer proven.
func TestPolicyDecides(t *testing.T) {
	w := evidencetest.New().Tell()
	raw := encode(t, w.Bundle())
	want(t, evidence.Verify(raw, w.Policy(), at), evidence.Proven, "")
	other := evidencetest.NewLog("other.example", 60)
	other.AddWitness("witness.example/a", 40, at)
	stranger := evidencetest.Key(sealpost.EdDSA, 70).Public()
	for name, c := range map[string]struct {
		change func(*evidence.Policy)
		status evidence.Status
		why    string
	}{
		"another log":            {func(p *evidence.Policy) { p.LogKey = other.Key() }, evidence.Refused, "checkpoint"},
		"another relay":          {func(p *evidence.Policy) { p.RelayKeys = []sealpost.PublicKey{stranger} }, evidence.Refused, "no relay key"},
		"another sender":         {func(p *evidence.Policy) { p.Senders[0].Key = stranger }, evidence.Refused, "no key of"},
		"the key of another app": {func(p *evidence.Policy) { p.Senders[0].App = "other" }, evidence.Refused, "no key of"},
		"a witness": {func(p *evidence.Policy) {
			p.Witnesses, p.WitnessKeys = 1, []string{other.AddWitness("w.example", 41, at)}
		}, evidence.Incomplete, "0 of the policy's witnesses cosigned it, 1 are needed"},
		"a stronger device":   {func(p *evidence.Policy) { p.LeastAssurance = sealpost.AssuranceTEE }, evidence.Refused, "the policy wants tee"},
		"it was valid before": {func(p *evidence.Policy) { p.ValidUntil = at - 1 }, evidence.TrustExpired, "valid until"},
		"no policy at all":    {func(p *evidence.Policy) { *p = evidence.Policy{} }, evidence.Refused, "log_key"},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.Policy()
			c.change(&p)
			want(t, evidence.Verify(raw, p, at), c.status, c.why)
		})
	}
	p := w.Policy()
	p.ValidUntil = at
	want(t, evidence.Verify(raw, p, at), evidence.Proven, "")
	p.Require = evidence.RequireActed
	want(t, evidence.Verify(raw, p, at), evidence.Proven, "")
	// R58: acted does not imply displayed.
	p.Require = evidence.RequireDisplayed
	want(t, evidence.Verify(encode(t, w.Bundle("displayed-0")), p, at), evidence.Incomplete, "no logged receipt of level displayed")
}

func TestVerdictAsJSON(t *testing.T) {
	w := evidencetest.New().Tell()
	b, err := json.Marshal(evidence.Verify(encode(t, w.Bundle("outcome")), w.Policy(), at))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Status   string
		ExitCode int `json:"exit_code"`
		Message  string
		Claims   []evidence.Claim
		Findings []struct{ Status, Where, Why string }
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Status != "incomplete" || v.ExitCode != 10 || v.Message != w.Message.String() || len(v.Claims) == 0 || len(v.Findings) == 0 {
		t.Errorf("%v: %s", err, b)
	}
}
