package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// Enrolment, the carrying part: the relay passes on an invitation's answer and
// can check nothing of it but its form (DESIGN section 11).

// Invite makes a single-use invitation for one device of a recipient.
func (r *Relay) Invite(ctx context.Context, caller api.Caller, in api.Invitation) (api.Invited, error) {
	if len(in.Recipient) != len(sealpost.Recipient{}) {
		return api.Invited{}, api.ErrMalformed.With("recipient: want 32 bytes").At("/recipient")
	}
	if len(in.SecretHash) != len(sealpost.Hash{}) {
		return api.Invited{}, api.ErrMalformed.With("secret hash: want 32 bytes").At("/secret_hash")
	}
	e := sealpost.Enrolment{App: caller.App, Recipient: sealpost.Recipient(in.Recipient),
		SecretHash: sealpost.Hash(in.SecretHash), Expires: r.now().Add(r.cfg.InviteFor)}
	var err error
	if e.ID, err = sealpost.NewEnrolmentID(r.now(), r.cfg.Rand); err == nil {
		_, err = io.ReadFull(r.cfg.Rand, e.Challenge[:])
	}
	if err == nil {
		err = r.cfg.Store.PutEnrolment(ctx, e)
	}
	if err != nil {
		return api.Invited{}, r.answer("invite a device", err)
	}
	return api.Invited{ID: e.ID, Challenge: e.Challenge[:], Expires: e.Expires}, nil
}

// Answered lists the caller's invitations that a device has answered and that
// wait for its signature.
func (r *Relay) Answered(ctx context.Context, caller api.Caller, limit int) ([]api.EnrolmentView, error) {
	list, err := r.cfg.Store.Answered(ctx, caller.App, pageOf(limit))
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("list enrolments", err)
	}
	views := make([]api.EnrolmentView, 0, len(list))
	for _, e := range list {
		if e.Answer == nil {
			return nil, r.answer("list enrolments", errors.New("the store lists one without an answer"))
		}
		a := e.Answer
		views = append(views, api.EnrolmentView{ID: e.ID, Recipient: e.Recipient[:], Challenge: e.Challenge[:],
			Key: a.Key.COSE(), Leaf: a.Device.Leaf.COSE(), ByKey: a.Device.ByKey, ByLeaf: a.Device.ByLeaf,
			Assurance: a.Device.Assurance, MAC: a.MAC[:]})
	}
	return views, nil
}

// Bounds of what a device may leave.
const (
	packageMax   = 8 << 10 // bytes of one KeyPackage
	endpointsMax = 8
)

// Answer takes a device's answer to an invitation, once. Its request is signed
// by the key that it presents, which the API's server end checks.
func (r *Relay) Answer(ctx context.Context, in api.Answer) error {
	e, err := r.cfg.Store.Enrolment(ctx, in.ID)
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return api.ErrChallenge
	case err != nil:
		return r.answer("look up an invitation", err)
	case e.Expires <= r.now():
		return api.ErrChallenge
	}
	a, p := readAnswer(e, in)
	if p != nil {
		return p
	}
	if p := r.isNewKey(ctx, e, a.Key.ID()); p != nil {
		return p
	}
	switch err := r.cfg.Store.AnswerEnrolment(ctx, in.ID, a); {
	case errors.Is(err, sealpost.ErrConflict) && sameAnswer(e.Answer, a):
		return nil // the device did not hear that it was taken
	case errors.Is(err, sealpost.ErrConflict), errors.Is(err, sealpost.ErrNotFound):
		return api.ErrChallenge
	case err != nil:
		return r.answer("answer an invitation", err)
	}
	return nil
}

func sameAnswer(had *sealpost.EnrolmentAnswer, a sealpost.EnrolmentAnswer) bool {
	return had != nil && had.Key == a.Key && had.Device.Leaf == a.Device.Leaf && had.MAC == a.MAC
}

// isNewKey refuses a key that another enrolment has: a device belongs to one
// recipient of one tenant.
func (r *Relay) isNewKey(ctx context.Context, e sealpost.Enrolment, key sealpost.KeyID) *api.Problem {
	if _, err := r.cfg.Store.Device(ctx, key); !errors.Is(err, sealpost.ErrNotFound) {
		if err != nil {
			return r.answer("look up a device", err)
		}
		return api.ErrKeyEvent.With("the key is enrolled")
	}
	other, err := r.cfg.Store.EnrolmentByKey(ctx, key)
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return nil
	case err != nil:
		return r.answer("look up an enrolment", err)
	case other.ID != e.ID:
		return api.ErrKeyEvent.With("the key answers another invitation")
	}
	return nil
}

// readAnswer checks the form: keys, their signatures over each other, endpoints.
func readAnswer(e sealpost.Enrolment, in api.Answer) (a sealpost.EnrolmentAnswer, p *api.Problem) {
	var err error
	if a.Key, err = sealpost.ParsePublicKey(in.Key); err != nil {
		return a, api.ErrMalformed.With("key: not a COSE_Key of ours").At("/key")
	}
	a.Device = sealpost.DeviceKey{Recipient: e.Recipient, ByKey: in.ByKey, ByLeaf: in.ByLeaf, Assurance: in.Assurance}
	if a.Device.Leaf, err = sealpost.ParsePublicKey(in.Leaf); err != nil {
		return a, api.ErrMalformed.With("leaf: not a COSE_Key of ours").At("/leaf")
	}
	if len(in.MAC) != len(a.MAC) {
		return a, api.ErrMalformed.With("MAC: want 32 bytes").At("/mac")
	}
	a.MAC = sealpost.Hash(in.MAC)
	if in.Assurance != sealpost.AssuranceSoftware {
		return a, api.ErrMalformed.With("assurance: only software keys can be enrolled without evidence").At("/assurance")
	}
	pair := sealpost.KeyPair(e.App, e.Recipient, a.Key, a.Device.Leaf)
	if a.Key.Verify(pair, in.ByKey) != nil || a.Device.Leaf.Verify(pair, in.ByLeaf) != nil {
		return a, api.ErrSignature
	}
	if a.Endpoints, p = readEndpoints(in.Endpoints); p != nil {
		return a, p
	}
	a.KeyPackages, a.LastResort, p = readPackages(bytesOf(in.KeyPackages))
	return a, p
}

func bytesOf(in []api.Bytes) [][]byte {
	out := make([][]byte, len(in))
	for i, b := range in {
		out[i] = b
	}
	return out
}

// readPackages tells the last resort from those that are claimed once (RFC 9420
// 16.8). It refuses nothing else: what a KeyPackage is worth, the sender judges.
func readPackages(in [][]byte) (packages [][]byte, lastResort []byte, p *api.Problem) {
	if len(in) > api.BatchMax {
		return nil, nil, api.ErrTooLarge.With("at most %d KeyPackages in one request", api.BatchMax)
	}
	for i, pkg := range in {
		if len(pkg) == 0 || len(pkg) > packageMax {
			return nil, nil, api.ErrTooLarge.With("a KeyPackage has 1 to %d bytes", packageMax)
		}
		info, err := mls.ParseKeyPackage(pkg)
		switch {
		case err != nil || !info.LastResort:
			packages = append(packages, pkg)
		case lastResort != nil:
			return nil, nil, api.ErrMalformed.With("a device has one KeyPackage of last resort").At(fmt.Sprintf("/key_packages/%d", i))
		default:
			lastResort = pkg
		}
	}
	return packages, lastResort, nil
}

func readEndpoints(in []api.DeviceEndpoint) ([]sealpost.Endpoint, *api.Problem) {
	if len(in) > endpointsMax {
		return nil, api.ErrTooLarge.With("at most %d endpoints", endpointsMax)
	}
	out := make([]sealpost.Endpoint, len(in))
	for i, e := range in {
		fcm := e.Carrier == sealpost.FCM && (e.Kind == sealpost.EndpointFCMFID || e.Kind == sealpost.EndpointFCMToken)
		if !fcm {
			return nil, api.ErrMalformed.With("an endpoint's carrier and kind do not go together").At(fmt.Sprintf("/endpoints/%d", i))
		}
		v, err := sealpost.NewEndpoint(e.Carrier, e.Kind, e.Value)
		if err != nil {
			return nil, api.ErrMalformed.With("an endpoint's value is empty or too long").At(fmt.Sprintf("/endpoints/%d/value", i))
		}
		out[i] = v
	}
	return out, nil
}
