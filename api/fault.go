package api

import (
	"context"
	"errors"
	"strings"

	"github.com/sealpost/sealpost"
)

// ProblemOf names the problem of an error: a [Problem] as it stands, the root
// package's errors by their meaning, anything else as a fault of ours whose
// text stays here. No error is no problem.
func ProblemOf(err error) *Problem {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	for _, root := range []struct {
		err     error
		problem *Problem
	}{
		{sealpost.ErrNotFound, ErrNotFound},
		{sealpost.ErrEpochTaken, ErrEpochTaken}, // is a conflict too
		{sealpost.ErrConflict, ErrConflict},
		{sealpost.ErrEnded, ErrEnded},
		{sealpost.ErrUnknownAlgorithm, ErrAlgorithm},
		{sealpost.ErrSignature, ErrSignature},
		{sealpost.ErrTooLarge, ErrTooLarge},
		{sealpost.ErrCanonicalization, ErrCanonicalization},
		{sealpost.ErrPattern, ErrPattern},
		{sealpost.ErrBlobMismatch, ErrBlobMismatch},
		{context.Canceled, ErrUnavailable},
		{context.DeadlineExceeded, ErrUnavailable},
	} {
		if errors.Is(err, root.err) {
			return root.problem
		}
	}
	if errors.Is(err, sealpost.ErrMalformed) {
		return malformedBy(err)
	}
	return ErrInternal
}

// malformedBy keeps the words of a root error, which name the field at fault,
// but not where they quote what the caller sent: a detail holds no identifier
// and no content.
func malformedBy(err error) *Problem {
	const most = 160 // bytes
	words := strings.ReplaceAll(err.Error(), sealpost.ErrMalformed.Error()+": ", "")
	if len(words) > most || strings.ContainsAny(words, "\"'`\n") {
		return ErrMalformed
	}
	return ErrMalformed.With("%s", words)
}
