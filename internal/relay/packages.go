package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
// order; the last resort where no other is left. A device that has not even that is
// left out of the answer; where all are, the answer is ErrNoPackage. A claimed
// KeyPackage is gone, whatever becomes of the answer; the last resort is not.
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
	now := r.cfg.Now()
	for _, id := range devices {
		c, err := r.cfg.Store.ClaimPackage(ctx, caller.App, id)
		switch {
		case errors.Is(err, sealpost.ErrNotFound):
		case err != nil:
			return nil, r.answer("claim a KeyPackage", err)
		default:
			claimed = append(claimed, api.ClaimedPackage{Device: id, KeyPackage: c.KeyPackage, Left: c.Left, LastResort: c.LastResort})
			r.cfg.Metrics.Claimed(c.Left, c.LastResort)
			r.pools.note(c, now)
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

// poolAlarmEvery is the time between two lines of the log about low pools.
const poolAlarmEvery = time.Minute

// A poolAlarm tells the operator that pools of KeyPackages run low before one is
// empty: how many claims left few, and how many got the last resort. Devices
// refill their own pools, so many of either mean that devices cannot, or that
// somebody claims what they stock.
type poolAlarm struct {
	logger *slog.Logger

	mu        sync.Mutex
	low, last int
	said      time.Time
}

func (a *poolAlarm) note(c sealpost.ClaimedPackage, now time.Time) {
	if c.Left >= api.PoolLow {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.low++; c.LastResort {
		a.last++
	}
	if now.Sub(a.said) < poolAlarmEvery {
		return
	}
	a.logger.Warn("pools of KeyPackages run low", "claims", a.low, "last_resorts", a.last, "low", api.PoolLow)
	a.low, a.last, a.said = 0, 0, now
}
