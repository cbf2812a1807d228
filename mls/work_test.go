package mls

import (
	"slices"
	"testing"
	"time"
)

// takes fails if f takes longer than a bound, in seconds, which is some ten times
// what it takes where each element is looked at once.
func takes(t *testing.T, name string, bound time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > bound {
		t.Errorf("%s took %v, more than %v", name, took, bound)
	} else {
		t.Logf("%s took %v", name, took)
	}
}

// types are n distinct types from first on.
func types(first, n int) (out []uint16) {
	for i := range n {
		out = append(out, uint16(first+i))
	}
	return out
}

// TestLongListsOfTypes: what a leaf lists and what a group asks for is looked up,
// not searched for, however long the lists are that a stranger sends.
func TestLongListsOfTypes(t *testing.T) {
	p := newPerson(t, X25519AES128, "stranger")
	const first, n = 0xb00, 50_000
	many := remadeKeyPackage(t, p, func(kp *keyPackage) {
		c := &kp.leaf.capabilities
		c.extensions = append(slices.Repeat([]uint16{7}, 100_000), types(first, n)...)
		for _, kind := range types(first, n) {
			kp.leaf.extensions = append(kp.leaf.extensions, extension{kind, []byte{}})
		}
	})
	l := &many.add.leaf
	takes(t, "a key package with many extensions", time.Second, func() {
		if err := many.add.validate(suite1); err != nil {
			t.Error(err)
		}
	})
	ext := extensions{{extRequiredCapabilities, encode(func(w *writer) {
		w.u16list(slices.Repeat(types(first+n-1, 1), 200_000))
		w.u16list(nil)
		w.u16list(nil)
	})}}
	takes(t, "required capabilities that repeat themselves", time.Second, func() {
		req, err := ext.required(DefaultLimits().Items)
		if err != nil {
			t.Fatal(err)
		}
		if err := newTree(l).validateMembers(req); err != nil {
			t.Error(err)
		}
	})
	takes(t, "a group with many extensions", time.Second, func() {
		if err := newTree(l).supports(l.extensions); err != nil {
			t.Error(err)
		}
	})
	l.capabilities.extensions = l.capabilities.extensions[:len(l.capabilities.extensions)-1]
	if newTree(l).supports(l.extensions) == nil || l.validateForm(suite1) == nil {
		t.Error("one type is missing, and nobody says so")
	}
}
