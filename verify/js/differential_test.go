package js_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/spec/vectors"
)

// differ says how two opinions differ, "" if they do not.
func differ(ours, theirs opinion) string {
	slices.Sort(ours.Claims)
	slices.Sort(theirs.Claims)
	if ours.Code == theirs.Code && slices.Equal(ours.Claims, theirs.Claims) {
		return ""
	}
	var b strings.Builder
	for _, o := range []opinion{ours, theirs} {
		fmt.Fprintf(&b, "\n%d\n", o.Code)
		for _, c := range o.Claims {
			fmt.Fprintf(&b, "  + %s\n", c)
		}
		for _, f := range o.Findings {
			fmt.Fprintf(&b, "  - %s\n", f)
		}
	}
	return b.String()
}

// A trial is one bundle to be judged by both.
type trial struct {
	name   string
	raw    []byte
	policy evidence.Policy
	at     sealpost.UnixMilli
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := vectors.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fromVectors are the bundles of the vectors with their policies and times.
func fromVectors(t *testing.T) (all []trial) {
	t.Helper()
	x, err := vectors.ReadIndex()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range x.Bundles {
		p, err := evidence.ParsePolicy(file(t, c.Policy))
		if err != nil {
			t.Fatal(err)
		}
		at, err := sealpost.ParseTime(c.At)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, trial{c.Name, file(t, c.File), p, at})
	}
	return all
}

func (s *second) try(t *testing.T, c trial) (ours opinion, difference string) {
	t.Helper()
	policy, err := c.policy.Encode()
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	theirs, err := s.judge(c.raw, policy, c.at, func() { ours = first(c.raw, c.policy, c.at) })
	if err != nil {
		t.Fatalf("%s: the second judge gave no verdict: %v", c.name, err)
	}
	return ours, differ(ours, theirs)
}

// Both judges give every bundle of the vectors, honest and spoiled, the same
// verdict for the same claims.
func TestBothJudgesAgreeOnVectors(t *testing.T) {
	needSecond(t)
	s := startSecond(t)
	proven := 0
	for _, c := range fromVectors(t) {
		ours, difference := s.try(t, c)
		if difference != "" {
			t.Errorf("%s: the judges differ: %s", c.name, difference)
		}
		if ours.Code == 0 && len(ours.Claims) > 0 {
			proven++
		}
	}
	if proven < 8 {
		t.Errorf("%d bundles are proven: too few to show anything", proven)
	}
}
