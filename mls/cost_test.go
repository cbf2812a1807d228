package mls

import (
	"fmt"
	"runtime"
	"testing"
)

// crowd is a group of n members, of whom the first two are live; of one, the first.
func crowd(t testing.TB, s Suite, n int) (a, b *person, ga, gb *Group) {
	t.Helper()
	if n == 1 {
		a = newPerson(t, s, "bank")
		return a, nil, a.create(t, s), nil
	}
	a, b, ga, gb = pair(t, s)
	var pubs [][]byte
	for i := range n - 2 {
		pub, _ := newPerson(t, s, fmt.Sprint("member ", i)).keyPackage(t, s)
		pubs = append(pubs, pub)
	}
	if len(pubs) > 0 {
		staged := mustApply(t, ga, must(ga.Add(pubs...))(t), nil)
		mustFollow(t, gb, staged.Commit)
	}
	return a, b, ga, gb
}

// TestMessageCostsTheSameInAnyGroup: sealing and opening take as much memory among
// a thousand members as among two.
func TestMessageCostsTheSameInAnyGroup(t *testing.T) {
	const messages = 64
	cost := func(n int) (seal, open uint64) {
		_, _, ga, gb := crowd(t, X25519AES128, n)
		mustOpen(t, gb, mustProtect(t, ga, "the ratchets are derived"), "the ratchets are derived")
		var start, sealed, opened runtime.MemStats
		msgs := make([][]byte, messages)
		runtime.ReadMemStats(&start)
		for i := range msgs {
			msgs[i] = mustProtect(t, ga, "code 123456")
		}
		runtime.ReadMemStats(&sealed)
		for _, msg := range msgs {
			mustOpen(t, gb, msg, "code 123456")
		}
		runtime.ReadMemStats(&opened)
		return (sealed.TotalAlloc - start.TotalAlloc) / messages, (opened.TotalAlloc - sealed.TotalAlloc) / messages
	}
	const slack = 1 << 10 // bytes of noise: a thousand leaves take a hundred times that
	sealFew, openFew := cost(2)
	sealMany, openMany := cost(1000)
	if sealMany > sealFew+slack || openMany > openFew+slack {
		t.Errorf("a message among a thousand takes %d B to seal and %d B to open, among two %d and %d", sealMany, openMany, sealFew, openFew)
	}
}
