package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/internal/lab"
	"github.com/sealpost/sealpost/internal/lab/crowd"
)

// Conditions of the lifecycle bench.
const (
	lifeRate        = 15_000 // submissions signed beforehand for each second
	lifeConnections = 8
	lifeBatch       = 32
	lifeOpenMax     = 24_000 // messages on the road at once
	lifeRack        = "bench"
	lifePosters     = 48 // devices that post receipts at once
	lifeReceipts    = 64 // receipts of one device in one request
	lifeDrain       = 60 * time.Second
)

// A lifecycleReport is what sealpost bench lifecycle prints.
type lifecycleReport struct {
	CompletePerS float64 `json:"complete_per_s"`
	P50          float64 `json:"p50"` // ms from the POST to the promise of the device's receipt
	P99          float64 `json:"p99"`
	RSSMB        float64 `json:"rss_mb"` // largest, of this process: relay, carrier, senders and devices
	Complete     int     `json:"complete"`
	Accepted     int     `json:"accepted"`
	Outcomes     int     `json:"outcomes"`
	Statements   uint64  `json:"statements"`
	BacklogEnd   uint64  `json:"backlog_end"`
	DurationS    float64 `json:"duration_s"`
	CPUMicros    float64 `json:"cpu_us_per_message"`
	Devices      int     `json:"devices"`
}

func benchLifecycleCommand() *cobra.Command {
	var duration time.Duration
	var asJSON bool
	var profile string
	cmd := &cobra.Command{
		Use:   "lifecycle",
		Short: "Measure the whole road: accept, dispatch over FCM, attempt, receipt, outcome, all logged",
		Long: `Run a relay with serve's defaults, the strict FCM server, 1,000 senders and 1,000
devices in this one process, talking over loopback. A message counts when the
relay has promised the receipt that its device signed; the rate is over the whole
time from the first POST until no accepted message is on the road any more. Devices sign real receipts
and real requests; what they do not do is open the ciphertext, which is random.
It ends with 70 if a complete message lacks its outcome or its leaf at the end.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if duration < time.Second || duration > benchDurationMax {
				return usage("want --duration of 1s to %v", benchDurationMax)
			}
			tuneRuntime()
			b := &lifecycleBench{duration: duration, words: cmd.ErrOrStderr(), profile: profile}
			r, err := b.run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			writeTable(cmd.OutOrStdout(), [][]string{
				{"complete", fmt.Sprintf("%.0f/s", r.CompletePerS), fmt.Sprintf("%d of %d accepted, in %.1f s", r.Complete, r.Accepted, r.DurationS)},
				{"p50, p99", fmt.Sprintf("%.0f, %.0f ms", r.P50, r.P99), "from the POST to the promise of the device's receipt"},
				{"outcomes", strconv.Itoa(r.Outcomes), fmt.Sprintf("%d statements logged, %d not yet when the load ended", r.Statements, r.BacklogEnd)},
				{"CPU", fmt.Sprintf("%.0f µs", r.CPUMicros), "for each complete message, all parties included"},
				{"memory", fmt.Sprintf("%.0f MB", r.RSSMB), "largest, all parties in one process"},
			})
			return nil
		},
	}
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "of the load")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile of the load to this file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A lifecycleBench is one run.
type lifecycleBench struct {
	duration time.Duration
	words    io.Writer
	profile  string // file for a CPU profile of the load; empty: none

	world   *benchWorld
	carrier *lab.FCM
	phones  []*benchPhone
	byToken map[string]*benchPhone

	begun    sync.Map // message id to the time of its POST
	open     chan struct{}
	complete atomic.Int64
	lateness struct {
		sync.Mutex
		all []time.Duration
	}
	fault atomic.Pointer[error]
}

// A benchPhone is one device: what waits for it, and its end of the API.
type benchPhone struct {
	benchDevice
	api     *api.DeviceClient
	mu      sync.Mutex
	pending []sealpost.Sealed
	busy    bool
}

func (b *lifecycleBench) run(ctx context.Context) (r lifecycleReport, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fcmURL, account, stopCarrier, err := b.startCarrier(ctx)
	if err != nil {
		return r, err
	}
	defer stopCarrier()
	fmt.Fprintln(b.words, "starting a relay, enrolling 1,000 senders and 1,000 devices …")
	b.byToken = map[string]*benchPhone{}
	tokens := make([]lab.Device, benchDevices)
	b.world, err = newBenchWorld(ctx, fcmURL, account, true, func(i int) (at api.DeviceEndpoint, err error) {
		tokens[i], err = b.carrier.Register(lab.Registration{Rack: lifeRack})
		return endpointOf(tokens[i]), err
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.world.close()) }()
	if err := b.makePhones(tokens); err != nil {
		return r, err
	}
	bodies, sealed, err := b.sign()
	if err != nil {
		return r, err
	}
	return b.measure(ctx, fcmURL, bodies, sealed)
}

func (b *lifecycleBench) startCarrier(ctx context.Context) (url, account string, stop func(), err error) {
	l, err := listenLoopback("127.0.0.1:0")
	if err != nil {
		return "", "", nil, err
	}
	url = "http://" + l.Addr().String()
	account = filepath.Join(os.TempDir(), fmt.Sprintf("sealpost-bench-%d.json", os.Getpid()))
	trusted, err := writeAccount(account, url)
	if err != nil {
		return "", "", nil, err
	}
	b.carrier, err = lab.NewFCM(lab.FCMConfig{Account: trusted, TokenURL: url + "/token", PerMinute: 10_000_000})
	if err != nil {
		return "", "", nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- b.carrier.Run(running, l) }()
	return url, account, func() { cancel(); <-ended; os.Remove(account) }, nil
}

func (b *lifecycleBench) makePhones(tokens []lab.Device) error {
	shared := &http.Client{Transport: &http.Transport{MaxIdleConns: lifePosters, MaxIdleConnsPerHost: lifePosters}}
	for i, d := range b.world.devices {
		c, err := api.NewDeviceClient("http://"+b.world.address(), d.key, time.Now, rand.Reader, shared)
		if err != nil {
			return err
		}
		p := &benchPhone{benchDevice: d, api: c}
		b.phones = append(b.phones, p)
		b.byToken[tokens[i].Token] = p
	}
	return nil
}

// sign makes the requests' bodies and remembers what is in each.
func (b *lifecycleBench) sign() (bodies [][]byte, ids [][]sealpost.MessageID, err error) {
	n := int(b.duration.Seconds()*lifeRate) / lifeBatch
	fmt.Fprintf(b.words, "signing %d messages …\n", n*lifeBatch)
	bodies, ids = make([][]byte, n), make([][]sealpost.MessageID, n)
	return bodies, ids, parallel(n, func(i int) error {
		many := make([][]byte, lifeBatch)
		for k := range many {
			var err error
			if many[k], err = b.world.submission(i*lifeBatch+k, sealpost.ReleaseLogged); err != nil {
				return err
			}
			s, err := sealpost.ParseSealed(many[k])
			if err != nil {
				return err
			}
			ids[i] = append(ids[i], s.ID())
		}
		var err error
		bodies[i], err = sealpost.Encode(many)
		return err
	})
}

func (b *lifecycleBench) fail(err error) { b.fault.CompareAndSwap(nil, &err) }

func (b *lifecycleBench) measure(ctx context.Context, fcmURL string, bodies [][]byte, ids [][]sealpost.MessageID) (r lifecycleReport, err error) {
	b.open = make(chan struct{}, lifeOpenMax)
	work := make(chan *benchPhone, len(b.phones))
	streaming, stopStream := context.WithCancel(ctx)
	defer stopStream()
	var all sync.WaitGroup
	all.Go(func() { b.stream(streaming, fcmURL, work) })
	for range lifePosters {
		all.Go(func() { b.post(streaming, work) })
	}
	fmt.Fprintln(b.words, "the whole road …")
	host, bearer := b.world.address(), "Bearer "+b.world.secret
	stopProfile, err := startProfile(b.profile)
	if err != nil {
		return r, err
	}
	cpu, start := cpuTime(), time.Now()
	var accepted atomic.Int64
	_, err = crowd.Do(ctx, crowd.Run{Address: host, Connections: lifeConnections, Count: len(bodies), For: b.duration,
		Next: func(buffer []byte, i int) crowd.Request {
			for range ids[i] {
				select { // senders keep a bounded number of messages on the road
				case b.open <- struct{}{}:
				case <-streaming.Done():
				}
			}
			now := time.Now()
			for _, id := range ids[i] {
				b.begun.Store(id, now)
			}
			return crowd.AppendPost(buffer, host, "/v1/messages", api.MediaBatch, bearer, bodies[i])
		},
		Answer: func(i, status int, body []byte) {
			var verdicts []api.Verdict
			if status/100 != 2 || sealpost.Decode(body, &verdicts) != nil {
				b.fail(fmt.Errorf("a POST was answered with %d", status))
				return
			}
			for k, v := range verdicts {
				if v.Accepted != nil {
					accepted.Add(1)
				} else {
					b.begun.Delete(ids[i][k])
					<-b.open
				}
			}
		}})
	r.Accepted, r.Devices = int(accepted.Load()), len(b.phones)
	if err == nil {
		err = b.drain(ctx, int64(r.Accepted))
	}
	r.DurationS = time.Since(start).Seconds()
	r.CPUMicros = float64((cpuTime() - cpu).Microseconds()) / float64(max(1, r.Accepted))
	r.CompletePerS = float64(b.complete.Load()) / r.DurationS
	if err = errors.Join(err, stopProfile()); err != nil {
		return r, err
	}
	if r.BacklogEnd, err = b.world.backlog(ctx); err != nil {
		return r, err
	}
	stopStream()
	all.Wait()
	if f := b.fault.Load(); f != nil {
		err = errors.Join(*f, err)
	}
	if err != nil {
		return r, err
	}
	return r, b.finish(ctx, &r)
}

// drain waits until every accepted message is complete.
func (b *lifecycleBench) drain(ctx context.Context, accepted int64) error {
	ctx, cancel := context.WithTimeout(ctx, lifeDrain)
	defer cancel()
	for b.complete.Load() < accepted && b.fault.Load() == nil {
		if err := pause(ctx, pollFirst); err != nil {
			return fmt.Errorf("%d of %d accepted messages are complete: %w", b.complete.Load(), accepted, err)
		}
	}
	return nil
}

// finish checks that everything has its end, and fills in the rest.
func (b *lifecycleBench) finish(ctx context.Context, r *lifecycleReport) error {
	r.Complete = int(b.complete.Load())
	slices.Sort(b.lateness.all)
	if n := len(b.lateness.all); n > 0 {
		r.P50, r.P99 = milliseconds(b.lateness.all[n/2]), milliseconds(b.lateness.all[n*99/100])
	}
	ctx, cancel := context.WithTimeout(ctx, lifeDrain)
	defer cancel()
	for {
		n, err := b.outcomes(ctx)
		if err != nil {
			return err
		}
		if r.Outcomes = n; n == r.Complete {
			break
		}
		if err := pause(ctx, pollFirst); err != nil {
			return fmt.Errorf("%d complete messages have %d outcomes: %w", r.Complete, n, err)
		}
	}
	if err := b.world.logged(ctx); err != nil {
		return fmt.Errorf("the log did not catch up: %w", err)
	}
	r.Statements = b.world.server.log.Checkpoint().Size
	r.RSSMB = peakRSS()
	return nil
}

// outcomes counts the messages that have their end.
func (b *lifecycleBench) outcomes(ctx context.Context) (n int, err error) {
	for after, more := uint64(0), true; more; {
		page, err := b.world.server.store.Messages(ctx, benchApp, after, api.PageMax)
		if err != nil {
			return n, err
		}
		for _, m := range page {
			if m.End == sealpost.Delivered {
				n++
			}
			after = m.Seq
		}
		more = len(page) == api.PageMax
	}
	return n, nil
}

// stream takes every push to the phone that it is for.
func (b *lifecycleBench) stream(ctx context.Context, fcmURL string, work chan<- *benchPhone) {
	err := newPhones(fcmURL).Stream(ctx, lifeRack, func(p lab.Push) error {
		if p.Dropped {
			return errors.New("the carrier dropped pushes")
		}
		data, err := pushData(p)
		if err != nil {
			return err
		}
		s, err := sealpost.ParseSealed(data)
		if err != nil {
			return err
		}
		phone := b.byToken[p.Token]
		phone.mu.Lock()
		phone.pending = append(phone.pending, s)
		wake := !phone.busy
		phone.busy = true
		phone.mu.Unlock()
		if wake {
			work <- phone
		}
		return nil
	})
	if ctx.Err() == nil {
		b.fail(fmt.Errorf("push stream: %w", err))
	}
}

// post signs and posts what waits for one phone after the other.
func (b *lifecycleBench) post(ctx context.Context, work chan *benchPhone) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-work:
			if err := b.receipts(ctx, p); err != nil && ctx.Err() == nil {
				b.fail(err)
			}
		}
	}
}

// receipts posts a phone's receipts until nothing waits for it.
func (b *lifecycleBench) receipts(ctx context.Context, p *benchPhone) error {
	for {
		p.mu.Lock()
		n := min(len(p.pending), lifeReceipts)
		batch := slices.Clone(p.pending[:n])
		p.pending = append(p.pending[:0], p.pending[n:]...)
		p.busy = n > 0
		p.mu.Unlock()
		if n == 0 {
			return nil
		}
		signed := make([][]byte, n)
		for i, s := range batch {
			var err error
			if signed[i], err = p.receipt(s); err != nil {
				return err
			}
		}
		for i, v := range p.api.PostReceipts(ctx, signed) {
			if v.Problem != nil {
				return fmt.Errorf("a receipt was refused: %w", v.Problem)
			}
			b.done(batch[i].ID())
		}
	}
}

func (p *benchPhone) receipt(s sealpost.Sealed) ([]byte, error) {
	c, commitment := s.Commitment(), s.Statement().Hash()
	id := p.key.Public().ID()
	opened := sealpost.Opened(sealpost.Opening{}, commitment, id, sealpost.Decrypted)
	signed, err := sealpost.Sign(sealpost.Receipt{ID: c.ID, Commitment: commitment, Blob: c.Blob, Roster: c.Roster, Level: sealpost.Decrypted,
		Key: id, DeviceTime: sealpost.FromTime(time.Now()), Opened: opened[:]}, p.key)
	return signed.Bytes(), err
}

// done notes a message whose receipt the relay has promised.
func (b *lifecycleBench) done(id sealpost.MessageID) {
	begun, first := b.begun.LoadAndDelete(id)
	if !first {
		return // a second push of the same message
	}
	<-b.open
	b.complete.Add(1)
	b.lateness.Lock()
	b.lateness.all = append(b.lateness.all, time.Since(begun.(time.Time)))
	b.lateness.Unlock()
}

// peakRSS is the largest resident memory of this process, MB.
func peakRSS() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}
