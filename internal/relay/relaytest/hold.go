package relaytest

import (
	"bytes"
	"slices"

	"github.com/sealpost/sealpost"
)

// payloadKind is the kind of the one payload that is set, 0 for none or two.
func payloadKind(h sealpost.Hold) (k sealpost.Kind) {
	for kind, is := range map[sealpost.Kind]bool{
		sealpost.KindCommitment: h.Commitment != nil, sealpost.KindAttempt: h.Attempt != nil,
		sealpost.KindReceipt: h.Receipt != nil, sealpost.KindOutcome: h.Outcome != nil, sealpost.KindKeyEvent: h.KeyEvent != nil,
	} {
		if is && k != 0 {
			return 0
		}
		if is {
			k = kind
		}
	}
	return k
}

func (s *Store) hold(h sealpost.Hold) sealpost.Held {
	if seq, ok := s.byHash[h.Hash]; ok {
		return sealpost.Held{Record: s.records[seq], Again: true}
	}
	var err error
	seq := uint64(len(s.records))
	switch {
	case h.Commitment != nil:
		err = s.holdCommitment(h, seq)
	case h.Attempt != nil:
		err = s.holdAttempt(h)
	case h.Receipt != nil:
		err = s.holdReceipt(h)
	case h.Outcome != nil:
		err = s.holdOutcome(h)
	default:
		err = s.holdKeyEvent(h, seq)
	}
	if err != nil {
		return sealpost.Held{Err: err}
	}
	rec := h.Record
	rec.Seq = seq
	s.records, s.holds = append(s.records, rec), append(s.holds, h)
	s.byHash[h.Hash] = seq
	return sealpost.Held{Record: rec}
}

func (s *Store) holdCommitment(h sealpost.Hold, seq uint64) error {
	c := h.Commitment
	if s.messages[c.ID] != nil {
		return sealpost.ErrConflict
	}
	if s.epochTaken(h.Commits) {
		return sealpost.ErrEpochTaken
	}
	for _, k := range h.Commits {
		s.epochs[k.Place] = epoch{k.Commit, max(s.epochs[k.Place].until, c.Expires.Add(sealpost.LifetimeMax))}
	}
	m := &message{blob: bytes.Clone(h.Blob), carriers: c.Carriers, Message: sealpost.Message{ID: c.ID, App: c.App,
		Recipient: c.Recipient, Commitment: h.Hash, Seq: seq, Blob: c.Blob, Roster: c.Roster, Created: c.Created,
		Expires: c.Expires, Release: c.Release}}
	for _, d := range s.devices {
		if d.App == c.App && d.Recipient == c.Recipient && d.Revoked == 0 {
			m.routes = append(m.routes, &route{device: d.id, turn: atOnce})
		}
	}
	s.messages[c.ID] = m
	s.order = append(s.order, c.ID)
	return nil
}

// epochTaken says whether another commit stands where one of these would go, or
// two of them would go to one place.
func (s *Store) epochTaken(commits []sealpost.EpochCommit) bool {
	for i, k := range commits {
		if slices.ContainsFunc(commits[:i], func(o sealpost.EpochCommit) bool { return o.Place == k.Place && o.Commit != k.Commit }) {
			return true
		}
		if other, taken := s.epochs[k.Place]; taken && other.commit != k.Commit {
			return true
		}
	}
	return false
}

// messageOf is the message that a statement is about, under the commitment which
// it names and within its tenant.
func (s *Store) messageOf(h sealpost.Hold, id sealpost.MessageID, commitment sealpost.Hash) (*message, error) {
	if m := s.messages[id]; m != nil && m.Commitment == commitment && m.App == h.App {
		return m, nil
	}
	return nil, s.misused("a "+h.Kind.String()+" about no message", sealpost.ErrNotFound)
}

func (s *Store) routeOf(m *message, device sealpost.KeyID) (*route, error) {
	if r := m.route(device); r != nil {
		return r, nil
	}
	return nil, s.misused("the message has no route to this device", sealpost.ErrNotFound)
}

func (s *Store) holdAttempt(h sealpost.Hold) error {
	a := h.Attempt
	m, err := s.messageOf(h, a.ID, a.Commitment)
	if err != nil {
		return err
	}
	for _, had := range s.holds {
		if had.Attempt != nil && had.Attempt.Attempt == a.Attempt {
			return s.misused("another statement of an attempt", sealpost.ErrConflict)
		}
	}
	r, err := s.routeOf(m, a.Device)
	if err != nil {
		return err
	}
	m.attempts = append(m.attempts, h.Hash)
	r.tries = max(r.tries, a.Number)
	d := s.device(a.Device)
	if a.Result == sealpost.EndpointGone {
		d.endpoints = slices.DeleteFunc(slices.Clone(d.endpoints), func(e endpoint) bool {
			return e.Carrier == a.Carrier && (r.endpoint == 0 || r.endpoint == e.number)
		})
	}
	r.turn = 0
	if r.state != open || m.End != 0 {
		return nil
	}
	if _, reachable := d.reach(m.carriers); h.Retry > 0 && reachable {
		r.turn = h.Retry
	} else if a.Result != sealpost.Accepted && a.Result != sealpost.Ambiguous {
		r.state = failed
	}
	return nil
}

func (s *Store) holdReceipt(h sealpost.Hold) error {
	r := h.Receipt
	m, err := s.messageOf(h, r.ID, r.Commitment)
	if err != nil {
		return err
	}
	mine, err := s.routeOf(m, r.Key)
	if err != nil {
		return err
	}
	if mine.receipts >= receiptsMax {
		return errFull
	}
	m.receipts = append(m.receipts, h.Hash)
	mine.receipts++
	mine.advance(r.Level)
	if !slices.ContainsFunc(m.routes, func(r *route) bool { return !r.handed }) {
		m.blob = nil
	}
	return nil
}

func (s *Store) holdOutcome(h sealpost.Hold) error {
	o := h.Outcome
	m, err := s.messageOf(h, o.ID, o.Commitment)
	if err != nil {
		return err
	}
	ready := m.ready()
	// The road decides an end and holds it a moment later. What came in between
	// is a conflict: it decides again.
	switch {
	case m.End != 0:
		return sealpost.ErrEnded
	case o.End != ready && (o.End != sealpost.Expired || ready == sealpost.Delivered):
		return sealpost.ErrConflict
	case len(o.Attempts) != len(m.attempts) || len(o.Claims) != 0 || len(o.Receipts) != len(m.receipts):
		return sealpost.ErrConflict
	}
	m.End = o.End
	for _, r := range m.routes {
		if !m.wakes(r) {
			r.turn = 0
		}
	}
	return nil
}

func (s *Store) holdKeyEvent(h sealpost.Hold, seq uint64) error {
	e := h.KeyEvent
	id := e.Key.ID()
	switch {
	case h.App != e.App:
		return s.misused("a key event of another tenant", sealpost.ErrNotFound)
	case e.Event == sealpost.Revoke:
		return s.revoke(e, id, seq)
	case s.device(id) != nil || slices.ContainsFunc(s.senders, func(d sealpost.Device) bool { return d.Key == e.Key }):
		return sealpost.ErrConflict
	case e.Subject == sealpost.SubjectSender:
		s.senders = append(s.senders, sealpost.Device{App: e.App, Key: e.Key, Enrolled: seq})
		return nil
	}
	i := slices.IndexFunc(s.enrolments, func(in *sealpost.Enrolment) bool {
		return bytes.Equal(in.Challenge[:], e.Challenge) && in.App == e.App && in.Recipient == e.Device.Recipient &&
			in.Answer != nil && in.Answer.Key == e.Key && in.Answer.Device.Leaf == e.Device.Leaf
	})
	if i < 0 {
		return s.misused("a device's enrol event without its answered invitation", sealpost.ErrNotFound)
	}
	a := s.enrolments[i].Answer
	s.enrolments = slices.Delete(s.enrolments, i, i+1)
	s.devices = append(s.devices, &device{id: id, packages: slices.Clone(a.KeyPackages), resort: a.LastResort, endpoints: s.number(a.Endpoints),
		Device: sealpost.Device{App: e.App, Recipient: e.Device.Recipient, Key: e.Key, Leaf: e.Device.Leaf,
			Assurance: e.Device.Assurance, Enrolled: seq}})
	return nil
}

// revoke ends a key. What is still on its way to the device has failed.
func (s *Store) revoke(e *sealpost.KeyEvent, id sealpost.KeyID, seq uint64) error {
	var key *sealpost.Device
	d := s.device(id)
	if e.Subject == sealpost.SubjectDevice && d != nil {
		key = &d.Device
	} else if i := slices.IndexFunc(s.senders, func(d sealpost.Device) bool { return d.Key == e.Key }); e.Subject == sealpost.SubjectSender && i >= 0 {
		key = &s.senders[i]
	}
	switch {
	case key == nil || key.App != e.App:
		return sealpost.ErrNotFound
	case key.Revoked != 0:
		return sealpost.ErrConflict
	}
	key.Revoked = seq
	if e.Subject == sealpost.SubjectSender {
		return nil
	}
	d.endpoints, d.packages, d.resort = nil, nil, nil
	for _, m := range s.messages {
		if r := m.route(id); r != nil && r.state == open {
			r.state, r.turn = failed, 0
		}
	}
	return nil
}
