package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/sealpost/sealpost"
)

// CustomerMax bounds a customer id or phone number, and a caller's own
// transaction and correlation ids, before they become pseudonyms; bytes.
const CustomerMax = 256

// Domain labels of pseudonyms.
const (
	labelRecipient   = "sealpost/recipient/v1"
	labelTransaction = "sealpost/transaction/v1"
	labelCorrelation = "sealpost/correlation/v1"
)

// pseudonyms replaces what identifies a customer or a business case by HMACs
// under the sender's epoch key (DESIGN section 12, Identifiers). The key never
// leaves the sender.
type pseudonyms struct {
	app string
	key func() []byte
}

type pseudonymInput struct {
	_     struct{} `cbor:",toarray"`
	Label string
	App   string
	Value string
}

const pseudonymKey = "sender/pseudonym-key"

// loadPseudonyms takes the epoch key from the store and draws it where there is
// none yet.
func loadPseudonyms(s Store, app string, random io.Reader) (pseudonyms, error) {
	var key []byte
	err := s.Update(func(tx Tx) error {
		if key = tx.Get(pseudonymKey); key != nil {
			return nil
		}
		key = make([]byte, sha256.Size)
		if _, err := io.ReadFull(random, key); err != nil {
			return err
		}
		return tx.Put(pseudonymKey, key)
	})
	if err != nil {
		return pseudonyms{}, fmt.Errorf("load pseudonym key: %w", err)
	}
	return pseudonyms{app, func() []byte { return key }}, nil
}

func (p pseudonyms) of(label, value string) [32]byte {
	input, err := sealpost.Encode(pseudonymInput{Label: label, App: p.app, Value: value})
	if err != nil {
		panic(fmt.Sprintf("client: encode three texts: %v", err))
	}
	m := hmac.New(sha256.New, p.key())
	m.Write(input)
	return [32]byte(m.Sum(nil))
}

func (p pseudonyms) recipient(customer string) sealpost.Recipient {
	return sealpost.Recipient(p.of(labelRecipient, customer))
}

// name is a pseudonym where a statement wants a name: 43 characters.
func (p pseudonyms) name(label, value string) string {
	sum := p.of(label, value)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
