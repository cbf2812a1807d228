package store

import (
	"context"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A sealedAPIKey is what an API key's row seals.
type sealedAPIKey struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	App     string
	Hash    sealpost.Hash
	Scopes  sealpost.Scope
	Created int64
}

// PutAPIKey keeps a new API key. Its hash must be new, and its name within the
// tenant, whether or not the key of that name is revoked.
func (db *DB) PutAPIKey(ctx context.Context, k sealpost.APIKey) error {
	if err := checkApp(k.App); err != nil || !sealpost.IsName(k.Name) {
		return fmt.Errorf("put API key: %w: app or name", sealpost.ErrMalformed)
	}
	plain, err := sealpost.Encode(sealedAPIKey{Name: k.Name, App: k.App, Hash: k.Hash, Scopes: k.Scopes, Created: int64(k.Created)})
	if err != nil {
		return fmt.Errorf("put API key: %w", err)
	}
	return db.write(ctx, "put API key", func(g *group) error {
		app, err := g.appID(k.App)
		if err != nil {
			return err
		}
		count, _, err := g.c.one(`SELECT count(*) FROM api_keys WHERE app = ?`, app)
		if err != nil {
			return err
		}
		if count.int(0) >= APIKeysMax {
			return ErrFull
		}
		tag := g.vault.tag(tagAPIKey, k.Hash[:])
		n, err := g.c.exec(`INSERT INTO api_keys (tag, app, name, sealed, revoked) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			tag, app, g.vault.tag(tagAPIName, []byte(k.App), []byte(k.Name)), g.vault.seal(tagAPIKey, tag, plain), int64(k.Revoked))
		if err == nil && n == 0 {
			err = sealpost.ErrConflict
		}
		return err
	})
}

func (v *vault) readAPIKey(r row) (k sealpost.APIKey, err error) {
	plain, err := v.open(tagAPIKey, r.bytes(0), r.bytes(1))
	if err != nil {
		return k, err
	}
	var s sealedAPIKey
	err = sealpost.Decode(plain, &s)
	return sealpost.APIKey{Name: s.Name, App: s.App, Hash: s.Hash, Scopes: s.Scopes, Created: sealpost.UnixMilli(s.Created), Revoked: sealpost.UnixMilli(r.int(2))}, err
}

// APIKey finds a key by the hash of its secret, revoked or not.
func (db *DB) APIKey(ctx context.Context, hash sealpost.Hash) (k sealpost.APIKey, err error) {
	err = db.read(ctx, "API key", func(c *conn) error {
		r, found, err := c.one(`SELECT tag, sealed, revoked FROM api_keys WHERE tag = ?`, db.vault.tag(tagAPIKey, hash[:]))
		if err == nil && !found {
			err = sealpost.ErrNotFound
		}
		if err == nil {
			k, err = db.vault.readAPIKey(r)
		}
		return err
	})
	return k, err
}

// APIKeys lists a tenant's keys in the order they were made, revoked ones too.
func (db *DB) APIKeys(ctx context.Context, app string) (out []sealpost.APIKey, err error) {
	err = db.read(ctx, "API keys", func(c *conn) error {
		return c.each(`SELECT k.tag, k.sealed, k.revoked FROM api_keys k JOIN apps a ON a.id = k.app WHERE a.tag = ? ORDER BY k.id`, func(r row) error {
			k, err := db.vault.readAPIKey(r)
			out = append(out, k)
			return err
		}, db.vault.tag(tagApp, []byte(app)))
	})
	return out, err
}

// RevokeAPIKey ends a key by its name. Where it is revoked already the earlier
// time stands and nothing changes.
func (db *DB) RevokeAPIKey(ctx context.Context, app, name string, at sealpost.UnixMilli) error {
	if at <= 0 {
		return fmt.Errorf("revoke API key: %w: time", sealpost.ErrMalformed)
	}
	return db.write(ctx, "revoke API key", func(g *group) error {
		tag := g.vault.tag(tagAPIName, []byte(app), []byte(name))
		r, found, err := g.c.one(`SELECT id FROM api_keys WHERE name = ?`, tag)
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		_, err = g.c.exec(`UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked = 0`, int64(at), r.int(0))
		return err
	})
}
