package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

func (w *world) wantProblem(what string, err error, want *api.Problem) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// A device's enrol event must be over the very answer of an open invitation.
func TestDeviceEnrolRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := newKey(t, sealpost.EdDSA)
		honest := w.invited(device, w.recipient)
		swapped := w.invited(newKey(t, sealpost.EdDSA), w.recipient)
		for name, c := range map[string]struct {
			spoil func(e *sealpost.KeyEvent)
			by    *sealpost.PrivateKey
			want  *api.Problem
		}{
			"another challenge":     {func(e *sealpost.KeyEvent) { e.Challenge = swapped.Challenge }, w.sender, api.ErrChallenge},
			"a key nobody answered": {func(e *sealpost.KeyEvent) { *e = w.strange(honest) }, w.sender, api.ErrChallenge},
			"another leaf":          {func(e *sealpost.KeyEvent) { w.leafOf(e, device) }, w.sender, api.ErrKeyEvent},
			"more assurance": {func(e *sealpost.KeyEvent) {
				d := *e.Device
				d.Assurance = sealpost.AssuranceStrongBox
				e.Device = &d
			}, w.sender, api.ErrKeyEvent},
			"by the device itself": {func(*sealpost.KeyEvent) {}, device, api.ErrUnknownKey},
		} {
			e := honest
			c.spoil(&e)
			_, err := w.post(e, c.by)
			w.wantProblem(name, err, c.want)
		}
		if a := w.mustPost(honest, w.sender); a.Again {
			t.Error("the honest event was held before")
		}
		if a := w.mustPost(honest, w.sender); !a.Again {
			t.Error("the same event is held twice")
		}
	})
}

// strange is the event for a key that answered nothing.
func (w *world) strange(e sealpost.KeyEvent) sealpost.KeyEvent {
	key := newKey(w.t, sealpost.EdDSA)
	e.Key = key.Public()
	w.leafOf(&e, key)
	return e
}

// leafOf gives an event a new leaf key, well signed.
func (w *world) leafOf(e *sealpost.KeyEvent, device *sealpost.PrivateKey) {
	leaf := newKey(w.t, sealpost.EdDSA)
	pair := sealpost.KeyPair(bank, e.Device.Recipient, device.Public(), leaf.Public())
	byKey, err1 := device.Sign(pair)
	byLeaf, err2 := leaf.Sign(pair)
	if err1 != nil || err2 != nil {
		w.t.Fatal(err1, err2)
	}
	d := *e.Device
	d.Leaf, d.ByKey, d.ByLeaf = leaf.Public(), byKey, byLeaf
	e.Device = &d
}

// An invitation is answered once, in time, with keys that sign each other.
func TestAnswerRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hash := make([]byte, 32)
		invite := func() api.Invited {
			in, err := w.relay.Invite(t.Context(), w.caller, api.Invitation{Recipient: w.recipient[:], SecretHash: hash})
			if err != nil {
				t.Fatal(err)
			}
			return in
		}
		in := invite()
		device := newKey(t, sealpost.EdDSA)
		honest := w.answer(in, device, w.recipient)
		for name, c := range map[string]struct {
			spoil func(a *api.Answer)
			want  *api.Problem
		}{
			"an unknown invitation": {func(a *api.Answer) { a.ID[15] ^= 1 }, api.ErrChallenge},
			"no key":                {func(a *api.Answer) { a.Key = a.Key[1:] }, api.ErrMalformed},
			"no leaf":               {func(a *api.Answer) { a.Leaf = nil }, api.ErrMalformed},
			"a short MAC":           {func(a *api.Answer) { a.MAC = a.MAC[1:] }, api.ErrMalformed},
			"the leaf did not sign": {func(a *api.Answer) { a.ByLeaf = a.ByKey }, api.ErrSignature},
			"the key did not sign":  {func(a *api.Answer) { a.ByKey = a.ByLeaf }, api.ErrSignature},
			"assurance without evidence": {func(a *api.Answer) {
				a.Assurance = sealpost.AssuranceTEE
			}, api.ErrMalformed},
			"an endpoint of no carrier": {func(a *api.Answer) { a.Endpoints = []api.DeviceEndpoint{{Carrier: sealpost.SMS, Kind: 1, Value: "x"}} }, api.ErrMalformed},
			"an empty endpoint":         {func(a *api.Answer) { a.Endpoints = []api.DeviceEndpoint{{Carrier: sealpost.FCM, Kind: 1}} }, api.ErrMalformed},
			"an empty KeyPackage":       {func(a *api.Answer) { a.KeyPackages = []api.Bytes{nil} }, api.ErrTooLarge},
			"an enrolled key":           {func(a *api.Answer) { *a = w.answer(in, w.device, w.recipient) }, api.ErrKeyEvent},
		} {
			a := honest
			c.spoil(&a)
			w.wantProblem(name, w.relay.Answer(t.Context(), a), c.want)
		}
		if err := w.relay.Answer(t.Context(), honest); err != nil {
			t.Fatalf("the honest answer: %v", err)
		}
		if err := w.relay.Answer(t.Context(), honest); err != nil {
			t.Errorf("the same answer again: %v", err)
		}
		other := w.answer(in, newKey(t, sealpost.EdDSA), w.recipient)
		w.wantProblem("a second answer", w.relay.Answer(t.Context(), other), api.ErrChallenge)
		two := w.answer(invite(), device, w.recipient)
		w.wantProblem("a key that answers twice", w.relay.Answer(t.Context(), two), api.ErrKeyEvent)
		late := w.answer(invite(), newKey(t, sealpost.EdDSA), w.recipient)
		time.Sleep(InviteForDefault)
		w.wantProblem("a late answer", w.relay.Answer(t.Context(), late), api.ErrChallenge)

		views, err := w.relay.Answered(t.Context(), w.caller, 10)
		if err != nil || len(views) != 1 || !bytes.Equal(views[0].Key, honest.Key) {
			t.Errorf("%d invitations are answered, %v", len(views), err)
		}
		if views, err := w.relay.Answered(t.Context(), api.Caller{App: "shop"}, 10); err != nil || len(views) != 0 {
			t.Errorf("another tenant sees %d answers, %v", len(views), err)
		}
	})
}

// A tenant's first key is one that the configuration names; the next are signed
// by one in force; a revoked one does not come back.
func TestSenderKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		second := newKey(t, sealpost.EdDSA)
		e := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: bank, Created: w.now(), Key: second.Public()}
		_, err := w.post(e, second)
		w.wantProblem("a key that enrols itself", err, api.ErrUnknownKey)
		other := e
		other.App = "shop"
		_, err = w.post(other, second)
		w.wantProblem("another tenant's", err, api.ErrWrongApp)
		w.mustPost(e, w.sender)
		e.Created++
		_, err = w.post(e, w.sender)
		w.wantProblem("a second enrolment", err, api.ErrKeyEvent)
		revoke := e
		revoke.Event = sealpost.Revoke
		revoke.Key = newKey(t, sealpost.EdDSA).Public()
		_, err = w.post(revoke, w.sender)
		w.wantProblem("a revocation of no key", err, api.ErrKeyEvent)
		revoke.Key = second.Public()
		w.mustPost(revoke, second) // a key may end itself
		revoke.Created++
		_, err = w.post(revoke, w.sender)
		w.wantProblem("a second revocation", err, api.ErrKeyEvent)
		e.Created++
		_, err = w.post(e, w.sender)
		w.wantProblem("a revoked key's return", err, api.ErrKeyEvent)
		e.Key = newKey(t, sealpost.EdDSA).Public()
		_, err = w.post(e, second)
		w.wantProblem("signed by a revoked key", err, api.ErrRevokedKey)
		_, err = w.relay.PostKeyEvent(t.Context(), w.caller, []byte("no statement"))
		w.wantProblem("no statement", err, api.ErrMalformed)
	})
}

// A device's enrolment is told once it is logged, to a device that is asked for
// by the key with which it answered.
func TestEnrolmentOfDevice(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := newKey(t, sealpost.EdDSA)
		id := device.Public().ID()
		if _, err := w.relay.Device(t.Context(), id); !errors.Is(err, api.ErrUnauthenticated) {
			t.Errorf("a stranger is let in: %v", err)
		}
		e := w.invited(device, w.recipient)
		if d, err := w.relay.Device(t.Context(), id); err != nil || d.Key != device.Public() {
			t.Errorf("an answering device is not let in: %v", err)
		}
		_, err := w.relay.Inbox(t.Context(), id, 0, 1, 0)
		w.wantProblem("its inbox", err, api.ErrUnknownKey)
		_, err = w.relay.Enrolment(t.Context(), id)
		w.wantProblem("its enrolment, not signed", err, api.ErrNotFound)
		w.log.Hold()
		w.mustPost(e, w.sender)
		_, err = w.relay.Enrolment(t.Context(), id)
		w.wantProblem("its enrolment, not logged", err, api.ErrNotFound)
		w.log.Publish()
		synctest.Wait()
		x, err := w.relay.Enrolment(t.Context(), id)
		if err != nil || len(x.Proof) == 0 {
			t.Fatalf("its enrolment: %v", err)
		}
		s, err := sealpost.Parse(x.Statement)
		if err != nil || s.KeyID() != w.sender.Public().ID() {
			t.Errorf("not the sender's statement: %v", err)
		}
		list, err := w.relay.KeyEvents(t.Context(), w.caller, w.recipient)
		if err != nil || len(list) != 2 {
			t.Errorf("%d key events, %v", len(list), err)
		}
		if list, err := w.relay.KeyEvents(t.Context(), api.Caller{App: "shop"}, w.recipient); err != nil || len(list) != 0 {
			t.Errorf("another tenant sees %d key events, %v", len(list), err)
		}
	})
}

// KeyPackages are claimed once, by the tenant, and not fast.
func TestClaimPackages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.device.Public().ID()
		claim := func() ([]api.ClaimedPackage, error) {
			return w.relay.ClaimPackages(t.Context(), w.caller, w.recipient, []sealpost.KeyID{id})
		}
		for name, ask := range map[string]func() ([]api.ClaimedPackage, error){
			"another tenant": func() ([]api.ClaimedPackage, error) {
				return w.relay.ClaimPackages(t.Context(), api.Caller{App: "shop"}, w.recipient, []sealpost.KeyID{id})
			},
			"another recipient": func() ([]api.ClaimedPackage, error) {
				return w.relay.ClaimPackages(t.Context(), w.caller, sealpost.Recipient{2}, []sealpost.KeyID{id})
			},
			"an unknown device": func() ([]api.ClaimedPackage, error) {
				return w.relay.ClaimPackages(t.Context(), w.caller, w.recipient, []sealpost.KeyID{{1}})
			},
		} {
			_, err := ask()
			w.wantProblem(name, err, api.ErrNotFound)
		}
		_, err := w.relay.ClaimPackages(t.Context(), w.caller, w.recipient, []sealpost.KeyID{id, id})
		w.wantProblem("twice in one", err, api.ErrMalformed)
		for i, want := range []string{"package 2", "package 1"} {
			list, err := claim()
			if err != nil || len(list) != 1 || string(list[0].KeyPackage) != want || list[0].Left != 1-i {
				t.Fatalf("claim %d: %+v, %v", i, list, err)
			}
		}
		_, err = claim()
		w.wantProblem("an empty pool", err, api.ErrNoPackage)
		if err := w.relay.Stock(t.Context(), id, [][]byte{[]byte("package 3")}, nil); err != nil {
			t.Fatal(err)
		}
		for range deviceClaimBurst - 3 {
			if _, err := claim(); err != nil && !errors.Is(err, api.ErrNoPackage) {
				t.Fatal(err)
			}
		}
		_, err = claim()
		w.wantProblem("too fast", err, api.ErrBusy)
		time.Sleep(deviceClaimEvery)
		_, err = claim()
		w.wantProblem("later", err, api.ErrNoPackage)

		w.mustPost(sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice, App: bank, Created: w.now(), Key: w.device.Public()}, w.sender)
		_, err = claim()
		w.wantProblem("a revoked device", err, api.ErrRevokedKey)
		_, err = w.relay.ClaimPackages(t.Context(), api.Caller{App: "shop"}, w.recipient, []sealpost.KeyID{id})
		w.wantProblem("another tenant's revoked device", err, api.ErrNotFound)
	})
}

// What one tenant reads is its own; pages follow each other.
func TestReading(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var ids []sealpost.MessageID
		for range 5 {
			ids = append(ids, w.send().ID())
		}
		shop := api.Caller{App: "shop"}
		_, err := w.relay.Message(t.Context(), shop, ids[0])
		w.wantProblem("another tenant's message", err, api.ErrNotFound)
		_, err = w.relay.Evidence(t.Context(), shop, ids[0])
		w.wantProblem("another tenant's evidence", err, api.ErrNotFound)
		_, err = w.relay.Message(t.Context(), w.caller, sealpost.MessageID{1})
		w.wantProblem("no message", err, api.ErrNotFound)
		if page, _, err := w.relay.Messages(t.Context(), shop, "", 10); err != nil || len(page) != 0 {
			t.Errorf("another tenant sees %d messages, %v", len(page), err)
		}
		var got []sealpost.MessageID
		for cursor, n := "", 0; n == 0 || cursor != ""; n++ {
			page, next, err := w.relay.Messages(t.Context(), w.caller, cursor, 2)
			if err != nil || n > 5 {
				t.Fatal(n, err)
			}
			for _, v := range page {
				got = append(got, v.ID)
			}
			cursor = next
		}
		if len(got) != len(ids) || got[4] != ids[4] {
			t.Errorf("%d of %d messages in the pages", len(got), len(ids))
		}
		for _, cursor := range []string{"x", "-1", "01", "18446744073709551615"} {
			_, _, err := w.relay.Messages(t.Context(), w.caller, cursor, 2)
			w.wantProblem("cursor "+cursor, err, api.ErrMalformed)
		}
	})
}

// API keys: made with no more rights than their maker has, found by their hash,
// gone once revoked.
func TestAPIKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		weak := api.Caller{App: bank, Scopes: sealpost.ScopeManage}
		_, err := w.relay.MakeKey(t.Context(), weak, "ci", sealpost.ScopeSend)
		w.wantProblem("more rights than one has", err, api.ErrForbidden)
		_, err = w.relay.MakeKey(t.Context(), w.caller, "a name", sealpost.ScopeSend)
		w.wantProblem("a name with a space", err, api.ErrMalformed)
		_, err = w.relay.MakeKey(t.Context(), w.caller, "ci", 0)
		w.wantProblem("no rights", err, api.ErrMalformed)
		made, err := w.relay.MakeKey(t.Context(), w.caller, "ci", sealpost.ScopeSend|sealpost.ScopeRead)
		if err != nil || made.Secret == "" {
			t.Fatal(err)
		}
		_, err = w.relay.MakeKey(t.Context(), w.caller, "ci", sealpost.ScopeSend)
		w.wantProblem("a taken name", err, api.ErrConflict)
		hash, ok := api.HashSecret(made.Secret)
		if !ok {
			t.Fatal("no secret of ours")
		}
		if c, err := w.relay.APIKey(t.Context(), hash); err != nil || c.App != bank || c.Scopes != sealpost.ScopeSend|sealpost.ScopeRead {
			t.Errorf("the key is found as %+v, %v", c, err)
		}
		_, err = w.relay.APIKey(t.Context(), sealpost.Hash{1})
		w.wantProblem("no key", err, api.ErrUnauthenticated)
		w.wantProblem("revoked by another tenant", w.relay.RevokeKey(t.Context(), api.Caller{App: "shop"}, "ci"), api.ErrNotFound)
		if err := w.relay.RevokeKey(t.Context(), w.caller, "ci"); err != nil {
			t.Fatal(err)
		}
		_, err = w.relay.APIKey(t.Context(), hash)
		w.wantProblem("a revoked key", err, api.ErrUnauthenticated)
		list, err := w.relay.ListKeys(t.Context(), w.caller)
		if err != nil || len(list) != 1 || !list[0].Revoked || list[0].Secret != "" {
			t.Errorf("listed as %+v, %v", list, err)
		}
		fresh, err := w.relay.Fresh(t.Context(), sealpost.KeyID{1}, [16]byte{1}, w.now().Add(time.Minute))
		if err != nil || !fresh {
			t.Errorf("a new nonce: %v, %v", fresh, err)
		}
		if fresh, _ := w.relay.Fresh(t.Context(), sealpost.KeyID{1}, [16]byte{1}, w.now().Add(time.Minute)); fresh {
			t.Error("a nonce is new twice")
		}
	})
}

// The operator hears that pools run low, at most once a minute and by counts alone;
// the metrics hear of each claim.
func TestPoolAlarm(t *testing.T) {
	var said bytes.Buffer
	a := &poolAlarm{logger: slog.New(slog.NewTextHandler(&said, nil))}
	now := time.Unix(1_790_000_000, 0)
	lines := func() int { return strings.Count(said.String(), "pools of KeyPackages run low") }
	a.note(sealpost.ClaimedPackage{Left: api.PoolLow}, now)
	if lines() != 0 {
		t.Fatalf("said of a pool that is full enough: %s", &said)
	}
	a.note(sealpost.ClaimedPackage{Left: api.PoolLow - 1}, now)
	if lines() != 1 || !strings.Contains(said.String(), "claims=1 last_resorts=0") {
		t.Fatalf("a low pool: %s", &said)
	}
	for range 3 {
		a.note(sealpost.ClaimedPackage{LastResort: true}, now.Add(poolAlarmEvery-1))
	}
	if lines() != 1 {
		t.Fatalf("said too often: %s", &said)
	}
	a.note(sealpost.ClaimedPackage{Left: 1}, now.Add(poolAlarmEvery))
	if lines() != 2 || !strings.Contains(said.String(), "claims=4 last_resorts=3") {
		t.Fatalf("a minute later: %s", &said)
	}
}
