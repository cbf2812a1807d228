package relay

import (
	"context"
	"errors"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// APIKey finds the caller of an API key by the hash of its secret.
func (r *Relay) APIKey(ctx context.Context, hash sealpost.Hash) (api.Caller, error) {
	k, err := r.apiKeys.get(ctx, hash, r.cfg.Store.APIKey)
	switch {
	case errors.Is(err, sealpost.ErrNotFound), err == nil && k.Revoked != 0:
		return api.Caller{}, api.ErrUnauthenticated
	case err != nil:
		return api.Caller{}, r.answer("look up an API key", err)
	}
	return api.Caller{App: k.App, Scopes: k.Scopes}, nil
}

// Device finds the key that signs a device's requests. One that has answered an
// invitation and is not enrolled yet is found too, so that it can ask for its
// enrolment; every other call looks for itself whether the key is in force.
func (r *Relay) Device(ctx context.Context, key sealpost.KeyID) (sealpost.Device, error) {
	d, err := r.device(ctx, key)
	switch {
	case err == nil && d.Revoked != 0:
		return sealpost.Device{}, api.ErrUnauthenticated
	case err == nil:
		return d, nil
	case !errors.Is(err, sealpost.ErrNotFound):
		return sealpost.Device{}, r.answer("look up a device", err)
	}
	e, err := r.cfg.Store.EnrolmentByKey(ctx, key)
	switch {
	case errors.Is(err, sealpost.ErrNotFound), err == nil && e.Answer == nil:
		return sealpost.Device{}, api.ErrUnauthenticated
	case err != nil:
		return sealpost.Device{}, r.answer("look up an enrolment", err)
	}
	a := e.Answer
	return sealpost.Device{App: e.App, Recipient: e.Recipient, Key: a.Key, Leaf: a.Device.Leaf, Assurance: a.Device.Assurance}, nil
}

// Fresh remembers a request's nonce durably and says whether it was new.
func (r *Relay) Fresh(ctx context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (bool, error) {
	fresh, err := r.cfg.Store.Nonce(ctx, key, nonce, until)
	if err != nil {
		return false, r.answer("remember a nonce", err)
	}
	return fresh, nil
}
