package relaytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// ErrFault is what a neighbour that fails on demand returns.
var ErrFault = errors.New("a fault on demand")

// Store is the relay's store in memory.
type Store struct {
	tb testing.TB

	holding atomic.Int32
	fault   faults
	// BeforeHold is called with each group before it is held; it may block.
	BeforeHold func(group []sealpost.Hold)
	// Now is the store's clock, by which what a device may fetch expires.
	Now func() time.Time
	// Forgiving answers what the relay never asks, as the contract says, and does
	// not fail the test.
	Forgiving bool

	mu         sync.Mutex
	records    []sealpost.Record
	holds      []sealpost.Hold // beside records
	byHash     map[sealpost.Hash]uint64
	messages   map[sealpost.MessageID]*message
	order      []sealpost.MessageID
	devices    []*device // in the order of their enrolment
	senders    []sealpost.Device
	enrolments []*sealpost.Enrolment // in the order of their invitation
	apiKeys    []sealpost.APIKey
	nonces     map[nonce]sealpost.UnixMilli
	epochs     map[sealpost.Hash]epoch // by place
	endpoints  int                     // numbered so far
	groups     []int
	sweeps     int
	spooled    int64
	GivenUp    int // statements whose blobs were taken back
}

// Limits of the store.
const (
	packagesMax  = 100                                       // KeyPackages in a device's pool
	packageMax   = 8 << 10                                   // bytes of one KeyPackage
	endpointsMax = 8                                         // endpoints of one device
	receiptsMax  = sealpost.CountedMax / sealpost.DevicesMax // of one device for one message
)

// errFull says that a limit is reached; nothing changed.
var errFull = errors.New("a limit of the store in memory is reached")

// A nonce is remembered for each key apart.
type nonce struct {
	key   sealpost.KeyID
	value [16]byte
}

// An epoch is the commit that stands in a place, and until when.
type epoch struct {
	commit sealpost.Hash
	until  sealpost.UnixMilli
}

type device struct {
	sealpost.Device
	id        sealpost.KeyID
	packages  [][]byte
	resort    []byte // the KeyPackage of last resort
	endpoints []endpoint
}

// An endpoint has a number that no other had before: routes remember it.
type endpoint struct {
	sealpost.Endpoint
	number int
}

// reach is the endpoint by which a carrier of a message reaches a device.
func (d *device) reach(carriers []sealpost.Carrier) (endpoint, bool) {
	i := slices.IndexFunc(d.endpoints, func(e endpoint) bool { return slices.Contains(carriers, e.Carrier) })
	if i < 0 || d.Revoked != 0 {
		return endpoint{}, false
	}
	return d.endpoints[i], true
}

func (s *Store) device(id sealpost.KeyID) *device {
	if i := slices.IndexFunc(s.devices, func(d *device) bool { return d.id == id }); i >= 0 {
		return s.devices[i]
	}
	return nil
}

// inForce is an enrolled device that is not revoked.
func (s *Store) inForce(id sealpost.KeyID) (*device, error) {
	if d := s.device(id); d != nil && d.Revoked == 0 {
		return d, nil
	}
	return nil, sealpost.ErrNotFound
}

// faults makes calls fail: the next n before they do anything, or after they did.
type faults struct {
	mu      sync.Mutex
	n       int
	applied bool
}

func (f *faults) set(n int, applied bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.applied = n, applied
}

// next says whether this call fails, and whether after it was done.
func (f *faults) next() (fails, applied bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		return false, false
	}
	f.n--
	return true, f.applied
}

// NewStore makes an empty store.
func NewStore(tb testing.TB) *Store {
	return &Store{tb: tb, Now: time.Now, byHash: map[sealpost.Hash]uint64{}, messages: map[sealpost.MessageID]*message{},
		nonces: map[nonce]sealpost.UnixMilli{}, epochs: map[sealpost.Hash]epoch{}}
}

// write begins a call that changes something: in a context that has ended it
// changes nothing.
func (s *Store) write(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	return s.mu.Unlock, nil
}

// misused answers what the relay never asks.
func (s *Store) misused(what string, err error) error {
	if !s.Forgiving {
		s.tb.Errorf("store: %s", what)
	}
	return err
}

// FailHolds makes the next n Holds fail, lost or done but not acknowledged.
func (s *Store) FailHolds(n int, applied bool) { s.fault.set(n, applied) }

// Groups are the sizes of the groups held so far.
func (s *Store) Groups() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.groups)
}

// Sweeps counts the sweeps.
func (s *Store) Sweeps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweeps
}

// All is every record, by seq.
func (s *Store) All() []sealpost.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

// Spool gives each blob a place; Hold wants it told.
func (s *Store) Spool(ctx context.Context, blobs [][]byte) ([]sealpost.Spooled, error) {
	end, err := s.write(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	spooled := make([]sealpost.Spooled, len(blobs))
	for i, b := range blobs {
		s.spooled++
		spooled[i] = sealpost.Spooled{Segment: 1, Start: s.spooled, Length: int64(len(b))}
	}
	return spooled, nil
}

// GiveUp counts what is taken back.
func (s *Store) GiveUp(blobs []sealpost.Spooled) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range blobs {
		if b == (sealpost.Spooled{}) {
			s.tb.Error("store: a blob is given up that was never spooled")
		}
		s.GivenUp++
	}
	return nil
}

// Hold implements the port, and checks that a hold is what it says.
func (s *Store) Hold(ctx context.Context, group []sealpost.Hold) ([]sealpost.Held, error) {
	if s.holding.Add(1) != 1 {
		s.tb.Error("store: two Holds at once")
	}
	defer s.holding.Add(-1)
	if s.BeforeHold != nil {
		s.BeforeHold(group)
	}
	end, err := s.write(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	fails, applied := s.fault.next()
	if fails && !applied {
		return nil, ErrFault
	}
	for _, h := range group {
		if h.Kind == 0 || payloadKind(h) != h.Kind {
			return nil, s.misused("a payload is not of its kind", sealpost.ErrMalformed)
		}
	}
	s.groups = append(s.groups, len(group))
	out := make([]sealpost.Held, len(group))
	for i, h := range group {
		s.checkHold(h)
		out[i] = s.hold(h)
	}
	if fails {
		return nil, ErrFault
	}
	return out, nil
}

func (s *Store) checkHold(h sealpost.Hold) {
	ours := h.Kind == sealpost.KindAttempt || h.Kind == sealpost.KindOutcome
	switch {
	case sealpost.Hash(sha256.Sum256(h.Statement)) != h.Hash:
		s.tb.Error("store: the hash is not the statement's")
	case sealpost.MakeLeaf(h.Salt, h.Statement) != h.Leaf:
		s.tb.Error("store: the leaf is not the statement's under the salt")
	case h.Salt == sealpost.Salt{}:
		s.tb.Error("store: no salt was drawn")
	case ours != (len(h.Promise) == 0) || ours != (h.Part == nil):
		s.tb.Errorf("store: a %v with %d bytes of promise", h.Kind, len(h.Promise))
	case !ours && !bytes.Equal(h.Promise, mustPart(s.tb, h)):
		s.tb.Errorf("store: the promise of a %v is not the part of its group", h.Kind)
	case !s.Forgiving && h.Commitment != nil && h.Spooled.Length != int64(len(h.Blob)):
		s.tb.Error("store: a blob that was not spooled")
	case h.App == "":
		s.tb.Error("store: a hold without an app")
	}
}

func mustPart(tb testing.TB, h sealpost.Hold) []byte {
	p, err := h.Part.Promised(h.Leaf, h.Hash)
	if err != nil {
		tb.Error(err)
	}
	return p.Encode()
}

// Size implements the port.
func (s *Store) Size(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.records)), nil
}

// Leaves implements the port. It returns fewer than it could, as a store may.
func (s *Store) Leaves(_ context.Context, from uint64, max int) ([]sealpost.Leaf, error) {
	const page = 100
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sealpost.Leaf
	for i := from; i < uint64(len(s.records)) && len(out) < min(max, page); i++ {
		out = append(out, s.records[i].Leaf)
	}
	return out, nil
}

// Record implements the port.
func (s *Store) Record(_ context.Context, seq uint64) (sealpost.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq >= uint64(len(s.records)) {
		return sealpost.Record{}, sealpost.ErrNotFound
	}
	return s.records[seq], nil
}

// Records implements the port.
func (s *Store) Records(ctx context.Context, app string, id sealpost.MessageID) ([]sealpost.Record, error) {
	if m, err := s.Message(ctx, id); err != nil || m.App != app {
		return nil, sealpost.ErrNotFound
	}
	return s.filter(func(h sealpost.Hold) bool { return h.KeyEvent == nil && h.App == app && h.ID == id }), nil
}

func (s *Store) filter(keep func(sealpost.Hold) bool) (out []sealpost.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.holds {
		if keep(h) {
			out = append(out, s.records[i])
		}
	}
	return out
}

// RecordByHash implements the port.
func (s *Store) RecordByHash(_ context.Context, app string, kind sealpost.Kind, h sealpost.Hash) (sealpost.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq, ok := s.byHash[h]
	if !ok || s.records[seq].App != app || s.records[seq].Kind != kind {
		return sealpost.Record{}, sealpost.ErrNotFound
	}
	return s.records[seq], nil
}
