package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
)

// An Account is a service account as the vendor issues it: JSON for the client,
// the public half for the server.
type Account struct {
	JSON    []byte // the key file the adapter is configured with; secret
	Project string
	Email   string
	KeyID   string
	Public  *rsa.PublicKey
}

// ServiceAccount makes an account for project whose token_uri is tokenURL, with a
// fresh 2048-bit RSA key.
func ServiceAccount(project, tokenURL string) (Account, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Account{}, fmt.Errorf("make a service account key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Account{}, fmt.Errorf("encode the service account key: %w", err)
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	a := Account{
		Project: project,
		Email:   "push@" + project + ".iam.gserviceaccount.com",
		KeyID:   hex.EncodeToString(sum[:20]),
		Public:  &key.PublicKey,
	}
	a.JSON, err = json.Marshal(map[string]string{
		"type":           "service_account",
		"project_id":     a.Project,
		"private_key_id": a.KeyID,
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":   a.Email,
		"token_uri":      tokenURL,
	})
	if err != nil {
		return Account{}, fmt.Errorf("encode the service account: %w", err)
	}
	return a, nil
}
