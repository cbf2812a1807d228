package translog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// TesseraLogTo sends what Tessera logs through klog to logger. klog is one for
// the whole process and by default writes to standard error: a command calls this
// before it opens its first log, and may call it again at any time. Where several
// logs are open, the logger named last gets the words of all, because klog does not
// say whose they are.
func TesseraLogTo(logger *slog.Logger) {
	handler := logger.Handler()
	words.to.Store(&handler)
	words.tell.Do(func() { klog.SetLogger(logr.FromSlogHandler(wordsHandler{})) })
}

// words are Tessera's. klog's logger must not be set while anything logs, and the
// Tessera of a log that is open may: so klog is told once, before the first of
// them is opened, and what it was told hands on to the logger that counts now.
var words struct {
	tell sync.Once
	to   atomic.Pointer[slog.Handler] // never nil once klog was told
}

// wordsHandler hands on to the handler that counts now.
type wordsHandler struct{}

func (wordsHandler) now() slog.Handler { return *words.to.Load() }

func (h wordsHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.now().Enabled(ctx, l) }

func (h wordsHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.now().Handle(ctx, r)
}

func (h wordsHandler) WithAttrs(attrs []slog.Attr) slog.Handler { return h.now().WithAttrs(attrs) }

func (h wordsHandler) WithGroup(name string) slog.Handler { return h.now().WithGroup(name) }
