package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// Version is the only version of bundles (bundle 1).
const Version = 1

// Limits of a bundle (bundle 1). A larger one is refused unread.
const (
	BundleMax      = 8 << 20                 // bytes of a bundle with its digest
	ExhibitsMax    = 1024                    // statements in one bundle
	RostersMax     = 8                       // roster preimages
	RosterMax      = 16 << 10                // bytes of one preimage
	PromiseMax     = 4 << 10                 // bytes of one promise with its path
	ProofMax       = sealpost.NoteMax + 4096 // bytes of one tlog-proof with its checkpoint
	PayloadMax     = 2048                    // bytes of a disclosed payload, without padding
	ConsistencyMax = 64                      // consistency proofs
	HeadsMax       = 256                     // different checkpoints, those inside receipts included
	pathMax        = 64                      // hashes of one proof: a tree of 2^63 leaves has 63
	digestSize     = sha256.Size
)

// A Bundle is everything that one party shows of one message (bundle 1): the
// statements, each with what ties it to the log, and nothing that says whom to
// trust.
type Bundle struct {
	Version     uint8              `cbor:"1,keyasint"`
	ID          sealpost.MessageID `cbor:"2,keyasint"`
	Exhibits    []Exhibit          `cbor:"3,keyasint"`           // ascending by SHA-256 of the statement
	Rosters     [][]byte           `cbor:"4,keyasint,omitempty"` // preimages, [sealpost.Roster.Encode], ascending
	Disclosed   *Disclosure        `cbor:"5,keyasint,omitempty"`
	PolicyHash  []byte             `cbor:"6,keyasint,omitempty"` // a hint, [Policy.Hash]; no verdict depends on it
	Consistency []Consistency      `cbor:"7,keyasint,omitempty"` // ascending by from, then to
	Span        *Span              `cbor:"8,keyasint,omitempty"`

	spans spans
}

// An Exhibit is one statement with its proof so far (bundle 2).
type Exhibit struct {
	Statement []byte        `cbor:"1,keyasint"`           // COSE_Sign1
	Salt      sealpost.Salt `cbor:"2,keyasint"`           // opens the leaf
	Promise   []byte        `cbor:"3,keyasint,omitempty"` // [sealpost.Promised.Encode]
	Proof     []byte        `cbor:"4,keyasint,omitempty"` // c2sp.org/tlog-proof, with the checkpoint
}

// A Disclosure opens what the commitment hides (bundle 3): all of it, or single
// fields. Whoever holds a bundle with one can read that much of the message.
type Disclosure struct {
	Payload []byte           `cbor:"1,keyasint,omitempty"` // [sealpost.EncodePayload], without padding
	Fields  []DisclosedField `cbor:"2,keyasint,omitempty"` // ascending by slot
	Slots   [][]byte         `cbor:"3,keyasint,omitempty"` // all eight, with Fields
}

// A DisclosedField opens one field and leaves the others hidden.
type DisclosedField struct {
	_     struct{} `cbor:",toarray"`
	Slot  uint8
	R     sealpost.Opening
	Name  string
	Value string
}

// A Consistency is a proof that a tree of To leaves extends the one of From
// leaves with the root given (RFC 9162 2.1.4).
type Consistency struct {
	From uint64          `cbor:"1,keyasint"`
	Root sealpost.Hash   `cbor:"2,keyasint"` // at From
	To   uint64          `cbor:"3,keyasint"` // the size of a checkpoint in this bundle
	Path []sealpost.Hash `cbor:"4,keyasint"`
}

// DiscloseAll opens the whole message.
func DiscloseAll(p sealpost.Payload) (*Disclosure, error) {
	b, err := sealpost.EncodePayload(p)
	if err != nil {
		return nil, fmt.Errorf("disclose a payload: %w", err)
	}
	return &Disclosure{Payload: b}, nil
}

// DiscloseFields opens the named fields of a message and no other.
func DiscloseFields(p sealpost.Payload, names ...string) (*Disclosure, error) {
	d := &Disclosure{Slots: p.Slots}
	for i, f := range p.Content.Fields {
		if i < len(p.Openings) && slices.Contains(names, f.Name) {
			d.Fields = append(d.Fields, DisclosedField{Slot: p.Openings[i].Slot, R: p.Openings[i].R, Name: f.Name, Value: f.Value})
		}
	}
	if len(d.Fields) == 0 || len(d.Fields) != len(names) {
		return nil, fmt.Errorf("disclose fields %q: not all of them are in the message", names)
	}
	slices.SortFunc(d.Fields, func(a, b DisclosedField) int { return int(a.Slot) - int(b.Slot) })
	return d, nil
}

// Encode writes the bundle with its digest. It puts exhibits, rosters and
// consistency proofs in order, drops repetitions, and refuses what
// [ParseBundle] would.
func (b *Bundle) Encode() ([]byte, error) {
	out := *b
	out.Version = Version
	out.Exhibits = slices.Clone(b.Exhibits)
	slices.SortStableFunc(out.Exhibits, func(x, y Exhibit) int { return compareHashes(x.Statement, y.Statement) })
	out.Exhibits = slices.CompactFunc(out.Exhibits, func(x, y Exhibit) bool { return bytes.Equal(x.Statement, y.Statement) })
	out.Rosters = slices.Clone(b.Rosters)
	slices.SortFunc(out.Rosters, bytes.Compare)
	out.Rosters = slices.CompactFunc(out.Rosters, bytes.Equal)
	out.Consistency = slices.Clone(b.Consistency)
	slices.SortFunc(out.Consistency, compareConsistency)
	body, err := sealpost.Encode(out)
	if err != nil {
		return nil, fmt.Errorf("encode a bundle: %w", err)
	}
	raw := Seal(body)
	if _, err := ParseBundle(raw); err != nil {
		return nil, fmt.Errorf("encode a bundle: %w", err)
	}
	return raw, nil
}

// Seal appends the digest of a bundle's body (bundle 1).
func Seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(slices.Clip(body), sum[:]...)
}

func compareHashes(x, y []byte) int {
	a, b := sha256.Sum256(x), sha256.Sum256(y)
	return bytes.Compare(a[:], b[:])
}

func compareConsistency(x, y Consistency) int {
	return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To))
}
