package client

import (
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client/clienttest"
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
