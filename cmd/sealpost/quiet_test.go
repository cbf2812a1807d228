package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
)

// A quietTown is a town that has stopped: some messages were delivered, and
// some still lie at the relay, because their phone was switched off first.
type quietTown struct {
	*town
	delivered, waiting []sealpost.MessageID // one-time codes first
}

var quiet struct {
	sync.Once
	town quietTown
}

// quietFolders gives the folders of the one quiet town, to read. Tests change
// copies.
func quietFolders(t testing.TB) quietTown {
	t.Helper()
	quiet.Do(func() {
		root, err := os.MkdirTemp("", "sealpost-quiet-")
		if err != nil {
			t.Fatal(err)
		}
		shared = append(shared, root)
		quiet.town = makeQuiet(t, root)
	})
	if quiet.town.town == nil {
		t.Fatal("there is no quiet town")
	}
	return quiet.town
}

func makeQuiet(t testing.TB, root string) quietTown {
	w := newTownIn(t, root, "")
	w.startRelay()
	d := w.demo([]demoLine{
		{To: "+491511234567", Template: "otp", Data: map[string]string{"code": "493817"}},
		{To: "+491511234567", Template: "payment", Data: map[string]string{"amount": "12.50", "currency": "EUR", "payee": "Bookshop"}},
	})
	ctx := w.within(2 * time.Minute)
	for _, step := range []func() error{
		func() error { return d.enrol(ctx) }, func() error { return d.send(ctx) }, func() error { return d.gather(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	q := quietTown{town: w}
	for _, m := range d.sent {
		q.delivered = append(q.delivered, m.id)
	}
	for _, p := range d.phones {
		w.stop(p)
	}
	messages := []client.Message{{To: "+491511234567", Template: "otp", Data: map[string]string{"code": "270034"}}}
	for i := range 4 {
		messages = append(messages, client.Message{To: "+491511234567", Template: "account", Data: map[string]string{"change": fmt.Sprint("change ", i)}})
	}
	for _, sent := range d.sender.SendAll(ctx, messages) {
		if sent.Err != nil {
			t.Fatal(sent.Err)
		}
		q.waiting = append(q.waiting, sent.ID)
		for st := (client.Status{}); st.Logged == 0; {
			var err error
			if st, err = d.sender.Sync(ctx, sent.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.stop(w.relay)
	d.sender.close()
	return q
}

// copyOf copies the town's folders and gives their new place.
func (q quietTown) copyOf(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "town")
	copyTree(t, q.dir, dir)
	return dir
}
