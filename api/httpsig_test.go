package api

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
)

// RFC 9421 B.2.6: our reader of the header, our signature base and our
// verification agree with the RFC's Ed25519 example.
func TestRFC9421Example(t *testing.T) {
	const (
		header = `sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
		sig    = `sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:`
		key    = `MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=` // B.1.4
		want   = `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
	)
	values := map[string]string{"date": "Tue, 20 Apr 2021 02:07:55 GMT", "@method": "POST", "@path": "/foo",
		"@authority": "example.com", "content-type": "application/json", "content-length": "18"}
	in, ok := parseSigInput(header)
	if !ok || in.label != "sig-b26" || in.integers["created"] != 1618884473 || in.strings["keyid"] != "test-key-ed25519" {
		t.Fatalf("%+v %v", in, ok)
	}
	base := signatureBase(in.components, in.raw, func(c string) string { return values[c] })
	if string(base) != want {
		t.Fatalf("base:\n%s\nwant:\n%s", base, want)
	}
	der, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := sealpost.NewEd25519Key(parsed.(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	label, value, ok := parseSigValue(sig)
	if !ok || label != in.label {
		t.Fatal("the signature header is not read")
	}
	if err := pub.Verify(base, value); err != nil {
		t.Error(err)
	}
	if pub.Verify(append(base, ' '), value) == nil {
		t.Error("another base verifies")
	}
}

const receiptsTarget = "/v1/device/receipts"

var receiptsBody = []byte(`{"receipts":["AA"]}`)

// Each part of a signed request is spoiled alone; each time the answer is 401
// and no room hears of it.
func TestDeviceSignature(t *testing.T) {
	sub := func(header, old, new string) func(*world, *http.Request) {
		return func(w *world, r *http.Request) {
			if !strings.Contains(r.Header.Get(header), old) {
				w.t.Fatalf("%s %q has no %q", header, r.Header.Get(header), old)
			}
			r.Header.Set(header, strings.Replace(r.Header.Get(header), old, new, 1))
		}
	}
	// resign signs other parameters properly, so that only the rule about them is left.
	resign := func(components []string, params string) func(*world, *http.Request) {
		return func(w *world, r *http.Request) {
			params := fmt.Sprintf(`("%s")%s`, strings.Join(components, `" "`), strings.NewReplacer(
				"NOW", fmt.Sprint(now.Unix()), "KEY", w.device.Public().ID().String(), "NONCE", base64.StdEncoding.EncodeToString(make([]byte, 16))).Replace(params))
			values := map[string]string{"@method": r.Method, "@target-uri": "https://relay.example" + r.RequestURI,
				"content-digest": r.Header.Get(headerDigest), "content-type": r.Header.Get("Content-Type")}
			sig, err := w.device.Sign(signatureBase(components, params, func(c string) string { return values[c] }))
			if err != nil {
				w.t.Fatal(err)
			}
			r.Header.Set(headerInput, "sealpost="+params)
			r.Header.Set(headerSignature, formatSigValue("sealpost", sig))
		}
	}
	const params = `;created=NOW;nonce="NONCE";keyid="KEY";alg="ed25519";tag="sealpost-device"`
	without := func(old, new string) func(*world, *http.Request) {
		if !strings.Contains(params, old) {
			t.Fatalf("the parameters have no %q", old)
		}
		return resign(componentsBody, strings.Replace(params, old, new, 1))
	}
	for name, c := range map[string]struct {
		spoil func(*world, *http.Request)
		ok    bool
	}{
		"honest":                  {func(*world, *http.Request) {}, true},
		"honest, signed again":    {resign(componentsBody, params), true},
		"parameters in any order": {resign(componentsBody, `;tag="sealpost-device";alg="ed25519";keyid="KEY";nonce="NONCE";created=NOW`), true},

		"no signature":   {func(_ *world, r *http.Request) { r.Header.Del(headerSignature) }, false},
		"no input":       {func(_ *world, r *http.Request) { r.Header.Del(headerInput) }, false},
		"two signatures": {func(_ *world, r *http.Request) { r.Header.Add(headerSignature, r.Header.Get(headerSignature)) }, false},
		"two inputs":     {func(_ *world, r *http.Request) { r.Header.Add(headerInput, r.Header.Get(headerInput)) }, false},
		"two in one":     {sub(headerInput, `("`, `("@method");created=1, b=("`), false},
		"another label":  {sub(headerSignature, "sealpost=", "sealpast="), false},
		"another method": {func(_ *world, r *http.Request) { r.Method = "GET"; r.Method = "PUT" }, false},
		"another target": {func(_ *world, r *http.Request) { r.RequestURI = "/v1/device/stock"; r.URL.Path = "/v1/device/stock" }, false},
		"an added query": {func(_ *world, r *http.Request) { r.RequestURI += "?x=1" }, false},
		"another body": {func(_ *world, r *http.Request) {
			setBody(r, bytes.Replace(receiptsBody, []byte("AA"), []byte("BB"), 1))
		}, false},
		"another body, digest": {func(_ *world, r *http.Request) {
			setBody(r, []byte(`{"receipts":["BB"]}`))
			r.Header.Set(headerDigest, contentDigest([]byte(`{"receipts":["BB"]}`)))
		}, false},
		"no digest":         {func(_ *world, r *http.Request) { r.Header.Del(headerDigest) }, false},
		"two digests":       {func(_ *world, r *http.Request) { r.Header.Add(headerDigest, r.Header.Get(headerDigest)) }, false},
		"another digest":    {sub(headerDigest, "sha-256=", "sha-512="), false},
		"created changed":   {sub(headerInput, "created=", "created=1"), false},
		"nonce changed":     {sub(headerInput, `nonce="`, `nonce="A`), false},
		"tag changed":       {sub(headerInput, "sealpost-device", "sealpost-devise"), false},
		"alg changed":       {sub(headerInput, "ed25519", "ecdsa-p256-sha256"), false},
		"signature changed": {sub(headerSignature, "=:", "=:A"), false},
		"spaces":            {sub(headerInput, `" "`, `"  "`), false},

		"too old":             {without("created=NOW", fmt.Sprintf("created=%d", now.Unix()-61)), false},
		"just not too old":    {without("created=NOW", fmt.Sprintf("created=%d", now.Unix()-60)), true},
		"from the future":     {without("created=NOW", fmt.Sprintf("created=%d", now.Unix()+61)), false},
		"just not the future": {without("created=NOW", fmt.Sprintf("created=%d", now.Unix()+60)), true},
		"no created":          {without(";created=NOW", ""), false},
		"created is a text":   {without("created=NOW", `created="NOW"`), false},
		"created is negative": {without("created=NOW", "created=-1"), false},
		"no nonce":            {without(`;nonce="NONCE"`, ""), false},
		"short nonce":         {without(`nonce="NONCE"`, `nonce="AAAA"`), false},
		"no key":              {without(`;keyid="KEY"`, ""), false},
		"another key":         {without(`keyid="KEY"`, `keyid="`+someKey.String()+`"`), false},
		"upper-case key":      {without(`keyid="KEY"`, `keyid="`+strings.ToUpper(someKey.String())+`"`), false},
		"no alg":              {without(`;alg="ed25519"`, ""), false},
		"another alg":         {without(`alg="ed25519"`, `alg="ecdsa-p256-sha256"`), false},
		"no tag":              {without(`;tag="sealpost-device"`, ""), false},
		"another tag":         {without(`tag="sealpost-device"`, `tag="sealpost-sender"`), false},
		"expires":             {without(`;tag`, `;expires=NOW;tag`), false},
		"an unknown one":      {without(`;tag`, `;context="x";tag`), false},
		"tag twice":           {without(`;tag`, `;tag="sealpost-device";tag`), false},
		"digest not covered":  {resign(componentsBare, params), false},
		"another order":       {resign([]string{"@target-uri", "@method", "content-digest"}, params), false},
		"one more component":  {resign([]string{"@method", "@target-uri", "content-digest", "content-type"}, params), false},

		"key revoked": {func(w *world, _ *http.Request) {
			d := w.devices[w.device.Public().ID()]
			d.Revoked = 9
			w.devices[w.device.Public().ID()] = d
		}, false},
		"key unknown": {func(w *world, _ *http.Request) { delete(w.devices, w.device.Public().ID()) }, false},
		"key of another": {func(w *world, _ *http.Request) {
			d := w.devices[w.device.Public().ID()]
			d.Key = newKey(w.t, sealpost.EdDSA).Public()
			w.devices[w.device.Public().ID()] = d
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.signed("POST", receiptsTarget, MediaJSON, receiptsBody)
			c.spoil(w, r)
			if r.Method == "PUT" { // the mux knows no such route: ask behind it
				claim, ok := readDeviceClaim(r.Header, true)
				if !ok || claim.verify(w.device.Public(), r, "https://relay.example"+r.RequestURI, receiptsBody) {
					t.Error("the method is not covered")
				}
				return
			}
			rec := w.do(r)
			if c.ok {
				if method, caller, _ := w.last(); rec.Code != 200 || method != "PostReceipts" || caller.Device != w.device.Public().ID() {
					t.Fatalf("%d %s", rec.Code, rec.Body)
				}
				return
			}
			if p := problemOf(t, rec); !p.Is(ErrUnauthenticated) || p.Detail != "" {
				t.Errorf("%+v", p)
			}
			if w.calls() != 0 {
				t.Error("a room was asked")
			}
			if len(w.nonces) != 0 {
				t.Error("a nonce that nobody signed is remembered")
			}
		})
	}
}

func setBody(r *http.Request, b []byte) {
	again := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(b))
	r.Body, r.ContentLength = again.Body, again.ContentLength
}

// R44: a request that is sent again, byte for byte, is refused.
func TestDeviceReplay(t *testing.T) {
	w := newWorld(t)
	r := w.signed("POST", receiptsTarget, MediaJSON, receiptsBody)
	if rec := w.do(r); rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	setBody(r, receiptsBody)
	if p := problemOf(t, w.do(r)); !p.Is(ErrReplayed) || w.calls() != 1 {
		t.Errorf("%s after %d calls", p.Type, w.calls())
	}
	for _, until := range w.nonces {
		if until <= sealpost.FromTime(now.Add(SignatureWindow)) {
			t.Error("the nonce is forgotten while the request is still within the window")
		}
	}
}

// A P-256 key, as hardware has it, signs requests too.
func TestES256Device(t *testing.T) {
	w := newWorld(t)
	w.device = newKey(t, sealpost.ES256)
	w.enrol(w.device)
	r := w.signed("GET", "/v1/device/messages?after=3", "", nil)
	if !strings.Contains(r.Header.Get(headerInput), `alg="ecdsa-p256-sha256"`) {
		t.Error(r.Header.Get(headerInput))
	}
	if rec := w.do(r); rec.Code != 200 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// A device's key opens no sender's route, and an API key no device's.
func TestFacesAreKeptApart(t *testing.T) {
	w := newWorld(t)
	for _, rt := range routes {
		var r *http.Request
		switch rt.who {
		case sender:
			r = w.signed(rt.method, concrete(rt.path), MediaJSON, nil)
		case device, presenter:
			r = w.request(rt.method, concrete(rt.path), MediaJSON, nil)
		default:
			continue
		}
		if p := problemOf(t, w.do(r)); !p.Is(ErrUnauthenticated) {
			t.Errorf("%s %s: %s", rt.method, rt.path, p.Type)
		}
	}
}

// A key that is not in force yet is told "not found" where it may wait for its
// key event, and so is a wrong signature there: nobody learns who is enrolled.
func TestWaitingForEnrolment(t *testing.T) {
	w := newWorld(t)
	honest := w.device
	w.device = newKey(t, sealpost.EdDSA)
	unknown := w.do(w.signed("GET", "/v1/device/enrolment", "", nil))
	w.device = honest
	r := w.signed("GET", "/v1/device/enrolment", "", nil)
	r.Header.Set(headerSignature, formatSigValue("sealpost", make([]byte, 64)))
	wrong := w.do(r)
	if unknown.Code != 404 || wrong.Code != 404 || unknown.Body.String() != wrong.Body.String() {
		t.Errorf("%d %s, %d %s", unknown.Code, unknown.Body, wrong.Code, wrong.Body)
	}
	if rec := w.do(w.signed("GET", "/v1/device/enrolment", "", nil)); rec.Code != 200 {
		t.Errorf("in force: %d", rec.Code)
	}
}

// An answer to an invitation is signed by the key that it presents, and by no
// other.
func TestAnswerIsSignedByItsKey(t *testing.T) {
	body := func(k *sealpost.PrivateKey) []byte {
		b, err := sealpost.Encode(someAnswer(k))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	w := newWorld(t)
	w.device = newKey(t, sealpost.EdDSA) // nobody knows it yet
	if rec := w.do(w.signed("POST", "/v1/device/enrolments", MediaCBOR, body(w.device))); rec.Code != http.StatusNoContent {
		t.Fatalf("honest: %d %s", rec.Code, rec.Body)
	}
	if len(w.nonces) != 0 {
		t.Error("a stranger's nonce is remembered")
	}
	other := newKey(t, sealpost.EdDSA)
	if p := problemOf(t, w.do(w.signed("POST", "/v1/device/enrolments", MediaCBOR, body(other)))); !p.Is(ErrUnauthenticated) || w.calls() != 1 {
		t.Errorf("another's key: %s", p.Type)
	}
	spoiled := someAnswer(w.device)
	spoiled.Key = Bytes("no key")
	b, _ := sealpost.Encode(spoiled)
	if p := problemOf(t, w.do(w.signed("POST", "/v1/device/enrolments", MediaCBOR, b))); !p.Is(ErrUnauthenticated) {
		t.Errorf("no key: %s", p.Type)
	}
}

// Without a BaseURL only what was signed for a loopback host passes, so that
// another server cannot hand on a request that was signed for it.
func TestTargetWithoutBaseURL(t *testing.T) {
	for host, ok := range map[string]bool{"127.0.0.1:80": true, "localhost": true, "[::1]:8080": true, "relay.example": false, "evil.example:443": false, "": false} {
		w := newWorldAt(t, "")
		r := httptest.NewRequest("GET", "/v1/device/messages", nil)
		r.URL.Scheme, r.URL.Host = "http", host
		if err := signDevice(r, nil, w.device, now, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.URL.Scheme, r.URL.Host, r.RequestURI = "", "", "/v1/device/messages"
		if rec := w.do(r); (rec.Code == 200) != ok {
			t.Errorf("host %q: %d", host, rec.Code)
		}
	}
}

func TestGateFaultsAreNotRefusals(t *testing.T) {
	if err := refusedByGate(errors.New("store is gone")); ProblemOf(err) != ErrInternal {
		t.Error(err)
	}
	if err := refusedByGate(ErrUnavailable.With("x")); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	for _, err := range []error{sealpost.ErrNotFound, ErrNotFound, ErrRevokedKey, ErrUnauthenticated.With("why")} {
		if p := ProblemOf(refusedByGate(err)); p != ErrUnauthenticated {
			t.Errorf("%v: %+v", err, p)
		}
	}
}

func FuzzSigInput(f *testing.F) {
	f.Add(`sealpost=("@method" "@target-uri");created=1;nonce="AA==";keyid="00";alg="ed25519";tag="sealpost-device"`)
	f.Add(`a=("x")`)
	f.Add(`*=("x");a=0;b=999999999999999`)
	f.Fuzz(func(t *testing.T, s string) {
		in, ok := parseSigInput(s)
		if !ok {
			return
		}
		// What is accepted is its own canonical form: rebuilt from its parts, in
		// the order in which they stand, it is the same text.
		var b strings.Builder
		fmt.Fprintf(&b, `%s=("%s")`, in.label, strings.Join(in.components, `" "`))
		rest := s[b.Len():]
		if !strings.HasPrefix(s, b.String()) || len(rest) > 0 && rest[0] != ';' {
			t.Fatalf("%q begins as %q", s, b.String())
		}
		length := 0
		for k, v := range in.strings {
			length += len(k) + len(v) + len(`;=""`)
		}
		for k, v := range in.integers {
			length += len(k) + len(fmt.Sprint(v)) + len(`;=`)
		}
		if length != len(rest) {
			t.Errorf("%q: parameters of %d bytes were read from %d", s, length, len(rest))
		}
	})
}

func FuzzSigValue(f *testing.F) {
	f.Add("sealpost=:AAAA:")
	f.Add("sealpost=:AA\r\nAA:")
	f.Add("sha-256=:" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ":")
	f.Fuzz(func(t *testing.T, s string) {
		if label, value, ok := parseSigValue(s); ok && formatSigValue(label, value) != s {
			t.Errorf("%q is accepted and is written %q", s, formatSigValue(label, value))
		}
	})
}

// Each header has one spelling.
func TestHeadersHaveOneSpelling(t *testing.T) {
	for header, ok := range map[string]bool{
		`a=("x")`:                    true,
		`a=("x" "y");b=1;c="d"`:      true,
		`a=("x");b=0`:                true,
		`a=("x");b=01`:               false,
		`a=("x");b=-1`:               false,
		`a=("x");b=1.0`:              false,
		`a=("x");b=`:                 false,
		`a=("x");b`:                  false,
		`a=("x"); b=1`:               false,
		`a=("x");b=1;b=2`:            false,
		`a=("x");b="1";b="2"`:        false,
		`a=("x");b=1;b="2"`:          false,
		`a=("x");b=?1`:               false,
		`a=("x");b=:AA==:`:           false,
		`a=("x");b="\""`:             false,
		"a=(\"x\");b=\"\x7f\"":       false,
		"a=(\"x\");b=\"\u00fc\"":     false,
		`a=("x" )`:                   false,
		`a=( "x")`:                   false,
		`a=("x""y")`:                 false,
		`a=("x";sf)`:                 false,
		`a=()`:                       false,
		`a=(x)`:                      false,
		`a=("x"`:                     false,
		`a=("x"),b=("y")`:            false,
		`A=("x")`:                    false,
		`=("x")`:                     false,
		` a=("x")`:                   false,
		`a=("x") `:                   false,
		``:                           false,
		`a=("x");b=9999999999999999`: false,
		`a=(` + strings.Repeat(`"x" `, 16) + `"x")`:       false,
		`a=("x");a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1`:     false,
		`a=("` + strings.Repeat("x", sigHeaderMax) + `")`: false,
	} {
		if _, got := parseSigInput(header); got != ok {
			t.Errorf("Signature-Input %q: %v", header, got)
		}
	}
	for header, ok := range map[string]bool{
		"a=:AAAA:": true, "a=:AA==:": true, "a=::": true,
		"a=:AA=:": false, "a=:AB==:": false, "a=:AA:": false, "a=:AA\n==:": false, "a=:AA\r==:": false, "a=AAAA": false, "a=:": false,
		"a=:AAAA:;b": false, "a=:AAAA:,b=:AAAA:": false, "a=:A_-A:": false, "A=:AAAA:": false, ":AAAA:": false,
		"a=:" + strings.Repeat("A", sigHeaderMax) + ":": false,
	} {
		if _, _, got := parseSigValue(header); got != ok {
			t.Errorf("Signature %q: %v", header, got)
		}
	}
}

// The key id that a signature names is that of the key which made it.
func TestKeyIDIsTheKeys(t *testing.T) {
	k, other := newKey(t, sealpost.EdDSA), newKey(t, sealpost.EdDSA)
	r := httptest.NewRequest("GET", "https://relay.example/x", nil)
	for name, c := range map[string]struct {
		named *sealpost.PrivateKey
		ok    bool
	}{"its own": {k, true}, "another": {other, false}} {
		if err := signDevice(r, nil, misnamed{k, c.named.Public()}, now, rand.Reader); err != nil {
			t.Fatal(err)
		}
		claim, ok := readDeviceClaim(r.Header, false)
		if !ok || claim.verify(k.Public(), r, "https://relay.example/x", nil) != c.ok {
			t.Errorf("%s: want %v", name, c.ok)
		}
	}
}

// misnamed signs with one key and shows another.
type misnamed struct {
	*sealpost.PrivateKey
	shown sealpost.PublicKey
}

func (m misnamed) Public() sealpost.PublicKey { return m.shown }
