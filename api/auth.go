package api

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealpost/sealpost"
)

// A who is a kind of asker that a route admits.
type who uint8

const (
	anybody   who = iota
	sender        // by an API key with one of the route's scopes
	device        // by the request signature of an enrolled device
	presenter     // by the request signature of the key that the body presents
)

// admit checks what the headers alone can tell of who asks.
func (s *server) admit(r *request) error {
	switch r.route.who {
	case sender:
		caller, err := s.admitSender(r.Request, r.route.scope)
		r.caller = caller
		return err
	case device, presenter:
		claim, ok := readDeviceClaim(r.Header, r.route.endpoint.in != nil)
		if !ok || !claim.within(sealpost.FromTime(s.Now())) {
			return ErrUnauthenticated
		}
		r.claim = claim
	}
	return nil
}

// admitSender finds the caller of the API key in the Authorization header.
func (s *server) admitSender(r *http.Request, scope sealpost.Scope) (Caller, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return Caller{}, ErrUnauthenticated
	}
	secret, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return Caller{}, ErrUnauthenticated
	}
	hash, ok := HashSecret(secret)
	if !ok {
		return Caller{}, ErrUnauthenticated
	}
	caller, err := s.Gate.APIKey(r.Context(), hash)
	if err != nil {
		return Caller{}, refusedByGate(err)
	}
	if caller.App == "" || caller.Device != (sealpost.KeyID{}) {
		return Caller{}, ErrUnauthenticated
	}
	if caller.Scopes&scope == 0 {
		return Caller{}, ErrForbidden
	}
	return caller, nil
}

// refusedByGate hides every reason but a fault of the gate itself.
func refusedByGate(err error) error {
	if p := ProblemOf(err); p.Status >= http.StatusInternalServerError || p.Status == http.StatusTooManyRequests {
		return err
	}
	return ErrUnauthenticated
}

// admitDevice checks a signed request under the key that the gate knows, and
// its nonce last, so that a stranger cannot fill the memory of nonces.
func (s *server) admitDevice(r *request) error {
	d, err := s.Gate.Device(r.Context(), r.claim.key)
	if err != nil {
		return r.route.stranger(refusedByGate(err))
	}
	if d.Revoked != 0 || !r.claim.verify(d.Key, r.Request, s.target(r.Request), r.body) {
		return r.route.stranger(ErrUnauthenticated)
	}
	// A minute after created the window itself refuses the request; the second
	// is for a clock that is read twice.
	until := r.claim.created.Add(SignatureWindow) + 1000
	fresh, err := s.Gate.Fresh(r.Context(), r.claim.key, r.claim.nonce, until)
	if err != nil {
		return refusedByGate(err)
	}
	if !fresh {
		return ErrReplayed
	}
	r.caller = Caller{App: d.App, Device: r.claim.key}
	return nil
}

// presents says whether the request is signed by a key that its body presents.
// It asks no memory of nonces: an invitation is answered once, so a replay
// changes nothing, and strangers leave no trace.
func (s *server) presents(r *request, key []byte) bool {
	k, err := sealpost.ParsePublicKey(key)
	return err == nil && r.claim.verify(k, r.Request, s.target(r.Request), r.body)
}

// target is the request's @target-uri (RFC 9421 2.2.2). Without a BaseURL it
// is "" for any host but a loopback one, and no signature is over that.
func (s *server) target(r *http.Request) string {
	if s.BaseURL != "" {
		return s.BaseURL + r.RequestURI
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if !isLoopback(host) {
		return ""
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + r.RequestURI
}

func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// errPlain says that an address would send secrets in clear.
var errPlain = errors.New("plain http is for loopback addresses only; use https")

// checkBaseURL is the rule for the relay's address at a client: https, or
// http to a loopback host.
func checkBaseURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the relay's address is not scheme and host")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "", errPlain
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("the relay's address is neither https nor http")
	}
	return strings.TrimSuffix(base, "/"), nil
}
