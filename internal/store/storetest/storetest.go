// Package storetest is the contract of the relay's store as tests: every
// implementation passes [Run], the relay's store in memory too (cmd/sealpost,
// where the rooms meet). It also makes the honest statements that tests of a
// store need.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A Store is what the relay's rooms ask of a store; the package store has the
// meaning of each method.
type Store interface {
	Spool(ctx context.Context, blobs [][]byte) ([]sealpost.Spooled, error)
	GiveUp(blobs []sealpost.Spooled) error
	Hold(context.Context, []sealpost.Hold) ([]sealpost.Held, error)
	Size(context.Context) (uint64, error)
	Leaves(ctx context.Context, from uint64, limit int) ([]sealpost.Leaf, error)
	Record(ctx context.Context, seq uint64) (sealpost.Record, error)
	Records(ctx context.Context, app string, id sealpost.MessageID) ([]sealpost.Record, error)
	RecordByHash(ctx context.Context, app string, kind sealpost.Kind, h sealpost.Hash) (sealpost.Record, error)
	Message(context.Context, sealpost.MessageID) (sealpost.Message, error)
	Messages(ctx context.Context, app string, after uint64, limit int) ([]sealpost.Message, error)
	Closable(ctx context.Context, now sealpost.UnixMilli, limit int) ([]sealpost.Closing, error)
	Devices(ctx context.Context, app string, r sealpost.Recipient) ([]sealpost.Device, error)
	Device(context.Context, sealpost.KeyID) (sealpost.Device, error)
	KeyEvents(ctx context.Context, app string, r sealpost.Recipient) ([]sealpost.Record, error)
	SenderKeys(ctx context.Context, app string) ([]sealpost.Device, error)
	SenderKeyEvents(ctx context.Context, app string) ([]sealpost.Record, error)
	PutEnrolment(context.Context, sealpost.Enrolment) error
	Enrolment(context.Context, sealpost.EnrolmentID) (sealpost.Enrolment, error)
	EnrolmentByKey(context.Context, sealpost.KeyID) (sealpost.Enrolment, error)
	AnswerEnrolment(context.Context, sealpost.EnrolmentID, sealpost.EnrolmentAnswer) error
	Answered(ctx context.Context, app string, limit int) ([]sealpost.Enrolment, error)
	PutPackages(ctx context.Context, device sealpost.KeyID, packages [][]byte, lastResort []byte) error
	ClaimPackage(ctx context.Context, app string, device sealpost.KeyID) (sealpost.ClaimedPackage, error)
	Pool(ctx context.Context, device sealpost.KeyID) (sealpost.Pool, error)
	PutEndpoints(context.Context, sealpost.KeyID, []sealpost.Endpoint) error
	Arrivals(ctx context.Context, device sealpost.KeyID, after, logged uint64, limit int) ([]sealpost.Delivery, error)
	Arrival(ctx context.Context, device sealpost.KeyID, id sealpost.MessageID) (sealpost.Delivery, error)
	ClaimWork(ctx context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) ([]sealpost.Work, error)
	GiveBackWork(ctx context.Context, works []sealpost.Work) error
	Sweep(ctx context.Context, now sealpost.UnixMilli) error
	Nonce(ctx context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (bool, error)
	PutAPIKey(context.Context, sealpost.APIKey) error
	APIKey(context.Context, sealpost.Hash) (sealpost.APIKey, error)
	APIKeys(ctx context.Context, app string) ([]sealpost.APIKey, error)
	RevokeAPIKey(ctx context.Context, app, name string, at sealpost.UnixMilli) error
	Close() error
}

// An Opener opens the store that lies at a place, making it where there is
// none. The suite closes what it opened and opens the same place again.
type Opener func(t testing.TB, place string, now func() time.Time) Store

// Run is the contract.
func Run(t *testing.T, open Opener) {
	for name, test := range map[string]func(*testing.T, *World){
		"seqs are dense and in slice order":      denseSeqs,
		"a statement is held once":               heldOnce,
		"one bad hold spoils no other":           oneBadHold,
		"what is held is read as it was":         readBack,
		"tenants do not see each other":          tenants,
		"a message is released by its rule":      release,
		"a lease runs out":                       leases,
		"a lease is ended before its time":       givenBack,
		"a claim outlives its caller's context":  claimedAtTheEnd,
		"a try that moved on is not given back":  movedOn,
		"attempts schedule and end a route":      attempts,
		"receipts move a message":                receipts,
		"an outcome counts everything, once":     outcomes,
		"several devices":                        severalDevices,
		"each device is woken once":              eachDeviceIsWoken,
		"what spares a device its waking":        noLateWaking,
		"a device fetches":                       arrivals,
		"a revoked device gets nothing":          revocation,
		"an invitation is used once":             enrolment,
		"KeyPackages are claimed once":           packages,
		"the last resort stays":                  lastResort,
		"endpoints are replaced and dropped":     endpoints,
		"nonces are remembered":                  nonces,
		"API keys":                               apiKeys,
		"one commit for each epoch":              epochs,
		"blobs go at handover and at expiry":     blobs,
		"pages of messages":                      pages,
		"all of it survives opening again":       reopen,
		"a late receipt stands beside the end":   lateReceipt,
		"a sender's key comes and goes":          senderKeys,
		"receipts of one device are bounded":     boundedReceipts,
		"an ended or expired message is not due": notDue,
		"an ended context changes nothing":       endedContext,
		"blobs are spooled ahead of their hold":  spooledAhead,
		"a limit bounds an answer":               limits,
	} {
		t.Run(name, func(t *testing.T) { test(t, NewWorld(t, open)) })
	}
}
