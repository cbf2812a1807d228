package store_test

import (
	"bytes"
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

// What memory knows of messages that were just held is what the database says:
// to close them, and to try them.
func TestMemoryTellsWhatTheDatabaseTells(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	a, b := w.Enrol(storetest.Recipient("a"), w.Token("a")), w.Enrol(storetest.Recipient("b"), w.Token("b"))
	long := func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) }
	opened, refused, failed, waits := w.Message(a.Recipient, long), w.Message(a.Recipient, long), w.Message(b.Recipient, long), w.Message(b.Recipient, long)
	w.MustHold(opened, refused, failed, waits)
	w.MustHold(w.Attempt(opened, a, 1, sealpost.Accepted, 0), w.Receipt(opened, a, sealpost.HandedOver), w.Receipt(opened, a, sealpost.Decrypted))
	w.MustHold(w.Receipt(refused, a, sealpost.Mismatch), w.Attempt(failed, b, 1, sealpost.EndpointGone, 0))
	closable := func() []sealpost.Closing {
		t.Helper()
		out, err := w.Closable(ctx, w.Now, 100)
		w.Must(err)
		return out
	}
	database := closable() // the first of a second asks it
	if len(database) != 3 || len(database[0].Receipts) != 2 || len(database[0].Attempts) != 1 {
		t.Fatalf("the database: %+v", database)
	}
	if memory := closable(); !reflect.DeepEqual(memory, database) {
		t.Errorf("memory says %+v\nthe database %+v", memory, database)
	}
	if again := closable(); !reflect.DeepEqual(again, database) { // memory gave each once
		t.Errorf("once more: %+v", again)
	}
	w.CloseAs(opened.ID, sealpost.Delivered)
	for _, c := range closable() {
		if c.Message.ID == opened.ID {
			t.Error("a message that has its outcome comes again")
		}
	}

	size, err := w.Size(ctx)
	w.Must(err)
	work := func() []sealpost.Work {
		t.Helper()
		out, err := w.ClaimWork(ctx, w.Now, w.Now+1, size, 10)
		w.Must(err)
		w.Now += 2 // the leases are over
		return out
	}
	w.PutEndpoints(ctx, b.ID, []sealpost.Endpoint{w.Token("new")})
	first := work()
	if len(first) != 1 || first[0].Message.ID != waits.ID {
		t.Fatalf("from memory: %d tries", len(first))
	}
	w.Reopen()
	second := work()
	if len(second) != 1 || second[0].Message != first[0].Message || second[0].Device != first[0].Device || second[0].Number != first[0].Number ||
		!bytes.Equal(second[0].Sealed.Bytes(), first[0].Sealed.Bytes()) {
		t.Errorf("memory gives %+v\nthe database %+v", first, second)
	}
}
