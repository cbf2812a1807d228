package client

import (
	"context"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// deviceFace is the relay as one device sees it.
type deviceFace struct {
	*memoryRelay
	id sealpost.KeyID
}

// mine is the device that asks, in force.
func (r deviceFace) mine() (*heldDevice, *api.Problem) {
	d := r.devices[r.id]
	switch {
	case d == nil || d.revoked:
		return nil, api.ErrUnauthenticated
	case d.event.Device == nil:
		return nil, api.ErrUnknownKey
	}
	return d, nil
}

func (r deviceFace) Answer(ctx context.Context, in api.Answer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Answer", in.Key, in.Leaf, in.ByKey, in.ByLeaf, in.MAC); err != nil {
		return err
	}
	i := slices.IndexFunc(r.enrolments, func(e *sealpost.Enrolment) bool { return e.ID == in.ID && e.Expires > r.now() })
	if i < 0 {
		return api.ErrChallenge
	}
	e := r.enrolments[i]
	a, p := readAnswer(e, in)
	if p != nil {
		return p
	}
	switch d := r.devices[a.Key.ID()]; {
	case e.Answer != nil && (e.Answer.Key != a.Key || e.Answer.Device.Leaf != a.Device.Leaf || e.Answer.MAC != a.MAC):
		return api.ErrChallenge
	case e.Answer == nil && d != nil:
		return api.ErrKeyEvent
	case e.Answer == nil:
		e.Answer = &a
		d := &heldDevice{challenge: e.Challenge, endpoints: in.Endpoints}
		d.stock(a.KeyPackages)
		r.devices[a.Key.ID()] = d
	}
	return r.done("Answer")
}

// readAnswer checks the form of an answer, which is all that a relay can check.
func readAnswer(e *sealpost.Enrolment, in api.Answer) (a sealpost.EnrolmentAnswer, p *api.Problem) {
	key, err := sealpost.ParsePublicKey(in.Key)
	if err != nil {
		return a, api.ErrMalformed
	}
	leaf, err := sealpost.ParsePublicKey(in.Leaf)
	if err != nil || len(in.MAC) != len(sealpost.Hash{}) {
		return a, api.ErrMalformed
	}
	pair := sealpost.KeyPair(e.App, e.Recipient, key, leaf)
	if key.Verify(pair, in.ByKey) != nil || leaf.Verify(pair, in.ByLeaf) != nil {
		return a, api.ErrSignature
	}
	a = sealpost.EnrolmentAnswer{Key: key, MAC: sealpost.Hash(in.MAC), Device: sealpost.DeviceKey{Recipient: e.Recipient,
		Leaf: leaf, ByKey: in.ByKey, ByLeaf: in.ByLeaf, Assurance: in.Assurance}}
	for _, pkg := range in.KeyPackages {
		a.KeyPackages = append(a.KeyPackages, pkg)
	}
	return a, checkStock(a.KeyPackages, in.Endpoints)
}

// checkStock bounds what a device may leave.
func checkStock(packages [][]byte, endpoints []api.DeviceEndpoint) *api.Problem {
	const packageMax = 8 << 10 // bytes
	if len(packages) > api.BatchMax || slices.ContainsFunc(packages, func(p []byte) bool { return len(p) == 0 || len(p) > packageMax }) {
		return api.ErrTooLarge
	}
	last := 0
	for _, p := range packages {
		if isLastResort(p) {
			last++
		}
	}
	if last > 1 {
		return api.ErrMalformed
	}
	if slices.ContainsFunc(endpoints, func(e api.DeviceEndpoint) bool { return e.Carrier != sealpost.FCM || e.Value == "" }) {
		return api.ErrMalformed
	}
	return nil
}

func (r deviceFace) Enrolment(ctx context.Context) (api.Exhibit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Enrolment"); err != nil {
		return api.Exhibit{}, err
	}
	d, p := r.mine()
	switch {
	case p != nil && p.Is(api.ErrUnknownKey): // it has answered, and its sender has not signed
		return api.Exhibit{}, api.ErrNotFound
	case p != nil:
		return api.Exhibit{}, p
	}
	x := r.exhibit(r.records[d.eventSeq])
	if r.bend != nil {
		r.bend("Enrolment", &x)
	}
	return x, nil
}

func (r deviceFace) arrival(m *heldMessage) api.Arrival {
	h := r.records[m.seq]
	a := api.Arrival{Seq: uint64(m.seq), Sealed: m.sealed.Bytes(), Salt: h.salt[:], Promise: h.promise, Proof: r.log.prove(int64(m.seq))}
	if r.bend != nil {
		r.bend("Arrival", &a)
	}
	return a
}

// answered says whether a device has posted a receipt of such a level.
func (r *memoryRelay) answered(m *heldMessage, id sealpost.KeyID, level func(sealpost.Level) bool) bool {
	return slices.ContainsFunc(r.records, func(h *heldRecord) bool {
		if h.kind != sealpost.KindReceipt || h.id != m.sealed.ID() {
			return false
		}
		signed, _ := sealpost.Parse(h.statement)
		x, _ := signed.Receipt()
		return x.Key == id && level(x.Level)
	})
}

func handedOver(l sealpost.Level) bool { return l == sealpost.HandedOver || l.Positive() }

// waits says whether a message waits for this device: it has not handed it over
// or refused it.
func (r deviceFace) waits(m *heldMessage) bool {
	return r.forMe(m) && !r.answered(m, r.id, func(l sealpost.Level) bool { return handedOver(l) || l.Negative() })
}

// forMe says whether a message was sent to this device and the relay has its
// envelope still: until every device has it, or it has expired.
func (r deviceFace) forMe(m *heldMessage) bool {
	return slices.Contains(m.to, r.id) && m.sealed.Commitment().Expires > r.now() &&
		slices.ContainsFunc(m.to, func(id sealpost.KeyID) bool { return !r.answered(m, id, handedOver) })
}

func (r deviceFace) Inbox(ctx context.Context, after uint64, limit, _ int) (api.Arrivals, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Inbox"); err != nil {
		return api.Arrivals{}, err
	}
	d, p := r.mine()
	if p != nil {
		return api.Arrivals{}, p
	}
	out := api.Arrivals{Pool: api.Pool{Left: len(d.packages), LastResort: d.resort != nil}}
	for seq, h := range r.records {
		m := r.messages[h.id]
		if m != nil && m.seq == seq && uint64(seq) > after && len(out.Arrivals) < pageOf(limit) && r.waits(m) {
			out.Arrivals = append(out.Arrivals, r.arrival(m))
		}
	}
	return out, nil
}

func (r deviceFace) Arrival(ctx context.Context, id sealpost.MessageID) (api.Arrival, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Arrival", id[:]); err != nil {
		return api.Arrival{}, err
	}
	if _, p := r.mine(); p != nil {
		return api.Arrival{}, p
	}
	m := r.messages[id]
	if m == nil || !r.forMe(m) {
		return api.Arrival{}, api.ErrNotFound
	}
	return r.arrival(m), nil
}

func (r deviceFace) PostReceipts(ctx context.Context, receipts [][]byte) []api.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]api.Verdict, len(receipts))
	for i, raw := range receipts {
		out[i] = r.receipt(ctx, raw)
	}
	return out
}

func (r deviceFace) receipt(ctx context.Context, raw []byte) api.Verdict {
	if err := r.call(ctx, "PostReceipts", raw); err != nil {
		return api.Verdict{Problem: api.ProblemOf(err)}
	}
	signed, x, p := r.checkReceipt(raw)
	if p != nil {
		return api.Verdict{Problem: p}
	}
	again := r.held(raw) != nil
	h := r.hold(signed, x.ID, r.messages[x.ID].sealed.Commitment().Recipient, 0)
	return r.verdict("PostReceipts", h, again)
}

// checkReceipt is what a relay checks of a receipt, in its order.
func (r deviceFace) checkReceipt(raw []byte) (signed sealpost.Signed, x sealpost.Receipt, p *api.Problem) {
	d, p := r.mine()
	if p != nil {
		return signed, x, p
	}
	signed, err := sealpost.Parse(raw)
	if err == nil {
		x, err = signed.Receipt()
	}
	if err != nil {
		return signed, x, api.ProblemOf(err)
	}
	m := r.messages[x.ID]
	switch {
	case x.Key != r.id || signed.KeyID() != r.id:
		return signed, x, api.ErrWrongDevice
	case m == nil || m.sealed.Commitment().Recipient != d.event.Device.Recipient:
		return signed, x, api.ErrNotFound
	}
	c := m.sealed.Commitment()
	switch { // R59
	case x.Commitment != m.sealed.Statement().Hash(),
		x.Blob != c.Blob && x.Reason != sealpost.ReasonBlob,
		x.Level.Positive() && x.Roster != c.Roster:
		return signed, x, api.ErrWrongCommitment
	case signed.Verify(d.event.Key) != nil:
		return signed, x, api.ErrSignature
	case r.held(raw) == nil && r.answered(m, r.id, func(l sealpost.Level) bool { return l == x.Level }):
		r.t.Errorf("two receipts of level %v by one device for one message", x.Level)
	}
	return signed, x, nil
}

func (r deviceFace) Stock(ctx context.Context, packages [][]byte, endpoints []api.DeviceEndpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.call(ctx, "Stock"); err != nil {
		return err
	}
	d, p := r.mine()
	if p != nil {
		return p
	}
	if p := checkStock(packages, endpoints); p != nil {
		return p
	}
	d.stock(packages)
	if len(endpoints) > 0 {
		d.endpoints = endpoints
	}
	return r.done("Stock")
}
