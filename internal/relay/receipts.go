package relay

import (
	"context"
	"errors"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// PostReceipts takes a device's receipts past the same points as Submit: admit,
// check, verify, hold, promise. Receipts may come late, so their time is not
// checked: no verdict rests on it. A receipt after the outcome is supplementary.
func (r *Relay) PostReceipts(ctx context.Context, device sealpost.KeyID, receipts [][]byte) []api.Verdict {
	verdicts := make([]api.Verdict, len(receipts))
	if len(receipts) > api.BatchMax {
		return refuseAll(verdicts, api.ErrTooLarge.With("at most %d receipts in one request", api.BatchMax))
	}
	now := r.cfg.Now()
	if p := r.overdue(now); p != nil {
		return refuseAll(verdicts, p)
	}
	d, p := r.deviceInForce(ctx, device)
	if p != nil {
		return refuseAll(verdicts, p)
	}
	var items []*item
	var places []int
	for i, raw := range receipts {
		it, p := r.checkReceipt(ctx, d, raw)
		if p != nil {
			verdicts[i].Problem = p
			continue
		}
		items, places = append(items, it), append(places, i)
	}
	if len(items) == 0 {
		return verdicts
	}
	if _, p := r.admission.enter(items, now, false); p != nil {
		return refuseAll(verdicts, p)
	}
	if err := r.pass(ctx, items); err != nil {
		return refuseAll(verdicts, r.answer("post receipts", err))
	}
	for k, it := range items {
		verdicts[places[k]] = r.receiptVerdict(it)
	}
	return verdicts
}

func (r *Relay) receiptVerdict(it *item) api.Verdict {
	switch {
	case it.problem != nil:
		return api.Verdict{Problem: it.problem}
	case it.held.Err != nil:
		return api.Verdict{Problem: r.answer("hold a receipt", it.held.Err)}
	}
	return api.Verdict{Accepted: accepted(&it.held.Record, it.held.Again)}
}

// checkReceipt makes the item of a receipt. R59: it must name the very
// commitment statement of its message, and what the device received. R11: a
// receipt for an unknown message is refused.
func (r *Relay) checkReceipt(ctx context.Context, d sealpost.Device, raw []byte) (*item, *api.Problem) {
	if len(raw) > sealpost.StatementMax {
		return nil, api.ErrTooLarge
	}
	s, err := sealpost.Parse(raw)
	if err != nil {
		return nil, Problem(err)
	}
	receipt, err := s.Receipt()
	if err != nil {
		return nil, Problem(err)
	}
	if id := d.Key.ID(); s.KeyID() != id || receipt.Key != id || s.Alg() != d.Key.Alg() {
		return nil, api.ErrWrongDevice
	}
	m, err := r.messages.get(ctx, receipt.ID, r.findMessage)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("look up a message", err)
	}
	if err != nil || m.app != d.App || m.recipient != d.Recipient {
		return nil, api.ErrNotFound
	}
	if p := matches(receipt, m); p != nil {
		return nil, p
	}
	h := holdOf(d.App, receipt.ID, s)
	h.Receipt = &receipt
	return &item{hold: h, promised: true, signer: s.KeyID(),
		check: checkOf(d.Key, s)}, nil
}

// fixed is what never changes of a message.
type fixed struct {
	app        string
	recipient  sealpost.Recipient
	commitment sealpost.Hash
	blob       sealpost.Hash
	roster     sealpost.Hash
}

func (r *Relay) findMessage(ctx context.Context, id sealpost.MessageID) (fixed, error) {
	m, err := r.cfg.Store.Message(ctx, id)
	return fixed{m.App, m.Recipient, m.Commitment, m.Blob, m.Roster}, err
}

// matches holds a receipt against the message that it names. A device that
// refuses may have received another blob, and may know another roster: that is
// what it refuses for. One that opened the message can have neither.
func matches(receipt sealpost.Receipt, m fixed) *api.Problem {
	switch {
	case receipt.Commitment != m.commitment:
		return api.ErrWrongCommitment
	case receipt.Blob != m.blob && receipt.Reason != sealpost.ReasonBlob:
		return api.ErrWrongCommitment.With("another blob")
	case receipt.Level.Positive() && receipt.Roster != m.roster:
		return api.ErrWrongCommitment.With("another roster")
	}
	return nil
}
