package store

import (
	"bytes"
	"slices"
	"sync"

	"github.com/sealpost/sealpost"
)

// What has just been held is asked for again within seconds: to be sent, and to
// be closed. Recent keeps it in memory from its commit until its outcome, within
// a bound of bytes; what is not there is read from the database. It is never the
// truth: a message is in it whole or not at all.
type recent struct {
	mu    sync.Mutex
	bySeq map[uint64]*recentMessage
	byID  map[sealpost.MessageID]uint64
	order []uint64 // seqs as they came; those that have gone are skipped
	bytes int
	ready []uint64 // messages whose outcome can be decided, as they came to it
}

type recentMessage struct {
	row        messageRow // as it was committed last
	hash       sealpost.Hash
	commitment *sealpost.Commitment
	sealed     sealpost.Sealed // zero until it is asked for
	statement  []byte
	blob       []byte
	ready      sealpost.End

	attempts, claims, receipts []sealpost.Hash
}

const (
	recentOverhead = 1 << 10 // bytes that an entry counts for beside statement and blob
	recentSlack    = 1 << 12 // seqs of gone messages before they are taken out of the order
)

func newRecent() *recent {
	return &recent{bySeq: map[uint64]*recentMessage{}, byID: map[sealpost.MessageID]uint64{}}
}

func (r *recent) add(row messageRow, h *sealpost.Hold) {
	seq := row.seq
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bySeq[seq] = &recentMessage{row: row, hash: h.Hash, commitment: h.Commitment, statement: h.Statement, blob: h.Blob}
	r.byID[h.Commitment.ID] = seq
	r.order = append(r.order, seq)
	r.bytes += len(h.Statement) + len(h.Blob) + recentOverhead
	for r.bytes > recentMax {
		r.drop(r.order[0])
		r.order = r.order[1:]
	}
	if len(r.order) > 2*len(r.bySeq)+recentSlack {
		r.order = slices.DeleteFunc(r.order, func(seq uint64) bool { return r.bySeq[seq] == nil })
	}
}

// drop forgets a message. The caller holds mu.
func (r *recent) drop(seq uint64) {
	if m, ok := r.bySeq[seq]; ok {
		r.bytes -= len(m.statement) + len(m.blob) + recentOverhead
		delete(r.bySeq, seq)
		delete(r.byID, m.commitment.ID)
	}
}

// find gives the row of a message, whose routes are not to be changed.
func (r *recent) find(id sealpost.MessageID) (row messageRow, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.bySeq[r.byID[id]]; ok && m.commitment.ID == id {
		return m.row, true
	}
	return row, false
}

// saved takes what was committed of a row. A blob that was given up goes from
// memory too.
func (r *recent) saved(row messageRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.bySeq[row.seq]
	if !ok {
		return
	}
	m.row = row
	if row.blob.segment == 0 && m.blob != nil {
		r.bytes -= len(m.blob)
		m.blob, m.sealed = nil, sealpost.Sealed{}
		m.statement = bytes.Clone(m.statement) // it may lie beside the blob
	}
}

// note adds a statement about a message to what its outcome counts.
func (r *recent) note(seq uint64, kind sealpost.Kind, hash sealpost.Hash, ready sealpost.End) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.bySeq[seq]
	if !ok {
		return
	}
	switch kind {
	case sealpost.KindAttempt:
		m.attempts = append(m.attempts, hash)
	case sealpost.KindCarrierClaim:
		m.claims = append(m.claims, hash)
	case sealpost.KindReceipt:
		m.receipts = append(m.receipts, hash)
	}
	if ready != 0 && m.ready == 0 {
		r.ready = append(r.ready, seq)
	}
	m.ready = ready
}

// ended forgets a message that has its outcome.
func (r *recent) ended(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(seq)
}

// closable takes up to limit messages whose outcome can be decided. It gives
// each once: what came of it the database knows.
func (r *recent) closable(limit int) (out []sealpost.Closing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ready) > 0 && len(out) < limit {
		seq := r.ready[0]
		r.ready = r.ready[1:]
		m, ok := r.bySeq[seq]
		if !ok || m.ready == 0 {
			continue
		}
		out = append(out, sealpost.Closing{Message: describe(messageRow{seq: seq}, m.hash, m.commitment), End: m.ready,
			Attempts: sorted(m.attempts), Claims: sorted(m.claims), Receipts: sorted(m.receipts)})
	}
	return out
}

func sorted(hashes []sealpost.Hash) []sealpost.Hash {
	out := slices.Clone(hashes)
	slices.SortFunc(out, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// message finds what a try needs of a message: its commitment with its blob.
func (r *recent) message(seq uint64) (hash sealpost.Hash, sealed sealpost.Sealed, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.bySeq[seq]
	if !ok || m.blob == nil {
		return hash, sealed, false
	}
	if m.sealed.IsZero() {
		signed, err := sealpost.Parse(m.statement)
		if err == nil {
			m.sealed, err = sealpost.NewSealed(signed, m.blob)
		}
		if err != nil {
			return hash, sealed, false // what the database holds will say why
		}
	}
	return m.hash, m.sealed, true
}
