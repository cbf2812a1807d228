package relay

import (
	"time"

	"github.com/sealpost/sealpost/api"
)

// Waits that a turned-away caller is asked for.
const (
	retryBusy        = time.Second     // the queue is full: it drains in less
	retryUnavailable = 5 * time.Second // a neighbour is down
)

// Problem is what a caller is told of an error: the one mapping is the
// conversation's own.
func Problem(err error) *api.Problem { return api.ProblemOf(err) }
