package relay

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

const apiKeysMax = 256 // of one tenant, in force

var scopeNames = []struct {
	scope sealpost.Scope
	name  string
}{
	{sealpost.ScopeSend, "send"}, {sealpost.ScopeRead, "read"},
	{sealpost.ScopeEnrol, "enrol"}, {sealpost.ScopeManage, "manage"},
}

const allScopes = sealpost.ScopeSend | sealpost.ScopeRead | sealpost.ScopeEnrol | sealpost.ScopeManage

// MakeKey makes an API key of the caller's tenant. No key may do more than the
// one that made it.
func (r *Relay) MakeKey(ctx context.Context, caller api.Caller, name string, scopes sealpost.Scope) (api.KeyView, error) {
	switch {
	case !sealpost.IsName(name) || strings.ContainsRune(name, '/'):
		return api.KeyView{}, api.ErrMalformed.With("name: 1 to %d printable characters, no space or slash", sealpost.NameMax).At("/name")
	case scopes == 0 || scopes&^allScopes != 0:
		return api.KeyView{}, api.ErrMalformed.With("scopes: want some of send, read, enrol, manage").At("/scopes")
	case scopes&^caller.Scopes != 0:
		return api.KeyView{}, api.ErrForbidden
	}
	had, err := r.listKeys(ctx, caller.App)
	if err != nil {
		return api.KeyView{}, r.answer("list API keys", err)
	}
	inForce := 0
	for _, k := range had {
		if k.Name == name {
			return api.KeyView{}, api.ErrConflict.With("the name is taken")
		}
		if k.Revoked == 0 {
			inForce++
		}
	}
	if inForce >= apiKeysMax {
		return api.KeyView{}, api.ErrConflict.With("at most %d API keys", apiKeysMax)
	}
	secret, hash, err := api.NewSecret(r.cfg.Rand)
	k := sealpost.APIKey{Name: name, App: caller.App, Hash: hash, Scopes: scopes, Created: r.now()}
	if err == nil {
		err = r.cfg.Store.PutAPIKey(ctx, k)
	}
	if err != nil {
		return api.KeyView{}, r.answer("make an API key", err)
	}
	v := keyView(k)
	v.Secret = secret
	return v, nil
}

func (r *Relay) listKeys(ctx context.Context, app string) ([]sealpost.APIKey, error) {
	list, err := r.cfg.Store.APIKeys(ctx, app)
	if errors.Is(err, sealpost.ErrNotFound) {
		return nil, nil
	}
	return list, err
}

// ListKeys lists the caller's tenant's API keys, revoked ones included.
func (r *Relay) ListKeys(ctx context.Context, caller api.Caller) ([]api.KeyView, error) {
	list, err := r.listKeys(ctx, caller.App)
	if err != nil {
		return nil, r.answer("list API keys", err)
	}
	views := make([]api.KeyView, len(list))
	for i, k := range list {
		views[i] = keyView(k)
	}
	return views, nil
}

func keyView(k sealpost.APIKey) api.KeyView {
	v := api.KeyView{Name: k.Name, Created: k.Created, Revoked: k.Revoked != 0}
	for _, s := range scopeNames {
		if k.Scopes&s.scope != 0 {
			v.Scopes = append(v.Scopes, s.name)
		}
	}
	return v
}

// RevokeKey revokes an API key. It stops working at once here, and within a few
// seconds wherever its look-up is cached.
func (r *Relay) RevokeKey(ctx context.Context, caller api.Caller, name string) error {
	list, err := r.listKeys(ctx, caller.App)
	if err != nil {
		return r.answer("list API keys", err)
	}
	i := slices.IndexFunc(list, func(k sealpost.APIKey) bool { return k.Name == name })
	if i < 0 {
		return api.ErrNotFound
	}
	if list[i].Revoked != 0 {
		return nil
	}
	if err := r.cfg.Store.RevokeAPIKey(ctx, caller.App, name, r.now()); err != nil {
		return r.answer("revoke an API key", err)
	}
	r.apiKeys.forget(list[i].Hash)
	return nil
}
