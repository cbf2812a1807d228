package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// ErrPending says that a message is sealed and durable, and no promise for it
// is in hand: [Sender.Flush] posts the same bytes again.
var ErrPending = errors.New("sealed and not yet promised")

// A Sent is what became of one message. ID is zero where nothing was sealed.
type Sent struct {
	ID      sealpost.MessageID
	Left    []sealpost.KeyID // devices in force that could not be sealed to
	LeftErr error            // why not, where this call tried
	Err     error
}

// Send seals one message and posts it. It returns the message's id with a nil
// error when the relay's promise is checked and durable.
func (s *Sender) Send(ctx context.Context, m Message) (sealpost.MessageID, error) {
	sent := s.SendAll(ctx, []Message{m})[0]
	return sent.ID, sent.Err
}

// SendAll sends messages, at most [api.BatchMax] in one transaction and one
// request each time, and answers each in order. For each batch:
//
//	1 seal   in memory; a crash leaves no trace but claimed KeyPackages
//	2 keep   MLS states, openings, blobs and signed commitments, together
//	3 post   a crash from here on is a retry of the same bytes
//	4 check  the promise of each, which becomes durable before it is believed
func (s *Sender) SendAll(ctx context.Context, messages []Message) []Sent {
	out := make([]Sent, len(messages))
	for from := 0; from < len(messages); from += api.BatchMax {
		to := min(from+api.BatchMax, len(messages))
		s.sendBatch(ctx, messages[from:to], out[from:to])
	}
	return out
}

// The relay takes one commit for each group and epoch. Where another stands in
// the place of ours, which no replica of this sender made that shares its group,
// the group is given up, and what it sealed in vain is sealed again in a fresh one:
// as another message, because the first was signed.
func (s *Sender) sendBatch(ctx context.Context, messages []Message, out []Sent) {
	s.sendOnce(ctx, messages, out)
	for range epochTries {
		var again []Message
		var places []int
		for i := range out {
			if errors.Is(out[i].Err, api.ErrEpochTaken) {
				again, places = append(again, messages[i]), append(places, i)
			}
		}
		if len(again) == 0 {
			return
		}
		more := make([]Sent, len(again))
		s.sendOnce(ctx, again, more)
		for i, at := range places {
			out[at] = more[i]
		}
	}
}

// epochTries bounds how often a message is sealed again because another commit
// stands in the place of ours.
const epochTries = 2

func (s *Sender) sendOnce(ctx context.Context, messages []Message, out []Sent) {
	made, err := s.sealBatch(ctx, messages, out)
	if err != nil {
		for i := range out {
			if out[i].Err == nil {
				out[i] = Sent{Err: fmt.Errorf("keep sealed messages: %w", err)}
			}
		}
		return
	}
	sealed, places := []sealpost.Sealed{}, []int{}
	for i := range made {
		if out[i].Err == nil {
			sealed, places = append(sealed, made[i].sealed), append(places, i)
		}
	}
	for i, err := range s.post(ctx, sealed) {
		out[places[i]].Err = err
	}
}

// sealBatch seals messages and makes them durable in one transaction. The
// recipients are locked until then, so that no other message takes the same
// generation or sequence number.
func (s *Sender) sealBatch(ctx context.Context, messages []Message, out []Sent) ([]sealedMessage, error) {
	recipients := make([]sealpost.Recipient, len(messages))
	for i, m := range messages {
		recipients[i] = s.Recipient(m.To)
	}
	defer s.lock(recipients...)()
	var head checkpoint
	if err := s.cfg.Store.View(func(tx Tx) (err error) { head, err = held(tx); return err }); err != nil {
		return nil, err
	}
	sealers := map[sealpost.Recipient]*sealer{}
	made := make([]sealedMessage, len(messages))
	for i, m := range messages {
		made[i], out[i] = s.sealOne(ctx, sealers, recipients[i], m, head.Head)
	}
	return made, s.cfg.Store.Update(func(tx Tx) error {
		for i := range made {
			if out[i].Err != nil {
				continue
			}
			err := errors.Join(save(tx, messageKey(made[i].id), made[i].record),
				tx.Put(outboxKey(made[i].id), []byte{1}), tx.Put(openKey(made[i].id), []byte{1}))
			if err != nil {
				return err
			}
		}
		for _, x := range sealers {
			if x == nil {
				continue
			}
			if err := x.keep(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// sealOne seals one message of a batch, with the state that the ones before
// left. A recipient whose sealing failed half-way is not written.
func (s *Sender) sealOne(ctx context.Context, sealers map[sealpost.Recipient]*sealer, r sealpost.Recipient, m Message, head sealpost.Head) (sealedMessage, Sent) {
	t, content, err := s.template(m)
	if err != nil {
		return sealedMessage{}, Sent{Err: err}
	}
	x := sealers[r]
	if x == nil {
		if x, err = s.open(ctx, r); err != nil {
			return sealedMessage{}, Sent{Err: err}
		}
	}
	made, err := x.seal(m, t, content, head)
	if errors.Is(err, errMoved) { // in the middle of a batch
		sequence := x.sequence
		if x, err = s.open(ctx, r); err != nil {
			return sealedMessage{}, Sent{Err: err}
		}
		x.sequence = sequence
		sealers[r] = x
		made, err = x.seal(m, t, content, head)
	}
	if err != nil {
		return sealedMessage{}, Sent{Left: x.left, LeftErr: x.leftErr, Err: fmt.Errorf("seal: %w", err)}
	}
	sealers[r] = x
	return made, Sent{ID: made.id, Left: x.left, LeftErr: x.leftErr}
}

// post submits durable messages and settles each answer, in order.
func (s *Sender) post(ctx context.Context, batch []sealpost.Sealed) []error {
	out := make([]error, len(batch))
	if len(batch) == 0 {
		return out
	}
	verdicts := s.cfg.API.Submit(ctx, batch)
	for i, sealed := range batch {
		if i >= len(verdicts) {
			out[i] = fmt.Errorf("%w: no answer", ErrPending)
			continue
		}
		out[i] = s.settle(sealed, verdicts[i])
	}
	return out
}

// settle makes one answer durable. A problem that the same bytes would meet
// again ends the message; any other leaves it in the outbox, and so does an
// acceptance without a promise that holds, which is kept as evidence.
func (s *Sender) settle(sealed sealpost.Sealed, v api.Verdict) error {
	id := sealed.ID()
	switch {
	case v.Problem != nil && final(v.Problem):
		faults := []error{v.Problem, s.change(id, func(r *messageRecord) {
			r.State, r.Problem, r.Blob = stateRefused, v.Problem.Type, nil
		})}
		if errors.Is(v.Problem, api.ErrEpochTaken) {
			faults = append(faults, s.abandon(id))
		}
		return errors.Join(faults...)
	case v.Problem != nil:
		return fmt.Errorf("%w: %w", ErrPending, v.Problem)
	case v.Accepted == nil:
		return fmt.Errorf("%w: an empty answer", ErrPending)
	}
	statement := sealed.Statement().Bytes()
	outcomeBy := sealed.Commitment().Expires.Add(sealpost.OutcomeGrace)
	p, err := checkPromise(s.cfg.RelayKey, s.log.origin(), v.Accepted.Salt, v.Accepted.Promise, statement, outcomeBy)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPending, s.fault(id, err, statement, v.Accepted.Salt, v.Accepted.Promise))
	}
	return s.change(id, func(r *messageRecord) {
		r.State, r.Salt, r.Promise, r.Blob = statePromised, p.Salt, p.Promise, nil
	})
}

// abandon gives up the group of a message, if it is still the recipient's. The next
// message starts a fresh one.
func (s *Sender) abandon(id sealpost.MessageID) error {
	m, err := s.message(id)
	if err != nil {
		return err
	}
	defer s.lock(m.Recipient)()
	return s.shared.Update(func(tx Tx) error {
		g, found, err := load[groupRecord](tx, groupKey(m.Recipient))
		if err != nil || !found || !bytes.Equal(g.Group, m.Group) {
			return err
		}
		return tx.Delete(groupKey(m.Recipient))
	})
}

// change settles a message's record and takes it out of the outbox.
func (s *Sender) change(id sealpost.MessageID, with func(*messageRecord)) error {
	return s.cfg.Store.Update(func(tx Tx) error {
		r, found, err := load[messageRecord](tx, messageKey(id))
		if err != nil || !found {
			return errors.Join(err, missing(!found, "a posted message"))
		}
		with(&r)
		err = errors.Join(save(tx, messageKey(id), r), tx.Delete(outboxKey(id)))
		if r.State == stateRefused {
			err = errors.Join(err, tx.Delete(openKey(id)))
		}
		return err
	})
}

// Flush posts key events and messages that are signed and not yet promised,
// with the bytes that were signed, and answers each message. Call it at start
// and after ErrPending.
func (s *Sender) Flush(ctx context.Context) ([]Sent, error) {
	events := s.flushEvents(ctx)
	if events != nil {
		events = fmt.Errorf("post key events: %w", events)
	}
	var waiting []sealpost.Sealed
	err := s.cfg.Store.View(func(tx Tx) error {
		return tx.Scan("outbox/", func(key string, _ []byte) error {
			r, found, err := load[messageRecord](tx, "message/"+key[len("outbox/"):])
			if err != nil || !found {
				return errors.Join(err, missing(!found, "a message of the outbox"))
			}
			sealed, err := r.sealed()
			waiting = append(waiting, sealed)
			return err
		})
	})
	if err != nil {
		return nil, errors.Join(events, fmt.Errorf("read the outbox: %w", err))
	}
	var out []Sent
	for from := 0; from < len(waiting); from += api.BatchMax {
		batch := waiting[from:min(from+api.BatchMax, len(waiting))]
		for i, err := range s.post(ctx, batch) {
			out = append(out, Sent{ID: batch[i].ID(), Err: err})
		}
	}
	return out, events
}

// sealed is the submission as it was made.
func (r *messageRecord) sealed() (sealpost.Sealed, error) {
	signed, err := sealpost.Parse(r.Statement)
	if err != nil {
		return sealpost.Sealed{}, err
	}
	return sealpost.NewSealed(signed, r.Blob)
}
