package relaytest

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/sealpost/sealpost"
)

type message struct {
	sealpost.Message
	blob     []byte // nil once every device has it, or it has expired
	carriers []sealpost.Carrier
	routes   []*route // in the order of the devices' enrolment
	attempts []sealpost.Hash
	receipts []sealpost.Hash
}

// A route is the way of one message to one device.
type route struct {
	device   sealpost.KeyID
	state    state
	handed   bool               // the device has the blob
	turn     sealpost.UnixMilli // when it is to be tried; 0: it is not
	tries    uint32
	receipts int
	endpoint int // number of that of the last try, 0 for none
}

// A state is how far a message has come with one device.
type state byte

const (
	open    state = iota // the device may still be woken, or may fetch
	failed               // every way to wake it failed; it may still fetch
	handed               // it has the message and has not said more
	refused              // it refused the message
	opened               // it opened the message
)

const atOnce sealpost.UnixMilli = 1 // a turn that has come

// advance moves a route to what its device says.
func (r *route) advance(level sealpost.Level) {
	switch {
	case level.Positive():
		r.state = opened
	case level.Negative() && r.state != opened:
		r.state = refused
	case level == sealpost.HandedOver && r.state < handed:
		r.state = handed
	}
	has := level == sealpost.HandedOver || level.Positive()
	r.handed = r.handed || has
	if has || level.Negative() {
		r.turn = 0
	}
}

func (m *message) route(id sealpost.KeyID) *route {
	if i := slices.IndexFunc(m.routes, func(r *route) bool { return r.device == id }); i >= 0 {
		return m.routes[i]
	}
	return nil
}

// wakes says that a device may be tried: also after another's receipt ended the
// message, where it never was.
func (m *message) wakes(r *route) bool {
	return r.state == open && m.blob != nil && (m.End == 0 || m.End == sealpost.Delivered && r.tries == 0)
}

// ready is the end that the routes have come to, 0 while one of them may still
// change it.
func (m *message) ready() sealpost.End {
	in := map[state]bool{}
	for _, r := range m.routes {
		in[r.state] = true
	}
	switch {
	case in[opened]:
		return sealpost.Delivered
	case in[open] || in[handed] || len(m.routes) == 0:
		return 0
	case in[refused]:
		return sealpost.Refused
	}
	return sealpost.Undeliverable
}

// due is the end that an open message has come to, 0 while it has not.
func (m *message) due(now sealpost.UnixMilli) sealpost.End {
	switch ready := m.ready(); {
	case m.End != 0:
		return 0
	case ready != 0:
		return ready
	case m.Expires <= now:
		return sealpost.Expired
	}
	return 0
}

func (m *message) released(logged uint64) bool {
	return m.Seq < logged || m.Release == sealpost.ReleaseHeld
}

// Message implements the port.
func (s *Store) Message(_ context.Context, id sealpost.MessageID) (sealpost.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.messages[id]; m != nil {
		return m.Message, nil
	}
	return sealpost.Message{}, sealpost.ErrNotFound
}

// Messages implements the port.
func (s *Store) Messages(_ context.Context, app string, after uint64, limit int) (out []sealpost.Message, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if m := s.messages[id]; m.App == app && m.Seq > after && len(out) < limit {
			out = append(out, m.Message)
		}
	}
	return out, nil
}

// Closable implements the port.
func (s *Store) Closable(_ context.Context, now sealpost.UnixMilli, limit int) (out []sealpost.Closing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		m := s.messages[id]
		if end := m.due(now); end != 0 && len(out) < limit {
			out = append(out, sealpost.Closing{Message: m.Message, End: end, Attempts: ascending(m.attempts), Receipts: ascending(m.receipts)})
		}
	}
	return out, nil
}

func ascending(in []sealpost.Hash) []sealpost.Hash {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// ClaimWork implements the port.
func (s *Store) ClaimWork(ctx context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) (out []sealpost.Work, err error) {
	end, err := s.write(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	for _, id := range s.order {
		m := s.messages[id]
		if m.Expires <= now || !m.released(logged) {
			continue
		}
		for _, r := range m.routes {
			at, reachable := s.device(r.device).reach(m.carriers)
			if r.turn == 0 || r.turn > now || !m.wakes(r) || !reachable || len(out) == n {
				continue
			}
			sealed, err := s.sealed(m)
			if err != nil {
				return nil, err
			}
			r.turn, r.endpoint = lease, at.number
			out = append(out, sealpost.Work{Message: m.Message, Device: r.device, Endpoint: at.Endpoint,
				Sealed: sealed, Number: r.tries + 1, Lease: lease})
		}
	}
	return out, nil
}

// GiveBackWork implements the port.
func (s *Store) GiveBackWork(_ context.Context, works []sealpost.Work) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range works {
		m := s.messages[w.Message.ID]
		if m == nil {
			continue
		}
		for _, r := range m.routes {
			if r.device == w.Device && r.turn == w.Lease {
				r.turn = atOnce
			}
		}
	}
	return nil
}

func (s *Store) sealed(m *message) (sealpost.Sealed, error) {
	statement, err := sealpost.Parse(s.records[m.Seq].Statement)
	if err != nil {
		return sealpost.Sealed{}, err
	}
	return sealpost.NewSealed(statement, m.blob)
}

// Sweep implements the port.
func (s *Store) Sweep(ctx context.Context, now sealpost.UnixMilli) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.sweeps++
	for _, m := range s.messages {
		if m.End != 0 && m.Expires <= now {
			m.blob = nil
		}
	}
	maps.DeleteFunc(s.nonces, func(_ nonce, until sealpost.UnixMilli) bool { return until < now })
	maps.DeleteFunc(s.epochs, func(_ sealpost.Hash, e epoch) bool { return e.until < now })
	s.enrolments = slices.DeleteFunc(s.enrolments, func(e *sealpost.Enrolment) bool { return e.Answer == nil && e.Expires < now })
	return nil
}

// Arrivals implements the port.
func (s *Store) Arrivals(_ context.Context, id sealpost.KeyID, after, logged uint64, limit int) (out []sealpost.Delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.inForce(id); err != nil {
		return nil, err
	}
	for _, mid := range s.order {
		m := s.messages[mid]
		r := m.route(id)
		waits := r != nil && r.state <= failed && !r.handed && (m.End == 0 || m.End == sealpost.Delivered)
		if waits && m.Expires > s.now() && m.released(logged) && m.Seq > after && len(out) < limit {
			out = append(out, sealpost.Delivery{Record: s.records[m.Seq], Blob: m.blob})
		}
	}
	return out, nil
}

func (s *Store) now() sealpost.UnixMilli { return sealpost.FromTime(s.Now()) }

// Arrival implements the port.
func (s *Store) Arrival(_ context.Context, id sealpost.KeyID, mid sealpost.MessageID) (sealpost.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.inForce(id); err != nil {
		return sealpost.Delivery{}, err
	}
	m := s.messages[mid]
	if m == nil || m.route(id) == nil || m.blob == nil || m.Expires <= s.now() {
		return sealpost.Delivery{}, sealpost.ErrNotFound
	}
	return sealpost.Delivery{Record: s.records[m.Seq], Blob: m.blob}, nil
}
