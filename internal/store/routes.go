package store

import (
	"encoding/binary"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A route is the way of one message to one device. All routes of a message
// stand in its row, so that holding it, trying it and ending it each write one
// row.
type route struct {
	device   int64
	state    routeState
	handed   bool               // the device has the blob
	queued   bool               // it is to be tried, not before turn
	turn     sealpost.UnixMilli // atOnce, or a time; 0 where it is not queued
	receipts int64
	tries    int64
	endpoint int64 // of the last claim; 0: never claimed, or nothing reached the device then
}

// A routeState is how far a message has come with one device.
type routeState byte

const (
	routeOpen    routeState = iota // the device may still be woken, or may fetch
	routeFailed                    // every way to wake it failed; it may still fetch
	routeHanded                    // it has the message and has not said more
	routeRefused                   // it refused the message
	routeOpened                    // it opened the message
)

// Times of a turn. They take as many bytes in the database as a time of today,
// so that a row keeps its length: a row that grows splits the full page it is in.
const (
	atOnce sealpost.UnixMilli = 1 << 33
	never  sealpost.UnixMilli = 1 << 46 // the index of turns ends here
)

// waits says that the device may still want the message.
func (r *route) waits() bool { return r.state <= routeFailed && !r.handed }

// wakes says that a device may still be woken for a message. The outcome ends that,
// but for one thing: where another device's receipt brought it about, a device that
// was never tried still has its one try. The message waits for every device of the
// roster until it expires (12, Crash), and an outcome counts what came before it.
func (m *messageRow) wakes(r *route) bool {
	return r.state == routeOpen && m.blob.segment != 0 && (m.outcome == 0 || m.outcome == sealpost.Delivered && r.tries == 0)
}

// A route in bytes: device 6, flags 1, turn 6, receipts 1, tries 4, endpoint 6,
// check 1. Flags are the state in the low bits, then handed and queued.
const (
	routeSize  = 25
	routeSeed  = 0xa5 // of the check, so that zeros are no route
	flagHanded = 1 << 3
	flagQueued = 1 << 4
)

// encodeRoutes writes the routes of a message in the order of their devices.
func encodeRoutes(routes []route) []byte {
	b := make([]byte, 0, len(routes)*routeSize)
	for i := range routes {
		r := &routes[i]
		flags := byte(r.state)
		if r.handed {
			flags |= flagHanded
		}
		if r.queued {
			flags |= flagQueued
		}
		b = append(appendUint48(b, uint64(r.device)), flags)
		b = appendUint48(b, uint64(r.turn))
		b = append(b, byte(r.receipts))
		b = binary.BigEndian.AppendUint32(b, uint32(r.tries))
		b = appendUint48(b, uint64(r.endpoint))
		b = append(b, checkRoute(b[len(b)-routeSize+1:]))
	}
	return b
}

// decodeRoutes reads what encodeRoutes writes and nothing else.
func decodeRoutes(b []byte) ([]route, error) {
	if len(b)%routeSize != 0 || len(b) > routeSize*sealpost.DevicesMax {
		return nil, fmt.Errorf("%w: routes of %d bytes", ErrDamaged, len(b))
	}
	routes := make([]route, 0, len(b)/routeSize)
	last := int64(-1)
	for ; len(b) > 0; b = b[routeSize:] {
		flags := b[6]
		r := route{device: int64(uint48(b)), state: routeState(flags & 7), handed: flags&flagHanded != 0, queued: flags&flagQueued != 0,
			turn: sealpost.UnixMilli(uint48(b[7:])), receipts: int64(b[13]),
			tries: int64(binary.BigEndian.Uint32(b[14:])), endpoint: int64(uint48(b[18:]))}
		if b[24] != checkRoute(b) || r.state > routeOpened || flags > flagQueued|flagHanded|7 || r.device <= last ||
			r.queued != (r.turn != 0) || r.turn >= never || r.receipts > ReceiptsMax {
			return nil, fmt.Errorf("%w: a route", ErrDamaged)
		}
		last = r.device
		routes = append(routes, r)
	}
	return routes, nil
}

// checkRoute folds the bytes of a route before its check into one: whatever is
// changed within one byte changes it.
func checkRoute(b []byte) byte {
	x := binary.NativeEndian.Uint64(b) ^ binary.NativeEndian.Uint64(b[8:]) ^ binary.NativeEndian.Uint64(b[16:])
	x ^= x >> 32
	x ^= x >> 16
	return byte(x) ^ byte(x>>8) ^ routeSeed
}

func appendUint48(b []byte, v uint64) []byte {
	return append(b, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func uint48(b []byte) uint64 {
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

// endOf is the end that a message's routes have reached, 0 while one of them
// may still change it. A single device that opened it decides.
func endOf(routes []route) sealpost.End {
	var refused, pending bool
	for i := range routes {
		switch routes[i].state {
		case routeOpened:
			return sealpost.Delivered
		case routeRefused:
			refused = true
		case routeOpen, routeHanded:
			pending = true
		}
	}
	switch {
	case pending || len(routes) == 0:
		return 0
	case refused:
		return sealpost.Refused
	}
	return sealpost.Undeliverable
}

// queue makes a route due at a time; unqueue takes it out of the outbox.
func (r *route) queue(at sealpost.UnixMilli) { r.queued, r.turn = true, at }
func (r *route) unqueue()                    { r.queued, r.turn = false, 0 }
