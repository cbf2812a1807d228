package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
)

// The pages behind the problems' URIs are docs/problems.md: one entry for each
// problem, in the list's order, with its status, what it means and its mend.
func TestEveryProblemIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := regexp.MustCompile(`(?m)^### `).Split(string(b), -1)[1:]
	problems := Problems()
	if len(entries) != len(problems) {
		t.Fatalf("%d entries for %d problems", len(entries), len(problems))
	}
	for i, p := range problems {
		heading, text, _ := strings.Cut(entries[i], "\n")
		if want := fmt.Sprintf("%s (%d)", strings.TrimPrefix(p.Type, ProblemBase), p.Status); heading != want {
			t.Errorf("entry %d is %q, want %q", i, heading, want)
		}
		meaning, mend, ok := strings.Cut(text, "Mend:")
		if !ok || len(meaning) < 40 || len(mend) < 10 {
			t.Errorf("%s does not say what it means and how to mend it", heading)
		}
	}
}

func TestProblemTypesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Problems() {
		if seen[p.Type] || p.Title == "" || p.Status < 400 || p.Status > 599 {
			t.Errorf("%+v", p)
		}
		seen[p.Type] = true
	}
	Problems()[0] = nil
	if Problems()[0] == nil {
		t.Error("a caller can change the list")
	}
}

func TestProblemOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		want   *Problem
		detail string
	}{
		{fmt.Errorf("hold: %w", ErrEnded), ErrEnded, ""},
		{fmt.Errorf("read: %w", sealpost.ErrNotFound), ErrNotFound, ""},
		{fmt.Errorf("hold: %w", sealpost.ErrConflict), ErrConflict, ""},
		{fmt.Errorf("hold: %w", sealpost.ErrEnded), ErrEnded, ""},
		{fmt.Errorf("%w: COSE algorithm -3", sealpost.ErrUnknownAlgorithm), ErrAlgorithm, ""},
		{sealpost.ErrSignature, ErrSignature, ""},
		{fmt.Errorf("read: %w", sealpost.ErrTooLarge), ErrTooLarge, ""},
		{fmt.Errorf("commitment: %w", sealpost.ErrCanonicalization), ErrCanonicalization, ""},
		{fmt.Errorf("commitment: %w", sealpost.ErrPattern), ErrPattern, ""},
		{fmt.Errorf("join: %w", sealpost.ErrBlobMismatch), ErrBlobMismatch, ""},
		{fmt.Errorf("receipt: %w: level", sealpost.ErrMalformed), ErrMalformed, "receipt: level"},
		{fmt.Errorf("%w: time %q is not one", sealpost.ErrMalformed, "canary"), ErrMalformed, ""}, // quotes the caller
		{fmt.Errorf("%w: %s", sealpost.ErrMalformed, strings.Repeat("x", 200)), ErrMalformed, ""},
		{context.Canceled, ErrUnavailable, ""},
		{context.DeadlineExceeded, ErrUnavailable, ""},
		{errors.New("disk on fire"), ErrInternal, ""},
	} {
		if p := ProblemOf(c.err); !p.Is(c.want) || p.Detail != c.detail {
			t.Errorf("%v: %s %q", c.err, p.Type, p.Detail)
		}
	}
	if ProblemOf(nil) != nil {
		t.Error("no error is a problem")
	}
}
