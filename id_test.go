package sealpost

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestUnixMilliText(t *testing.T) {
	for text, ms := range map[string]UnixMilli{"1970-01-01T00:00:00.000Z": 0, "2026-09-21T14:13:20.000Z": testStart, "9999-12-31T23:59:59.999Z": TimeLast,
		"2000-02-29T12:00:00.001Z": 951825600001} {
		got, err := ParseTime(text)
		if err != nil || got != ms || ms.String() != text {
			t.Errorf("%s: %d, %v; prints as %s", text, got, err, ms)
		}
		if FromTime(ms.Time()) != ms {
			t.Errorf("%s does not survive time.Time", text)
		}
	}
	for _, text := range []string{"", "2026-09-21T14:13:20Z", "2026-09-21T14:13:20.0000Z", "2026-09-21T14:13:20.000+00:00", "2026-09-21 14:13:20.000Z",
		"1969-12-31T23:59:59.999Z", "2026-02-29T00:00:00.000Z", "2026-09-21T24:00:00.000Z", "2026-09-21T14:13:60.000Z", "2026-09-21T14:13:20,000Z", " 2026-09-21T14:13:20.000Z", strings.Repeat("9", 1000)} {
		if _, err := ParseTime(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %v", text, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("the error repeats %d bytes of its input", len(err.Error()))
		}
	}
	if testStart.Add(1500*time.Millisecond+999*time.Microsecond) != testStart+1500 {
		t.Error("Add does not cut to milliseconds")
	}
	b, _ := json.Marshal(testStart)
	var back UnixMilli
	if err := json.Unmarshal(b, &back); err != nil || back != testStart {
		t.Errorf("JSON %s: %v", b, err)
	}
	for _, out := range []UnixMilli{-1, TimeLast + 1} {
		if _, err := Encode(out); err == nil {
			t.Errorf("%d was encoded", int64(out))
		}
	}
}

func TestIDs(t *testing.T) {
	id := testID()
	if !strings.HasPrefix(id.String(), "msg_") || len(id.String()) != 40 || id.Created() != testStart {
		t.Errorf("%s made at %v", id, id.Created())
	}
	if back, err := ParseMessageID(id.String()); err != nil || back != id {
		t.Errorf("%s: %v", id, err)
	}
	attempt, err := NewAttemptID(testStart, seeded(3))
	if err != nil || !strings.HasPrefix(attempt.String(), "att_") {
		t.Errorf("%s: %v", attempt, err)
	}
	enrolment, err := NewEnrolmentID(testStart, seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseEnrolmentID(enrolment.String()); err != nil || back != enrolment {
		t.Errorf("%s: %v", enrolment, err)
	}
	s := id.String()
	for name, bad := range map[string]string{"empty": "", "prefix": "att_" + s[4:], "no prefix": s[4:], "upper case": "msg_" + strings.ToUpper(s[4:]), "no hyphens": strings.ReplaceAll(s, "-", ""),
		"hyphen moved": s[:12] + s[13:14] + "-" + s[14:], "cut": s[:39], "longer": s + "0", "no digit": s[:39] + "g", "version 4": s[:18] + "4" + s[19:], "variant": s[:23] + "c" + s[24:]} {
		if _, err := ParseMessageID(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %q: %v", name, bad, err)
		}
	}
	for _, when := range []UnixMilli{-1, TimeLast + 1} {
		if _, err := NewMessageID(when, seeded(1)); !errors.Is(err, ErrMalformed) {
			t.Errorf("an id of %d: %v", int64(when), err)
		}
	}
	if _, err := NewMessageID(testStart, bytes.NewReader(make([]byte, 9))); err == nil {
		t.Error("an id of too little randomness")
	}
	// Later ids sort later.
	later, _ := NewMessageID(testStart+1, seeded(1))
	if bytes.Compare(id[:], later[:]) >= 0 {
		t.Error("a later id does not sort later")
	}
}

func TestHexNames(t *testing.T) {
	k := testKey(EdDSA, 1).Public().ID()
	if back, err := ParseKeyID(k.String()); err != nil || back != k {
		t.Errorf("%s: %v", k, err)
	}
	r := Recipient{1, 2}
	if back, err := ParseRecipient(r.String()); err != nil || back != r {
		t.Errorf("%s: %v", r, err)
	}
	for _, bad := range []string{"", k.String()[1:], k.String() + "0", strings.ToUpper(k.String()), strings.Repeat("g", 64)} {
		if _, err := ParseKeyID(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
