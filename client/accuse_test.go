package client

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/evidence"
)

// judged is the verdict on a bundle under a policy that names the world's keys.
func (w *world) judged(t *testing.T, b *evidence.Bundle) evidence.Verdict {
	t.Helper()
	policy := evidence.Policy{LogKey: w.relay.log.vkey, RelayKeys: []sealpost.PublicKey{w.relay.key.Public()},
		Senders:        []evidence.Sender{{App: "bank", Key: w.key.Public()}},
		LeastAssurance: sealpost.AssuranceSoftware, Require: evidence.RequireDecrypted}
	return evidence.Verify(must(b.Encode())(t), policy, sealpost.FromTime(w.now()))
}

func wantVerdict(t *testing.T, v evidence.Verdict, status evidence.Status, why string) {
	t.Helper()
	for _, f := range v.Findings {
		if f.Status == status && strings.Contains(f.Why, why) {
			why = ""
		}
	}
	if v.Status != status || why != "" {
		t.Errorf("%v, want %v because of %q: %v", v.Status, status, why, v.Findings)
	}
}

// What the relay offered and the sender refused is no evidence of the message,
// and is evidence against the relay: kept once however often it is offered,
// with the proof that came later, and judged by anybody.
func TestAccuse(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	must(p.Handle(w.ctx, w.push(id)))(t)
	w.relay.close(id)
	must(w.sender.Sync(w.ctx, id))(t)
	honest := must(w.sender.Accuse(id, Disclose{All: true}))(t)
	wantVerdict(t, w.judged(t, honest), evidence.Proven, "")

	// A receipt of the device's by the relay's own key, on the relay's own road.
	m := must(w.sender.message(id))(t)
	signed := must(sealpost.Parse(m.Statement))(t)
	forged := sealpost.Receipt{ID: id, Commitment: signed.Hash(), Level: sealpost.Acted, Key: p.ID(), Opened: make([]byte, 32)}
	h := w.relay.hold(must(sealpost.Sign(forged, w.relay.key))(t), id, m.Recipient, 0)
	unlogged := true
	w.relay.bend = func(call string, v any) {
		if list, is := v.(*[]api.Exhibit); is && unlogged {
			for i := range *list {
				if string((*list)[i].Statement) == string(h.statement) {
					(*list)[i].Proof = nil
				}
			}
		}
	}
	for i := range 3 {
		if _, err := w.sender.Sync(w.ctx, id); !errors.Is(err, ErrExhibit) {
			t.Fatalf("sync: %v", err)
		}
		w.relay.hold(must(sealpost.Sign(sealpost.Outcome{ID: id, Commitment: sealpost.Hash{1}, End: sealpost.Expired, Decided: sealpost.UnixMilli(i)}, w.relay.key))(t), sealpost.MessageID{}, m.Recipient, 0) // the log grows
		unlogged = false
	}
	faults := must(w.sender.Faults())(t)
	if len(faults) != 1 || len(faults[0].Exhibits) != 1 || len(faults[0].Exhibits[0].Proof) == 0 || faults[0].ID != id {
		t.Fatalf("faults: %+v", faults)
	}
	wantVerdict(t, w.judged(t, must(w.sender.Bundle(id, Disclose{}))(t)), evidence.Proven, "")
	wantVerdict(t, w.judged(t, must(w.sender.Accuse(id, Disclose{}))(t)), evidence.Refused,
		"it is the relay's statement key, which may sign no receipt; the relay logged it all the same")
}

// Two outcomes by the relay are both kept, named, and together proof of fault.
func TestTwoOutcomesAreKept(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	must(p.Handle(w.ctx, w.push(id)))(t)
	w.relay.close(id)
	if st := must(w.sender.Sync(w.ctx, id))(t); st.Outcomes != 1 {
		t.Fatalf("honest: %+v", st)
	}
	w.pass(time.Second)
	w.relay.close(id)
	st, err := w.sender.Sync(w.ctx, id)
	if !errors.Is(err, ErrTwoOutcomes) || st.Outcomes != 2 {
		t.Errorf("%+v, %v", st, err)
	}
	v := w.judged(t, must(w.sender.Bundle(id, Disclose{}))(t))
	wantVerdict(t, v, evidence.Diverged, "two outcomes")
	if len(v.Conflicts) != 1 {
		t.Errorf("conflicts: %+v", v.Conflicts)
	}
}

// A device shows others what it refused: the forged commitment and its own
// signed word on it, from its own store.
func TestDeviceAccuses(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	if _, err := p.Accuse(id); !errors.Is(err, sealpost.ErrNotFound) {
		t.Fatalf("of a message that never came: %v", err)
	}
	c := must(must(sealpost.Parse(must(w.sender.message(id))(t).Statement))(t).Commitment())(t)
	forged := must(sealpost.Sign(c, w.relay.key))(t)
	blob := must(sealpost.ParseSealed(w.push(id)))(t).Blob()
	must(p.Handle(w.ctx, must(sealpost.Encode(wireSealed{forged.Bytes(), blob}))(t)))(t) // fetches the honest one
	b := must(p.Accuse(id))(t)
	if len(b.Rosters) != 1 {
		t.Errorf("rosters: %d", len(b.Rosters))
	}
	wantVerdict(t, w.judged(t, b), evidence.Refused, "it is the relay's statement key, which may sign no commitment")
	b.Exhibits = b.Exhibits[:len(b.Exhibits)-2] // without what the fault holds
	if v := w.judged(t, b); v.Status != evidence.Incomplete {
		t.Errorf("the honest part: %v %v", v.Status, v.Findings)
	}
}
