package translog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
)

// never is an interval that does not end while the machine stands. It keeps
// Tessera's own publisher silent.
const never = 100 * 365 * 24 * time.Hour

// A Log is an open log. All methods are safe for concurrent use; appends take
// turns.
type Log struct {
	cfg   Config
	owner *os.File // holds the folder's lock
	tiles *tiles

	add     tessera.AddFn
	tessera context.Context // ends Tessera's goroutines
	stop    context.CancelFunc
	loop    sync.WaitGroup // the publisher
	gone    chan struct{}  // closed when Close has published for the last time

	turn      chan struct{} // holds one token: whoever has it may append
	abandoned atomic.Bool   // an append was given up by its caller and may still be running
	broken    error         // set once; belongs to the holder of the turn

	mu     sync.Mutex
	head   head
	closed bool

	grown     chan struct{} // tells the publisher that head moved
	publishMu sync.Mutex    // one publication at a time
	published published
	swept     uint64 // bundles below this have no partial files left; the publisher's alone
}

// A head is the integrated tree, as this package computed it.
type head struct {
	size  uint64
	root  [hashSize]byte
	peaks [][]byte // the compact range over all leaves; its hashes are never changed
}

// Open takes the folder and makes the log ready, in this order:
//
//	1 lock     two owners are impossible from here on
//	2 sweep    what a crash left half written or outside the tree is removed
//	3 check    the tree's edge, the tree state and the checkpoint fit together
//	4 recall   the tree extends the last head that the signer remembers
//	5 compare  the caller recognises the newest leaves
//	6 sign     a checkpoint over the integrated tree is published
//	7 start    Tessera takes leaves
//
// A failure before 6 leaves nothing signed. ctx bounds Open only; the log lives
// until [Log.Close].
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	owner, err := lock(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Dir, err)
	}
	l, err := open(ctx, cfg, owner)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w", cfg.Dir, err), owner.Close())
	}
	return l, nil
}

func open(ctx context.Context, cfg Config, owner *os.File) (*Log, error) {
	l := &Log{
		cfg:       cfg,
		owner:     owner,
		turn:      make(chan struct{}, 1),
		grown:     make(chan struct{}, 1),
		gone:      make(chan struct{}),
		published: published{changed: make(chan struct{})},
	}
	l.tiles = newTiles(cfg.Dir, l.size)

	state, signed, err := readEdge(cfg.Dir, cfg.Origin())
	if err != nil {
		return nil, err
	}
	if err := sweepBeyond(cfg.Dir, state.Size); err != nil {
		return nil, fmt.Errorf("sweep unfinished files: %w", err)
	}
	if err := l.resume(state, signed); err != nil {
		return nil, err
	}
	if err := l.recognise(ctx, signed.Size); err != nil {
		return nil, err
	}
	if err := l.compare(ctx, signed.Size); err != nil {
		return nil, err
	}
	if err := l.publish(ctx); err != nil {
		return nil, fmt.Errorf("publish first checkpoint: %w", err)
	}
	if err := l.start(); err != nil {
		return nil, err
	}
	return l, nil
}

// lock makes the folder and takes it for this Log. The lock is flock(2): it
// ends with the process and, unlike fcntl's, excludes a second owner in the
// same process too.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, stateDir), dirPerm); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readEdge reads what was integrated and what was signed last. Both are empty
// for a folder that is new.
func readEdge(dir, origin string) (treeState, Checkpoint, error) {
	state, stateErr := readTreeState(dir)
	if stateErr != nil && !errors.Is(stateErr, errNoTreeState) {
		return treeState{}, Checkpoint{}, errors.Join(ErrDamaged, stateErr)
	}
	note, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		if stateErr == nil { // a new log writes its checkpoint first
			return treeState{}, Checkpoint{}, fmt.Errorf("%w: there is a tree of %d leaves and no checkpoint", ErrDamaged, state.Size)
		}
		note, err = nil, nil
	}
	if err != nil {
		return treeState{}, Checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	emptyRoot := sha256.Sum256(nil)
	signed := Checkpoint{Root: emptyRoot}
	if note != nil {
		if signed, err = parseCheckpoint(note, origin); err != nil {
			return treeState{}, Checkpoint{}, errors.Join(ErrDamaged, err)
		}
	}
	if stateErr != nil {
		state = treeState{Root: emptyRoot[:]}
	}
	if state.Size < signed.Size {
		return treeState{}, Checkpoint{}, fmt.Errorf("%w: %d leaves, published %d", ErrRolledBack, state.Size, signed.Size)
	}
	return state, signed, nil
}

// resume loads the edge of the tree and checks that it extends what was signed.
func (l *Log) resume(state treeState, signed Checkpoint) error {
	l.head.size = state.Size // lets the tiles be read
	r, err := l.tiles.rangeAt(state.Size)
	if err != nil {
		return errors.Join(ErrDamaged, err)
	}
	root, err := rootOf(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(root[:], state.Root) {
		return fmt.Errorf("%w: the tiles of %d leaves do not give the root in %s", ErrDamaged, state.Size, treeStateFile)
	}
	before, err := l.tiles.rootAt(signed.Size)
	if err != nil {
		return errors.Join(ErrDamaged, err)
	}
	if before != signed.Root {
		return fmt.Errorf("%w: the tiles of %d leaves do not give the root in %s", ErrDamaged, signed.Size, checkpointFile)
	}
	l.head = head{size: state.Size, root: root, peaks: r.Hashes()}
	l.swept = readSwept(l.cfg.Dir, signed.Size)
	return nil
}

// recognise checks that this folder is the log whose heads were signed, and no
// older copy of it. The signer would refuse too; here it has its name.
func (l *Log) recognise(ctx context.Context, signed uint64) error {
	last, err := l.cfg.Signer.Last(ctx)
	if err != nil {
		return fmt.Errorf("ask for the last signed head: %w", err)
	}
	switch {
	case l.head.size < last.Size:
		return fmt.Errorf("%w: %d leaves, signed %d", ErrRolledBack, l.head.size, last.Size)
	case last.Size < signed:
		return fmt.Errorf("%w: it remembers %d leaves, published %d", ErrForgotten, last.Size, signed)
	}
	root, err := l.tiles.rootAt(last.Size)
	if err != nil {
		return errors.Join(ErrDamaged, err)
	}
	if root != last.Root {
		return fmt.Errorf("%w: another root over %d leaves", ErrForked, last.Size)
	}
	return nil
}

// compare shows the newest leaves to the caller of Open.
func (l *Log) compare(ctx context.Context, signed uint64) error {
	if l.cfg.Compare == nil {
		return nil
	}
	size := l.head.size
	for i := min(signed, size-min(size, CompareMin)); i < size; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		leaf, err := readLeaf(l.cfg.Dir, i, size)
		if err != nil {
			return errors.Join(ErrDamaged, err)
		}
		if err := l.cfg.Compare(i, leaf); err != nil {
			return fmt.Errorf("compare leaf %d: %w", i, err)
		}
	}
	return nil
}

// start hands the folder to Tessera for appending and starts the publisher.
func (l *Log) start() error {
	l.tessera, l.stop = context.WithCancel(context.Background())
	driver, err := posix.New(l.tessera, posix.Config{Path: l.cfg.Dir})
	if err != nil {
		l.stop()
		return fmt.Errorf("make tessera storage: %w", err)
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(refusingSigner{l.cfg.Origin()}).
		WithCheckpointInterval(never).
		WithCheckpointRepublishInterval(0).
		WithGarbageCollectionInterval(0). // sweepPartials keeps up with more than 100 bundles a run
		WithBatching(l.cfg.BatchMax, l.cfg.BatchAge)
	appender, _, _, err := tessera.NewAppender(l.tessera, driver, opts)
	if err != nil {
		l.stop()
		return fmt.Errorf("start tessera: %w", err)
	}
	l.add = appender.Add
	l.turn <- struct{}{}
	l.loop.Go(func() { l.publishLoop(l.tessera) })
	return nil
}

// Close takes no more leaves, waits for the append in progress, publishes a
// last checkpoint if leaves came since the newest, and releases the folder. If
// ctx ends first, or the checkpoint cannot be signed, it releases the folder
// all the same and says so: every leaf that Append answered for is durable, and
// the next Open signs it.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return ErrClosed
	}
	var waited error
	select {
	case <-l.turn: // never given back
	case <-ctx.Done():
		waited = fmt.Errorf("wait for the append in progress: %w", ctx.Err())
	}
	l.stop()
	l.loop.Wait()
	var signed error
	if waited == nil && l.size() > l.Checkpoint().Size {
		signed = l.publish(ctx)
	}
	close(l.gone)
	if waited != nil {
		// Tessera may still be writing: another owner must not come while it is.
		go func() {
			<-l.turn
			l.owner.Close()
		}()
		return fmt.Errorf("close log: %w", waited)
	}
	if err := errors.Join(signed, writeSwept(l.cfg.Dir, l.swept), l.owner.Close()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

func (l *Log) size() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.size
}

func (l *Log) current() (head, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.closed
}

// IntegratedSize returns the number of leaves that are durable and in the tree.
// If an Append was given up by its caller, it first waits for that to settle,
// so that the answer can be relied on to resume.
func (l *Log) IntegratedSize(ctx context.Context) (uint64, error) {
	if l.abandoned.Load() {
		if err := l.takeTurn(ctx); err != nil {
			return 0, fmt.Errorf("wait for an append to settle: %w", err)
		}
		l.abandoned.Store(false)
		l.turn <- struct{}{}
	}
	return l.size(), nil
}

// Leaf returns the leaf at index, from its bundle file.
func (l *Log) Leaf(_ context.Context, index uint64) ([]byte, error) {
	size := l.size()
	if index >= size {
		return nil, fmt.Errorf("read leaf %d: the log has %d", index, size)
	}
	return readLeaf(l.cfg.Dir, index, size)
}

// peaksOf copies the list of peaks, so that appending to it leaves h alone.
func peaksOf(h head) (*compact.Range, error) {
	return ranges.NewRange(0, h.size, append([][]byte(nil), h.peaks...))
}
