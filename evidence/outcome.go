package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// carriers states what the relay says of its attempts and of carriers (bundle
// 4.9).
func (j *judge) carriers() {
	c, sent := j.sent()
	for _, a := range j.attempts {
		if !j.byRelay(a.exhibit) || !sent {
			continue
		}
		switch {
		case a.v.Commitment != c.hash:
			j.find(Refused, a.exhibit, a.at.statement, "it is about another commitment")
		case !before(c.exhibit, a.exhibit):
			j.find(Refused, a.exhibit, a.at.statement, "it stands at leaf %d, before the commitment at leaf %d", a.index, c.index)
		case !c.v.Allows(a.v.Carrier):
			j.find(Refused, a.exhibit, a.at.statement, "the sender did not allow the carrier %v", a.v.Carrier)
		case a.v.Started > c.v.Expires:
			j.find(Refused, a.exhibit, a.at.statement, "it began at %v, after the message expired at %v", a.v.Started, c.v.Expires)
		}
		if !a.spoilt {
			j.claim(Claim{About: AboutCarrier, Evidence: []string{a.name}, NotAfter: j.latest(a.exhibit),
				What:  fmt.Sprintf("The relay says that its attempt %d over %v to wake device %s ended with %v (%s).", a.v.Number, a.v.Carrier, short(a.v.Device), a.v.Result, j.order(a.exhibit)),
				Limit: "A carrier's answer is no delivery; it is the relay's word."})
		}
	}
	for _, x := range j.claims {
		if !j.byRelay(x.exhibit) || !sent {
			continue
		}
		switch {
		case !before(c.exhibit, x.exhibit):
			j.find(Refused, x.exhibit, x.at.statement, "it stands at leaf %d, before the commitment at leaf %d", x.index, c.index)
		case !c.v.Allows(x.v.Carrier):
			j.find(Refused, x.exhibit, x.at.statement, "the sender did not allow the carrier %v", x.v.Carrier)
		}
		if x.spoilt {
			continue // bundle 5.5
		}
		j.claim(Claim{About: AboutCarrier, Evidence: []string{x.name}, NotAfter: j.latest(x.exhibit),
			What:  fmt.Sprintf("The relay says that the carrier %v claimed %q.", x.v.Carrier, claimWords[x.v.Claim]),
			Limit: "A carrier's claim is no delivery; it is the carrier's word as told by the relay."})
	}
}

var claimWords = map[sealpost.Claim]string{sealpost.ClaimDelivered: "delivered", sealpost.ClaimRead: "read",
	sealpost.ClaimExpired: "expired", sealpost.ClaimFailed: "failed"}

// outcome wants exactly one end, and everything that it counted (bundle 4.10).
func (j *judge) outcome() {
	c, sent := j.sent()
	var good []of[sealpost.Outcome]
	for _, o := range j.outcomes {
		if j.byRelay(o.exhibit) && !o.spoilt {
			good = append(good, o)
		}
	}
	if len(good) > 1 {
		j.conflict(Conflict{What: fmt.Sprintf("the relay signed two outcomes for %v", j.bundle.ID), A: good[0].Statement, B: good[1].Statement}, good[0].name, good[1].name)
	}
	if len(j.outcomes) == 0 {
		j.missing("outcome", "it is not in the bundle: how the message ended is not shown")
	}
	for _, o := range good {
		if sent && o.v.Commitment != c.hash {
			j.find(Refused, o.exhibit, o.at.statement, "it is about another commitment")
		}
		if sent && !before(c.exhibit, o.exhibit) {
			j.find(Refused, o.exhibit, o.at.statement, "it stands at leaf %d, before the commitment at leaf %d", o.index, c.index)
		}
		complete := j.counted(o)
		if err := j.reasoned(o, complete); sent && err != nil {
			j.find(Refused, o.exhibit, o.at.statement, "%v", err)
		}
		if !o.spoilt {
			j.end(o)
		}
	}
}

// end states what the relay says of the end.
func (j *judge) end(o of[sealpost.Outcome]) {
	what := fmt.Sprintf("The relay says that the message ended: %v, at %v by its own clock (%s). It counted %s, %s and %s.",
		o.v.End, o.v.Decided, j.order(o.exhibit), count(len(o.v.Attempts), "attempt"), count(len(o.v.Claims), "carrier claim"), count(len(o.v.Receipts), "receipt"))
	j.claim(Claim{About: AboutOutcome, What: what, Evidence: []string{o.name}, NotAfter: j.latest(o.exhibit),
		Limit: "The outcome is the relay's word on what it counted; what a device did is shown by the device's own signature only."})
}

// counted looks for each statement that an outcome lists, which must stand
// before it in the log.
func (j *judge) counted(o of[sealpost.Outcome]) (complete bool) {
	complete = true
	for _, list := range []struct {
		kind   sealpost.Kind
		hashes []sealpost.Hash
	}{{sealpost.KindAttempt, o.v.Attempts}, {sealpost.KindCarrierClaim, o.v.Claims}, {sealpost.KindReceipt, o.v.Receipts}} {
		for _, h := range list.hashes {
			i := slices.IndexFunc(j.exhibits, func(e *exhibit) bool { return e.hash == h && e.signed.Kind() == list.kind })
			if i < 0 {
				complete = false
				j.missing(o.name, "it counts the %v %s, which is not in the bundle", list.kind, hex.EncodeToString(h[:4]))
				continue
			}
			e := j.exhibits[i]
			if !before(e, o.exhibit) {
				j.find(Refused, o.exhibit, o.at.statement, "it counts %s, which stands after it at leaf %d", e.name, e.index)
			}
			if !e.logged || e.spoilt {
				complete = false
			}
		}
	}
	return complete
}

// reasoned holds an end against what it counted.
func (j *judge) reasoned(o of[sealpost.Outcome], complete bool) error {
	has := func(is func(sealpost.Level) bool) bool {
		return slices.ContainsFunc(j.received, func(r of[sealpost.Receipt]) bool {
			return slices.Contains(o.v.Receipts, r.hash) && !r.spoilt && is(r.v.Level)
		})
	}
	c, _ := j.sent()
	switch {
	case o.v.End == sealpost.Expired && o.v.Decided < c.v.Expires:
		return fmt.Errorf("expired is decided at %v, before the message expires at %v", o.v.Decided, c.v.Expires)
	case !complete:
		return nil // what is missing is said, and may hold the reason
	case o.v.End == sealpost.Delivered && !has(sealpost.Level.Positive):
		return errors.New("it says delivered, and no receipt that it counts shows it")
	case o.v.End == sealpost.Refused && !has(sealpost.Level.Negative):
		return errors.New("it says refused, and no receipt that it counts refuses")
	case o.v.End != sealpost.Delivered && has(sealpost.Level.Positive):
		return fmt.Errorf("it says %v, and counts a receipt that shows delivery", o.v.End)
	}
	return nil
}

// required holds what is shown against what the policy wants (bundle 4.12).
func (j *judge) required() {
	level, _ := j.policy.Require.level()
	if j.damaged || level == 0 || j.shown[level] {
		return
	}
	if why, weak := j.weak[level]; weak {
		j.findAt(Refused, "assurance", nil, "%s", why)
		return
	}
	j.missing("required", "no logged receipt of level %v by a device of the roster; no other level implies it", level)
}
