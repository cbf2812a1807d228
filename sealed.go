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
	size := 3*headSize + len(e.Welcome) + len(e.Message)
	for _, c := range e.Commits {
		size += headSize + len(c)
	}
	w := writer{b: make([]byte, 0, size)}
	e.write(&w)
	if len(w.b) > BlobMax {
		return nil, tooLarge("envelope has %d bytes, at most %d are allowed", len(w.b), BlobMax)
	}
	return w.b, nil
}

func (e *Envelope) write(w *writer) {
	w.fields(1 + count(len(e.Welcome) > 0, len(e.Commits) > 0))
	if len(e.Welcome) > 0 {
		w.field(1)
		w.bytes(e.Welcome)
	}
	if len(e.Commits) > 0 {
		w.field(2)
		w.tuple(len(e.Commits))
		for _, c := range e.Commits {
			w.bytes(c)
		}
	}
	w.field(3)
	w.bytes(e.Message)
}

func (e *Envelope) read(r *reader) {
	r.fields()
	if r.has(1) {
		e.Welcome = r.some()
	}
	if r.has(2) {
		e.Commits = make([][]byte, r.list(1))
		for i := range e.Commits {
			e.Commits[i] = r.own()
		}
		if len(e.Commits) == 0 {
			r.fail("is empty, and must then be left out")
		}
	}
	r.field(3)
	e.Message = r.own()
}

// ParseEnvelope reads a blob.
func ParseEnvelope(b []byte) (e Envelope, err error) {
	if len(b) > BlobMax {
		return e, tooLarge("envelope has %d bytes, at most %d are allowed", len(b), BlobMax)
	}
	r := reader{s: string(b)}
	if e.read(&r); !r.end() {
		return Envelope{}, fmt.Errorf("envelope: %w", r.fault)
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

// NewSealed joins a commitment with its blob.
func NewSealed(commitment Signed, blob []byte) (Sealed, error) {
	s, err := join(commitment, blob)
	if err != nil {
		return Sealed{}, err
	}
	s.blob = string(blob)
	return s, nil
}

// join checks that a commitment is of a blob, which is yet to be kept.
func join(commitment Signed, blob []byte) (s Sealed, err error) {
	s.commitment = commitment
	if s.parsed, err = commitment.Commitment(); err != nil {
		return s, err
	}
	if len(commitment.raw) > CommitmentMax || len(blob) > BlobMax {
		return s, tooLarge("a part of the submission")
	}
	if sha256.Sum256(blob) != s.parsed.Blob {
		return s, ErrBlobMismatch
	}
	return s, nil
}

// ParseSealed reads what [Sealed.Bytes] writes. Signature and envelope are the
// relay's and the device's to check.
func ParseSealed(b []byte) (Sealed, error) {
	if len(b) > SubmissionMax {
		return Sealed{}, tooLarge("submission has %d bytes, at most %d are allowed", len(b), SubmissionMax)
	}
	r := reader{s: string(b)} // one copy, of which commitment and blob are parts
	r.literal(sealedHead)
	raw := r.bytes()
	r.literal(sealedBlob)
	blob := r.bytes()
	if !r.end() {
		return Sealed{}, malformed("submission is not {1: commitment, 2: blob} in its one encoding")
	}
	commitment, err := parse(raw)
	if err != nil {
		return Sealed{}, err
	}
	s, err := join(commitment, b[len(b)-len(blob):])
	if err != nil {
		return Sealed{}, err
	}
	s.blob = blob
	return s, nil
}

// The body of a submission is {1: commitment, 2: blob}.
const (
	sealedHead = "\xa2\x01"
	sealedBlob = "\x02"
)

// Statement is the commitment as it was signed.
func (s Sealed) Statement() Signed { return s.commitment }

// Commitment is the commitment's payload.
func (s Sealed) Commitment() Commitment { return s.parsed }

// ID is the message's id.
func (s Sealed) ID() MessageID { return s.parsed.ID }

// Blob is the envelope.
func (s Sealed) Blob() []byte { return []byte(s.blob) }

// BlobView is [Sealed.Blob] as [Signed.View] is the statement: without a copy, to
// be read only.
func (s Sealed) BlobView() []byte { return view(s.blob) }

// Bytes is the body of a submission, and what a carrier carries inline.
func (s Sealed) Bytes() []byte {
	b := make([]byte, 0, len(sealedHead)+len(sealedBlob)+2*headSize+len(s.commitment.raw)+len(s.blob))
	b = appendBytes(append(b, sealedHead...), s.commitment.raw)
	return appendBytes(append(b, sealedBlob...), s.blob)
}

// Ticket is what a carrier carries where [Sealed.Bytes] does not fit: the
// message id, 16 opaque bytes. It opens nothing: the device fetches with a
// request that it signs.
func (s Sealed) Ticket() []byte { return append([]byte(nil), s.parsed.ID[:]...) }

// IsZero says that there is nothing sealed.
func (s Sealed) IsZero() bool { return s.blob == "" && s.commitment.raw == "" }
