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
	modelStart         = 6  // at most, at the beginning
	modelHistories     = 120
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
	for name, n := range map[string]int{"rapid.checks": histories, "rapid.steps": steps} {
		given := false
		flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
		if before := flag.Lookup(name).Value.String(); !given {
			if err := flag.Set(name, fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = flag.Set(name, before) })
		}
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
			"branch": w.branch, "reinit": w.reInit, "skip more": w.skip, "ask from outside": w.askFromOutside,
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
		"stale", "removed", "branch", "reinit", "resync", "two commits", "between", "kept from the past"} {
		if met[what] == 0 && !t.Failed() {
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
	suite   mls.Suite
	id      string
	epoch   uint64
	leaves  []string  // names by leaf, "" is blank
	members []*member // of the newest epoch; some have not come so far
	outside []*member // removed or left behind, with the state they had
	log     []*handshake
	asked   []*asked // proposals of this epoch, in order
	letters []*letter
	named   int // people, groups and proposals so far
	met     map[string]int
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
	custom   bool
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
	w.id, w.epoch, w.leaves, w.log, w.asked = id, 0, []string{m.name}, nil, nil
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

func (w *world) behind() (out []*member) {
	for _, m := range w.members {
		if m.at < len(w.log) {
			out = append(out, m)
		}
	}
	return out
}

func (w *world) forgeHandshake() {
	m := pick(w, "member", w.behind())
	h := w.log[m.at]
	w.unchanged(m, "a forged handshake message", func() {
		if _, err := m.g.Process(w.damaged(h.msg)); err == nil {
			w.Fatalf("%s takes a forged handshake message", m.name)
		}
	})
}

// oldHandshake brings what was taken, or came too late, once more.
func (w *world) oldHandshake() {
	m := pick(w, "member", w.members)
	h := pick(w, "handshake", w.log)
	if h.epoch == m.epoch && slices.Index(w.log, h) >= m.at {
		w.Skip("not yet taken")
	}
	w.unchanged(m, "an old handshake message", func() {
		switch _, err := m.g.Process(h.msg); {
		case h.epoch != m.epoch:
			if !errors.Is(err, mls.ErrWrongEpoch) {
				w.Fatalf("%s in %d takes a handshake message of epoch %d: %v", m.name, m.epoch, h.epoch, err)
			}
		case h.by == m:
			if !errors.Is(err, mls.ErrOwnMessage) {
				w.Fatalf("%s takes its own handshake message: %v", m.name, err)
			}
		case err != nil && !errors.Is(err, mls.ErrReplay):
			w.Fatalf("%s takes a proposal again: %v", m.name, err)
		}
	})
}

func (w *world) followOne() { w.step(pick(w, "follower", w.behind())) }

func (w *world) followAll() {
	for _, m := range w.members {
		w.catchUp(m)
	}
	for _, m := range slices.Clone(w.outside) {
		for !m.out && m.at < len(w.log) && m.id == w.id {
			if w.step(m); m.at < 0 {
				break
			}
		}
	}
}

func (w *world) catchUp(m *member) {
	for m.at < len(w.log) {
		w.step(m)
	}
}

// step lets a member take the next handshake message.
func (w *world) step(m *member) {
	h := w.log[m.at]
	m.at++
	if h.ask != nil {
		ev, err := m.g.Process(h.msg)
		w.must(err, "%s takes a proposal of leaf %d", m.name, h.ask.by)
		if p, ok := ev.(mls.ProposalReceived); !ok || p.FromMember != (h.by != nil) || p.Sender != h.ask.by {
			w.Fatalf("%s takes a proposal as %+v", m.name, ev)
		}
		m.waiting++
		return
	}
	var ev mls.Event
	w.unchanged(m, "a commit that is not applied", func() {
		for range w.number("looks", 1, 2) {
			var err error
			ev, err = m.g.Process(h.msg)
			w.must(err, "%s in epoch %d takes the commit of leaf %d", m.name, m.epoch, h.does.committer)
		}
	})
	s, ok := ev.(*mls.Staged)
	if !ok {
		w.Fatalf("%s takes a commit as %+v", m.name, ev)
	}
	w.summary(&s.Summary, h)
	if len(w.letters) > 0 && w.flip("a letter between") {
		w.note("between")
		w.read(m, w.letter(m))
	}
	w.must(m.g.Apply(s), "%s applies", m.name)
	w.enters(m, h)
}

// enters moves the model of a member into the epoch of a Commit.
func (w *world) enters(m *member, h *handshake) {
	if slices.Contains(h.does.removed, m.leaf) {
		m.out = true
		if !m.g.Removed() {
			w.Fatalf("%s is removed and does not know", m.name)
		}
	} else {
		m.epoch, m.waiting, m.sent, m.sealed, m.updating = h.epoch+1, 0, 0, 0, nil
		if s := h.does.signers[m.leaf]; s != nil {
			m.signer = s
		}
	}
	if m.pending == nil {
		return
	}
	w.unchanged(m, "a stale commit", func() {
		if err := m.g.Apply(m.pending); !errors.Is(err, mls.ErrStale) && !m.out {
			w.Fatalf("%s applies a commit that was not picked: %v", m.name, err)
		}
	})
	w.note("stale")
	m.pending = nil
}

// summary holds what a Commit says of itself to the model.
func (w *world) summary(s *mls.Summary, h *handshake) {
	var added, wantAdded []string
	for _, x := range s.Added {
		added = append(added, fmt.Sprint(x.Leaf, string(x.Credential.Identity)))
	}
	for i, x := range h.does.added {
		wantAdded = append(wantAdded, fmt.Sprint(h.does.joins[i], x.name))
	}
	var removed, updated []uint32
	for _, x := range s.Removed {
		removed = append(removed, x.Leaf)
	}
	for _, x := range s.Updated {
		updated = append(updated, x.Leaf)
	}
	want := slices.Clone(h.does.updated)
	if h.does.path && !s.External {
		want = append(want, h.does.committer)
	}
	for _, list := range [][]uint32{removed, updated, want, h.does.removed} {
		slices.Sort(list)
	}
	if s.Epoch != h.epoch+1 || s.Committer != h.does.committer || s.External != (h.by == nil) || !slices.Equal(added, wantAdded) ||
		!slices.Equal(removed, h.does.removed) || !slices.Equal(updated, want) || len(s.Custom) != h.does.custom {
		w.Fatalf("commit in epoch %d by leaf %d: %+v\nby the model it adds %v, removes %v, updates %v", h.epoch, h.does.committer, *s, wantAdded, h.does.removed, want)
	}
}

// ask draws a proposal that by may make.
func (w *world) ask(by *member, byValue bool) *asked {
	a := &asked{by: by.leaf}
	switch kind := w.number("kind", 0, 7); {
	case kind <= 1 && w.room() > 0:
		a = w.asksAdd()
		a.by = by.leaf
	case kind == 2:
		leaf := w.someLeaf(by)
		a.remove = &leaf
		a.proposal = mls.RemoveProposal(leaf)
	case kind <= 4 && !byValue:
		a.update = true
		var o mls.LeafOptions
		if w.flip("new signer") {
			o.Signer = newSigner(w)
			a.signer = o.Signer
		}
		a.proposal = mls.UpdateProposal(o)
	case kind == 5:
		a.context = true
		var ext []mls.Extension
		if w.flip("extensions") {
			ext = []mls.Extension{mls.RequiredCapabilities(nil, []uint16{modelProposal}, nil), {Type: modelExtension, Data: []byte(w.id)}}
		}
		a.proposal = mls.ContextExtensionsProposal(ext)
	case kind == 6:
		a.custom = true
		w.named++ // the same proposal twice would be one
		a.proposal = mls.CustomProposal(modelProposal, fmt.Appendf(nil, "%d", w.named))
	default:
		a.proposal = mls.ExternalPSKProposal([]byte("psk"))
	}
	return a
}

// room is how many may still be added.
func (w *world) room() int {
	n := modelMembers - len(w.members)
	for _, a := range w.asked {
		if a.add != nil {
			n--
		}
	}
	return n
}

// asksAdd proposes somebody new, or one who was removed and comes back with the
// same name.
func (w *world) asksAdd() *asked {
	name := ""
	var free []string
	for _, m := range w.outside {
		taken := slices.Contains(w.leaves, m.name) || slices.ContainsFunc(w.asked, func(a *asked) bool { return a.add != nil && a.add.name == m.name })
		if m.out && m.id == w.id && !taken {
			free = append(free, m.name)
		}
	}
	if len(free) > 0 && w.flip("come back") {
		name = pick(w, "who comes back", free)
	}
	n := w.packed(w.person(name))
	return &asked{add: n, proposal: mls.AddProposal(n.pub)}
}

func (w *world) someLeaf(but *member) uint32 {
	var others []uint32
	for leaf, name := range w.leaves {
		if name != "" && uint32(leaf) != but.leaf {
			others = append(others, uint32(leaf))
		}
	}
	return pick(w, "leaf", others)
}

// sender is a member that has taken all there is and may still encrypt.
func (w *world) sender(what string) *member {
	m := pick(w, what, w.members)
	w.catchUp(m)
	if m.sealed >= modelHandshake {
		w.Skip("enough handshake messages")
	}
	return m
}

func (w *world) propose() {
	for range w.number("proposals", 1, 3) {
		m := w.sender("proposer")
		a := w.ask(m, false)
		msg, err := m.g.Propose(a.proposal)
		w.must(err, "%s proposes", m.name)
		if a.update {
			m.updating = append(m.updating, a.signer)
		}
		w.unchanged(m, "its own proposal", func() {
			if _, err := m.g.Process(msg); !errors.Is(err, mls.ErrOwnMessage) {
				w.Fatalf("%s takes its own proposal: %v", m.name, err)
			}
		})
		w.asked = append(w.asked, a)
		w.log = append(w.log, &handshake{msg: msg, by: m, epoch: w.epoch, ask: a})
		m.at, m.waiting, m.sealed = len(w.log), m.waiting+1, m.sealed+1
	}
}

// askFromOutside: somebody asks to be added.
func (w *world) askFromOutside() {
	if w.room() <= 0 {
		w.Skip("full")
	}
	a := w.asksAdd()
	msg, err := mls.SelfAddProposal([]byte(w.id), w.epoch, a.add.pub, a.add.signer)
	w.must(err, "%s asks to be added", a.add.name)
	w.asked = append(w.asked, a)
	w.log = append(w.log, &handshake{msg: msg, epoch: w.epoch, ask: a})
}

// effectOf is the model's reading of 12.2 to 12.4: which of the waiting proposals
// go with own ones, and what all of them do.
func (w *world) effectOf(by *member, own []*asked, o mls.CommitOptions) *effect {
	d := &effect{committer: by.leaf, signers: make(map[uint32]mls.Signer)}
	list := slices.Clone(own)
	if !o.OnlyOwn {
		list = append(list, w.together(by, own)...)
	}
	updates, context := make(map[uint32]*asked), false
	for _, a := range list {
		switch {
		case a.remove != nil:
			d.removed = append(d.removed, *a.remove)
		case a.update:
			updates[a.by] = a
		}
		context = context || a.context
		if a.custom {
			d.custom++
		}
	}
	for _, a := range w.asked { // received ones come first
		if a.add != nil && slices.Contains(list, a) {
			d.added = append(d.added, a.add)
		}
	}
	for _, a := range own {
		if a.add != nil {
			d.added = append(d.added, a.add)
		}
	}
	for leaf, a := range updates {
		d.updated = append(d.updated, leaf)
		if a.signer != nil {
			d.signers[leaf] = a.signer
		}
	}
	d.path = len(list) == 0 || len(d.removed) > 0 || len(d.updated) > 0 || context
	w.leavesAfter(d)
	return d
}

// together are the waiting proposals that can be committed beside own ones, as
// 12.4 wants: a removal goes before an update, the newest update of a member
// counts, and the committer neither updates nor removes itself.
func (w *world) together(by *member, own []*asked) (out []*asked) {
	gone, context := make(map[uint32]bool), false
	for _, a := range own {
		if a.remove != nil {
			gone[*a.remove] = true
		}
		context = context || a.context
	}
	newest := make(map[uint32]*asked)
	for _, a := range w.asked {
		if a.remove != nil && *a.remove != by.leaf && !gone[*a.remove] {
			gone[*a.remove] = true
			out = append(out, a)
		}
		if a.update {
			newest[a.by] = a
		}
	}
	for _, a := range w.asked {
		switch {
		case a.remove != nil:
		case a.update:
			if newest[a.by] == a && a.by != by.leaf && !gone[a.by] {
				out = append(out, a)
			}
		case a.context:
			if !context {
				context = true
				out = append(out, a)
			}
		default:
			out = append(out, a)
		}
	}
	return out
}

// leavesAfter seats those who are added at the leftmost free leaves.
func (w *world) leavesAfter(d *effect) {
	d.leaves = slices.Clone(w.leaves)
	for _, leaf := range d.removed {
		d.leaves[leaf] = ""
	}
	for _, n := range d.added {
		at := slices.Index(d.leaves, "")
		if at < 0 {
			at = len(d.leaves)
			d.leaves = append(d.leaves, "")
		}
		d.leaves[at] = n.name
		d.joins = append(d.joins, uint32(at))
	}
}

// attempt is a staged Commit and what it is to do.
type attempt struct {
	staged *mls.Staged
	does   *effect
	tree   []byte // to go beside the Welcome
}

// stage makes a Commit, or nil where the model says that it must be refused.
func (w *world) stage(by *member, own []*asked, o mls.CommitOptions) *attempt {
	for _, a := range own {
		o.Proposals = append(o.Proposals, a.proposal)
	}
	d := w.effectOf(by, own, o)
	if o.NoPath && d.path {
		w.unchanged(by, "a refused commit", func() {
			if _, err := by.g.Commit(o); !errors.Is(err, mls.ErrRefused) {
				w.Fatalf("%s leaves a path out: %v", by.name, err)
			}
		})
		return nil
	}
	if d.path = !o.NoPath; d.path && o.Leaf.Signer != nil {
		d.signers[by.leaf] = o.Leaf.Signer
	}
	encrypted := by.policy.EncryptHandshake
	var s *mls.Staged
	stage := func() {
		var err error
		s, err = by.g.Commit(o)
		w.must(err, "%s commits", by.name)
	}
	if encrypted {
		stage()
		by.sealed++
	} else {
		w.unchanged(by, "staging", stage)
	}
	w.summary(&s.Summary, &handshake{by: by, epoch: w.epoch, does: d})
	return &attempt{staged: s, does: d}
}

// draws are a Commit's own proposals and options.
func (w *world) draws(by *member) (own []*asked, o mls.CommitOptions) {
	removes, context := make(map[uint32]bool), false
	for range w.number("own proposals", 0, 3) {
		a := w.ask(by, true)
		taken := func(b *asked) bool { return a.add != nil && b.add != nil && a.add.name == b.add.name }
		if a.remove != nil && removes[*a.remove] || a.context && context || slices.ContainsFunc(own, taken) || a.add != nil && w.room() <= len(own) {
			continue
		}
		if a.remove != nil {
			removes[*a.remove] = true
		}
		context = context || a.context
		own = append(own, a)
	}
	o = mls.CommitOptions{OnlyOwn: w.number("only own", 0, 3) == 0, NoPath: w.number("no path", 0, 3) == 0, WithoutTree: w.flip("without tree")}
	if !o.NoPath && w.flip("new signer") {
		o.Leaf.Signer = newSigner(w)
	}
	return own, o
}

// fromThePast injects the resumption key of an epoch that all members were in.
func (w *world) fromThePast(by *member, own []*asked, o *mls.CommitOptions) []*asked {
	since := uint64(0)
	for _, m := range w.members {
		since = max(since, m.joined)
	}
	adds := slices.ContainsFunc(slices.Concat(own, w.asked), func(a *asked) bool { return a.add != nil })
	if since = max(since, w.epoch-min(w.epoch, modelPast)); adds || since >= w.epoch || !w.flip("from the past") {
		return own
	}
	w.note("kept from the past")
	return append(own, &asked{by: by.leaf, proposal: mls.ResumptionPSKProposal(since)})
}

func (w *world) commit() {
	by := w.sender("committer")
	own, o := w.draws(by)
	own = w.fromThePast(by, own, &o)
	if a := w.stage(by, own, o); a != nil && w.number("dropped", 0, 5) > 0 {
		w.take(by, a)
	}
}

// twoCommits: the delivery service picks one of two.
func (w *world) twoCommits() {
	first, second := w.sender("first"), w.sender("second")
	if first == second {
		w.Skip("one member")
	}
	own, o := w.draws(first)
	a := w.stage(first, own, o)
	own, o = w.draws(second)
	b := w.stage(second, own, o)
	if a == nil || b == nil {
		return
	}
	second.pending = b.staged
	w.take(first, a)
	w.note("two commits")
	m := pick(w, "who gets the other", w.members)
	w.unchanged(m, "a commit that was not picked", func() {
		_, err := m.g.Process(b.staged.Commit)
		if m.epoch > second.epoch && !errors.Is(err, mls.ErrWrongEpoch) || m == second && !errors.Is(err, mls.ErrOwnMessage) {
			w.Fatalf("%s takes the other commit: %v", m.name, err)
		}
	})
}

// take lets the delivery service take a Commit: its sender and those it adds are
// in the new epoch at once, the others when it comes to them.
func (w *world) take(by *member, a *attempt) {
	h := &handshake{msg: a.staged.Commit, by: by, epoch: w.epoch, does: a.does}
	w.must(by.g.Apply(a.staged), "%s applies its own commit", by.name)
	tree, err := by.g.RatchetTree()
	w.must(err, "ratchet tree")
	w.moves(h)
	w.enters(by, h)
	by.at = len(w.log)
	for i, n := range a.does.added {
		g, err := mls.JoinWithTree(a.staged.Welcome, tree, n.secrets, n.signer, names{}, n.policy)
		w.must(err, "%s joins", n.name)
		n.begin(w, g, a.does.joins[i])
		w.members = append(w.members, n.member)
	}
}

// moves brings the model into the epoch of a Commit. Of those who are removed a
// copy stays as it is: it will try to read on.
func (w *world) moves(h *handshake) {
	w.log = append(w.log, h)
	w.epoch, w.asked, w.leaves = w.epoch+1, nil, h.does.leaves
	for _, leaf := range h.does.removed {
		at := slices.IndexFunc(w.members, func(m *member) bool { return m.leaf == leaf })
		m := w.members[at]
		w.members = slices.Delete(w.members, at, at+1)
		w.outside = append(w.outside, m, w.ghost(m))
	}
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

// brokenStore: what a store refuses does not happen, done or not.
func (w *world) brokenStore() {
	var in []*member
	for _, m := range w.members {
		if m.store != nil && m.waiting == 0 {
			in = append(in, m)
		}
	}
	m := pick(w, "stored member", in)
	broken, made := errors.New("disk full"), w.flip("made")
	m.store.Fail = func(mls.Change) (bool, error) { return made, broken }
	w.unchanged(m, "a store that fails", func() {
		if _, err := m.g.Protect(nil, []byte("lost")); !errors.Is(err, broken) {
			w.Fatalf("%s protects with a broken store: %v", m.name, err)
		}
		if m.at < len(w.log) && w.log[m.at].does != nil {
			ev, err := m.g.Process(w.log[m.at].msg)
			w.must(err, "stage with a broken store")
			if err := m.g.Apply(ev.(*mls.Staged)); !errors.Is(err, broken) {
				w.Fatalf("%s applies with a broken store: %v", m.name, err)
			}
		}
	})
	m.store.Fail = nil
	w.must(m.g.SkipTo(m.sent+1), "skip after the store is whole again")
	m.sent++
}

func (w *world) info() []byte {
	m := pick(w, "who describes the group", w.members)
	w.catchUp(m)
	gi, err := m.g.GroupInfo(mls.GroupInfoOptions{External: true})
	w.must(err, "group info")
	return gi
}

// join lets somebody in by an external Commit.
func (w *world) join(p *member, resync *uint32) {
	o := mls.ExternalOptions{Resync: resync}
	if w.flip("with a psk") {
		o.PSKs = [][]byte{[]byte("psk")}
	}
	g, msg, err := mls.ExternalJoin(w.info(), nil, mls.BasicCredential([]byte(p.name)), p.signer, names{}, p.policy, o)
	w.must(err, "%s enters", p.name)
	d := &effect{added: []*newcomer{{member: p}}, path: true}
	if resync != nil {
		d.removed = []uint32{*resync}
	}
	w.leavesAfter(d)
	d.committer = d.joins[0]
	w.moves(&handshake{msg: msg, epoch: w.epoch, does: d})
	p.begin(w, g, d.committer)
	w.members = append(w.members, p)
}

func (w *world) enter() {
	if w.room() <= 0 {
		w.Skip("full")
	}
	w.join(w.person(""), nil)
}

// resync: a member that lost its state takes its own place.
func (w *world) resync() {
	m := pick(w, "who lost its state", w.members)
	if len(w.members) < 2 {
		w.Skip("alone")
	}
	again := w.person(m.name)
	if w.flip("same signer") {
		w.catchUp(m)
		again.signer = m.signer
	}
	w.join(again, &m.leaf)
	w.note("resync")
}

// branch makes a subgroup, which talks and is forgotten.
func (w *world) branch() {
	if w.number("really", 0, 2) > 0 || len(w.members) < 2 {
		w.Skip("not now")
	}
	w.followAll()
	n := w.number("branch members", 2, min(3, len(w.members)))
	w.named++
	w.follow(w.members[:n], func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error) {
		return old.g.Branch(fmt.Append(nil, "branch ", w.named), mls.BasicCredential([]byte(first.name)), first.signer, names{}, first.policy,
			mls.ResumeOptions{KeyPackages: kps})
	})
	w.note("branch")
}

// follow makes a group from another; the new members are returned in the order of
// their leaves.
func (w *world) follow(old []*member, make func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error)) (out []*newcomer) {
	var kps [][]byte
	for _, m := range old {
		n := w.packed(w.person(m.name))
		out, kps = append(out, n), append(kps, n.pub)
	}
	first, welcome, err := make(old[0], out[0], kps[1:])
	w.must(err, "make a group from another")
	out[0].g = first
	for i, n := range out[1:] {
		w.unchanged(old[i+1], "joining the next group", func() {
			n.g, err = mls.JoinFrom(old[i+1].g, welcome, nil, n.secrets, n.signer, names{}, n.policy)
			w.must(err, "%s joins from its group", n.name)
		})
	}
	msg, err := first.Protect(nil, []byte(w.id))
	w.must(err, "protect")
	for _, to := range out[1:] {
		if ev, err := to.g.Process(msg); err != nil || string(ev.(mls.Application).Plaintext) != w.id {
			w.Fatalf("%s opens the first message of the next group: %+v %v", to.name, ev, err)
		}
	}
	return out
}

// reInit: the group goes on as another one, in any suite, and the world with it.
func (w *world) reInit() {
	if w.number("really", 0, 3) > 0 || len(w.members) < 2 {
		w.Skip("not now")
	}
	w.followAll()
	by := w.sender("who ends the group")
	w.named++
	id, next := fmt.Sprint("group ", w.named), rapid.SampledFrom([]mls.Suite{mls.X25519AES128, mls.P256AES128, mls.X25519ChaCha}).Draw(w.T, "next suite")
	s, err := by.g.Commit(mls.CommitOptions{OnlyOwn: true, NoPath: true, Proposals: []mls.Proposal{mls.ReInitProposal([]byte(id), next, nil)}})
	w.must(err, "close the group")
	w.must(by.g.Apply(s), "apply")
	old := slices.Clone(w.members)
	for _, m := range old {
		if m != by {
			ev, err := m.g.Process(s.Commit)
			w.must(err, "%s follows the end", m.name)
			w.must(m.g.Apply(ev.(*mls.Staged)), "apply")
		}
		w.unchanged(m, "a message to a closed group", func() {
			if _, err := m.g.Protect(nil, nil); !errors.Is(err, mls.ErrRefused) {
				w.Fatalf("protect in a closed group: %v", err)
			}
		})
	}
	w.suite = next
	made := w.follow(old, func(old *member, first *newcomer, kps [][]byte) (*mls.Group, []byte, error) {
		return old.g.ReInit(mls.BasicCredential([]byte(first.name)), first.signer, names{}, first.policy, mls.ResumeOptions{KeyPackages: kps})
	})
	w.outside = slices.DeleteFunc(w.outside, func(m *member) bool { return m.out })
	w.id, w.epoch, w.leaves, w.log, w.asked, w.members = id, 1, nil, nil, nil, nil
	for i, n := range made {
		w.leaves = append(w.leaves, n.name)
		n.begin(w, n.g, uint32(i))
		w.members = append(w.members, n.member)
		n.lanes[lane{1, 0}] = &window{next: 1}
	}
	w.members[0].sent = 1
	w.note("reinit")
}
