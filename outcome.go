package sealpost

// An End is how a message ended. Each message has exactly one.
type End uint8

// Ends of a message (DESIGN section 3, step 10).
const (
	Delivered     End = 1 + iota // a device of the roster decrypted it, by a receipt held before
	Expired                      // expires passed without such a receipt
	Undeliverable                // every device's endpoints are gone or refuse
	Refused                      // the device refused it: mismatch or decrypt-failed
)

var endNames = [...]string{Delivered: "delivered", Expired: "expired", Undeliverable: "undeliverable", Refused: "refused"}

func (e End) String() string { return name(endNames[:], int(e), "end") }

// An Outcome closes a message. It lists all it counted, so that a bundle that
// leaves one out is seen to be incomplete. Two for one message are proof of
// fault.
type Outcome struct {
	ID         MessageID `cbor:"1,keyasint"`
	Commitment Hash      `cbor:"2,keyasint"` // of the commitment statement
	End        End       `cbor:"3,keyasint"`
	Decided    UnixMilli `cbor:"4,keyasint"`
	Attempts   []Hash    `cbor:"5,keyasint"` // of statements, ascending
	Claims     []Hash    `cbor:"6,keyasint"` // of statements, ascending
	Receipts   []Hash    `cbor:"7,keyasint"` // of statements, ascending
}

// Kind is KindOutcome.
func (Outcome) Kind() Kind { return KindOutcome }

func (o *Outcome) read(r *reader) {
	r.fields()
	r.field(1)
	r.fixed(o.ID[:])
	r.field(2)
	r.fixed(o.Commitment[:])
	r.field(3)
	o.End = End(r.uint8())
	r.field(4)
	o.Decided = r.time()
	r.field(5)
	o.Attempts = r.hashes()
	r.field(6)
	o.Claims = r.hashes()
	r.field(7)
	o.Receipts = r.hashes()
}

func (o Outcome) write(w *writer) {
	w.fields(7)
	w.field(1)
	w.bytes(o.ID[:])
	w.field(2)
	w.bytes(o.Commitment[:])
	w.field(3)
	w.uint8(uint8(o.End))
	w.field(4)
	w.time(o.Decided)
	w.field(5)
	w.hashes(o.Attempts)
	w.field(6)
	w.hashes(o.Claims)
	w.field(7)
	w.hashes(o.Receipts)
}

func (o Outcome) check() error {
	if err := o.ID.check(); err != nil {
		return err
	}
	return firstFault([]fault{
		{o.End < Delivered || o.End > Refused, "end"},
		{!areHashes(o.Attempts), "attempts: not an ordered set of at most CountedMax"},
		{!areHashes(o.Claims), "claims: not an ordered set of at most CountedMax"},
		{!areHashes(o.Receipts), "receipts: not an ordered set of at most CountedMax"},
		{o.End == Delivered && len(o.Receipts) == 0, "receipts: a delivery counts at least one"},
	})
}
