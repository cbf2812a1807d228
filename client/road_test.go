package client

import (
	"fmt"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// R104: each template goes all the way: sealed, promised, opened, displayed,
// and proven from the sender's own store.
func TestRoad(t *testing.T) {
	for _, m := range []struct {
		Message
		want string
	}{
		{otp("+491511234567", "483920"), "Your code is 483920. It is valid for 5 minutes. Tell it to nobody."},
		{Message{To: "+491511234567", Template: TemplatePayment, Transaction: "case-77", Correlation: "batch-9",
			Data: map[string]string{"amount": "129.90", "currency": "EUR", "payee": "Bäckerei Schmidt"}}, "Payment of 129.90 EUR to Bäckerei Schmidt."},
		{Message{To: "+491511234567", Template: TemplateAccount, Data: map[string]string{"change": "a new address"}},
			"Your account was changed: a new address. If this was not you, call us."},
	} {
		for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
			t.Run(fmt.Sprintf("%s %v", m.Template, alg), func(t *testing.T) {
				w := newWorld(t)
				p := w.enrol(m.To, alg)
				id := w.send(m.Message)
				n, err := p.Handle(w.ctx, w.push(id))
				if err != nil {
					t.Fatalf("handle: %v", err)
				}
				if n.Text != m.want || n.Template != m.Template || n.ID != id || n.Again {
					t.Errorf("got %+v", n)
				}
				if err := p.Displayed(w.ctx, id); err != nil {
					t.Fatal(err)
				}
				if err := p.Acted(w.ctx, id); err != nil {
					t.Fatal(err)
				}
				w.relay.close(id)
				st, err := w.sender.Sync(w.ctx, id)
				if err != nil {
					t.Fatalf("sync: %v", err)
				}
				// commitment, four receipts, outcome, two key events
				if st.End != sealpost.Delivered || len(st.Receipts) != 4 || st.Exhibits != 8 || !st.Complete {
					t.Errorf("status %+v", st)
				}
				open := must(w.sender.Open())(t)
				if len(open) != 0 {
					t.Errorf("still open: %v", open)
				}
			})
		}
	}
}

// A ticket and a poll bring the same message as a push, and it is opened once.
func TestTicketAndPoll(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "111111"))
	n, err := p.Handle(w.ctx, id[:])
	if err != nil || n.Again {
		t.Fatalf("ticket: %+v, %v", n, err)
	}
	if n, err = p.Handle(w.ctx, w.push(id)); err != nil || !n.Again || n.Text == "" {
		t.Errorf("push after ticket: %+v, %v", n, err)
	}
	second := w.send(otp("c1", "222222"))
	got, err := p.Sync(w.ctx, 0)
	if err != nil || len(got) != 1 || got[0].ID != second || got[0].Err != nil {
		t.Errorf("poll: %+v, %v", got, err)
	}
	if got, err = p.Sync(w.ctx, 0); err != nil || len(got) != 0 {
		t.Errorf("second poll: %+v, %v", got, err)
	}
	if inbox := must(p.Inbox())(t); len(inbox) != 2 {
		t.Errorf("inbox has %d messages, want 2", len(inbox))
	}
}

// R105: two devices of one recipient get one commitment, and each signs its own
// receipt.
func TestTwoDevices(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	for _, p := range []*phone{a, b} {
		if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
			t.Fatalf("handle: %+v, %v", n, err)
		}
	}
	st := must(w.sender.Sync(w.ctx, id))(t)
	if len(st.Receipts) != 4 {
		t.Fatalf("%d receipts, want two of each device", len(st.Receipts))
	}
	by := map[sealpost.KeyID]int{}
	for _, r := range st.Receipts {
		by[r.Key]++
	}
	if by[a.ID()] != 2 || by[b.ID()] != 2 {
		t.Errorf("receipts by device: %v", by)
	}
}

// A device that is enrolled later joins the standing group once nothing is on
// its way, and the envelope carries Welcome and commit until both acknowledged.
func TestLaterDeviceJoins(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	must(a.Handle(w.ctx, w.push(first)))(t)
	must(w.sender.Sync(w.ctx, first))(t)
	b := w.enrol("c1", sealpost.EdDSA)
	second := w.send(otp("c1", "100002"))
	e := w.envelope(second)
	if len(e.Welcome) == 0 || len(e.Commits) != 1 {
		t.Fatalf("envelope has a Welcome of %d bytes and %d commits, want one of each", len(e.Welcome), len(e.Commits))
	}
	for _, p := range []*phone{a, b} {
		if n, err := p.Handle(w.ctx, w.push(second)); err != nil || n.Text == "" {
			t.Fatalf("second message: %v", err)
		}
	}
	must(w.sender.Sync(w.ctx, second))(t)
	claims := w.relay.claims
	third := w.send(otp("c1", "100003"))
	if e := w.envelope(third); len(e.Welcome) != 0 || len(e.Commits) != 0 {
		t.Errorf("Welcome or commits after every device acknowledged")
	}
	if w.relay.claims != claims {
		t.Errorf("KeyPackages were claimed to send in an unchanged group")
	}
	for _, p := range []*phone{a, b} {
		if n, err := p.Handle(w.ctx, w.push(third)); err != nil || n.Text == "" {
			t.Fatalf("third message: %v", err)
		}
	}
}

// While something is on its way a joining device means a fresh group, and what
// was sent in the old one still opens, in any order.
func TestJoinWhileOnTheWay(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	b := w.enrol("c1", sealpost.EdDSA)
	second := w.send(otp("c1", "100002"))
	if e := w.envelope(second); len(e.Commits) != 0 {
		t.Errorf("a commit although a message of its epoch is on the way")
	}
	for _, id := range []sealpost.MessageID{second, first} {
		if n, err := a.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
			t.Fatalf("device a: %v", err)
		}
	}
	must(b.Handle(w.ctx, w.push(second)))(t)
}

// Messages of one group open in any order, each once.
func TestAnyOrder(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	var ids []sealpost.MessageID
	for i := range 5 {
		ids = append(ids, w.send(otp("c1", fmt.Sprintf("%06d", i))))
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		n, err := p.Handle(w.ctx, w.push(ids[i]))
		if err != nil || n.Fields[0].Value != fmt.Sprintf("%06d", i) {
			t.Errorf("message %d: %+v, %v", i, n, err)
		}
	}
}

// A revoked device is out of the next message, which the others still read.
func TestRevoke(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c1", sealpost.EdDSA)
	first := w.send(otp("c1", "100001"))
	must(b.Handle(w.ctx, w.push(first)))(t)
	if err := w.sender.Revoke(w.ctx, b.ID()); err != nil {
		t.Fatal(err)
	}
	second := w.send(otp("c1", "100002"))
	if n, err := a.Handle(w.ctx, w.push(second)); err != nil || n.Text == "" {
		t.Errorf("the device in force: %v", err)
	}
	if _, err := b.Handle(w.ctx, w.push(second)); err == nil {
		t.Errorf("the revoked device opened a message")
	}
}

func (w *world) envelope(id sealpost.MessageID) sealpost.Envelope {
	w.t.Helper()
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	return must(sealpost.ParseEnvelope(w.relay.messages[id].sealed.Blob()))(w.t)
}

// A batch is one transaction and one request; a bad item does not hold up the
// others, and the sequence stays dense.
func TestBatch(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol("c1", sealpost.EdDSA), w.enrol("c2", sealpost.EdDSA)
	sent := w.sender.SendAll(w.ctx, []Message{otp("c1", "000001"), otp("c2", "000002"), otp("c1", "two\nlines"), otp("nobody", "000003"), otp("c1", "000004")})
	for i, ok := range []bool{true, true, false, false, true} {
		if (sent[i].Err == nil) != ok {
			t.Errorf("item %d: %v", i, sent[i].Err)
		}
	}
	for _, x := range []struct {
		p  *phone
		id sealpost.MessageID
	}{{a, sent[0].ID}, {b, sent[1].ID}, {a, sent[4].ID}} {
		if n, err := x.p.Handle(w.ctx, w.push(x.id)); err != nil || n.Text == "" {
			t.Errorf("handle: %v", err)
		}
	}
	if faults := must(a.Faults())(t); len(faults) != 0 {
		t.Errorf("faults: %+v", faults)
	}
}

// The API clients over HTTP are what the SDK is made for.
var (
	_ SenderAPI = (*api.SenderClient)(nil)
	_ DeviceAPI = (*api.DeviceClient)(nil)
	_ LogReader = (*api.Client)(nil)
)
