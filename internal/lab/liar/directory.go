package liar

import (
	"context"
	"fmt"
	"sync"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// enrolGhost goes the whole way of an enrolment for the operator's own device.
// The real relay takes its answer, because it cannot check the MAC; the real
// store takes its key event, because the operator holds it there; from then on
// the real relay routes to it and takes its receipts.
func enrolGhost(o *operator, honest rooms) rooms {
	e := &ghostEnrolment{o: o, honest: honest, answered: map[sealpost.EnrolmentID]api.Invitation{}}
	honest.Directory = ghostDirectory{honest.Directory, e}
	honest.Intake = ghostReads{honest.Intake, e}
	honest.DeviceRoad = courier{honest.DeviceRoad, keepBack}
	return honest
}

type ghostEnrolment struct {
	o      *operator
	honest rooms

	mu       sync.Mutex
	answered map[sealpost.EnrolmentID]api.Invitation
}

type ghostDirectory struct {
	api.Directory
	*ghostEnrolment
}

// Invite answers the invitation before the customer's device can.
func (d ghostDirectory) Invite(ctx context.Context, caller api.Caller, in api.Invitation) (api.Invited, error) {
	invited, err := d.Directory.Invite(ctx, caller, in)
	if err != nil {
		return invited, err
	}
	a, err := d.o.ghost.answers(invited.ID, caller.App, in, [32]byte(invited.Challenge))
	if err == nil {
		err = d.honest.Answer(ctx, a)
	}
	if err != nil {
		return invited, fmt.Errorf("answer in the customer's place: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered[invited.ID] = in
	return invited, nil
}

// Answered shows the sender the ghost's answer, and then does not wait for the
// key event: it signs one with the only key that it has.
func (d ghostDirectory) Answered(ctx context.Context, caller api.Caller, limit int) ([]api.EnrolmentView, error) {
	list, err := d.Directory.Answered(ctx, caller, limit)
	for _, v := range list {
		d.mu.Lock()
		in, ours := d.answered[v.ID]
		delete(d.answered, v.ID)
		d.mu.Unlock()
		if ours {
			if err := d.enrol(ctx, caller.App, in, v); err != nil {
				return nil, fmt.Errorf("enrol in the sender's place: %w", err)
			}
		}
	}
	return list, err
}

func (d ghostDirectory) enrol(ctx context.Context, app string, in api.Invitation, v api.EnrolmentView) error {
	event := sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: app, Created: d.o.time(),
		Key: d.o.ghost.key.Public(), Challenge: v.Challenge, Device: &sealpost.DeviceKey{Recipient: sealpost.Recipient(in.Recipient),
			Leaf: d.o.ghost.leaf.Public(), ByKey: v.ByKey, ByLeaf: v.ByLeaf, Assurance: v.Assurance}}
	held, err := d.o.hold(ctx, app, sealpost.MessageID{}, event, d.o.Statement)
	if err != nil {
		return err
	}
	return d.o.Logged(ctx, held.Record.Seq+1)
}

type ghostReads struct {
	api.Intake
	*ghostEnrolment
}

// Submit has the ghost say at once that it opened the message.
func (r ghostReads) Submit(ctx context.Context, caller api.Caller, batch []sealpost.Sealed) []api.Verdict {
	verdicts := r.Intake.Submit(ctx, caller, batch)
	for i, s := range batch {
		if verdicts[i].Accepted == nil {
			continue
		}
		var receipts [][]byte
		for _, level := range []sealpost.Level{sealpost.HandedOver, sealpost.Decrypted} {
			signed, err := sealpost.Sign(receiptOf(s, level, r.o.ghost.id(), r.o.time()), r.o.ghost.key)
			if err != nil {
				return failed(verdicts)
			}
			receipts = append(receipts, signed.Bytes())
		}
		for _, v := range r.honest.PostReceipts(ctx, r.o.ghost.id(), receipts) {
			if v.Problem != nil {
				return failed(verdicts)
			}
		}
	}
	return verdicts
}

// failed shows that a lie did not come about as it should: nothing that is
// tested under it then passes for the wrong reason.
func failed(verdicts []api.Verdict) []api.Verdict {
	for i := range verdicts {
		verdicts[i] = api.Verdict{Problem: api.ErrInternal}
	}
	return verdicts
}

func swapPackage(o *operator, honest rooms) rooms {
	honest.Directory = swappedPackages{honest.Directory, o}
	return honest
}

type swappedPackages struct {
	api.Directory
	o *operator
}

// ClaimPackages takes the device's KeyPackage and hands out one of the ghost's,
// with the device's name in it.
func (d swappedPackages) ClaimPackages(ctx context.Context, caller api.Caller, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]api.ClaimedPackage, error) {
	list, err := d.Directory.ClaimPackages(ctx, caller, recipient, devices)
	for i := range list {
		if list[i].KeyPackage, err = d.o.ghost.pack(list[i].Device); err != nil {
			return nil, err
		}
	}
	return list, err
}
