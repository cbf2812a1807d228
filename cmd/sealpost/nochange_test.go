package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A relayState is all that a relay keeps: what its store and log count, and
// every file of its folder.
type relayState struct {
	held, logged uint64
	files        map[string][32]byte
}

func (b *bank) state() relayState {
	b.t.Helper()
	s := relayState{held: b.logged(), files: map[string][32]byte{}}
	var err error
	s.logged, err = b.server.log.IntegratedSize(b.t.Context())
	b.must(err)
	b.must(filepath.WalkDir(b.server.cfg.Data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, ".next") {
			return err // SQLite's index of readers, and a file that is on its way to another name
		}
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
		}
		s.files[strings.TrimPrefix(path, b.server.cfg.Data)] = sha256.Sum256(raw)
		return err
	}))
	return s
}

// changed names what differs between two states, but for files that a test
// passes over.
func (s relayState) changed(t relayState, over ...string) (out []string) {
	if s.held != t.held {
		out = append(out, "statements in the store")
	}
	if s.logged != t.logged {
		out = append(out, "leaves of the log")
	}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		if s.files[name] != t.files[name] && !slices.ContainsFunc(over, func(o string) bool { return strings.Contains(name, o) }) {
			out = append(out, name)
		}
	}
	for name := range s.files {
		if _, there := t.files[name]; !there {
			out = append(out, name+" is gone")
		}
	}
	return out
}

// unreferenced are the files that a submission reaches whose id is known.
var unreferenced = []string{"/spool/", "/sealpost.db"}

// post sends a body as a sender does and gives the status and the problem's name.
func (b *bank) post(target, media, secret string, body []byte) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), "POST", "http://"+b.server.listener.Addr().String()+target, bytes.NewReader(body))
	b.must(err)
	r.Header.Set("Content-Type", media)
	r.Header.Set("Accept", api.MediaJSON)
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	res, err := http.DefaultClient.Do(r)
	b.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	b.must(err)
	if res.StatusCode < 400 {
		return res.StatusCode, ""
	}
	var p api.Problem
	if media := res.Header.Get("Content-Type"); media != api.MediaProblemJSON || json.Unmarshal(raw, &p) != nil || p.Status != res.StatusCode {
		b.t.Errorf("status %d is no RFC 9457 problem: %s %s", res.StatusCode, media, raw)
	}
	return res.StatusCode, strings.TrimPrefix(p.Type, api.ProblemBase)
}

// R7: over HTTP, on a real relay, each way to spoil a submission has a problem
// type of its own, and none of them changes a byte of what the relay keeps. The
// same holds for one that is replayed: it is answered, and held once.
func TestRefusedSubmissionChangesNothing(t *testing.T) {
	b := newBank(t)
	stranger, revoked := bankKey(t), bankKey(t)
	for _, event := range []sealpost.Event{sealpost.Enrol, sealpost.Revoke} {
		s, err := sealpost.Sign(sealpost.KeyEvent{Event: event, Subject: sealpost.SubjectSender, App: bankApp, Created: b.stamp(), Key: revoked.Public()}, b.key)
		b.must(err)
		_, err = b.server.relay.PostKeyEvent(t.Context(), b.caller, s.Bytes())
		b.must(err)
	}
	honest := b.seal(b.draft())
	if status, problem := b.post("/v1/messages", api.MediaSubmission, b.secret, honest.Bytes()); status != http.StatusAccepted {
		t.Fatalf("an honest submission: %d %s", status, problem)
	}
	signed := func(spoil func(*draft)) []byte {
		d := b.draft()
		spoil(d)
		return b.seal(d).Bytes()
	}
	edited := func(old, new string) []byte { // after it was signed
		d := b.draft()
		statement := d.statement(t).Bytes()
		if bytes.Count(statement, []byte(old)) != 1 {
			t.Fatalf("%x stands %d times in the statement", old, bytes.Count(statement, []byte(old)))
		}
		raw, err := sealpost.Encode(struct {
			Commitment []byte `cbor:"1,keyasint"`
			Blob       []byte `cbor:"2,keyasint"`
		}{bytes.Replace(statement, []byte(old), []byte(new), 1), d.blob})
		b.must(err)
		return raw
	}
	b.until(func() error { // the relay knows of the revocation
		if _, problem := b.post("/v1/messages", api.MediaSubmission, b.secret, signed(func(d *draft) { d.key = revoked })); problem == "unavailable" {
			return api.ErrUnavailable
		}
		return nil
	})
	before := b.state()
	recipient := "\x08\x58\x20" + string(b.recipient[:])
	cases := map[string][]byte{
		"too-large":         make([]byte, sealpost.SubmissionMax+1),
		"malformed":         honest.Bytes()[:200],
		"unsigned-metadata": append(append([]byte{0xa3}, honest.Bytes()[1:]...), 3, 0x41, 't'),
		"unknown-algorithm": edited("\xa3\x01\x27\x03", "\xa3\x01\x22\x03"),
		"canonicalization":  edited("\x07\x01"+recipient, "\x07\x02"+recipient),
		"pattern":           edited("\x0e\x01\x0f\x41\x02", "\x0e\x02\x0f\x41\x02"),
		"blob-mismatch":     func() []byte { raw := b.seal(b.draft()).Bytes(); raw[len(raw)-1] ^= 1; return raw }(),
		"envelope":          signed(func(d *draft) { d.blob = []byte("no envelope") }),
		"wrong-app":         signed(func(d *draft) { d.c.App = "shop" }),
		"unknown-key":       signed(func(d *draft) { d.key = stranger }),
		"revoked-key":       signed(func(d *draft) { d.key = revoked }),
		"signature":         edited("\x63t-1", "\x63t-2"),
		"stale":             signed(func(d *draft) { d.c.Created -= sealpost.UnixMilli(sealpost.FreshnessWindow.Milliseconds()) + 1 }),
		"expired":           signed(func(d *draft) { d.c.Created = b.stamp() - 60_000; d.c.Expires = b.stamp() }),
		"recipient":         signed(func(d *draft) { d.c.Recipient = sealpost.Recipient{9} }),
		"carrier":           signed(func(d *draft) { d.c.Carriers = []sealpost.Carrier{sealpost.SMS} }),
		"unknown-head":      signed(func(d *draft) { d.c.NotBefore = sealpost.Head{Size: 2, Root: sealpost.Hash{1}} }),
		"conflict":          signed(func(d *draft) { d.c.ID = honest.ID(); d.blob = b.envelope(d.c) }),
	}
	for want, body := range cases {
		if status, got := b.post("/v1/messages", api.MediaSubmission, b.secret, body); got != want {
			t.Errorf("%s: %d %s", want, status, got)
		}
		// Only the store's own transaction knows that an id is taken. The blob lies
		// in the spool by then, with no row that names it, until the sweep.
		var over []string
		if want == "conflict" {
			over = unreferenced
		}
		if what := before.changed(b.state(), over...); len(what) > 0 {
			t.Errorf("%s changes %v", want, what)
		}
		before = b.state()
	}
	if len(cases) < 12 {
		t.Errorf("only %d ways", len(cases))
	}
	for want, c := range map[string]struct{ media, secret string }{
		"unauthenticated": {api.MediaSubmission, "sp_nobody"},
		"media-type":      {"text/plain", b.secret},
	} {
		if _, got := b.post("/v1/messages", c.media, c.secret, honest.Bytes()); got != want {
			t.Errorf("%s: %s", want, got)
		}
	}
	// All of them in one batch, and the honest one twice: held before.
	batch := [][]byte{honest.Bytes(), honest.Bytes()}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		if name != "too-large" {
			batch = append(batch, cases[name])
		}
	}
	raw, err := sealpost.Encode(batch)
	b.must(err)
	if status, problem := b.post("/v1/messages", api.MediaBatch, b.secret, raw); status != http.StatusOK {
		t.Errorf("a batch: %d %s", status, problem)
	}
	if status, problem := b.post("/v1/messages", api.MediaSubmission, b.secret, honest.Bytes()); status != http.StatusAccepted {
		t.Errorf("a replay: %d %s", status, problem)
	}
	if what := before.changed(b.state(), unreferenced...); len(what) > 0 {
		t.Errorf("a batch and a replay change %v", what)
	}
	before = b.state()
	// The relay is as good as before, and this check sees what changes.
	if status, problem := b.post("/v1/messages", api.MediaSubmission, b.secret, signed(func(*draft) {})); status != http.StatusAccepted {
		t.Errorf("an honest submission after all: %d %s", status, problem)
	}
	if what := strings.Join(before.changed(b.state()), " "); !strings.Contains(what, "statements") || !strings.Contains(what, "leaves") || !strings.Contains(what, "spool") {
		t.Errorf("an honest submission changes %q only", what)
	}
}

// R11, R59: so it is with receipts. The database may note the nonce of the
// request, which is remembered whatever the request is worth.
func TestRefusedReceiptChangesNothing(t *testing.T) {
	b := newBank(t)
	m := b.send()
	b.logged()
	client, err := api.NewDeviceClient("http://"+b.server.listener.Addr().String(), b.device, b.now, rand.Reader, nil)
	b.must(err)
	receipt := func(spoil func(*sealpost.Receipt), by sealpost.Signer) []byte {
		r := sealpost.Receipt{ID: m.ID(), Commitment: m.Statement().Hash(), Blob: m.Commitment().Blob, Roster: m.Commitment().Roster,
			Level: sealpost.HandedOver, Key: b.device.Public().ID(), DeviceTime: b.stamp()}
		spoil(&r)
		s, err := sealpost.Sign(r, by)
		b.must(err)
		return s.Bytes()
	}
	honest := receipt(func(*sealpost.Receipt) {}, b.device)
	stranger := bankKey(t)
	flipped := bytes.Clone(honest)
	flipped[len(flipped)-1] ^= 1
	before := b.state()
	for want, raw := range map[string][]byte{
		"malformed":        honest[:50],
		"too-large":        make([]byte, sealpost.StatementMax+1),
		"signature":        flipped,
		"wrong-device":     receipt(func(r *sealpost.Receipt) { r.Key = stranger.Public().ID() }, stranger),
		"wrong-commitment": receipt(func(r *sealpost.Receipt) { r.Commitment[0] ^= 1 }, b.device),
		"not-found":        receipt(func(r *sealpost.Receipt) { r.ID[15] ^= 1 }, b.device),
	} {
		v := client.PostReceipts(t.Context(), [][]byte{raw})
		if len(v) != 1 || v[0].Problem == nil || strings.TrimPrefix(v[0].Problem.Type, api.ProblemBase) != want {
			t.Errorf("%s: %+v", want, v)
		}
		if what := before.changed(b.state(), "sealpost.db"); len(what) > 0 {
			t.Fatalf("%s changes %v", want, what)
		}
	}
	for i := range 3 { // the honest one, and replays of it
		if v := client.PostReceipts(t.Context(), [][]byte{honest}); len(v) != 1 || v[0].Accepted == nil || v[0].Accepted.Again != (i > 0) {
			t.Fatalf("the honest receipt, time %d: %+v", i, v)
		}
	}
	if after := b.state(); after.held != before.held+1 || after.logged != before.logged+1 {
		t.Errorf("an honest receipt and its replays are %d statements and %d leaves", after.held-before.held, after.logged-before.logged)
	}
}
