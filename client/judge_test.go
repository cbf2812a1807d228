package client

import (
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// What the sender's store gives is what the judge proves, offline, under a
// policy that names our keys; without the device's receipt it is not.
func TestJudgeProvesTheBundle(t *testing.T) {
	for _, opened := range []bool{true, false} {
		w := newWorld(t)
		p := w.enrol("c1", sealpost.ES256)
		id := w.send(otp("c1", "483920"))
		if opened {
			must(p.Handle(w.ctx, w.push(id)))(t)
		}
		w.relay.close(id)
		must(w.sender.Sync(w.ctx, id))(t)
		raw := must(must(w.sender.Bundle(id, Disclose{All: true}))(t).Encode())(t)
		policy := evidence.Policy{LogKey: w.relay.log.vkey, RelayKeys: []sealpost.PublicKey{w.relay.key.Public()},
			Senders:        []evidence.Sender{{App: "bank", Key: w.key.Public()}},
			LeastAssurance: sealpost.AssuranceSoftware, Require: evidence.RequireDecrypted}
		v := evidence.Verify(raw, policy, sealpost.FromTime(w.now()))
		if (v.Status.ExitCode() == 0) != opened {
			t.Errorf("opened %v: %v\n%v", opened, v.Status, v.Findings)
		}
	}
}
