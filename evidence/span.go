package evidence

import (
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/sealpost/sealpost"
)

// SpanMax bounds the leaves of one span (bundle 6): 6.6 MB of a bundle's 8 MiB.
const SpanMax = 200_000

// A Span is every leaf of the log from a size on, up to a checkpoint: it shows
// what is not among them, which no single proof can (bundle 6).
type Span struct {
	From       uint64          `cbor:"1,keyasint"` // the first leaf's index
	Leaves     []byte          `cbor:"2,keyasint"` // one after the other
	Before     []sealpost.Hash `cbor:"3,keyasint"` // roots of the perfect subtrees over the leaves before, left to right
	Checkpoint []byte          `cbor:"4,keyasint"` // over all of them
	Later      []byte          `cbor:"5,keyasint,omitempty"`
}

// A spanned is a span that was found to be the log's.
type spanned struct {
	from  uint64
	head  *head
	at    map[sealpost.Leaf]uint64 // the first index of each exhibit's leaf that is among them
	later *sealpost.Promise        // nil where there is none
	wire  *Span
}

// span ties the span to its checkpoint and takes in the later promise (bundle
// 6.2, 6.3). It stands before heads are compared: its checkpoint is one.
func (j *judge) span() {
	if j.bundle.Span == nil {
		return
	}
	s, err := j.checkSpan(j.bundle.Span)
	if err != nil {
		j.findAt(Refused, spanName, &j.bundle.spans.span, "%v", err)
		return
	}
	j.spanned = s
}

const spanName = "span"

func (j *judge) checkSpan(w *Span) (*spanned, error) {
	s := &spanned{from: w.From, wire: w, at: map[sealpost.Leaf]uint64{}}
	var err error
	if s.head, err = j.takeHead(w.Checkpoint, spanName); err != nil {
		return nil, err
	}
	n := uint64(len(w.Leaves) / len(sealpost.Leaf{}))
	if s.from > s.head.size || s.head.size-s.from != n {
		return nil, fmt.Errorf("%s from %d on do not end at the checkpoint of size %d", leaves(n), s.from, s.head.size)
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	wanted := map[sealpost.Leaf]bool{}
	for _, e := range j.exhibits {
		wanted[sealpost.MakeLeaf(e.Salt, e.Statement)] = true
	}
	before := make([][]byte, len(w.Before))
	for i := range w.Before {
		before[i] = w.Before[i][:]
	}
	r, err := factory.NewRange(0, s.from, before)
	if err != nil {
		return nil, fmt.Errorf("%d hashes stand for the %s before", len(before), leaves(s.from))
	}
	for i := range n {
		leaf := sealpost.Leaf(w.Leaves[i*uint64(len(sealpost.Leaf{})):])
		if _, twice := s.at[leaf]; wanted[leaf] && !twice {
			s.at[leaf] = s.from + i
		}
		if err := r.Append(rfc6962.DefaultHasher.HashLeaf(leaf[:]), nil); err != nil {
			return nil, err
		}
	}
	root, err := r.GetRootHash(nil)
	if root == nil {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}
	if err != nil || sealpost.Hash(root) != s.head.root {
		return nil, fmt.Errorf("its leaves are not those of the log from %d on to the checkpoint of size %d", s.from, s.head.size)
	}
	if len(w.Later) > 0 {
		if s.later, err = j.checkLater(w.Later); err != nil {
			return nil, fmt.Errorf("later promise: %w", err)
		}
	}
	return s, nil
}

// checkLater reads a promise as the relay's word on a time and on the log's
// size then. What it was promised for does not matter.
func (j *judge) checkLater(raw []byte) (*sealpost.Promise, error) {
	signed, err := sealpost.Parse(raw)
	if err != nil {
		return nil, err
	}
	key, ok := j.relayKey(signed.KeyID())
	if !ok {
		return nil, fmt.Errorf("signed by %s, which is no relay key of the policy", short(signed.KeyID()))
	}
	if err := signed.Verify(key); err != nil {
		return nil, err
	}
	p, err := signed.Promise()
	if err == nil && p.Origin != j.log.log.Name() {
		err = fmt.Errorf("for the log %q, not %q", p.Origin, j.log.log.Name())
	}
	return &p, err
}

// A reach is how far the log was at some time after a deadline, by whose word.
type reach struct {
	end   uint64
	words string
	limit string
}

// reached finds how far the log was after the deadline of a promise (bundle
// 6.3): as the relay says in a later one, which cannot be of a smaller log, or as
// a quorum saw.
func (j *judge) reached(p *sealpost.Promise, deadline sealpost.UnixMilli) (reach, bool) {
	s := j.spanned
	if l := s.later; l != nil && l.Accepted > deadline && p.TreeSize <= l.TreeSize && l.TreeSize <= s.head.size {
		return reach{l.TreeSize, fmt.Sprintf("the relay signed at %v, by its own clock, that the log had %s", l.Accepted, leaves(l.TreeSize)),
			"It rests on the checkpoint that the log signed and on two promises that the relay signed; no witness is needed against their own word."}, true
	}
	after := 0
	for _, t := range s.head.seen {
		if t > deadline {
			after++
		}
	}
	if n := j.policy.Witnesses; n > 0 && after >= n {
		return reach{s.head.size, fmt.Sprintf("%d of the policy's witnesses cosigned %s after that", after, leaves(s.head.size)),
			"It rests on the witnesses' clocks: each saw no larger tree until then."}, true
	}
	return reach{}, false
}

// kept holds the relay's promises against the span (bundle 6.4, 6.5).
func (j *judge) kept() {
	if j.spanned == nil {
		return
	}
	for _, e := range j.exhibits {
		if e.promise == nil || e.spoilt || e.promise.TreeSize < j.spanned.from {
			continue // the span does not begin early enough to say
		}
		j.loggedInTime(e)
		if e.outcomeBy > 0 {
			j.endedInTime(e)
		}
	}
}

// loggedInTime looks for the exhibit's leaf among those of before its log-by.
func (j *judge) loggedInTime(e *exhibit) {
	by := e.promise.LogBy
	r, ok := j.reached(e.promise, by)
	if !ok {
		if !e.logged {
			j.missing(spanName, "nothing in it shows that the checkpoint is of after %v, when the %v was due in the log", by, e.signed.Kind())
		}
		return
	}
	what := fmt.Sprintf("The relay promised at %v that the %v will be in the log by %v", e.promise.Accepted, e.signed.Kind(), by)
	index, found := j.spanned.at[sealpost.MakeLeaf(e.Salt, e.Statement)]
	if found && index < r.end {
		j.claim(Claim{About: AboutPromise, Evidence: []string{e.name}, What: fmt.Sprintf("%s, and kept it: leaf %d.", what, index), Limit: "By then: " + r.words + "."})
		return
	}
	j.broken(e, r, what, found, index)
}

// endedInTime holds the outcome shown against the commitment's outcome-by. One
// that is not shown proves nothing: leaves are salted, so that only the relay
// can show which of them is an outcome.
func (j *judge) endedInTime(e *exhibit) {
	r, ok := j.reached(e.promise, e.outcomeBy)
	if !ok {
		return
	}
	what := fmt.Sprintf("The relay promised at %v that an outcome will be in the log by %v", e.promise.Accepted, e.outcomeBy)
	shown := slices.DeleteFunc(slices.Clone(j.outcomes), func(o of[sealpost.Outcome]) bool { return o.spoilt || o.v.Commitment != e.hash })
	if len(shown) == 0 {
		j.claim(Claim{About: AboutPromise, Evidence: []string{e.name}, What: what + ", and none is shown.",
			Limit: "An outcome that is kept back and one that does not exist look the same in a log of salted leaves. The relay can answer by showing it."})
		return
	}
	var late *exhibit
	lateAt, lateFound := uint64(0), false
	for _, o := range shown {
		index, found := j.spanned.at[sealpost.MakeLeaf(o.Salt, o.Statement)]
		if found && index < r.end || o.logged && o.index < j.spanned.from {
			j.claim(Claim{About: AboutPromise, Evidence: []string{e.name, o.name}, What: fmt.Sprintf("%s, and kept it: %s.", what, j.order(o.exhibit)), Limit: "By then: " + r.words + "."})
			return
		}
		late, lateAt, lateFound = o.exhibit, index, found
	}
	j.broken(e, r, what, lateFound, lateAt, late.name)
}

// broken keeps the proof that a promise was not kept.
func (j *judge) broken(e *exhibit, r reach, what string, found bool, index uint64, with ...string) {
	s := j.spanned
	tells := fmt.Sprintf("%s, and it is not among the leaves from %d up to there", r.words, e.promise.TreeSize)
	if found {
		tells += fmt.Sprintf(", but only leaf %d", index)
	}
	travels, _ := sealpost.ParsePromised(e.Promise) // checked before
	j.claim(Claim{About: AboutPromise, Evidence: append([]string{e.name}, with...), What: what + ", and did not keep it: " + tells + ".", Limit: r.limit})
	j.conflict(Conflict{What: "broken promise: " + what + "; " + tells, A: travels.Signed, B: s.head.note, Tie: s.wire.Later}, e.name, spanName)
}

func leaves(n uint64) string {
	if n == 1 {
		return "1 leaf"
	}
	return fmt.Sprintf("%d leaves", n)
}
