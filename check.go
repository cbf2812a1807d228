package sealpost

import (
	"cmp"
	"strconv"
	"unicode/utf8"
)

func itoa(i int) string { return strconv.Itoa(i) }

// A fault is a rule that a value breaks, with the name of its field.
type fault struct {
	broken bool
	field  string
}

// firstFault names the first broken rule.
func firstFault(rules []fault) error {
	for _, r := range rules {
		if r.broken {
			return malformed("%s", r.field)
		}
	}
	return nil
}

// isName is the rule for every identifier that a person or program chose: 1 to
// NameMax bytes of printable ASCII, no space, so that it cannot forge a line
// of a report.
func isName(s string) bool {
	if len(s) == 0 || len(s) > NameMax {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// IsName says whether s may stand as an app, transaction or correlation id.
func IsName(s string) bool { return isName(s) }

// isText says whether s can be shown: UTF-8 within a length, no control
// character but a line feed.
func isText(s string, most int) bool {
	if len(s) > most || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if (r < ' ' && r != '\n') || r == 0x7f {
			return false
		}
	}
	return true
}

// isOrderedSet says whether values ascend strictly.
func isOrderedSet[T cmp.Ordered](values []T) bool {
	for i := 1; i < len(values); i++ {
		if values[i] <= values[i-1] {
			return false
		}
	}
	return true
}

// areHashes says whether hashes ascend strictly in bytewise order and are not
// more than CountedMax.
func areHashes(hashes []Hash) bool {
	if len(hashes) > CountedMax {
		return false
	}
	for i := 1; i < len(hashes); i++ {
		if string(hashes[i][:]) <= string(hashes[i-1][:]) {
			return false
		}
	}
	return true
}
