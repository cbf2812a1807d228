package fcm

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/sealpost/sealpost"
)

// DataMax is what the vendor allows in data, counting keys and values, in bytes.
const DataMax = 4096

// The two keys of our data: short, because they count.
const (
	KeySealed = "b" // base64url of [sealpost.Sealed.Bytes], no padding
	KeyTicket = "t" // base64url of [sealpost.Sealed.Ticket], no padding
)

// InlineMax is how many sealed bytes fit: 4,096 less the key, in base64url.
const InlineMax = (DataMax - len(KeySealed)) * 3 / 4

// ttlMax is the longest the vendor keeps a message.
const ttlMax = 28 * 24 * time.Hour

// body builds one send request. base64url, digits and the constants need no JSON
// escaping; targets that would are refused before (see [field]).
func body(field, target string, what sealpost.Sealed, ttl time.Duration) []byte {
	key, payload := KeySealed, what.Bytes()
	if len(payload) > InlineMax {
		key, payload = KeyTicket, what.Ticket()
	}
	b := make([]byte, 0, 128+len(target)+base64.RawURLEncoding.EncodedLen(len(payload)))
	b = append(b, `{"message":{"`...)
	b = append(b, field...)
	b = append(b, `":"`...)
	b = append(b, target...)
	b = append(b, `","data":{"`...)
	b = append(b, key...)
	b = append(b, `":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, payload)
	b = append(b, `"},"android":{"priority":"HIGH","ttl":"`...)
	b = strconv.AppendInt(b, int64(min(max(ttl, 0), ttlMax)/time.Second), 10)
	return append(b, `s"}}}`...)
}

// field is the name of the target's kind in the vendor's schema, and whether the
// endpoint is one of ours and can stand in the JSON of [body] as it is.
func field(to sealpost.Endpoint) (name string, ok bool) {
	switch to.Kind {
	case sealpost.EndpointFCMFID:
		name = "fid"
	case sealpost.EndpointFCMToken:
		name = "token"
	}
	return name, name != "" && to.Carrier == sealpost.FCM && isTarget(to.Reveal())
}

// isTarget accepts what FIDs and registration tokens are made of.
func isTarget(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == ':' || c == '.' || c == '%') {
			return false
		}
	}
	return s != ""
}
