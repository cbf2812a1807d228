package main

import "sync"

// A pile keeps many byte strings in a few pieces of memory. A bench holds hundreds
// of thousands of requests and answers; as objects of their own they would make
// each garbage collection stall the relay that is measured in the same process.
type pile struct {
	mu     sync.Mutex
	pieces [][]byte
	at     []pilePlace
}

type pilePlace struct{ piece, from, to int32 }

const pilePiece = 4 << 20 // bytes of a piece; a larger string has one of its own

func newPile(n int) *pile { return &pile{at: make([]pilePlace, n)} }

func (p *pile) len() int { return len(p.at) }

// put copies b, which is not empty, to place i. Each place is used once; calls may
// be concurrent.
func (p *pile) put(i int, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.pieces) - 1
	if last < 0 || cap(p.pieces[last])-len(p.pieces[last]) < len(b) {
		p.pieces = append(p.pieces, make([]byte, 0, max(pilePiece, len(b))))
		last++
	}
	from := len(p.pieces[last])
	p.pieces[last] = append(p.pieces[last], b...)
	p.at[i] = pilePlace{int32(last), int32(from), int32(from + len(b))}
}

// get is what was put, nil where nothing was. It is not to be called while
// others put.
func (p *pile) get(i int) []byte {
	at := p.at[i]
	if at.to == 0 {
		return nil
	}
	return p.pieces[at.piece][at.from:at.to:at.to]
}
