package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// A reading is what opens the private messages of one epoch, the current one or
// a past one.
type reading struct {
	number     uint64
	encoded    []byte // GroupContext
	own        uint32
	senderData []byte
	secrets    *secretTree
	member     func(leaf uint32) (Member, bool)
}

func (e *epoch) reading() *reading {
	return &reading{e.context.epoch, e.encoded, e.own, e.keys.senderData, e.secrets, func(leaf uint32) (Member, bool) {
		l := e.tree.leaf(leaf)
		if l == nil {
			return Member{}, false
		}
		return memberOf(leaf, l), true
	}}
}

func (p *pastEpoch) reading() *reading {
	return &reading{p.context.epoch, p.encoded, p.own, p.senderData, p.secrets, func(leaf uint32) (Member, bool) {
		at, ok := slices.BinarySearchFunc(p.members, leaf, func(m Member, leaf uint32) int { return int(m.Leaf) - int(leaf) })
		if !ok {
			return Member{}, false
		}
		m := p.members[at]
		return Member{leaf, bytes.Clone(m.SignatureKey), m.Credential.clone()}, true
	}}
}

// readingOf is the epoch that a private message is of: this one or, for application
// messages, one of those that are kept.
func (g *Group) readingOf(pm *privateMessage) (*reading, error) {
	e := g.cur()
	if err := e.addressed(pm.groupID, pm.epoch); err != nil {
		past := e.pastEpoch(pm.epoch)
		if errors.Is(err, ErrWrongEpoch) && pm.kind == contentApplication && past != nil {
			return past.reading(), nil
		}
		return nil, err
	}
	return e.reading(), nil
}

// openPrivate decrypts a message and verifies who sent it, without using anything
// up yet.
func (g *Group) openPrivate(r *reading, pm *privateMessage) (a *authContent, from Member, u *use, generation uint32, err error) {
	cs, p := g.cur().cs, &g.s.policy
	sd, err := cs.openSenderData(r.senderData, pm)
	if err != nil {
		return nil, from, nil, 0, err
	}
	from, there := r.member(sd.leaf)
	if !there {
		return nil, from, nil, 0, refused("sender's leaf %d is blank", sd.leaf)
	}
	if sd.leaf == r.own {
		return nil, from, nil, 0, ErrOwnMessage
	}
	d, err := r.secrets.view(cs, sd.leaf)
	if err != nil {
		return nil, from, nil, 0, err
	}
	key, after, err := cs.ratchetOpen(*d.pair.of(pm.kind), sd.generation, p.MaxForward, p.SkippedKeys)
	if err != nil {
		return nil, from, nil, 0, fmt.Errorf("generation %d of leaf %d: %w", sd.generation, sd.leaf, err)
	}
	if a, err = cs.openContent(pm, sd, key, p.Limits.Items); err != nil {
		return nil, from, nil, 0, err
	}
	if err := a.verify(cs, from.SignatureKey, r.encoded); err != nil {
		return nil, from, nil, 0, err
	}
	return a, from, &use{d, pm.kind, after, key}, sd.generation, nil
}
