package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A World is one store with a tenant, its sender key and a clock, and makes
// honest statements for it.
type World struct {
	testing.TB
	Store
	App    string
	Sender *sealpost.PrivateKey
	Relay  *sealpost.PrivateKey
	Now    sealpost.UnixMilli
	place  string
	open   Opener
	made   int
}

// A Device is an enrolled device with its keys.
type Device struct {
	*sealpost.PrivateKey
	Leaf      *sealpost.PrivateKey
	ID        sealpost.KeyID
	Recipient sealpost.Recipient
}

// start is where the worlds' clocks begin.
const start sealpost.UnixMilli = 1_790_000_000_000

// NewWorld opens an empty store and enrols the sender's key.
func NewWorld(t testing.TB, open Opener) *World {
	t.Helper()
	return NewWorldAt(t, t.TempDir(), open)
}

// NewWorldAt is NewWorld for a store that may have been there before.
func NewWorldAt(t testing.TB, place string, open Opener) *World {
	t.Helper()
	w := &World{TB: t, App: "app-canary-bank", Now: start, place: place, open: open, Sender: newKey(t), Relay: newKey(t)}
	w.Store = open(t, w.place, w.clock)
	t.Cleanup(func() {
		if err := w.Store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	w.MustHold(w.SenderEvent(w.Sender, sealpost.Enrol))
	return w
}

func newKey(t testing.TB) *sealpost.PrivateKey {
	k, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *World) clock() time.Time { return w.Now.Time() }

// Place is where the store lies.
func (w *World) Place() string { return w.place }

// Reopen closes the store and opens it again.
func (w *World) Reopen() {
	w.Helper()
	w.Must(w.Store.Close())
	w.Store = w.open(w.TB, w.place, w.clock)
}

// Must ends the test on an error.
func (w *World) Must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Seal signs a statement and makes the hold's record for it.
func (w *World) Seal(st sealpost.Statement, by sealpost.Signer, id sealpost.MessageID) sealpost.Record {
	w.Helper()
	s, err := sealpost.Sign(st, by)
	w.Must(err)
	r := sealpost.Record{Kind: st.Kind(), App: w.App, ID: id, Statement: s.Bytes(), Hash: s.Hash()}
	_, err = rand.Read(r.Salt[:])
	w.Must(err)
	r.Leaf = sealpost.MakeLeaf(r.Salt, r.Statement)
	return r
}

// Promise gives a hold a promise of its own, as the relay does for what others
// signed.
func (w *World) Promise(h sealpost.Hold) sealpost.Hold {
	w.Helper()
	w.made++
	group, _, err := sealpost.SignGroupPromise([]sealpost.PromiseEntry{{Leaf: h.Leaf, Statement: h.Hash, OutcomeBy: int64(w.made)}},
		"promise-canary.example", w.Now, 0, sealpost.MergeDelay, w.Relay)
	w.Must(err)
	h.Part = &sealpost.PromisePart{Group: group, OutcomeBy: int64(w.made)}
	p, err := h.Part.Promised(h.Leaf, h.Hash)
	w.Must(err)
	h.Promise = p.Encode()
	return h
}

// MustHold holds a group in which everything must be new.
func (w *World) MustHold(holds ...sealpost.Hold) []sealpost.Held {
	w.Helper()
	held, err := w.Hold(context.Background(), holds)
	w.Must(err)
	for i, h := range held {
		if h.Err != nil || h.Again {
			w.Fatalf("hold %d of %d: again %v, error %v", i, len(held), h.Again, h.Err)
		}
	}
	return held
}

// HoldOne holds one statement and returns what became of it.
func (w *World) HoldOne(h sealpost.Hold) sealpost.Held {
	w.Helper()
	held, err := w.Hold(context.Background(), []sealpost.Hold{h})
	w.Must(err)
	if len(held) != 1 {
		w.Fatalf("one hold has %d answers", len(held))
	}
	return held[0]
}

// SenderEvent enrols or revokes a sender's key.
func (w *World) SenderEvent(key *sealpost.PrivateKey, event sealpost.Event) sealpost.Hold {
	e := sealpost.KeyEvent{Event: event, Subject: sealpost.SubjectSender, App: w.App, Created: w.Now, Key: key.Public()}
	return w.Promise(sealpost.Hold{Record: w.Seal(e, key, sealpost.MessageID{}), KeyEvent: &e})
}

// Recipient makes a recipient from a name.
func Recipient(name string) sealpost.Recipient { return sha256.Sum256([]byte(name)) }

// Token is an FCM endpoint.
func (w *World) Token(value string) sealpost.Endpoint {
	w.Helper()
	e, err := sealpost.NewEndpoint(sealpost.FCM, sealpost.EndpointFCMToken, value)
	w.Must(err)
	return e
}

// Invite puts an invitation for a recipient.
func (w *World) Invite(r sealpost.Recipient) sealpost.Enrolment {
	w.Helper()
	e := sealpost.Enrolment{App: w.App, Recipient: r, Expires: w.Now.Add(time.Hour)}
	var err error
	e.ID, err = sealpost.NewEnrolmentID(w.Now, rand.Reader)
	w.Must(err)
	for _, b := range [][]byte{e.Challenge[:], e.SecretHash[:]} {
		_, err = rand.Read(b)
		w.Must(err)
	}
	w.Must(w.PutEnrolment(context.Background(), e))
	return e
}

// Answer makes a device's honest answer to an invitation.
func (w *World) Answer(e sealpost.Enrolment, endpoints []sealpost.Endpoint, packages [][]byte) (Device, sealpost.EnrolmentAnswer) {
	w.Helper()
	d := Device{PrivateKey: newKey(w), Leaf: newKey(w), Recipient: e.Recipient}
	d.ID = d.Public().ID()
	pair := sealpost.KeyPair(e.App, e.Recipient, d.Public(), d.Leaf.Public())
	byKey, err := d.Sign(pair)
	w.Must(err)
	byLeaf, err := d.Leaf.Sign(pair)
	w.Must(err)
	return d, sealpost.EnrolmentAnswer{Key: d.Public(), Endpoints: endpoints, KeyPackages: packages, MAC: sha256.Sum256(d.ID[:]),
		Device: sealpost.DeviceKey{Recipient: e.Recipient, Leaf: d.Leaf.Public(), ByKey: byKey, ByLeaf: byLeaf, Assurance: sealpost.AssuranceSoftware}}
}

// DeviceEvent is the sender's enrol event over an answer.
func (w *World) DeviceEvent(e sealpost.Enrolment, a sealpost.EnrolmentAnswer) sealpost.Hold {
	w.Helper()
	ev := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: e.App, Created: w.Now, Key: a.Key, Device: &a.Device, Challenge: e.Challenge[:]}
	return w.Promise(sealpost.Hold{Record: w.Seal(ev, w.Sender, sealpost.MessageID{}), KeyEvent: &ev})
}

// RevokeEvent is the sender's revocation of a device.
func (w *World) RevokeEvent(d Device) sealpost.Hold {
	w.Helper()
	ev := sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice, App: w.App, Created: w.Now, Key: d.Public()}
	return w.Promise(sealpost.Hold{Record: w.Seal(ev, w.Sender, sealpost.MessageID{}), KeyEvent: &ev})
}

// Enrol takes a device of a recipient through its whole enrolment.
func (w *World) Enrol(r sealpost.Recipient, endpoints ...sealpost.Endpoint) Device {
	w.Helper()
	e := w.Invite(r)
	d, a := w.Answer(e, endpoints, nil)
	w.Must(w.AnswerEnrolment(context.Background(), e.ID, a))
	w.MustHold(w.DeviceEvent(e, a))
	return d
}

// Message makes an honest message; edit may change its commitment.
func (w *World) Message(r sealpost.Recipient, edit ...func(*sealpost.Commitment)) sealpost.Hold {
	w.Helper()
	id, err := sealpost.NewMessageID(w.Now, rand.Reader)
	w.Must(err)
	blob := make([]byte, 700)
	_, err = rand.Read(blob)
	w.Must(err)
	c := sealpost.Commitment{ID: id, App: w.App, Transaction: "transaction-canary", Created: w.Now, Expires: w.Now.Add(time.Minute),
		Canonicalization: sealpost.Canonicalization, Recipient: r, HashAlg: sealpost.SHA256, C: blob[:32], FieldRoot: blob[32:64],
		Blob: sha256.Sum256(blob), Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM},
		LeastPrivacy: sealpost.SealedBlob, Release: sealpost.ReleaseLogged, LeastAssurance: sealpost.AssuranceSoftware}
	for _, e := range edit {
		e(&c)
	}
	return w.Promise(sealpost.Hold{Record: w.Seal(c, w.Sender, id), Commitment: &c, Blob: blob})
}

// Attempt makes the relay's attempt for a message and device.
func (w *World) Attempt(m sealpost.Hold, d Device, number uint32, result sealpost.Result, retry sealpost.UnixMilli) sealpost.Hold {
	w.Helper()
	id, err := sealpost.NewAttemptID(w.Now, rand.Reader)
	w.Must(err)
	a := sealpost.Attempt{Attempt: id, ID: m.ID, Commitment: m.Hash, Device: d.ID, Carrier: sealpost.FCM, Number: number, Started: w.Now, Ended: w.Now, Result: result}
	return sealpost.Hold{Record: w.Seal(a, w.Relay, m.ID), Attempt: &a, Retry: retry}
}

// Receipt makes a device's receipt for a message.
func (w *World) Receipt(m sealpost.Hold, d Device, level sealpost.Level) sealpost.Hold {
	w.Helper()
	r := sealpost.Receipt{ID: m.ID, Commitment: m.Hash, Blob: m.Commitment.Blob, Level: level, Key: d.ID, DeviceTime: w.Now}
	if level.Positive() {
		r.Opened = m.Hash[:]
	} else if level != sealpost.HandedOver {
		r.Reason = sealpost.ReasonCommitment
	}
	return w.Promise(sealpost.Hold{Record: w.Seal(r, d, m.ID), Receipt: &r})
}

// Outcome makes the relay's outcome of a closing.
func (w *World) Outcome(c sealpost.Closing) sealpost.Hold {
	w.Helper()
	o := sealpost.Outcome{ID: c.Message.ID, Commitment: c.Message.Commitment, End: c.End, Decided: w.Now, Attempts: c.Attempts, Claims: c.Claims, Receipts: c.Receipts}
	return sealpost.Hold{Record: w.Seal(o, w.Relay, c.Message.ID), Outcome: &o}
}

// Closing finds what is to be closed of one message; nil where it is not due.
func (w *World) Closing(id sealpost.MessageID) *sealpost.Closing {
	w.Helper()
	list, err := w.Closable(context.Background(), w.Now, 100)
	w.Must(err)
	if i := slices.IndexFunc(list, func(c sealpost.Closing) bool { return c.Message.ID == id }); i >= 0 {
		return &list[i]
	}
	return nil
}

// CloseAs holds the outcome of a message that must be due and end so.
func (w *World) CloseAs(id sealpost.MessageID, end sealpost.End) {
	w.Helper()
	c := w.Closing(id)
	if c == nil || c.End != end {
		w.Fatalf("message is closable as %v, want %v", c, end)
	}
	w.MustHold(w.Outcome(*c))
}

// Work claims everything that is due, leased for a minute.
func (w *World) Work(logged uint64) []sealpost.Work {
	w.Helper()
	work, err := w.ClaimWork(context.Background(), w.Now, w.Now.Add(time.Minute), logged, 100)
	w.Must(err)
	return work
}
