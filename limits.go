package sealpost

import "time"

// Limits of what one party may send another. A value beyond its limit is
// refused before anything is allocated for it.
const (
	StatementMax  = 64 << 10 // bytes of one statement as COSE_Sign1
	CommitmentMax = 4 << 10  // bytes of one commitment statement
	BlobMax       = 64 << 10 // bytes of one sealed envelope (Welcome, commits, message)
	SubmissionMax = CommitmentMax + BlobMax + 16
	NoteMax       = 16 << 10 // bytes of one checkpoint note with its signatures
	NameMax       = 64       // bytes of an app id, a transaction or correlation id, a field's name
	TextMax       = 1600     // bytes of a text to be displayed
	FieldValueMax = 256      // bytes of one field's value
	FieldsMax     = 8        // fields of one message; the commitment always has this many slots
	CommitsMax    = 64       // MLS commits in one envelope
	DevicesMax    = 32       // devices of one recipient
	CountedMax    = 512      // attempts, claims or receipts that one outcome lists
	PromiseGroup  = 256      // statements under one promise signature: a path of at most 8 hashes
)

// Windows of time.
const (
	FreshnessWindow = 5 * time.Minute     // between a commitment's created and the relay's clock
	LifetimeMax     = 28 * 24 * time.Hour // between created and expires: what FCM stores at most
	MergeDelay      = time.Hour           // a promise's log-by, after accepted
	OutcomeGrace    = time.Hour           // a promise's outcome-by, after expires
)

// PaddedSizes are the only lengths, in bytes, of a sealed plaintext.
var PaddedSizes = [...]int{512, 1024, 2048}

// Padded returns the smallest of [PaddedSizes] that holds n bytes, or 0.
func Padded(n int) int {
	for _, size := range PaddedSizes {
		if n <= size {
			return size
		}
	}
	return 0
}
