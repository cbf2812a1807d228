package translog

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// The cache rules of served files. Tiles and bundles never change under their
// name; the checkpoint always does.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

// Handler serves the log to anybody: /checkpoint and the files below /tile/
// (c2sp.org/tlog-tiles), for GET and HEAD. It serves only what the newest
// checkpoint commits to, so nothing that a crash could still undo is cached
// anywhere. A request names a file by its one spelling or gets 404; no path
// from a request ever reaches the file system.
func (l *Log) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(r.URL.EscapedPath(), "/")
		if name == checkpointFile {
			l.serveCheckpoint(w, r)
			return
		}
		tile, ok := parseTileName(name)
		if !ok || tile.width > tile.widthAt(l.Checkpoint().Size) {
			http.NotFound(w, r)
			return
		}
		l.serveTile(w, r, tile)
	})
}

func (l *Log) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", cacheNever)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(l.Checkpoint().Note))
}

func (l *Log) serveTile(w http.ResponseWriter, r *http.Request, n tileName) {
	data, _, err := readTile(l.cfg.Dir, n)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		l.cfg.Logger.Error("tile not served", "path", n.path(), "error", err)
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", cacheForever)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
