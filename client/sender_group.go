package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// One MLS group holds the devices of one recipient and the leaf of their sender.
// Only the sender commits. A group changes in two ways:
//
//	commit a device that was enrolled since joins by a Welcome, one that was revoked
//	       is removed, and in any case the sender's keys are fresh (12.4.1), which
//	       now and then is all that a commit does. Welcome and Commits stay in every
//	       envelope until receipts acknowledge them. What was sealed in the epochs
//	       before may still be on its way: devices keep the message secrets of as
//	       many past epochs as a sender has in use
//	fresh  a new group takes over: for the first message, when devices fall too far
//	       behind, when one joins before the last one that joined was heard of, and
//	       when it must change and epochs changed too often. The states of old
//	       groups open what was sent in them
//
// KeyPackages are claimed for these changes only, never to send in a group as it
// stands (DESIGN section 12, Sender replicas).

// Bounds of a group's life. A receiver follows mls.DefaultMaxForward
// generations ahead and no further.
const (
	commitsKept      = 16             // commits in an envelope before a fresh group is cheaper
	generationsAhead = 500            // beyond what every device acknowledged
	groupIDSize      = 32             // random bytes
	changeRetry      = time.Minute    // at most, between tries to change a group that can go on as it is
	renewEvery       = 48 * time.Hour // between commits that give the sender fresh keys, where it sends at all
	renewAfter       = 256            // generations of one epoch, after which one is due as well
)

// pastEpochs bounds the epochs of a group, beside the newest one, in which a
// message may still be on its way: a sender begins no more in
// [sealpost.LifetimeMax], and a device keeps the message secrets of as many.
const pastEpochs = 16

// ErrNoDevice says that a recipient has no device in force that can be reached:
// none enrolled, or no KeyPackage for one.
var ErrNoDevice = errors.New("the recipient has no device to seal to")

// ErrForeignPackage says that the relay offered a KeyPackage whose keys no key
// event of this sender names. It is kept as evidence.
var ErrForeignPackage = errors.New("a KeyPackage for a key that this sender did not enrol")

// groupRecord is a recipient's group as its sender keeps it.
type groupRecord struct {
	State        secret               `cbor:"1,keyasint"` // mls.Group.Marshal
	Suite        mls.Suite            `cbor:"2,keyasint"`
	Welcome      []byte               `cbor:"3,keyasint,omitempty"` // until every joiner acknowledged
	WelcomeEpoch uint64               `cbor:"4,keyasint"`
	Commits      []commitRecord       `cbor:"5,keyasint,omitempty"` // oldest first
	Members      []memberRecord       `cbor:"6,keyasint,omitempty"`
	Group        []byte               `cbor:"7,keyasint"`            // id
	Retry        sealpost.UnixMilli   `cbor:"8,keyasint"`            // before which a change that failed is not tried again
	Epoch        uint64               `cbor:"9,keyasint"`            // of State
	Past         []sealpost.UnixMilli `cbor:"10,keyasint,omitempty"` // when each past epoch ended in which something may be on its way
	Renewed      sealpost.UnixMilli   `cbor:"11,keyasint"`           // when the sender's keys were fresh last
	Leaf         uint32               `cbor:"12,keyasint"`           // number of the sender's key in its leaf
}

// commitRecord is a Commit that leads from an epoch to the next.
type commitRecord struct {
	Epoch  uint64 `cbor:"1,keyasint"`
	Commit []byte `cbor:"2,keyasint"`
}

// memberRecord is how far one device acknowledged by a receipt.
type memberRecord struct {
	Device sealpost.KeyID `cbor:"1,keyasint"`
	Joined uint64         `cbor:"2,keyasint"` // the epoch that its Welcome leads to
	Acked  bool           `cbor:"3,keyasint"`
	Epoch  uint64         `cbor:"4,keyasint"` // acknowledged
	Next   uint32         `cbor:"5,keyasint"` // the generation after the newest acknowledged one, in that epoch
}

func groupKey(r sealpost.Recipient) string { return at("group", r[:]) }

// holds says whether a device is a member.
func (g *groupRecord) holds(id sealpost.KeyID) bool {
	return slices.ContainsFunc(g.Members, func(m memberRecord) bool { return m.Device == id })
}

// welcomed says whether every device that joined by the Welcome acknowledged.
func (g *groupRecord) welcomed() bool {
	return !slices.ContainsFunc(g.Members, func(m memberRecord) bool { return m.Joined == g.WelcomeEpoch && !m.Acked })
}

// acknowledge notes a receipt by a device of a message in an epoch and
// generation, and drops what nobody needs any more.
func (g *groupRecord) acknowledge(id sealpost.KeyID, epoch uint64, generation uint32) {
	least := ^uint64(0)
	for i := range g.Members {
		m := &g.Members[i]
		if m.Device == id && epoch >= m.Joined {
			m.acknowledge(epoch, generation)
		}
		at := m.Joined
		if m.Acked {
			at = m.Epoch
		}
		least = min(least, at)
	}
	g.Commits = slices.DeleteFunc(g.Commits, func(c commitRecord) bool { return c.Epoch < least })
	if g.welcomed() {
		g.Welcome = nil
	}
}

func (m *memberRecord) acknowledge(epoch uint64, generation uint32) {
	switch {
	case m.Acked && epoch < m.Epoch:
	case !m.Acked || epoch > m.Epoch:
		m.Acked, m.Epoch, m.Next = true, epoch, generation+1
	default:
		m.Next = max(m.Next, generation+1)
	}
}

// commits says whether the group can go on by another commit: its devices get to
// the new epoch from wherever they are, those that join by the one Welcome that an
// envelope has room for, and open what is on its way in past ones.
func (g *groupRecord) commits(joins bool, now sealpost.UnixMilli) bool {
	return len(g.Commits) < commitsKept && len(g.inUse(now)) < pastEpochs && (!joins || g.welcomed())
}

// inUse are the ends of the past epochs in which something may be on its way.
func (g *groupRecord) inUse(now sealpost.UnixMilli) []sealpost.UnixMilli {
	return slices.DeleteFunc(slices.Clone(g.Past), func(end sealpost.UnixMilli) bool { return end.Add(sealpost.LifetimeMax) < now })
}

// behind is the largest number of generations of this epoch that lie after the
// newest one that a device acknowledged.
func (g *groupRecord) behind(epoch uint64, next uint32) (most uint32) {
	for _, m := range g.Members {
		from := uint32(0)
		if m.Acked && m.Epoch == epoch {
			from = m.Next
		}
		most = max(most, next-min(from, next))
	}
	return most
}

// A sealer holds one recipient's state while messages are sealed to it, in
// memory; it becomes durable with the signed commitments.
type sealer struct {
	s         *Sender
	recipient sealpost.Recipient
	devices   []deviceRecord // in force
	record    groupRecord
	group     *mls.Group
	end       uint32 // the generation after those that may be used
	leaf      uint32 // number of the newest leaf key
	goesOn    bool   // though devices are far behind, for want of a fresh group
	sequence  sequenceRecord
	left      []sealpost.KeyID // devices in force that are not in the group
	leftErr   error            // why, as of this call
}

// sequenceRecord is the place of the newest message to a recipient.
type sequenceRecord struct {
	Number   uint64        `cbor:"1,keyasint"`
	Previous sealpost.Hash `cbor:"2,keyasint"`
}

func sequenceKey(r sealpost.Recipient) string { return at("sequence", r[:]) }

// open loads a recipient's state, brings its group up to its devices, and has a
// generation to use. The recipient is locked. It looks again where another replica
// changes the group meanwhile.
func (s *Sender) open(ctx context.Context, r sealpost.Recipient) (*sealer, error) {
	for range shareTries {
		x, err := s.load(r)
		if err == nil {
			err = x.ready(ctx)
		}
		if err == nil {
			err = x.lease()
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, errHeld) {
			return x, err
		}
		if err := shortly(ctx); err != nil {
			return nil, err
		}
	}
	return nil, ErrReplicas
}

// load reads what there is of a recipient.
func (s *Sender) load(r sealpost.Recipient) (*sealer, error) {
	x := &sealer{s: s, recipient: r}
	err := s.shared.View(func(tx Tx) error {
		all, err := devicesOf(tx, r)
		if err != nil {
			return err
		}
		x.devices = slices.DeleteFunc(all, func(d deviceRecord) bool { return !d.inForce() })
		if x.record, _, err = load[groupRecord](tx, groupKey(r)); err != nil {
			return err
		}
		x.leaf, err = loadLeafNumber(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(x.devices) == 0 {
		return nil, ErrNoDevice
	}
	var lease leaseRecord
	err = s.cfg.Store.View(func(tx Tx) (err error) {
		if x.sequence, _, err = load[sequenceRecord](tx, sequenceKey(r)); err == nil {
			lease, _, err = load[leaseRecord](tx, leaseKey(r))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return x, x.restore(lease)
}

func (s *Sender) mlsPolicy() mls.Policy {
	p := mls.DefaultPolicy()
	p.Padding = padding
	p.Now = s.cfg.Now
	p.Rand = s.cfg.Rand
	return p
}

// Validate holds every leaf to the key events that this sender signed.
func (x *sealer) Validate(c mls.Credential, signatureKey []byte) error {
	id, err := ownerOf(c)
	if err != nil {
		return err
	}
	if id == x.s.id && x.s.leaves.has(signatureKey) {
		return nil
	}
	if d := x.find(id); d != nil && bytes.Equal(signatureKey, d.Leaf.Bytes()) {
		return nil
	}
	return ErrForeignPackage
}

// Successor holds a member to its key id.
func (x *sealer) Successor(before, after mls.Credential) error { return sameOwner(before, after) }

func (x *sealer) find(id sealpost.KeyID) *deviceRecord {
	for i := range x.devices {
		if x.devices[i].Key.ID() == id {
			return &x.devices[i]
		}
	}
	return nil
}

// ready decides what the group needs before the next message. Where a change
// that only adds or renews cannot be had now, the group as it stands goes on and
// the change is tried again later; where a device was revoked, it never does.
func (x *sealer) ready(ctx context.Context) error {
	for _, d := range x.devices {
		if id := d.Key.ID(); x.group == nil || !x.record.holds(id) {
			x.left = append(x.left, id)
		}
	}
	if x.group == nil {
		return x.fresh(ctx, nil, false)
	}
	now, epoch, next := x.s.now(), x.group.Epoch(), x.group.Generation()
	blocked := !x.s.replicated || next >= x.end // a block that is leased is used, however far it is
	late := blocked && x.record.behind(epoch, next) > generationsAhead
	renew := x.record.Leaf != x.leaf || next >= renewAfter || now >= x.record.Renewed.Add(renewEvery)
	waits := now < x.record.Retry
	gone := x.revoked()
	var err error
	switch can := !late && x.record.commits(len(x.left) > 0, now); {
	case len(gone) > 0 && can:
		return x.commit(ctx, gone)
	case len(gone) > 0:
		return x.fresh(ctx, nil, false)
	case waits || (!late && !renew && len(x.left) == 0):
		x.goesOn = late
		return nil
	case can:
		err = x.commit(ctx, nil)
	case late || x.record.Leaf != x.leaf || len(x.record.Commits) >= commitsKept:
		err = x.fresh(ctx, x.record.Members, false)
	case len(x.left) > 0:
		err = x.fresh(ctx, x.record.Members, true)
	}
	switch {
	case errors.Is(err, errMoved), errors.Is(err, errHeld) && late:
		return err
	case errors.Is(err, errHeld):
		x.leftErr = ErrReplicas // which is about to bring them in
	case err != nil:
		x.leftErr, x.goesOn = err, late
		if err := x.tried(err); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tried notes that a change failed, for all replicas, and when it may be tried again:
// as soon as the relay says, where the relay is not ready for it yet.
func (x *sealer) tried(cause error) error {
	wait := changeRetry
	if p, is := errors.AsType[*api.Problem](cause); is && p.Retry > 0 {
		wait = min(wait, p.Retry)
	}
	until := x.s.now().Add(wait)
	if !x.s.replicated {
		x.record.Retry = until
		return nil
	}
	return x.alter(func(_ Tx, r *groupRecord) error { r.Retry = until; return nil })
}

// revoked are the members that are in force no more.
func (x *sealer) revoked() (gone []sealpost.KeyID) {
	for _, m := range x.record.Members {
		if x.find(m.Device) == nil {
			gone = append(gone, m.Device)
		}
	}
	return gone
}

// fresh makes a new group of every device for which there is a KeyPackage, and
// at least of those that must be in it. Where it is for the sake of those that were
// left out, nobody else's KeyPackage is claimed before there is one of theirs. On an
// error the old group is as it was.
func (x *sealer) fresh(ctx context.Context, must []memberRecord, forLeft bool) (err error) {
	end, err := x.claimChange()
	if err != nil {
		return err
	}
	defer func() { end(err) }()
	ids := make([]sealpost.KeyID, len(x.devices))
	for i, d := range x.devices {
		ids[i] = d.Key.ID()
	}
	turns := [][]sealpost.KeyID{ids}
	if forLeft {
		turns = [][]sealpost.KeyID{x.left, slices.DeleteFunc(slices.Clone(ids), func(id sealpost.KeyID) bool { return slices.Contains(x.left, id) })}
	}
	var packages [][]byte
	var joined []sealpost.KeyID
	for _, some := range turns {
		p, of, err := x.claim(ctx, some)
		if err != nil {
			return err
		}
		packages, joined = append(packages, p...), append(joined, of...)
	}
	suite := suiteOf(x.devices[0].Leaf.Alg())
	id := make([]byte, groupIDSize)
	if _, err := io.ReadFull(x.s.cfg.Rand, id); err != nil {
		return fmt.Errorf("draw a group id: %w", err)
	}
	signer, err := x.s.leaves.signer(suite, x.leaf)
	if err != nil {
		return err
	}
	g, err := mls.Create(suite, id, credentialOf(x.s.id), signer, x, x.s.mlsPolicy())
	if err != nil {
		return fmt.Errorf("make a group: %w", err)
	}
	staged, joined, err := x.stage(g, mls.CommitOptions{NoPath: true}, packages, joined)
	if err != nil {
		return err
	}
	for _, m := range must {
		if !slices.Contains(joined, m.Device) {
			return fmt.Errorf("%w: no KeyPackage for a present member", ErrNoDevice)
		}
	}
	if err := g.Apply(staged); err != nil {
		return fmt.Errorf("add devices: %w", err)
	}
	x.left = ids
	return x.publish(g, func(r *groupRecord) {
		*r = groupRecord{Group: id, Suite: suite, Welcome: staged.Welcome, WelcomeEpoch: g.Epoch(), Renewed: x.s.now()}
		x.join(r, joined)
	})
}

// commit leads the group into its next epoch: without members that are gone, with
// the devices that were left out and for which there is a KeyPackage, and with fresh
// keys of the sender. On an error the group is as it was, and so it is where there
// was nothing to do but add and no KeyPackage.
func (x *sealer) commit(ctx context.Context, gone []sealpost.KeyID) (err error) {
	end, err := x.claimChange()
	if err != nil {
		return err
	}
	defer func() { end(err) }()
	g, err := x.unmarshal(x.record.Suite, x.record.Leaf, x.record.State)
	if err != nil {
		return err
	}
	var o mls.CommitOptions
	if x.record.Leaf != x.leaf {
		if o.Leaf.Signer, err = x.s.leaves.signer(x.record.Suite, x.leaf); err != nil {
			return err
		}
	}
	for _, m := range g.Members() {
		if id, err := ownerOf(m.Credential); err == nil && slices.Contains(gone, id) {
			o.Proposals = append(o.Proposals, mls.RemoveProposal(m.Leaf))
		}
	}
	var packages [][]byte
	var joined []sealpost.KeyID
	if len(x.left) > 0 {
		packages, joined, err = x.claim(ctx, x.left)
		if err != nil && len(gone) == 0 {
			return err
		}
		x.leftErr = err
	}
	staged, joined, err := x.stage(g, o, packages, joined)
	if err != nil {
		return err
	}
	from := g.Epoch()
	if err := g.Apply(staged); err != nil {
		return fmt.Errorf("change the group: %w", err)
	}
	now := x.s.now()
	return x.publish(g, func(r *groupRecord) {
		r.Members = slices.DeleteFunc(r.Members, func(m memberRecord) bool { return slices.Contains(gone, m.Device) })
		r.Commits = append(r.Commits, commitRecord{from, staged.Commit})
		r.Past = append(r.inUse(now), now)
		r.Renewed, r.Retry = now, 0
		if len(joined) > 0 {
			r.Welcome, r.WelcomeEpoch = staged.Welcome, from+1
		}
		x.join(r, joined)
	})
}

// stage makes a commit that brings in the owners of KeyPackages. One that the group
// refuses, for it has expired or cannot do what the group does, leaves out its own
// device and no other.
func (x *sealer) stage(g *mls.Group, o mls.CommitOptions, packages [][]byte, ids []sealpost.KeyID) (*mls.Staged, []sealpost.KeyID, error) {
	with := func(packages ...[]byte) (*mls.Staged, error) {
		full := o
		full.Proposals = slices.Clone(o.Proposals)
		for _, p := range packages {
			full.Proposals = append(full.Proposals, mls.AddProposal(p))
		}
		staged, err := g.Commit(full)
		if err != nil {
			return nil, fmt.Errorf("change the group: %w", err)
		}
		return staged, nil
	}
	staged, err := with(packages...)
	if err == nil {
		return staged, ids, nil
	}
	var good [][]byte
	var joined []sealpost.KeyID
	for i, p := range packages {
		if _, alone := with(p); alone == nil {
			good, joined = append(good, p), append(joined, ids[i])
		}
	}
	if len(good) == len(packages) || len(good)+len(o.Proposals) == 0 {
		return nil, nil, err
	}
	x.leftErr = err
	staged, err = with(good...)
	return staged, joined, err
}

// join notes the devices that the Welcome brings in.
func (x *sealer) join(r *groupRecord, ids []sealpost.KeyID) {
	for _, id := range ids {
		r.Members = append(r.Members, memberRecord{Device: id, Joined: r.WelcomeEpoch})
	}
	x.left = slices.DeleteFunc(x.left, func(id sealpost.KeyID) bool { return slices.Contains(ids, id) })
}

// claim takes one KeyPackage for each device and keeps those that may be used.
// A package for a foreign key is evidence, and its device is left out: the
// relay can keep a device from joining, and cannot put itself in its place.
func (x *sealer) claim(ctx context.Context, ids []sealpost.KeyID) (packages [][]byte, joined []sealpost.KeyID, err error) {
	claimed, err := x.ask(ctx, ids)
	var refused []error
	for _, c := range claimed {
		if !slices.Contains(ids, c.Device) || slices.Contains(joined, c.Device) {
			continue // not asked for
		}
		last, err := x.judgePackage(c.Device, c.KeyPackage)
		if err != nil {
			refused = append(refused, x.s.fault(sealpost.MessageID{}, err, c.KeyPackage, c.Device[:]))
			continue
		}
		if warn := x.s.cfg.PoolLow; warn != nil && (last || c.Left < api.PoolLow) {
			warn(PoolWarning{c.Device, c.Left, last})
		}
		packages, joined = append(packages, c.KeyPackage), append(joined, c.Device)
	}
	if len(joined) == 0 {
		return nil, nil, errors.Join(append(refused, fmt.Errorf("%w: no KeyPackage", ErrNoDevice), err)...)
	}
	return packages, joined, nil
}

// ask claims for all devices at once, and where that is refused for each alone:
// one that is not in force at the relay yet must not hold up the others.
func (x *sealer) ask(ctx context.Context, ids []sealpost.KeyID) ([]api.ClaimedPackage, error) {
	claimed, err := x.s.cfg.API.ClaimPackages(ctx, x.recipient, ids)
	if err == nil || len(ids) == 1 {
		return claimed, err
	}
	for _, id := range ids {
		one, again := x.s.cfg.API.ClaimPackages(ctx, x.recipient, []sealpost.KeyID{id})
		if again != nil {
			err = again
			continue
		}
		claimed = append(claimed, one...)
	}
	return claimed, err
}

// judgePackage holds a KeyPackage to the key event of the device it is for, and
// refuses one that was used before unless it is a last resort.
func (x *sealer) judgePackage(id sealpost.KeyID, raw []byte) (lastResort bool, err error) {
	d := x.find(id)
	info, err := mls.ParseKeyPackage(raw)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrForeignPackage, err)
	}
	switch owner, err := ownerOf(info.Credential); {
	case err != nil || owner != id:
		return false, fmt.Errorf("%w: its credential names another device", ErrForeignPackage)
	case !bytes.Equal(info.SignatureKey, d.Leaf.Bytes()):
		return false, fmt.Errorf("%w: its leaf key is not the enrolled one", ErrForeignPackage)
	case info.Suite != suiteOf(d.Leaf.Alg()):
		return false, fmt.Errorf("%w: of another suite", ErrForeignPackage)
	case info.LastResort:
		return true, nil
	}
	used := at("used", sumOf(info.Ref))
	return false, x.s.shared.Update(func(tx Tx) error {
		if tx.Get(used) != nil {
			return fmt.Errorf("%w: it was claimed before", ErrForeignPackage)
		}
		return tx.Put(used, []byte{1})
	})
}

func sumOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
