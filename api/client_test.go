package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A road is both ends over a real connection.
type road struct {
	*world
	sender *SenderClient
	device *DeviceClient
}

func newRoad(t *testing.T) *road {
	t.Helper()
	w := newWorldAt(t, "")
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = HTTPServer(w.handler, w.config("").Logger)
	srv.Start()
	t.Cleanup(srv.Close)
	s, err := NewSenderClient(srv.URL, w.secret, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDeviceClient(srv.URL, w.device, func() time.Time { return now }, rand.Reader, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	return &road{w, s, d}
}

// Every method of both clients brings its arguments to the room's method and
// the room's answer back, whole.
func TestRoundTrips(t *testing.T) {
	ctx := t.Context()
	one, two := sealedMessage(t), sealedMessage(t)
	verdictFor := func(s sealpost.Sealed) Verdict {
		a := someAccepted
		a.ID, a.Again = s.ID(), false
		return Verdict{Accepted: &a}
	}
	listed := someKeyView
	listed.Secret = ""
	type result struct {
		method string
		args   []any
		out    any
	}
	w := newRoad(t)
	answer := someAnswer(w.world.device)
	for name, c := range map[string]struct {
		call func() (any, error)
		want result
	}{
		"Submit one":   {func() (any, error) { return w.sender.Submit(ctx, []sealpost.Sealed{one}), nil }, result{"Submit", []any{[]sealpost.Sealed{one}}, []Verdict{verdictFor(one)}}},
		"Submit two":   {func() (any, error) { return w.sender.Submit(ctx, []sealpost.Sealed{one, two}), nil }, result{"Submit", []any{[]sealpost.Sealed{one, two}}, []Verdict{verdictFor(one), verdictFor(two)}}},
		"Message":      {func() (any, error) { return w.sender.Message(ctx, someID) }, result{"Message", []any{someID}, someView}},
		"Evidence":     {func() (any, error) { return w.sender.Evidence(ctx, someID) }, result{"Evidence", []any{someID}, []Exhibit{someExhibit}}},
		"Invite":       {func() (any, error) { return w.sender.Invite(ctx, someInvitation) }, result{"Invite", []any{someInvitation}, someInvited}},
		"Answered":     {func() (any, error) { return w.sender.Answered(ctx, 7) }, result{"Answered", []any{7}, []EnrolmentView{someAnswered}}},
		"PostKeyEvent": {func() (any, error) { return w.sender.PostKeyEvent(ctx, []byte("ev")) }, result{"PostKeyEvent", []any{[]byte("ev")}, someAccepted}},
		"KeyEvents":    {func() (any, error) { return w.sender.KeyEvents(ctx, someRecipient) }, result{"KeyEvents", []any{someRecipient}, []Exhibit{someExhibit}}},
		"ClaimPackages": {func() (any, error) { return w.sender.ClaimPackages(ctx, someRecipient, []sealpost.KeyID{someKey}) },
			result{"ClaimPackages", []any{someRecipient, []sealpost.KeyID{someKey}}, []ClaimedPackage{somePackage}}},
		"MakeKey": {func() (any, error) { return w.sender.MakeKey(ctx, "ci/1", sealpost.ScopeSend|sealpost.ScopeManage) },
			result{"MakeKey", []any{"ci/1", sealpost.ScopeSend | sealpost.ScopeManage}, someKeyView}},
		"ListKeys":  {func() (any, error) { return w.sender.ListKeys(ctx) }, result{"ListKeys", nil, []KeyView{listed}}},
		"RevokeKey": {func() (any, error) { return nil, w.sender.RevokeKey(ctx, "ci/1?x=%") }, result{"RevokeKey", []any{"ci/1?x=%"}, nil}},
		"Messages": {func() (any, error) {
			page, next, err := w.sender.Messages(ctx, "a b&", 3)
			return MessagePage{page, next}, err
		}, result{"Messages", []any{"a b&", 3}, MessagePage{[]MessageView{someView, someView}, "next"}}},

		"Answer":    {func() (any, error) { return nil, w.device.Answer(ctx, answer) }, result{"Answer", []any{answer}, nil}},
		"Enrolment": {func() (any, error) { return w.device.Enrolment(ctx) }, result{"Enrolment", nil, someExhibit}},
		"Inbox":     {func() (any, error) { return w.device.Inbox(ctx, 41, 5, 60_000) }, result{"Inbox", []any{uint64(41), 5, 25_000}, someArrivals}},
		"Arrival":   {func() (any, error) { return w.device.Arrival(ctx, someID) }, result{"Arrival", []any{someID}, someArrival}},
		"Stock":     {func() (any, error) { return nil, w.device.Stock(ctx, [][]byte{{1}, {2}}, someEndpoints) }, result{"Stock", []any{2, someEndpoints}, nil}},
		"PostReceipts": {func() (any, error) { return w.device.PostReceipts(ctx, [][]byte{{1}, {2}}), nil },
			result{"PostReceipts", []any{2}, []Verdict{{Accepted: &someAccepted}, {Problem: ErrBusy.After(3 * time.Second)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.call()
			if err != nil {
				t.Fatal(err)
			}
			method, caller, args := w.last()
			if method != c.want.method || !equalArgs(args, c.want.args) {
				t.Errorf("asked %s(%v), want %s(%v)", method, args, c.want.method, c.want.args)
			}
			if !reflect.DeepEqual(out, c.want.out) {
				t.Errorf("got %+v, want %+v", out, c.want.out)
			}
			if method != "Answer" && caller.App != "bank" && caller.Device != w.world.device.Public().ID() {
				t.Errorf("as %+v", caller)
			}
		})
	}
	if h, err := w.sender.Health(ctx); err != nil || h.Status != "up" {
		t.Errorf("health: %+v %v", h, err)
	}
	if note, err := w.device.Checkpoint(ctx); err != nil || string(note) != "log:/checkpoint" {
		t.Errorf("checkpoint: %q %v", note, err)
	}
}

func equalArgs(a, b []any) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// A problem comes back as itself, with its wait, from every method's errors.
func TestProblemsComeBack(t *testing.T) {
	w := newRoad(t)
	w.fail = ErrStale.With("created is %d s old", 400).At("/x").After(7 * time.Second)
	_, err := w.sender.Message(t.Context(), someID)
	p, ok := errors.AsType[*Problem](err)
	if !ok || !errors.Is(err, ErrStale) || errors.Is(err, ErrBusy) || p.Retry != 7*time.Second || p.Detail != "created is 400 s old" || p.Pointer != "/x" || p.Status != 422 {
		t.Errorf("%+v", err)
	}
	verdicts := w.sender.Submit(t.Context(), []sealpost.Sealed{sealedMessage(t)})
	if len(verdicts) != 1 || !verdicts[0].Problem.Is(ErrStale) {
		t.Errorf("submit: %+v", verdicts)
	}
	w.fail = ErrUnavailable.After(2 * time.Second)
	verdicts = w.sender.Submit(t.Context(), []sealpost.Sealed{sealedMessage(t), sealedMessage(t)})
	if len(verdicts) != 2 || verdicts[1].Problem.Retry != 2*time.Second {
		t.Errorf("batch: %+v", verdicts)
	}
}

// A problem of the whole request is the verdict on each of its items.
func TestRefusedRequestIsEveryVerdict(t *testing.T) {
	w := newRoad(t)
	clear(w.keys)
	clear(w.devices)
	for n := 1; n <= 2; n++ {
		batch := []sealpost.Sealed{sealedMessage(t), sealedMessage(t)}[:n]
		receipts := [][]byte{{1}, {2}}[:n]
		for _, verdicts := range [][]Verdict{w.sender.Submit(t.Context(), batch), w.device.PostReceipts(t.Context(), receipts)} {
			if len(verdicts) != n || !verdicts[n-1].Problem.Is(ErrUnauthenticated) {
				t.Errorf("%d items: %+v", n, verdicts)
			}
		}
	}
	if _, err := w.device.Enrolment(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("waiting for enrolment: %v", err)
	}
}

// Many items go in parts, and their verdicts come back in order.
func TestManyItemsGoInParts(t *testing.T) {
	w := newRoad(t)
	batch := make([]sealpost.Sealed, 0, BatchMax+2)
	first := sealedMessage(t)
	for range BatchMax + 1 {
		batch = append(batch, first)
	}
	batch = append(batch, sealedMessage(t))
	verdicts := w.sender.Submit(t.Context(), batch)
	if len(verdicts) != len(batch) || w.calls() != 2 {
		t.Fatalf("%d verdicts after %d calls", len(verdicts), w.calls())
	}
	if verdicts[len(batch)-1].Accepted.ID != batch[len(batch)-1].ID() {
		t.Error("out of order")
	}
}

func TestInBatchesBoundsBytesAndAnswersAll(t *testing.T) {
	sizes := []int{batchBytes, 1, 1, batchBytes + 5, 1}
	var parts []string
	send := func(from, to int) ([]Verdict, error) {
		parts = append(parts, fmt.Sprint(from, "-", to))
		if from == 3 {
			return nil, io.ErrUnexpectedEOF
		}
		return everyone(to-from, ErrBusy), nil
	}
	verdicts := inBatches(sizes, send)
	if got := strings.Join(parts, " "); got != "0-1 1-3 3-4 4-5" {
		t.Errorf("parts %s", got)
	}
	for i, v := range verdicts {
		if want := map[bool]*Problem{false: ErrBusy, true: ErrUnavailable}[i == 3]; !v.Problem.Is(want) {
			t.Errorf("item %d: %v, want %s", i, v.Problem, want.Type)
		}
	}
	for name, answer := range map[string][]Verdict{"too few": {}, "empty": {{}}} {
		verdicts := inBatches([]int{1}, func(int, int) ([]Verdict, error) { return answer, nil })
		if len(verdicts) != 1 || verdicts[0].Problem == nil || !verdicts[0].Problem.Is(ErrUnavailable) {
			t.Errorf("%s: %+v", name, verdicts)
		}
	}
}

func TestAddresses(t *testing.T) {
	for base, ok := range map[string]bool{
		"https://relay.example": true, "https://relay.example/": true, "https://relay.example/sealpost": true,
		"http://127.0.0.1:8080": true, "http://localhost:1": true, "http://[::1]:1": true,
		"http://relay.example": false, "http://127.0.0.1.example": false, "http://localhost.example": false, "http://10.0.0.1": false,
		"ftp://relay.example": false, "relay.example": false, "": false, "https://": false,
		"https://user:pass@relay.example": false, "https://relay.example?x=1": false, "https://relay.example#x": false,
	} {
		if _, err := NewClient(base, nil); (err == nil) != ok {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := NewSenderClient("https://relay.example", "sp_short", nil); err == nil {
		t.Error("a secret that is none is taken")
	}
}

// What stands in between, or a relay that lies, is told from the relay.
func TestAnswersThatAreNotOurs(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", 502) },
		"a redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) },
		"JSON":           func(w http.ResponseWriter, _ *http.Request) { writeBytes(w, 200, headerJSON, []byte("{}")) },
		"no CBOR":        func(w http.ResponseWriter, _ *http.Request) { writeBytes(w, 200, headerCBOR, []byte("x")) },
		"another status": func(w http.ResponseWriter, _ *http.Request) {
			b, _ := sealpost.Encode(ErrBusy)
			writeBytes(w, 503, headerProblemCBOR, b)
		},
		"a problem of no one": func(w http.ResponseWriter, _ *http.Request) {
			b, _ := sealpost.Encode(Problem{Status: 400})
			writeBytes(w, 400, headerProblemCBOR, b)
		},
		"a cut answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			defer srv.Close()
			c, err := NewSenderClient(srv.URL, newWorld(t).secret, srv.Client())
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Message(t.Context(), someID)
			if _, isProblem := errors.AsType[*Problem](err); err == nil || isProblem {
				t.Errorf("%v", err)
			}
			verdicts := c.Submit(t.Context(), []sealpost.Sealed{sealedMessage(t)})
			if len(verdicts) != 1 || verdicts[0].Problem == nil || !verdicts[0].Problem.Is(ErrUnavailable) {
				t.Errorf("submit: %+v", verdicts)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	res := func() *http.Response {
		return &http.Response{Body: io.NopCloser(bytes.NewReader(make([]byte, 9)))}
	}
	if _, err := readAnswer(res(), 9); err != nil {
		t.Error(err)
	}
	if _, err := readAnswer(res(), 8); err == nil {
		t.Error("an answer beyond its bound is read")
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	for value, want := range map[string]time.Duration{"": 0, "3": 3 * time.Second, "-3": 0, "x": 0,
		"9223372036854775807": retryMax, "Tue, 24 Nov 2026 04:00:00 GMT": 0} {
		if got := retryIn(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// No verb of fmt prints a client's secret.
func TestClientPrintsNoSecret(t *testing.T) {
	w := newRoad(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, w.sender); strings.Contains(s, w.secret) {
			t.Errorf("%s prints the API key", verb)
		}
	}
	_, err := w.sender.Message(canceled(), someID)
	if err == nil || strings.Contains(err.Error(), w.secret) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
