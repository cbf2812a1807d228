package evidence_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// damageable is a bundle with every part there is.
func damageable(t testing.TB) ([]byte, evidence.Policy) {
	w := evidencetest.New()
	w.Log.AddWitness("stranger.example", 44, at)
	w.Tell()
	b := w.Bundle()
	b.PolicyHash = bytes.Repeat([]byte{5}, 32)
	b.Disclosed, _ = evidence.DiscloseAll(w.Payload)
	e := w.Entries["acted-0"]
	for i := range b.Exhibits {
		if bytes.Equal(b.Exhibits[i].Statement, e.Signed.Bytes()) {
			b.Exhibits[i].Proof = w.Log.Prove(e.Index, 13)
		}
	}
	b.Consistency = []evidence.Consistency{w.Log.Consistency(13, 14)}
	b.Span = w.Log.Span(3, 14)
	b.Span.Later = w.Later(at+1, 14)
	return encode(t, b), w.Policy()
}

// Any flipped byte is refused, the digest first, and then the part that it lies
// in is named by its place.
func TestEveryFlippedByteIsNamed(t *testing.T) {
	t.Parallel()
	raw, policy := damageable(t)
	want(t, evidence.Verify(raw, policy, at), evidence.Proven, "")
	stride := 29
	if os.Getenv("SEALPOST_LONG") != "" {
		stride = 1
	}
	for i := 0; i < len(raw); i += stride {
		spoilt := bytes.Clone(raw)
		spoilt[i] ^= 1 << (i % 8)
		v := evidence.Verify(spoilt, policy, at)
		if v.Status != evidence.Refused || len(v.Claims) != 0 {
			t.Fatalf("byte %d flipped: status %v with %d claims", i, v.Status, len(v.Claims))
		}
		if v.Findings[0].Where != "digest" {
			t.Fatalf("byte %d flipped: the first finding is %v", i, v.Findings[0])
		}
		named, located, guessed := i >= len(raw)-32, false, false
		for _, f := range v.Findings[1:] {
			named = named || f.Bytes != nil && f.Bytes.Holds(i)
			guess := strings.Contains(f.Why, "every other part checks")
			guessed, located = guessed || guess, located || !guess && f.Status == evidence.Refused && f.Bytes != nil
		}
		if located && guessed {
			t.Fatalf("byte %d flipped: its place is found, and other places are named too: %v", i, v.Findings)
		}
		if !named {
			t.Fatalf("byte %d flipped: no finding names its place: %v", i, v.Findings)
		}
		if _, err := evidence.ParseBundle(spoilt); err == nil {
			t.Fatalf("byte %d flipped: parsed", i)
		}
	}
}

// A forger who writes a new digest is caught by the parts: what may change is
// what no verdict rests on.
func TestNewDigestDoesNotHelp(t *testing.T) {
	t.Parallel()
	raw, policy := damageable(t)
	honest, err := evidence.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	body := raw[:len(raw)-32]
	caught := 0
	for i := 0; i < len(body); i += 61 {
		spoilt := bytes.Clone(body)
		spoilt[i] ^= 1 << (i % 8)
		sealed := evidence.Seal(spoilt)
		if evidence.Verify(sealed, policy, at).Status != evidence.Proven {
			caught++
			continue
		}
		b, err := evidence.ParseBundle(sealed)
		if err != nil {
			t.Fatal(err)
		}
		// The hint of a policy, the name of the payload's template, a stranger's
		// signature line.
		free := !bytes.Equal(b.PolicyHash, honest.PolicyHash) || !bytes.Equal(b.Disclosed.Payload, honest.Disclosed.Payload)
		stranger := func(was, is []byte) bool {
			line := bytes.Index(was, []byte("stranger.example"))
			return bytes.Equal(was[:line], is[:line]) && !bytes.Equal(was, is)
		}
		for k := range b.Exhibits {
			free = free || stranger(honest.Exhibits[k].Proof, b.Exhibits[k].Proof)
		}
		free = free || stranger(honest.Span.Checkpoint, b.Span.Checkpoint)
		if !free {
			t.Fatalf("byte %d flipped under a new digest: still proven", i)
		}
	}
	if caught == 0 {
		t.Error("nothing was caught")
	}
}

func TestNoBundle(t *testing.T) {
	w := evidencetest.New()
	for name, raw := range map[string][]byte{"nothing": {}, "text": []byte("hello"), "zeros": make([]byte, 1000), "digest only": evidence.Seal(nil), "empty map": evidence.Seal([]byte{0xa0})} {
		v := evidence.Verify(raw, w.Policy(), at)
		if v.Status != evidence.Refused {
			t.Errorf("%s: %v", name, v.Status)
		}
	}
}

// A bundle under another message's id: the id is named once, and every
// statement that is about another message.
func TestAnotherMessageID(t *testing.T) {
	w := evidencetest.New().Tell()
	b := w.Bundle()
	b.ID[15] ^= 1
	v := evidence.Verify(encode(t, b), w.Policy(), at)
	want(t, v, evidence.Refused, "it is about "+w.Message.String())
	ids := 0
	for _, f := range v.Findings {
		if f.Where == "message id" {
			ids++
		}
	}
	if ids != 1 {
		t.Errorf("the message id is named %d times: %v", ids, v.Findings)
	}
}

func TestTruncated(t *testing.T) {
	raw, policy := damageable(t)
	for n := 0; n < len(raw); n += 97 {
		if v := evidence.Verify(raw[:n], policy, at); v.Status != evidence.Refused {
			t.Fatalf("cut to %d bytes: %v", n, v.Status)
		}
		if _, err := evidence.ParseBundle(evidence.Seal(raw[:n])); err == nil {
			t.Fatalf("cut to %d bytes under a new digest: parsed", n)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	raw, policy := damageable(f)
	f.Add(raw[:len(raw)-32])
	f.Add(encode(f, evidencetest.New().Tell().Bundle())[:100])
	f.Add([]byte{0xa3, 1, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := evidence.Seal(body)
		evidence.Verify(raw, policy, at) // must not panic
		b, err := evidence.ParseBundle(raw)
		if err != nil {
			return
		}
		again, err := b.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("accepted bytes do not re-encode to themselves: %v", err)
		}
	})
}

// Whatever stands where a proof should, a bundle is proven by the honest proof
// only, up to signature lines that nobody asked for.
func FuzzProof(f *testing.F) {
	w := evidencetest.New()
	w.Devices = w.Devices[:1]
	w.Steps = []string{"enrol-0", "commitment", "decrypted-0", "outcome"}
	w.Log.AddWitness("witness.example/a", 40, at)
	w.Tell()
	base := w.Bundle()
	honest := base.Exhibits[0].Proof
	f.Add(honest)
	f.Add(bytes.Replace(honest, []byte("index "), []byte("index 0"), 1))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra AA==\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, proof []byte) {
		b := *base
		b.Exhibits = slices.Clone(base.Exhibits)
		b.Exhibits[0].Proof = proof
		raw, err := b.Encode()
		if err != nil || len(proof) == 0 {
			return
		}
		if v := evidence.Verify(raw, w.Policy(), at); v.Status == evidence.Proven {
			is, was := bytes.LastIndex(proof, []byte("\n\n")), bytes.LastIndex(honest, []byte("\n\n"))
			if is < 0 || !bytes.Equal(proof[:is], honest[:was]) {
				t.Errorf("proven by another proof: %q", proof)
			}
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	honest, err := evidencetest.New().Policy().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(honest)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := evidence.ParsePolicy(b)
		if err != nil {
			return
		}
		one, err := p.Encode()
		if err != nil {
			t.Fatalf("an accepted policy does not encode: %v", err)
		}
		q, err := evidence.ParsePolicy(one)
		if err != nil {
			t.Fatalf("an encoded policy is refused: %v", err)
		}
		if two, _ := q.Encode(); !bytes.Equal(one, two) {
			t.Error("a policy has two encodings")
		}
	})
}
