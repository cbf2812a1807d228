package evidence

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/sealpost/sealpost"
)

// MarshalJSON writes the bundle for reading: every statement decoded beside
// its bytes, bytes in unpadded base64url, hashes and key ids in hexadecimal. It
// shows an opening only where the bundle discloses it. Nothing reads it back.
func (b *Bundle) MarshalJSON() ([]byte, error) {
	type exhibit struct {
		Kind      string         `json:"kind"`
		Hash      string         `json:"hash"`
		Alg       string         `json:"alg,omitempty"`
		Key       string         `json:"key,omitempty"`
		Decoded   map[string]any `json:"decoded,omitempty"`
		Fault     string         `json:"fault,omitempty"` // why it is not decoded
		Statement string         `json:"statement"`
		Salt      string         `json:"salt"`
		Promise   string         `json:"promise,omitempty"`
		Proof     []string       `json:"proof,omitempty"` // lines of the tlog-proof
	}
	out := struct {
		Version     int           `json:"version"`
		ID          string        `json:"id"`
		Exhibits    []exhibit     `json:"exhibits"`
		Rosters     []any         `json:"rosters,omitempty"`
		Disclosed   any           `json:"disclosed,omitempty"`
		PolicyHash  string        `json:"policy_hash,omitempty"`
		Consistency []Consistency `json:"consistency,omitempty"`
		Span        any           `json:"span,omitempty"`
	}{Version: Version, ID: b.ID.String(), PolicyHash: hex.EncodeToString(b.PolicyHash), Consistency: b.Consistency}
	for _, e := range b.Exhibits {
		x := exhibit{Statement: encode(e.Statement), Salt: encode(e.Salt[:]), Promise: encode(e.Promise)}
		if len(e.Proof) > 0 {
			x.Proof = strings.Split(strings.TrimSuffix(string(e.Proof), "\n"), "\n")
		}
		if s, err := sealpost.Parse(e.Statement); err != nil {
			x.Fault = err.Error()
		} else {
			hash := s.Hash()
			x.Kind, x.Hash, x.Alg, x.Key = s.Kind().String(), hex.EncodeToString(hash[:]), s.Alg().String(), s.KeyID().String()
			x.Decoded, err = decoded(s)
			if err != nil {
				x.Fault = err.Error()
			}
		}
		out.Exhibits = append(out.Exhibits, x)
	}
	for _, r := range b.Rosters {
		if v, err := sealpost.ParseRoster(r); err == nil {
			out.Rosters = append(out.Rosters, readable(reflect.ValueOf(v)))
		} else {
			out.Rosters = append(out.Rosters, encode(r))
		}
	}
	if b.Disclosed != nil {
		out.Disclosed = b.Disclosed.readable()
	}
	if b.Span != nil {
		out.Span = b.Span.readable()
	}
	return json.MarshalIndent(out, "", "  ")
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// readable shows where the span stands; its leaves are noise to a reader.
func (s *Span) readable() any {
	m := map[string]any{"from": s.From, "leaves": len(s.Leaves) / len(sealpost.Leaf{}), "checkpoint": strings.Split(strings.TrimSuffix(string(s.Checkpoint), "\n"), "\n")}
	if signed, err := sealpost.Parse(s.Later); err == nil {
		if later, err := decoded(signed); err == nil {
			m["later"] = later
		}
	}
	return m
}

// readable shows what the holder chose to disclose.
func (d *Disclosure) readable() any {
	if len(d.Payload) > 0 {
		if p, err := sealpost.DecodePayload(d.Payload); err == nil {
			return map[string]any{"text": p.Content.Text, "fields": readable(reflect.ValueOf(p.Content.Fields)),
				"template": p.Template, "payload": encode(d.Payload)}
		}
		return map[string]any{"payload": encode(d.Payload)}
	}
	fields := []any{}
	for _, f := range d.Fields {
		fields = append(fields, map[string]any{"slot": f.Slot, "name": f.Name, "value": f.Value, "opening": encode(f.R[:])})
	}
	return map[string]any{"fields": fields, "slots": readable(reflect.ValueOf(d.Slots))}
}

// decoded reads a statement's payload into names and values.
func decoded(s sealpost.Signed) (map[string]any, error) {
	var v any
	var err error
	switch s.Kind() {
	case sealpost.KindCommitment:
		v, err = s.Commitment()
	case sealpost.KindPromise:
		v, err = s.Promise()
	case sealpost.KindAttempt:
		v, err = s.Attempt()
	case sealpost.KindCarrierClaim:
		v, err = s.CarrierClaim()
	case sealpost.KindReceipt:
		v, err = s.Receipt()
	case sealpost.KindOutcome:
		v, err = s.Outcome()
	case sealpost.KindKeyEvent:
		v, err = s.KeyEvent()
	}
	if err != nil {
		return nil, err
	}
	m, ok := readable(reflect.ValueOf(v)).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%v has no fields", s.Kind())
	}
	return m, nil
}

// readable turns a statement's value into what JSON can show: things with a
// text form as that text, bytes as base64url, hashes as hexadecimal.
func readable(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case sealpost.PublicKey:
		return map[string]any{"alg": x.Alg().String(), "id": x.ID().String(), "cose_key": encode(x.COSE())}
	case sealpost.Hash:
		return hex.EncodeToString(x[:])
	case []byte:
		return encode(x)
	case fmt.Stringer:
		if v.Kind() != reflect.Pointer {
			return x.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return readable(v.Elem())
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				m[snake(f.Name)] = readable(v.Field(i))
			}
		}
		return m
	case reflect.Slice, reflect.Array:
		list := make([]any, 0, v.Len())
		for i := range v.Len() {
			list = append(list, readable(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}

// snake writes a Go name as the JSON name that documents use.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
