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
	w.Must(w.PutPackages(ctx, d.ID, [][]byte{{1}}))
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
	if _, _, err := w.ClaimPackage(ctx, "other", d.ID); !errors.Is(err, sealpost.ErrNotFound) {
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
