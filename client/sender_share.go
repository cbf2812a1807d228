package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/mls"
)

// Replicas of one sender (DESIGN section 12, Sender replicas) hold the same leaf
// keys and share each recipient's group. In the store that they share stands what
// a sender has once: leaf keys, the pseudonym key, invitations, devices, key events,
// groups. A replica's own store has its messages and sequences, and its leases.
//
// # Generations
//
// The shared state of a group stands at the first generation that nobody leased.
// One durable write takes a block: it moves that state on by the block, and what
// the replica keeps of it is the state before. So the shared state has no key of a
// leased generation, a replica uses none beyond its block, and no two blocks meet.
// What is left of a block when the process or the epoch ends is wasted; receivers
// skip it, as far as mls.DefaultMaxForward reaches. So a replica whose own store was
// set back, to a backup, uses no generation again either.
//
// # Changes
//
// One replica at a time changes a group: it leases the change, claims KeyPackages,
// and publishes the new epoch, with a block of its generations, if the group is
// still where it was. Whoever comes too late drops what it made, so that there is
// one commit for each epoch, whatever clocks say. The lease only spares KeyPackages.

// Bounds of leases.
const (
	generationBlock = 32                    // generations; a dozen unused blocks fit in what receivers reach over
	changeLease     = 30 * time.Second      // after which another replica may change the group
	sharePause      = 20 * time.Millisecond // between two looks at what another replica is changing
	shareTries      = 250                   // looks
)

// A block is at most a quarter of what receivers reach over.
const _ = uint(mls.DefaultMaxForward/4 - generationBlock)

// generationLast is the end of a block that is not leased: a sender without
// replicas has them all.
const generationLast = math.MaxUint32

var (
	// ErrReplicas says that another replica of this sender was changing the
	// recipient's group for too long. Nothing was sealed; a later try may do.
	ErrReplicas = errors.New("another replica is changing the recipient's group")
	// ErrReplica says that the number of this replica is that of another one, which
	// has another store. Two would use one sequence.
	ErrReplica = errors.New("the replica's number belongs to another store")
)

var (
	// errHeld says that another replica changes the group now, errMoved that it has
	// done so: look again.
	errHeld  = errors.New("the group is being changed")
	errMoved = errors.New("the group has moved")
)

// leaseRecord is the block of generations that this replica holds, in its own store.
type leaseRecord struct {
	Group []byte `cbor:"1,keyasint"`
	Epoch uint64 `cbor:"2,keyasint"`
	State secret `cbor:"3,keyasint"` // mls.Group.Marshal, at the next unused generation
	End   uint32 `cbor:"4,keyasint"` // the generation after the block
	Run   []byte `cbor:"5,keyasint"` // of the process that took it: the lease ends with it
}

// changeRecord says who changes a group, in the shared store.
type changeRecord struct {
	Replica uint32             `cbor:"1,keyasint"`
	Until   sealpost.UnixMilli `cbor:"2,keyasint"`
}

func leaseKey(r sealpost.Recipient) string  { return at("lease", r[:]) }
func changeKey(r sealpost.Recipient) string { return at("change", r[:]) }

// ownReplicaKey is where a replica's own store says whose it is.
const ownReplicaKey = "own-replica"

func replicaKey(number uint32) string {
	return at("replica", binary.BigEndian.AppendUint32(nil, number))
}

// register ties the replica's number to its own store, for good: a sequence
// belongs to one store. It names this run.
func (s *Sender) register() error {
	s.run = make([]byte, 16)
	if _, err := io.ReadFull(s.cfg.Rand, s.run); err != nil {
		return fmt.Errorf("register the replica: %w", err)
	}
	var mine []byte
	err := s.cfg.Store.Update(func(tx Tx) error {
		if mine = tx.Get(ownReplicaKey); mine != nil {
			return nil
		}
		mine = make([]byte, 16)
		if _, err := io.ReadFull(s.cfg.Rand, mine); err != nil {
			return err
		}
		return tx.Put(ownReplicaKey, mine)
	})
	if err != nil {
		return fmt.Errorf("register the replica: %w", err)
	}
	err = s.shared.Update(func(tx Tx) error {
		key := replicaKey(s.cfg.Replica)
		switch known := tx.Get(key); {
		case known == nil:
			return tx.Put(key, mine)
		case !bytes.Equal(known, mine):
			return ErrReplica
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("register the replica: %w", err)
	}
	return nil
}

// restore takes the group from this replica's lease, or where that has ended from
// what all share, of which nothing is leased yet.
func (x *sealer) restore(lease leaseRecord) error {
	if len(x.record.State) == 0 {
		return nil
	}
	state, end := x.record.State, uint32(generationLast)
	if x.s.replicated {
		end = 0
		if bytes.Equal(lease.Group, x.record.Group) && lease.Epoch == x.record.Epoch && bytes.Equal(lease.Run, x.s.run) {
			state, end = lease.State, lease.End
		}
	}
	var err error
	if x.group, err = x.unmarshal(x.record.Suite, x.record.Leaf, state); err != nil {
		return err
	}
	x.end = end
	if x.s.replicated && x.group.Generation() >= x.end {
		if x.group, err = x.unmarshal(x.record.Suite, x.record.Leaf, x.record.State); err != nil {
			return err
		}
		x.end = x.group.Generation()
	}
	return nil
}

func (x *sealer) unmarshal(suite mls.Suite, leaf uint32, state []byte) (*mls.Group, error) {
	signer, err := x.s.leaves.signer(suite, leaf)
	if err != nil {
		return nil, err
	}
	g, err := mls.Unmarshal(state, signer, x, x.s.mlsPolicy())
	if err != nil {
		return nil, fmt.Errorf("restore the group: %w", err)
	}
	return g, nil
}

// lease makes sure that the next generation is this replica's: where its block has
// ended it takes another. Where devices would fall too far behind it says that the
// group has moved, unless it goes on as it stands for want of another.
func (x *sealer) lease() error {
	if x.group.Generation() < x.end {
		return nil
	}
	var before secret
	var end uint32
	err := x.alter(func(_ Tx, r *groupRecord) error {
		g, err := x.unmarshal(r.Suite, r.Leaf, r.State)
		if err != nil {
			return err
		}
		if !x.goesOn && r.behind(g.Epoch(), g.Generation()) > generationsAhead {
			return errMoved
		}
		before, end = r.State, g.Generation()+generationBlock
		if err := g.SkipTo(end); err != nil {
			return fmt.Errorf("lease generations: %w", err)
		}
		r.State, err = g.Marshal()
		return err
	})
	if err != nil {
		return err
	}
	if x.group, err = x.unmarshal(x.record.Suite, x.record.Leaf, before); err == nil {
		x.end = end
	}
	return err
}

// publish makes a new epoch the group's, in which the sender has its newest leaf
// key, with the first block of its generations leased to this replica.
func (x *sealer) publish(g *mls.Group, with func(*groupRecord)) error {
	epoch := g.Epoch()
	if !x.s.replicated {
		with(&x.record)
		x.group, x.end, x.record.Epoch, x.record.Leaf = g, generationLast, epoch, x.leaf
		return nil
	}
	before, err := g.Marshal()
	if err == nil {
		err = g.SkipTo(generationBlock)
	}
	if err != nil {
		return fmt.Errorf("lease generations: %w", err)
	}
	rest, err := g.Marshal()
	if err != nil {
		return fmt.Errorf("lease generations: %w", err)
	}
	err = x.alter(func(tx Tx, r *groupRecord) error {
		with(r)
		r.State, r.Epoch, r.Leaf = rest, epoch, x.leaf
		return tx.Delete(changeKey(x.recipient))
	})
	if err != nil {
		return err
	}
	x.group, err = x.unmarshal(x.record.Suite, x.leaf, before)
	x.end = generationBlock
	return err
}

// alter changes the group's record where all replicas see it, if the group and its
// epoch are what this one knows. f may be called again with another record.
func (x *sealer) alter(f func(Tx, *groupRecord) error) error {
	var now groupRecord
	err := x.s.shared.Update(func(tx Tx) (err error) {
		if now, _, err = load[groupRecord](tx, groupKey(x.recipient)); err != nil {
			return err
		}
		if !bytes.Equal(now.Group, x.record.Group) || now.Epoch != x.record.Epoch {
			return errMoved
		}
		if err := f(tx, &now); err != nil {
			return err
		}
		return save(tx, groupKey(x.recipient), now)
	})
	if err == nil {
		x.record = now
	}
	return err
}

// claimChange leases the change of the group to this replica, and gives what ends
// the lease where nothing comes of it. A change that is published ends it itself.
func (x *sealer) claimChange() (end func(error), err error) {
	if !x.s.replicated {
		return func(error) {}, nil
	}
	key, mine := changeKey(x.recipient), x.s.cfg.Replica
	err = x.s.shared.Update(func(tx Tx) error {
		held, found, err := load[changeRecord](tx, key)
		if err != nil {
			return err
		}
		now := x.s.now()
		if found && held.Replica != mine && held.Until > now {
			return errHeld
		}
		return save(tx, key, changeRecord{mine, now.Add(changeLease)})
	})
	return func(err error) {
		if err == nil {
			return
		}
		// One that cannot be ended runs out.
		_ = x.s.shared.Update(func(tx Tx) error {
			held, found, err := load[changeRecord](tx, key)
			if err != nil || !found || held.Replica != mine {
				return err
			}
			return tx.Delete(key)
		})
	}, err
}

// keep makes what was sealed with durable, in the transaction of the messages.
func (x *sealer) keep(tx Tx) error {
	state, err := x.group.Marshal()
	if err != nil {
		return fmt.Errorf("keep the group: %w", err)
	}
	if x.s.replicated {
		err = save(tx, leaseKey(x.recipient), leaseRecord{x.record.Group, x.record.Epoch, state, x.end, x.s.run})
	} else {
		x.record.State = state
		err = save(tx, groupKey(x.recipient), x.record)
	}
	return errors.Join(err, save(tx, sequenceKey(x.recipient), x.sequence))
}

// shortly waits before another look at what a replica is changing.
func shortly(ctx context.Context) error {
	timer := time.NewTimer(sharePause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
