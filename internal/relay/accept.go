package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// Submit takes submissions of one tenant past their points of no return, all in
// one pass:
//
//	1 admit   room in the queue, or 429 or 503; nothing was looked at
//	2 check   everything but the signature, from memory where it can be
//	3 verify  in a batch with others; nothing is durable, a bad one changes nothing
//	4 hold    group commit; a crash after this is a retry with the same bytes
//	5 promise given out
//
// Problems come in the order of package api's list. One that stands after the
// signature there is told only to a caller whose signature is sound, and only
// where the same bytes are not held already: a sender that lost its answer gets
// it again, however late it asks.
func (r *Relay) Submit(ctx context.Context, caller api.Caller, batch []sealpost.Sealed) []api.Verdict {
	verdicts := make([]api.Verdict, len(batch))
	if len(batch) > api.BatchMax {
		return refuseAll(verdicts, api.ErrTooLarge.With("at most %d submissions in one request", api.BatchMax))
	}
	now := r.cfg.Now()
	if p := r.overdue(now); p != nil {
		return r.count(refuseAll(verdicts, p))
	}
	items := make([]*item, 0, len(batch))
	places := make([]int, 0, len(batch))
	for i, s := range batch {
		it, p := r.check(ctx, caller, s, sealpost.FromTime(now))
		if p != nil {
			verdicts[i].Problem = p
			continue
		}
		items, places = append(items, it), append(places, i)
	}
	if len(items) == 0 {
		return r.count(verdicts)
	}
	if _, p := r.admission.enter(items, now, false); p != nil {
		return r.count(refuseAll(verdicts, p))
	}
	if err := r.pass(ctx, items); err != nil {
		return refuseAll(verdicts, r.answer("submit", err))
	}
	for k, it := range items {
		verdicts[places[k]] = r.verdict(ctx, it)
	}
	return r.count(verdicts)
}

func refuseAll(verdicts []api.Verdict, p *api.Problem) []api.Verdict {
	for i := range verdicts {
		verdicts[i].Problem = p
	}
	return verdicts
}

func (r *Relay) count(verdicts []api.Verdict) []api.Verdict {
	accepted := 0
	for _, v := range verdicts {
		if v.Problem != nil {
			r.cfg.Metrics.Refused(v.Problem.Type)
		} else {
			accepted++
		}
	}
	r.cfg.Metrics.Accepted(accepted)
	return verdicts
}

// check makes the item of a submission. A problem is one that stands before the
// signature in the list; the item's late problem is one that stands after it.
func (r *Relay) check(ctx context.Context, caller api.Caller, s sealpost.Sealed, now sealpost.UnixMilli) (*item, *api.Problem) {
	if s.IsZero() {
		return nil, api.ErrMalformed
	}
	c, blob := s.Commitment(), s.BlobView()
	commits, ok := readEnvelope(c, blob)
	switch {
	case !ok:
		return nil, api.ErrEnvelope
	case c.App != caller.App:
		return nil, api.ErrWrongApp
	}
	c.App = caller.App // the same, and it does not keep the submission in memory
	statement := s.Statement()
	key, p := r.senderKey(ctx, c.App, statement.KeyID())
	if p != nil {
		return nil, p
	}
	if key.Alg() != statement.Alg() {
		return nil, api.ErrSignature
	}
	return &item{
		hold: sealpost.Hold{
			Record: sealpost.Record{Kind: sealpost.KindCommitment, App: c.App, ID: c.ID,
				Statement: statement.View(), Hash: statement.Hash()},
			Commitment: &c, Blob: blob, Commits: commits,
		},
		promised:  true,
		outcomeBy: int64(c.Expires.Add(sealpost.OutcomeGrace)),
		signer:    statement.KeyID(),
		check:     checkOf(key, statement),
		late:      r.checkLate(ctx, &c, now),
	}, nil
}

// checkLate is what stands after the signature, in order.
func (r *Relay) checkLate(ctx context.Context, c *sealpost.Commitment, now sealpost.UnixMilli) *api.Problem {
	if c.Created < now.Add(-sealpost.FreshnessWindow) || c.Created > now.Add(sealpost.FreshnessWindow) {
		return api.ErrStale
	}
	if c.Expires <= now {
		return api.ErrExpired
	}
	if p := r.checkRecipient(ctx, c); p != nil {
		return p
	}
	if !slices.ContainsFunc(r.carriers, c.Allows) {
		return api.ErrCarrier
	}
	return r.checkHead(ctx, c.NotBefore)
}

// checkRecipient wants a device in force that may show the message.
func (r *Relay) checkRecipient(ctx context.Context, c *sealpost.Commitment) *api.Problem {
	devices, err := r.recipientDevices(ctx, recipientKey{c.App, c.Recipient})
	if err != nil {
		return r.answer("look up a recipient", err)
	}
	problem := api.ErrRecipient
	for _, d := range devices {
		switch {
		case d.Revoked != 0:
		case d.Enrolled >= r.published.size():
			problem = notYet()
		case d.Assurance < c.LeastAssurance:
			problem = api.ErrRecipient.With("no device in force is of the assurance that the commitment demands")
		default:
			return nil
		}
	}
	return problem
}

// emptyRoot is the root of a log without leaves (RFC 9162 2.1.1).
var emptyRoot = sealpost.Hash(sha256.Sum256(nil))

// checkHead wants a head that this log had, so that no commitment claims to be
// younger than a checkpoint that never was. A sender that knows none says size 0.
func (r *Relay) checkHead(ctx context.Context, h sealpost.Head) *api.Problem {
	if h.Size == 0 {
		if h.Root == (sealpost.Hash{}) || h.Root == emptyRoot {
			return nil
		}
		return api.ErrHead
	}
	_, err := r.heads.get(ctx, h, r.findHead)
	switch {
	case errors.Is(err, sealpost.ErrNotFound):
		return api.ErrHead
	case err != nil:
		return r.answer("look up a log head", err)
	}
	return nil
}

// findHead asks the log. Only what it had is remembered: a sender may know a
// checkpoint that this process is about to see.
func (r *Relay) findHead(ctx context.Context, h sealpost.Head) (struct{}, error) {
	had, err := r.cfg.Log.Had(ctx, h)
	if err == nil && !had {
		err = sealpost.ErrNotFound
	}
	return struct{}{}, err
}

// verdict answers one item that has passed the pipeline.
func (r *Relay) verdict(ctx context.Context, it *item) api.Verdict {
	switch {
	case it.problem != nil && !it.problem.Is(api.ErrSignature):
		if again := r.heldBefore(ctx, it); again != nil {
			return api.Verdict{Accepted: again}
		}
		return api.Verdict{Problem: it.problem}
	case it.problem != nil:
		return api.Verdict{Problem: it.problem}
	case it.held.Err != nil:
		return api.Verdict{Problem: r.answer("hold a submission", it.held.Err)}
	}
	return api.Verdict{Accepted: accepted(&it.held.Record, it.held.Again)}
}

func accepted(rec *sealpost.Record, again bool) *api.Accepted {
	return &api.Accepted{ID: rec.ID, Salt: rec.Salt[:], Promise: rec.Promise, Again: again}
}

// heldBefore finds the answer of the same bytes, soundly signed, that would be
// turned away today.
func (r *Relay) heldBefore(ctx context.Context, it *item) *api.Accepted {
	m, err := r.cfg.Store.Message(ctx, it.hold.ID)
	if err != nil || m.App != it.hold.App || m.Commitment != it.hold.Hash {
		if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
			r.answer("look up a message", err)
		}
		return nil
	}
	rec, err := r.cfg.Store.Record(ctx, m.Seq)
	if err != nil || rec.Hash != it.hold.Hash {
		r.answer("read a held commitment", err)
		return nil
	}
	return accepted(&rec, true)
}
