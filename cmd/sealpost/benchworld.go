package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// The bench's population.
const (
	benchApp       = "bench"
	benchSenders   = 1000 // signing keys
	benchDevices   = 1000 // one for each recipient
	benchTTL       = time.Hour
	benchSealed    = 620 // bytes of ciphertext: a payload padded to 512, signed and sealed
	benchSetUp     = 64  // calls at once while the world is set up
	enrolledWithin = time.Minute
)

// A benchWorld is a relay in a folder of its own, with senders and devices that
// are enrolled as any others are.
type benchWorld struct {
	dir     string
	server  *server
	secret  string // of the API key
	senders []*sealpost.PrivateKey
	devices []benchDevice
	stop    context.CancelFunc
	ended   chan error
}

type benchDevice struct {
	key       *sealpost.PrivateKey
	leaf      *sealpost.PrivateKey
	recipient sealpost.Recipient
}

// newBenchWorld starts serve's own wiring with its defaults. endpoint gives the
// push endpoint of device i; fcmURL is where the FCM server is. Without
// dispatching, nothing claims the outbox.
func newBenchWorld(ctx context.Context, fcmURL, account string, dispatching bool, endpoint func(i int) (api.DeviceEndpoint, error)) (w *benchWorld, err error) {
	w = &benchWorld{ended: make(chan error, 1)}
	if w.dir, err = os.MkdirTemp("", "sealpost-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	var hash sealpost.Hash
	if w.secret, hash, err = api.NewSecret(rand.Reader); err != nil {
		return w, err
	}
	if err := w.drawKeys(); err != nil {
		return w, err
	}
	tenant := TenantConfig{App: benchApp, APIKeys: []APIKeyConfig{{Name: "bench", SHA256: fmt.Sprintf("%x", hash[:]),
		Scopes: []string{"send", "read", "enrol", "manage"}}}}
	for _, k := range w.senders {
		tenant.SenderKeys = append(tenant.SenderKeys, k.Public().ID().String())
	}
	cfg, err := Config{Data: filepath.Join(w.dir, "relay"), Listen: "127.0.0.1:0", Tenants: []TenantConfig{tenant},
		FCM: &FCMConfig{ServiceAccount: account, URL: fcmURL}}.complete()
	if err != nil {
		return w, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if w.server, err = openServer(ctx, cfg, logger); err != nil {
		return w, err
	}
	if !dispatching {
		w.server.dispatcher = nil
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	go func() { w.ended <- w.server.run(running) }()
	return w, w.enrol(ctx, endpoint)
}

func (w *benchWorld) drawKeys() error {
	draw := func() (*sealpost.PrivateKey, error) { return sealpost.GenerateKey(sealpost.EdDSA, rand.Reader) }
	for range benchSenders {
		k, err := draw()
		if err != nil {
			return err
		}
		w.senders = append(w.senders, k)
	}
	for range benchDevices {
		key, err := draw()
		if err != nil {
			return err
		}
		leaf, err := draw()
		if err != nil {
			return err
		}
		d := benchDevice{key: key, leaf: leaf}
		rand.Read(d.recipient[:])
		w.devices = append(w.devices, d)
	}
	return nil
}

// enrol enrols every sender and every device through the relay's own doors.
func (w *benchWorld) enrol(ctx context.Context, endpoint func(int) (api.DeviceEndpoint, error)) error {
	caller := api.Caller{App: benchApp, Scopes: sealpost.ScopeSend | sealpost.ScopeRead | sealpost.ScopeEnrol | sealpost.ScopeManage}
	ctx, cancel := context.WithTimeout(ctx, enrolledWithin)
	defer cancel()
	post := func(e sealpost.KeyEvent, by sealpost.Signer) error {
		s, err := sealpost.Sign(e, by)
		if err != nil {
			return err
		}
		return retryBusy(ctx, func() error {
			_, err := w.server.relay.PostKeyEvent(ctx, caller, s.Bytes())
			return err
		})
	}
	err := parallel(len(w.senders), func(i int) error {
		k := w.senders[i]
		return post(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: benchApp,
			Created: sealpost.FromTime(time.Now()), Key: k.Public()}, k)
	})
	if err != nil {
		return fmt.Errorf("enrol senders: %w", err)
	}
	err = parallel(len(w.devices), func(i int) error {
		at, err := endpoint(i)
		if err != nil {
			return err
		}
		return w.enrolDevice(ctx, caller, w.devices[i], at, post)
	})
	if err != nil {
		return fmt.Errorf("enrol devices: %w", err)
	}
	return w.logged(ctx)
}

func (w *benchWorld) enrolDevice(ctx context.Context, caller api.Caller, d benchDevice, at api.DeviceEndpoint, post func(sealpost.KeyEvent, sealpost.Signer) error) error {
	var secret [32]byte
	rand.Read(secret[:])
	hash := sha256.Sum256(secret[:])
	var invited api.Invited
	err := retryBusy(ctx, func() (err error) {
		invited, err = w.server.relay.Invite(ctx, caller, api.Invitation{Recipient: d.recipient[:], SecretHash: hash[:]})
		return err
	})
	if err != nil {
		return err
	}
	key, leaf := d.key.Public(), d.leaf.Public()
	pair := sealpost.KeyPair(benchApp, d.recipient, key, leaf)
	byKey, err := d.key.Sign(pair)
	if err != nil {
		return err
	}
	byLeaf, err := d.leaf.Sign(pair)
	if err != nil {
		return err
	}
	mac := sealpost.EnrolMAC(secret, [32]byte(invited.Challenge), d.recipient, key, leaf)
	err = retryBusy(ctx, func() error {
		return w.server.relay.Answer(ctx, api.Answer{ID: invited.ID, Key: key.COSE(), Leaf: leaf.COSE(), ByKey: byKey, ByLeaf: byLeaf,
			Assurance: sealpost.AssuranceSoftware, MAC: mac[:], Endpoints: []api.DeviceEndpoint{at}, KeyPackages: []api.Bytes{[]byte("unused")}})
	})
	if err != nil {
		return err
	}
	return post(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: benchApp, Created: sealpost.FromTime(time.Now()),
		Key: key, Challenge: invited.Challenge, Device: &sealpost.DeviceKey{Recipient: d.recipient, Leaf: leaf, ByKey: byKey,
			ByLeaf: byLeaf, Assurance: sealpost.AssuranceSoftware}}, w.senders[0])
}

// logged waits until all that the store holds is under a checkpoint.
func (w *benchWorld) logged(ctx context.Context) error {
	size, err := w.server.store.Size(ctx)
	if err != nil {
		return err
	}
	_, err = w.server.log.WaitPublished(ctx, size)
	return err
}

// followLog measures how fast the log grows, statements a second: from the first
// checkpoint that comes to the last one before rate is called, so that what waits
// for the next checkpoint does not count as slowness. Where fewer than two came it
// is the whole growth over the whole time.
func (w *benchWorld) followLog(ctx context.Context) (rate func() float64) {
	type moment struct {
		size uint64
		at   time.Time
	}
	now := func() moment { return moment{w.server.log.Checkpoint().Size, time.Now()} }
	ctx, cancel := context.WithCancel(ctx)
	start, ended := now(), make(chan struct{})
	var seen []moment
	go func() {
		defer close(ended)
		for last := start; ; seen = append(seen, last) {
			cp, err := w.server.log.WaitPublished(ctx, last.size+1)
			if err != nil {
				return
			}
			last = moment{cp.Size, time.Now()}
		}
	}()
	return func() float64 {
		end := now()
		cancel()
		<-ended
		if len(seen) >= 2 {
			start, end = seen[0], seen[len(seen)-1]
		}
		return float64(end.size-start.size) / end.at.Sub(start.at).Seconds()
	}
}

// backlog is how many statements no checkpoint covers.
func (w *benchWorld) backlog(ctx context.Context) (uint64, error) {
	size, err := w.server.store.Size(ctx)
	if err != nil {
		return 0, err
	}
	return size - min(size, w.server.log.Checkpoint().Size), nil
}

func (w *benchWorld) address() string { return w.server.listener.Addr().String() }

// close stops the relay and removes its folder.
func (w *benchWorld) close() (err error) {
	if w.stop != nil {
		w.stop()
		err = <-w.ended
	} else if w.server != nil {
		err = w.server.close()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// submission signs message i: a real commitment and an envelope of the real
// shape and size, whose ciphertext is random because nobody will open it. Its id is
// of this moment, so that ids come in about the order of their times, as from a
// sender that posts what it has just made.
func (w *benchWorld) submission(i int, release sealpost.ReleaseRule) ([]byte, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	random, now := mathrand.NewChaCha8(seed), sealpost.FromTime(time.Now())
	sender, device := w.senders[i%len(w.senders)], w.devices[i%len(w.devices)]
	id, err := sealpost.NewMessageID(now, random)
	if err != nil {
		return nil, err
	}
	c := sealpost.Commitment{ID: id, App: benchApp, Transaction: id.String(), Created: now, Expires: now.Add(benchTTL),
		Canonicalization: sealpost.Canonicalization, Recipient: device.recipient, HashAlg: sealpost.SHA256,
		C: make([]byte, 32), FieldRoot: make([]byte, 32), Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM},
		LeastPrivacy: sealpost.SealedBlob, Release: release, LeastAssurance: sealpost.AssuranceSoftware}
	for _, b := range [][]byte{c.C, c.FieldRoot, c.Roster[:], c.Sequence[:]} {
		random.Read(b)
	}
	blob, err := sealpost.EncodeEnvelope(sealpost.Envelope{Message: benchPrivateMessage(device.recipient, c.AAD(), random)})
	if err != nil {
		return nil, err
	}
	c.Blob = sha256.Sum256(blob)
	statement, err := sealpost.Sign(c, sender)
	if err != nil {
		return nil, err
	}
	sealed, err := sealpost.NewSealed(statement, blob)
	if err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// benchPrivateMessage has the form of RFC 9420 6.3.
func benchPrivateMessage(group sealpost.Recipient, aad []byte, random *mathrand.ChaCha8) []byte {
	vec := func(b, v []byte) []byte {
		if len(v) < 1<<6 {
			return append(append(b, byte(len(v))), v...)
		}
		return append(binary.BigEndian.AppendUint16(b, 1<<14|uint16(len(v))), v...)
	}
	senderData, ciphertext := make([]byte, 28), make([]byte, benchSealed)
	random.Read(senderData)
	random.Read(ciphertext)
	b := vec([]byte{0, 1, 0, 2}, group[:])
	b = binary.BigEndian.AppendUint64(b, 1)
	b = append(b, 1)
	return vec(vec(vec(b, aad), senderData), ciphertext)
}

// bareCheck is what the bare server does with one submission: parse it, and
// check its signature with the standard library.
func bareCheck(keys map[sealpost.KeyID]ed25519.PublicKey, body []byte) bool {
	s, err := sealpost.ParseSealed(body)
	if err != nil {
		return false
	}
	st := s.Statement()
	return ed25519.Verify(keys[st.KeyID()], st.ToBeSigned(), st.Signature())
}

// parallel calls do for 0 to n-1, benchSetUp at once and about in order, and ends
// at the first fault.
func parallel(n int, do func(i int) error) error {
	var all sync.WaitGroup
	faults := make([]error, benchSetUp)
	var next atomic.Int64
	for c := range benchSetUp {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && faults[c] == nil; i = int(next.Add(1)) - 1 {
				faults[c] = do(i)
			}
		})
	}
	all.Wait()
	return errors.Join(faults...)
}

// retryBusy repeats a call that the relay asks to repeat.
func retryBusy(ctx context.Context, call func() error) error {
	for {
		err := call()
		if err == nil || !isBusy(err) {
			return err
		}
		if err := pause(ctx, pollFirst); err != nil {
			return err
		}
	}
}
