package store

import (
	"context"
	"errors"
	"slices"

	"github.com/sealpost/sealpost"
)

// GiveBackWork ends leases of [DB.ClaimWork] before their time, of tries that
// were not begun: they are due at once. A try that is leased anew meanwhile, was
// made, or is not needed any more stays as it is.
func (db *DB) GiveBackWork(ctx context.Context, works []sealpost.Work) error {
	for part := range slices.Chunk(works, PageMax) {
		if err := db.write(ctx, "give back work", func(g *group) error { return g.giveBackWork(part) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) giveBackWork(works []sealpost.Work) error {
	for i := range works {
		err := g.endLease(&works[i])
		if errors.Is(err, ErrDamaged) { // fsck names it; it must not keep others waiting
			g.log.Error("a message's lease stays", "seq", works[i].Message.Seq, "err", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endLease makes a route due whose turn is the end of the lease: that is how a
// lease stands in its row.
func (g *group) endLease(w *sealpost.Work) error {
	m, found, err := messageAt(g.c, w.Message.Seq)
	if err != nil || !found {
		return err
	}
	device, found, err := g.deviceID(w.Device)
	if err != nil || !found {
		return err
	}
	mine := m.route(device)
	if mine == nil || !mine.queued || mine.turn != w.Lease {
		return nil
	}
	mine.queue(atOnce)
	return g.save(&m)
}
