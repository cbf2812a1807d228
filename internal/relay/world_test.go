package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/internal/relay/relaytest"
)

// A world is a relay with memory neighbours, one tenant with its signing key and
// one recipient with one device, all of it enrolled over the road itself.
type world struct {
	t      testing.TB
	store  *relaytest.Store
	log    *relaytest.Log
	relay  *Relay
	cfg    Config
	caller api.Caller
	stop   func() error

	sender    *sealpost.PrivateKey
	device    *sealpost.PrivateKey
	recipient sealpost.Recipient
	statement *sealpost.PrivateKey
}

const bank = "bank"

// inWorld runs a test in a bubble of its own, where waiting is free.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enrol()
		test(t, w)
		if err := w.stop(); err != nil {
			t.Errorf("the relay ended with: %v", err)
		}
		w.checkLog()
	})
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: relaytest.NewStore(t), log: relaytest.NewLog(t), caller: api.Caller{App: bank, Scopes: allScopes},
		sender: newKey(t, sealpost.EdDSA), device: newKey(t, sealpost.ES256), statement: newKey(t, sealpost.EdDSA),
		recipient: sealpost.Recipient{1}}
	w.cfg = Config{Store: w.store, Log: w.log, Statement: w.statement, Origin: "log.example",
		Tenants:  map[string][]sealpost.KeyID{bank: {w.sender.Public().ID()}},
		Carriers: []sealpost.Carrier{sealpost.FCM}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Gather: -1}
	w.start()
	t.Cleanup(func() { _ = w.stop() }) // where a test ends early
	return w
}

// start runs a relay over the neighbours as they are.
func (w *world) start() {
	w.t.Helper()
	r, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.relay = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	w.stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	synctest.Wait()
}

func newKey(t testing.TB, alg sealpost.Alg) *sealpost.PrivateKey {
	t.Helper()
	k, err := sealpost.GenerateKey(alg, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) now() sealpost.UnixMilli { return sealpost.FromTime(time.Now()) }

// enrol enrols the sender's key and the device.
func (w *world) enrol() {
	w.t.Helper()
	w.mustPost(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: w.sender.Public()}, w.sender)
	w.enrolDevice(w.device, w.recipient)
}

func (w *world) enrolDevice(device *sealpost.PrivateKey, to sealpost.Recipient) {
	w.t.Helper()
	w.mustPost(w.invited(device, to), w.sender)
}

// invited takes a device through invitation and answer, and returns the event
// that the sender would sign.
func (w *world) invited(device *sealpost.PrivateKey, to sealpost.Recipient) sealpost.KeyEvent {
	w.t.Helper()
	secret := sha256.Sum256([]byte("T"))
	in, err := w.relay.Invite(w.t.Context(), w.caller, api.Invitation{Recipient: to[:], SecretHash: secret[:]})
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.answer(in, device, to)
	if err := w.relay.Answer(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
	leaf, err := sealpost.ParsePublicKey(a.Leaf)
	if err != nil {
		w.t.Fatal(err)
	}
	return sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: bank, Created: w.now(),
		Key: device.Public(), Challenge: in.Challenge, Device: &sealpost.DeviceKey{Recipient: to, Leaf: leaf,
			ByKey: a.ByKey, ByLeaf: a.ByLeaf, Assurance: a.Assurance}}
}

func (w *world) answer(in api.Invited, device *sealpost.PrivateKey, to sealpost.Recipient) api.Answer {
	leaf := newKey(w.t, sealpost.EdDSA)
	pair := sealpost.KeyPair(bank, to, device.Public(), leaf.Public())
	byKey, err1 := device.Sign(pair)
	byLeaf, err2 := leaf.Sign(pair)
	if err1 != nil || err2 != nil {
		w.t.Fatal(err1, err2)
	}
	return api.Answer{ID: in.ID, Key: device.Public().COSE(), Leaf: leaf.Public().COSE(), ByKey: byKey, ByLeaf: byLeaf,
		Assurance: sealpost.AssuranceSoftware, MAC: make([]byte, 32),
		Endpoints:   []api.DeviceEndpoint{{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMToken, Value: "token"}},
		KeyPackages: []api.Bytes{[]byte("package 1"), []byte("package 2")}}
}

func (w *world) post(e sealpost.KeyEvent, by sealpost.Signer) (api.Accepted, error) {
	w.t.Helper()
	s, err := sealpost.Sign(e, by)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.relay.PostKeyEvent(w.t.Context(), w.caller, s.Bytes())
	synctest.Wait() // until it is logged
	return a, err
}

func (w *world) mustPost(e sealpost.KeyEvent, by sealpost.Signer) api.Accepted {
	w.t.Helper()
	a, err := w.post(e, by)
	if err != nil {
		w.t.Fatalf("post %v of a %v key: %v", e.Event, e.Subject, err)
	}
	return a
}

// A draft is a submission before it is signed, for tests to spoil.
type draft struct {
	c        sealpost.Commitment
	envelope sealpost.Envelope
	blob     []byte // in the envelope's place, if set
	signer   sealpost.Signer
	tamper   func(statement []byte)
}

func (w *world) draft() *draft {
	now := w.now()
	id, err := sealpost.NewMessageID(now, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	commitment := make([]byte, 32)
	_, _ = rand.Read(commitment)
	return &draft{signer: w.sender, c: sealpost.Commitment{ID: id, App: bank, Transaction: "t-1", Created: now, Expires: now.Add(time.Hour),
		Canonicalization: sealpost.Canonicalization, Recipient: w.recipient, HashAlg: sealpost.SHA256, C: commitment,
		FieldRoot: make([]byte, 32), Roster: sealpost.Hash{7}, Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM},
		LeastPrivacy: sealpost.SealedBlob, Release: sealpost.ReleaseLogged, LeastAssurance: sealpost.AssuranceSoftware}}
}

// seal makes the submission. The envelope's message is a PrivateMessage with the
// commitment's AAD, unless the draft has another.
func (d *draft) seal(t testing.TB) sealpost.Sealed {
	t.Helper()
	if d.envelope.Message == nil {
		d.envelope.Message = privateMessage([]byte("group"), 3, contentApplication, d.c.AAD())
	}
	blob := d.blob
	if blob == nil {
		var err error
		if blob, err = sealpost.EncodeEnvelope(d.envelope); err != nil {
			t.Fatal(err)
		}
	}
	d.c.Blob = sha256.Sum256(blob)
	signed, err := sealpost.Sign(d.c, d.signer)
	if err != nil {
		t.Fatal(err)
	}
	if d.tamper != nil {
		raw := signed.Bytes()
		d.tamper(raw)
		if signed, err = sealpost.Parse(raw); err != nil {
			t.Fatal(err)
		}
	}
	s, err := sealpost.NewSealed(signed, blob)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// privateMessage writes an MLSMessage of RFC 9420 6.3 with a made-up ciphertext.
func privateMessage(group []byte, epoch uint64, content byte, aad []byte) []byte {
	b := []byte{0, 1, 0, 2}
	b = appendVec(b, group)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = append(b, content)
	b = appendVec(b, aad)
	b = appendVec(b, []byte("sender data"))
	return appendVec(b, bytes.Repeat([]byte("c"), 600))
}

func appendVec(b, v []byte) []byte {
	if len(v) < 1<<6 {
		return append(append(b, byte(len(v))), v...)
	}
	return append(append(b, 0x40|byte(len(v)>>8), byte(len(v))), v...)
}

func (w *world) submit(s ...sealpost.Sealed) []api.Verdict {
	return w.relay.Submit(w.t.Context(), w.caller, s)
}

// send submits an honest message and returns it once it is logged.
func (w *world) send() sealpost.Sealed {
	w.t.Helper()
	s := w.draft().seal(w.t)
	if v := w.submit(s)[0]; v.Accepted == nil {
		w.t.Fatalf("an honest submission: %v", v.Problem)
	}
	synctest.Wait()
	return s
}

// receipt is what the device would sign of a message it decrypted.
func (w *world) receipt(s sealpost.Sealed, level sealpost.Level) sealpost.Receipt {
	c := s.Commitment()
	r := sealpost.Receipt{ID: c.ID, Commitment: s.Statement().Hash(), Blob: c.Blob, Roster: c.Roster, Level: level,
		Key: w.device.Public().ID(), DeviceTime: w.now()}
	if level.Positive() {
		r.Opened = make([]byte, 32)
	}
	return r
}

func (w *world) postReceipt(r sealpost.Receipt, by sealpost.Signer) api.Verdict {
	w.t.Helper()
	s, err := sealpost.Sign(r, by)
	if err != nil {
		w.t.Fatal(err)
	}
	v := w.relay.PostReceipts(w.t.Context(), w.device.Public().ID(), [][]byte{s.Bytes()})[0]
	synctest.Wait()
	return v
}

// checkLog shows that every statement has exactly one leaf, at its seq.
func (w *world) checkLog() {
	w.t.Helper()
	records, leaves := w.store.All(), w.log.All()
	if len(records) != len(leaves) {
		w.t.Fatalf("%d statements and %d leaves", len(records), len(leaves))
	}
	for i, rec := range records {
		if !bytes.Equal(rec.Leaf[:], leaves[i]) {
			w.t.Errorf("leaf %d is not that of statement %d", i, rec.Seq)
		}
	}
}

// count counts statements of a kind about a message.
func (w *world) count(id sealpost.MessageID, kind sealpost.Kind) (n int) {
	for _, rec := range w.store.All() {
		if rec.ID == id && rec.Kind == kind {
			n++
		}
	}
	return n
}

func problemOf(v api.Verdict) string {
	if v.Problem == nil {
		return ""
	}
	return v.Problem.Type[len(api.ProblemBase):]
}
