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

func checkPackages(packages [][]byte, lastResort []byte) error {
	if len(packages) > PackagesMax {
		return fmt.Errorf("%d KeyPackages: %w", len(packages), ErrFull)
	}
	for _, p := range packages {
		if len(p) == 0 || len(p) > PackageMax {
			return fmt.Errorf("%w: a KeyPackage has %d bytes", sealpost.ErrMalformed, len(p))
		}
	}
	if len(lastResort) > PackageMax {
		return fmt.Errorf("%w: the last resort has %d bytes", sealpost.ErrMalformed, len(lastResort))
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

// PutPackages adds KeyPackages to a device's pool, and where there is a last
// resort puts it in the place of the one before. Where the pool would grow beyond
// PackagesMax the oldest go: they expire first.
func (db *DB) PutPackages(ctx context.Context, key sealpost.KeyID, packages [][]byte, lastResort []byte) error {
	if err := checkPackages(packages, lastResort); err != nil {
		return fmt.Errorf("put KeyPackages: %w", err)
	}
	return db.write(ctx, "put KeyPackages", func(g *group) error {
		d, err := g.deviceInForce(key)
		if err != nil {
			return err
		}
		pool, err := readPool(g.c, d.id)
		if err != nil {
			return err
		}
		if over := pool.Left + len(packages) - PackagesMax; over > 0 {
			if _, err := g.c.exec(`DELETE FROM packages WHERE id IN (SELECT id FROM packages WHERE device = ? AND last_resort = 0 ORDER BY id LIMIT ?)`, d.id, over); err != nil {
				return err
			}
		}
		return g.putPackages(d.id, packages, lastResort)
	})
}

func (g *group) putPackages(device int64, packages [][]byte, lastResort []byte) error {
	for _, p := range packages {
		if err := g.putPackage(device, p, 0); err != nil {
			return err
		}
	}
	if len(lastResort) == 0 {
		return nil
	}
	if _, err := g.c.exec(`DELETE FROM packages WHERE device = ? AND last_resort != 0`, device); err != nil {
		return err
	}
	return g.putPackage(device, lastResort, 1)
}

func (g *group) putPackage(device int64, p []byte, lastResort int64) error {
	id, err := g.c.nextID(`packages`)
	if err != nil {
		return err
	}
	_, err = g.c.exec(`INSERT INTO packages (id, device, last_resort, sealed) VALUES (?, ?, ?, ?)`, id, device, lastResort,
		g.vault.seal(packageTag(lastResort), rowKey(id, rowKey(device)), p))
	return err
}

const packageColumns = `id, device, last_resort, sealed`

func packageTag(lastResort int64) string {
	if lastResort != 0 {
		return tagResort
	}
	return tagPackage
}

// openPackage reads a row of packageColumns.
func (v *vault) openPackage(r row) ([]byte, error) {
	if last := r.int(2); last != 0 && last != 1 {
		return nil, fmt.Errorf("%w: last_resort is %d", ErrDamaged, last)
	}
	return v.open(packageTag(r.int(2)), rowKey(r.int(0), rowKey(r.int(1))), r.bytes(3))
}

func readPool(c *conn, device int64) (p sealpost.Pool, err error) {
	r, _, err := c.one(`SELECT count(*) - count(nullif(last_resort, 0)), count(nullif(last_resort, 0)) FROM packages WHERE device = ?`, device)
	if err == nil {
		p = sealpost.Pool{Left: int(r.int(0)), LastResort: r.int(1) != 0}
	}
	return p, err
}

// Pool says what is left of a device's KeyPackages; nothing of one that there is
// not.
func (db *DB) Pool(ctx context.Context, key sealpost.KeyID) (p sealpost.Pool, err error) {
	err = db.read(ctx, "count KeyPackages", func(c *conn) error {
		r, found, err := c.one(`SELECT id FROM signing_keys WHERE tag = ?`, db.vault.tag(tagKey, key[:]))
		if err == nil && found {
			p, err = readPool(c, r.int(0))
		}
		return err
	})
	return p, err
}

// ClaimPackage takes the newest KeyPackage out of a device's pool and says how many
// are left. It is gone for good when ClaimPackage returns. Where none is left the
// claim is of the last resort, which stays. ErrNotFound: there is not even that,
// or the tenant has no such device in force.
func (db *DB) ClaimPackage(ctx context.Context, app string, key sealpost.KeyID) (out sealpost.ClaimedPackage, err error) {
	err = db.write(ctx, "claim a KeyPackage", func(g *group) error {
		d, err := g.deviceInForce(key)
		if err != nil {
			return err
		}
		if d.App != app {
			return sealpost.ErrNotFound
		}
		r, found, err := g.c.one(`SELECT `+packageColumns+` FROM packages WHERE device = ? ORDER BY last_resort, id DESC LIMIT 1`, d.id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("the pool is empty: %w", sealpost.ErrNotFound)
		}
		if out.KeyPackage, err = g.vault.openPackage(r); err != nil {
			return err
		}
		if out.LastResort = r.int(2) != 0; out.LastResort {
			return nil
		}
		if _, err := g.c.exec(`DELETE FROM packages WHERE id = ?`, r.int(0)); err != nil {
			return err
		}
		pool, err := readPool(g.c, d.id)
		out.Left = pool.Left
		return err
	})
	if err != nil {
		return sealpost.ClaimedPackage{}, err
	}
	return out, nil
}
