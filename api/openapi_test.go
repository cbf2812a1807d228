package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// The document is pinned, so that a change of the API shows in review.
func TestOpenAPIIsPinned(t *testing.T) {
	const file = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(file, OpenAPI(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, OpenAPI()) {
		t.Errorf("the API changed; if that is meant, run go test ./api -run OpenAPIIsPinned -update and review %s", file)
	}
}

// example is a good body of every route that has one.
func example(t *testing.T, rt *route) any {
	t.Helper()
	switch rt.method + " " + rt.path {
	case "POST /v1/enrolments":
		return someInvitation
	case "POST /v1/key-events":
		return KeyEventPost{Bytes("statement")}
	case "POST /v1/recipients/{recipient}/key-packages/claim":
		return Claim{[]sealpost.KeyID{someKey}}
	case "POST /v1/api-keys":
		return KeyOrder{"ci", []string{"send", "read"}}
	case "POST /v1/device/receipts":
		return ReceiptBatch{[]Bytes{Bytes("one"), Bytes("two")}}
	case "POST /v1/device/stock":
		return Stocking{[]Bytes{Bytes("kp")}, someEndpoints}
	}
	if rt.endpoint.in != nil && rt.who != presenter {
		t.Fatalf("%s %s has no example", rt.method, rt.path)
	}
	return nil
}

// exampleBody is the example in JSON.
func exampleBody(t *testing.T, rt *route) []byte {
	t.Helper()
	if rt.isSubmit() {
		return submissionJSON(t, sealedMessage(t))
	}
	v := example(t, rt)
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func someAnswer(k *sealpost.PrivateKey) Answer {
	return Answer{ID: someEnrolment, Key: k.Public().COSE(), Leaf: k.Public().COSE(), ByKey: Bytes("bk"), ByLeaf: Bytes("bl"),
		Assurance: sealpost.AssuranceSoftware, MAC: make(Bytes, 32), Endpoints: someEndpoints, KeyPackages: []Bytes{Bytes("kp")}}
}

// ask sends a route's example in a media type, as whom the route wants.
func ask(t *testing.T, w *world, rt *route, media string) *httptest.ResponseRecorder {
	t.Helper()
	v := example(t, rt)
	if rt.who == presenter {
		v = someAnswer(w.device)
	}
	var body []byte
	if v != nil {
		var err error
		if media == MediaCBOR {
			body, err = sealpost.Encode(v)
		} else {
			body, err = json.Marshal(v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rt.isSubmit() {
		s := sealedMessage(t)
		body = map[string][]byte{MediaJSON: submissionJSON(t, s), MediaSubmission: s.Bytes(),
			MediaBatch: append(appendHead([]byte{0x81}, 0x40, len(s.Bytes())), s.Bytes()...)}[media]
	}
	var r *http.Request
	if rt.who == device || rt.who == presenter {
		r = w.signed(rt.method, concrete(rt.path), media, body)
	} else {
		r = w.request(rt.method, concrete(rt.path), media, body)
	}
	if body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
		r.Header.Del("Content-Type")
		r.Header.Set("Accept", media)
	}
	return w.do(r)
}

type document struct {
	Paths map[string]map[string]struct {
		Security    []map[string][]string
		RequestBody *struct{ Content map[string]media }
		Responses   map[string]struct{ Content map[string]media }
	}
	Components struct{ Schemas map[string]schema }
}

type media struct{ Schema *schema }

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Pattern    string
	Minimum    *float64
	MaxItems   *int
	Enum       []string
	OneOf      []schema
	Items      *schema
	Required   []string
	Properties map[string]schema
	Additional *bool `json:"additionalProperties"`
}

// check holds a value to a schema: the part of JSON Schema that the document uses.
func (d *document) check(s schema, v any, at string) error {
	if s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/components/schemas/")
		target, ok := d.Components.Schemas[name]
		if !ok {
			return fmt.Errorf("%s: no schema %q", at, name)
		}
		return d.check(target, v, at)
	}
	if len(s.OneOf) > 0 {
		fits := 0
		for _, one := range s.OneOf {
			if d.check(one, v, at) == nil {
				fits++
			}
		}
		if fits != 1 {
			return fmt.Errorf("%s: fits %d of the alternatives", at, fits)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" && s.Type != "" {
			return fmt.Errorf("%s: an object where a %s is wanted", at, s.Type)
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Errorf("%s: %s is missing", at, name)
			}
		}
		for name, member := range v {
			p, ok := s.Properties[name]
			if !ok && s.Additional != nil && !*s.Additional {
				return fmt.Errorf("%s: %s is not in the document", at, name)
			}
			if ok {
				if err := d.check(p, member, at+"/"+name); err != nil {
					return err
				}
			}
		}
	case []any:
		if s.Type != "array" || (s.MaxItems != nil && len(v) > *s.MaxItems) {
			return fmt.Errorf("%s: an array where a %s is wanted, or too long", at, s.Type)
		}
		for i, item := range v {
			if err := d.check(*s.Items, item, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
	case string:
		if s.Type != "string" || (s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v)) ||
			(s.Enum != nil && !slices.Contains(s.Enum, v)) {
			return fmt.Errorf("%s: %q is not the string that is wanted", at, v)
		}
	case float64:
		if s.Type != "integer" || v != float64(int64(v)) || (s.Minimum != nil && v < *s.Minimum) {
			return fmt.Errorf("%s: %v where a %s is wanted", at, v, s.Type)
		}
	case bool:
		if s.Type != "boolean" {
			return fmt.Errorf("%s: a truth value where a %s is wanted", at, s.Type)
		}
	default:
		return fmt.Errorf("%s: %T", at, v)
	}
	return nil
}

func readDocument(t *testing.T) *document {
	t.Helper()
	w := newWorld(t)
	rec := w.do(httptest.NewRequest("GET", "/openapi.json", nil))
	d := new(document)
	if err := json.Unmarshal(rec.Body.Bytes(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// R6: the document says what the handlers do: every route, every media type it
// takes, every form that it answers in, every member, and who may ask.
func TestContract(t *testing.T) {
	d := readDocument(t)
	operations := 0
	for _, rt := range routes {
		op, ok := d.Paths[strings.Replace(rt.path, "...}", "}", 1)][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s %s is not in the document", rt.method, rt.path)
			continue
		}
		operations++
		if (len(op.Security) == 0) != (rt.who == anybody) {
			t.Errorf("%s %s: security %v", rt.method, rt.path, op.Security)
		}
		if rt.public != "" {
			continue
		}
		takes := map[string]media{MediaJSON: {}, MediaCBOR: {}} // for a route without a body: by Accept
		if op.RequestBody != nil {
			takes = op.RequestBody.Content
		}
		for _, m := range []string{MediaJSON, MediaCBOR, MediaSubmission, MediaBatch} {
			w := newWorld(t)
			rec := ask(t, w, &rt, m)
			described, listed := takes[m]
			if op.RequestBody == nil && !listed {
				continue
			}
			if !listed {
				if !problemOf(t, rec).Is(ErrMediaType) {
					t.Errorf("%s %s takes %s, which is not in the document: %d", rt.method, rt.path, m, rec.Code)
				}
				continue
			}
			if rec.Code > 299 {
				t.Errorf("%s %s refuses %s, which is in the document: %s", rt.method, rt.path, m, rec.Body)
				continue
			}
			if m == MediaJSON && op.RequestBody != nil {
				d.holds(t, *described.Schema, exampleOrAnswer(t, w, &rt), rt.method+" "+rt.path+" request")
			}
			response, ok := op.Responses[fmt.Sprint(rec.Code)]
			if !ok {
				t.Errorf("%s %s answers %d, which is not in the document", rt.method, rt.path, rec.Code)
				continue
			}
			if rec.Body.Len() == 0 {
				if len(response.Content) != 0 {
					t.Errorf("%s %s answers nothing", rt.method, rt.path)
				}
				continue
			}
			content, ok := response.Content[rec.Header().Get("Content-Type")]
			if !ok {
				t.Errorf("%s %s answers in %s, which is not in the document", rt.method, rt.path, rec.Header().Get("Content-Type"))
				continue
			}
			if m == MediaJSON {
				d.holds(t, *content.Schema, rec.Body.Bytes(), rt.method+" "+rt.path+" answer")
			}
		}
	}
	for path, methods := range d.Paths {
		operations -= len(methods)
		if operations < 0 {
			t.Errorf("%s is in the document and is no route", path)
		}
	}
	for _, p := range Problems() {
		b, err := json.Marshal(p.With("why").At("/x"))
		if err != nil {
			t.Fatal(err)
		}
		d.holds(t, d.Components.Schemas["Problem"], b, p.Type)
	}
}

func exampleOrAnswer(t *testing.T, w *world, rt *route) []byte {
	if rt.who != presenter {
		return exampleBody(t, rt)
	}
	b, err := json.Marshal(someAnswer(w.device))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (d *document) holds(t *testing.T, s schema, body []byte, what string) {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := d.check(s, v, ""); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// The checker of this test refuses what does not fit, or TestContract would
// show nothing.
func TestContractCheckerRefuses(t *testing.T) {
	d := readDocument(t)
	s := d.Components.Schemas["Accepted"]
	good := `{"id":"` + someID.String() + `","salt":"AA","promise":"AA","again":true}`
	d.holds(t, s, []byte(good), "honest")
	for _, spoiled := range []string{
		strings.Replace(good, `"again":true`, `"again":1`, 1), strings.Replace(good, `"salt"`, `"Salt"`, 1),
		strings.Replace(good, `"salt":"AA"`, `"salt":"A+"`, 1), strings.Replace(good, "{", `{"x":1,`, 1),
		strings.Replace(good, "msg_", "enr_", 1), "[]", `"x"`,
	} {
		var v any
		if err := json.Unmarshal([]byte(spoiled), &v); err != nil {
			t.Fatal(err)
		}
		if d.check(s, v, "") == nil {
			t.Errorf("%s fits", spoiled)
		}
	}
}

// Every member that the Go types write stands in the document, and the
// document names no other: a strict reader takes the examples, and a value with
// every member set uses each property.
func TestSchemasUseEveryMember(t *testing.T) {
	d := readDocument(t)
	for name, v := range map[string]any{
		"Accepted": someAccepted, "Exhibit": someExhibit, "MessageView": someView, "Invitation": someInvitation, "Invited": someInvited,
		"EnrolmentView": someAnswered, "ClaimedPackage": somePackage, "Arrivals": someArrivals, "Pool": someArrivals.Pool, "Arrival": someArrival, "KeyView": someKeyView,
		"Event": someView.Timeline[0], "DeviceEndpoint": someEndpoints[0], "Problem": ErrBusy.With("d").At("/p"),
		"MessagePage": MessagePage{[]MessageView{someView}, "n"}, "Stocking": Stocking{[]Bytes{{}}, someEndpoints},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		if len(members) != len(d.Components.Schemas[name].Properties) {
			t.Errorf("%s has %d members, the document %d", name, len(members), len(d.Components.Schemas[name].Properties))
		}
		d.holds(t, d.Components.Schemas[name], b, name)
	}
}
