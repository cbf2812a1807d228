package sealpost

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// A UnixMilli is a moment some signer claims, in milliseconds since 1970 UTC.
// In statements it travels as RFC 3339 UTC with milliseconds, 24 characters.
type UnixMilli int64

// timeLayout is RFC 3339 in UTC with exactly three digits of a second.
const timeLayout = "2006-01-02T15:04:05.000Z"

// TimeLast bounds every claimed time (9999-12-31T23:59:59.999Z), so that each
// has exactly 24 characters.
const TimeLast UnixMilli = 253402300799999

// FromTime cuts t to milliseconds.
func FromTime(t time.Time) UnixMilli { return UnixMilli(t.UnixMilli()) }

// Time is t in UTC.
func (t UnixMilli) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add moves t by d, cut to milliseconds.
func (t UnixMilli) Add(d time.Duration) UnixMilli { return t + UnixMilli(d.Milliseconds()) }

func (t UnixMilli) String() string { return string(appendTime(nil, t)) }

// ParseTime reads the 24 characters that [UnixMilli.String] writes.
func ParseTime(s string) (UnixMilli, error) {
	t, ok := parseTime(s)
	if !ok {
		return 0, malformed("time %q is not RFC 3339 UTC with milliseconds", clip(s))
	}
	return t, nil
}

// parseTime and appendTime go by hand, because every statement holds one to
// three times and a layout costs more than all its other fields together. The
// calendar stays package time's.
func parseTime(s string) (UnixMilli, bool) {
	if len(s) != len(timeLayout) || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' || s[23] != 'Z' {
		return 0, false
	}
	year, month, day := number(s[:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second, milli := number(s[11:13]), number(s[14:16]), number(s[17:19]), number(s[20:23])
	if year < 1970 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || milli < 0 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // the month is shorter
		return 0, false
	}
	return UnixMilli(t.Unix()*1000 + int64(milli)), true
}

// number is the value of decimal digits, or -1.
func number(digits string) (n int) {
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return -1
		}
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

func appendTime(b []byte, t UnixMilli) []byte {
	if t.check() != nil {
		return t.Time().AppendFormat(b, timeLayout)
	}
	u := t.Time()
	year, month, day := u.Date()
	hour, minute, second := u.Clock()
	milli := int(t % 1000)
	b = append(appendTwo(appendTwo(b, year/100), year%100), '-')
	b = append(appendTwo(b, int(month)), '-')
	b = append(appendTwo(b, day), 'T')
	b = append(appendTwo(b, hour), ':')
	b = append(appendTwo(b, minute), ':')
	b = append(appendTwo(b, second), '.')
	return append(appendTwo(b, milli/10), '0'+byte(milli%10), 'Z')
}

func appendTwo(b []byte, n int) []byte { return append(b, '0'+byte(n/10), '0'+byte(n%10)) }

func (t UnixMilli) check() error {
	if t < 0 || t > TimeLast {
		return malformed("time %d is outside 1970 to 9999", int64(t))
	}
	return nil
}

// MarshalCBOR writes a text string of 24 characters (commitment 2).
func (t UnixMilli) MarshalCBOR() ([]byte, error) {
	w := writer{b: make([]byte, 0, 2+len(timeLayout))}
	w.time(t)
	return w.b, w.fault
}

// UnmarshalCBOR reads what MarshalCBOR writes and nothing else.
func (t *UnixMilli) UnmarshalCBOR(b []byte) error {
	r := reader{s: string(b)}
	v := r.time()
	if !r.end() {
		return r.fault
	}
	*t = v
	return nil
}

// MarshalText writes the 24 characters (for JSON).
func (t UnixMilli) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the 24 characters.
func (t *UnixMilli) UnmarshalText(b []byte) (err error) { *t, err = ParseTime(string(b)); return err }

// A MessageID names one message: a UUIDv7 (RFC 9562 5.7), "msg_" in text. The
// sender draws it; it is the idempotency key of a submission.
type MessageID [16]byte

// An AttemptID names one attempt to hand a message to a carrier, "att_" in text.
type AttemptID [16]byte

const (
	messagePrefix = "msg_"
	attemptPrefix = "att_"
	uuidText      = 36 // characters of a UUID in text, hyphens included
)

// NewMessageID draws an id for a message made at t; random supplies 10 bytes.
func NewMessageID(t UnixMilli, random io.Reader) (MessageID, error) {
	u, err := newUUIDv7(t, random)
	return MessageID(u), err
}

// NewAttemptID draws an id for an attempt begun at t.
func NewAttemptID(t UnixMilli, random io.Reader) (AttemptID, error) {
	u, err := newUUIDv7(t, random)
	return AttemptID(u), err
}

func (id MessageID) String() string { return formatUUID(messagePrefix, id) }
func (id AttemptID) String() string { return formatUUID(attemptPrefix, id) }

// ParseMessageID reads the one text form of a message id.
func ParseMessageID(s string) (MessageID, error) {
	u, err := parseUUID(messagePrefix, s)
	return MessageID(u), err
}

// MarshalText writes the prefixed form.
func (id MessageID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the prefixed form.
func (id *MessageID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseMessageID(string(b))
	return err
}

// Created is the time inside the id, as its maker claims it.
func (id MessageID) Created() UnixMilli {
	var ms UnixMilli
	for _, b := range id[:6] {
		ms = ms<<8 | UnixMilli(b)
	}
	return ms
}

func (id MessageID) check() error { return checkUUIDv7("message id", id) }
func (id AttemptID) check() error { return checkUUIDv7("attempt id", id) }

func newUUIDv7(t UnixMilli, random io.Reader) (u [16]byte, err error) {
	if err := t.check(); err != nil {
		return u, err
	}
	if _, err := io.ReadFull(random, u[6:]); err != nil {
		return u, fmt.Errorf("draw an id: %w", err)
	}
	for i := range 6 {
		u[i] = byte(t >> (40 - 8*i))
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u, nil
}

func checkUUIDv7(what string, u [16]byte) error {
	if u[6]>>4 != 7 || u[8]>>6 != 2 {
		return malformed("%s is not a UUIDv7", what)
	}
	return nil
}

func formatUUID(prefix string, u [16]byte) string {
	b := make([]byte, 0, len(prefix)+uuidText)
	b = append(b, prefix...)
	for i, part := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

func parseUUID(prefix, s string) (u [16]byte, err error) {
	bad := malformed("%q is not %q and a UUIDv7 in lower case", clip(s), prefix)
	if len(s) != len(prefix)+uuidText || s[:len(prefix)] != prefix {
		return u, bad
	}
	t := s[len(prefix):]
	digits := t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:]
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return u, bad
	}
	if formatUUID(prefix, u) != s || checkUUIDv7("id", u) != nil {
		return [16]byte{}, bad
	}
	return u, nil
}

// A Recipient is the sender's keyed pseudonym of a customer: HMAC-SHA256 under
// the sender's epoch key (DESIGN section 12, Identifiers). It says nothing
// without that key.
type Recipient [32]byte

func (r Recipient) String() string { return hex.EncodeToString(r[:]) }

// ParseRecipient reads 64 hexadecimal digits in lower case.
func ParseRecipient(s string) (r Recipient, err error) {
	return r, parseHex32(s, (*[32]byte)(&r), "recipient")
}

func parseHex32(s string, to *[32]byte, what string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 || hex.EncodeToString(b) != s {
		return malformed("%s %q is not 64 hexadecimal digits", what, clip(s))
	}
	copy(to[:], b)
	return nil
}

// clip bounds what an error repeats of its input.
func clip(s string) string {
	const most = 48 // bytes
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
