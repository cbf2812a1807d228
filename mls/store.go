package mls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// A Store keeps the state of one group as records; no two groups share one. A group whose policy has one
// writes itself there before Create, Join, ExternalJoin, ReInit, Branch, Protect,
// Process, Propose, Commit, Apply, SkipTo, DropProposals or Unmarshal returns: what
// they return may then be let out at once. On the store's error they return it and
// the group is as before.
//
// A message changes a few small records, whatever the size of the group: those of
// its sender's ratchets. The record of the epoch, with the ratchet tree, is
// written once for each epoch.
type Store interface {
	// Save makes a change durable, all of it or nothing, and returns when it is.
	// After an error the group does not know which; its next change comes after
	// a Whole one. The records are overwritten once Save has returned: keep
	// copies. They are secrets, and unprotected; so are copies that a store
	// keeps of replaced or deleted ones.
	Save(c Change) error
	// Load returns all records, in any order, and none if nothing was saved.
	Load() ([]Record, error)
}

// A Record is one piece of a group's state. Its key says which, and is not secret.
type Record struct {
	Key  string // recordKeySize bytes, not text
	Data []byte
}

// A Change replaces records by their keys.
type Change struct {
	// Whole says that Put are all the records there are: others are deleted.
	Whole bool
	Put   []Record
	// Delete names records; to delete one that is not there is no error.
	Delete []string
}

// Kinds of records. An index is a node of the secret tree, a leaf, or the place
// of a proposal in the order in which they came.
const (
	recordEpoch    = 'E'
	recordPast     = 'P'
	recordNode     = 'N'
	recordRatchets = 'R'
	recordProposal = 'Q'
)

const recordKeySize = 1 + 8 + 4 // bytes: kind, epoch, index

func recordKey(kind byte, epoch uint64, index uint32) string {
	b := append(make([]byte, 0, recordKeySize), kind)
	b = binary.BigEndian.AppendUint64(b, epoch)
	return string(binary.BigEndian.AppendUint32(b, index))
}

func (r *Record) parts() (kind byte, epoch uint64, index uint32, ok bool) {
	if len(r.Key) != recordKeySize {
		return 0, 0, 0, false
	}
	b := []byte(r.Key)
	return b[0], binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint32(b[9:]), true
}

func compareRecords(a, b Record) int { return strings.Compare(a.Key, b.Key) }

func (c *Change) put(kind byte, epoch uint64, index uint32, write func(*writer)) {
	c.Put = append(c.Put, Record{recordKey(kind, epoch, index), encode(write)})
}

func (c *Change) delete(kind byte, epoch uint64, index uint32) {
	c.Delete = append(c.Delete, recordKey(kind, epoch, index))
}

// use adds what a use changes in the secret tree of an epoch; of nil nothing.
func (c *Change) use(epoch uint64, u *use) {
	if u == nil {
		return
	}
	if u.d.derived != nil {
		c.delete(recordNode, epoch, u.d.consumed)
		for x, secret := range u.d.derived {
			c.put(recordNode, epoch, x, func(w *writer) { w.raw(secret) })
		}
	}
	pair := *u.d.pair
	*pair.of(u.kind) = u.after
	c.put(recordRatchets, epoch, u.d.leaf, pair.write)
}

// whole is the change that writes a state from nothing.
func (e *epoch) whole() Change { return Change{Whole: true, Put: e.records()} }

// save makes a change durable before it takes effect in memory. After an error
// nobody knows what the store holds, so the state as it is goes first.
func (g *Group) save(c Change) error {
	s := g.s.policy.Store
	if s == nil {
		return nil
	}
	if g.unsure && !c.Whole {
		if err := g.put(g.cur().whole()); err != nil {
			return err
		}
	}
	return g.put(c)
}

func (g *Group) put(c Change) error {
	err := g.s.policy.Store.Save(c)
	for _, r := range c.Put {
		clear(r.Data)
	}
	if g.unsure = err != nil; err != nil {
		return fmt.Errorf("store the group: %w", err)
	}
	return nil
}

// spend makes a use in an epoch's secret tree durable, with what else changes
// beside it, and then real. u may be nil.
func (g *Group) spend(epoch uint64, t *secretTree, u *use, beside func(*Change)) error {
	if g.s.policy.Store != nil {
		var c Change
		c.use(epoch, u)
		if beside != nil {
			beside(&c)
		}
		if err := g.save(c); err != nil {
			return err
		}
	}
	t.use(u)
	return nil
}

// newGroup is a group that begins with an epoch, stored.
func newGroup(e *epoch, s *side) (*Group, error) {
	g := &Group{e: hold(e), s: s}
	if s.policy.Store != nil {
		if err := g.save(e.whole()); err != nil {
			e.erase(nil)
			return nil, err
		}
	}
	return g, nil
}

// Load restores the group that Policy.Store keeps; the other arguments are those
// of [Unmarshal].
func Load(sg Signer, v Validator, p Policy) (*Group, error) {
	if p.Store == nil {
		return nil, refused("no store to load from")
	}
	p = p.withDefaults()
	stored, err := p.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("load group: %w", err)
	}
	var own []Record
	for _, r := range stored {
		own = append(own, Record{r.Key, bytes.Clone(r.Data)})
	}
	e, err := readRecords(own, &p)
	if err != nil {
		return nil, fmt.Errorf("load group: %w", err)
	}
	return restored(e, &side{sg, v, p})
}
