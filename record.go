package sealpost

import (
	"fmt"
	"io"
	"log/slog"
)

// This file is the vocabulary of the relay's own rooms: what is held for a
// statement, a message and a device. The road, the store and the API speak of
// these; none of it is signed or travels as it stands.

// A Record is one statement with all that its holder needs to prove it.
type Record struct {
	Seq       uint64 // its place in the store and its leaf's index in the log
	Kind      Kind
	App       string
	ID        MessageID // zero for a key event
	Statement []byte    // COSE_Sign1
	Hash      Hash      // SHA-256 of Statement
	Salt      Salt
	Leaf      Leaf
	Promise   []byte // [Promised.Encode]; empty for the relay's own statements
}

// A Hold asks the store to make one statement durable. Exactly one of the
// pointers is set, the statement's payload.
type Hold struct {
	Record // Seq is the store's to assign; Promise is Part's

	Part *PromisePart // nil for the relay's own statements

	Commitment *Commitment
	Blob       []byte        // with Commitment: the envelope, which goes to the spool
	Commits    []EpochCommit // with Commitment: the MLS commits in the envelope
	Spooled    Spooled       // with Commitment: where the store has put Blob already
	Attempt    *Attempt
	Retry      UnixMilli // with Attempt: when to try again; 0 ends this device's route
	Receipt    *Receipt
	Outcome    *Outcome
	KeyEvent   *KeyEvent
}

// A Spooled is where a store has put a blob ahead of its statement; zero: it has
// not. Only the store reads it.
type Spooled struct{ Segment, Start, Length int64 }

// A PromisePart is how the promise of a statement is made again from the one of
// its group, which the statements of the group share.
type PromisePart struct {
	Group     *GroupPromise
	Place     int   // of the statement's entry in the group
	OutcomeBy int64 // as in [PromiseEntry]
}

// Promised is the promise of a statement with this leaf and hash.
func (p PromisePart) Promised(leaf Leaf, statement Hash) (Promised, error) {
	return p.Group.Part(p.Place, PromiseEntry{Leaf: leaf, Statement: statement, OutcomeBy: p.OutcomeBy})
}

// An EpochCommit is one MLS commit and the place that it takes: a tenant, a
// group and an epoch. One commit may stand in each place; it travels in every
// envelope until all devices have acknowledged it (DESIGN section 12, Sender
// replicas).
type EpochCommit struct {
	Place  Hash // of tenant, group and epoch
	Commit Hash // SHA-256 of the commit
}

// A Held is what became of one Hold. Where the same statement was held before,
// Record is that one and Again is set. Where the id or an epoch is taken by
// another statement, or the message has its outcome, Err says so and nothing
// changed.
type Held struct {
	Record Record
	Again  bool
	Err    error
}

// A Message is what the relay knows of one message.
type Message struct {
	ID         MessageID
	App        string
	Recipient  Recipient
	Commitment Hash   // of the statement
	Seq        uint64 // of the commitment
	Blob       Hash
	Roster     Hash
	Created    UnixMilli
	Expires    UnixMilli
	Release    ReleaseRule
	End        End // 0 while open
}

// A Closing is a message that is ready for its outcome, with all it counts.
type Closing struct {
	Message  Message
	End      End
	Attempts []Hash // ascending
	Claims   []Hash // ascending
	Receipts []Hash // ascending
}

// A Device is one enrolled device as the relay knows it.
type Device struct {
	App       string
	Recipient Recipient
	Key       PublicKey
	Leaf      PublicKey
	Assurance Assurance
	Enrolled  uint64 // seq of its enrol event
	Revoked   uint64 // seq of its revocation, 0 while in force
}

// An EndpointKind is which value of a carrier names a device.
type EndpointKind uint8

// Kinds of endpoints. FCM knows two (DESIGN section 6, reference of FCM v1).
const (
	EndpointFCMFID EndpointKind = 1 + iota
	EndpointFCMToken
)

// EndpointMax bounds an endpoint's value, bytes.
const EndpointMax = 4096

// An Endpoint is where one carrier reaches one device. Its value is personal
// data: it lives in a closure, so that nothing can print it.
type Endpoint struct {
	Carrier Carrier
	Kind    EndpointKind
	value   func() string
}

// NewEndpoint wraps a value.
func NewEndpoint(c Carrier, kind EndpointKind, value string) (Endpoint, error) {
	if value == "" || len(value) > EndpointMax {
		return Endpoint{}, malformed("endpoint: 1 to %d bytes", EndpointMax)
	}
	return Endpoint{c, kind, func() string { return value }}, nil
}

// Reveal is the value; only an adapter and the sealed store ask for it.
func (e Endpoint) Reveal() string {
	if e.value == nil {
		return ""
	}
	return e.value()
}

// Format prints the carrier only.
func (e Endpoint) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "["+e.Carrier.String()+" endpoint]")
}

// LogValue prints the carrier only.
func (e Endpoint) LogValue() slog.Value {
	return slog.StringValue("[" + e.Carrier.String() + " endpoint]")
}

// A Work is one claimed try: this message to this device over this carrier.
type Work struct {
	Message  Message
	Device   KeyID
	Endpoint Endpoint
	Sealed   Sealed
	Number   uint32    // of the try, 1 for the first
	Lease    UnixMilli // until then nobody else gets it
}

// A Delivery is what a device fetches: the message and its proof so far.
type Delivery struct {
	Record Record // the commitment's
	Blob   []byte
}

// An EnrolmentID names an invitation to enrol one device. It is no secret.
type EnrolmentID [16]byte

func (id EnrolmentID) String() string { return formatUUID("enr_", id) }

// ParseEnrolmentID reads the one text form.
func ParseEnrolmentID(s string) (EnrolmentID, error) {
	u, err := parseUUID("enr_", s)
	return EnrolmentID(u), err
}

// MarshalText writes the prefixed form.
func (id EnrolmentID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the prefixed form.
func (id *EnrolmentID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseEnrolmentID(string(b))
	return err
}

// NewEnrolmentID draws an id.
func NewEnrolmentID(t UnixMilli, random io.Reader) (EnrolmentID, error) {
	u, err := newUUIDv7(t, random)
	return EnrolmentID(u), err
}

// An Enrolment is an invitation and, once the device answered, its answer.
// The relay knows the hash of the secret only, so it cannot answer itself.
type Enrolment struct {
	ID         EnrolmentID
	App        string
	Recipient  Recipient
	SecretHash Hash     // SHA-256 of T
	Challenge  [32]byte // single use
	Expires    UnixMilli
	Answer     *EnrolmentAnswer
}

// An EnrolmentAnswer is what a device presents.
type EnrolmentAnswer struct {
	Key         PublicKey
	Device      DeviceKey
	MAC         Hash // [EnrolMAC]
	Endpoints   []Endpoint
	KeyPackages [][]byte // each may be claimed once
	LastResort  []byte   // the KeyPackage that serves when none of them is left; nil: none
}

// A Pool is what the relay has of a device's KeyPackages.
type Pool struct {
	Left       int  // that can be claimed, each once
	LastResort bool // there is one for when none is left
}

// A ClaimedPackage is one KeyPackage as the relay gives it out.
type ClaimedPackage struct {
	KeyPackage []byte
	LastResort bool // no other was left; it stays
	Left       int  // other ones, after this
}

// A Scope is one thing that an API key may do.
type Scope uint8

// Scopes of API keys; a key holds a set of them as bits.
const (
	ScopeSend   Scope = 1 << iota // submit messages, claim KeyPackages
	ScopeRead                     // read messages and evidence
	ScopeEnrol                    // invite devices, post key events
	ScopeManage                   // make and revoke API keys
)

// An APIKey is what the relay keeps of a key: its hash and its rights.
type APIKey struct {
	Name    string
	App     string
	Hash    Hash // SHA-256 of the secret
	Scopes  Scope
	Created UnixMilli
	Revoked UnixMilli // 0 while in force
}
