package api

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"

	"github.com/sealpost/sealpost"
)

// The text of an API key: "sp_" and 256 random bits in lower-case base32
// without padding (RFC 4648 6). The relay keeps its SHA-256 only; 256 random
// bits need no slow hash.
const (
	secretPrefix = "sp_"
	secretBytes  = 32
	secretText   = len(secretPrefix) + 52
)

var secretEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewSecret draws the secret of an API key and its hash. random must be a
// cryptographic source.
func NewSecret(random io.Reader) (secret string, hash sealpost.Hash, err error) {
	var b [secretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", hash, fmt.Errorf("draw an API key: %w", err)
	}
	secret = secretPrefix + secretEncoding.EncodeToString(b[:])
	return secret, sha256.Sum256([]byte(secret)), nil
}

// HashSecret is what [Gate.APIKey] is asked with: SHA-256 of the secret's text.
// A text that [NewSecret] never writes has no hash.
func HashSecret(secret string) (sealpost.Hash, bool) {
	if len(secret) != secretText || secret[:len(secretPrefix)] != secretPrefix {
		return sealpost.Hash{}, false
	}
	for i := len(secretPrefix); i < secretText; i++ {
		if c := secret[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return sealpost.Hash{}, false
		}
	}
	return sha256.Sum256([]byte(secret)), true
}
