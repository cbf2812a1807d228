package vectors_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/spec/vectors"
)

func index(t *testing.T) vectors.Index {
	t.Helper()
	x, err := vectors.ReadIndex()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := vectors.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t *testing.T, s string) sealpost.PublicKey {
	t.Helper()
	k, err := sealpost.ParsePublicKey(unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// read decodes a statement's payload by its kind.
func read(s sealpost.Signed) (err error) {
	switch s.Kind() {
	case sealpost.KindCommitment:
		_, err = s.Commitment()
	case sealpost.KindAttempt:
		_, err = s.Attempt()
	case sealpost.KindCarrierClaim:
		_, err = s.CarrierClaim()
	case sealpost.KindReceipt:
		_, err = s.Receipt()
	case sealpost.KindOutcome:
		_, err = s.Outcome()
	case sealpost.KindKeyEvent:
		_, err = s.KeyEvent()
	case sealpost.KindPromise:
		_, err = s.Promise()
	}
	return err
}

func TestStatements(t *testing.T) {
	accepted, kinds := 0, map[string]bool{}
	for _, c := range index(t).Statements {
		raw := file(t, c.File)
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != c.Hash {
			t.Errorf("%s: another hash", c.Name)
		}
		s, err := sealpost.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if s.Kind().String() != c.Kind {
			t.Errorf("%s: a %v", c.Name, s.Kind())
		}
		if err = s.Verify(key(t, c.Key)); err == nil {
			err = read(s)
		}
		if (err == nil) != c.Accepted {
			t.Errorf("%s: %v, want accepted %v (%s)", c.Name, err, c.Accepted, c.Why)
		}
		if c.Accepted {
			accepted, kinds[c.Kind] = accepted+1, true
		}
	}
	if accepted < 20 || len(kinds) != 6 {
		t.Errorf("%d honest statements of kinds %v: too few to show anything", accepted, kinds)
	}
}

func TestMalformed(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"statement":  func(b []byte) error { _, err := sealpost.Parse(b); return err },
		"envelope":   func(b []byte) error { _, err := sealpost.ParseEnvelope(b); return err },
		"submission": func(b []byte) error { _, err := sealpost.ParseSealed(b); return err },
		"roster":     func(b []byte) error { _, err := sealpost.ParseRoster(b); return err },
		"payload":    func(b []byte) error { _, err := sealpost.DecodePayload(b); return err },
		"promised":   func(b []byte) error { _, err := sealpost.ParsePromised(b); return err },
		"bundle":     func(b []byte) error { _, err := evidence.ParseBundle(b); return err },
		"policy":     func(b []byte) error { _, err := evidence.ParsePolicy(b); return err },
	}
	seen := map[string]bool{}
	for _, c := range index(t).Malformed {
		seen[c.As] = true
		if err := parsers[c.As](file(t, c.File)); !errors.Is(err, sealpost.ErrMalformed) {
			t.Errorf("%s: %v, want it refused: %s", c.Name, err, c.Why)
		}
	}
	if len(seen) != len(parsers) {
		t.Errorf("only %v are tried", seen)
	}
}

func TestOpenings(t *testing.T) {
	opens := 0
	for _, c := range index(t).Openings {
		s, err := sealpost.Parse(file(t, c.Commitment))
		if err != nil {
			t.Fatal(err)
		}
		commitment, err := s.Commitment()
		if err != nil {
			t.Fatal(err)
		}
		p, err := sealpost.DecodePayload(file(t, c.Payload))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Opens(commitment); (err == nil) != c.Opens {
			t.Errorf("%s: %v, want opens %v", c.Name, err, c.Opens)
		}
		if c.Opens {
			opens++
		}
	}
	if opens != 3 {
		t.Errorf("%d openings open, want one for each hash algorithm", opens)
	}
}

func TestLeavesAndPromises(t *testing.T) {
	x := index(t)
	for _, c := range x.Leaves {
		leaf := sealpost.MakeLeaf(sealpost.Salt(unhex(t, c.Salt)), file(t, c.Statement))
		if !bytes.Equal(leaf[:], unhex(t, c.Leaf)) {
			t.Errorf("%s: another leaf", c.Statement)
		}
	}
	for _, c := range x.Promises {
		p, err := sealpost.ParsePromised(file(t, c.File))
		if err == nil {
			_, err = p.Check(key(t, c.Key), sealpost.Salt(unhex(t, c.Salt)), file(t, c.Statement))
		}
		if (err == nil) != c.Accepted {
			t.Errorf("%s: %v, want accepted %v", c.Name, err, c.Accepted)
		}
	}
	if len(x.Leaves) < 20 || len(x.Promises) < 3 {
		t.Error("too few cases to show anything")
	}
}

func TestBundles(t *testing.T) {
	seen := map[evidence.Status]int{}
	for _, c := range index(t).Bundles {
		t.Run(c.Name, func(t *testing.T) {
			policy, err := evidence.ParsePolicy(file(t, c.Policy))
			if err != nil {
				t.Fatal(err)
			}
			at, err := sealpost.ParseTime(c.At)
			if err != nil {
				t.Fatal(err)
			}
			v := evidence.Verify(file(t, c.File), policy, at)
			seen[v.Status]++
			if v.Status.String() != c.Status || v.Status.ExitCode() != c.ExitCode {
				t.Errorf("%v, want %s: %v", v.Status, c.Status, v.Findings)
			}
			said := c.Why == ""
			for _, f := range v.Findings {
				said = said || f.Status == v.Status && strings.Contains(f.String(), c.Why)
			}
			if !said {
				t.Errorf("no finding says %q: %v", c.Why, v.Findings)
			}
		})
	}
	for _, s := range []evidence.Status{evidence.Proven, evidence.Incomplete, evidence.TrustExpired, evidence.Diverged, evidence.Refused} {
		if seen[s] == 0 {
			t.Errorf("no bundle is %v", s)
		}
	}
}
