package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
)

// A senderTool is a sender as the commands use it: its folder opened, its relay
// pinned.
type senderTool struct {
	*client.Sender
	app   string
	key   sealpost.PublicKey
	relay sealpost.PublicKey
	log   string
	api   *api.SenderClient
	store client.Store
	low   []client.PoolWarning // that a send met
}

// openSender opens a sender's folder. Nothing is asked of the relay.
func openSender(dir string) (*senderTool, error) {
	if dir == "" {
		return nil, usage("--sender is missing; name the sender's folder (sealpost config init makes one)")
	}
	file, err := readSenderFile(filepath.Join(dir, senderFile))
	if err != nil {
		return nil, err
	}
	t := &senderTool{app: file.App, log: file.LogKey}
	if t.relay, err = parseKey(file.RelayKey); err != nil {
		return nil, fmt.Errorf("%s: relay_key: %w", senderFile, err)
	}
	secret, err := readBounded(filepath.Join(dir, file.APIKeyFile), 1<<10)
	if err != nil {
		return nil, err
	}
	if t.api, err = api.NewSenderClient(file.Relay, strings.TrimSpace(string(secret)), nil); err != nil {
		return nil, err
	}
	if t.store, err = client.OpenStore(filepath.Join(dir, senderStore)); err != nil {
		return nil, err
	}
	key, err := client.LoadKey(t.store, senderKeyName, sealpost.EdDSA, rand.Reader)
	if err == nil {
		t.key = key.Public()
		t.Sender, err = client.NewSender(client.SenderConfig{App: file.App, Key: key, Store: t.store, API: t.api,
			Log: t.api, Now: time.Now, Rand: rand.Reader, RelayURL: file.Relay, RelayKey: t.relay, LogKey: file.LogKey,
			PoolLow: func(p client.PoolWarning) { t.low = append(t.low, p) }})
	}
	if err != nil {
		return nil, errors.Join(err, t.store.Close())
	}
	return t, nil
}

func (t *senderTool) close() error { return t.store.Close() }

func readSenderFile(path string) (SenderFile, error) {
	f, err := readYAML[SenderFile](path)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s is no sender's folder: %w; sealpost config init makes one", filepath.Dir(path), err)
	}
	if err != nil {
		return f, err
	}
	err = errors.Join(
		want(sealpost.IsName(f.App), "app: missing"),
		want(f.RelayKey != "", "relay_key: missing; serve prints it"),
		want(f.LogKey != "", "log_key: missing; it stands in the relay's log.vkey"),
		want(f.APIKeyFile != "", "api_key_file: missing"),
		checkURL("relay", f.Relay))
	if err != nil {
		return f, exit{exitUsage, fmt.Errorf("%s:\n%w", path, err)}
	}
	return f, nil
}

// parseKey reads a COSE_Key in base64url.
func parseKey(text string) (sealpost.PublicKey, error) {
	b, err := unbase64(text)
	if err != nil {
		return sealpost.PublicKey{}, err
	}
	return sealpost.ParsePublicKey(b)
}

// unbase64 reads unpadded base64url in its one spelling.
func unbase64(text string) (b api.Bytes, err error) { return b, b.UnmarshalText([]byte(text)) }

// policy is the trust that this sender's folder holds: its own key, the pinned
// relay and log, and no witnesses, because there are none yet.
func (t *senderTool) policy() evidence.Policy {
	return evidence.Policy{LogKey: t.log, Witnesses: 0, RelayKeys: []sealpost.PublicKey{t.relay},
		Senders:        []evidence.Sender{{App: t.app, Key: t.key}},
		LeastAssurance: sealpost.AssuranceSoftware, Require: evidence.RequireDecrypted}
}

// bundle is the evidence of a message, encoded, from this sender's own store.
func (t *senderTool) bundle(id sealpost.MessageID, open client.Disclose) ([]byte, error) {
	b, err := t.Bundle(id, open)
	if err != nil {
		return nil, err
	}
	hash, err := t.policy().Hash()
	if err != nil {
		return nil, err
	}
	b.PolicyHash = hash[:]
	return b.Encode()
}

// Waiting for the relay.
const (
	pollFirst = 50 * time.Millisecond
	pollMost  = time.Second

	busyWithin = 20 * time.Second // a command asks a busy relay again for so long
)

// settle syncs a message until its evidence is complete or ctx ends.
func (t *senderTool) settle(ctx context.Context, id sealpost.MessageID) (client.Status, error) {
	for wait := pollFirst; ; wait = min(2*wait, pollMost) {
		status, err := t.Sync(ctx, id)
		if (err != nil && !isBusy(err)) || status.Complete || status.Refused != "" {
			return status, err
		}
		if err := pause(ctx, wait); err != nil {
			return status, err
		}
	}
}

// isBusy says that a relay asked to come back.
func isBusy(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && (p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
