package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// A DeviceAPI is what a device asks of a relay; [api.DeviceClient] is one over
// HTTP. It may be called concurrently, returns when ctx ends, and answers with
// an [*api.Problem] what the relay refused. PostReceipts is idempotent and
// answers each item in order, [api.ErrUnavailable] where nothing is known of one.
type DeviceAPI interface {
	Answer(ctx context.Context, in api.Answer) error
	Enrolment(ctx context.Context) (api.Exhibit, error)
	Inbox(ctx context.Context, after uint64, limit int, waitMS int) (api.Arrivals, error)
	Arrival(ctx context.Context, id sealpost.MessageID) (api.Arrival, error)
	PostReceipts(ctx context.Context, receipts [][]byte) []api.Verdict
	Stock(ctx context.Context, packages [][]byte, endpoints []api.DeviceEndpoint) error
}

var (
	// ErrNotEnrolled says that this device has no enrolment yet.
	ErrNotEnrolled = errors.New("the device is not enrolled")
	// ErrLevel says that a receipt of that level would not be true now: the
	// message was refused, or the level before it was not signed.
	ErrLevel = errors.New("no receipt of that level can be signed")
)

// A DeviceConfig is all that a device is given. Everything but Log must be set.
type DeviceConfig struct {
	// Store is this device's alone.
	Store Store
	// API is the relay; its requests are signed with Key.
	API DeviceAPI
	// Log reads the public log, to prove newer checkpoints; without it the
	// device keeps the first checkpoint it sees.
	Log LogReader
	// Now is the clock, Rand a cryptographic source.
	Now  func() time.Time
	Rand io.Reader
	// Key signs receipts. This SDK's own is a software key ([LoadKey]), and says
	// so: its assurance is "software", because nothing attests to more.
	Key sealpost.Signer
}

func (c *DeviceConfig) check() error {
	if c.Store == nil || c.API == nil || c.Now == nil || c.Rand == nil || c.Key == nil {
		return errors.New("device config: Store, API, Now, Rand and Key must be set")
	}
	return nil
}

// A Device is one device of one recipient of one sender. Its methods may be
// called concurrently; messages are opened one after the other.
type Device struct {
	cfg DeviceConfig
	id  sealpost.KeyID
	mu  sync.Mutex // over everything that opens, signs or changes the enrolment

	pinned *invite // nil before AcceptInvite
	log    *logView
	leaf   mls.Signer
	pool   *api.Pool // as the relay said last; nil: it has not said since the last refill
}

// NewDevice makes a device, enrolled or not, from its store.
func NewDevice(cfg DeviceConfig) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, id: cfg.Key.Public().ID()}
	var e enrolmentRecord
	var found bool
	err := cfg.Store.View(func(tx Tx) (err error) { e, found, err = load[enrolmentRecord](tx, enrolmentKey); return err })
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	if found {
		if err := d.pin(e); err != nil {
			return nil, fmt.Errorf("device: %w", err)
		}
	}
	return d, nil
}

// pin takes what an invitation fixes for good.
func (d *Device) pin(e enrolmentRecord) error {
	if e.Key != d.id {
		return errors.New("the store is of another device key")
	}
	log, err := newLogView(e.Invite.Log, d.cfg.Log)
	if err != nil {
		return err
	}
	key, err := LoadKey(d.cfg.Store, leafKeyName, e.LeafAlg, d.cfg.Rand)
	if err != nil {
		return err
	}
	leaf, err := mlsSigner(key)
	if err != nil {
		return err
	}
	d.pinned, d.log, d.leaf = &e.Invite, log, leaf
	return nil
}

// ID is the device's key id, which receipts name.
func (d *Device) ID() sealpost.KeyID { return d.id }

// Assurance says where the device's key lives, as far as evidence shows.
func (d *Device) Assurance() sealpost.Assurance { return sealpost.AssuranceSoftware }

// Faults lists what others did wrong, as kept.
func (d *Device) Faults() ([]Fault, error) { return listFaults(d.cfg.Store) }

func (d *Device) now() sealpost.UnixMilli { return sealpost.FromTime(d.cfg.Now()) }

// Validate takes any leaf whose credential is a key id, and its own only with
// its own leaf key. Which devices the sender meant is in the roster, which the
// sender signed: no leaf counts before that matches.
func (d *Device) validate(c mls.Credential, signatureKey []byte) error {
	id, err := ownerOf(c)
	if err != nil {
		return err
	}
	if id == d.id && string(signatureKey) != string(d.leaf.Public()) {
		return errors.New("a leaf of this device with another's key")
	}
	return nil
}

// validator makes a function an mls.Validator.
type validator func(c mls.Credential, signatureKey []byte) error

// Validate calls the function.
func (f validator) Validate(c mls.Credential, signatureKey []byte) error { return f(c, signatureKey) }

// Successor holds a member to its key id.
func (f validator) Successor(before, after mls.Credential) error { return sameOwner(before, after) }
