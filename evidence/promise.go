package evidence

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// promised checks the promise of an exhibit, where it has one.
func (j *judge) promised(e *exhibit) {
	if len(e.Promise) == 0 {
		return
	}
	p, err := j.checkPromise(e)
	if err != nil {
		j.find(Refused, e, e.at.promise, "%v", err)
		return
	}
	e.promise = &p
}

func (j *judge) checkPromise(e *exhibit) (sealpost.Promise, error) {
	travels, err := sealpost.ParsePromised(e.Promise)
	if err != nil {
		return sealpost.Promise{}, err
	}
	signed, err := sealpost.Parse(travels.Signed)
	if err != nil {
		return sealpost.Promise{}, fmt.Errorf("promise: %w", err)
	}
	key, ok := j.relayKey(signed.KeyID())
	if !ok {
		return sealpost.Promise{}, fmt.Errorf("promise: signed by %s, which is no relay key of the policy", short(signed.KeyID()))
	}
	p, err := travels.Check(key, e.Salt, e.Statement)
	switch {
	case err != nil:
		return p, err
	case p.Origin != j.log.log.Name():
		return p, fmt.Errorf("promise: for the log %q, not %q", p.Origin, j.log.log.Name())
	case e.logged && e.index < p.TreeSize:
		return p, fmt.Errorf("promise: made when the log had %d leaves, and the statement is leaf %d", p.TreeSize, e.index)
	}
	if t := travels.Entry.OutcomeBy; t > 0 && t <= int64(sealpost.TimeLast) {
		e.outcomeBy = sealpost.UnixMilli(t)
	}
	return p, nil
}

// owed states what the relay promised of the commitment, and of everything else
// that the bundle does not show in the log (bundle 4.11).
func (j *judge) owed() {
	for _, e := range j.exhibits {
		if e.promise != nil && !e.spoilt && (e.signed.Kind() == sealpost.KindCommitment || !e.logged) {
			j.owes(e)
		}
	}
}

func (j *judge) owes(e *exhibit) {
	p := e.promise
	claim := Claim{About: AboutPromise, Evidence: []string{e.name}, NotAfter: &Bound{p.Accepted, "the relay's own clock"},
		What:  fmt.Sprintf("The relay promised at %v that the %v will be in the log %q by %v.", p.Accepted, e.signed.Kind(), p.Origin, p.LogBy),
		Limit: "A promise shows what the relay owes, and not that it was kept; the log shows that."}
	if !e.logged && j.at > p.LogBy && j.spanned == nil {
		claim.Limit = "The time is past and this bundle does not show it kept. With the log's checkpoint and leaves of after that time it is proof of fault."
	}
	j.claim(claim)
}
