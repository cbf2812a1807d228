package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/internal/lab"
	"github.com/sealpost/sealpost/internal/signer"
)

// A SenderFile is sender.yaml: what a sender's tools need to know of its relay.
// Its keys and its evidence are in sender.db beside it.
type SenderFile struct {
	// App is the tenant.
	App string `yaml:"app"`
	// Relay is the relay's API.
	Relay string `yaml:"relay"`
	// RelayKey is the relay's statement key, a COSE_Key in base64url. Pinned.
	RelayKey string `yaml:"relay_key"`
	// LogKey is the log's verifier key. Pinned.
	LogKey string `yaml:"log_key"`
	// APIKeyFile holds the API key.
	APIKeyFile string `yaml:"api_key_file"`
}

// Names within a folder that config init or a demo sets up.
const (
	relayDir      = "relay"
	senderDir     = "sender"
	relayFile     = "sealpost.yaml"
	senderFile    = "sender.yaml"
	senderStore   = "sender.db"
	apiKeyFile    = "api.key"
	accountFile   = "fcm-service-account.json"
	senderKeyName = "sender"
)

// A setup is a relay and a sender that know each other, in one folder: what
// config init writes and what a demo runs on.
type setup struct {
	dir    string
	app    string
	listen string
	fcm    string // base URL of the FCM server
}

// writeRelay makes the sender's keys and the relay's configuration that names
// them. It refuses a folder that has one already.
func (s setup) writeRelay() (Config, error) {
	path := filepath.Join(s.dir, relayFile)
	if _, err := os.Stat(path); err == nil {
		return Config{}, fmt.Errorf("%s is there already; choose another folder", path)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, senderDir), 0o700); err != nil {
		return Config{}, err
	}
	secret, hash, err := api.NewSecret(rand.Reader)
	if err != nil {
		return Config{}, err
	}
	if err := writeNew(filepath.Join(s.dir, senderDir, apiKeyFile), []byte(secret+"\n"), 0o600); err != nil {
		return Config{}, err
	}
	sender, err := makeSenderKey(filepath.Join(s.dir, senderDir, senderStore))
	if err != nil {
		return Config{}, err
	}
	cfg := Config{Data: relayDir, Listen: s.listen, Tenants: []TenantConfig{{App: s.app,
		SenderKeys: []string{sender.ID().String()},
		APIKeys:    []APIKeyConfig{{Name: "first", SHA256: hex.EncodeToString(hash[:]), Scopes: []string{"send", "read", "enrol", "manage"}}}}},
		FCM: &FCMConfig{ServiceAccount: accountFile, URL: s.fcm}}
	if err := writeYAML(path, cfg); err != nil {
		return Config{}, err
	}
	return readConfig(path)
}

// writeSender pins the relay at the sender: its address and its keys, which are
// made where they are not there yet.
func (s setup) writeSender(cfg Config, relayURL string) error {
	statement, err := signer.Statement(cfg.stmtKeyFile())
	if err != nil {
		return err
	}
	vkey, err := signer.LogVKey(cfg.logKeyFile(), cfg.Guard, cfg.Origin)
	if err != nil {
		return err
	}
	return writeYAML(filepath.Join(s.dir, senderDir, senderFile), SenderFile{App: s.app, Relay: relayURL,
		RelayKey: base64.RawURLEncoding.EncodeToString(statement.Public().COSE()), LogKey: vkey, APIKeyFile: apiKeyFile})
}

// makeSenderKey opens or makes the sender's store and gives its signing key.
func makeSenderKey(path string) (sealpost.PublicKey, error) {
	db, err := client.OpenStore(path)
	if err != nil {
		return sealpost.PublicKey{}, err
	}
	key, err := client.LoadKey(db, senderKeyName, sealpost.EdDSA, rand.Reader)
	if err = errors.Join(err, db.Close()); err != nil {
		return sealpost.PublicKey{}, err
	}
	return key.Public(), nil
}

// writeAccount makes a service account for the lab's FCM server.
func writeAccount(path, fcmURL string) (lab.Account, error) {
	account, err := lab.ServiceAccount("sealpost-lab", fcmURL+"/token")
	if err != nil {
		return account, err
	}
	return account, writeNew(path, account.JSON, 0o600)
}

// readYAML reads a small file strictly.
func readYAML[T any](path string) (v T, err error) {
	b, err := readBounded(path, configMax)
	if err != nil {
		return v, err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, exit{exitUsage, fmt.Errorf("%s: %w", path, err)}
	}
	return v, nil
}

func writeYAML(path string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return writeNew(path, b, 0o600)
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
