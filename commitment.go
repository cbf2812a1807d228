package sealpost

import (
	"math"
	"slices"
)

// A Pattern says who could ever read a message (REQUIREMENTS, three patterns).
type Pattern uint8

// PatternA is the default and the only one so far: commitments only.
const PatternA Pattern = 1

// A Carrier is a way to reach a device. The numbers are signed and never
// reused; a higher number is not a better carrier.
type Carrier uint8

// The carriers that a commitment may allow.
const (
	RCS Carrier = 1 + iota
	FCM
	APNs
	WebPush
	SMS
)

var carrierNames = [...]string{RCS: "rcs", FCM: "fcm", APNs: "apns", WebPush: "webpush", SMS: "sms"}

func (c Carrier) String() string { return name(carrierNames[:], int(c), "carrier") }

// A Privacy is how much a carrier may do with what it is given. A sender signs
// the least it accepts, and no dispatch goes below (R55).
type Privacy uint8

// Levels of carriers, from weakest to strongest.
const (
	NoticeOnly Privacy = 1 + iota // the carrier may only be told that there is something
	SealedBlob                    // the carrier may carry the sealed blob
)

// A ReleaseRule says what must have happened before a carrier wakes a device.
type ReleaseRule uint8

// Release rules (DESIGN section 3, step 6).
const (
	ReleaseHeld      ReleaseRule = 1 + iota // durable at the relay
	ReleaseLogged                           // covered by a log-signed checkpoint: the default
	ReleaseWitnessed                        // covered by a quorum of witnesses
)

var releaseNames = [...]string{ReleaseHeld: "held", ReleaseLogged: "logged", ReleaseWitnessed: "witnessed"}

func (r ReleaseRule) String() string { return name(releaseNames[:], int(r), "release rule") }

// An Assurance says where a device's signing key lives, as far as evidence shows.
type Assurance uint8

// Assurance levels. A higher one is stronger.
const (
	AssuranceSoftware  Assurance = 1 + iota // a key in a file: nothing attested
	AssuranceTEE                            // an attested trusted environment
	AssuranceStrongBox                      // an attested separate secure element
)

var assuranceNames = [...]string{AssuranceSoftware: "software", AssuranceTEE: "tee", AssuranceStrongBox: "secure-element"}

func (a Assurance) String() string { return name(assuranceNames[:], int(a), "assurance") }

func name(names []string, i int, what string) string {
	if i <= 0 || i >= len(names) || names[i] == "" {
		return what + " " + itoa(i)
	}
	return names[i]
}

// Canonicalization is the one version of how content is turned into bytes
// (commitment 3). A commitment that names another is refused.
const Canonicalization = 1

// A Head is a log head: a tree size and its root hash (RFC 9162 2.1).
type Head struct {
	_    struct{} `cbor:",toarray"`
	Size uint64
	Root Hash
}

// A Commitment is what the sender signs for one message (commitment 2). It
// holds no personal data and hides the content; what it still tells is in
// docs/THREATS.md.
type Commitment struct {
	ID               MessageID   `cbor:"1,keyasint"`
	App              string      `cbor:"2,keyasint"`  // the tenant, at most NameMax bytes
	Transaction      string      `cbor:"3,keyasint"`  // opaque or a keyed pseudonym, 1 to NameMax bytes
	Correlation      string      `cbor:"4,keyasint"`  // as above; may be empty
	Created          UnixMilli   `cbor:"5,keyasint"`  // by the sender's clock
	Expires          UnixMilli   `cbor:"6,keyasint"`  // no attempt begins later
	Canonicalization uint8       `cbor:"7,keyasint"`  // [Canonicalization]
	Recipient        Recipient   `cbor:"8,keyasint"`  // the sender's pseudonym of the customer
	HashAlg          HashAlg     `cbor:"9,keyasint"`  // of C, of the fields and their root
	C                []byte      `cbor:"10,keyasint"` // the hiding commitment to the content
	FieldRoot        []byte      `cbor:"11,keyasint"` // root over the eight field slots
	Blob             Hash        `cbor:"12,keyasint"` // SHA-256 of the sealed envelope
	Roster           Hash        `cbor:"13,keyasint"` // [Roster.Digest]
	Pattern          Pattern     `cbor:"14,keyasint"` // A
	Carriers         []Carrier   `cbor:"15,keyasint"` // allowed, in the order of their numbers
	LeastPrivacy     Privacy     `cbor:"16,keyasint"` // the minimum carrier
	Release          ReleaseRule `cbor:"17,keyasint"` // when carriers may hear of it
	LeastAssurance   Assurance   `cbor:"18,keyasint"` // of the device that may show it
	NotBefore        Head        `cbor:"19,keyasint"` // the newest checkpoint the sender knew
	Sequence         Hash        `cbor:"20,keyasint"` // hides sequence number and previous hash
}

// Kind is KindCommitment.
func (Commitment) Kind() Kind { return KindCommitment }

func (c Commitment) check() error {
	if err := c.ID.check(); err != nil {
		return err
	}
	if err := c.HashAlg.check(); err != nil {
		return err
	}
	switch {
	case c.Canonicalization != Canonicalization:
		return ErrCanonicalization // first: another version may have other rules
	case c.Pattern != PatternA:
		return ErrPattern
	}
	return firstFault([]fault{
		{!isName(c.App), "app id"},
		{!isName(c.Transaction), "transaction id"},
		{c.Correlation != "" && !isName(c.Correlation), "correlation id"},
		{c.Expires <= c.Created, "expires: not after created"},
		{c.Expires > c.Created.Add(LifetimeMax), "expires: more than LifetimeMax after created"},
		{len(c.C) != c.HashAlg.Size(), "C: length"},
		{len(c.FieldRoot) != c.HashAlg.Size(), "field root: length"},
		{len(c.Carriers) == 0 || !isOrderedSet(c.Carriers), "carriers: not an ordered set"},
		{len(c.Carriers) > 0 && (c.Carriers[0] < RCS || c.Carriers[len(c.Carriers)-1] > SMS), "carriers: unknown"},
		{c.LeastPrivacy < NoticeOnly || c.LeastPrivacy > SealedBlob, "minimum carrier"},
		{c.Release < ReleaseHeld || c.Release > ReleaseWitnessed, "release rule"},
		{c.LeastAssurance < AssuranceSoftware || c.LeastAssurance > AssuranceStrongBox, "minimum assurance"},
	})
}

func (c *Commitment) read(r *reader) {
	r.fields()
	r.field(1)
	r.fixed(c.ID[:])
	r.field(2)
	c.App = r.text()
	r.field(3)
	c.Transaction = r.text()
	r.field(4)
	c.Correlation = r.text()
	r.field(5)
	c.Created = r.time()
	r.field(6)
	c.Expires = r.time()
	r.field(7)
	c.Canonicalization = r.uint8()
	r.field(8)
	r.fixed(c.Recipient[:])
	r.field(9)
	c.HashAlg = HashAlg(r.int(math.MaxInt8))
	r.field(10)
	c.C = r.own()
	r.field(11)
	c.FieldRoot = r.own()
	r.field(12)
	r.fixed(c.Blob[:])
	r.field(13)
	r.fixed(c.Roster[:])
	r.field(14)
	c.Pattern = Pattern(r.uint8())
	r.field(15)
	c.Carriers = carriersOf(r.bytes())
	r.field(16)
	c.LeastPrivacy = Privacy(r.uint8())
	r.field(17)
	c.Release = ReleaseRule(r.uint8())
	r.field(18)
	c.LeastAssurance = Assurance(r.uint8())
	r.field(19)
	r.tuple(2)
	c.NotBefore.Size = r.uint(math.MaxUint64)
	r.fixed(c.NotBefore.Root[:])
	r.field(20)
	r.fixed(c.Sequence[:])
}

func (c Commitment) write(w *writer) {
	w.fields(20)
	w.field(1)
	w.bytes(c.ID[:])
	w.field(2)
	w.text(c.App)
	w.field(3)
	w.text(c.Transaction)
	w.field(4)
	w.text(c.Correlation)
	w.field(5)
	w.time(c.Created)
	w.field(6)
	w.time(c.Expires)
	w.field(7)
	w.uint8(c.Canonicalization)
	w.field(8)
	w.bytes(c.Recipient[:])
	w.field(9)
	w.int(int64(c.HashAlg))
	w.field(10)
	w.bytes(c.C)
	w.field(11)
	w.bytes(c.FieldRoot)
	w.field(12)
	w.bytes(c.Blob[:])
	w.field(13)
	w.bytes(c.Roster[:])
	w.field(14)
	w.uint8(uint8(c.Pattern))
	w.field(15)
	w.bytes(carrierBytes(c.Carriers))
	w.field(16)
	w.uint8(uint8(c.LeastPrivacy))
	w.field(17)
	w.uint8(uint8(c.Release))
	w.field(18)
	w.uint8(uint8(c.LeastAssurance))
	w.field(19)
	w.tuple(2)
	w.uint(c.NotBefore.Size)
	w.bytes(c.NotBefore.Root[:])
	w.field(20)
	w.bytes(c.Sequence[:])
}

// Carriers travel as a byte string, one byte each (commitment 2).

func carriersOf(numbers string) []Carrier {
	out := make([]Carrier, len(numbers))
	for i := range out {
		out[i] = Carrier(numbers[i])
	}
	return out
}

func carrierBytes(carriers []Carrier) []byte {
	out := make([]byte, len(carriers))
	for i, c := range carriers {
		out[i] = byte(c)
	}
	return out
}

// Allows says whether the sender allows a carrier.
func (c Commitment) Allows(by Carrier) bool { return slices.Contains(c.Carriers, by) }

// AAD is what the PrivateMessage authenticates: message id and C (DESIGN
// section 12, Binding).
func (c Commitment) AAD() []byte { return append(c.ID[:len(c.ID):len(c.ID)], c.C...) }
