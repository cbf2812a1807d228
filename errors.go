package sealpost

import (
	"errors"
	"fmt"
)

var (
	// ErrMalformed says that bytes are not what the specification says.
	ErrMalformed = errors.New("malformed")
	// ErrSignature says that a well-formed statement is not signed by that key.
	ErrSignature = errors.New("signature does not verify")
	// ErrUnknownAlgorithm says that an algorithm id is not one of ours; the
	// error's text names it. It matches ErrMalformed too.
	ErrUnknownAlgorithm = fmt.Errorf("unknown algorithm: %w", ErrMalformed)
	// ErrTooLarge says that bytes are more than their limit allows.
	ErrTooLarge error = malformation("too large")
	// ErrCanonicalization says that a commitment names another version of
	// [Canonicalization] than ours.
	ErrCanonicalization error = malformation("canonicalization version")
	// ErrPattern says that a commitment names another pattern than [PatternA].
	ErrPattern error = malformation("pattern: only A exists")
	// ErrBlobMismatch says that a blob is not the one that its commitment names.
	ErrBlobMismatch error = malformation("blob: not the one that the commitment names")
	// ErrConflict says that an id is taken by other bytes; nothing changed.
	ErrConflict = errors.New("the id is taken by another statement")
	// ErrEpochTaken says that another MLS commit stands for its group and epoch;
	// nothing changed. It matches ErrConflict too.
	ErrEpochTaken = fmt.Errorf("another commit of this group and epoch is held: %w", ErrConflict)
	// ErrEnded says that the message has its outcome; nothing changed.
	ErrEnded = errors.New("the message has ended")
	// ErrNotFound says that there is no such thing, or not for this caller.
	ErrNotFound = errors.New("not found")
)

// A malformation is a way of being malformed that a caller acts on. Each
// matches ErrMalformed too.
type malformation string

func (m malformation) Error() string        { return ErrMalformed.Error() + ": " + string(m) }
func (m malformation) Is(target error) bool { return target == ErrMalformed }

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTooLarge, fmt.Sprintf(format, args...))
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
