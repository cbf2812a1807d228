package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// A bank is one tenant on a relay in this process: serve's own wiring over a
// real store, log and listener, and no dispatcher unless it has a carrier. It has a signing key and a
// recipient with one device, all enrolled as any others are, and a clock that a
// test may move ahead.
type bank struct {
	t         *testing.T
	cfg       Config
	server    *server
	end       context.CancelFunc // tells the server to stop
	stop      func()             // and waits until it has
	caller    api.Caller
	secret    string // of an API key
	key       *sealpost.PrivateKey
	device    *sealpost.PrivateKey
	recipient sealpost.Recipient
	group     *mls.Group
	ahead     atomic.Int64 // of the machine's clock, nanoseconds
}

const bankApp = "bank"

// bankWithin bounds what a bank waits for.
const bankWithin = 30 * time.Second

func newBank(t *testing.T) *bank {
	t.Helper()
	return newBankOver(t, "")
}

// newBankOver makes a bank whose relay dispatches to a carrier; without one the
// test claims by itself, or nobody does.
func newBankOver(t *testing.T, carrier string) *bank {
	t.Helper()
	b := &bank{t: t, key: bankKey(t), device: bankKey(t), recipient: sealpost.Recipient{1}, caller: api.Caller{App: bankApp,
		Scopes: sealpost.ScopeSend | sealpost.ScopeRead | sealpost.ScopeEnrol | sealpost.ScopeManage}}
	secret, hash, err := api.NewSecret(rand.Reader)
	b.must(err)
	b.secret = secret
	dir := t.TempDir()
	account := filepath.Join(dir, accountFile)
	url := carrier
	if url == "" {
		url = "http://127.0.0.1:1"
	}
	_, err = writeAccount(account, url)
	b.must(err)
	b.cfg, err = Config{Data: filepath.Join(dir, "relay"), Listen: "127.0.0.1:0", CheckpointMS: 100,
		FCM: &FCMConfig{ServiceAccount: account, URL: url},
		Tenants: []TenantConfig{{App: bankApp, SenderKeys: []string{b.key.Public().ID().String()},
			APIKeys: []APIKeyConfig{{Name: "test", SHA256: fmt.Sprintf("%x", hash[:]), Scopes: []string{"send", "read", "enrol", "manage"}}}}}}.complete()
	b.must(err)
	b.start(carrier != "")
	t.Cleanup(func() { b.stop() })
	b.enrol()
	signer, err := mls.NewEd25519Signer(bytes.Repeat([]byte{7}, 32))
	b.must(err)
	b.group, err = mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte(bankApp)), signer, anyLeaf{}, mls.DefaultPolicy())
	b.must(err)
	return b
}

// start runs the relay, anew where it was stopped.
func (b *bank) start(dispatches bool) {
	b.t.Helper()
	s, err := openServerAt(b.t.Context(), b.cfg, slog.New(slog.DiscardHandler), b.now)
	b.must(err)
	if !dispatches {
		s.dispatcher = nil
	}
	running, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(running) }()
	b.server, b.end = s, end
	b.stop = sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			b.t.Errorf("the relay ended with: %v", err)
		}
	})
}

// anyLeaf accepts every leaf: the relay opens nothing, and nobody else is asked.
type anyLeaf struct{}

func (anyLeaf) Validate(mls.Credential, []byte) error { return nil }
func (anyLeaf) Successor(_, _ mls.Credential) error   { return nil }

func bankKey(t *testing.T) *sealpost.PrivateKey {
	t.Helper()
	k, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (b *bank) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bank) now() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }

func (b *bank) advance(d time.Duration) { b.ahead.Add(int64(d)) }

func (b *bank) stamp() sealpost.UnixMilli { return sealpost.FromTime(b.now()) }

// enrol enrols the sender's key and the device, and waits for the log.
func (b *bank) enrol() {
	b.t.Helper()
	ctx, relay := b.t.Context(), b.server.relay
	post := func(e sealpost.KeyEvent) {
		b.t.Helper()
		s, err := sealpost.Sign(e, b.key)
		b.must(err)
		b.until(func() error { // it is starting
			_, err := relay.PostKeyEvent(ctx, b.caller, s.Bytes())
			return err
		})
		b.logged()
	}
	post(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bankApp, Created: b.stamp(), Key: b.key.Public()})
	secret := [32]byte{1}
	hash := sha256.Sum256(secret[:])
	invited, err := relay.Invite(ctx, b.caller, api.Invitation{Recipient: b.recipient[:], SecretHash: hash[:]})
	b.must(err)
	leaf := bankKey(b.t)
	pair := sealpost.KeyPair(bankApp, b.recipient, b.device.Public(), leaf.Public())
	byKey, err := b.device.Sign(pair)
	b.must(err)
	byLeaf, err := leaf.Sign(pair)
	b.must(err)
	mac := sealpost.EnrolMAC(secret, [32]byte(invited.Challenge), b.recipient, b.device.Public(), leaf.Public())
	b.must(relay.Answer(ctx, api.Answer{ID: invited.ID, Key: b.device.Public().COSE(), Leaf: leaf.Public().COSE(), ByKey: byKey, ByLeaf: byLeaf,
		Assurance: sealpost.AssuranceSoftware, MAC: mac[:], KeyPackages: []api.Bytes{[]byte("unused")},
		Endpoints: []api.DeviceEndpoint{{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMToken, Value: "token"}}}))
	post(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: bankApp, Created: b.stamp(), Key: b.device.Public(),
		Challenge: invited.Challenge, Device: &sealpost.DeviceKey{Recipient: b.recipient, Leaf: leaf.Public(), ByKey: byKey, ByLeaf: byLeaf,
			Assurance: sealpost.AssuranceSoftware}})
	b.until(func() error { // the relay has seen the checkpoint too
		_, err := relay.Enrolment(ctx, b.device.Public().ID())
		return err
	})
}

// until repeats a call until the relay is ready for it.
func (b *bank) until(call func() error) {
	b.t.Helper()
	end := time.Now().Add(bankWithin)
	err := call()
	for (errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrNotFound)) && time.Now().Before(end) {
		b.must(pause(b.t.Context(), pollFirst))
		err = call()
	}
	b.must(err)
}

// logged waits until a checkpoint covers all that the store holds, and says how
// much that is.
func (b *bank) logged() uint64 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), bankWithin)
	defer cancel()
	size, err := b.server.store.Size(ctx)
	b.must(err)
	_, err = b.server.log.WaitPublished(ctx, size)
	b.must(err)
	return size
}

// A draft is a submission before it is signed, for tests to spoil.
type draft struct {
	c    sealpost.Commitment
	blob []byte // of the message itself, or what a test puts in its place
	key  sealpost.Signer
}

func (b *bank) draft() *draft {
	b.t.Helper()
	id, err := sealpost.NewMessageID(b.stamp(), rand.Reader)
	b.must(err)
	d := &draft{key: b.key, c: sealpost.Commitment{ID: id, App: bankApp, Transaction: "t-1", Created: b.stamp(), Expires: b.stamp().Add(time.Hour),
		Canonicalization: sealpost.Canonicalization, Recipient: b.recipient, HashAlg: sealpost.SHA256,
		Roster: sealpost.Hash{7}, Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM},
		LeastPrivacy: sealpost.SealedBlob, Release: sealpost.ReleaseHeld, LeastAssurance: sealpost.AssuranceSoftware}}
	_, err = sealpost.NewPayload(&d.c, sealpost.Content{Text: "Your code is 123456"}, sealpost.Sequence{Number: 1}, "otp", rand.Reader)
	b.must(err)
	d.blob = b.envelope(d.c)
	return d
}

// envelope seals for nobody a message that belongs to a commitment.
func (b *bank) envelope(c sealpost.Commitment) []byte {
	b.t.Helper()
	message, err := b.group.Protect(c.AAD(), make([]byte, 600))
	b.must(err)
	blob, err := sealpost.EncodeEnvelope(sealpost.Envelope{Message: message})
	b.must(err)
	return blob
}

// statement signs the draft over its blob.
func (d *draft) statement(t *testing.T) sealpost.Signed {
	t.Helper()
	d.c.Blob = sha256.Sum256(d.blob)
	s, err := sealpost.Sign(d.c, d.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bank) seal(d *draft) sealpost.Sealed {
	b.t.Helper()
	s, err := sealpost.NewSealed(d.statement(b.t), d.blob)
	b.must(err)
	return s
}

// send submits an honest message and says what it was.
func (b *bank) send() sealpost.Sealed {
	b.t.Helper()
	s := b.seal(b.draft())
	if v := b.server.relay.Submit(b.t.Context(), b.caller, []sealpost.Sealed{s})[0]; v.Accepted == nil {
		b.t.Fatalf("an honest submission: %v", v.Problem)
	}
	return s
}
