package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// What a sender reads of its own messages. Another tenant's message is not found.

// Message is one message with its timeline.
func (r *Relay) Message(ctx context.Context, caller api.Caller, id sealpost.MessageID) (api.MessageView, error) {
	m, p := r.ownMessage(ctx, caller, id)
	if p != nil {
		return api.MessageView{}, p
	}
	records, err := r.cfg.Store.Records(ctx, m.App, id)
	if err != nil {
		return api.MessageView{}, r.answer("read a message's statements", err)
	}
	view := viewOf(m)
	for _, rec := range records {
		e, err := eventOf(rec)
		if err != nil {
			return api.MessageView{}, r.answer("read a held statement", fmt.Errorf("seq %d: %w", rec.Seq, unreadable{err}))
		}
		view.Timeline = append(view.Timeline, e)
	}
	return view, nil
}

// An unreadable statement of the store's own is a fault of ours, whatever it
// would be in a submission.
type unreadable struct{ error }

func viewOf(m sealpost.Message) api.MessageView {
	v := api.MessageView{ID: m.ID, Created: m.Created, Expires: m.Expires}
	if m.End != 0 {
		v.End = m.End.String()
	}
	return v
}

func (r *Relay) ownMessage(ctx context.Context, caller api.Caller, id sealpost.MessageID) (sealpost.Message, *api.Problem) {
	m, err := r.cfg.Store.Message(ctx, id)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return m, r.answer("look up a message", err)
	}
	if err != nil || m.App != caller.App {
		return m, api.ErrNotFound
	}
	return m, nil
}

// Messages pages through the caller's messages, oldest first, without their
// timelines. The cursor is the seq of the last one seen.
func (r *Relay) Messages(ctx context.Context, caller api.Caller, cursor string, limit int) ([]api.MessageView, string, error) {
	after, p := parseCursor(cursor)
	if p != nil {
		return nil, "", p
	}
	limit = pageOf(limit)
	list, err := r.cfg.Store.Messages(ctx, caller.App, after, limit)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, "", r.answer("list messages", err)
	}
	page := make([]api.MessageView, len(list))
	for i, m := range list {
		page[i] = viewOf(m)
	}
	next := ""
	if len(list) == limit {
		next = strconv.FormatUint(list[limit-1].Seq, 10)
	}
	return page, next, nil
}

// parseCursor reads what Messages gave out. No message has seq 0: the key event
// that enrols its sender comes before it.
func parseCursor(s string) (uint64, *api.Problem) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, api.ErrMalformed.With("cursor: not one that was given out")
	}
	return n, nil
}

func pageOf(limit int) int {
	if limit <= 0 {
		return api.PageDefault
	}
	return min(limit, api.PageMax)
}

// Evidence is all that the relay holds for a bundle, by seq: the message's own
// statements, the key events of its recipient's devices, and those of the
// senders' keys that signed any of these.
func (r *Relay) Evidence(ctx context.Context, caller api.Caller, id sealpost.MessageID) ([]api.Exhibit, error) {
	m, p := r.ownMessage(ctx, caller, id)
	if p != nil {
		return nil, p
	}
	own, err := r.cfg.Store.Records(ctx, m.App, id)
	if err != nil {
		return nil, r.answer("read a message's statements", err)
	}
	devices, err := r.cfg.Store.KeyEvents(ctx, m.App, m.Recipient)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("read the recipient's key events", err)
	}
	senders, err := r.cfg.Store.SenderKeyEvents(ctx, m.App)
	if err != nil && !errors.Is(err, sealpost.ErrNotFound) {
		return nil, r.answer("read the sender's key events", err)
	}
	records := append(own, devices...)
	records, err = withSigners(records, senders)
	if err != nil {
		return nil, r.answer("read held statements", unreadable{err})
	}
	return r.exhibits(ctx, records)
}

// withSigners adds the key events of the keys that signed records, and of those
// that signed these events in turn.
func withSigners(records, senders []sealpost.Record) ([]sealpost.Record, error) {
	about := map[sealpost.KeyID][]sealpost.Record{}
	for _, rec := range senders {
		s, err := sealpost.Parse(rec.Statement)
		if err != nil {
			return nil, fmt.Errorf("seq %d: %w", rec.Seq, err)
		}
		e, err := s.KeyEvent()
		if err != nil {
			return nil, fmt.Errorf("seq %d: %w", rec.Seq, err)
		}
		about[e.Key.ID()] = append(about[e.Key.ID()], rec)
	}
	for i := 0; i < len(records); i++ { // records grows
		s, err := sealpost.Parse(records[i].Statement)
		if err != nil {
			return nil, fmt.Errorf("seq %d: %w", records[i].Seq, err)
		}
		records = append(records, about[s.KeyID()]...)
		delete(about, s.KeyID())
	}
	return records, nil
}

// exhibits gives records by seq, each that is logged with its proof, all proofs
// under one checkpoint.
func (r *Relay) exhibits(ctx context.Context, records []sealpost.Record) ([]api.Exhibit, error) {
	sortBySeq(records)
	proofs, err := r.proofs(ctx, records)
	if err != nil {
		return nil, err
	}
	out := make([]api.Exhibit, len(records))
	for i, rec := range records {
		out[i] = api.Exhibit{Seq: rec.Seq, Statement: rec.Statement, Salt: rec.Salt[:], Promise: rec.Promise, Proof: proofs[i]}
	}
	return out, nil
}

// proofs asks the log for one proof of each record, nil where it has none yet.
func (r *Relay) proofs(ctx context.Context, records []sealpost.Record) ([][]byte, error) {
	if len(records) == 0 {
		return nil, nil
	}
	indices := make([]uint64, len(records))
	for i, rec := range records {
		indices[i] = rec.Seq
	}
	proofs, err := r.cfg.Log.Proofs(ctx, indices)
	if err == nil && len(proofs) != len(indices) {
		err = fmt.Errorf("the log gave %d proofs of %d", len(proofs), len(indices))
	}
	if err != nil {
		return nil, r.answer("prove", err)
	}
	return proofs, nil
}
