package api

import (
	"testing"

	"github.com/sealpost/sealpost"
)

// Rooms are those that the server end is tested with: their methods, an API key's
// hash and caller, and a device that is enrolled there.
func Rooms(t *testing.T) (w *world, key sealpost.Hash, caller Caller, device *sealpost.PrivateKey) {
	w = newWorld(t)
	key, _ = HashSecret(w.secret)
	return w, key, w.keys[key], w.device
}

// SealedMessage is a well-formed submission of an app.
var SealedMessage = sealedMessage

// Now is the clock of these rooms.
func Now() sealpost.UnixMilli { return sealpost.FromTime(now) }
