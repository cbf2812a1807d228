package verify_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	browserWait = 60 * time.Second // for any one answer, on a busy machine
	sourceWait  = 10 * time.Second // for the package source to answer
)

// needChromium skips a test where there is no browser. Under CI that is a
// failure, unless the source that has it cannot be reached from here.
func needChromium(t *testing.T) {
	t.Helper()
	_, why := exec.LookPath("chromium")
	if why == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		client := http.Client{Timeout: sourceWait}
		answer, err := client.Head("http://deb.debian.org/debian/")
		if err == nil {
			answer.Body.Close()
			t.Fatalf("there is no browser: %v; run web/verify/install.sh", why)
		}
		t.Logf("the package source cannot be reached: %v", err)
	}
	t.Skipf("NOT TESTED IN A BROWSER: %v; run web/verify/install.sh", why)
}

// A browser is one Chromium with one tab, driven by the DevTools protocol over
// a pipe: messages of JSON, each with a zero byte after it.
type browser struct {
	t       testing.TB
	to      *os.File
	session string

	mu      sync.Mutex
	last    int
	answers map[int]chan message
	asked   []string // addresses that the tab asked for
	logged  []string // what the browser logged of the page, refusals by CSP too
	loaded  chan struct{}
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func openBrowser(t testing.TB) *browser {
	t.Helper()
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// No sandbox: it needs user namespaces, which containers often lack, and the
	// only page opened is our own.
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "--remote-debugging-pipe",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, ours} // 3 and 4, as the flag wants
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.Close()
	b := &browser{t: t, to: to, answers: map[int]chan message{}, loaded: make(chan struct{}, 1)}
	read := make(chan struct{})
	go func() { defer close(read); b.read(from) }()
	t.Cleanup(func() {
		b.send("", "Browser.close", nil)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(browserWait):
			cmd.Process.Kill()
			<-ended
		}
		to.Close()
		from.Close()
		<-read
	})
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime", "DOM"} {
		b.call(b.session, domain+".enable", nil, nil)
	}
	return b
}

// read hands out answers and notes events until the browser is gone.
func (b *browser) read(from *os.File) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(raw[:len(raw)-1], &m); err != nil {
			b.t.Errorf("the browser says what is no JSON: %v", err)
			return
		}
		b.mu.Lock()
		switch m.Method {
		case "":
			if c := b.answers[m.ID]; c != nil {
				c <- m
				delete(b.answers, m.ID)
			}
		case "Network.requestWillBeSent":
			var p struct{ Request struct{ URL string } }
			json.Unmarshal(m.Params, &p)
			b.asked = append(b.asked, p.Request.URL)
		case "Log.entryAdded":
			var p struct{ Entry struct{ Text string } }
			json.Unmarshal(m.Params, &p)
			b.logged = append(b.logged, p.Entry.Text)
		case "Runtime.exceptionThrown":
			b.logged = append(b.logged, string(m.Params))
		case "Page.loadEventFired":
			select {
			case b.loaded <- struct{}{}:
			default:
			}
		}
		b.mu.Unlock()
	}
}

func (b *browser) send(session, method string, params any) chan message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	answer := make(chan message, 1)
	b.answers[b.last] = answer
	raw, err := json.Marshal(map[string]any{"id": b.last, "sessionId": session, "method": method, "params": params})
	if session == "" {
		raw, err = json.Marshal(map[string]any{"id": b.last, "method": method, "params": params})
	}
	if err == nil {
		_, err = b.to.Write(append(raw, 0))
	}
	if err != nil {
		b.t.Errorf("%s: %v", method, err)
	}
	return answer
}

func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	select {
	case m := <-b.send(session, method, params):
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(browserWait):
		b.t.Fatalf("%s: no answer in %v", method, browserWait)
	}
}

// eval runs a script in the page, which may be a promise, and reads what it
// gives. The page's CSP holds for it as for the page's own.
func (b *browser) eval(script string, to any) error {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true,
		"allowUnsafeEvalBlockedByCSP": false}, &r)
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("%s %s", e.Text, e.Exception.Description)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, to)
}

func (b *browser) mustEval(script string, to any) {
	b.t.Helper()
	if err := b.eval(script, to); err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
}

// open loads a file with the network off and waits for the page's judge.
func (b *browser) open(path string) {
	b.t.Helper()
	b.mu.Lock()
	b.asked, b.logged = nil, nil
	b.mu.Unlock()
	select {
	case <-b.loaded:
	default:
	}
	b.call(b.session, "Network.emulateNetworkConditions",
		map[string]any{"offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}, nil)
	abs, err := filepath.Abs(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.call(b.session, "Page.navigate", map[string]any{"url": "file://" + abs}, nil)
	select {
	case <-b.loaded:
	case <-time.After(browserWait):
		b.t.Fatalf("%s did not load", path)
	}
	b.turn(0)
}

// turns is how often the page has shown something new.
func (b *browser) turns() (n int) {
	b.t.Helper()
	b.mustEval(`Number(document.body.dataset.turn)`, &n)
	return n
}

// turn waits until the page has shown something after turn n.
func (b *browser) turn(n int) {
	b.t.Helper()
	b.mustEval(fmt.Sprintf(`new Promise((done) => {
		const look = () => { if (Number(document.body.dataset.turn) > %d) { done(0); return true; } return false; };
		if (!look()) { const o = new MutationObserver(() => { if (look()) o.disconnect(); }); o.observe(document.body, {attributes: true}); }
	})`, n), nil)
}

// choose gives a file to one of the page's pickers, as a person would.
func (b *browser) choose(id, path string) {
	b.t.Helper()
	n := b.turns()
	var r struct{ Result struct{ ObjectID string } }
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": `document.getElementById("` + id + `")`}, &r)
	b.call(b.session, "DOM.setFileInputFiles", map[string]any{"objectId": r.Result.ObjectID, "files": []string{path}}, nil)
	b.turn(n)
}

// as sets the time to judge for.
func (b *browser) as(at string) {
	b.t.Helper()
	n := b.turns()
	b.mustEval(fmt.Sprintf(`{ const at = document.getElementById("at"); at.value = %q; at.dispatchEvent(new Event("change")); 0 }`, at), nil)
	b.turn(n)
}

// requests are the addresses that the tab asked for since open.
func (b *browser) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.asked...)
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.logged...)
}
