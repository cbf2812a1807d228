package translog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
)

// CheckpointSizeMax bounds the signed notes that this package reads.
const CheckpointSizeMax = 64 << 10

// A Checkpoint is a signed tree head. Note is shared: do not change it.
type Checkpoint struct {
	Note []byte // the signed note, as published
	Size uint64
	Root [32]byte
}

// published is the newest checkpoint and the news of it.
type published struct {
	mu      sync.Mutex
	newest  Checkpoint
	changed chan struct{} // closed when newest changes
	fault   error         // why the latest publication did not happen
}

// Checkpoint returns the newest published checkpoint.
func (l *Log) Checkpoint() Checkpoint {
	l.published.mu.Lock()
	defer l.published.mu.Unlock()
	return l.published.newest
}

// PublishFault returns why the latest attempt to publish failed, or nil.
func (l *Log) PublishFault() error {
	l.published.mu.Lock()
	defer l.published.mu.Unlock()
	return l.published.fault
}

// WaitPublished returns the newest checkpoint as soon as one covers the first
// size leaves. It ends with ctx or with the Log.
func (l *Log) WaitPublished(ctx context.Context, size uint64) (Checkpoint, error) {
	for {
		l.published.mu.Lock()
		cp, changed := l.published.newest, l.published.changed
		l.published.mu.Unlock()
		if cp.Size >= size {
			return cp, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cp, fmt.Errorf("wait for a checkpoint over %d leaves: %w", size, ctx.Err())
		case <-l.gone:
			if cp := l.Checkpoint(); cp.Size >= size {
				return cp, nil
			}
			return cp, fmt.Errorf("wait for a checkpoint over %d leaves: %w", size, ErrClosed)
		}
	}
}

// publishLoop publishes when leaves have come, at most once per interval, and
// again when the newest checkpoint is old.
func (l *Log) publishLoop(ctx context.Context) {
	last := time.Now() // Open has just published
	for {
		old := time.NewTimer(time.Until(last.Add(l.cfg.RepublishInterval)))
		select {
		case <-ctx.Done():
			old.Stop()
			return
		case <-l.grown:
			old.Stop()
		case <-old.C:
		}
		if !pause(ctx, time.Until(last.Add(l.cfg.CheckpointInterval))) {
			return
		}
		last = time.Now()
		if l.report(l.publish(ctx)) {
			l.sweepPartials()
			continue
		}
		select { // try again after the interval
		case l.grown <- struct{}{}:
		default:
		}
	}
}

// pause waits for d and tells whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// report logs the beginning and the end of an outage, and tells whether err is nil.
func (l *Log) report(err error) bool {
	l.published.mu.Lock()
	before := l.published.fault
	l.published.fault = err
	size := l.published.newest.Size
	l.published.mu.Unlock()
	switch {
	case err != nil && before == nil:
		l.cfg.Logger.Error("checkpoints stopped", "published", size, "error", err)
	case err == nil && before != nil:
		l.cfg.Logger.Info("checkpoints resumed", "published", size)
	}
	return err == nil
}

// signWithin bounds one signature, so that a key service which does not answer
// is a fault that is told and tried again.
const signWithin = 10 * time.Second

// publish signs the integrated tree and makes it the newest checkpoint. The
// file is durable before anybody is told, and the tree was durable before it
// was signed.
func (l *Log) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signWithin)
	defer cancel()
	l.publishMu.Lock()
	defer l.publishMu.Unlock()
	h, _ := l.current()
	if newest := l.Checkpoint(); h.size < newest.Size {
		panic(fmt.Sprintf("translog: would sign %d leaves after %d", h.size, newest.Size))
	}
	signed, err := l.sign(ctx, h)
	if err != nil {
		return fmt.Errorf("sign checkpoint of %d leaves: %w", h.size, err)
	}
	if err := replaceFile(l.cfg.Dir, checkpointDraft, checkpointFile, signed); err != nil {
		return fmt.Errorf("write checkpoint of %d leaves: %w", h.size, err)
	}
	l.published.mu.Lock()
	defer l.published.mu.Unlock()
	l.published.newest = Checkpoint{Note: signed, Size: h.size, Root: h.root}
	close(l.published.changed)
	l.published.changed = make(chan struct{})
	return nil
}

// sign has the signer sign a head, with the proof that it extends the last one.
func (l *Log) sign(ctx context.Context, h head) ([]byte, error) {
	last, err := l.cfg.Signer.Last(ctx)
	if err != nil {
		return nil, err
	}
	proof, err := l.ProveConsistency(ctx, last.Size, h.size)
	if err != nil {
		return nil, err
	}
	signed, err := l.cfg.Signer.Sign(ctx, sealpost.Head{Size: h.size, Root: h.root}, proof)
	if err != nil {
		return nil, err
	}
	if got, err := parseCheckpoint(signed, l.cfg.Origin()); err != nil || got.Size != h.size || got.Root != h.root {
		return nil, errors.Join(errors.New("the signer signed something else"), err)
	}
	return signed, nil
}

// parseCheckpoint reads a signed note of the given origin without checking
// its signatures. tlog-checkpoint: origin, size, root, and here no extension.
func parseCheckpoint(raw []byte, origin string) (Checkpoint, error) {
	if len(raw) > CheckpointSizeMax {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes, want at most %d", len(raw), CheckpointSizeMax)
	}
	text, _, ok := strings.Cut(string(raw), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("checkpoint is no signed note")
	}
	size, root, err := parseCheckpointText(text+"\n", origin)
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{Note: raw, Size: size, Root: root}, nil
}

// parseCheckpointText accepts exactly what a signer makes of a head.
func parseCheckpointText(text, origin string) (uint64, [hashSize]byte, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return 0, [hashSize]byte{}, errors.New("checkpoint has not three lines")
	}
	if lines[0] != origin {
		return 0, [hashSize]byte{}, fmt.Errorf("checkpoint of the log %q, want %q", lines[0], origin)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return 0, [hashSize]byte{}, fmt.Errorf("checkpoint size %q is no size", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != hashSize {
		return 0, [hashSize]byte{}, errors.New("checkpoint root is no hash")
	}
	return size, [hashSize]byte(root), nil
}
