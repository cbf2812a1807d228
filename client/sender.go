package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// A SenderAPI is what a sender asks of a relay; [api.SenderClient] is one over
// HTTP. It may be called concurrently, returns when ctx ends, and answers with
// an [*api.Problem] what the relay refused. Submit answers each item in order,
// [api.ErrUnavailable] where nothing is known of one. Submit and PostKeyEvent are
// idempotent: the same bytes get the same answer.
type SenderAPI interface {
	Submit(ctx context.Context, batch []sealpost.Sealed) []api.Verdict
	Evidence(ctx context.Context, id sealpost.MessageID) ([]api.Exhibit, error)
	Invite(ctx context.Context, in api.Invitation) (api.Invited, error)
	Answered(ctx context.Context, limit int) ([]api.EnrolmentView, error)
	PostKeyEvent(ctx context.Context, statement []byte) (api.Accepted, error)
	ClaimPackages(ctx context.Context, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]api.ClaimedPackage, error)
}

// A SenderConfig is all that a sender is given. Everything but Shared, Log, HashAlg,
// Replica, Templates and PoolLow must be set.
type SenderConfig struct {
	// App is the tenant.
	App string
	// Key signs commitments and key events. It may live in an HSM.
	Key sealpost.Signer
	// Store is this sender's alone. Two replicas have two stores.
	Store Store
	// Shared is what the replicas of one sender have in common: leaf keys, devices,
	// groups. Nil: there is one replica, and Store has it all. It is a database of the
	// caller's behind [Store], which clienttest.Store tests, or on one host a file of
	// [OpenSharedStore]. The Store of a sender that no longer runs alone may become it.
	Shared Store
	// API is the relay.
	API SenderAPI
	// Log reads the public log, to prove newer checkpoints; without it the
	// sender keeps the first one it sees as its not-before.
	Log LogReader
	// Now is the clock, Rand a cryptographic source safe for concurrent use.
	Now  func() time.Time
	Rand io.Reader
	// RelayURL goes into invitations.
	RelayURL string
	// RelayKey is the relay's statement key, LogKey the log's verifier key.
	RelayKey sealpost.PublicKey
	LogKey   string
	// HashAlg is that of commitments; 0 is SHA-256.
	HashAlg sealpost.HashAlg
	// Replica numbers this replica among those of one sender, for good: each has a
	// sequence of its own. Where there is a Shared, a number belongs to one Store.
	Replica uint32
	// Templates are the kinds of messages; nil is [BuiltIn].
	Templates []Template
	// PoolLow is told of each claimed KeyPackage after which few are left, in the
	// goroutine that sends, with the recipient locked: it must not block or call the
	// sender. Nil tells nobody.
	PoolLow func(PoolWarning)
}

// A PoolWarning says that a device's pool of KeyPackages runs low: fewer than
// [api.PoolLow] are left by the relay's word, or the last resort was given out.
// The device fills it up again when it is next online. Until then it can still be
// added to groups, by one key for all of them, which a thief of that key would
// open all of.
type PoolWarning struct {
	Device     sealpost.KeyID
	Left       int
	LastResort bool
}

// check names every fault of a config at once.
func (c *SenderConfig) check() error {
	var faults []error
	want := func(ok bool, what string) {
		if !ok {
			faults = append(faults, errors.New(what))
		}
	}
	want(sealpost.IsName(c.App), "App: want 1 to 64 printable ASCII characters")
	want(c.Key != nil, "Key: missing")
	want(c.Store != nil, "Store: missing")
	want(c.API != nil, "API: missing")
	want(c.Now != nil, "Now: missing")
	want(c.Rand != nil, "Rand: missing")
	want(!c.RelayKey.IsZero(), "RelayKey: missing")
	want(c.HashAlg.Size() != 0, "HashAlg: not one of ours")
	return errors.Join(faults...)
}

// A Sender is the business's side. Its methods may be called concurrently; what
// concerns one recipient happens one after the other.
type Sender struct {
	cfg        SenderConfig
	shared     Store // what all replicas have; Store, where there is one
	replicated bool
	run        []byte // names this process among those of a replica
	id         sealpost.KeyID
	log        *logView
	names      pseudonyms
	templates  map[string]Template
	leaves     leafKeys
	locks      [64]sync.Mutex // by recipient
}

// NewSender makes a sender and, in an empty store, its leaf keys and the key of
// its pseudonyms. It posts nothing; call [Sender.Flush] to post what a crash
// left behind.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if cfg.HashAlg == 0 {
		cfg.HashAlg = sealpost.SHA256
	}
	if cfg.Templates == nil {
		cfg.Templates = BuiltIn()
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("sender config: %w", err)
	}
	s := &Sender{cfg: cfg, shared: cfg.Shared, replicated: cfg.Shared != nil, id: cfg.Key.Public().ID(),
		templates: map[string]Template{}}
	if !s.replicated {
		s.shared = cfg.Store
	}
	for _, t := range cfg.Templates {
		s.templates[t.Name] = t
	}
	var err error
	if s.log, err = newLogView(cfg.LogKey, cfg.Log); err != nil {
		return nil, fmt.Errorf("sender config: %w", err)
	}
	if s.replicated {
		if err := s.register(); err != nil {
			return nil, err
		}
	}
	if s.names, err = loadPseudonyms(s.shared, cfg.App, cfg.Rand); err != nil {
		return nil, err
	}
	s.leaves = leafKeys{store: s.shared, rand: cfg.Rand, used: map[leafName]mls.Signer{}}
	for _, suite := range []mls.Suite{mls.X25519AES128, mls.P256AES128} {
		if _, err := s.leaves.signer(suite, 0); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Recipient is the pseudonym of a customer: nobody without this sender's key
// can make or reverse it.
func (s *Sender) Recipient(customer string) sealpost.Recipient { return s.names.recipient(customer) }

// Faults lists what others did wrong, as kept.
func (s *Sender) Faults() ([]Fault, error) { return listFaults(s.cfg.Store) }

func (s *Sender) now() sealpost.UnixMilli { return sealpost.FromTime(s.cfg.Now()) }

// lock holds the recipients of a batch, in an order that cannot deadlock.
func (s *Sender) lock(recipients ...sealpost.Recipient) (unlock func()) {
	var shards []int
	for _, r := range recipients {
		shards = append(shards, int(r[0])%len(s.locks))
	}
	slices.Sort(shards)
	shards = slices.Compact(shards)
	for _, i := range shards {
		s.locks[i].Lock()
	}
	return func() {
		for _, i := range shards {
			s.locks[i].Unlock()
		}
	}
}

// fault keeps somebody's fault as evidence and returns it as an error too.
func (s *Sender) fault(id sealpost.MessageID, cause error, parts ...[]byte) error {
	return errors.Join(cause, recordFault(s.cfg.Store, Fault{Time: s.now(), What: cause.Error(), ID: id, Parts: parts}))
}
