package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// What waits for a device is the same whether memory or the disk knows it.
func TestInboxIsBounded(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	devices := []storetest.Device{w.Enrol(storetest.Recipient("a")), w.Enrol(storetest.Recipient("b"))}
	waiting := map[sealpost.KeyID][]sealpost.Hold{}
	check := func(when string) {
		t.Helper()
		for _, d := range devices {
			got, err := w.Arrivals(ctx, d.ID, 0, 1<<40, 1000)
			w.Must(err)
			want := waiting[d.ID]
			if len(got) != len(want) {
				t.Errorf("%s: %d messages wait, want %d", when, len(got), len(want))
				continue
			}
			for i := range got {
				if got[i].Record.ID != want[i].ID {
					t.Errorf("%s: message %d is another", when, i)
				}
			}
		}
	}
	db := func() *store.DB { return w.Store.(*store.DB) }
	db().InboxMost(50)
	for round := range 6 {
		for i := range 40 {
			d := devices[i%2]
			m := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) })
			w.MustHold(m)
			waiting[d.ID] = append(waiting[d.ID], m)
		}
		w.Must(w.Sweep(ctx, w.Now))
		if n := db().InMemory(); n > 50 {
			t.Errorf("round %d: %d routes in memory", round, n)
		}
		check("swept")
		for _, d := range devices { // one old and one new message go
			list := waiting[d.ID]
			w.MustHold(w.Receipt(list[0], d, sealpost.HandedOver), w.Receipt(list[len(list)-1], d, sealpost.Mismatch))
			w.CloseAs(list[len(list)-1].ID, sealpost.Refused)
			waiting[d.ID] = list[1 : len(list)-1]
		}
		check("some went")
		if round == 3 {
			w.Reopen()
			db().InboxMost(50)
			check("opened again")
		}
	}
	gone := devices[0]
	w.MustHold(w.RevokeEvent(gone))
	devices = devices[1:]
	check("the other was revoked")
	for _, m := range waiting[gone.ID] {
		w.CloseAs(m.ID, sealpost.Undeliverable)
	}
	old := waiting[devices[0].ID][0]
	w.Now = old.Commitment.Expires
	w.CloseAs(old.ID, sealpost.Expired)
	if n := query(t, w, `SELECT count(*) FROM waiting w JOIN messages m ON m.seq = w.message WHERE m.outcome != 0`)[0]; n != "0" {
		t.Errorf("%s ended messages are still in the inbox on disk", n)
	}
	if n := query(t, w, `SELECT count(*) FROM waiting`)[0]; n == "0" {
		t.Error("nothing is in the inbox on disk, so the check above proves nothing")
	}
	if r := fsck(t, w); r.Faulty != 0 {
		t.Error(r.Faults)
	}
}
