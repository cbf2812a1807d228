package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/internal/lab/crowd"
)

// Conditions of the accept bench.
const (
	benchConnections      = 512 // single POSTs
	benchBatchConnections = 64
	benchSingleRate       = 40_000 // submissions signed beforehand for each second of a run
	benchBatchRate        = 80_000
	benchDurationMax      = time.Minute
	benchLoggedWithin     = 30 * time.Second
)

// An acceptReport is what sealpost bench prints.
type acceptReport struct {
	AcceptedPerS       float64    `json:"accepted_per_s"`
	LimitPerS          float64    `json:"limit_per_s"`
	Ratio              float64    `json:"ratio"`
	AcceptMS           percentile `json:"accept_ms"` // at half of accepted_per_s
	CPUMicrosPerMsg    float64    `json:"cpu_us_per_message"`
	LoggedPerS         float64    `json:"logged_per_s"`
	BacklogEnd         uint64     `json:"backlog_end"`
	Connections        int        `json:"connections"`
	Batch              int        `json:"batch"`
	Accepted           int        `json:"accepted"` // 202s whose promise verifies
	Refused            int        `json:"refused"`
	DurationS          float64    `json:"duration_s"`
	SenderKeys         int        `json:"sender_keys"`
	BytesPerSubmission int        `json:"bytes_per_submission"`
}

type percentile struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func benchCommand() *cobra.Command {
	var duration time.Duration
	var batch int
	var asJSON bool
	var profile string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a relay accepts, against a bare server in the same run",
		Long: `Start a relay with serve's defaults (synced, authenticated, promising, logging) in
a folder of its own, post to it over loopback from 1,000 sender keys, and count
the answers whose promise verifies. The limit is the same server, connections,
bodies and batch size, only parsing and checking each signature with the standard
library. Generator and relay share the machine. No carrier is called; see bench
lifecycle for the whole road.

It ends with 70 if a promised message is not in the log at the end.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if duration < time.Second || duration > benchDurationMax || batch < 1 || batch > api.BatchMax {
				return usage("want --duration of 1s to %v and --batch of 1 to %d", benchDurationMax, api.BatchMax)
			}
			tuneRuntime()
			b := &acceptBench{duration: duration, batch: batch, words: cmd.ErrOrStderr(), profile: profile}
			report, err := b.run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			report.write(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "of each of the three phases")
	cmd.Flags().IntVar(&batch, "batch", 1, "submissions in one POST")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile of phase 2 to this file")
	cmd.AddCommand(benchLifecycleCommand())
	return cmd
}

func (r acceptReport) write(w io.Writer) {
	writeTable(w, [][]string{
		{"accepted", fmt.Sprintf("%.0f/s", r.AcceptedPerS), fmt.Sprintf("%d promises verified, %d refused, in %.1f s", r.Accepted, r.Refused, r.DurationS)},
		{"limit", fmt.Sprintf("%.0f/s", r.LimitPerS), "the same server, only parsing and checking signatures"},
		{"ratio", fmt.Sprintf("%.2f", r.Ratio), ""},
		{"accept p50", fmt.Sprintf("%.1f ms", r.AcceptMS.P50), "at half of that rate"},
		{"accept p99", fmt.Sprintf("%.1f ms", r.AcceptMS.P99), ""},
		{"CPU", fmt.Sprintf("%.1f µs", r.CPUMicrosPerMsg), "for each message, generator included"},
		{"logged", fmt.Sprintf("%.0f/s", r.LoggedPerS), fmt.Sprintf("%d not yet under a checkpoint when the load ended", r.BacklogEnd)},
		{"conditions", fmt.Sprintf("%d connections", r.Connections), fmt.Sprintf("%d in a POST, %d sender keys, %d bytes each", r.Batch, r.SenderKeys, r.BytesPerSubmission)},
	})
}

// An acceptBench is one run of the bench.
type acceptBench struct {
	duration time.Duration
	batch    int
	words    io.Writer
	profile  string // file for a CPU profile of phase 2; empty: none

	world  *benchWorld
	bodies *pile // requests' bodies, signed beforehand
	next   int   // the first body not used yet
}

func (b *acceptBench) run(ctx context.Context) (r acceptReport, err error) {
	account := filepath.Join(os.TempDir(), fmt.Sprintf("sealpost-bench-%d.json", os.Getpid()))
	if _, err := writeAccount(account, "http://127.0.0.1:1"); err != nil {
		return r, err
	}
	defer os.Remove(account)
	fmt.Fprintln(b.words, "starting a relay, enrolling 1,000 senders and 1,000 devices …")
	b.world, err = newBenchWorld(ctx, "http://127.0.0.1:1", account, false, func(i int) (api.DeviceEndpoint, error) {
		return api.DeviceEndpoint{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMToken, Value: fmt.Sprintf("bench-token-%d", i)}, nil
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.world.close()) }()
	err = b.sign()
	defer b.bodies.free()
	if err != nil {
		return r, err
	}
	r.Batch, r.SenderKeys, r.Connections = b.batch, benchSenders, b.connections()
	r.BytesPerSubmission = len(b.bodies.get(0)) / b.batch

	fmt.Fprintln(b.words, "phase 1 of 3: the bare server …")
	if err := b.limit(ctx, &r); err != nil {
		return r, err
	}
	fmt.Fprintln(b.words, "phase 2 of 3: the relay, as fast as it answers …")
	if err := b.accept(ctx, &r); err != nil {
		return r, err
	}
	fmt.Fprintln(b.words, "phase 3 of 3: the relay, at half that rate …")
	return r, b.latency(ctx, &r)
}

func (b *acceptBench) connections() int {
	if b.batch > 1 {
		return benchBatchConnections
	}
	return benchConnections
}

// sign makes every body that the phases can use up.
func (b *acceptBench) sign() error {
	rate := benchSingleRate
	if b.batch > 1 {
		rate = benchBatchRate
	}
	messages := int(b.duration.Seconds() * 1.5 * float64(rate))
	b.bodies = newPile(messages / b.batch)
	fmt.Fprintf(b.words, "signing %d messages …\n", b.bodies.len()*b.batch)
	return parallel(b.bodies.len(), func(i int) error {
		one := make([][]byte, b.batch)
		for k := range one {
			var err error
			if one[k], err = b.world.submission(i*b.batch+k, sealpost.ReleaseLogged); err != nil {
				return err
			}
		}
		if b.batch == 1 {
			b.bodies.put(i, one[0])
			return nil
		}
		body, err := sealpost.Encode(one)
		if err == nil {
			b.bodies.put(i, body)
		}
		return err
	})
}

func (b *acceptBench) request(buffer []byte, host, authorization string, body []byte) crowd.Request {
	media := api.MediaSubmission
	if b.batch > 1 {
		media = api.MediaBatch
	}
	return crowd.AppendPost(buffer, host, "/v1/messages", media, authorization, body)
}

// limit measures the bare server with the bodies that the relay will get.
func (b *acceptBench) limit(ctx context.Context, r *acceptReport) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	bare := api.HTTPServer(b.bareHandler(), b.world.server.logger)
	go bare.Serve(l)
	defer bare.Close()
	var good atomic.Int64
	host, bearer := l.Addr().String(), "Bearer "+b.world.secret
	report, err := crowd.Do(ctx, crowd.Run{Address: host, Connections: b.connections(), Count: b.bodies.len(), For: b.duration,
		Next: func(buffer []byte, i int) crowd.Request { return b.request(buffer, host, bearer, b.bodies.get(i)) },
		Answer: func(_, status int, _ []byte) {
			if status == http.StatusAccepted {
				good.Add(int64(b.batch))
			}
		}})
	if err == nil && int(good.Load()) != report.Sent*b.batch {
		err = errors.New("the bare server refused what it should take")
	}
	r.LimitPerS = report.PerSecond() * float64(b.batch)
	return err
}

func (b *acceptBench) bareHandler() http.Handler {
	keys := map[sealpost.KeyID]ed25519.PublicKey{}
	for _, k := range b.world.senders {
		keys[k.Public().ID()] = ed25519.PublicKey(k.Public().Bytes())
	}
	buffers := sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		body, err := readInto(r.Body, (*buf)[:0])
		*buf = body
		if err != nil || !b.bareBody(keys, body) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

func (b *acceptBench) bareBody(keys map[sealpost.KeyID]ed25519.PublicKey, body []byte) bool {
	if b.batch == 1 {
		return bareCheck(keys, body)
	}
	var many [][]byte
	if sealpost.Decode(body, &many) != nil {
		return false
	}
	for _, one := range many {
		if !bareCheck(keys, one) {
			return false
		}
	}
	return true
}

func readInto(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// accept measures the relay and checks every promise afterwards.
func (b *acceptBench) accept(ctx context.Context, r *acceptReport) error {
	answers := newPile(b.bodies.len())
	defer answers.free()
	stop, err := startProfile(b.profile)
	if err != nil {
		return err
	}
	logged := b.world.followLog(ctx)
	before := cpuTime()
	report, err := b.post(ctx, b.bodies.len()*2/3, 0, answers.put)
	if err != nil {
		return err
	}
	spent := cpuTime() - before
	r.LoggedPerS = logged()
	if err := stop(); err != nil {
		return err
	}
	if r.BacklogEnd, err = b.world.backlog(ctx); err != nil {
		return err
	}
	first := b.next
	b.next += report.Sent
	promised, err := b.check(first, answers, report.Sent)
	if err != nil {
		return err
	}
	r.Accepted, r.Refused = len(promised), report.Sent*b.batch-len(promised)
	r.DurationS = report.Elapsed.Seconds()
	r.AcceptedPerS = float64(r.Accepted) / r.DurationS
	r.Ratio = r.AcceptedPerS / r.LimitPerS
	r.CPUMicrosPerMsg = float64(spent.Microseconds()) / float64(max(1, r.Accepted))
	return b.allLogged(ctx, promised)
}

// post sends up to count bodies that were not used yet.
func (b *acceptBench) post(ctx context.Context, count int, rate float64, answer func(i int, body []byte)) (crowd.Report, error) {
	host, bearer, first := b.world.address(), "Bearer "+b.world.secret, b.next
	return crowd.Do(ctx, crowd.Run{Address: host, Connections: b.connections(), Count: min(count, b.bodies.len()-first), For: b.duration, Rate: rate,
		Next: func(buffer []byte, i int) crowd.Request {
			return b.request(buffer, host, bearer, b.bodies.get(first+i))
		},
		Answer: func(i, status int, body []byte) {
			if status/100 == 2 {
				answer(i, body)
			}
		}})
}

// check verifies each promise and gives the leaves that were promised.
func (b *acceptBench) check(first int, answers *pile, sent int) ([]sealpost.Leaf, error) {
	roots := map[string]sealpost.Signed{}
	relayKey := b.world.server.statement.Public()
	var leaves []sealpost.Leaf
	for i := range sent {
		answer := answers.get(i)
		if answer == nil {
			continue
		}
		bodies, accepted, err := b.unpack(b.bodies.get(first+i), answer)
		if err != nil {
			return nil, fmt.Errorf("answer %d: %w", i, err)
		}
		for k, a := range accepted {
			if a == nil {
				continue
			}
			leaf, err := checkAccepted(roots, relayKey, bodies[k], *a)
			if err != nil {
				return nil, fmt.Errorf("answer %d: %w", i, err)
			}
			leaves = append(leaves, leaf)
		}
	}
	return leaves, nil
}

// unpack pairs the submissions of one POST with the answers to them.
func (b *acceptBench) unpack(body, answer []byte) (bodies [][]byte, accepted []*api.Accepted, err error) {
	if b.batch == 1 {
		a := new(api.Accepted)
		return [][]byte{body}, []*api.Accepted{a}, sealpost.Decode(answer, a)
	}
	var verdicts []api.Verdict
	if err := errors.Join(sealpost.Decode(body, &bodies), sealpost.Decode(answer, &verdicts)); err != nil {
		return nil, nil, err
	}
	if len(verdicts) != len(bodies) {
		return nil, nil, fmt.Errorf("%d answers to %d submissions", len(verdicts), len(bodies))
	}
	for _, v := range verdicts {
		accepted = append(accepted, v.Accepted)
	}
	return bodies, accepted, nil
}

// checkAccepted verifies one promise; each signed root is checked once.
func checkAccepted(roots map[string]sealpost.Signed, relayKey sealpost.PublicKey, body []byte, a api.Accepted) (leaf sealpost.Leaf, err error) {
	s, err := sealpost.ParseSealed(body)
	if err != nil {
		return leaf, err
	}
	p, err := sealpost.ParsePromised(a.Promise)
	if err != nil {
		return leaf, err
	}
	root, known := roots[string(p.Signed)]
	if !known {
		if root, err = sealpost.Parse(p.Signed); err == nil {
			err = root.Verify(relayKey)
		}
		if err != nil {
			return leaf, err
		}
		roots[string(p.Signed)] = root
	}
	if len(a.Salt) != len(sealpost.Salt{}) {
		return leaf, errors.New("the salt has another length")
	}
	if _, err := p.CheckUnder(root, sealpost.Salt(a.Salt), s.Statement().Bytes()); err != nil {
		return leaf, err
	}
	return p.Entry.Leaf, nil
}

// allLogged waits for the log and then finds every promised leaf in it.
func (b *acceptBench) allLogged(ctx context.Context, promised []sealpost.Leaf) error {
	ctx, cancel := context.WithTimeout(ctx, benchLoggedWithin)
	defer cancel()
	if err := b.world.logged(ctx); err != nil {
		return fmt.Errorf("the log did not catch up: %w", err)
	}
	there := map[sealpost.Leaf]bool{}
	size := b.world.server.log.Checkpoint().Size
	for i := range size {
		leaf, err := b.world.server.log.Leaf(ctx, i)
		if err != nil {
			return err
		}
		there[sealpost.Leaf(leaf)] = true
	}
	for _, leaf := range promised {
		if !there[leaf] {
			return errors.New("a promised message is not in the log")
		}
	}
	return nil
}

// latency measures the relay at half of the rate that it reached.
func (b *acceptBench) latency(ctx context.Context, r *acceptReport) error {
	var good atomic.Int64
	report, err := b.post(ctx, b.bodies.len(), r.AcceptedPerS/2/float64(b.batch), func(int, []byte) { good.Add(1) })
	if err == nil && int(good.Load()) != report.Sent {
		err = fmt.Errorf("at half of the rate %d of %d were refused", report.Sent-int(good.Load()), report.Sent)
	}
	r.AcceptMS = percentile{milliseconds(report.Latency(50)), milliseconds(report.Latency(99))}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startProfile profiles this process until the function it returns is called.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}
