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

	mu         sync.Mutex
	records    []sealpost.Record
	holds      []sealpost.Hold // beside records
	byHash     map[sealpost.Hash]uint64
	messages   map[sealpost.MessageID]*message
	order      []sealpost.MessageID
	devices    map[sealpost.KeyID]*device
	senders    map[string][]sealpost.Device
	enrolments map[sealpost.EnrolmentID]*sealpost.Enrolment
	apiKeys    []sealpost.APIKey
	nonces     map[[16]byte]sealpost.UnixMilli
	epochs     map[sealpost.Hash]sealpost.Hash // the commit in each place, for good
	groups     []int
	sweeps     int
	spooled    int64
	GivenUp    int // statements whose blobs were taken back
}

type message struct {
	sealpost.Message
	blob     []byte
	carriers []sealpost.Carrier
	routes   []*route
	attempts []sealpost.Hash
	receipts []sealpost.Hash
	positive bool
	negative bool
}

type route struct {
	device sealpost.KeyID
	due    sealpost.UnixMilli
	number uint32
	ended  bool
	failed bool
}

type device struct {
	sealpost.Device
	event     uint64
	packages  [][]byte
	endpoints []sealpost.Endpoint
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
	return &Store{tb: tb, byHash: map[sealpost.Hash]uint64{}, messages: map[sealpost.MessageID]*message{},
		devices: map[sealpost.KeyID]*device{}, senders: map[string][]sealpost.Device{},
		enrolments: map[sealpost.EnrolmentID]*sealpost.Enrolment{}, nonces: map[[16]byte]sealpost.UnixMilli{},
		epochs: map[sealpost.Hash]sealpost.Hash{}}
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
func (s *Store) Spool(_ context.Context, blobs [][]byte) ([]sealpost.Spooled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fails, applied := s.fault.next()
	if fails && !applied {
		return nil, ErrFault
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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
	case h.Commitment != nil && h.Spooled.Length != int64(len(h.Blob)):
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

func (s *Store) hold(h sealpost.Hold) sealpost.Held {
	if seq, ok := s.byHash[h.Hash]; ok {
		return sealpost.Held{Record: s.records[seq], Again: true}
	}
	var err error
	seq := uint64(len(s.records))
	switch {
	case h.Commitment != nil:
		err = s.holdCommitment(h, seq)
	case h.Attempt != nil:
		err = s.holdAttempt(h)
	case h.Receipt != nil:
		err = s.holdReceipt(h)
	case h.Outcome != nil:
		err = s.holdOutcome(h)
	case h.KeyEvent != nil:
		err = s.holdKeyEvent(h, seq)
	default:
		s.tb.Error("store: a hold without a payload")
	}
	if err != nil {
		return sealpost.Held{Err: err}
	}
	rec := h.Record
	rec.Seq = seq
	s.records, s.holds = append(s.records, rec), append(s.holds, h)
	s.byHash[h.Hash] = seq
	return sealpost.Held{Record: rec}
}

func (s *Store) holdCommitment(h sealpost.Hold, seq uint64) error {
	c := h.Commitment
	if s.messages[c.ID] != nil {
		return sealpost.ErrConflict
	}
	for _, k := range h.Commits {
		if other, taken := s.epochs[k.Place]; taken && other != k.Commit {
			return sealpost.ErrEpochTaken
		}
	}
	for _, k := range h.Commits {
		s.epochs[k.Place] = k.Commit
	}
	m := &message{blob: bytes.Clone(h.Blob), carriers: c.Carriers, Message: sealpost.Message{ID: c.ID, App: c.App,
		Recipient: c.Recipient, Commitment: h.Hash, Seq: seq, Blob: c.Blob, Roster: c.Roster, Created: c.Created,
		Expires: c.Expires, Release: c.Release}}
	for id, d := range s.devices {
		if d.App == c.App && d.Recipient == c.Recipient && d.Revoked == 0 {
			m.routes = append(m.routes, &route{device: id, due: 1})
		}
	}
	s.messages[c.ID] = m
	s.order = append(s.order, c.ID)
	return nil
}

func (s *Store) holdAttempt(h sealpost.Hold) error {
	a := h.Attempt
	m := s.messages[a.ID]
	if m == nil {
		return sealpost.ErrNotFound
	}
	for i, had := range s.holds {
		if had.Attempt != nil && had.Attempt.Attempt == a.Attempt {
			s.tb.Errorf("store: another statement of the attempt at seq %d", i)
			return sealpost.ErrConflict
		}
	}
	m.attempts = append(m.attempts, h.Hash)
	for _, r := range m.routes {
		if r.device == a.Device {
			r.number, r.due = a.Number, h.Retry
			r.ended = h.Retry == 0
			r.failed = r.ended && a.Result != sealpost.Accepted && a.Result != sealpost.Ambiguous
		}
	}
	return nil
}

func (s *Store) holdReceipt(h sealpost.Hold) error {
	r := h.Receipt
	m := s.messages[r.ID]
	if m == nil || m.Commitment != r.Commitment {
		s.tb.Error("store: a receipt for no message")
		return sealpost.ErrNotFound
	}
	m.receipts = append(m.receipts, h.Hash)
	m.positive = m.positive || r.Level.Positive()
	m.negative = m.negative || r.Level.Negative()
	for _, route := range m.routes {
		if route.device == r.Key {
			route.ended = true
		}
	}
	return nil
}

func (s *Store) holdOutcome(h sealpost.Hold) error {
	o := h.Outcome
	m := s.messages[o.ID]
	switch {
	case m == nil:
		return sealpost.ErrNotFound
	case m.End != 0:
		return sealpost.ErrEnded
	case len(o.Attempts) != len(m.attempts) || len(o.Receipts) != len(m.receipts):
		return sealpost.ErrConflict
	}
	m.End = o.End
	return nil
}

func (s *Store) holdKeyEvent(h sealpost.Hold, seq uint64) error {
	e := h.KeyEvent
	id := e.Key.ID()
	if e.Event == sealpost.Revoke {
		return s.revoke(e, id, seq)
	}
	if e.Subject == sealpost.SubjectSender {
		if slices.ContainsFunc(s.senders[e.App], func(d sealpost.Device) bool { return d.Key == e.Key }) {
			return sealpost.ErrConflict
		}
		s.senders[e.App] = append(s.senders[e.App], sealpost.Device{App: e.App, Key: e.Key, Enrolled: seq})
		return nil
	}
	if s.devices[id] != nil {
		return sealpost.ErrConflict
	}
	for k, inv := range s.enrolments {
		if inv.Answer != nil && inv.Answer.Key == e.Key && bytes.Equal(inv.Challenge[:], e.Challenge) {
			delete(s.enrolments, k)
			s.devices[id] = &device{event: seq, packages: inv.Answer.KeyPackages, endpoints: inv.Answer.Endpoints,
				Device: sealpost.Device{App: e.App, Recipient: e.Device.Recipient, Key: e.Key, Leaf: e.Device.Leaf,
					Assurance: e.Device.Assurance, Enrolled: seq}}
			return nil
		}
	}
	s.tb.Error("store: a device's enrol event without its answered invitation")
	return sealpost.ErrNotFound
}

func (s *Store) revoke(e *sealpost.KeyEvent, id sealpost.KeyID, seq uint64) error {
	if d := s.devices[id]; d != nil && e.Subject == sealpost.SubjectDevice {
		d.Revoked = seq
		return nil
	}
	for i := range s.senders[e.App] {
		if s.senders[e.App][i].Key == e.Key {
			s.senders[e.App][i].Revoked = seq
			return nil
		}
	}
	return sealpost.ErrNotFound
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
func (s *Store) Records(_ context.Context, app string, id sealpost.MessageID) ([]sealpost.Record, error) {
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
