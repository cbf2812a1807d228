package api

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// concrete puts values into a route's path.
func concrete(path string) string {
	return strings.NewReplacer("{id}", someID.String(), "{recipient}", someRecipient.String(),
		"{name}", "ci", "{tile...}", "0/000").Replace(path)
}

// A stranger gets health, the OpenAPI document, the checkpoint and the tiles;
// every other route says 401 and nothing more, and no room hears of it.
func TestStranger(t *testing.T) {
	w := newWorld(t)
	public := map[string]bool{"/healthz": true, "/openapi.json": true, "/checkpoint": true, "/tile/{tile...}": true}
	for _, rt := range routes {
		for _, authorization := range []string{"", "Bearer", "Bearer sp_x", "Basic " + w.secret, "bearer " + w.secret,
			"Bearer " + w.secret + "x", "Bearer sp_" + strings.Repeat("a", 52), w.secret} {
			r := httptest.NewRequest(rt.method, "https://relay.example"+concrete(rt.path), strings.NewReader("{}"))
			r.RequestURI = concrete(rt.path)
			r.Header.Set("Content-Type", MediaJSON)
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			if rt.method == "GET" {
				r.Body, r.ContentLength = http.NoBody, 0
			}
			rec := w.do(r)
			if public[rt.path] {
				if rec.Code != http.StatusOK {
					t.Errorf("%s %s: %d", rt.method, rt.path, rec.Code)
				}
				continue
			}
			p := problemOf(t, rec)
			if !p.Is(ErrUnauthenticated) || p.Detail != "" || p.Pointer != "" {
				t.Errorf("%s %s as %q: %+v", rt.method, rt.path, authorization, p)
			}
			if rec.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: no WWW-Authenticate", rt.method, rt.path)
			}
		}
	}
	if w.calls() != 0 {
		t.Errorf("a room was asked by a stranger: %v", w.asked)
	}
}

// A stranger's body is not read.
func TestStrangersBodyStaysUnread(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"/v1/messages", "/v1/enrolments", "/v1/device/receipts", "/v1/device/enrolments"} {
		body := strings.NewReader("{}")
		r := httptest.NewRequest("POST", target, body)
		r.RequestURI = target
		w.do(r)
		if body.Len() != 2 {
			t.Errorf("%s: the body was read", target)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, rt := range routes {
		if rt.who != sender {
			continue
		}
		for _, s := range scopeNames {
			w := newWorld(t)
			w.secret = w.addKey("bank", s.scope)
			rec := w.do(w.request(rt.method, concrete(rt.path), MediaJSON, nil))
			forbidden := rec.Code == http.StatusForbidden && problemOf(t, rec).Is(ErrForbidden)
			if want := rt.scope&s.scope == 0; forbidden != want {
				t.Errorf("%s %s with scope %s: %d", rt.method, rt.path, s.name, rec.Code)
			}
			if forbidden && w.calls() != 0 {
				t.Errorf("%s %s with scope %s reached a room", rt.method, rt.path, s.name)
			}
		}
	}
}

// Each room is told the tenant of the key that was used, whatever the request
// says, so that a tenant can only be given its own things.
func TestTenantsAreKeptApart(t *testing.T) {
	for _, rt := range routes {
		if rt.who != sender {
			continue
		}
		for _, app := range []string{"bank", "shop"} {
			w := newWorld(t)
			w.secret = w.addKey(app, sealpost.ScopeSend|sealpost.ScopeRead|sealpost.ScopeEnrol|sealpost.ScopeManage)
			r := w.request(rt.method, concrete(rt.path), MediaJSON, exampleBody(t, &rt))
			r.Header.Set("X-App", "bank")
			if len(exampleBody(t, &rt)) == 0 {
				r.Body, r.ContentLength = http.NoBody, 0
			}
			rec := w.do(r)
			if _, caller, _ := w.last(); w.calls() != 1 || caller.App != app {
				t.Errorf("%s %s by %s: %d calls, the last as %q: %s", rt.method, rt.path, app, w.calls(), caller.App, rec.Body)
			}
		}
	}
}

// What is not this caller's is not found, in the same words as what is not.
func TestNotFoundTellsNothing(t *testing.T) {
	w := newWorld(t)
	w.fail = fmt.Errorf("message of another tenant: %w", sealpost.ErrNotFound)
	theirs := w.do(w.request("GET", "/v1/messages/"+someID.String(), "", nil))
	w.fail = nil
	impossible := w.do(w.request("GET", "/v1/messages/msg_nonsense", "", nil))
	nowhere := w.do(w.request("GET", "/v1/nonsense", "", nil))
	for _, rec := range []*httptest.ResponseRecorder{theirs, impossible, nowhere} {
		if rec.Code != 404 || rec.Body.String() != theirs.Body.String() {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, target string
		want           *Problem
	}{
		{"GET", "/", ErrNotFound},
		{"GET", "/v1", ErrNotFound},
		{"GET", "/v1/messages/", ErrNotFound},
		{"GET", "//v1/messages", ErrNotFound},
		{"GET", "/v1/../healthz", ErrNotFound},
		{"GET", "/v1/messages/a/b", ErrNotFound},
		{"GET", "/metrics", ErrNotFound},
		{"GET", "/debug/pprof/", ErrNotFound},
		{"PUT", "/v1/messages", ErrMethod},
		{"DELETE", "/v1/device/stock", ErrMethod},
		{"POST", "/healthz", ErrMethod},
		{"POST", "/checkpoint", ErrMethod},
		{"OPTIONS", "/v1/messages", ErrMethod},
	} {
		rec := w.do(w.request(c.method, c.target, "", nil))
		if p := problemOf(t, rec); !p.Is(c.want) {
			t.Errorf("%s %s: %s, want %s", c.method, c.target, p.Type, c.want.Type)
		}
		if c.want == ErrMethod && rec.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.target)
		}
	}
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"/healthz", "/nowhere", "/v1/messages", "/checkpoint"} {
		h := w.do(w.request("GET", target, "", nil)).Header()
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" || h.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s: %v", target, h)
		}
	}
}

func TestProblemsFollowAccept(t *testing.T) {
	for _, c := range []struct{ accept, media, want string }{
		{"", "", MediaProblemJSON},
		{"", MediaCBOR, MediaProblemCBOR},
		{"", MediaJSON, MediaProblemJSON},
		{MediaCBOR, MediaJSON, MediaProblemCBOR},
		{MediaJSON, MediaCBOR, MediaProblemJSON},
		{"*/*", MediaCBOR, MediaProblemCBOR},
		{"text/html, application/json;q=0.5", MediaCBOR, MediaProblemJSON},
		{"application/cbor;q=0, application/json", MediaCBOR, MediaProblemJSON},
		{"application/problem+cbor", MediaJSON, MediaProblemCBOR},
	} {
		w := newWorld(t)
		r := w.request("GET", "/nowhere", c.media, nil)
		if c.accept != "" {
			r.Header.Set("Accept", c.accept)
		}
		if got := w.do(r).Header().Get("Content-Type"); got != c.want {
			t.Errorf("Accept %q, Content-Type %q: %s, want %s", c.accept, c.media, got, c.want)
		}
	}
}

// A fault of ours is logged, and its words stay here.
func TestOurFaultsStayHere(t *testing.T) {
	w := newWorld(t)
	w.fail = errors.New("disk on fire")
	rec := w.do(w.request("GET", "/v1/messages", "", nil))
	if p := problemOf(t, rec); !p.Is(ErrInternal) || strings.Contains(rec.Body.String(), "fire") {
		t.Errorf("%s", rec.Body)
	}
	if !strings.Contains(w.logs.String(), "disk on fire") {
		t.Error("the fault was not logged")
	}
	if strings.Contains(w.logs.String(), w.secret) {
		t.Error("the API key was logged")
	}
}

// R67: what a room panics with may hold content; the log gets its type only.
func TestPanicIsAProblem(t *testing.T) {
	w := newWorld(t)
	w.crash = "canary content"
	for _, r := range []*http.Request{w.request("GET", "/v1/messages", "", nil), w.request("POST", "/v1/messages", MediaSubmission, sealedMessage(t).Bytes())} {
		rec := w.do(r)
		if p := problemOf(t, rec); !p.Is(ErrInternal) || strings.Contains(rec.Body.String(), "canary") {
			t.Errorf("%s", rec.Body)
		}
	}
	if log := w.logs.String(); !strings.Contains(log, "request panicked") || strings.Contains(log, "canary") {
		t.Errorf("log: %s", log)
	}
}

func TestRoomsKeepTheirContract(t *testing.T) {
	for name, verdicts := range map[string][]Verdict{
		"none": nil, "an empty one": {{}}, "both halves": {{Accepted: &someAccepted, Problem: ErrBusy}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: let through", name)
				}
			}()
			mustAnswer(verdicts, 1)
		}()
	}
	mustAnswer([]Verdict{{Problem: ErrBusy}}, 1)
}

func TestBodyRules(t *testing.T) {
	good := `{"recipient":"` + text(someRecipient[:]) + `","secret_hash":"` + text(make([]byte, 32)) + `"}`
	for name, c := range map[string]struct {
		target, media, body string
		want                *Problem
		pointer             string
	}{
		"honest":           {"/v1/enrolments", MediaJSON, good, nil, ""},
		"unknown member":   {"/v1/enrolments", MediaJSON, strings.Replace(good, "{", `{"x":1,`, 1), ErrMalformed, "/x"},
		"missing member":   {"/v1/enrolments", MediaJSON, `{"recipient":"` + text(someRecipient[:]) + `"}`, ErrMalformed, "/secret_hash"},
		"another case":     {"/v1/enrolments", MediaJSON, strings.Replace(good, "recipient", "Recipient", 1), ErrMalformed, "/Recipient"},
		"twice":            {"/v1/enrolments", MediaJSON, strings.Replace(good, "{", `{"recipient":"",`, 1), ErrMalformed, "/recipient"},
		"trailing":         {"/v1/enrolments", MediaJSON, good + " 1", ErrMalformed, ""},
		"not JSON":         {"/v1/enrolments", MediaJSON, "{", ErrMalformed, ""},
		"null":             {"/v1/enrolments", MediaJSON, strings.Replace(good, `"`+text(someRecipient[:])+`"`, "null", 1), ErrMalformed, "/recipient"},
		"not base64url":    {"/v1/enrolments", MediaJSON, strings.Replace(good, text(someRecipient[:]), "++++", 1), ErrMalformed, "/recipient"},
		"short recipient":  {"/v1/enrolments", MediaJSON, strings.Replace(good, text(someRecipient[:]), "AAAA", 1), ErrMalformed, "/recipient"},
		"not CBOR":         {"/v1/enrolments", MediaCBOR, good, ErrMalformed, ""},
		"media type":       {"/v1/enrolments", "text/plain", good, ErrMediaType, ""},
		"too large":        {"/v1/enrolments", MediaJSON, strings.Repeat(" ", BodyMax+1), ErrTooLarge, ""},
		"unknown query":    {"/v1/enrolments?x=1", MediaJSON, good, ErrMalformed, ""},
		"no devices":       {"/v1/recipients/" + someRecipient.String() + "/key-packages/claim", MediaJSON, `{"devices":[]}`, ErrMalformed, "/devices"},
		"a bad device":     {"/v1/recipients/" + someRecipient.String() + "/key-packages/claim", MediaJSON, `{"devices":["x"]}`, ErrMalformed, "/devices/0"},
		"too many devices": {"/v1/recipients/" + someRecipient.String() + "/key-packages/claim", MediaJSON, `{"devices":[` + strings.Repeat(`"`+someKey.String()+`",`, 32) + `"` + someKey.String() + `"]}`, ErrMalformed, "/devices"},
		"no scope":         {"/v1/api-keys", MediaJSON, `{"name":"ci","scopes":[]}`, ErrMalformed, "/scopes"},
		"scope twice":      {"/v1/api-keys", MediaJSON, `{"name":"ci","scopes":["send","send"]}`, ErrMalformed, "/scopes"},
		"unknown scope":    {"/v1/api-keys", MediaJSON, `{"name":"ci","scopes":["root"]}`, ErrMalformed, "/scopes"},
		"no name":          {"/v1/api-keys", MediaJSON, `{"name":"a b","scopes":["send"]}`, ErrMalformed, "/name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			rec := w.do(w.request("POST", c.target, c.media, []byte(c.body)))
			if c.want == nil {
				if rec.Code != http.StatusCreated {
					t.Fatalf("%d %s", rec.Code, rec.Body)
				}
				return
			}
			if p := problemOf(t, rec); !p.Is(c.want) || p.Pointer != c.pointer {
				t.Errorf("%s at %q (%s), want %s at %q", p.Type, p.Pointer, p.Detail, c.want.Type, c.pointer)
			}
			if w.calls() != 0 {
				t.Error("a room was asked")
			}
		})
	}
}

func text(b []byte) string {
	t, _ := Bytes(b).MarshalText()
	return string(t)
}

func TestQueries(t *testing.T) {
	for _, c := range []struct {
		query string
		ok    bool
		limit int
	}{
		{"", true, PageDefault}, {"?limit=1", true, 1}, {"?limit=200&cursor=abc", true, 200},
		{"?limit=0", false, 0}, {"?limit=201", false, 0}, {"?limit=-1", false, 0}, {"?limit=x", false, 0},
		{"?limit=1;cursor=a", false, 0}, {"?limit=%zz", false, 0}, {"?limit=1&limit=2", false, 0}, {"?after=1", false, 0}, {"?limit=", false, 0},
	} {
		w := newWorld(t)
		rec := w.do(w.request("GET", "/v1/messages"+c.query, "", nil))
		if (rec.Code == 200) != c.ok {
			t.Errorf("%q: %d %s", c.query, rec.Code, rec.Body)
		}
		if _, _, args := w.last(); c.ok && args[1] != c.limit {
			t.Errorf("%q: limit %v", c.query, args[1])
		}
	}
	w := newWorld(t)
	if rec := w.do(w.signed("GET", "/v1/device/messages?wait_ms=25001", "", nil)); rec.Code != 400 {
		t.Errorf("a wait beyond the limit: %d", rec.Code)
	}
}

// One device more than may wait is answered at once.
func TestInboxWaiters(t *testing.T) {
	w := newWorld(t)
	s := w.handler.(*server)
	for waiting, want := range map[int64]int{InboxWaiters - 1: 9, InboxWaiters: 0} {
		s.waiting.Store(waiting)
		if rec := w.do(w.signed("GET", "/v1/device/messages?wait_ms=9", "", nil)); rec.Code != 200 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if _, _, args := w.last(); args[2] != want || s.waiting.Load() != waiting {
			t.Errorf("%d wait: asked to wait %v ms, then %d wait", waiting, args[2], s.waiting.Load())
		}
	}
}

// Bodies being handled at once stay within a bound; beyond it a request is
// refused before its body is read, and the bound is given back.
func TestBodiesInFlight(t *testing.T) {
	var inFlight atomic.Int64
	r := func() *http.Request { return httptest.NewRequest("POST", "/", strings.NewReader("12345678")) }
	b, p := readBody(r(), 8, &inFlight)
	if p != nil || inFlight.Load() != 8 {
		t.Fatalf("%v, %d in flight", p, inFlight.Load())
	}
	inFlight.Add(BodiesInFlight - 8)
	if _, p := readBody(r(), 8, &inFlight); p == nil || !p.Is(ErrBusy) || p.Retry == 0 {
		t.Errorf("beyond the bound: %v", p)
	}
	inFlight.Add(8 - BodiesInFlight)
	b.free()
	cut := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("x"), brokenReader{}))
	if _, p := readBody(cut, 8, &inFlight); p == nil || !p.Is(ErrMalformed) {
		t.Errorf("a broken body: %v", p)
	}
	if inFlight.Load() != 0 {
		t.Errorf("%d bytes stay in flight", inFlight.Load())
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWiringIsChecked(t *testing.T) {
	w := newWorld(t)
	cfg := w.config("")
	cfg.Gate = nil
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "Gate") {
			t.Errorf("a missing Gate: %v", v)
		}
	}()
	NewServer(cfg)
}

func TestSecret(t *testing.T) {
	secret, hash, err := NewSecret(rand.Reader)
	if err != nil || len(secret) != 55 || !strings.HasPrefix(secret, "sp_") {
		t.Fatalf("%q %v", secret, err)
	}
	if got, ok := HashSecret(secret); !ok || got != hash {
		t.Error("the hash of the secret is another")
	}
	for _, bad := range []string{"", secret[1:], secret + "a", "sp_" + strings.Repeat("A", 52), "sq_" + secret[3:], strings.Replace(secret, secret[9:10], "1", 1)} {
		if _, ok := HashSecret(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, _, err := NewSecret(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("31 bytes of randomness are enough")
	}
}

func TestScopeWords(t *testing.T) {
	for s := sealpost.Scope(1); s < 16; s++ {
		if got, err := ParseScopes(ScopeNames(s)); err != nil || got != s {
			t.Errorf("%v: %v %v", ScopeNames(s), got, err)
		}
	}
}

// A server's own log keeps no address of a peer.
func TestConnectionLogDropsAddresses(t *testing.T) {
	w := newWorld(t)
	srv := HTTPServer(w.handler, w.config("").Logger)
	srv.ErrorLog.Printf("http: TLS handshake error from 203.0.113.7:1234: EOF")
	if strings.Contains(w.logs.String(), "203.0.113.7") {
		t.Error(w.logs.String())
	}
	if srv.ReadTimeout <= InboxWaitMax || srv.WriteTimeout <= InboxWaitMax+slack-time.Second || srv.Protocols.HTTP2() {
		t.Error("the server's limits cut off a device that waits")
	}
}
