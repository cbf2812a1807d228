package evidence

import (
	"slices"

	"github.com/sealpost/sealpost"
)

// notYet finds what did not exist at the time of judgement: whatever it shows
// later, it could prove nothing then (bundle 4.14). Only clocks that somebody
// answers for count: the relay's own, and the sender's in a commitment, which
// the relay has held against its own. A device's clock is a claim and decides
// nothing. It finds and does not spoil, so that every other check is made all
// the same and what is refused stays refused at any time.
func (j *judge) notYet() {
	for _, e := range j.exhibits {
		if e.promise != nil {
			j.early(e, e.at.promise, "its promise was given", e.promise.Accepted)
		}
	}
	for _, c := range j.commitments {
		j.early(c.exhibit, c.at.statement, "the sender made it", c.v.Created)
	}
	for _, a := range j.attempts {
		j.early(a.exhibit, a.at.statement, "the attempt ended", a.v.Ended)
	}
	for _, x := range j.claims {
		j.early(x.exhibit, x.at.statement, "the relay received it", x.v.Received)
	}
	for _, o := range j.outcomes {
		j.early(o.exhibit, o.at.statement, "the relay decided it", o.v.Decided)
	}
	if s := j.spanned; s != nil && s.later != nil && j.later(s.later.Accepted) {
		j.notYets[laterName] = true // no exhibit: what the others prove lacks nothing
	}
}

// early notes an exhibit that its signer dates after the time of judgement. A
// spoilt one is nobody's word on any time.
func (j *judge) early(e *exhibit, part Range, what string, when sealpost.UnixMilli) {
	if !e.spoilt && j.later(when) {
		j.notYets[e.name] = true
		j.find(Incomplete, e, part, "%s at %v and the time of judgement is %v: at that time it could not be proven yet", what, when, j.at)
	}
}

// later says whether a time lies further after the time of judgement than two
// honest clocks may differ.
func (j *judge) later(t sealpost.UnixMilli) bool { return t > j.at.Add(sealpost.FreshnessWindow) }

// restsOnNotYet says whether a claim rests on what did not exist yet.
func (j *judge) restsOnNotYet(c Claim) bool {
	return slices.ContainsFunc(c.Evidence, func(name string) bool { return j.notYets[name] })
}
