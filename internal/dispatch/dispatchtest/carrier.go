package dispatchtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// A Fault is a way for a provider to fail that every carrier must understand.
type Fault int

// Faults a Rig can be asked for.
const (
	Throttle Fault = 1 + iota // refuse one request, ask for RetryWish
	Outage                    // refuse one request: the service is unavailable
	Lost                      // take one message and break the connection
	Garbage                   // answer success with a page that is none
	Hang                      // do not answer for a long time
)

// RetryWish is what a Throttle asks for.
const RetryWish = 90 * time.Second

// A Rig is one carrier and the neighbour it speaks to.
type Rig struct {
	Carrier dispatch.Carrier
	Good    sealpost.Endpoint   // reaches a device
	Gone    sealpost.Endpoint   // did so once
	Foreign sealpost.Endpoint   // of a carrier that this one is not
	Fault   func(Fault)         // hits the next request
	Taken   func() int          // messages the neighbour took
	Seen    func(s string) bool // whether the neighbour was sent s, in any request
}

// Carrier holds an adapter to the contract of [dispatch.Carrier].
func Carrier(t *testing.T, rig func(t *testing.T) Rig) {
	now := time.Now()
	sealed := Sealed(t, 700, now, now.Add(time.Hour))
	until := now.Add(time.Hour)
	send := func(r Rig, to sealpost.Endpoint) dispatch.Result {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return r.Carrier.Send(ctx, to, sealed, until)
	}
	t.Run("honest", func(t *testing.T) {
		r := rig(t)
		expect(t, send(r, r.Good), sealpost.Accepted)
		if r.Taken() != 1 {
			t.Errorf("the provider took %d messages, want 1", r.Taken())
		}
	})
	t.Run("gone", func(t *testing.T) {
		r := rig(t)
		expect(t, send(r, r.Gone), sealpost.EndpointGone)
	})
	t.Run("endpoint of another carrier", func(t *testing.T) {
		r := rig(t)
		expect(t, send(r, r.Foreign), sealpost.Unreachable, sealpost.Invalid)
		if r.Seen(r.Foreign.Reveal()) {
			t.Error("the provider was told another carrier's endpoint")
		}
	})
	t.Run("throttle", func(t *testing.T) {
		r := rig(t)
		r.Fault(Throttle)
		got := send(r, r.Good)
		expect(t, got, sealpost.Throttled)
		if got.RetryAfter < RetryWish || got.RetryAfter > RetryWish+time.Second {
			t.Errorf("retry after %v, the provider said %v", got.RetryAfter, RetryWish)
		}
		expect(t, send(r, r.Good), sealpost.Accepted) // one refusal is not for ever
	})
	t.Run("outage", func(t *testing.T) {
		r := rig(t)
		r.Fault(Outage)
		expect(t, send(r, r.Good), sealpost.Transient)
		if r.Taken() != 0 {
			t.Error("an attempt called transient was taken")
		}
	})
	t.Run("done but unacknowledged", func(t *testing.T) {
		r := rig(t)
		r.Fault(Lost)
		expect(t, send(r, r.Good), sealpost.Ambiguous)
		if r.Taken() != 1 {
			t.Errorf("the provider took %d messages, want 1: Send must not repeat what may have arrived", r.Taken())
		}
	})
	t.Run("garbage", func(t *testing.T) {
		r := rig(t)
		r.Fault(Garbage)
		expect(t, send(r, r.Good), sealpost.Ambiguous)
	})
	t.Run("hang", func(t *testing.T) {
		r := rig(t)
		expect(t, send(r, r.Good), sealpost.Accepted)
		r.Fault(Hang)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		expect(t, r.Carrier.Send(ctx, r.Good, sealed, until), sealpost.Ambiguous)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Send returned %v after its context had ended", took)
		}
	})
	t.Run("concurrent", func(t *testing.T) { concurrent(t, rig(t), send) })
	t.Run("traits", func(t *testing.T) {
		r := rig(t)
		if a, b := r.Carrier.Traits(), r.Carrier.Traits(); a != b || a.Carrier != r.Good.Carrier {
			t.Errorf("traits change or name another carrier: %+v, %+v", a, b)
		}
	})
}

func expect(t *testing.T, got dispatch.Result, want ...sealpost.Result) {
	t.Helper()
	if !dispatch.ValidCode(got.Code) {
		t.Errorf("code %q is outside the alphabet", got.Code)
	}
	for _, w := range want {
		if got.Outcome == w {
			return
		}
	}
	t.Errorf("outcome %v (%s), want %v", got.Outcome, got.Code, want)
}

// concurrent also looks for what must never be printed.
func concurrent(t *testing.T, r Rig, send func(Rig, sealpost.Endpoint) dispatch.Result) {
	const sends = 50
	var all sync.WaitGroup
	results := make([]dispatch.Result, sends)
	for i := range sends {
		all.Go(func() { results[i] = send(r, r.Good) })
	}
	all.Wait()
	for _, got := range results {
		expect(t, got, sealpost.Accepted)
		if strings.Contains(fmt.Sprintf("%+v %#v", got, got), r.Good.Reveal()) {
			t.Error("a result repeats the endpoint")
		}
	}
	if r.Taken() != sends {
		t.Errorf("the provider took %d messages, want %d", r.Taken(), sends)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if strings.Contains(fmt.Sprintf(verb, r.Carrier), r.Good.Reveal()) {
			t.Errorf("%s of the carrier prints an endpoint", verb)
		}
	}
}
