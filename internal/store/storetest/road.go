package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

const all = 1 << 40 // a log that holds everything

func denseSeqs(t *testing.T, w *World) {
	ctx := context.Background()
	var want []sealpost.Leaf
	size, err := w.Size(ctx)
	w.Must(err)
	if size != 1 {
		t.Fatalf("a world begins with one statement, not %d", size)
	}
	for _, n := range []int{1, 7, 64} {
		group := make([]sealpost.Hold, n)
		for i := range group {
			group[i] = w.Message(Recipient("nobody"))
		}
		for i, h := range w.MustHold(group...) {
			if h.Record.Seq != size+uint64(i) || h.Record.Leaf != group[i].Leaf {
				t.Fatalf("statement %d of a group of %d got seq %d after %d", i, n, h.Record.Seq, size)
			}
			want = append(want, h.Record.Leaf)
		}
		size += uint64(n)
	}
	if got, err := w.Size(ctx); err != nil || got != size {
		t.Errorf("size %d, %v; want %d", got, err, size)
	}
	got, err := w.Leaves(ctx, 1, 1000)
	w.Must(err)
	if !slices.Equal(got, want) {
		t.Error("leaves are not in seq order")
	}
	if some, err := w.Leaves(ctx, 3, 2); err != nil || !slices.Equal(some, want[2:4]) {
		t.Errorf("two leaves from 3 on are others: %v", err)
	}
	if none, err := w.Leaves(ctx, size, 10); err != nil || len(none) != 0 {
		t.Errorf("%d leaves beyond the end, %v", len(none), err)
	}
}

// R44: a replayed submission changes nothing and gets the answer it got.
func heldOnce(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	r := w.Receipt(m, d, sealpost.HandedOver)
	a := w.Attempt(m, d, 1, sealpost.Accepted, 0)
	first := w.MustHold(m, a, r)
	size, _ := w.Size(context.Background())
	for i, h := range []sealpost.Hold{m, a, r} {
		_, err := rand.Read(h.Salt[:]) // a retry draws a new salt; the held one counts
		w.Must(err)
		h.Leaf = sealpost.MakeLeaf(h.Salt, h.Statement)
		if h.Part != nil {
			h = w.Promise(h)
		}
		again := w.HoldOne(h)
		if again.Err != nil || !again.Again {
			t.Fatalf("%v again: %v, again %v", h.Kind, again.Err, again.Again)
		}
		if !sameRecord(again.Record, first[i].Record) {
			t.Errorf("%v again is not the record that was held", h.Kind)
		}
	}
	twin := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.ID = m.ID })
	twin.ID = m.ID
	other := w.Attempt(m, d, 2, sealpost.Throttled, 0)
	other.Attempt.Attempt = a.Attempt.Attempt
	other.Record = w.Seal(*other.Attempt, w.Relay, m.ID)
	for _, h := range []sealpost.Hold{twin, other} {
		if got := w.HoldOne(h); !errors.Is(got.Err, sealpost.ErrConflict) {
			t.Errorf("another %v under the same id: %v, want a conflict", h.Kind, got.Err)
		}
	}
	fresh := w.Message(d.Recipient)
	group, err := w.Hold(context.Background(), []sealpost.Hold{fresh, fresh, w.Message(d.Recipient, func(c *sealpost.Commitment) { c.ID = fresh.ID })})
	w.Must(err)
	if group[0].Err != nil || group[0].Again || !group[1].Again || group[1].Record.Seq != group[0].Record.Seq || !errors.Is(group[2].Err, sealpost.ErrConflict) {
		t.Errorf("one id thrice in a group: %+v", group)
	}
	if got, _ := w.Size(context.Background()); got != size+1 {
		t.Errorf("size %d, want %d: only one statement was new", got, size+1)
	}
}

func sameRecord(a, b sealpost.Record) bool {
	return a.Seq == b.Seq && a.Kind == b.Kind && a.App == b.App && a.ID == b.ID && a.Hash == b.Hash && a.Salt == b.Salt && a.Leaf == b.Leaf &&
		bytes.Equal(a.Statement, b.Statement) && bytes.Equal(a.Promise, b.Promise)
}

func oneBadHold(t *testing.T, w *World) {
	d, stranger := w.Enrol(Recipient("r"), w.Token("tok")), w.Enrol(Recipient("other"))
	m, unknown := w.Message(d.Recipient), w.Message(d.Recipient)
	wrong := w.Receipt(m, d, sealpost.Decrypted)
	wrong.Receipt.Commitment = unknown.Hash
	wrong.Record = w.Seal(*wrong.Receipt, d, m.ID)
	wrong = w.Promise(wrong)
	group := []sealpost.Hold{m, w.Receipt(unknown, d, sealpost.HandedOver), w.Receipt(m, stranger, sealpost.HandedOver), wrong,
		w.Attempt(m, stranger, 1, sealpost.Accepted, 0), w.Receipt(m, d, sealpost.HandedOver)}
	held, err := w.Hold(context.Background(), group)
	w.Must(err)
	for i, h := range held {
		good := i == 0 || i == len(held)-1
		if good && h.Err != nil {
			t.Errorf("hold %d: %v", i, h.Err)
		}
		if !good && !errors.Is(h.Err, sealpost.ErrNotFound) {
			t.Errorf("hold %d: %v, want not found", i, h.Err) // R59: a receipt for another commitment
		}
	}
	if held[5].Record.Seq != held[0].Record.Seq+1 {
		t.Error("a refused statement took a seq")
	}
	if c := w.Closing(m.ID); c != nil {
		t.Errorf("a refused receipt closed the message as %v", c.End)
	}
	bad := w.Message(d.Recipient)
	bad.Kind = sealpost.KindReceipt
	if _, err := w.Hold(context.Background(), []sealpost.Hold{w.Message(d.Recipient), bad}); err == nil {
		t.Error("a payload of another kind was held")
	}
}

func readBack(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	want := w.MustHold(m, w.Attempt(m, d, 1, sealpost.Accepted, 0), w.Receipt(m, d, sealpost.HandedOver), w.Receipt(m, d, sealpost.Decrypted))
	w.CloseAs(m.ID, sealpost.Delivered)
	got, err := w.Records(ctx, w.App, m.ID)
	w.Must(err)
	if len(got) != 5 || got[4].Kind != sealpost.KindOutcome {
		t.Fatalf("%d records, want 5 with the outcome last", len(got))
	}
	for i := range want {
		if !sameRecord(got[i], want[i].Record) {
			t.Errorf("record %d is not what was held", i)
		}
		one, err := w.Record(ctx, want[i].Record.Seq)
		if err != nil || !sameRecord(one, want[i].Record) {
			t.Errorf("record at seq %d: %v", want[i].Record.Seq, err)
		}
	}
	msg, err := w.ReadMessage(m.ID)
	w.Must(err)
	c := m.Commitment
	if msg != (sealpost.Message{ID: c.ID, App: c.App, Recipient: c.Recipient, Commitment: m.Hash, Seq: want[0].Record.Seq, Blob: c.Blob, Roster: c.Roster,
		Created: c.Created, Expires: c.Expires, Release: c.Release, End: sealpost.Delivered}) {
		t.Errorf("message %+v", msg)
	}
	events, err := w.KeyEvents(ctx, w.App, d.Recipient)
	w.Must(err)
	if len(events) != 1 {
		t.Fatalf("%d key events, want 1", len(events))
	}
	if e, err := w.RecordByHash(ctx, w.App, sealpost.KindKeyEvent, events[0].Hash); err != nil || !sameRecord(e, events[0]) {
		t.Errorf("key event by hash: %v", err)
	}
	for name, err := range map[string]error{
		"record":         second(w.Record(ctx, all)),
		"message":        second(w.ReadMessage(w.Message(d.Recipient).ID)),
		"records":        second(w.Records(ctx, w.App, w.Message(d.Recipient).ID)),
		"record by hash": second(w.RecordByHash(ctx, w.App, sealpost.KindKeyEvent, m.Hash)),
		"device":         second(w.Device(ctx, sealpost.KeyID{1})),
		"enrolment":      second(w.Enrolment(ctx, sealpost.EnrolmentID{1})),
		"by key":         second(w.EnrolmentByKey(ctx, d.ID)),
		"API key":        second(w.APIKey(ctx, m.Hash)),
		"sender's key":   second(w.Device(ctx, w.Sender.Public().ID())),
	} {
		if !errors.Is(err, sealpost.ErrNotFound) {
			t.Errorf("%s that is not there: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func tenants(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m)
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{{1}}, nil))
	mine := w.App
	w.App = "other"
	w.MustHold(w.SenderEvent(newKey(t), sealpost.Enrol))
	theirs := w.Message(d.Recipient)
	w.MustHold(theirs)
	if got := w.HoldOne(w.Receipt(m, d, sealpost.Decrypted)); !errors.Is(got.Err, sealpost.ErrNotFound) {
		t.Errorf("a receipt in another tenant's name: %v", got.Err)
	}
	if got := w.HoldOne(w.RevokeEvent(d)); !errors.Is(got.Err, sealpost.ErrNotFound) {
		t.Errorf("a revocation by another tenant: %v", got.Err)
	}
	if _, err := w.Records(ctx, "other", m.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("records of another tenant: %v", err)
	}
	if _, err := w.ClaimPackage(ctx, "other", d.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("a KeyPackage of another tenant: %v", err)
	}
	if list, err := w.Devices(ctx, "other", d.Recipient); err != nil || len(list) != 0 {
		t.Errorf("%d devices of another tenant, %v", len(list), err)
	}
	if got, err := w.Arrivals(ctx, d.ID, 0, all, 10); err != nil || len(got) != 1 || got[0].Record.ID != m.ID {
		t.Errorf("a device gets %d messages, want its tenant's one; %v", len(got), err)
	}
	for app, want := range map[string]sealpost.MessageID{mine: m.ID, "other": theirs.ID} {
		got, err := w.Messages(ctx, app, 0, 10)
		if err != nil || len(got) != 1 || got[0].ID != want {
			t.Errorf("messages of %s: %d, %v", app, len(got), err)
		}
	}
}

func release(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	logged := w.Message(d.Recipient)
	held := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Release = sealpost.ReleaseHeld })
	seqs := w.MustHold(logged, held)
	seq := seqs[0].Record.Seq
	if got := w.Work(seq); len(got) != 1 || got[0].Message.ID != held.ID {
		t.Fatalf("before the log holds it: %d tries, want the held one", len(got))
	}
	if got := w.Work(seq); len(got) != 0 {
		t.Fatalf("%d tries twice", len(got))
	}
	got := w.Work(seq + 1)
	if len(got) != 1 || got[0].Message.ID != logged.ID {
		t.Fatalf("once the log holds it: %d tries", len(got))
	}
	work := got[0]
	if work.Device != d.ID || work.Number != 1 || work.Endpoint.Reveal() != "tok" || !bytes.Equal(work.Sealed.Blob(), logged.Blob) || work.Lease != w.Now.Add(time.Minute) {
		t.Errorf("work: number %d, endpoint %q", work.Number, work.Endpoint.Reveal())
	}
}

func leases(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) })
	w.MustHold(m)
	for round := range 3 {
		if got := w.Work(all); len(got) != 1 || got[0].Number != 1 {
			t.Fatalf("round %d: %d tries", round, len(got))
		}
		w.Now += 59_999
		if got := w.Work(all); len(got) != 0 {
			t.Fatalf("round %d: leased twice", round)
		}
		w.Now++
	}
}

// What was claimed and not begun is due at once, also for a process that begins
// after this one; what was not named keeps its lease.
func givenBack(t *testing.T, w *World) {
	r := Recipient("r")
	w.Enrol(r, w.Token("a"))
	w.Enrol(r, w.Token("b"))
	hour := func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) }
	m, n := w.Message(r, hour), w.Message(r, hour)
	w.MustHold(m, n)
	works := w.Work(all)
	if len(works) != 4 {
		t.Fatalf("%d tries, want one for each message and device", len(works))
	}
	kept := works[3]
	for range 2 { // the second finds nothing to do
		w.Must(w.GiveBackWork(context.Background(), works[:3]))
	}
	w.Reopen()
	w.Now++
	again := w.Work(all)
	if len(again) != 3 {
		t.Fatalf("%d tries after a restart, want the 3 that were given back", len(again))
	}
	for _, a := range again {
		if a.Number != 1 || a.Lease != w.Now.Add(time.Minute) || a.Message.ID == kept.Message.ID && a.Device == kept.Device {
			t.Errorf("try %d, lease %v of %v", a.Number, a.Lease, w.Now)
		}
	}
	w.Now += 59_999
	if got := w.Work(all); len(got) != 1 || got[0].Device != kept.Device || got[0].Message.ID != kept.Message.ID {
		t.Errorf("%d tries when the lease that was kept ends", len(got))
	}
	w.Must(w.GiveBackWork(context.Background(), nil))
}

// A caller that ends once its claim is committed is still told what it has, and
// can give it back.
func claimedAtTheEnd(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	w.MustHold(w.Message(d.Recipient))
	w.Reopen() // so that the message is read from disk
	works, err := w.ClaimWork(&ending{Context: context.Background()}, w.Now, w.Now.Add(time.Minute), all, 10)
	if err != nil || len(works) != 1 {
		t.Fatalf("%d tries, %v", len(works), err)
	}
	w.Must(w.GiveBackWork(context.Background(), works))
	if got := w.Work(all); len(got) != 1 {
		t.Errorf("%d tries", len(got))
	}
}

// ending is a context that ends once it was asked whether it has.
type ending struct {
	context.Context
	asked bool
}

func (c *ending) Err() error {
	if c.asked {
		return context.Canceled
	}
	c.asked = true
	return nil
}

func (c *ending) Done() <-chan struct{} {
	done := make(chan struct{})
	if c.asked {
		close(done)
	}
	return done
}

func movedOn(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	for name, move := range map[string]func(m sealpost.Hold){
		"it was tried and is to be tried later": func(m sealpost.Hold) {
			w.MustHold(w.Attempt(m, d, 1, sealpost.Transient, w.Now.Add(time.Hour)))
		},
		"it was tried and accepted": func(m sealpost.Hold) { w.MustHold(w.Attempt(m, d, 1, sealpost.Accepted, 0)) },
		"the device has it":         func(m sealpost.Hold) { w.MustHold(w.Receipt(m, d, sealpost.HandedOver)) },
		"the message has ended": func(m sealpost.Hold) {
			w.MustHold(w.Receipt(m, d, sealpost.Decrypted))
			w.CloseAs(m.ID, sealpost.Delivered)
		},
		"it expired": func(sealpost.Hold) { w.Now = w.Now.Add(2 * time.Hour) },
		"its lease ran out and another has it": func(sealpost.Hold) {
			w.Now = w.Now.Add(2 * time.Minute)
			if got := w.Work(all); len(got) != 1 {
				t.Fatalf("%d tries once the lease has run out", len(got))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := w.Message(d.Recipient, func(c *sealpost.Commitment) { c.Expires = c.Created.Add(90 * time.Minute) })
			w.MustHold(m)
			work := w.Work(all)
			if len(work) != 1 {
				t.Fatalf("%d tries", len(work))
			}
			move(m)
			w.Must(w.GiveBackWork(context.Background(), work))
			if got := w.Work(all); len(got) != 0 {
				t.Errorf("%d tries", len(got))
			}
			w.Now = w.Now.Add(2 * time.Hour) // it is out of the way of the next case
			w.Work(all)
		})
	}
}

func attempts(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m)
	w.Work(all)
	w.MustHold(w.Attempt(m, d, 1, sealpost.Transient, w.Now.Add(time.Second)))
	if got := w.Work(all); len(got) != 0 {
		t.Fatal("tried before its time")
	}
	w.Now = w.Now.Add(time.Second)
	got := w.Work(all)
	if len(got) != 1 || got[0].Number != 2 {
		t.Fatalf("the retry: %d tries", len(got))
	}
	w.MustHold(w.Attempt(m, d, 2, sealpost.Accepted, 0))
	w.Now = w.Now.Add(2 * time.Minute)
	if got := w.Work(all); len(got) != 0 {
		t.Fatal("tried after it was accepted")
	}
	other := w.Message(d.Recipient)
	w.MustHold(other)
	w.Work(all)
	w.MustHold(w.Attempt(other, d, 1, sealpost.Invalid, 0))
	w.CloseAs(other.ID, sealpost.Undeliverable)
	w.CloseAs(m.ID, sealpost.Expired) // an accepted one waits for the device until then
}

func receipts(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	for _, c := range []struct {
		levels []sealpost.Level
		end    sealpost.End // 0: open still
		due    bool         // for another try
	}{
		{nil, 0, true},
		{[]sealpost.Level{sealpost.Gap}, 0, true},
		{[]sealpost.Level{sealpost.HandedOver}, 0, false},
		{[]sealpost.Level{sealpost.HandedOver, sealpost.Decrypted}, sealpost.Delivered, false},
		{[]sealpost.Level{sealpost.Displayed}, sealpost.Delivered, false},
		{[]sealpost.Level{sealpost.Mismatch}, sealpost.Refused, false},
		{[]sealpost.Level{sealpost.HandedOver, sealpost.DecryptFailed}, sealpost.Refused, false},
		{[]sealpost.Level{sealpost.Mismatch, sealpost.Decrypted}, sealpost.Delivered, false},
		{[]sealpost.Level{sealpost.Decrypted, sealpost.Mismatch}, sealpost.Delivered, false},
	} {
		m := w.Message(d.Recipient)
		w.MustHold(m)
		for _, l := range c.levels {
			w.MustHold(w.Receipt(m, d, l))
		}
		work := w.Work(all)
		if (len(work) == 1) != c.due {
			t.Errorf("%v: %d tries are due", c.levels, len(work))
		}
		closing := w.Closing(m.ID)
		if (closing == nil) != (c.end == 0) || closing != nil && closing.End != c.end {
			t.Errorf("%v: closable %+v, want %v", c.levels, closing, c.end)
		}
		if closing != nil && len(closing.Receipts) != len(c.levels) {
			t.Errorf("%v: %d receipts counted", c.levels, len(closing.Receipts))
		}
	}
}

func outcomes(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m, w.Attempt(m, d, 1, sealpost.Accepted, 0), w.Receipt(m, d, sealpost.HandedOver), w.Receipt(m, d, sealpost.Decrypted))
	honest := *w.Closing(m.ID)
	if len(honest.Attempts) != 1 || len(honest.Receipts) != 2 || bytes.Compare(honest.Receipts[0][:], honest.Receipts[1][:]) >= 0 {
		t.Fatalf("closing %+v", honest)
	}
	for name, spoil := range map[string]func(*sealpost.Closing){
		"a receipt is left out":  func(c *sealpost.Closing) { c.Receipts = c.Receipts[1:] },
		"an attempt is left out": func(c *sealpost.Closing) { c.Attempts = nil },
		"it ends otherwise":      func(c *sealpost.Closing) { c.End = sealpost.Expired },
		"a claim is made up":     func(c *sealpost.Closing) { c.Claims = c.Attempts },
	} {
		c := honest
		spoil(&c)
		if got := w.HoldOne(w.Outcome(c)); !errors.Is(got.Err, sealpost.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", name, got.Err)
		}
	}
	early := w.Message(d.Recipient)
	w.MustHold(early)
	msg, err := w.ReadMessage(early.ID)
	w.Must(err)
	if got := w.HoldOne(w.Outcome(sealpost.Closing{Message: msg, End: sealpost.Refused})); !errors.Is(got.Err, sealpost.ErrConflict) {
		t.Errorf("an outcome of an open message: %v", got.Err)
	}
	o := w.Outcome(honest)
	w.MustHold(o)
	if got := w.HoldOne(o); !got.Again || got.Err != nil {
		t.Errorf("the same outcome again: %v", got.Err)
	}
	w.Now++
	if got := w.HoldOne(w.Outcome(honest)); !errors.Is(got.Err, sealpost.ErrEnded) {
		t.Errorf("a second outcome: %v, want ended", got.Err)
	}
	if c := w.Closing(m.ID); c != nil {
		t.Error("an ended message is closable")
	}
}

func lateReceipt(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m, w.Receipt(m, d, sealpost.Mismatch))
	w.CloseAs(m.ID, sealpost.Refused)
	w.MustHold(w.Receipt(m, d, sealpost.Decrypted), w.Attempt(m, d, 1, sealpost.Accepted, w.Now))
	if msg, err := w.ReadMessage(m.ID); err != nil || msg.End != sealpost.Refused {
		t.Errorf("a late receipt changed the end to %v, %v", msg.End, err)
	}
	if c := w.Closing(m.ID); c != nil {
		t.Error("a late receipt made the message closable again")
	}
	if got := w.Work(all); len(got) != 0 {
		t.Error("a late attempt queued the message again")
	}
}

func severalDevices(t *testing.T, w *World) {
	r := Recipient("r")
	a, b := w.Enrol(r, w.Token("a")), w.Enrol(r, w.Token("b"))
	if list, err := w.Devices(context.Background(), w.App, r); err != nil || len(list) != 2 || list[0].Key != a.Public() || list[1].Key != b.Public() {
		t.Errorf("%d devices, want both in the order of their enrolment; %v", len(list), err)
	}
	m := w.Message(r)
	w.MustHold(m)
	if got := w.Work(all); len(got) != 2 || got[0].Device == got[1].Device {
		t.Fatalf("%d tries, want one for each device", len(got))
	}
	w.MustHold(w.Receipt(m, a, sealpost.Mismatch))
	if w.Closing(m.ID) != nil {
		t.Error("one device's refusal closed the message while another may open it")
	}
	w.MustHold(w.Receipt(m, b, sealpost.HandedOver))
	if w.Closing(m.ID) != nil {
		t.Error("closed while the other device has it unopened")
	}
	w.MustHold(w.Receipt(m, b, sealpost.Decrypted))
	w.CloseAs(m.ID, sealpost.Delivered)

	n := w.Message(r)
	w.MustHold(n, w.Attempt(n, a, 1, sealpost.EndpointGone, 0))
	if w.Closing(n.ID) != nil {
		t.Error("undeliverable while another device can be reached")
	}
	w.MustHold(w.Receipt(n, b, sealpost.DecryptFailed))
	w.CloseAs(n.ID, sealpost.Refused)
}

// A late is a message that the first device of its recipient opened, and that has
// its outcome by that, before the second one was tried.
type late struct {
	*World
	m             sealpost.Hold
	first, second Device
}

func (w *World) late(edit ...func(*sealpost.Commitment)) late {
	w.Helper()
	r := Recipient(rand.Text())
	l := late{World: w, first: w.Enrol(r, w.Token("first")), second: w.Enrol(r, w.Token("second"))}
	l.m = w.Message(r, edit...)
	w.MustHold(l.m)
	return l
}

func (l late) end() {
	l.Helper()
	l.MustHold(l.Receipt(l.m, l.first, sealpost.Decrypted))
	l.CloseAs(l.m.ID, sealpost.Delivered)
}

// wants says which try of the second device is due now, 0: none.
func (l late) wants(t *testing.T, why string, number uint32) {
	t.Helper()
	got := l.Work(all)
	if number == 0 && len(got) == 0 {
		return
	}
	if number == 0 || len(got) != 1 || got[0].Message.ID != l.m.ID || got[0].Device != l.second.ID || got[0].Number != number {
		t.Fatalf("%s: %d tries %+v, want try %d of the second device", why, len(got), got, number)
	}
}

// R105: one commitment and one outcome, and every device of the recipient is woken,
// though the first one's receipt ended the message before the carrier heard of the
// second.
func eachDeviceIsWoken(t *testing.T, w *World) {
	ctx := context.Background()
	fresh := w.late()
	fresh.end()
	fresh.wants(t, "nobody was tried", 1)

	atOnce := w.late(func(c *sealpost.Commitment) { c.Release = sealpost.ReleaseHeld })
	atOnce.end()
	atOnce.wants(t, "released when it was held", 1)

	full := w.late()
	got, err := w.ClaimWork(ctx, w.Now, w.Now.Add(time.Minute), all, 1)
	w.Must(err)
	if len(got) != 1 || got[0].Device != full.first.ID {
		t.Fatalf("%d tries where there is room for one", len(got))
	}
	w.MustHold(w.Attempt(full.m, full.first, 1, sealpost.Accepted, 0))
	full.end()
	w.Reopen()
	full.wants(t, "a claim had room for the first", 1)
	full.wants(t, "it is leased", 0)
	w.MustHold(w.Attempt(full.m, full.second, 1, sealpost.Transient, w.Now+1))
	w.Now++
	full.wants(t, "it was tried once", 0)
	records, err := w.Records(ctx, w.App, full.m.ID)
	w.Must(err)
	var kinds []sealpost.Kind
	for _, r := range records {
		kinds = append(kinds, r.Kind)
	}
	if !slices.Equal(kinds, []sealpost.Kind{sealpost.KindCommitment, sealpost.KindAttempt, sealpost.KindReceipt, sealpost.KindOutcome, sealpost.KindAttempt}) {
		t.Fatalf("the message's statements are %v", kinds)
	}
	another := w.Outcome(sealpost.Closing{Message: got[0].Message, End: sealpost.Delivered, Receipts: []sealpost.Hash{records[2].Hash},
		Attempts: []sealpost.Hash{records[1].Hash}})
	if got := w.HoldOne(another); !errors.Is(got.Err, sealpost.ErrEnded) {
		t.Errorf("another outcome after the late attempt: %v", got.Err)
	}

	leased := w.late(func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) })
	if got := w.Work(all); len(got) != 2 {
		t.Fatalf("%d tries, want both", len(got))
	}
	leased.end()
	leased.wants(t, "it is leased", 0)
	w.Now = w.Now.Add(time.Minute)
	leased.wants(t, "whoever leased it said nothing", 1)

	w.Must(w.PutEndpoints(ctx, leased.second.ID, nil))
	w.Now = w.Now.Add(time.Minute)
	leased.wants(t, "it has no endpoint", 0)
	w.Must(w.PutEndpoints(ctx, leased.second.ID, []sealpost.Endpoint{w.Token("new")}))
	leased.wants(t, "it has one again", 1)
}

// The honest case is that a late try is due; each of these ends it.
func noLateWaking(t *testing.T, w *World) {
	hour := func(c *sealpost.Commitment) { c.Expires = c.Created.Add(time.Hour) }
	honest := w.late(hour)
	honest.end()
	honest.wants(t, "the honest case", 1)
	w.MustHold(w.Attempt(honest.m, honest.second, 1, sealpost.Accepted, 0))
	for name, spoil := range map[string]func(late){
		"it has fetched the message": func(l late) { w.MustHold(w.Receipt(l.m, l.second, sealpost.HandedOver)) },
		"it refused the message":     func(l late) { w.MustHold(w.Receipt(l.m, l.second, sealpost.Mismatch)) },
		"it is revoked":              func(l late) { w.MustHold(w.RevokeEvent(l.second)) },
		"the message expired":        func(l late) { w.Now = l.m.Commitment.Expires },
		"and its envelope is erased": func(l late) {
			w.Now = l.m.Commitment.Expires.Add(time.Second)
			w.Must(w.Sweep(context.Background(), w.Now))
		},
	} {
		l := w.late(hour)
		l.end()
		spoil(l)
		l.wants(t, name, 0)
	}
	tried := w.late(hour)
	if got := w.Work(all); len(got) != 2 {
		t.Fatalf("%d tries, want both", len(got))
	}
	w.MustHold(w.Attempt(tried.m, tried.second, 1, sealpost.Transient, w.Now+1))
	tried.end()
	w.Now = w.Now.Add(time.Minute)
	tried.wants(t, "it was tried before the end", 0)
}

func boundedReceipts(t *testing.T, w *World) {
	r := Recipient("r")
	a, b := w.Enrol(r), w.Enrol(r)
	m := w.Message(r)
	w.MustHold(m)
	held := 0
	for ; held <= sealpost.CountedMax; held++ {
		w.Now++
		if got := w.HoldOne(w.Receipt(m, a, sealpost.Gap)); got.Err != nil {
			break
		}
	}
	if held*sealpost.DevicesMax > sealpost.CountedMax {
		t.Errorf("one device posted %d receipts; an outcome could not list so many of each", held)
	}
	w.MustHold(w.Receipt(m, b, sealpost.Decrypted)) // and took no other device's place
}

func notDue(t *testing.T, w *World) {
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	m := w.Message(d.Recipient)
	w.MustHold(m)
	w.Now = m.Commitment.Expires
	if got := w.Work(all); len(got) != 0 {
		t.Error("an expired message was to be tried")
	}
	w.CloseAs(m.ID, sealpost.Expired)
	n := w.Message(d.Recipient)
	w.MustHold(n, w.Receipt(n, d, sealpost.Decrypted))
	w.CloseAs(n.ID, sealpost.Delivered)
	if got := w.Work(all); len(got) != 0 {
		t.Error("an ended message was to be tried")
	}
}

// A caller's limit bounds each answer, and what it left over comes next.
func limits(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"), w.Token("tok"))
	w.Enrol(d.Recipient, w.Token("another")) // so that a claim ends within a message
	for range 3 {
		w.MustHold(w.Message(d.Recipient))
		e := w.Invite(Recipient("q"))
		_, a := w.Answer(e, nil, nil)
		w.Must(w.AnswerEnrolment(ctx, e.ID, a))
	}
	for _, want := range []int{3, 3, 0} {
		work, err := w.ClaimWork(ctx, w.Now, w.Now.Add(time.Minute), all, 3)
		if err != nil || len(work) != want {
			t.Errorf("%d tries of at most 3, want %d; %v", len(work), want, err)
		}
	}
	if list, err := w.Answered(ctx, w.App, 2); err != nil || len(list) != 2 {
		t.Errorf("%d answered invitations of at most 2, %v", len(list), err)
	}
	w.Now = w.Now.Add(time.Hour)
	for _, want := range []int{2, 1} {
		list, err := w.Closable(ctx, w.Now, 2)
		if err != nil || len(list) != want {
			t.Fatalf("%d messages to close of at most 2, want %d; %v", len(list), want, err)
		}
		for _, c := range list {
			w.MustHold(w.Outcome(c))
		}
		w.Now = w.Now.Add(time.Second)
	}
}
