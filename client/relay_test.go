package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// memoryRelay is a relay in memory, as strict as its interfaces say and with a
// log of its own. It fails the test when the SDK misuses it, keeps every byte
// it was handed, and lies where a test asks it to.
type memoryRelay struct {
	t    *testing.T
	mu   sync.Mutex
	now  func() sealpost.UnixMilli
	key  *sealpost.PrivateKey
	log  *memoryLog
	seen [][]byte // all that was handed over

	records    []*heldRecord
	messages   map[sealpost.MessageID]*heldMessage
	enrolments map[sealpost.EnrolmentID]*sealpost.Enrolment
	devices    map[sealpost.KeyID]*heldDevice
	sender     sealpost.PublicKey
	claims     int

	// Faults. refuse answers a call by name with an error instead; after is asked
	// once the call was carried out, so that its answer is lost.
	refuse, after func(call string) error
	bend          func(call string, v any) // changes what goes out
}

type heldRecord struct {
	kind      sealpost.Kind
	id        sealpost.MessageID
	recipient sealpost.Recipient
	statement []byte
	salt      sealpost.Salt
	promise   []byte
}

type heldMessage struct {
	seq     int
	sealed  sealpost.Sealed
	outcome bool
}

type heldDevice struct {
	event     sealpost.KeyEvent
	packages  [][]byte
	last      []byte
	revoked   bool
	eventSeq  int
	endpoints []api.DeviceEndpoint
}

// memoryLog is a log that signs a checkpoint whenever it is asked.
type memoryLog struct {
	signer note.Signer
	vkey   string
	size   int64
	hashes []tlog.Hash
}

func newMemoryLog(t *testing.T) *memoryLog {
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example/test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &memoryLog{signer: signer, vkey: vkey}
}

func (l *memoryLog) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *memoryLog) append(leaf sealpost.Leaf) {
	more, err := tlog.StoredHashes(l.size, leaf[:], l)
	if err != nil {
		panic(err)
	}
	l.hashes = append(l.hashes, more...)
	l.size++
}

func (l *memoryLog) checkpoint(size int64) []byte {
	var root tlog.Hash
	if size == 0 {
		root = sha256.Sum256(nil)
	} else {
		var err error
		if root, err = tlog.TreeHash(size, l); err != nil {
			panic(err)
		}
	}
	return l.signHead(size, root)
}

func (l *memoryLog) signHead(size int64, root tlog.Hash) []byte {
	text := fmt.Sprintf("%s\n%d\n%s\n", l.signer.Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		panic(err)
	}
	return signed
}

func (l *memoryLog) prove(index int64) []byte {
	p, err := tlog.ProveRecord(l.size, index, l)
	if err != nil {
		panic(err)
	}
	hashes := make([][32]byte, len(p))
	for i, h := range p {
		hashes[i] = h
	}
	return tlogproof.TLogProof{Index: uint64(index), Hashes: hashes, Checkpoint: l.checkpoint(l.size)}.Marshal()
}

// The log's public files.

func (r *memoryRelay) Checkpoint(context.Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.checkpoint(r.log.size), nil
}

func (r *memoryRelay) Tile(_ context.Context, path string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for level := range 3 {
		for n := range int64(4) {
			for w := 1; w <= 256; w++ {
				t := tlog.Tile{H: tileHeight, L: level, N: n, W: w}
				if tilePath(t) == path {
					return tlog.ReadTileData(t, r.log)
				}
			}
		}
	}
	return nil, fmt.Errorf("no tile %q", path)
}

func newMemoryRelay(t *testing.T, now func() sealpost.UnixMilli) *memoryRelay {
	key, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &memoryRelay{t: t, now: now, key: key, log: newMemoryLog(t),
		messages: map[sealpost.MessageID]*heldMessage{}, enrolments: map[sealpost.EnrolmentID]*sealpost.Enrolment{},
		devices: map[sealpost.KeyID]*heldDevice{}}
}

// call begins a call: it notes what was handed over and may refuse.
func (r *memoryRelay) call(name string, handed ...[]byte) error {
	r.seen = append(r.seen, handed...)
	if r.refuse != nil {
		return r.refuse(name)
	}
	return nil
}

func (r *memoryRelay) done(name string) error {
	if r.after != nil {
		return r.after(name)
	}
	return nil
}

// hold holds and logs one statement and makes its promise.
func (r *memoryRelay) hold(signed sealpost.Signed, id sealpost.MessageID, recipient sealpost.Recipient, outcomeBy sealpost.UnixMilli) *heldRecord {
	for _, h := range r.records {
		if bytes.Equal(h.statement, signed.Bytes()) {
			return h
		}
	}
	h := &heldRecord{kind: signed.Kind(), id: id, recipient: recipient, statement: signed.Bytes()}
	if _, err := rand.Read(h.salt[:]); err != nil {
		r.t.Fatal(err)
	}
	leaf := sealpost.MakeLeaf(h.salt, h.statement)
	if signed.KeyID() != r.key.Public().ID() {
		p, err := sealpost.SignPromise([]sealpost.PromiseEntry{{Leaf: leaf, Statement: signed.Hash(), OutcomeBy: int64(outcomeBy)}},
			r.log.signer.Name(), r.now(), uint64(r.log.size), sealpost.MergeDelay, r.key)
		if err != nil {
			r.t.Fatal(err)
		}
		h.promise = p[0].Encode()
	}
	r.records = append(r.records, h)
	r.log.append(leaf)
	return h
}

func (r *memoryRelay) seqOf(h *heldRecord) int { return slices.Index(r.records, h) }

func (r *memoryRelay) exhibit(h *heldRecord) api.Exhibit {
	seq := r.seqOf(h)
	return api.Exhibit{Seq: uint64(seq), Statement: h.statement, Salt: h.salt[:], Promise: h.promise, Proof: r.log.prove(int64(seq))}
}

func accept(h *heldRecord, id sealpost.MessageID) *api.Accepted {
	return &api.Accepted{ID: id, Salt: h.salt[:], Promise: h.promise}
}

// senderFace is the relay as a sender sees it.
type senderFace struct{ *memoryRelay }

func (r senderFace) Submit(_ context.Context, batch []sealpost.Sealed) []api.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]api.Verdict, len(batch))
	for i, s := range batch {
		out[i] = r.submit(s)
	}
	return out
}

func (r senderFace) submit(s sealpost.Sealed) api.Verdict {
	if err := r.call("Submit", s.Bytes()); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	c := s.Commitment()
	if err := s.Statement().Verify(r.sender); err != nil {
		r.t.Errorf("a commitment that its sender did not sign: %v", err)
	}
	if old := r.messages[s.ID()]; old != nil && !bytes.Equal(old.sealed.Bytes(), s.Bytes()) {
		r.t.Errorf("message %v was posted with two contents", s.ID())
		return api.Verdict{Problem: api.ErrConflict}
	}
	if c.Created.Add(sealpost.FreshnessWindow) < r.now() && r.messages[s.ID()] == nil {
		return api.Verdict{Problem: api.ErrStale}
	}
	h := r.hold(s.Statement(), s.ID(), c.Recipient, c.Expires.Add(sealpost.OutcomeGrace))
	if r.messages[s.ID()] == nil {
		r.messages[s.ID()] = &heldMessage{seq: r.seqOf(h), sealed: s}
	}
	if err := r.done("Submit"); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	v := api.Verdict{Accepted: accept(h, s.ID())}
	if r.bend != nil {
		r.bend("Submit", &v)
	}
	return v
}

func (r senderFace) Evidence(_ context.Context, id sealpost.MessageID) ([]api.Exhibit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Evidence", id[:]); err != nil {
		return nil, err
	}
	m := r.messages[id]
	if m == nil {
		return nil, api.ErrNotFound
	}
	var out []api.Exhibit
	for _, h := range r.records {
		if h.id == id || (h.kind == sealpost.KindKeyEvent && (h.recipient == m.sealed.Commitment().Recipient || h.recipient == sealpost.Recipient{})) {
			out = append(out, r.exhibit(h))
		}
	}
	if r.bend != nil {
		r.bend("Evidence", &out)
	}
	return out, nil
}

func (r senderFace) Invite(_ context.Context, in api.Invitation) (api.Invited, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Invite", in.Recipient, in.SecretHash); err != nil {
		return api.Invited{}, err
	}
	e := &sealpost.Enrolment{Recipient: sealpost.Recipient(in.Recipient), SecretHash: sealpost.Hash(in.SecretHash), Expires: r.now().Add(time.Hour)}
	e.ID, _ = sealpost.NewEnrolmentID(r.now(), rand.Reader)
	_, _ = rand.Read(e.Challenge[:])
	r.enrolments[e.ID] = e
	return api.Invited{ID: e.ID, Challenge: e.Challenge[:], Expires: e.Expires}, nil
}

func (r senderFace) Answered(context.Context, int) ([]api.EnrolmentView, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Answered"); err != nil {
		return nil, err
	}
	var out []api.EnrolmentView
	for _, e := range r.enrolments {
		if e.Answer == nil || r.devices[e.Answer.Key.ID()] == nil || r.devices[e.Answer.Key.ID()].event.Device != nil {
			continue
		}
		a := e.Answer
		out = append(out, api.EnrolmentView{ID: e.ID, Recipient: e.Recipient[:], Challenge: e.Challenge[:], Key: a.Key.COSE(),
			Leaf: a.Device.Leaf.COSE(), ByKey: a.Device.ByKey, ByLeaf: a.Device.ByLeaf, Assurance: a.Device.Assurance, MAC: a.MAC[:]})
	}
	if r.bend != nil {
		r.bend("Answered", &out)
	}
	return out, nil
}

func (r senderFace) PostKeyEvent(_ context.Context, statement []byte) (api.Accepted, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("PostKeyEvent", statement); err != nil {
		return api.Accepted{}, err
	}
	signed, err := sealpost.Parse(statement)
	if err != nil {
		return api.Accepted{}, err
	}
	if err := signed.Verify(r.sender); err != nil {
		return api.Accepted{}, err
	}
	e, err := signed.KeyEvent()
	if err != nil {
		return api.Accepted{}, err
	}
	var recipient sealpost.Recipient
	d := r.devices[e.Key.ID()]
	switch {
	case e.Subject == sealpost.SubjectSender:
	case d == nil:
		return api.Accepted{}, api.ErrKeyEvent
	case e.Event == sealpost.Enrol:
		recipient, d.event = e.Device.Recipient, e
	default:
		recipient, d.revoked = d.event.Device.Recipient, true
	}
	h := r.hold(signed, sealpost.MessageID{}, recipient, 0)
	if d != nil && e.Event == sealpost.Enrol {
		d.eventSeq = r.seqOf(h)
	}
	if err := r.done("PostKeyEvent"); err != nil {
		return api.Accepted{}, err
	}
	return *accept(h, sealpost.MessageID{}), nil
}

func (r senderFace) ClaimPackages(_ context.Context, recipient sealpost.Recipient, ids []sealpost.KeyID) ([]api.ClaimedPackage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("ClaimPackages", recipient[:]); err != nil {
		return nil, err
	}
	r.claims += len(ids)
	var out []api.ClaimedPackage
	for _, id := range ids {
		d := r.devices[id]
		if d == nil || d.revoked || d.event.Device == nil || d.event.Device.Recipient != recipient {
			return nil, api.ErrNotFound
		}
		p := d.last
		if len(d.packages) > 0 {
			p, d.packages = d.packages[0], d.packages[1:]
		}
		if p != nil {
			out = append(out, api.ClaimedPackage{Device: id, KeyPackage: p, Left: len(d.packages)})
		}
	}
	if len(out) == 0 {
		return nil, api.ErrNoPackage
	}
	if r.bend != nil {
		r.bend("ClaimPackages", &out)
	}
	return out, nil
}

// deviceFace is the relay as one device sees it.
type deviceFace struct {
	*memoryRelay
	id sealpost.KeyID
}

func (r deviceFace) Answer(_ context.Context, in api.Answer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Answer", in.Key, in.Leaf, in.ByKey, in.ByLeaf, in.MAC); err != nil {
		return err
	}
	e := r.enrolments[in.ID]
	key, err := sealpost.ParsePublicKey(in.Key)
	if err != nil || e == nil || e.Answer != nil {
		return api.ErrChallenge
	}
	leaf, err := sealpost.ParsePublicKey(in.Leaf)
	if err != nil {
		return err
	}
	e.Answer = &sealpost.EnrolmentAnswer{Key: key, MAC: sealpost.Hash(in.MAC), Device: sealpost.DeviceKey{Recipient: e.Recipient,
		Leaf: leaf, ByKey: in.ByKey, ByLeaf: in.ByLeaf, Assurance: in.Assurance}}
	d := &heldDevice{endpoints: in.Endpoints}
	for _, p := range in.KeyPackages {
		d.packages = append(d.packages, p)
	}
	d.last, d.packages = d.packages[len(d.packages)-1], d.packages[:len(d.packages)-1]
	r.devices[key.ID()] = d
	return r.done("Answer")
}

func (r deviceFace) Enrolment(context.Context) (api.Exhibit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Enrolment"); err != nil {
		return api.Exhibit{}, err
	}
	d := r.devices[r.id]
	if d == nil || d.event.Device == nil {
		return api.Exhibit{}, api.ErrNotFound
	}
	x := r.exhibit(r.records[d.eventSeq])
	if r.bend != nil {
		r.bend("Enrolment", &x)
	}
	return x, nil
}

func (r deviceFace) arrival(m *heldMessage) api.Arrival {
	h := r.records[m.seq]
	a := api.Arrival{Seq: uint64(m.seq), Sealed: m.sealed.Bytes(), Salt: h.salt[:], Promise: h.promise, Proof: r.log.prove(int64(m.seq))}
	if r.bend != nil {
		r.bend("Arrival", &a)
	}
	return a
}

// forMe says whether a message is for this device: of its recipient, and still
// waiting for its handover.
func (r deviceFace) forMe(m *heldMessage) bool {
	d := r.devices[r.id]
	if d == nil || d.event.Device == nil || m.sealed.Commitment().Recipient != d.event.Device.Recipient {
		return false
	}
	return !slices.ContainsFunc(r.records, func(h *heldRecord) bool {
		if h.kind != sealpost.KindReceipt || h.id != m.sealed.ID() {
			return false
		}
		signed, _ := sealpost.Parse(h.statement)
		return signed.KeyID() == r.id
	})
}

func (r deviceFace) Inbox(_ context.Context, after uint64, limit, _ int) ([]api.Arrival, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Inbox"); err != nil {
		return nil, err
	}
	var out []api.Arrival
	for seq := range r.records {
		for _, m := range r.messages {
			if m.seq == seq && uint64(seq) > after && len(out) < limit && r.forMe(m) {
				out = append(out, r.arrival(m))
			}
		}
	}
	return out, nil
}

func (r deviceFace) Arrival(_ context.Context, id sealpost.MessageID) (api.Arrival, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Arrival", id[:]); err != nil {
		return api.Arrival{}, err
	}
	m := r.messages[id]
	if m == nil {
		return api.Arrival{}, api.ErrNotFound
	}
	return r.arrival(m), nil
}

func (r deviceFace) PostReceipts(_ context.Context, receipts [][]byte) []api.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]api.Verdict, len(receipts))
	for i, raw := range receipts {
		out[i] = r.receipt(raw)
	}
	return out
}

func (r deviceFace) receipt(raw []byte) api.Verdict {
	if err := r.call("PostReceipts", raw); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	signed, err := sealpost.Parse(raw)
	if err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	x, err := signed.Receipt()
	d := r.devices[r.id]
	switch {
	case err != nil:
		return api.Verdict{Problem: api.ProblemOf(err)}
	case d == nil || d.event.Device == nil || x.Key != r.id || signed.Verify(d.event.Key) != nil:
		return api.Verdict{Problem: api.ErrWrongDevice}
	case r.messages[x.ID] == nil:
		return api.Verdict{Problem: api.ErrNotFound}
	}
	m := r.messages[x.ID]
	c := m.sealed.Commitment()
	switch { // R59
	case x.Commitment != m.sealed.Statement().Hash(),
		x.Blob != c.Blob && x.Reason != sealpost.ReasonBlob,
		x.Level.Positive() && x.Roster != c.Roster:
		return api.Verdict{Problem: api.ErrWrongCommitment}
	}
	for _, h := range r.records {
		if h.kind == sealpost.KindReceipt && h.id == x.ID && !bytes.Equal(h.statement, raw) {
			other, _ := sealpost.Parse(h.statement)
			if y, _ := other.Receipt(); y.Key == x.Key && y.Level == x.Level {
				r.t.Errorf("two receipts of level %v by one device for one message", x.Level)
			}
		}
	}
	h := r.hold(signed, x.ID, c.Recipient, 0)
	if err := r.done("PostReceipts"); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	v := api.Verdict{Accepted: accept(h, x.ID)}
	if r.bend != nil {
		r.bend("PostReceipts", &v)
	}
	return v
}

func (r deviceFace) Stock(_ context.Context, packages [][]byte, _ []api.DeviceEndpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call("Stock"); err != nil {
		return err
	}
	r.devices[r.id].packages = append(r.devices[r.id].packages, packages...)
	return r.done("Stock")
}

// close gives a message its outcome.
func (r *memoryRelay) close(id sealpost.MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	o := sealpost.Outcome{ID: id, Commitment: m.sealed.Statement().Hash(), End: sealpost.Expired, Decided: r.now()}
	for _, h := range r.records {
		if h.kind == sealpost.KindReceipt && h.id == id {
			o.Receipts, o.End = append(o.Receipts, sha256.Sum256(h.statement)), sealpost.Delivered
		}
	}
	slices.SortFunc(o.Receipts, func(a, b sealpost.Hash) int { return bytes.Compare(a[:], b[:]) })
	signed, err := sealpost.Sign(o, r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.hold(signed, id, m.sealed.Commitment().Recipient, 0)
}

// saw says whether a text was in anything that the relay was handed.
func (r *memoryRelay) saw(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.seen, func(b []byte) bool { return strings.Contains(string(b), text) })
}
