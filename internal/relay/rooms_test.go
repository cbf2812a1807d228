package relay

import (
	"crypto/rand"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/api/apitest"
)

// DESIGN section 5, wall 5: the relay is what the conversation's server end relies
// on.
func TestRooms(t *testing.T) {
	apitest.Behind(t, func(t *testing.T, test func(*testing.T, apitest.Rig)) {
		inWorld(t, func(t *testing.T, w *world) {
			_, key, err := api.NewSecret(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			k := sealpost.APIKey{Name: "test", App: bank, Hash: key, Scopes: w.caller.Scopes, Created: w.now()}
			if err := w.store.PutAPIKey(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			test(t, apitest.Rig{Rooms: w.relay, Caller: w.caller, Key: key, Device: w.device, Now: w.now,
				Message: func() sealpost.Sealed { return w.draft().seal(t) },
				Receipt: func(m sealpost.Sealed) []byte {
					s, err := sealpost.Sign(w.receipt(m, sealpost.Decrypted), w.device)
					if err != nil {
						t.Fatal(err)
					}
					return s.Bytes()
				}})
		})
	})
}
