// Package api is the conversation between senders, devices and a relay: one
// set of interfaces, its HTTP server end and its client end side by side, and
// the OpenAPI document that both follow.
//
// Bodies are CBOR (the SDK's choice: deterministic, the bytes that are signed
// stay bytes) or JSON (byte strings as unpadded base64url); a caller chooses
// with Content-Type and Accept. Errors are RFC 9457 problems with stable types
// ([Problem]).
//
// # Who may ask
//
// A sender brings an API key with scopes; a device signs its requests (RFC
// 9421); a stranger gets health, the OpenAPI document, the checkpoint and the
// tiles, and nothing else. A caller never learns whether another tenant's
// thing exists: it is "not found".
package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// Bytes travel as a byte string in CBOR and as unpadded base64url in JSON.
type Bytes []byte

// MarshalText writes unpadded base64url.
func (b Bytes) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(b)), nil
}

// UnmarshalText reads unpadded base64url, strictly: no line breaks either,
// which the decoder would skip.
func (b *Bytes) UnmarshalText(text []byte) error {
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("not unpadded base64url: a line break")
	}
	v, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("not unpadded base64url: %w", err)
	}
	*b = v
	return nil
}

// Limits of requests.
const (
	BatchMax    = 256 // submissions, receipts or KeyPackages in one request
	PageMax     = 200 // rows of one page
	PageDefault = 50
)

// A Caller is who a request was authenticated as.
type Caller struct {
	App    string         // the tenant
	Scopes sealpost.Scope // of a sender's API key; 0 for a device
	Device sealpost.KeyID // of a device; zero for a sender
}

// An Accepted is the answer to one held statement: the relay's promise, and
// the salt that opens the leaf. Both are the caller's to keep (DESIGN 10).
type Accepted struct {
	ID      sealpost.MessageID `cbor:"1,keyasint" json:"id"`
	Salt    Bytes              `cbor:"2,keyasint" json:"salt"`
	Promise Bytes              `cbor:"3,keyasint" json:"promise"`
	Again   bool               `cbor:"4,keyasint" json:"again"` // the same bytes were held before: this is the same answer
}

// A Verdict on one item of a batch: exactly one of the two is set.
type Verdict struct {
	Accepted *Accepted `cbor:"1,keyasint,omitempty" json:"accepted,omitempty"`
	Problem  *Problem  `cbor:"2,keyasint,omitempty" json:"problem,omitempty"`
}

// Intake is what a sender posts to. Submit is given parsed submissions of one
// tenant, checks and holds them, and answers each in order. It returns when
// every accepted one is durable. It refuses with 429 or 503 before it accepts
// and never after. Concurrent use is the normal case.
type Intake interface {
	Submit(ctx context.Context, caller Caller, batch []sealpost.Sealed) []Verdict
}

// A MessageView is a message's state for its sender.
type MessageView struct {
	ID       sealpost.MessageID `cbor:"1,keyasint" json:"id"`
	Created  sealpost.UnixMilli `cbor:"2,keyasint" json:"created"`
	Expires  sealpost.UnixMilli `cbor:"3,keyasint" json:"expires"`
	End      string             `cbor:"4,keyasint" json:"end"` // "" while open
	Timeline []Event            `cbor:"5,keyasint,omitempty" json:"timeline,omitempty"`
}

// An Event is one statement in a message's timeline, in words.
type Event struct {
	Seq  uint64             `cbor:"1,keyasint" json:"seq"`
	Kind string             `cbor:"2,keyasint" json:"kind"`
	Time sealpost.UnixMilli `cbor:"3,keyasint" json:"time"` // as the signer claims
	What string             `cbor:"4,keyasint" json:"what"`
	ETSI string             `cbor:"5,keyasint,omitempty" json:"etsi,omitempty"` // event URI of EN 319 522
}

// An Exhibit is one statement with what proves it; a bundle is made of these.
type Exhibit struct {
	Seq       uint64 `cbor:"1,keyasint" json:"seq"`
	Statement Bytes  `cbor:"2,keyasint" json:"statement"`
	Salt      Bytes  `cbor:"3,keyasint" json:"salt"`
	Promise   Bytes  `cbor:"4,keyasint,omitempty" json:"promise,omitempty"`
	Proof     Bytes  `cbor:"5,keyasint,omitempty" json:"proof,omitempty"` // C2SP tlog-proof, once logged
}

// Reading is what a sender reads of its own messages.
type Reading interface {
	Message(ctx context.Context, caller Caller, id sealpost.MessageID) (MessageView, error)
	Messages(ctx context.Context, caller Caller, cursor string, limit int) (page []MessageView, next string, err error)
	// Evidence gives every exhibit of a message and of the key events of its
	// recipient's devices and of the sender's key, each logged one with a proof
	// under one and the same checkpoint.
	Evidence(ctx context.Context, caller Caller, id sealpost.MessageID) ([]Exhibit, error)
}

// An Invitation asks to enrol one device of a recipient.
type Invitation struct {
	Recipient  Bytes `cbor:"1,keyasint" json:"recipient"`
	SecretHash Bytes `cbor:"2,keyasint" json:"secret_hash"` // SHA-256 of the enrolment secret
}

// An Invited is the relay's answer: what the sender passes on to its customer
// besides the secret.
type Invited struct {
	ID        sealpost.EnrolmentID `cbor:"1,keyasint" json:"id"`
	Challenge Bytes                `cbor:"2,keyasint" json:"challenge"`
	Expires   sealpost.UnixMilli   `cbor:"3,keyasint" json:"expires"`
}

// An EnrolmentView is an answered invitation, for the sender to check and sign.
type EnrolmentView struct {
	ID        sealpost.EnrolmentID `cbor:"1,keyasint" json:"id"`
	Recipient Bytes                `cbor:"2,keyasint" json:"recipient"`
	Challenge Bytes                `cbor:"3,keyasint" json:"challenge"`
	Key       Bytes                `cbor:"4,keyasint" json:"key"`    // COSE_Key
	Leaf      Bytes                `cbor:"5,keyasint" json:"leaf"`   // COSE_Key
	ByKey     Bytes                `cbor:"6,keyasint" json:"by_key"` // signatures over sealpost.KeyPair
	ByLeaf    Bytes                `cbor:"7,keyasint" json:"by_leaf"`
	Assurance sealpost.Assurance   `cbor:"8,keyasint" json:"assurance"`
	MAC       Bytes                `cbor:"9,keyasint" json:"mac"`
}

// A ClaimedPackage is one KeyPackage of one device, claimed once, or its last
// resort.
type ClaimedPackage struct {
	Device     sealpost.KeyID `cbor:"1,keyasint" json:"device"`
	KeyPackage Bytes          `cbor:"2,keyasint" json:"key_package"`
	Left       int            `cbor:"3,keyasint" json:"left"`        // in the device's pool after this
	LastResort bool           `cbor:"4,keyasint" json:"last_resort"` // no other was left: this one is given out again
}

// Directory is how a sender enrols the devices of its customers. The relay
// only carries: the sender checks the MAC, signs the key event, and seals to
// no key that it did not sign.
type Directory interface {
	Invite(ctx context.Context, caller Caller, in Invitation) (Invited, error)
	// Answered lists invitations with an answer and no key event yet.
	Answered(ctx context.Context, caller Caller, limit int) ([]EnrolmentView, error)
	// PostKeyEvent holds a key event by the sender's key. A device's enrol event
	// must be over an answer as given; it takes effect once logged.
	PostKeyEvent(ctx context.Context, caller Caller, statement []byte) (Accepted, error)
	// KeyEvents gives the key events of a recipient's devices, oldest first.
	KeyEvents(ctx context.Context, caller Caller, recipient sealpost.Recipient) ([]Exhibit, error)
	// ClaimPackages takes one KeyPackage for each named device of the recipient,
	// the last resort where no other is left.
	ClaimPackages(ctx context.Context, caller Caller, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]ClaimedPackage, error)
}

// A DeviceEndpoint is where a carrier reaches the device.
type DeviceEndpoint struct {
	Carrier sealpost.Carrier      `cbor:"1,keyasint" json:"carrier"`
	Kind    sealpost.EndpointKind `cbor:"2,keyasint" json:"kind"`
	Value   string                `cbor:"3,keyasint" json:"value"`
}

// An Answer is what a device presents to an invitation.
type Answer struct {
	ID          sealpost.EnrolmentID `cbor:"1,keyasint" json:"id"`
	Key         Bytes                `cbor:"2,keyasint" json:"key"`
	Leaf        Bytes                `cbor:"3,keyasint" json:"leaf"`
	ByKey       Bytes                `cbor:"4,keyasint" json:"by_key"`
	ByLeaf      Bytes                `cbor:"5,keyasint" json:"by_leaf"`
	Assurance   sealpost.Assurance   `cbor:"6,keyasint" json:"assurance"`
	MAC         Bytes                `cbor:"7,keyasint" json:"mac"`
	Endpoints   []DeviceEndpoint     `cbor:"8,keyasint" json:"endpoints"`
	KeyPackages []Bytes              `cbor:"9,keyasint" json:"key_packages"`
}

// An Arrival is one message for a device: the submission as the sender made
// it, the promise and salt, and the log proof once there is one.
type Arrival struct {
	Seq     uint64 `cbor:"1,keyasint" json:"seq"`
	Sealed  Bytes  `cbor:"2,keyasint" json:"sealed"` // sealpost.Sealed.Bytes
	Salt    Bytes  `cbor:"3,keyasint" json:"salt"`
	Promise Bytes  `cbor:"4,keyasint" json:"promise"`
	Proof   Bytes  `cbor:"5,keyasint,omitempty" json:"proof,omitempty"`
}

// DeviceRoad is what a device asks. Every call but Answer is by an enrolled
// device whose key is in force.
type DeviceRoad interface {
	// Answer presents the device's keys to an invitation, once. The request is
	// signed by the key that it presents.
	Answer(ctx context.Context, in Answer) error
	// Enrolment gives the device's own key event, once the sender posted it;
	// ErrNotFound-type problem before.
	Enrolment(ctx context.Context, device sealpost.KeyID) (Exhibit, error)
	// Inbox gives released, open messages for the device after a seq, oldest
	// first, and waits up to wait milliseconds for the first. It also says what is
	// left of the device's KeyPackages.
	Inbox(ctx context.Context, device sealpost.KeyID, after uint64, limit int, waitMS int) (Arrivals, error)
	Arrival(ctx context.Context, device sealpost.KeyID, id sealpost.MessageID) (Arrival, error)
	// PostReceipts holds receipts of the device, each answered in order.
	PostReceipts(ctx context.Context, device sealpost.KeyID, receipts [][]byte) []Verdict
	// Stock adds KeyPackages to the device's pool, or replaces its endpoints. A
	// KeyPackage of last resort takes the place of the one before.
	Stock(ctx context.Context, device sealpost.KeyID, packages [][]byte, endpoints []DeviceEndpoint) error
}

// A KeyView is an API key as its owner sees it; Secret is shown once, when it
// is made.
type KeyView struct {
	Name    string             `cbor:"1,keyasint" json:"name"`
	Scopes  []string           `cbor:"2,keyasint" json:"scopes"`
	Created sealpost.UnixMilli `cbor:"3,keyasint" json:"created"`
	Revoked bool               `cbor:"4,keyasint" json:"revoked"`
	Secret  string             `cbor:"5,keyasint,omitempty" json:"secret,omitempty"`
}

// Keys is how a tenant manages its API keys.
type Keys interface {
	MakeKey(ctx context.Context, caller Caller, name string, scopes sealpost.Scope) (KeyView, error)
	ListKeys(ctx context.Context, caller Caller) ([]KeyView, error)
	RevokeKey(ctx context.Context, caller Caller, name string) error
}

// Gate answers who is asking. Look-ups are cached for at most a few seconds; a
// revoked key stops working within that time. What is unknown or revoked is an
// error that matches [sealpost.ErrNotFound] or a problem below 500, all of which
// the caller sees as one and the same; any other error is a fault of ours.
type Gate interface {
	// APIKey finds the caller of an API key by [HashSecret] of its secret.
	APIKey(ctx context.Context, hash sealpost.Hash) (Caller, error)
	// Device finds an enrolled device's key and tenant.
	Device(ctx context.Context, key sealpost.KeyID) (sealpost.Device, error)
	// Fresh remembers a request's nonce durably until a time and says whether it
	// was new.
	Fresh(ctx context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (bool, error)
}
