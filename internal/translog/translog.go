// Package translog keeps the transparency log: it appends leaves in order,
// signs checkpoints over them, proves that a leaf is in a checkpoint, serves
// the log as plain files and checks a whole log from those files.
//
// A leaf is an opaque value of [LeafSize] bytes. This package never sees a
// statement, a salt or a key that opens one; what a leaf means is decided by
// those who made it.
//
// # Formats
//
// The folder is a C2SP tlog-tiles log (c2sp.org/tlog-tiles): anybody may read
// it over HTTP or from a copy. Checkpoints are signed notes
// (c2sp.org/tlog-checkpoint), single proofs are c2sp.org/tlog-proof texts, and
// hashes are those of RFC 6962 section 2.1.
//
// # Who does what
//
// Tessera's POSIX driver writes entry bundles, hash tiles and the tree state,
// each file synced before the next step relies on it. This package decides
// what Tessera is given and in which order, recomputes every root by itself,
// and alone signs and publishes. Tessera holds no key: it is given a signer
// that refuses. So a tree that this package did not compute is never signed,
// whatever happened on the disk.
//
// # Units
//
// A tree of size n has the leaves 0 to n-1. Sizes and indices count leaves.
// Byte ranges are half open.
//
// # Errors
//
// [ErrInUse], [ErrRolledBack], [ErrForked], [ErrForgotten], [ErrDamaged],
// [ErrNotNext], [ErrBroken] and [ErrClosed] are answers a caller can act on. [Fsck] returns a [*DamageError]
// when the log was read and is not sound, and any other error when the check
// did not run to its end and nothing is known.
//
// # What it never does
//
// It never signs a tree smaller than, or not an extension of, the one that it
// published last. It never replaces or removes an entry. It never hands out an
// inclusion proof that does not verify against the checkpoint it was asked for.
package translog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/sealpost/sealpost"
)

// LeafSize is the length of every leaf: one version byte and a 32-byte HMAC.
const LeafSize = 33

// AppendMax is the largest number of leaves that one [Log.Append] takes.
const AppendMax = 1 << 16

// The limits and defaults of [Config].
const (
	CheckpointIntervalDefault = time.Second
	CheckpointIntervalMin     = 100 * time.Millisecond
	RepublishIntervalDefault  = time.Minute
	BatchMaxDefault           = 4096
	BatchMaxLimit             = 1 << 14
	BatchAgeDefault           = 10 * time.Millisecond
	BatchAgeMin               = time.Millisecond
	BatchAgeLimit             = time.Second
)

var (
	// ErrInUse says that another Log, here or in another process, has the folder.
	ErrInUse = errors.New("the log folder is in use")

	// ErrRolledBack says that the folder holds less than its own checkpoint
	// promises, or than its key has signed: an older copy stands there. Nothing
	// may be signed from it any more: restore the missing files, which readers
	// of the log have too, or begin a log with another origin.
	ErrRolledBack = errors.New("the log is smaller than what was signed of it; restore the newer files or begin a log with another origin")

	// ErrForked says that the folder holds another history than the one that
	// its key has signed. The same mend.
	ErrForked = errors.New("the log is not the one that was signed; restore its own files or begin a log with another origin")

	// ErrForgotten says that the signer has signed less than the folder's own
	// checkpoint shows: its memory is an older copy, and what else it has
	// forgotten cannot be seen from here. Tell it the newest checkpoint that
	// is known anywhere.
	ErrForgotten = errors.New("the signing guard is older than the published checkpoint; run sealpost log guard with the newest checkpoint that is known")

	// ErrDamaged says that the files at the edge of the tree do not fit
	// together. Run [Fsck] to learn which.
	ErrDamaged = errors.New("the log does not match its own files")

	// ErrNotNext says that [Log.AppendAt] was asked for an index which is not
	// the next one. Nothing was written.
	ErrNotNext = errors.New("not the next index of the log")

	// ErrBroken says that an append went wrong in a way that could not be
	// undone. Nothing of it was signed. The Log takes no more leaves; close it
	// and open it again.
	ErrBroken = errors.New("the log is broken and takes no more leaves")

	// ErrClosed says that the Log has been closed.
	ErrClosed = errors.New("the log is closed")
)

// A Config says where a log lives and how it works. Its comments are its manual.
type Config struct {
	// Dir is the log's own folder, made if it is missing. Everything below it
	// except ".state" is public.
	Dir string

	// Signer signs every checkpoint. It may be slow and it may fail: then
	// publication stops and is tried again at each interval, while leaves are
	// still taken. Nothing else signs in its place.
	Signer Signer

	// CheckpointInterval is the least time between two checkpoints. A leaf that
	// comes after a quiet time is published at once. Default 1 s, at least 100 ms.
	CheckpointInterval time.Duration

	// RepublishInterval is the time after which an unchanged tree is signed
	// again, so that whoever cosigns or dates checkpoints can show that the log
	// is alive. Default 1 minute, at least CheckpointInterval.
	RepublishInterval time.Duration

	// BatchMax is the number of leaves written with one set of synced files.
	// A full batch is written at once. Default 4096, at most 16384.
	BatchMax uint

	// BatchAge is how long a batch that is not full waits. Default 10 ms, 1 ms
	// to 1 s.
	BatchAge time.Duration

	// Compare, if set, is shown the newest leaves before Open signs anything:
	// all that no published checkpoint covers and at least the last
	// [CompareMin]. An error from it fails Open with nothing signed, so that a
	// log which went ahead of its store, or aside, is not made binding.
	Compare func(index uint64, leaf []byte) error

	// Logger gets publication faults and recoveries. Default: discarded.
	Logger *slog.Logger
}

// A Signer signs the heads of one log, each only if it extends the last one.
//
// Origin is the log's name. Last returns the newest head that was signed or was
// about to be, of size 0 if none was; it must not come from the log's folder,
// which may be an older copy. Sign returns next as a signed note
// (c2sp.org/tlog-checkpoint) if proof shows that it extends what Last returns
// (RFC 6962 2.1.2), which is durable before the signature is given out. One
// signs at a time.
type Signer interface {
	Origin() string
	Last(ctx context.Context) (sealpost.Head, error)
	Sign(ctx context.Context, next sealpost.Head, proof [][]byte) ([]byte, error)
}

// CompareMin is the number of newest leaves, if there are as many, that are
// shown to [Config.Compare] even where a checkpoint already covers them.
const CompareMin = 256

// Origin is the name under which the log signs.
func (c Config) Origin() string { return c.Signer.Origin() }

// withDefaults returns c with its zero values replaced, or every fault at once.
func (c Config) withDefaults() (Config, error) {
	orDefault(&c.CheckpointInterval, CheckpointIntervalDefault)
	orDefault(&c.RepublishInterval, max(RepublishIntervalDefault, c.CheckpointInterval))
	orDefault(&c.BatchMax, BatchMaxDefault)
	orDefault(&c.BatchAge, BatchAgeDefault)
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Signer == nil {
		return c, errors.New("signer: missing")
	}
	faults := []error{
		want(c.Dir != "", "dir: missing"),
		want(c.CheckpointInterval >= CheckpointIntervalMin, "checkpoint interval: want at least %v", CheckpointIntervalMin),
		want(c.RepublishInterval >= c.CheckpointInterval, "republish interval: want at least the checkpoint interval"),
		want(c.BatchMax <= BatchMaxLimit, "batch max: want at most %d", BatchMaxLimit),
		want(c.BatchAge >= BatchAgeMin && c.BatchAge <= BatchAgeLimit, "batch age: want %v to %v", BatchAgeMin, BatchAgeLimit),
	}
	return c, errors.Join(faults...)
}

func orDefault[T comparable](v *T, byDefault T) {
	var zero T
	if *v == zero {
		*v = byDefault
	}
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
