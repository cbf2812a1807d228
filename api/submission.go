package api

import (
	"strconv"
	"unicode/utf8"
)

// Keys of a submission in CBOR. A pointer names a member by its key.
const (
	keyCommitment = "1"
	keyBlob       = "2"
)

// submissionFault says what is wrong with CBOR that is not {1: commitment, 2:
// blob}, and names the member at fault as its JSON form would: whatever stands
// beside the two is a statement about the message that nobody signed (R6).
func submissionFault(b []byte) *Problem {
	bad := ErrMalformed.With("a submission is {1: commitment, 2: blob} in its one encoding")
	n, rest, ok := cutHead(b, 0xa0)
	if !ok {
		return bad
	}
	seen := map[string]bool{}
	for range n {
		var name string
		if name, rest, ok = cutKey(rest); !ok {
			return bad
		}
		if name != keyCommitment && name != keyBlob {
			return ErrUnsignedMetadata.At("/" + pointerToken(name))
		}
		if seen[name] {
			return ErrMalformed.With("the member stands twice").At("/" + name)
		}
		seen[name] = true
		if _, rest, ok = cutBytes(rest); !ok {
			return ErrMalformed.With("the value is not a byte string in its one encoding").At("/" + name)
		}
	}
	for _, name := range []string{keyCommitment, keyBlob} {
		if !seen[name] {
			return ErrMalformed.With("the member is missing").At("/" + name)
		}
	}
	return bad // in another order, or something follows
}

// cutKey reads a map's key: a whole number or a text.
func cutKey(b []byte) (name string, rest []byte, ok bool) {
	if n, rest, ok := cutHead(b, 0x00); ok {
		return strconv.Itoa(n), rest, true
	}
	size, rest, ok := cutHead(b, 0x60)
	if !ok || size > len(rest) || !utf8.Valid(rest[:size]) {
		return "", nil, false
	}
	return string(rest[:size]), rest[size:], true
}
