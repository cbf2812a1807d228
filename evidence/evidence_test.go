package evidence_test

import (
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

// want fails unless the verdict has a status, and a finding that says so.
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

func TestHonest(t *testing.T) {
	w := evidencetest.New().Tell()
	v := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	want(t, v, evidence.Proven, "")
	for _, c := range v.Claims {
		t.Logf("%s: %s | %s | %v %v", c.About, c.What, c.Limit, c.NotBefore, c.NotAfter)
	}
	_ = sealpost.SHA256
}
