package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A sealedEnrolment is what an invitation's row seals.
type sealedEnrolment struct {
	_          struct{} `cbor:",toarray"`
	ID         sealpost.EnrolmentID
	App        string
	Recipient  sealpost.Recipient
	SecretHash sealpost.Hash
	Challenge  [32]byte
	Expires    int64
}

// A sealedAnswer is what a device answered, sealed beside its invitation.
type sealedAnswer struct {
	_          struct{} `cbor:",toarray"`
	Key        []byte   // COSE_Key
	Device     sealpost.DeviceKey
	MAC        sealpost.Hash
	Endpoints  []sealedEndpoint
	Packages   [][]byte
	LastResort []byte
}

type sealedEndpoint struct {
	_       struct{} `cbor:",toarray"`
	Carrier sealpost.Carrier
	Kind    sealpost.EndpointKind
	Value   string
}

// An openEnrolment is an invitation with its row.
type openEnrolment struct {
	sealpost.Enrolment
	row int64
}

const enrolmentColumns = `id, tag, sealed, answer`

func (v *vault) readEnrolment(r row) (*openEnrolment, error) {
	at := rowKey(r.int(0), r.bytes(1))
	plain, err := v.open(tagEnrolment, at, r.bytes(2))
	if err != nil {
		return nil, err
	}
	var s sealedEnrolment
	if err := sealpost.Decode(plain, &s); err != nil {
		return nil, err
	}
	e := &openEnrolment{row: r.int(0), Enrolment: sealpost.Enrolment{ID: s.ID, App: s.App, Recipient: s.Recipient,
		SecretHash: s.SecretHash, Challenge: s.Challenge, Expires: sealpost.UnixMilli(s.Expires)}}
	if r.null(3) {
		return e, nil
	}
	if plain, err = v.open(tagAnswer, at, r.bytes(3)); err != nil {
		return nil, err
	}
	e.Answer, err = decodeAnswer(plain)
	return e, err
}

func encodeAnswer(a sealpost.EnrolmentAnswer) ([]byte, error) {
	s := sealedAnswer{Key: a.Key.COSE(), Device: a.Device, MAC: a.MAC, Packages: a.KeyPackages, LastResort: a.LastResort}
	for _, e := range a.Endpoints {
		s.Endpoints = append(s.Endpoints, sealedEndpoint{Carrier: e.Carrier, Kind: e.Kind, Value: e.Reveal()})
	}
	return sealpost.Encode(s)
}

func decodeAnswer(plain []byte) (*sealpost.EnrolmentAnswer, error) {
	var s sealedAnswer
	if err := sealpost.Decode(plain, &s); err != nil {
		return nil, err
	}
	key, err := sealpost.ParsePublicKey(s.Key)
	if err != nil {
		return nil, err
	}
	a := &sealpost.EnrolmentAnswer{Key: key, Device: s.Device, MAC: s.MAC, KeyPackages: s.Packages, LastResort: s.LastResort}
	for _, e := range s.Endpoints {
		endpoint, err := sealpost.NewEndpoint(e.Carrier, e.Kind, e.Value)
		if err != nil {
			return nil, err
		}
		a.Endpoints = append(a.Endpoints, endpoint)
	}
	return a, nil
}

// PutEnrolment keeps an invitation. Its id and challenge must be new.
func (db *DB) PutEnrolment(ctx context.Context, e sealpost.Enrolment) error {
	if err := checkApp(e.App); err != nil {
		return fmt.Errorf("put enrolment: %w", err)
	}
	return db.write(ctx, "put enrolment", func(g *group) error {
		count, _, err := g.c.one(`SELECT count(*) FROM (SELECT 1 FROM enrolments LIMIT ?)`, EnrolmentsMax)
		if err != nil {
			return err
		}
		if count.int(0) >= EnrolmentsMax {
			return ErrFull
		}
		app, err := g.appID(e.App)
		if err != nil {
			return err
		}
		plain, err := sealpost.Encode(sealedEnrolment{ID: e.ID, App: e.App, Recipient: e.Recipient,
			SecretHash: e.SecretHash, Challenge: e.Challenge, Expires: int64(e.Expires)})
		if err != nil {
			return err
		}
		tag := g.vault.tag(tagEnrolment, e.ID[:])
		id, err := g.c.nextID(`enrolments`)
		if err != nil {
			return err
		}
		n, err := g.c.exec(`INSERT INTO enrolments (id, tag, challenge, app, expires, sealed) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			id, tag, g.vault.tag(tagChallenge, e.Challenge[:]), app, int64(e.Expires), g.vault.seal(tagEnrolment, rowKey(id, tag), plain))
		if err == nil && n == 0 {
			err = sealpost.ErrConflict
		}
		return err
	})
}

// Enrolment finds an invitation that is neither used nor swept.
func (db *DB) Enrolment(ctx context.Context, id sealpost.EnrolmentID) (sealpost.Enrolment, error) {
	return db.findEnrolment(ctx, `tag = ?`, db.vault.tag(tagEnrolment, id[:]))
}

// EnrolmentByKey finds the invitation that a device answered with this key.
func (db *DB) EnrolmentByKey(ctx context.Context, key sealpost.KeyID) (sealpost.Enrolment, error) {
	return db.findEnrolment(ctx, `signing_key = ?`, db.vault.tag(tagKey, key[:]))
}

func (db *DB) findEnrolment(ctx context.Context, where string, arg []byte) (out sealpost.Enrolment, err error) {
	err = db.read(ctx, "enrolment", func(c *conn) error {
		r, found, err := c.one(`SELECT `+enrolmentColumns+` FROM enrolments WHERE `+where, arg)
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		e, err := db.vault.readEnrolment(r)
		if err == nil {
			out = e.Enrolment
		}
		return err
	})
	return out, err
}

// AnswerEnrolment keeps a device's answer, once: the same answer again is nil,
// another one sealpost.ErrConflict.
func (db *DB) AnswerEnrolment(ctx context.Context, id sealpost.EnrolmentID, a sealpost.EnrolmentAnswer) error {
	err := checkAnswer(a)
	if err != nil {
		return fmt.Errorf("answer enrolment: %w", err)
	}
	plain, err := encodeAnswer(a)
	if err != nil {
		return fmt.Errorf("answer enrolment: %w", err)
	}
	return db.write(ctx, "answer enrolment", func(g *group) error {
		tag := g.vault.tag(tagEnrolment, id[:])
		r, found, err := g.c.one(`SELECT `+enrolmentColumns+` FROM enrolments WHERE tag = ?`, tag)
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		if !r.null(3) {
			before, err := g.vault.open(tagAnswer, rowKey(r.int(0), tag), r.bytes(3))
			if err == nil && !bytes.Equal(before, plain) {
				err = sealpost.ErrConflict
			}
			return err
		}
		key := a.Key.ID()
		_, err = g.c.exec(`UPDATE enrolments SET answer = ?, signing_key = ? WHERE id = ?`,
			g.vault.seal(tagAnswer, rowKey(r.int(0), tag), plain), g.vault.tag(tagKey, key[:]), r.int(0))
		return err
	})
}

func checkAnswer(a sealpost.EnrolmentAnswer) error {
	if a.Key.IsZero() || a.Device.Leaf.IsZero() {
		return fmt.Errorf("%w: a key is missing", sealpost.ErrMalformed)
	}
	return errors.Join(checkEndpoints(a.Endpoints), checkPackages(a.KeyPackages, a.LastResort))
}

// Answered lists a tenant's invitations with an answer and no key event yet,
// oldest first.
func (db *DB) Answered(ctx context.Context, app string, limit int) (out []sealpost.Enrolment, err error) {
	err = db.read(ctx, "answered enrolments", func(c *conn) error {
		return c.each(`SELECT e.id, e.tag, e.sealed, e.answer FROM enrolments e JOIN apps a ON a.id = e.app
			WHERE a.tag = ? AND e.signing_key IS NOT NULL ORDER BY e.id LIMIT ?`, func(r row) error {
			e, err := db.vault.readEnrolment(r)
			if err == nil {
				out = append(out, e.Enrolment)
			}
			return err
		}, db.vault.tag(tagApp, []byte(app)), page(limit))
	})
	return out, err
}

// answeredInvitation finds the invitation that a device's enrol event uses up:
// by the challenge, with the same tenant, recipient and keys.
func (g *group) answeredInvitation(e *sealpost.KeyEvent) (*openEnrolment, error) {
	r, found, err := g.c.one(`SELECT `+enrolmentColumns+` FROM enrolments WHERE challenge = ?`, g.vault.tag(tagChallenge, e.Challenge))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("no invitation has this challenge: %w", sealpost.ErrNotFound)
	}
	invited, err := g.vault.readEnrolment(r)
	if err != nil {
		return nil, err
	}
	a := invited.Answer
	if a == nil || invited.App != e.App || invited.Recipient != e.Device.Recipient || a.Key != e.Key || a.Device.Leaf != e.Device.Leaf {
		return nil, fmt.Errorf("the invitation was not answered with these keys: %w", sealpost.ErrNotFound)
	}
	return invited, nil
}

// page bounds what a caller asks for.
func page(limit int) int { return max(0, min(limit, PageMax)) }
