package evidence

import (
	"encoding/json"
	"fmt"

	"github.com/sealpost/sealpost"
)

// A Status is the end of a verdict. Its number is the exit code of a command
// and is never reused (bundle 5).
type Status int

// The statuses. Worst wins, from worst to best: diverged, refused, trust
// expired, incomplete, proven.
const (
	Proven       Status = 0
	Incomplete   Status = 10 // well formed, and something is not yet provable
	TrustExpired Status = 20 // the policy was not to be used at that time
	Diverged     Status = 30 // two histories; the proof is kept
	Refused      Status = 40 // a check failed
)

func (s Status) String() string {
	switch s {
	case Proven:
		return "proven"
	case Incomplete:
		return "incomplete"
	case TrustExpired:
		return "trust expired"
	case Diverged:
		return "diverged"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("status %d", int(s))
}

// MarshalText writes the word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ExitCode is the exit code of a command that ends with this status.
func (s Status) ExitCode() int { return int(s) }

// rank orders statuses from best to worst.
func (s Status) rank() int {
	switch s {
	case Proven:
		return 0
	case Incomplete:
		return 1
	case TrustExpired:
		return 2
	case Refused:
		return 3
	}
	return 4 // diverged
}

// A Subject says what a claim is about. Programs read it, people read What.
type Subject string

// Subjects of claims.
const (
	AboutSender  Subject = "sender"  // who committed to the message
	AboutLog     Subject = "log"     // what orders the statements
	AboutKey     Subject = "key"     // whose key a device's is
	AboutRoster  Subject = "roster"  // for whom the message was sealed
	AboutDevice  Subject = "device"  // what a device asserts
	AboutCarrier Subject = "carrier" // what the relay says of a carrier
	AboutOutcome Subject = "outcome" // how the relay says it ended
	AboutContent Subject = "content" // what was committed to, where disclosed
	AboutPromise Subject = "promise" // what the relay promised
)

// A Claim is one thing that the bundle shows, in plain words, with its limit.
type Claim struct {
	About     Subject  `json:"about"`
	What      string   `json:"what"`
	Evidence  []string `json:"evidence"` // names of the exhibits that it rests on
	NotBefore *Bound   `json:"not_before,omitempty"`
	NotAfter  *Bound   `json:"not_after,omitempty"`
	Limit     string   `json:"limit"` // what it does not show
}

// A Bound is one end of the time in which something happened. Time is zero
// where only an order is known.
type Bound struct {
	Time   sealpost.UnixMilli `json:"time,omitzero"`
	Source string             `json:"source"` // by whose word
}

// A Finding is one reason for a status worse than proven.
type Finding struct {
	Status Status `json:"status"`
	Where  string `json:"where"`           // the part or exhibit
	Bytes  *Range `json:"bytes,omitempty"` // of the bundle; nil for what is absent
	Why    string `json:"why"`
}

func (f Finding) String() string {
	if f.Bytes == nil {
		return fmt.Sprintf("%s: %s", f.Where, f.Why)
	}
	return fmt.Sprintf("%s (bytes %d to %d): %s", f.Where, f.Bytes.From, f.Bytes.To-1, f.Why)
}

// A Conflict is two signed things that cannot both be honest. It is not a
// complaint about proof, it is the proof: keep it.
type Conflict struct {
	What string `json:"what"`
	A    []byte `json:"a"`
	B    []byte `json:"b"`
	Tie  []byte `json:"tie,omitempty"` // a consistency proof, where the two are of different sizes
}

// A Verdict is what [Verify] decides. Each claim holds by itself, on the
// exhibits that it names; where the status is worse than proven, the findings
// say why the claims do not add up to what the policy wants.
type Verdict struct {
	Status    Status             `json:"status"`
	Message   string             `json:"message"` // its id; empty where the bundle could not be read
	At        sealpost.UnixMilli `json:"at"`      // the time it was judged for
	Claims    []Claim            `json:"claims"`
	Findings  []Finding          `json:"findings"`
	Conflicts []Conflict         `json:"conflicts,omitempty"`
}

// MarshalJSON adds the exit code.
func (v Verdict) MarshalJSON() ([]byte, error) {
	type plain Verdict
	return json.Marshal(struct {
		plain
		ExitCode int `json:"exit_code"`
	}{plain(v), v.Status.ExitCode()})
}
