package client

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/evidence"
)

var (
	// ErrExhibit says that a statement which the relay offered as evidence does
	// not hold; it is kept as a fault and not as evidence.
	ErrExhibit = errors.New("exhibit refused")
	// ErrTwoOutcomes says that the relay signed more than one outcome for a
	// message. Both are evidence: together they prove its fault.
	ErrTwoOutcomes = errors.New("the relay signed two outcomes for one message")
)

// A Status is what a sender can show of one message from its own store.
type Status struct {
	ID       sealpost.MessageID
	Promised bool
	Refused  string       // the problem's type, where the relay refused it
	End      sealpost.End // 0 while there is no outcome
	Outcomes int          // that the relay signed: more than one are proof of its fault
	Receipts []sealpost.Receipt
	Exhibits int
	Logged   int  // exhibits with an inclusion proof
	Complete bool // there is an outcome, and every exhibit has its proof
}

func exhibitPrefix(id sealpost.MessageID) string { return at("exhibit", id[:]) + "/" }

func exhibitKey(id sealpost.MessageID, statement sealpost.Hash) string {
	return at("exhibit", id[:], statement[:])
}

// Sync fetches the evidence of a message, checks every piece, and makes it
// durable in the sender's own store, so that [Sender.Bundle] needs no relay.
// Pieces that do not hold are kept as faults and named in the error; the others
// count all the same. Receipts also tell which devices need no Welcome any more.
func (s *Sender) Sync(ctx context.Context, id sealpost.MessageID) (Status, error) {
	m, err := s.message(id)
	if err != nil {
		return Status{}, err
	}
	offered, err := s.cfg.API.Evidence(ctx, id)
	if err != nil {
		return Status{}, fmt.Errorf("fetch evidence: %w", err)
	}
	j := &exhibitJudge{s: s, id: id, m: m}
	if err := j.prepare(); err != nil {
		return Status{}, err
	}
	var faults []error
	for _, e := range offered {
		if err := j.judge(e); err != nil {
			faults = append(faults, s.faultIn(id, fmt.Errorf("%w: %w", ErrExhibit, err), e))
		}
	}
	if err := s.keep(j); err != nil {
		return Status{}, fmt.Errorf("keep evidence: %w", err)
	}
	if j.newest.Note != "" {
		err := s.log.advance(ctx, s.cfg.Store, []byte(j.newest.Note), s.now())
		if err != nil && !errors.Is(err, errUnproven) {
			faults = append(faults, err)
		}
	}
	st, err := s.Status(id)
	if st.Outcomes > 1 {
		faults = append(faults, ErrTwoOutcomes)
	}
	return st, errors.Join(append(faults, err)...)
}

// faultIn keeps an exhibit that the relay offered for a message and that does
// not hold, and returns why as an error too.
func (s *Sender) faultIn(id sealpost.MessageID, cause error, e api.Exhibit) error {
	f := Fault{Time: s.now(), What: cause.Error(), ID: id}
	if x, ok := offered(e.Statement, e.Salt, e.Promise, e.Proof); ok {
		f.Exhibits = []evidence.Exhibit{x}
	} else {
		f.Parts = [][]byte{e.Statement, e.Salt, e.Promise, e.Proof}
	}
	return errors.Join(cause, recordFault(s.cfg.Store, f))
}

func (s *Sender) message(id sealpost.MessageID) (m messageRecord, err error) {
	return m, s.cfg.Store.View(func(tx Tx) error {
		var found bool
		if m, found, err = load[messageRecord](tx, messageKey(id)); err == nil && !found {
			err = sealpost.ErrNotFound
		}
		return err
	})
}

// An exhibitJudge checks what the relay offers for one message.
type exhibitJudge struct {
	s          *Sender
	id         sealpost.MessageID
	m          messageRecord
	hash       sealpost.Hash // of the commitment statement
	commitment sealpost.Commitment
	payload    sealpost.Payload
	roster     sealpost.Roster

	good   []exhibitRecord
	acks   []sealpost.KeyID
	newest checkpoint
}

func (j *exhibitJudge) prepare() error {
	signed, err := sealpost.Parse(j.m.Statement)
	if err != nil {
		return err
	}
	j.hash = signed.Hash()
	if j.commitment, err = signed.Commitment(); err != nil {
		return err
	}
	if j.payload, err = sealpost.DecodePayload(j.m.Payload); err != nil {
		return err
	}
	j.roster, err = sealpost.ParseRoster(j.m.Roster)
	return err
}

// judge checks one exhibit: who signed it, that it is about this message, and
// that leaf, promise and proof are of these very bytes.
func (j *exhibitJudge) judge(e api.Exhibit) error {
	if len(e.Salt) != len(sealpost.Salt{}) {
		return fmt.Errorf("%w: salt", sealpost.ErrMalformed)
	}
	signed, err := sealpost.Parse(e.Statement)
	if err != nil {
		return err
	}
	if err := j.statement(signed); err != nil {
		return fmt.Errorf("%v: %w", signed.Kind(), err)
	}
	x := exhibitRecord{e.Statement, sealpost.Salt(e.Salt), e.Promise, e.Proof}
	if len(e.Promise) != 0 {
		var outcomeBy sealpost.UnixMilli
		if signed.Kind() == sealpost.KindCommitment {
			outcomeBy = j.commitment.Expires.Add(sealpost.OutcomeGrace)
		}
		if _, err := checkPromise(j.s.cfg.RelayKey, j.s.log.origin(), e.Salt, e.Promise, e.Statement, outcomeBy); err != nil {
			return err
		}
	}
	if len(e.Proof) != 0 {
		p, err := j.s.log.checkProof(e.Proof, x.Salt, e.Statement)
		if err != nil {
			return err
		}
		if p.Index != e.Seq {
			return fmt.Errorf("%w: the leaf's index is not its place in the store", sealpost.ErrMalformed)
		}
		if j.newest.Note == "" || p.Checkpoint.Head.Size > j.newest.Head.Size {
			j.newest = p.Checkpoint
		}
	}
	j.good = append(j.good, x)
	return nil
}

// statement checks signer and content by kind.
func (j *exhibitJudge) statement(signed sealpost.Signed) error {
	switch signed.Kind() {
	case sealpost.KindCommitment:
		if !bytes.Equal(signed.Bytes(), j.m.Statement) {
			return errors.New("another commitment under this message's id")
		}
		return nil
	case sealpost.KindReceipt:
		return j.receipt(signed)
	case sealpost.KindAttempt:
		a, err := signed.Attempt()
		return errors.Join(err, signed.Verify(j.s.cfg.RelayKey), j.about(a.ID, a.Commitment))
	case sealpost.KindCarrierClaim:
		c, err := signed.CarrierClaim()
		return errors.Join(err, signed.Verify(j.s.cfg.RelayKey), j.about(c.ID, j.hash))
	case sealpost.KindOutcome:
		o, err := signed.Outcome()
		return errors.Join(err, signed.Verify(j.s.cfg.RelayKey), j.about(o.ID, o.Commitment))
	case sealpost.KindKeyEvent:
		e, err := signed.KeyEvent()
		if err == nil && e.App != j.s.cfg.App {
			err = errors.New("of another app")
		}
		return errors.Join(err, signed.Verify(j.s.cfg.Key.Public()))
	}
	return errors.New("a kind that is no evidence of a message")
}

func (j *exhibitJudge) about(id sealpost.MessageID, commitment sealpost.Hash) error {
	if id != j.id || commitment != j.hash {
		return errors.New("about another message or commitment")
	}
	return nil
}

// receipt checks a device's word: by a device that this sender enrolled for
// this recipient and sealed to, about this commitment, and from decrypted
// upward by someone who holds the opening.
func (j *exhibitJudge) receipt(signed sealpost.Signed) error {
	r, err := signed.Receipt()
	if err != nil {
		return err
	}
	d, err := j.s.device(signed.KeyID())
	if err != nil {
		return err
	}
	if err := signed.Verify(d.Key); err != nil {
		return err
	}
	if err := j.about(r.ID, r.Commitment); err != nil {
		return err
	}
	switch {
	case r.Key != signed.KeyID():
		return errors.New("it names another key than its signer's")
	case d.Recipient != j.m.Recipient || !j.roster.Has(r.Key):
		return errors.New("by a device that is not in the roster")
	case !r.Level.Positive():
		return nil
	case r.Blob != j.commitment.Blob || r.Roster != j.commitment.Roster:
		return errors.New("it matched another blob or roster")
	}
	want := sealpost.Opened(j.payload.R, j.hash, r.Key, r.Level)
	if !hmac.Equal(want[:], r.Opened) {
		return errors.New("its signer does not hold the opening")
	}
	j.acks = append(j.acks, r.Key)
	return nil
}

// keep makes what held durable: the exhibits, and how far devices acknowledged,
// which all replicas see. A message's evidence may be fetched again after a crash
// in between.
func (s *Sender) keep(j *exhibitJudge) error {
	defer s.lock(j.m.Recipient)()
	if s.replicated && len(j.acks) > 0 {
		if err := s.shared.Update(j.acknowledge); err != nil {
			return err
		}
	}
	return s.cfg.Store.Update(func(tx Tx) error {
		for _, x := range j.good {
			signed, err := sealpost.Parse(x.Statement)
			if err != nil {
				return err
			}
			key := exhibitKey(j.id, signed.Hash())
			old, _, err := load[exhibitRecord](tx, key)
			if err != nil {
				return err
			}
			if len(x.Proof) == 0 {
				x.Proof = old.Proof
			}
			if len(x.Promise) == 0 {
				x.Promise = old.Promise
			}
			if err := save(tx, key, x); err != nil {
				return err
			}
		}
		if !s.replicated && len(j.acks) > 0 {
			if err := j.acknowledge(tx); err != nil {
				return err
			}
		}
		st, err := status(tx, j.id)
		if err != nil || !st.Complete {
			return err
		}
		return tx.Delete(openKey(j.id))
	})
}

func (j *exhibitJudge) acknowledge(tx Tx) error {
	g, found, err := load[groupRecord](tx, groupKey(j.m.Recipient))
	if err != nil || !found || !bytes.Equal(g.Group, j.m.Group) {
		return err
	}
	for _, id := range j.acks {
		g.acknowledge(id, j.m.Epoch, j.m.Generation)
	}
	return save(tx, groupKey(j.m.Recipient), g)
}

// Status reads what the store holds of a message.
func (s *Sender) Status(id sealpost.MessageID) (st Status, err error) {
	err = s.cfg.Store.View(func(tx Tx) error { st, err = status(tx, id); return err })
	return st, err
}

func status(tx Tx, id sealpost.MessageID) (Status, error) {
	m, found, err := load[messageRecord](tx, messageKey(id))
	if err != nil {
		return Status{}, err
	}
	if !found {
		return Status{}, sealpost.ErrNotFound
	}
	st := Status{ID: id, Promised: m.State == statePromised, Refused: m.Problem}
	exhibits, err := loadAll[exhibitRecord](tx, exhibitPrefix(id))
	if err != nil {
		return Status{}, err
	}
	for _, x := range exhibits {
		st.Exhibits++
		if len(x.Proof) != 0 {
			st.Logged++
		}
		signed, err := sealpost.Parse(x.Statement)
		if err != nil {
			return Status{}, err
		}
		switch signed.Kind() {
		case sealpost.KindReceipt:
			r, err := signed.Receipt()
			if err != nil {
				return Status{}, err
			}
			st.Receipts = append(st.Receipts, r)
		case sealpost.KindOutcome:
			o, err := signed.Outcome()
			if err != nil {
				return Status{}, err
			}
			st.End = o.End
			st.Outcomes++
		}
	}
	st.Complete = st.End != 0 && st.Logged == st.Exhibits
	return st, nil
}

// Open lists the messages that have no complete evidence yet, oldest first.
func (s *Sender) Open() (ids []sealpost.MessageID, err error) { return s.listed("open/") }

// Messages lists every message in the store, oldest first.
func (s *Sender) Messages() ([]sealpost.MessageID, error) { return s.listed("message/") }

func (s *Sender) listed(prefix string) (ids []sealpost.MessageID, err error) {
	return ids, s.cfg.Store.View(func(tx Tx) error {
		return tx.Scan(prefix, func(key string, _ []byte) error {
			id, err := parseIDKey(key[len(prefix):])
			ids = append(ids, id)
			return err
		})
	})
}
