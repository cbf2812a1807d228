package relaytest

import (
	"context"
	"slices"

	"github.com/sealpost/sealpost"
)

// Devices implements the port.
func (s *Store) Devices(_ context.Context, app string, r sealpost.Recipient) (out []sealpost.Device, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.App == app && d.Recipient == r {
			out = append(out, d.Device)
		}
	}
	return out, nil
}

// Device implements the port.
func (s *Store) Device(_ context.Context, id sealpost.KeyID) (sealpost.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[id]; d != nil {
		return d.Device, nil
	}
	return sealpost.Device{}, sealpost.ErrNotFound
}

// KeyEvents implements the port.
func (s *Store) KeyEvents(_ context.Context, app string, r sealpost.Recipient) ([]sealpost.Record, error) {
	return s.filter(func(h sealpost.Hold) bool {
		if h.KeyEvent == nil || h.KeyEvent.Subject != sealpost.SubjectDevice || h.App != app {
			return false
		}
		d := s.devices[h.KeyEvent.Key.ID()]
		return d != nil && d.Recipient == r
	}), nil
}

// SenderKeys implements the port.
func (s *Store) SenderKeys(_ context.Context, app string) ([]sealpost.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.senders[app]), nil
}

// SenderKeyEvents implements the port.
func (s *Store) SenderKeyEvents(_ context.Context, app string) ([]sealpost.Record, error) {
	return s.filter(func(h sealpost.Hold) bool {
		return h.KeyEvent != nil && h.KeyEvent.Subject == sealpost.SubjectSender && h.App == app
	}), nil
}

// PutEnrolment implements the port.
func (s *Store) PutEnrolment(_ context.Context, e sealpost.Enrolment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enrolments[e.ID] = &e
	return nil
}

// Enrolment implements the port.
func (s *Store) Enrolment(_ context.Context, id sealpost.EnrolmentID) (sealpost.Enrolment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.enrolments[id]; e != nil {
		return *e, nil
	}
	return sealpost.Enrolment{}, sealpost.ErrNotFound
}

// EnrolmentByKey implements the port.
func (s *Store) EnrolmentByKey(_ context.Context, key sealpost.KeyID) (sealpost.Enrolment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.enrolments {
		if e.Answer != nil && e.Answer.Key.ID() == key {
			return *e, nil
		}
	}
	return sealpost.Enrolment{}, sealpost.ErrNotFound
}

// AnswerEnrolment implements the port.
func (s *Store) AnswerEnrolment(_ context.Context, id sealpost.EnrolmentID, a sealpost.EnrolmentAnswer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.enrolments[id]
	switch {
	case e == nil:
		return sealpost.ErrNotFound
	case e.Answer != nil:
		return sealpost.ErrConflict
	}
	e.Answer = &a
	return nil
}

// Answered implements the port.
func (s *Store) Answered(_ context.Context, app string, limit int) (out []sealpost.Enrolment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.enrolments {
		if e.App == app && e.Answer != nil && len(out) < limit {
			out = append(out, *e)
		}
	}
	return out, nil
}

// PutPackages implements the port.
func (s *Store) PutPackages(_ context.Context, id sealpost.KeyID, packages [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[id]
	if d == nil {
		return sealpost.ErrNotFound
	}
	d.packages = append(d.packages, packages...)
	return nil
}

// ClaimPackage implements the port.
func (s *Store) ClaimPackage(_ context.Context, app string, id sealpost.KeyID) ([]byte, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[id]
	if d == nil || d.App != app || len(d.packages) == 0 {
		return nil, 0, sealpost.ErrNotFound
	}
	pkg := d.packages[0]
	d.packages = d.packages[1:]
	return pkg, len(d.packages), nil
}

// PutEndpoints implements the port.
func (s *Store) PutEndpoints(_ context.Context, id sealpost.KeyID, endpoints []sealpost.Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[id]
	if d == nil {
		return sealpost.ErrNotFound
	}
	d.endpoints = endpoints
	return nil
}

// PutAPIKey implements the port.
func (s *Store) PutAPIKey(_ context.Context, k sealpost.APIKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apiKeys = append(s.apiKeys, k)
	return nil
}

// APIKey implements the port.
func (s *Store) APIKey(_ context.Context, hash sealpost.Hash) (sealpost.APIKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.apiKeys {
		if k.Hash == hash {
			return k, nil
		}
	}
	return sealpost.APIKey{}, sealpost.ErrNotFound
}

// APIKeys implements the port.
func (s *Store) APIKeys(_ context.Context, app string) (out []sealpost.APIKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.apiKeys {
		if k.App == app {
			out = append(out, k)
		}
	}
	return out, nil
}

// RevokeAPIKey implements the port.
func (s *Store) RevokeAPIKey(_ context.Context, app, name string, at sealpost.UnixMilli) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.apiKeys {
		if k.App == app && k.Name == name {
			s.apiKeys[i].Revoked = at
			return nil
		}
	}
	return sealpost.ErrNotFound
}

// Nonce implements the port.
func (s *Store) Nonce(_ context.Context, _ sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.nonces[nonce]; known {
		return false, nil
	}
	s.nonces[nonce] = until
	return true, nil
}
