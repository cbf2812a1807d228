package api

import (
	"fmt"
	"slices"
	"time"
)

// ProblemBase is the prefix of every problem's type URI. The pages behind the
// URIs are docs/problems.md; a type is never reused.
const ProblemBase = "https://sealpost.dev/problems/"

// A Problem is an RFC 9457 problem. It is an error, so that a service returns
// it and the HTTP end writes it.
type Problem struct {
	Type    string        `cbor:"1,keyasint" json:"type"` // ProblemBase and a name
	Title   string        `cbor:"2,keyasint" json:"title"`
	Status  int           `cbor:"3,keyasint" json:"status"`
	Detail  string        `cbor:"4,keyasint,omitempty" json:"detail,omitempty"`  // no identifier, no content
	Pointer string        `cbor:"5,keyasint,omitempty" json:"pointer,omitempty"` // JSON pointer to the member at fault
	Retry   time.Duration `cbor:"-" json:"-"`                                    // Retry-After, whole seconds
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return fmt.Sprintf("%s: %s", p.Title, p.Detail)
}

// Is matches problems by type, so that errors.Is(err, api.ErrStale) works.
func (p *Problem) Is(target error) bool {
	q, ok := target.(*Problem)
	return ok && q.Type == p.Type
}

// With adds a detail to a problem of the list below.
func (p *Problem) With(format string, args ...any) *Problem {
	q := *p
	q.Detail = fmt.Sprintf(format, args...)
	return &q
}

// At adds a JSON pointer.
func (p *Problem) At(pointer string) *Problem {
	q := *p
	q.Pointer = pointer
	return &q
}

// After adds a Retry-After.
func (p *Problem) After(d time.Duration) *Problem {
	q := *p
	q.Retry = d
	return &q
}

// known is every problem of the list below, in its order.
var known []*Problem

func problem(status int, name, title string) *Problem {
	p := &Problem{Type: ProblemBase + name, Title: title, Status: status}
	known = append(known, p)
	return p
}

// Problems lists every problem there is.
func Problems() []*Problem { return slices.Clone(known) }

// Every problem there is. Submissions first, in the order in which the relay
// checks (R7).
var (
	ErrTooLarge         = problem(413, "too-large", "the body or a part of it is too large")
	ErrMalformed        = problem(400, "malformed", "the body is not what the specification says")
	ErrUnsignedMetadata = problem(400, "unsigned-metadata", "a field stands outside of the signed commitment")
	ErrAlgorithm        = problem(400, "unknown-algorithm", "an algorithm is not one of ours")
	ErrCanonicalization = problem(400, "canonicalization", "the canonicalization version is not one of ours")
	ErrPattern          = problem(400, "pattern", "the pattern is not allowed here")
	ErrBlobMismatch     = problem(400, "blob-mismatch", "the blob is not the one that the commitment names")
	ErrEnvelope         = problem(400, "envelope", "the blob is not a sealed envelope")
	ErrWrongApp         = problem(403, "wrong-app", "the commitment names another app than the API key")
	ErrUnknownKey       = problem(403, "unknown-key", "the signing key is not enrolled for this app")
	ErrRevokedKey       = problem(403, "revoked-key", "the signing key is revoked")
	ErrSignature        = problem(403, "signature", "the signature does not verify")
	ErrStale            = problem(422, "stale", "created is not within the freshness window")
	ErrExpired          = problem(422, "expired", "expires has passed")
	ErrRecipient        = problem(422, "recipient", "the recipient has no device in force")
	ErrCarrier          = problem(422, "carrier", "no allowed carrier reaches the recipient")
	ErrHead             = problem(422, "unknown-head", "not-before names a log head that this log never had")
	ErrConflict         = problem(409, "conflict", "the id is taken by another statement")
	ErrEnded            = problem(409, "ended", "the message has its outcome")
	ErrEpochTaken       = problem(409, "epoch-taken", "another commit for this group and epoch was accepted")

	ErrWrongCommitment = problem(422, "wrong-commitment", "the receipt is for another commitment")
	ErrWrongDevice     = problem(403, "wrong-device", "the receipt is by another device than the request")
	ErrChallenge       = problem(422, "challenge", "the challenge was used, is expired, or is another's")
	ErrKeyEvent        = problem(422, "key-event", "the key event does not match what it is about")
	ErrNoPackage       = problem(409, "no-key-package", "the device's pool of KeyPackages is empty")

	ErrUnauthenticated = problem(401, "unauthenticated", "an API key or a request signature is missing or wrong")
	ErrReplayed        = problem(401, "replayed-request", "the request's nonce was used before")
	ErrForbidden       = problem(403, "forbidden", "the API key lacks the scope")
	ErrNotFound        = problem(404, "not-found", "there is no such thing, or not for this caller")
	ErrMethod          = problem(405, "method", "the method is not allowed here")
	ErrMediaType       = problem(415, "media-type", "the media type is not one of ours")
	ErrBusy            = problem(429, "busy", "the queue is full")
	ErrUnavailable     = problem(503, "unavailable", "the relay cannot accept now")
	ErrInternal        = problem(500, "internal", "a fault of ours")
)
