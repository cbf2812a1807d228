package sealpost

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A drawer draws valid values. It takes its bits straight from ChaCha8, whose
// output is specified, so that the pin below holds under every version of Go.
type drawer struct{ source *rand.ChaCha8 }

func (d drawer) n(most uint64) uint64 { return d.source.Uint64() % most }

func (d drawer) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := d.source.Read(b); err != nil {
		panic(err)
	}
	return b
}

func (d drawer) hash() Hash { return Hash(d.bytes(32)) }

func (d drawer) name() string {
	b := d.bytes(1 + int(d.n(NameMax)))
	for i := range b {
		b[i] = '!' + b[i]%('~'-'!'+1)
	}
	return string(b)
}

func (d drawer) time() UnixMilli {
	return UnixMilli(d.n(uint64(TimeLast) - uint64(LifetimeMax.Milliseconds()) - 1))
}

func (d drawer) uuid() (u [16]byte) {
	u, err := newUUIDv7(d.time(), d.source)
	if err != nil {
		panic(err)
	}
	return u
}

func (d drawer) hashes(most uint64) []Hash {
	out := []Hash{}
	for range d.n(most) {
		out = append(out, d.hash())
	}
	slices.SortFunc(out, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// statement draws one of the eight shapes of statements.
func (d drawer) statement() Statement {
	switch d.n(8) {
	case 0:
		return d.commitment()
	case 1:
		start := d.time()
		return Attempt{Attempt: d.uuid(), ID: d.uuid(), Commitment: d.hash(), Device: KeyID(d.hash()), Carrier: Carrier(1 + d.n(5)), Number: uint32(1 + d.n(1<<32-1)),
			Started: start, Ended: start + UnixMilli(d.n(1000)), Result: Result(1 + d.n(8)), Code: d.name()}
	case 2:
		return CarrierClaim{ID: d.uuid(), Attempt: d.uuid(), Carrier: Carrier(1 + d.n(5)), Claim: Claim(1 + d.n(4)), Received: d.time(), Raw: d.hash()}
	case 3:
		return d.receipt()
	case 4:
		return Outcome{ID: d.uuid(), Commitment: d.hash(), End: End(2 + d.n(3)), Decided: d.time(), Attempts: d.hashes(5), Claims: d.hashes(3), Receipts: d.hashes(4)}
	case 5:
		accepted := d.time()
		return Promise{Root: d.hash(), Count: uint16(1 + d.n(PromiseGroup)), Origin: d.name(), Accepted: accepted, TreeSize: d.source.Uint64(), LogBy: accepted + 1 + UnixMilli(d.n(1000))}
	case 6:
		return KeyEvent{Event: Event(1 + d.n(2)), Subject: SubjectSender, App: d.name(), Created: d.time(), Key: testKey(EdDSA, byte(1+d.n(4))).Public()}
	}
	e := honestEnrol()
	e.Challenge, e.Created = d.bytes(32), d.time()
	return e
}

func (d drawer) commitment() Commitment {
	alg := []HashAlg{SHA256, SHA384, SHA512}[d.n(3)]
	created := d.time()
	c := Commitment{ID: d.uuid(), App: d.name(), Transaction: d.name(), Created: created, Expires: created + 1 + UnixMilli(d.n(uint64(LifetimeMax.Milliseconds()))),
		Canonicalization: Canonicalization, Recipient: Recipient(d.hash()), HashAlg: alg, C: d.bytes(alg.Size()), FieldRoot: d.bytes(alg.Size()),
		Blob: d.hash(), Roster: d.hash(), Pattern: PatternA, LeastPrivacy: Privacy(1 + d.n(2)), Release: ReleaseRule(1 + d.n(3)), LeastAssurance: Assurance(1 + d.n(3)),
		NotBefore: Head{Size: d.source.Uint64() >> d.n(64), Root: d.hash()}, Sequence: d.hash()}
	if d.n(2) == 0 {
		c.Correlation = d.name()
	}
	for carrier := RCS; carrier <= SMS; carrier++ {
		if d.n(2) == 0 || carrier == SMS && len(c.Carriers) == 0 {
			c.Carriers = append(c.Carriers, carrier)
		}
	}
	return c
}

func (d drawer) receipt() Receipt {
	r := Receipt{ID: d.uuid(), Commitment: d.hash(), Blob: d.hash(), Roster: d.hash(), Level: Level(1 + d.n(7)), Key: KeyID(d.hash()), DeviceTime: d.time(), Carrier: Carrier(d.n(6))}
	switch {
	case r.Level.Positive():
		r.Opened = d.bytes(32)
	case r.Level != HandedOver:
		r.Reason = Reason(1 + d.n(9))
	}
	if d.n(2) == 0 {
		r.Checkpoint = d.name()
	}
	if d.n(2) == 0 {
		r.Attempt = d.bytes(16)
	}
	return r
}

// One hash pins 10,000 drawn statements. If it changes, the encoding changed,
// and with it every signature, leaf and bundle that exists: a new version of the
// content type is due, and not a new constant here.
func TestEncodingIsPinned(t *testing.T) {
	const pin = "514bb51bf26391421bedc1de576652bfb42b1f6d4284f18e32609362386c2d86"
	d := drawer{seeded(42)}
	keys := []*PrivateKey{testKey(EdDSA, 1), testKey(ES256, 1)}
	all := sha256.New()
	kinds := map[Kind]int{}
	for i := range 10_000 {
		st := d.statement()
		kinds[st.Kind()]++
		key := keys[0]
		if i%50 == 0 {
			key = keys[1]
		}
		s, err := Sign(st, key)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		fmt.Fprintf(all, "%d:", len(s.Bytes()))
		all.Write(s.Bytes())
		back, err := Parse(s.Bytes())
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		again, err := read(back)
		if err != nil || !bytes.Equal(mustEncode(again), mustEncode(st)) {
			t.Fatalf("%d: another value came back: %v", i, err)
		}
	}
	if len(kinds) != len(kindNames)-1 {
		t.Errorf("kinds drawn: %v", kinds)
	}
	if got := hex.EncodeToString(all.Sum(nil)); got != pin {
		t.Errorf("the encoding of statements changed: %s, pinned %s", got, pin)
	}
}

// same fails unless what was accepted encodes to the bytes that were accepted.
func same(t testing.TB, what string, accepted, again []byte, err error) {
	t.Helper()
	if err != nil || !bytes.Equal(accepted, again) {
		t.Errorf("%s: accepted %x, and it encodes to %x (%v)", what, accepted, again, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, st := range honest() {
		for _, alg := range []Alg{EdDSA, ES256} {
			s, err := Sign(st, testKey(alg, 1))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(s.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		same(t, "statement", b, s.Bytes(), nil)
		head := protectedHead(s.Kind(), s.Alg())
		id := s.KeyID()
		if !bytes.Contains(b, append([]byte(head), id[:]...)) {
			t.Error("kind, algorithm or key id are not those of the bytes")
		}
		if st, err := read(s); err == nil {
			again, err := Encode(st)
			same(t, "payload", []byte(s.payload), again, err)
		}
	})
}

// fuzzPayload fuzzes the payload of one kind without its COSE frame, by hand and
// by the general codec.
func fuzzPayload[S Statement, P byHand[S]](f *testing.F, seeds ...S) {
	for _, s := range seeds {
		f.Add(mustEncode(s))
	}
	d := drawer{seeded(7)}
	for range 200 {
		if s, ok := d.statement().(S); ok {
			f.Add(mustEncode(s))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		twoWays[S, P](t, b)
		var s S
		if err := Decode(b, &s); err != nil || s.check() != nil {
			return
		}
		again, err := Encode(s)
		same(t, "payload", b, again, err)
		if _, err := Sign(s, testKey(EdDSA, 1)); err != nil && len(b) < StatementMax/2 {
			t.Errorf("what is read cannot be signed: %v", err)
		}
	})
}

func FuzzCommitment(f *testing.F)   { fuzzPayload(f, honestCommitment()) }
func FuzzAttempt(f *testing.F)      { fuzzPayload(f, honestAttempt()) }
func FuzzCarrierClaim(f *testing.F) { fuzzPayload(f, honestClaim()) }
func FuzzReceipt(f *testing.F)      { fuzzPayload(f, honestReceipt()) }
func FuzzOutcome(f *testing.F)      { fuzzPayload(f, honestOutcome()) }
func FuzzPromise(f *testing.F)      { fuzzPayload(f, honestPromise()) }
func FuzzKeyEvent(f *testing.F)     { fuzzPayload(f, honestEnrol(), honestRevoke()) }

func FuzzParseSealed(f *testing.F) {
	blob, _ := EncodeEnvelope(Envelope{Message: []byte("m")})
	c := honestCommitment()
	c.Blob = sumHash(blob)
	signed, err := Sign(c, testKey(EdDSA, 1))
	if err != nil {
		f.Fatal(err)
	}
	s, err := NewSealed(signed, blob)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSealed(b); err == nil {
			same(t, "submission", b, s.Bytes(), nil)
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	for _, e := range []Envelope{{Message: []byte("m")}, {Welcome: []byte("w"), Commits: [][]byte{{1}, {2, 3}}, Message: []byte("m")}} {
		b, err := EncodeEnvelope(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		twoWays[Envelope](t, b)
		if e, err := ParseEnvelope(b); err == nil {
			again, err := EncodeEnvelope(e)
			same(t, "envelope", b, again, err)
		}
	})
}

func FuzzParsePromised(f *testing.F) {
	entries, _, _ := promiseGroup(5)
	all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, testKey(EdDSA, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all[0].Encode())
	f.Add(all[4].Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		twoWays[Promised](t, b)
		if p, err := ParsePromised(b); err == nil {
			same(t, "promise", b, p.Encode(), nil)
			_, _ = p.Check(testKey(EdDSA, 1).Public(), Salt{}, nil) // must not panic
		}
	})
}

func FuzzPromiseEntry(f *testing.F) {
	entries, _, _ := promiseGroup(1)
	f.Add(mustEncode(entries[0]))
	f.Fuzz(func(t *testing.T, b []byte) { twoWays[PromiseEntry](t, b) })
}

func FuzzParseRoster(f *testing.F) {
	f.Add(honestRoster().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRoster(b); err == nil {
			same(t, "roster", b, r.Encode(), nil)
		}
	})
}

func FuzzDecodePayload(f *testing.F) {
	p, c := sealedPayload(f, SHA256, otp)
	b, err := EncodePayload(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePayload(b); err == nil {
			again, err := EncodePayload(p)
			same(t, "payload", b, again, err)
			_ = p.Opens(c) // must not panic
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-09-21T14:13:20.000Z")
	f.Fuzz(func(t *testing.T, s string) {
		if want, ok := timeByLayout(s); ok {
			if v, err := ParseTime(s); err != nil || v != want {
				t.Errorf("%q: by hand %d (%v), by the layout %d", s, v, err, want)
			}
		}
		if v, err := ParseTime(s); err == nil {
			same(t, "time", []byte(s), []byte(v.String()), nil)
		}
	})
}

func FuzzParseMessageID(f *testing.F) {
	f.Add(testID().String())
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseMessageID(s); err == nil {
			same(t, "id", []byte(s), []byte(v.String()), nil)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	for _, alg := range []Alg{EdDSA, ES256} {
		f.Add(testKey(alg, 1).Public().COSE())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParsePublicKey(b); err == nil {
			same(t, "key", b, k.COSE(), nil)
			_ = k.Verify([]byte("message"), make([]byte, SignatureSize)) // must not panic
		}
	})
}

// FuzzParseTexts: every other identifier has one spelling.
func FuzzParseTexts(f *testing.F) {
	f.Add(EnrolmentID(testID()).String())
	f.Add(testKey(EdDSA, 1).Public().ID().String())
	f.Add(Recipient{0xab}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseEnrolmentID(s); err == nil {
			same(t, "enrolment id", []byte(s), []byte(v.String()), nil)
		}
		if v, err := ParseKeyID(s); err == nil {
			same(t, "key id", []byte(s), []byte(v.String()), nil)
		}
		if v, err := ParseRecipient(s); err == nil {
			same(t, "recipient", []byte(s), []byte(v.String()), nil)
		}
	})
}
