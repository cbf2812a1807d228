package sealpost

import "math"

// A Result is what came of handing a message to a carrier: the answer it gave
// at once, put into words that fit all carriers.
type Result uint8

// Results of an attempt. The numbers are signed and never reused.
const (
	Accepted     Result = 1 + iota // the carrier took it; that is all it says
	Unreachable                    // this carrier cannot reach the device now
	EndpointGone                   // the token will never work again
	Throttled                      // the carrier asked to wait
	Transient                      // the carrier failed and may recover
	ConfigFault                    // credentials or set-up of ours are wrong
	Invalid                        // the request was refused: a fault of ours
	Ambiguous                      // sent, and no clear answer came back
)

var resultNames = [...]string{
	Accepted: "accepted", Unreachable: "unreachable", EndpointGone: "endpoint-gone", Throttled: "throttled",
	Transient: "transient", ConfigFault: "config-fault", Invalid: "invalid", Ambiguous: "ambiguous",
}

func (r Result) String() string { return name(resultNames[:], int(r), "result") }

// An Attempt is the relay's record of one try over one carrier, with the
// carrier's synchronous answer in it. A carrier's answer is a claim; only a
// device's receipt proves delivery.
type Attempt struct {
	Attempt    AttemptID `cbor:"1,keyasint"`
	ID         MessageID `cbor:"2,keyasint"`
	Commitment Hash      `cbor:"3,keyasint"` // of the commitment statement
	Device     KeyID     `cbor:"4,keyasint"` // which device it was meant for
	Carrier    Carrier   `cbor:"5,keyasint"`
	Number     uint32    `cbor:"6,keyasint"` // 1 for the first try for this device over this carrier
	Started    UnixMilli `cbor:"7,keyasint"`
	Ended      UnixMilli `cbor:"8,keyasint"`
	Result     Result    `cbor:"9,keyasint"`
	Code       string    `cbor:"10,keyasint"` // the carrier's own code, printable ASCII, may be empty
}

// Kind is KindAttempt.
func (Attempt) Kind() Kind { return KindAttempt }

func (a *Attempt) read(r *reader) {
	r.fields()
	r.field(1)
	r.fixed(a.Attempt[:])
	r.field(2)
	r.fixed(a.ID[:])
	r.field(3)
	r.fixed(a.Commitment[:])
	r.field(4)
	r.fixed(a.Device[:])
	r.field(5)
	a.Carrier = Carrier(r.uint8())
	r.field(6)
	a.Number = uint32(r.uint(math.MaxUint32))
	r.field(7)
	a.Started = r.time()
	r.field(8)
	a.Ended = r.time()
	r.field(9)
	a.Result = Result(r.uint8())
	r.field(10)
	a.Code = r.text()
}

func (a Attempt) write(w *writer) {
	w.fields(10)
	w.field(1)
	w.bytes(a.Attempt[:])
	w.field(2)
	w.bytes(a.ID[:])
	w.field(3)
	w.bytes(a.Commitment[:])
	w.field(4)
	w.bytes(a.Device[:])
	w.field(5)
	w.uint8(uint8(a.Carrier))
	w.field(6)
	w.uint(uint64(a.Number))
	w.field(7)
	w.time(a.Started)
	w.field(8)
	w.time(a.Ended)
	w.field(9)
	w.uint8(uint8(a.Result))
	w.field(10)
	w.text(a.Code)
}

func (a Attempt) check() error {
	if err := a.Attempt.check(); err != nil {
		return err
	}
	if err := a.ID.check(); err != nil {
		return err
	}
	return firstFault([]fault{
		{a.Carrier < RCS || a.Carrier > SMS, "carrier"},
		{a.Number == 0, "attempt number"},
		{a.Ended < a.Started, "ended: before started"},
		{a.Result < Accepted || a.Result > Ambiguous, "result"},
		{a.Code != "" && !isName(a.Code), "code"},
	})
}

// A Claim is what a carrier says later of a message it accepted.
type Claim uint8

// Claims of carriers.
const (
	ClaimDelivered Claim = 1 + iota
	ClaimRead
	ClaimExpired
	ClaimFailed
)

// A CarrierClaim is a carrier's later word, as the relay received it.
type CarrierClaim struct {
	ID       MessageID `cbor:"1,keyasint"`
	Attempt  AttemptID `cbor:"2,keyasint"`
	Carrier  Carrier   `cbor:"3,keyasint"`
	Claim    Claim     `cbor:"4,keyasint"`
	Received UnixMilli `cbor:"5,keyasint"`
	Raw      Hash      `cbor:"6,keyasint"` // of the carrier's own octets
}

// Kind is KindCarrierClaim.
func (CarrierClaim) Kind() Kind { return KindCarrierClaim }

func (c *CarrierClaim) read(r *reader) {
	r.fields()
	r.field(1)
	r.fixed(c.ID[:])
	r.field(2)
	r.fixed(c.Attempt[:])
	r.field(3)
	c.Carrier = Carrier(r.uint8())
	r.field(4)
	c.Claim = Claim(r.uint8())
	r.field(5)
	c.Received = r.time()
	r.field(6)
	r.fixed(c.Raw[:])
}

func (c CarrierClaim) write(w *writer) {
	w.fields(6)
	w.field(1)
	w.bytes(c.ID[:])
	w.field(2)
	w.bytes(c.Attempt[:])
	w.field(3)
	w.uint8(uint8(c.Carrier))
	w.field(4)
	w.uint8(uint8(c.Claim))
	w.field(5)
	w.time(c.Received)
	w.field(6)
	w.bytes(c.Raw[:])
}

func (c CarrierClaim) check() error {
	if err := c.ID.check(); err != nil {
		return err
	}
	if err := c.Attempt.check(); err != nil {
		return err
	}
	return firstFault([]fault{
		{c.Carrier < RCS || c.Carrier > SMS, "carrier"},
		{c.Claim < ClaimDelivered || c.Claim > ClaimFailed, "claim"},
	})
}
