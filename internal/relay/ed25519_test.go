package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	mrand "math/rand/v2"
	"testing"
	"time"

	"filippo.io/edwards25519"

	"github.com/sealpost/sealpost"
)

// Encodings of points of small order, non-canonical ones included (ZIP 215 and
// "Taming the many EdDSAs", table 6), and of points whose y is not reduced.
var oddPoints = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0200000000000000000000000000000000000000000000000000000000000000", // no point
	"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 3, not reduced
}

// plain is a message that is no statement.
type plain []byte

func (p plain) AppendToBeSigned(b []byte) []byte { return append(b, p...) }

func check(t testing.TB, key, msg, sig []byte) signatureCheck {
	t.Helper()
	k, err := sealpost.NewEd25519Key(key)
	if err != nil {
		t.Fatal(err)
	}
	return signatureCheck{k, plain(msg), sig}
}

// edgeCases are signatures on which verifiers are known to differ.
func edgeCases(t testing.TB) (cases []signatureCheck) {
	t.Helper()
	msg := []byte("sealpost")
	zero := make([]byte, 32)
	for _, a := range oddPoints {
		for _, r := range oddPoints {
			key, _ := hex.DecodeString(a)
			rr, _ := hex.DecodeString(r)
			cases = append(cases, check(t, key, msg, append(rr, zero...)))
		}
	}
	for i := range 8 {
		cases = append(cases, mixedOrder(t, byte(i), msg)...)
	}
	return append(cases, mutants(t, msg)...)
}

// mixedOrder signs under a key with a torsion part, and with a nonce that has one.
func mixedOrder(t testing.TB, seed byte, msg []byte) (cases []signatureCheck) {
	torsion, _ := hex.DecodeString(oddPoints[4])
	eight, err := new(edwards25519.Point).SetBytes(torsion)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512([]byte{seed})
	a, err1 := edwards25519.NewScalar().SetUniformBytes(sum[:])
	sum = sha512.Sum512(sum[:])
	r, err2 := edwards25519.NewScalar().SetUniformBytes(sum[:])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	key := new(edwards25519.Point).ScalarBaseMult(a)
	nonce := new(edwards25519.Point).ScalarBaseMult(r)
	for _, odd := range []struct{ key, nonce bool }{{true, false}, {false, true}, {true, true}} {
		A, R := new(edwards25519.Point).Set(key), new(edwards25519.Point).Set(nonce)
		if odd.key {
			A.Add(A, eight)
		}
		if odd.nonce {
			R.Add(R, eight)
		}
		h := sha512.New()
		h.Write(R.Bytes())
		h.Write(A.Bytes())
		h.Write(msg)
		k, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		s := edwards25519.NewScalar().MultiplyAdd(k, a, r)
		cases = append(cases, check(t, A.Bytes(), msg, append(R.Bytes(), s.Bytes()...)))
	}
	return cases
}

// mutants are an honest signature, every byte of it flipped once, s with the
// order added to it, and odd lengths.
func mutants(t testing.TB, msg []byte) (cases []signatureCheck) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sig := ed25519.Sign(priv, msg)
	cases = append(cases, check(t, pub, msg, sig), check(t, pub, []byte("other"), sig))
	for i := range sig {
		bad := append([]byte(nil), sig...)
		bad[i] ^= 1 << (i % 8)
		cases = append(cases, check(t, pub, msg, bad))
	}
	high := append([]byte(nil), sig...)
	order := [32]byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	carry := 0
	for i := range order {
		carry += int(high[32+i]) + int(order[i])
		high[32+i] = byte(carry)
		carry >>= 8
	}
	return append(cases, check(t, pub, msg, high), check(t, pub, msg, sig[:63]), check(t, pub, msg, nil))
}

// The relay's batches judge every signature as package sealpost does, alone and
// in company: otherwise a sender could make the relay accept what a judge refuses
// (DESIGN section 12, Signatures).
func TestBatchAgrees(t *testing.T) {
	cases := edgeCases(t)
	want := make([]bool, len(cases))
	accepted := 0
	for i, c := range cases {
		want[i] = c.key.Verify(c.message.AppendToBeSigned(nil), c.sig) == nil
		if want[i] {
			accepted++
		}
	}
	if accepted < 100 || len(cases)-accepted < 100 {
		t.Fatalf("%d of %d are sound: the cases show nothing", accepted, len(cases))
	}
	order := make([]int, len(cases))
	for i := range order {
		order[i] = i
	}
	for _, size := range []int{1, 7, 64, 200, len(cases)} {
		mrand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for at := 0; at < len(order); at += size {
			part := order[at:min(at+size, len(order))]
			judgeAll(t, fmt.Sprintf("in a batch of %d", size), cases, want, part)
		}
	}
	var sound []int
	for i := range cases {
		if want[i] {
			sound = append(sound, i)
		}
	}
	judgeAll(t, "with sound ones only", cases, want, sound)
}

func judgeAll(t *testing.T, how string, cases []signatureCheck, want []bool, part []int) {
	t.Helper()
	items := make([]*item, len(part))
	place := map[*item]int{}
	for k, i := range part {
		items[k] = &item{check: cases[i]}
		place[items[k]] = i
	}
	j := newEd25519Judge(func(int, bool) {})
	sound, refused := j.verify(items, time.Unix(0, 0))
	if len(sound)+len(refused) != len(items) {
		t.Fatalf("%s: %d and %d of %d", how, len(sound), len(refused), len(items))
	}
	for _, it := range sound {
		if i := place[it]; !want[i] {
			t.Errorf("%s: case %d is accepted, and single verification refuses it", how, i)
		}
	}
	for _, it := range refused {
		if i := place[it]; want[i] {
			t.Errorf("%s: case %d is refused, and single verification accepts it", how, i)
		}
	}
}

// honestItems are n items under distinct keys, or under one.
func honestItems(t testing.TB, n, keys int) []*item {
	t.Helper()
	signers := make([]*sealpost.PrivateKey, keys)
	for i := range signers {
		signers[i] = newKey(t, sealpost.EdDSA)
	}
	items := make([]*item, n)
	for i := range items {
		msg := fmt.Appendf(nil, "message %d", i)
		k := signers[i%keys]
		sig, err := k.Sign(msg)
		if err != nil {
			t.Fatal(err)
		}
		items[i] = &item{check: signatureCheck{k.Public(), plain(msg), sig}}
	}
	return items
}

// One wrong signature is found, everything else passes, and its key is judged
// singly for a while: the next batch of the others is sound at the first try.
func TestSuspect(t *testing.T) {
	var batches []bool
	j := newEd25519Judge(func(_ int, sound bool) { batches = append(batches, sound) })
	now := time.Unix(1000, 0)
	items := honestItems(t, 128, 128)
	items[77].check.sig[5] ^= 1
	sound, refused := j.verify(items, now)
	if len(sound) != 127 || len(refused) != 1 || refused[0] != items[77] {
		t.Fatalf("%d sound, %d refused", len(sound), len(refused))
	}
	if len(batches) > 2*7 {
		t.Errorf("%d equations to find one of 128", len(batches))
	}
	for _, after := range []struct {
		wait     time.Duration
		spoilsIt bool
	}{{time.Second, false}, {suspectFor + 2*time.Second, true}} {
		batches = nil
		j.verify(items, now.Add(after.wait))
		if spoiled := !batches[0]; spoiled != after.spoilsIt {
			t.Errorf("%v later: the batch is spoiled: %v", after.wait, spoiled)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		items := honestItems(b, n, min(n, 1000))
		j := newEd25519Judge(func(int, bool) {})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				if sound, _ := j.verify(items, time.Unix(0, 0)); len(sound) != n {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n)/1000, "us/signature")
		})
	}
}
