package translog

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// served reads a log's files as anybody does, over its handler.
type served struct{ http.Handler }

func (s served) Tile(ctx context.Context, path string) ([]byte, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+path, nil))
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("status %d", w.Code)
	}
	return w.Body.Bytes(), nil
}

// A swept log has no partial file of what a larger tree has filled.
type swept struct{ served }

func (s swept) Tile(ctx context.Context, path string) ([]byte, error) {
	if full, _, partial := strings.Cut(path, ".p/"); partial {
		if _, err := s.served.Tile(ctx, full); err == nil {
			return nil, fs.ErrNotExist
		}
	}
	return s.served.Tile(ctx, path)
}

// What ReadSpan reads gives the root of the checkpoint, wherever it begins, also
// where a larger tree has replaced the partial files of it.
func TestReadSpan(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	defer mustClose(t, l)
	for _, cp := range growth(t, l, 1, 200, 55, 1, 400, 3000) {
		for _, from := range []uint64{0, 1, 255, 256, 257, 500, 656, cp.Size} {
			if from > cp.Size {
				continue
			}
			leaves, before, err := ReadSpan(t.Context(), swept{served{l.Handler()}}, from, cp.Size)
			if err != nil {
				t.Fatalf("%d to %d: %v", from, cp.Size, err)
			}
			hashes := make([][]byte, len(before))
			for i := range before {
				hashes[i] = before[i][:]
			}
			factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
			r, err := factory.NewRange(0, from, hashes)
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range leaves {
				if err := r.Append(rfc6962.DefaultHasher.HashLeaf(leaf), nil); err != nil {
					t.Fatal(err)
				}
			}
			if root, err := rootOf(r); err != nil || !bytes.Equal(root[:], cp.Root[:]) || r.End() != cp.Size {
				t.Errorf("%d to %d: %d leaves with another root, %v", from, cp.Size, len(leaves), err)
			}
		}
	}
	if _, _, err := ReadSpan(t.Context(), served{l.Handler()}, 2, 1); err == nil {
		t.Error("read from behind the end")
	}
}
