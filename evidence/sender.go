package evidence

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sealpost/sealpost"
)

// noRevocation limits every claim about a key: without a directory there is no
// proof that a key was in force, only none that it was not.
const noRevocation = "No revocation is shown in this bundle."

// commitment finds the one commitment and checks the sender's signature under
// a key that the policy pins (bundle 4.4).
func (j *judge) commitment() {
	if len(j.commitments) == 0 {
		j.missing("commitment", "it is not in the bundle")
		return
	}
	for _, c := range j.commitments {
		if k, ok := j.senderKey(c.v.App, c.signed.KeyID()); !ok {
			j.find(Refused, c.exhibit, c.at.statement, "signed by %s, which is no key of %q in the policy%s", short(c.signed.KeyID()), c.v.App, j.stranger(c.exhibit))
		} else if j.verify(c.exhibit, k) && !c.spoilt {
			j.headOf(c)
		}
	}
	if len(j.commitments) > 1 {
		a, b := j.commitments[0], j.commitments[1]
		if !a.spoilt && !b.spoilt {
			j.conflict(Conflict{What: fmt.Sprintf("the sender signed two commitments for %v", j.bundle.ID), A: a.Statement, B: b.Statement}, a.name, b.name)
		}
	}
}

// headOf compares the head that the sender knew with the log's. The sender's
// word alone is no proof against the log: another root is refused, not a fork.
func (j *judge) headOf(c of[sealpost.Commitment]) {
	known := c.v.NotBefore
	for _, h := range j.ordered() {
		if known.Size == h.size && known.Size != 0 && known.Root != h.root {
			j.find(Refused, c.exhibit, c.at.statement, "the head of size %d that the sender knew is not the log's", known.Size)
			return
		}
	}
	if c.logged && known.Size > c.index {
		j.find(Refused, c.exhibit, c.at.statement, "it names a head of size %d and stands at leaf %d before that", known.Size, c.index)
	}
}

// senderKey finds a key that the policy pins for an app.
func (j *judge) senderKey(app string, id sealpost.KeyID) (sealpost.PublicKey, bool) {
	for _, s := range j.policy.Senders {
		if s.App == app && s.Key.ID() == id {
			return s.Key, true
		}
	}
	return sealpost.PublicKey{}, false
}

// sent is the commitment, where there is one in good standing.
func (j *judge) sent() (of[sealpost.Commitment], bool) {
	if len(j.commitments) == 0 || j.commitments[0].spoilt {
		return of[sealpost.Commitment]{}, false
	}
	return j.commitments[0], true
}

// A device is a key that the sender enrolled for the recipient.
type device struct {
	enrol   of[sealpost.KeyEvent]
	revoked *exhibit // nil while no revocation is shown
}

// keys checks key events under the sender's pinned keys and honours them by
// log order (bundle 4.5).
func (j *judge) keys() {
	j.devices = map[sealpost.KeyID]device{}
	c, sent := j.sent()
	for _, e := range j.events {
		k, ok := j.senderKey(e.v.App, e.signed.KeyID())
		switch {
		case sent && e.v.App != c.v.App:
			j.find(Refused, e.exhibit, e.at.statement, "a key event of another app, %q", e.v.App)
		case !ok:
			j.find(Refused, e.exhibit, e.at.statement, "signed by %s, which is no key of %q in the policy%s", short(e.signed.KeyID()), e.v.App, j.stranger(e.exhibit))
		case !j.verify(e.exhibit, k):
		case e.v.Subject == sealpost.SubjectDevice && e.v.Event == sealpost.Enrol:
			j.enrol(e, c, sent)
		}
	}
	for _, e := range j.events { // a second time: revocations of what is enrolled by now
		if !e.spoilt && e.v.Event == sealpost.Revoke {
			j.revoke(e)
		}
	}
	for _, e := range j.events {
		if by := j.revokedBefore(e.signed.KeyID(), e.exhibit); by != nil {
			j.find(Refused, e.exhibit, e.at.statement, "the key that signed it is revoked at leaf %d, before it", by.index)
		}
	}
	if sent {
		j.senderInForce(c)
		j.enrolled(c)
	}
}

// enrolled states whose keys the devices' are.
func (j *judge) enrolled(c of[sealpost.Commitment]) {
	for _, e := range j.events {
		d, ok := j.devices[e.v.Key.ID()]
		if !ok || d.enrol.exhibit != e.exhibit || e.spoilt {
			continue
		}
		a := e.v.Device.Assurance
		j.claim(Claim{About: AboutKey, Evidence: []string{e.name}, NotAfter: j.latest(e.exhibit),
			What: fmt.Sprintf("The sender %q enrolled the %v key %s (assurance: %v), with an MLS leaf key of its own, as a device of this message's recipient (%s).",
				c.v.App, e.v.Key.Alg(), short(e.v.Key.ID()), a, j.order(e.exhibit)),
			Limit: "Whose hand the device is in is the sender's word. " + j.keyLimit(d, a)})
	}
}

// revokedBefore finds a revocation of a sender's key that the log has before an
// exhibit.
func (j *judge) revokedBefore(key sealpost.KeyID, e *exhibit) *exhibit {
	for _, r := range j.events {
		if !r.spoilt && r.v.Event == sealpost.Revoke && r.v.Subject == sealpost.SubjectSender && r.v.Key.ID() == key &&
			r.logged && e.logged && r.index < e.index {
			return r.exhibit
		}
	}
	return nil
}

func (j *judge) enrol(e of[sealpost.KeyEvent], c of[sealpost.Commitment], sent bool) {
	id := e.v.Key.ID()
	if sent && e.v.Device.Recipient != c.v.Recipient {
		j.find(Refused, e.exhibit, e.at.statement, "it enrols a device of another recipient")
		return
	}
	if old, again := j.devices[id]; again {
		if before(old.enrol.exhibit, e.exhibit) {
			return // the first enrolment counts
		}
	}
	j.devices[id] = device{enrol: e}
}

// revoke notes the earliest revocation of a device.
func (j *judge) revoke(e of[sealpost.KeyEvent]) {
	d, ok := j.devices[e.v.Key.ID()]
	if e.v.Subject == sealpost.SubjectDevice && ok && (d.revoked == nil || before(e.exhibit, d.revoked)) {
		d.revoked = e.exhibit
		j.devices[e.v.Key.ID()] = d
	}
}

// senderInForce holds the sender's own key events, where the bundle has any,
// against the commitment. The policy's pin suffices without them.
func (j *judge) senderInForce(c of[sealpost.Commitment]) {
	limit := noRevocation
	if by := j.revokedBefore(c.signed.KeyID(), c.exhibit); by != nil {
		j.find(Refused, c.exhibit, c.at.statement, "its key is revoked at leaf %d, before it", by.index)
	}
	for _, e := range j.events {
		if e.spoilt || e.v.Subject != sealpost.SubjectSender || e.v.Key.ID() != c.signed.KeyID() {
			continue
		}
		switch {
		case e.v.Event == sealpost.Enrol && !before(e.exhibit, c.exhibit):
			j.find(Refused, c.exhibit, c.at.statement, "its key is enrolled at leaf %d, after it", e.index)
		case e.v.Event == sealpost.Revoke:
			limit = fmt.Sprintf("Its key is revoked later, at %s.", j.order(e.exhibit))
		}
	}
	if c.spoilt {
		return
	}
	earliest := &Bound{Source: fmt.Sprintf("it names a log head of size %d", c.v.NotBefore.Size)}
	if c.v.NotBefore.Size == 0 {
		earliest = nil
	}
	j.claim(Claim{About: AboutSender, Evidence: []string{c.name}, NotBefore: earliest, NotAfter: j.latest(c.exhibit),
		What: fmt.Sprintf("The sender %q signed this message's commitment with its %v key %s (%s). It says that it was made at %v and expires at %v.",
			c.v.App, c.signed.Alg(), short(c.signed.KeyID()), j.order(c.exhibit), c.v.Created, c.v.Expires),
		Limit: "The sender's signature alone does not show that anybody received it; its times are by its own clock. " + limit})
}

// roster finds the preimage of the digest that the sender signed and wants each
// member explained, so that no ghost device can hide (bundle 4.6).
func (j *judge) roster() {
	c, sent := j.sent()
	named := map[sealpost.Hash]bool{}
	for _, r := range j.received {
		named[r.v.Roster] = true
	}
	for i, b := range j.bundle.Rosters {
		at := j.bundle.spans.rosters[i]
		r, err := sealpost.ParseRoster(b)
		switch digest := r.Digest(); {
		case err != nil:
			j.findAt(Refused, fmt.Sprintf("roster %d", i), &at, "%v", err)
		case sent && digest == c.v.Roster:
			j.roll = &r
			j.members(c, r, at)
		case sent && !named[digest]:
			j.findAt(Refused, fmt.Sprintf("roster %d", i), &at, "neither the commitment nor a receipt names it")
		}
	}
	if sent && j.roll == nil {
		j.missing("roster", "the preimage that the commitment names is not in the bundle: who could open the message is not shown")
	}
}

// members wants each member of the roster to be the sender or a device that it
// enrolled, and then says for whom the message was sealed.
func (j *judge) members(c of[sealpost.Commitment], r sealpost.Roster, at Range) {
	senders, names, rests, explained := 0, []string{}, []string{c.name, "roster"}, true
	for _, m := range r.Members {
		if m.Device == c.signed.KeyID() {
			senders++
			continue
		}
		d, ok := j.devices[m.Device]
		switch {
		case !ok:
			explained = false
			j.missing("roster", "it names the device %s, and no key event of the sender for it is in the bundle: a ghost device is not excluded", short(m.Device))
		case !bytes.Equal(d.enrol.v.Device.Leaf.Bytes(), m.Leaf):
			explained = false
			j.findAt(Refused, "roster", &at, "the leaf of device %s is not the one that the sender enrolled", short(m.Device))
		default:
			names, rests = append(names, short(m.Device)), append(rests, d.enrol.name)
			explained = explained && !d.enrol.spoilt
		}
	}
	if senders > 1 {
		explained = false
		j.findAt(Refused, "roster", &at, "%d leaves are the sender's", senders)
	}
	if explained {
		j.claim(Claim{About: AboutRoster, Evidence: rests,
			What:  fmt.Sprintf("The sender sealed the message to %s and to no other: %s.", count(len(names), "device"), strings.Join(names, ", ")),
			Limit: "It shows for whom the sender sealed it, and not who opened it."})
	}
}

// disclosed opens what a holder discloses (bundle 4.7).
func (j *judge) disclosed() {
	d := j.bundle.Disclosed
	c, sent := j.sent()
	if d == nil || !sent {
		return
	}
	at := &j.bundle.spans.disclosed
	if len(d.Payload) > 0 {
		p, err := sealpost.DecodePayload(d.Payload)
		if err == nil {
			err = p.Opens(c.v)
		}
		if err != nil {
			j.findAt(Refused, "disclosure", at, "%v", err)
			return
		}
		j.opening = &p
		j.claim(Claim{About: AboutContent, Evidence: []string{c.name, "disclosure"},
			What:  fmt.Sprintf("The sender committed to exactly this text: %q.", p.Content.Text),
			Limit: "It shows what was committed to, and not that it is true."})
	}
	for _, f := range d.Fields {
		open := sealpost.FieldOpening{Slot: f.Slot, R: f.R}
		if err := open.Opens(c.v, d.Slots, sealpost.Field{Name: f.Name, Value: f.Value}); err != nil {
			j.findAt(Refused, "disclosure", at, "field %q: %v", f.Name, err)
			continue
		}
		j.claim(Claim{About: AboutContent, Evidence: []string{c.name, "disclosure"},
			What:  fmt.Sprintf("The sender committed to the field %q with the value %q.", f.Name, f.Value),
			Limit: "The other fields and the text stay hidden; it shows what was committed to, and not that it is true."})
	}
}
