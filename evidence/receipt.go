package evidence

import (
	"bytes"
	"fmt"

	"github.com/sealpost/sealpost"
)

// receipts judges what devices assert (bundle 4.8).
func (j *judge) receipts() {
	j.shown, j.weak = map[sealpost.Level]bool{}, map[sealpost.Level]string{}
	c, sent := j.sent()
	for _, r := range j.received {
		if !sent || r.spoilt {
			continue
		}
		d, known := j.signedByDevice(r)
		if !known {
			continue
		}
		j.binding(r, c)
		if !r.spoilt {
			j.assert(r, d, c)
		}
	}
}

// signedByDevice checks a receipt's signature under a key that the sender
// enrolled before it and did not revoke before it, by the log's order.
func (j *judge) signedByDevice(r of[sealpost.Receipt]) (device, bool) {
	d, ok := j.devices[r.v.Key]
	switch {
	case r.signed.KeyID() != r.v.Key:
		j.find(Refused, r.exhibit, r.at.statement, "it names key %s and is signed by %s%s", short(r.v.Key), short(r.signed.KeyID()), j.stranger(r.exhibit))
		return d, false
	case !ok:
		j.findAt(Incomplete, r.name, &r.at.statement, "no key event of the sender for device %s is in the bundle", short(r.v.Key))
		return d, false
	case !j.verify(r.exhibit, d.enrol.v.Key):
		return d, false
	case d.enrol.spoilt:
		return d, false // its own finding stands
	case !before(d.enrol.exhibit, r.exhibit):
		j.find(Refused, r.exhibit, r.at.statement, "its key is enrolled at leaf %d, after it at leaf %d", d.enrol.index, r.index)
		return d, false
	case d.revoked != nil && d.revoked.logged && r.logged && d.revoked.index < r.index:
		j.find(Refused, r.exhibit, r.at.statement, "its key is revoked at leaf %d, before it at leaf %d", d.revoked.index, r.index)
		return d, false
	}
	return d, true
}

// binding checks that a receipt is about this commitment, this ciphertext and
// this roster (R59). Where the device refuses, the difference may be its reason.
func (j *judge) binding(r of[sealpost.Receipt], c of[sealpost.Commitment]) {
	refuse := func(format string, args ...any) { j.find(Refused, r.exhibit, r.at.statement, format, args...) }
	if r.v.Commitment != c.hash {
		refuse("it is about another commitment")
		return
	}
	if !before(c.exhibit, r.exhibit) {
		refuse("it stands at leaf %d, before the commitment at leaf %d", r.index, c.index)
	}
	if !r.v.Level.Positive() && r.v.Level != sealpost.HandedOver {
		return
	}
	if r.v.Blob != c.v.Blob {
		refuse("it is about another ciphertext")
	}
	if r.v.Roster != c.v.Roster && !(r.v.Level == sealpost.HandedOver && r.v.Roster == sealpost.Hash{}) {
		refuse("the device saw another roster")
	}
	if j.roll != nil && !j.roll.Has(r.v.Key) {
		refuse("the device %s is not in the roster", short(r.v.Key))
	}
	if j.opening != nil && r.v.Level.Positive() {
		want := sealpost.Opened(j.opening.R, c.hash, r.v.Key, r.v.Level)
		if !bytes.Equal(want[:], r.v.Opened) {
			refuse("its proof of having opened the message is not by a holder of the opening")
		}
	}
}

// assertions is what each level says, and what it does not (R58).
var assertions = map[sealpost.Level][2]string{
	sealpost.HandedOver:    {"asserts that it holds the sealed message", "It does not show that the device could open it."},
	sealpost.Decrypted:     {"asserts that it opened the message and that every commitment matched", "It does not show that anything was displayed."},
	sealpost.Displayed:     {"asserts that it displayed the text", "It does not prove that a person read it."},
	sealpost.Acted:         {"asserts that a person acted on the message", "It does not prove who acted."},
	sealpost.Mismatch:      {"asserts that what it opened does not match what was committed", "This is the device's assertion; nothing else shows the mismatch."},
	sealpost.Gap:           {"asserts that earlier messages of this sender never came", "This is the device's assertion; it does not show who lost them."},
	sealpost.DecryptFailed: {"asserts that the message did not open", "This is the device's assertion; it does not show why."},
}

// assert states what a device in good standing says.
func (j *judge) assert(r of[sealpost.Receipt], d device, c of[sealpost.Commitment]) {
	assurance := d.enrol.v.Device.Assurance
	says := assertions[r.v.Level]
	what := fmt.Sprintf("The device with the %v key %s (assurance: %v) %s (%s).", r.signed.Alg(), short(r.v.Key), assurance, says[0], j.order(r.exhibit))
	if r.v.Reason != sealpost.ReasonNone {
		what += fmt.Sprintf(" Its reason: %v.", r.v.Reason)
	}
	limit := says[1] + " " + j.keyLimit(d, assurance)
	if r.v.Level.Positive() && j.opening == nil {
		limit += " That it held the opening is not checked: opening not disclosed."
	}
	if r.v.Level.Positive() && assurance < c.v.LeastAssurance {
		j.find(Refused, r.exhibit, r.at.statement, "the device's key has assurance %v and the commitment demands %v", assurance, c.v.LeastAssurance)
		return
	}
	var held *head
	if r.v.Checkpoint != "" {
		if held = j.heads[r.v.Checkpoint]; held == nil {
			limit += " The checkpoint that it carries is not by this policy's log."
		}
	}
	j.claim(Claim{About: AboutDevice, What: what, Evidence: []string{r.name, d.enrol.name}, NotBefore: j.since(held), NotAfter: j.latest(r.exhibit), Limit: limit})
	switch {
	case !r.logged || !d.enrol.logged || !c.logged:
		// asserted, and its place in the order is not shown
	case assurance < j.policy.LeastAssurance:
		j.weak[r.v.Level] = fmt.Sprintf("device %s has assurance %v and the policy wants %v", short(r.v.Key), assurance, j.policy.LeastAssurance)
	case j.roll != nil:
		j.shown[r.v.Level] = true
	}
}

// keyLimit says how far a device's key carries a claim.
func (j *judge) keyLimit(d device, a sealpost.Assurance) string {
	limit := noRevocation
	if d.revoked != nil {
		limit = fmt.Sprintf("Its key is revoked later, at %s.", j.order(d.revoked))
	}
	if a == sealpost.AssuranceSoftware {
		limit += " The key is software: whoever copied it could sign this."
	}
	return limit
}
