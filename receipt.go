package sealpost

// A Level is what a device asserts of a message. No level implies another
// (R58); the numbers are signed and never reused.
type Level uint8

// Levels of a receipt (receipt 2). The last three are negative evidence.
const (
	HandedOver    Level = 1 + iota // the device holds the sealed message
	Decrypted                      // opened, and every commitment recomputed to a match
	Displayed                      // the text was given to the screen
	Acted                          // a person acted on it
	Mismatch                       // opened, and a commitment, roster or binding did not match
	Gap                            // a sequence number before this one never came
	DecryptFailed                  // the sealed message did not open
)

var levelNames = [...]string{
	HandedOver: "handed_over", Decrypted: "decrypted", Displayed: "displayed", Acted: "acted",
	Mismatch: "mismatch", Gap: "gap", DecryptFailed: "decrypt-failed",
}

func (l Level) String() string { return name(levelNames[:], int(l), "level") }

// Positive says that the device holds the opened, matching content.
func (l Level) Positive() bool { return l >= Decrypted && l <= Acted }

// Negative says that the device refuses the message.
func (l Level) Negative() bool { return l == Mismatch || l == DecryptFailed }

// A Reason says why a device refused, in the receipt's own signed words.
type Reason uint8

// Reasons of negative receipts (receipt 3).
const (
	ReasonNone       Reason = iota
	ReasonCommitment        // C, a field or the root does not open to the content
	ReasonBlob              // the blob is not the one committed to
	ReasonAAD               // the message authenticates another id or C
	ReasonRoster            // the roster is not the one the device knows from MLS
	ReasonSenderKey         // the commitment is not by the pinned sender key
	ReasonExpired           // it came after expires
	ReasonState             // the MLS state cannot open it
	ReasonMissing           // sequence numbers before this one never came
	ReasonAssurance         // this device's key is weaker than the commitment demands
)

var reasonNames = [...]string{
	ReasonCommitment: "commitment does not open", ReasonBlob: "another blob", ReasonAAD: "another id or commitment inside",
	ReasonRoster: "another roster", ReasonSenderKey: "not by the pinned sender key", ReasonExpired: "expired",
	ReasonState: "the MLS state cannot open it", ReasonMissing: "earlier messages are missing",
	ReasonAssurance: "the device's key is too weak",
}

func (r Reason) String() string { return name(reasonNames[:], int(r), "reason") }

// A Receipt is a device's signed word on one message (receipt 2).
type Receipt struct {
	ID         MessageID `cbor:"1,keyasint"`
	Commitment Hash      `cbor:"2,keyasint"` // of the commitment statement
	Blob       Hash      `cbor:"3,keyasint"` // of the blob as received
	Roster     Hash      `cbor:"4,keyasint"` // as recomputed by the device; zero where MLS did not open
	Level      Level     `cbor:"5,keyasint"`
	Key        KeyID     `cbor:"6,keyasint"`            // the device's signing key
	DeviceTime UnixMilli `cbor:"7,keyasint"`            // a claim, no verdict rests on it
	Checkpoint string    `cbor:"8,keyasint"`            // the newest signed note the device holds; empty before the first
	Opened     []byte    `cbor:"9,keyasint,omitempty"`  // [Opened], 32 bytes, at positive levels only
	Reason     Reason    `cbor:"10,keyasint,omitempty"` // at negative levels and gap only
	Carrier    Carrier   `cbor:"11,keyasint,omitempty"` // as told by the relay
	Attempt    []byte    `cbor:"12,keyasint,omitempty"` // as told by the relay, 16 bytes
}

// Kind is KindReceipt.
func (Receipt) Kind() Kind { return KindReceipt }

func (r *Receipt) read(from *reader) {
	from.fields()
	from.field(1)
	from.fixed(r.ID[:])
	from.field(2)
	from.fixed(r.Commitment[:])
	from.field(3)
	from.fixed(r.Blob[:])
	from.field(4)
	from.fixed(r.Roster[:])
	from.field(5)
	r.Level = Level(from.uint8())
	from.field(6)
	from.fixed(r.Key[:])
	from.field(7)
	r.DeviceTime = from.time()
	from.field(8)
	r.Checkpoint = from.text()
	if from.has(9) {
		r.Opened = from.some()
	}
	if from.has(10) {
		r.Reason = Reason(from.number())
	}
	if from.has(11) {
		r.Carrier = Carrier(from.number())
	}
	if from.has(12) {
		r.Attempt = from.some()
	}
}

func (r Receipt) write(w *writer) {
	w.fields(8 + count(len(r.Opened) > 0, r.Reason != ReasonNone, r.Carrier != 0, len(r.Attempt) > 0))
	w.field(1)
	w.bytes(r.ID[:])
	w.field(2)
	w.bytes(r.Commitment[:])
	w.field(3)
	w.bytes(r.Blob[:])
	w.field(4)
	w.bytes(r.Roster[:])
	w.field(5)
	w.uint8(uint8(r.Level))
	w.field(6)
	w.bytes(r.Key[:])
	w.field(7)
	w.time(r.DeviceTime)
	w.field(8)
	w.text(r.Checkpoint)
	if len(r.Opened) > 0 {
		w.field(9)
		w.bytes(r.Opened)
	}
	if r.Reason != ReasonNone {
		w.field(10)
		w.uint8(uint8(r.Reason))
	}
	if r.Carrier != 0 {
		w.field(11)
		w.uint8(uint8(r.Carrier))
	}
	if len(r.Attempt) > 0 {
		w.field(12)
		w.bytes(r.Attempt)
	}
}

func (r Receipt) check() error {
	if err := r.ID.check(); err != nil {
		return err
	}
	wantOpened := 0
	if r.Level.Positive() {
		wantOpened = len(Hash{})
	}
	refuses := r.Level.Negative() || r.Level == Gap
	return firstFault([]fault{
		{r.Level < HandedOver || r.Level > DecryptFailed, "level"},
		{len(r.Checkpoint) > NoteMax, "checkpoint: longer than NoteMax"},
		{len(r.Opened) != wantOpened, "opened: present exactly from decrypted to acted"},
		{refuses != (r.Reason != ReasonNone), "reason: present exactly at negative levels"},
		{r.Reason > ReasonAssurance, "reason"},
		{r.Carrier > SMS, "carrier"},
		{len(r.Attempt) != 0 && len(r.Attempt) != len(AttemptID{}), "attempt"},
	})
}
