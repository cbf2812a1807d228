package sealpost

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
