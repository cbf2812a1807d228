// Package dispatchtest holds every carrier and every queue to its contract, and has
// what tests of dispatch are made of: honestly sealed messages and a queue in memory.
//
// A carrier's package runs [Carrier] with a [Rig] around its own conformance server;
// the owner of a queue runs [Queue]. Both fail the test they are given.
package dispatchtest

import (
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// Sealed makes a message whose blob has size bytes, committed to and signed by a
// fresh sender, allowed on every carrier, expiring at expires.
func Sealed(t testing.TB, size int, created, expires time.Time) sealpost.Sealed {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("make a sealed message: %v", err)
		}
	}
	key, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
	must(err)
	blob := make([]byte, size)
	rand.Read(blob)
	c := sealpost.Commitment{
		App: "bank", Transaction: "t-1", Created: sealpost.FromTime(created), Expires: sealpost.FromTime(expires),
		Canonicalization: sealpost.Canonicalization, HashAlg: sealpost.SHA256, Blob: sha256.Sum256(blob),
		Pattern:      sealpost.PatternA,
		Carriers:     []sealpost.Carrier{sealpost.RCS, sealpost.FCM, sealpost.APNs, sealpost.WebPush, sealpost.SMS},
		LeastPrivacy: sealpost.SealedBlob, Release: sealpost.ReleaseLogged, LeastAssurance: sealpost.AssuranceSoftware,
	}
	c.ID, err = sealpost.NewMessageID(c.Created, rand.Reader)
	must(err)
	_, err = sealpost.NewPayload(&c, sealpost.Content{Text: "your code is 123456"}, sealpost.Sequence{Number: 1}, "otp", rand.Reader)
	must(err)
	statement, err := sealpost.Sign(c, key)
	must(err)
	sealed, err := sealpost.NewSealed(statement, blob)
	must(err)
	return sealed
}

// Work makes one piece of work for a message: the first attempt for a device of
// that endpoint.
func Work(what sealpost.Sealed, to sealpost.Endpoint) sealpost.Work {
	c := what.Commitment()
	return sealpost.Work{
		Message: sealpost.Message{
			ID: c.ID, App: c.App, Recipient: c.Recipient, Commitment: what.Statement().Hash(), Blob: c.Blob,
			Created: c.Created, Expires: c.Expires, Release: c.Release,
		},
		Device: sha256.Sum256([]byte(to.Reveal())), Endpoint: to, Sealed: what, Number: 1,
	}
}
