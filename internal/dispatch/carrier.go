package dispatch

import (
	"context"
	"time"

	"github.com/sealpost/sealpost"
)

// A Carrier takes sealed messages to devices over one provider. It can only be
// handed a [sealpost.Sealed] (R51): it carries the sealed bytes where they fit
// and the claim ticket where they do not, and adds no text of its own.
//
// Send makes exactly one attempt and is called concurrently. It returns soon after
// ctx ends. It asks the provider to forget the message at until. Its Result says
// Transient only if the provider certainly did not take the message, and Ambiguous
// if it may have. Send keeps neither endpoint nor message once it returned, logs
// neither, and puts neither into the Result.
//
// Traits never change.
type Carrier interface {
	Send(ctx context.Context, to sealpost.Endpoint, what sealpost.Sealed, until time.Time) Result
	Traits() Traits
}

// Traits are what the dispatcher must know of a carrier to treat it well.
type Traits struct {
	Carrier sealpost.Carrier
	Retry   Schedule
	// Timeout bounds one Send.
	Timeout time.Duration
	// InFlight is how many Sends may run at once.
	InFlight int
	// PerSecond and Burst are the rate the provider tolerates.
	PerSecond float64
	Burst     int
}
