package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/mls"
)

// R1, R2: nothing that the relay is handed holds a content, a customer's id, or
// the caller's own transaction id, in clear.
func TestNoPlaintextLeaves(t *testing.T) {
	w := newWorld(t)
	const phoneNumber, canary, transaction = "+491511234567", "CANARY-7f3a91", "order-20261124-77"
	p := w.enrol(phoneNumber, sealpost.EdDSA)
	id := w.send(Message{To: phoneNumber, Template: TemplateAccount, Transaction: transaction, Correlation: transaction,
		Data: map[string]string{"change": canary}})
	n := must(p.Handle(w.ctx, w.push(id)))(t)
	if !strings.Contains(n.Text, canary) {
		t.Fatal("the canary did not arrive, so its absence proves nothing")
	}
	if err := errors.Join(p.Displayed(w.ctx, id), p.Acted(w.ctx, id)); err != nil {
		t.Fatal(err)
	}
	w.relay.close(id)
	must(w.sender.Sync(w.ctx, id))(t)
	for _, text := range []string{canary, phoneNumber, transaction, "Your account"} {
		if w.relay.saw(text) {
			t.Errorf("the relay was handed %q", text)
		}
	}
	if !w.relay.saw("bank") { // the app id is public; without it the search finds nothing at all
		t.Errorf("the search does not work")
	}
}

// DESIGN section 12, Identifiers: pseudonyms are keyed, stable, at most 64
// bytes, and different for each purpose, app and key.
func TestPseudonyms(t *testing.T) {
	w := newWorld(t)
	again := w.newSender(w.store)
	other := w.newSender(NewMemoryStore())
	r := w.sender.Recipient("+491511234567")
	if r != again.Recipient("+491511234567") || r == other.Recipient("+491511234567") || r == w.sender.Recipient("+491511234568") {
		t.Errorf("pseudonyms of recipients")
	}
	a, b := w.sender.names.name(labelTransaction, "x"), w.sender.names.name(labelCorrelation, "x")
	if a == b || len(a) > sealpost.NameMax || !sealpost.IsName(a) {
		t.Errorf("pseudonyms %q %q", a, b)
	}
	p := w.enrol("c1", sealpost.EdDSA)
	_ = p
	first := w.send(Message{To: "c1", Template: TemplateOTP, Data: map[string]string{"code": "1111"}, Transaction: "same"})
	second := w.send(Message{To: "c1", Template: TemplateOTP, Data: map[string]string{"code": "2222"}, Transaction: "same"})
	if x, y := w.commitment(first), w.commitment(second); x.Transaction != y.Transaction || x.Correlation != "" {
		t.Errorf("transactions %q %q", x.Transaction, y.Transaction)
	}
}

func (w *world) commitment(id sealpost.MessageID) sealpost.Commitment {
	w.t.Helper()
	return must(must(sealpost.Parse(must(w.sender.message(id))(w.t).Statement))(w.t).Commitment())(w.t)
}

// R3: commitments under SHA-384 and SHA-512 are made, opened and matched too.
func TestHashAlgorithms(t *testing.T) {
	for _, alg := range []sealpost.HashAlg{sealpost.SHA256, sealpost.SHA384, sealpost.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			w := newWorld(t)
			w.alg = alg
			w.sender = w.newSender(w.store)
			p := w.enrol("c1", sealpost.EdDSA)
			id := w.send(otp("c1", "483920"))
			if c := w.commitment(id); c.HashAlg != alg || len(c.C) != alg.Size() {
				t.Errorf("commitment under %v with %d bytes", c.HashAlg, len(c.C))
			}
			must(p.Handle(w.ctx, w.push(id)))(t)
		})
	}
	if _, err := NewSender(SenderConfig{HashAlg: -99}); err == nil || !strings.Contains(err.Error(), "HashAlg") {
		t.Errorf("unknown algorithm: %v", err)
	}
}

// DESIGN section 12, Commitment: sealed plaintexts have one of three lengths, on
// both suites, whatever is inside; what does not fit is refused.
func TestPadding(t *testing.T) {
	long := Template{Name: "long", TTL: time.Minute, Release: sealpost.ReleaseHeld, Carriers: []sealpost.Carrier{sealpost.FCM},
		Privacy: sealpost.SealedBlob, Assurance: sealpost.AssuranceSoftware,
		Fields: []Field{{"what", func(string) bool { return true }, ""}},
		Text: func(v map[string]string) string {
			return v["what"] + v["what"] + v["what"] + v["what"] + v["what"] + v["what"]
		}}
	for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
		t.Run(alg.String(), func(t *testing.T) {
			w := newWorld(t)
			w.sender.templates["long"] = long
			w.enrol("c1", alg)
			// The first message's envelope holds the Welcome; what counts is the message.
			lengths := map[int]int{}
			for n := 1; n <= 226; n += 15 {
				id, err := w.sender.Send(w.ctx, Message{To: "c1", Template: "long", Data: map[string]string{"what": strings.Repeat("x", n)}})
				if err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				lengths[len(w.envelope(id).Message)]++
			}
			if len(lengths) < 2 || len(lengths) > 3 {
				t.Errorf("lengths of sealed messages: %v", lengths)
			}
		})
	}
	for n := range 3000 {
		total := n + padding(n)
		if n <= payloadMax+sealOverhead && total != 512+80 && total != 1024+80 && total != 2048+80 {
			t.Fatalf("%d bytes are padded to %d", n, total)
		}
	}
	w := newWorld(t)
	w.alg = sealpost.SHA512
	w.sender = w.newSender(w.store)
	w.enrol("c1", sealpost.EdDSA)
	long.Text = func(v map[string]string) string { return strings.Repeat("x", sealpost.TextMax) }
	w.sender.templates["long"] = long
	if _, err := w.sender.Send(w.ctx, Message{To: "c1", Template: "long", Data: map[string]string{"what": strings.Repeat("x", 256)}}); !errors.Is(err, ErrTooLong) {
		t.Errorf("a payload beyond the largest size: %v", err)
	}
}

// R58: no level implies another, and each is signed only when it is true.
func TestLevels(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	if err := p.Displayed(w.ctx, id); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("displayed before it came: %v", err)
	}
	must(p.Handle(w.ctx, w.push(id)))(t)
	if err := p.Acted(w.ctx, id); !errors.Is(err, ErrLevel) {
		t.Errorf("acted before it was displayed: %v", err)
	}
	p.wantSigned(t, id, sealpost.HandedOver, sealpost.Decrypted)
	for range 2 { // the second time signs nothing new
		if err := errors.Join(p.Displayed(w.ctx, id), p.Acted(w.ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	w.wantReceipts(id, sealpost.HandedOver, sealpost.Decrypted, sealpost.Displayed, sealpost.Acted)
	c := w.commitment(id)
	m := must(w.sender.message(id))(t)
	payload := must(sealpost.DecodePayload(m.Payload))(t)
	signed := must(sealpost.Parse(m.Statement))(t)
	for _, r := range must(p.Receipts(id))(t) {
		want := []byte(nil)
		if r.Level.Positive() {
			sum := sealpost.Opened(payload.R, signed.Hash(), p.ID(), r.Level)
			want = sum[:]
		}
		if r.Commitment != signed.Hash() || r.Blob != c.Blob || r.Roster != c.Roster || r.Key != p.ID() || !bytes.Equal(r.Opened, want) {
			t.Errorf("receipt %v: %+v", r.Level, r)
		}
	}
}

// A receipt carries the newest checkpoint that the device holds.
func TestReceiptsCarryTheHead(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	must(p.Handle(w.ctx, id[:]))(t) // a ticket: the fetched arrival brings the proof
	for _, r := range must(p.Receipts(id))(t) {
		if _, err := p.log.read([]byte(r.Checkpoint)); err != nil {
			t.Errorf("receipt %v: checkpoint %q: %v", r.Level, r.Checkpoint, err)
		}
	}
	// And a commitment names the newest head that its sender knew.
	must(w.sender.Sync(w.ctx, id))(t)
	second := w.send(otp("c1", "483921"))
	if head := w.commitment(second).NotBefore; head.Size == 0 {
		t.Errorf("not-before is empty after a sync")
	}
}

// DESIGN section 12, Log: a newer checkpoint counts only with a proof that it
// extends the one held, and two that cannot both be honest are kept.
func TestCheckpoints(t *testing.T) {
	w := newWorld(t)
	log, store := w.relay.log, NewMemoryStore()
	for i := range 700 { // several tiles
		log.append(sealpost.MakeLeaf(sealpost.Salt{byte(i), byte(i >> 8)}, nil))
	}
	view := must(newLogView(log.vkey, w.relay))(t)
	size := func() uint64 {
		var c checkpoint
		if err := store.View(func(tx Tx) (err error) { c, err = held(tx); return err }); err != nil {
			t.Fatal(err)
		}
		return c.Head.Size
	}
	for _, n := range []int64{300, 5, 300, 513, log.size} {
		if err := view.advance(w.ctx, store, log.checkpoint(n), 0); err != nil {
			t.Fatalf("size %d: %v", n, err)
		}
	}
	if size() != uint64(log.size) {
		t.Errorf("holds size %d, want %d", size(), log.size)
	}
	// Without tiles nothing newer is taken.
	log.append(sealpost.Leaf{})
	blind := must(newLogView(log.vkey, nil))(t)
	if err := blind.advance(w.ctx, store, log.checkpoint(log.size), 0); !errors.Is(err, errUnproven) {
		t.Errorf("an unproven checkpoint: %v", err)
	}
	// A second history at the same size, and one that is longer.
	for _, n := range []int64{int64(size()), int64(size()) + 1} {
		lie := log.signHead(n, [32]byte{7})
		err := view.advance(w.ctx, store, lie, 0)
		if n == int64(size()) {
			if fork, forked := errors.AsType[*ForkError](err); !forked || !bytes.Equal(fork.Shown, lie) || len(fork.Held) == 0 {
				t.Errorf("a fork: %v", err)
			}
		} else if err == nil {
			t.Errorf("a longer history without proof was taken")
		}
	}
	other := newMemoryLog(t)
	other.append(sealpost.Leaf{})
	if err := view.advance(w.ctx, store, other.checkpoint(1), 0); err == nil {
		t.Errorf("another log's checkpoint was taken")
	}
	// A log that rewrote its past: consistent with itself, not with what is held.
	forked := newMemoryLog(t)
	forked.signer, forked.vkey = log.signer, log.vkey
	for i := range 900 {
		forked.append(sealpost.MakeLeaf(sealpost.Salt{1, byte(i), byte(i >> 8)}, nil))
	}
	w.relay.log = forked
	if _, is := errors.AsType[*ForkError](view.advance(w.ctx, store, forked.checkpoint(forked.size), 0)); !is {
		t.Errorf("a rewritten history was not seen as a fork")
	}
	if faults := must(listFaults(store))(t); len(faults) != 2 {
		t.Errorf("%d forks were kept, want 2", len(faults))
	}
}

// A sequence number that never comes is signed as a gap, once, after the
// message that showed it has expired; one that comes late in time is not.
func TestGaps(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	var ids []sealpost.MessageID
	for i := range 6 {
		ids = append(ids, w.send(otp("c1", fmt.Sprintf("%06d", i))))
	}
	for _, i := range []int{0, 2, 5} { // 1, 3 and 4 are missing
		must(p.Handle(w.ctx, w.push(ids[i])))(t)
	}
	must(p.Handle(w.ctx, w.push(ids[3])))(t) // late, in time
	suppress := func() {
		w.relay.mu.Lock()
		defer w.relay.mu.Unlock()
		for _, i := range []int{1, 4} {
			delete(w.relay.messages, ids[i])
		}
	}
	suppress()
	must(p.Sync(w.ctx, 0))(t)
	for _, id := range ids {
		for _, r := range must(p.Receipts(id))(t) {
			if r.Level == sealpost.Gap {
				t.Errorf("a gap before anything expired")
			}
		}
	}
	w.pass(5*time.Minute + time.Millisecond)
	for range 2 {
		must(p.Sync(w.ctx, 0))(t)
	}
	w.wantReceipts(ids[2], sealpost.HandedOver, sealpost.Decrypted, sealpost.Gap)
	w.wantReceipts(ids[5], sealpost.HandedOver, sealpost.Decrypted, sealpost.Gap)
	w.wantReceipts(ids[3], sealpost.HandedOver, sealpost.Decrypted)
	if faults := must(p.Faults())(t); len(faults) != 0 {
		t.Errorf("faults: %+v", faults)
	}
}

// A sender that forks its sequence is seen: a number used twice, and another
// predecessor than the one held.
func TestForkedSequence(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "100001")))))(t)
	r := w.sender.Recipient("c1")
	back := func(s sequenceRecord) {
		if err := w.store.Update(func(tx Tx) error { return save(tx, sequenceKey(r), s) }); err != nil {
			t.Fatal(err)
		}
	}
	back(sequenceRecord{})
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "100002")))))(t)
	back(sequenceRecord{1, sealpost.Hash{1}})
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "100003")))))(t)
	if faults := must(p.Faults())(t); len(faults) != 2 {
		t.Errorf("faults: %+v", faults)
	}
}

// All devices of a recipient share one suite: the invitation says which, and a
// device with another leaf key is refused.
func TestOneSuitePerRecipient(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("c1", sealpost.ES256)
	b := w.enrol("c1", sealpost.EdDSA) // its signing key is Ed25519, its leaf key follows the invitation
	id := w.send(otp("c1", "483920"))
	for _, p := range []*phone{a, b} {
		must(p.Handle(w.ctx, w.push(id)))(t)
	}
	d := must(w.sender.device(b.ID()))(t)
	if d.Leaf.Alg() != sealpost.ES256 || d.Key.Alg() != sealpost.EdDSA {
		t.Errorf("leaf key %v, signing key %v", d.Leaf.Alg(), d.Key.Alg())
	}
	// One that ignores the invitation.
	c := w.newPhone(sealpost.EdDSA)
	in := must(parseInvite(must(w.sender.Invite(w.ctx, "c1"))(t).Token.Reveal()))(t)
	in.LeafAlg = 0
	if err := c.AcceptInvite(w.ctx, must(in.token())(t).Reveal(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sender.Approve(w.ctx); !errors.Is(err, ErrAnswer) {
		t.Errorf("another suite: %v", err)
	}
}

// A template that wants more than a software key is not sealed to one.
func TestAssurance(t *testing.T) {
	w := newWorld(t)
	w.enrol("c1", sealpost.EdDSA)
	strong := BuiltIn()[0]
	strong.Assurance = sealpost.AssuranceTEE
	w.sender.templates[TemplateOTP] = strong
	if _, err := w.sender.Send(w.ctx, otp("c1", "483920")); !errors.Is(err, ErrAssurance) {
		t.Errorf("send: %v", err)
	}
	if len(w.posted()) != 0 {
		t.Errorf("something was posted")
	}
}

// What cannot be sent is refused before anything is sealed.
func TestRefusedBeforeSealing(t *testing.T) {
	w := newWorld(t)
	if _, err := w.sender.Send(w.ctx, Message{To: "c1", Template: "none"}); !errors.Is(err, ErrTemplate) {
		t.Errorf("unknown template: %v", err)
	}
	if _, err := w.sender.Send(w.ctx, otp("stranger", "483920")); !errors.Is(err, ErrNoDevice) {
		t.Errorf("no device: %v", err)
	}
	w.enrol("c1", sealpost.EdDSA)
	for name, m := range map[string]Message{
		"no customer":        otp("", "483920"),
		"a long customer":    otp(strings.Repeat("1", CustomerMax+1), "483920"),
		"a long transaction": {To: "c1", Template: TemplateOTP, Data: map[string]string{"code": "1"}, Transaction: strings.Repeat("x", CustomerMax+1)},
		"no data":            {To: "c1", Template: TemplateOTP},
	} {
		if _, err := w.sender.Send(w.ctx, m); !errors.Is(err, ErrData) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.posted()) != 0 || w.relay.claims != 0 {
		t.Errorf("something was posted or claimed")
	}
}

// Secrets print as nothing, by any verb and encoder.
func TestSecretsDoNotPrint(t *testing.T) {
	w := newWorld(t)
	in := must(w.sender.Invite(w.ctx, "c1"))(t)
	plain := must(parseInvite(in.Token.Reveal()))(t)
	raw := fmt.Sprintf("%x", plain.Secret[:])
	values := []any{in, in.Token, plain, secret(plain.Secret[:]), inviteRecord{Secret: plain.Secret}, &inviteRecord{Secret: plain.Secret},
		messageRecord{Payload: secret(plain.Secret[:])}, enrolmentRecord{Invite: plain}, packageRecord{Secrets: secret(plain.Secret[:])}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			out := fmt.Sprintf(verb, v)
			for _, form := range leaks(plain.Secret[:], in.Token.Reveal()) {
				if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
					t.Errorf("%T by %s shows a secret", v, verb)
				}
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		js, _ := json.Marshal(v)
		for _, form := range leaks(plain.Secret[:], in.Token.Reveal()) {
			if strings.Contains(log.String(), form) || strings.Contains(string(js), form) {
				t.Errorf("%T is shown by slog or JSON", v)
			}
		}
	}
	if !strings.Contains(fmt.Sprintf("%x", plain.Secret[:]), raw) {
		t.Errorf("the search does not work")
	}
}

// leaks are the forms in which a secret would show.
func leaks(b []byte, token string) []string {
	js, _ := json.Marshal(b)
	list, _ := json.Marshal([8]byte(b[:8]))
	return []string{fmt.Sprintf("%x", b), strings.Trim(string(js), `"`), strings.Trim(fmt.Sprint(b[:8]), "[]"),
		strings.Trim(string(list), "[]"), token[20:]}
}

// DESIGN section 10: a bundle is built from the sender's own store with the
// relay stopped, reads back, and opens what it is asked to open.
func TestBundle(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("customer-4711", sealpost.EdDSA)
	id := w.send(Message{To: "customer-4711", Template: TemplatePayment, Data: map[string]string{"amount": "129.90", "currency": "EUR", "payee": "Baker"}})
	bundle := func(d Disclose) *evidence.Bundle {
		t.Helper()
		return must(evidence.ParseBundle(must(must(w.sender.Bundle(id, d))(t).Encode())(t)))(t)
	}
	if b := bundle(Disclose{}); len(b.Exhibits) != 3 || b.Disclosed != nil { // commitment, two key events: no sync yet
		t.Errorf("before the sync: %d exhibits", len(b.Exhibits))
	}
	must(p.Handle(w.ctx, w.push(id)))(t)
	w.relay.close(id)
	must(w.sender.Sync(w.ctx, id))(t)
	w.relay.refuse = func(call string) error { return errors.New("the relay is stopped") }
	b := bundle(Disclose{})
	if len(b.Exhibits) != 6 || len(b.Rosters) != 1 || b.Disclosed != nil {
		t.Errorf("%d exhibits, %d rosters", len(b.Exhibits), len(b.Rosters))
	}
	for _, x := range b.Exhibits {
		if len(x.Proof) == 0 {
			t.Errorf("an exhibit without proof")
		}
	}
	raw := must(b.Encode())(t)
	for _, hidden := range []string{"129.90", "Baker", "customer-4711"} {
		if bytes.Contains(raw, []byte(hidden)) {
			t.Errorf("the bundle shows %q", hidden)
		}
	}
	one := must(bundle(Disclose{Fields: []string{"amount"}}).Encode())(t)
	if !bytes.Contains(one, []byte("129.90")) || bytes.Contains(one, []byte("Baker")) {
		t.Errorf("one field was to be opened, and no other")
	}
	if all := bundle(Disclose{All: true}); all.Disclosed == nil || len(all.Disclosed.Payload) == 0 {
		t.Errorf("nothing is disclosed")
	}
	if _, err := w.sender.Bundle(id, Disclose{Fields: []string{"none"}}); err == nil {
		t.Errorf("a field that is not there was disclosed")
	}
}

// The pool is filled up again, and expired packages are replaced.
func TestRefill(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	stocked := func() int {
		w.relay.mu.Lock()
		defer w.relay.mu.Unlock()
		return len(w.relay.devices[p.ID()].packages)
	}
	if stocked() != poolSize {
		t.Fatalf("%d KeyPackages at enrolment", stocked())
	}
	for range poolSize - poolLow + 1 {
		if err := w.store.Update(func(tx Tx) error { return tx.Delete(groupKey(w.sender.Recipient("c1"))) }); err != nil {
			t.Fatal(err)
		}
		must(p.Handle(w.ctx, w.push(w.send(otp("c1", "100001")))))(t)
	}
	if stocked() != poolLow-1 {
		t.Fatalf("%d KeyPackages left", stocked())
	}
	must(p.Sync(w.ctx, 0))(t)
	if stocked() != poolSize {
		t.Errorf("%d KeyPackages after the refill", stocked())
	}
	w.pass(packageLifetime * 3 / 4)
	must(p.Sync(w.ctx, 0))(t)
	if stocked() != 2*poolSize {
		t.Errorf("%d KeyPackages after most of their life", stocked())
	}
	// The relay's count stands, whatever the device's own is: somebody claimed, and no
	// Welcome came.
	d := w.relay.devices[p.ID()]
	for _, left := range []int{poolLow, poolLow - 1, 0} {
		d.packages, d.resort = d.packages[:left], nil
		must(p.Sync(w.ctx, 0))(t)
		want := poolSize
		if left >= poolLow {
			want = left
		}
		if stocked() != want || d.resort == nil {
			t.Errorf("the relay said %d are left and no last resort; after a Sync it has %d, last resort %v", left, stocked(), d.resort != nil)
		}
	}
	// Whoever empties the pool again and again does not fill the device's store.
	for range packagesKept {
		d.packages = nil
		must(p.Sync(w.ctx, 0))(t)
	}
	kept := 0
	if err := p.store.View(func(tx Tx) (err error) { kept, err = count(tx, packagePrefix); return err }); err != nil || kept > packagesKept+poolSize {
		t.Errorf("%d KeyPackages in the device's store, %v", kept, err)
	}
}

// MLS suites follow the leaf key.
func TestSuites(t *testing.T) {
	for alg, suite := range map[sealpost.Alg]mls.Suite{sealpost.EdDSA: mls.X25519AES128, sealpost.ES256: mls.P256AES128} {
		if suiteOf(alg) != suite || leafAlg(suite) != alg {
			t.Errorf("%v", alg)
		}
	}
}
