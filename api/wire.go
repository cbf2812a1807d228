package api

import (
	"time"

	"github.com/sealpost/sealpost"
)

// Media types of bodies. Everything but a submission, a batch and a problem is
// plain JSON or CBOR of the types in this package.
const (
	MediaSubmission  = "application/vnd.sealpost.submission+cbor" // sealpost.Sealed.Bytes
	MediaBatch       = "application/vnd.sealpost.batch+cbor"      // an array of submissions as byte strings
	MediaCBOR        = "application/cbor"
	MediaJSON        = "application/json"
	MediaProblemJSON = "application/problem+json"
	MediaProblemCBOR = "application/problem+cbor"
)

// Limits of bodies in bytes, and of waiting.
const (
	BatchBodyMax   = 8 << 20   // one batch of submissions or receipts
	BodyMax        = 1 << 20   // every other request but a submission
	AnswerMax      = 32 << 20  // one answer, as a client accepts it
	BodiesInFlight = 256 << 20 // all request bodies being read or handled at once
	InboxWaitMax   = 25 * time.Second
	InboxWaiters   = 20_000 // devices waiting at once; one more is answered without waiting
)

// A Submission is a message in JSON: the signed commitment and the blob that
// it names. Everything else about a message stands inside the commitment; a
// member beside these two is refused as [ErrUnsignedMetadata].
type Submission struct {
	SignedDigest  Bytes `json:"signed_digest"`
	EncryptedBlob Bytes `json:"encrypted_blob"`
}

// A MessagePage is one page of messages, newest first; Next is empty on the last.
type MessagePage struct {
	Messages []MessageView `cbor:"1,keyasint" json:"messages"`
	Next     string        `cbor:"2,keyasint,omitempty" json:"next,omitempty"`
}

// Exhibits is the evidence of a message or the key events of a recipient.
type Exhibits struct {
	Exhibits []Exhibit `cbor:"1,keyasint" json:"exhibits"`
}

// EnrolmentPage lists answered invitations.
type EnrolmentPage struct {
	Enrolments []EnrolmentView `cbor:"1,keyasint" json:"enrolments"`
}

// A KeyEventPost carries one signed key event.
type KeyEventPost struct {
	Statement Bytes `cbor:"1,keyasint" json:"statement"`
}

// A Claim names the devices to claim one KeyPackage each for.
type Claim struct {
	Devices []sealpost.KeyID `cbor:"1,keyasint" json:"devices"`
}

// ClaimedPackages answers a Claim.
type ClaimedPackages struct {
	Packages []ClaimedPackage `cbor:"1,keyasint" json:"packages"`
}

// A KeyOrder asks for a new API key.
type KeyOrder struct {
	Name   string   `cbor:"1,keyasint" json:"name"`
	Scopes []string `cbor:"2,keyasint" json:"scopes"` // send, read, enrol, manage
}

// KeyList lists a tenant's API keys, without their secrets.
type KeyList struct {
	Keys []KeyView `cbor:"1,keyasint" json:"keys"`
}

// Arrivals are messages for a device, oldest first, and what is left of its
// KeyPackages.
type Arrivals struct {
	Arrivals []Arrival `cbor:"1,keyasint" json:"arrivals"`
	Pool     Pool      `cbor:"2,keyasint" json:"pool"`
}

// PoolLow is how many KeyPackages a device should not fall below: a device
// stocks more before, and a sender is warned.
const PoolLow = 5

// A Pool is what the relay has of a device's KeyPackages.
type Pool struct {
	Left       int  `cbor:"1,keyasint" json:"left"`        // that can be claimed, each once
	LastResort bool `cbor:"2,keyasint" json:"last_resort"` // there is one for when none is left
}

// ReceiptBatch carries signed receipts.
type ReceiptBatch struct {
	Receipts []Bytes `cbor:"1,keyasint" json:"receipts"`
}

// Verdicts answers a batch, one for each item, in its order.
type Verdicts struct {
	Verdicts []Verdict `cbor:"1,keyasint" json:"verdicts"`
}

// A Stocking adds KeyPackages to a device's pool and, where it names
// endpoints, replaces the device's endpoints.
type Stocking struct {
	KeyPackages []Bytes          `cbor:"1,keyasint" json:"key_packages"`
	Endpoints   []DeviceEndpoint `cbor:"2,keyasint" json:"endpoints"`
}

// Health answers whether this end of the conversation is up; it says nothing
// of the rooms behind it.
type Health struct {
	Status string `cbor:"1,keyasint" json:"status"` // "up"
}
