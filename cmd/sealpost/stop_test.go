package main

import (
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
