package signer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
)

var (
	// ErrFork says that the guard was asked to sign a head which is smaller
	// than the last one that it signed, or does not extend it. Nothing was
	// signed, and asking again will not help: the log that asks is an older
	// copy, or another history.
	ErrFork = errors.New("the signing guard refuses a head that does not extend the last one it signed")

	// ErrMoved says that the last head is another than the caller thought, and
	// that nothing was changed.
	ErrMoved = errors.New("the last signed head has moved")
)

// Heads keeps the last head that a log's keys signed. It is the one memory
// that a restored backup of the log must not take along.
//
// Last returns the newest head that Swap has stored, or [Nothing]. Swap stores
// to if the last head is from and returns [ErrMoved], with nothing changed, if
// it is not; from may equal to. When Swap returns nil, to survives a crash of
// the machine; when it fails in any other way, Last tells which of the two
// counts, and only a Swap that succeeds makes it last. Of two that swap from
// one head to different ones, one at most succeeds, whatever process it is in.
type Heads interface {
	Last(ctx context.Context) (sealpost.Head, error)
	Swap(ctx context.Context, from, to sealpost.Head) error
}

// Nothing is the head of a log that has no leaf (RFC 6962 2.1).
var Nothing = sealpost.Head{Root: sha256.Sum256(nil)}

// A Guard signs the heads of one log with one key, and each head only if it
// extends the last one. It believes nobody that it does: the caller brings the
// proof, and the guard makes the text that is signed from the head that the
// proof is about. All methods may be called concurrently.
type Guard struct {
	key   note.Signer
	heads Heads
	turn  sync.Mutex
}

// NewGuard puts heads before key. The key must have no other way to sign.
func NewGuard(key note.Signer, heads Heads) *Guard { return &Guard{key: key, heads: heads} }

// Origin is the name of the log.
func (g *Guard) Origin() string { return g.key.Name() }

// Last returns the last head that was signed, or was about to be: a crash may
// have come between the two.
func (g *Guard) Last(ctx context.Context) (sealpost.Head, error) { return g.heads.Last(ctx) }

// Sign returns a checkpoint of next as a signed note (c2sp.org/tlog-checkpoint),
// in this order:
//
//	1 compare  proof shows that next extends the last head (RFC 6962 2.1.2)
//	2 keep     next is the last head, durably
//	3 sign     the key signs
//
// A crash or a fault of the key after 2 has kept a head that nobody saw signed,
// which costs nothing: it, and what extends it, can be signed later. Before 2
// no key was asked. There is no other key to ask where this one fails.
func (g *Guard) Sign(ctx context.Context, next sealpost.Head, proof [][]byte) ([]byte, error) {
	g.turn.Lock()
	defer g.turn.Unlock()
	last, err := g.heads.Last(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the last signed head: %w", err)
	}
	if err := extends(last, next, proof); err != nil {
		return nil, err
	}
	if err := g.heads.Swap(ctx, last, next); err != nil {
		return nil, fmt.Errorf("keep the head of %d leaves: %w", next.Size, err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", g.Origin(), next.Size, base64.StdEncoding.EncodeToString(next.Root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, g.key)
	if err != nil {
		return nil, fmt.Errorf("sign the head of %d leaves: %w", next.Size, err)
	}
	return signed, nil
}

// extends says why next may not be signed after last, or nil.
func extends(last, next sealpost.Head, proof [][]byte) error {
	switch {
	case next.Size == last.Size && next.Root != last.Root:
		return fmt.Errorf("%w: another root over the same %d leaves", ErrFork, last.Size)
	case next.Size == last.Size, last.Size == 0:
		return nil // the same head again, or the first with leaves
	}
	if err := merkle.VerifyConsistency(rfc6962.DefaultHasher, last.Size, next.Size, proof, last.Root[:], next.Root[:]); err != nil {
		return fmt.Errorf("%w: no proof that its %d leaves extend the %d that were signed: %w", ErrFork, next.Size, last.Size, err)
	}
	return nil
}
