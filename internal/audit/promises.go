package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/internal/translog"
)

// A Report says what became of every promise in some bundles.
type Report struct {
	Promises int      `json:"promises"` // statements that the relay promised to log
	Kept     int      `json:"kept"`     // in the log, and nothing shows that it came late
	NotDue   int      `json:"not_due"`
	Broken   []Broken `json:"broken"`
	Open     []Open   `json:"open"`
}

// A Broken promise comes with the file that proves it to anybody.
type Broken struct {
	Message string `json:"message"`
	What    string `json:"what"`
	File    string `json:"file"` // a name for Bundle
	Bundle  []byte `json:"-"`
}

// An Open promise is past its time, and what is at hand does not prove that it
// is broken.
type Open struct {
	Message string `json:"message"`
	What    string `json:"what"`
	Why     string `json:"why"`
}

// Promises holds every promise in the bundles against the log, as of a time. A
// bundle must be its holder's own, whose proofs were checked when they came:
// only what is not shown to be in time is looked for in the log.
func Promises(ctx context.Context, files Files, bundles []*evidence.Bundle, p evidence.Policy, at sealpost.UnixMilli) (Report, error) {
	a, err := newAuditor(ctx, files, p, at)
	if err != nil {
		return Report{}, err
	}
	for _, b := range bundles {
		a.gather(b)
	}
	slices.SortFunc(a.clock, func(x, y word) int { return cmp.Compare(x.promise.Accepted, y.promise.Accepted) })
	for _, b := range bundles {
		for i := range b.Exhibits {
			if err := a.exhibit(ctx, b, i); err != nil {
				return a.report, fmt.Errorf("audit promises of %v: %w", b.ID, err)
			}
		}
	}
	return a.report, nil
}

// An auditor is one run of Promises.
type auditor struct {
	files      *kept
	policy     evidence.Policy
	at         sealpost.UnixMilli
	origin     string // the log's name
	checkpoint translog.Checkpoint
	clock      []word          // promises by the relay, ascending by the time that it says
	heard      map[string]bool // the promises in clock, as signed
	seen       map[sealpost.Hash]bool
	report     Report
}

// A word is a promise of the relay as its word on a time and the log's size.
type word struct {
	promise sealpost.Promise
	signed  []byte
}

func newAuditor(ctx context.Context, files Files, p evidence.Policy, at sealpost.UnixMilli) (*auditor, error) {
	verifier, err := note.NewVerifier(p.LogKey)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	raw, err := files.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	a := &auditor{files: &kept{files, map[string][]byte{}}, policy: p, at: at, origin: verifier.Name(), seen: map[sealpost.Hash]bool{}, heard: map[string]bool{},
		report: Report{Broken: []Broken{}, Open: []Open{}}}
	a.checkpoint, err = translog.ReadCheckpoint(raw, verifier)
	return a, err
}

// gather takes the promises of a bundle for a clock, each group's once. The one
// in a span is for something else, and as good.
func (a *auditor) gather(b *evidence.Bundle) {
	for _, e := range b.Exhibits {
		if w, _, ok := a.promised(e); ok {
			a.hear(w)
		}
	}
	if b.Span == nil {
		return
	}
	if signed, key, ok := a.byRelay(b.Span.Later); ok && signed.Verify(key) == nil {
		if p, err := signed.Promise(); err == nil {
			a.hear(word{p, b.Span.Later})
		}
	}
}

func (a *auditor) hear(w word) {
	if w.promise.Origin == a.origin && !a.heard[string(w.signed)] {
		a.heard[string(w.signed)] = true
		a.clock = append(a.clock, w)
	}
}

// byRelay parses a statement and finds the policy's key for it.
func (a *auditor) byRelay(statement []byte) (signed sealpost.Signed, key sealpost.PublicKey, ok bool) {
	signed, err := sealpost.Parse(statement)
	if err != nil {
		return signed, key, false
	}
	i := slices.IndexFunc(a.policy.RelayKeys, func(k sealpost.PublicKey) bool { return k.ID() == signed.KeyID() })
	if i < 0 {
		return signed, key, false
	}
	return signed, a.policy.RelayKeys[i], true
}

// promised reads an exhibit's promise, where the policy's relay gave it.
func (a *auditor) promised(e evidence.Exhibit) (w word, outcomeBy sealpost.UnixMilli, ok bool) {
	travels, err := sealpost.ParsePromised(e.Promise)
	if err != nil {
		return w, 0, false
	}
	_, key, ok := a.byRelay(travels.Signed)
	if !ok {
		return w, 0, false
	}
	p, err := travels.Check(key, e.Salt, e.Statement)
	return word{p, travels.Signed}, sealpost.UnixMilli(max(travels.Entry.OutcomeBy, 0)), err == nil
}

// after is the first word of the relay that it gave after a deadline, and that
// the checkpoint reaches.
func (a *auditor) after(deadline sealpost.UnixMilli, from uint64) *word {
	for i, w := range a.clock {
		if w.promise.Accepted > deadline && w.promise.TreeSize >= from && w.promise.TreeSize <= a.checkpoint.Size {
			return &a.clock[i]
		}
	}
	return nil
}

// A due is one thing that was promised by a time.
type due struct {
	bundle *evidence.Bundle
	what   string
	by     sealpost.UnixMilli
	given  word
	shown  *evidence.Exhibit // what should be in the log by then; nil where it is not at hand
}

// exhibit looks at what was promised of one statement.
func (a *auditor) exhibit(ctx context.Context, b *evidence.Bundle, i int) error {
	e := b.Exhibits[i]
	given, outcomeBy, ok := a.promised(e)
	signed, err := sealpost.Parse(e.Statement)
	if !ok || err != nil || a.seen[signed.Hash()] {
		return nil // a bad promise is a finding of sealpost verify; a key event stands in many bundles
	}
	a.seen[signed.Hash()] = true
	hash := signed.Hash()
	name := fmt.Sprintf("%v %s", signed.Kind(), hex.EncodeToString(hash[:4]))
	found := len(a.report.Broken)
	if err := a.look(ctx, due{b, name, given.promise.LogBy, given, &b.Exhibits[i]}); err != nil || outcomeBy == 0 || len(a.report.Broken) > found {
		return err // of what never was in the log, no outcome is worth a word
	}
	return a.look(ctx, due{b, "outcome of " + name, outcomeBy, given, outcomeIn(b)})
}

// outcomeIn finds the outcome among the exhibits of a bundle.
func outcomeIn(b *evidence.Bundle) *evidence.Exhibit {
	for i, e := range b.Exhibits {
		if s, err := sealpost.Parse(e.Statement); err == nil && s.Kind() == sealpost.KindOutcome {
			return &b.Exhibits[i]
		}
	}
	return nil
}

// look decides one thing promised: from its own proof where that is enough,
// else from the log's leaves.
func (a *auditor) look(ctx context.Context, d due) error {
	a.report.Promises++
	from := d.given.promise.TreeSize
	clock := a.after(d.by, from)
	index, proven := provenAt(d.shown)
	switch {
	case proven && (clock == nil || index < clock.promise.TreeSize):
		a.report.Kept++
		return nil
	case a.at <= d.by:
		a.report.NotDue++
		return nil
	case d.shown == nil:
		a.open(d, "none is at hand, and among salted leaves only the relay can show one; ask it again with sealpost prove")
		return nil
	case from > a.checkpoint.Size:
		a.open(d, fmt.Sprintf("the log had %d leaves when it was given, and this checkpoint covers %d", from, a.checkpoint.Size))
		return nil
	case a.checkpoint.Size-from > evidence.SpanMax:
		a.open(d, fmt.Sprintf("%d leaves came since, and one file holds %d", a.checkpoint.Size-from, evidence.SpanMax))
		return nil
	}
	leaves, before, err := translog.ReadSpan(ctx, a.files, from, a.checkpoint.Size)
	if err != nil {
		return err
	}
	span := &evidence.Span{From: from, Leaves: bytes.Join(leaves, nil), Checkpoint: a.checkpoint.Note, Before: []sealpost.Hash{}}
	for _, h := range before {
		span.Before = append(span.Before, h)
	}
	if clock != nil {
		span.Later = clock.signed
	}
	return a.judge(d, span, leaves)
}

// provenAt is the index that an exhibit's own proof gives.
func provenAt(e *evidence.Exhibit) (uint64, bool) {
	var p proof.TLogProof
	if e == nil || len(e.Proof) == 0 || p.Unmarshal(e.Proof) != nil {
		return 0, false
	}
	return p.Index, true
}

// judge puts a span into the bundle and has it judged.
func (a *auditor) judge(d due, span *evidence.Span, leaves [][]byte) error {
	b := *d.bundle
	b.Span = span
	raw, err := b.Encode()
	if err != nil { // its other exhibits leave too little room
		a.open(d, fmt.Sprintf("the bundle with %d leaves is no file: %v", len(leaves), err))
		return nil
	}
	v := evidence.Verify(raw, a.policy, a.at)
	for _, c := range v.Conflicts {
		if bytes.Equal(c.A, d.given.signed) && bytes.Equal(c.B, span.Checkpoint) {
			sum := sealpost.Hash{}
			copy(sum[:], raw[len(raw)-len(sum):])
			a.report.Broken = append(a.report.Broken, Broken{Message: b.ID.String(), What: c.What, Bundle: raw,
				File: fmt.Sprintf("%v.%s.sealpost", b.ID, hex.EncodeToString(sum[:4]))})
			return nil
		}
	}
	for _, f := range v.Findings {
		if f.Where == "span" && f.Status == evidence.Refused {
			return errors.New("the log's files do not give its checkpoint: " + f.Why)
		}
	}
	leaf := sealpost.MakeLeaf(d.shown.Salt, d.shown.Statement)
	if slices.ContainsFunc(leaves, func(l []byte) bool { return bytes.Equal(l, leaf[:]) }) {
		a.report.Kept++
		return nil
	}
	a.open(d, "it is not in the log, and nothing at hand that the relay signed after its time says how far the log was then; post anything to the relay and audit again")
	return nil
}

func (a *auditor) open(d due, why string) {
	a.report.Open = append(a.report.Open, Open{d.bundle.ID.String(), fmt.Sprintf("%s, promised by %v", d.what, d.by), why})
}
