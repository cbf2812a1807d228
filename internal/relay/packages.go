package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// How fast KeyPackages may be claimed. A sender claims one for each new device;
// whoever claims more only empties pools.
const (
	claimBurst       = 4096
	claimEvery       = time.Second / 500 // of one tenant
	deviceClaimBurst = 8
	deviceClaimEvery = 30 * time.Second // of one device
)

// ClaimPackages takes one KeyPackage for each named device of the recipient, in
// order. A device whose pool is empty is left out of the answer; where all are,
// the answer is ErrNoPackage. A claimed KeyPackage is gone, whatever becomes of
// the answer.
func (r *Relay) ClaimPackages(ctx context.Context, caller api.Caller, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]api.ClaimedPackage, error) {
	if len(devices) == 0 || len(devices) > sealpost.DevicesMax {
		return nil, api.ErrMalformed.With("devices: want 1 to %d", sealpost.DevicesMax)
	}
	seen := map[sealpost.KeyID]bool{}
	for i, id := range devices {
		if seen[id] {
			return nil, api.ErrMalformed.With("devices: one stands twice").At(fmt.Sprintf("/devices/%d", i))
		}
		d, err := r.device(ctx, id)
		switch {
		case errors.Is(err, sealpost.ErrNotFound):
			return nil, api.ErrNotFound
		case err != nil:
			return nil, r.answer("look up a device", err)
		case d.App != caller.App || d.Recipient != recipient: // whatever has become of another's
			return nil, api.ErrNotFound
		}
		if p := r.inForce(d, true); p != nil {
			return nil, p
		}
		seen[id] = true
	}
	if p := r.throttleClaims(caller.App, devices); p != nil {
		return nil, p
	}
	var claimed []api.ClaimedPackage
	for _, id := range devices {
		pkg, left, err := r.cfg.Store.ClaimPackage(ctx, caller.App, id)
		switch {
		case errors.Is(err, sealpost.ErrNotFound):
		case err != nil:
			return nil, r.answer("claim a KeyPackage", err)
		default:
			claimed = append(claimed, api.ClaimedPackage{Device: id, KeyPackage: pkg, Left: left})
		}
	}
	if len(claimed) == 0 {
		return nil, api.ErrNoPackage
	}
	return claimed, nil
}

func (r *Relay) throttleClaims(app string, devices []sealpost.KeyID) *api.Problem {
	now := r.cfg.Now()
	if wait := r.claims.take(app, len(devices), now); wait > 0 {
		return api.ErrBusy.With("too many KeyPackages claimed").After(wait)
	}
	for _, id := range devices {
		if wait := r.deviceClaim.take(id, 1, now); wait > 0 {
			return api.ErrBusy.With("too many KeyPackages of one device claimed").After(wait)
		}
	}
	return nil
}
