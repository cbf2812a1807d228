package translog

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
)

// ask sends a raw request, with no cleaning of the path on the way.
func ask(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	u, err := url.Parse("http://log.example" + path)
	if err != nil {
		t.Fatal(err)
	}
	r.URL = u
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// R41: the log is public, plain files, and nothing beside them.
func TestHandler(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, testConfig(dir))
	defer mustClose(t, l)
	growth(t, l, 300, 300)
	h := l.Handler()

	for path, cache := range map[string]string{
		"/checkpoint":            cacheNever,
		"/tile/0/000":            cacheForever,
		"/tile/0/001":            cacheForever,
		"/tile/0/002.p/88":       cacheForever,
		"/tile/1/000.p/2":        cacheForever,
		"/tile/entries/000":      cacheForever,
		"/tile/entries/002.p/88": cacheForever,
		"/tile/entries/001.p/44": cacheForever, // of the first 300
		"/tile/0/000.p/7":        cacheForever, // never written, but the full file has it
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			res := ask(t, h, method, path)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != cache {
				t.Errorf("%s %s: %s, %q", method, path, res.Status, res.Header.Get("Cache-Control"))
			}
			if (len(body) > 0) != (method == http.MethodGet) {
				t.Errorf("%s %s: body of %d bytes", method, path, len(body))
			}
		}
	}

	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), filePerm); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"", "/", "/secret", "/tile", "/tile/", "/tile/0", "/tile/0/", "/tile/entries/", "/tile/0/000.p", "/tile/0/000.p/",
		"/.state/treeState", "/tile/../.state/treeState", "/tile/..%2f.state/treeState", "/tile/0/..%2f..%2fsecret",
		"/../secret", "/%2e%2e/secret", "//checkpoint", "/checkpoint/", "/checkpoint%00", "/./checkpoint", "/Checkpoint",
		"/tile/0/0", "/tile/0/0000", "/tile/00/000", "/tile/0/x000/000", "/tile/0/000.p/0", "/tile/0/000.p/007", "/tile/0/000.p/256",
		"/tile/0/00%30", "/tile/8/000", "/tile/64/000", "/tile/-1/000", "/tile/entries/x999/x999/x999/x999/x999/999",
		"/tile/0/002", "/tile/0/002.p/89", "/tile/0/003.p/1", "/tile/1/000", "/tile/2/000.p/1", "/tile/entries/002", "/tile/data/000",
	} {
		res := ask(t, h, http.MethodGet, path)
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusNotFound || strings.Contains(string(body), "secret") {
			t.Errorf("GET %q: %s", path, res.Status)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"} {
		if res := ask(t, h, method, "/checkpoint"); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", method, res.Status)
		}
	}

	// What no checkpoint covers is not public yet.
	l.publishMu.Lock()
	defer l.publishMu.Unlock() // before Close, which publishes
	mustAppend(t, l, 1)
	if res := ask(t, h, http.MethodGet, "/tile/entries/002.p/89"); res.StatusCode != http.StatusNotFound {
		t.Errorf("an unpublished leaf is served: %s", res.Status)
	}
}

// R41: a foreign checker reads the log over HTTP and finds it sound.
func TestForeignCheckOverHTTP(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	defer mustClose(t, l)
	growth(t, l, 300, 1000, 5)
	server := httptest.NewServer(l.Handler())
	defer server.Close()
	root, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	files, err := client.NewHTTPFetcher(root, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	check := fsck.New(testKey.verifier.Name(), testKey.verifier, files, foreignHasher, fsck.Opts{N: 2})
	if err := check.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}
