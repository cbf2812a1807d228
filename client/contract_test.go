package client

import (
	"crypto/rand"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client/clienttest"
	"github.com/sealpost/sealpost/mls/mlstest"
)

// The contract names the SDK's interfaces anew, because the SDK's own tests are made
// of it. They are the same, either way.
var (
	_ clienttest.Sender = SenderAPI(nil)
	_ SenderAPI         = clienttest.Sender(nil)
	_ clienttest.Device = DeviceAPI(nil)
	_ DeviceAPI         = clienttest.Device(nil)
	_ clienttest.Log    = LogReader(nil)
	_ LogReader         = clienttest.Log(nil)
)

// DESIGN section 5, wall 5: the relay in memory, where it does not lie, is held to
// the contract of a whole one (cmd/sealpost).
func TestRelayInMemory(t *testing.T) {
	clienttest.Relay(t, func(t *testing.T) clienttest.Rig {
		w := newWorld(t)
		w.relay.forgiving = true
		return clienttest.Rig{App: app, Key: w.key, Now: w.relay.now, Relay: w.relay.key.Public(), LogKey: w.relay.log.vkey,
			Sender: senderFace{w.relay}, Log: w.relay,
			Device: func(key *sealpost.PrivateKey) clienttest.Device { return deviceFace{w.relay, key.Public().ID()} },
			Until: func(call func() error) { // it logs at once
				if err := call(); err != nil {
					t.Fatal(err)
				}
			}}
	})
}

// Wall 5: the SDK's leaf keys are signers, and its two faces are validators: the
// sender knows each device by its key event, and a device its own leaf.
func TestMLSNeighbours(t *testing.T) {
	w := newWorld(t)
	for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
		k := must(sealpost.GenerateKey(alg, rand.Reader))(t)
		mlstest.Signer(t, suiteOf(alg), must(mlsSigner(k))(t), k.Seed())
	}
	p := w.enrol("c1", sealpost.EdDSA)
	mlstest.Validator(t, validator(p.validate), credentialOf(p.id), p.leaf.Public())
	x := must(w.sender.open(w.ctx, w.sender.Recipient("c1")))(t)
	mlstest.Validator(t, x, credentialOf(p.id), p.leaf.Public())
}
