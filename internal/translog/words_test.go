package translog

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"
)

// What Tessera says goes to the logger that was named last, and another may be
// named while it speaks: a process may open a second log. Without the race
// detector the second half shows nothing.
func TestTesseraSpeaksToTheLoggerNamedLast(t *testing.T) {
	defer TesseraLogTo(slog.New(slog.NewTextHandler(io.Discard, nil)))
	var first, last bytes.Buffer
	TesseraLogTo(slog.New(slog.NewTextHandler(&first, nil)))
	klog.Warningf("word %d", 1)
	TesseraLogTo(slog.New(slog.NewTextHandler(&last, nil)))
	klog.Warningf("word %d", 2)
	if got := first.String(); !strings.Contains(got, "word 1") || strings.Contains(got, "word 2") {
		t.Errorf("the first logger got %q", got)
	}
	if got := last.String(); !strings.Contains(got, "word 2") || strings.Contains(got, "word 1") {
		t.Errorf("the last logger got %q", got)
	}

	var speakers sync.WaitGroup
	for range 2 {
		speakers.Go(func() {
			for range 100 {
				klog.Info("a word")
			}
		})
	}
	for range 100 {
		TesseraLogTo(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	speakers.Wait()
}
