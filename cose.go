package sealpost

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	check() error // every rule of the spec page that needs nothing but the value
}

// A Signed is a statement as bytes, read and taken apart, its signature not
// yet checked. It holds no reference to what it was parsed from.
type Signed struct {
	raw     string
	kind    Kind
	alg     Alg
	key     KeyID
	payload span
}

// A span is where a part stands in the raw bytes.
type span struct{ from, to int }

// Protected header: {1: alg, 3: content type, 4: kid}, wrapped as a byte
// string; then the empty unprotected map (RFC 9052 3 and 4.2).
const (
	signHead  = "\xd2\x84"           // tag 18, array of four
	sigInfix  = "\x58\x40"           // byte string of 64
	kidHead   = "\x04\x58\x20"       // label 4, byte string of 32
	sigStruct = "\x84\x6aSignature1" // RFC 9052 4.4, before body_protected
	noAAD     = "\x40"               // external_aad is empty
)

// protectedHead is the protected header of a kind and algorithm up to the 32
// bytes of the key id.
func protectedHead(k Kind, a Alg) string {
	ct := k.ContentType()
	return "\xa3\x01" + string([]byte{0x20 | byte(-1-a)}) + "\x03" + string(cborHead(0x60, len(ct))) + ct + kidHead
}

type headKey struct {
	kind Kind
	alg  Alg
}

var protectedHeads = func() map[headKey]string {
	m := map[headKey]string{}
	for k := KindCommitment; int(k) < len(kindNames); k++ {
		for _, a := range []Alg{EdDSA, ES256} {
			m[headKey{k, a}] = protectedHead(k, a)
		}
	}
	return m
}()

// cborHead writes a CBOR head of a major type with its shortest length.
func cborHead(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 1<<8:
		return []byte{major | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
	}
	return binary.BigEndian.AppendUint32([]byte{major | 26}, uint32(n))
}

// Sign checks st, encodes it and signs it.
func Sign(st Statement, by Signer) (Signed, error) {
	if err := st.check(); err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	payload, err := Encode(st)
	if err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	pub := by.Public()
	id := pub.ID()
	head, known := protectedHeads[headKey{st.Kind(), pub.Alg()}]
	if !known {
		return Signed{}, fmt.Errorf("sign a %v: %w: %v", st.Kind(), ErrUnknownAlgorithm, pub.Alg())
	}
	protected := head + string(id[:])
	sig, err := by.Sign(sigStructure(protected, string(payload)))
	if err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	raw := append([]byte(signHead), cborHead(0x40, len(protected))...)
	raw = append(raw, protected...)
	raw = append(raw, 0xa0)
	raw = append(raw, cborHead(0x40, len(payload))...)
	raw = append(raw, payload...)
	raw = append(raw, sigInfix...)
	raw = append(raw, sig...)
	s, err := Parse(raw)
	if err != nil {
		return Signed{}, fmt.Errorf("sign a %v: %w", st.Kind(), err)
	}
	return s, nil
}

// sigStructure is what is signed: RFC 9052 4.4 with an empty external_aad.
func sigStructure(protected, payload string) []byte {
	b := make([]byte, 0, len(sigStruct)+len(protected)+len(payload)+12)
	b = append(b, sigStruct...)
	b = append(b, cborHead(0x40, len(protected))...)
	b = append(b, protected...)
	b = append(b, noAAD...)
	b = append(b, cborHead(0x40, len(payload))...)
	return append(b, payload...)
}

// Parse takes a statement apart. It accepts the one encoding of the one shape
// that [Sign] writes: tag 18, the three protected headers, no unprotected one.
// The payload is read by the method named for its kind.
func Parse(raw []byte) (Signed, error) {
	if len(raw) > StatementMax {
		return Signed{}, tooLarge("statement has %d bytes, at most %d are allowed", len(raw), StatementMax)
	}
	s := Signed{raw: string(raw)}
	r := reader{s.raw, 0}
	if !r.literal(signHead) {
		return Signed{}, malformed("statement is not a tagged COSE_Sign1")
	}
	protected, ok := r.bytes(0x40)
	if !ok || !s.readProtected(s.raw[protected.from:protected.to]) {
		return Signed{}, protectedError(s.raw[protected.from:protected.to])
	}
	if !r.literal("\xa0") {
		return Signed{}, malformed("unprotected header is not empty")
	}
	if s.payload, ok = r.bytes(0x40); !ok {
		return Signed{}, malformed("payload is not a byte string in shortest form")
	}
	if !r.literal(sigInfix) || len(r.s)-r.at != SignatureSize {
		return Signed{}, malformed("signature is not the last %d bytes", SignatureSize)
	}
	return s, nil
}

// readProtected finds the kind, algorithm and key id.
func (s *Signed) readProtected(p string) bool {
	for key, head := range protectedHeads {
		if len(p) == len(head)+len(s.key) && p[:len(head)] == head {
			s.kind, s.alg = key.kind, key.alg
			copy(s.key[:], p[len(head):])
			return true
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

// A reader walks over CBOR heads in shortest form.
type reader struct {
	s  string
	at int
}

func (r *reader) literal(want string) bool {
	if len(r.s)-r.at < len(want) || r.s[r.at:r.at+len(want)] != want {
		return false
	}
	r.at += len(want)
	return true
}

// bytes reads a head of the major type and steps over its content.
func (r *reader) bytes(major byte) (span, bool) {
	if r.at >= len(r.s) || r.s[r.at]&0xe0 != major {
		return span{}, false
	}
	info := int(r.s[r.at] & 0x1f)
	r.at++
	n := info
	if info >= 24 {
		width := 1 << (info - 24)
		if info > 26 || len(r.s)-r.at < width {
			return span{}, false
		}
		n = 0
		for _, b := range []byte(r.s[r.at : r.at+width]) {
			n = n<<8 | int(b)
		}
		r.at += width
		if len(cborHead(0, n)) != 1+width {
			return span{}, false // a shorter head would do
		}
	}
	if n > len(r.s)-r.at {
		return span{}, false
	}
	out := span{r.at, r.at + n}
	r.at += n
	return out, true
}

// Bytes is the statement as it travels and is logged.
func (s Signed) Bytes() []byte { return []byte(s.raw) }

// Hash is the SHA-256 of [Signed.Bytes].
func (s Signed) Hash() Hash { return sha256.Sum256([]byte(s.raw)) }

// Kind is the kind that the protected header names.
func (s Signed) Kind() Kind { return s.kind }

// Alg is the algorithm that the protected header names.
func (s Signed) Alg() Alg { return s.alg }

// KeyID is the key that the protected header names.
func (s Signed) KeyID() KeyID { return s.key }

// Signature is the last 64 bytes.
func (s Signed) Signature() []byte { return []byte(s.raw[len(s.raw)-SignatureSize:]) }

// ToBeSigned is what [PublicKey.Verify] takes as its message (RFC 9052 4.4);
// the relay's batch verifier wants it apart.
func (s Signed) ToBeSigned() []byte {
	r := reader{s.raw, len(signHead)}
	protected, _ := r.bytes(0x40) // Parse has read it before
	return sigStructure(s.raw[protected.from:protected.to], s.raw[s.payload.from:s.payload.to])
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

// open decodes the payload into st and checks it.
func open[S Statement](s Signed, st *S) error {
	if s.kind != (*st).Kind() {
		return malformed("a %v where a %v is wanted", s.kind, (*st).Kind())
	}
	if err := Decode([]byte(s.raw[s.payload.from:s.payload.to]), st); err != nil {
		return fmt.Errorf("%v: %w", s.kind, err)
	}
	if err := (*st).check(); err != nil {
		return fmt.Errorf("%v: %w", s.kind, err)
	}
	return nil
}

// Commitment reads the payload of a commitment.
func (s Signed) Commitment() (c Commitment, err error) { return c, open(s, &c) }

// Promise reads the payload of a promise.
func (s Signed) Promise() (p Promise, err error) { return p, open(s, &p) }

// Attempt reads the payload of an attempt.
func (s Signed) Attempt() (a Attempt, err error) { return a, open(s, &a) }

// CarrierClaim reads the payload of a carrier claim.
func (s Signed) CarrierClaim() (c CarrierClaim, err error) { return c, open(s, &c) }

// Receipt reads the payload of a receipt.
func (s Signed) Receipt() (r Receipt, err error) { return r, open(s, &r) }

// Outcome reads the payload of an outcome.
func (s Signed) Outcome() (o Outcome, err error) { return o, open(s, &o) }

// KeyEvent reads the payload of a key event.
func (s Signed) KeyEvent() (e KeyEvent, err error) { return e, open(s, &e) }
