package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// Keys of a device's records.
const (
	enrolmentKey = "enrolment"
	leafKeyName  = "device-leaf"
)

// Bounds of the pool of KeyPackages. The last resort serves, more than once,
// when the pool is empty.
const (
	poolSize        = 10
	poolLow         = api.PoolLow         // unused ones, below which more are made
	packagesKept    = 100                 // in the store; with more, an empty pool waits until some are too old
	packageLifetime = 90 * 24 * time.Hour // after which the sender refuses one
	packageSlack    = time.Hour           // that a sender's clock may be behind
)

// enrolPoll is the time between two questions whether the sender has signed.
const enrolPoll = 500 * time.Millisecond

// enrolmentRecord is a device's enrolment: what it pinned and how far it came.
type enrolmentRecord struct {
	Invite   invite         `cbor:"1,keyasint"` // the secret is zero once enrolled
	Key      sealpost.KeyID `cbor:"2,keyasint"`
	LeafAlg  sealpost.Alg   `cbor:"3,keyasint"`
	Answer   []byte         `cbor:"4,keyasint"` // as first sent
	Answered bool           `cbor:"5,keyasint"`
	Event    exhibitRecord  `cbor:"6,keyasint"` // the key event by the pinned sender
	Sent     bool           `cbor:"7,keyasint"` // the answer was on its way at least once
}

// packageRecord is the private half of one KeyPackage.
type packageRecord struct {
	Secrets    secret             `cbor:"1,keyasint"`
	LastResort bool               `cbor:"2,keyasint"`
	NotAfter   sealpost.UnixMilli `cbor:"3,keyasint"`
}

const packagePrefix = "package/"

// AcceptInvite answers an invitation: it pins the sender's key, the relay's key
// and the log, makes leaf key and KeyPackages durable, and presents them with
// the MAC that only a holder of the token can make. Called again, after a crash
// or an error, it presents the same answer.
func (d *Device) AcceptInvite(ctx context.Context, token string, endpoints []api.DeviceEndpoint) error {
	in, err := parseInvite(token)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pinned != nil && d.pinned.ID != in.ID {
		return errors.New("accept invitation: the device is enrolled by another one")
	}
	if d.pinned == nil {
		if in.Expires < d.now() {
			return errors.New("accept invitation: it has expired")
		}
		if err := d.prepare(in, endpoints); err != nil {
			d.pinned, d.log, d.leaf = nil, nil, nil
			return fmt.Errorf("accept invitation: %w", err)
		}
	}
	return d.answer(ctx)
}

// prepare makes the answer and everything it needs durable.
func (d *Device) prepare(in invite, endpoints []api.DeviceEndpoint) error {
	alg := in.LeafAlg
	if alg == 0 {
		alg = d.cfg.Key.Public().Alg()
	}
	leaf, err := LoadKey(d.cfg.Store, leafKeyName, alg, d.cfg.Rand)
	if err != nil {
		return err
	}
	e := enrolmentRecord{Invite: in, Key: d.id, LeafAlg: alg}
	if err := d.pin(e); err != nil {
		return err
	}
	key := d.cfg.Key.Public()
	pair := sealpost.KeyPair(in.App, in.Recipient, key, leaf.Public())
	byKey, err := d.cfg.Key.Sign(pair)
	if err != nil {
		return fmt.Errorf("sign the key pair: %w", err)
	}
	byLeaf, err := leaf.Sign(pair)
	if err != nil {
		return fmt.Errorf("sign the key pair: %w", err)
	}
	mac := sealpost.EnrolMAC(in.Secret, in.Challenge, in.Recipient, key, leaf.Public())
	made, err := d.makePackages(poolSize, true)
	if err != nil {
		return err
	}
	answer := api.Answer{ID: in.ID, Key: key.COSE(), Leaf: leaf.Public().COSE(), ByKey: byKey, ByLeaf: byLeaf,
		Assurance: d.Assurance(), MAC: mac[:], Endpoints: endpoints}
	for _, p := range made {
		answer.KeyPackages = append(answer.KeyPackages, p.public)
	}
	if e.Answer, err = sealpost.Encode(answer); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return d.cfg.Store.Update(func(tx Tx) error {
		return errors.Join(keepPackages(tx, made), save(tx, enrolmentKey, e))
	})
}

// answer presents the stored answer until the relay has taken it. A challenge
// that the relay calls used may have been used by this very answer.
func (d *Device) answer(ctx context.Context) error {
	e, err := d.enrolment()
	if err != nil || e.Answered {
		return err
	}
	var answer api.Answer
	if err := sealpost.Decode(e.Answer, &answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if err := d.changeEnrolment(func(e *enrolmentRecord) { e.Sent = true }); err != nil {
		return fmt.Errorf("answer the invitation: %w", err)
	}
	if err := d.cfg.API.Answer(ctx, answer); err != nil && !(e.Sent && errors.Is(err, api.ErrChallenge)) {
		return fmt.Errorf("answer the invitation: %w", err)
	}
	return d.changeEnrolment(func(e *enrolmentRecord) { e.Answered = true })
}

func (d *Device) enrolment() (e enrolmentRecord, err error) {
	return e, d.cfg.Store.View(func(tx Tx) error {
		var found bool
		if e, found, err = load[enrolmentRecord](tx, enrolmentKey); err == nil && !found {
			err = ErrNotEnrolled
		}
		return err
	})
}

func (d *Device) changeEnrolment(with func(*enrolmentRecord)) error {
	return d.cfg.Store.Update(func(tx Tx) error {
		e, found, err := load[enrolmentRecord](tx, enrolmentKey)
		if err != nil || !found {
			return errors.Join(err, missing(!found, "the enrolment"))
		}
		with(&e)
		return save(tx, enrolmentKey, e)
	})
}

// Enrolled asks once whether the sender has signed this device's key event, and
// checks it against what was pinned and presented.
func (d *Device) Enrolled(ctx context.Context) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.enrolment()
	if err != nil {
		return false, err
	}
	if len(e.Event.Statement) != 0 {
		return true, nil
	}
	got, err := d.cfg.API.Enrolment(ctx)
	if errors.Is(err, api.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the key event: %w", err)
	}
	if err := d.checkEvent(got); err != nil {
		fault := Fault{Time: d.now(), What: "a key event of this device that its sender did not sign", Parts: [][]byte{got.Statement, got.Salt}}
		return false, errors.Join(fmt.Errorf("key event refused: %w", err), recordFault(d.cfg.Store, fault))
	}
	return true, d.changeEnrolment(func(e *enrolmentRecord) {
		e.Event = exhibitRecord{got.Statement, sealpost.Salt(got.Salt), got.Promise, got.Proof}
		e.Invite.Secret, e.Answer = inviteSecret{}, nil
	})
}

// checkEvent holds a key event to the pinned sender and this device's own keys.
func (d *Device) checkEvent(got api.Exhibit) error {
	signed, err := sealpost.Parse(got.Statement)
	if err != nil {
		return err
	}
	if err := signed.Verify(d.pinned.Sender); err != nil {
		return err
	}
	e, err := signed.KeyEvent()
	switch {
	case err != nil:
		return err
	case len(got.Salt) != len(sealpost.Salt{}):
		return fmt.Errorf("%w: salt", sealpost.ErrMalformed)
	case e.Event != sealpost.Enrol || e.Device == nil || e.App != d.pinned.App || e.Key != d.cfg.Key.Public():
		return errors.New("it enrols another key")
	case e.Device.Recipient != d.pinned.Recipient || !bytes.Equal(e.Device.Leaf.Bytes(), d.leaf.Public()):
		return errors.New("it names another recipient or leaf key")
	case !bytes.Equal(e.Challenge, d.pinned.Challenge[:]):
		return errors.New("it answers another challenge")
	}
	return nil
}

// WaitEnrolled waits until the sender has signed this device's key event.
func (d *Device) WaitEnrolled(ctx context.Context) error {
	tick := time.NewTicker(enrolPoll)
	defer tick.Stop()
	for {
		done, err := d.Enrolled(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the key event: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// A madePackage is a KeyPackage whose secrets are not durable yet.
type madePackage struct {
	public []byte
	ref    []byte
	record packageRecord
}

// makePackages draws KeyPackages, and with them a last resort.
func (d *Device) makePackages(n int, lastResort bool) ([]madePackage, error) {
	now := d.cfg.Now()
	o := mls.KeyPackageOptions{NotBefore: uint64(now.Add(-packageSlack).Unix()),
		NotAfter: uint64(now.Add(packageLifetime).Unix()), Rand: d.cfg.Rand}
	suite := suiteOf(sealpost.EdDSA)
	if len(d.leaf.Public()) != len(sealpost.KeyID{}) { // an uncompressed P-256 point
		suite = suiteOf(sealpost.ES256)
	}
	if lastResort {
		n++
	}
	made := make([]madePackage, n)
	for i := range made {
		o.LastResort = lastResort && i == n-1
		public, priv, err := mls.NewKeyPackage(suite, credentialOf(d.id), d.leaf, o)
		if err != nil {
			return nil, fmt.Errorf("make a KeyPackage: %w", err)
		}
		secrets, err := priv.Marshal()
		if err != nil {
			return nil, fmt.Errorf("make a KeyPackage: %w", err)
		}
		made[i] = madePackage{public, priv.Ref(), packageRecord{secrets, o.LastResort, sealpost.FromTime(now.Add(packageLifetime))}}
	}
	return made, nil
}

func keepPackages(tx Tx, made []madePackage) error {
	for _, p := range made {
		if err := save(tx, packageKey(p.ref), p.record); err != nil {
			return err
		}
	}
	return nil
}

func packageKey(ref []byte) string { return at("package", ref) }

// Refill brings the relay's pool of KeyPackages up again when few unused ones
// are left, in the store or by the relay's last word, and replaces those that have
// grown too old. What was claimed and never used in a Welcome only the relay knows.
func (d *Device) Refill(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pinned == nil {
		return ErrNotEnrolled
	}
	fresh, kept, last := 0, 0, false
	var old []string
	err := d.cfg.Store.View(func(tx Tx) error {
		return tx.Scan(packagePrefix, func(key string, value []byte) error {
			var p packageRecord
			if err := sealpost.Decode(value, &p); err != nil {
				return fmt.Errorf("read record package: %w", err)
			}
			kept++
			soon := p.NotAfter < d.now().Add(packageLifetime/2)
			switch {
			case p.NotAfter.Add(sealpost.LifetimeMax) < d.now():
				old = append(old, key) // no message can still name it
			case p.LastResort && !soon:
				last = true
			case !p.LastResort && !soon:
				fresh++
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("refill: %w", err)
	}
	if d.pool != nil {
		fresh, last = min(fresh, d.pool.Left), last && d.pool.LastResort
	}
	if fresh >= poolLow && last && len(old) == 0 {
		return nil
	}
	n := 0
	if fresh < poolLow && kept < packagesKept {
		n = poolSize - fresh
	}
	if err := d.stock(ctx, n, !last, old); err != nil {
		return err
	}
	d.pool = nil
	return nil
}

// notePool keeps what the relay says of the pool for the next refill.
func (d *Device) notePool(p api.Pool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pool = &p
}

// stock makes KeyPackages, durable before they are published.
func (d *Device) stock(ctx context.Context, n int, lastResort bool, old []string) error {
	made, err := d.makePackages(n, lastResort)
	if err != nil {
		return fmt.Errorf("refill: %w", err)
	}
	err = d.cfg.Store.Update(func(tx Tx) error {
		for _, key := range old {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return keepPackages(tx, made)
	})
	if err != nil {
		return fmt.Errorf("refill: %w", err)
	}
	if len(made) == 0 {
		return nil
	}
	var public [][]byte
	for _, p := range made {
		public = append(public, p.public)
	}
	if err := d.cfg.API.Stock(ctx, public, nil); err != nil {
		return fmt.Errorf("refill: %w", err)
	}
	return nil
}
