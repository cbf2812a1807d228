package main

import (
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"

	"filippo.io/edwards25519"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence/evidencetest"
	"github.com/sealpost/sealpost/spec/vectors"
)

var message = []byte("sealpost signature vectors")

// signatures are the edge cases on which implementations differ. Ed25519 by
// ZIP 215: A and R in any encoding of a point, s below the order, the cofactored
// equation [8][s]B = [8]R + [8][k]A.
func signatures() []vectors.Signature {
	out := slices.Concat(honestEd25519(), smallOrder(), mixedOrder(), badEd25519(), es256())
	names := map[string]bool{}
	for _, s := range out {
		if names[s.Name] {
			panic("generate: two signatures " + s.Name)
		}
		names[s.Name] = true
	}
	return out
}

func ed25519Case(name string, a, msg, r, s []byte, valid bool) vectors.Signature {
	return vectors.Signature{Name: name, Alg: "Ed25519", Key: hex.EncodeToString(a), Message: hex.EncodeToString(msg),
		Signature: hex.EncodeToString(slices.Concat(r, s)), Valid: valid}
}

func honestEd25519() []vectors.Signature {
	key := evidencetest.Key(sealpost.EdDSA, 1)
	sig, err := key.Sign(message)
	check(err)
	a := key.Public().Bytes()
	other := evidencetest.Key(sealpost.EdDSA, 2).Public().Bytes()
	flipped := slices.Clone(sig)
	flipped[40] ^= 1
	return []vectors.Signature{
		ed25519Case("ed25519 honest", a, message, sig[:32], sig[32:], true),
		ed25519Case("ed25519 another message", a, message[1:], sig[:32], sig[32:], false),
		ed25519Case("ed25519 another key", other, message, sig[:32], sig[32:], false),
		ed25519Case("ed25519 flipped s", a, message, flipped[:32], flipped[32:], false),
	}
}

// order8 is a point of order 8.
const order8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"

func decode(s string) []byte {
	b, err := hex.DecodeString(s)
	check(err)
	return b
}

func point(b []byte) *edwards25519.Point {
	p, err := new(edwards25519.Point).SetBytes(b)
	check(err)
	return p
}

// torsion gives the eight points of small order in their canonical encodings,
// and the six encodings of such points that are not canonical.
func torsion() (names []string, encodings [][]byte) {
	t, p := point(decode(order8)), edwards25519.NewIdentityPoint()
	for i := range 8 {
		names, encodings = append(names, fmt.Sprintf("%dT", i)), append(encodings, p.Bytes())
		p = new(edwards25519.Point).Add(p, t)
	}
	filled := func(first, last byte) []byte {
		b := make([]byte, 32)
		for i := range b {
			b[i] = 0xff
		}
		b[0], b[31] = first, last
		return b
	}
	one := make([]byte, 32)
	one[0], one[31] = 1, 0x80
	for name, b := range map[string][]byte{
		"y=1 with a sign": one, "y=p-1 with a sign": filled(0xec, 0xff), "y=p": filled(0xed, 0x7f), "y=p with a sign": filled(0xed, 0xff),
		"y=p+1": filled(0xee, 0x7f), "y=p+1 with a sign": filled(0xee, 0xff)} {
		names, encodings = append(names, name), append(encodings, b)
	}
	// The map above has no order; the vectors do.
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare([]byte(names[a]), []byte(names[b])) })
	var sortedNames []string
	var sorted [][]byte
	for _, i := range order {
		sortedNames, sorted = append(sortedNames, names[i]), append(sorted, encodings[i])
	}
	return sortedNames, sorted
}

// smallOrder pairs every A with every R of small order; s = 0 solves the
// cofactored equation for each.
func smallOrder() (out []vectors.Signature) {
	names, encodings := torsion()
	for i, a := range encodings {
		for k, r := range encodings {
			out = append(out, ed25519Case(fmt.Sprintf("ed25519 small order A %s, R %s", names[i], names[k]), a, message, r, make([]byte, 32), true))
		}
	}
	return out
}

// mixedOrder adds a point of order 8 to an honest A or R: what a check without
// the cofactor refuses in seven of eight cases.
func mixedOrder() (out []vectors.Signature) {
	scalar := func(label string) *edwards25519.Scalar {
		h := sha512.Sum512([]byte(label))
		s, err := edwards25519.NewScalar().SetUniformBytes(h[:])
		check(err)
		return s
	}
	t := point(decode(order8))
	for i := range 8 {
		torsionA, torsionR := i&1 != 0 || i == 0, i&2 != 0 || i == 0
		a, r := scalar(fmt.Sprint("a", i)), scalar(fmt.Sprint("r", i))
		pa, pr := new(edwards25519.Point).ScalarBaseMult(a), new(edwards25519.Point).ScalarBaseMult(r)
		if torsionA {
			pa.Add(pa, t)
		}
		if torsionR {
			pr.Add(pr, t)
		}
		h := sha512.Sum512(slices.Concat(pr.Bytes(), pa.Bytes(), message))
		k, err := edwards25519.NewScalar().SetUniformBytes(h[:])
		check(err)
		s := edwards25519.NewScalar().MultiplyAdd(k, a, r)
		out = append(out, ed25519Case(fmt.Sprintf("ed25519 mixed order %d (A %v, R %v)", i, torsionA, torsionR), pa.Bytes(), message, pr.Bytes(), s.Bytes(), true))
	}
	return out
}

// badEd25519 are refused by ZIP 215 too.
func badEd25519() []vectors.Signature {
	key := evidencetest.Key(sealpost.EdDSA, 1)
	sig, err := key.Sign(message)
	check(err)
	a, r, s := key.Public().Bytes(), sig[:32], sig[32:]
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	wide := littleEndian(new(big.Int).Add(order, bigEndian(s)))
	high := slices.Clone(s)
	high[31] |= 0x80
	none := noPoint()
	return []vectors.Signature{
		ed25519Case("ed25519 s plus the order", a, message, r, wide, false),
		ed25519Case("ed25519 s of the order, A and R of small order", decode(order8), message, decode(order8), littleEndian(order), false),
		ed25519Case("ed25519 s with its high bit set", a, message, r, high, false),
		ed25519Case("ed25519 A is no point", none, message, r, s, false),
		ed25519Case("ed25519 R is no point", a, message, none, s, false),
		ed25519Case("ed25519 A is no point, R of small order, s zero", none, message, decode(order8), make([]byte, 32), false),
	}
}

// noPoint is the least y that no point has.
func noPoint() []byte {
	for y := byte(2); ; y++ {
		b := make([]byte, 32)
		b[0] = y
		if _, err := new(edwards25519.Point).SetBytes(b); err != nil {
			return b
		}
	}
}

func bigEndian(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func littleEndian(n *big.Int) []byte {
	b := n.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return b
}

func es256() []vectors.Signature {
	key := evidencetest.Key(sealpost.ES256, 1)
	sig, err := key.Sign(message)
	check(err)
	n := elliptic.P256().Params().N.Bytes()
	zero := make([]byte, 32)
	c := func(name string, msg, r, s []byte, valid bool) vectors.Signature {
		return vectors.Signature{Name: "es256 " + name, Alg: "ES256", Key: hex.EncodeToString(key.Public().Bytes()), Message: hex.EncodeToString(msg),
			Signature: hex.EncodeToString(slices.Concat(r, s)), Valid: valid}
	}
	r, s := sig[:32], sig[32:]
	return []vectors.Signature{
		c("honest", message, r, s, true),
		c("another message", message[1:], r, s, false),
		c("high s", message, r, highS(slices.Clone(sig))[32:], false),
		c("r zero", message, zero, s, false),
		c("s zero", message, r, zero, false),
		c("r of the order", message, n, s, false),
		c("s of the order", message, r, n, false),
		c("r and s swapped", message, s, r, false),
	}
}

// highS turns the last 32 bytes, an s in the lower half, into its twin.
func highS(b []byte) []byte {
	s := b[len(b)-32:]
	new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(s)).FillBytes(s)
	return b
}
