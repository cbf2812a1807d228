package sealpost

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"unsafe"
)

// A Kind is a type of statement. Its name is part of the signed content type.
type Kind uint8

// The kinds of statements that exist. Numbers are storage; names are signed.
const (
	KindCommitment Kind = 1 + iota
	KindPromise
	KindAttempt
	KindCarrierClaim
	KindReceipt
	KindOutcome
	KindKeyEvent
)

var kindNames = [...]string{
	KindCommitment:   "commitment",
	KindPromise:      "promise",
	KindAttempt:      "attempt",
	KindCarrierClaim: "carrier-claim",
	KindReceipt:      "receipt",
	KindOutcome:      "outcome",
	KindKeyEvent:     "key-event",
}

func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// ContentType is the media type in the protected header (commitment 1).
func (k Kind) ContentType() string { return "application/vnd.sealpost." + k.String() + "+cbor;v=1" }

// A Hash is a SHA-256 of a statement's bytes, of a blob, or of a tree node.
type Hash [32]byte

// A Statement is the payload of one of our COSE_Sign1 messages. The set of its
// types is closed.
type Statement interface {
	Kind() Kind
	check() error    // every rule of the spec page that needs nothing but the value
	write(w *writer) // the payload
}

// A Signed is a statement as bytes, read and taken apart, its signature not
// yet checked. It holds no reference to what it was parsed from.
type Signed struct {
	raw         string
	kind        Kind
	alg         Alg
	key         KeyID
	unprotected int    // where the empty unprotected header stands in raw
	payload     string // a part of raw
}

// Protected header: {1: alg, 3: content type, 4: kid}, wrapped as a byte
// string; then the empty unprotected map (RFC 9052 3 and 4.2).
const (
	signHead    = "\xd2\x84"           // tag 18, array of four
	unprotected = "\xa0"               // empty map
	sigHead     = "\x58\x40"           // byte string of 64
	kidHead     = "\x04\x58\x20"       // label 4, byte string of 32
	sigStruct   = "\x84\x6aSignature1" // RFC 9052 4.4, before body_protected
	noAAD       = "\x40"               // external_aad is empty
)

// protectedHead is the protected header of a kind and algorithm up to the 32
// bytes of the key id.
func protectedHead(k Kind, a Alg) string {
	w := writer{}
	w.fields(3)
	w.field(1)
	w.int(int64(a))
	w.field(3)
	w.text(k.ContentType())
	return string(w.b) + kidHead
}

// signAlgs are the algorithms of statements.
var signAlgs = [...]Alg{EdDSA, ES256}

// protectedHeads are all there are, by kind and place in signAlgs.
var protectedHeads = func() (heads [len(kindNames)][len(signAlgs)]string) {
	for k := KindCommitment; int(k) < len(kindNames); k++ {
		for i, a := range signAlgs {
			heads[k][i] = protectedHead(k, a)
		}
	}
	return heads
}()

// Sign checks st, encodes it and signs it.
func Sign(st Statement, by Signer) (Signed, error) {
	if err := st.check(); err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	pub := by.Public()
	alg := slices.Index(signAlgs[:], pub.Alg())
	if alg < 0 {
		return Signed{}, fmt.Errorf("sign a %v: %w: %v", st.Kind(), ErrUnknownAlgorithm, pub.Alg())
	}
	w := writer{b: make([]byte, 0, payloadSize)}
	if st.write(&w); w.fault != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), w.fault)
	}
	head, id := protectedHeads[st.Kind()][alg], pub.ID()
	raw := make([]byte, 0, len(signHead)+len(head)+len(id)+len(unprotected)+2*headSize+len(w.b)+len(sigHead)+SignatureSize)
	raw = append(raw, signHead...)
	raw = appendHead(raw, majorBytes, uint64(len(head)+len(id)))
	raw = append(append(raw, head...), id[:]...)
	at := len(raw)
	raw = append(raw, unprotected...)
	raw = appendBytes(raw, w.b)
	sig, err := by.Sign(appendToBeSigned(nil, raw, at))
	if err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	raw = append(append(raw, sigHead...), sig...)
	s, err := Parse(raw)
	if err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	return s, nil
}

// payloadSize is room for most payloads, bytes.
const payloadSize = 512

// appendToBeSigned appends the Sig_structure (RFC 9052 4.4): the context, protected
// header, empty external_aad and payload. A statement before its signature has
// the same parts in the same order, with a tag in front for the context and,
// at the place given, the unprotected header for the external_aad.
func appendToBeSigned[B string | []byte](b []byte, unsigned B, at int) []byte {
	b = slices.Grow(b, len(sigStruct)+len(unsigned)-len(signHead))
	b = append(b, sigStruct...)
	b = append(b, unsigned[len(signHead):at]...)
	b = append(b, noAAD...)
	return append(b, unsigned[at+len(unprotected):]...)
}

// Parse takes a statement apart. It accepts the one encoding of the one shape
// that [Sign] writes: tag 18, the three protected headers, no unprotected one.
// The payload is read by the method named for its kind.
func Parse(raw []byte) (Signed, error) {
	if len(raw) > StatementMax {
		return Signed{}, statementTooLong(len(raw))
	}
	return parse(string(raw))
}

func statementTooLong(n int) error {
	return tooLarge("statement has %d bytes, at most %d are allowed", n, StatementMax)
}

// parse keeps raw, and every part of it stays a part.
func parse(raw string) (Signed, error) {
	if len(raw) > StatementMax {
		return Signed{}, statementTooLong(len(raw))
	}
	s, r := Signed{raw: raw}, reader{s: raw}
	if !r.literal(signHead) {
		return Signed{}, malformed("statement is not a tagged COSE_Sign1")
	}
	protected := r.bytes()
	if !s.readProtected(protected) {
		return Signed{}, protectedError(protected)
	}
	s.unprotected = r.at
	if !r.literal(unprotected) {
		return Signed{}, malformed("unprotected header is not empty")
	}
	if s.payload = r.bytes(); r.fault != nil {
		return Signed{}, malformed("payload is not a byte string in shortest form")
	}
	if !r.literal(sigHead) || len(r.s)-r.at != SignatureSize {
		return Signed{}, malformed("signature is not the last %d bytes", SignatureSize)
	}
	return s, nil
}

// readProtected finds the kind, algorithm and key id.
func (s *Signed) readProtected(p string) bool {
	at := len(p) - len(s.key)
	if at < 0 {
		return false
	}
	for k := KindCommitment; int(k) < len(kindNames); k++ {
		for i := range signAlgs {
			if p[:at] == protectedHeads[k][i] {
				s.kind, s.alg = k, signAlgs[i]
				copy(s.key[:], p[at:])
				return true
			}
		}
	}
	return false
}

// protectedError names an algorithm that is not ours, so that a reader learns
// more than that bytes differ.
func protectedError(p string) error {
	if len(p) > 3 && p[:2] == "\xa3\x01" && p[2]>>5 == 1 && p[2]&0x1f < 24 {
		if a := Alg(-1 - int(p[2]&0x1f)); a != EdDSA && a != ES256 {
			return fmt.Errorf("%w: %v", ErrUnknownAlgorithm, a)
		}
	}
	return malformed("protected header is not {alg, content type of a known kind, key id}")
}

// Bytes is the statement as it travels and is logged.
func (s Signed) Bytes() []byte { return []byte(s.raw) }

// View is [Signed.Bytes] without a copy: to be read, never to be written to. It
// keeps all in memory that the statement was read with, as a part of a [Sealed].
func (s Signed) View() []byte { return view(s.raw) }

// view is a string's own memory. It is shared with everybody who has the string.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Hash is the SHA-256 of [Signed.Bytes].
func (s Signed) Hash() Hash { return sha256.Sum256(s.View()) }

// Kind is the kind that the protected header names.
func (s Signed) Kind() Kind { return s.kind }

// Alg is the algorithm that the protected header names.
func (s Signed) Alg() Alg { return s.alg }

// KeyID is the key that the protected header names.
func (s Signed) KeyID() KeyID { return s.key }

// Signature is the last 64 bytes.
func (s Signed) Signature() []byte { return []byte(s.raw[len(s.raw)-SignatureSize:]) }

// ToBeSigned is what [PublicKey.Verify] takes as its message (RFC 9052 4.4).
func (s Signed) ToBeSigned() []byte { return s.AppendToBeSigned(nil) }

// AppendToBeSigned appends [Signed.ToBeSigned] to b: a verifier of many needs
// memory for one.
func (s Signed) AppendToBeSigned(b []byte) []byte {
	return appendToBeSigned(b, s.raw[:len(s.raw)-SignatureSize-len(sigHead)], s.unprotected)
}

// Verify checks that key is the key named and that its signature is right.
func (s Signed) Verify(key PublicKey) error {
	if key.IsZero() || key.Alg() != s.alg || key.ID() != s.key {
		return fmt.Errorf("%v by %s: %w: another key", s.kind, s.key, ErrSignature)
	}
	if err := key.Verify(s.ToBeSigned(), s.Signature()); err != nil {
		return fmt.Errorf("%v by %s: %w", s.kind, s.key, err)
	}
	return nil
}

// payloadAs begins to read the payload of a kind.
func (s Signed) payloadAs(want Kind) (r reader) {
	r.s = s.payload
	if s.kind != want {
		r.failWith(malformed("a %v where a %v is wanted", s.kind, want))
	}
	return r
}

// refused is what a payload's fault or broken rule is called. A payload that
// was read to its end is returned even where it breaks a rule, so that a caller
// can say which.
func (s Signed) refused(err error) error {
	if err != nil {
		return fmt.Errorf("%v: %w", s.kind, err)
	}
	return nil
}

// Commitment reads the payload of a commitment.
func (s Signed) Commitment() (v Commitment, err error) {
	r := s.payloadAs(KindCommitment)
	if v.read(&r); !r.end() {
		return Commitment{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// Promise reads the payload of a promise.
func (s Signed) Promise() (v Promise, err error) {
	r := s.payloadAs(KindPromise)
	if v.read(&r); !r.end() {
		return Promise{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// Attempt reads the payload of an attempt.
func (s Signed) Attempt() (v Attempt, err error) {
	r := s.payloadAs(KindAttempt)
	if v.read(&r); !r.end() {
		return Attempt{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// CarrierClaim reads the payload of a carrier claim.
func (s Signed) CarrierClaim() (v CarrierClaim, err error) {
	r := s.payloadAs(KindCarrierClaim)
	if v.read(&r); !r.end() {
		return CarrierClaim{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// Receipt reads the payload of a receipt.
func (s Signed) Receipt() (v Receipt, err error) {
	r := s.payloadAs(KindReceipt)
	if v.read(&r); !r.end() {
		return Receipt{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// Outcome reads the payload of an outcome.
func (s Signed) Outcome() (v Outcome, err error) {
	r := s.payloadAs(KindOutcome)
	if v.read(&r); !r.end() {
		return Outcome{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}

// KeyEvent reads the payload of a key event.
func (s Signed) KeyEvent() (v KeyEvent, err error) {
	r := s.payloadAs(KindKeyEvent)
	if v.read(&r); !r.end() {
		return KeyEvent{}, s.refused(r.fault)
	}
	return v, s.refused(v.check())
}
