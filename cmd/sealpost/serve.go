package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/internal/dispatch"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/relay"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/translog"
)

// appendsPerCheckpoint bounds how often the log's tiles are written: what is
// appended in between is seen by nobody before the next checkpoint.
const appendsPerCheckpoint = 10

// gcPercent lets the heap grow to four times what is in use before it is collected:
// what a relay has in use is mostly what was just held, and collecting it again and
// again found little. Measured: 9 % of all CPU at full load.
const gcPercent = 300

// tuneRuntime sets the runtime up for a relay, where GOMAXPROCS and GOGC do not say
// otherwise; GOMEMLIMIT bounds memory as ever.
//
// One more goroutine may run than there are processors: one that waits for a sync
// keeps its place for up to 10 ms before the runtime gives it to another, and with a
// place to spare the processors stay busy. Measured on two: without it a tenth less
// of whole lifecycles, with two to spare a tenth less as well.
func tuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// A server is a relay with everything around it. Its rooms meet here and
// nowhere else.
type server struct {
	cfg       Config
	logger    *slog.Logger
	now       func() time.Time
	statement *sealpost.PrivateKey
	key       *signer.LogKey // behind its guard

	store      *store.DB
	log        *translog.Log
	relay      *relay.Relay
	dispatcher *dispatch.Dispatcher // nil without a carrier
	handler    http.Handler
	listener   net.Listener
}

// openServer builds a relay on the machine's clock.
func openServer(ctx context.Context, cfg Config, logger *slog.Logger) (*server, error) {
	return openServerAt(ctx, cfg, logger, time.Now)
}

// openServerAt builds a relay, room by room, in the order in which they need
// each other. Nothing is served before [server.run].
func openServerAt(ctx context.Context, cfg Config, logger *slog.Logger, now func() time.Time) (s *server, err error) {
	s = &server{cfg: cfg, logger: logger, now: now}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"keys", s.openKeys},
		{"store", s.openStore},
		{"log", s.openLog},
		{"relay", s.openRelay},
		{"carriers", s.openCarriers},
		{"tenants", s.openTenants},
		{"api", s.openAPI},
	} {
		if err := step.do(ctx); err != nil {
			return s, fmt.Errorf("open %s: %w", step.what, err)
		}
	}
	return s, nil
}

func (s *server) openKeys(context.Context) (err error) {
	s.statement, err = signer.Statement(s.cfg.stmtKeyFile())
	return err
}

func (s *server) openStore(ctx context.Context) error {
	keys, err := store.NewFileKeys(s.cfg.storeKeyFile())
	if err != nil {
		return err
	}
	s.store, err = store.Open(ctx, store.Config{Dir: s.cfg.Data, Keys: keys, Now: s.now, Logger: s.logger})
	return err
}

func (s *server) openLog(ctx context.Context) error {
	var err error
	if s.key, err = signer.OpenLog(s.cfg.logKeyFile(), s.cfg.Guard, s.cfg.Origin); err != nil {
		return err
	}
	if err := os.WriteFile(s.cfg.vkeyFile(), []byte(s.key.VKey+"\n"), 0o644); err != nil {
		return err
	}
	translog.TesseraLogTo(s.logger)
	s.log, err = translog.Open(ctx, translog.Config{Dir: s.cfg.logDir(), Signer: s.key,
		CheckpointInterval: s.cfg.checkpointInterval(), Compare: s.compareLeaf(ctx), Logger: s.logger})
	return err
}

// compareLeaf refuses a log that the store did not write, before anything of
// it is signed again.
func (s *server) compareLeaf(ctx context.Context) func(uint64, []byte) error {
	return func(index uint64, leaf []byte) error {
		held, err := s.store.Leaves(ctx, index, 1)
		if err != nil {
			return err
		}
		if len(held) != 1 || string(held[0][:]) != string(leaf) {
			return fmt.Errorf("leaf %d of the log is not what the store holds", index)
		}
		return nil
	}
}

func (s *server) openRelay(context.Context) (err error) {
	tenants := map[string][]sealpost.KeyID{}
	for _, t := range s.cfg.Tenants {
		tenants[t.App] = nil
		for _, text := range t.SenderKeys {
			id, err := sealpost.ParseKeyID(text)
			if err != nil {
				return err
			}
			tenants[t.App] = append(tenants[t.App], id)
		}
	}
	s.relay, err = relay.New(relay.Config{Store: s.store, Log: relayLog{s.log}, Tenants: tenants, Statement: s.statement,
		Origin: s.cfg.Origin, Carriers: s.carriers(), Now: s.now, Logger: s.logger,
		Full: store.ErrFull, Lost: []error{store.ErrUncertain, translog.ErrBroken},
		Gather: s.cfg.checkpointInterval() / appendsPerCheckpoint})
	return err
}

// carriers are those that the configuration sets up.
func (s *server) carriers() []sealpost.Carrier {
	if s.cfg.FCM == nil {
		return nil
	}
	return []sealpost.Carrier{sealpost.FCM}
}

func (s *server) openCarriers(context.Context) error {
	if s.cfg.FCM == nil {
		return nil
	}
	raw, err := os.ReadFile(s.cfg.FCM.ServiceAccount)
	if err != nil {
		return err
	}
	account, err := fcm.ParseAccount(raw)
	if err != nil {
		return err
	}
	carrier, err := fcm.New(fcm.Config{Account: account, Now: s.now, BaseURL: s.cfg.FCM.URL})
	if err != nil {
		return err
	}
	s.dispatcher, err = dispatch.New(dispatch.Config{Now: s.now, Random: rand.Reader, Log: s.logger,
		Routes: []dispatch.Route{{Carrier: carrier, Queue: newRelayQueue(s.relay, s.now)}}})
	return err
}

// openTenants puts the API keys of the configuration into the store.
func (s *server) openTenants(ctx context.Context) error {
	for _, t := range s.cfg.Tenants {
		for _, k := range t.APIKeys {
			hash, err := sealpost.ParseKeyID(k.SHA256)
			if err != nil {
				return err
			}
			scopes, err := api.ParseScopes(k.Scopes)
			if err != nil {
				return err
			}
			err = s.store.PutAPIKey(ctx, sealpost.APIKey{Name: k.Name, App: t.App, Hash: sealpost.Hash(hash), Scopes: scopes,
				Created: sealpost.FromTime(s.now())})
			if err != nil && !errors.Is(err, sealpost.ErrConflict) { // there already, or revoked since
				return err
			}
		}
	}
	return nil
}

func (s *server) openAPI(context.Context) (err error) {
	s.handler = api.NewServer(s.doors())
	s.listener, err = net.Listen("tcp", s.cfg.Listen)
	return err
}

// doors are the rooms behind the API.
func (s *server) doors() api.ServerConfig {
	return api.ServerConfig{Intake: s.relay, Reading: s.relay, Directory: s.relay, DeviceRoad: s.relay,
		Keys: s.relay, Gate: s.relay, Log: s.log.Handler(), Now: s.now, Logger: s.logger, BaseURL: s.cfg.URL}
}

// run serves until ctx ends, and returns when everything has ended: first no
// more requests, then no more dispatch, then the relay drains, then log and
// store close.
func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var dispatching, relaying sync.WaitGroup
	faults := make(chan error, 3)
	road, endRoad := context.WithCancel(context.WithoutCancel(ctx))
	defer endRoad()
	start := func(room *sync.WaitGroup, name string, run func(context.Context) error, until context.Context) {
		room.Go(func() {
			if err := run(until); err != nil {
				faults <- fmt.Errorf("%s: %w", name, err)
			}
			cancel(nil)
		})
	}
	start(&relaying, "relay", s.relay.Run, road)
	if s.dispatcher != nil {
		start(&dispatching, "dispatch", s.dispatcher.Run, ctx)
	}
	err := s.serve(ctx)
	cancel(nil)
	dispatching.Wait() // attempts in hand end first: the relay holds what came of them
	endRoad()
	relaying.Wait()
	close(faults)
	for fault := range faults {
		err = errors.Join(err, fault)
	}
	return errors.Join(err, s.close())
}

// requestsEnd bounds how long requests in flight may take once serve is told
// to stop.
const requestsEnd = 10 * time.Second

// serve answers requests until ctx ends.
func (s *server) serve(ctx context.Context) error {
	h := api.HTTPServer(s.handler, s.logger)
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestsEnd)
		defer cancel()
		stopped <- h.Shutdown(within)
	})
	var err error
	if s.cfg.TLS != nil {
		err = h.ServeTLS(s.listener, s.cfg.TLS.Cert, s.cfg.TLS.Key)
	} else {
		err = h.Serve(s.listener)
	}
	if unhook() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	if err := <-stopped; err != nil {
		s.logger.Warn("requests were cut off at the end", "err", err)
	}
	return nil
}

// close closes what was opened, last first.
func (s *server) close() error {
	var faults []error
	if s.listener != nil {
		s.listener.Close() // closed already where requests were served
	}
	if s.log != nil {
		within, cancel := context.WithTimeout(context.Background(), requestsEnd)
		defer cancel()
		faults = append(faults, s.log.Close(within))
	}
	if s.key != nil { // after the log, which signs once more
		faults = append(faults, s.key.Close())
	}
	if s.store != nil {
		faults = append(faults, s.store.Close())
	}
	return errors.Join(faults...)
}

// A ready line is what serve prints, once, when it takes requests: what a
// sender must know of this relay. It holds no secret.
type readyLine struct {
	URL      string `json:"url"`
	Origin   string `json:"origin"`
	LogVKey  string `json:"log_vkey"`
	RelayKey string `json:"relay_key"` // COSE_Key, base64url
}

func (s *server) ready() readyLine {
	url := s.cfg.URL
	if url == "" {
		scheme := "http"
		if s.cfg.TLS != nil {
			scheme = "https"
		}
		url = scheme + "://" + s.listener.Addr().String()
	}
	return readyLine{URL: url, Origin: s.cfg.Origin, LogVKey: s.key.VKey,
		RelayKey: base64.RawURLEncoding.EncodeToString(s.statement.Public().COSE())}
}

func serveCommand() *cobra.Command {
	var path, data string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the relay",
		Long: `Run the relay until it is told to stop. With --config it serves the tenants of
that file; with --data alone it serves a relay of its own in that folder, with
no tenant yet. Once it takes requests it prints one line of JSON.`,
		Example: "  sealpost serve --config sealpost.yaml\n  sealpost serve --data ./relay",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := serveConfig(path, data)
			if err != nil {
				return err
			}
			tuneRuntime()
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			s, err := openServer(cmd.Context(), cfg, logger)
			if err != nil {
				return err
			}
			logger.Warn(signer.Loud)
			logger.Info("the signing guard remembers the log's last signed head: leave its folder out of every backup", "guard", cfg.Guard)
			if err := printLine(cmd, s.ready()); err != nil {
				return errors.Join(err, s.close())
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the YAML file (sealpost config init writes one)")
	cmd.Flags().StringVar(&data, "data", "", "the relay's folder, where there is no file")
	return cmd
}

func serveConfig(path, data string) (Config, error) {
	switch {
	case path != "" && data != "":
		return Config{}, usage("--config and --data: give one of them")
	case path != "":
		return readConfig(path)
	case data != "":
		cfg, err := Config{Data: relayFolder(data)}.complete()
		if err != nil {
			return cfg, exit{exitUsage, err}
		}
		return cfg, nil
	}
	return Config{}, usage("name a file with --config or a folder with --data; run sealpost serve --help")
}

// relayFolder is the relay's folder where the folder of a whole demo is given.
func relayFolder(data string) string {
	inner := filepath.Join(data, "relay")
	if _, err := os.Stat(filepath.Join(inner, "sealpost.db")); err == nil {
		return inner
	}
	return data
}
