package sealpost

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sealed is a payload and the commitment that it opens.
func sealedPayload(t testing.TB, alg HashAlg, content Content) (Payload, Commitment) {
	t.Helper()
	c := honestCommitment()
	c.HashAlg = alg
	p, err := NewPayload(&c, content, Sequence{Replica: 1, Number: 2, Previous: testHash(1)}, "otp", seeded(5))
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

var otp = Content{Text: "Your code is 493817", Fields: []Field{{Name: "code", Value: "493817"}, {Name: "valid", Value: "5 min"}}}

// R3: the commitments open with every hash algorithm.
func TestPayloadOpens(t *testing.T) {
	for _, alg := range []HashAlg{SHA256, SHA384, SHA512} {
		p, c := sealedPayload(t, alg, otp)
		if err := p.Opens(c); err != nil {
			t.Errorf("%v: %v", alg, err)
		}
		if _, err := Sign(c, testKey(EdDSA, 1)); err != nil {
			t.Errorf("%v: %v", alg, err)
		}
		b, err := EncodePayload(p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodePayload(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Opens(c); err != nil {
			t.Errorf("%v, decoded: %v", alg, err)
		}
		for i, o := range p.Openings {
			if err := o.Opens(c, p.Slots, p.Content.Fields[i]); err != nil {
				t.Errorf("%v, field %d alone: %v", alg, i, err)
			}
		}
		other := c
		other.HashAlg = -1
		if err := p.Openings[0].Opens(other, p.Slots, p.Content.Fields[0]); !errors.Is(err, ErrUnknownAlgorithm) {
			t.Errorf("a field under an unknown algorithm: %v", err)
		}
	}
}

// Every part that a commitment binds is spoilt once.
func TestPayloadDoesNotOpen(t *testing.T) {
	p, c := sealedPayload(t, SHA256, otp)
	if err := p.Opens(c); err != nil {
		t.Fatalf("honest payload: %v", err)
	}
	for name, spoil := range map[string]func(*Payload, *Commitment){
		"text":             func(p *Payload, _ *Commitment) { p.Content.Text += " " },
		"field value":      func(p *Payload, _ *Commitment) { p.Content.Fields[0].Value = "493818" },
		"field name":       func(p *Payload, _ *Commitment) { p.Content.Fields[0].Name = "kode" },
		"fields swapped":   func(p *Payload, _ *Commitment) { slices.Reverse(p.Content.Fields) },
		"opening of C":     func(p *Payload, _ *Commitment) { p.R[31] ^= 1 },
		"opening of field": func(p *Payload, _ *Commitment) { p.Openings[0].R[0] ^= 1 },
		"slots of fields": func(p *Payload, _ *Commitment) {
			p.Openings[0].Slot, p.Openings[1].Slot = p.Openings[1].Slot, p.Openings[0].Slot
		},
		"slot out of range": func(p *Payload, _ *Commitment) { p.Openings[0].Slot = FieldsMax },
		"slot":              func(p *Payload, _ *Commitment) { p.Slots[0][0] ^= 1 },
		"slot cut":          func(p *Payload, _ *Commitment) { p.Slots[0] = p.Slots[0][1:] },
		"seven slots":       func(p *Payload, _ *Commitment) { p.Slots = p.Slots[1:] },
		"sequence number":   func(p *Payload, _ *Commitment) { p.Sequence.Number++ },
		"sequence replica":  func(p *Payload, _ *Commitment) { p.Sequence.Replica++ },
		"previous":          func(p *Payload, _ *Commitment) { p.Sequence.Previous[0] ^= 1 },
		"sequence opening":  func(p *Payload, _ *Commitment) { p.SequenceR[0] ^= 1 },
		"message id":        func(_ *Payload, c *Commitment) { c.ID[15] ^= 1 },
		"app":               func(_ *Payload, c *Commitment) { c.App += "x" },
		"recipient":         func(_ *Payload, c *Commitment) { c.Recipient[0] ^= 1 },
		"canonicalization":  func(_ *Payload, c *Commitment) { c.Canonicalization++ },
		"unknown algorithm": func(_ *Payload, c *Commitment) { c.HashAlg = -1 },
		"field missing":     func(p *Payload, _ *Commitment) { p.Content.Fields = p.Content.Fields[1:] },
		"algorithm":         func(_ *Payload, c *Commitment) { c.HashAlg = SHA384 },
		"C":                 func(_ *Payload, c *Commitment) { c.C[0] ^= 1 },
		"field root":        func(_ *Payload, c *Commitment) { c.FieldRoot[0] ^= 1 },
		"sequence":          func(_ *Payload, c *Commitment) { c.Sequence[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := sealedPayload(t, SHA256, Content{Text: otp.Text, Fields: slices.Clone(otp.Fields)})
			spoil(&p, &c)
			if err := p.Opens(c); !errors.Is(err, ErrMalformed) {
				t.Errorf("it opens: %v", err)
			}
		})
	}
}

// One field is opened without the others, and only by its own opening.
func TestFieldOpensAlone(t *testing.T) {
	p, c := sealedPayload(t, SHA256, otp)
	o, f := p.Openings[0], p.Content.Fields[0]
	if err := o.Opens(c, p.Slots, f); err != nil {
		t.Fatalf("honest field: %v", err)
	}
	cut := slices.Clone(p.Slots)
	cut[0] = cut[0][1:]
	for name, err := range map[string]error{
		"value":             o.Opens(c, p.Slots, Field{Name: f.Name, Value: "493818"}),
		"name":              o.Opens(c, p.Slots, Field{Name: "kode", Value: f.Value}),
		"opening":           FieldOpening{Slot: o.Slot, R: p.Openings[1].R}.Opens(c, p.Slots, f),
		"slot":              FieldOpening{Slot: p.Openings[1].Slot, R: o.R}.Opens(c, p.Slots, f),
		"slot out of range": FieldOpening{Slot: FieldsMax, R: o.R}.Opens(c, p.Slots, f),
		"no slots":          o.Opens(c, nil, f),
		"seven slots":       o.Opens(c, p.Slots[:7], f),
		"cut slot":          o.Opens(c, cut, f),
	} {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message has eight fields at most, and the ninth is refused before it is
// given a slot.
func TestNineFields(t *testing.T) {
	content := Content{Text: "x"}
	for i := range FieldsMax + 1 {
		content.Fields = append(content.Fields, Field{Name: fmt.Sprint("f", i)})
	}
	c := honestCommitment()
	if _, err := NewPayload(&c, content, Sequence{Number: 1}, "otp", seeded(5)); !errors.Is(err, ErrMalformed) {
		t.Errorf("nine fields: %v", err)
	}
}

// What a payload may not hold is refused by the writer and the reader.
func TestPayloadRules(t *testing.T) {
	for name, spoil := range map[string]func(*Payload){
		"no text":               func(p *Payload) { p.Content.Text = "" },
		"long text":             func(p *Payload) { p.Content.Text = strings.Repeat("x", TextMax+1) },
		"control character":     func(p *Payload) { p.Content.Text = "a\x1b[2J" },
		"no UTF-8":              func(p *Payload) { p.Content.Text = "\xff" },
		"nine fields":           func(p *Payload) { p.Content.Fields = slices.Repeat(p.Content.Fields, 5) },
		"a name twice":          func(p *Payload) { p.Content.Fields[1].Name = "code" },
		"a name that is none":   func(p *Payload) { p.Content.Fields[1].Name = "" },
		"long value":            func(p *Payload) { p.Content.Fields[1].Value = strings.Repeat("x", FieldValueMax+1) },
		"one opening too few":   func(p *Payload) { p.Openings = p.Openings[1:] },
		"a slot twice":          func(p *Payload) { p.Openings[1].Slot = p.Openings[0].Slot },
		"slot out of range":     func(p *Payload) { p.Openings[1].Slot = FieldsMax },
		"seven slots":           func(p *Payload) { p.Slots = p.Slots[1:] },
		"template":              func(p *Payload) { p.Template = "a b" },
		"sequence 0":            func(p *Payload) { p.Sequence.Number = 0 },
		"sequence 1 after one":  func(p *Payload) { p.Sequence.Number = 1 },
		"sequence 2 after none": func(p *Payload) { p.Sequence.Previous = Hash{} },
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := sealedPayload(t, SHA256, Content{Text: otp.Text, Fields: slices.Clone(otp.Fields)})
			if _, err := EncodePayload(p); err != nil {
				t.Fatalf("honest payload: %v", err)
			}
			spoil(&p)
			if _, err := EncodePayload(p); !errors.Is(err, ErrMalformed) {
				t.Errorf("written: %v", err)
			}
			b, err := Encode(p)
			if err != nil {
				return // no encoder can write it
			}
			if _, err := DecodePayload(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// R4: the commitment hides a code. Of all 10^6 contents that a template can
// give, none matches without the opening, and exactly one does with it.
func TestCommitmentHidesAmongAMillionCodes(t *testing.T) {
	p, c := sealedPayload(t, SHA256, Content{Text: "Your code is 493817"})
	guess := func(code int) []byte {
		return mustEncode(commitInput{Label: labelCommit, Alg: c.HashAlg, Canonicalization: c.Canonicalization, App: c.App, ID: c.ID,
			Recipient: c.Recipient, Content: Content{Text: fmt.Sprintf("Your code is %06d", code)}})
	}
	input := guess(0)
	digits := bytes.Index(input, []byte("000000"))
	if digits < 0 || !hmac.Equal(commitTo(&c, p.R, p.Content), c.C) {
		t.Fatal("the guesser does not know the template: this test sees nothing")
	}
	public := [][]byte{c.C, c.FieldRoot, c.Sequence[:], c.Blob[:]}
	seen := func(sum []byte) bool {
		return slices.ContainsFunc(public, func(p []byte) bool { return bytes.Equal(p, sum) })
	}
	zero, right, plain := hmac.New(sha256.New, make([]byte, 32)), hmac.New(sha256.New, p.R[:]), sha256.New()
	var sum [32]byte
	without, with, found := 0, 0, -1
	for code := range 1_000_000 {
		for i, n := 5, code; i >= 0; i, n = i-1, n/10 {
			input[digits+i] = '0' + byte(n%10)
		}
		for _, h := range []interface {
			Reset()
			Write([]byte) (int, error)
			Sum([]byte) []byte
		}{zero, plain} {
			h.Reset()
			h.Write(input)
			if seen(h.Sum(sum[:0])) {
				without++
			}
		}
		right.Reset()
		right.Write(input)
		if seen(right.Sum(sum[:0])) {
			with, found = with+1, code
		}
	}
	if !bytes.Equal(input, guess(999_999)) {
		t.Fatal("the guesser's last input is not the encoding")
	}
	if without != 0 || with != 1 || found != 493817 {
		t.Errorf("%d codes match without the opening, %d with it, the last %d", without, with, found)
	}
}

// Unused slots look like used ones: the number of fields does not show.
func TestSlotsAreEight(t *testing.T) {
	for n := range FieldsMax + 1 {
		content := Content{Text: "x"}
		for i := range n {
			content.Fields = append(content.Fields, Field{Name: fmt.Sprint("f", i)})
		}
		p, c := sealedPayload(t, SHA256, content)
		if len(p.Slots) != FieldsMax || p.Opens(c) != nil {
			t.Errorf("%d fields: %d slots", n, len(p.Slots))
		}
	}
}

// The opened MAC is bound to commitment, key and level.
func TestOpened(t *testing.T) {
	r := Opening{1}
	mac := Opened(r, testHash(1), KeyID{1}, Decrypted)
	if mac != Opened(r, testHash(1), KeyID{1}, Decrypted) {
		t.Fatal("the MAC is not a function")
	}
	for name, other := range map[string]Hash{"opening": Opened(Opening{2}, testHash(1), KeyID{1}, Decrypted), "commitment": Opened(r, testHash(2), KeyID{1}, Decrypted),
		"key": Opened(r, testHash(1), KeyID{2}, Decrypted), "level": Opened(r, testHash(1), KeyID{1}, Displayed)} {
		if other == mac {
			t.Errorf("another %s, and the same MAC", name)
		}
	}
}

func TestPadded(t *testing.T) {
	for n, want := range map[int]int{0: 512, 512: 512, 513: 1024, 1024: 1024, 1025: 2048, 2048: 2048, 2049: 0} {
		if got := Padded(n); got != want {
			t.Errorf("Padded(%d) = %d, want %d", n, got, want)
		}
	}
}
