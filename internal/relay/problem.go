package relay

import (
	"errors"
	"strings"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Waits that a turned-away caller is asked for.
const (
	retryBusy        = time.Second     // the queue is full: it drains in less
	retryUnavailable = 5 * time.Second // a neighbour is down
)

// rules are the problems that name one rule of a commitment. Package sealpost
// says which rule a statement breaks in the error's last words only.
var rules = []struct {
	words   string
	problem *api.Problem
}{
	{"canonicalization version", api.ErrCanonicalization},
	{"pattern: only A exists", api.ErrPattern},
	{"blob: not the one that the commitment names", api.ErrBlobMismatch},
}

// Problem is the answer to what package sealpost says of bytes, or a store of a
// statement. Of any other error the caller learns that it is a fault of ours.
func Problem(err error) *api.Problem {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, sealpost.ErrUnknownAlgorithm):
		return api.ErrAlgorithm
	case errors.Is(err, sealpost.ErrSignature):
		return api.ErrSignature
	case errors.Is(err, sealpost.ErrEpochTaken):
		return api.ErrEpochTaken
	case errors.Is(err, sealpost.ErrConflict):
		return api.ErrConflict
	case errors.Is(err, sealpost.ErrEnded):
		return api.ErrEnded
	case errors.Is(err, sealpost.ErrNotFound):
		return api.ErrNotFound
	case errors.Is(err, sealpost.ErrMalformed):
		return malformedProblem(err)
	}
	return api.ErrInternal
}

func malformedProblem(err error) *api.Problem {
	words := err.Error()
	for _, r := range rules {
		if strings.HasSuffix(words, r.words) {
			return r.problem
		}
	}
	if strings.Contains(words, "at most") && strings.Contains(words, "are allowed") || strings.HasSuffix(words, "a part is too long") {
		return api.ErrTooLarge
	}
	return api.ErrMalformed
}
