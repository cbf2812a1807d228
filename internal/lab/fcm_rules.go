package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the vendor.
const (
	FCMDataMax      = 4096 // bytes, keys and values of a message to one device
	FCMTopicDataMax = 2048 // bytes, to a topic or a condition
	FCMTTLMax       = 28 * 24 * time.Hour
	fcmBodyMax      = 64 << 10 // bytes; the vendor's own bound is unpublished
)

// A violation is one entry of google.rpc.BadRequest.
type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func (v *violation) Error() string { return v.Description }

// A pair is one entry of a data map.
type pair struct{ key, value string }

// A sendRequest is what the rules need of one request.
type sendRequest struct {
	validateOnly          bool
	hasMessage            bool
	fid, token            string
	topic, condition      string
	data, androidData     []pair
	notification          bool
	android, androidV2    bool
	priority, collapseKey string
	ttl                   time.Duration
}

// A sendReader fills a sendRequest while it holds the text to the schema.
type sendReader struct {
	jsonReader
	req sendRequest
}

// readSend parses and judges one request body. A *violation says what is wrong
// and where; any other error means that the body is no JSON.
func readSend(body []byte) (*sendRequest, error) {
	r := sendReader{jsonReader: jsonReader{b: body}}
	r.req.ttl = FCMTTLMax
	if err := r.message(shapeSend, ""); err != nil {
		return nil, err
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := r.req.judge(); err != nil {
		return nil, err
	}
	return &r.req, nil
}

func (r *sendReader) message(s *shape, path string) error {
	return r.object(func(key []byte) error {
		f, ok := s.find(key)
		if !ok {
			where := ""
			if path != "" {
				where = " at '" + path + "'"
			}
			return &violation{path, fmt.Sprintf("Invalid JSON payload received. Unknown name %q%s: Cannot find field.", key, where)}
		}
		if r.null() {
			return nil
		}
		return r.value(f, join(path, string(key)))
	})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (r *sendReader) value(f field, path string) error {
	switch f.kind {
	case kindMessage:
		if r.space() != '{' {
			return wrongType(path, "a message")
		}
		r.seen(f.slot)
		return r.message(f.msg, path)
	case kindStringMap:
		pairs, err := r.stringMap(path)
		r.keepData(f.slot, pairs)
		return err
	case kindStrings:
		if r.space() != '[' {
			return wrongType(path, "an array")
		}
		return r.list('[', ']', func() error { _, err := r.typedString(path); return err })
	case kindAny:
		if r.space() != '{' {
			return wrongType(path, "an object")
		}
		return r.skip()
	case kindBool, kindInt, kindNumber:
		return r.scalar(f, path)
	default:
		s, err := r.typedString(path)
		if err != nil {
			return err
		}
		return r.text(f, path, s)
	}
}

func wrongType(path, want string) error {
	return &violation{path, fmt.Sprintf("Invalid value at '%s', want %s", path, want)}
}

func (r *sendReader) typedString(path string) (string, error) {
	if r.space() != '"' {
		return "", wrongType(path, "a string")
	}
	s, err := r.str()
	return string(s), err
}

// seen notes the presence of a message.
func (r *sendReader) seen(s slot) {
	switch s {
	case slotMessage:
		r.req.hasMessage = true
	case slotNotification:
		r.req.notification = true
	case slotAndroid:
		r.req.android = true
	case slotAndroidV2:
		r.req.androidV2 = true
	}
}

func (r *sendReader) keepData(s slot, pairs []pair) {
	switch s {
	case slotData:
		r.req.data = pairs
	case slotAndroidData:
		r.req.androidData = pairs
	}
}

// stringMap reads a map of strings; of a repeated key the last value stays.
func (r *sendReader) stringMap(path string) (pairs []pair, err error) {
	if r.space() != '{' {
		return nil, wrongType(path, "a map")
	}
	err = r.object(func(key []byte) error {
		p := pair{key: string(key)}
		if p.value, err = r.typedString(path + "[0].value"); err != nil {
			return err
		}
		if i := slices.IndexFunc(pairs, func(q pair) bool { return q.key == p.key }); i >= 0 {
			pairs[i] = p
		} else {
			pairs = append(pairs, p)
		}
		return nil
	})
	return pairs, err
}

func (r *sendReader) scalar(f field, path string) error {
	var lit []byte
	var err error
	next := r.space()
	if next == '{' || next == '[' || next == '"' && f.kind == kindBool {
		return wrongType(path, "a scalar of the field's type")
	}
	if next == '"' { // proto3 JSON: a number may be quoted
		lit, err = r.str()
	} else {
		lit, err = r.literal()
	}
	if err != nil {
		return err
	}
	switch f.kind {
	case kindBool:
		if string(lit) != "true" && string(lit) != "false" {
			return wrongType(path, "a bool")
		}
		if f.slot == slotValidateOnly {
			r.req.validateOnly = string(lit) == "true"
		}
	case kindInt:
		if _, err := strconv.ParseInt(string(lit), 10, 32); err != nil {
			return wrongType(path, "an int32")
		}
	case kindNumber:
		var n float64
		if json.Unmarshal(lit, &n) != nil {
			return wrongType(path, "a number")
		}
	}
	return nil
}

// text checks and keeps a value that is a string in JSON.
func (r *sendReader) text(f field, path, s string) error {
	switch f.kind {
	case kindEnum:
		// Case is ignored: the vendor's own Go SDK (4.19.0) sends "high".
		s = strings.ToUpper(s)
		if !slices.Contains(f.enum, s) {
			return &violation{path, fmt.Sprintf("Invalid value at '%s' (TYPE_ENUM), %q", path, s)}
		}
	case kindTimestamp:
		if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
			return &violation{path, fmt.Sprintf("Invalid value at '%s' (type.googleapis.com/google.protobuf.Timestamp)", path)}
		}
	case kindDuration:
		d, ok := parseDuration(s)
		if !ok {
			return &violation{path, fmt.Sprintf("Invalid value at '%s' (type.googleapis.com/google.protobuf.Duration), Field '%s', Illegal duration format; duration must end with 's'", path, path)}
		}
		if f.slot == slotTTL {
			r.req.ttl = d
		}
	}
	switch f.slot {
	case slotFID:
		r.req.fid = s
	case slotToken:
		r.req.token = s
	case slotTopic:
		r.req.topic = s
	case slotCondition:
		r.req.condition = s
	case slotPriority:
		r.req.priority = s
	case slotCollapseKey:
		r.req.collapseKey = s
	}
	return nil
}

// parseDuration reads a google.protobuf.Duration: "3s", "3.000000001s", at most
// nine digits of fraction. Go's own durations ("1m", "1e3s") are refused.
func parseDuration(s string) (time.Duration, bool) {
	num, ok := strings.CutSuffix(s, "s")
	if !ok {
		return 0, false
	}
	digits, sign := num, time.Duration(1)
	if strings.HasPrefix(digits, "-") {
		digits, sign = digits[1:], -1
	}
	whole, frac, dotted := strings.Cut(digits, ".")
	if !allDigits(whole) || len(whole) > 9 || dotted && (!allDigits(frac) || len(frac) > 9) {
		return 0, false
	}
	sec, _ := strconv.ParseInt(whole, 10, 64)
	nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return sign * (time.Duration(sec)*time.Second + time.Duration(nanos)), true
}

func allDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// judge applies the rules that need more than one field.
func (q *sendRequest) judge() error {
	if !q.hasMessage {
		return &violation{"message", "Request contains an invalid argument: message is required."}
	}
	targets := 0
	for _, t := range []string{q.fid, q.token, q.topic, q.condition} {
		if t != "" {
			targets++
		}
	}
	switch {
	case targets == 0:
		return &violation{"message", "Exactly one of fid, token, topic or condition is required: recipient is not set."}
	case targets > 1:
		return &violation{"message", "Exactly one of fid, token, topic or condition is required: more than one is set."}
	case q.android && q.androidV2:
		return &violation{"message.android", "android and androidV2 are mutually exclusive."}
	case q.ttl < 0 || q.ttl > FCMTTLMax:
		return &violation{"message.android.ttl", "Invalid ttl: must be between 0 and 2419200 seconds."}
	}
	return q.judgeData()
}

func (q *sendRequest) judgeData() error {
	size := 0
	for _, p := range q.pairs() {
		if reservedKey(p.key) {
			return &violation{"message.data", fmt.Sprintf("Invalid data payload key: %s", p.key)}
		}
		size += len(p.key) + len(p.value)
	}
	limit, what := FCMDataMax, "message.data"
	if q.topic != "" || q.condition != "" {
		limit = FCMTopicDataMax
	}
	if size > limit {
		return &violation{what, fmt.Sprintf("Message is too big: %d bytes of data, at most %d.", size, limit)}
	}
	return nil
}

// pairs is the data an Android device gets: android.data overrides by key.
func (q *sendRequest) pairs() []pair {
	if len(q.androidData) == 0 {
		return q.data
	}
	out := slices.Clone(q.androidData)
	for _, p := range q.data {
		if !slices.ContainsFunc(out, func(o pair) bool { return o.key == p.key }) {
			out = append(out, p)
		}
	}
	return out
}

// reservedKey follows the discovery document, and the guide's wider "google" and
// "gcm" prefixes: an adapter that passes here passes under either reading.
func reservedKey(k string) bool {
	return k == "" || k == "from" || k == "message_type" ||
		strings.HasPrefix(k, "google") || strings.HasPrefix(k, "gcm")
}
