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

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
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
	enrolments []*sealpost.Enrolment // in the order of their invitation
	devices    map[sealpost.KeyID]*heldDevice
	sender     sealpost.PublicKey
	claims     int
	epochs     map[string]string // the commit of each group and epoch

	// Faults. refuse answers a call by name with an error instead; after is asked
	// once the call was carried out, so that its answer is lost.
	refuse, after func(call string) error
	bend          func(call string, v any) // changes what goes out

	// forgiving answers what the SDK never does, and does not fail the test.
	forgiving bool
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
	seq    int
	sealed sealpost.Sealed
	to     []sealpost.KeyID // the devices that were in force then
}

type heldDevice struct {
	event     sealpost.KeyEvent // that enrolled it; zero before
	challenge [32]byte          // of the invitation that it answered
	packages  [][]byte
	resort    []byte // the KeyPackage of last resort
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

// had says whether the log ever had a head.
func (l *memoryLog) had(h sealpost.Head) bool {
	switch {
	case h.Size == 0:
		return h.Root == sealpost.Hash{} || h.Root == sha256.Sum256(nil)
	case h.Size > uint64(l.size):
		return false
	}
	root, err := tlog.TreeHash(int64(h.Size), l)
	return err == nil && sealpost.Hash(root) == h.Root
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

func (r *memoryRelay) Checkpoint(ctx context.Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.log.checkpoint(r.log.size), nil
}

func (r *memoryRelay) Tile(ctx context.Context, path string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
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
		messages: map[sealpost.MessageID]*heldMessage{}, devices: map[sealpost.KeyID]*heldDevice{}, epochs: map[string]string{}}
}

// stock takes KeyPackages, the last resort apart.
func (d *heldDevice) stock(packages [][]byte) {
	for _, p := range packages {
		if isLastResort(p) {
			d.resort = p
		} else {
			d.packages = append(d.packages, p)
		}
	}
}

func isLastResort(pkg []byte) bool {
	info, err := mls.ParseKeyPackage(pkg)
	return err == nil && info.LastResort
}

// inForce says whether a device may ask and is sent messages.
func (d *heldDevice) inForce() bool { return d != nil && d.event.Device != nil && !d.revoked }

// call begins a call: it notes what was handed over and may refuse. In a context
// that has ended nothing is called.
func (r *memoryRelay) call(ctx context.Context, name string, handed ...[]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
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

// misused answers what the SDK never does.
func (r *memoryRelay) misused(p *api.Problem, format string, args ...any) *api.Problem {
	if !r.forgiving {
		r.t.Errorf(format, args...)
	}
	return p
}

// held finds a statement that was held before.
func (r *memoryRelay) held(statement []byte) *heldRecord {
	if i := slices.IndexFunc(r.records, func(h *heldRecord) bool { return bytes.Equal(h.statement, statement) }); i >= 0 {
		return r.records[i]
	}
	return nil
}

// hold holds and logs one statement and makes its promise.
func (r *memoryRelay) hold(signed sealpost.Signed, id sealpost.MessageID, recipient sealpost.Recipient, outcomeBy sealpost.UnixMilli) *heldRecord {
	if h := r.held(signed.Bytes()); h != nil {
		return h
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

// verdict answers a call that held something, as the test wants it answered.
func (r *memoryRelay) verdict(name string, h *heldRecord, again bool) api.Verdict {
	if err := r.done(name); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	v := api.Verdict{Accepted: accept(h, again)}
	if r.bend != nil {
		r.bend(name, &v)
	}
	return v
}

func accept(h *heldRecord, again bool) *api.Accepted {
	return &api.Accepted{ID: h.id, Salt: h.salt[:], Promise: h.promise, Again: again}
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
