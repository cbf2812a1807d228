package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Enrolment gives the device's own enrol event, once a checkpoint covers it.
func (r *Relay) Enrolment(ctx context.Context, device sealpost.KeyID) (api.Exhibit, error) {
	d, err := r.cfg.Store.Device(ctx, device)
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return api.Exhibit{}, api.ErrNotFound
	case err != nil:
		return api.Exhibit{}, r.answer("look up a device", err)
	case d.Enrolled >= r.published.size():
		return api.Exhibit{}, api.ErrNotFound
	}
	rec, err := r.cfg.Store.Record(ctx, d.Enrolled)
	if err != nil {
		return api.Exhibit{}, r.answer("read a device's enrol event", err)
	}
	list, err := r.exhibits(ctx, []sealpost.Record{rec})
	if err != nil {
		return api.Exhibit{}, err
	}
	return list[0], nil
}

// Inbox gives released, open messages for the device, oldest first, and says what
// is left of its KeyPackages. It waits for the first message as long as it is
// asked to, at most waitMax, and then gives none.
func (r *Relay) Inbox(ctx context.Context, device sealpost.KeyID, after uint64, limit int, waitMS int) (api.Arrivals, error) {
	d, p := r.deviceInForce(ctx, device)
	if p != nil {
		return api.Arrivals{}, p
	}
	list, err := r.await(ctx, d, after, pageOf(limit), min(time.Duration(max(waitMS, 0))*time.Millisecond, waitMax))
	if err != nil {
		return api.Arrivals{}, err
	}
	pool, err := r.cfg.Store.Pool(ctx, device)
	if err != nil {
		return api.Arrivals{}, r.answer("count KeyPackages", err)
	}
	return api.Arrivals{Arrivals: list, Pool: api.Pool{Left: pool.Left, LastResort: pool.LastResort}}, nil
}

// await gives messages, and waits for the first.
func (r *Relay) await(ctx context.Context, d sealpost.Device, after uint64, limit int, wait time.Duration) ([]api.Arrival, error) {
	device := d.Key.ID()
	if wait == 0 {
		return r.arrivals(ctx, device, after, limit)
	}
	k := recipientKey{d.App, d.Recipient}
	w := r.inboxes.join(k, r.published.held())
	if w == nil {
		return r.arrivals(ctx, device, after, limit)
	}
	defer r.inboxes.leave(k, w)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		list, err := r.arrivals(ctx, device, after, limit)
		if err != nil || len(list) > 0 || !r.admission.isServing() {
			return list, err
		}
		select {
		case <-w.ready:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, r.answer("wait for messages", ctx.Err())
		}
	}
}

func (r *Relay) arrivals(ctx context.Context, device sealpost.KeyID, after uint64, limit int) ([]api.Arrival, error) {
	list, err := r.cfg.Store.Arrivals(ctx, device, after, r.published.size(), limit)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("read a device's messages", err)
	}
	return r.arrivalsOf(ctx, list)
}

// Arrival gives one message that is routed to the device.
func (r *Relay) Arrival(ctx context.Context, device sealpost.KeyID, id sealpost.MessageID) (api.Arrival, error) {
	if _, p := r.deviceInForce(ctx, device); p != nil {
		return api.Arrival{}, p
	}
	d, err := r.cfg.Store.Arrival(ctx, device, id)
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return api.Arrival{}, api.ErrNotFound
	case err != nil:
		return api.Arrival{}, r.answer("read a message for a device", err)
	}
	if released, err := r.isReleased(d); err != nil || !released {
		if err != nil {
			return api.Arrival{}, r.answer("read a held commitment", unreadable{err})
		}
		return api.Arrival{}, api.ErrNotFound
	}
	list, err := r.arrivalsOf(ctx, []sealpost.Delivery{d})
	if err != nil {
		return api.Arrival{}, err
	}
	return list[0], nil
}

// isReleased says whether devices may hear of a message (DESIGN section 3, step 6).
func (r *Relay) isReleased(d sealpost.Delivery) (bool, error) {
	if d.Record.Seq < r.published.size() {
		return true, nil
	}
	s, err := sealpost.Parse(d.Record.Statement)
	if err != nil {
		return false, err
	}
	c, err := s.Commitment()
	return c.Release == sealpost.ReleaseHeld, err
}

// arrivalsOf puts messages into the form that devices read, with a proof of each
// that is logged.
func (r *Relay) arrivalsOf(ctx context.Context, list []sealpost.Delivery) ([]api.Arrival, error) {
	records := make([]sealpost.Record, len(list))
	for i, d := range list {
		records[i] = d.Record
	}
	proofs, err := r.proofs(ctx, records)
	if err != nil {
		return nil, err
	}
	out := make([]api.Arrival, len(list))
	for i, d := range list {
		sealed, err := sealedOf(d)
		if err != nil {
			return nil, r.answer("read a held message", unreadable{err})
		}
		out[i] = api.Arrival{Seq: d.Record.Seq, Sealed: sealed.Bytes(), Salt: d.Record.Salt[:],
			Promise: d.Record.Promise, Proof: proofs[i]}
	}
	return out, nil
}

func sealedOf(d sealpost.Delivery) (sealpost.Sealed, error) {
	s, err := sealpost.Parse(d.Record.Statement)
	if err != nil {
		return sealpost.Sealed{}, fmt.Errorf("seq %d: %w", d.Record.Seq, err)
	}
	sealed, err := sealpost.NewSealed(s, d.Blob)
	if err != nil {
		return sealed, fmt.Errorf("seq %d: %w", d.Record.Seq, err)
	}
	return sealed, nil
}

// Stock adds KeyPackages to the device's pool, and replaces its endpoints where
// there are any.
func (r *Relay) Stock(ctx context.Context, device sealpost.KeyID, packages [][]byte, endpoints []api.DeviceEndpoint) error {
	if _, p := r.deviceInForce(ctx, device); p != nil {
		return p
	}
	packages, lastResort, p := readPackages(packages)
	if p != nil {
		return p
	}
	list, p := readEndpoints(endpoints)
	if p != nil {
		return p
	}
	if len(packages) > 0 || lastResort != nil {
		if err := r.cfg.Store.PutPackages(ctx, device, packages, lastResort); err != nil {
			return r.answer("stock KeyPackages", err)
		}
	}
	if len(list) > 0 {
		if err := r.cfg.Store.PutEndpoints(ctx, device, list); err != nil {
			return r.answer("replace endpoints", err)
		}
	}
	return nil
}
