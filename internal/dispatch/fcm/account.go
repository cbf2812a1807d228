package fcm

import (
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
	"log/slog"
	"net"
	"net/url"
	"time"
)

// Bounds of a service account file.
const (
	accountMax = 16 << 10 // bytes
	rsaBitsMin = 2048
)

// What the vendor's token endpoint wants (RFC 7523 2.1).
const (
	scope         = "https://www.googleapis.com/auth/firebase.messaging"
	grantType     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assertionLife = time.Hour
)

// An Account is a service account. Its key lives in a closure and cannot be printed.
type Account struct {
	project  string
	email    string
	keyID    string
	tokenURL string
	sign     func(digest [32]byte) ([]byte, error) // PKCS #1 v1.5 over SHA-256
}

// ParseAccount reads the vendor's JSON key file. Unknown fields are allowed: the
// vendor adds some. Its errors repeat nothing of the key.
func ParseAccount(file []byte) (Account, error) {
	var f struct {
		Type       string `json:"type"`
		Project    string `json:"project_id"`
		KeyID      string `json:"private_key_id"`
		PrivateKey string `json:"private_key"`
		Email      string `json:"client_email"`
		TokenURL   string `json:"token_uri"`
	}
	if len(file) > accountMax {
		return Account{}, fmt.Errorf("service account: file has more than %d bytes", accountMax)
	}
	if json.Unmarshal(file, &f) != nil {
		return Account{}, errors.New("service account: the file is not a JSON object")
	}
	if f.Type != "service_account" {
		return Account{}, errors.New(`service account: want type "service_account"`)
	}
	if !isProject(f.Project) || f.Email == "" || f.KeyID == "" {
		return Account{}, errors.New("service account: want project_id, client_email and private_key_id")
	}
	if _, err := endpointURL(f.TokenURL); err != nil {
		return Account{}, fmt.Errorf("service account: token_uri: %w", err)
	}
	key, err := parseKey(f.PrivateKey)
	if err != nil {
		return Account{}, fmt.Errorf("service account: private_key: %w", err)
	}
	return Account{
		project: f.Project, email: f.Email, keyID: f.KeyID, tokenURL: f.TokenURL,
		sign: func(digest [32]byte) ([]byte, error) {
			return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		},
	}, nil
}

func parseKey(text string) (*rsa.PrivateKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, errors.New("want one PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not PKCS #8")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < rsaBitsMin {
		return nil, fmt.Errorf("want RSA of %d bits or more", rsaBitsMin)
	}
	return key, nil
}

// isProject holds a project id to what can stand in a path.
func isProject(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// endpointURL reads an absolute URL: https, or http on a loopback address.
func endpointURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want an absolute URL without user, query or fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return u, nil
	}
	return nil, errors.New("want https (http only on a loopback address)")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Project is the project the account belongs to.
func (a Account) Project() string { return a.project }

// Format hides the key with everything else.
func (Account) Format(s fmt.State, _ rune) { io.WriteString(s, "[service account]") }

// LogValue hides the key from slog.
func (Account) LogValue() slog.Value { return slog.StringValue("[service account]") }

// assertion signs a JWT for the token endpoint (RFC 7523 3; RFC 7515 3.1, RS256).
func (a Account) assertion(now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.keyID})
	if err != nil {
		return "", fmt.Errorf("encode the assertion's header: %w", err)
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.email, "scope": scope, "aud": a.tokenURL,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("encode the assertion's claims: %w", err)
	}
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString(header) + "." + b64.EncodeToString(claims)
	sig, err := a.sign(sha256.Sum256([]byte(signed)))
	if err != nil {
		return "", fmt.Errorf("sign the assertion: %w", err)
	}
	return signed + "." + b64.EncodeToString(sig), nil
}
