package mls

import (
	"errors"
	"fmt"
)

var (
	// ErrMalformed means the bytes are not the one encoding of a message, or
	// exceed a limit. Nothing was learned and nothing changed.
	ErrMalformed = errors.New("malformed MLS encoding")
	// ErrRefused means the bytes were read and a check failed: a signature, a
	// MAC, a hash, a rule of RFC 9420 or of the caller's policy.
	ErrRefused = errors.New("refused")
	// ErrReplay means the message's key was used before, or was skipped so long
	// ago that it was evicted.
	ErrReplay = errors.New("generation already used or evicted")
	// ErrTooFarAhead means the message names a generation further ahead than
	// Policy.MaxForward.
	ErrTooFarAhead = errors.New("generation too far ahead")
	// ErrWrongEpoch means the message belongs to another epoch of this group.
	ErrWrongEpoch = errors.New("message of another epoch")
	// ErrWrongGroup means the message belongs to another group.
	ErrWrongGroup = errors.New("message of another group")
	// ErrOwnMessage means the message is one that this member sent.
	ErrOwnMessage = errors.New("own message")
	// ErrStale means the staged Commit was made in an epoch that is over, or
	// for another group.
	ErrStale = errors.New("staged commit is stale")
	// ErrRemoved means this member was removed from the group.
	ErrRemoved = errors.New("no longer a member")
	// ErrNoSigner means that the signer of the group's own leaf is not here:
	// give it with SetSigner.
	ErrNoSigner = errors.New("signer of the own leaf is missing")
	// ErrUnsupported means a suite or feature that this package does not have.
	ErrUnsupported = errors.New("unsupported")
	// ErrNotForUs means a Welcome that does not name our KeyPackage.
	ErrNotForUs = errors.New("welcome is not for this key package")
)

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}

func refused(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, a...))
}
