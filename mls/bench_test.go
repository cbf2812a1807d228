package mls

import (
	"fmt"
	"testing"
)

// benchText is a notification as the sender seals it: padded to 512 bytes.
var benchText = make([]byte, 512)

func eachSuite(b *testing.B, run func(b *testing.B, s Suite)) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		b.Run(fmt.Sprintf("suite%d", s), func(b *testing.B) { run(b, s) })
	}
}

func BenchmarkSeal(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		_, _, ga, _ := pair(b, s)
		for b.Loop() {
			if _, err := ga.Protect(nil, benchText); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	eachSuite(b, func(b *testing.B, s Suite) {
		_, _, ga, gb := pair(b, s)
		for b.Loop() {
			b.StopTimer()
			msg, err := ga.Protect(nil, benchText)
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := gb.Process(msg); err != nil {
				b.Fatal(err)
			}
		}
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
