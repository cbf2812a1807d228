package relay

import (
	"context"

	"github.com/sealpost/sealpost"
)

// The store's part. Every method may be called concurrently, and what it has
// returned without error is durable. A method that finds nothing returns an
// error matching [sealpost.ErrNotFound].

// Statements are everything that was ever held.
//
// Spool makes the blobs of a group durable ahead of Hold, and says where each is,
// which the hold of its commitment then tells. GiveUp takes back what was spooled
// for statements that are not held after all. Another goroutine than Hold's calls
// Spool.
//
// Hold makes one group durable, all or none, and numbers its new statements
// with the next seqs, without gaps, in the order of the slice; seqs start at 0.
// It answers each Hold in order: a statement held before is Again with its first
// Record, one whose id is taken or whose message has ended has Err and takes no
// seq. A commitment takes the epoch of every commit in its envelope: one that is
// taken by another commit, in the store or earlier in the group, is an error
// matching [sealpost.ErrEpochTaken], until long after the last envelope with that
// commit has expired. An error says that nothing is known of the group; holding it again is
// safe. One goroutine calls it.
//
// Leaves returns at most max leaves from a seq on, in seq order.
type Statements interface {
	Spool(ctx context.Context, blobs [][]byte) ([]sealpost.Spooled, error)
	GiveUp(blobs []sealpost.Spooled) error
	Hold(ctx context.Context, group []sealpost.Hold) ([]sealpost.Held, error)
	Size(ctx context.Context) (uint64, error)
	Leaves(ctx context.Context, from uint64, max int) ([]sealpost.Leaf, error)
	Record(ctx context.Context, seq uint64) (sealpost.Record, error)
	Records(ctx context.Context, app string, id sealpost.MessageID) ([]sealpost.Record, error)
	RecordByHash(ctx context.Context, app string, kind sealpost.Kind, h sealpost.Hash) (sealpost.Record, error)
}

// Messages are what the statements say of each message.
//
// Closable returns open messages that are due for their outcome; it costs
// nothing when there are none. Messages pages by seq. ClaimWork leases due,
// released tries; until the lease has passed no other call returns them, unless
// GiveBackWork ends it, which changes nothing of a try that has moved on. Where one
// device's receipt ended a message as delivered, each other device that was never
// tried has its one try still. Sweep erases what every device has and drops what
// has lapsed; it is called every second, costs next to nothing where nothing is
// due, and keeps no Hold waiting for longer than a small group does.
type Messages interface {
	Message(ctx context.Context, id sealpost.MessageID) (sealpost.Message, error)
	Messages(ctx context.Context, app string, after uint64, limit int) ([]sealpost.Message, error)
	Closable(ctx context.Context, now sealpost.UnixMilli, limit int) ([]sealpost.Closing, error)
	ClaimWork(ctx context.Context, now, lease sealpost.UnixMilli, logged uint64, n int) ([]sealpost.Work, error)
	GiveBackWork(ctx context.Context, works []sealpost.Work) error
	Sweep(ctx context.Context, now sealpost.UnixMilli) error
}

// Arrivals are what a device may fetch: open, unexpired, released messages that
// are routed to it, each with its blob, by seq.
type Arrivals interface {
	Arrivals(ctx context.Context, device sealpost.KeyID, after, logged uint64, limit int) ([]sealpost.Delivery, error)
	Arrival(ctx context.Context, device sealpost.KeyID, id sealpost.MessageID) (sealpost.Delivery, error)
}

// Keyring is whose keys there are, as the key events held so far say, revoked
// ones included.
type Keyring interface {
	Devices(ctx context.Context, app string, r sealpost.Recipient) ([]sealpost.Device, error)
	Device(ctx context.Context, key sealpost.KeyID) (sealpost.Device, error)
	KeyEvents(ctx context.Context, app string, r sealpost.Recipient) ([]sealpost.Record, error)
	SenderKeys(ctx context.Context, app string) ([]sealpost.Device, error)
	SenderKeyEvents(ctx context.Context, app string) ([]sealpost.Record, error)
}

// Enrolments are invitations. AnswerEnrolment works once: the same answer again is
// no error, another one is an error matching [sealpost.ErrConflict]. Holding the
// device's enrol event consumes the invitation in the same commit.
type Enrolments interface {
	PutEnrolment(ctx context.Context, e sealpost.Enrolment) error
	Enrolment(ctx context.Context, id sealpost.EnrolmentID) (sealpost.Enrolment, error)
	EnrolmentByKey(ctx context.Context, key sealpost.KeyID) (sealpost.Enrolment, error)
	AnswerEnrolment(ctx context.Context, id sealpost.EnrolmentID, a sealpost.EnrolmentAnswer) error
	Answered(ctx context.Context, app string, limit int) ([]sealpost.Enrolment, error)
}

// Stock is what a device leaves with the relay. A KeyPackage is claimed once, the
// newest first; the claim is durable before it is returned. Where a pool is full, the
// oldest make room. The last resort is claimed when no other
// is left, and stays until another takes its place.
type Stock interface {
	PutPackages(ctx context.Context, device sealpost.KeyID, packages [][]byte, lastResort []byte) error
	ClaimPackage(ctx context.Context, app string, device sealpost.KeyID) (sealpost.ClaimedPackage, error)
	Pool(ctx context.Context, device sealpost.KeyID) (sealpost.Pool, error)
	PutEndpoints(ctx context.Context, device sealpost.KeyID, endpoints []sealpost.Endpoint) error
}

// Access is API keys and the nonces of device requests. Nonce remembers one
// until a time and says whether it was new.
type Access interface {
	PutAPIKey(ctx context.Context, k sealpost.APIKey) error
	APIKey(ctx context.Context, hash sealpost.Hash) (sealpost.APIKey, error)
	APIKeys(ctx context.Context, app string) ([]sealpost.APIKey, error)
	RevokeAPIKey(ctx context.Context, app, name string, at sealpost.UnixMilli) error
	Nonce(ctx context.Context, key sealpost.KeyID, nonce [16]byte, until sealpost.UnixMilli) (fresh bool, err error)
}

// A Store is all of these in one.
type Store interface {
	Statements
	Messages
	Arrivals
	Keyring
	Enrolments
	Stock
	Access
}

// A Projection is the log as its writer sees it.
//
// Append puts leaves at the indices from first on, in order, and returns when
// they are durable and integrated. After an error the caller reads
// IntegratedSize, which then is final, to see how much was done. One goroutine
// calls these.
type Projection interface {
	Append(ctx context.Context, leaves [][]byte) (first uint64, err error)
	IntegratedSize(ctx context.Context) (uint64, error)
	Leaf(ctx context.Context, index uint64) ([]byte, error)
}

// A Publication is the log as everybody sees it: what its newest signed
// checkpoint covers. Every method may be called concurrently.
//
// WaitPublished blocks until the newest checkpoint covers size. Proofs returns
// one C2SP tlog-proof for each index, all under one and the same checkpoint, the
// newest; of an index that it does not cover yet, nil. Had says whether this log
// ever had that root at that size.
type Publication interface {
	Published(ctx context.Context) (size uint64, err error)
	WaitPublished(ctx context.Context, size uint64) error
	Proofs(ctx context.Context, indices []uint64) ([][]byte, error)
	Had(ctx context.Context, head sealpost.Head) (bool, error)
}

// A Log is both.
type Log interface {
	Projection
	Publication
}
