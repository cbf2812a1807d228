package store

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// The promise of a group is as large as the statements that it is for, so it is
// held once for all of them.

// A promiseRef is what a statement's row says of its promise.
type promiseRef struct {
	id        any // of the group's promise, nil where there is none
	place     int
	outcomeBy int64
}

// promiseOf holds the promise of a group with the first of its statements.
func (g *group) promiseOf(p *sealpost.PromisePart) (promiseRef, error) {
	if p == nil {
		return promiseRef{}, nil
	}
	id, held := g.promises[p.Group]
	if !held {
		id = g.nextPromise
		_, err := g.c.exec(`INSERT INTO promises (id, sealed) VALUES (?, ?)`, id, g.vault.seal(tagPromise, rowKey(id), p.Group.Encode()))
		if err != nil {
			return promiseRef{}, err
		}
		if g.promises == nil {
			g.promises = map[*sealpost.GroupPromise]int64{}
		}
		g.promises[p.Group] = id
		g.nextPromise++
	}
	return promiseRef{id, p.Place, p.OutcomeBy}, nil
}

// promise makes a statement's promise again; nil where it has none.
func (v *vault) promise(c *conn, r row, leaf sealpost.Leaf, hash sealpost.Hash) ([]byte, error) {
	if r.null(7) {
		return nil, nil
	}
	g, err := v.groupPromise(c, r.int(7))
	if err != nil {
		return nil, err
	}
	p, err := sealpost.PromisePart{Group: g, Place: int(r.int(8)), OutcomeBy: r.int(9)}.Promised(leaf, hash)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p.Encode(), nil
}

// groupPromise reads the promise of a group.
func (v *vault) groupPromise(c *conn, id int64) (*sealpost.GroupPromise, error) {
	if g, ok := v.promises.Get(id); ok {
		return g, nil
	}
	r, found, err := c.one(`SELECT sealed FROM promises WHERE id = ?`, id)
	if err == nil && !found {
		err = fmt.Errorf("%w: promise %d is missing", ErrDamaged, id)
	}
	if err != nil {
		return nil, err
	}
	g, err := v.openPromise(id, r.bytes(0))
	if err == nil {
		v.promises.Add(id, g)
	}
	return g, err
}

func (v *vault) openPromise(id int64, sealed []byte) (*sealpost.GroupPromise, error) {
	plain, err := v.open(tagPromise, rowKey(id), sealed)
	if err != nil {
		return nil, err
	}
	g, err := sealpost.ParseGroupPromise(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: promise %d: %w", ErrDamaged, id, err)
	}
	return g, nil
}
