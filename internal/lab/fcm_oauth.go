package lab

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// What the token endpoint accepts (RFC 7523 2.1 and 3, and the vendor's profile).
const (
	grantJWT          = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	scopeMessaging    = "https://www.googleapis.com/auth/firebase.messaging"
	scopeCloud        = "https://www.googleapis.com/auth/cloud-platform"
	assertionLifeMax  = time.Hour       // exp - iat
	assertionSkew     = 5 * time.Minute // iat may lie this far in the future
	tokenLifeDefault  = 3599 * time.Second
	tokenRequestLimit = 16 << 10 // bytes
)

// A tokenDesk issues and checks bearer tokens.
type tokenDesk struct {
	account  Account
	audience string // the token_uri of the account
	life     time.Duration
	now      func() time.Time

	mu     sync.RWMutex
	tokens map[string]time.Time // token -> expiry
	issued int
}

// assertion is the header and the claims of the JWT a service account signs.
type assertion struct {
	header struct{ Alg, Typ, Kid string }
	claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
}

// grant checks one token request and issues a token, or says what is wrong in the
// words of RFC 6749 5.2.
func (d *tokenDesk) grant(form url.Values) (token, code string, err error) {
	if g := form.Get("grant_type"); g != grantJWT {
		return "", "unsupported_grant_type", fmt.Errorf("grant_type %q", g)
	}
	a, err := d.verify(form.Get("assertion"))
	if err != nil {
		return "", "invalid_grant", err
	}
	if err := d.judge(a); err != nil {
		return "", "invalid_grant", err
	}
	if !holdsScope(a.claims.Scope) {
		return "", "invalid_scope", errors.New("the scope does not allow messaging")
	}
	token = "ya29.lab-" + rand.Text() + rand.Text()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for t, until := range d.tokens {
		if !until.After(now) {
			delete(d.tokens, t)
		}
	}
	d.tokens[token] = now.Add(d.life)
	d.issued++
	return token, "", nil
}

// verify checks the form and the signature of an assertion (RFC 7515 5.2, RS256).
func (d *tokenDesk) verify(jwt string) (a assertion, err error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return a, errors.New("the assertion is not a JWT of three parts")
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return a, errors.New("the signature is not base64url")
	}
	for i, into := range []any{&a.header, &a.claims} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return a, fmt.Errorf("part %d is not base64url", i)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return a, fmt.Errorf("part %d is not JSON", i)
		}
	}
	if a.header.Alg != "RS256" || a.header.Typ != "JWT" {
		return a, fmt.Errorf("header alg %q typ %q", a.header.Alg, a.header.Typ)
	}
	if a.header.Kid != d.account.KeyID {
		return a, errors.New("unknown key id")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(d.account.Public, crypto.SHA256, sum[:], sig) != nil {
		return a, errors.New("the signature does not verify")
	}
	return a, nil
}

func (d *tokenDesk) judge(a assertion) error {
	now, iat, exp := d.now(), time.Unix(a.claims.Iat, 0), time.Unix(a.claims.Exp, 0)
	switch {
	case a.claims.Iss != d.account.Email:
		return errors.New("unknown issuer")
	case a.claims.Aud != d.audience:
		return errors.New("wrong audience")
	case iat.After(now.Add(assertionSkew)):
		return errors.New("issued in the future")
	case !exp.After(now):
		return errors.New("expired")
	case exp.Sub(iat) > assertionLifeMax || !exp.After(iat):
		return errors.New("lifetime out of bounds")
	}
	return nil
}

func holdsScope(scopes string) bool {
	for s := range strings.FieldsSeq(scopes) {
		if s == scopeMessaging || s == scopeCloud {
			return true
		}
	}
	return false
}

// admits reports whether an Authorization header carries a token in force.
func (d *tokenDesk) admits(header string) bool {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return false
	}
	d.mu.RLock()
	until, known := d.tokens[token]
	d.mu.RUnlock()
	return known && d.now().Before(until)
}

func (f *FCM) serveToken(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, tokenRequestLimit)
	if err != nil {
		f.refuseToken(w, r, body, "invalid_request", err)
		return
	}
	if f.misbehave(w, r, body, "") {
		return
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/x-www-form-urlencoded" {
		f.refuseToken(w, r, body, "invalid_request", fmt.Errorf("content type %q", ct))
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		f.refuseToken(w, r, body, "invalid_request", err)
		return
	}
	token, code, err := f.desk.grant(form)
	if err != nil {
		f.refuseToken(w, r, body, code, err)
		return
	}
	f.record(r, body, http.StatusOK, "")
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token, "expires_in": int(f.desk.life / time.Second), "token_type": "Bearer",
	})
}

func (f *FCM) refuseToken(w http.ResponseWriter, r *http.Request, body []byte, code string, why error) {
	f.record(r, body, http.StatusBadRequest, code)
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": why.Error()})
}

// RevokeTokens makes every bearer token issued so far invalid.
func (f *FCM) RevokeTokens() {
	f.desk.mu.Lock()
	defer f.desk.mu.Unlock()
	clear(f.desk.tokens)
}

// TokensIssued is the number of bearer tokens issued so far.
func (f *FCM) TokensIssued() int {
	f.desk.mu.RLock()
	defer f.desk.mu.RUnlock()
	return f.desk.issued
}
