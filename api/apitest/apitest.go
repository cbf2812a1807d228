// Package apitest is the contract of the rooms behind the conversation, as tests:
// what the server end relies on, of whatever implements its interfaces. The relay
// passes [Behind], and so do the rooms that the server end is tested with.
//
// It is no more than that. What a relay does with a message is the business of
// client/clienttest, which asks over HTTP.
package apitest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Rooms are all that a server end asks.
type Rooms interface {
	api.Intake
	api.Reading
	api.Directory
	api.DeviceRoad
	api.Keys
	api.Gate
}

// A Rig is rooms with one tenant that has an API key, and one enrolled device.
type Rig struct {
	Rooms   Rooms
	Caller  api.Caller    // a sender with every scope
	Key     sealpost.Hash // of the caller's API key
	Device  *sealpost.PrivateKey
	Now     func() sealpost.UnixMilli
	Message func() sealpost.Sealed         // to the device, honest and new
	Receipt func(m sealpost.Sealed) []byte // by the device, for a message that was submitted
}

// Behind is the contract.
func Behind(t *testing.T, rig func(t *testing.T, test func(t *testing.T, r Rig))) {
	for name, test := range map[string]func(*testing.T, Rig){
		"each item has a verdict, in order":      verdicts,
		"the gate tells who asks":                gate,
		"a nonce is new once":                    fresh,
		"a page is no longer than its limit":     pages,
		"an API key is made and listed":          keys,
		"what is left out is the caller's fault": zeros,
		"an ended context gets an answer":        contexts,
	} {
		t.Run(name, func(t *testing.T) { rig(t, test) })
	}
}

// answered wants one verdict for each item, exactly one half of each, and the
// accepted ones where they belong.
func answered(t *testing.T, what string, got []api.Verdict, accepted ...bool) {
	t.Helper()
	if len(got) != len(accepted) {
		t.Fatalf("%s: %d verdicts on %d items", what, len(got), len(accepted))
	}
	for i, v := range got {
		switch {
		case (v.Accepted == nil) == (v.Problem == nil):
			t.Errorf("%s, item %d: accepted %v and problem %v, want exactly one", what, i, v.Accepted, v.Problem)
		case (v.Accepted != nil) != accepted[i]:
			t.Errorf("%s, item %d: accepted %v, want %v; %v", what, i, !accepted[i], accepted[i], v.Problem)
		case v.Accepted != nil && (len(v.Accepted.Salt) != len(sealpost.Salt{}) || len(v.Accepted.Promise) == 0):
			t.Errorf("%s, item %d: a salt of %d bytes and a promise of %d", what, i, len(v.Accepted.Salt), len(v.Accepted.Promise))
		case v.Problem != nil && (v.Problem.Type == "" || v.Problem.Status < 400):
			t.Errorf("%s, item %d: a problem without a type, or with status %d", what, i, v.Problem.Status)
		}
	}
}

// R7: the server end writes verdicts as they come.
func verdicts(t *testing.T, r Rig) {
	ctx := t.Context()
	first, last := r.Message(), r.Message()
	got := r.Rooms.Submit(ctx, r.Caller, []sealpost.Sealed{first, {}, last})
	answered(t, "a batch", got, true, false, true)
	if !t.Failed() && (got[0].Accepted.ID != first.ID() || got[2].Accepted.ID != last.ID()) {
		t.Error("verdicts are not in the order of the submissions")
	}
	answered(t, "receipts", r.Rooms.PostReceipts(ctx, r.Device.Public().ID(), [][]byte{r.Receipt(first), []byte("receipt"), r.Receipt(last)}), true, false, true)
	answered(t, "no submission", r.Rooms.Submit(ctx, r.Caller, nil))
	answered(t, "no receipt", r.Rooms.PostReceipts(ctx, r.Device.Public().ID(), nil))
}

// isUnknown says whether the server end takes an answer of the gate for "nobody".
func isUnknown(err error) bool {
	p, typed := errors.AsType[*api.Problem](err)
	return errors.Is(err, sealpost.ErrNotFound) || typed && p.Status < 500
}

func gate(t *testing.T, r Rig) {
	ctx, id := t.Context(), r.Device.Public().ID()
	if got, err := r.Rooms.APIKey(ctx, r.Key); err != nil || got.App != r.Caller.App || got.Scopes != r.Caller.Scopes || got.Device != (sealpost.KeyID{}) {
		t.Errorf("the caller of the API key: %+v, %v", got, err)
	}
	if got, err := r.Rooms.Device(ctx, id); err != nil || got.Key != r.Device.Public() || got.App != r.Caller.App || got.Revoked != 0 {
		t.Errorf("the device: enrolled in %q, revoked at %d, %v", got.App, got.Revoked, err)
	}
	for i := range r.Key {
		wrong := r.Key
		wrong[i] ^= 1
		if got, err := r.Rooms.APIKey(ctx, wrong); !isUnknown(err) || got != (api.Caller{}) {
			t.Fatalf("an API key with another byte %d: %+v, %v", i, got, err)
		}
	}
	id[0] ^= 1
	if _, err := r.Rooms.Device(ctx, id); !isUnknown(err) {
		t.Errorf("a device that there is not: %v", err)
	}
}

// R44: of the callers that bring one nonce, one is the first.
func fresh(t *testing.T, r Rig) {
	ctx, id, until := t.Context(), r.Device.Public().ID(), r.Now().Add(time.Minute)
	const callers = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for range callers {
		wg.Go(func() {
			first, err := r.Rooms.Fresh(ctx, id, [16]byte{1}, until)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if first {
				wins++
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("one nonce was new %d times", wins)
	}
	if first, err := r.Rooms.Fresh(ctx, id, [16]byte{2}, until); err != nil || !first {
		t.Errorf("another nonce: new is %v, %v", first, err)
	}
	if first, err := r.Rooms.Fresh(ctx, sealpost.KeyID{1}, [16]byte{1}, until); err != nil || !first {
		t.Errorf("the nonce of another key: new is %v, %v", first, err)
	}
}

func pages(t *testing.T, r Rig) {
	ctx, id := t.Context(), r.Device.Public().ID()
	answered(t, "messages", r.Rooms.Submit(ctx, r.Caller, []sealpost.Sealed{r.Message(), r.Message()}), true, true)
	page, next, err := r.Rooms.Messages(ctx, r.Caller, "", 1)
	if err != nil || len(page) != 1 || next == "" {
		t.Fatalf("the first of two messages: %d and the cursor %q, %v", len(page), next, err)
	}
	if page, _, err := r.Rooms.Messages(ctx, r.Caller, next, 1); err != nil || len(page) > 1 {
		t.Errorf("after the cursor: %d messages of at most 1, %v", len(page), err)
	}
	if list, err := r.Rooms.Inbox(ctx, id, 0, 1, 0); err != nil || len(list.Arrivals) > 1 {
		t.Errorf("the inbox: %d messages of at most 1, %v", len(list.Arrivals), err)
	}
	if list, err := r.Rooms.Answered(ctx, r.Caller, 1); err != nil || len(list) > 1 {
		t.Errorf("answered invitations: %d of at most 1, %v", len(list), err)
	}
}

func keys(t *testing.T, r Rig) {
	ctx := t.Context()
	made, err := r.Rooms.MakeKey(ctx, r.Caller, "ci", sealpost.ScopeSend|sealpost.ScopeRead)
	if err != nil || made.Name != "ci" || made.Secret == "" || len(made.Scopes) != 2 {
		t.Fatalf("a new API key: %q with %d scopes, %v", made.Name, len(made.Scopes), err)
	}
	list, err := r.Rooms.ListKeys(ctx, r.Caller)
	if err != nil || !slices.ContainsFunc(list, func(k api.KeyView) bool { return k.Name == "ci" }) {
		t.Fatalf("the new one is not among %d API keys, %v", len(list), err)
	}
	if err := r.Rooms.RevokeKey(ctx, r.Caller, "ci"); err != nil {
		t.Errorf("revoke it: %v", err)
	}
}

// calls are all that answer with an error, each with nothing in particular to ask.
func calls(r Rig) map[string]func(context.Context) error {
	c, nobody := r.Caller, sealpost.KeyID{}
	return map[string]func(context.Context) error{
		"Message":      func(ctx context.Context) error { _, err := r.Rooms.Message(ctx, c, sealpost.MessageID{}); return err },
		"Messages":     func(ctx context.Context) error { _, _, err := r.Rooms.Messages(ctx, c, "", 0); return err },
		"Evidence":     func(ctx context.Context) error { _, err := r.Rooms.Evidence(ctx, c, sealpost.MessageID{}); return err },
		"Invite":       func(ctx context.Context) error { _, err := r.Rooms.Invite(ctx, c, api.Invitation{}); return err },
		"Answered":     func(ctx context.Context) error { _, err := r.Rooms.Answered(ctx, c, 0); return err },
		"PostKeyEvent": func(ctx context.Context) error { _, err := r.Rooms.PostKeyEvent(ctx, c, nil); return err },
		"KeyEvents":    func(ctx context.Context) error { _, err := r.Rooms.KeyEvents(ctx, c, sealpost.Recipient{}); return err },
		"ClaimPackages": func(ctx context.Context) error {
			_, err := r.Rooms.ClaimPackages(ctx, c, sealpost.Recipient{}, nil)
			return err
		},
		"Answer":    func(ctx context.Context) error { return r.Rooms.Answer(ctx, api.Answer{}) },
		"Enrolment": func(ctx context.Context) error { _, err := r.Rooms.Enrolment(ctx, nobody); return err },
		"Inbox":     func(ctx context.Context) error { _, err := r.Rooms.Inbox(ctx, nobody, 0, 0, 0); return err },
		"Arrival": func(ctx context.Context) error {
			_, err := r.Rooms.Arrival(ctx, nobody, sealpost.MessageID{})
			return err
		},
		"Stock":     func(ctx context.Context) error { return r.Rooms.Stock(ctx, nobody, nil, nil) },
		"MakeKey":   func(ctx context.Context) error { _, err := r.Rooms.MakeKey(ctx, c, "", 0); return err },
		"ListKeys":  func(ctx context.Context) error { _, err := r.Rooms.ListKeys(ctx, c); return err },
		"RevokeKey": func(ctx context.Context) error { return r.Rooms.RevokeKey(ctx, c, "") },
		"Device":    func(ctx context.Context) error { _, err := r.Rooms.Device(ctx, nobody); return err },
		"APIKey":    func(ctx context.Context) error { _, err := r.Rooms.APIKey(ctx, sealpost.Hash{}); return err },
	}
}

// zeros: nothing in particular is answered, or refused as the caller's fault. It
// is never a fault of ours, and ends nobody's process.
func zeros(t *testing.T, r Rig) {
	for name, call := range calls(r) {
		if p := api.ProblemOf(call(t.Context())); p != nil && p.Status >= 500 {
			t.Errorf("%s of nothing: %v", name, p)
		}
	}
	answered(t, "an empty submission", r.Rooms.Submit(t.Context(), r.Caller, []sealpost.Sealed{{}}), false)
	answered(t, "a nobody's receipt", r.Rooms.PostReceipts(t.Context(), sealpost.KeyID{}, [][]byte{nil}), false)
}

// contexts: the server end ends a context when a caller hangs up. Each item is
// answered all the same, no call waits on, and it is no fault of ours that would
// be logged.
func contexts(t *testing.T, r Rig) {
	m, last := r.Message(), r.Message()
	ended, end := context.WithCancel(t.Context())
	end()
	for _, v := range r.Rooms.Submit(ended, r.Caller, []sealpost.Sealed{m, last}) {
		if (v.Accepted == nil) == (v.Problem == nil) || v.Problem != nil && !v.Problem.Is(api.ErrUnavailable) {
			t.Errorf("a submission: accepted %v, problem %v", v.Accepted, v.Problem)
		}
	}
	if _, err := r.Rooms.Inbox(ended, r.Device.Public().ID(), 1<<40, 1, int(time.Minute.Milliseconds())); err != nil && !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("an inbox: %v", err)
	}
	for name, call := range calls(r) {
		if p := api.ProblemOf(call(ended)); p != nil && p.Is(api.ErrInternal) {
			t.Errorf("%s: %v", name, p)
		}
	}
}
