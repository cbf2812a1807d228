package mls_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
)

// A talker is one member of a conversation whose messages may come late.
type talker struct {
	signer  mls.Signer
	policy  mls.Policy
	group   *mls.Group
	waiting []said
}

type said struct {
	epoch uint64
	text  string
	msg   []byte
}

var errFault = errors.New("the disk is gone")

// A conversation is the same for the same seed, but for one Save of the first
// member's store that fails, reported before or after the change was made, with
// or without a crash that loses what is in memory.
type conversation struct {
	t       *testing.T
	rng     *rand.Rand
	members []*talker
	store   *mlstest.Memory
	saves   int

	fault, made, crash bool
	hit                bool

	texts  int
	opened map[string]bool // receiver and text, receiver and generation
	lost   map[string]bool // receiver and text: consumed by the step that crashed
}

const (
	talkSteps = 70
	talkPast  = 2 // past epochs that are kept
)

func newConversation(t *testing.T, seed uint64, at int, made, crash bool) *conversation {
	c := &conversation{t: t, rng: rand.New(rand.NewPCG(seed, 7)), store: new(mlstest.Memory),
		made: made, crash: crash, opened: make(map[string]bool), lost: make(map[string]bool)}
	var staged *mls.Staged
	for i := range byte(3) {
		signer, err := mls.NewEd25519Signer(bytes.Repeat([]byte{i + 1}, 32))
		check(err)
		m := &talker{signer: signer, policy: mls.DefaultPolicy()}
		m.policy.PastEpochs, m.policy.EncryptHandshake = talkPast, seed%2 == 1
		if i == 0 {
			m.policy.Store = c.store
			m.group, err = mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte{i}), signer, everybody{}, m.policy)
			check(err)
			c.members = append(c.members, m)
			continue
		}
		pub, secrets, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential([]byte{i}), signer, mls.KeyPackageOptions{NotAfter: 1})
		check(err)
		staged, err = c.members[0].group.Add(pub)
		check(err)
		for _, other := range c.members[1:] {
			check(followed(other.group, staged.Commit))
		}
		check(c.members[0].group.Apply(staged))
		m.group, err = mls.Join(staged.Welcome, secrets, signer, everybody{}, m.policy)
		check(err)
		c.members = append(c.members, m)
	}
	c.store.Fail = func(mls.Change) (bool, error) {
		if c.saves++; c.saves != at {
			return true, nil
		}
		c.fault, c.hit = true, true
		return made, errFault
	}
	return c
}

type everybody struct{}

func (everybody) Validate(mls.Credential, []byte) error        { return nil }
func (everybody) Successor(before, after mls.Credential) error { return nil }

func followed(g *mls.Group, commit []byte) error {
	ev, err := g.Process(commit)
	if err != nil {
		return err
	}
	return g.Apply(ev.(*mls.Staged))
}

// failed says that the step met the fault; after a crash the group is what the
// store holds.
func (c *conversation) failed(m *talker, err error) bool {
	c.t.Helper()
	if err == nil {
		return false
	}
	if !errors.Is(err, errFault) || !c.fault {
		c.t.Fatalf("save %d: %v", c.saves, err)
	}
	c.fault = false
	if c.crash {
		if m.group, err = mls.Load(m.signer, everybody{}, m.policy); err != nil {
			c.t.Fatalf("load after a crash in save %d: %v", c.saves, err)
		}
	}
	return true
}

func (c *conversation) protect(m *talker) {
	c.texts++
	s := said{text: fmt.Sprint("text ", c.texts)}
	for {
		var err error
		if s.msg, err = m.group.Protect(nil, []byte(s.text)); !c.failed(m, err) {
			break
		}
	}
	s.epoch = m.group.Epoch()
	for _, other := range c.members {
		if other != m {
			other.waiting = append(other.waiting, s)
		}
	}
}

// receive opens one message that waits, whichever.
func (c *conversation) receive(m *talker) {
	if len(m.waiting) == 0 {
		return
	}
	i := c.rng.IntN(len(m.waiting))
	s := m.waiting[i]
	m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
	who := fmt.Sprint(m.group.OwnLeaf(), " ")
	again := false
	for {
		ev, err := m.group.Process(s.msg)
		switch {
		case errors.Is(err, mls.ErrWrongEpoch) && m.group.Epoch()-s.epoch > talkPast:
			return
		case errors.Is(err, mls.ErrReplay) && again && c.made && c.crash:
			c.lost[who+s.text] = true // nobody was shown it, and nobody can be
			return
		case c.failed(m, err):
			again = true
			continue
		}
		a := ev.(mls.Application)
		for _, key := range []string{who + string(a.Plaintext), fmt.Sprint(who, a.Sender, a.Epoch, a.Generation)} {
			if c.opened[key] {
				c.t.Fatalf("save %d: %s for the second time", c.saves, key)
			}
			c.opened[key] = true
		}
		if string(a.Plaintext) != s.text || a.Epoch != s.epoch {
			c.t.Fatalf("save %d: opened %+v, want %q", c.saves, a, s.text)
		}
		return
	}
}

func (c *conversation) propose(m *talker) {
	msg, err := m.group.Propose(mls.UpdateProposal(mls.LeafOptions{}))
	for c.failed(m, err) {
		check(m.group.DropProposals()) // it may be there and was never sent
		for _, other := range c.members {
			check(other.group.DropProposals())
		}
		msg, err = m.group.Propose(mls.UpdateProposal(mls.LeafOptions{}))
	}
	for _, other := range c.members {
		if other == m {
			continue
		}
		_, err := other.group.Process(msg)
		for c.failed(other, err) {
			if _, err = other.group.Process(msg); errors.Is(err, mls.ErrReplay) && c.made && c.crash {
				err = nil // it is kept
			}
		}
	}
}

// commit is sent only once the committer's new epoch is stored.
func (c *conversation) commit(m *talker) {
	before := m.group.Epoch()
	var sent []byte
	for m.group.Epoch() == before {
		staged, err := m.group.Commit(mls.CommitOptions{})
		if c.failed(m, err) {
			continue
		}
		sent = staged.Commit
		for err = m.group.Apply(staged); c.failed(m, err) && !c.crash; {
			err = m.group.Apply(staged)
		}
	}
	for _, other := range c.members {
		for other != m && other.group.Epoch() == before {
			c.follow(other, sent)
		}
	}
	for _, other := range c.members {
		if !bytes.Equal(other.group.EpochAuthenticator(), m.group.EpochAuthenticator()) {
			c.t.Fatalf("save %d: a member is in another epoch", c.saves)
		}
	}
}

// follow opens another message between a Commit and its effect.
func (c *conversation) follow(m *talker, commit []byte) {
	ev, err := m.group.Process(commit)
	if c.failed(m, err) {
		return
	}
	before := m.group
	c.receive(m)
	if m.group == before { // else there was a crash, and the Commit is to be opened again
		c.failed(m, m.group.Apply(ev.(*mls.Staged)))
	}
}

func (c *conversation) skip(m *talker) {
	for c.failed(m, m.group.SkipTo(m.group.Generation()+3)) {
	}
}

// drop makes a Commit that is neither sent nor applied.
func (c *conversation) drop(m *talker) {
	_, err := m.group.Commit(mls.CommitOptions{})
	for c.failed(m, err) {
		_, err = m.group.Commit(mls.CommitOptions{})
	}
}

// run ends when all that waits was received. The first member's store holds its
// state after every step.
func (c *conversation) run() {
	c.t.Helper()
	proposed := false
	for range talkSteps {
		m := c.members[c.rng.IntN(len(c.members))]
		switch what := c.rng.IntN(10); {
		case what < 3 && proposed: // which goes before any text
			c.commit(m)
			proposed = false
		case what < 4:
			if !proposed {
				c.protect(m)
			}
		case what < 7:
			c.receive(m)
		case what < 8:
			c.propose(m)
			proposed = true
		case what < 9 && c.rng.IntN(2) == 0:
			c.skip(m)
		case what < 9:
			c.drop(c.members[0])
		default:
			c.commit(m)
			proposed = false
		}
		first := c.members[0]
		loaded, err := mls.Load(first.signer, everybody{}, first.policy)
		if err != nil {
			c.t.Fatalf("save %d: load: %v", c.saves, err)
		}
		have, err := loaded.Marshal()
		check(err)
		want, err := first.group.Marshal()
		check(err)
		if !bytes.Equal(have, want) {
			c.t.Fatalf("save %d: the store holds another state than the group is in", c.saves)
		}
	}
	for _, m := range c.members {
		for len(m.waiting) > 0 {
			c.receive(m)
		}
	}
}

// TestCrashes: whichever Save fails, whether the change was made or not, with the
// memory lost or not, the conversation goes on: no generation is used twice,
// nothing is opened twice, and nothing is lost but the message whose own opening
// was stored and then cut off before anyone saw it.
func TestCrashes(t *testing.T) {
	for seed := range uint64(2) {
		whole := newConversation(t, seed, 0, true, false)
		whole.run()
		if whole.saves < 15 || len(whole.opened) < 20 || whole.hit {
			t.Fatalf("seed %d: %d saves, %d opened: this test sees nothing", seed, whole.saves, len(whole.opened))
		}
		for at := 1; at <= whole.saves; at++ {
			for _, made := range []bool{false, true} {
				for _, crash := range []bool{false, true} {
					c := newConversation(t, seed, at, made, crash)
					c.run()
					if !c.hit {
						t.Fatalf("seed %d: save %d was never reached", seed, at)
					}
					if len(c.lost) > 0 && !(made && crash) || len(c.lost) > 1 {
						t.Errorf("seed %d save %d: lost %v", seed, at, c.lost)
					}
				}
			}
		}
	}
}

// TestMessageCostsNoWholeWrite: what a message writes does not grow with the
// group, but for the secrets of the tree above a sender that is heard first.
func TestMessageCostsNoWholeWrite(t *testing.T) {
	written := make(map[int][]int) // by size of the group
	for _, size := range []int{2, 64} {
		signer := func(i int) mls.Signer {
			s, err := mls.NewEd25519Signer(append(bytes.Repeat([]byte{9}, 31), byte(i)))
			check(err)
			return s
		}
		store := new(mlstest.Memory)
		p := mls.DefaultPolicy()
		p.Store = store
		g, err := mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte{0}), signer(0), everybody{}, p)
		check(err)
		var pubs [][]byte
		var secrets *mls.KeyPackageSecrets
		for i := 1; i < size; i++ {
			pub, s, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential([]byte{byte(i)}), signer(i), mls.KeyPackageOptions{NotAfter: 1})
			check(err)
			pubs, secrets = append(pubs, pub), s
		}
		staged, err := g.Add(pubs...)
		check(err)
		check(g.Apply(staged))
		other, err := mls.Join(staged.Welcome, secrets, signer(size-1), everybody{}, mls.DefaultPolicy())
		check(err)
		saves := store.Saves
		step := func(err error) {
			check(err)
			if saves++; store.Saves != saves {
				t.Fatalf("%d saves, want %d", store.Saves, saves)
			}
			written[size] = append(written[size], store.Written)
		}
		_, err = g.Protect(nil, []byte("x"))
		step(err)
		for range 2 {
			msg, err := other.Protect(nil, []byte("x"))
			check(err)
			_, err = g.Process(msg)
			step(err)
		}
		step(g.SkipTo(9))
	}
	small, large := written[2], written[64]
	for i := range small {
		levels := 0
		if i == 1 {
			levels = 5 // 64 leaves, of which the two halves are apart already
		}
		if most := small[i] + levels*64; large[i] > most {
			t.Errorf("step %d: %d bytes in a group of 64, %d in a group of 2", i, large[i], small[i])
		}
	}
}

// TestStoreFails: what could not be stored is not done, and the group goes on
// when the store does.
func TestStoreFails(t *testing.T) {
	c := newConversation(t, 0, 0, false, false)
	m, broken := c.members[0], false
	c.store.Fail = func(mls.Change) (bool, error) {
		if broken {
			return false, errFault
		}
		return true, nil
	}
	staged, err := m.group.Commit(mls.CommitOptions{})
	check(err)
	msg, err := c.members[1].group.Protect(nil, []byte("x"))
	check(err)
	before, err := m.group.Marshal()
	check(err)
	steps := map[string]func() error{
		"protect": func() error { _, err := m.group.Protect(nil, nil); return err },
		"process": func() error { _, err := m.group.Process(msg); return err },
		"propose": func() error { _, err := m.group.Propose(mls.RemoveProposal(1)); return err },
		"skip":    func() error { return m.group.SkipTo(10) },
		"drop":    func() error { return m.group.DropProposals() },
		"apply":   func() error { return m.group.Apply(staged) },
	}
	for _, name := range []string{"protect", "process", "skip", "propose", "drop", "apply"} {
		broken = true
		if err := steps[name](); !errors.Is(err, errFault) {
			t.Errorf("%s without a store: %v", name, err)
		}
		if after, err := m.group.Marshal(); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("%s without a store changed the group: %v", name, err)
		}
		broken = false
		if err := steps[name](); err != nil {
			t.Errorf("%s with its store again: %v", name, err)
		}
		if before, err = m.group.Marshal(); err != nil {
			t.Fatal(err)
		}
	}
	p := mls.DefaultPolicy()
	p.Store = &mlstest.Memory{Fail: func(mls.Change) (bool, error) { return false, errFault }}
	if g, err := mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte{0}), m.signer, everybody{}, p); !errors.Is(err, errFault) || g != nil {
		t.Errorf("create without a store: %v", err)
	}
	if g, err := mls.Unmarshal(before, m.signer, everybody{}, p); !errors.Is(err, errFault) || g != nil {
		t.Errorf("unmarshal without a store: %v", err)
	}
	if _, err := mls.Load(m.signer, everybody{}, mls.DefaultPolicy()); !errors.Is(err, mls.ErrRefused) {
		t.Errorf("load from no store: %v", err)
	}
	store := new(mlstest.Memory) // which is given the group, and has it then
	p.Store = store
	if _, err = mls.Unmarshal(before, m.signer, everybody{}, p); err != nil {
		t.Fatal(err)
	}
	g, err := mls.Load(m.signer, everybody{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := g.Marshal(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the store holds another group: %v", err)
	}
	if _, err := mls.Load(c.members[1].signer, everybody{}, p); !errors.Is(err, mls.ErrRefused) {
		t.Errorf("another member's signer: %v", err)
	}
	check(followed(c.members[1].group, staged.Commit))
	staged, err = c.members[1].group.Remove(0)
	check(err)
	for range 2 { // the group is loaded once, and is gone when it is left
		if g, err = mls.Load(m.signer, everybody{}, p); err == nil {
			check(followed(g, staged.Commit))
		}
	}
	if left, _ := store.Load(); err == nil || len(left) != 0 {
		t.Errorf("%d records are left of a group that was left: %v", len(left), err)
	}
}
