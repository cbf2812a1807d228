package fcm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// Bounds of the token exchange.
const (
	tokenTimeout   = 10 * time.Second
	tokenAnswerMax = 16 << 10 // bytes
	tokenLifeMin   = 10 * time.Second
	tokenLifeMax   = 24 * time.Hour
	tokenRetryMin  = time.Second // between two failed exchanges
	refreshShare   = 0.8         // of its life, then a token is renewed ahead of time
)

// Codes of a token exchange that brought no token. The message was not sent.
const (
	CodeOAuthRefused     = "OAUTH_REFUSED"
	CodeOAuthThrottled   = "OAUTH_THROTTLED"
	CodeOAuthUnavailable = "OAUTH_UNAVAILABLE"
	CodeOAuthGarbled     = "OAUTH_GARBLED"
	CodeOAuthSlow        = "OAUTH_SLOW" // the attempt's time was up before the exchange was
)

// A bearer is the header of all requests made under one access token. The token
// lives in a closure and cannot be printed.
type bearer struct {
	header       func() http.Header // shared; never modified
	renew, until time.Time
}

// Format hides the token.
func (*bearer) Format(s fmt.State, _ rune) { io.WriteString(s, "[bearer token]") }

// LogValue hides the token from slog.
func (*bearer) LogValue() slog.Value { return slog.StringValue("[bearer token]") }

// A tokenError says what the want of a token makes of an attempt.
type tokenError struct{ result dispatch.Result }

func (e *tokenError) Error() string { return "no access token: " + e.result.Code }

// tokens gets, caches and renews access tokens: at refreshShare of its life a token
// is renewed while the old one is still used, and however many Sends want one at
// once, one exchange runs.
type tokens struct {
	account Account
	trip    http.RoundTripper
	now     func() time.Time

	mu      sync.Mutex
	current *bearer
	flight  chan struct{} // closed when the exchange under way ends; nil if there is none
	failed  *tokenError   // of the last exchange
	next    time.Time     // no exchange before this
}

// get returns a token in force. Its error is a *tokenError.
func (t *tokens) get(ctx context.Context) (*bearer, error) {
	for {
		t.mu.Lock()
		now, b := t.now(), t.current
		usable := b != nil && now.Before(b.until)
		if usable && now.Before(b.renew) {
			t.mu.Unlock()
			return b, nil
		}
		if t.flight == nil && !now.Before(t.next) {
			t.flight = make(chan struct{})
			go t.exchange(context.WithoutCancel(ctx))
		}
		flight, failed := t.flight, t.failed
		t.mu.Unlock()
		switch {
		case usable:
			return b, nil
		case flight == nil:
			return nil, failed // the last exchange failed a moment ago
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, &tokenError{dispatch.Result{Outcome: sealpost.Transient, Code: CodeOAuthSlow}}
		}
	}
}

// discard forgets a token the vendor refused.
func (t *tokens) discard(b *bearer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == b {
		t.current = nil
	}
}

// exchange runs one token exchange and publishes what it brought.
func (t *tokens) exchange(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	b, err := t.request(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		failure := tokenFailure(err)
		t.failed, t.next = failure, t.now().Add(max(failure.result.RetryAfter, tokenRetryMin))
	} else {
		t.current, t.failed, t.next = b, nil, time.Time{}
	}
	close(t.flight)
	t.flight = nil
}

func tokenFailure(err error) *tokenError {
	if e, ok := errors.AsType[*tokenError](err); ok {
		return e
	}
	if isUntrusted(err) {
		return &tokenError{dispatch.Result{Outcome: sealpost.ConfigFault, Code: CodeUntrusted}}
	}
	return &tokenError{dispatch.Result{Outcome: sealpost.Transient, Code: CodeOAuthUnavailable}}
}

// request is RFC 6749 4.5 with the grant of RFC 7523 2.1.
func (t *tokens) request(ctx context.Context) (*bearer, error) {
	asked := t.now()
	jwt, err := t.account.assertion(asked)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {grantType}, "assertion": {jwt}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.account.tokenURL, strings.NewReader(form))
	if err != nil {
		return nil, fmt.Errorf("make a token request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", userAgent)
	resp, err := t.trip.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask for a token: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, t.refusal(resp)
	}
	var body bytes.Buffer
	if err := readAtMost(&body, resp.Body, tokenAnswerMax); err != nil {
		return nil, fmt.Errorf("read the token answer: %w", err)
	}
	return t.parse(asked, body.Bytes())
}

func (t *tokens) refusal(resp *http.Response) *tokenError {
	wait, _ := dispatch.ParseRetryAfter(resp.Header.Get("Retry-After"), t.now())
	r := dispatch.Result{Outcome: sealpost.ConfigFault, Code: CodeOAuthRefused, RetryAfter: wait}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		r.Outcome, r.Code = sealpost.Throttled, CodeOAuthThrottled
	case resp.StatusCode >= 500:
		r.Outcome, r.Code = sealpost.Transient, CodeOAuthUnavailable
	}
	return &tokenError{r}
}

// parse reads RFC 6749 5.1 into a bearer.
func (t *tokens) parse(asked time.Time, body []byte) (*bearer, error) {
	var a struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"` // seconds
		Type    string `json:"token_type"`
	}
	garbled := &tokenError{dispatch.Result{Outcome: sealpost.Transient, Code: CodeOAuthGarbled}}
	if json.Unmarshal(body, &a) != nil {
		return nil, garbled
	}
	if !strings.EqualFold(a.Type, "Bearer") || !isHeaderValue(a.Token) || a.Expires < int64(tokenLifeMin/time.Second) {
		return nil, garbled
	}
	life := time.Duration(min(a.Expires, int64(tokenLifeMax/time.Second))) * time.Second
	header := http.Header{
		"Authorization": {"Bearer " + a.Token},
		"Content-Type":  {"application/json"},
		"User-Agent":    {userAgent},
	}
	return &bearer{
		header: func() http.Header { return header },
		renew:  asked.Add(time.Duration(refreshShare * float64(life))),
		until:  asked.Add(life),
	}, nil
}

// isHeaderValue accepts the b64token alphabet of RFC 6750 2.1.
func isHeaderValue(s string) bool {
	const more = "-._~+/="
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || bytes.IndexByte([]byte(more), c) >= 0) {
			return false
		}
	}
	return s != ""
}
