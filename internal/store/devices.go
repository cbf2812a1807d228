package store

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sealpost/sealpost"
)

// A device is an enrolled device with what reaches it. The writer keeps those
// that it met lately in memory, because every commitment and try asks for one.
type device struct {
	sealpost.Device
	id        int64
	keyID     sealpost.KeyID
	endpoints []endpoint
}

type endpoint struct {
	sealpost.Endpoint
	id int64
}

// reach is the first endpoint whose carrier is in a set.
func (d *device) reach(carriers int64) (endpoint, bool) {
	for _, e := range d.endpoints {
		if carriers&(1<<e.Carrier) != 0 {
			return e, true
		}
	}
	return endpoint{}, false
}

// devices is the writer's memory of devices; it is never the truth, and is
// dropped where a transaction rolls back.
type devices struct {
	byID        *lru.Cache[int64, *device]
	byKey       *lru.Cache[sealpost.KeyID, int64]
	byRecipient *lru.Cache[recipientKey, []int64]
}

type recipientKey struct {
	app       string
	recipient sealpost.Recipient
}

func newDevices() (*devices, error) {
	byID, err := lru.New[int64, *device](deviceCache)
	if err != nil {
		return nil, err
	}
	byKey, err := lru.New[sealpost.KeyID, int64](deviceCache)
	if err != nil {
		return nil, err
	}
	byRecipient, err := lru.New[recipientKey, []int64](recipientCache)
	return &devices{byID, byKey, byRecipient}, err
}

func (d *devices) purge() {
	d.byID.Purge()
	d.byKey.Purge()
	d.byRecipient.Purge()
}

func (d *devices) dropDevice(id int64) { d.byID.Remove(id) }

func (d *devices) dropRecipient(app string, r sealpost.Recipient) {
	d.byRecipient.Remove(recipientKey{app, r})
}

// recipient finds the devices of a recipient, revoked ones included.
func (g *group) recipient(app string, r sealpost.Recipient) ([]*device, error) {
	key := recipientKey{app, r}
	ids, ok := g.devices.byRecipient.Get(key)
	if !ok {
		rows, err := g.c.all(`SELECT id FROM signing_keys WHERE owner = ? ORDER BY id`, g.vault.deviceOwner(app, r))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			ids = append(ids, row.int(0))
		}
		g.devices.byRecipient.Add(key, ids)
	}
	out := make([]*device, len(ids))
	for i, id := range ids {
		var err error
		if out[i], err = g.device(id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// device finds a device that a row refers to.
func (g *group) device(id int64) (*device, error) {
	if d, ok := g.devices.byID.Get(id); ok {
		return d, nil
	}
	d, found, err := g.vault.findDevice(g.c, `id = ?`, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: device %d is missing", ErrDamaged, id)
	}
	if d.endpoints, err = g.vault.endpoints(g.c, id); err != nil {
		return nil, err
	}
	g.devices.byID.Add(id, d)
	return d, nil
}

// deviceID finds the row of a signing key.
func (g *group) deviceID(key sealpost.KeyID) (id int64, found bool, err error) {
	if id, ok := g.devices.byKey.Get(key); ok {
		return id, true, nil
	}
	r, found, err := g.c.one(`SELECT id FROM signing_keys WHERE tag = ?`, g.vault.tag(tagKey, key[:]))
	if err != nil || !found {
		return 0, false, err
	}
	g.devices.byKey.Add(key, r.int(0))
	return r.int(0), true, nil
}

func (v *vault) deviceOwner(app string, r sealpost.Recipient) []byte {
	return v.tag(tagOwner, []byte(app), r[:])
}

func (v *vault) senderOwner(app string) []byte { return v.tag(tagOwner, []byte(app)) }

// A sealedKey is what a signing key's row seals; a sender's has no recipient.
type sealedKey struct {
	_         struct{} `cbor:",toarray"`
	App       string
	Subject   sealpost.Subject
	Recipient sealpost.Recipient
	Key       []byte // COSE_Key
	Leaf      []byte // COSE_Key, empty for a sender's
	Assurance sealpost.Assurance
}

func (v *vault) sealKey(tag []byte, k sealedKey) ([]byte, error) {
	plain, err := sealpost.Encode(k)
	if err != nil {
		return nil, err
	}
	return v.seal(tagKey, tag, plain), nil
}

const keyColumns = `id, tag, sealed, enrolled, revoked`

func (v *vault) readDevice(r row) (*device, sealpost.Subject, error) {
	plain, err := v.open(tagKey, r.bytes(1), r.bytes(2))
	if err != nil {
		return nil, 0, err
	}
	var k sealedKey
	if err := sealpost.Decode(plain, &k); err != nil {
		return nil, 0, err
	}
	d := &device{id: r.int(0), Device: sealpost.Device{App: k.App, Recipient: k.Recipient, Assurance: k.Assurance, Enrolled: r.uint(3), Revoked: r.uint(4)}}
	if d.Key, err = sealpost.ParsePublicKey(k.Key); err != nil {
		return nil, 0, err
	}
	d.keyID = d.Key.ID()
	if len(k.Leaf) > 0 {
		d.Leaf, err = sealpost.ParsePublicKey(k.Leaf)
	}
	return d, k.Subject, err
}

// findDevice reads one signing key's row; endpoints are not filled.
func (v *vault) findDevice(c *conn, where string, arg any) (*device, bool, error) {
	r, found, err := c.one(`SELECT `+keyColumns+` FROM signing_keys WHERE `+where, arg)
	if err != nil || !found {
		return nil, false, err
	}
	d, _, err := v.readDevice(r)
	return d, true, err
}

func (v *vault) ownedKeys(c *conn, owner []byte) (out []sealpost.Device, err error) {
	err = c.each(`SELECT `+keyColumns+` FROM signing_keys WHERE owner = ? ORDER BY id`, func(r row) error {
		d, _, err := v.readDevice(r)
		if err == nil {
			out = append(out, d.Device)
		}
		return err
	}, owner)
	return out, err
}

// Devices lists a recipient's devices in the order of their enrolment, revoked
// ones included.
func (db *DB) Devices(ctx context.Context, app string, r sealpost.Recipient) (out []sealpost.Device, err error) {
	err = db.read(ctx, "devices", func(c *conn) error {
		out, err = db.vault.ownedKeys(c, db.vault.deviceOwner(app, r))
		return err
	})
	return out, err
}

// Device finds a device by its signing key. A sender's key is no device.
func (db *DB) Device(ctx context.Context, key sealpost.KeyID) (out sealpost.Device, err error) {
	err = db.read(ctx, "device", func(c *conn) error {
		r, found, err := c.one(`SELECT `+keyColumns+` FROM signing_keys WHERE tag = ?`, db.vault.tag(tagKey, key[:]))
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		d, subject, err := db.vault.readDevice(r)
		if err == nil && subject != sealpost.SubjectDevice {
			return sealpost.ErrNotFound
		}
		if err == nil {
			out = d.Device
		}
		return err
	})
	return out, err
}

// SenderKeys lists a tenant's own signing keys, revoked ones included; Key,
// Enrolled and Revoked are set.
func (db *DB) SenderKeys(ctx context.Context, app string) (out []sealpost.Device, err error) {
	err = db.read(ctx, "sender keys", func(c *conn) error {
		out, err = db.vault.ownedKeys(c, db.vault.senderOwner(app))
		return err
	})
	return out, err
}

// KeyEvents gives the key events of a recipient's devices, oldest first.
func (db *DB) KeyEvents(ctx context.Context, app string, r sealpost.Recipient) ([]sealpost.Record, error) {
	return db.ownedEvents(ctx, db.vault.deviceOwner(app, r))
}

// SenderKeyEvents gives the key events of a tenant's own keys, oldest first.
func (db *DB) SenderKeyEvents(ctx context.Context, app string) ([]sealpost.Record, error) {
	return db.ownedEvents(ctx, db.vault.senderOwner(app))
}

func (db *DB) ownedEvents(ctx context.Context, owner []byte) (out []sealpost.Record, err error) {
	err = db.read(ctx, "key events", func(c *conn) error {
		rows, err := c.all(`SELECT seq FROM key_events WHERE owner = ? ORDER BY seq`, owner)
		for _, r := range rows {
			record, err := db.vault.record(c, r.uint(0))
			if err != nil {
				return err
			}
			out = append(out, record)
		}
		return err
	})
	return out, err
}
