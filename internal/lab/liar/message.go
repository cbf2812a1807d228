package liar

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A courier changes what devices fetch, or keeps it back.
type courier struct {
	api.DeviceRoad
	bend func(ctx context.Context, a api.Arrival) (_ api.Arrival, handOver bool, err error)
}

// Inbox bends what the honest inbox has.
func (c courier) Inbox(ctx context.Context, device sealpost.KeyID, after uint64, limit, waitMS int) (api.Arrivals, error) {
	list, err := c.DeviceRoad.Inbox(ctx, device, after, limit, waitMS)
	var out []api.Arrival
	for _, a := range list.Arrivals {
		bent, handOver, err := c.bend(ctx, a)
		if err != nil {
			return api.Arrivals{}, err
		}
		if handOver {
			out = append(out, bent)
		}
	}
	list.Arrivals = out
	return list, err
}

// Arrival bends one message.
func (c courier) Arrival(ctx context.Context, device sealpost.KeyID, id sealpost.MessageID) (api.Arrival, error) {
	a, err := c.DeviceRoad.Arrival(ctx, device, id)
	if err != nil {
		return a, err
	}
	bent, handOver, err := c.bend(ctx, a)
	if err == nil && !handOver {
		err = api.ErrNotFound
	}
	return bent, err
}

func keepBack(_ context.Context, a api.Arrival) (api.Arrival, bool, error) { return a, false, nil }

// A submission is what [sealpost.Sealed.Bytes] writes, put together without its
// check that commitment and blob belong together.
type submission struct {
	Commitment []byte `cbor:"1,keyasint"`
	Blob       []byte `cbor:"2,keyasint"`
}

// withoutWelcome is the blob of an arrival with its Welcome taken out.
func withoutWelcome(s sealpost.Sealed) ([]byte, error) {
	e, err := sealpost.ParseEnvelope(s.Blob())
	if err != nil {
		return nil, err
	}
	e.Welcome = nil
	return sealpost.EncodeEnvelope(e)
}

func dropWelcome(o *operator, honest rooms) rooms {
	honest.DeviceRoad = courier{honest.DeviceRoad, noWelcome}
	return honest
}

func noWelcome(_ context.Context, a api.Arrival) (api.Arrival, bool, error) {
	s, err := sealpost.ParseSealed(a.Sealed)
	if err != nil {
		return a, false, err
	}
	blob, err := withoutWelcome(s)
	if err != nil {
		return a, false, err
	}
	a.Sealed, err = sealpost.Encode(submission{s.Statement().Bytes(), blob})
	return a, true, err
}

// signCommitment makes the hash fit again, and with it the signature: but only
// with the relay's own key.
func signCommitment(o *operator, honest rooms) rooms {
	honest.DeviceRoad = courier{honest.DeviceRoad, func(ctx context.Context, a api.Arrival) (api.Arrival, bool, error) {
		s, err := sealpost.ParseSealed(a.Sealed)
		if err != nil {
			return a, false, err
		}
		blob, err := withoutWelcome(s)
		if err != nil {
			return a, false, err
		}
		c := s.Commitment()
		c.Blob = sha256.Sum256(blob)
		signed, err := sealpost.Sign(c, o.Statement)
		if err != nil {
			return a, false, err
		}
		if a.Salt, a.Promise, err = o.promise(signed, sealpost.MergeDelay, c.Expires.Add(sealpost.OutcomeGrace)); err != nil {
			return a, false, err
		}
		a.Proof = nil
		a.Sealed, err = sealpost.Encode(submission{signed.Bytes(), blob})
		return a, true, err
	}}
	return honest
}

// editRoster gives both ends one and the same commitment, so that neither can
// find the difference by asking the other.
func editRoster(o *operator, honest rooms) rooms {
	e := rosterEditor{o, honest}
	honest.DeviceRoad = courier{honest.DeviceRoad, func(ctx context.Context, a api.Arrival) (api.Arrival, bool, error) {
		s, err := sealpost.ParseSealed(a.Sealed)
		if err != nil {
			return a, false, err
		}
		edited, err := e.edit(ctx, s.Statement())
		if err != nil {
			return a, false, err
		}
		a.Sealed, err = sealpost.Encode(submission{edited.Bytes(), s.Blob()})
		return a, true, err
	}}
	honest.Reading = editedEvidence{honest.Reading, e}
	return honest
}

type rosterEditor struct {
	o      *operator
	honest rooms
}

// edit writes the ghost into a commitment's roster, in the name of whoever
// signed it.
func (e rosterEditor) edit(ctx context.Context, signed sealpost.Signed) (sealpost.Signed, error) {
	c, err := signed.Commitment()
	if err != nil {
		return signed, err
	}
	caller := api.Caller{App: c.App}
	exhibits, err := e.honest.Evidence(ctx, caller, c.ID)
	if err != nil {
		return signed, err
	}
	members := []sealpost.RosterMember{{Leaf: e.o.ghost.leaf.Public().Bytes(), Device: e.o.ghost.id()}}
	var sender sealpost.PublicKey
	for _, k := range keyEvents(exhibits) {
		if k.Key.ID() == signed.KeyID() {
			sender = k.Key
		}
		if k.Device != nil && k.Device.Recipient == c.Recipient {
			members = append(members, sealpost.RosterMember{Leaf: k.Device.Leaf.Bytes(), Device: k.Key.ID()})
		}
	}
	c.Roster = sealpost.NewRoster(c.ID[:], 1, c.Blob[:], members).Digest()
	return sealpost.Sign(c, inName{sender, e.o.Statement})
}

type editedEvidence struct {
	api.Reading
	rosterEditor
}

// Evidence shows the sender the commitment that its device was shown.
func (r editedEvidence) Evidence(ctx context.Context, caller api.Caller, id sealpost.MessageID) ([]api.Exhibit, error) {
	list, err := r.Reading.Evidence(ctx, caller, id)
	for i := range list {
		signed, err := sealpost.Parse(list[i].Statement)
		if err != nil {
			return nil, err
		}
		if signed.Kind() != sealpost.KindCommitment {
			continue
		}
		edited, err := r.edit(ctx, signed)
		if err != nil {
			return nil, err
		}
		list[i].Statement, list[i].Promise, list[i].Proof = edited.Bytes(), nil, nil
	}
	return list, err
}

// forgotWithin is the log-by of a promise that is not meant to be kept. It is
// short, so that nobody who tries it out waits for an hour.
const forgotWithin = time.Millisecond

// forgetMessage answers the sender as an honest relay would, and holds nothing.
func forgetMessage(o *operator, honest rooms) rooms {
	honest.Intake = forgetful{honest.Intake, o}
	return honest
}

type forgetful struct {
	api.Intake
	o *operator
}

// Submit promises and forgets.
func (f forgetful) Submit(_ context.Context, _ api.Caller, batch []sealpost.Sealed) []api.Verdict {
	out := make([]api.Verdict, len(batch))
	for i, s := range batch {
		a := api.Accepted{ID: s.ID()}
		var err error
		if a.Salt, a.Promise, err = f.o.promise(s.Statement(), forgotWithin, s.Commitment().Expires.Add(sealpost.OutcomeGrace)); err != nil {
			return failed(out)
		}
		out[i].Accepted = &a
	}
	return out
}

// dropMessage keeps back the first message that comes.
func dropMessage(o *operator, honest rooms) rooms {
	d := &dropped{Intake: honest.Intake}
	honest.Intake = d
	honest.DeviceRoad = courier{honest.DeviceRoad, d.bend}
	return honest
}

type dropped struct {
	api.Intake
	mu sync.Mutex
	id sealpost.MessageID
}

// Submit notes which message is the first.
func (d *dropped) Submit(ctx context.Context, caller api.Caller, batch []sealpost.Sealed) []api.Verdict {
	d.mu.Lock()
	if len(batch) > 0 && d.id == (sealpost.MessageID{}) {
		d.id = batch[0].ID()
	}
	d.mu.Unlock()
	return d.Intake.Submit(ctx, caller, batch)
}

func (d *dropped) bend(_ context.Context, a api.Arrival) (api.Arrival, bool, error) {
	s, err := sealpost.ParseSealed(a.Sealed)
	d.mu.Lock()
	defer d.mu.Unlock()
	return a, err == nil && s.ID() != d.id, err
}
