package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// nothing is an intake that holds nothing, so that the benchmark shows the
// server end alone.
type nothing struct {
	*world
	caller  Caller
	verdict []Verdict
}

func (n nothing) Submit(context.Context, Caller, []sealpost.Sealed) []Verdict { return n.verdict }
func (n nothing) APIKey(context.Context, sealpost.Hash) (Caller, error)       { return n.caller, nil }

func benchServer(b *testing.B) (http.Handler, string, []byte) {
	a := someAccepted
	n := nothing{&world{logs: &lockedBuffer{}}, Caller{App: "bank", Scopes: sealpost.ScopeSend}, []Verdict{{Accepted: &a}}}
	cfg := ServerConfig{Intake: n, Reading: n, Directory: n, DeviceRoad: n, Keys: n, Gate: n, Log: http.NotFoundHandler(),
		Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	return NewServer(cfg), "sp_" + string(bytes.Repeat([]byte("a"), 52)), sealedMessage(b).Bytes()
}

// BenchmarkSubmitHandler is POST /v1/messages without a connection.
func BenchmarkSubmitHandler(b *testing.B) {
	h, secret, body := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		r := &http.Request{Method: "POST", URL: submitURL, RequestURI: "/v1/messages", ContentLength: int64(len(body)),
			Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{"Content-Type": {MediaSubmission}, "Authorization": {"Bearer " + secret}}}
		rec := discard{http.Header{}}
		h.ServeHTTP(rec, r)
	}
}

var submitURL = httptest.NewRequest("POST", "/v1/messages", nil).URL

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkParseSubmission is the part of the above that is the root package's.
func BenchmarkParseSubmission(b *testing.B) {
	_, _, body := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, p := parseSubmission(body); p != nil {
			b.Fatal(p)
		}
	}
}

// BenchmarkSubmitLoopback is the whole of a request over kept-alive loopback
// connections, with as little of a client as there can be on the other side.
func BenchmarkSubmitLoopback(b *testing.B) {
	h, secret, body := benchServer(b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := HTTPServer(h, slog.New(slog.DiscardHandler))
	go srv.Serve(ln) //nolint:errcheck // it ends with Close
	defer srv.Close()
	request := fmt.Appendf(nil, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		secret, MediaSubmission, len(body))
	request = append(request, body...)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != http.StatusAccepted {
				b.Errorf("%v %v", res, err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	})
}
