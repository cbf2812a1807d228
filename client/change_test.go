package client

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

// A conversation is a recipient with changing devices, a sender of one or two
// replicas, and messages on their way, driven at random from a seed.
type conversation struct {
	*world
	rng     *rand.Rand
	senders []replica
	shared  Store
	phones  []*chatter // in force
	sent    int
	waiting []sealpost.MessageID // whose evidence the sender has not asked for
	joined  int
}

// chatter is a phone and what it must show, by code; true once shown.
type chatter struct {
	*phone
	name    string
	due     map[string]bool
	pushes  []sealpost.MessageID // on their way to it
	leaving bool                 // enrolled again under other keys; to be revoked once it has everything
}

const longTemplate = "long"

func newConversation(t *testing.T, seed uint64) *conversation {
	c := &conversation{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 12))}
	long := BuiltIn()[0] // a one-time code
	long.Name, long.TTL = longTemplate, sealpost.LifetimeMax
	templates := append(BuiltIn(), long)
	if seed%2 == 0 {
		c.shared = c.store
		c.senders = []replica{{c.world.sender, c.store}}
	} else {
		c.shared = NewMemoryStore()
		c.senders = c.replicas(c.shared, 2)
	}
	for i := range c.senders {
		c.senders[i].templates[longTemplate] = templates[len(templates)-1]
	}
	c.join()
	return c
}

func (c *conversation) pick(n int) int { return c.rng.IntN(n) }

func (c *conversation) join() *chatter {
	c.joined++
	p := &chatter{phone: c.enrol("c1", sealpost.EdDSA), name: fmt.Sprintf("phone %d", c.joined), due: map[string]bool{}}
	c.phones = append(c.phones, p)
	return p
}

// say sends a message; the phones of its roster are to show it.
func (c *conversation) say() {
	c.t.Helper()
	c.sent++
	code := fmt.Sprintf("%06d", c.sent)
	m := otp("c1", code)
	m.Template = longTemplate
	s := c.senders[c.pick(len(c.senders))]
	id, err := s.Send(c.ctx, m)
	if err != nil {
		c.t.Fatalf("send %s: %v", code, err)
	}
	c.waiting = append(c.waiting, id)
	record := must(s.message(id))(c.t)
	roster := must(sealpost.ParseRoster(record.Roster))(c.t)
	for _, p := range c.phones {
		if roster.Has(p.ID()) {
			p.due[code] = false
			p.pushes = append(p.pushes, id)
		} else if !p.leaving && !slices.Contains(c.withoutPackage(), p) {
			c.t.Errorf("%s was left out of %s", p.name, code)
		}
	}
}

// withoutPackage: nobody, here; every device has a last resort.
func (c *conversation) withoutPackage() []*chatter { return nil }

func (p *chatter) show(t *testing.T, n Notification, err error) {
	t.Helper()
	if refusal, refused := errors.AsType[*Refusal](err); refused {
		if refusal.Level != sealpost.DecryptFailed || p.sealedTo(t, refusal.ID) {
			t.Errorf("%s refused what was sealed to it: %v", p.name, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", p.name, err)
		return
	}
	code := n.Fields[0].Value
	shown, due := p.due[code]
	if !due || (shown && !n.Again) {
		t.Errorf("%s showed %s, due %v, before %v", p.name, code, due, shown)
	}
	p.due[code] = true
}

func (p *chatter) sealedTo(t *testing.T, id sealpost.MessageID) bool {
	return slices.Contains(p.pushes, id)
}

// deliver brings a phone one of its messages, whichever: the newest first, or one that
// it has, too.
func (c *conversation) deliver(p *chatter) {
	if len(p.pushes) == 0 {
		return
	}
	n, err := p.Handle(c.ctx, c.push(p.pushes[c.pick(len(p.pushes))]))
	p.show(c.t, n, err)
}

func (c *conversation) sync(p *chatter) {
	got, err := p.Sync(c.ctx, 0)
	if err != nil {
		c.t.Errorf("%s: sync: %v", p.name, err)
	}
	for _, a := range got {
		p.show(c.t, a.Notification, a.Err)
	}
}

func (c *conversation) complete(p *chatter) {
	c.t.Helper()
	c.sync(p)
	for code, shown := range maps.All(p.due) {
		if !shown {
			c.t.Errorf("%s never showed %s", p.name, code)
		}
	}
}

func (c *conversation) revoke(p *chatter) {
	c.t.Helper()
	if err := c.senders[c.pick(len(c.senders))].Revoke(c.ctx, p.ID()); err != nil {
		c.t.Fatalf("revoke: %v", err)
	}
	c.phones = slices.DeleteFunc(c.phones, func(q *chatter) bool { return p == q })
}

// step does one thing, at random.
func (c *conversation) step() string {
	p := c.phones[c.pick(len(c.phones))]
	switch d := c.pick(100); {
	case d < 35:
		c.say()
		return "say"
	case d < 60:
		c.deliver(p)
		return "deliver to " + p.name
	case d < 68:
		c.sync(p)
		return "sync " + p.name
	case d < 80 && len(c.waiting) > 0: // receipts reach the sender, of messages in any order
		i := c.pick(len(c.waiting))
		for _, s := range c.senders {
			if _, err := s.Sync(c.ctx, c.waiting[i]); err != nil && !errors.Is(err, sealpost.ErrNotFound) {
				c.t.Errorf("evidence: %v", err)
			}
		}
		c.waiting = slices.Delete(c.waiting, i, i+1)
		return "evidence"
	case d < 84 && len(c.phones) < 5:
		return "join " + c.join().name
	case d < 87 && len(c.phones) > 1 && !p.leaving && c.staying() > 1: // lost: what is on its way to it is lost with it
		c.revoke(p)
		return "revoke " + p.name
	case d < 90 && len(c.phones) < 5 && !p.leaving: // the same phone under other keys; the old ones serve until nothing waits for them
		q := c.join()
		p.leaving = true
		return p.name + " is enrolled again as " + q.name
	case d < 93 && p.leaving:
		c.complete(p)
		c.revoke(p)
		return "its old keys end: " + p.name
	case d < 96:
		p.Device = c.openDevice(p.phone, p.store)
		return "restart " + p.name
	case d < 97:
		if err := c.senders[0].RotateLeaf(); err != nil {
			c.t.Fatal(err)
		}
		return "rotate"
	case d < 98:
		for i := range c.senders {
			again := c.again(i)
			again.templates = c.senders[i].templates
			c.senders[i].Sender = again
		}
		c.world.sender = c.senders[0].Sender
		return "restart the senders"
	}
	c.pass(time.Duration(c.pick(24)) * time.Hour)
	return "time"
}

func (c *conversation) staying() (n int) {
	for _, p := range c.phones {
		if !p.leaving {
			n++
		}
	}
	return n
}

func (c *conversation) again(i int) *Sender {
	if len(c.senders) == 1 {
		return c.newSender(c.shared)
	}
	return c.newReplica(c.shared, c.senders[i].own, uint32(i))
}

// The issue: a device added, removed or enrolled again mid-conversation loses no
// message in flight. Messages and changes interleave at random; each phone shows
// each message that was sealed to it once, whatever the order, and every message is
// sealed to every phone that is to have it.
func TestConversations(t *testing.T) {
	const steps = 90
	seeds := uint64(12)
	if os.Getenv("SEALPOST_LONG") != "" {
		seeds = 200
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := newConversation(t, seed)
			var did []string
			for range steps {
				did = append(did, c.step())
				if t.Failed() {
					break
				}
			}
			for _, p := range c.phones {
				c.complete(p)
				for _, f := range must(p.Faults())(t) {
					t.Errorf("%s saw %s", p.name, f.What)
				}
			}
			var owns []Store
			for _, s := range c.senders {
				owns = append(owns, s.own)
			}
			wantOnce(t, owns...)
			if t.Failed() {
				for _, what := range did {
					t.Log(what)
				}
			}
		})
	}
}

// A message may be on its way for as long as it lives, however often the group
// changes meanwhile: a sender has no more epochs in use than devices keep, and
// starts a fresh group before.
func TestEpochsInUseAreBounded(t *testing.T) {
	c := newConversation(t, 0)
	stays := c.phones[0]
	say := func() (id sealpost.MessageID, m messageRecord) {
		t.Helper()
		c.say()
		id = c.waiting[len(c.waiting)-1]
		return id, must(c.senders[0].message(id))(t)
	}
	joined, _ := say()
	n, err := stays.Handle(c.ctx, c.push(joined))
	stays.show(t, n, err)
	must(c.senders[0].Sync(c.ctx, joined))(t)
	first, before := say()
	groups, last := map[string]bool{}, before.Epoch
	for range pastEpochs {
		p := c.join()
		for range 2 { // it joins, and it leaves
			id, m := say()
			groups[string(m.Group)] = true
			if string(m.Group) == string(before.Group) {
				last = max(last, m.Epoch)
			}
			for _, q := range c.phones {
				n, err := q.Handle(c.ctx, c.push(id))
				q.show(t, n, err)
			}
			must(c.senders[0].Sync(c.ctx, id))(t)
			if slices.Contains(c.phones, p) {
				c.revoke(p)
			}
		}
		c.pass(time.Hour)
	}
	if len(groups) < 2 || len(groups) > 4 || last != before.Epoch+pastEpochs {
		t.Errorf("%d groups, the first until epoch %d, want it until %d", len(groups), last-before.Epoch, pastEpochs)
	}
	n, err = stays.Handle(c.ctx, c.push(first))
	stays.show(t, n, err)
	// What nothing is on its way in any more makes room.
	c.pass(sealpost.LifetimeMax + time.Hour)
	_, m := say()
	c.join()
	if _, next := say(); string(next.Group) != string(m.Group) || next.Epoch != m.Epoch+1 {
		t.Errorf("a fresh group, though nothing is on its way in past epochs")
	}
}
