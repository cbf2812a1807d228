package api_test

import (
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/api/apitest"
)

// DESIGN section 5, wall 5: the rooms that the server end is tested with are held to
// the contract of the relay's.
func TestRoomsInMemory(t *testing.T) {
	apitest.Behind(t, func(t *testing.T, test func(*testing.T, apitest.Rig)) {
		rooms, key, caller, device := api.Rooms(t)
		test(t, apitest.Rig{Rooms: rooms, Caller: caller, Key: key, Device: device, Now: api.Now,
			Message: func() sealpost.Sealed { return api.SealedMessage(t) },
			Receipt: func(sealpost.Sealed) []byte { return []byte("any") }})
	})
}
