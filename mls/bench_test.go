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
