package store

import (
	"context"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A device's stock: its endpoints, and its pool of KeyPackages.

func checkEndpoints(endpoints []sealpost.Endpoint) error {
	if len(endpoints) > EndpointsMax {
		return fmt.Errorf("%d endpoints: %w", len(endpoints), ErrFull)
	}
	for _, e := range endpoints {
		if e.Reveal() == "" || e.Carrier < sealpost.RCS || e.Carrier > sealpost.SMS {
			return fmt.Errorf("%w: endpoint", sealpost.ErrMalformed)
		}
	}
	return nil
}

func checkPackages(packages [][]byte) error {
	if len(packages) > PackagesMax {
		return fmt.Errorf("%d KeyPackages: %w", len(packages), ErrFull)
	}
	for _, p := range packages {
		if len(p) == 0 || len(p) > PackageMax {
			return fmt.Errorf("%w: a KeyPackage has %d bytes", sealpost.ErrMalformed, len(p))
		}
	}
	return nil
}

// deviceInForce finds the row of an enrolled device that is not revoked.
func (g *group) deviceInForce(key sealpost.KeyID) (*device, error) {
	id, found, err := g.deviceID(key)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, sealpost.ErrNotFound
	}
	d, err := g.device(id)
	if err == nil && (d.Revoked != 0 || d.Leaf.IsZero()) {
		err = sealpost.ErrNotFound
	}
	return d, err
}

// PutEndpoints replaces a device's endpoints. Messages that wait for it are
// queued again where they could not be tried for want of an endpoint.
func (db *DB) PutEndpoints(ctx context.Context, key sealpost.KeyID, endpoints []sealpost.Endpoint) error {
	if err := checkEndpoints(endpoints); err != nil {
		return fmt.Errorf("put endpoints: %w", err)
	}
	return db.write(ctx, "put endpoints", func(g *group) error {
		d, err := g.deviceInForce(key)
		if err != nil {
			return err
		}
		if _, err := g.c.exec(`DELETE FROM endpoints WHERE device = ?`, d.id); err != nil {
			return err
		}
		if err := g.putEndpoints(d.id, endpoints); err != nil {
			return err
		}
		return g.requeue(d.id)
	})
}

func (g *group) putEndpoints(device int64, endpoints []sealpost.Endpoint) error {
	for _, e := range endpoints {
		plain, err := sealpost.Encode(sealedEndpoint{Carrier: e.Carrier, Kind: e.Kind, Value: e.Reveal()})
		if err != nil {
			return err
		}
		id, err := g.nextEndpoint()
		if err != nil {
			return err
		}
		if _, err := g.c.exec(`INSERT INTO endpoints (id, device, carrier, sealed) VALUES (?, ?, ?, ?)`,
			id, device, int(e.Carrier), g.vault.seal(tagEndpoint, endpointKey(id, device, int64(e.Carrier)), plain)); err != nil {
			return err
		}
	}
	g.devices.dropDevice(device)
	return nil
}

// nextEndpoint is an id that no endpoint had before: routes remember them.
func (g *group) nextEndpoint() (int64, error) {
	r, _, err := g.c.one(`SELECT 1 + max((SELECT coalesce(max(id), 0) FROM endpoints), coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'endpoints'), 0))`)
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}

// endpointKey is what an endpoint's row is bound to: all of it in clear.
func endpointKey(id, device, carrier int64) []byte {
	return rowKey(id, rowKey(device), rowKey(carrier))
}

// requeue puts the routes of a device that has an endpoint now, and that were
// taken out of the queue for want of one, back into it.
func (g *group) requeue(device int64) error {
	d, err := g.device(device)
	if err != nil {
		return err
	}
	waiting, err := g.inbox.list(g.c, device, 0, waitingMax)
	if err != nil {
		return err
	}
	for _, message := range waiting {
		m, found, err := messageAt(g.c, message)
		if err != nil {
			return err
		}
		mine := m.route(device)
		if !found || mine == nil || !m.wakes(mine) || mine.endpoint != 0 || mine.queued {
			continue
		}
		if _, reachable := d.reach(m.carriers); !reachable {
			continue
		}
		mine.queue(atOnce)
		if err := g.save(&m); err != nil {
			return err
		}
	}
	return nil
}

func (v *vault) endpoints(c *conn, device int64) (out []endpoint, err error) {
	err = c.each(`SELECT id, carrier, sealed FROM endpoints WHERE device = ? ORDER BY id`, func(r row) error {
		plain, err := v.open(tagEndpoint, endpointKey(r.int(0), device, r.int(1)), r.bytes(2))
		if err != nil {
			return err
		}
		var s sealedEndpoint
		if err := sealpost.Decode(plain, &s); err != nil {
			return err
		}
		e, err := sealpost.NewEndpoint(s.Carrier, s.Kind, s.Value)
		out = append(out, endpoint{e, r.int(0)})
		return err
	}, device)
	return out, err
}

// PutPackages adds KeyPackages to a device's pool. It adds all of them or, where
// the pool would grow beyond PackagesMax, none.
func (db *DB) PutPackages(ctx context.Context, key sealpost.KeyID, packages [][]byte) error {
	if err := checkPackages(packages); err != nil {
		return fmt.Errorf("put KeyPackages: %w", err)
	}
	return db.write(ctx, "put KeyPackages", func(g *group) error {
		d, err := g.deviceInForce(key)
		if err != nil {
			return err
		}
		left, err := g.packagesLeft(d.id)
		if err != nil {
			return err
		}
		if left+len(packages) > PackagesMax {
			return ErrFull
		}
		return g.putPackages(d.id, packages)
	})
}

func (g *group) putPackages(device int64, packages [][]byte) error {
	for _, p := range packages {
		id, err := g.c.nextID(`packages`)
		if err != nil {
			return err
		}
		if _, err := g.c.exec(`INSERT INTO packages (id, device, sealed) VALUES (?, ?, ?)`, id, device, g.vault.seal(tagPackage, rowKey(id, rowKey(device)), p)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) packagesLeft(device int64) (int, error) {
	r, _, err := g.c.one(`SELECT count(*) FROM packages WHERE device = ?`, device)
	if err != nil {
		return 0, err
	}
	return int(r.int(0)), nil
}

// ClaimPackage takes one KeyPackage out of a device's pool and says how many
// are left. It is gone for good when ClaimPackage returns. ErrNotFound: the
// pool is empty, or the tenant has no such device in force.
func (db *DB) ClaimPackage(ctx context.Context, app string, key sealpost.KeyID) (pkg []byte, left int, err error) {
	err = db.write(ctx, "claim a KeyPackage", func(g *group) error {
		d, err := g.deviceInForce(key)
		if err != nil {
			return err
		}
		if d.App != app {
			return sealpost.ErrNotFound
		}
		r, found, err := g.c.one(`SELECT id, sealed FROM packages WHERE device = ? ORDER BY id LIMIT 1`, d.id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("the pool is empty: %w", sealpost.ErrNotFound)
		}
		if pkg, err = g.vault.open(tagPackage, rowKey(r.int(0), rowKey(d.id)), r.bytes(1)); err != nil {
			return err
		}
		if _, err := g.c.exec(`DELETE FROM packages WHERE id = ?`, r.int(0)); err != nil {
			return err
		}
		left, err = g.packagesLeft(d.id)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return pkg, left, nil
}
