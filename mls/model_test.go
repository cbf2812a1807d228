package mls_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
	"pgregory.net/rapid"
)

// How much of the model is walked.
const (
	modelMembers       = 20 // at most, in a group
	modelStart         = 8  // at most, at the beginning
	modelHistories     = 80
	modelHistoriesLong = 2000 // SEALPOST_LONG=1
	modelSteps         = 40   // of one history, on average
	modelStepsLong     = 120
	modelLetters       = 60 // the newest application messages, which may still come

	modelForward   = 12 // generations
	modelSkipped   = 3  // keys
	modelHandshake = 6  // encrypted handshake messages of one member in one epoch, at most
	modelPast      = 3  // epochs for which resumption keys are kept

	modelProposal  = 0xf00d
	modelExtension = 0xf00e
)

// TestModel drives groups through histories that are drawn and holds every member
// to a model that knows nothing of keys: who is at which leaf, in which epoch, who
// may read what, and which error everything else must be. Whatever is refused
// must leave the state as it was.
func TestModel(t *testing.T) {
	histories, steps := modelHistories, modelSteps
	if os.Getenv("SEALPOST_LONG") != "" {
		histories, steps = modelHistoriesLong, modelStepsLong
	}
	drawn := true // as much as the test asks for
	for name, n := range map[string]int{"rapid.checks": histories, "rapid.steps": steps} {
		f := flag.Lookup(name)
		if f.Value.String() != f.DefValue {
			drawn = false
			continue
		}
		if err := flag.Set(name, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, f.DefValue) })
	}
	met := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		actions := map[string]func(*rapid.T){"": func(*rapid.T) { w.agree() }}
		for name, act := range map[string]func(){
			"protect": w.protect, "protect more": w.protect, "deliver": w.deliver, "deliver more": w.deliver, "open all": w.openAll,
			"forge": w.forge, "forge handshake": w.forgeHandshake, "follow": w.followOne, "all follow": w.followAll, "propose": w.propose,
			"commit": w.commit, "commit again": w.commit, "two commits": w.twoCommits, "enter": w.enter, "resync": w.resync,
			"restart": w.restart, "skip": w.skip, "old handshake": w.oldHandshake, "broken store": w.brokenStore,
			"branch": w.branch, "reinit": w.reInit, "skip more": w.skip, "ask from outside": w.askFromOutside, "propose from outside": w.proposeFromOutside,
		} {
			actions[name] = func(*rapid.T) { act() }
		}
		rt.Repeat(actions)
		w.followAll()
		w.agree()
		w.openAll()
		for what, n := range w.met {
			met[what] += n
		}
	})
	for _, what := range []string{"opened", "opened late", "of a past epoch", "replay", "wrong epoch", "wrong group", "too far", "evicted", "own",
		"stale", "removed", "branch", "reinit", "resync", "crash", "external sender", "two commits", "between", "kept from the past"} {
		if met[what] == 0 && drawn && !t.Failed() {
			t.Errorf("no history had %q: this test sees less than it says", what)
		}
	}
	if testing.Verbose() {
		fmt.Printf("mls model: %v\n", met)
	}
}

// names accepts everybody and lets nobody change its name.
type names struct{}

func (names) Validate(mls.Credential, []byte) error { return nil }
func (names) Successor(before, after mls.Credential) error {
	if !bytes.Equal(before.Identity, after.Identity) {
		return errors.New("another name")
	}
	return nil
}

// world is all there is: one group by the model, its members, and what is on the
// way between them.
type world struct {
	*rapid.T
	suite    mls.Suite
	id       string
	epoch    uint64
	leaves   []string  // names by leaf, "" is blank
	members  []*member // of the newest epoch; some have not come so far
	outside  []*member // removed or left behind, with the state they had
	log      []*handshake
	asked    []*asked // proposals of this epoch, in order
	letters  []*letter
	outsider mls.Signer // whom a context may list as external sender
	listed   bool       // that it does
	named    int        // people, groups and proposals so far
	met      map[string]int
}

// member is one view of the group and what the model knows of it.
type member struct {
	name     string
	signer   mls.Signer
	updating []mls.Signer // of own updates that wait
	policy   mls.Policy
	store    *mlstest.Memory // nil without one
	g        *mls.Group
	id       string // of the group
	leaf     uint32
	joined   uint64 // first epoch
	epoch    uint64
	at       int // of the log that it has taken
	waiting  int // proposals that it has taken in this epoch
	sent     uint32
	sealed   int // encrypted handshake messages of this epoch
	lanes    map[lane]*window
	pending  *mls.Staged // an own Commit that was not picked
	out      bool
}

// lane is one sender in one epoch; window says what of it may still be opened.
type lane struct {
	epoch uint64
	leaf  uint32
}

type window struct {
	next uint32
	kept []uint32
}

// letter is an application message.
type letter struct {
	id         string // of the group
	epoch      uint64
	leaf       uint32
	from       string
	generation uint32
	text       string
	msg        []byte
}

// handshake is a proposal or Commit that the delivery service took.
type handshake struct {
	msg   []byte
	by    *member // nil for an outsider
	epoch uint64
	ask   *asked  // of a proposal
	does  *effect // of a Commit
}

// asked is a proposal.
type asked struct {
	proposal mls.Proposal
	by       uint32
	add      *newcomer
	remove   *uint32
	update   bool
	signer   mls.Signer // of an update that changes it
	context  bool
	lists    bool // an external sender, in the context
	custom   bool
	psk      bool
}

type newcomer struct {
	*member
	secrets *mls.KeyPackageSecrets
	pub     []byte
}

// effect is what a Commit does.
type effect struct {
	committer uint32
	added     []*newcomer
	removed   []uint32
	updated   []uint32              // by proposals
	signers   map[uint32]mls.Signer // new ones, by leaf
	custom    int
	psks      int
	context   *asked // that replaces it, or nil
	path      bool
	leaves    []string // afterwards
	joins     []uint32 // leaves of added
}

func (w *world) note(what string) { w.met[what]++ }

func pick[T any](w *world, what string, from []T) T {
	w.Helper()
	if len(from) == 0 {
		w.Skip("nothing to pick")
	}
	return from[rapid.IntRange(0, len(from)-1).Draw(w.T, what)]
}

func (w *world) flip(what string) bool { return rapid.Bool().Draw(w.T, what) }

func (w *world) number(what string, least, most int) int {
	return rapid.IntRange(least, most).Draw(w.T, what)
}

func (w *world) must(err error, what string, a ...any) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", fmt.Sprintf(what, a...), err)
	}
}

func newWorld(rt *rapid.T) *world {
	w := &world{T: rt, met: make(map[string]int)}
	w.suite = rapid.SampledFrom([]mls.Suite{mls.X25519AES128, mls.P256AES128, mls.X25519ChaCha}).Draw(rt, "suite")
	w.found("group")
	w.grow(w.number("members", 1, modelStart-1))
	return w
}

// found starts a group of one.
func (w *world) found(id string) {
	m := w.person("")
	g, err := mls.Create(w.suite, []byte(id), mls.BasicCredential([]byte(m.name)), m.signer, names{}, m.policy)
	w.must(err, "create")
	w.id, w.epoch, w.leaves, w.log, w.asked, w.outsider = id, 0, []string{m.name}, nil, nil, newSigner(w)
	m.begin(w, g, 0)
	w.members = []*member{m}
}

func (w *world) grow(n int) {
	by := w.members[0]
	own := make([]*asked, n)
	for i := range own {
		own[i] = w.asksAdd()
	}
	w.take(by, w.stage(by, own, mls.CommitOptions{}))
}

func newSigner(w *world) mls.Signer {
	seed := make([]byte, 32)
	rand.Read(seed)
	seed[0] &= 0x7f // below the order of the curve
	made, err := mls.NewEd25519Signer(seed)
	if w.suite == mls.P256AES128 {
		made, err = mls.NewP256Signer(seed)
	}
	w.must(err, "signer")
	return made
}

// person is somebody new, or under a name that is free again.
func (w *world) person(name string) *member {
	if name == "" {
		w.named++
		name = fmt.Sprint("m", w.named)
	}
	m := &member{name: name, signer: newSigner(w), policy: mls.DefaultPolicy()}
	p := &m.policy
	p.MaxForward, p.SkippedKeys, p.AllowExternal = modelForward, modelSkipped, true
	p.PastEpochs, p.PastResumption = w.number("past epochs", 0, 2), modelPast
	p.EncryptHandshake = w.flip("encrypt")
	p.Support = mls.Support{Extensions: []uint16{modelExtension}, Proposals: []uint16{modelProposal}}
	p.PSK = func(id []byte) ([]byte, bool) { return []byte("shared"), string(id) == "psk" }
	if w.flip("padded") {
		p.Padding = func(n int) int { return (256 - n%256) % 256 }
	}
	if w.number("stored", 0, 2) == 0 {
		m.store = new(mlstest.Memory)
		p.Store = m.store
	}
	return m
}

func (w *world) packed(m *member) *newcomer {
	pub, secrets, err := mls.NewKeyPackage(w.suite, mls.BasicCredential([]byte(m.name)), m.signer,
		mls.KeyPackageOptions{NotAfter: 1 << 40, Support: m.policy.Support})
	w.must(err, "key package")
	return &newcomer{m, secrets, pub}
}

// begin puts a member where the model's newest epoch is.
func (m *member) begin(w *world, g *mls.Group, leaf uint32) {
	m.g, m.id, m.leaf, m.joined, m.epoch, m.at = g, w.id, leaf, w.epoch, w.epoch, len(w.log)
	m.lanes = make(map[lane]*window)
	if g.OwnLeaf() != leaf || g.Epoch() != w.epoch || string(g.GroupID()) != w.id {
		w.Fatalf("%s is at leaf %d of %v, by the model at %d of %s in %d", m.name, g.OwnLeaf(), g, leaf, w.id, w.epoch)
	}
}

func (w *world) digest(m *member) [32]byte {
	state, err := m.g.Marshal()
	if m.out != errors.Is(err, mls.ErrRemoved) || !m.out && err != nil {
		w.Fatalf("%s marshals: %v", m.name, err)
	}
	return sha256.Sum256(state)
}

// unchanged runs what must leave a member as it was.
func (w *world) unchanged(m *member, what string, do func()) {
	w.Helper()
	before := w.digest(m)
	if do(); w.digest(m) != before {
		w.Fatalf("%s: %s changed the state", m.name, what)
	}
}

// ready are the members that have taken all there is.
func (w *world) ready() (out []*member) {
	for _, m := range w.members {
		if m.at == len(w.log) {
			out = append(out, m)
		}
	}
	return out
}

// agree: who has come as far sees the same.
func (w *world) agree() {
	var first *member
	for _, m := range w.ready() {
		if first == nil {
			first = m
		}
		if m.epoch != w.epoch || m.g.Epoch() != w.epoch || m.g.OwnLeaf() != m.leaf || m.g.Generation() != m.sent {
			w.Fatalf("%s is in epoch %d at leaf %d, generation %d; by the model in %d at %d, generation %d",
				m.name, m.g.Epoch(), m.g.OwnLeaf(), m.g.Generation(), w.epoch, m.leaf, m.sent)
		}
		if !bytes.Equal(m.g.EpochAuthenticator(), first.g.EpochAuthenticator()) || !bytes.Equal(m.g.TreeHash(), first.g.TreeHash()) {
			w.Fatalf("%s and %s see different groups", m.name, first.name)
		}
		exported, err := m.g.Export("model", []byte(w.id), 16)
		w.must(err, "export")
		if same, err := first.g.Export("model", []byte(w.id), 16); err != nil || !bytes.Equal(exported, same) {
			w.Fatalf("%s and %s export different secrets: %v", m.name, first.name, err)
		}
		var want []string
		for leaf, name := range w.leaves {
			if name != "" {
				want = append(want, fmt.Sprint(leaf, name))
			}
		}
		var have []string
		for _, x := range m.g.Members() {
			have = append(have, fmt.Sprint(x.Leaf, string(x.Credential.Identity)))
		}
		if !slices.Equal(have, want) {
			w.Fatalf("%s sees members %v, by the model %v", m.name, have, want)
		}
	}
}

// protect: a member sends a letter, unless proposals wait.
func (w *world) protect() {
	m := pick(w, "sender", w.members)
	for range w.number("messages", 1, 6) {
		text := fmt.Sprintf("%s %d/%d", m.name, m.epoch, m.sent)
		if m.waiting > 0 {
			w.unchanged(m, "a refused message", func() {
				if _, err := m.g.Protect(nil, []byte(text)); !errors.Is(err, mls.ErrRefused) {
					w.Fatalf("%s protects while proposals wait: %v", m.name, err)
				}
			})
			return
		}
		msg, err := m.g.Protect([]byte(m.name), []byte(text))
		w.must(err, "%s protects", m.name)
		w.letters = append(w.letters, &letter{m.id, m.epoch, m.leaf, m.name, m.sent, text, msg})
		m.sent++
	}
	w.letters = w.letters[max(0, len(w.letters)-modelLetters):]
}

func (w *world) skip() {
	m := pick(w, "skipper", w.members)
	for range w.number("skips", 1, 3) {
		to := m.sent + uint32(modelForward+1-w.number("generations", 0, modelForward+1))
		if to > m.sent+modelForward {
			w.unchanged(m, "a skip that is too far", func() {
				if err := m.g.SkipTo(to); !errors.Is(err, mls.ErrTooFarAhead) {
					w.Fatalf("skip from %d to %d: %v", m.sent, to, err)
				}
			})
			continue
		}
		w.must(m.g.SkipTo(to), "skip")
		m.sent = to
	}
}

// judge says what must become of a letter, and takes it off the model's window if
// it opens.
func (w *world) judge(m *member, l *letter) error {
	switch {
	case m.out:
		w.note("removed")
		return mls.ErrRemoved
	case l.id != m.id:
		w.note("wrong group")
		return mls.ErrWrongGroup
	case l.epoch > m.epoch, l.epoch < m.joined, m.epoch-l.epoch > uint64(m.policy.PastEpochs):
		w.note("wrong epoch")
		return mls.ErrWrongEpoch
	case l.leaf == m.leaf:
		w.note("own")
		return mls.ErrOwnMessage
	}
	x := m.lanes[lane{l.epoch, l.leaf}]
	if x == nil {
		x = new(window)
		m.lanes[lane{l.epoch, l.leaf}] = x
	}
	if l.epoch < m.epoch {
		w.note("of a past epoch")
	}
	return w.open(x, l.generation)
}

func (w *world) open(x *window, generation uint32) error {
	switch at := slices.Index(x.kept, generation); {
	case at >= 0:
		w.note("opened late")
		x.kept = slices.Delete(x.kept, at, at+1)
		return nil
	case generation < x.next:
		w.note("replay")
		return mls.ErrReplay
	case generation > x.next+modelForward:
		w.note("too far")
		return mls.ErrTooFarAhead
	}
	for ; x.next < generation; x.next++ {
		x.kept = append(x.kept, x.next)
	}
	if over := len(x.kept) - modelSkipped; over > 0 {
		w.note("evicted")
		x.kept = x.kept[over:]
	}
	x.next++
	w.note("opened")
	return nil
}

func (w *world) read(m *member, l *letter) {
	before := w.digest(m)
	want := w.judge(m, l)
	ev, err := m.g.Process(l.msg)
	if !errors.Is(err, want) {
		w.Fatalf("%s in epoch %d of %s opens %q of epoch %d of %s: %v, want %v", m.name, m.epoch, m.id, l.text, l.epoch, l.id, err, want)
	}
	if want != nil {
		if w.digest(m) != before {
			w.Fatalf("%s: a message that is refused (%v) changed the state", m.name, err)
		}
		return
	}
	app, ok := ev.(mls.Application)
	if !ok || app.Sender != l.leaf || app.Member.Leaf != l.leaf || string(app.Member.Credential.Identity) != l.from || app.Epoch != l.epoch ||
		app.Generation != l.generation || string(app.AAD) != l.from || string(app.Plaintext) != l.text {
		w.Fatalf("%s opens %q as %+v", m.name, l.text, ev)
	}
}

func (w *world) everybody() []*member { return slices.Concat(w.members, w.outside) }

func (w *world) deliver() {
	for range w.number("letters", 1, 4) {
		m := pick(w, "reader", w.everybody())
		w.read(m, w.letter(m))
	}
}

// letter is any, and more often one that a member may be able to read.
func (w *world) letter(m *member) *letter {
	near := slices.DeleteFunc(slices.Clone(w.letters), func(l *letter) bool {
		return l.id != m.id || l.epoch > m.epoch || l.epoch < m.joined || m.epoch-l.epoch > uint64(m.policy.PastEpochs)
	})
	if len(near) > 0 && w.number("near", 0, 3) > 0 {
		return pick(w, "near letter", near)
	}
	return pick(w, "letter", w.letters)
}

// openAll brings most letters to one member, the newest first, and one more.
func (w *world) openAll() {
	m := pick(w, "who opens all", w.everybody())
	for _, l := range slices.Backward(w.letters) {
		if w.number("lost", 0, 3) > 0 {
			w.read(m, l)
		}
	}
	w.read(m, pick(w, "again", w.letters))
}

// forge changes one byte of a letter or cuts it.
func (w *world) forge() {
	m, l := pick(w, "reader", w.everybody()), pick(w, "letter", w.letters)
	w.unchanged(m, "a forged message", func() {
		if _, err := m.g.Process(w.damaged(l.msg)); err == nil {
			w.Fatalf("%s opens a forged message", m.name)
		}
	})
}

func (w *world) damaged(msg []byte) []byte {
	forged, at := bytes.Clone(msg), w.number("byte", 0, len(msg)-1)
	if w.number("damage", 0, 3) == 0 {
		return forged[:at]
	}
	forged[at] ^= byte(w.number("bits", 1, 255))
	return forged
}

// ghost is a copy of a member that takes no handshake message any more.
func (w *world) ghost(m *member) *member {
	x := *m
	x.store, x.policy.Store, x.pending, x.lanes = nil, nil, nil, make(map[lane]*window)
	for l, win := range m.lanes {
		x.lanes[l] = &window{win.next, slices.Clone(win.kept)}
	}
	x.g = w.restored(&x, m.g)
	x.at = 1 << 30
	return &x
}

func (w *world) restored(m *member, g *mls.Group) *mls.Group {
	state, err := g.Marshal()
	w.must(err, "marshal")
	out, err := mls.Unmarshal(state, m.signer, names{}, m.policy)
	w.must(err, "unmarshal")
	again, err := out.Marshal()
	if w.must(err, "marshal"); !bytes.Equal(again, state) {
		w.Fatalf("%s: restored to another state", m.name)
	}
	w.resign(m, out)
	return out
}

// resign gives a restored member the signers of its waiting updates.
func (w *world) resign(m *member, g *mls.Group) {
	for _, s := range m.updating {
		if s != nil {
			w.must(g.SetSigner(s), "set signer")
		}
	}
}

// restart loses all that is not in a member's state or store.
func (w *world) restart() {
	var in []*member
	for _, m := range w.everybody() {
		if !m.out {
			in = append(in, m)
		}
	}
	m := pick(w, "who restarts", in)
	m.pending = nil
	if m.store == nil {
		m.g = w.restored(m, m.g)
		return
	}
	before := w.digest(m)
	g, err := mls.Load(m.signer, names{}, m.policy)
	w.must(err, "load")
	m.g = g
	if w.resign(m, g); w.digest(m) != before {
		w.Fatalf("%s: its store holds another state than it had", m.name)
	}
}

// brokenStore: what a store refuses does not happen in memory. Whether it is done
// all the same, only a restart tells.
func (w *world) brokenStore() {
	var in []*member
	for _, m := range w.everybody() {
		if m.store != nil && m.waiting == 0 && !m.out && m.id == w.id {
			in = append(in, m)
		}
	}
	m := pick(w, "stored member", in)
	broken, made := errors.New("disk full"), w.flip("made")
	m.store.Fail = func(mls.Change) (bool, error) { return made, broken }
	var next *handshake
	w.unchanged(m, "a store that fails", func() {
		if _, err := m.g.Protect(nil, []byte("lost")); !errors.Is(err, broken) {
			w.Fatalf("%s protects with a broken store: %v", m.name, err)
		}
		if m.at < len(w.log) && w.log[m.at].does != nil {
			next = w.log[m.at]
			ev, err := m.g.Process(next.msg)
			w.must(err, "stage with a broken store")
			if err := m.g.Apply(ev.(*mls.Staged)); !errors.Is(err, broken) {
				w.Fatalf("%s applies with a broken store: %v", m.name, err)
			}
		}
	})
	m.store.Fail = nil
	if w.flip("crash") {
		w.crashed(m, made, next)
		return
	}
	w.must(m.g.SkipTo(m.sent+1), "skip after the store is whole again")
	m.sent++
}

// crashed restarts a member whose last changes the store refused: a message, and
// then a Commit if next is not nil. made says that they were done.
func (w *world) crashed(m *member, made bool, next *handshake) {
	m.pending = nil
	if made && next != nil && slices.Contains(next.does.removed, m.leaf) {
		if _, err := mls.Load(m.signer, names{}, m.policy); err == nil {
			w.Fatalf("%s is removed and loaded", m.name)
		}
		w.note("crash at the end")
		w.must(m.g.SkipTo(m.sent+1), "go on as if nothing had been done")
		m.sent++
		return
	}
	if made && next != nil {
		m.at++
		m.epoch, m.waiting, m.sent, m.sealed, m.updating = next.epoch+1, 0, 0, 0, nil
		if s := next.does.signers[m.leaf]; s != nil {
			m.signer = s
		}
	} else if made {
		m.sent++
	}
	var err error
	m.g, err = mls.Load(m.signer, names{}, m.policy)
	w.must(err, "load after a crash")
	w.resign(m, m.g)
	if m.g.Epoch() != m.epoch || m.g.Generation() != m.sent {
		w.Fatalf("%s wakes in epoch %d, generation %d; by the model in %d, %d", m.name, m.g.Epoch(), m.g.Generation(), m.epoch, m.sent)
	}
	w.note("crash")
}
