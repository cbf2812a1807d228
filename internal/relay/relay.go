package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A Relay is the road. It answers once Run has started and until it ends.
type Relay struct {
	cfg       Config
	carriers  []sealpost.Carrier
	statement sealpost.KeyID

	admission *admission
	verifier  *verifier
	preparer  *preparer
	committer *committer
	projector *projector
	published *published
	inboxes   *inboxes
	wakes     *wakes

	senders    *cache[string, senderKeys]
	recipients *cache[recipientKey, []sealpost.Device]
	devices    *cache[sealpost.KeyID, sealpost.Device]
	apiKeys    *cache[sealpost.Hash, sealpost.APIKey]
	heads      *cache[sealpost.Head, struct{}]
	messages   *cache[sealpost.MessageID, fixed]

	claims      *buckets[string]         // KeyPackages of one app
	deviceClaim *buckets[sealpost.KeyID] // KeyPackages of one device
	pools       *poolAlarm
	closing     chan struct{} // a message may be due for its outcome
}

// The interfaces of the conversation that a Relay answers.
var (
	_ api.Intake     = (*Relay)(nil)
	_ api.Reading    = (*Relay)(nil)
	_ api.Directory  = (*Relay)(nil)
	_ api.DeviceRoad = (*Relay)(nil)
	_ api.Keys       = (*Relay)(nil)
	_ api.Gate       = (*Relay)(nil)
)

// New checks the set-up, every fault at once, and starts nothing.
func New(cfg Config) (*Relay, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Relay{
		cfg:       cfg,
		carriers:  slices.Clone(cfg.Carriers),
		statement: cfg.Statement.Public().ID(),
		published: newPublished(),
		inboxes:   newInboxes(),
		wakes:     &wakes{},
		pools:     &poolAlarm{logger: cfg.Logger},

		senders:    newCache[string, senderKeys](tenantsCached, keyringFor, cfg.Now),
		recipients: newCache[recipientKey, []sealpost.Device](recipientsCached, keyringFor, cfg.Now),
		devices:    newCache[sealpost.KeyID, sealpost.Device](devicesCached, keyringFor, cfg.Now),
		apiKeys:    newCache[sealpost.Hash, sealpost.APIKey](apiKeysCached, accessFor, cfg.Now),
		messages:   newCache[sealpost.MessageID, fixed](messagesCached, keyringFor, cfg.Now),
		heads:      newCache[sealpost.Head, struct{}](headsCached, keyringFor, cfg.Now),

		claims:      newBuckets[string](claimBurst, claimEvery, tenantsCached),
		deviceClaim: newBuckets[sealpost.KeyID](deviceClaimBurst, deviceClaimEvery, devicesCached),
		closing:     make(chan struct{}, 1),
	}
	r.admission = newAdmission(cfg.QueueBytes, cfg.Metrics.Queue)
	r.projector = newProjector(cfg)
	all, holding := newTraffic(), newTraffic()
	r.committer = newCommitter(cfg, &stage{queue: newQueue(), of: []*traffic{all, holding}}, r.settled, r.projector.ask)
	r.preparer = newPreparer(cfg, &stage{queue: newQueue(), of: []*traffic{all}, behind: holding, enough: preparedEnough}, r.published, r.committer)
	r.verifier = newVerifier(r.preparer.stage, all, cfg.Now, cfg.Metrics.Batch)
	return r, nil
}

// Run takes up where the last run ended and serves until ctx ends or log and
// store are seen not to be one history. Then nothing more is accepted, what was
// accepted becomes durable and is answered, and the log catches up, all within
// Drain.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.resume(ctx); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	soft, stop := context.WithCancel(ctx) // for what begins work
	defer stop()
	hard, halt := context.WithCancel(context.WithoutCancel(ctx)) // for what ends it
	defer halt()

	var fault error // the first reason to end early
	var once sync.Once
	end := func(err error) { once.Do(func() { fault = err }); stop() }

	var starters, finishers sync.WaitGroup
	finishers.Go(func() { r.verifier.run(hard) })
	finishers.Go(func() { r.preparer.run(hard, end) })
	finishers.Go(func() { r.committer.run(hard, end) })
	finishers.Go(func() { r.publish(hard) })
	finishers.Go(func() {
		if err := r.projector.run(hard); err != nil {
			end(err)
		}
	})
	starters.Go(func() { r.closeMessages(soft) })
	starters.Go(func() { r.sweep(soft) })
	r.admission.open()

	<-soft.Done()
	deadline := time.AfterFunc(r.cfg.Drain, halt)
	defer deadline.Stop()
	r.admission.close()
	r.inboxes.wakeAll()
	starters.Wait()
	r.admission.drained(hard)
	r.projector.drained(hard)
	halt()
	finishers.Wait()
	return fault
}

// resume compares log and store and reads how far both are.
func (r *Relay) resume(ctx context.Context) error {
	held, err := r.projector.resume(ctx)
	if err != nil {
		return err
	}
	size, err := r.cfg.Log.Published(ctx)
	if err != nil {
		return fmt.Errorf("read the log's checkpoint: %w", err)
	}
	r.published.start(held, size, r.cfg.Now())
	return nil
}

// settled spreads the news of one group commit.
func (r *Relay) settled(group []*item, n news) {
	r.published.hold(n.end, r.cfg.Now())
	r.projector.feed(n)
	for _, it := range group {
		if it.held.Err == nil {
			r.heed(it)
		}
	}
	r.cfg.Metrics.Held(len(n.leaves))
	r.cfg.Metrics.Logged(r.published.held(), r.published.size())
}

// heed acts on one statement that was just held.
func (r *Relay) heed(it *item) {
	switch h := it.hold; {
	case h.Commitment != nil:
		r.messages.put(h.ID, fixed{h.App, h.Commitment.Recipient, h.Hash, h.Commitment.Blob, h.Commitment.Roster})
		r.inboxes.arrived(recipientKey{h.App, h.Commitment.Recipient}, it.held.Record.Seq)
		if h.Commitment.Release == sealpost.ReleaseHeld {
			r.wakes.ring()
			r.inboxes.release(it.held.Record.Seq + 1)
		}
	case h.Receipt != nil, h.Attempt != nil:
		signal(r.closing)
	case h.KeyEvent != nil:
		r.forgetKey(h.App, h.KeyEvent)
	}
}

// sweep lets the store erase what was handed over and drop what has lapsed.
func (r *Relay) sweep(ctx context.Context) {
	tick := time.NewTicker(r.cfg.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.cfg.Store.Sweep(ctx, r.now()); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Error("sweep the store", "err", err)
		}
	}
}

func (r *Relay) now() sealpost.UnixMilli { return sealpost.FromTime(r.cfg.Now()) }

// answer turns an error into what the caller is told, and logs what is ours.
func (r *Relay) answer(doing string, err error) *api.Problem {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return api.ErrUnavailable.After(retryUnavailable)
	}
	if r.cfg.Full != nil && errors.Is(err, r.cfg.Full) {
		return api.ErrBusy.With("a limit is reached").After(retryUnavailable)
	}
	p := Problem(err)
	if p.Is(api.ErrInternal) {
		r.cfg.Logger.Error(doing, "err", err)
	}
	return p
}

// signal wakes the one reader of a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
