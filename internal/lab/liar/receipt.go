package liar

import (
	"context"
	"crypto/rand"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// receiptOf says of a submission what a device would that opened it, but for
// what only a holder of the opening can say.
func receiptOf(s sealpost.Sealed, level sealpost.Level, device sealpost.KeyID, now sealpost.UnixMilli) sealpost.Receipt {
	c := s.Commitment()
	r := sealpost.Receipt{ID: c.ID, Commitment: s.Statement().Hash(), Blob: c.Blob, Roster: c.Roster, Level: level, Key: device, DeviceTime: now}
	if level.Positive() {
		r.Opened = make([]byte, len(sealpost.Hash{}))
		_, _ = rand.Read(r.Opened) // never fails
	}
	return r
}

// forgeReceipt closes a message that no device ever saw: the real store counts
// the forged receipts, and the real relay signs that it was delivered.
func forgeReceipt(o *operator, honest rooms) rooms {
	honest.Intake = forgedReceipts{honest.Intake, o, honest}
	honest.DeviceRoad = courier{honest.DeviceRoad, keepBack}
	return honest
}

type forgedReceipts struct {
	api.Intake
	o      *operator
	honest rooms
}

// Submit holds, for every device of the recipient, a receipt in its name and one
// by the relay's own key.
func (f forgedReceipts) Submit(ctx context.Context, caller api.Caller, batch []sealpost.Sealed) []api.Verdict {
	verdicts := f.Intake.Submit(ctx, caller, batch)
	for i, s := range batch {
		if verdicts[i].Accepted == nil {
			continue
		}
		events, err := f.honest.KeyEvents(ctx, caller, s.Commitment().Recipient)
		if err != nil {
			return failed(verdicts)
		}
		for _, k := range keyEvents(events) {
			for level, by := range map[sealpost.Level]sealpost.Signer{
				sealpost.Decrypted: inName{k.Key, f.o.Statement},
				sealpost.Displayed: f.o.Statement,
			} {
				if _, err := f.o.hold(ctx, caller.App, s.ID(), receiptOf(s, level, k.Key.ID(), f.o.time()), by); err != nil {
					return failed(verdicts)
				}
			}
		}
	}
	return verdicts
}

// buryRefusal answers the device as an honest relay would, and holds nothing.
func buryRefusal(o *operator, honest rooms) rooms {
	honest.DeviceRoad = buried{courier{honest.DeviceRoad, noWelcome}, o}
	return honest
}

type buried struct {
	api.DeviceRoad
	o *operator
}

// PostReceipts promises and forgets.
func (b buried) PostReceipts(_ context.Context, _ sealpost.KeyID, receipts [][]byte) []api.Verdict {
	out := make([]api.Verdict, len(receipts))
	for i, raw := range receipts {
		signed, err := sealpost.Parse(raw)
		var r sealpost.Receipt
		if err == nil {
			r, err = signed.Receipt()
		}
		a := api.Accepted{ID: r.ID}
		if err == nil {
			a.Salt, a.Promise, err = b.o.promise(signed, sealpost.MergeDelay, 0)
		}
		if err != nil {
			return failed(out)
		}
		out[i].Accepted = &a
	}
	return out
}
