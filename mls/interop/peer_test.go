package interop_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/mls"
)

const (
	askTimeout    = 30 * time.Second // for one answer
	answerMax     = 4 << 20          // bytes in one answer
	complaintsMax = 16 << 10         // bytes kept of what a peer writes to stderr
)

// A peer is one foreign engine in a process of its own, which speaks the JSON
// lines of peer.mjs. It holds any number of clients.
type peer struct {
	engine     string
	in         io.WriteCloser
	out        *bufio.Scanner
	kill       func()
	complaints *tail
}

// tail keeps the end of what is written to it, which may be read meanwhile.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-complaintsMax):]
	return len(p), nil
}

func startPeer(t *testing.T, engine string) *peer {
	t.Helper()
	cmd := exec.Command("node", "peer.mjs", engine)
	p := &peer{engine: engine, complaints: &tail{}}
	cmd.Stderr = p.complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", engine, err)
	}
	p.in, p.out, p.kill = in, bufio.NewScanner(out), func() { cmd.Process.Kill() }
	p.out.Buffer(nil, answerMax)
	t.Cleanup(func() { // without input it ends by itself; if it does not, it is ended
		in.Close()
		late := time.AfterFunc(askTimeout, p.kill)
		defer late.Stop()
		cmd.Wait()
	})
	return p
}

// A complaint is an error that the engine answered with, which leaves it running.
type complaint struct{ engine, text string }

func (e *complaint) Error() string { return e.engine + ": " + e.text }

type request map[string]any

// ask puts one request and waits for its one answer.
func (p *peer) ask(q request, answer any) error {
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	late := time.AfterFunc(askTimeout, p.kill)
	defer late.Stop()
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return p.lost(err)
	}
	if !p.out.Scan() {
		return p.lost(errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	var a struct {
		OK    json.RawMessage
		Error string
	}
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return p.lost(err)
	}
	switch {
	case a.Error != "":
		return &complaint{p.engine, a.Error}
	case answer == nil:
		return nil
	}
	return json.Unmarshal(a.OK, answer)
}

func (p *peer) lost(err error) error {
	return fmt.Errorf("%s is lost: %w\n%s", p.engine, err, p.complaints)
}

// An engine's error is an answer and it goes on; a process that is gone is an error
// at once, and no hanging.
func TestPeer(t *testing.T) {
	needPeers(t)
	for _, engine := range []string{tsMLS, coreCrypto} {
		p := startPeer(t, engine)
		s := session{t, mls.X25519AES128, p, new(int)}
		bob := s.theirs("bob")
		var c *complaint
		if err := bob.ask("fly", nil, nil); !errors.As(err, &c) {
			t.Errorf("%s was asked for what it does not offer: %v", engine, err)
		}
		if err := bob.join([]byte("no welcome"), nil); !errors.As(err, &c) {
			t.Errorf("%s was given no welcome: %v", engine, err)
		}
		if _, err := bob.keyPackage(); err != nil {
			t.Errorf("%s after errors: %v", engine, err)
		}
		p.kill()
		if _, err := bob.keyPackage(); err == nil || errors.As(err, &c) {
			t.Errorf("%s was ended and answers: %v", engine, err)
		}
	}
}
