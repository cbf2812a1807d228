package client

import (
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// Accuse builds, from this device's own store, what it can show of a message
// that it refused or that others lied about: the commitments that came under
// its id, every receipt that this device signed, and its own key event. It
// needs no relay and opens nothing.
func (d *Device) Accuse(id sealpost.MessageID) (*evidence.Bundle, error) {
	b := &evidence.Bundle{Version: evidence.Version, ID: id}
	err := d.cfg.Store.View(func(tx Tx) error {
		e, _, err := load[enrolmentRecord](tx, enrolmentKey)
		if err != nil {
			return err
		}
		r, taken, err := load[inboxRecord](tx, inboxKey(id))
		if err != nil {
			return err
		}
		receipts, err := loadAll[receiptRecord](tx, receiptPrefix(id))
		if err != nil {
			return err
		}
		refused, err := refusedExhibits(tx, id)
		if err != nil {
			return err
		}
		if !taken && len(receipts)+len(refused) == 0 {
			return sealpost.ErrNotFound
		}
		all := []exhibitRecord{e.Event}
		if taken {
			all = append(all, exhibitRecord{r.Statement, r.Salt, r.Promise, r.Proof})
		}
		if len(r.Roster) != 0 {
			b.Rosters = [][]byte{r.Roster}
		}
		for _, x := range receipts {
			all = append(all, x.Exhibit)
		}
		for _, x := range refused {
			all = append(all, exhibitRecord(x))
		}
		b.Exhibits = exhibitsOf(all)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bundle of what was refused: %w", err)
	}
	return b, nil
}

// exhibitsOf is each statement once, as it came first: a receipt stands in the
// outbox's order before the fault that it was signed for.
func exhibitsOf(all []exhibitRecord) (out []evidence.Exhibit) {
	seen := map[string]bool{"": true} // no statement
	for _, x := range all {
		if !seen[string(x.Statement)] {
			seen[string(x.Statement)] = true
			out = append(out, evidence.Exhibit(x))
		}
	}
	return out
}
