package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Whose keys count. A key is in force when a checkpoint covers its enrol event
// and no revocation of it is held: nothing acts on a key event before it is
// logged, but for turning a revoked key away, which cannot be too early.

// senderKeys are the signing keys of one tenant.
type senderKeys map[sealpost.KeyID]sealpost.Device

func (r *Relay) senderKeys(ctx context.Context, app string) (senderKeys, error) {
	return r.senders.get(ctx, app, func(ctx context.Context, app string) (senderKeys, error) {
		list, err := r.cfg.Store.SenderKeys(ctx, app)
		if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
			return nil, fmt.Errorf("read sender keys: %w", err)
		}
		keys := make(senderKeys, len(list))
		for _, d := range list {
			keys[d.Key.ID()] = d
		}
		return keys, nil
	})
}

// senderKey finds a tenant's signing key in force.
func (r *Relay) senderKey(ctx context.Context, app string, id sealpost.KeyID) (sealpost.PublicKey, *api.Problem) {
	keys, err := r.senderKeys(ctx, app)
	if err != nil {
		return sealpost.PublicKey{}, r.answer("look up a sender key", err)
	}
	d, known := keys[id]
	return d.Key, r.inForce(d, known)
}

func (r *Relay) inForce(d sealpost.Device, known bool) *api.Problem {
	switch {
	case !known:
		return api.ErrUnknownKey
	case d.Revoked != 0:
		return api.ErrRevokedKey
	case d.Enrolled >= r.published.size():
		return notYet()
	}
	return nil
}

// recipientDevices are the devices of a recipient, revoked ones included.
func (r *Relay) recipientDevices(ctx context.Context, k recipientKey) ([]sealpost.Device, error) {
	return r.recipients.get(ctx, k, func(ctx context.Context, k recipientKey) ([]sealpost.Device, error) {
		devices, err := r.cfg.Store.Devices(ctx, k.app, k.recipient)
		if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
			return nil, fmt.Errorf("read devices: %w", err)
		}
		return devices, nil
	})
}

// device finds an enrolled device, in force or not.
func (r *Relay) device(ctx context.Context, id sealpost.KeyID) (sealpost.Device, error) {
	return r.devices.get(ctx, id, r.cfg.Store.Device)
}

// deviceInForce finds a device that may ask and sign.
func (r *Relay) deviceInForce(ctx context.Context, id sealpost.KeyID) (sealpost.Device, *api.Problem) {
	d, err := r.device(ctx, id)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return d, r.answer("look up a device", err)
	}
	return d, r.inForce(d, err == nil)
}

// forgetKey drops what a key event has changed from the caches.
func (r *Relay) forgetKey(app string, e *sealpost.KeyEvent) {
	if e.Subject == sealpost.SubjectSender {
		r.senders.forget(app)
		return
	}
	id := e.Key.ID()
	if e.Device != nil {
		r.recipients.forget(recipientKey{app, e.Device.Recipient})
	} else if d, err := r.device(context.Background(), id); err == nil {
		r.recipients.forget(recipientKey{app, d.Recipient})
	}
	r.devices.forget(id)
}
