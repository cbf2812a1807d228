package fcm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

const userAgent = "sealpost"

// BaseURL is the vendor's host.
const BaseURL = "https://fcm.googleapis.com"

// Defaults and bounds of [Config].
const (
	ConnectionsDefault = 2
	ConnectionsMax     = 16
	StreamsPerConn     = 100 // the vendor's limit of concurrent requests on one connection
	TimeoutDefault     = 10 * time.Second
	PerSecondDefault   = 10_000 // 600,000 a minute and project
	answerMax          = 64 << 10
	dialTimeout        = 5 * time.Second
	idleTimeout        = 10 * time.Minute
	pingAfter          = 15 * time.Second
	pingTimeout        = 5 * time.Second
	retryBase          = 10 * time.Second
)

// Config is what the adapter needs to know.
type Config struct {
	// Account is the service account; see [ParseAccount]. Required.
	Account Account
	// Now is the clock. Required.
	Now func() time.Time
	// BaseURL is where to send. Default BaseURL; http only on a loopback address.
	BaseURL string
	// Roots, if set, are the only roots trusted for TLS.
	Roots *x509.CertPool
	// Connections is how many HTTP/2 connections are kept. Default ConnectionsDefault.
	Connections int
	// Timeout bounds one send. Default TimeoutDefault.
	Timeout time.Duration
	// PerSecond is the rate the project's quota allows. Default PerSecondDefault.
	PerSecond float64
}

// Carrier is the adapter. It implements [dispatch.Carrier].
type Carrier struct {
	cfg    Config
	send   *url.URL
	tokens tokens
	conns  []*http.Transport
	turn   atomic.Uint64
}

// New checks the set-up. It opens no connection.
func New(cfg Config) (*Carrier, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = BaseURL
	}
	if cfg.Connections == 0 {
		cfg.Connections = ConnectionsDefault
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = TimeoutDefault
	}
	if cfg.PerSecond == 0 {
		cfg.PerSecond = PerSecondDefault
	}
	base, err := endpointURL(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("set up fcm: base URL: %w", err)
	}
	if cfg.Account.sign == nil || cfg.Now == nil {
		return nil, errors.New("set up fcm: want an account and a clock")
	}
	if cfg.Connections < 0 || cfg.Connections > ConnectionsMax || cfg.Timeout < 0 || cfg.PerSecond < 0 {
		return nil, fmt.Errorf("set up fcm: connections: want 1 to %d; timeout, rate: want positive", ConnectionsMax)
	}
	if base.Path == "" {
		base.Path = "/" // JoinPath keeps a relative path relative
	}
	c := &Carrier{
		cfg:    cfg,
		send:   base.JoinPath("v1", "projects", cfg.Account.project, "messages:send"),
		tokens: tokens{account: cfg.Account, now: cfg.Now, trip: tokenTransport(cfg.Roots)},
	}
	if base.Scheme == "http" {
		c.conns = []*http.Transport{plainTransport(cfg.Connections * StreamsPerConn)}
		return c, nil
	}
	for range cfg.Connections {
		c.conns = append(c.conns, http2Transport(cfg.Roots))
	}
	return c, nil
}

// http2Transport keeps one HTTP/2 connection. Both limits are needed: left to itself,
// a cold net/http client opens one connection per waiting request.
func http2Transport(roots *x509.CertPool) *http.Transport {
	only2 := new(http.Protocols)
	only2.SetHTTP2(true)
	return &http.Transport{
		DialContext:        (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Protocols:          only2,
		MaxConnsPerHost:    1,
		IdleConnTimeout:    idleTimeout,
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			StrictMaxConcurrentRequests: true,
			SendPingTimeout:             pingAfter,
			PingTimeout:                 pingTimeout,
		},
	}
}

// plainTransport is HTTP/1.1 for a server on a loopback address.
func plainTransport(conns int) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxConnsPerHost:     conns,
		MaxIdleConnsPerHost: conns,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
	}
}

// tokenTransport is for one request an hour, to another host.
func tokenTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:       (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
}

// Traits implements [dispatch.Carrier].
func (c *Carrier) Traits() dispatch.Traits {
	return dispatch.Traits{
		Carrier:   sealpost.FCM,
		Retry:     dispatch.Schedule{Base: retryBase, Cap: dispatch.InteractiveCap, Attempts: dispatch.AttemptsDefault},
		Timeout:   c.cfg.Timeout,
		InFlight:  c.cfg.Connections * StreamsPerConn,
		PerSecond: c.cfg.PerSecond,
		Burst:     max(int(c.cfg.PerSecond/10), 1),
	}
}

// Format hides connections and tokens.
func (*Carrier) Format(s fmt.State, _ rune) { io.WriteString(s, "[fcm carrier]") }

// LogValue hides the carrier from slog.
func (*Carrier) LogValue() slog.Value { return slog.StringValue("[fcm carrier]") }

// Close closes idle connections. Sends under way end undisturbed.
func (c *Carrier) Close() {
	for _, t := range c.conns {
		t.CloseIdleConnections()
	}
}

// Send implements [dispatch.Carrier]. One attempt is one accepted or refused
// request; a request refused for a stale token was none, and is repeated once.
func (c *Carrier) Send(ctx context.Context, to sealpost.Endpoint, what sealpost.Sealed, until time.Time) dispatch.Result {
	name, ok := field(to)
	if !ok {
		return dispatch.Result{Outcome: sealpost.Unreachable, Code: CodeTargetRefused}
	}
	if what.IsZero() {
		return dispatch.Result{Outcome: sealpost.Invalid, Code: "NOTHING_SEALED"}
	}
	request := body(name, to.Reveal(), what, until.Sub(c.cfg.Now()))
	result, stale := c.try(ctx, request)
	if stale {
		result, _ = c.try(ctx, request)
	}
	return result
}

// try posts the request once. stale says that the vendor refused the token.
func (c *Carrier) try(ctx context.Context, request []byte) (r dispatch.Result, stale bool) {
	token, err := c.tokens.get(ctx)
	if err != nil {
		return tokenFailure(err).result, false
	}
	resp, sent, err := c.post(ctx, token, request)
	if err != nil {
		return lost(ctx, sent, err), false
	}
	defer resp.Body.Close()
	buf := answers.Get().(*bytes.Buffer)
	defer answers.Put(buf)
	buf.Reset()
	if err = readAtMost(buf, resp.Body, answerMax); err != nil && resp.StatusCode == http.StatusOK {
		return dispatch.Result{Outcome: sealpost.Ambiguous, Code: CodeCutOff}, false
	}
	r = classify(resp.StatusCode, resp.Header, buf.Bytes(), c.cfg.Now())
	if r.Code == "UNAUTHENTICATED" {
		c.tokens.discard(token)
		return r, true
	}
	return r, false
}

// answers holds buffers for answers, bounded by answerMax each.
var answers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

var errTooLong = errors.New("the answer is too long")

// readAtMost reads a body and stops a byte after limit.
func readAtMost(into *bytes.Buffer, body io.Reader, limit int64) error {
	n, err := into.ReadFrom(io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		return errTooLong
	}
	return err
}

// post sends one request. sent reports whether any of its body can have left.
func (c *Carrier) post(ctx context.Context, token *bearer, request []byte) (resp *http.Response, sent bool, err error) {
	out := &outgoing{}
	out.Reset(request)
	req := (&http.Request{
		Method: http.MethodPost, URL: c.send, Host: c.send.Host, Header: token.header(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(request)), Body: out,
		GetBody: func() (io.ReadCloser, error) {
			again := &outgoing{first: out}
			again.Reset(request)
			return again, nil
		},
	}).WithContext(ctx)
	resp, err = c.conns[c.turn.Add(1)%uint64(len(c.conns))].RoundTrip(req)
	return resp, out.left.Load(), err
}

// outgoing is a request body that knows whether it was read: as long as it was not,
// the vendor cannot have the message.
type outgoing struct {
	bytes.Reader
	left  atomic.Bool
	first *outgoing // where a repetition by the transport leaves its mark
}

func (o *outgoing) Read(p []byte) (int, error) {
	o.mark()
	return o.Reader.Read(p)
}

// WriteTo keeps io.Copy from going round the mark.
func (o *outgoing) WriteTo(w io.Writer) (int64, error) {
	o.mark()
	return o.Reader.WriteTo(w)
}

func (o *outgoing) mark() {
	o.left.Store(true)
	if o.first != nil {
		o.first.left.Store(true)
	}
}

func (o *outgoing) Close() error { return nil }

// lost judges a request that brought no answer.
func lost(ctx context.Context, sent bool, err error) dispatch.Result {
	if isUntrusted(err) {
		return dispatch.Result{Outcome: sealpost.ConfigFault, Code: CodeUntrusted}
	}
	r := dispatch.Result{Outcome: sealpost.Transient, Code: CodeNotConnected}
	if sent {
		r = dispatch.Result{Outcome: sealpost.Ambiguous, Code: CodeConnectionLost}
	}
	if ctx.Err() != nil {
		r.Code = CodeTimeout
	}
	return r
}

// isUntrusted reports whether the server's certificate was refused.
func isUntrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
