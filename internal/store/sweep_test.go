package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// A sweep is called every second: with nothing due it waits for no writer and
// keeps none waiting.
func TestIdleSweepNeedsNoWriter(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"))
	m := w.Message(d.Recipient)
	w.Invite(d.Recipient)
	w.MustHold(m)
	if _, err := w.Nonce(ctx, d.ID, [16]byte{1}, w.Now+1); err != nil {
		t.Fatal(err)
	}
	idle := func(what string) {
		t.Helper()
		release := w.Store.(*store.DB).HoldWriter()
		defer release()
		done := make(chan error, 1)
		go func() { done <- w.Sweep(ctx, w.Now) }()
		select {
		case err := <-done:
			w.Must(err)
		case <-time.After(10 * time.Second):
			t.Errorf("a sweep with nothing to do waits for the writer: %s", what)
		}
	}
	busy := func(what string) {
		t.Helper()
		release := w.Store.(*store.DB).HoldWriter()
		done := make(chan error, 1)
		go func() { done <- w.Sweep(ctx, w.Now) }()
		for w.Store.(*store.DB).Waiting() == 0 { // it has something to forget, and so it waits
			select {
			case err := <-done:
				t.Fatalf("a sweep with something to forget waits for nobody: %s, %v", what, err)
			case <-time.After(time.Millisecond):
			}
		}
		release()
		w.Must(<-done)
	}
	idle("a message is open")
	w.MustHold(w.Receipt(m, d, sealpost.HandedOver))
	busy("its device has it")
	if scan(t, filepath.Join(w.Place(), "data", "spool"), m.Blob[:64]) != 0 {
		t.Error("the blob is still there")
	}
	late := w.Message(d.Recipient)
	w.MustHold(late)
	w.Now = late.Commitment.Expires.Add(time.Second)
	busy("a nonce is over")
	idle("a message expired, and has no outcome yet")
	for _, id := range []sealpost.MessageID{m.ID, late.ID} {
		w.CloseAs(id, sealpost.Expired)
	}
	busy("it has its outcome")
	if scan(t, filepath.Join(w.Place(), "data", "spool"), late.Blob[:64]) != 0 {
		t.Error("the expired blob is still there")
	}
	if left := query(t, w, `SELECT count(*) FROM expiring`); left[0] != "0" {
		t.Errorf("%s rows of expiring are left", left[0])
	}
	idle("all is over")
}

// A message that nobody is woken for any more leaves the outbox: what no dispatcher
// ever takes, because no carrier is set up, must not pile up there.
func TestOutboxEmpties(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(w *storetest.World, m sealpost.Hold, first storetest.Device){
		"delivered, and then it expires": func(w *storetest.World, m sealpost.Hold, first storetest.Device) {
			w.MustHold(w.Receipt(m, first, sealpost.Decrypted))
			w.CloseAs(m.ID, sealpost.Delivered)
			w.Now = m.Commitment.Expires.Add(time.Second)
			w.Must(w.Sweep(ctx, w.Now))
		},
		"expired": func(w *storetest.World, m sealpost.Hold, _ storetest.Device) {
			w.Now = m.Commitment.Expires
			w.CloseAs(m.ID, sealpost.Expired)
		},
	} {
		w := storetest.NewWorld(t, openChecked)
		r := storetest.Recipient("r")
		first := w.Enrol(r, w.Token("first"))
		w.Enrol(r, w.Token("second"))
		m := w.Message(r, func(c *sealpost.Commitment) { c.Release = sealpost.ReleaseHeld })
		w.MustHold(m)
		outbox := func() string { return query(t, w, `SELECT count(*) FROM messages WHERE turn < 0x400000000000`)[0] }
		if n := outbox(); n != "1" {
			t.Fatalf("%s messages are in the outbox, want the one", n)
		}
		if end(w, m, first); outbox() != "0" {
			t.Errorf("%s: it is in the outbox still", name)
		}
	}
}

// What was handed over goes in transactions of SweepMax rows, however much it is.
func TestSweepOfMany(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"))
	const n = store.SweepMax + store.SweepMax/2
	for from := 0; from < n; from += store.GroupMax / 4 {
		var group []sealpost.Hold
		for range store.GroupMax / 4 {
			m := w.Message(d.Recipient)
			group = append(group, m, w.Receipt(m, d, sealpost.HandedOver))
		}
		w.MustHold(group...)
	}
	if left := query(t, w, fmt.Sprintf(`SELECT count(*) > %d FROM spent`, store.SweepMax)); left[0] != "1" {
		t.Fatal("fewer ranges were given up than one transaction takes, so the sweep below proves nothing")
	}
	begun := time.Now()
	w.Must(w.Sweep(ctx, w.Now))
	t.Logf("swept in %v", time.Since(begun))
	if left := query(t, w, `SELECT count(*) FROM spent`); left[0] != "0" {
		t.Errorf("%s ranges are not erased", left[0])
	}
	if r := fsck(t, w); r.Faulty != 0 || r.Blobs != 0 {
		t.Errorf("%d blobs, %v", r.Blobs, r.Faults)
	}
}

// A damaged row erases nothing, least of all what somebody waits for.
func TestSweepLeavesDamage(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	d := w.Enrol(storetest.Recipient("r"))
	gone, other, waiting := w.Message(d.Recipient), w.Message(d.Recipient), w.Message(d.Recipient)
	w.MustHold(gone, other, waiting, w.Receipt(gone, d, sealpost.HandedOver), w.Receipt(other, d, sealpost.HandedOver))
	spoil(t, w, `UPDATE spent SET start = (SELECT start FROM messages WHERE segment != 0) WHERE start = 0`)
	w.Must(w.Sweep(ctx, w.Now))
	spool := filepath.Join(w.Place(), "data", "spool")
	if scan(t, spool, waiting.Blob) != 1 {
		t.Error("the blob of a message that waits was erased")
	}
	if scan(t, spool, other.Blob[:64]) != 0 {
		t.Error("a range beside the damaged one was not erased")
	}
	if r := fsck(t, w); r.Faulty == 0 {
		t.Error("the damaged row is not named")
	}
}
