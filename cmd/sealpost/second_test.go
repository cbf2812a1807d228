package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A customer's second device, which was switched off while the first one read
// the message and which no push reaches, still gets it from the relay: the
// outcome that the first one's receipt brought about takes nothing from the
// others of the roster (DESIGN section 12, Outcome and Crash).
func TestSecondDeviceComesLater(t *testing.T) {
	w := newTown(t, "")
	w.startRelay()
	senderAt := filepath.Join(w.dir, senderDir)
	folder := func(i int) string { return filepath.Join(w.dir, fmt.Sprintf("device-%d", i)) }
	for i := range 2 {
		invite := w.eventually("device", "invite", "--sender", senderAt, "--to", "+491511234567")
		w.eventually("device", "enroll", "--device", folder(i), "--invite", strings.TrimSpace(invite), "--push", w.carrier.URL)
		for approved := ""; approved == ""; {
			approved = w.eventually("device", "approve", "--sender", senderAt)
		}
	}
	w.stop(w.lab)
	sent := strings.Fields(w.eventually("send", "--sender", senderAt, "--to", "+491511234567", "--template", "account", "--data", `{"change":"new e-mail address"}`))
	for i := range 2 {
		c := w.launch(fmt.Sprintf("device-%d", i), "sealpost", "device", "listen", "--once", "--device", folder(i))
		read := make(chan string, 1)
		go func() { c.lines.Scan(); read <- c.lines.Text() }()
		select {
		case line := <-read:
			if !strings.Contains(line, sent[0]) {
				t.Fatalf("device %d shows %q, want %s", i, line, sent[0])
			}
		case <-time.After(readyWithin):
			t.Fatalf("device %d does not get the message", i)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		s := w.sender() // the next device comes when the message has its outcome
		id, err := sealpost.ParseMessageID(sent[0])
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.settle(w.within(readyWithin), id)
		if err != nil || st.End != sealpost.Delivered {
			t.Fatalf("after device %d: ended %v: %v", i, st.End, err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}
