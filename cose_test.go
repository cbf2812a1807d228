package sealpost

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/veraison/go-cose"
)

// The two algorithms as a foreign implementation of COSE knows them.
var foreign = map[Alg]cose.Algorithm{EdDSA: cose.AlgorithmEdDSA, ES256: cose.AlgorithmES256}

func foreignPublic(k PublicKey) crypto.PublicKey {
	if k.Alg() == EdDSA {
		return ed25519.PublicKey(k.Bytes())
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.Bytes())
	if err != nil {
		panic(err)
	}
	return pub
}

func foreignPrivate(alg Alg, seed []byte) crypto.Signer {
	if alg == EdDSA {
		return ed25519.NewKeyFromSeed(seed)
	}
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
	if err != nil {
		panic(err)
	}
	return priv
}

// What we sign, go-cose reads and verifies (commitment 1).
func TestGoCOSEAcceptsOurs(t *testing.T) {
	for name, st := range honest() {
		for alg, theirs := range foreign {
			key := testKey(alg, 1)
			s, err := Sign(st, key)
			if err != nil {
				t.Fatal(err)
			}
			var msg cose.Sign1Message
			if err := msg.UnmarshalCBOR(s.Bytes()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			v, err := cose.NewVerifier(theirs, foreignPublic(key.Public()))
			if err != nil {
				t.Fatal(err)
			}
			if err := msg.Verify(nil, v); err != nil {
				t.Errorf("%s, %v: go-cose refuses ours: %v", name, alg, err)
			}
			if ct := msg.Headers.Protected[cose.HeaderLabelContentType]; ct != st.Kind().ContentType() {
				t.Errorf("%s: content type %v", name, ct)
			}
			id := key.Public().ID()
			if kid, _ := msg.Headers.Protected[cose.HeaderLabelKeyID].([]byte); !bytes.Equal(kid, id[:]) {
				t.Errorf("%s: key id %x", name, kid)
			}
			if err := msg.Verify([]byte("x"), v); err == nil {
				t.Errorf("%s: go-cose accepts another external_aad: this test sees nothing", name)
			}
		}
	}
}

// What go-cose signs with our headers, we read and verify. Its ES256 may come
// out with a high s, which we refuse until it is normalised.
func TestWeAcceptGoCOSE(t *testing.T) {
	high := 0
	for alg, theirs := range foreign {
		key := testKey(alg, 1)
		signer, err := cose.NewSigner(theirs, foreignPrivate(alg, key.Seed()))
		if err != nil {
			t.Fatal(err)
		}
		for range 16 {
			msg := cose.NewSign1Message()
			id := key.Public().ID()
			msg.Headers.Protected = cose.ProtectedHeader{cose.HeaderLabelAlgorithm: theirs,
				cose.HeaderLabelContentType: KindReceipt.ContentType(), cose.HeaderLabelKeyID: id[:]}
			msg.Payload = mustEncode(honestReceipt())
			if err := msg.Sign(seeded(3), nil, signer); err != nil {
				t.Fatal(err)
			}
			raw, err := msg.MarshalCBOR()
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(raw)
			if err != nil {
				t.Fatalf("%v: we refuse go-cose's form: %v", alg, err)
			}
			if alg == ES256 && new(big.Int).SetBytes(s.Signature()[32:]).Cmp(halfOrder) > 0 {
				high++
				if err := s.Verify(key.Public()); !errors.Is(err, ErrSignature) {
					t.Errorf("a high s: %v", err)
				}
				raw = append(raw[:len(raw)-SignatureSize], normalised(t, s.Signature())...)
				s, _ = Parse(raw)
			}
			if err := s.Verify(key.Public()); err != nil {
				t.Errorf("%v: we refuse go-cose's signature: %v", alg, err)
			}
			if _, err := s.Receipt(); err != nil {
				t.Errorf("%v: %v", alg, err)
			}
		}
	}
	t.Logf("%d of 16 ES256 signatures had a high s", high)
}

// normalised brings a signature of r and s into the one form.
func normalised(t *testing.T, sig []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		t.Fatal(err)
	}
	out, err := NormalizeES256(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ES256 has one form of each signature: s in the lower half (DESIGN 12).
func TestES256HighS(t *testing.T) {
	key := testKey(ES256, 1)
	low, err := key.Sign([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Public().Verify([]byte("message"), low); err != nil {
		t.Fatalf("honest signature: %v", err)
	}
	n := elliptic.P256().Params().N
	high := slices.Clone(low)
	new(big.Int).Sub(n, new(big.Int).SetBytes(low[32:])).FillBytes(high[32:])
	// The standard library takes both, so without our rule a signature has a twin.
	sum := sumOf("message")
	pub := foreignPublic(key.Public()).(*ecdsa.PublicKey)
	if !ecdsa.Verify(pub, sum, new(big.Int).SetBytes(high[:32]), new(big.Int).SetBytes(high[32:])) {
		t.Fatal("the twin is no signature at all: this test sees nothing")
	}
	if err := key.Public().Verify([]byte("message"), high); !errors.Is(err, ErrSignature) {
		t.Errorf("high s: %v", err)
	}
	if !bytes.Equal(normalised(t, high), low) {
		t.Error("the twin does not normalise to the one form")
	}
	for name, sig := range map[string][]byte{
		"r zero": slices.Concat(make([]byte, 32), low[32:]), "s zero": slices.Concat(low[:32], make([]byte, 32)),
		"r of the order": slices.Concat(n.Bytes(), low[32:]), "short": low[1:], "long": append(slices.Clone(low), 0),
	} {
		if err := key.Public().Verify([]byte("message"), sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNormalizeRefuses(t *testing.T) {
	n := elliptic.P256().Params().N
	der := func(r, s *big.Int) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := big.NewInt(1)
	if _, err := NormalizeES256(der(one, one)); err != nil {
		t.Fatalf("honest: %v", err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "trailing": append(der(one, one), 0), "r zero": der(new(big.Int), one), "s zero": der(one, new(big.Int)),
		"r negative": der(big.NewInt(-1), one), "r of the order": der(n, one), "s of the order": der(one, n)} {
		if _, err := NormalizeES256(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every byte of a statement is bound: flip one, and it no longer parses,
// verifies or decodes.
func TestEveryByteOfAStatement(t *testing.T) {
	for _, alg := range []Alg{EdDSA, ES256} {
		key := testKey(alg, 1)
		s, err := Sign(honestRevoke(), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Bytes() {
			raw := s.Bytes()
			raw[i] ^= 1 << (i % 8)
			spoilt, err := Parse(raw)
			if err == nil {
				err = spoilt.Verify(key.Public())
			}
			if err == nil {
				t.Errorf("%v: byte %d flipped, and it verifies", alg, i)
			}
		}
		for n := range len(s.Bytes()) {
			if _, err := Parse(s.Bytes()[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v: cut to %d bytes: %v", alg, n, err)
			}
		}
		if _, err := Parse(append(s.Bytes(), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: a trailing byte: %v", alg, err)
		}
	}
}

// The COSE form has one encoding: each way to write the same thing otherwise is
// refused (commitment 1).
func TestStatementHasOneForm(t *testing.T) {
	key := testKey(EdDSA, 1)
	s, err := Sign(honestRevoke(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw := string(s.Bytes())
	id := key.Public().ID()
	protected := protectedHead(KindKeyEvent, EdDSA) + string(id[:])
	head := string(cborHead(0x40, len(protected)))
	for name, other := range map[string]string{
		"no tag":                      raw[1:],
		"another tag":                 "\xd1" + raw[1:],
		"long tag":                    "\xd8\x12" + raw[1:],
		"array of five":               "\xd2\x85" + raw[2:],
		"indefinite array":            "\xd2\x9f" + raw[2:] + "\xff",
		"long protected head":         strings.Replace(raw, head+protected, "\x59\x00"+head[1:]+protected, 1),
		"unprotected header":          strings.Replace(raw, protected+"\xa0", protected+"\xa1\x05\x40", 1),
		"absent unprotected header":   strings.Replace(raw, protected+"\xa0", protected, 1),
		"null payload":                raw[:strings.Index(raw, protected)+len(protected)+1] + "\xf6" + raw[len(raw)-66:],
		"protected order":             strings.Replace(raw, head+protected, head+reordered(protected), 1),
		"indefinite protected map":    strings.Replace(raw, head+protected, string(cborHead(0x40, len(protected)+1))+"\xbf"+protected[1:]+"\xff", 1),
		"critical header":             strings.Replace(raw, head+protected, string(cborHead(0x40, len(protected)+4))+"\xa4\x01\x27\x02\x81\x04"+protected[3:], 1),
		"key id as text":              strings.Replace(raw, kidHead, "\x04\x78\x20", 1),
		"another version":             strings.Replace(raw, ";v=1", ";v=2", 1),
		"unknown kind":                strings.Replace(raw, "key-event", "key-evenx", 1),
		"signature of another length": raw[:len(raw)-66] + "\x58\x3f" + raw[len(raw)-63:],
		"nothing":                     "",
		"beyond StatementMax":         raw + strings.Repeat("x", StatementMax),
	} {
		if other == raw {
			t.Errorf("%s: the case changes nothing", name)
		}
		if _, err := Parse([]byte(other)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// reordered puts the algorithm after the content type.
func reordered(p string) string {
	kid := strings.Index(p, kidHead)
	return p[:1] + p[3:kid] + p[1:3] + p[kid:]
}

// Payloads have one encoding too: RFC 8949 4.2.1.
func TestPayloadHasOneForm(t *testing.T) {
	good := mustEncode(honestOutcome())
	var o Outcome
	if err := Decode(good, &o); err != nil {
		t.Fatalf("honest payload: %v", err)
	}
	text := func(b []byte) string { return hex.EncodeToString(b) }
	entry1 := text(append([]byte{0x01, 0x50}, o.ID[:]...))
	h := text(good)
	for name, other := range map[string]string{
		"duplicate key":        "a8" + entry1 + h[2:],
		"unknown key":          "a8" + h[2:] + "0801",
		"unknown text key":     "a8" + h[2:] + "616101",
		"missing key":          "a6" + h[2+len(entry1):],
		"keys out of order":    "a7" + h[2+len(entry1):2+len(entry1)+70] + entry1 + h[2+len(entry1)+70:],
		"indefinite map":       "bf" + h[2:] + "ff",
		"trailing byte":        h + "00",
		"long head of a map":   "b807" + h[2:],
		"long head of a key":   strings.Replace(h, entry1, "1801"+entry1[2:], 1),
		"long head of a value": strings.Replace(h, "0301", "031801", 1),
		"float":                strings.Replace(h, "0301", "03f93c00", 1),
		"negative":             strings.Replace(h, "0301", "0320", 1),
		"tag":                  strings.Replace(h, "0301", "03c101", 1),
		"bignum":               strings.Replace(h, "0301", "03c24101", 1),
		"null":                 strings.Replace(h, "0301", "03f6", 1),
		"true":                 strings.Replace(h, "0301", "03f5", 1),
		"text as bytes":        strings.Replace(h, "047818", "045818", 1),
		"indefinite list":      strings.Replace(h, "0680", "069fff", 1),
		"null list":            strings.Replace(h, "0680", "06f6", 1),
		"short hash":           strings.Replace(h, "025820", "02581f", 1),
		"empty":                "",
		"array":                "80",
	} {
		b, err := hex.DecodeString(other)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other == h {
			t.Errorf("%s: the case changes nothing", name)
		}
		var o Outcome
		if err := Decode(b, &o); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same for a time and a key, which read themselves.
	for name, st := range map[string][2]string{
		"time without milliseconds": {"2026-09-21T14:13:20.000Z", "2026-09-21T14:13:20Z...."},
		"time with an offset":       {"2026-09-21T14:13:20.000Z", "2026-09-21T14:13+00:00Z "},
		"time that is none":         {"2026-09-21T14:13:20.000Z", "2026-09-31T14:13:20.000Z"},
		"leap second":               {"2026-09-21T14:13:20.000Z", "2026-09-21T14:13:60.000Z"},
		"lower case":                {"2026-09-21T14:13:20.000Z", "2026-09-21t14:13:20.000z"},
	} {
		b := bytes.Replace(good, []byte(st[0]), []byte(st[1]), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if err := Decode(b, &o); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
