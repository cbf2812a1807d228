package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/internal/store"
)

const (
	crashKills     = 50
	crashKillsLong = 200
	crashMoment    = 300 * time.Millisecond // a kill comes at any moment of this, once its victim works
	crashRest      = 700 * time.Millisecond // a device that was killed is off, and has much to catch up with
	crashDrain     = 90 * time.Second       // in which all must end well after the last kill
)

// A kept process is started again whenever it ends, as a service manager does.
type kept struct {
	name, program string
	words         func(start int) []string
	hear          func(line []byte) // each line of its output
	speaks        bool              // its first line says that it works
	rest          time.Duration     // before it is started again, so that work waits for it

	path, logs string
	mu         sync.Mutex
	now        *child        // nil between two
	works      chan struct{} // closed once the present one works
	gone       chan struct{} // closed once the present one has ended
	ending     bool
	ended      chan struct{}
	starts     int
	fault      error
}

func (w *town) keep(k *kept) *kept {
	k.path, k.logs, k.ended = command(w.t, k.program), w.logs, make(chan struct{})
	k.works = make(chan struct{})
	go k.run()
	w.t.Cleanup(func() {
		k.end(false)
	})
	return k
}

func (k *kept) run() {
	defer close(k.ended)
	for {
		k.mu.Lock()
		if k.ending {
			k.mu.Unlock()
			return
		}
		k.starts++
		c, err := newChild(k.path, k.name, k.logs, k.words(k.starts)...)
		if err != nil {
			k.fault = err
			k.mu.Unlock()
			return
		}
		k.now, k.gone = c, make(chan struct{})
		works := k.works
		k.mu.Unlock()
		once := sync.OnceFunc(func() { close(works) })
		if !k.speaks {
			once()
		}
		for c.lines.Scan() {
			once()
			k.hear(c.lines.Bytes())
		}
		err = c.cmd.Wait()
		once()
		c.log.Close()
		k.mu.Lock()
		if k.ending {
			k.fault = err
		}
		k.now, k.works = nil, make(chan struct{})
		close(k.gone)
		ending := k.ending
		k.mu.Unlock()
		if !ending {
			time.Sleep(k.rest)
		}
	}
}

// kill kills the present process, waits until it is gone, and says whether it
// had lived until then.
func (k *kept) kill() bool {
	k.mu.Lock()
	c, gone := k.now, k.gone
	k.mu.Unlock()
	if c == nil || c.cmd.Process.Kill() != nil {
		return false
	}
	<-gone
	return true
}

// end lets the process come to its end, for good.
func (k *kept) end(well bool) error {
	k.mu.Lock()
	ended := k.ending
	k.ending = true
	c := k.now
	k.mu.Unlock()
	if c != nil && !ended {
		if well {
			c.in.Close()
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
		} else {
			_ = c.cmd.Process.Kill()
		}
	}
	<-k.ended
	return k.fault
}

// waitWorks waits until the present process works, or has ended.
func (k *kept) waitWorks() {
	k.mu.Lock()
	works := k.works
	k.mu.Unlock()
	select {
	case <-works:
	case <-time.After(readyWithin):
	}
}

// A crashWorld is a town under load: customers, each with a device, and a
// sender that never stops.
type crashWorld struct {
	*town
	relay, sender *kept
	devices       []*kept
	folders       []string // of the devices
	owner         []string // the number of each device's customer

	mu       sync.Mutex
	promised map[string]string // what the sender printed: text by id
}

func newCrashWorld(t *testing.T) *crashWorld {
	w := &crashWorld{town: newTown(t, ""), promised: map[string]string{}}
	w.owner = []string{"+491511234501", "+491511234502", "+491511234503"}
	config := filepath.Join(w.dir, relayFile)
	w.relay = w.keep(&kept{name: "relay", program: "sealpost", speaks: true, hear: func([]byte) {},
		words: func(int) []string { return []string{"serve", "--config", config} }})
	w.relay.waitWorks()
	w.enrolDevices()
	senderAt := filepath.Join(w.dir, senderDir)
	w.sender = w.keep(&kept{name: "sender", program: "send-loop", speaks: true, hear: w.note,
		words: func(start int) []string {
			return []string{senderAt, strconv.Itoa(start), w.owner[0], w.owner[1], w.owner[2]}
		}})
	return w
}

// enrolDevices enrols each device by the commands and lets it listen.
func (w *crashWorld) enrolDevices() {
	senderAt := filepath.Join(w.dir, senderDir)
	for i, number := range w.owner {
		folder := filepath.Join(w.dir, fmt.Sprintf("device-%d", i))
		invite := w.eventually("device", "invite", "--sender", senderAt, "--to", number)
		w.eventually("device", "enroll", "--device", folder, "--invite", strings.TrimSpace(invite), "--push", w.carrier.URL)
		for approved := ""; approved == ""; { // nobody waits before the answer is there
			approved = w.eventually("device", "approve", "--sender", senderAt)
		}
		w.folders = append(w.folders, folder)
		w.devices = append(w.devices, w.keep(&kept{name: fmt.Sprintf("device-%d", i), program: "sealpost", rest: crashRest, hear: func([]byte) {},
			words: func(int) []string { return []string{"device", "listen", "--device", folder} }}))
	}
}

// note keeps what the sender says was promised to it.
func (w *crashWorld) note(line []byte) {
	var s sentLine
	if json.Unmarshal(line, &s) != nil || s.ID == "" {
		return // a line that the kill cut off was not said
	}
	w.mu.Lock()
	w.promised[s.ID] = s.Text
	w.mu.Unlock()
}

// crash kills relay, sender and devices in turn, at random moments.
func (w *crashWorld) crash(kills int, r *rand.Rand) {
	w.t.Helper()
	for killed := 0; killed < kills; {
		victim := []*kept{w.relay, w.sender, w.devices[killed/3%len(w.devices)]}[killed%3]
		if r.IntN(4) > 0 || victim.rest > 0 { // else it may be killed while it starts
			victim.waitWorks()
		}
		_ = pause(w.t.Context(), time.Duration(r.Int64N(int64(crashMoment))))
		if victim.kill() {
			killed++
		}
	}
}

// drain lets the sender stop, and waits until every message has its end and all
// of its proofs. Devices start once more, so that they ask for what they missed.
func (w *crashWorld) drain() (s *senderTool, ids []sealpost.MessageID) {
	w.t.Helper()
	w.sender.waitWorks()
	if err := w.sender.end(true); err != nil {
		w.t.Fatalf("end the sender: %v", err)
	}
	for _, d := range w.devices {
		d.kill()
	}
	s = w.town.sender()
	w.t.Cleanup(func() { s.close() })
	ctx := w.within(crashDrain)
	for err := s.ready(ctx); err != nil; err = s.ready(ctx) {
		if pause(ctx, pollFirst) != nil {
			w.t.Fatalf("post what the crashes left: %v", err)
		}
	}
	ids, err := s.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range ids {
		st, err := s.settle(ctx, id)
		if err != nil || st.End != sealpost.Delivered || st.Refused != "" || !st.Promised {
			w.t.Errorf("%s: promised %v, refused %q, ended %v with %d of %d proofs: %v", id, st.Promised, st.Refused, st.End, st.Logged, st.Exhibits, err)
		}
	}
	return s, ids
}

// After any kill, nothing that was promised is lost, nothing that was sent is
// unreadable, each statement has one leaf, each message one outcome, and each
// device holds each of its messages once (DESIGN section 12, Crash).
func TestKilledAtAnyMoment(t *testing.T) {
	kills := crashKills
	if long() {
		kills = crashKillsLong
	}
	w := newCrashWorld(t)
	w.sender.waitWorks()
	w.crash(kills, chance(t))
	s, ids := w.drain()
	known := map[string]bool{}
	for _, id := range ids {
		known[id.String()] = true
	}
	for id := range w.promised {
		if !known[id] {
			t.Errorf("%s was promised, and its sender has lost it", id)
		}
	}
	if len(ids) < kills || len(w.promised) < kills/2 {
		t.Errorf("only %d messages and %d promises under %d kills: no load", len(ids), len(w.promised), kills)
	}
	readers := w.checkBundles(s, ids)
	if err := s.close(); err != nil {
		t.Error(err)
	}
	for _, k := range append(w.devices, w.relay) {
		if err := k.end(true); err != nil {
			t.Errorf("end %s: %v", k.name, err)
		}
	}
	w.checkRelay(ids)
	w.checkInboxes(readers)
	t.Logf("%d kills, %d messages, %d promises seen by the sender; starts: relay %d, sender %d", kills, len(ids), len(w.promised), w.relay.starts, w.sender.starts)
}

// checkBundles judges each message alone, waits until each device that it was
// sealed to has said that it read it, and gives those devices.
func (w *crashWorld) checkBundles(s *senderTool, ids []sealpost.MessageID) map[sealpost.MessageID][]sealpost.KeyID {
	w.t.Helper()
	ctx := w.within(crashDrain)
	readers := map[sealpost.MessageID][]sealpost.KeyID{}
	for _, id := range ids {
		readers[id] = w.sealedTo(s, id)
		for st, err := s.Status(id); ; st, err = s.Sync(ctx, id) {
			if err != nil && !isBusy(err) {
				w.t.Fatalf("%s: %v", id, err)
			}
			if readBy(st.Receipts) >= len(readers[id]) {
				break
			}
			if pause(ctx, pollFirst) != nil {
				w.t.Errorf("%s: %d of %d devices have read it", id, readBy(st.Receipts), len(readers[id]))
				break
			}
		}
		raw, err := s.bundle(id, client.Disclose{})
		if err != nil {
			w.t.Fatal(err)
		}
		if v := evidence.Verify(raw, s.policy(), sealpost.FromTime(time.Now())); v.Status != evidence.Proven {
			w.t.Errorf("%s: %v %v", id, v.Status, v.Findings)
		}
	}
	return readers
}

// sealedTo is the roster of a message without its sender.
func (w *crashWorld) sealedTo(s *senderTool, id sealpost.MessageID) (devices []sealpost.KeyID) {
	w.t.Helper()
	b, err := s.Bundle(id, client.Disclose{})
	if err != nil || len(b.Rosters) != 1 {
		w.t.Fatalf("%s: %d rosters: %v", id, len(b.Rosters), err)
	}
	roster, err := sealpost.ParseRoster(b.Rosters[0])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range roster.Members {
		if m.Device != s.key.ID() {
			devices = append(devices, m.Device)
		}
	}
	return devices
}

// readBy counts the devices that say they opened a message.
func readBy(receipts []sealpost.Receipt) int {
	by := map[sealpost.KeyID]bool{}
	for _, r := range receipts {
		if r.Level == sealpost.Decrypted {
			by[r.Key] = true
		}
	}
	return len(by)
}

// checkRelay reads the stopped relay: its log and its statements fit, no
// statement and no leaf stands twice, each message has one commitment and one
// outcome, and there is none of which its sender does not know.
func (w *crashWorld) checkRelay(ids []sealpost.MessageID) {
	w.t.Helper()
	if code, report, words := fsckOf(w.t, w.dir); code != 0 {
		w.t.Errorf("fsck: exit %d %v %s", code, report.Faults, words)
	}
	keys, err := store.NewFileKeys(w.cfg.storeKeyFile())
	if err != nil {
		w.t.Fatal(err)
	}
	db, err := store.Open(w.t.Context(), store.Config{Dir: w.cfg.Data, Keys: keys, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	size, err := db.Size(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	statements, leaves := map[sealpost.Hash]uint64{}, map[sealpost.Leaf]uint64{}
	count := map[sealpost.Kind]map[sealpost.MessageID]int{sealpost.KindCommitment: {}, sealpost.KindOutcome: {}}
	for seq := range size {
		r, err := db.Record(w.t.Context(), seq)
		if err != nil {
			w.t.Fatal(err)
		}
		if at, twice := statements[r.Hash]; twice {
			w.t.Errorf("the statement at %d stands at %d too", seq, at)
		}
		if at, twice := leaves[r.Leaf]; twice {
			w.t.Errorf("the leaf at %d stands at %d too", seq, at)
		}
		statements[r.Hash], leaves[r.Leaf] = seq, seq
		if of := count[r.Kind]; of != nil {
			of[r.ID]++
		}
	}
	for kind, of := range count {
		if len(of) != len(ids) {
			w.t.Errorf("%d messages with a %v, its sender knows %d", len(of), kind, len(ids))
		}
		for _, id := range ids {
			if of[id] != 1 {
				w.t.Errorf("%s has %d statements of kind %v, want one", id, of[id], kind)
			}
		}
	}
}

// checkInboxes opens each stopped device: it holds each message that was sealed
// to it, once, with the text that its sender says.
func (w *crashWorld) checkInboxes(readers map[sealpost.MessageID][]sealpost.KeyID) {
	w.t.Helper()
	for _, folder := range w.folders {
		t, _, err := openDeviceFolder(folder)
		if err != nil {
			w.t.Fatal(err)
		}
		held := map[sealpost.MessageID]int{}
		texts := map[string]int{}
		inbox, err := t.Inbox()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, n := range inbox {
			held[n.ID]++
			texts[n.Text]++
			if text, said := w.promised[n.ID.String()]; said && !strings.Contains(n.Text, text+".") {
				w.t.Errorf("%s reads %q, its sender sent %q", n.ID, n.Text, text)
			}
		}
		due := 0
		for id, devices := range readers {
			if slices.Contains(devices, t.ID()) {
				due++
				if held[id] != 1 {
					w.t.Errorf("device %s holds %s %d times, want once", t.ID(), id, held[id])
				}
			}
		}
		if len(held) != due || len(texts) != len(inbox) {
			w.t.Errorf("device %s holds %d messages and %d texts in %d places, %d were sealed to it", t.ID(), len(held), len(texts), len(inbox), due)
		}
		if err := t.close(); err != nil {
			w.t.Error(err)
		}
	}
}
