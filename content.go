package sealpost

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"io"
	"math/rand/v2"
)

// A Field is one named value of a message, such as an amount or a payee. Each
// has a commitment of its own, so that its holder can disclose it alone.
type Field struct {
	_     struct{} `cbor:",toarray"`
	Name  string   // 1 to NameMax bytes
	Value string   // at most FieldValueMax bytes
}

// A Content is what the recipient reads: the exact text to be displayed and
// the fields behind it (DESIGN section 12, Commitment).
type Content struct {
	_      struct{} `cbor:",toarray"`
	Text   string   // at most TextMax bytes of UTF-8
	Fields []Field  // at most FieldsMax, names distinct
}

func (c Content) check() error {
	if c.Text == "" || !isText(c.Text, TextMax) {
		return malformed("text: empty, longer than %d bytes, or not printable UTF-8", TextMax)
	}
	if len(c.Fields) > FieldsMax {
		return malformed("fields: more than %d", FieldsMax)
	}
	seen := map[string]bool{}
	for _, f := range c.Fields {
		if !isName(f.Name) || !isText(f.Value, FieldValueMax) || seen[f.Name] {
			return malformed("fields: a name or value is not allowed, or a name stands twice")
		}
		seen[f.Name] = true
	}
	return nil
}

// A FieldOpening opens one slot of the field root.
type FieldOpening struct {
	_    struct{} `cbor:",toarray"`
	Slot uint8    // 0 to FieldsMax-1
	R    Opening
}

// A Payload is the plaintext that MLS seals (commitment 4): content, openings
// and the place in the sender's sequence.
type Payload struct {
	Content   Content        `cbor:"1,keyasint"`
	R         Opening        `cbor:"2,keyasint"` // opens C
	Openings  []FieldOpening `cbor:"3,keyasint"` // one for each field, in the fields' order
	Slots     [][]byte       `cbor:"4,keyasint"` // the eight slots; unused ones are random
	Sequence  Sequence       `cbor:"5,keyasint"`
	SequenceR Opening        `cbor:"6,keyasint"` // opens the commitment's Sequence
	Template  string         `cbor:"7,keyasint"` // which template made the text, for the device's own use
}

// A Sequence is a message's place among those of one (recipient, sender
// replica): dense from 1, each naming the one before (DESIGN section 12).
type Sequence struct {
	_        struct{} `cbor:",toarray"`
	Replica  uint32
	Number   uint64
	Previous Hash // of the previous commitment statement; zero at number 1
}

// Domain labels of everything that is MACed (commitment 3).
const (
	labelCommit   = "sealpost/commit/v1"
	labelField    = "sealpost/field/v1"
	labelSequence = "sealpost/sequence/v1"
	labelOpened   = "sealpost/opened/v1"
)

type commitInput struct {
	_                struct{} `cbor:",toarray"`
	Label            string
	Alg              HashAlg
	Canonicalization uint8
	App              string
	ID               MessageID
	Recipient        Recipient
	Content          Content
}

type fieldInput struct {
	_           struct{} `cbor:",toarray"`
	Label       string
	Alg         HashAlg
	ID          MessageID
	Name, Value string
}

type sequenceInput struct {
	_         struct{} `cbor:",toarray"`
	Label     string
	App       string
	Recipient Recipient
	Sequence  Sequence
}

// commitTo computes C (commitment 3).
func commitTo(c *Commitment, r Opening, content Content) []byte {
	return c.HashAlg.mac(r, mustEncode(commitInput{Label: labelCommit, Alg: c.HashAlg,
		Canonicalization: c.Canonicalization, App: c.App, ID: c.ID, Recipient: c.Recipient, Content: content}))
}

// commitToField computes the c_i of one field.
func commitToField(alg HashAlg, id MessageID, r Opening, f Field) []byte {
	return alg.mac(r, mustEncode(fieldInput{Label: labelField, Alg: alg, ID: id, Name: f.Name, Value: f.Value}))
}

func commitToSequence(c *Commitment, r Opening, s Sequence) Hash {
	return Hash(SHA256.mac(r, mustEncode(sequenceInput{Label: labelSequence, App: c.App, Recipient: c.Recipient, Sequence: s})))
}

// NewPayload draws the openings of a message and fills C, FieldRoot and
// Sequence of c, whose ID, App, Recipient, HashAlg and Canonicalization must
// stand. random must be a cryptographic source.
func NewPayload(c *Commitment, content Content, seq Sequence, template string, random io.Reader) (Payload, error) {
	p := Payload{Content: content, Sequence: seq, Template: template}
	if err := c.HashAlg.check(); err != nil {
		return p, err
	}
	if err := p.Content.check(); err != nil {
		return p, err
	}
	if err := p.draw(c, random); err != nil {
		return p, fmt.Errorf("draw openings: %w", err)
	}
	c.C = commitTo(c, p.R, content)
	c.FieldRoot = merkleRoot(c.HashAlg, p.Slots)
	c.Sequence = commitToSequence(c, p.SequenceR, seq)
	return p, p.check()
}

// draw fills every random part, the fields' commitments in shuffled slots.
func (p *Payload) draw(c *Commitment, random io.Reader) error {
	var seed [32]byte
	for _, b := range [][]byte{p.R[:], p.SequenceR[:], seed[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return err
		}
	}
	p.Slots = make([][]byte, FieldsMax)
	for i := range p.Slots {
		p.Slots[i] = make([]byte, c.HashAlg.Size())
		if _, err := io.ReadFull(random, p.Slots[i]); err != nil {
			return err
		}
	}
	order := rand.New(rand.NewChaCha8(seed)).Perm(FieldsMax)
	for i, f := range p.Content.Fields {
		o := FieldOpening{Slot: uint8(order[i])}
		if _, err := io.ReadFull(random, o.R[:]); err != nil {
			return err
		}
		p.Slots[o.Slot] = commitToField(c.HashAlg, c.ID, o.R, f)
		p.Openings = append(p.Openings, o)
	}
	return nil
}

func (p *Payload) check() error {
	if err := p.Content.check(); err != nil {
		return err
	}
	var used [FieldsMax]bool
	for _, o := range p.Openings {
		if o.Slot >= FieldsMax || used[o.Slot] {
			return malformed("payload: a slot is out of range or used twice")
		}
		used[o.Slot] = true
	}
	return firstFault([]fault{
		{len(p.Openings) != len(p.Content.Fields), "payload: openings do not match the fields"},
		{len(p.Slots) != FieldsMax, "payload: slots are not eight"},
		{p.Template != "" && !isName(p.Template), "payload: template"},
		{p.Sequence.Number == 0, "payload: sequence number"},
		{(p.Sequence.Number == 1) != (p.Sequence.Previous == Hash{}), "payload: previous commitment"},
	})
}

// EncodePayload is the plaintext to seal; the caller pads it to
// [Padded] of its length. It refuses what no padded size holds.
func EncodePayload(p Payload) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return Encode(p)
}

// DecodePayload reads a plaintext.
func DecodePayload(b []byte) (p Payload, err error) {
	if err := Decode(b, &p); err != nil {
		return p, fmt.Errorf("payload: %w", err)
	}
	return p, p.check()
}

// Opens recomputes every commitment of c from the payload, as a device does
// before it displays: C, each field and their root, the sequence number. A
// mismatch names the part.
func (p Payload) Opens(c Commitment) error {
	if err := c.HashAlg.check(); err != nil {
		return err
	}
	if len(p.Openings) != len(p.Content.Fields) {
		return malformed("payload: openings do not match the fields")
	}
	if !hmac.Equal(commitTo(&c, p.R, p.Content), c.C) {
		return malformed("C does not open to the content")
	}
	if err := opensRoot(c, p.Slots); err != nil {
		return err
	}
	for i, o := range p.Openings {
		if !o.opensSlot(c, p.Slots, p.Content.Fields[i]) {
			return malformed("the commitment of field %d does not open", i)
		}
	}
	if commitToSequence(&c, p.SequenceR, p.Sequence) != c.Sequence {
		return malformed("the sequence commitment does not open")
	}
	return nil
}

// Opens recomputes one field's commitment in its slot and the root over all
// slots, so that a holder can disclose one field and nothing else.
func (o FieldOpening) Opens(c Commitment, slots [][]byte, f Field) error {
	if err := opensRoot(c, slots); err != nil {
		return err
	}
	if !o.opensSlot(c, slots, f) {
		return malformed("the field's commitment does not open")
	}
	return nil
}

func (o FieldOpening) opensSlot(c Commitment, slots [][]byte, f Field) bool {
	return int(o.Slot) < len(slots) && hmac.Equal(commitToField(c.HashAlg, c.ID, o.R, f), slots[o.Slot])
}

// opensRoot recomputes the root over the field slots.
func opensRoot(c Commitment, slots [][]byte) error {
	if err := c.HashAlg.check(); err != nil {
		return err
	}
	if len(slots) != FieldsMax {
		return malformed("the field slots are not eight")
	}
	for _, s := range slots {
		if len(s) != c.HashAlg.Size() {
			return malformed("a field slot has another length than the hash")
		}
	}
	if !bytes.Equal(merkleRoot(c.HashAlg, slots), c.FieldRoot) {
		return malformed("the field root is not over these slots")
	}
	return nil
}

type openedInput struct {
	_          struct{} `cbor:",toarray"`
	Label      string
	Commitment Hash
	Key        KeyID
	Level      Level
}

// Opened is what a receipt of level decrypted or higher carries: only a holder
// of the opening r can make it, and any such holder can check it.
func Opened(r Opening, commitment Hash, key KeyID, level Level) Hash {
	return Hash(SHA256.mac(r, mustEncode(openedInput{Label: labelOpened, Commitment: commitment, Key: key, Level: level})))
}
