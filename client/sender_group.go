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

// One MLS group holds the devices of one recipient and this sender replica's
// own leaf. Only the sender commits. A group changes in two ways:
//
//	add    a device that was enrolled since joins by a Welcome, the others by a
//	       Commit; both stay in every envelope until receipts acknowledge them.
//	       Only when every message so far is acknowledged: a device keeps no past
//	       epoch, so nothing of this one may still be on its way
//	fresh  a new group takes over: for the first message, after a revocation, when
//	       a device joins while something is on its way, and when devices fall
//	       too far behind. The states of old groups open what was sent in them
//
// KeyPackages are claimed for these changes only, never to send in a group as it
// stands (DESIGN section 12, Sender replicas).

// Bounds of a group's life. A receiver follows mls.DefaultMaxForward
// generations ahead and no further.
const (
	commitsKept      = 16          // commits in an envelope before a fresh group is cheaper
	generationsAhead = 500         // beyond what every device acknowledged
	aheadMax         = 512         // acknowledged generations remembered out of order
	groupIDSize      = 32          // random bytes
	changeRetry      = time.Minute // between tries to change a group that can go on as it is
)

// ErrNoDevice says that a recipient has no device in force that can be reached:
// none enrolled, or no KeyPackage for one.
var ErrNoDevice = errors.New("the recipient has no device to seal to")

// ErrForeignPackage says that the relay offered a KeyPackage whose keys no key
// event of this sender names. It is kept as evidence.
var ErrForeignPackage = errors.New("a KeyPackage for a key that this sender did not enrol")

// groupRecord is a recipient's group as its sender keeps it.
type groupRecord struct {
	State        secret             `cbor:"1,keyasint"` // mls.Group.Marshal
	Suite        mls.Suite          `cbor:"2,keyasint"`
	Welcome      []byte             `cbor:"3,keyasint,omitempty"` // until every joiner acknowledged
	WelcomeEpoch uint64             `cbor:"4,keyasint"`
	Commits      []commitRecord     `cbor:"5,keyasint,omitempty"` // oldest first
	Members      []memberRecord     `cbor:"6,keyasint,omitempty"`
	Group        []byte             `cbor:"7,keyasint"` // id
	Tried        sealpost.UnixMilli `cbor:"8,keyasint"` // when a change failed last; 0 never
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
	Epoch  uint64         `cbor:"4,keyasint"`           // acknowledged
	Next   uint32         `cbor:"5,keyasint"`           // the generation after the newest acknowledged one, in that epoch
	Whole  uint32         `cbor:"6,keyasint"`           // all generations before this one are acknowledged
	Ahead  []uint32       `cbor:"7,keyasint,omitempty"` // acknowledged beyond Whole, ascending, at most aheadMax
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
	if m.Acked && epoch < m.Epoch {
		return
	}
	if !m.Acked || epoch > m.Epoch {
		m.Acked, m.Epoch, m.Next, m.Whole, m.Ahead = true, epoch, 0, 0, nil
	}
	m.Next = max(m.Next, generation+1)
	if at, found := slices.BinarySearch(m.Ahead, generation); !found && generation >= m.Whole && len(m.Ahead) < aheadMax {
		m.Ahead = slices.Insert(m.Ahead, at, generation)
	}
	for len(m.Ahead) > 0 && m.Ahead[0] == m.Whole {
		m.Whole, m.Ahead = m.Whole+1, m.Ahead[1:]
	}
}

// quiet says whether every device acknowledged every message of this epoch, so
// that none is on its way.
func (g *groupRecord) quiet(epoch uint64, next uint32) bool {
	return !slices.ContainsFunc(g.Members, func(m memberRecord) bool {
		return next > 0 && (!m.Acked || m.Epoch != epoch || m.Whole < next)
	})
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

// open loads a recipient's state and brings its group up to its devices. The
// recipient is locked.
func (s *Sender) open(ctx context.Context, r sealpost.Recipient) (*sealer, error) {
	x := &sealer{s: s, recipient: r}
	err := s.cfg.Store.View(func(tx Tx) error {
		all, err := devicesOf(tx, r)
		if err != nil {
			return err
		}
		x.devices = slices.DeleteFunc(all, func(d deviceRecord) bool { return !d.inForce() })
		if x.record, _, err = load[groupRecord](tx, groupKey(r)); err != nil {
			return err
		}
		x.sequence, _, err = load[sequenceRecord](tx, sequenceKey(r))
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(x.devices) == 0 {
		return nil, ErrNoDevice
	}
	if len(x.record.State) != 0 {
		if x.group, err = mls.Unmarshal(x.record.State, s.leaves[x.record.Suite], x, s.mlsPolicy()); err != nil {
			return nil, fmt.Errorf("restore the group: %w", err)
		}
	}
	return x, x.ready(ctx)
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
	for _, own := range x.s.leaves {
		if id == x.s.id && bytes.Equal(signatureKey, own.Public()) {
			return nil
		}
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
	if x.group == nil || x.hasRevoked() {
		return x.fresh(ctx, nil)
	}
	epoch, next := x.group.Epoch(), x.group.Generation()
	late := x.record.behind(epoch, next) > generationsAhead
	waits := x.record.Tried != 0 && x.s.now() < x.record.Tried.Add(changeRetry)
	if (len(x.left) == 0 && !late) || waits {
		return nil
	}
	if !late && x.record.quiet(epoch, next) && x.record.welcomed() && len(x.record.Commits) < commitsKept {
		x.leftErr = x.add(ctx, slices.Clone(x.left))
	} else {
		x.leftErr = x.fresh(ctx, x.record.Members)
	}
	if x.leftErr != nil {
		x.record.Tried = x.s.now()
	}
	return ctx.Err()
}

func (x *sealer) hasRevoked() bool {
	return slices.ContainsFunc(x.record.Members, func(m memberRecord) bool { return x.find(m.Device) == nil })
}

// fresh makes a new group of every device for which there is a KeyPackage, and
// at least of those that must be in it. On an error the old one is as it was.
func (x *sealer) fresh(ctx context.Context, must []memberRecord) error {
	ids := make([]sealpost.KeyID, len(x.devices))
	for i, d := range x.devices {
		ids[i] = d.Key.ID()
	}
	packages, joined, err := x.claim(ctx, ids)
	if err != nil {
		return err
	}
	for _, m := range must {
		if !slices.Contains(joined, m.Device) {
			return fmt.Errorf("%w: no KeyPackage for a present member", ErrNoDevice)
		}
	}
	suite := suiteOf(x.devices[0].Leaf.Alg())
	id := make([]byte, groupIDSize)
	if _, err := io.ReadFull(x.s.cfg.Rand, id); err != nil {
		return fmt.Errorf("draw a group id: %w", err)
	}
	g, err := mls.Create(suite, id, credentialOf(x.s.id), x.s.leaves[suite], x, x.s.mlsPolicy())
	if err != nil {
		return fmt.Errorf("make a group: %w", err)
	}
	staged, err := g.Add(packages...)
	if err != nil {
		return fmt.Errorf("add devices: %w", err)
	}
	if err := g.Apply(staged); err != nil {
		return fmt.Errorf("add devices: %w", err)
	}
	x.group = g
	x.record = groupRecord{Group: id, Suite: suite, Welcome: staged.Welcome, WelcomeEpoch: g.Epoch()}
	x.left = ids
	x.join(joined)
	return nil
}

// add brings devices into the group as it stands. On an error it is as it was.
func (x *sealer) add(ctx context.Context, ids []sealpost.KeyID) error {
	packages, joined, err := x.claim(ctx, ids)
	if err != nil {
		return err
	}
	from := x.group.Epoch()
	staged, err := x.group.Add(packages...)
	if err != nil {
		return fmt.Errorf("add devices: %w", err)
	}
	if err := x.group.Apply(staged); err != nil {
		return fmt.Errorf("add devices: %w", err)
	}
	x.record.Commits = append(x.record.Commits, commitRecord{from, staged.Commit})
	x.record.Welcome, x.record.WelcomeEpoch, x.record.Tried = staged.Welcome, x.group.Epoch(), 0
	x.join(joined)
	return nil
}

// join notes the devices that the Welcome brings in.
func (x *sealer) join(ids []sealpost.KeyID) {
	for _, id := range ids {
		x.record.Members = append(x.record.Members, memberRecord{Device: id, Joined: x.record.WelcomeEpoch})
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
		if err := x.judgePackage(c.Device, c.KeyPackage); err != nil {
			refused = append(refused, x.s.fault(sealpost.MessageID{}, err, c.KeyPackage, c.Device[:]))
			continue
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
func (x *sealer) judgePackage(id sealpost.KeyID, raw []byte) error {
	d := x.find(id)
	info, err := mls.ParseKeyPackage(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForeignPackage, err)
	}
	switch owner, err := ownerOf(info.Credential); {
	case err != nil || owner != id:
		return fmt.Errorf("%w: its credential names another device", ErrForeignPackage)
	case !bytes.Equal(info.SignatureKey, d.Leaf.Bytes()):
		return fmt.Errorf("%w: its leaf key is not the enrolled one", ErrForeignPackage)
	case info.Suite != suiteOf(d.Leaf.Alg()):
		return fmt.Errorf("%w: of another suite", ErrForeignPackage)
	case info.LastResort:
		return nil
	}
	used := at("used", sumOf(info.Ref))
	return x.s.cfg.Store.Update(func(tx Tx) error {
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
