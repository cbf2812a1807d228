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
	Revoked int64 // as in its column
}

// PutAPIKey keeps a new API key. Its hash must be new, and its name within the
// tenant, whether or not the key of that name is revoked.
func (db *DB) PutAPIKey(ctx context.Context, k sealpost.APIKey) error {
	if err := checkApp(k.App); err != nil || !sealpost.IsName(k.Name) {
		return fmt.Errorf("put API key: %w: app or name", sealpost.ErrMalformed)
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
		id, err := g.c.nextID(`api_keys`)
		if err != nil {
			return err
		}
		tag := g.vault.tag(tagAPIKey, k.Hash[:])
		sealed, err := g.vault.sealAPIKey(id, tag, k)
		if err != nil {
			return err
		}
		n, err := g.c.exec(`INSERT INTO api_keys (id, tag, app, name, sealed, revoked) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			id, tag, app, g.vault.tag(tagAPIName, []byte(k.App), []byte(k.Name)), sealed, int64(k.Revoked))
		if err == nil && n == 0 {
			err = sealpost.ErrConflict
		}
		return err
	})
}

func (v *vault) sealAPIKey(id int64, tag []byte, k sealpost.APIKey) ([]byte, error) {
	plain, err := sealpost.Encode(sealedAPIKey{Name: k.Name, App: k.App, Hash: k.Hash, Scopes: k.Scopes, Created: int64(k.Created), Revoked: int64(k.Revoked)})
	if err != nil {
		return nil, err
	}
	return v.seal(tagAPIKey, rowKey(id, tag), plain), nil
}

const apiKeyColumns = `id, tag, sealed, revoked`

func (v *vault) readAPIKey(r row) (k sealpost.APIKey, err error) {
	plain, err := v.open(tagAPIKey, rowKey(r.int(0), r.bytes(1)), r.bytes(2))
	if err != nil {
		return k, err
	}
	var s sealedAPIKey
	if err := sealpost.Decode(plain, &s); err != nil {
		return k, err
	}
	if s.Revoked != r.int(3) {
		return k, fmt.Errorf("%w: an API key's revocation is not the sealed one", ErrDamaged)
	}
	return sealpost.APIKey{Name: s.Name, App: s.App, Hash: s.Hash, Scopes: s.Scopes, Created: sealpost.UnixMilli(s.Created), Revoked: sealpost.UnixMilli(s.Revoked)}, nil
}

// APIKey finds a key by the hash of its secret, revoked or not.
func (db *DB) APIKey(ctx context.Context, hash sealpost.Hash) (k sealpost.APIKey, err error) {
	err = db.read(ctx, "API key", func(c *conn) error {
		r, found, err := c.one(`SELECT `+apiKeyColumns+` FROM api_keys WHERE tag = ?`, db.vault.tag(tagAPIKey, hash[:]))
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
		return c.each(`SELECT k.id, k.tag, k.sealed, k.revoked FROM api_keys k JOIN apps a ON a.id = k.app WHERE a.tag = ? ORDER BY k.id`, func(r row) error {
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
		r, found, err := g.c.one(`SELECT `+apiKeyColumns+` FROM api_keys WHERE name = ?`, tag)
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		k, err := g.vault.readAPIKey(r)
		if err != nil || k.Revoked != 0 {
			return err
		}
		k.Revoked = at
		sealed, err := g.vault.sealAPIKey(r.int(0), r.bytes(1), k)
		if err != nil {
			return err
		}
		_, err = g.c.exec(`UPDATE api_keys SET revoked = ?, sealed = ? WHERE id = ?`, int64(at), sealed, r.int(0))
		return err
	})
}
