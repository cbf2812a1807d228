package relaytest

import (
	"bytes"
	"context"
	"reflect"
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
	if d := s.device(id); d != nil {
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
		d := s.device(h.KeyEvent.Key.ID())
		return d != nil && d.Recipient == r
	}), nil
}

// SenderKeys implements the port.
func (s *Store) SenderKeys(_ context.Context, app string) (out []sealpost.Device, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.senders {
		if d.App == app {
			out = append(out, d)
		}
	}
	return out, nil
}

// SenderKeyEvents implements the port.
func (s *Store) SenderKeyEvents(_ context.Context, app string) ([]sealpost.Record, error) {
	return s.filter(func(h sealpost.Hold) bool {
		return h.KeyEvent != nil && h.KeyEvent.Subject == sealpost.SubjectSender && h.App == app
	}), nil
}

// PutEnrolment implements the port.
func (s *Store) PutEnrolment(ctx context.Context, e sealpost.Enrolment) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	if s.enrolment(func(o *sealpost.Enrolment) bool { return o.ID == e.ID || o.Challenge == e.Challenge }) != nil {
		return sealpost.ErrConflict
	}
	s.enrolments = append(s.enrolments, &e)
	return nil
}

func (s *Store) enrolment(is func(*sealpost.Enrolment) bool) *sealpost.Enrolment {
	if i := slices.IndexFunc(s.enrolments, is); i >= 0 {
		return s.enrolments[i]
	}
	return nil
}

func (s *Store) findEnrolment(is func(*sealpost.Enrolment) bool) (sealpost.Enrolment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.enrolment(is); e != nil {
		return *e, nil
	}
	return sealpost.Enrolment{}, sealpost.ErrNotFound
}

// Enrolment implements the port.
func (s *Store) Enrolment(_ context.Context, id sealpost.EnrolmentID) (sealpost.Enrolment, error) {
	return s.findEnrolment(func(e *sealpost.Enrolment) bool { return e.ID == id })
}

// EnrolmentByKey implements the port.
func (s *Store) EnrolmentByKey(_ context.Context, key sealpost.KeyID) (sealpost.Enrolment, error) {
	return s.findEnrolment(func(e *sealpost.Enrolment) bool { return e.Answer != nil && e.Answer.Key.ID() == key })
}

// AnswerEnrolment implements the port.
func (s *Store) AnswerEnrolment(ctx context.Context, id sealpost.EnrolmentID, a sealpost.EnrolmentAnswer) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	e := s.enrolment(func(e *sealpost.Enrolment) bool { return e.ID == id })
	switch {
	case e == nil:
		return sealpost.ErrNotFound
	case e.Answer != nil && !sameAnswer(*e.Answer, a):
		return sealpost.ErrConflict
	case len(a.Endpoints) > endpointsMax || tooMany(a.KeyPackages, a.LastResort):
		return errFull
	}
	e.Answer = &a
	return nil
}

func sameAnswer(a, b sealpost.EnrolmentAnswer) bool {
	return a.Key == b.Key && a.MAC == b.MAC && reflect.DeepEqual(a.Device, b.Device) && slices.EqualFunc(a.KeyPackages, b.KeyPackages, bytes.Equal) && bytes.Equal(a.LastResort, b.LastResort) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(a, b sealpost.Endpoint) bool {
			return a.Carrier == b.Carrier && a.Kind == b.Kind && a.Reveal() == b.Reveal()
		})
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
func (s *Store) PutPackages(ctx context.Context, id sealpost.KeyID, packages [][]byte, lastResort []byte) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	d, err := s.inForce(id)
	if err != nil {
		return err
	}
	pool := slices.Concat(d.packages, packages)
	if tooMany(packages, lastResort) {
		return errFull
	}
	d.packages = pool[max(0, len(pool)-packagesMax):]
	if len(lastResort) > 0 {
		d.resort = lastResort
	}
	return nil
}

// tooMany says whether KeyPackages are more or larger than a pool takes.
func tooMany(packages [][]byte, lastResort []byte) bool {
	return len(packages) > packagesMax || len(lastResort) > packageMax || slices.ContainsFunc(packages, func(p []byte) bool { return len(p) == 0 || len(p) > packageMax })
}

// ClaimPackage implements the port.
func (s *Store) ClaimPackage(ctx context.Context, app string, id sealpost.KeyID) (out sealpost.ClaimedPackage, err error) {
	end, err := s.write(ctx)
	if err != nil {
		return out, err
	}
	defer end()
	d, err := s.inForce(id)
	switch {
	case err != nil || d.App != app:
		return out, sealpost.ErrNotFound
	case len(d.packages) > 0:
		left := len(d.packages) - 1
		out = sealpost.ClaimedPackage{KeyPackage: d.packages[left], Left: left}
		d.packages = d.packages[:left:left]
		return out, nil
	case d.resort == nil:
		return out, sealpost.ErrNotFound
	}
	return sealpost.ClaimedPackage{KeyPackage: d.resort, LastResort: true}, nil
}

// Pool implements the port.
func (s *Store) Pool(_ context.Context, id sealpost.KeyID) (p sealpost.Pool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.device(id); d != nil {
		p = sealpost.Pool{Left: len(d.packages), LastResort: d.resort != nil}
	}
	return p, nil
}

// PutEndpoints implements the port.
func (s *Store) PutEndpoints(ctx context.Context, id sealpost.KeyID, endpoints []sealpost.Endpoint) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	d, err := s.inForce(id)
	if err != nil {
		return err
	}
	if len(endpoints) > endpointsMax {
		return errFull
	}
	d.endpoints = s.number(endpoints)
	return nil
}

func (s *Store) number(endpoints []sealpost.Endpoint) (out []endpoint) {
	for _, e := range endpoints {
		s.endpoints++
		out = append(out, endpoint{e, s.endpoints})
	}
	return out
}

// PutAPIKey implements the port.
func (s *Store) PutAPIKey(ctx context.Context, k sealpost.APIKey) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	if slices.ContainsFunc(s.apiKeys, func(o sealpost.APIKey) bool { return o.Hash == k.Hash || o.App == k.App && o.Name == k.Name }) {
		return sealpost.ErrConflict
	}
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
func (s *Store) RevokeAPIKey(ctx context.Context, app, name string, at sealpost.UnixMilli) error {
	end, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer end()
	for i, k := range s.apiKeys {
		if k.App == app && k.Name == name {
			if k.Revoked == 0 {
				s.apiKeys[i].Revoked = at
			}
			return nil
		}
	}
	return sealpost.ErrNotFound
}

// Nonce implements the port.
func (s *Store) Nonce(ctx context.Context, key sealpost.KeyID, value [16]byte, until sealpost.UnixMilli) (bool, error) {
	end, err := s.write(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	n := nonce{key, value}
	if _, known := s.nonces[n]; known {
		return false, nil
	}
	s.nonces[n] = until
	return true, nil
}
