package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealpost/sealpost"
)

// faults gathers what is wrong with a policy file, so that its author mends
// everything in one go.
type faults struct{ all []error }

func (f *faults) add(errs ...error) {
	for _, err := range errs {
		f.all = append(f.all, fmt.Errorf("policy: %w: %w", sealpost.ErrMalformed, err))
	}
}

func (f *faults) addf(format string, args ...any) { f.add(fmt.Errorf(format, args...)) }

func (f *faults) join() error { return errors.Join(f.all...) }

// key reads a COSE_Key in unpadded base64url; a fault is noted and gives no key.
func (f *faults) key(member, s string) sealpost.PublicKey {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the decoder skips
		f.addf("%s: not unpadded base64url", member)
		return sealpost.PublicKey{}
	}
	k, err := sealpost.ParsePublicKey(b)
	if err != nil {
		f.addf("%s: %w; want the COSE_Key of an Ed25519 or P-256 key", member, err)
	}
	return k
}

// decode reads the types of the members.
func (f *faults) decode(b []byte, to any) error {
	err := json.Unmarshal(b, to)
	if err != nil {
		f.addf("%v; see spec/policy.md for each member's type", err)
	}
	return err
}

// strict walks the tokens for what encoding/json lets pass: unknown members,
// members in another case, repeated ones, and missing ones. Where it is no JSON
// object, there is nothing more to read.
func (f *faults) strict(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := f.object(d, "", policyMembers, []string{"valid_until"}); err != nil {
		f.addf("not one JSON object (spec/policy.md): %v", err)
		return false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		f.addf("something stands after the object; remove it")
	}
	return true
}

func (f *faults) object(d *json.Decoder, at string, want, may []string) error {
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return errors.New("an object is wanted")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		switch {
		case seen[name]:
			f.addf("%s%s: stands twice; leave one", at, name)
		case !slices.Contains(want, name) && !slices.Contains(may, name):
			f.addf("%s%q: unknown member; remove it", at, name)
		}
		seen[name] = true
		if at == "" && name == "senders" {
			err = f.senders(d)
		} else {
			var value json.RawMessage
			if err = d.Decode(&value); string(value) == "null" {
				f.addf("%s%s: null is no value; leave the member out or give it one", at, name)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, name := range want {
		if !seen[name] {
			f.addf("%s%s: missing; add it", at, name)
		}
	}
	_, err = d.Token() // the closing brace
	return err
}

func (f *faults) senders(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("senders: a list is wanted")
	}
	for i := 0; d.More(); i++ {
		if err := f.object(d, fmt.Sprintf("senders[%d].", i), []string{"app", "key"}, nil); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing bracket
	return err
}
