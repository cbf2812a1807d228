package signer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
)

// guardLine is the first word of the line in a log key's file that names the
// key's one guard.
const guardLine = "guard"

// A LogKey is a log's Ed25519 note key (C2SP signed-note) in a file, behind its
// guard. Nothing but the guard signs with it.
type LogKey struct {
	*Guard
	VKey string // what verifiers are given

	heads *HeadFile
	lock  *os.File // the key's own, so that a second guard cannot serve it meanwhile
}

// OpenLog takes the key at path and its guard in the folder guard, and makes
// both for a log of the name origin where neither is there. A key is bound to
// the guard it was made with: where the guard is gone, or is another, nothing is
// signed before [BindLog] has told it where the log stands.
func OpenLog(path, guard, origin string) (*LogKey, error) {
	text, err := load(path)
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return nil, err
	}
	heads, err := OpenHeadFile(guard, origin, made)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; the key %s has signed behind it: run sealpost log guard with the newest checkpoint that is known", err, path)
	}
	if err != nil {
		return nil, err
	}
	k := &LogKey{heads: heads}
	if err := k.open(path, origin, text, made); err != nil {
		return nil, errors.Join(fmt.Errorf("key file %s: %w", path, err), k.Close())
	}
	return k, nil
}

func (k *LogKey) open(path, origin, text string, make bool) (err error) {
	if make {
		if text, err = makeLog(path, origin, k.heads); err != nil {
			return err
		}
	}
	secret, err := k.parse(origin, text)
	if err != nil {
		return err
	}
	if guardOf(text) != k.heads.id {
		return fmt.Errorf("it is bound to another guard than %s: name its own, or run sealpost log guard with the newest checkpoint that is known", k.heads.dir)
	}
	if k.lock, err = lockFile(path); err != nil {
		return err
	}
	k.Guard = NewGuard(secret, k.heads)
	return nil
}

// makeLog makes the key of a new log. A guard that has signed leaves had
// another key, and a new one would be a second log of the same name.
func makeLog(path, origin string, heads *HeadFile) (string, error) {
	last, err := heads.Last(context.Background())
	if err != nil {
		return "", err
	}
	if last != Nothing {
		return "", fmt.Errorf("it is gone, and has signed %d leaves as log %q: restore it, or begin a log with another origin", last.Size, origin)
	}
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return loadOrMake(path, func() (string, error) { return logText(secret, public, heads.id), nil })
}

func logText(secret, public, guard string) string {
	return secret + "\n" + public + "\n" + guardLine + " " + guard
}

// guardOf is the id of the guard that a key file names, or empty.
func guardOf(text string) string {
	if lines := strings.Split(text, "\n"); len(lines) == 3 {
		word, id, _ := strings.Cut(lines[2], " ")
		if word == guardLine {
			return id
		}
	}
	return ""
}

// parse reads a key file and checks that its halves are of one key of origin.
func (k *LogKey) parse(origin, text string) (note.Signer, error) {
	lines := strings.Split(text, "\n")
	s, err := note.NewSigner(lines[0])
	if err != nil {
		return nil, errors.New("it is not a log key")
	}
	if s.Name() != origin {
		return nil, fmt.Errorf("it is the key of log %q, not of %q; a log's name is fixed for ever", s.Name(), origin)
	}
	if len(lines) < 2 {
		return nil, errors.New("its verifier key is missing")
	}
	v, err := note.NewVerifier(lines[1])
	if err != nil || v.Name() != s.Name() || v.KeyHash() != s.KeyHash() {
		return nil, errors.New("its two halves are not of one key")
	}
	k.VKey = lines[1]
	return s, nil
}

// LogVKey returns the verifier key of the log key at path, and makes key and
// guard where there is none. It takes neither, so a relay may be running.
func LogVKey(path, guard, origin string) (string, error) {
	text, err := load(path)
	if errors.Is(err, fs.ErrNotExist) {
		k, err := OpenLog(path, guard, origin)
		if err != nil {
			return "", err
		}
		return k.VKey, k.Close()
	}
	if err != nil {
		return "", err
	}
	var k LogKey
	if _, err := k.parse(origin, text); err != nil {
		return "", fmt.Errorf("key file %s: %w", path, err)
	}
	return k.VKey, nil
}

// BindLog tells the guard in the folder guard, which is made where it is gone,
// that the key at path has signed a checkpoint, and binds the key to it. The
// guard goes forward only. What the key signed after that checkpoint is not
// known to the guard then: the caller must bring the newest one there is.
func BindLog(ctx context.Context, path, guard, origin string, checkpoint []byte) (sealpost.Head, error) {
	text, err := load(path)
	if err != nil {
		return sealpost.Head{}, err
	}
	var k LogKey
	if _, err := k.parse(origin, text); err != nil {
		return sealpost.Head{}, fmt.Errorf("key file %s: %w", path, err)
	}
	to, err := openHead(checkpoint, k.VKey)
	if err != nil {
		return sealpost.Head{}, err
	}
	if k.heads, err = OpenHeadFile(guard, origin, true); err != nil {
		return sealpost.Head{}, err
	}
	if k.lock, err = lockFile(path); err != nil {
		return sealpost.Head{}, errors.Join(fmt.Errorf("key file %s: %w", path, err), k.Close())
	}
	return to, errors.Join(k.bind(ctx, path, text, to), k.Close())
}

func (k *LogKey) bind(ctx context.Context, path, text string, to sealpost.Head) error {
	last, err := k.heads.Last(ctx)
	if err != nil {
		return err
	}
	if to.Size < last.Size || to.Size == last.Size && to != last {
		return fmt.Errorf("%w: it stands at %d leaves, the checkpoint has %d", ErrFork, last.Size, to.Size)
	}
	if err := k.heads.Swap(ctx, last, to); err != nil {
		return err
	}
	if guardOf(text) == k.heads.id {
		return nil
	}
	lines := strings.Split(text, "\n")
	return replace(path, logText(lines[0], lines[1], k.heads.id)+"\n")
}

// openHead reads a checkpoint that the key of vkey signed.
func openHead(checkpoint []byte, vkey string) (h sealpost.Head, err error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return h, err
	}
	n, err := note.Open(checkpoint, note.VerifierList(v))
	if err != nil {
		return h, fmt.Errorf("checkpoint: %w", err)
	}
	s, err := parseHeadState(headVersion + "\n" + strings.Repeat("0", 2*guardIDSize) + "\n" + n.Text)
	if err != nil || s.origin != v.Name() {
		return h, fmt.Errorf("checkpoint: it is no head of log %q", v.Name())
	}
	return s.head, nil
}

// Close lets key and guard go.
func (k *LogKey) Close() error {
	err := k.heads.Close()
	if k.lock != nil {
		err = errors.Join(err, k.lock.Close())
	}
	return err
}
