package client

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
)

var (
	// ErrTemplate says that there is no template of that name.
	ErrTemplate = errors.New("no such template")
	// ErrAssurance says that a device of the recipient holds its key in a weaker
	// place than the template demands; nothing was sealed.
	ErrAssurance = errors.New("a device's assurance is below the template's")
	// ErrTooLong says that content and openings do not fit the largest padded
	// size.
	ErrTooLong = errors.New("the message does not fit its padded size")
)

// A Message is what a caller wants to send.
type Message struct {
	To          string            // the customer's id or phone number
	Template    string            // by name
	Data        map[string]string // exactly the template's fields
	Transaction string            // the caller's own; replaced by a pseudonym. Empty: one per message
	Correlation string            // as above; may be empty
}

// States of a message at its sender.
const (
	statePending  uint8 = iota // durable, not yet promised
	statePromised              // the relay's promise is in the store
	stateRefused               // the relay refused it for good
)

// messageRecord is one message as its sender keeps it: all that a bundle needs.
type messageRecord struct {
	Recipient  sealpost.Recipient `cbor:"1,keyasint"`
	Statement  []byte             `cbor:"2,keyasint"` // the commitment as signed
	Blob       []byte             `cbor:"3,keyasint"` // until promised or refused
	Payload    secret             `cbor:"4,keyasint"` // content and openings
	Roster     []byte             `cbor:"5,keyasint"` // preimage
	Group      []byte             `cbor:"6,keyasint"`
	Epoch      uint64             `cbor:"7,keyasint"`
	Generation uint32             `cbor:"8,keyasint"`
	Salt       sealpost.Salt      `cbor:"9,keyasint"`
	Promise    []byte             `cbor:"10,keyasint,omitempty"`
	State      uint8              `cbor:"11,keyasint"`
	Problem    string             `cbor:"12,keyasint,omitempty"` // type of the refusal
}

func messageKey(id sealpost.MessageID) string { return at("message", id[:]) }
func outboxKey(id sealpost.MessageID) string  { return at("outbox", id[:]) }
func openKey(id sealpost.MessageID) string    { return at("open", id[:]) }

// A sealed is one message sealed in memory, not yet durable.
type sealedMessage struct {
	id     sealpost.MessageID
	sealed sealpost.Sealed
	record messageRecord
}

// seal makes one message in the order that its parts depend on each other:
// content and C; then the ciphertext, whose AAD holds C; then the commitment,
// which holds the ciphertext's hash. Nothing is durable yet.
func (x *sealer) seal(m Message, t Template, content sealpost.Content, head sealpost.Head) (sealedMessage, error) {
	c, err := x.draft(m, t, head)
	if err != nil {
		return sealedMessage{}, err
	}
	if err := x.demand(t.Assurance); err != nil {
		return sealedMessage{}, err
	}
	seq := sealpost.Sequence{Replica: x.s.cfg.Replica, Number: x.sequence.Number + 1, Previous: x.sequence.Previous}
	p, err := sealpost.NewPayload(&c, content, seq, t.Name, x.s.cfg.Rand)
	if err != nil {
		return sealedMessage{}, err
	}
	plain, err := sealpost.EncodePayload(p)
	if err != nil {
		return sealedMessage{}, err
	}
	if len(plain) > payloadMax {
		return sealedMessage{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(plain), payloadMax)
	}
	roster, err := rosterOf(x.group)
	if err != nil {
		return sealedMessage{}, err
	}
	c.Roster = roster.Digest()
	if err := x.lease(); err != nil {
		return sealedMessage{}, err
	}
	generation := x.group.Generation()
	blob, err := x.protect(c.AAD(), plain)
	if err != nil {
		return sealedMessage{}, err
	}
	c.Blob = sha256.Sum256(blob)
	signed, err := sealpost.Sign(c, x.s.cfg.Key)
	if err != nil {
		return sealedMessage{}, err
	}
	sealed, err := sealpost.NewSealed(signed, blob)
	if err != nil {
		return sealedMessage{}, err
	}
	x.sequence = sequenceRecord{seq.Number, signed.Hash()}
	return sealedMessage{c.ID, sealed, messageRecord{Recipient: x.recipient, Statement: signed.Bytes(), Blob: blob,
		Payload: plain, Roster: roster.Encode(), Group: x.group.GroupID(), Epoch: x.group.Epoch(), Generation: generation}}, nil
}

// draft fills what a commitment says before anything is sealed.
func (x *sealer) draft(m Message, t Template, head sealpost.Head) (sealpost.Commitment, error) {
	s := x.s
	now := s.now()
	id, err := sealpost.NewMessageID(now, s.cfg.Rand)
	if err != nil {
		return sealpost.Commitment{}, err
	}
	transaction := m.Transaction
	if transaction == "" {
		transaction = id.String()
	}
	c := sealpost.Commitment{ID: id, App: s.cfg.App, Transaction: s.names.name(labelTransaction, transaction),
		Created: now, Expires: now.Add(t.TTL), Canonicalization: sealpost.Canonicalization, Recipient: x.recipient,
		HashAlg: s.cfg.HashAlg, Pattern: sealpost.PatternA, Carriers: t.Carriers, LeastPrivacy: t.Privacy,
		Release: t.Release, LeastAssurance: t.Assurance, NotBefore: head}
	if m.Correlation != "" {
		c.Correlation = s.names.name(labelCorrelation, m.Correlation)
	}
	return c, nil
}

// demand refuses to seal to a group with a device below an assurance: every
// member could read it.
func (x *sealer) demand(least sealpost.Assurance) error {
	for _, m := range x.record.Members {
		if d := x.find(m.Device); d != nil && d.Assurance < least {
			return fmt.Errorf("%w: %v, want %v", ErrAssurance, d.Assurance, least)
		}
	}
	return nil
}

// protect seals a plaintext and puts the envelope around it.
func (x *sealer) protect(aad, plain []byte) ([]byte, error) {
	message, err := x.group.Protect(aad, plain)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	e := sealpost.Envelope{Welcome: x.record.Welcome, Message: message}
	for _, c := range x.record.Commits {
		e.Commits = append(e.Commits, c.Commit)
	}
	return sealpost.EncodeEnvelope(e)
}

// template finds a template and renders a message's content.
func (s *Sender) template(m Message) (Template, sealpost.Content, error) {
	t, known := s.templates[m.Template]
	switch {
	case !known:
		return t, sealpost.Content{}, ErrTemplate
	case m.To == "" || len(m.To) > CustomerMax || len(m.Transaction) > CustomerMax || len(m.Correlation) > CustomerMax:
		return t, sealpost.Content{}, fmt.Errorf("%w: an id is empty or longer than %d bytes", ErrData, CustomerMax)
	case t.TTL < time.Millisecond:
		return t, sealpost.Content{}, fmt.Errorf("%w: its ttl is not positive", ErrTemplate)
	}
	content, err := t.Render(m.Data)
	return t, content, err
}
