package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// senderFace is the relay as a sender sees it.
type senderFace struct{ *memoryRelay }

func (r senderFace) Submit(ctx context.Context, batch []sealpost.Sealed) []api.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]api.Verdict, len(batch))
	for i, s := range batch {
		out[i] = r.submit(ctx, s)
	}
	return out
}

func (r senderFace) submit(ctx context.Context, s sealpost.Sealed) api.Verdict {
	if s.IsZero() {
		return api.Verdict{Problem: api.ErrMalformed}
	}
	if err := r.call(ctx, "Submit", s.Bytes()); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	h, again := r.held(s.Statement().Bytes()), true
	if h == nil {
		if p := r.check(s); p != nil {
			return api.Verdict{Problem: p}
		}
		c := s.Commitment()
		h, again = r.hold(s.Statement(), c.ID, c.Recipient, c.Expires.Add(sealpost.OutcomeGrace)), false
		r.messages[c.ID] = &heldMessage{seq: r.seqOf(h), sealed: s, to: r.devicesOf(c.Recipient)}
	}
	return r.verdict("Submit", h, again)
}

// check is what a relay checks of a submission, in its order.
func (r senderFace) check(s sealpost.Sealed) *api.Problem {
	c, now := s.Commitment(), r.now()
	switch {
	case c.App != app:
		return api.ErrWrongApp
	case s.Statement().KeyID() != r.sender.ID():
		return api.ErrUnknownKey
	case s.Statement().Verify(r.sender) != nil:
		return r.misused(api.ErrSignature, "a commitment that its sender did not sign")
	case c.Created < now.Add(-sealpost.FreshnessWindow), c.Created > now.Add(sealpost.FreshnessWindow):
		return api.ErrStale
	case c.Expires <= now:
		return api.ErrExpired
	case len(r.devicesOf(c.Recipient)) == 0:
		return api.ErrRecipient
	case !r.log.had(c.NotBefore):
		return api.ErrHead
	case r.epochTaken(s.Blob()):
		return api.ErrEpochTaken
	case r.messages[c.ID] != nil:
		return r.misused(api.ErrConflict, "message %v was posted with two contents", c.ID)
	}
	return nil
}

// epochTaken remembers the commits of an envelope, unless another stands in the
// place of one.
func (r *memoryRelay) epochTaken(blob []byte) bool {
	e, err := sealpost.ParseEnvelope(blob)
	if err != nil {
		r.t.Errorf("an envelope that cannot be read: %v", err)
		return false
	}
	took := map[string]string{}
	for _, c := range e.Commits {
		group, epoch, err := mlsAddress(c)
		if err != nil {
			r.t.Errorf("a commit that cannot be read: %v", err)
			return false
		}
		place := fmt.Sprintf("%x/%d", group, epoch)
		for _, known := range []map[string]string{r.epochs, took} {
			if before, taken := known[place]; taken && before != string(c) {
				return true
			}
		}
		took[place] = string(c)
	}
	maps.Copy(r.epochs, took)
	return false
}

// devicesOf are a recipient's devices in force.
func (r *memoryRelay) devicesOf(recipient sealpost.Recipient) (ids []sealpost.KeyID) {
	for id, d := range r.devices {
		if d.inForce() && d.event.Device.Recipient == recipient {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r senderFace) Evidence(ctx context.Context, id sealpost.MessageID) ([]api.Exhibit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Evidence", id[:]); err != nil {
		return nil, err
	}
	m := r.messages[id]
	if m == nil {
		return nil, api.ErrNotFound
	}
	var out []api.Exhibit
	for _, h := range r.records {
		if h.id == id || (h.kind == sealpost.KindKeyEvent && (h.recipient == m.sealed.Commitment().Recipient || h.recipient == sealpost.Recipient{})) {
			out = append(out, r.exhibit(h))
		}
	}
	if r.bend != nil {
		r.bend("Evidence", &out)
	}
	return out, nil
}

func (r senderFace) Invite(ctx context.Context, in api.Invitation) (api.Invited, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Invite", in.Recipient, in.SecretHash); err != nil {
		return api.Invited{}, err
	}
	if len(in.Recipient) != len(sealpost.Recipient{}) || len(in.SecretHash) != len(sealpost.Hash{}) {
		return api.Invited{}, api.ErrMalformed
	}
	e := &sealpost.Enrolment{App: app, Recipient: sealpost.Recipient(in.Recipient), SecretHash: sealpost.Hash(in.SecretHash), Expires: r.now().Add(time.Hour)}
	e.ID, _ = sealpost.NewEnrolmentID(r.now(), rand.Reader)
	_, _ = rand.Read(e.Challenge[:])
	r.enrolments = append(r.enrolments, e)
	return api.Invited{ID: e.ID, Challenge: e.Challenge[:], Expires: e.Expires}, nil
}

func (r senderFace) Answered(ctx context.Context, limit int) ([]api.EnrolmentView, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Answered"); err != nil {
		return nil, err
	}
	var out []api.EnrolmentView
	for _, e := range r.enrolments {
		if e.Answer == nil || r.devices[e.Answer.Key.ID()].event.Device != nil || len(out) == pageOf(limit) {
			continue
		}
		a := e.Answer
		out = append(out, api.EnrolmentView{ID: e.ID, Recipient: e.Recipient[:], Challenge: e.Challenge[:], Key: a.Key.COSE(),
			Leaf: a.Device.Leaf.COSE(), ByKey: a.Device.ByKey, ByLeaf: a.Device.ByLeaf, Assurance: a.Device.Assurance, MAC: a.MAC[:]})
	}
	if r.bend != nil {
		r.bend("Answered", &out)
	}
	return out, nil
}

func pageOf(limit int) int {
	if limit <= 0 {
		return api.PageDefault
	}
	return min(limit, api.PageMax)
}

func (r senderFace) PostKeyEvent(ctx context.Context, statement []byte) (api.Accepted, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "PostKeyEvent", statement); err != nil {
		return api.Accepted{}, err
	}
	h, again := r.held(statement), true
	if h == nil {
		var p *api.Problem
		if h, p = r.keyEvent(statement); p != nil {
			return api.Accepted{}, p
		}
		again = false
	}
	if err := r.done("PostKeyEvent"); err != nil {
		return api.Accepted{}, err
	}
	return *accept(h, again), nil
}

// keyEvent checks a key event, holds it and lets it take effect.
func (r senderFace) keyEvent(statement []byte) (*heldRecord, *api.Problem) {
	signed, err := sealpost.Parse(statement)
	if err != nil {
		return nil, api.ProblemOf(err)
	}
	e, err := signed.KeyEvent()
	if err != nil {
		return nil, api.ProblemOf(err)
	}
	d := r.devices[e.Key.ID()]
	isDevice, enrols := e.Subject == sealpost.SubjectDevice, e.Event == sealpost.Enrol
	switch {
	case e.App != app:
		return nil, api.ErrWrongApp
	case isDevice && enrols && (d == nil || d.event.Device != nil || !bytes.Equal(d.challenge[:], e.Challenge)):
		return nil, api.ErrChallenge
	case isDevice && !enrols && !d.inForce():
		return nil, api.ErrKeyEvent
	case signed.KeyID() != r.sender.ID():
		return nil, api.ErrUnknownKey
	case signed.Verify(r.sender) != nil:
		return nil, api.ErrSignature
	}
	var recipient sealpost.Recipient
	switch {
	case isDevice && enrols:
		recipient, d.event, d.eventSeq = e.Device.Recipient, e, len(r.records)
	case isDevice:
		recipient, d.revoked = d.event.Device.Recipient, true
	}
	return r.hold(signed, sealpost.MessageID{}, recipient, 0), nil
}

func (r senderFace) ClaimPackages(ctx context.Context, recipient sealpost.Recipient, ids []sealpost.KeyID) ([]api.ClaimedPackage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "ClaimPackages", recipient[:]); err != nil {
		return nil, err
	}
	r.claims += len(ids)
	if len(ids) == 0 || len(ids) > sealpost.DevicesMax {
		return nil, api.ErrMalformed
	}
	for i, id := range ids {
		d := r.devices[id]
		switch {
		case slices.Contains(ids[:i], id):
			return nil, api.ErrMalformed
		case d == nil || d.event.Device == nil || d.event.Device.Recipient != recipient:
			return nil, api.ErrNotFound
		case d.revoked:
			return nil, api.ErrRevokedKey
		}
	}
	var out []api.ClaimedPackage
	for _, id := range ids {
		switch d := r.devices[id]; {
		case len(d.packages) > 0:
			left := len(d.packages) - 1
			out = append(out, api.ClaimedPackage{Device: id, KeyPackage: d.packages[left], Left: left})
			d.packages = d.packages[:left:left]
		case d.resort != nil:
			out = append(out, api.ClaimedPackage{Device: id, KeyPackage: d.resort, LastResort: true})
		}
	}
	if len(out) == 0 {
		return nil, api.ErrNoPackage
	}
	if r.bend != nil {
		r.bend("ClaimPackages", &out)
	}
	return out, nil
}
