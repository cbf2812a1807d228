package mls

import (
	"fmt"
	"testing"
)

// benchText is a notification as it is before padding.
var benchText = make([]byte, 200)

// benchMembers are the sizes of group that are measured.
var benchMembers = []int{2, 10, 100, 1000}

func eachSuite(b *testing.B, run func(b *testing.B, s Suite)) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		b.Run(fmt.Sprintf("suite%d", s), func(b *testing.B) { run(b, s) })
	}
}

func eachCrowd(b *testing.B, run func(b *testing.B, s Suite, n int)) {
	eachSuite(b, func(b *testing.B, s Suite) {
		for _, n := range benchMembers {
			b.Run(fmt.Sprintf("members%d", n), func(b *testing.B) { run(b, s, n) })
		}
	})
}

func BenchmarkKeyPackage(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		p := newPerson(b, s, "phone")
		for b.Loop() {
			p.keyPackage(b, s)
		}
	})
}

// BenchmarkJoin opens one Welcome again and again: nothing of it is consumed.
func BenchmarkJoin(b *testing.B) {
	eachCrowd(b, func(b *testing.B, s Suite, n int) {
		p := newPerson(b, s, "tablet")
		pub, priv := p.keyPackage(b, s)
		_, _, ga, _ := crowd(b, s, n-1)
		staged := must(ga.Add(pub))(b)
		for b.Loop() {
			p.join(b, staged.Welcome, priv)
		}
	})
}

// BenchmarkCommit makes a Commit with a path where no other member has made one
// yet: the longest, since it seals to every leaf apart.
func BenchmarkCommit(b *testing.B) {
	eachCrowd(b, func(b *testing.B, s Suite, n int) {
		_, _, ga, _ := crowd(b, s, n)
		for b.Loop() {
			must(ga.Commit(CommitOptions{}))(b)
		}
	})
}

// BenchmarkFollow stages such a Commit of another member.
func BenchmarkFollow(b *testing.B) {
	eachCrowd(b, func(b *testing.B, s Suite, n int) {
		_, _, ga, gb := crowd(b, s, n)
		staged := must(ga.Commit(CommitOptions{}))(b)
		for b.Loop() {
			must(gb.Process(staged.Commit))(b)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	eachCrowd(b, func(b *testing.B, s Suite, n int) {
		_, _, ga, _ := crowd(b, s, n)
		for b.Loop() {
			must(ga.Protect(nil, benchText))(b)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	eachCrowd(b, func(b *testing.B, s Suite, n int) {
		_, _, ga, gb := crowd(b, s, n)
		for b.Loop() {
			b.StopTimer()
			msg := must(ga.Protect(nil, benchText))(b)
			b.StartTimer()
			must(gb.Process(msg))(b)
		}
	})
}

// BenchmarkBare is the least that sealing and opening can cost: one signature, and
// one AEAD each for the content and for who sent it, on keys that are there.
func BenchmarkBare(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		cs := must(lookupSuite(s))(b)
		sg := newPerson(b, s, "bank").signer
		signed := make([]byte, 400) // a message of 200 bytes with its context
		aead := must(cs.content(make([]byte, cs.nk)))(b)
		nonce := make([]byte, nonceSize)
		inner, outer := aead.Seal(nil, nonce, signed[:272], nil), aead.Seal(nil, nonce, signed[:12], nil)
		sig := must(sg.Sign(signed))(b)
		b.Run("seal", func(b *testing.B) {
			for b.Loop() {
				must(sg.Sign(signed))(b)
				aead.Seal(nil, nonce, signed[:272], nil)
				aead.Seal(nil, nonce, signed[:12], nil)
			}
		})
		b.Run("open", func(b *testing.B) {
			for b.Loop() {
				must(aead.Open(nil, nonce, outer, nil))(b)
				must(aead.Open(nil, nonce, inner, nil))(b)
				if !cs.sig.verify(sg.Public(), signed, sig) {
					b.Fatal("an honest signature")
				}
			}
		})
	})
}

func BenchmarkCreateAndWelcome(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		alice, bob := newPerson(b, s, "bank"), newPerson(b, s, "phone")
		pub, _ := bob.keyPackage(b, s)
		for b.Loop() {
			ga := alice.create(b, s)
			staged, err := ga.Add(pub)
			if err != nil {
				b.Fatal(err)
			}
			if err := ga.Apply(staged); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMarshalAndUnmarshal(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		alice, _, ga, _ := pair(b, s)
		for b.Loop() {
			alice.restore(b, ga)
		}
	})
}
