package main

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
)

// A process that is ending already takes the signal to end for what it is, and
// does not die of it: the demo stops its phones by both, one after the other.
func TestStopTwiceIsClean(t *testing.T) {
	w := &town{t: t, dir: t.TempDir()}
	w.logs = w.dir
	tries := 40
	if long() {
		tries = 2000
	}
	for range tries {
		c := w.start("phones", new(phoneEvent), "demo-phones", "--dir", filepath.Join(w.dir, "phones"), "--push", "http://127.0.0.1:1", "--rack", "r")
		c.in.Close()
		time.Sleep(rand.N(500 * time.Microsecond)) // any moment of its end may be the one
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		if err := c.cmd.Wait(); err != nil {
			t.Fatalf("it died of the signal: %v", err)
		}
	}
}

// A slowCarrier takes every message, once it is opened.
type slowCarrier struct {
	open         chan struct{}
	begun, taken atomic.Int64
}

func (c *slowCarrier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.URL.Path == "/token" {
		_, _ = io.WriteString(w, `{"access_token": "token", "token_type": "Bearer", "expires_in": 3600}`)
		return
	}
	c.begun.Add(1)
	select {
	case <-c.open:
		c.taken.Add(1)
		_, _ = io.WriteString(w, `{"name": "projects/sealpost-lab/messages/1"}`)
	case <-r.Context().Done():
	}
}

// R73: a relay that is told to stop records the attempts that it has begun, and
// gives back what it has claimed and not begun: the next one sends that at once,
// not when its lease ends, and sends nothing twice.
func TestStopGivesBackWhatWasNotBegun(t *testing.T) {
	const begun, unsent = fcm.ConnectionsDefault * fcm.StreamsPerConn, 50
	carrier := &slowCarrier{open: make(chan struct{})}
	front := httptest.NewServer(carrier)
	t.Cleanup(front.Close)
	b := newBankOver(t, front.URL)
	wait := func(what string, is func() bool) {
		t.Helper()
		for until := time.Now().Add(bankWithin); !is(); { // half of a lease
			if time.Now().After(until) {
				t.Fatalf("%s: %d begun, %d taken, %+v", what, carrier.begun.Load(), carrier.taken.Load(), b.server.dispatcher.Stats())
			}
			b.must(pause(t.Context(), pollFirst))
		}
	}
	var sent []sealpost.Sealed
	for range begun + unsent {
		sent = append(sent, b.send())
	}
	wait("all is claimed and the carrier is busy", func() bool {
		return carrier.begun.Load() == begun && b.server.dispatcher.Stats()[0].Held == begun+unsent
	})
	b.end()
	close(carrier.open)
	b.stop()
	if n := carrier.begun.Load(); n != begun {
		t.Fatalf("%d attempts were begun until the relay had stopped, want the %d in hand", n, begun)
	}
	b.start(true)
	wait("what was given back is sent", func() bool { return b.server.dispatcher.Stats()[0].Completed == unsent })
	for _, m := range sent {
		records, err := b.server.store.Records(t.Context(), bankApp, m.ID())
		b.must(err)
		attempts := 0
		for _, r := range records {
			if r.Kind == sealpost.KindAttempt {
				attempts++
			}
		}
		if attempts != 1 {
			t.Errorf("a message has %d attempts, want 1", attempts)
		}
	}
	if n := carrier.begun.Load(); n != begun+unsent {
		t.Errorf("%d attempts were begun in all, want %d", n, begun+unsent)
	}
}
