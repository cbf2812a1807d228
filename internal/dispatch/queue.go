package dispatch

import (
	"context"
	"time"

	"github.com/sealpost/sealpost"
)

// Done is what came of one piece of work.
type Done struct {
	Work *sealpost.Work
	// Attempt names the attempt; it is zero if none was made, like the times.
	Attempt        sealpost.AttemptID
	Started, Ended sealpost.UnixMilli
	Result         Result
	// Retry is when the work is due again over this route; zero: never.
	Retry sealpost.UnixMilli
}

// Attempted reports whether the carrier was asked. Work that was not is given back:
// no attempt statement is made of it and its number does not advance.
func (d Done) Attempted() bool { return d.Result.Outcome != NotAttempted }

// A Queue holds the due work of one route. Its owner keeps it in the store.
//
// Claim hands out at most n pieces of work that are due, released (DESIGN section
// 3, step 6) and not leased, oldest first, each with the Number of its next attempt,
// and leases them: until the Lease they carry has passed or Complete names them, no
// Claim of any process hands them out again. It may return none. A lease need not
// survive a crash; work must.
//
// Complete makes results durable before it returns, all or none: the attempt
// statement of each Done that was attempted, and its Retry. It is idempotent by
// Attempt id, so that a call whose answer was lost can be repeated. It may keep
// nothing of the slice it is given. A Done whose lease has run out is still
// recorded: the attempt took place. Work that was not attempted is handed out again
// at its Retry, under what is left of its lease or a new one, or when its lease
// ends where that comes first.
//
// GiveBack ends before its time the lease of all work that Complete was told was
// not attempted and Claim has not handed out since: it is due at once, for a Claim
// of any process. What was not told to Complete keeps its lease, because it may
// have been sent. It is asked for once, when the dispatcher has stopped.
//
// Wake's channel, always the same one, receives when new work may be due, and may
// receive for no reason. Work that becomes due by time need not wake anybody.
//
// The dispatcher calls Claim from one goroutine and Complete from another, and
// GiveBack when both have ended.
type Queue interface {
	Claim(ctx context.Context, n int, lease time.Duration) ([]sealpost.Work, error)
	Complete(ctx context.Context, done []Done) error
	GiveBack(ctx context.Context) error
	Wake() <-chan struct{}
}
