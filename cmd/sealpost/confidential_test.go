package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/internal/lab"
)

// What marks a message's content, a customer's number, and a stranger's
// nonsense. Every canary and every number begins with its mark. They are drawn,
// because the relay is a copy of this binary: a constant would be found in it.
type marks struct{ canary, number, strange string }

func drawMarks() marks {
	return marks{
		canary:  "X" + strings.ToLower(rand.Text()[:14]),
		number:  fmt.Sprintf("49%010d", mrand.Uint64N(1e10)),
		strange: "Y" + strings.ToLower(rand.Text()[:14]),
	}
}

const (
	canaryMessages = 1000
	canaryPeople   = 24
)

// lines are messages of all templates, each with canaries in every field.
func (m marks) lines(n int) []demoLine {
	lines := make([]demoLine, n)
	for i := range lines {
		canary := fmt.Sprintf("%s%05d", m.canary, i)
		lines[i] = demoLine{To: fmt.Sprintf("+%s%02d", m.number, i%canaryPeople), Template: demoTemplates[i%3], Data: map[string]string{"remark": canary + "r"}}
		switch lines[i].Template {
		case "otp":
			lines[i].Data["code"] = canary
		case "payment":
			lines[i].Data["amount"], lines[i].Data["currency"], lines[i].Data["payee"] = canary+"a", "EUR", canary+"p"
		case "account":
			lines[i].Data["change"] = canary
		}
	}
	return lines
}

// An exchange is one request that the relay got, and its answer.
type exchange struct {
	path              string
	request, response []byte // with their headers
	status            int
}

// A wiretap stands before the relay and keeps what passes.
type wiretap struct {
	*httptest.Server
	mu   sync.Mutex
	kept []exchange
}

// newWiretap listens before it knows whom it stands before.
func newWiretap(t *testing.T) (tap *wiretap, before func(address string)) {
	tap = &wiretap{Server: httptest.NewUnstartedServer(nil)}
	t.Cleanup(tap.Close)
	return tap, func(address string) {
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
		proxy.Transport = tap
		rewrite := proxy.Director
		proxy.Director = func(r *http.Request) { host := r.Host; rewrite(r); r.Host = host }
		tap.Config.Handler = proxy
		tap.Start()
	}
}

func (w *wiretap) RoundTrip(r *http.Request) (*http.Response, error) {
	request, err := httputil.DumpRequestOut(r, true)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	head, err := httputil.DumpResponse(answer, false)
	w.mu.Lock()
	w.kept = append(w.kept, exchange{r.URL.Path, request, append(head, body...), answer.StatusCode})
	w.mu.Unlock()
	return answer, err
}

// all are the exchanges so far.
func (w *wiretap) all() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.kept)
}

// R1: what a sender seals is nowhere at the relay, in no form: not in its
// files, log lines, requests, answers, memory, nor in what it asks of carriers.
// Neither is a customer's number; a push token is in no file and no log line.
func TestRelayHoldsNoPlaintext(t *testing.T) {
	messages := canaryMessages
	if testing.Short() {
		messages = 200
	}
	mark := drawMarks()
	tap, before := newWiretap(t)
	w := newTown(t, "http://"+tap.Listener.Addr().String())
	before(w.cfg.Listen)
	w.startRelay()
	d := w.demo(mark.lines(messages))
	ctx := w.within(4 * time.Minute)
	if err := d.enrol(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.send(ctx); err != nil {
		t.Fatal(err)
	}
	own := client.Message{To: d.lines[0].To, Template: "otp", Data: map[string]string{"code": mark.canary},
		Transaction: mark.canary + "-tx", Correlation: mark.canary + "-corr"}
	sent := d.sender.SendAll(ctx, []client.Message{own})[0]
	if sent.Err != nil {
		t.Fatalf("a message with the business's own ids: %v", sent.Err)
	}
	d.sent = append(d.sent, demoMessage{id: sent.ID})
	if err := d.gather(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.sent {
		if m.status.End != sealpost.Delivered {
			t.Fatalf("%s ended %v: without a delivery the search shows less", m.id, m.status.End)
		}
	}
	if len(d.sent) != messages+1 {
		t.Fatalf("%d of %d messages were taken: %v", len(d.sent), messages+1, d.refused)
	}
	strangers(t, mark.strange, tap.URL, strings.TrimSpace(string(mustRead(t, filepath.Join(w.dir, senderDir, apiKeyFile)))))

	secret, strange := newSearch(mark.canary, mark.number), newSearch(mark.strange)
	tokens := newSearch(pushTokens(t, w.dir)...)
	t.Run("memory", func(t *testing.T) { searchMemory(t, secret, w.relay, d.phones[0]) })
	journal := carrierJournal(t, w.carrier.URL)
	for _, p := range d.phones {
		w.stop(p)
	}
	w.stop(w.relay)

	t.Run("files", func(t *testing.T) {
		if found, _ := secret.inFiles(t, filepath.Join(w.dir, "phones")); len(found) == 0 {
			t.Fatal("the phones' own stores hold the texts, and the search does not find them")
		}
		for _, folder := range []string{w.cfg.Data, w.cfg.Keys, w.relay.log.Name()} {
			for _, s := range []*search{secret, tokens, strange} {
				found, read := s.inFiles(t, folder)
				if read == 0 {
					t.Errorf("%s: nothing was read", folder)
				}
				for _, what := range found {
					t.Error(what)
				}
			}
		}
	})
	t.Run("wire", func(t *testing.T) { searchWire(t, tap.all(), secret, tokens, strange) })
	t.Run("carrier", func(t *testing.T) {
		pushes := 0
		for _, e := range journal {
			secret.none(t, e.Path, append([]byte(e.Path), e.Body...))
			if strings.HasSuffix(e.Path, "messages:send") {
				pushes++
				if len(tokens.in(e.Body)) == 0 {
					t.Errorf("a push names no token that is searched for: %s", e.Body)
				}
			}
		}
		if pushes < messages {
			t.Errorf("the journal has %d pushes for %d messages", pushes, messages)
		}
	})
}

// searchWire looks at what passed between the relay and its callers. A device
// tells its endpoint once, when it answers an invitation; nobody else does.
func searchWire(t *testing.T, all []exchange, secret, tokens, strange *search) {
	posts, problems := 0, 0
	for _, e := range all {
		secret.none(t, "request "+e.path, e.request)
		secret.none(t, "answer to "+e.path, e.response)
		tokens.none(t, "answer to "+e.path, e.response)
		strange.none(t, "answer to "+e.path, e.response)
		if !strings.HasPrefix(e.path, "/v1/enrolments") && !strings.HasPrefix(e.path, "/v1/device") {
			tokens.none(t, "request "+e.path, e.request)
		}
		if e.path == "/v1/messages" {
			posts++
		}
		if e.status >= 400 {
			problems++
		}
	}
	if posts == 0 || problems == 0 {
		t.Errorf("%d submissions and %d problems passed: too few to show anything", posts, problems)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// strangers send nonsense to the relay, with and without a key. Neither an
// answer nor a log line may repeat it.
func strangers(t *testing.T, mark, relay, secret string) {
	t.Helper()
	for _, kind := range []string{"application/json", "application/cbor", "application/vnd.sealpost.submission+cbor", "application/vnd.sealpost.batch+cbor", "text/plain"} {
		for _, bearer := range []string{"", "Bearer " + secret, "Bearer " + mark} {
			for _, body := range []string{mark, `{"commitment":"` + mark + `","` + mark + `":1}`} {
				r, err := http.NewRequest("POST", relay+"/v1/messages", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", kind)
				if bearer != "" {
					r.Header.Set("Authorization", bearer)
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if answer.StatusCode < 400 || answer.StatusCode >= 500 {
					t.Errorf("nonsense as %s is answered %s", kind, answer.Status)
				}
			}
		}
	}
}

// searchMemory looks through the live relay as a core dump would show it.
func searchMemory(t *testing.T, secret *search, relay, phones *child) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read through /proc, which only Linux has")
	}
	found, read, err := secret.inMemory(phones.cmd.Process.Pid)
	if os.IsPermission(err) {
		t.Skipf("this machine lets nobody read a child's memory: %v", err)
	}
	if err != nil || len(found) == 0 {
		t.Fatalf("the phones have just shown the texts, and the search does not find them in their %d bytes (%v)", read, err)
	}
	found, read, err = secret.inMemory(relay.cmd.Process.Pid)
	if err != nil || read < 10<<20 {
		t.Fatalf("only %d bytes of the relay's memory could be read: %v", read, err)
	}
	for _, what := range found {
		t.Error(what)
	}
	t.Logf("searched %d MB of the relay's memory", read>>20)
}

// pushTokens are the phones' names at the carrier; their stores are named so.
func pushTokens(t *testing.T, dir string) (out []string) {
	t.Helper()
	stores, err := filepath.Glob(filepath.Join(dir, "phones", "*.db"))
	if err != nil || len(stores) != canaryPeople {
		t.Fatalf("%d phones, want %d: %v", len(stores), canaryPeople, err)
	}
	for _, s := range stores {
		out = append(out, strings.TrimSuffix(filepath.Base(s), ".db"))
	}
	return out
}

// carrierJournal is every request that the carrier ever got.
func carrierJournal(t *testing.T, carrier string) (all []lab.Entry) {
	t.Helper()
	answer, err := http.Get(carrier + "/lab/journal")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var e lab.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil || len(all) == 0 || all[0].Seq != 1 {
		t.Fatalf("the journal is not whole: %d entries, %v", len(all), err)
	}
	return all
}
