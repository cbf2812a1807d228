package fcm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/lab"
)

// A clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A rig is the adapter and the lab's server on a loopback listener, both on one clock.
type rig struct {
	clock   *clock
	server  *lab.FCM
	carrier *fcm.Carrier
	base    string
	roots   *x509.CertPool
	account lab.Account
	conns   *countingListener
	device  lab.Device
}

type rigOption func(*lab.FCMConfig, *fcm.Config)

// newRig serves over TLS and HTTP/2, or over plain HTTP/1.1.
func newRig(t testing.TB, secure bool, options ...rigOption) *rig {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	r := &rig{clock: &clock{now: time.Now().Truncate(time.Second)}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	r.conns = &countingListener{Listener: l}
	scheme := "http"
	var tlsConfig *tls.Config
	if secure {
		scheme = "https"
		tlsConfig, r.roots, err = lab.LoopbackTLS(time.Now())
		must(err)
	}
	r.base = scheme + "://" + l.Addr().String()
	r.account, err = lab.ServiceAccount("bank-push", r.base+"/token")
	must(err)
	parsed, err := fcm.ParseAccount(r.account.JSON)
	must(err)
	labConfig := lab.FCMConfig{Account: r.account, TokenURL: r.base + "/token", Now: r.clock.Now, TLS: tlsConfig}
	config := fcm.Config{Account: parsed, Now: r.clock.Now, BaseURL: r.base, Roots: r.roots}
	for _, o := range options {
		o(&labConfig, &config)
	}
	r.server, err = lab.NewFCM(labConfig)
	must(err)
	r.carrier, err = fcm.New(config)
	must(err)
	r.device, err = r.server.Register(lab.Registration{})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx, r.conns) }()
	t.Cleanup(func() {
		r.carrier.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	return r
}

// sends counts the send requests the server saw, whatever it answered.
func (r *rig) sends() (n int) {
	for _, e := range r.server.Journal().Entries() {
		if e.Path == "/v1/projects/bank-push/messages:send" {
			n++
		}
	}
	return n
}

// pushes is what waits for the device.
func (r *rig) pushes(t testing.TB) []lab.Push {
	t.Helper()
	phones := lab.NewPhones(r.base, &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true,
	}})
	b, err := phones.Poll(t.Context(), r.device.Token, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b.Pushes
}

func byToken(t testing.TB, value string) sealpost.Endpoint {
	return endpoint(t, sealpost.FCM, sealpost.EndpointFCMToken, value)
}

func byFID(t testing.TB, value string) sealpost.Endpoint {
	return endpoint(t, sealpost.FCM, sealpost.EndpointFCMFID, value)
}

func endpoint(t testing.TB, c sealpost.Carrier, k sealpost.EndpointKind, value string) sealpost.Endpoint {
	t.Helper()
	e, err := sealpost.NewEndpoint(c, k, value)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A countingListener counts connections.
type countingListener struct {
	net.Listener
	mu sync.Mutex
	n  int
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.n++
		l.mu.Unlock()
	}
	return c, err
}

func (l *countingListener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
