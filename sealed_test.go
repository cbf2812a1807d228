package sealpost

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestSealedBindsItsBlob(t *testing.T) {
	blob, err := EncodeEnvelope(Envelope{Welcome: []byte("w"), Commits: [][]byte{[]byte("c")}, Message: []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	c := honestCommitment()
	c.Blob = sumHash(blob)
	signed, err := Sign(c, testKey(EdDSA, 1))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSealed(signed, blob)
	if err != nil {
		t.Fatalf("honest: %v", err)
	}
	back, err := ParseSealed(s.Bytes())
	if err != nil || !bytes.Equal(back.Bytes(), s.Bytes()) || back.ID() != c.ID || !bytes.Equal(back.Blob(), blob) || !bytes.Equal(back.Ticket(), c.ID[:]) {
		t.Fatalf("honest: %v", err)
	}
	if (Sealed{}).IsZero() != true || s.IsZero() {
		t.Error("IsZero is wrong")
	}
	if _, err := NewSealed(signed, append(slices.Clone(blob), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("another blob: %v", err)
	}
	attempt, _ := Sign(honestAttempt(), testKey(EdDSA, 1))
	if _, err := NewSealed(attempt, blob); !errors.Is(err, ErrMalformed) {
		t.Errorf("an attempt for a commitment: %v", err)
	}
	for i := range s.Bytes() {
		raw := s.Bytes()
		raw[i] ^= 1
		if got, err := ParseSealed(raw); err == nil && got.Statement().Verify(testKey(EdDSA, 1).Public()) == nil {
			t.Errorf("byte %d flipped, and it stands", i)
		}
	}
	if _, err := ParseSealed(make([]byte, SubmissionMax+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	long := make([]byte, BlobMax+1)
	c.Blob = sumHash(long)
	if signed, err = Sign(c, testKey(EdDSA, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSealed(signed, long); !errors.Is(err, ErrMalformed) {
		t.Errorf("a blob that is committed to and too long: %v", err)
	}
	// What is handed out is a copy.
	s.Blob()[0] ^= 1
	s.Ticket()[0] ^= 1
	s.Statement().Bytes()[0] ^= 1
	if !bytes.Equal(s.Bytes(), back.Bytes()) {
		t.Error("a caller changed what is sealed")
	}
}

func TestEnvelopeRules(t *testing.T) {
	for name, e := range map[string]Envelope{"no message": {Welcome: []byte("w")}, "too many commits": {Message: []byte("m"), Commits: make([][]byte, CommitsMax+1)},
		"too long": {Message: make([]byte, BlobMax)}} {
		if _, err := EncodeEnvelope(e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseEnvelope(make([]byte, BlobMax+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if _, err := ParseEnvelope(mustEncode(Envelope{Message: make([]byte, BlobMax)})); !errors.Is(err, ErrMalformed) {
		t.Errorf("well formed and too long: %v", err)
	}
	if _, err := ParseEnvelope(mustEncode(Envelope{})); !errors.Is(err, ErrMalformed) {
		t.Errorf("no message: %v", err)
	}
}

func honestRoster() Roster {
	return NewRoster([]byte("group"), 7, bytes.Repeat([]byte{1}, 32), []RosterMember{{Leaf: []byte("b"), Device: KeyID{2}}, {Leaf: []byte("a"), Device: KeyID{1}}})
}

func TestRoster(t *testing.T) {
	r := honestRoster()
	back, err := ParseRoster(r.Encode())
	if err != nil || back.Digest() != r.Digest() || !r.Has(KeyID{1}) || r.Has(KeyID{3}) {
		t.Fatalf("honest: %v", err)
	}
	seen := map[Hash]string{r.Digest(): "honest"}
	for name, spoil := range map[string]func(*Roster){
		"group": func(r *Roster) { r.Group = []byte("other") }, "epoch": func(r *Roster) { r.Epoch++ }, "tree hash": func(r *Roster) { r.TreeHash[0] ^= 1 },
		"leaf": func(r *Roster) { r.Members[0].Leaf = []byte("A") }, "device": func(r *Roster) { r.Members[0].Device[0] ^= 1 },
		"one more": func(r *Roster) { r.Members = append(r.Members, RosterMember{Leaf: []byte("c")}) }, "one less": func(r *Roster) { r.Members = r.Members[:1] },
	} {
		r := honestRoster()
		spoil(&r)
		if old, taken := seen[r.Digest()]; taken {
			t.Errorf("%s has the digest of %s", name, old)
		}
		seen[r.Digest()] = name
	}
	for name, spoil := range map[string]func(*Roster){
		"no member": func(r *Roster) { r.Members = nil }, "not sorted": func(r *Roster) { slices.Reverse(r.Members) }, "a leaf twice": func(r *Roster) { r.Members[1].Leaf = r.Members[0].Leaf },
		"too many": func(r *Roster) {
			for i := range DevicesMax + 2 {
				r.Members = append(r.Members, RosterMember{Leaf: []byte{'c', byte(i)}})
			}
		},
	} {
		r := honestRoster()
		spoil(&r)
		if _, err := ParseRoster(r.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
