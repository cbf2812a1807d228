package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of the lab's own server.
const (
	fcmStreamsMax   = 256 // concurrent requests of one HTTP/2 connection
	fcmHeaderWait   = 10 * time.Second
	fcmIdleWait     = 2 * time.Minute
	fcmShutdownWait = 2 * time.Second
)

// FCMConfig is what an FCM server needs to know.
type FCMConfig struct {
	// Account is the only service account it trusts; required (see [ServiceAccount]).
	Account Account
	// TokenURL is the audience it expects in assertions: the account's token_uri.
	TokenURL string
	// Now is the clock of tokens, quotas, ttl and journal. Default time.Now.
	Now func() time.Time
	// TokenLife is how long a bearer token works. Default 3599 s.
	TokenLife time.Duration
	// PerMinute is the project's quota, refilled whole each minute and charged for
	// every message but those refused for the quota itself. Default 600,000.
	PerMinute int
	// PendingMax is how many pushes may wait for one device before all of them are
	// dropped. Default 100, the vendor's number.
	PendingMax int
	// JournalEntries and JournalBytes bound the journal; zero means the defaults.
	JournalEntries, JournalBytes int
	// TLS, if set, is what Run serves with; HTTP/2 is offered then.
	TLS *tls.Config
	// Log gets the server's own troubles. Default: discarded.
	Log *slog.Logger
}

// Defaults of [FCMConfig].
const (
	FCMPerMinuteDefault = 600_000
	FCMPendingDefault   = 100
)

// FCM is a strict FCM HTTP v1 server for one project. It serves
//
//	POST /token                            the OAuth token endpoint (RFC 7523)
//	POST /v1/projects/{p}/messages:send    the vendor's method
//	POST /lab/devices                      a phone registers; answers {fid, token}
//	DELETE /lab/devices/{target}           the app is uninstalled
//	GET  /lab/devices/{target}/pushes      a phone's pushes, by long poll
//	GET  /lab/racks/{rack}/pushes          the pushes of a rack of phones, as a stream
//	GET  /lab/journal                      what was asked, as NDJSON
//	POST /lab/faults                       adds to the script of faults
//
// It is an http.Handler and safe for concurrent use.
type FCM struct {
	cfg     FCMConfig
	desk    tokenDesk
	quota   minuteBucket
	phones  registry
	journal *Journal
	faults  script
	mux     *http.ServeMux

	quit     chan struct{} // closed when Run ends: open polls and streams return
	quitOnce sync.Once
}

// NewFCM makes a server with no phones and an empty script.
func NewFCM(cfg FCMConfig) (*FCM, error) {
	if cfg.Account.Public == nil || cfg.Account.Project == "" || cfg.TokenURL == "" {
		return nil, errors.New("lab fcm: want an account and its token URL")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.TokenLife <= 0 {
		cfg.TokenLife = tokenLifeDefault
	}
	if cfg.PerMinute <= 0 {
		cfg.PerMinute = FCMPerMinuteDefault
	}
	if cfg.PendingMax <= 0 {
		cfg.PendingMax = FCMPendingDefault
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &FCM{
		cfg: cfg,
		desk: tokenDesk{
			account: cfg.Account, audience: cfg.TokenURL, life: cfg.TokenLife, now: cfg.Now,
			tokens: map[string]time.Time{},
		},
		quota:   minuteBucket{size: cfg.PerMinute},
		phones:  registry{targets: map[string]*phone{}, racks: map[string]*rack{}, pendingMax: cfg.PendingMax},
		journal: NewJournal(cfg.JournalEntries, cfg.JournalBytes),
		mux:     http.NewServeMux(),
		quit:    make(chan struct{}),
	}
	f.mux.HandleFunc("POST /token", f.serveToken)
	f.mux.HandleFunc("POST /lab/devices", f.serveRegister)
	f.mux.HandleFunc("DELETE /lab/devices/{target}", f.serveUnregister)
	f.mux.HandleFunc("GET /lab/devices/{target}/pushes", f.servePoll)
	f.mux.HandleFunc("GET /lab/racks/{rack}/pushes", f.serveRack)
	f.mux.HandleFunc("GET /lab/journal", f.serveJournal)
	f.mux.HandleFunc("POST /lab/faults", f.serveFaults)
	return f, nil
}

// Journal is what the server was asked, tokens and sends together.
func (f *FCM) Journal() *Journal { return f.journal }

// Script appends faults; the server uses them up in order.
func (f *FCM) Script(faults ...Fault) { f.faults.add(faults) }

// ClearFaults forgets what is left of the script.
func (f *FCM) ClearFaults() { f.faults.clear() }

// ServeHTTP implements http.Handler. The send method is matched first and by hand:
// its path holds a colon and its rate is the one that matters.
func (f *FCM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if project, ok := sendPath(r.URL.Path); ok {
		f.serveSend(w, r, project)
		return
	}
	f.mux.ServeHTTP(w, r)
}

// sendPath reads the project out of /v1/projects/{p}/messages:send.
func sendPath(path string) (project string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v1/projects/")
	if !ok {
		return "", false
	}
	project, ok = strings.CutSuffix(rest, "/messages:send")
	return project, ok && project != "" && !strings.Contains(project, "/")
}

// Run serves l until ctx ends, then lets requests in hand finish for a moment.
func (f *FCM) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           f,
		ReadHeaderTimeout: fcmHeaderWait,
		IdleTimeout:       fcmIdleWait,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: fcmStreamsMax},
		ErrorLog:          slog.NewLogLogger(f.cfg.Log.Handler(), slog.LevelDebug),
		TLSConfig:         f.cfg.TLS,
	}
	ended := make(chan error, 1)
	go func() {
		if f.cfg.TLS != nil {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the lab's fcm: %w", err)
	case <-ctx.Done():
	}
	f.quitOnce.Do(func() { close(f.quit) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), fcmShutdownWait)
	defer cancel()
	if srv.Shutdown(last) != nil { // what is still open has had its time
		srv.Close()
	}
	return nil
}

// serveSend is projects.messages.send, in the vendor's order: who, how many, what, whom.
func (f *FCM) serveSend(w http.ResponseWriter, r *http.Request, project string) {
	body, err := readBody(r, fcmBodyMax)
	if err != nil {
		f.refuse(w, r, body, badRequest(&violation{"", err.Error()}))
		return
	}
	req, parseErr := readSend(body)
	target := ""
	if req != nil {
		target = req.target()
	}
	fault, scripted := f.faults.take(r.URL.Path, target)
	if scripted && f.before(w, r, body, fault) {
		return
	}
	name, e := f.send(r, project, req, parseErr)
	if e != nil {
		f.refuse(w, r, body, *e)
		return
	}
	answer := []byte("{\n  \"name\": \"" + name + "\"\n}\n")
	if scripted && f.after(w, r, body, fault, answer) {
		return
	}
	f.record(r, body, http.StatusOK, "")
	w.Header()["Content-Type"] = jsonContent
	w.Write(answer)
}

// send does what a send request asks for and returns the message's name.
func (f *FCM) send(r *http.Request, project string, req *sendRequest, parseErr error) (string, *apiError) {
	if r.Method != http.MethodPost {
		return "", &apiError{http: http.StatusNotFound, status: "NOT_FOUND", message: "Not found."}
	}
	if e := f.authenticate(r, project); e != nil {
		return "", e
	}
	if wait, ok := f.quota.take(f.cfg.Now()); !ok {
		e := vendorError("QUOTA_EXCEEDED")
		e.retryAfter = wait
		return "", &e
	}
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		e := badRequest(&violation{"", "Content-Type must be application/json"})
		return "", &e
	}
	if parseErr != nil {
		e := badRequest(parseErr)
		return "", &e
	}
	return f.route(project, req)
}

func (f *FCM) authenticate(r *http.Request, project string) *apiError {
	if !f.desk.admits(r.Header.Get("Authorization")) {
		return &apiError{
			http: http.StatusUnauthorized, status: "UNAUTHENTICATED",
			message: "Request had invalid authentication credentials. Expected OAuth 2 access token.",
			reason:  "ACCESS_TOKEN_EXPIRED",
		}
	}
	if project != f.cfg.Account.Project {
		return &apiError{
			http: http.StatusForbidden, status: "PERMISSION_DENIED",
			message: "Permission 'cloudmessaging.messages.create' denied on resource.",
			reason:  "IAM_PERMISSION_DENIED",
		}
	}
	return nil
}

// route finds the device and hands it the push.
func (f *FCM) route(project string, req *sendRequest) (string, *apiError) {
	if req.topic == "" && req.condition == "" {
		p, e := f.phones.find(req)
		if e != nil {
			return "", e
		}
		if !req.validateOnly {
			f.phones.deliver(p, req, f.cfg.Now())
		}
	}
	if req.validateOnly {
		return "projects/" + project + "/messages/fake_message_id", nil
	}
	return fmt.Sprintf("projects/%s/messages/0:%d%%%016x", project, f.cfg.Now().UnixMicro(), f.phones.sent.Add(1)), nil
}

func (q *sendRequest) target() string { return q.fid + q.token + q.topic + q.condition }

func (f *FCM) record(r *http.Request, body []byte, status int, code string) {
	f.journal.add(Entry{
		At: f.cfg.Now(), Method: r.Method, Path: r.URL.Path, Proto: r.Proto, Status: status, Code: code, Body: body,
	})
}

// readBody reads at most limit bytes and refuses more.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("request body has %d bytes, at most %d are allowed", r.ContentLength, limit)
	}
	if n := r.ContentLength; n >= 0 {
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, fmt.Errorf("read the request body: %w", err)
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the request body: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("request body has more than %d bytes", limit)
	}
	return body, nil
}

// A minuteBucket is the vendor's quota: whole again at the start of each minute
// since its first use.
type minuteBucket struct {
	mu    sync.Mutex
	size  int
	since time.Time
	used  int
}

// take charges one message, or says how long the minute still lasts.
func (b *minuteBucket) take(now time.Time) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() || now.Sub(b.since) >= time.Minute {
		b.since, b.used = now, 0
	}
	if b.used >= b.size {
		return b.since.Add(time.Minute).Sub(now), false
	}
	b.used++
	return 0, true
}
