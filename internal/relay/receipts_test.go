package relay

import (
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// R59, R11: a receipt that is for another commitment, message, device or blob is
// refused, each by its own problem, and changes nothing.
func TestReceiptRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		second := newKey(t, sealpost.EdDSA)
		w.enrolDevice(second, sealpost.Recipient{2})
		s, other := w.send(), w.send()
		before := len(w.store.All())
		for name, c := range map[string]struct {
			spoil func(r *sealpost.Receipt)
			by    *sealpost.PrivateKey
			want  string
		}{
			"another message's commitment": {func(r *sealpost.Receipt) { r.Commitment = other.Statement().Hash() }, w.device, "wrong-commitment"},
			"another message":              {func(r *sealpost.Receipt) { r.ID = other.ID() }, w.device, "wrong-commitment"},
			"an unknown message":           {func(r *sealpost.Receipt) { r.ID[15] ^= 1 }, w.device, "not-found"},
			"another blob":                 {func(r *sealpost.Receipt) { r.Blob[0] ^= 1 }, w.device, "wrong-commitment"},
			"another roster":               {func(r *sealpost.Receipt) { r.Roster[0] ^= 1 }, w.device, "wrong-commitment"},
			"signed by another device":     {func(*sealpost.Receipt) {}, second, "wrong-device"},
			"in the name of another":       {func(r *sealpost.Receipt) { r.Key = second.Public().ID() }, w.device, "wrong-device"},
			"another recipient's device": {func(r *sealpost.Receipt) {
				r.Key = second.Public().ID()
			}, second, "not-found"},
		} {
			r := w.receipt(s, sealpost.Decrypted)
			c.spoil(&r)
			signed, err := sealpost.Sign(r, c.by)
			if err != nil {
				t.Fatal(err)
			}
			device := w.device
			if name == "another recipient's device" {
				device = second
			}
			v := w.relay.PostReceipts(t.Context(), device.Public().ID(), [][]byte{signed.Bytes()})[0]
			if got := problemOf(v); got != c.want {
				t.Errorf("%s: problem %q, want %q", name, got, c.want)
			}
		}
		if n := len(w.store.All()) - before; n != 0 {
			t.Fatalf("%d receipts were held", n)
		}
		if v := w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device); v.Accepted == nil {
			t.Errorf("the honest receipt: %v", v.Problem)
		}
	})
}

// A signature over a receipt is checked, of either algorithm, and a receipt that
// is no receipt is malformed.
func TestReceiptSignature(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		edwards := newKey(t, sealpost.EdDSA)
		w.enrolDevice(edwards, w.recipient)
		s := w.send()
		for _, device := range []*sealpost.PrivateKey{w.device, edwards} {
			r := w.receipt(s, sealpost.HandedOver)
			r.Key = device.Public().ID()
			signed, err := sealpost.Sign(r, device)
			if err != nil {
				t.Fatal(err)
			}
			bad := signed.Bytes()
			bad[len(bad)-9] ^= 1
			verdicts := w.relay.PostReceipts(t.Context(), device.Public().ID(),
				[][]byte{bad, signed.Bytes(), signed.Bytes()[1:], s.Statement().Bytes(), make([]byte, sealpost.StatementMax+1), signed.Bytes()})
			for i, want := range []string{"signature", "", "malformed", "malformed", "too-large", ""} {
				if got := problemOf(verdicts[i]); got != want {
					t.Errorf("%v, receipt %d: %q, want %q", device.Public().Alg(), i, got, want)
				}
			}
			if a := verdicts[5].Accepted; a == nil || !a.Again {
				t.Errorf("%v: the same receipt is not the same", device.Public().Alg())
			}
		}
	})
}

// A device that refuses says what it saw instead; the message ends refused.
func TestReceiptMismatch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		r := w.receipt(s, sealpost.Mismatch)
		r.Blob[0] ^= 1
		r.Reason = sealpost.ReasonCommitment
		if got := problemOf(w.postReceipt(r, w.device)); got != "wrong-commitment" {
			t.Errorf("another blob for another reason: %q", got)
		}
		r.Reason = sealpost.ReasonBlob
		if v := w.postReceipt(r, w.device); v.Accepted == nil {
			t.Errorf("another blob for that reason: %v", v.Problem)
		}
		time.Sleep(2 * CloseEveryDefault)
		if m, _ := w.store.Message(t.Context(), s.ID()); m.End != sealpost.Refused {
			t.Errorf("ended %v", m.End)
		}
	})
}

// A revoked device has no say any more, and a stranger never had one.
func TestReceiptRevoked(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.send()
		if _, err := w.relay.Inbox(t.Context(), w.device.Public().ID(), 0, 1, 0); err != nil {
			t.Fatal(err) // and its key is remembered
		}
		w.mustPost(sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice, App: bank, Created: w.now(), Key: w.device.Public()}, w.sender)
		if got := problemOf(w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device)); got != "revoked-key" {
			t.Errorf("a revoked device: %q", got)
		}
		if got := problemOf(w.submit(w.draft().seal(t))[0]); got != "recipient" {
			t.Errorf("a message for it: %q", got)
		}
		_, err := w.relay.Inbox(t.Context(), w.device.Public().ID(), 0, 1, 0)
		w.wantProblem("its inbox", err, api.ErrRevokedKey)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.start() // what is revoked stays so
		if got := problemOf(w.postReceipt(w.receipt(s, sealpost.Decrypted), w.device)); got != "revoked-key" {
			t.Errorf("after a restart: %q", got)
		}
		stranger := w.relay.PostReceipts(t.Context(), sealpost.KeyID{1}, [][]byte{nil})[0]
		if got := problemOf(stranger); got != "unknown-key" {
			t.Errorf("a stranger: %q", got)
		}
	})
}

// Inbox waits for a release, and for no longer than it is asked to.
func TestInbox(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.device.Public().ID()
		start := time.Now()
		list, err := w.relay.Inbox(t.Context(), id, 0, 10, 5000)
		if err != nil || len(list.Arrivals) != 0 || time.Since(start) != 5*time.Second {
			t.Fatalf("an empty inbox: %d messages after %v, %v", len(list.Arrivals), time.Since(start), err)
		}
		w.log.Hold()
		type answer struct {
			list []api.Arrival
			err  error
			took time.Duration
		}
		ask := func(after uint64) chan answer {
			c := make(chan answer, 1)
			begun := time.Now()
			go func() {
				list, err := w.relay.Inbox(t.Context(), id, after, 10, 30_000)
				c <- answer{list.Arrivals, err, time.Since(begun)}
			}()
			return c
		}
		early := ask(0)
		time.Sleep(time.Second)
		s := w.draft().seal(t)
		if v := w.submit(s)[0]; v.Accepted == nil {
			t.Fatal(v.Problem)
		}
		late := ask(0) // comes between hold and release
		time.Sleep(time.Second)
		if _, err := w.relay.Arrival(t.Context(), id, s.ID()); Problem(err).Type != api.ErrNotFound.Type {
			t.Errorf("an unreleased message is given out: %v", err)
		}
		w.log.Publish()
		for name, c := range map[string]chan answer{"early": early, "late": late} {
			a := <-c
			if a.err != nil || len(a.list) != 1 || a.took > 3*time.Second {
				t.Fatalf("%s: %d messages after %v, %v", name, len(a.list), a.took, a.err)
			}
			got, err := sealpost.ParseSealed(a.list[0].Sealed)
			if err != nil || got.ID() != s.ID() || len(a.list[0].Proof) == 0 || len(a.list[0].Promise) == 0 {
				t.Errorf("%s: not the message as it was sent, with its proof: %v", name, err)
			}
			if list, err := w.relay.Inbox(t.Context(), id, a.list[0].Seq, 10, 0); err != nil || len(list.Arrivals) != 0 {
				t.Errorf("after it: %d messages, %v", len(list.Arrivals), err)
			}
		}
		if len(w.relay.inboxes.waiting) != 0 || w.relay.inboxes.n != 0 {
			t.Error("somebody still waits")
		}
	})
}

// ReleaseHeld does not wait for the log; nothing else is released early.
func TestReleaseHeld(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.log.Hold()
		wake := w.relay.Wake()
		d := w.draft()
		d.c.Release = sealpost.ReleaseHeld
		early, logged := d.seal(t), w.draft().seal(t)
		for _, v := range w.submit(early, logged) {
			if v.Accepted == nil {
				t.Fatal(v.Problem)
			}
		}
		<-wake
		tried := w.tryOnce(sealpost.Accepted, 0)
		if len(tried) != 1 || tried[0].Attempt.ID != early.ID() {
			t.Errorf("%d tries are released before the log", len(tried))
		}
		list, err := w.relay.Inbox(t.Context(), w.device.Public().ID(), 0, 10, 1000)
		if err != nil || len(list.Arrivals) != 1 || list.Arrivals[0].Proof != nil {
			t.Errorf("%d messages before the log, %v", len(list.Arrivals), err)
		}
		w.log.Publish()
		<-wake
		if tried := w.tryOnce(sealpost.Accepted, 0); len(tried) != 1 || tried[0].Attempt.ID != logged.ID() {
			t.Errorf("%d tries are released by the log", len(tried))
		}
	})
}
