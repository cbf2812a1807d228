package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/sealpost/sealpost"
)

// Defaults of [Config].
const (
	QueueBytesDefault = 64 << 20
	QueueAgeDefault   = 5 * time.Second
	LagDefault        = 5 * time.Minute
	CloseEveryDefault = time.Second
	SweepEveryDefault = time.Second
	InviteForDefault  = 24 * time.Hour
	DrainDefault      = 10 * time.Second
	GatherDefault     = 20 * time.Millisecond
)

// Config is what a Relay is made of. Store, Log, Statement, Origin, Now and
// Logger are required.
type Config struct {
	Store Store
	Log   Log
	// Tenants are the apps and, of each, the key ids that may enrol themselves as
	// its first signing keys.
	Tenants map[string][]sealpost.KeyID
	// Statement signs promises, attempts and outcomes. It is an Ed25519 key, in
	// memory (DESIGN section 12, Keys in time).
	Statement sealpost.Signer
	// Origin is the log's name, as in its checkpoints.
	Origin string
	// Carriers are those that something is wired for. A commitment that allows
	// none of them is refused.
	Carriers []sealpost.Carrier
	// Now is the clock; it is called concurrently.
	Now func() time.Time
	// Rand draws salts, ids, challenges and API keys. Default crypto/rand.
	Rand io.Reader
	// Logger gets counts and errors, never content or identifiers.
	Logger  *slog.Logger
	Metrics Metrics

	// Full is what the store's errors match that say that a limit is reached and
	// nothing changed. Nil: it has none.
	Full error
	// Lost is what errors of store and log match after which they take nothing more
	// until they are opened again: Run ends with such an error.
	Lost []error

	// MergeDelay is a promise's log-by after its accepted time. Default
	// sealpost.MergeDelay, at least twice Lag.
	MergeDelay time.Duration
	// QueueBytes bounds what is accepted into the pipeline and not yet durable.
	// Default QueueBytesDefault, at least one full batch.
	QueueBytes int64
	// QueueAge is how long the oldest of it may wait before newcomers get 503.
	// Default QueueAgeDefault.
	QueueAge time.Duration
	// Lag is how long a held statement may wait for a checkpoint before newcomers
	// get 503: a signing service that is down must not make us promise on and on.
	// Default LagDefault.
	Lag time.Duration
	// CloseEvery is how often expired messages are looked for. Default
	// CloseEveryDefault.
	CloseEvery time.Duration
	// SweepEvery is how often the store erases the envelopes that every device has
	// and drops what has lapsed. Default SweepEveryDefault.
	SweepEvery time.Duration
	// Gather is the least time from the begin of one append to the log to the next,
	// where less than a full append waits: each append rewrites the tiles at the
	// tree's edge, so few large ones cost less than many small ones. Default
	// GatherDefault; negative: none.
	Gather time.Duration
	// InviteFor is how long an invitation may be answered. Default InviteForDefault.
	InviteFor time.Duration
	// Drain is how long Run lets accepted work end after its context has. Default
	// DrainDefault.
	Drain time.Duration
}

// Metrics are told what happens. Any may be nil; each is called concurrently
// and must not block.
type Metrics struct {
	Accepted func(n int)                      // submissions answered with a promise
	Refused  func(problem string)             // submissions refused, by problem type
	Held     func(statements int)             // by one group commit
	Queue    func(bytes int64)                // accepted and not yet durable
	Logged   func(held, logged uint64)        // sizes of store and published log
	Batch    func(signatures int, sound bool) // one batch verification
	Claimed  func(left int, lastResort bool)  // a KeyPackage was claimed, and how many are left
}

func (c Config) withDefaults() (Config, error) {
	orDefault(&c.MergeDelay, sealpost.MergeDelay)
	orDefault(&c.QueueBytes, QueueBytesDefault)
	orDefault(&c.QueueAge, QueueAgeDefault)
	orDefault(&c.Lag, LagDefault)
	orDefault(&c.CloseEvery, CloseEveryDefault)
	orDefault(&c.SweepEvery, SweepEveryDefault)
	orDefault(&c.InviteFor, InviteForDefault)
	orDefault(&c.Drain, DrainDefault)
	orDefault(&c.Gather, GatherDefault)
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	c.Metrics = c.Metrics.withDefaults()
	return c, c.check()
}

func (c Config) check() error {
	faults := []error{
		want(c.Store != nil, "store: missing"),
		want(c.Log != nil, "log: missing"),
		want(c.Now != nil, "now: missing"),
		want(c.Logger != nil, "logger: missing"),
		want(c.Statement != nil && c.Statement.Public().Alg() == sealpost.EdDSA, "statement: want an Ed25519 signer"),
		want(c.Origin != "" && len(c.Origin) <= 4*sealpost.NameMax, "origin: want the log's name, at most %d bytes", 4*sealpost.NameMax),
		want(c.QueueBytes >= sealpost.SubmissionMax, "queue bytes: want at least one submission, %d", sealpost.SubmissionMax),
		want(c.QueueAge > 0 && c.CloseEvery > 0 && c.SweepEvery > 0 && c.InviteFor > 0 && c.Drain > 0, "durations: want positive ones"),
		want(c.Lag > 0 && c.MergeDelay >= 2*c.Lag, "lag: want at most half of the merge delay"),
	}
	for app := range c.Tenants {
		faults = append(faults, want(sealpost.IsName(app), "tenants: %q is not an app id", app))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("set up the relay: %w", err)
	}
	return nil
}

func (m Metrics) withDefaults() Metrics {
	if m.Accepted == nil {
		m.Accepted = func(int) {}
	}
	if m.Refused == nil {
		m.Refused = func(string) {}
	}
	if m.Held == nil {
		m.Held = func(int) {}
	}
	if m.Queue == nil {
		m.Queue = func(int64) {}
	}
	if m.Logged == nil {
		m.Logged = func(uint64, uint64) {}
	}
	if m.Claimed == nil {
		m.Claimed = func(int, bool) {}
	}
	if m.Batch == nil {
		m.Batch = func(int, bool) {}
	}
	return m
}

// isLost says that a neighbour must be opened again.
func isLost(lost []error, err error) bool {
	return slices.ContainsFunc(lost, func(l error) bool { return errors.Is(err, l) })
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
