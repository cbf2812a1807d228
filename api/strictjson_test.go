package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
)

// What the strict reader takes, encoding/json reads to the same value: it is
// the same language, only smaller.
func FuzzStrictJSON(f *testing.F) {
	answer, err := json.Marshal(Answer{ID: someEnrolment, Endpoints: someEndpoints, KeyPackages: []Bytes{{1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add([]byte(strings.Replace(string(answer), `"value"`, `"Value"`, 1)))
	f.Add([]byte(`{"id":null}`))
	f.Add([]byte(`{"id":"` + someEnrolment.String() + `"} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		var ours, theirs Answer
		if p := decodeJSON(b, &ours); p != nil {
			if !p.Is(ErrMalformed) && !p.Is(ErrTooLarge) {
				t.Errorf("%s", p.Type)
			}
			return
		}
		if err := json.Unmarshal(b, &theirs); err != nil {
			t.Fatalf("%q: encoding/json refuses it: %v", b, err)
		}
		// An empty list may be nil in one and not in the other.
		a, _ := sealpost.Encode(ours)
		c, _ := sealpost.Encode(theirs)
		if !reflect.DeepEqual(a, c) {
			t.Errorf("%q is read as %+v and as %+v", b, ours, theirs)
		}
	})
}

func TestStrictJSONBounds(t *testing.T) {
	var in ReceiptBatch
	many := `{"receipts":[` + strings.Repeat(`"",`, BatchMax) + `""]}`
	if p := decodeJSON([]byte(many), &in); p == nil || !p.Is(ErrTooLarge) || p.Pointer != "/receipts" {
		t.Errorf("%v", p)
	}
	deep := strings.Repeat("[", 20000)
	if p := decodeJSON([]byte(deep), &in); p == nil || !p.Is(ErrMalformed) {
		t.Errorf("%v", p)
	}
	long := `{"` + strings.Repeat("x", 10000) + `":1}`
	if p := decodeJSON([]byte(long), &in); p == nil || len(p.Pointer) > 80 {
		t.Errorf("a caller's long name comes back: %d bytes", len(p.Pointer))
	}
}

func TestNullIsNoValue(t *testing.T) {
	for _, body := range []string{`{"statement":null}`, `{"statement": null }`} {
		var in KeyEventPost
		if p := decodeJSON([]byte(body), &in); p == nil || p.Pointer != "/statement" {
			t.Errorf("%s: %v", body, p)
		}
	}
	var in KeyEventPost
	if p := decodeJSON([]byte(`{"statement":""}`), &in); p != nil {
		t.Errorf("an empty string: %v", p)
	}
}

// A route without a body refuses one, with a length or without.
func TestBodyWhereNoneIsWanted(t *testing.T) {
	for _, length := range []int64{2, -1} {
		w := newWorld(t)
		r := w.request("GET", "/v1/messages", MediaJSON, []byte("{}"))
		r.ContentLength = length
		if p := problemOf(t, w.do(r)); !p.Is(ErrMalformed) || w.calls() != 0 {
			t.Errorf("length %d: %s", length, p.Type)
		}
	}
}
