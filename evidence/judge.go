package evidence

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// Verify judges one bundle under a verifier's policy as of a time (bundle 4).
// It reads top to bottom; each step notes findings and goes on, so that a
// verdict names everything that is wrong and not only the first thing.
func Verify(raw []byte, p Policy, at sealpost.UnixMilli) Verdict {
	j := &judge{policy: p, at: at, notYets: map[string]bool{}}
	if err := p.Check(); err != nil {
		j.findAt(Refused, "policy", nil, "%v", err)
		return j.verdict()
	}
	if !j.read(raw) { // 4.1: digest, shape
		return j.verdict()
	}
	j.sort()        // 4.2: every statement, by kind
	j.prove()       // 4.3: leaves in the log, heads that agree, promises
	j.commitment()  // 4.4: the sender's signature under a pinned key
	j.keys()        // 4.5: whose keys, since when
	j.roster()      // 4.6: who could open it
	j.disclosed()   // 4.7: what it says, where a holder tells
	j.receipts()    // 4.8: what devices assert
	j.carriers()    // 4.9: what the relay says of carriers
	j.outcome()     // 4.10: how it ended, and that nothing counted is missing
	j.owed()        // 4.11: what the relay promised
	j.kept()        // 6: whether it kept it, where the log's leaves are here
	j.required()    // 4.12: what the policy wants to see
	j.unexplained() // 4.13: damage that only the digest sees
	j.notYet()      // 4.14: what did not exist at that time
	return j.verdict()
}

// A judge gathers what one bundle shows.
type judge struct {
	policy  Policy
	at      sealpost.UnixMilli
	bundle  *Bundle
	damaged bool // the digest is wrong: nothing may be claimed
	otherID bool // a statement is about another message

	exhibits    []*exhibit
	commitments []of[sealpost.Commitment]
	attempts    []of[sealpost.Attempt]
	claims      []of[sealpost.CarrierClaim]
	received    []of[sealpost.Receipt]
	outcomes    []of[sealpost.Outcome]
	events      []of[sealpost.KeyEvent]

	heads   map[string]*head // by the checkpoint's text
	spanned *spanned         // nil where there is no span, or a bad one
	log     logVerifiers
	devices map[sealpost.KeyID]device
	roll    *sealpost.Roster          // of the commitment, once its preimage is found
	opening *sealpost.Payload         // disclosed, and found to open the commitment
	shown   map[sealpost.Level]bool   // levels that a device in good standing asserts
	weak    map[sealpost.Level]string // levels asserted only by a device below the policy's assurance
	notYets map[string]bool           // names of exhibits that did not exist at the time of judgement

	verdicts  []Claim
	findings  []Finding
	conflicts []Conflict
}

// An exhibit is one statement of the bundle while it is judged.
type exhibit struct {
	Exhibit
	name   string // "receipt 3f2a81c0"
	at     exhibitSpans
	signed sealpost.Signed
	hash   sealpost.Hash
	logged bool   // its leaf is in a log-signed tree
	index  uint64 // of the leaf, where logged
	head   *head  // that the leaf is under
	spoilt bool   // a check of it failed: it shows nothing

	promise   *sealpost.Promise  // checked; nil where there is none, or a bad one
	outcomeBy sealpost.UnixMilli // as promised of a commitment, else 0
}

// An of is an exhibit with its payload.
type of[T any] struct {
	*exhibit
	v T
}

// findAt notes a finding.
func (j *judge) findAt(s Status, where string, at *Range, format string, args ...any) {
	j.findings = append(j.findings, Finding{s, where, at, fmt.Sprintf(format, args...)})
}

// find notes a finding about a part of an exhibit. A refused exhibit shows
// nothing from then on.
func (j *judge) find(s Status, e *exhibit, part Range, format string, args ...any) {
	if s == Refused {
		e.spoilt = true
	}
	j.findAt(s, e.name, &part, format, args...)
}

// missing notes that something is not in the bundle.
func (j *judge) missing(where, format string, args ...any) {
	j.findAt(Incomplete, where, nil, format, args...)
}

func (j *judge) claim(c Claim) { j.verdicts = append(j.verdicts, c) }

// verdict closes the case: worst wins (bundle 5).
func (j *judge) verdict() Verdict {
	v := Verdict{At: j.at, Claims: []Claim{}, Findings: []Finding{}, Conflicts: j.conflicts}
	if j.bundle != nil {
		v.Message = j.bundle.ID.String()
	}
	if j.policy.ValidUntil != 0 && j.at > j.policy.ValidUntil {
		j.findAt(TrustExpired, "policy", nil, "it was valid until %v and the time of judgement is %v", j.policy.ValidUntil, j.at)
	}
	v.Findings = append(v.Findings, j.findings...)
	for _, f := range v.Findings {
		if f.Status.rank() > v.Status.rank() {
			v.Status = f.Status
		}
	}
	if !j.damaged {
		v.Claims = append(v.Claims, slices.DeleteFunc(j.verdicts, j.restsOnNotYet)...)
	}
	return v
}

// read takes the bundle apart. A damaged one is refused first and then judged
// on, so that the part that is damaged is named too.
func (j *judge) read(raw []byte) bool {
	if err := checkDigest(raw); err != nil {
		shape, _ := err.(*shapeError)
		j.damaged = true
		j.findAt(Refused, shape.part, &shape.at, "%s", shape.why)
	}
	b, shape := parseBody(raw)
	if shape != nil {
		if !j.damaged || shape.part != "size" {
			j.findAt(Refused, shape.part, &shape.at, "%s", shape.why)
		}
		j.damaged = true
		return false
	}
	j.bundle = b
	return true
}

// sort parses every statement and puts it with its kind.
func (j *judge) sort() {
	for i, x := range j.bundle.Exhibits {
		e := &exhibit{Exhibit: x, at: j.bundle.spans.exhibits[i], name: fmt.Sprintf("exhibit %d", i)}
		j.exhibits = append(j.exhibits, e)
		var err error
		if e.signed, err = sealpost.Parse(x.Statement); err == nil {
			e.hash = e.signed.Hash()
			e.name = fmt.Sprintf("%v %s", e.signed.Kind(), hex.EncodeToString(e.hash[:4]))
			err = j.file(e)
		}
		if err != nil {
			j.find(Refused, e, e.at.statement, "%v", err)
		}
	}
}

// file reads an exhibit's payload; one about another message is refused (R59).
func (j *judge) file(e *exhibit) (err error) {
	var id sealpost.MessageID
	switch e.signed.Kind() {
	case sealpost.KindCommitment:
		var v sealpost.Commitment
		if v, err = e.signed.Commitment(); err == nil {
			id = v.ID
			j.commitments = append(j.commitments, of[sealpost.Commitment]{e, v})
		}
	case sealpost.KindAttempt:
		var v sealpost.Attempt
		if v, err = e.signed.Attempt(); err == nil {
			id = v.ID
			j.attempts = append(j.attempts, of[sealpost.Attempt]{e, v})
		}
	case sealpost.KindCarrierClaim:
		var v sealpost.CarrierClaim
		if v, err = e.signed.CarrierClaim(); err == nil {
			id = v.ID
			j.claims = append(j.claims, of[sealpost.CarrierClaim]{e, v})
		}
	case sealpost.KindReceipt:
		var v sealpost.Receipt
		if v, err = e.signed.Receipt(); err == nil {
			id = v.ID
			j.received = append(j.received, of[sealpost.Receipt]{e, v})
		}
	case sealpost.KindOutcome:
		var v sealpost.Outcome
		if v, err = e.signed.Outcome(); err == nil {
			id = v.ID
			j.outcomes = append(j.outcomes, of[sealpost.Outcome]{e, v})
		}
	case sealpost.KindKeyEvent:
		var v sealpost.KeyEvent
		if v, err = e.signed.KeyEvent(); err == nil {
			id = j.bundle.ID // a key event is about no message
			j.events = append(j.events, of[sealpost.KeyEvent]{e, v})
		}
	default:
		return fmt.Errorf("a %v is not a logged statement", e.signed.Kind())
	}
	if err == nil && id != j.bundle.ID {
		j.find(Refused, e, e.at.statement, "it is about %v", id)
		if !j.otherID {
			j.findAt(Refused, "message id", &j.bundle.spans.id, "it is %v, and %s is about another message", j.bundle.ID, e.name)
		}
		j.otherID = true
	}
	return err
}

// verify checks an exhibit's signature under a key.
func (j *judge) verify(e *exhibit, key sealpost.PublicKey) bool {
	if err := e.signed.Verify(key); err != nil {
		j.find(Refused, e, e.at.statement, "%v%s", err, taken(e))
		return false
	}
	return true
}

// taken says of an exhibit that nobody may have taken what the relay did with
// it all the same: its log's or its promise's signature is over it.
func taken(e *exhibit) string {
	switch {
	case e.logged:
		return fmt.Sprintf("; the relay logged it all the same, as leaf %d", e.index)
	case e.promise != nil:
		return "; the relay promised to log it all the same"
	}
	return ""
}

// stranger says of an exhibit that another should have signed whether the relay
// did: its statement key is for its own statements only.
func (j *judge) stranger(e *exhibit) string {
	if k, ok := j.relayKey(e.signed.KeyID()); ok && e.signed.Verify(k) == nil {
		return fmt.Sprintf(": it is the relay's statement key, which may sign no %v", e.signed.Kind()) + taken(e)
	}
	return taken(e)
}

// relayKey finds the policy's key for a statement of the relay.
func (j *judge) relayKey(id sealpost.KeyID) (sealpost.PublicKey, bool) {
	for _, k := range j.policy.RelayKeys {
		if k.ID() == id {
			return k, true
		}
	}
	return sealpost.PublicKey{}, false
}

// byRelay checks that the relay signed an exhibit.
func (j *judge) byRelay(e *exhibit) bool {
	k, ok := j.relayKey(e.signed.KeyID())
	if !ok {
		j.find(Refused, e, e.at.statement, "signed by %s, which is no relay key of the policy", short(e.signed.KeyID()))
		return false
	}
	return j.verify(e, k)
}

// before says whether a stands before b in the log. Where one is not logged the
// order is not known, which is said elsewhere.
func before(a, b *exhibit) bool { return !a.logged || !b.logged || a.index < b.index }

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// short is enough of a key id to tell keys apart in a sentence.
func short(k sealpost.KeyID) string { return hex.EncodeToString(k[:4]) }

// unexplained says where damage can lie that no check but the digest sees
// (bundle 4.13), if no other check found it.
func (j *judge) unexplained() {
	located := 0
	for _, f := range j.findings {
		if f.Status == Refused && f.Bytes != nil {
			located++
		}
	}
	if !j.damaged || located > 1 {
		return
	}
	may := func(where string, at Range) {
		j.findAt(Refused, where, &at, "every other part checks; the damage lies here or in another part so marked")
	}
	s := j.bundle.spans
	may("digest", s.digest)
	if len(j.bundle.PolicyHash) > 0 {
		may("policy hint", s.policy)
	}
	if j.opening != nil {
		may("disclosure (template name)", s.disclosed)
	}
	if s := j.spanned; s != nil && s.head.strangers {
		may(spanName+" (signature line by a key that the policy does not name)", j.bundle.spans.span)
	}
	for _, e := range j.exhibits {
		if e.head != nil && e.head.strangers {
			may(e.name+" (signature line by a key that the policy does not name)", e.at.proof)
		}
	}
}
