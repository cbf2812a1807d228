package sealpost

import (
	"crypto/sha256"
	"fmt"
)

// An Envelope is the blob: all a device needs of MLS to open one message
// (DESIGN section 12, Binding). The relay sees its lengths and nothing else.
type Envelope struct {
	Welcome []byte   `cbor:"1,keyasint,omitempty"` // for devices that join with this message
	Commits [][]byte `cbor:"2,keyasint,omitempty"` // since the devices' last acknowledged epoch, oldest first
	Message []byte   `cbor:"3,keyasint"`           // PrivateMessage
}

// EncodeEnvelope is the blob.
func EncodeEnvelope(e Envelope) ([]byte, error) {
	if len(e.Commits) > CommitsMax || len(e.Message) == 0 {
		return nil, malformed("envelope: commits or message")
	}
	b, err := Encode(e)
	if err == nil && len(b) > BlobMax {
		err = tooLarge("envelope has %d bytes, at most %d are allowed", len(b), BlobMax)
	}
	return b, err
}

// ParseEnvelope reads a blob.
func ParseEnvelope(b []byte) (e Envelope, err error) {
	if len(b) > BlobMax {
		return e, tooLarge("envelope has %d bytes, at most %d are allowed", len(b), BlobMax)
	}
	if err := Decode(b, &e); err != nil {
		return e, fmt.Errorf("envelope: %w", err)
	}
	if len(e.Commits) > CommitsMax || len(e.Message) == 0 {
		return e, malformed("envelope: commits or message")
	}
	return e, nil
}

// A Sealed is a commitment statement and the blob that it commits to: what a
// sender posts, what a carrier may carry, what a device opens. Its fields are
// out of reach, and only [ParseSealed] and [NewSealed] make one, each checking
// the blob's hash: nothing that was not sealed and committed to can be handed
// to a carrier (R51).
type Sealed struct {
	commitment Signed
	parsed     Commitment
	blob       string
}

// wireSealed is the body of a submission: {1: commitment, 2: blob}.
type wireSealed struct {
	Commitment []byte `cbor:"1,keyasint"`
	Blob       []byte `cbor:"2,keyasint"`
}

// NewSealed joins a commitment with its blob.
func NewSealed(commitment Signed, blob []byte) (Sealed, error) {
	c, err := commitment.Commitment()
	if err != nil {
		return Sealed{}, err
	}
	if len(commitment.raw) > CommitmentMax || len(blob) > BlobMax {
		return Sealed{}, tooLarge("a part of the submission")
	}
	if sha256.Sum256(blob) != c.Blob {
		return Sealed{}, ErrBlobMismatch
	}
	return Sealed{commitment, c, string(blob)}, nil
}

// ParseSealed reads what [Sealed.Bytes] writes. Signature and envelope are the
// relay's and the device's to check.
func ParseSealed(b []byte) (Sealed, error) {
	if len(b) > SubmissionMax {
		return Sealed{}, tooLarge("submission has %d bytes, at most %d are allowed", len(b), SubmissionMax)
	}
	var w wireSealed
	if err := Decode(b, &w); err != nil {
		return Sealed{}, fmt.Errorf("submission: %w", err)
	}
	commitment, err := Parse(w.Commitment)
	if err != nil {
		return Sealed{}, err
	}
	return NewSealed(commitment, w.Blob)
}

// Statement is the commitment as it was signed.
func (s Sealed) Statement() Signed { return s.commitment }

// Commitment is the commitment's payload.
func (s Sealed) Commitment() Commitment { return s.parsed }

// ID is the message's id.
func (s Sealed) ID() MessageID { return s.parsed.ID }

// Blob is the envelope.
func (s Sealed) Blob() []byte { return []byte(s.blob) }

// Bytes is the body of a submission, and what a carrier carries inline.
func (s Sealed) Bytes() []byte {
	return mustEncode(wireSealed{[]byte(s.commitment.raw), []byte(s.blob)})
}

// Ticket is what a carrier carries where [Sealed.Bytes] does not fit: the
// message id, 16 opaque bytes. It opens nothing: the device fetches with a
// request that it signs.
func (s Sealed) Ticket() []byte { return append([]byte(nil), s.parsed.ID[:]...) }

// IsZero says that there is nothing sealed.
func (s Sealed) IsZero() bool { return s.blob == "" && s.commitment.raw == "" }
