package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A Notification is a message that this device opened and checked.
type Notification struct {
	ID       sealpost.MessageID
	App      string
	Template string
	Text     string // exactly what the sender committed to
	Fields   []sealpost.Field
	Created  sealpost.UnixMilli // by the sender's clock
	Expires  sealpost.UnixMilli
	Received sealpost.UnixMilli
	Again    bool // it arrived before: this is the inbox's answer
}

// A Refusal says that this device refused a message, and signed why. Nothing of
// it may be shown.
type Refusal struct {
	ID     sealpost.MessageID
	Level  sealpost.Level
	Reason sealpost.Reason
	Again  bool // it was refused before: nothing new was signed

	stray bool // the id is not taken: the honest message can still come
}

func (e *Refusal) Error() string { return fmt.Sprintf("message refused (%v): %v", e.Level, e.Reason) }

// inboxRecord is a message that this device took a final stand on.
type inboxRecord struct {
	Statement []byte             `cbor:"1,keyasint"` // the commitment
	Salt      sealpost.Salt      `cbor:"2,keyasint"` // zero until the promise is here
	Promise   []byte             `cbor:"3,keyasint,omitempty"`
	Proof     []byte             `cbor:"4,keyasint,omitempty"`
	Level     sealpost.Level     `cbor:"5,keyasint"`
	Reason    sealpost.Reason    `cbor:"6,keyasint"`
	Payload   secret             `cbor:"7,keyasint,omitempty"` // at level decrypted only
	Roster    []byte             `cbor:"8,keyasint,omitempty"` // preimage, as recomputed
	Digest    sealpost.Hash      `cbor:"9,keyasint"`           // of Roster; zero where MLS did not open
	Received  sealpost.UnixMilli `cbor:"10,keyasint"`
}

func inboxKey(id sealpost.MessageID) string { return at("inbox", id[:]) }

// Handle takes what a push brought: the sealed message itself, or a ticket for
// which it fetches the message. It opens a message once; one that arrives again
// is answered from the inbox. The error is a [*Refusal] where this device signed
// a refusal. Receipts are posted before it returns where that is possible, and
// by the next [Device.Sync] where not.
//
// Anybody may forge a push. One whose commitment or blob is not the sender's is
// kept as evidence and then fetched from the relay, as if it were a ticket.
func (d *Device) Handle(ctx context.Context, push []byte) (Notification, error) {
	var n Notification
	var err error
	if len(push) == len(sealpost.MessageID{}) {
		n, err = d.fetchOne(ctx, sealpost.MessageID(push))
	} else if n, err = d.receive(ctx, api.Arrival{Sealed: push}, byPush); isStray(err) {
		refusal, _ := errors.AsType[*Refusal](err)
		if fetched, again := d.fetchOne(ctx, refusal.ID); again == nil || !isFetchError(again) {
			n, err = fetched, again
		}
	}
	if _, refused := errors.AsType[*Refusal](err); err == nil || refused {
		// The receipts are durable; that posting them failed is for Sync to mend.
		_ = d.Flush(ctx)
	}
	return n, err
}

// Where an arrival came from.
const (
	byPush = iota
	byRelay
)

// errFetch is a message that the relay did not give.
var errFetch = errors.New("fetch message")

func isFetchError(err error) bool { return errors.Is(err, errFetch) }

// isStray says whether an arrival was refused without a look at its content.
func isStray(err error) bool {
	r, refused := errors.AsType[*Refusal](err)
	return refused && (r.Reason == sealpost.ReasonBlob || r.Reason == sealpost.ReasonSenderKey) && r.stray
}

func (d *Device) fetchOne(ctx context.Context, id sealpost.MessageID) (Notification, error) {
	arrival, err := d.cfg.API.Arrival(ctx, id)
	if err == nil {
		return d.receive(ctx, arrival, byRelay)
	}
	// A relay gives no more what every device has. A ticket may come twice, and a
	// device may have ended between its receipt and its answer.
	if r, found, kept := d.inbox(id); kept == nil && found {
		return r.notificationAgain()
	}
	return Notification{}, fmt.Errorf("%w: %w", errFetch, err)
}

// receive takes one arrival past its points of no return, in order:
//
//	1 identify  the commitment is by the pinned sender, for this recipient
//	2 answer    from the inbox, if its id is there
//	3 hash      the blob is the committed one
//	4 judge     open in memory and check everything; nothing is durable yet
//	5 keep      MLS state, content and signed receipts, in one transaction
//
// A forged commitment or another blob is kept as evidence with a signed
// mismatch, and does not take the id: the honest message can still come.
func (d *Device) receive(ctx context.Context, a api.Arrival, from int) (Notification, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pinned == nil {
		return Notification{}, ErrNotEnrolled
	}
	signed, c, blob, err := takeApart(a.Sealed)
	if err != nil {
		return Notification{}, fmt.Errorf("read message: %w", err)
	}
	if err := signed.Verify(d.pinned.Sender); err != nil {
		return Notification{}, d.stray(signed, c, blob, sealpost.ReasonSenderKey, a, from)
	}
	if c.App != d.pinned.App || c.Recipient != d.pinned.Recipient {
		return Notification{}, fmt.Errorf("read message: %w: it is for another recipient", sealpost.ErrNotFound)
	}
	if r, found, err := d.inbox(c.ID); err != nil || found {
		return d.again(ctx, a, signed, r, err)
	}
	if blobHash(blob) != c.Blob {
		return Notification{}, d.stray(signed, c, blob, sealpost.ReasonBlob, a, from)
	}
	r := inboxRecord{Statement: signed.Bytes(), Received: d.now()}
	if err := d.attach(ctx, &r, c, a); err != nil {
		return Notification{}, err
	}
	if err := d.take(&r, signed, c, blob); err != nil {
		return Notification{}, err
	}
	return r.notification(c)
}

// take judges a message and makes the judgement durable with everything that
// follows from it.
func (d *Device) take(r *inboxRecord, signed sealpost.Signed, c sealpost.Commitment, blob []byte) error {
	var f finding
	err := d.cfg.Store.View(func(tx Tx) error { f = d.judge(tx, c, blob); return nil })
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	r.Level, r.Reason, r.Roster, r.Digest = f.level, f.reason, f.roster, f.digest
	if f.level == sealpost.Decrypted {
		if r.Payload, err = sealpost.EncodePayload(f.payload); err != nil {
			return fmt.Errorf("open message: %w", err)
		}
	}
	err = d.cfg.Store.Update(func(tx Tx) error {
		if f.states != nil {
			if err := f.states.keep(tx, r.Received); err != nil {
				return err
			}
		}
		if f.level == sealpost.Decrypted {
			if err := noteSequence(tx, signed.Hash(), c, f.payload.Sequence, r.Received); err != nil {
				return err
			}
		}
		if err := save(tx, inboxKey(c.ID), r); err != nil {
			return err
		}
		for _, level := range []sealpost.Level{sealpost.HandedOver, f.level} {
			if err := d.sign(tx, signed.Hash(), c, r, level); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep message: %w", err)
	}
	return nil
}

func (d *Device) inbox(id sealpost.MessageID) (r inboxRecord, found bool, err error) {
	err = d.cfg.Store.View(func(tx Tx) error { r, found, err = load[inboxRecord](tx, inboxKey(id)); return err })
	return r, found, err
}

// again answers a message whose id is in the inbox, without opening it. The
// same id with another commitment is the sender's fault and is kept.
func (d *Device) again(ctx context.Context, a api.Arrival, signed sealpost.Signed, r inboxRecord, err error) (Notification, error) {
	if err != nil {
		return Notification{}, fmt.Errorf("read inbox: %w", err)
	}
	c, err := signed.Commitment()
	if err != nil {
		return Notification{}, err
	}
	if string(r.Statement) != string(signed.Bytes()) {
		fault := Fault{Time: d.now(), ID: c.ID, What: "two commitments under one message id", Parts: [][]byte{r.Statement, signed.Bytes()}}
		return Notification{}, errors.Join(sealpost.ErrConflict, recordFault(d.cfg.Store, fault))
	}
	before := len(r.Promise) + len(r.Proof)
	if err := d.attach(ctx, &r, c, a); err != nil {
		return Notification{}, err
	}
	if len(r.Promise)+len(r.Proof) != before {
		if err := d.cfg.Store.Update(func(tx Tx) error { return save(tx, inboxKey(c.ID), r) }); err != nil {
			return Notification{}, fmt.Errorf("keep proof: %w", err)
		}
	}
	return r.notificationAgain()
}

// notificationAgain is the answer of the inbox.
func (r *inboxRecord) notificationAgain() (Notification, error) {
	signed, err := sealpost.Parse(r.Statement)
	if err != nil {
		return Notification{}, fmt.Errorf("read inbox: %w", err)
	}
	c, err := signed.Commitment()
	if err != nil {
		return Notification{}, fmt.Errorf("read inbox: %w", err)
	}
	n, err := r.notification(c)
	if refusal, refused := errors.AsType[*Refusal](err); refused {
		refusal.Again = true
	}
	n.Again = err == nil
	return n, err
}

// attach checks the promise and proof that came with a message and takes the
// good ones. A bad one is the relay's fault and is kept; it does not hold up
// the message, whose own signature and openings decide what is shown.
func (d *Device) attach(ctx context.Context, r *inboxRecord, c sealpost.Commitment, a api.Arrival) error {
	blame := func(cause error, parts ...[]byte) error {
		return recordFault(d.cfg.Store, Fault{Time: d.now(), ID: c.ID, What: cause.Error(), Parts: append(parts, r.Statement)})
	}
	if len(a.Promise) != 0 && len(r.Promise) == 0 {
		p, err := checkPromise(d.pinned.Relay, d.log.origin(), a.Salt, a.Promise, r.Statement, c.Expires.Add(sealpost.OutcomeGrace))
		if err != nil {
			return blame(err, a.Salt, a.Promise)
		}
		r.Salt, r.Promise = p.Salt, p.Promise
	}
	if len(a.Proof) == 0 || len(r.Proof) != 0 || len(a.Salt) != len(r.Salt) {
		return nil
	}
	p, err := d.log.checkProof(a.Proof, sealpost.Salt(a.Salt), r.Statement)
	if err != nil {
		return blame(err, a.Salt, a.Proof)
	}
	r.Salt, r.Proof = sealpost.Salt(a.Salt), a.Proof
	return d.see(ctx, p.Checkpoint)
}

// see takes a newer checkpoint where its consistency can be shown. A fork is
// kept by advance; a log that shows two histories does not stop a message from
// being shown, and shows in every receipt that carries the older head.
func (d *Device) see(ctx context.Context, c checkpoint) error {
	err := d.log.advance(ctx, d.cfg.Store, []byte(c.Note), d.now())
	if _, forked := errors.AsType[*ForkError](err); forked || errors.Is(err, errUnproven) {
		return nil
	}
	return err
}

// notification is what the app gets for a record: the content, or the refusal.
func (r *inboxRecord) notification(c sealpost.Commitment) (Notification, error) {
	if r.Level != sealpost.Decrypted {
		return Notification{}, &Refusal{ID: c.ID, Level: r.Level, Reason: r.Reason}
	}
	p, err := sealpost.DecodePayload(r.Payload)
	if err != nil {
		return Notification{}, fmt.Errorf("read inbox: %w", err)
	}
	return Notification{ID: c.ID, App: c.App, Template: p.Template, Text: p.Content.Text, Fields: p.Content.Fields,
		Created: c.Created, Expires: c.Expires, Received: r.Received}, nil
}

// Inbox lists what may be shown, oldest first. Refused messages are not in it.
func (d *Device) Inbox() (all []Notification, err error) {
	err = d.cfg.Store.View(func(tx Tx) error {
		records, err := loadAll[inboxRecord](tx, "inbox/")
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Level != sealpost.Decrypted {
				continue
			}
			signed, err := sealpost.Parse(r.Statement)
			if err != nil {
				return err
			}
			c, err := signed.Commitment()
			if err != nil {
				return err
			}
			n, err := r.notification(c)
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return nil
	})
	return all, err
}
