package api

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// What a log says of its files' caching (C2SP tlog-tiles).
const (
	forever = "public, max-age=31536000, immutable"
	never   = "no-cache"
)

// logOf is a log that has these files and nothing else, and answers as ours
// does: it keeps the paths that it was asked for.
func logOf(files map[string]string, asked *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.EscapedPath())
		b, ok := files[r.URL.EscapedPath()]
		w.Header().Set("Cache-Control", forever) // too early: what it refuses must not keep it
		switch {
		case b == "unreadable":
			http.Error(w, "disk on fire at /srv/log", http.StatusInternalServerError)
			return
		case !ok:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.URL.Path == "/checkpoint" {
			w.Header().Set("Cache-Control", never)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte(b)))
	})
}

// A tileRoad is a server end with a log over a real connection, so that the
// request line is what was sent and a HEAD has no body.
type tileRoad struct {
	*world
	server http.Handler
	addr   string
	client *Client
	asked  []string // paths that reached the log
}

func newTileRoad(t *testing.T) *tileRoad {
	t.Helper()
	w := &tileRoad{world: newWorld(t)}
	cfg := w.config("")
	cfg.Log = logOf(map[string]string{
		"/checkpoint":         "the newest",
		"/tile/0/000":         strings.Repeat("h", 8192),
		"/tile/0/001.p/44":    strings.Repeat("p", 44*32),
		"/tile/entries/000":   strings.Repeat("e", 8960),
		"/tile/entries/002":   "unreadable",
		"/tile/0/x001/234":    "deep",
		"/tile/1/000.p/1":     strings.Repeat("q", 32),
		"/tile/0/000/../huge": "never asked for",
		"/tile/huge":          strings.Repeat("x", tileMax+1),
	}, &w.asked)
	w.server = NewServer(cfg)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = HTTPServer(w.server, cfg.Logger)
	srv.Start()
	t.Cleanup(srv.Close)
	w.addr = srv.Listener.Addr().String()
	c, err := NewClient(srv.URL, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	w.client = c
	return w
}

// raw sends a request line as it is written and reads one answer.
func (w *tileRoad) raw(method, target string, header ...string) (*http.Response, string) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: relay.example", "Connection: close"}, header...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatal(err)
	}
	head, rest, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	res := &http.Response{Header: http.Header{}}
	for i, line := range strings.Split(string(head), "\r\n") {
		if i == 0 {
			res.StatusCode, _ = strconv.Atoi(strings.Fields(line)[1])
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		res.Header.Add(name, value)
	}
	return res, string(rest)
}

// R41: a stranger fetches checkpoint and tiles, whole, with the log's own cache
// rules, by GET and HEAD.
func TestStrangerReadsTheLog(t *testing.T) {
	w := newTileRoad(t)
	for path, c := range map[string]struct {
		cache string
		size  int
	}{
		"/checkpoint":       {never, 10},
		"/tile/0/000":       {forever, 8192},
		"/tile/0/001.p/44":  {forever, 44 * 32},
		"/tile/entries/000": {forever, 8960},
		"/tile/0/x001/234":  {forever, 4},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, header := range [][]string{nil, {"Range: bytes=1-2"}} { // a part of a tile is no tile
				res, body := w.raw(method, path, header...)
				if res.StatusCode != 200 || res.Header.Get("Cache-Control") != c.cache || res.Header.Get("Content-Length") != strconv.Itoa(c.size) {
					t.Errorf("%s %s %v: %d, %v", method, path, header, res.StatusCode, res.Header)
				}
				if want := map[string]int{"GET": c.size}[method]; len(body) != want {
					t.Errorf("%s %s: %d bytes, want %d", method, path, len(body), want)
				}
				if res.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %s: no nosniff", method, path)
				}
			}
		}
	}
	if w.calls() != 0 {
		t.Errorf("a room was asked: %v", w.world.asked)
	}
}

// What is no file of the log is a problem that no cache keeps, and a path that
// is not in its one form never reaches the log.
func TestNoFileOfTheLog(t *testing.T) {
	w := newTileRoad(t)
	if res, _ := w.raw("GET", "/tile/0/000"); res.StatusCode != 200 {
		t.Fatalf("honest: %d", res.StatusCode)
	}
	for _, c := range []struct {
		method, target string
		want           *Problem
		reaches        bool // the log, which refuses it
	}{
		{"GET", "/tile/0/009", ErrNotFound, true},
		{"GET", "/tile/0/001.p/45", ErrNotFound, true},
		{"GET", "/tile/0/0", ErrNotFound, true},
		{"GET", "/tile/0/000.p/256", ErrNotFound, true},
		{"GET", "/tile/0/000%00", ErrNotFound, true},
		{"GET", "/tile/secret", ErrNotFound, true},
		{"GET", "/tile/..%2f..%2fetc%2fpasswd", ErrNotFound, false},
		{"GET", "/tile/%2e%2e/secret", ErrNotFound, false},
		{"GET", "/tile/../secret", ErrNotFound, false},
		{"GET", "/tile/0/000/../huge", ErrNotFound, false},
		{"GET", "/tile//0/000", ErrNotFound, false},
		{"GET", "//checkpoint", ErrNotFound, false},
		{"GET", "/tile/./0/000", ErrNotFound, false},
		{"GET", "/tile/0/000/", ErrNotFound, false},
		{"GET", "/checkpoint/", ErrNotFound, false},
		{"GET", "/Checkpoint", ErrNotFound, false},
		{"GET", "/tile", ErrNotFound, false},
		{"GET", "/tile/entries/002", ErrInternal, true},
		{"POST", "/tile/0/000", ErrMethod, false},
		{"PUT", "/checkpoint", ErrMethod, false},
		{"DELETE", "/tile/entries/000", ErrMethod, false},
		{"OPTIONS", "/checkpoint", ErrMethod, false},
	} {
		w.asked = nil
		res, body := w.raw(c.method, c.target)
		if res.StatusCode != c.want.Status || res.Header.Get("Content-Type") != MediaProblemJSON || !strings.Contains(body, c.want.Type) {
			t.Errorf("%s %s: %d %s %q, want %s", c.method, c.target, res.StatusCode, res.Header.Get("Content-Type"), body, c.want.Type)
		}
		if res.Header.Get("Cache-Control") != "no-store" || strings.Contains(body, "/srv/log") || strings.Contains(body, "page not found") {
			t.Errorf("%s %s: %v %q", c.method, c.target, res.Header, body)
		}
		if (len(w.asked) > 0) != c.reaches {
			t.Errorf("%s %s: reaches the log: %v", c.method, c.target, w.asked)
		}
		if c.want == ErrMethod && !strings.Contains(res.Header.Get("Allow"), "GET, HEAD") {
			t.Errorf("%s %s: Allow %q", c.method, c.target, res.Header.Get("Allow"))
		}
	}
	for _, target := range []string{"/tile/0/009", "/tile/../secret"} {
		if res, body := w.raw("HEAD", target); res.StatusCode != 404 || body != "" {
			t.Errorf("HEAD %s: %d %q", target, res.StatusCode, body)
		}
	}
	// Where nothing bounds the answer's length, the problem is all of it too.
	w.asked, w.handler = nil, w.server
	if p := problemOf(t, w.do(w.request("GET", "/tile/0/009", "", nil))); !p.Is(ErrNotFound) {
		t.Errorf("without a connection: %+v", p)
	}
	// What is no target at all never becomes a request.
	for _, target := range []string{"tile/0/000", "/tile/%zz", "/tile/0/000 x"} {
		w.asked = nil
		if res, _ := w.raw("GET", target); res.StatusCode/100 != 4 || len(w.asked) > 0 {
			t.Errorf("GET %q: %d, asked %v", target, res.StatusCode, w.asked)
		}
	}
}

// The client end tells what is not there from what is, and reads no more than a
// tile can have.
func TestTile(t *testing.T) {
	w := newTileRoad(t)
	b, err := w.client.Tile(t.Context(), "tile/0/001.p/44")
	if err != nil || len(b) != 44*32 {
		t.Fatalf("honest: %d bytes, %v", len(b), err)
	}
	if _, err := w.client.Tile(t.Context(), "tile/0/009"); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("a tile that is not there: %v", err)
	}
	if _, err := w.client.Tile(t.Context(), "tile/entries/002"); !errors.Is(err, ErrInternal) || errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("a tile that cannot be read: %v", err)
	}
	if b, err := w.client.Tile(t.Context(), "tile/huge"); err == nil {
		t.Errorf("a tile of %d bytes is taken", len(b))
	}
}
