package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sealpost/sealpost"
)

// tileMax bounds one file of the log, bytes: a full entry bundle of our leaves
// has 8,960, a full hash tile 8,192.
const tileMax = 16 << 10

// serveLog gives a file of the log to anybody, as the log serves it: whole, with
// the log's own cache rules. What the log has not is a problem like any other,
// and is not kept by a cache: the file may be there in a moment.
func (s *server) serveLog(w http.ResponseWriter, r *http.Request) {
	r.Header.Del("Range") // no file is worth a part of it
	s.Log.ServeHTTP(&logWriter{ResponseWriter: w, r: r}, r)
}

// A logWriter puts a problem in place of what the log says in plain text.
type logWriter struct {
	http.ResponseWriter
	r       *http.Request
	refused bool
}

func (l *logWriter) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		l.ResponseWriter.WriteHeader(status)
		return
	}
	l.refused = true
	p := ErrInternal // which the log has logged
	if status == http.StatusNotFound {
		p = ErrNotFound
	}
	l.Header()["Cache-Control"] = headerNoStore
	writeProblem(l.ResponseWriter, l.r, p)
}

func (l *logWriter) Write(b []byte) (int, error) {
	if l.refused {
		return len(b), nil
	}
	return l.ResponseWriter.Write(b)
}

// Tile fetches a file of the log by its path, such as "tile/0/000" (C2SP
// tlog-tiles). It is not checked: who reads it checks it against a checkpoint.
func (c *Client) Tile(ctx context.Context, path string) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, "/"+path, "", nil)
	if err != nil {
		return nil, err
	}
	tile, err := readAnswer(res, tileMax)
	switch {
	case err == nil && res.StatusCode == http.StatusNotFound:
		err = sealpost.ErrNotFound
	case err == nil && res.StatusCode != http.StatusOK:
		err = problemIn(res, tile)
	}
	if err != nil {
		return nil, fmt.Errorf("tile: %w", err)
	}
	return tile, nil
}
