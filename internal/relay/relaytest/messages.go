package relaytest

import (
	"bytes"
	"context"
	"slices"

	"github.com/sealpost/sealpost"
)

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

// due is the end that an open message has come to, 0 while it has not.
func (m *message) due(now sealpost.UnixMilli) sealpost.End {
	open := slices.ContainsFunc(m.routes, func(r *route) bool { return !r.failed })
	switch {
	case m.End != 0:
		return 0
	case m.positive:
		return sealpost.Delivered
	case m.negative && len(m.routes) == 1:
		return sealpost.Refused
	case m.Expires <= now:
		return sealpost.Expired
	case len(m.routes) > 0 && !open:
		return sealpost.Undeliverable
	}
	return 0
}

func ascending(in []sealpost.Hash) []sealpost.Hash {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// ClaimWork implements the port.
func (s *Store) ClaimWork(_ context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) (out []sealpost.Work, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		m := s.messages[id]
		released := m.Seq < logged || m.Release == sealpost.ReleaseHeld
		if m.End != 0 && m.End != sealpost.Delivered || m.Expires <= now || !released {
			continue
		}
		for _, r := range m.routes {
			d := s.devices[r.device]
			late := m.End != 0 && r.number > 0 // delivered to another, and tried before
			if r.ended || late || r.due > now || len(d.endpoints) == 0 || len(out) == n {
				continue
			}
			r.due = lease
			r.number++
			sealed, err := s.sealed(m)
			if err != nil {
				return nil, err
			}
			out = append(out, sealpost.Work{Message: m.Message, Device: r.device, Endpoint: d.endpoints[0],
				Sealed: sealed, Number: r.number, Lease: lease})
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
			if r.device == w.Device && r.due == w.Lease && !r.ended {
				r.due = 0
				r.number--
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
func (s *Store) Sweep(_ context.Context, now sealpost.UnixMilli) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweeps++
	for n, until := range s.nonces {
		if until <= now {
			delete(s.nonces, n)
		}
	}
	return nil
}

// Arrivals implements the port.
func (s *Store) Arrivals(_ context.Context, id sealpost.KeyID, after, logged uint64, limit int) (out []sealpost.Delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, mid := range s.order {
		m := s.messages[mid]
		released := m.Seq < logged || m.Release == sealpost.ReleaseHeld
		if m.End == 0 && released && m.Seq > after && m.isFor(id) && len(out) < limit {
			out = append(out, sealpost.Delivery{Record: s.records[m.Seq], Blob: m.blob})
		}
	}
	return out, nil
}

// Arrival implements the port.
func (s *Store) Arrival(_ context.Context, id sealpost.KeyID, mid sealpost.MessageID) (sealpost.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[mid]
	if m == nil || !m.isFor(id) {
		return sealpost.Delivery{}, sealpost.ErrNotFound
	}
	return sealpost.Delivery{Record: s.records[m.Seq], Blob: m.blob}, nil
}

func (m *message) isFor(id sealpost.KeyID) bool {
	return slices.ContainsFunc(m.routes, func(r *route) bool { return r.device == id })
}
