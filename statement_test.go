package sealpost

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// testStart is when the tests' statements claim to be made.
const testStart UnixMilli = 1_790_000_000_000

func testKey(alg Alg, seed byte) *PrivateKey {
	k, err := NewPrivateKey(alg, bytes.Repeat([]byte{seed}, KeySeed))
	if err != nil {
		panic(err)
	}
	return k
}

// seeded is a source of randomness that a test can repeat.
func seeded(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(s)
}

func testID() (id MessageID) {
	id, err := NewMessageID(testStart, seeded(1))
	if err != nil {
		panic(err)
	}
	return id
}

func testHash(b byte) (h Hash) { return Hash(bytes.Repeat([]byte{b}, 32)) }

func honestCommitment() Commitment {
	return Commitment{ID: testID(), App: "bank", Transaction: "t-1", Correlation: "c-1", Created: testStart, Expires: testStart + 60_000,
		Canonicalization: Canonicalization, Recipient: Recipient{1}, HashAlg: SHA256, C: bytes.Repeat([]byte{2}, 32), FieldRoot: bytes.Repeat([]byte{3}, 32),
		Blob: testHash(4), Roster: testHash(5), Pattern: PatternA, Carriers: []Carrier{FCM, SMS}, LeastPrivacy: SealedBlob,
		Release: ReleaseLogged, LeastAssurance: AssuranceSoftware, NotBefore: Head{Size: 7, Root: testHash(6)}, Sequence: testHash(7)}
}

func honestAttempt() Attempt {
	id, _ := NewAttemptID(testStart, seeded(2))
	return Attempt{Attempt: id, ID: testID(), Commitment: testHash(1), Device: KeyID{1}, Carrier: FCM, Number: 1, Started: testStart, Ended: testStart + 5, Result: Accepted, Code: "200"}
}

func honestClaim() CarrierClaim {
	return CarrierClaim{ID: testID(), Attempt: honestAttempt().Attempt, Carrier: FCM, Claim: ClaimDelivered, Received: testStart, Raw: testHash(9)}
}

func honestReceipt() Receipt {
	return Receipt{ID: testID(), Commitment: testHash(1), Blob: testHash(2), Roster: testHash(3), Level: Decrypted, Key: KeyID{1}, DeviceTime: testStart,
		Checkpoint: "note", Opened: bytes.Repeat([]byte{1}, 32), Carrier: FCM, Attempt: bytes.Repeat([]byte{1}, 16)}
}

func honestOutcome() Outcome {
	return Outcome{ID: testID(), Commitment: testHash(1), End: Delivered, Decided: testStart, Attempts: []Hash{testHash(1), testHash(2)}, Claims: []Hash{}, Receipts: []Hash{testHash(3)}}
}

func honestPromise() Promise {
	return Promise{Root: testHash(1), Count: 5, Origin: "log.example", Accepted: testStart, TreeSize: 3, LogBy: testStart + 1}
}

func honestEnrol() KeyEvent {
	key, leaf := testKey(EdDSA, 3), testKey(ES256, 4)
	pair := KeyPair("bank", Recipient{1}, key.Public(), leaf.Public())
	byKey, _ := key.Sign(pair)
	byLeaf, _ := leaf.Sign(pair)
	return KeyEvent{Event: Enrol, Subject: SubjectDevice, App: "bank", Created: testStart, Key: key.Public(), Challenge: bytes.Repeat([]byte{1}, 32),
		Device: &DeviceKey{Recipient: Recipient{1}, Leaf: leaf.Public(), ByKey: byKey, ByLeaf: byLeaf, Assurance: AssuranceSoftware}}
}

func honestRevoke() KeyEvent {
	return KeyEvent{Event: Revoke, Subject: SubjectDevice, App: "bank", Created: testStart, Key: testKey(EdDSA, 3).Public()}
}

// forge signs a statement that breaks the rules, as a sender with its own
// encoder could.
func forge(t testing.TB, st Statement, by *PrivateKey) []byte {
	t.Helper()
	payload, err := Encode(st)
	if err != nil {
		t.Skipf("no encoder can write it: %v", err)
	}
	id := by.Public().ID()
	protected := protectedHead(st.Kind(), by.Public().Alg()) + string(id[:])
	sig, err := by.Sign(sigStructure(protected, string(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte(signHead), cborHead(0x40, len(protected)), []byte(protected), []byte{0xa0}, cborHead(0x40, len(payload)), payload, []byte(sigHead), sig)
}

// sigStructure is what is signed, part by part as RFC 9052 4.4 lists them.
func sigStructure(protected, payload string) []byte {
	return slices.Concat([]byte("\x84\x6aSignature1"), cborHead(0x40, len(protected)), []byte(protected), []byte{0x40}, cborHead(0x40, len(payload)), []byte(payload))
}

func cborHead(major byte, n int) []byte { return appendHead(nil, major, uint64(n)) }

// read decodes a statement by its kind.
func read(s Signed) (Statement, error) {
	switch s.Kind() {
	case KindCommitment:
		return s.Commitment()
	case KindPromise:
		return s.Promise()
	case KindAttempt:
		return s.Attempt()
	case KindCarrierClaim:
		return s.CarrierClaim()
	case KindReceipt:
		return s.Receipt()
	case KindOutcome:
		return s.Outcome()
	}
	return s.KeyEvent()
}

// readAs asks for the payload of a kind, whatever the header says.
func readAs(s Signed, kind Kind) (err error) {
	switch kind {
	case KindCommitment:
		_, err = s.Commitment()
	case KindPromise:
		_, err = s.Promise()
	case KindAttempt:
		_, err = s.Attempt()
	case KindCarrierClaim:
		_, err = s.CarrierClaim()
	case KindReceipt:
		_, err = s.Receipt()
	case KindOutcome:
		_, err = s.Outcome()
	default:
		_, err = s.KeyEvent()
	}
	return err
}

func honest() map[string]Statement {
	return map[string]Statement{"commitment": honestCommitment(), "attempt": honestAttempt(), "carrier-claim": honestClaim(), "receipt": honestReceipt(),
		"outcome": honestOutcome(), "promise": honestPromise(), "enrol": honestEnrol(), "revoke": honestRevoke()}
}

func TestHonestStatements(t *testing.T) {
	for name, st := range honest() {
		for _, alg := range []Alg{EdDSA, ES256} {
			key := testKey(alg, 1)
			s, err := Sign(st, key)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := s.Verify(key.Public()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			back, err := read(s)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !bytes.Equal(mustEncode(back), mustEncode(st)) {
				t.Errorf("%s: another value came back", name)
			}
			if err := s.Verify(testKey(alg, 2).Public()); !errors.Is(err, ErrSignature) {
				t.Errorf("%s under another key: %v", name, err)
			}
			if !bytes.Equal(forge(t, st, key), s.Bytes()) {
				t.Errorf("%s: the test's forger writes another form, so its cases prove nothing", name)
			}
		}
	}
}

// with spoils one field of an honest statement.
func with[S Statement](honest func() S, spoil func(*S)) Statement {
	s := honest()
	spoil(&s)
	return s
}

// Each rule of each check is broken once: the signer refuses to sign it, and the
// reader refuses what another signer signed.
func TestEveryRule(t *testing.T) {
	long := strings.Repeat("x", NameMax+1)
	type (
		C = Commitment
		A = Attempt
		L = CarrierClaim
		R = Receipt
		O = Outcome
		P = Promise
		K = KeyEvent
	)
	cases := map[string]Statement{
		"message id: version":           with(honestCommitment, func(c *C) { c.ID[6] = 0x40 }),
		"message id: variant":           with(honestCommitment, func(c *C) { c.ID[8] = 0 }),
		"app id: empty":                 with(honestCommitment, func(c *C) { c.App = "" }),
		"app id: space":                 with(honestCommitment, func(c *C) { c.App = "my bank" }),
		"app id: line feed":             with(honestCommitment, func(c *C) { c.App = "bank\n" }),
		"app id: long":                  with(honestCommitment, func(c *C) { c.App = long }),
		"app id: not ASCII":             with(honestCommitment, func(c *C) { c.App = "bänk" }),
		"transaction id: empty":         with(honestCommitment, func(c *C) { c.Transaction = "" }),
		"transaction id: long":          with(honestCommitment, func(c *C) { c.Transaction = long }),
		"correlation id: long":          with(honestCommitment, func(c *C) { c.Correlation = long }),
		"expires: equal to created":     with(honestCommitment, func(c *C) { c.Expires = c.Created }),
		"expires: too late":             with(honestCommitment, func(c *C) { c.Expires = c.Created.Add(LifetimeMax) + 1 }),
		"created: before 1970":          with(honestCommitment, func(c *C) { c.Created = -1 }),
		"expires: after 9999":           with(honestCommitment, func(c *C) { c.Created, c.Expires = TimeLast, TimeLast+1 }),
		"canonicalization":              with(honestCommitment, func(c *C) { c.Canonicalization = 2 }),
		"unknown algorithm":             with(honestCommitment, func(c *C) { c.HashAlg = -17 }),
		"C: short":                      with(honestCommitment, func(c *C) { c.C = c.C[1:] }),
		"C: of another algorithm":       with(honestCommitment, func(c *C) { c.HashAlg = SHA384 }),
		"field root: long":              with(honestCommitment, func(c *C) { c.FieldRoot = append(c.FieldRoot, 0) }),
		"pattern: none":                 with(honestCommitment, func(c *C) { c.Pattern = 0 }),
		"pattern: B":                    with(honestCommitment, func(c *C) { c.Pattern = 2 }),
		"carriers: none":                with(honestCommitment, func(c *C) { c.Carriers = nil }),
		"carriers: twice":               with(honestCommitment, func(c *C) { c.Carriers = []Carrier{FCM, FCM} }),
		"carriers: order":               with(honestCommitment, func(c *C) { c.Carriers = []Carrier{SMS, FCM} }),
		"carriers: zero":                with(honestCommitment, func(c *C) { c.Carriers = []Carrier{0, FCM} }),
		"carriers: beyond":              with(honestCommitment, func(c *C) { c.Carriers = []Carrier{SMS + 1} }),
		"minimum carrier: none":         with(honestCommitment, func(c *C) { c.LeastPrivacy = 0 }),
		"minimum carrier: beyond":       with(honestCommitment, func(c *C) { c.LeastPrivacy = SealedBlob + 1 }),
		"release rule: none":            with(honestCommitment, func(c *C) { c.Release = 0 }),
		"release rule: beyond":          with(honestCommitment, func(c *C) { c.Release = ReleaseWitnessed + 1 }),
		"minimum assurance: none":       with(honestCommitment, func(c *C) { c.LeastAssurance = 0 }),
		"minimum assurance: beyond":     with(honestCommitment, func(c *C) { c.LeastAssurance = AssuranceStrongBox + 1 }),
		"attempt id":                    with(honestAttempt, func(a *A) { a.Attempt = AttemptID{} }),
		"message id of an attempt":      with(honestAttempt, func(a *A) { a.ID = MessageID{} }),
		"carrier of an attempt: none":   with(honestAttempt, func(a *A) { a.Carrier = 0 }),
		"carrier of an attempt: beyond": with(honestAttempt, func(a *A) { a.Carrier = SMS + 1 }),
		"attempt number":                with(honestAttempt, func(a *A) { a.Number = 0 }),
		"ended":                         with(honestAttempt, func(a *A) { a.Ended = a.Started - 1 }),
		"result: none":                  with(honestAttempt, func(a *A) { a.Result = 0 }),
		"result: beyond":                with(honestAttempt, func(a *A) { a.Result = Ambiguous + 1 }),
		"code":                          with(honestAttempt, func(a *A) { a.Code = "a b" }),
		"message id of a claim":         with(honestClaim, func(c *L) { c.ID = MessageID{} }),
		"attempt id of a claim":         with(honestClaim, func(c *L) { c.Attempt = AttemptID{} }),
		"carrier of a claim":            with(honestClaim, func(c *L) { c.Carrier = 9 }),
		"claim: none":                   with(honestClaim, func(c *L) { c.Claim = 0 }),
		"claim: beyond":                 with(honestClaim, func(c *L) { c.Claim = ClaimFailed + 1 }),
		"message id of a receipt":       with(honestReceipt, func(r *R) { r.ID = MessageID{} }),
		"level: none":                   with(honestReceipt, func(r *R) { r.Level = 0; r.Opened = nil }),
		"level: beyond":                 with(honestReceipt, func(r *R) { r.Level = DecryptFailed + 1; r.Opened = nil }),
		"checkpoint":                    with(honestReceipt, func(r *R) { r.Checkpoint = strings.Repeat("x", NoteMax+1) }),
		"opened: missing":               with(honestReceipt, func(r *R) { r.Opened = nil }),
		"opened: short":                 with(honestReceipt, func(r *R) { r.Opened = r.Opened[1:] }),
		"opened: at handed_over":        with(honestReceipt, func(r *R) { r.Level = HandedOver }),
		"opened: at mismatch":           with(honestReceipt, func(r *R) { r.Level = Mismatch; r.Reason = ReasonAAD }),
		"reason: at decrypted":          with(honestReceipt, func(r *R) { r.Reason = ReasonAAD }),
		"reason: missing at mismatch":   with(honestReceipt, func(r *R) { r.Level = Mismatch; r.Opened = nil }),
		"reason: missing at gap":        with(honestReceipt, func(r *R) { r.Level = Gap; r.Opened = nil }),
		"reason: beyond":                with(honestReceipt, func(r *R) { r.Level = Mismatch; r.Opened = nil; r.Reason = ReasonAssurance + 1 }),
		"carrier of a receipt":          with(honestReceipt, func(r *R) { r.Carrier = SMS + 1 }),
		"attempt of a receipt":          with(honestReceipt, func(r *R) { r.Attempt = r.Attempt[1:] }),
		"message id of an outcome":      with(honestOutcome, func(o *O) { o.ID = MessageID{} }),
		"end: none":                     with(honestOutcome, func(o *O) { o.End = 0 }),
		"end: beyond":                   with(honestOutcome, func(o *O) { o.End = Refused + 1 }),
		"attempts: order":               with(honestOutcome, func(o *O) { slices.Reverse(o.Attempts) }),
		"attempts: twice":               with(honestOutcome, func(o *O) { o.Attempts[1] = o.Attempts[0] }),
		"claims: order":                 with(honestOutcome, func(o *O) { o.Claims = []Hash{testHash(2), testHash(1)} }),
		"claims: too many":              with(honestOutcome, func(o *O) { o.Claims = manyHashes(CountedMax + 1) }),
		"receipts: order":               with(honestOutcome, func(o *O) { o.Receipts = []Hash{testHash(2), testHash(1)} }),
		"receipts: none at delivered":   with(honestOutcome, func(o *O) { o.Receipts = []Hash{} }),
		"count: none":                   with(honestPromise, func(p *P) { p.Count = 0 }),
		"count: beyond":                 with(honestPromise, func(p *P) { p.Count = PromiseGroup + 1 }),
		"origin: none":                  with(honestPromise, func(p *P) { p.Origin = "" }),
		"origin: long":                  with(honestPromise, func(p *P) { p.Origin = strings.Repeat("x", 4*NameMax+1) }),
		"log-by":                        with(honestPromise, func(p *P) { p.LogBy = p.Accepted }),
		"event: none":                   with(honestRevoke, func(e *K) { e.Event = 0 }),
		"event: beyond":                 with(honestRevoke, func(e *K) { e.Event = Revoke + 1 }),
		"subject: none":                 with(honestRevoke, func(e *K) { e.Subject = 0 }),
		"subject: beyond":               with(honestRevoke, func(e *K) { e.Subject = SubjectDevice + 1 }),
		"app id of a key event":         with(honestRevoke, func(e *K) { e.App = "" }),
		"key: missing":                  with(honestRevoke, func(e *K) { e.Key = PublicKey{} }),
		"device: missing":               with(honestEnrol, func(e *K) { e.Device = nil }),
		"device: of a sender":           with(honestEnrol, func(e *K) { e.Subject = SubjectSender }),
		"device: at a revocation":       with(honestEnrol, func(e *K) { e.Event = Revoke }),
		"challenge: missing":            with(honestEnrol, func(e *K) { e.Challenge = nil }),
		"challenge: short":              with(honestEnrol, func(e *K) { e.Challenge = e.Challenge[1:] }),
		"challenge: at a revocation":    with(honestRevoke, func(e *K) { e.Challenge = make([]byte, 32) }),
		"device: leaf":                  with(honestEnrol, func(e *K) { e.Device.Leaf = PublicKey{} }),
		"device: assurance":             with(honestEnrol, func(e *K) { e.Device.Assurance = 0 }),
		"device: assurance beyond":      with(honestEnrol, func(e *K) { e.Device.Assurance = AssuranceStrongBox + 1 }),
		"device: signing key":           with(honestEnrol, func(e *K) { e.Device.ByKey = bytes.Clone(e.Device.ByKey); e.Device.ByKey[0] ^= 1 }),
		"device: leaf key":              with(honestEnrol, func(e *K) { e.Device.ByLeaf = bytes.Clone(e.Device.ByLeaf); e.Device.ByLeaf[9] ^= 1 }),
		"device: another recipient":     with(honestEnrol, func(e *K) { e.Device.Recipient[0] ^= 1 }),
		"device: another app":           with(honestEnrol, func(e *K) { e.App = "other" }),
	}
	key := testKey(EdDSA, 1)
	for name, st := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Sign(st, key); !refused(err) {
				t.Errorf("signed: %v", err)
			} else if field, _, _ := strings.Cut(name, ":"); !strings.Contains(err.Error(), strings.SplitN(field, " of ", 2)[0]) && !strings.Contains(err.Error(), "1970 to 9999") {
				t.Errorf("the error does not name %q: %v", field, err)
			}
			s, err := Parse(forge(t, st, key))
			if err == nil {
				_, err = read(s)
			}
			if !refused(err) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

func refused(err error) bool { return errors.Is(err, ErrMalformed) || errors.Is(err, ErrSignature) }

func manyHashes(n int) (out []Hash) {
	for i := range n {
		out = append(out, Hash{byte(i >> 8), byte(i)})
	}
	return out
}

// R3: an algorithm that is not ours is refused, and the error names it.
func TestUnknownAlgorithmIsNamed(t *testing.T) {
	s, err := Sign(honestRevoke(), testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	raw := s.Bytes()
	at := bytes.Index(raw, []byte("\xa3\x01\x27")) + 2 // {1: -8
	for alg, name := range map[byte]string{0x37: "COSE algorithm -24", 0x25: "COSE algorithm -6", 0x20: "COSE algorithm -1"} {
		raw[at] = alg
		if _, err := Parse(raw); !errors.Is(err, ErrUnknownAlgorithm) || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), name) {
			t.Errorf("algorithm %#x: %v", alg, err)
		}
	}
	c := honestCommitment()
	c.HashAlg = -15
	if _, err := Sign(c, testKey(EdDSA, 1)); !errors.Is(err, ErrUnknownAlgorithm) || !strings.Contains(err.Error(), "COSE algorithm -15") {
		t.Errorf("hash algorithm -15: %v", err)
	}
	if _, err := NewPrivateKey(-36, make([]byte, KeySeed)); !errors.Is(err, ErrUnknownAlgorithm) {
		t.Errorf("key of algorithm -36: %v", err)
	}
}

// A kind is part of what is signed: no statement can be read as another.
func TestKindsDoNotMix(t *testing.T) {
	for name, st := range honest() {
		s, err := Sign(st, testKey(EdDSA, 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := readAs(s, st.Kind()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for kind := KindCommitment; kind <= KindKeyEvent; kind++ {
			if kind == st.Kind() {
				continue
			}
			s.kind = kind
			if _, err := read(s); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s was read as a %v: %v", name, kind, err)
			}
			// The payload is what is asked for, and the header says otherwise.
			if err := readAs(s, st.Kind()); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s was read under the name of a %v: %v", name, kind, err)
			}
		}
	}
	for want, v := range map[string]fmt.Stringer{"kind 0": Kind(0), "kind 99": Kind(99), "carrier 0": Carrier(0), "carrier 99": Carrier(99), "level 0": Level(0), "reason 99": Reason(99),
		"end 0": End(0), "result 99": Result(99), "assurance 0": Assurance(0), "release rule 9": ReleaseRule(9), "COSE algorithm -9": Alg(-9), "COSE algorithm 5": HashAlg(5),
		"ES256": ES256, "SHA-384": SHA384, "displayed": Displayed, "secure-element": AssuranceStrongBox, "webpush": WebPush, "undeliverable": Undeliverable} {
		if got := v.String(); got != want {
			t.Errorf("%q prints as %q", want, got)
		}
	}
}
