package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/evidence"
)

// receiptRecord is one receipt of this device, as it was signed and ever will be.
type receiptRecord struct {
	Level      sealpost.Level `cbor:"1,keyasint"`
	Commitment sealpost.Hash  `cbor:"2,keyasint"`
	Exhibit    exhibitRecord  `cbor:"3,keyasint"`
	Problem    string         `cbor:"4,keyasint,omitempty"` // type, where the relay refused it for good
}

func receiptPrefix(id sealpost.MessageID) string { return at("receipt", id[:]) + "/" }

// receiptName is where a receipt stands below "receipt/" and "unposted/": by
// message, then level, so that they are posted in that order.
func receiptName(id sealpost.MessageID, level sealpost.Level, commitment sealpost.Hash) string {
	return at("", id[:], []byte{byte(level)}, commitment[:])
}

// sign makes one receipt and puts it into the outbox, once for each level: the
// bytes that were signed first are the ones that are posted, always. It does
// not look at the clock but for the device's own claim of time.
func (d *Device) sign(tx Tx, commitment sealpost.Hash, c sealpost.Commitment, r *inboxRecord, level sealpost.Level) error {
	name := receiptName(c.ID, level, commitment)
	if tx.Get("receipt"+name) != nil {
		return nil
	}
	newest, err := held(tx)
	if err != nil {
		return err
	}
	receipt := sealpost.Receipt{ID: c.ID, Commitment: commitment, Blob: c.Blob, Roster: r.Digest, Level: level, Key: d.id,
		DeviceTime: d.now(), Checkpoint: newest.Note}
	switch {
	case level.Positive():
		p, err := sealpost.DecodePayload(r.Payload)
		if err != nil {
			return err
		}
		opened := sealpost.Opened(p.R, commitment, d.id, level)
		receipt.Opened = opened[:]
	case level.Negative():
		receipt.Reason = r.Reason
	case level == sealpost.Gap:
		receipt.Reason = sealpost.ReasonMissing
	}
	signed, err := sealpost.Sign(receipt, d.cfg.Key)
	if err != nil {
		return err
	}
	return enqueue(tx, name, signed, level, commitment)
}

// enqueue keeps a signed receipt and puts it into the outbox.
func enqueue(tx Tx, name string, signed sealpost.Signed, level sealpost.Level, commitment sealpost.Hash) error {
	record := receiptRecord{Level: level, Commitment: commitment, Exhibit: exhibitRecord{Statement: signed.Bytes()}}
	return errors.Join(save(tx, "receipt"+name, record), tx.Put("unposted"+name, []byte{1}))
}

// stray keeps a message that does not even reach the MLS state, because its
// commitment is forged or its blob is another: the bytes, with a signed
// mismatch. Where the relay itself gave them, the mismatch is posted too; what
// a push brought says nothing of the relay. How many are kept is bounded, and
// so how many are signed.
func (d *Device) stray(signed sealpost.Signed, c sealpost.Commitment, blob []byte, reason sealpost.Reason, a api.Arrival, from int) error {
	hash, sum := signed.Hash(), blobHash(blob)
	refusal := &Refusal{ID: c.ID, Level: sealpost.Mismatch, Reason: reason, stray: true}
	err := d.cfg.Store.Update(func(tx Tx) error {
		mark := at("stray", hash[:], sum[:], []byte{byte(from)})
		n, err := count(tx, "fault/")
		if err != nil || n >= FaultsMax || tx.Get(mark) != nil {
			refusal.Again = true
			return err
		}
		newest, err := held(tx)
		if err != nil {
			return err
		}
		receipt, err := sealpost.Sign(sealpost.Receipt{ID: c.ID, Commitment: hash, Blob: sum, Level: sealpost.Mismatch,
			Key: d.id, DeviceTime: d.now(), Checkpoint: newest.Note, Reason: reason}, d.cfg.Key)
		if err != nil {
			return err
		}
		if from == byRelay {
			if err := enqueue(tx, receiptName(c.ID, sealpost.Mismatch, hash), receipt, sealpost.Mismatch, hash); err != nil {
				return err
			}
		}
		return errors.Join(tx.Put(mark, []byte{1}), keepFault(tx, Fault{Time: d.now(), ID: c.ID, What: refusal.Error(),
			Parts: [][]byte{blob}, Exhibits: []evidence.Exhibit{shown(signed, a), {Statement: receipt.Bytes()}}}))
	})
	if err != nil {
		return fmt.Errorf("keep refused message: %w", err)
	}
	return refusal
}

// shown is a commitment as an arrival brought it. What a push brings has no
// promise, and then the salt is nothing but zeros.
func shown(signed sealpost.Signed, a api.Arrival) evidence.Exhibit {
	if x, ok := offered(signed.Bytes(), a.Salt, a.Promise, a.Proof); ok {
		return x
	}
	return evidence.Exhibit{Statement: signed.Bytes()}
}

// Displayed signs that the text was given to the screen, and posts it.
func (d *Device) Displayed(ctx context.Context, id sealpost.MessageID) error {
	return d.assert(ctx, id, sealpost.Displayed)
}

// Acted signs that a person acted on the message, which was displayed before,
// and posts it.
func (d *Device) Acted(ctx context.Context, id sealpost.MessageID) error {
	return d.assert(ctx, id, sealpost.Acted)
}

// assert signs a level of an opened message; the same level again signs nothing
// new. That posting failed is not an error: the receipt is durable.
func (d *Device) assert(ctx context.Context, id sealpost.MessageID, level sealpost.Level) error {
	d.mu.Lock()
	err := d.cfg.Store.Update(func(tx Tx) error {
		r, found, err := load[inboxRecord](tx, inboxKey(id))
		if err != nil {
			return err
		}
		if !found {
			return sealpost.ErrNotFound
		}
		signed, err := sealpost.Parse(r.Statement)
		if err != nil {
			return err
		}
		c, err := signed.Commitment()
		if err != nil {
			return err
		}
		before := receiptName(id, sealpost.Displayed, signed.Hash())
		if r.Level != sealpost.Decrypted || (level == sealpost.Acted && tx.Get("receipt"+before) == nil) {
			return ErrLevel
		}
		return d.sign(tx, signed.Hash(), c, &r, level)
	})
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("receipt %v: %w", level, err)
	}
	_ = d.Flush(ctx) // durable: Sync posts it if this did not
	return nil
}

// Receipts lists the receipts that this device signed for a message.
func (d *Device) Receipts(id sealpost.MessageID) (all []sealpost.Receipt, err error) {
	var records []receiptRecord
	err = d.cfg.Store.View(func(tx Tx) error { records, err = loadAll[receiptRecord](tx, receiptPrefix(id)); return err })
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b receiptRecord) int { return int(a.Level) - int(b.Level) })
	for _, x := range records {
		signed, err := sealpost.Parse(x.Exhibit.Statement)
		if err != nil {
			return nil, err
		}
		r, err := signed.Receipt()
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Flush posts the receipts that wait, with the bytes that were signed, and
// keeps the promise of each. What the relay refuses for good stays with the
// device as evidence and is not posted again.
func (d *Device) Flush(ctx context.Context) error {
	if !d.isPinned() {
		return ErrNotEnrolled
	}
	for {
		names, statements, err := d.unposted()
		if err != nil || len(names) == 0 {
			return err
		}
		verdicts := d.cfg.API.PostReceipts(ctx, statements)
		var waits []error
		for i, name := range names {
			if i >= len(verdicts) {
				return fmt.Errorf("%w: no answer for a receipt", ErrPending)
			}
			if err := d.settle(name, statements[i], verdicts[i]); err != nil {
				waits = append(waits, err)
			}
		}
		if len(waits) > 0 {
			return errors.Join(waits...)
		}
	}
}

// unposted reads one batch of the outbox.
func (d *Device) unposted() (names []string, statements [][]byte, err error) {
	err = d.cfg.Store.View(func(tx Tx) error {
		return scan(tx, "unposted/", func(key string, _ []byte) error {
			name := key[len("unposted"):]
			r, found, err := load[receiptRecord](tx, "receipt"+name)
			if err != nil || !found {
				return errors.Join(err, missing(!found, "a receipt of the outbox"))
			}
			names, statements = append(names, name), append(statements, r.Exhibit.Statement)
			if len(names) == api.BatchMax {
				return errStop
			}
			return nil
		})
	})
	return names, statements, err
}

// settle makes one answer durable.
func (d *Device) settle(name string, statement []byte, v api.Verdict) error {
	switch {
	case v.Problem != nil && final(v.Problem):
		return d.posted(name, func(r *receiptRecord) { r.Problem = v.Problem.Type })
	case v.Problem != nil:
		return fmt.Errorf("%w: %w", ErrPending, v.Problem)
	case v.Accepted == nil:
		return fmt.Errorf("%w: an empty answer", ErrPending)
	}
	p, err := checkPromise(d.pinned.Relay, d.log.origin(), v.Accepted.Salt, v.Accepted.Promise, statement, 0)
	if err != nil {
		fault := Fault{Time: d.now(), What: err.Error(), Parts: [][]byte{statement, v.Accepted.Salt, v.Accepted.Promise}}
		return fmt.Errorf("%w: %w", ErrPending, errors.Join(err, recordFault(d.cfg.Store, fault)))
	}
	return d.posted(name, func(r *receiptRecord) { r.Exhibit.Salt, r.Exhibit.Promise = p.Salt, p.Promise })
}

func (d *Device) posted(name string, with func(*receiptRecord)) error {
	return d.cfg.Store.Update(func(tx Tx) error {
		r, found, err := load[receiptRecord](tx, "receipt"+name)
		if err != nil || !found {
			return errors.Join(err, missing(!found, "a posted receipt"))
		}
		with(&r)
		return errors.Join(save(tx, "receipt"+name, r), tx.Delete("unposted"+name))
	})
}
