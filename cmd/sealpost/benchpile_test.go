package main

import (
	"bytes"
	"sync"
	"testing"
)

// What is put on a pile from many sides is there as it was, also what is larger
// than a piece, and where nothing was put there is nothing.
func TestPileKeepsWhatIsPut(t *testing.T) {
	p := newPile(66)
	defer p.free()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() { p.put(i, bytes.Repeat([]byte{byte(i)}, 1+i*20_000)) })
	}
	all.Wait()
	p.put(64, make([]byte, pilePiece+1))
	for i := range 64 {
		if !bytes.Equal(p.get(i), bytes.Repeat([]byte{byte(i)}, 1+i*20_000)) {
			t.Errorf("place %d has other bytes, %d of them", i, len(p.get(i)))
		}
	}
	if len(p.get(64)) != pilePiece+1 || p.get(65) != nil {
		t.Errorf("%d bytes and %d", len(p.get(64)), len(p.get(65)))
	}
}
