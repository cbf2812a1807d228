package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// world is a sender, a relay in memory and as many devices as a test enrols,
// on one clock that only the test moves.
type world struct {
	t      *testing.T
	ctx    context.Context
	relay  *memoryRelay
	sender *Sender
	store  Store // the sender's
	key    *sealpost.PrivateKey
	mu     sync.Mutex
	clock  time.Time
	alg    sealpost.HashAlg
}

const app = "bank" // the tenant

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), clock: time.UnixMilli(1_790_000_000_000), store: NewMemoryStore()}
	w.relay = newMemoryRelay(t, func() sealpost.UnixMilli { return sealpost.FromTime(w.now()) })
	w.key = must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	w.relay.sender = w.key.Public()
	w.sender = w.newSender(w.store)
	if err := w.sender.EnrolSelf(w.ctx); err != nil {
		t.Fatalf("enrol the sender: %v", err)
	}
	return w
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) newSender(s Store) *Sender {
	return must(NewSender(SenderConfig{App: app, Key: w.key, Store: s, API: senderFace{w.relay}, Log: w.relay,
		Now: w.now, Rand: rand.Reader, RelayURL: "https://relay.example", RelayKey: w.relay.key.Public(), LogKey: w.relay.log.vkey,
		HashAlg: w.alg}))(w.t)
}

// phone is a device with its store, so that a test can crash it.
type phone struct {
	*Device
	store Store
	key   *sealpost.PrivateKey
}

func (w *world) newPhone(alg sealpost.Alg) *phone {
	p := &phone{store: NewMemoryStore()}
	p.key = must(LoadKey(p.store, "device", alg, rand.Reader))(w.t)
	p.Device = w.openDevice(p, p.store)
	return p
}

func (w *world) openDevice(p *phone, s Store) *Device {
	return must(NewDevice(DeviceConfig{Store: s, API: deviceFace{w.relay, p.key.Public().ID()}, Log: w.relay,
		Now: w.now, Rand: rand.Reader, Key: p.key}))(w.t)
}

// enrol takes a device of a customer through the whole enrolment.
func (w *world) enrol(customer string, alg sealpost.Alg) *phone {
	w.t.Helper()
	p := w.newPhone(alg)
	in := must(w.sender.Invite(w.ctx, customer))(w.t)
	if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err != nil {
		w.t.Fatalf("accept invitation: %v", err)
	}
	for _, a := range must(w.sender.Approve(w.ctx))(w.t) {
		if a.Err != nil {
			w.t.Fatalf("approve: %v", a.Err)
		}
	}
	if done, err := p.Enrolled(w.ctx); !done || err != nil {
		w.t.Fatalf("enrolled: %v, %v", done, err)
	}
	return p
}

func otp(to, code string) Message {
	return Message{To: to, Template: TemplateOTP, Data: map[string]string{"code": code}}
}

// send sends and wants a promise.
func (w *world) send(m Message) sealpost.MessageID {
	w.t.Helper()
	id, err := w.sender.Send(w.ctx, m)
	if err != nil {
		w.t.Fatalf("send: %v", err)
	}
	return id
}

// push is what a carrier brings of a message.
func (w *world) push(id sealpost.MessageID) []byte {
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	return w.relay.messages[id].sealed.Bytes()
}

// A fuse fails one Update of the stores that share it: before it is applied, or
// after, so that the caller learns nothing of it. They stay dead then, like a
// process.
type fuse struct {
	left    int // updates that still work
	applied bool
	dead    bool
}

type failingStore struct {
	Store
	*fuse
}

var errCrash = errors.New("crash")

func (s failingStore) Update(f func(Tx) error) error {
	if s.dead {
		return errCrash
	}
	if s.left > 0 {
		s.left--
		return s.Store.Update(f)
	}
	s.dead = true
	if s.applied {
		if err := s.Store.Update(f); err != nil {
			return err
		}
	}
	return errCrash
}

// lossy makes one call of a relay fail, before or after it is carried out.
type lossy struct {
	call    string
	applied bool
	once    sync.Once
}

func (l *lossy) fault(name string) (err error) {
	if name == l.call {
		l.once.Do(func() { err = api.ErrUnavailable })
	}
	return err
}

func (w *world) lose(call string, applied bool) {
	l := &lossy{call: call, applied: applied}
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	if applied {
		w.relay.after = l.fault
	} else {
		w.relay.refuse = l.fault
	}
}
