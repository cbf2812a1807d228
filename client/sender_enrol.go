package client

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Enrolment (DESIGN section 11): the relay carries invitations and answers, and
// cannot enrol, because it never learns the secret T and has no sender's key.

var (
	// ErrAnswer says that an answer to an invitation is refused; it is kept as
	// evidence and no key event was signed.
	ErrAnswer = errors.New("answer to an invitation refused")
	// ErrUnknownDevice says that this sender has not enrolled that device.
	ErrUnknownDevice = errors.New("no such device")
)

// answersMax is how many answered invitations one Approve asks for.
const answersMax = api.PageMax

// States of an invitation.
const (
	inviteOpen uint8 = iota
	inviteUsed
	inviteRefused
)

// inviteRecord is an invitation as its sender keeps it.
type inviteRecord struct {
	Recipient sealpost.Recipient `cbor:"1,keyasint"`
	Secret    inviteSecret       `cbor:"2,keyasint"` // T; zero once used
	Challenge [32]byte           `cbor:"3,keyasint"`
	Expires   sealpost.UnixMilli `cbor:"4,keyasint"`
	State     uint8              `cbor:"5,keyasint"`
}

// deviceRecord is a device that this sender enrolled: the only keys it seals to.
type deviceRecord struct {
	Recipient  sealpost.Recipient `cbor:"1,keyasint"`
	Key        sealpost.PublicKey `cbor:"2,keyasint"`
	Leaf       sealpost.PublicKey `cbor:"3,keyasint"`
	Assurance  sealpost.Assurance `cbor:"4,keyasint"`
	Event      exhibitRecord      `cbor:"5,keyasint"` // the key event
	Revocation *exhibitRecord     `cbor:"6,keyasint,omitempty"`
}

func (d *deviceRecord) inForce() bool { return d.Revocation == nil }

// exhibitRecord is one statement with what the relay gave for it so far.
type exhibitRecord struct {
	Statement []byte        `cbor:"1,keyasint"`
	Salt      sealpost.Salt `cbor:"2,keyasint"`
	Promise   []byte        `cbor:"3,keyasint,omitempty"`
	Proof     []byte        `cbor:"4,keyasint,omitempty"`
}

// recipientRecord lists a recipient's devices in the order of their enrolment.
type recipientRecord struct {
	Devices []sealpost.KeyID `cbor:"1,keyasint"`
}

func inviteKey(id sealpost.EnrolmentID) string { return at("invite", id[:]) }
func deviceKey(id sealpost.KeyID) string       { return at("device", id[:]) }
func recipientKey(r sealpost.Recipient) string { return at("recipient", r[:]) }
func eventOutboxKey(id sealpost.KeyID) string  { return at("event-outbox", id[:]) }

// ownEventKey is where the sender's own key event stands.
const ownEventKey = "own-event"

func devicesOf(tx Tx, r sealpost.Recipient) ([]deviceRecord, error) {
	list, _, err := load[recipientRecord](tx, recipientKey(r))
	if err != nil {
		return nil, err
	}
	devices := make([]deviceRecord, 0, len(list.Devices))
	for _, id := range list.Devices {
		d, found, err := load[deviceRecord](tx, deviceKey(id))
		if err != nil || !found {
			return nil, errors.Join(err, missing(!found, "a listed device"))
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// missing is a broken invariant of the store.
func missing(is bool, what string) error {
	if !is {
		return nil
	}
	return fmt.Errorf("the store lacks %s", what)
}

// An Invite is an invitation to enrol one device.
type Invite struct {
	ID        sealpost.EnrolmentID
	Recipient sealpost.Recipient
	Expires   sealpost.UnixMilli
	Token     InviteToken // to hand over by the sender's own authenticated channel
}

// Invite asks one device of a customer to enrol. The relay gets SHA-256 of the
// secret; the secret goes into the token only.
func (s *Sender) Invite(ctx context.Context, customer string) (Invite, error) {
	if customer == "" || len(customer) > CustomerMax {
		return Invite{}, fmt.Errorf("invite: the customer's id has %d bytes, want 1 to %d", len(customer), CustomerMax)
	}
	in := invite{URL: s.cfg.RelayURL, App: s.cfg.App, Recipient: s.Recipient(customer),
		Sender: s.cfg.Key.Public(), Relay: s.cfg.RelayKey, Log: s.cfg.LogKey}
	if _, err := io.ReadFull(s.cfg.Rand, in.Secret[:]); err != nil {
		return Invite{}, fmt.Errorf("invite: draw a secret: %w", err)
	}
	hash := sha256.Sum256(in.Secret[:])
	got, err := s.cfg.API.Invite(ctx, api.Invitation{Recipient: in.Recipient[:], SecretHash: hash[:]})
	if err != nil {
		return Invite{}, fmt.Errorf("invite: %w", err)
	}
	if len(got.Challenge) != len(in.Challenge) {
		return Invite{}, fmt.Errorf("invite: the relay's challenge has %d bytes", len(got.Challenge))
	}
	in.ID, in.Challenge, in.Expires = got.ID, [32]byte(got.Challenge), got.Expires
	err = s.shared.Update(func(tx Tx) error {
		if in.LeafAlg, err = leafAlgOf(tx, in.Recipient); err != nil {
			return err
		}
		return save(tx, inviteKey(in.ID), inviteRecord{Recipient: in.Recipient, Secret: in.Secret,
			Challenge: in.Challenge, Expires: in.Expires})
	})
	if err != nil {
		return Invite{}, fmt.Errorf("keep invitation: %w", err)
	}
	token, err := in.token()
	return Invite{in.ID, in.Recipient, in.Expires, token}, err
}

// leafAlgOf is the algorithm that a recipient's devices share, 0 where there is
// none in force: the first one decides the MLS suite of the group.
func leafAlgOf(tx Tx, r sealpost.Recipient) (sealpost.Alg, error) {
	devices, err := devicesOf(tx, r)
	if err != nil {
		return 0, err
	}
	for _, d := range devices {
		if d.inForce() {
			return d.Leaf.Alg(), nil
		}
	}
	return 0, nil
}

// An Approval is what became of one answer. Err is nil where the key event is
// signed, durable and promised.
type Approval struct {
	ID        sealpost.EnrolmentID
	Recipient sealpost.Recipient
	Device    sealpost.KeyID
	Assurance sealpost.Assurance
	Err       error
}

// Approve checks every answer that waits and signs a key event for each good
// one: the MAC under the secret that only its customer had, and both keys'
// signatures over the pair. A wrong answer is refused for good and kept.
func (s *Sender) Approve(ctx context.Context) ([]Approval, error) {
	answers, err := s.cfg.API.Answered(ctx, answersMax)
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
	}
	var out []Approval
	for _, v := range answers {
		a, known, err := s.approve(ctx, v)
		if err != nil {
			return out, fmt.Errorf("approve %v: %w", v.ID, err)
		}
		if known {
			out = append(out, a)
		}
	}
	return out, nil
}

// approve decides one answer, in this order: judge; sign and make durable; post.
// A crash before the post leaves a signed event that the next call posts.
func (s *Sender) approve(ctx context.Context, v api.EnrolmentView) (a Approval, known bool, err error) {
	var in inviteRecord
	err = s.shared.View(func(tx Tx) (err error) { in, known, err = load[inviteRecord](tx, inviteKey(v.ID)); return err })
	if err != nil || !known || in.State == inviteRefused {
		return a, false, err // another replica's, or refused before
	}
	defer s.lock(in.Recipient)()
	a = Approval{ID: v.ID, Recipient: in.Recipient, Assurance: v.Assurance}
	event, err := s.judgeAnswer(in, v)
	if err != nil {
		a.Err = fmt.Errorf("%w: %w", ErrAnswer, err)
		return a, true, s.refuseAnswer(v, a.Err)
	}
	a.Device = event.Key.ID()
	if err := s.signDevice(v.ID, event); err != nil {
		return a, true, err
	}
	a.Err = s.postDeviceEvent(ctx, a.Device)
	return a, true, nil
}

// judgeAnswer is the sender's check of an answer to its own invitation.
func (s *Sender) judgeAnswer(in inviteRecord, v api.EnrolmentView) (sealpost.KeyEvent, error) {
	key, err := sealpost.ParsePublicKey(v.Key)
	if err != nil {
		return sealpost.KeyEvent{}, err
	}
	leaf, err := sealpost.ParsePublicKey(v.Leaf)
	if err != nil {
		return sealpost.KeyEvent{}, err
	}
	event := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: s.cfg.App, Created: s.now(),
		Key: key, Challenge: in.Challenge[:], Device: &sealpost.DeviceKey{Recipient: in.Recipient, Leaf: leaf,
			ByKey: v.ByKey, ByLeaf: v.ByLeaf, Assurance: v.Assurance}}
	pair := sealpost.KeyPair(s.cfg.App, in.Recipient, key, leaf)
	if in.State == inviteOpen {
		mac := sealpost.EnrolMAC(in.Secret, in.Challenge, in.Recipient, key, leaf)
		if !hmac.Equal(mac[:], v.MAC) {
			return event, errors.New("the MAC is not by the holder of the enrolment secret")
		}
	}
	switch {
	case key.Verify(pair, v.ByKey) != nil:
		return event, errors.New("the signing key did not sign the pair")
	case leaf.Verify(pair, v.ByLeaf) != nil:
		return event, errors.New("the leaf key did not sign the pair")
	case v.Assurance != sealpost.AssuranceSoftware:
		return event, errors.New("an assurance above software without attestation evidence")
	}
	return event, nil
}

// refuseAnswer closes an invitation whose answer is wrong, and keeps the answer.
// One that was used stays used: a second answer cannot undo the first.
func (s *Sender) refuseAnswer(v api.EnrolmentView, cause error) error {
	answer, err := sealpost.Encode(v)
	if err != nil {
		return err
	}
	if err := recordFault(s.cfg.Store, Fault{Time: s.now(), What: cause.Error(), Parts: [][]byte{answer}}); err != nil {
		return err
	}
	return s.shared.Update(func(tx Tx) error {
		in, _, err := load[inviteRecord](tx, inviteKey(v.ID))
		if err != nil || in.State != inviteOpen {
			return err
		}
		in.State, in.Secret = inviteRefused, inviteSecret{}
		return save(tx, inviteKey(v.ID), in)
	})
}

// signDevice signs a device's key event once and makes it durable with the
// used invitation. The same answer again finds the event as it was signed.
func (s *Sender) signDevice(id sealpost.EnrolmentID, event sealpost.KeyEvent) error {
	device := event.Key.ID()
	return s.shared.Update(func(tx Tx) error {
		in, found, err := load[inviteRecord](tx, inviteKey(id))
		if err != nil || !found {
			return errors.Join(err, missing(!found, "the invitation"))
		}
		if _, enrolled, err := load[deviceRecord](tx, deviceKey(device)); err != nil || enrolled {
			return err
		}
		if in.State != inviteOpen {
			return fmt.Errorf("%w: the invitation was used by another device", ErrAnswer)
		}
		if alg, err := leafAlgOf(tx, in.Recipient); err != nil || (alg != 0 && alg != event.Device.Leaf.Alg()) {
			return errors.Join(err, fmt.Errorf("%w: the leaf key is %v; all devices of a recipient share %v", ErrAnswer, event.Device.Leaf.Alg(), alg))
		}
		list, _, err := load[recipientRecord](tx, recipientKey(in.Recipient))
		if err != nil {
			return err
		}
		if len(list.Devices) >= sealpost.DevicesMax {
			return fmt.Errorf("%w: the recipient has %d devices", ErrAnswer, len(list.Devices))
		}
		signed, err := sealpost.Sign(event, s.cfg.Key)
		if err != nil {
			return err
		}
		in.State, in.Secret = inviteUsed, inviteSecret{}
		list.Devices = append(list.Devices, device)
		return errors.Join(save(tx, inviteKey(id), in), save(tx, recipientKey(in.Recipient), list), tx.Put(eventOutboxKey(device), device[:]),
			save(tx, deviceKey(device), deviceRecord{Recipient: in.Recipient, Key: event.Key, Leaf: event.Device.Leaf,
				Assurance: event.Device.Assurance, Event: exhibitRecord{Statement: signed.Bytes()}}))
	})
}

// postDeviceEvent posts what the relay has not promised of a device's key
// events: the enrolment, then the revocation.
func (s *Sender) postDeviceEvent(ctx context.Context, id sealpost.KeyID) error {
	d, err := s.device(id)
	if err != nil {
		return err
	}
	for _, e := range []*exhibitRecord{&d.Event, d.Revocation} {
		if e == nil || len(e.Promise) != 0 {
			continue
		}
		if err := s.postEvent(ctx, e); err != nil {
			return err
		}
	}
	return s.shared.Update(func(tx Tx) error {
		now, _, err := load[deviceRecord](tx, deviceKey(id))
		if err != nil {
			return err
		}
		now.Event = d.Event
		if d.Revocation == nil && now.Revocation != nil {
			return save(tx, deviceKey(id), now) // revoked meanwhile: its turn comes
		}
		now.Revocation = d.Revocation
		return errors.Join(save(tx, deviceKey(id), now), tx.Delete(eventOutboxKey(id)))
	})
}

// flushEvents posts the key events that a crash or an error left behind.
func (s *Sender) flushEvents(ctx context.Context) error {
	var waiting []sealpost.KeyID
	err := s.shared.View(func(tx Tx) error {
		return tx.Scan("event-outbox/", func(_ string, value []byte) error {
			waiting = append(waiting, sealpost.KeyID(value))
			return nil
		})
	})
	faults := []error{err}
	for _, id := range waiting {
		faults = append(faults, s.postDeviceEvent(ctx, id))
	}
	return errors.Join(faults...)
}

func (s *Sender) device(id sealpost.KeyID) (d deviceRecord, err error) {
	return d, s.shared.View(func(tx Tx) error {
		var found bool
		if d, found, err = load[deviceRecord](tx, deviceKey(id)); err == nil && !found {
			err = ErrUnknownDevice
		}
		return err
	})
}

// postEvent posts one key event and fills in its promise.
func (s *Sender) postEvent(ctx context.Context, e *exhibitRecord) error {
	got, err := s.cfg.API.PostKeyEvent(ctx, e.Statement)
	if err != nil {
		return fmt.Errorf("post key event: %w", err)
	}
	p, err := checkPromise(s.cfg.RelayKey, s.log.origin(), got.Salt, got.Promise, e.Statement, 0)
	if err != nil {
		return s.fault(sealpost.MessageID{}, fmt.Errorf("post key event: %w", err), e.Statement, got.Salt, got.Promise)
	}
	e.Salt, e.Promise = p.Salt, p.Promise
	return nil
}

// EnrolSelf posts the sender's own key event, signed by that key: that it is
// the business's key is for each verifier to pin. The relay lets the first one
// pass only for keys that it was configured with.
func (s *Sender) EnrolSelf(ctx context.Context) error {
	var e exhibitRecord
	err := s.shared.Update(func(tx Tx) error {
		var found bool
		var err error
		if e, found, err = load[exhibitRecord](tx, ownEventKey); err != nil || found {
			return err
		}
		signed, err := sealpost.Sign(sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender,
			App: s.cfg.App, Created: s.now(), Key: s.cfg.Key.Public()}, s.cfg.Key)
		if err != nil {
			return err
		}
		e.Statement = signed.Bytes()
		return save(tx, ownEventKey, e)
	})
	if err != nil || len(e.Promise) != 0 {
		return err
	}
	if err := s.postEvent(ctx, &e); err != nil {
		return err
	}
	return s.shared.Update(func(tx Tx) error { return save(tx, ownEventKey, e) })
}

// Revoke ends a device's key. From here on nothing is sealed to it: the
// recipient's next message removes it from the group, and what is on its way to the
// other devices opens still. Another replica may seal what it is sealing at this
// moment. What is on its way to the device itself it fetches no more: where the same
// phone was enrolled again under other keys, revoke the old ones when it has
// everything that was sent to them, which its receipts show.
func (s *Sender) Revoke(ctx context.Context, id sealpost.KeyID) error {
	d, err := s.device(id)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	unlock := s.lock(d.Recipient)
	err = s.shared.Update(func(tx Tx) error {
		d, _, err := load[deviceRecord](tx, deviceKey(id))
		if err != nil || !d.inForce() {
			return err
		}
		signed, err := sealpost.Sign(sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice,
			App: s.cfg.App, Created: s.now(), Key: d.Key}, s.cfg.Key)
		if err != nil {
			return err
		}
		d.Revocation = &exhibitRecord{Statement: signed.Bytes()}
		return errors.Join(save(tx, deviceKey(id), d), tx.Put(eventOutboxKey(id), id[:]))
	})
	unlock()
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return s.postDeviceEvent(ctx, id)
}

// Devices lists the devices of a recipient that are in force.
func (s *Sender) Devices(r sealpost.Recipient) (ids []sealpost.KeyID, err error) {
	err = s.shared.View(func(tx Tx) error {
		devices, err := devicesOf(tx, r)
		for _, d := range devices {
			if d.inForce() {
				ids = append(ids, d.Key.ID())
			}
		}
		return err
	})
	return slices.Clip(ids), err
}
