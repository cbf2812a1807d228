package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// cursorLag is how long the place from which the inbox is read stays behind the
// newest message: one with a later release rule may be released after one that
// was accepted later.
const cursorLag = 2 * sealpost.FreshnessWindow

// pagesMax bounds the pages of one Sync.
const pagesMax = 64

const cursorKey = "cursor"

// cursorRecord is up to where the relay's inbox has been read.
type cursorRecord struct {
	After  uint64 `cbor:"1,keyasint"` // everything up to here is settled
	Newest uint64 `cbor:"2,keyasint"`
}

// An Arrived is one message of a Sync: a notification, or why there is none.
type Arrived struct {
	Notification
	Err error
}

// Sync asks the relay for messages, which heals every push that was lost, and
// waits for the first up to wait. Then it signs gaps that are due, posts what
// waits in the outbox, and refills the pool of KeyPackages. Messages that are
// in the inbox already are not listed again.
func (d *Device) Sync(ctx context.Context, wait time.Duration) ([]Arrived, error) {
	got, err := d.fetch(ctx, wait)
	if err != nil {
		return got, err
	}
	if err := d.signGaps(); err != nil {
		return got, err
	}
	return got, errors.Join(d.Flush(ctx), d.Refill(ctx))
}

// fetch reads the inbox from the settled place on, and if there is nothing new
// waits for something beyond the newest.
func (d *Device) fetch(ctx context.Context, wait time.Duration) ([]Arrived, error) {
	if !d.isPinned() {
		return nil, ErrNotEnrolled
	}
	var at cursorRecord
	err := d.cfg.Store.View(func(tx Tx) (err error) { at, _, err = load[cursorRecord](tx, cursorKey); return err })
	if err != nil {
		return nil, err
	}
	var out []Arrived
	after, pause := at.After, time.Duration(0)
	for range pagesMax {
		page, err := d.cfg.API.Inbox(ctx, after, api.PageDefault, int(pause.Milliseconds()))
		if err != nil {
			return out, fmt.Errorf("fetch messages: %w", err)
		}
		d.notePool(page.Pool)
		for _, a := range page.Arrivals {
			n, err := d.receive(ctx, a, byRelay)
			if !settled(err) {
				return out, err
			}
			if !isAgain(n, err) {
				out = append(out, Arrived{n, err})
			}
			at.pass(a, d.now())
			after = max(after, a.Seq)
		}
		switch {
		case len(page.Arrivals) == api.PageDefault:
			pause = 0
		case len(out) == 0 && wait > 0 && pause == 0:
			after, pause = max(after, at.Newest), wait
		default:
			return out, d.cfg.Store.Update(func(tx Tx) error { return save(tx, cursorKey, at) })
		}
	}
	return out, d.cfg.Store.Update(func(tx Tx) error { return save(tx, cursorKey, at) })
}

// isPinned says whether there is an enrolment. What it pins never changes after.
func (d *Device) isPinned() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pinned != nil
}

// settled says whether an arrival needs no other look: it was taken, refused,
// or is nothing that this device can take.
func settled(err error) bool {
	_, refused := errors.AsType[*Refusal](err)
	return err == nil || refused || errors.Is(err, sealpost.ErrMalformed) || errors.Is(err, sealpost.ErrNotFound) || errors.Is(err, sealpost.ErrConflict)
}

func isAgain(n Notification, err error) bool {
	refusal, refused := errors.AsType[*Refusal](err)
	return n.Again || (refused && refusal.Again)
}

// pass moves the cursor over one arrival: the settled place follows those that
// were made long enough ago.
func (c *cursorRecord) pass(a api.Arrival, now sealpost.UnixMilli) {
	c.Newest = max(c.Newest, a.Seq)
	if _, commitment, _, err := takeApart(a.Sealed); err != nil || commitment.Created.Add(cursorLag) < now {
		c.After = max(c.After, a.Seq)
	}
}
