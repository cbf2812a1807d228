package client

import (
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// ErrUnpromised says that the relay took a statement and gave no promise that
// holds: nothing it could be held to. The statement counts as not accepted.
var ErrUnpromised = errors.New("accepted without a promise that holds")

// A pledge is what a relay answered for a statement, checked.
type pledge struct {
	Salt    sealpost.Salt
	Promise []byte // [sealpost.Promised.Encode]
}

// checkPromise verifies the relay's answer for a statement: its signature, that
// it is of our log, and that the salt opens the leaf. outcomeBy is wanted of a
// commitment and 0 of everything else.
func checkPromise(relay sealpost.PublicKey, origin string, salt, promise, statement []byte, outcomeBy sealpost.UnixMilli) (pledge, error) {
	if len(salt) != len(sealpost.Salt{}) {
		return pledge{}, fmt.Errorf("%w: the salt has %d bytes", ErrUnpromised, len(salt))
	}
	p, err := sealpost.ParsePromised(promise)
	if err != nil {
		return pledge{}, fmt.Errorf("%w: %w", ErrUnpromised, err)
	}
	root, err := p.Check(relay, sealpost.Salt(salt), statement)
	switch {
	case err != nil:
		return pledge{}, fmt.Errorf("%w: %w", ErrUnpromised, err)
	case root.Origin != origin:
		return pledge{}, fmt.Errorf("%w: it is of another log", ErrUnpromised)
	case p.Entry.OutcomeBy != int64(outcomeBy):
		return pledge{}, fmt.Errorf("%w: its outcome-by is not expires and the grace", ErrUnpromised)
	}
	return pledge{sealpost.Salt(salt), promise}, nil
}

// final says whether a problem ends a statement: the relay will answer the same
// bytes the same way again. A key that is not in force yet, a missing right and
// a busy relay can mend; a statement that waits too long for that goes stale,
// which is final.
func final(p *api.Problem) bool {
	for _, mends := range []*api.Problem{api.ErrUnauthenticated, api.ErrReplayed, api.ErrForbidden, api.ErrUnknownKey, api.ErrBusy} {
		if errors.Is(p, mends) {
			return false
		}
	}
	return p.Status >= 400 && p.Status < 500
}
