package store_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/store/storetest"
)

const crashPlace = "SEALPOST_TEST_CRASH_PLACE"

// TestCrashChild is the process that TestCrash kills. It says on its standard
// output what it was told to be durable, each line in one write.
func TestCrashChild(t *testing.T) {
	place := os.Getenv(crashPlace)
	if place == "" {
		t.Skip("only run by TestCrash")
	}
	ctx := context.Background()
	w := storetest.NewWorldAt(t, place, open)
	d := w.Enrol(storetest.Recipient(hex.EncodeToString(w.Sender.Seed()[:4])), w.Token("tok"))
	say := func(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
	hold := func(group []sealpost.Hold) {
		for i, h := range w.MustHold(group...) {
			say("held %d %x %v", h.Record.Seq, h.Record.Hash, group[i].Kind)
		}
	}
	var nonce [16]byte
	for round := uint64(0); ; round++ {
		w.Now = w.Now.Add(time.Millisecond)
		group := make([]sealpost.Hold, 1+rand.IntN(64))
		for i := range group {
			group[i] = w.Message(d.Recipient)
		}
		hold(group)
		var next []sealpost.Hold
		for _, work := range w.Work(1 << 40) {
			i := slices.IndexFunc(group, func(h sealpost.Hold) bool { return h.ID == work.Message.ID })
			if i < 0 {
				continue
			}
			next = append(next, w.Attempt(group[i], d, work.Number, sealpost.Accepted, 0), w.Receipt(group[i], d, sealpost.HandedOver), w.Receipt(group[i], d, sealpost.Decrypted))
		}
		hold(next)
		closings, err := w.Closable(ctx, w.Now, 100)
		w.Must(err)
		next = nil
		for _, c := range closings {
			next = append(next, w.Outcome(c))
		}
		hold(next)
		binary.BigEndian.PutUint64(nonce[:], round)
		key := sha256.Sum256(w.Sender.Seed())
		if fresh, err := w.Nonce(ctx, key, nonce, w.Now.Add(time.Hour)); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		say("nonce %x %x", key, nonce)
		if round%4 == 3 {
			w.Must(w.Sweep(ctx, w.Now))
		}
	}
}

// A relay that is killed at any moment keeps all that it acknowledged, and what
// it opens again is whole: seqs dense, pages sound, each blob its commitment's
// (12, Crash).
func TestCrash(t *testing.T) {
	kills := 4
	if os.Getenv("SEALPOST_LONG") != "" {
		kills = 60
	}
	place := t.TempDir()
	acked := map[uint64]string{}
	for n := range kills {
		nonces := runAndKill(t, place, acked)
		db := openDB(t, place, time.UnixMilli(1_790_000_000_000).UTC)
		checkAfterCrash(t, db, acked, nonces)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("after kill %d with %d statements acknowledged", n+1, len(acked))
		}
	}
	t.Logf("%d kills, %d statements acknowledged", kills, len(acked))
}

// runAndKill runs a child until it has acknowledged something and a random
// while longer, kills it, and collects what it said.
func runAndKill(t *testing.T, place string, acked map[uint64]string) (nonces [][2]string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.timeout=60s")
	child.Env = append(os.Environ(), crashPlace+"="+place)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines, most := 0, 50+rand.IntN(1000)
	for s := bufio.NewScanner(out); s.Scan(); lines++ {
		f := strings.Fields(s.Text())
		switch {
		case len(f) == 4 && f[0] == "held":
			var seq uint64
			if _, err := fmt.Sscan(f[1], &seq); err != nil {
				t.Fatal(err)
			}
			if before, ok := acked[seq]; ok {
				t.Errorf("seq %d was acknowledged twice, as %s and %s", seq, before, f[2])
			}
			acked[seq] = f[2]
		case len(f) == 3 && f[0] == "nonce":
			nonces = append(nonces, [2]string{f[1], f[2]})
		default:
			t.Errorf("the child says %q", s.Text())
		}
		if lines == most {
			if err := child.Process.Kill(); err != nil { // SIGKILL; what it said before is still read
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || lines < most {
		t.Fatalf("the child ended by itself after %d lines: %v", lines, err)
	}
	return nonces
}

func checkAfterCrash(t *testing.T, db *store.DB, acked map[uint64]string, nonces [][2]string) {
	t.Helper()
	ctx := context.Background()
	r, err := db.Fsck(ctx, nil)
	if err != nil || r.Faulty != 0 {
		t.Errorf("fsck: %v, %v", r.Faults, err)
	}
	size, err := db.Size(ctx)
	if err != nil || size != r.Statements {
		t.Errorf("size %d, %d statements, %v: seqs are not dense", size, r.Statements, err)
	}
	for seq, hash := range acked {
		record, err := db.Record(ctx, seq)
		if err != nil || hex.EncodeToString(record.Hash[:]) != hash {
			t.Errorf("seq %d, acknowledged: %v", seq, err)
		}
		if record.Kind != sealpost.KindCommitment {
			continue
		}
		if _, err := db.Message(ctx, record.ID); err != nil {
			t.Errorf("message at seq %d: %v", seq, err)
		}
	}
	for _, n := range nonces {
		key, _ := hex.DecodeString(n[0])
		nonce, _ := hex.DecodeString(n[1])
		if fresh, err := db.Nonce(ctx, sealpost.KeyID(key), [16]byte(nonce), 1); err != nil || fresh {
			t.Errorf("an acknowledged nonce is fresh again: %v", err)
		}
	}
}

// A group whose blobs cannot be written is not held, and nothing is, until the
// store is opened again: after a failed sync nobody knows what is on the disk.
func TestFailedSpool(t *testing.T) {
	ctx := context.Background()
	w := storetest.NewWorld(t, open)
	m := w.Message(storetest.Recipient("nobody"))
	w.MustHold(m)
	db := w.Store.(*store.DB)
	w.Must(db.BreakSpool())
	lost := w.Message(storetest.Recipient("nobody"))
	if _, err := w.Hold(ctx, []sealpost.Hold{lost}); err == nil {
		t.Fatal("held without a spool")
	}
	if _, err := w.Hold(ctx, []sealpost.Hold{w.Message(storetest.Recipient("nobody"))}); err == nil {
		t.Error("a write after a failed sync was taken")
	}
	if _, err := w.ReadMessage(m.ID); err != nil {
		t.Errorf("reading goes on: %v", err)
	}
	w.Reopen()
	if _, err := w.ReadMessage(lost.ID); !errors.Is(err, sealpost.ErrNotFound) {
		t.Errorf("the lost group: %v", err)
	}
	w.MustHold(lost)
	if r := fsck(t, w); r.Faulty != 0 {
		t.Error(r.Faults)
	}
}
