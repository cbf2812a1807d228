package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// now is the fake world's clock; a device signs with it too.
var now = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

// A world is a server end over rooms that keep what they were asked and give
// answers with every member set.
type world struct {
	t       *testing.T
	handler http.Handler
	logs    *lockedBuffer
	secret  string // of an API key of "bank" with every scope
	keys    map[sealpost.Hash]Caller
	device  *sealpost.PrivateKey
	devices map[sealpost.KeyID]sealpost.Device
	nonces  map[usedNonce]sealpost.UnixMilli
	fail    error // what every room answers, if it is set
	crash   any   // what every room panics with, if it is set
	again   bool
	mu      sync.Mutex
	asked   []string // names of the methods called
	callers []Caller
	args    []any
}

// A usedNonce is remembered for each key apart.
type usedNonce struct {
	key   sealpost.KeyID
	nonce [16]byte
}

func newWorld(t *testing.T) *world { return newWorldAt(t, "https://relay.example") }

func newWorldAt(t *testing.T, base string) *world {
	w := &world{t: t, logs: &lockedBuffer{}, keys: map[sealpost.Hash]Caller{}, devices: map[sealpost.KeyID]sealpost.Device{},
		nonces: map[usedNonce]sealpost.UnixMilli{}}
	const every = sealpost.ScopeSend | sealpost.ScopeRead | sealpost.ScopeEnrol | sealpost.ScopeManage
	w.secret = w.addKey("bank", every)
	w.device = newKey(t, sealpost.EdDSA)
	w.enrol(w.device)
	w.handler = NewServer(w.config(base))
	return w
}

func (w *world) config(base string) ServerConfig {
	return ServerConfig{Intake: w, Reading: w, Directory: w, DeviceRoad: w, Keys: w, Gate: w,
		Log: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, "log:"+r.URL.Path)
		}),
		Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(w.logs, nil)), BaseURL: base}
}

func (w *world) addKey(app string, scopes sealpost.Scope) string {
	secret, hash, err := NewSecret(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys[hash] = Caller{App: app, Scopes: scopes}
	return secret
}

func (w *world) enrol(k *sealpost.PrivateKey) {
	w.devices[k.Public().ID()] = sealpost.Device{App: "bank", Key: k.Public(), Leaf: k.Public(), Assurance: sealpost.AssuranceSoftware}
}

func newKey(t testing.TB, alg sealpost.Alg) *sealpost.PrivateKey {
	k, err := sealpost.GenerateKey(alg, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ask remembers a call.
func (w *world) ask(method string, caller Caller, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.callers, w.args = append(w.asked, method), append(w.callers, caller), append(w.args, args)
	if w.crash != nil {
		panic(w.crash)
	}
	return w.fail
}

func (w *world) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func (w *world) last() (method string, caller Caller, args []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		return "", Caller{}, nil
	}
	i := len(w.asked) - 1
	return w.asked[i], w.callers[i], w.args[i].([]any)
}

// do sends one request to the handler without a network.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// request makes a request with the world's API key.
func (w *world) request(method, target, media string, body []byte) *http.Request {
	r := httptest.NewRequest(method, "https://relay.example"+target, bytes.NewReader(body))
	r.RequestURI = target
	r.Header.Set("Authorization", "Bearer "+w.secret)
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	return r
}

// signed makes a request that the world's device signed.
func (w *world) signed(method, target, media string, body []byte) *http.Request {
	r := httptest.NewRequest(method, "https://relay.example"+target, bytes.NewReader(body))
	r.RequestURI = target
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if err := signDevice(r, body, w.device, now, rand.Reader); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// Values with every member set, so that a lost one shows.
var (
	someTime      = sealpost.UnixMilli(1790000000123)
	someID        = sealpost.MessageID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16}
	someEnrolment = sealpost.EnrolmentID(someID)
	someKey       = sealpost.KeyID{7, 7}
	someRecipient = sealpost.Recipient{9, 8}
	someAccepted  = Accepted{ID: someID, Salt: bytes.Repeat([]byte{5}, 32), Promise: bytes.Repeat([]byte{6}, 300), Again: true}
	someExhibit   = Exhibit{Seq: 4, Statement: Bytes("statement"), Salt: Bytes("salt"), Promise: Bytes("promise"), Proof: Bytes("proof")}
	someView      = MessageView{ID: someID, Created: someTime, Expires: someTime + 1, End: "delivered",
		Timeline: []Event{{Seq: 3, Kind: "receipt", Time: someTime, What: "decrypted", ETSI: "http://uri.etsi.org/x"}}}
	someInvitation = Invitation{Recipient: someRecipient[:], SecretHash: bytes.Repeat([]byte{3}, 32)}
	someInvited    = Invited{ID: someEnrolment, Challenge: bytes.Repeat([]byte{4}, 32), Expires: someTime}
	someAnswered   = EnrolmentView{ID: someEnrolment, Recipient: someRecipient[:], Challenge: Bytes("c"), Key: Bytes("k"), Leaf: Bytes("l"),
		ByKey: Bytes("bk"), ByLeaf: Bytes("bl"), Assurance: 1, MAC: Bytes("m")}
	somePackage   = ClaimedPackage{Device: someKey, KeyPackage: Bytes("kp"), Left: 9, LastResort: true}
	someArrival   = Arrival{Seq: 8, Sealed: Bytes("sealed"), Salt: Bytes("salt"), Promise: Bytes("promise"), Proof: Bytes("proof")}
	someArrivals  = Arrivals{[]Arrival{someArrival}, Pool{Left: 3, LastResort: true}}
	someKeyView   = KeyView{Name: "ci", Scopes: []string{"send", "read"}, Created: someTime, Revoked: true, Secret: "sp_once"}
	someEndpoints = []DeviceEndpoint{{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMToken, Value: "token"}}
)

func (w *world) Submit(_ context.Context, c Caller, batch []sealpost.Sealed) []Verdict {
	err := w.ask("Submit", c, batch)
	out := make([]Verdict, len(batch))
	for i, s := range batch {
		if err != nil {
			out[i].Problem = ProblemOf(err)
			continue
		}
		if s.IsZero() {
			out[i].Problem = ErrMalformed
			continue
		}
		a := someAccepted
		a.ID, a.Again = s.ID(), w.again
		out[i].Accepted = &a
	}
	return out
}

func (w *world) Message(_ context.Context, c Caller, id sealpost.MessageID) (MessageView, error) {
	return someView, w.ask("Message", c, id)
}

func (w *world) Messages(_ context.Context, c Caller, cursor string, limit int) ([]MessageView, string, error) {
	page := []MessageView{someView, someView}
	if limit > 0 {
		page = page[:min(limit, len(page))]
	}
	return page, "next", w.ask("Messages", c, cursor, limit)
}

func (w *world) Evidence(_ context.Context, c Caller, id sealpost.MessageID) ([]Exhibit, error) {
	return []Exhibit{someExhibit}, w.ask("Evidence", c, id)
}

func (w *world) Invite(_ context.Context, c Caller, in Invitation) (Invited, error) {
	return someInvited, w.ask("Invite", c, in)
}

func (w *world) Answered(_ context.Context, c Caller, limit int) ([]EnrolmentView, error) {
	return []EnrolmentView{someAnswered}, w.ask("Answered", c, limit)
}

func (w *world) PostKeyEvent(_ context.Context, c Caller, statement []byte) (Accepted, error) {
	return someAccepted, w.ask("PostKeyEvent", c, bytes.Clone(statement))
}

func (w *world) KeyEvents(_ context.Context, c Caller, r sealpost.Recipient) ([]Exhibit, error) {
	return []Exhibit{someExhibit}, w.ask("KeyEvents", c, r)
}

func (w *world) ClaimPackages(_ context.Context, c Caller, r sealpost.Recipient, devices []sealpost.KeyID) ([]ClaimedPackage, error) {
	return []ClaimedPackage{somePackage}, w.ask("ClaimPackages", c, r, devices)
}

func (w *world) Answer(_ context.Context, in Answer) error { return w.ask("Answer", Caller{}, in) }

func (w *world) Enrolment(_ context.Context, d sealpost.KeyID) (Exhibit, error) {
	return someExhibit, w.ask("Enrolment", Caller{Device: d})
}

func (w *world) Inbox(_ context.Context, d sealpost.KeyID, after uint64, limit, waitMS int) (Arrivals, error) {
	return someArrivals, w.ask("Inbox", Caller{Device: d}, after, limit, waitMS)
}

func (w *world) Arrival(_ context.Context, d sealpost.KeyID, id sealpost.MessageID) (Arrival, error) {
	return someArrival, w.ask("Arrival", Caller{Device: d}, id)
}

func (w *world) PostReceipts(_ context.Context, d sealpost.KeyID, receipts [][]byte) []Verdict {
	err := w.ask("PostReceipts", Caller{Device: d}, len(receipts))
	if _, known := w.devices[d]; !known && err == nil {
		err = ErrUnknownKey
	}
	out := make([]Verdict, len(receipts))
	for i := range receipts {
		a := someAccepted
		out[i].Accepted = &a
		if i == 1 {
			out[i] = Verdict{Problem: ErrBusy.After(3 * time.Second)}
		}
		if err != nil {
			out[i] = Verdict{Problem: ProblemOf(err)}
		}
	}
	return out
}

func (w *world) Stock(_ context.Context, d sealpost.KeyID, packages [][]byte, endpoints []DeviceEndpoint) error {
	return w.ask("Stock", Caller{Device: d}, len(packages), endpoints)
}

func (w *world) MakeKey(_ context.Context, c Caller, name string, scopes sealpost.Scope) (KeyView, error) {
	return someKeyView, w.ask("MakeKey", c, name, scopes)
}

func (w *world) ListKeys(_ context.Context, c Caller) ([]KeyView, error) {
	return []KeyView{someKeyView}, w.ask("ListKeys", c)
}

func (w *world) RevokeKey(_ context.Context, c Caller, name string) error {
	return w.ask("RevokeKey", c, name)
}

func (w *world) APIKey(_ context.Context, hash sealpost.Hash) (Caller, error) {
	c, ok := w.keys[hash]
	if !ok {
		return c, sealpost.ErrNotFound
	}
	return c, nil
}

func (w *world) Device(_ context.Context, key sealpost.KeyID) (sealpost.Device, error) {
	d, ok := w.devices[key]
	if !ok {
		return d, sealpost.ErrNotFound
	}
	return d, nil
}

func (w *world) Fresh(_ context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := usedNonce{key, nonce}
	_, used := w.nonces[n]
	w.nonces[n] = until
	return !used, nil
}

// sealedMessage is a well-formed submission of an app.
func sealedMessage(t testing.TB) sealpost.Sealed {
	t.Helper()
	k := newKey(t, sealpost.EdDSA)
	blob, err := sealpost.EncodeEnvelope(sealpost.Envelope{Message: []byte(strings.Repeat("m", 900))})
	if err != nil {
		t.Fatal(err)
	}
	created := sealpost.FromTime(now)
	id, err := sealpost.NewMessageID(created, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := sealpost.Commitment{ID: id, App: "bank", Transaction: "t1", Created: created, Expires: created + 60000,
		Canonicalization: sealpost.Canonicalization, HashAlg: sealpost.SHA256, Pattern: sealpost.PatternA,
		Carriers: []sealpost.Carrier{sealpost.FCM}, LeastPrivacy: sealpost.SealedBlob, Release: sealpost.ReleaseLogged,
		LeastAssurance: sealpost.AssuranceSoftware, Blob: blobHash(blob)}
	if _, err := sealpost.NewPayload(&c, sealpost.Content{Text: "code 123456"}, sealpost.Sequence{Number: 1}, "otp", rand.Reader); err != nil {
		t.Fatal(err)
	}
	signed, err := sealpost.Sign(c, k)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sealpost.NewSealed(signed, blob)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
