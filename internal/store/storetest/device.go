package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// ReadMessage reads a message back; [World.Message] makes one.
func (w *World) ReadMessage(id sealpost.MessageID) (sealpost.Message, error) {
	return w.Store.Message(context.Background(), id)
}

func arrivals(t *testing.T, w *World) {
	ctx := context.Background()
	d, other := w.Enrol(Recipient("r")), w.Enrol(Recipient("other"))
	m, held, third := w.Message(d.Recipient), w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Release = sealpost.ReleaseHeld }), w.Message(d.Recipient)
	seqs := w.MustHold(m, held, third)
	seq := func(i int) uint64 { return seqs[i].Record.Seq }
	check := func(when string, after, logged uint64, limit int, want ...sealpost.Hold) {
		t.Helper()
		got, err := w.Arrivals(ctx, d.ID, after, logged, limit)
		w.Must(err)
		if !slices.EqualFunc(got, want, func(g sealpost.Delivery, h sealpost.Hold) bool {
			return g.Record.ID == h.ID && bytes.Equal(g.Blob, h.Blob) && bytes.Equal(g.Record.Statement, h.Statement) && bytes.Equal(g.Record.Promise, h.Promise)
		}) {
			t.Errorf("%s: %d messages, want %d", when, len(got), len(want))
		}
	}
	check("nothing is logged", 0, seq(0), 10, held)
	check("one is logged", 0, seq(0)+1, 10, m, held)
	check("all are logged", 0, all, 10, m, held, third)
	check("a page of two", 0, all, 2, m, held)
	check("after the first", seq(0), all, 10, held, third)
	w.MustHold(w.Receipt(m, d, sealpost.HandedOver))
	check("the first is handed over", 0, all, 10, held, third)
	if _, err := w.Arrival(ctx, d.ID, m.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("the blob of a message that every device has: %v", err)
	}
	if one, err := w.Arrival(ctx, d.ID, third.ID); err != nil || !bytes.Equal(one.Blob, third.Blob) {
		t.Errorf("one by its id: %v", err)
	}
	if _, err := w.Arrival(ctx, other.ID, third.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("another's message: %v", err)
	}
	if got, err := w.Arrivals(ctx, other.ID, 0, all, 10); err != nil || len(got) != 0 {
		t.Errorf("another device gets %d messages, %v", len(got), err)
	}
	w.Reopen()
	check("after opening again", 0, all, 10, held, third)
	w.Now = third.Commitment.Expires
	check("they expired", 0, all, 10)
	if _, err := w.Arrival(ctx, d.ID, third.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("an expired message: %v", err)
	}
}

func revocation(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m)
	event := w.RevokeEvent(d)
	held := w.MustHold(event)
	got, err := w.Device(ctx, d.ID)
	w.Must(err)
	if got.Revoked != held[0].Record.Seq || got.Enrolled == 0 || got.Enrolled >= got.Revoked {
		t.Errorf("enrolled at %d, revoked at %d", got.Enrolled, got.Revoked)
	}
	if again := w.HoldOne(event); !again.Again {
		t.Errorf("the same revocation again: %v", again.Err)
	}
	w.Now++
	if again := w.HoldOne(w.RevokeEvent(d)); !errors.Is(again.Err, sealpost.ErrConflict) {
		t.Errorf("another revocation: %v", again.Err)
	}
	if work := w.Work(all); len(work) != 0 {
		t.Error("a revoked device was to be woken")
	}
	w.CloseAs(m.ID, sealpost.Undeliverable)
	w.MustHold(w.Message(d.Recipient))
	if work := w.Work(all); len(work) != 0 {
		t.Error("a message after the revocation was routed to the device")
	}
	for name, err := range map[string]error{
		"arrivals":  second(w.Arrivals(ctx, d.ID, 0, all, 10)),
		"packages":  w.PutPackages(ctx, d.ID, [][]byte{{1}}, nil),
		"endpoints": w.PutEndpoints(ctx, d.ID, nil),
	} {
		if !errors.Is(err, sealpost.ErrNotFound) {
			t.Errorf("%s of a revoked device: %v", name, err)
		}
	}
	quick := w.Enrol(Recipient("q"), w.Token("tok"))
	caught := w.Message(quick.Recipient)
	w.MustHold(caught, w.RevokeEvent(quick)) // in one group
	w.CloseAs(caught.ID, sealpost.Undeliverable)
	events, err := w.KeyEvents(ctx, w.App, d.Recipient)
	if err != nil || len(events) != 2 || events[0].Seq >= events[1].Seq {
		t.Errorf("%d key events, %v; want enrolment and revocation", len(events), err)
	}
	if got := w.HoldOne(w.RevokeEvent(Device{PrivateKey: newKey(t)})); !errors.Is(got.Err, sealpost.ErrNotFound) {
		t.Errorf("revocation of a stranger: %v", got.Err)
	}
}

func senderKeys(t *testing.T, w *World) {
	ctx := context.Background()
	k := newKey(t)
	enrol := w.MustHold(w.SenderEvent(k, sealpost.Enrol))
	if _, err := w.Hold(ctx, []sealpost.Hold{{}}); !errors.Is(err, sealpost.ErrMalformed) {
		t.Errorf("an empty hold: %v", err)
	}
	w.Now++
	if got := w.HoldOne(w.SenderEvent(k, sealpost.Enrol)); !errors.Is(got.Err, sealpost.ErrConflict) {
		t.Errorf("enrolled twice: %v", got.Err)
	}
	revoke := w.MustHold(w.SenderEvent(k, sealpost.Revoke))
	keys, err := w.SenderKeys(ctx, w.App)
	w.Must(err)
	if len(keys) != 2 || keys[0].Key != w.Sender.Public() || keys[0].Revoked != 0 || keys[1].Key != k.Public() ||
		keys[1].Enrolled != enrol[0].Record.Seq || keys[1].Revoked != revoke[0].Record.Seq {
		t.Errorf("sender keys %+v", keys)
	}
	events, err := w.SenderKeyEvents(ctx, w.App)
	if err != nil || len(events) != 3 {
		t.Errorf("%d events of sender keys, want 3; %v", len(events), err)
	}
	if keys, err := w.SenderKeys(ctx, "other"); err != nil || len(keys) != 0 {
		t.Errorf("%d keys of another tenant, %v", len(keys), err)
	}
}

func enrolment(t *testing.T, w *World) {
	ctx := context.Background()
	r := Recipient("r")
	e := w.Invite(r)
	if err := w.PutEnrolment(ctx, e); !errors.Is(err, sealpost.ErrConflict) {
		t.Errorf("the same invitation twice: %v", err)
	}
	d, a := w.Answer(e, []sealpost.Endpoint{w.Token("tok")}, [][]byte{[]byte("package one"), []byte("package two")})
	a.LastResort = []byte("last resort")
	if got := w.HoldOne(w.DeviceEvent(e, a)); !errors.Is(got.Err, sealpost.ErrNotFound) {
		t.Errorf("a key event before the answer: %v", got.Err)
	}
	w.Must(w.AnswerEnrolment(ctx, e.ID, a))
	w.Must(w.AnswerEnrolment(ctx, e.ID, a)) // a retry of the same answer
	_, b := w.Answer(e, nil, nil)
	if err := w.AnswerEnrolment(ctx, e.ID, b); !errors.Is(err, sealpost.ErrConflict) {
		t.Errorf("another answer: %v", err)
	}
	if err := w.AnswerEnrolment(ctx, sealpost.EnrolmentID{1}, a); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("an answer to nothing: %v", err)
	}
	list, err := w.Answered(ctx, w.App, 10)
	w.Must(err)
	if len(list) != 1 || list[0].Answer == nil || list[0].Answer.Key != a.Key || list[0].Answer.MAC != a.MAC || list[0].Challenge != e.Challenge ||
		len(list[0].Answer.Endpoints) != 1 || list[0].Answer.Endpoints[0].Reveal() != "tok" || len(list[0].Answer.KeyPackages) != 2 {
		t.Fatalf("answered: %d", len(list))
	}
	if byKey, err := w.EnrolmentByKey(ctx, d.ID); err != nil || byKey.ID != e.ID {
		t.Errorf("by key: %v", err)
	}
	if other, err := w.Answered(ctx, "other", 10); err != nil || len(other) != 0 {
		t.Errorf("answered of another tenant: %d, %v", len(other), err)
	}
	spoilt := a
	stranger, _ := w.Answer(e, nil, nil)
	spoilt.Key, spoilt.Device = stranger.Public(), w.pair(stranger)
	if got := w.HoldOne(w.DeviceEvent(e, spoilt)); !errors.Is(got.Err, sealpost.ErrNotFound) {
		t.Errorf("a key event over another key than the answer's: %v", got.Err)
	}
	event := w.DeviceEvent(e, a)
	held := w.MustHold(event)
	if again := w.HoldOne(event); !again.Again {
		t.Errorf("the same key event again: %v", again.Err)
	}
	if _, err := w.Enrolment(ctx, e.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("the invitation is still there: %v", err)
	}
	devices, err := w.Devices(ctx, w.App, r)
	w.Must(err)
	if len(devices) != 1 || devices[0] != (sealpost.Device{App: w.App, Recipient: r, Key: d.Public(), Leaf: d.Leaf.Public(), Assurance: sealpost.AssuranceSoftware, Enrolled: held[0].Record.Seq}) {
		t.Errorf("devices %+v", devices)
	}
	for left := 1; left >= 0; left-- {
		if c, err := w.ClaimPackage(ctx, w.App, d.ID); err != nil || c.Left != left || c.LastResort {
			t.Errorf("the answer's KeyPackages: %d left, %v", c.Left, err)
		}
	}
	if c, err := w.ClaimPackage(ctx, w.App, d.ID); err != nil || !c.LastResort || string(c.KeyPackage) != "last resort" {
		t.Errorf("the answer's last resort: %q, %v", c.KeyPackage, err)
	}
	w.MustHold(w.Message(r))
	if work := w.Work(all); len(work) != 1 || work[0].Endpoint.Reveal() != "tok" {
		t.Errorf("the answer's endpoint: %d tries", len(work))
	}
	late := w.Invite(r)
	w.Now = late.Expires + 1
	w.Must(w.Sweep(ctx, w.Now))
	if _, err := w.Enrolment(ctx, late.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("an unanswered invitation after its time: %v", err)
	}
}

// pair binds a device's two keys.
func (w *World) pair(d Device) sealpost.DeviceKey {
	pair := sealpost.KeyPair(w.App, d.Recipient, d.Public(), d.Leaf.Public())
	byKey, err := d.Sign(pair)
	w.Must(err)
	byLeaf, err := d.Leaf.Sign(pair)
	w.Must(err)
	return sealpost.DeviceKey{Recipient: d.Recipient, Leaf: d.Leaf.Public(), ByKey: byKey, ByLeaf: byLeaf, Assurance: sealpost.AssuranceSoftware}
}

func packages(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"))
	if _, err := w.ClaimPackage(ctx, w.App, d.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("an empty pool: %v", err)
	}
	const n = 20
	var pool [][]byte
	for i := range n {
		pool = append(pool, fmt.Appendf(nil, "package %d", i))
	}
	w.Must(w.PutPackages(ctx, d.ID, pool, nil))
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]int{}
	for range n + 5 {
		wg.Go(func() {
			c, err := w.ClaimPackage(ctx, w.App, d.ID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got[string(c.KeyPackage)]++
			} else if !errors.Is(err, sealpost.ErrNotFound) {
				t.Errorf("claim: %v", err)
			}
		})
	}
	wg.Wait()
	if len(got) != n {
		t.Errorf("%d packages came out, want each of %d once", len(got), n)
	}
	big := make([][]byte, 0, 1000)
	for range cap(big) {
		big = append(big, []byte("x"))
	}
	if err := w.PutPackages(ctx, d.ID, big, nil); err == nil {
		t.Error("a pool of a thousand was taken")
	}
	// The newest go first, and where the pool is full the oldest make room.
	for i := range 3 {
		some := make([][]byte, 60)
		for j := range some {
			some[j] = fmt.Appendf(nil, "%d-%d", i, j)
		}
		w.Must(w.PutPackages(ctx, d.ID, some, nil))
	}
	p, err := w.Pool(ctx, d.ID)
	w.Must(err)
	if p.Left < 60 || p.Left >= 180 {
		t.Fatalf("%d KeyPackages in a full pool", p.Left)
	}
	for i := 179; i >= 180-p.Left; i-- {
		c, err := w.ClaimPackage(ctx, w.App, d.ID)
		if want := fmt.Sprintf("%d-%d", i/60, i%60); err != nil || string(c.KeyPackage) != want {
			t.Fatalf("claimed %q, want %q, %v", c.KeyPackage, want, err)
		}
	}
	if _, err := w.ClaimPackage(ctx, w.App, d.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("an emptied pool: %v", err)
	}
	if err := w.PutPackages(ctx, d.ID, [][]byte{make([]byte, 1<<20)}, nil); err == nil {
		t.Error("a KeyPackage of a megabyte was taken")
	}
	if err := w.PutPackages(ctx, d.ID, nil, make([]byte, 1<<20)); err == nil {
		t.Error("a last resort of a megabyte was taken")
	}
}

// The last resort is given out when no other is left, as often as it is asked for;
// a newer one takes its place.
func lastResort(t *testing.T, w *World) {
	ctx := context.Background()
	d, other := w.Enrol(Recipient("r")), w.Enrol(Recipient("r"))
	pool := func(what string, want sealpost.Pool) {
		t.Helper()
		if p, err := w.Pool(ctx, d.ID); err != nil || p != want {
			t.Errorf("%s: the pool is %+v, want %+v, %v", what, p, want, err)
		}
	}
	claims := func(what string, want ...sealpost.ClaimedPackage) {
		t.Helper()
		for i, c := range want {
			got, err := w.ClaimPackage(ctx, w.App, d.ID)
			if err != nil || got.LastResort != c.LastResort || got.Left != c.Left || !bytes.Equal(got.KeyPackage, c.KeyPackage) {
				t.Errorf("%s, claim %d: %+v, want %+v, %v", what, i, got, c, err)
			}
		}
	}
	once := func(text string, left int) sealpost.ClaimedPackage {
		return sealpost.ClaimedPackage{KeyPackage: []byte(text), Left: left}
	}
	last := func(text string) sealpost.ClaimedPackage {
		return sealpost.ClaimedPackage{KeyPackage: []byte(text), LastResort: true}
	}
	pool("nothing was put", sealpost.Pool{})
	w.Must(w.PutPackages(ctx, d.ID, nil, []byte("last one")))
	w.Must(w.PutPackages(ctx, other.ID, nil, []byte("another's")))
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{[]byte("a"), []byte("b")}, nil))
	pool("two and the last resort", sealpost.Pool{Left: 2, LastResort: true})
	claims("single ones go first", once("b", 1), once("a", 0), last("last one"), last("last one"))
	pool("the last resort alone", sealpost.Pool{LastResort: true})
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{[]byte("c")}, []byte("last two")))
	pool("a newer last resort", sealpost.Pool{Left: 1, LastResort: true})
	claims("a newer last resort", once("c", 0), last("last two"), last("last two"))
	full := make([][]byte, 1000)
	for i := range full {
		full[i] = []byte("x")
	}
	if err := w.PutPackages(ctx, d.ID, full, []byte("last three")); err == nil {
		t.Error("a pool of a thousand was taken")
	}
	claims("what was refused changed nothing", last("last two"))
	w.MustHold(w.RevokeEvent(d))
	if _, err := w.ClaimPackage(ctx, w.App, d.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("the last resort of a revoked device: %v", err)
	}
	pool("revoked", sealpost.Pool{})
	if p, err := w.Pool(ctx, sealpost.KeyID{7}); err != nil || p != (sealpost.Pool{}) {
		t.Errorf("the pool of a device that there is not: %+v, %v", p, err)
	}
}

func endpoints(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"))
	waiting := w.Message(d.Recipient)
	w.MustHold(waiting)
	if work := w.Work(all); len(work) != 0 {
		t.Error("tried without an endpoint")
	}
	w.Must(w.PutEndpoints(ctx, d.ID, []sealpost.Endpoint{w.Token("first")}))
	if work := w.Work(all); len(work) != 1 || work[0].Endpoint.Reveal() != "first" {
		t.Fatalf("the waiting message: %d tries", len(work))
	}
	other := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Carriers = []sealpost.Carrier{sealpost.SMS} })
	w.MustHold(other)
	if work := w.Work(all); len(work) != 0 {
		t.Error("tried over a carrier that the sender does not allow")
	}
	// The claimed endpoint was replaced before the carrier said it was gone: the
	// new one stays.
	w.Must(w.PutEndpoints(ctx, d.ID, []sealpost.Endpoint{w.Token("second")}))
	w.MustHold(w.Attempt(waiting, d, 1, sealpost.EndpointGone, w.Now))
	work := w.Work(all)
	if len(work) != 1 || work[0].Endpoint.Reveal() != "second" || work[0].Number != 2 {
		t.Fatalf("after the old token is gone: %d tries", len(work))
	}
	w.MustHold(w.Attempt(waiting, d, 2, sealpost.EndpointGone, w.Now))
	if work := w.Work(all); len(work) != 0 {
		t.Error("tried without an endpoint left")
	}
	w.CloseAs(waiting.ID, sealpost.Undeliverable)

	// A retry that finds no endpoint any more waits for a new one.
	w.Must(w.PutEndpoints(ctx, d.ID, []sealpost.Endpoint{w.Token("third")}))
	retried := w.Message(d.Recipient)
	w.MustHold(retried)
	w.Work(all)
	w.MustHold(w.Attempt(retried, d, 1, sealpost.Transient, w.Now))
	w.Must(w.PutEndpoints(ctx, d.ID, nil))
	if work := w.Work(all); len(work) != 0 {
		t.Error("retried without an endpoint")
	}
	w.Must(w.PutEndpoints(ctx, d.ID, []sealpost.Endpoint{w.Token("fourth")}))
	if work := w.Work(all); len(work) != 1 || work[0].Endpoint.Reveal() != "fourth" || work[0].Number != 2 {
		t.Errorf("the retry with a new endpoint: %d tries", len(work))
	}
}

func nonces(t *testing.T, w *World) {
	ctx := context.Background()
	key, nonce := sealpost.KeyID{1}, [16]byte{2}
	until := w.Now.Add(time.Minute)
	fresh := func(when string, key sealpost.KeyID, nonce [16]byte, want bool) {
		t.Helper()
		got, err := w.Nonce(ctx, key, nonce, until)
		w.Must(err)
		if got != want {
			t.Errorf("%s: fresh is %v", when, got)
		}
	}
	fresh("first", key, nonce, true)
	fresh("again", key, nonce, false)
	fresh("another nonce", key, [16]byte{3}, true)
	fresh("another key", sealpost.KeyID{2}, nonce, true)
	w.Reopen()
	fresh("after opening again", key, nonce, false) // R44
	w.Must(w.Sweep(ctx, until))
	fresh("in the last moment", key, nonce, false)
	w.Must(w.Sweep(ctx, until+1))
	fresh("after its window", key, nonce, true)

	const callers = 32
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for range callers {
		wg.Go(func() {
			ok, err := w.Nonce(ctx, key, [16]byte{9}, until)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				wins++
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("one nonce was fresh %d times", wins)
	}
}

func apiKeys(t *testing.T, w *World) {
	ctx := context.Background()
	k := sealpost.APIKey{Name: "ci", App: w.App, Hash: sha256.Sum256([]byte("secret")), Scopes: sealpost.ScopeSend | sealpost.ScopeRead, Created: w.Now}
	w.Must(w.PutAPIKey(ctx, k))
	if got, err := w.APIKey(ctx, k.Hash); err != nil || got != k {
		t.Errorf("%+v, %v", got, err)
	}
	twin := k
	twin.Hash[0] ^= 1
	if err := w.PutAPIKey(ctx, twin); !errors.Is(err, sealpost.ErrConflict) {
		t.Errorf("the same name: %v", err)
	}
	twin.App = "other"
	w.Must(w.PutAPIKey(ctx, twin))
	twin.Name = "ci2"
	if err := w.PutAPIKey(ctx, twin); !errors.Is(err, sealpost.ErrConflict) {
		t.Errorf("the same secret: %v", err)
	}
	if err := w.RevokeAPIKey(ctx, w.App, "nothing", w.Now); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("revoke nothing: %v", err)
	}
	w.Must(w.RevokeAPIKey(ctx, w.App, "ci", w.Now))
	w.Must(w.RevokeAPIKey(ctx, w.App, "ci", w.Now+5))
	list, err := w.APIKeys(ctx, w.App)
	if err != nil || len(list) != 1 || list[0].Revoked != w.Now {
		t.Errorf("%+v, %v; want one, revoked at the first time", list, err)
	}
	if other, err := w.APIKeys(ctx, "other"); err != nil || len(other) != 1 || other[0].Revoked != 0 {
		t.Errorf("another tenant's: %+v, %v", other, err)
	}
}

func blobs(t *testing.T, w *World) {
	ctx := context.Background()
	r := Recipient("r")
	a, b := w.Enrol(r, w.Token("a")), w.Enrol(r, w.Token("b"))
	m := w.Message(r)
	w.MustHold(m)
	there := func(when string, d Device, want bool) {
		t.Helper()
		w.Must(w.Sweep(ctx, w.Now))
		got, err := w.Arrival(ctx, d.ID, m.ID)
		if want && (err != nil || !bytes.Equal(got.Blob, m.Blob)) || !want && !errors.Is(err, sealpost.ErrNotFound) {
			t.Errorf("%s: %v", when, err)
		}
	}
	there("nobody has it", a, true)
	w.MustHold(w.Receipt(m, a, sealpost.HandedOver))
	there("one of two has it", b, true)
	w.MustHold(w.Receipt(m, a, sealpost.Decrypted))
	w.CloseAs(m.ID, sealpost.Delivered)
	there("one of two opened it", b, true)
	w.MustHold(w.Receipt(m, b, sealpost.HandedOver))
	there("both have it", b, false)
	// R8: what the relay proves does not need the blob.
	if got, err := w.Records(ctx, w.App, m.ID); err != nil || len(got) != 5 {
		t.Errorf("%d records without the blob, %v", len(got), err)
	}
	m = w.Message(r)
	w.MustHold(m, w.Receipt(m, a, sealpost.Decrypted))
	w.CloseAs(m.ID, sealpost.Delivered)
	there("the other may still want it", b, true)
	w.Now = m.Commitment.Expires
	there("it expired", b, false)
}

func pages(t *testing.T, w *World) {
	ctx := context.Background()
	mine, theirs := w.App, "other"
	var want []sealpost.MessageID
	for range 30 { // two tenants, over several of whatever the store groups rows by
		group := make([]sealpost.Hold, 100)
		for i := range group {
			w.App = theirs
			if i == 41 {
				w.App = mine
			}
			group[i] = w.Message(Recipient("nobody"))
		}
		w.MustHold(group...)
		want = append(want, group[41].ID)
	}
	var got []sealpost.MessageID
	for after, n := uint64(0), 0; n < 10; n++ {
		page, err := w.Messages(ctx, mine, after, 7)
		w.Must(err)
		for _, m := range page {
			got, after = append(got, m.ID), m.Seq
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages of 7 gave %d messages, want %d in order", len(got), len(want))
	}
	if none, err := w.Messages(ctx, "nobody", 0, 10); err != nil || len(none) != 0 {
		t.Errorf("an unknown tenant: %d, %v", len(none), err)
	}
}

func reopen(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m, open := w.Message(d.Recipient), w.Message(d.Recipient)
	w.MustHold(m, w.Receipt(m, d, sealpost.Decrypted), open)
	w.CloseAs(m.ID, sealpost.Delivered)
	before, err := w.Records(ctx, w.App, m.ID)
	w.Must(err)
	size, _ := w.Size(ctx)
	w.Reopen()
	after, err := w.Records(ctx, w.App, m.ID)
	w.Must(err)
	if !slices.EqualFunc(before, after, sameRecord) {
		t.Error("records changed")
	}
	if work := w.Work(all); len(work) != 1 || work[0].Message.ID != open.ID {
		t.Errorf("%d tries after opening again", len(work))
	}
	if held := w.MustHold(w.Message(d.Recipient)); held[0].Record.Seq != size {
		t.Errorf("the next seq is %d, want %d", held[0].Record.Seq, size)
	}
	if got := w.HoldOne(m); !got.Again {
		t.Errorf("a message from before: %v", got.Err)
	}
}

// What is asked for in a context that has ended changes nothing.
func endedContext(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m, lost := w.Message(d.Recipient), w.Message(d.Recipient)
	w.MustHold(m)
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{[]byte("package")}, nil))
	e := w.Invite(d.Recipient)
	_, a := w.Answer(e, nil, nil)
	k := sealpost.APIKey{Name: "ci", App: w.App, Hash: sha256.Sum256([]byte("secret")), Scopes: sealpost.ScopeSend, Created: w.Now}
	next := e
	next.ID[0], next.Challenge[0] = ^next.ID[0], ^next.Challenge[0]
	calls := []struct {
		name string
		do   func(context.Context) error
	}{
		{"spool", func(ctx context.Context) error { return second(w.Spool(ctx, [][]byte{lost.Blob})) }},
		{"hold", func(ctx context.Context) error { return second(w.Hold(ctx, []sealpost.Hold{lost})) }},
		{"claim work", func(ctx context.Context) error {
			work, err := w.ClaimWork(ctx, w.Now, w.Now.Add(time.Minute), all, 1)
			if err == nil && len(work) != 1 {
				err = errors.New("nothing is left to claim")
			}
			return err
		}},
		{"invite", func(ctx context.Context) error { return w.PutEnrolment(ctx, next) }},
		{"answer", func(ctx context.Context) error { return w.AnswerEnrolment(ctx, e.ID, a) }},
		{"put a KeyPackage", func(ctx context.Context) error { return w.PutPackages(ctx, d.ID, [][]byte{[]byte("another")}, nil) }},
		{"claim a KeyPackage", func(ctx context.Context) error {
			c, err := w.ClaimPackage(ctx, w.App, d.ID)
			if err == nil && c.Left != 1 {
				err = fmt.Errorf("%d KeyPackages are left, want 1", c.Left)
			}
			return err
		}},
		{"put endpoints", func(ctx context.Context) error { return w.PutEndpoints(ctx, d.ID, nil) }},
		{"nonce", func(ctx context.Context) error {
			fresh, err := w.Nonce(ctx, d.ID, [16]byte{7}, w.Now)
			if err == nil && !fresh {
				err = errors.New("the nonce was used")
			}
			return err
		}},
		{"put an API key", func(ctx context.Context) error { return w.PutAPIKey(ctx, k) }},
		{"revoke an API key", func(ctx context.Context) error { return w.RevokeAPIKey(ctx, w.App, "ci", w.Now) }},
	}
	ended, end := context.WithCancel(ctx)
	end()
	for _, c := range calls {
		if err := c.do(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s after the context ended: %v", c.name, err)
		}
	}
	for _, c := range calls { // each as if for the first time
		if err := c.do(ctx); err != nil {
			t.Errorf("%s after one that changed nothing: %v", c.name, err)
		}
	}
}

// spooledAhead: what is spooled before its hold is the message's blob, and what is
// given up is nobody's.
func spooledAhead(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"))
	first, lost, last := w.Message(d.Recipient), w.Message(d.Recipient), w.Message(d.Recipient)
	spooled, err := w.Spool(ctx, [][]byte{first.Blob, lost.Blob, last.Blob})
	w.Must(err)
	if len(spooled) != 3 || spooled[0] == spooled[1] || spooled[1] == spooled[2] || slices.Contains(spooled, sealpost.Spooled{}) {
		t.Fatalf("three blobs were spooled to %v", spooled)
	}
	first.Spooled, last.Spooled = spooled[0], spooled[2]
	w.MustHold(first, last)
	w.Must(w.GiveUp(spooled[1:2]))
	for range 2 {
		w.Must(w.Sweep(ctx, w.Now))
		got, err := w.Arrivals(ctx, d.ID, 0, all, 10)
		if err != nil || len(got) != 2 || !bytes.Equal(got[0].Blob, first.Blob) || !bytes.Equal(got[1].Blob, last.Blob) {
			t.Errorf("%d messages arrive, want the two with their blobs; %v", len(got), err)
		}
		w.Reopen()
	}
	if none, err := w.Spool(ctx, nil); err != nil || len(none) != 0 {
		t.Errorf("no blobs are spooled to %d places, %v", len(none), err)
	}
}
