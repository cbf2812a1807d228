package lab_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/internal/lab"
)

const tokenURL = "https://oauth2.example/token"

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// account is shared: an RSA key costs a noticeable part of a second.
var account = sync.OnceValue(func() lab.Account {
	a, err := lab.ServiceAccount("bank-push", tokenURL)
	if err != nil {
		panic(err)
	}
	return a
})

// A bench is a server asked without a network, on a clock that tests move.
type bench struct {
	t   *testing.T
	f   *lab.FCM
	now time.Time
}

func newBench(t *testing.T, change func(*lab.FCMConfig)) *bench {
	t.Helper()
	b := &bench{t: t, now: start}
	cfg := lab.FCMConfig{Account: account(), TokenURL: tokenURL, Now: func() time.Time { return b.now }}
	if change != nil {
		change(&cfg)
	}
	f, err := lab.NewFCM(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.f = f
	return b
}

func (b *bench) ask(method, path, body string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.f.ServeHTTP(w, r)
	return w
}

// jwt signs an assertion; spoil changes its claims, its header or its key.
func jwt(t *testing.T, spoil func(header, claims map[string]any, key **rsa.PrivateKey)) string {
	t.Helper()
	var file map[string]string
	if err := json.Unmarshal(account().JSON, &file); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(file["private_key"]))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(*rsa.PrivateKey)
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": file["private_key_id"]}
	claims := map[string]any{
		"iss": file["client_email"], "aud": tokenURL, "iat": start.Unix(), "exp": start.Add(time.Hour).Unix(),
		"scope": "https://www.googleapis.com/auth/firebase.messaging",
	}
	if spoil != nil {
		spoil(header, claims, &key)
	}
	var parts []string
	for _, m := range []map[string]any{header, claims} {
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ".")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(sig)), ".")
}

func (b *bench) exchange(assertion string) *httptest.ResponseRecorder {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	return b.ask("POST", "/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func (b *bench) bearer() string {
	b.t.Helper()
	w := b.exchange(jwt(b.t, nil))
	var a struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || a.Token == "" {
		b.t.Fatalf("token: %d %s", w.Code, w.Body)
	}
	return "Bearer " + a.Token
}

// send posts a message under a fresh token.
func (b *bench) send(body string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.ask("POST", "/v1/projects/bank-push/messages:send", body,
		"Authorization", b.bearer(), "Content-Type", "application/json")
}

func (b *bench) register(reg lab.Registration) lab.Device {
	b.t.Helper()
	d, err := b.f.Register(reg)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func to(d lab.Device, more string) string {
	return `{"message":{"token":"` + d.Token + `"` + more + `}}`
}

func TestTokenEndpoint(t *testing.T) {
	b := newBench(t, nil)
	if w := b.exchange(jwt(t, nil)); w.Code != 200 || !strings.Contains(w.Body.String(), `"expires_in":3599`) {
		t.Fatalf("honest assertion: %d %s", w.Code, w.Body)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(h, c map[string]any, key **rsa.PrivateKey){
		"issuer":            func(_, c map[string]any, _ **rsa.PrivateKey) { c["iss"] = "x@y" },
		"audience":          func(_, c map[string]any, _ **rsa.PrivateKey) { c["aud"] = "https://other.example/token" },
		"scope":             func(_, c map[string]any, _ **rsa.PrivateKey) { c["scope"] = "email" },
		"no scope":          func(_, c map[string]any, _ **rsa.PrivateKey) { delete(c, "scope") },
		"expired":           func(_, c map[string]any, _ **rsa.PrivateKey) { c["iat"], c["exp"] = start.Unix()-3600, start.Unix() },
		"from the future":   func(_, c map[string]any, _ **rsa.PrivateKey) { c["iat"] = start.Unix() + 301 },
		"lives too long":    func(_, c map[string]any, _ **rsa.PrivateKey) { c["exp"] = start.Unix() + 3601 },
		"no expiry":         func(_, c map[string]any, _ **rsa.PrivateKey) { delete(c, "exp") },
		"algorithm none":    func(h, _ map[string]any, _ **rsa.PrivateKey) { h["alg"] = "none" },
		"key id":            func(h, _ map[string]any, _ **rsa.PrivateKey) { h["kid"] = "other" },
		"key of a stranger": func(_, _ map[string]any, key **rsa.PrivateKey) { *key = stranger },
	} {
		t.Run(name, func(t *testing.T) {
			if w := b.exchange(jwt(t, spoil)); w.Code != 400 || !strings.Contains(w.Body.String(), `"error":"invalid_`) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	if w := b.ask("POST", "/token", "grant_type=password", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 400 {
		t.Errorf("another grant type: %d", w.Code)
	}
	if n := b.f.TokensIssued(); n != 1 {
		t.Errorf("%d tokens issued, want the honest one", n)
	}
}

func TestBearer(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	bearer := b.bearer()
	post := func(project, auth string) int {
		return b.ask("POST", "/v1/projects/"+project+"/messages:send", to(d, ""), "Authorization", auth, "Content-Type", "application/json").Code
	}
	if code := post("bank-push", bearer); code != 200 {
		t.Fatalf("honest token: %d", code)
	}
	for name, c := range map[string]struct {
		project, auth string
		want          int
	}{
		"none":            {"bank-push", "", 401},
		"invented":        {"bank-push", "Bearer ya29.x", 401},
		"other scheme":    {"bank-push", "Basic " + bearer[7:], 401},
		"another project": {"other-push", bearer, 403},
	} {
		if code := post(c.project, c.auth); code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}
	b.now = b.now.Add(3600 * time.Second)
	if code := post("bank-push", bearer); code != 401 {
		t.Errorf("an expired token: %d", code)
	}
}

// The error envelope, as the vendor documents it.
func TestErrorEnvelope(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	for name, c := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"unknown field": {to(d, `,"nonsense":1`), 400, `{"error":{"code":400,"details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"description":"Invalid JSON payload received. Unknown name \"nonsense\" at 'message': Cannot find field.","field":"message"}]}],"message":"Invalid JSON payload received. Unknown name \"nonsense\" at 'message': Cannot find field.","status":"INVALID_ARGUMENT"}}`},
		"malformed":     {`{"message":{"token":"x"}}`, 400, `{"error":{"code":400,"details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}],"message":"The registration token is not a valid FCM registration token","status":"INVALID_ARGUMENT"}}`},
		"unknown":       {`{"message":{"fid":"c123456789012345678901"}}`, 404, `{"error":{"code":404,"details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}],"message":"Requested entity was not found.","status":"NOT_FOUND"}}`},
	} {
		w := b.send(c.body)
		var compact bytes.Buffer
		var tree any
		if err := json.Unmarshal(w.Body.Bytes(), &tree); err != nil {
			t.Fatalf("%s: %v in %s", name, err, w.Body)
		}
		enc := json.NewEncoder(&compact)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(tree); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || strings.TrimSpace(compact.String()) != c.want {
			t.Errorf("%s: %d\n got %s\nwant %s", name, w.Code, compact.String(), c.want)
		}
	}
}

func (b *bench) poll(target string, after int) (lab.Batch, int) {
	b.t.Helper()
	w := b.ask("GET", fmt.Sprintf("/lab/devices/%s/pushes?wait=0&after=%d", url.PathEscape(target), after), "")
	var batch lab.Batch
	if w.Code == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), &batch); err != nil {
			b.t.Fatal(err)
		}
	}
	return batch, w.Code
}

// The push transport: in order, until acknowledged, not beyond the ttl.
func TestPushes(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	for i := range 3 {
		if w := b.send(to(d, fmt.Sprintf(`,"data":{"b":"%d"},"android":{"priority":"HIGH","ttl":"%ds"}`, i, 60*(i+1)))); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	for range 2 { // unacknowledged pushes are repeated
		got, _ := b.poll(d.FID, 0)
		if len(got.Pushes) != 3 || got.Dropped {
			t.Fatalf("%+v", got)
		}
		for i, p := range got.Pushes {
			if p.N != uint64(i+1) || p.Data["b"] != fmt.Sprint(i) || p.Priority != "HIGH" {
				t.Errorf("push %d: %+v", i, p)
			}
		}
	}
	b.now = b.now.Add(61 * time.Second)
	if got, _ := b.poll(d.Token, 0); len(got.Pushes) != 2 || got.Pushes[0].N != 2 {
		t.Errorf("after the first one's ttl: %+v", got)
	}
	if got, _ := b.poll(d.Token, 2); len(got.Pushes) != 1 {
		t.Errorf("after an acknowledgement: %+v", got)
	}
	if got, _ := b.poll(d.Token, 3); len(got.Pushes) != 0 {
		t.Errorf("after all: %+v", got)
	}
	if w := b.send(to(d, `,"android":{"ttl":"0s"}`)); w.Code != 200 {
		t.Fatal(w.Code)
	}
	if got, _ := b.poll(d.Token, 3); len(got.Pushes) != 0 {
		t.Errorf("a push of now or never waited for an offline phone: %+v", got)
	}
	if w := b.ask("DELETE", "/lab/devices/"+url.PathEscape(d.Token), ""); w.Code != 204 {
		t.Fatalf("unregister: %d", w.Code)
	}
	if w := b.send(to(d, "")); w.Code != 404 || !strings.Contains(w.Body.String(), "UNREGISTERED") {
		t.Errorf("a push to a phone that is gone: %d %s", w.Code, w.Body)
	}
	if _, code := b.poll(d.Token, 0); code != 410 {
		t.Errorf("a poll of a phone that is gone: %d", code)
	}
}

// Beyond a hundred pending pushes all are dropped, and the app is told.
func TestPendingOverflow(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	for range 100 {
		b.send(to(d, ""))
	}
	if got, _ := b.poll(d.Token, 0); len(got.Pushes) != 100 || got.Dropped {
		t.Fatalf("%d pushes, dropped %v, want all 100", len(got.Pushes), got.Dropped)
	}
	b.send(to(d, ""))
	b.send(to(d, ""))
	got, _ := b.poll(d.Token, 0)
	if !got.Dropped || len(got.Pushes) != 1 || got.Pushes[0].N != 102 {
		t.Errorf("%d pushes, dropped %v, want the flag and the one after the loss", len(got.Pushes), got.Dropped)
	}
	if got, _ := b.poll(d.Token, 102); got.Dropped {
		t.Error("the loss is told twice")
	}
}

func TestValidateOnly(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	if w := b.send(`{"validate_only":true,` + to(d, "")[1:]); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got, _ := b.poll(d.Token, 0); len(got.Pushes) != 0 {
		t.Error("a validated message was delivered")
	}
}

// Over a real listener: long polls wake, racks stream, and both end with the server.
func TestPhones(t *testing.T) {
	b := newBench(t, func(c *lab.FCMConfig) { c.Now = nil })
	b.now = time.Now()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.f.Run(ctx, l) }()
	base := "http://" + l.Addr().String()
	phones := lab.NewPhones(base, &http.Client{})

	single, err := phones.Register(ctx, lab.Registration{})
	if err != nil {
		t.Fatal(err)
	}
	polled := make(chan lab.Batch, 1)
	go func() {
		got, err := phones.Poll(ctx, single.Token, 0, time.Minute)
		if err != nil {
			t.Errorf("poll: %v", err)
		}
		polled <- got
	}()
	const members = 20
	var rack []lab.Device
	for range members {
		d, err := phones.Register(ctx, lab.Registration{Rack: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		rack = append(rack, d)
	}
	streamed := make(chan lab.Push, members)
	streamEnded := make(chan error, 1)
	go func() {
		streamEnded <- phones.Stream(ctx, "r1", func(p lab.Push) error { streamed <- p; return nil })
	}()
	bearer := realBearer(t, b)
	for _, d := range append(rack, single) {
		w := b.ask("POST", "/v1/projects/bank-push/messages:send", to(d, `,"data":{"b":"x"}`),
			"Authorization", bearer, "Content-Type", "application/json")
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if got := <-polled; len(got.Pushes) != 1 {
		t.Errorf("the poll brought %+v", got)
	}
	seen := map[string]bool{}
	for range members {
		p := <-streamed
		seen[p.Token] = true
	}
	if len(seen) != members || seen[single.Token] {
		t.Errorf("the rack's stream reached %d phones of %d", len(seen), members)
	}
	// A push of now or never reaches a phone that is listening.
	w := b.ask("POST", "/v1/projects/bank-push/messages:send", to(rack[0], `,"android":{"ttl":"0s"},"data":{"b":"now"}`),
		"Authorization", bearer, "Content-Type", "application/json")
	if p := <-streamed; w.Code != 200 || p.Data["b"] != "now" || p.Token != rack[0].Token {
		t.Errorf("%d, then %+v", w.Code, p)
	}
	if err := phones.Unregister(ctx, single.FID); err != nil {
		t.Error(err)
	}
	if _, err := phones.Poll(ctx, single.Token, 0, 0); err == nil {
		t.Error("a phone that unregistered can poll")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := <-streamEnded; err == nil {
		t.Error("a stream ended without an error")
	}
}

// realBearer gets a token under the machine's clock.
func realBearer(t *testing.T, b *bench) string {
	t.Helper()
	w := b.exchange(jwt(t, func(_, c map[string]any, _ **rsa.PrivateKey) {
		c["iat"], c["exp"] = time.Now().Unix(), time.Now().Add(time.Hour).Unix()
	}))
	var a struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	return "Bearer " + a.Token
}

// Faults are used up in order and hit what they name.
func TestScript(t *testing.T) {
	b := newBench(t, nil)
	d, other := b.register(lab.Registration{}), b.register(lab.Registration{})
	faults := `[{"kind":"status","status":503,"code":"UNAVAILABLE","retry_after":5000000000,"date":true,"target":"` + d.Token + `","times":2}]`
	if w := b.ask("POST", "/lab/faults", faults); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := b.send(to(other, "")); w.Code != 200 {
		t.Errorf("a fault for another device hit: %d", w.Code)
	}
	for range 2 {
		w := b.send(to(d, ""))
		if at, err := http.ParseTime(w.Header().Get("Retry-After")); w.Code != 503 || err != nil || at.Sub(b.now) != 5*time.Second {
			t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
	}
	if w := b.send(to(d, "")); w.Code != 200 {
		t.Errorf("the script goes on after its end: %d", w.Code)
	}
	b.f.Script(lab.Fault{Kind: lab.FaultLost, Path: "messages:send", Times: -1})
	for range 3 {
		if !broken(func() { b.send(to(d, "")) }) {
			t.Error("the connection was not broken")
		}
	}
	b.f.ClearFaults()
	if got, _ := b.poll(d.Token, 1); len(got.Pushes) != 3 {
		t.Errorf("%d pushes were done and unacknowledged, want 3", len(got.Pushes))
	}
}

// broken reports whether f breaks its connection off, which httptest shows as a panic.
func broken(f func()) (yes bool) {
	defer func() {
		if p := recover(); p != nil {
			err, ok := p.(error)
			yes = ok && errors.Is(err, http.ErrAbortHandler)
		}
	}()
	f()
	return false
}

// The journal keeps raw bodies, is bounded, and can be searched for a canary.
func TestJournal(t *testing.T) {
	b := newBench(t, nil)
	d := b.register(lab.Registration{})
	b.send(to(d, `,"data":{"b":"canary-4711"}`))
	if e, ok := b.f.Journal().Find([]byte("canary-4711")); !ok || e.Status != 200 || e.Seq != 2 {
		t.Errorf("%v %+v", ok, e)
	}
	if _, ok := b.f.Journal().Find([]byte("canary-4712")); ok {
		t.Error("found what was never sent")
	}
	w := b.ask("GET", "/lab/journal", "")
	lines := bytes.Split(bytes.TrimSpace(w.Body.Bytes()), []byte("\n"))
	var last lab.Entry
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || !bytes.Contains(last.Body, []byte("canary-4711")) {
		t.Errorf("journal over HTTP: %v, %d lines", err, len(lines))
	}
	b.send(`{"message":{"token":"nonsense"}}`)
	if n := b.f.Journal().Count("INVALID_ARGUMENT"); n != 1 {
		t.Errorf("%d refusals counted", n)
	}

	small := newBench(t, func(c *lab.FCMConfig) { c.JournalEntries, c.JournalBytes = 4, 1000 })
	for range 51 {
		small.ask("POST", "/v1/projects/bank-push/messages:send", strings.Repeat("x", 400))
	}
	entries, size := small.f.Journal().Entries(), 0
	for _, e := range entries {
		size += len(e.Body)
	}
	if len(entries) > 4 || size > 1000 || small.f.Journal().Seen() != 51 || entries[len(entries)-1].Seq != 51 ||
		len(entries[len(entries)-1].Body) != 400 {
		t.Errorf("%d entries, %d bytes, %d seen", len(entries), size, small.f.Journal().Seen())
	}
}

func TestBodyLimit(t *testing.T) {
	b := newBench(t, nil)
	for _, r := range []io.Reader{strings.NewReader(strings.Repeat(" ", 1<<20)), io.MultiReader(strings.NewReader(strings.Repeat(" ", 1<<20)))} {
		w := httptest.NewRecorder()
		b.f.ServeHTTP(w, httptest.NewRequest("POST", "/v1/projects/bank-push/messages:send", r))
		if w.Code != 400 {
			t.Errorf("a body of a megabyte: %d", w.Code)
		}
	}
}

func TestOtherPaths(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		method, path string
	}{
		{"GET", "/v1/projects/bank-push/messages:send"}, {"POST", "/v1/projects//messages:send"}, {"POST", "/v1/projects/a/b/messages:send"},
		{"POST", "/batch"}, {"GET", "/"},
	} {
		if w := b.ask(c.method, c.path, ""); w.Code != 404 && w.Code != 405 && w.Code != 307 {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
}
