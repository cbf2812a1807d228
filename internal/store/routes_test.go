package store

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sealpost/sealpost"
)

// The routes of a message are read as they were written, and from no other bytes.
func TestRoutesHaveOneEncoding(t *testing.T) {
	honest := []route{
		{device: 3, queued: true, turn: atOnce},
		{device: 1<<40 + 7, state: routeOpened, handed: true, receipts: ReceiptsMax, tries: 1 << 20, endpoint: 1 << 33},
		{device: 1<<40 + 8, state: routeFailed, queued: true, turn: never - 1},
	}
	b := encodeRoutes(honest)
	got, err := decodeRoutes(b)
	if err != nil || !slices.Equal(got, honest) || len(b) != 3*routeSize {
		t.Fatalf("honest routes: %v, %+v", err, got)
	}
	if fresh := encodeRoutes([]route{{device: 1, queued: true, turn: atOnce}}); len(fresh) != routeSize {
		t.Errorf("a fresh route has %d bytes, one that has lived %d", len(fresh), routeSize)
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"cut short":           func(b []byte) []byte { return b[:len(b)-1] },
		"one byte more":       func(b []byte) []byte { return append(b, 0) },
		"a state of no name":  func(b []byte) []byte { b[6] |= 7; return b },
		"an unknown flag":     func(b []byte) []byte { b[6] |= 1 << 5; return b },
		"queued without turn": func(b []byte) []byte { clear(b[7:13]); return b },
		"a turn, not queued":  func(b []byte) []byte { b[6] &^= flagQueued; return b },
		"a turn beyond never": func(b []byte) []byte { b[7] = 0x7f; return b },
		"devices in disorder": func(b []byte) []byte { return slices.Concat(b[routeSize:2*routeSize], b[:routeSize]) },
		"a device twice":      func(b []byte) []byte { return slices.Concat(b[:routeSize], b[:routeSize]) },
		"too many receipts":   func(b []byte) []byte { b[13] = 0xff; return b },
		"too many devices":    func([]byte) []byte { return make([]byte, routeSize*(sealpost.DevicesMax+1)) },
	} {
		if got, err := decodeRoutes(checked(spoil(bytes.Clone(b)))); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	if _, err := decodeRoutes(checked(bytes.Clone(b))); err != nil {
		t.Fatal("right checks are refused, so the refusals above prove nothing")
	}
	for at := range b { // R39: whatever becomes of one byte
		for bits := 1; bits < 1<<8; bits++ {
			bad := bytes.Clone(b)
			bad[at] ^= byte(bits)
			if got, err := decodeRoutes(bad); err == nil {
				t.Errorf("byte %d with bits %08b changed: read as %+v", at, bits, got)
			}
		}
	}
}

// checked gives each route the check of what stands there.
func checked(b []byte) []byte {
	for at := 0; at+routeSize <= len(b); at += routeSize {
		b[at+routeSize-1] = checkRoute(b[at:])
	}
	return b
}

func FuzzRoutes(f *testing.F) {
	f.Add(encodeRoutes([]route{{device: 3, queued: true, turn: atOnce}, {device: 9, state: routeHanded, handed: true, receipts: 2}}))
	f.Add([]byte{})
	f.Add(make([]byte, routeSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if routes, err := decodeRoutes(b); err == nil && !bytes.Equal(encodeRoutes(routes), b) {
			t.Errorf("%x is read as %+v", b, routes)
		}
	})
}
