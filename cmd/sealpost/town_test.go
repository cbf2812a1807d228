package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A town is a relay and its neighbours, each a process of its own, in folders
// laid out as the demo's.
type town struct {
	t       testing.TB
	dir     string
	logs    string
	setup   setup
	cfg     Config
	carrier labReady
	lab     *child // the carrier's process
	relay   *child // nil until startRelay
}

const townApp = "town-bank"

// newTown starts the carrier and writes a relay's configuration, on a port of
// its own that stays the same when the relay is started again. If publicURL is
// not empty, that is how the others reach the relay.
func newTown(t testing.TB, publicURL string) *town {
	t.Helper()
	return newTownIn(t, t.TempDir(), publicURL)
}

func newTownIn(t testing.TB, dir, publicURL string) *town {
	t.Helper()
	w := &town{t: t, dir: dir}
	w.logs = filepath.Join(w.dir, "logs")
	if err := os.Mkdir(w.logs, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.tellLogs()
		}
	})
	w.lab = w.start("carrier", &w.carrier, "lab", "fcm", "--listen", "127.0.0.1:0", "--account", filepath.Join(w.dir, accountFile))
	w.setup = setup{dir: w.dir, app: townApp, listen: freeAddress(t), fcm: w.carrier.URL}
	cfg, err := w.setup.writeRelay()
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = cfg
	if publicURL == "" {
		publicURL = "http://" + cfg.Listen
	} else {
		w.amend("url: \"\"\n", "url: "+publicURL+"\n")
	}
	if err := w.setup.writeSender(cfg, publicURL); err != nil {
		t.Fatal(err)
	}
	return w
}

// tellLogs prints the end of what each process said.
func (w *town) tellLogs() {
	const most = 4 << 10
	logs, _ := filepath.Glob(filepath.Join(w.logs, "*.log"))
	for _, path := range logs {
		b, _ := os.ReadFile(path)
		w.t.Logf("%s:\n%s", filepath.Base(path), b[max(0, len(b)-most):])
	}
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// amend changes one line of the relay's configuration.
func (w *town) amend(from, to string) {
	w.t.Helper()
	path := filepath.Join(w.dir, relayFile)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.Replace(string(b), from, to, 1)
	if text == string(b) {
		w.t.Fatalf("%s has no %q", relayFile, from)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) startRelay() {
	w.t.Helper()
	w.relay = w.start("relay", new(readyLine), "serve", "--config", filepath.Join(w.dir, relayFile))
}

func (w *town) sender() *senderTool {
	w.t.Helper()
	s, err := openSender(filepath.Join(w.dir, senderDir))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// start runs a command of the binary and waits until it says that it is ready.
// What still runs when the test ends is killed.
func (w *town) start(name string, ready any, words ...string) *child {
	w.t.Helper()
	c := w.launch(name, "sealpost", words...)
	if err := c.await(w.t.Context(), ready); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// launch starts one of TestMain's commands.
func (w *town) launch(name, program string, words ...string) *child {
	w.t.Helper()
	c, err := newChild(command(w.t, program), name, w.logs, words...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		c.log.Close()
	})
	return c
}

// newChild starts a program as spawn starts this one.
func newChild(path, name, logs string, words ...string) (*child, error) {
	log, err := os.OpenFile(filepath.Join(logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	c := &child{name: name, cmd: exec.Command(path, words...), log: log}
	c.cmd.Stderr = log
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, lineMax)
	return c, nil
}

// stop ends a process as an operator does and wants it to end well.
func (w *town) stop(c *child) {
	w.t.Helper()
	if err := c.stop(); err != nil {
		words, _ := os.ReadFile(c.log.Name())
		w.t.Fatalf("stop %s: %v\n%s", c.name, err, words)
	}
}

// demo is the demo with this town's processes in place of its own: its phones
// are started, and its steps can be taken one by one.
func (w *town) demo(lines []demoLine) *demo {
	w.t.Helper()
	d := &demo{lines: lines, words: io.Discard, dir: w.dir, progress: newProgress(io.Discard), moved: make(chan struct{}, 1), sender: w.sender()}
	w.t.Cleanup(func() { d.sender.close() })
	for i := range min(demoPhones, len(d.recipients())) {
		name := fmt.Sprintf("phones-%d", i+1)
		p := w.start(name, new(phoneEvent), "demo-phones", "--dir", filepath.Join(w.dir, "phones"), "--push", w.carrier.URL, "--rack", name)
		d.phones = append(d.phones, p)
		go d.hear(p)
	}
	return d
}

// within is a context for steps that should take a fraction of it.
func (w *town) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	w.t.Cleanup(cancel)
	return ctx
}

// eventually runs a command in this process until it ends with 0.
func (w *town) eventually(words ...string) string {
	w.t.Helper()
	for until := time.Now().Add(readyWithin); ; {
		var out, errw bytes.Buffer
		code := run(w.t.Context(), words, nil, &out, &errw)
		if code == 0 {
			return out.String()
		}
		if time.Now().After(until) {
			w.t.Fatalf("%s: exit %d: %s", strings.Join(words, " "), code, errw.String())
		}
		_ = pause(w.t.Context(), pollFirst)
	}
}
