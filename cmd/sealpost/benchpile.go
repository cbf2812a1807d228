package main

import "sync"

// A pile keeps many byte strings in a few pieces of memory beside the heap. A bench
// holds up to a gigabyte of requests and answers. As objects they would make each
// garbage collection stall the relay that is measured in the same process; as heap
// they would let it collect more rarely than a relay on its own does, and hide what
// that costs (measured: a tenth more of batches).
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
		p.pieces = append(p.pieces, pageMemory(max(pilePiece, len(b)))[:0])
		last++
	}
	from := len(p.pieces[last])
	p.pieces[last] = append(p.pieces[last], b...)
	p.at[i] = pilePlace{int32(last), int32(from), int32(from + len(b))}
}

// free gives the memory back; nothing that get returned may be read any more.
func (p *pile) free() {
	for _, piece := range p.pieces {
		freePages(piece[:cap(piece)])
	}
	p.pieces, p.at = nil, nil
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
