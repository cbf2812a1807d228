package fcm_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/dispatchtest"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/lab"
)

var protocols = map[string]bool{"http1": false, "http2": true}

// The contract every carrier keeps, over both protocols.
func TestContract(t *testing.T) {
	for name, secure := range protocols {
		t.Run(name, func(t *testing.T) {
			dispatchtest.Carrier(t, func(t *testing.T) dispatchtest.Rig {
				r := newRig(t, secure)
				gone, err := r.server.Register(lab.Registration{})
				if err == nil {
					err = r.server.Unregister(gone.FID)
				}
				if err != nil {
					t.Fatal(err)
				}
				faults := map[dispatchtest.Fault]lab.Fault{
					dispatchtest.Throttle: {Kind: lab.FaultStatus, Status: 429, Code: "QUOTA_EXCEEDED", RetryAfter: dispatchtest.RetryWish},
					dispatchtest.Outage:   {Kind: lab.FaultStatus, Status: 503, Code: "UNAVAILABLE"},
					dispatchtest.Lost:     {Kind: lab.FaultLost},
					dispatchtest.Garbage:  {Kind: lab.FaultGarbage},
					dispatchtest.Hang:     {Kind: lab.FaultDelay, Delay: 10 * time.Second},
				}
				return dispatchtest.Rig{
					Carrier: r.carrier, Good: byToken(t, r.device.Token), Gone: byToken(t, gone.Token),
					Foreign: endpoint(t, sealpost.APNs, sealpost.EndpointFCMToken, "deadbeef4711"),
					Fault: func(f dispatchtest.Fault) {
						fault := faults[f]
						fault.Path = "messages:send"
						r.server.Script(fault)
					},
					Taken: func() int { return len(r.pushes(t)) },
					Seen: func(s string) bool {
						_, found := r.server.Journal().Find([]byte(s))
						return found
					},
				}
			})
		})
	}
}

// R52: HTTP v1, OAuth, data-only and HIGH priority, at most 4,096 bytes of data,
// a ticket beyond.
func TestMessageOnTheWire(t *testing.T) {
	r := newRig(t, true)
	now := r.clock.Now()
	largest := largestInline(t, now)
	for name, c := range map[string]struct {
		to     sealpost.Endpoint
		field  string
		what   sealpost.Sealed
		ticket bool
		life   time.Duration
		ttl    string
	}{
		"token":            {byToken(t, r.device.Token), "token", dispatchtest.Sealed(t, 900, now, now.Add(time.Hour)), false, time.Minute, "60s"},
		"fid":              {byFID(t, r.device.FID), "fid", dispatchtest.Sealed(t, 900, now, now.Add(time.Hour)), false, 90*time.Second + 999*time.Millisecond, "90s"},
		"just fits":        {byToken(t, r.device.Token), "token", largest, false, time.Hour, "3600s"},
		"one byte more":    {byToken(t, r.device.Token), "token", dispatchtest.Sealed(t, len(largest.Blob())+1, now, now.Add(time.Hour)), true, time.Hour, "3600s"},
		"much too large":   {byToken(t, r.device.Token), "token", dispatchtest.Sealed(t, 60_000, now, now.Add(time.Hour)), true, time.Hour, "3600s"},
		"longer than kept": {byToken(t, r.device.Token), "token", dispatchtest.Sealed(t, 900, now, now.Add(time.Hour)), false, 60 * 24 * time.Hour, "2419200s"},
		"now or never":     {byToken(t, r.device.Token), "token", dispatchtest.Sealed(t, 900, now, now.Add(time.Hour)), false, 500 * time.Millisecond, "0s"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.carrier.Send(t.Context(), c.to, c.what, now.Add(c.life)); got.Outcome != sealpost.Accepted {
				t.Fatalf("%v %s", got.Outcome, got.Code)
			}
			entries := r.server.Journal().Entries()
			e := entries[len(entries)-1]
			if e.Proto != "HTTP/2.0" {
				t.Errorf("protocol %s", e.Proto)
			}
			payload, key := c.what.Bytes(), fcm.KeySealed
			if c.ticket {
				payload, key = c.what.Ticket(), fcm.KeyTicket
			}
			want := map[string]any{"message": map[string]any{
				c.field:   c.to.Reveal(),
				"data":    map[string]any{key: base64.RawURLEncoding.EncodeToString(payload)},
				"android": map[string]any{"priority": "HIGH", "ttl": c.ttl},
			}}
			var got map[string]any
			if err := json.Unmarshal(e.Body, &got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("sent %s", e.Body)
			}
		})
	}
}

// largestInline makes a message that fills the vendor's limit exactly.
func largestInline(t *testing.T, now time.Time) sealpost.Sealed {
	t.Helper()
	probe := dispatchtest.Sealed(t, 2000, now, now.Add(time.Hour))
	largest := dispatchtest.Sealed(t, 2000+fcm.InlineMax-len(probe.Bytes()), now, now.Add(time.Hour))
	if len(largest.Bytes()) != fcm.InlineMax {
		t.Fatalf("the largest message has %d bytes, want %d", len(largest.Bytes()), fcm.InlineMax)
	}
	return largest
}

// Every row of the vendor's error table, and what stands beside it.
func TestErrorTable(t *testing.T) {
	r := newRig(t, false)
	now := r.clock.Now()
	foreign, err := r.server.Register(lab.Registration{Foreign: true})
	if err != nil {
		t.Fatal(err)
	}
	status := func(code int, vendor string) lab.Fault {
		return lab.Fault{Kind: lab.FaultStatus, Status: code, Code: vendor}
	}
	after := func(f lab.Fault, d time.Duration, date bool) lab.Fault {
		f.RetryAfter, f.Date = d, date
		return f
	}
	good := byToken(t, r.device.Token)
	unknown := "d" + r.device.Token[1:len(r.device.Token)-1] + "_"
	for name, c := range map[string]struct {
		to    sealpost.Endpoint
		fault lab.Fault
		want  dispatch.Result
	}{
		"200":                        {good, lab.Fault{}, dispatch.Result{Outcome: sealpost.Accepted, Code: "OK"}},
		"400 malformed token":        {byToken(t, "not-a-token"), lab.Fault{}, dispatch.Result{Outcome: sealpost.Unreachable, Code: "INVALID_TARGET"}},
		"400 token as fid":           {byFID(t, r.device.Token), lab.Fault{}, dispatch.Result{Outcome: sealpost.Unreachable, Code: "INVALID_TARGET"}},
		"fid as token":               {byToken(t, r.device.FID), lab.Fault{}, dispatch.Result{Outcome: sealpost.Accepted, Code: "OK"}},
		"400 no FcmError":            {good, status(400, ""), dispatch.Result{Outcome: sealpost.Invalid, Code: "INVALID_ARGUMENT"}},
		"401 third party":            {good, status(401, "THIRD_PARTY_AUTH_ERROR"), dispatch.Result{Outcome: sealpost.ConfigFault, Code: "THIRD_PARTY_AUTH_ERROR"}},
		"403 other sender":           {byToken(t, foreign.Token), lab.Fault{}, dispatch.Result{Outcome: sealpost.EndpointGone, Code: "SENDER_ID_MISMATCH"}},
		"403 permission":             {good, status(403, ""), dispatch.Result{Outcome: sealpost.ConfigFault, Code: "PERMISSION_DENIED"}},
		"404 unregistered":           {byToken(t, unknown), lab.Fault{}, dispatch.Result{Outcome: sealpost.EndpointGone, Code: "UNREGISTERED"}},
		"404 other":                  {good, status(404, ""), dispatch.Result{Outcome: sealpost.ConfigFault, Code: "NOT_FOUND"}},
		"429":                        {good, status(429, "QUOTA_EXCEEDED"), dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: time.Minute}},
		"429 seconds":                {good, after(status(429, "QUOTA_EXCEEDED"), 7*time.Second, false), dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: 7 * time.Second}},
		"429 date":                   {good, after(status(429, "QUOTA_EXCEEDED"), 7*time.Second, true), dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: 7 * time.Second}},
		"500":                        {good, status(500, "INTERNAL"), dispatch.Result{Outcome: sealpost.Transient, Code: "INTERNAL", RetryAfter: 10 * time.Second}},
		"503":                        {good, status(503, "UNAVAILABLE"), dispatch.Result{Outcome: sealpost.Transient, Code: "UNAVAILABLE", RetryAfter: 10 * time.Second}},
		"503 seconds":                {good, after(status(503, "UNAVAILABLE"), 35*time.Second, false), dispatch.Result{Outcome: sealpost.Transient, Code: "UNAVAILABLE", RetryAfter: 35 * time.Second}},
		"503 date":                   {good, after(status(503, "UNAVAILABLE"), 35*time.Second, true), dispatch.Result{Outcome: sealpost.Transient, Code: "UNAVAILABLE", RetryAfter: 35 * time.Second}},
		"302 somebody in between":    {good, status(302, ""), dispatch.Result{Outcome: sealpost.ConfigFault, Code: "HTTP_302"}},
		"418 undocumented":           {good, status(418, "I_AM_A_TEAPOT"), dispatch.Result{Outcome: sealpost.Invalid, Code: "HTTP_418"}},
		"502 gateway":                {good, status(502, ""), dispatch.Result{Outcome: sealpost.Ambiguous, Code: "HTTP_502"}},
		"504 gateway":                {good, status(504, ""), dispatch.Result{Outcome: sealpost.Ambiguous, Code: "HTTP_504"}},
		"500 with an unknown detail": {good, status(500, "SECRET_TOKEN_abc"), dispatch.Result{Outcome: sealpost.Transient, Code: "INTERNAL", RetryAfter: 10 * time.Second}},
		"connection reset":           {good, lab.Fault{Kind: lab.FaultReset}, dispatch.Result{Outcome: sealpost.Ambiguous, Code: "CONNECTION_LOST"}},
		"lost answer":                {good, lab.Fault{Kind: lab.FaultLost}, dispatch.Result{Outcome: sealpost.Ambiguous, Code: "CONNECTION_LOST"}},
		"truncated":                  {good, lab.Fault{Kind: lab.FaultTruncate}, dispatch.Result{Outcome: sealpost.Ambiguous, Code: "ANSWER_CUT_OFF"}},
		"garbage":                    {good, lab.Fault{Kind: lab.FaultGarbage}, dispatch.Result{Outcome: sealpost.Ambiguous, Code: "GARBLED_ANSWER"}},
		"flood":                      {good, lab.Fault{Kind: lab.FaultFlood}, dispatch.Result{Outcome: sealpost.Ambiguous, Code: "ANSWER_CUT_OFF"}},
		"slow body":                  {good, lab.Fault{Kind: lab.FaultSlow, Delay: 20 * time.Millisecond}, dispatch.Result{Outcome: sealpost.Accepted, Code: "OK"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.fault.Kind != "" {
				c.fault.Path = "messages:send"
				r.server.Script(c.fault)
			}
			got := r.carrier.Send(t.Context(), c.to, dispatchtest.Sealed(t, 700, now, now.Add(time.Hour)), now.Add(time.Hour))
			if got != c.want {
				t.Errorf("got %v %s %v, want %v %s %v", got.Outcome, got.Code, got.RetryAfter, c.want.Outcome, c.want.Code, c.want.RetryAfter)
			}
		})
	}
}

// A body that trickles in is cut off with the attempt's context: the message may
// have been taken.
func TestSlowBodyIsBounded(t *testing.T) {
	r := newRig(t, false)
	now := r.clock.Now()
	what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
	good := byToken(t, r.device.Token)
	if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
		t.Fatalf("honest send: %v %s", got.Outcome, got.Code)
	}
	r.server.Script(lab.Fault{Kind: lab.FaultSlow, Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := r.carrier.Send(ctx, good, what, now.Add(time.Hour)); got.Outcome != sealpost.Ambiguous {
		t.Errorf("%v %s", got.Outcome, got.Code)
	}
}

// Where nobody listens the message was certainly not sent; where the certificate is
// not trusted the set-up is at fault. Neither may be called ambiguous.
func TestNotConnected(t *testing.T) {
	now := time.Now()
	what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
	t.Run("nobody listens to tokens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		account, err := lab.ServiceAccount("bank-push", "http://"+l.Addr().String()+"/token")
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := fcm.ParseAccount(account.JSON)
		if err != nil {
			t.Fatal(err)
		}
		c, err := fcm.New(fcm.Config{Account: parsed, Now: time.Now, BaseURL: "http://" + l.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		want := dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeOAuthUnavailable}
		if got := c.Send(t.Context(), byToken(t, "x"), what, now.Add(time.Hour)); got != want {
			t.Errorf("%v %s", got.Outcome, got.Code)
		}
	})
	t.Run("nobody listens to sends", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		r := newRig(t, false, func(_ *lab.FCMConfig, c *fcm.Config) { c.BaseURL = "http://" + l.Addr().String() })
		want := dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeNotConnected}
		if got := r.carrier.Send(t.Context(), byToken(t, "x"), what, now.Add(time.Hour)); got != want {
			t.Errorf("%v %s", got.Outcome, got.Code)
		}
	})
	t.Run("certificate of a stranger", func(t *testing.T) {
		_, others, err := lab.LoopbackTLS(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, true, func(_ *lab.FCMConfig, c *fcm.Config) { c.Roots = others })
		want := dispatch.Result{Outcome: sealpost.ConfigFault, Code: fcm.CodeUntrusted}
		if got := r.carrier.Send(t.Context(), byToken(t, "x"), what, now.Add(time.Hour)); got != want || len(r.server.Journal().Entries()) != 0 {
			t.Errorf("token: %v %s", got.Outcome, got.Code)
		}
		mixed := newRig(t, false, func(_ *lab.FCMConfig, c *fcm.Config) { c.BaseURL, c.Roots = r.base, others })
		if got := mixed.carrier.Send(t.Context(), byToken(t, "x"), what, now.Add(time.Hour)); got != want || r.sends() != 0 {
			t.Errorf("send: %v %s", got.Outcome, got.Code)
		}
	})
}

// A token is fetched once for many senders, renewed at 80 % of its life while it is
// still good, and replaced at once when the vendor refuses it.
func TestToken(t *testing.T) {
	r := newRig(t, false)
	now := r.clock.Now()
	what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
	good := byToken(t, r.device.Token)
	send := func() {
		t.Helper()
		if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
			t.Fatalf("%v %s", got.Outcome, got.Code)
		}
	}
	issued := func(want int) {
		t.Helper()
		for limit := time.Now().Add(5 * time.Second); r.server.TokensIssued() != want; { // the renewal runs beside the send
			if time.Now().After(limit) {
				t.Fatalf("%d tokens issued, want %d", r.server.TokensIssued(), want)
			}
		}
	}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() { r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)) })
	}
	all.Wait()
	issued(1)
	r.clock.Advance(2870 * time.Second) // 79.7 % of 3599 s
	send()
	issued(1)
	r.clock.Advance(20 * time.Second) // 80.3 %: the renewal takes its time, the send does not wait for it
	r.server.Script(lab.Fault{Kind: lab.FaultDelay, Delay: time.Second, Path: "/token"})
	began := time.Now()
	send()
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("a send waited %v for a renewal", took)
	}
	issued(2)
	r.clock.Advance(710 * time.Second) // the first token is dead, the second in use
	send()
	issued(2)
	r.server.RevokeTokens()
	before := r.sends()
	send()
	issued(3)
	if n := r.sends() - before; n != 2 {
		t.Errorf("%d requests for a send with a stale token, want the refused one and its repetition", n)
	}
	// Refused for ever: once repeated, then reported.
	r.server.Script(lab.Fault{Kind: lab.FaultStatus, Status: 401, Path: "messages:send", Times: 2})
	got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour))
	if want := (dispatch.Result{Outcome: sealpost.ConfigFault, Code: "UNAUTHENTICATED"}); got != want {
		t.Errorf("%v %s", got.Outcome, got.Code)
	}
}

// What a failing token endpoint makes of an attempt: nothing was sent.
func TestTokenEndpointFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault lab.Fault
		want  dispatch.Result
	}{
		"refused":   {lab.Fault{Kind: lab.FaultStatus, Status: 400}, dispatch.Result{Outcome: sealpost.ConfigFault, Code: fcm.CodeOAuthRefused}},
		"down":      {lab.Fault{Kind: lab.FaultStatus, Status: 503}, dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeOAuthUnavailable}},
		"throttled": {lab.Fault{Kind: lab.FaultStatus, Status: 429, RetryAfter: 9 * time.Second}, dispatch.Result{Outcome: sealpost.Throttled, Code: fcm.CodeOAuthThrottled, RetryAfter: 9 * time.Second}},
		"garbage":   {lab.Fault{Kind: lab.FaultGarbage}, dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeOAuthGarbled}},
		"flood":     {lab.Fault{Kind: lab.FaultFlood}, dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeOAuthUnavailable}},
		"reset":     {lab.Fault{Kind: lab.FaultReset}, dispatch.Result{Outcome: sealpost.Transient, Code: fcm.CodeOAuthUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, false)
			now := r.clock.Now()
			what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
			c.fault.Path = "/token"
			r.server.Script(c.fault)
			good := byToken(t, r.device.Token)
			for range 3 { // the failure is remembered for a moment: no storm of exchanges
				if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got != c.want {
					t.Errorf("got %v %s %v", got.Outcome, got.Code, got.RetryAfter)
				}
			}
			if n := len(r.server.Journal().Entries()); n != 1 {
				t.Errorf("%d requests, want the one failed exchange", n)
			}
			r.clock.Advance(10 * time.Second)
			if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
				t.Errorf("afterwards: %v %s", got.Outcome, got.Code)
			}
		})
	}
}

// A cold start with many senders opens as many connections as configured, not one
// for each (the measured trap of net/http with HTTP/2).
func TestColdStartConnections(t *testing.T) {
	for _, conns := range []int{1, 3} {
		r := newRig(t, true, func(_ *lab.FCMConfig, c *fcm.Config) { c.Connections = conns })
		now := r.clock.Now()
		what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
		good := byToken(t, r.device.Token)
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if got := r.carrier.Send(context.Background(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
					t.Errorf("%v %s", got.Outcome, got.Code)
				}
			})
		}
		all.Wait()
		if n := r.conns.count(); n != conns+1 { // and one for the token
			t.Errorf("%d connections, want %d and one for the token", n, conns)
		}
	}
}

// The bucket of the vendor, per minute and project.
func TestQuota(t *testing.T) {
	r := newRig(t, false, func(c *lab.FCMConfig, _ *fcm.Config) { c.PerMinute = 3 })
	now := r.clock.Now()
	what := dispatchtest.Sealed(t, 700, now, now.Add(time.Hour))
	good := byToken(t, r.device.Token)
	r.clock.Advance(0)
	for range 3 {
		if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
			t.Fatalf("%v %s", got.Outcome, got.Code)
		}
	}
	r.clock.Advance(20 * time.Second)
	got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour))
	if want := (dispatch.Result{Outcome: sealpost.Throttled, Code: "QUOTA_EXCEEDED", RetryAfter: 40 * time.Second}); got != want {
		t.Errorf("%v %s %v", got.Outcome, got.Code, got.RetryAfter)
	}
	r.clock.Advance(got.RetryAfter)
	if got := r.carrier.Send(t.Context(), good, what, now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
		t.Errorf("after the wait: %v %s", got.Outcome, got.Code)
	}
}

// Nothing that holds a secret prints it.
func TestSecretsAreUnprintable(t *testing.T) {
	r := newRig(t, false)
	now := r.clock.Now()
	if got := r.carrier.Send(t.Context(), byToken(t, r.device.Token), dispatchtest.Sealed(t, 700, now, now.Add(time.Hour)), now.Add(time.Hour)); got.Outcome != sealpost.Accepted {
		t.Fatalf("%v %s", got.Outcome, got.Code)
	}
	parsed, err := fcm.ParseAccount(r.account.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key string `json:"private_key"`
	}
	if err := json.Unmarshal(r.account.JSON, &file); err != nil {
		t.Fatal(err)
	}
	keyLine := strings.Split(file.Key, "\n")[3]
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "account", parsed, "carrier", r.carrier)
	for _, v := range []any{parsed, &parsed, r.carrier} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, secret := range []string{"ya29.", keyLine, r.device.Token} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%.12s… was printed", secret)
		}
	}
}

func TestParseAccount(t *testing.T) {
	account, err := lab.ServiceAccount("bank-push", "https://oauth2.example/token")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fcm.ParseAccount(account.JSON); err != nil {
		t.Fatalf("honest account: %v", err)
	}
	for name, spoil := range map[string]func(map[string]string){
		"other type":      func(m map[string]string) { m["type"] = "authorized_user" },
		"no project":      func(m map[string]string) { delete(m, "project_id") },
		"path in project": func(m map[string]string) { m["project_id"] = "a/../b" },
		"no mail":         func(m map[string]string) { m["client_email"] = "" },
		"no key id":       func(m map[string]string) { m["private_key_id"] = "" },
		"plain http":      func(m map[string]string) { m["token_uri"] = "http://oauth2.example/token" },
		"no host":         func(m map[string]string) { m["token_uri"] = "https:///token" },
		"no key":          func(m map[string]string) { m["private_key"] = "" },
		"two keys":        func(m map[string]string) { m["private_key"] += m["private_key"] },
		"broken key":      func(m map[string]string) { m["private_key"] = strings.Replace(m["private_key"], "M", "N", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			var m map[string]string
			if err := json.Unmarshal(account.JSON, &m); err != nil {
				t.Fatal(err)
			}
			spoil(m)
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = fcm.ParseAccount(b)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "MII") {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestNewChecks(t *testing.T) {
	account, err := lab.ServiceAccount("bank-push", "https://oauth2.example/token")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := fcm.ParseAccount(account.JSON)
	if err != nil {
		t.Fatal(err)
	}
	honest := fcm.Config{Account: parsed, Now: time.Now}
	if _, err := fcm.New(honest); err != nil {
		t.Fatalf("honest set-up: %v", err)
	}
	for name, spoil := range map[string]func(*fcm.Config){
		"no account":           func(c *fcm.Config) { c.Account = fcm.Account{} },
		"no clock":             func(c *fcm.Config) { c.Now = nil },
		"plain http":           func(c *fcm.Config) { c.BaseURL = "http://fcm.googleapis.com" },
		"loopback in name":     func(c *fcm.Config) { c.BaseURL = "http://127.0.0.1.example" },
		"user in the URL":      func(c *fcm.Config) { c.BaseURL = "https://me@fcm.googleapis.com" },
		"too many connections": func(c *fcm.Config) { c.Connections = fcm.ConnectionsMax + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := honest
			spoil(&c)
			if _, err := fcm.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}
