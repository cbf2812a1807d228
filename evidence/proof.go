package evidence

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	formats "github.com/transparency-dev/formats/log"
	cosignature "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
)

// ownWord is said of every log claim where the policy wants no witness.
const ownWord = "ordered by the relay's own word"

// logVerifiers are the policy's log and witnesses.
type logVerifiers struct {
	log       note.Verifier
	witnesses []note.Verifier
	all       note.Verifiers
	later     func(sealpost.UnixMilli) bool // after the time of judgement
}

// A head is a checkpoint that the policy's log signed.
type head struct {
	origin    string
	size      uint64
	root      sealpost.Hash
	note      []byte
	where     string
	seen      []sealpost.UnixMilli // by how many witnesses, each when, ascending
	later     int                  // cosignatures of after the time of judgement, which do not count yet
	strangers bool                 // it has a signature line that nothing here checks
}

// witnessed says when a quorum had seen the head: the time by which the last
// of the fewest needed had cosigned.
func (h *head) witnessed(quorum int) (sealpost.UnixMilli, bool) {
	if quorum == 0 || len(h.seen) < quorum {
		return 0, false
	}
	return h.seen[quorum-1], true
}

// lateWords says how many cosignatures were not there yet.
func (h *head) lateWords() string {
	if h.later == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more only after the time of judgement)", h.later)
}

func (j *judge) openLog() {
	j.log.log, _ = note.NewVerifier(j.policy.LogKey) // Check has read it before
	verifiers := []note.Verifier{j.log.log}
	for _, k := range j.policy.WitnessKeys {
		v, _ := witnessVerifier(k)
		j.log.witnesses = append(j.log.witnesses, v)
		verifiers = append(verifiers, v)
	}
	j.log.all, j.log.later = note.VerifierList(verifiers...), j.later
	j.heads = map[string]*head{}
}

// readHead verifies a checkpoint note: C2SP tlog-checkpoint, signed by the
// policy's log, with the cosignatures that the policy's witnesses gave.
func (l logVerifiers) readHead(text []byte) (*head, error) {
	if len(text) > sealpost.NoteMax {
		return nil, fmt.Errorf("checkpoint has %d bytes, at most %d are allowed", len(text), sealpost.NoteMax)
	}
	n, err := note.Open(text, l.all)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	h := &head{note: text, strangers: len(n.UnverifiedSigs) > 0}
	byLog := false
	for _, s := range n.Sigs {
		if s.Name == l.log.Name() && s.Hash == l.log.KeyHash() {
			byLog = true
			continue
		}
		at, err := cosignature.CoSigV1Timestamp(s)
		if err != nil {
			return nil, fmt.Errorf("checkpoint: cosignature by %s: %w", s.Name, err)
		}
		if seen := sealpost.FromTime(at); l.later(seen) {
			h.later++ // bundle 4.14
		} else {
			h.seen = append(h.seen, seen)
		}
	}
	if !byLog {
		return nil, fmt.Errorf("checkpoint: not signed by the log %q", l.log.Name())
	}
	if err := oneForm(text); err != nil {
		return nil, err
	}
	slices.Sort(h.seen)
	var c formats.Checkpoint
	if _, err := c.Unmarshal([]byte(n.Text)); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if c.Origin != l.log.Name() || len(c.Hash) != len(h.root) {
		return nil, fmt.Errorf("checkpoint: of %q, want %q", c.Origin, l.log.Name())
	}
	h.origin, h.size = c.Origin, c.Size
	copy(h.root[:], c.Hash)
	return h, nil
}

// oneForm refuses signature lines whose base64 has another form with the same
// meaning, so that no byte of a note can change unseen.
func oneForm(text []byte) error {
	_, lines, _ := bytes.Cut(text, []byte("\n\n"))
	if i := bytes.LastIndex(text, []byte("\n\n")); i >= 0 {
		lines = text[i+2:]
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\n"), "\n") {
		sig := line[strings.LastIndexByte(line, ' ')+1:]
		if _, err := base64.StdEncoding.Strict().DecodeString(sig); err != nil {
			return errors.New("checkpoint: a signature line is not in its one form")
		}
	}
	return nil
}

// prove ties every exhibit to the log (bundle 4.3).
func (j *judge) prove() {
	j.openLog()
	for _, e := range j.exhibits {
		if len(e.Proof) == 0 {
			j.missing(e.name, "no proof that it is in the log")
			continue
		}
		if err := j.include(e); err != nil {
			j.find(Refused, e, e.at.whole, "%v", err)
		}
	}
	for _, e := range j.exhibits {
		j.promised(e)
	}
	j.span()
	j.chronological()
	j.conflictingHeads()
	j.consistency()
	j.tieHeads()
	j.quorum()
}

// chronological puts what is logged in the log's order, for readers of claims.
func (j *judge) chronological() {
	sortByLeaf(j.commitments)
	sortByLeaf(j.attempts)
	sortByLeaf(j.claims)
	sortByLeaf(j.received)
	sortByLeaf(j.outcomes)
	sortByLeaf(j.events)
}

func sortByLeaf[T any](list []of[T]) {
	slices.SortStableFunc(list, func(a, b of[T]) int {
		switch {
		case a.logged && b.logged:
			return cmp.Compare(a.index, b.index)
		case a.logged:
			return -1
		case b.logged:
			return 1
		}
		return 0
	})
}

// include verifies a tlog-proof: the leaf that the salt opens is in the tree of
// a checkpoint by the policy's log.
func (j *judge) include(e *exhibit) error {
	var p proof.TLogProof
	if err := p.Unmarshal(e.Proof); err != nil {
		return err
	}
	if p.ExtraData != nil || !bytes.Equal(p.Marshal(), e.Proof) {
		return errors.New("tlog proof: not in its one form")
	}
	h, err := j.takeHead(p.Checkpoint, e.name)
	if err != nil {
		return err
	}
	leaf := sealpost.MakeLeaf(e.Salt, e.Statement)
	path := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		path[i] = p.Hashes[i][:]
	}
	if err := merkle.VerifyInclusion(rfc6962.DefaultHasher, p.Index, h.size, rfc6962.DefaultHasher.HashLeaf(leaf[:]), path, h.root[:]); err != nil {
		return fmt.Errorf("statement and salt are not leaf %d under the checkpoint of size %d", p.Index, h.size)
	}
	e.logged, e.index, e.head = true, p.Index, h
	return nil
}

// takeHead reads a checkpoint that something in the bundle rests on, once.
func (j *judge) takeHead(text []byte, where string) (*head, error) {
	if h := j.heads[string(text)]; h != nil {
		return h, nil
	}
	if len(j.heads) >= HeadsMax {
		return nil, fmt.Errorf("more than %d checkpoints", HeadsMax)
	}
	h, err := j.log.readHead(text)
	if err != nil {
		return nil, err
	}
	h.where = where
	j.heads[string(text)] = h
	return h, nil
}

// addHead takes in the checkpoint that a device says it held. One that is not
// by the policy's log says nothing.
func (j *judge) addHead(text, where string) *head {
	if text == "" {
		return nil
	}
	h, err := j.takeHead([]byte(text), where)
	if err != nil {
		return nil
	}
	return h
}

// ordered gives the heads by size.
func (j *judge) ordered() []*head {
	out := make([]*head, 0, len(j.heads))
	for _, h := range j.heads {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *head) int {
		return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.note, b.note))
	})
	return out
}

// conflictingHeads looks for two log-signed heads of one size and different
// roots, those that devices carry included: recipients are witnesses too.
func (j *judge) conflictingHeads() {
	for _, r := range j.received {
		j.addHead(r.v.Checkpoint, r.name)
	}
	heads := j.ordered()
	for i := 1; i < len(heads); i++ {
		a, b := heads[i-1], heads[i]
		if a.size == b.size && a.root != b.root {
			j.conflict(Conflict{What: fmt.Sprintf("the log %q signed two heads of size %d with different roots", a.origin, a.size), A: a.note, B: b.note}, a.where, b.where)
		}
	}
}

func (j *judge) conflict(c Conflict, a, b string) {
	if slices.ContainsFunc(j.conflicts, func(k Conflict) bool { return k.What == c.What }) {
		return
	}
	j.conflicts = append(j.conflicts, c)
	j.findAt(Diverged, a+" and "+b, nil, "%s", c.What)
}

// consistency verifies the proofs between heads. A proof that leads to a head
// of this bundle from another root than one of its own heads has is the proof
// of two histories (DESIGN section 12, Log).
func (j *judge) consistency() {
	heads := j.ordered()
	for i, c := range j.bundle.Consistency {
		at, where := j.bundle.spans.consistency[i], fmt.Sprintf("consistency proof %d", i)
		k := slices.IndexFunc(heads, func(h *head) bool { return h.size == c.To })
		if k < 0 {
			j.findAt(Refused, where, &at, "no checkpoint of size %d is in the bundle", c.To)
			continue
		}
		to := heads[k]
		if err := extends(c, to); err != nil {
			j.findAt(Refused, where, &at, "%v", err)
			continue
		}
		for _, from := range heads {
			if from.size == c.From && from.root != c.Root {
				tie, _ := json.Marshal(c)
				j.conflict(Conflict{What: fmt.Sprintf("the log %q signed a head of size %d that its head of size %d does not extend", to.origin, from.size, to.size),
					A: from.note, B: to.note, Tie: tie}, from.where, to.where)
			}
		}
	}
}

func extends(c Consistency, to *head) error {
	path := make([][]byte, len(c.Path))
	for i := range c.Path {
		path[i] = c.Path[i][:]
	}
	if c.From == 0 || c.From >= c.To {
		return errors.New("it must lead from a smaller tree that is not empty")
	}
	if err := merkle.VerifyConsistency(rfc6962.DefaultHasher, c.From, c.To, path, c.Root[:], to.root[:]); err != nil {
		return fmt.Errorf("it does not lead from size %d to the head of size %d", c.From, c.To)
	}
	return nil
}

// tied says whether the bundle shows that b's tree extends a's.
func (j *judge) tied(a, b *head) bool {
	if a.size == b.size {
		return a.root == b.root
	}
	return slices.ContainsFunc(j.bundle.Consistency, func(c Consistency) bool {
		return c.From == a.size && c.Root == a.root && c.To == b.size && extends(c, b) == nil
	})
}

// tieHeads wants the heads that exhibits are proved under to be one history:
// an order across two unrelated trees is no order.
func (j *judge) tieHeads() {
	var used []*head
	for _, h := range j.ordered() {
		if slices.ContainsFunc(j.exhibits, func(e *exhibit) bool { return e.head == h }) {
			used = append(used, h)
		}
	}
	for i := 1; i < len(used); i++ {
		a, b := used[i-1], used[i]
		if a.size != b.size && !j.tied(a, b) {
			j.missing("checkpoints", "nothing shows that the one of size %d extends the one of size %d", b.size, a.size)
		}
	}
}

// quorum wants enough witnesses under every head that an exhibit rests on, and
// says what the log shows.
func (j *judge) quorum() {
	for _, h := range j.ordered() {
		n, rests := 0, []string{}
		for _, e := range j.exhibits {
			if e.head == h {
				n++
				rests = append(rests, e.name)
			}
		}
		if n == 0 {
			continue
		}
		c := Claim{About: AboutLog, Evidence: rests, What: fmt.Sprintf("The log %q holds %s under its signed checkpoint of size %d.", h.origin, count(n, "statement"), h.size)}
		if j.policy.Witnesses == 0 {
			c.Limit = "No witness is asked for: " + ownWord + "."
		} else if at, ok := h.witnessed(j.policy.Witnesses); ok {
			c.NotAfter = &Bound{at, fmt.Sprintf("%d of the policy's witnesses had cosigned it by then", j.policy.Witnesses)}
			c.Limit = "The witnesses saw that the log only grew, and not what is in it."
		} else {
			j.missing("checkpoint of size "+fmt.Sprint(h.size), "%d of the policy's witnesses cosigned it%s, %d are needed", len(h.seen), h.lateWords(), j.policy.Witnesses)
			c.Limit = "Too few witnesses: " + ownWord + "."
		}
		j.claim(c)
	}
}

// latest bounds from above when an exhibit was made: by witnesses, else by the
// relay's promise, else not at all.
func (j *judge) latest(e *exhibit) *Bound {
	if e.head != nil {
		if at, ok := e.head.witnessed(j.policy.Witnesses); ok {
			return &Bound{at, fmt.Sprintf("%d of the policy's witnesses had cosigned a checkpoint over it by then", j.policy.Witnesses)}
		}
	}
	if e.promise != nil {
		return &Bound{e.promise.Accepted, "the relay's signed promise says that it was accepted then, by the relay's own clock"}
	}
	if e.logged {
		return &Bound{Source: fmt.Sprintf("leaf %d of the log, %s", e.index, ownWord)}
	}
	return nil
}

// since bounds from below when a receipt was made: after the witnesses gave the
// cosignatures that it carries. The earliest of them bounds it, because only
// one witness of a quorum need be honest.
func (j *judge) since(h *head) *Bound {
	switch {
	case h == nil:
		return nil
	case j.policy.Witnesses > 0 && len(h.seen) >= j.policy.Witnesses:
		return &Bound{h.seen[0], "the receipt carries a checkpoint with cosignatures of that time"}
	}
	return &Bound{Source: fmt.Sprintf("the receipt carries the log's checkpoint of size %d, %s", h.size, ownWord)}
}

// order says in words where an exhibit stands, and by whose word.
func (j *judge) order(e *exhibit) string {
	if !e.logged {
		return "not shown to be in the log"
	}
	if _, ok := e.head.witnessed(j.policy.Witnesses); ok {
		return fmt.Sprintf("leaf %d", e.index)
	}
	return fmt.Sprintf("leaf %d, %s", e.index, ownWord)
}
