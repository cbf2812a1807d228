package client

import (
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// A Disclose says how much of a message a bundle opens. Its zero value opens
// nothing: the bundle then proves what was committed, and not what it says.
type Disclose struct {
	All    bool
	Fields []string // by name, where not All
}

// Bundle builds the evidence of a message from the sender's own store, with the
// relay stopped as well as running: what [Sender.Sync] has gathered, and at
// least the commitment, its promise and the key events that it rests on.
func (s *Sender) Bundle(id sealpost.MessageID, open Disclose) (*evidence.Bundle, error) {
	m, err := s.message(id)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	exhibits, err := s.exhibits(id, m)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	b := &evidence.Bundle{Version: evidence.Version, ID: id, Rosters: [][]byte{m.Roster}}
	for _, x := range exhibits {
		b.Exhibits = append(b.Exhibits, evidence.Exhibit{Statement: x.Statement, Salt: x.Salt, Promise: x.Promise, Proof: x.Proof})
	}
	if b.Disclosed, err = m.disclose(open); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

// Accuse is [Sender.Bundle] with every statement that the relay offered as
// evidence of the message and that this sender refused. A verifier refuses it
// too, and says of each what is wrong: what the relay promised or logged of
// them, it took.
func (s *Sender) Accuse(id sealpost.MessageID, open Disclose) (*evidence.Bundle, error) {
	b, err := s.Bundle(id, open)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.View(func(tx Tx) error {
		refused, err := refusedExhibits(tx, id)
		b.Exhibits = append(b.Exhibits, refused...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bundle of what was refused: %w", err)
	}
	return b, nil
}

// exhibits are those of the message and the key events of its roster, each
// once, the ones with a proof before those without.
func (s *Sender) exhibits(id sealpost.MessageID, m messageRecord) (all []exhibitRecord, err error) {
	roster, err := sealpost.ParseRoster(m.Roster)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.View(func(tx Tx) error { all, err = loadAll[exhibitRecord](tx, exhibitPrefix(id)); return err })
	if err != nil {
		return nil, err
	}
	err = s.shared.View(func(tx Tx) error {
		own, _, err := load[exhibitRecord](tx, ownEventKey)
		if err != nil {
			return err
		}
		all = append(all, exhibitRecord{Statement: m.Statement, Salt: m.Salt, Promise: m.Promise}, own)
		for _, member := range roster.Members {
			d, _, err := load[deviceRecord](tx, deviceKey(member.Device))
			if err != nil {
				return err
			}
			all = append(all, d.Event)
			if d.Revocation != nil {
				all = append(all, *d.Revocation)
			}
		}
		return nil
	})
	return distinct(all), err
}

// distinct drops repetitions and what was never answered by the relay: without
// a salt a statement is no exhibit.
func distinct(all []exhibitRecord) (out []exhibitRecord) {
	seen := map[string]bool{}
	for _, x := range all {
		if x.Salt != (sealpost.Salt{}) && !seen[string(x.Statement)] {
			seen[string(x.Statement)] = true
			out = append(out, x)
		}
	}
	return out
}

func (m *messageRecord) disclose(open Disclose) (*evidence.Disclosure, error) {
	if !open.All && len(open.Fields) == 0 {
		return nil, nil
	}
	p, err := sealpost.DecodePayload(m.Payload)
	if err != nil {
		return nil, err
	}
	if open.All {
		return evidence.DiscloseAll(p)
	}
	return evidence.DiscloseFields(p, open.Fields...)
}
