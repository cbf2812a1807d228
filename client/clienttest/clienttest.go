// Package clienttest is the contract of what the SDK asks of a relay, and of a store
// ([Store]), as tests:
// whatever implements client.SenderAPI, client.DeviceAPI and client.LogReader
// passes [Relay]. Those are the client ends over HTTP before a whole relay, and
// the relay in memory that the SDK's own tests rest on.
//
// The SDK trusts no relay, and its tests are full of relays that lie. This is what
// an honest one does.
package clienttest

import (
	"context"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A Sender is client.SenderAPI, which this package cannot name: the SDK's own
// tests are made of it.
type Sender interface {
	Submit(ctx context.Context, batch []sealpost.Sealed) []api.Verdict
	Evidence(ctx context.Context, id sealpost.MessageID) ([]api.Exhibit, error)
	Invite(ctx context.Context, in api.Invitation) (api.Invited, error)
	Answered(ctx context.Context, limit int) ([]api.EnrolmentView, error)
	PostKeyEvent(ctx context.Context, statement []byte) (api.Accepted, error)
	ClaimPackages(ctx context.Context, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]api.ClaimedPackage, error)
}

// A Device is client.DeviceAPI.
type Device interface {
	Answer(ctx context.Context, in api.Answer) error
	Enrolment(ctx context.Context) (api.Exhibit, error)
	Inbox(ctx context.Context, after uint64, limit int, waitMS int) (api.Arrivals, error)
	Arrival(ctx context.Context, id sealpost.MessageID) (api.Arrival, error)
	PostReceipts(ctx context.Context, receipts [][]byte) []api.Verdict
	Stock(ctx context.Context, packages [][]byte, endpoints []api.DeviceEndpoint) error
}

// A Log is client.LogReader.
type Log interface {
	Checkpoint(ctx context.Context) ([]byte, error)
	Tile(ctx context.Context, path string) ([]byte, error)
}

// A Rig is one relay with one tenant, whose signing key is enrolled, as the two
// faces see it.
type Rig struct {
	App    string
	Key    *sealpost.PrivateKey // the tenant's
	Now    func() sealpost.UnixMilli
	Relay  sealpost.PublicKey // signs promises
	LogKey string             // of checkpoints
	Sender Sender
	Device func(key *sealpost.PrivateKey) Device // the end of the device with a key
	Log    Log
	// Until repeats a call while it answers not found or unavailable, for as long
	// as a relay may take to log what it holds.
	Until func(call func() error)
}

// Relay is the contract.
func Relay(t *testing.T, rig func(t *testing.T) Rig) {
	for name, test := range map[string]func(*world){
		"an invitation is answered once":      invitations,
		"a key event is held once":            keyEvents,
		"each submission is answered":         submissions,
		"the same bytes get the same answer":  sameAnswer,
		"a device fetches, page by page":      inbox,
		"each receipt is answered":            receipts,
		"evidence is in order and proven":     evidence,
		"a KeyPackage is claimed once":        packages,
		"the last resort stays":               lastResort,
		"one commit for each group and epoch": epochs,
		"a revoked device gets nothing":       revocation,
		"the log's files are what was logged": logFiles,
		"a call ends with its context":        contexts,
		"nothing in particular is refused":    zeros,
	} {
		t.Run(name, func(t *testing.T) { test(newWorld(t, rig(t))) })
	}
}
