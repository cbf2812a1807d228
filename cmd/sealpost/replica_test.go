package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
)

// DESIGN section 12, Sender replicas, through a whole relay: a sender that was set up
// alone goes on as two replicas, which have its store open at the same time. They send
// while a second device is enrolled; each device shows what was sealed to it, once.
func TestTwoReplicas(t *testing.T) {
	w := newTown(t, "")
	w.startRelay()
	const to, each = "+491511234567", 5
	senderAt := filepath.Join(w.dir, senderDir)
	folder := func(i int) string { return filepath.Join(w.dir, fmt.Sprintf("device-%d", i)) }
	enrol := func(i int) {
		t.Helper()
		invite := w.eventually("device", "invite", "--sender", senderAt, "--to", to)
		w.eventually("device", "enroll", "--device", folder(i), "--invite", strings.TrimSpace(invite), "--push", w.carrier.URL)
		for approved := ""; approved == ""; {
			approved = w.eventually("device", "approve", "--sender", senderAt)
		}
	}
	enrol(0)
	w.eventually("send", "--sender", senderAt, "--to", to, "--template", "account", "--data", `{"change":"alone"}`)

	alone := w.sender()
	file, err := readSenderFile(filepath.Join(senderAt, senderFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := client.LoadKey(alone.store, senderKeyName, sealpost.EdDSA, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.close(); err != nil {
		t.Fatal(err)
	}
	var all []*client.Sender
	for i := range 2 {
		shared, err := client.OpenSharedStore(filepath.Join(senderAt, senderStore))
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.NewSender(client.SenderConfig{App: file.App, Key: key, Store: client.NewMemoryStore(), Shared: shared, Replica: uint32(i + 1),
			API: alone.api, Log: alone.api, Now: time.Now, Rand: rand.Reader, RelayURL: file.Relay, RelayKey: alone.relay, LogKey: file.LogKey})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	send := func(from int, what string) {
		_, err := all[from].Send(w.within(readyWithin), client.Message{To: to, Template: "account", Data: map[string]string{"change": what}})
		if err != nil {
			t.Errorf("replica %d: %v", from, err)
		}
	}
	var sending sync.WaitGroup
	for i := range all {
		sending.Go(func() {
			for j := range each {
				send(i, fmt.Sprintf("replica %d, message %d", i, j))
			}
		})
	}
	enrol(1)
	sending.Wait()

	// Both devices have the messages of both replicas in the end.
	for until := time.Now().Add(readyWithin); ; {
		seen := map[string]int{}
		send(0, "last of 0")
		send(1, "last of 1")
		for i := range 2 {
			d, _, err := openDeviceFolder(folder(i))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = d.Sync(w.within(readyWithin), 0) // the last one's key event is not in the log at once
			inbox, err := d.Inbox()
			if err != nil {
				t.Fatal(err)
			}
			faults, err := d.Faults()
			if err != nil || len(faults) != 0 {
				t.Fatalf("device %d saw %v, %v", i, faults, err)
			}
			for _, n := range inbox {
				seen[fmt.Sprintf("%d %s", i, n.Text)]++
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
		}
		text := func(device int, what string) int {
			return seen[fmt.Sprintf("%d Your account was changed: %s. If this was not you, call us.", device, what)]
		}
		if text(0, "last of 1") == 0 || text(1, "last of 0") == 0 || text(1, "last of 1") == 0 {
			if time.Now().After(until) {
				t.Fatalf("the devices have %v", seen)
			}
			_ = pause(t.Context(), pollFirst)
			continue
		}
		for i := range all {
			for j := range each {
				if n := text(0, fmt.Sprintf("replica %d, message %d", i, j)); n != 1 {
					t.Errorf("message %d of replica %d was shown %d times", j, i, n)
				}
			}
		}
		if text(0, "alone") != 1 {
			t.Error("what was sent before is not there")
		}
		return
	}
}
