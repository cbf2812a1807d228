package relay

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// PostKeyEvent holds a key event of the caller's tenant: its own signing keys
// and the devices of its recipients. It takes effect once a checkpoint covers
// it; a revocation already when it is held. The same bytes get the same answer.
func (r *Relay) PostKeyEvent(ctx context.Context, caller api.Caller, statement []byte) (api.Accepted, error) {
	now := r.cfg.Now()
	if p := r.overdue(now); p != nil {
		return api.Accepted{}, p
	}
	s, e, p := readKeyEvent(caller, statement)
	if p != nil {
		return api.Accepted{}, p
	}
	if rec, err := r.cfg.Store.RecordByHash(ctx, caller.App, sealpost.KindKeyEvent, s.Hash()); err == nil {
		return *accepted(&rec, true), nil
	} else if !errors.Is(err, sealpost.ErrNotFound) {
		return api.Accepted{}, r.answer("look up a key event", err)
	}
	key, p := r.checkKeyEvent(ctx, s, e)
	if p != nil {
		return api.Accepted{}, p
	}
	it := &item{hold: holdOf(e.App, sealpost.MessageID{}, s), promised: true, signer: s.KeyID(),
		check: checkOf(key, s)}
	it.hold.KeyEvent = &e
	if _, p := r.admission.enter([]*item{it}, now, false); p != nil {
		return api.Accepted{}, p
	}
	if err := r.pass(ctx, []*item{it}); err != nil {
		return api.Accepted{}, r.answer("post a key event", err)
	}
	if v := r.receiptVerdict(it); v.Problem != nil {
		return api.Accepted{}, v.Problem
	}
	return *accepted(&it.held.Record, it.held.Again), nil
}

func readKeyEvent(caller api.Caller, statement []byte) (s sealpost.Signed, e sealpost.KeyEvent, p *api.Problem) {
	if len(statement) > sealpost.StatementMax {
		return s, e, api.ErrTooLarge
	}
	s, err := sealpost.Parse(statement)
	if err == nil {
		e, err = s.KeyEvent()
	}
	switch {
	case err != nil:
		return s, e, Problem(err)
	case e.App != caller.App:
		return s, e, api.ErrWrongApp
	}
	return s, e, nil
}

// checkKeyEvent finds the key that must have signed, and holds the event against
// what it is about.
func (r *Relay) checkKeyEvent(ctx context.Context, s sealpost.Signed, e sealpost.KeyEvent) (sealpost.PublicKey, *api.Problem) {
	var p *api.Problem
	switch {
	case e.Subject == sealpost.SubjectSender && e.Event == sealpost.Enrol:
		return r.checkSenderEnrol(ctx, s, e)
	case e.Subject == sealpost.SubjectSender:
		p = r.checkSenderRevoke(ctx, e)
	case e.Event == sealpost.Enrol:
		p = r.checkDeviceEnrol(ctx, e)
	default:
		p = r.checkDeviceRevoke(ctx, e)
	}
	if p != nil {
		return sealpost.PublicKey{}, p
	}
	return r.senderKey(ctx, e.App, s.KeyID())
}

// checkSenderEnrol: a tenant's key enrols itself where the configuration names
// it, or is enrolled by one that is in force. No key is enrolled twice: what is
// revoked stays so.
func (r *Relay) checkSenderEnrol(ctx context.Context, s sealpost.Signed, e sealpost.KeyEvent) (sealpost.PublicKey, *api.Problem) {
	keys, err := r.senderKeys(ctx, e.App)
	if err != nil {
		return sealpost.PublicKey{}, r.answer("look up sender keys", err)
	}
	id := e.Key.ID()
	if _, known := keys[id]; known {
		return sealpost.PublicKey{}, api.ErrKeyEvent.With("the key was enrolled before")
	}
	if s.KeyID() != id {
		return r.senderKey(ctx, e.App, s.KeyID())
	}
	if !slices.Contains(r.cfg.Tenants[e.App], id) {
		return sealpost.PublicKey{}, api.ErrUnknownKey.With("the relay's configuration does not name the key")
	}
	return e.Key, nil
}

func (r *Relay) checkSenderRevoke(ctx context.Context, e sealpost.KeyEvent) *api.Problem {
	keys, err := r.senderKeys(ctx, e.App)
	if err != nil {
		return r.answer("look up sender keys", err)
	}
	d, known := keys[e.Key.ID()]
	return isRevocable(d, known)
}

func (r *Relay) checkDeviceRevoke(ctx context.Context, e sealpost.KeyEvent) *api.Problem {
	d, err := r.cfg.Store.Device(ctx, e.Key.ID())
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return r.answer("look up a device", err)
	}
	return isRevocable(d, err == nil && d.App == e.App)
}

func isRevocable(d sealpost.Device, known bool) *api.Problem {
	switch {
	case !known:
		return api.ErrKeyEvent.With("there is no such key to revoke")
	case d.Revoked != 0:
		return api.ErrKeyEvent.With("the key is revoked")
	}
	return nil
}

// checkDeviceEnrol wants the very keys and signatures with which the device
// answered its invitation, and that invitation's challenge.
func (r *Relay) checkDeviceEnrol(ctx context.Context, e sealpost.KeyEvent) *api.Problem {
	inv, err := r.cfg.Store.EnrolmentByKey(ctx, e.Key.ID())
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return api.ErrChallenge
	case err != nil:
		return r.answer("look up an enrolment", err)
	case inv.App != e.App || inv.Answer == nil || !bytes.Equal(inv.Challenge[:], e.Challenge):
		return api.ErrChallenge
	}
	a, d := inv.Answer.Device, e.Device
	if inv.Answer.Key != e.Key || inv.Recipient != d.Recipient || a.Leaf != d.Leaf || a.Assurance != d.Assurance ||
		!bytes.Equal(a.ByKey, d.ByKey) || !bytes.Equal(a.ByLeaf, d.ByLeaf) {
		return api.ErrKeyEvent.With("not what the device answered")
	}
	devices, err := r.recipientDevices(ctx, recipientKey{e.App, d.Recipient})
	if err != nil {
		return r.answer("look up a recipient", err)
	}
	inForce := 0
	for _, d := range devices {
		if d.Revoked == 0 {
			inForce++
		}
	}
	if inForce >= sealpost.DevicesMax {
		return api.ErrKeyEvent.With("a recipient has at most %d devices", sealpost.DevicesMax)
	}
	return nil
}

// KeyEvents gives the key events of a recipient's devices, oldest first.
func (r *Relay) KeyEvents(ctx context.Context, caller api.Caller, recipient sealpost.Recipient) ([]api.Exhibit, error) {
	records, err := r.cfg.Store.KeyEvents(ctx, caller.App, recipient)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("read key events", err)
	}
	return r.exhibits(ctx, records)
}
