package sealpost

import (
	"bytes"
	"errors"
	"testing"
)

// promiseGroup makes a group of n statements' entries.
func promiseGroup(n int) (entries []PromiseEntry, statements [][]byte, salts []Salt) {
	for i := range n {
		statement, salt := []byte{byte(i), byte(i >> 8), 1}, Salt{byte(i)}
		statements, salts = append(statements, statement), append(salts, salt)
		entries = append(entries, PromiseEntry{Leaf: MakeLeaf(salt, statement), Statement: sumHash(statement), OutcomeBy: int64(testStart)})
	}
	return entries, statements, salts
}

func sumHash(b []byte) Hash { return Hash(sumOf(string(b))) }

// Every size of group: each entry is proved, with at most eight hashes.
func TestPromiseGroups(t *testing.T) {
	key := testKey(EdDSA, 1)
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 31, 100, 255, 256} {
		entries, statements, salts := promiseGroup(n)
		all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, key)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range all {
			if len(p.Path) > 8 {
				t.Errorf("%d of %d: a path of %d hashes", i, n, len(p.Path))
			}
			back, err := ParsePromised(p.Encode())
			if err != nil {
				t.Fatal(err)
			}
			promise, err := back.Check(key.Public(), salts[i], statements[i])
			if err != nil {
				t.Fatalf("%d of %d: %v", i, n, err)
			}
			if promise.TreeSize != 9 || promise.LogBy != testStart.Add(MergeDelay) || int(promise.Count) != n {
				t.Errorf("%d of %d: %+v", i, n, promise)
			}
		}
		// The group's root is the tree of RFC 9162, which merkleRoot makes otherwise.
		var leaves [][]byte
		for _, e := range entries {
			leaves = append(leaves, append([]byte("sealpost/promise/v1"), mustEncode(e)...))
		}
		signed, _ := Parse(all[0].Signed)
		if promise, _ := signed.Promise(); !bytes.Equal(merkleRoot(SHA256, leaves), promise.Root[:]) {
			t.Errorf("%d: two trees over the same entries", n)
		}
	}
	for _, n := range []int{0, PromiseGroup + 1} {
		entries, _, _ := promiseGroup(n)
		if _, err := SignPromise(entries, "log.example", testStart, 0, MergeDelay, key); !errors.Is(err, ErrMalformed) {
			t.Errorf("a group of %d: %v", n, err)
		}
	}
}

func TestSpoiltPromise(t *testing.T) {
	key := testKey(EdDSA, 1)
	entries, statements, salts := promiseGroup(5)
	all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, key)
	if err != nil {
		t.Fatal(err)
	}
	honest := func() Promised { p, _ := ParsePromised(all[2].Encode()); return p }
	p := honest()
	if _, err := p.Check(key.Public(), salts[2], statements[2]); err != nil {
		t.Fatalf("honest promise: %v", err)
	}
	for name, spoil := range map[string]func(p *Promised, salt *Salt, statement *[]byte, by *PublicKey){
		"signature":   func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Signed[len(p.Signed)-1] ^= 1 },
		"another key": func(_ *Promised, _ *Salt, _ *[]byte, by *PublicKey) { *by = testKey(EdDSA, 2).Public() },
		"not a promise": func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) {
			s, _ := Sign(honestRevoke(), key)
			p.Signed = s.Bytes()
		},
		"salt":              func(_ *Promised, salt *Salt, _ *[]byte, _ *PublicKey) { salt[0] ^= 1 },
		"statement":         func(_ *Promised, _ *Salt, statement *[]byte, _ *PublicKey) { *statement = []byte("other") },
		"leaf":              func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Entry.Leaf[1] ^= 1 },
		"hash of statement": func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Entry.Statement[0] ^= 1 },
		"outcome-by":        func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Entry.OutcomeBy++ },
		"index":             func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Index ^= 1 },
		"index beyond":      func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Index = 5 },
		"path":              func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Path[1][0] ^= 1 },
		"path cut":          func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Path = p.Path[1:] },
		"path longer":       func(p *Promised, _ *Salt, _ *[]byte, _ *PublicKey) { p.Path = append(p.Path, Hash{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p, salt, statement, by := honest(), salts[2], statements[2], key.Public()
			spoil(&p, &salt, &statement, &by)
			if _, err := p.Check(by, salt, statement); !refused(err) {
				t.Errorf("it stands: %v", err)
			}
		})
	}
}

// In a group of one no path could contradict a wrong index, so the index itself
// is held against the count: a promise has one form.
func TestPromiseOfOneHasOneIndex(t *testing.T) {
	key := testKey(EdDSA, 1)
	entries, statements, salts := promiseGroup(1)
	all, err := SignPromise(entries, "log.example", testStart, 0, MergeDelay, key)
	if err != nil {
		t.Fatal(err)
	}
	p := all[0]
	if _, err := p.Check(key.Public(), salts[0], statements[0]); err != nil {
		t.Fatalf("honest promise: %v", err)
	}
	p.Index = 1
	if _, err := p.Check(key.Public(), salts[0], statements[0]); !errors.Is(err, ErrMalformed) {
		t.Errorf("index 1 of 1: %v", err)
	}
}

// A leaf is a version and HMAC-SHA256(salt, statement); known answer by
// RFC 4231 4.3 would need its key length, so the test computes it by hand.
func TestLeaf(t *testing.T) {
	salt := Salt(bytes.Repeat([]byte{0x0b}, 32))
	// HMAC by its definition (RFC 2104 2): H(K xor opad, H(K xor ipad, text)).
	pad := func(x byte) []byte {
		b := bytes.Repeat([]byte{x}, 64)
		for i := range salt {
			b[i] ^= salt[i]
		}
		return b
	}
	inner := sumOf(string(pad(0x36)) + "Hi There")
	want := append([]byte{LeafVersion}, sumOf(string(pad(0x5c))+string(inner))...)
	if got := MakeLeaf(salt, []byte("Hi There")); !bytes.Equal(got[:], want) {
		t.Errorf("leaf %x, want %x", got, want)
	}
}
