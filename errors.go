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
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
