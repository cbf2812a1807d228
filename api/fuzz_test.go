package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
)

// Bytes have one spelling in JSON.
func FuzzBytes(f *testing.F) {
	f.Add("")
	f.Add("AAE")
	f.Add("AA\n")
	f.Add("AB")
	f.Fuzz(func(t *testing.T, s string) {
		var b Bytes
		if b.UnmarshalText([]byte(s)) != nil {
			return
		}
		if again, err := b.MarshalText(); err != nil || string(again) != s {
			t.Errorf("%q is accepted and is written %q", s, again)
		}
	})
}

// A submission in JSON may have spaces and escapes; what it holds is what the
// same submission in CBOR holds, and written by us it is read again.
func FuzzJSONSubmission(f *testing.F) {
	s := sealedMessage(f)
	honest, err := json.Marshal(Submission{SignedDigest: s.Statement().Bytes(), EncryptedBlob: s.Blob()})
	if err != nil {
		f.Fatal(err)
	}
	if _, p := parseJSONSubmission(honest); p != nil {
		f.Fatalf("honest: %v", p)
	}
	f.Add(honest)
	f.Add(bytes.Replace(honest, []byte("signed"), []byte(`\u0073igned`), 1))
	f.Add(bytes.Replace(honest, []byte("{"), []byte(`{"timestamp":1,`), 1))
	f.Add([]byte(`{"signed_digest":"","encrypted_blob":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, p := parseJSONSubmission(b)
		if p != nil {
			return
		}
		theirs, err := sealpost.ParseSealed(ours.Bytes())
		if err != nil || !bytes.Equal(theirs.Bytes(), ours.Bytes()) {
			t.Fatalf("%q: what it holds is no submission: %v", b, err)
		}
		again, err := json.Marshal(Submission{SignedDigest: ours.Statement().Bytes(), EncryptedBlob: ours.Blob()})
		if err != nil {
			t.Fatal(err)
		}
		if twice, p := parseJSONSubmission(again); p != nil || !bytes.Equal(twice.Bytes(), ours.Bytes()) {
			t.Errorf("%q is not read again: %v", again, p)
		}
	})
}

// A batch in JSON is split where encoding/json splits it.
func FuzzSplitJSONBatch(f *testing.F) {
	f.Add([]byte(`[{"a":1},{"b":[2,3]}]`))
	f.Add([]byte(`[] `))
	f.Add([]byte(`[1,]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, p := splitJSONBatch(b)
		if p != nil {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil || len(want) != len(items) {
			t.Fatalf("%q: %d items, encoding/json has %d: %v", b, len(items), len(want), err)
		}
		for i := range want {
			if !bytes.Equal(items[i], want[i]) {
				t.Errorf("item %d is %q, want %q", i, items[i], want[i])
			}
		}
	})
}

// Scopes that are accepted are written with the same words.
func FuzzParseScopes(f *testing.F) {
	f.Add("send")
	f.Add("manage read send enrol")
	f.Add("send send")
	f.Fuzz(func(t *testing.T, s string) {
		words := strings.Split(s, " ")
		scopes, err := ParseScopes(words)
		if err != nil {
			return
		}
		again := ScopeNames(scopes)
		slices.Sort(words)
		sorted := slices.Sorted(slices.Values(again))
		if !slices.Equal(words, sorted) {
			t.Errorf("%q is accepted and is written %q", s, again)
		}
		if twice, err := ParseScopes(again); err != nil || twice != scopes {
			t.Errorf("%q is not read again: %v", again, err)
		}
	})
}

// Whatever a server answers, a client makes a problem of it only if it is one,
// and never waits longer for it than its bound.
func FuzzProblemIn(f *testing.F) {
	for _, media := range []string{MediaProblemJSON, MediaProblemCBOR, "text/html"} {
		b, _, err := encodeAnswer(media == MediaProblemCBOR, ErrBusy)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(media, ErrBusy.Status, "3", b)
	}
	f.Add(MediaProblemJSON, 200, "-1", []byte("{}"))
	f.Fuzz(func(t *testing.T, media string, status int, after string, b []byte) {
		err := problemIn(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {media}, "Retry-After": {after}}}, b)
		if err == nil {
			t.Fatal("a refusal is no error")
		}
		if p, ok := errors.AsType[*Problem](err); ok && (p.Status != status || p.Type == "" || p.Retry < 0 || p.Retry > retryMax) {
			t.Errorf("status %d, %q: %+v", status, b, p)
		}
	})
}
