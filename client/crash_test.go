package client

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// DESIGN section 12, Crash, sender: every Update of the store fails once, before
// and after it is applied, and the process is gone. Whatever was posted opens,
// whatever was promised stays, and a retry posts the same bytes (the relay in
// memory fails the test when it sees two contents for one id).
func TestSenderCrashes(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for step := 0; ; step++ {
			crashed := false
			t.Run(fmt.Sprintf("applied=%v step=%d", applied, step), func(t *testing.T) {
				w := newWorld(t)
				p := w.enrol("c1", sealpost.EdDSA)
				before := w.send(otp("c1", "100000"))
				dying := failingStore{w.store, &fuse{left: 3 + step, applied: applied}} // 3: NewSender's own
				s := w.newSender(dying)
				_, err := s.Send(w.ctx, otp("c1", "100001"))
				crashed = dying.dead
				if !crashed && err != nil {
					t.Fatalf("send: %v", err)
				}
				w.sender = w.newSender(w.store) // a new process
				sent, err := w.sender.Flush(w.ctx)
				if err != nil {
					t.Fatalf("flush: %v", err)
				}
				for _, x := range sent {
					if x.Err != nil {
						t.Errorf("flush: %v", x.Err)
					}
				}
				after := w.send(otp("c1", "100002"))
				texts := map[string]bool{}
				for _, id := range w.posted() {
					n, err := p.Handle(w.ctx, w.push(id))
					if err != nil {
						t.Errorf("a posted message does not open: %v", err)
					}
					texts[n.Fields[0].Value] = true
					if st := must(w.sender.Status(id))(t); !st.Promised {
						t.Errorf("a posted message is not promised after the flush")
					}
				}
				if !texts["100000"] || !texts["100002"] || before == after {
					t.Errorf("messages around the crash are lost: %v", texts)
				}
				if faults := must(p.Faults())(t); len(faults) != 0 {
					t.Errorf("the device saw %+v", faults)
				}
			})
			if !crashed {
				if step < 2 {
					t.Fatalf("only %d steps were crashed; a send has more", step)
				}
				break
			}
		}
	}
}

func (w *world) posted() (ids []sealpost.MessageID) {
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	for id := range w.relay.messages {
		ids = append(ids, id)
	}
	return ids
}

// DESIGN section 12, Crash, device: every Update of a Handle fails once. After
// the restart the message is in the inbox or comes again, opens exactly once,
// and each level has one receipt.
func TestDeviceCrashes(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for step := 0; ; step++ {
			crashed := false
			t.Run(fmt.Sprintf("applied=%v step=%d", applied, step), func(t *testing.T) {
				w := newWorld(t)
				p := w.enrol("c1", sealpost.EdDSA)
				id := w.send(otp("c1", "483920"))
				dying := failingStore{p.store, &fuse{left: 1 + step, applied: applied}} // 1: NewDevice's leaf key
				d := w.openDevice(p, dying)
				_, err := d.Handle(w.ctx, id[:])
				crashed = dying.dead
				p.Device = w.openDevice(p, p.store) // a new process
				held := len(must(p.Inbox())(t)) == 1
				if err == nil && !held {
					t.Errorf("shown and not in the inbox after the crash")
				}
				n, err := p.Handle(w.ctx, id[:])
				if err != nil || n.Fields[0].Value != "483920" || n.Again != held {
					t.Fatalf("after the crash: %+v, %v", n, err)
				}
				if _, err := p.Sync(w.ctx, 0); err != nil {
					t.Fatal(err)
				}
				w.wantReceipts(id, sealpost.HandedOver, sealpost.Decrypted)
			})
			if !crashed {
				if step < 3 {
					t.Fatalf("only %d steps were crashed; a Handle has more", step)
				}
				break
			}
		}
	}
}

// wantReceipts wants these receipts at the relay, each once (memoryRelay fails
// on two of one level).
func (w *world) wantReceipts(id sealpost.MessageID, levels ...sealpost.Level) {
	w.t.Helper()
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	var got []sealpost.Level
	for _, h := range w.relay.records {
		if h.kind == sealpost.KindReceipt && h.id == id {
			signed := must(sealpost.Parse(h.statement))(w.t)
			got = append(got, must(signed.Receipt())(w.t).Level)
		}
	}
	slices.Sort(got)
	if fmt.Sprint(got) != fmt.Sprint(levels) {
		w.t.Errorf("receipts at the relay: %v, want %v", got, levels)
	}
}

// A call that is lost, or carried out and not acknowledged, is mended by the
// next try with the same bytes.
func TestLostCalls(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("Submit applied=%v", applied), func(t *testing.T) {
			w := newWorld(t)
			p := w.enrol("c1", sealpost.EdDSA)
			w.lose("Submit", applied)
			id, err := w.sender.Send(w.ctx, otp("c1", "483920"))
			if !errors.Is(err, ErrPending) || id == (sealpost.MessageID{}) {
				t.Fatalf("send: %v, %v; want ErrPending and an id", id, err)
			}
			if st := must(w.sender.Status(id))(t); st.Promised {
				t.Errorf("promised without an answer")
			}
			sent := must(w.sender.Flush(w.ctx))(t)
			if len(sent) != 1 || sent[0].ID != id || sent[0].Err != nil {
				t.Fatalf("flush: %+v", sent)
			}
			if again := must(w.sender.Flush(w.ctx))(t); len(again) != 0 {
				t.Errorf("still in the outbox: %+v", again)
			}
			must(p.Handle(w.ctx, w.push(id)))(t)
		})
		t.Run(fmt.Sprintf("PostReceipts applied=%v", applied), func(t *testing.T) {
			w := newWorld(t)
			p := w.enrol("c1", sealpost.EdDSA)
			id := w.send(otp("c1", "483920"))
			w.lose("PostReceipts", applied)
			if n, err := p.Handle(w.ctx, w.push(id)); err != nil || n.Text == "" {
				t.Fatalf("a lost receipt must not hide the message: %v", err)
			}
			if _, err := p.Sync(w.ctx, 0); err != nil {
				t.Fatal(err)
			}
			w.wantReceipts(id, sealpost.HandedOver, sealpost.Decrypted)
		})
		t.Run(fmt.Sprintf("Answer applied=%v", applied), func(t *testing.T) {
			w := newWorld(t)
			p := w.newPhone(sealpost.EdDSA)
			in := must(w.sender.Invite(w.ctx, "c1"))(t)
			w.lose("Answer", applied)
			if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err == nil {
				t.Fatal("a lost answer is no success")
			}
			p.Device = w.openDevice(p, p.store)
			if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err != nil {
				t.Fatalf("second try: %v", err)
			}
			if a := must(w.sender.Approve(w.ctx))(t); len(a) != 1 || a[0].Err != nil {
				t.Fatalf("approve: %+v", a)
			}
		})
		t.Run(fmt.Sprintf("PostKeyEvent applied=%v", applied), func(t *testing.T) {
			w := newWorld(t)
			p := w.newPhone(sealpost.EdDSA)
			in := must(w.sender.Invite(w.ctx, "c1"))(t)
			if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err != nil {
				t.Fatal(err)
			}
			w.lose("PostKeyEvent", applied)
			if a := must(w.sender.Approve(w.ctx))(t); len(a) != 1 || a[0].Err == nil {
				t.Fatalf("approve: %+v", a)
			}
			w.sender = w.newSender(w.store)
			if _, err := w.sender.Flush(w.ctx); err != nil {
				t.Fatal(err)
			}
			if done, err := p.Enrolled(w.ctx); !done || err != nil {
				t.Errorf("enrolled: %v, %v", done, err)
			}
			id := w.send(otp("c1", "483920"))
			must(p.Handle(w.ctx, w.push(id)))(t)
		})
	}
}

// A message that waited in the outbox beyond the freshness window is refused by
// the relay, and that is final: it leaves the outbox and says why.
func TestStaleOutbox(t *testing.T) {
	w := newWorld(t)
	w.enrol("c1", sealpost.EdDSA)
	w.lose("Submit", false)
	id, err := w.sender.Send(w.ctx, otp("c1", "483920"))
	if !errors.Is(err, ErrPending) {
		t.Fatal(err)
	}
	w.pass(2 * sealpost.FreshnessWindow)
	sent := must(w.sender.Flush(w.ctx))(t)
	if len(sent) != 1 || sent[0].Err == nil || errors.Is(sent[0].Err, ErrPending) {
		t.Fatalf("flush: %+v", sent)
	}
	if st := must(w.sender.Status(id))(t); st.Refused == "" || st.Promised {
		t.Errorf("status %+v", st)
	}
	if again := must(w.sender.Flush(w.ctx))(t); len(again) != 0 {
		t.Errorf("still in the outbox")
	}
}

// Signed bytes are durable before their first use: what the relay got of a
// receipt is what the device's store holds, also after a restart.
func TestReceiptsAreStoredAsPosted(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.ES256) // a second ES256 signature would differ in general
	id := w.send(otp("c1", "483920"))
	must(p.Handle(w.ctx, w.push(id)))(t)
	w.pass(time.Second)
	p.Device = w.openDevice(p, p.store)
	must(p.Sync(w.ctx, 0))(t)
	var stored [][]byte
	err := p.store.View(func(tx Tx) error {
		all, err := loadAll[receiptRecord](tx, receiptPrefix(id))
		for _, r := range all {
			stored = append(stored, r.Exhibit.Statement)
			if len(r.Exhibit.Promise) == 0 {
				t.Errorf("no promise of the receipt %v", r.Level)
			}
		}
		return err
	})
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d receipts, %v", len(stored), err)
	}
	for i, h := range w.relay.records[len(w.relay.records)-2:] {
		if !bytes.Equal(h.statement, stored[i]) {
			t.Errorf("receipt %d was posted with other bytes than stored", i)
		}
	}
}
