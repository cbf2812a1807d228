package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost"
)

// OpenAPI is the OpenAPI 3.1 document of the conversation. It is made from the
// table of routes and from the Go types, so it cannot say anything else than
// they do; what a route answers is held to it by the contract test.
func OpenAPI() []byte {
	g := generator{schemas: object{}}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Sealpost relay",
			"version": "1",
			"description": "Messages sealed end to end, with evidence that anyone can check offline. " +
				"Bodies are JSON, or CBOR in the one deterministic encoding (RFC 8949 4.2.1) whose map keys x-cbor-key names; " +
				"byte strings are unpadded base64url in JSON. Errors are RFC 9457 problems.",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths": g.paths(),
		"components": object{
			"schemas":         g.schemas,
			"securitySchemes": securitySchemes,
		},
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic("api: the OpenAPI document cannot be written: " + err.Error())
	}
	return append(b, '\n')
}

// An object is a JSON object; encoding/json writes its members in order.
type object map[string]any

type list []any

var securitySchemes = object{
	"apiKey": object{"type": "http", "scheme": "bearer",
		"description": "A tenant's API key, sp_ and 52 characters. The scopes that a route needs are listed with it; any one of them is enough."},
	"deviceSignature": object{"type": "apiKey", "in": "header", "name": headerSignature,
		"description": `An HTTP Message Signature (RFC 9421) over exactly "@method" "@target-uri", and "content-digest" (RFC 9530, sha-256) where there is a body, ` +
			`with created, nonce (16 bytes in base64), keyid (hex), alg (ed25519 or ecdsa-p256-sha256) and tag "` + signatureTag + `", within 60 s and once.`},
}

// A generator collects the schemas that the routes refer to.
type generator struct{ schemas object }

func (g *generator) paths() object {
	paths := object{}
	for i := range routes {
		rt := &routes[i]
		path := strings.Replace(rt.path, "...}", "}", 1)
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(rt.method)] = g.operation(rt)
	}
	return paths
}

func (g *generator) operation(rt *route) object {
	op := object{
		"summary":     rt.summary,
		"operationId": operationID(rt),
		"security":    security(rt),
		"responses":   g.responses(rt),
	}
	if parameters := g.parameters(rt); len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if content := g.requestContent(rt); content != nil {
		op["requestBody"] = object{"required": true, "content": content}
	}
	return op
}

// operationID is the method and the words of the path.
func operationID(rt *route) string {
	words := strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}.-", r) })
	return strings.ToLower(rt.method) + "_" + strings.Join(words, "_")
}

func security(rt *route) list {
	switch rt.who {
	case sender:
		alternatives := list{}
		for _, name := range ScopeNames(rt.scope) {
			alternatives = append(alternatives, object{"apiKey": list{name}})
		}
		return alternatives
	case device, presenter:
		return list{object{"deviceSignature": list{}}}
	}
	return list{}
}

func (g *generator) parameters(rt *route) (out list) {
	for segment := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			out = append(out, object{"name": name, "in": "path", "required": true, "schema": pathSchemas[name]})
		}
	}
	for _, p := range rt.query {
		schema := object{"type": "string"}
		if !p.text {
			schema = object{"type": "integer", "minimum": p.least, "maximum": p.most, "default": p.absent}
		}
		out = append(out, object{"name": p.name, "in": "query", "schema": schema})
	}
	if rt.isSubmit() {
		out = append(out, object{"name": "Idempotency-Key", "in": "header", "schema": pathSchemas["id"],
			"description": "Not needed: a message's id is its key. If it is present it must be that id."})
	}
	return out
}

func (rt *route) isSubmit() bool { return rt.method == http.MethodPost && rt.path == "/v1/messages" }

const hex32 = "^[0-9a-f]{64}$"

func uuidPattern(prefix string) string {
	return "^" + prefix + "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
}

var pathSchemas = map[string]object{
	"id":        {"type": "string", "pattern": uuidPattern("msg_")},
	"recipient": {"type": "string", "pattern": hex32},
	"name":      {"type": "string", "pattern": "^[!-~]{1," + strconv.Itoa(sealpost.NameMax) + "}$"},
	"tile":      {"type": "string"},
}

// opaque is a body that is no JSON: CBOR that some page of spec describes.
func opaque(description string) object {
	return object{"schema": object{"type": "string", "format": "binary", "description": description}}
}

func (g *generator) requestContent(rt *route) object {
	switch {
	case rt.isSubmit():
		one := g.ref(reflect.TypeFor[Submission]())
		return object{
			MediaSubmission: opaque("{1: commitment statement, 2: blob}, deterministic CBOR"),
			MediaBatch:      opaque("an array of 1 to 256 submissions, each as a byte string"),
			MediaJSON: object{"schema": object{"oneOf": list{one,
				object{"type": "array", "items": one, "minItems": 1, "maxItems": BatchMax}}}},
		}
	case rt.endpoint.in != nil:
		return g.both(g.ref(rt.endpoint.in))
	}
	return nil
}

func (g *generator) both(schema object) object {
	return object{MediaJSON: object{"schema": schema}, MediaCBOR: object{"schema": schema}}
}

func (g *generator) responses(rt *route) object {
	problem := g.ref(reflect.TypeFor[Problem]())
	out := object{"default": object{
		"description": "A problem.",
		"headers":     object{"Retry-After": object{"schema": object{"type": "integer", "minimum": 0}}},
		"content": object{MediaProblemJSON: object{"schema": problem},
			MediaProblemCBOR: object{"schema": problem}},
	}}
	good := object{"description": http.StatusText(rt.status)}
	switch {
	case rt.isSubmit():
		good["content"] = g.both(g.ref(reflect.TypeFor[Accepted]()))
		good["description"] = "One message is held, and promised to be logged."
		out["200"] = object{"description": "A verdict on each message of a batch, in its order.",
			"content": g.both(object{"type": "array", "items": g.ref(reflect.TypeFor[Verdict]()), "maxItems": BatchMax})}
	case rt.public != "":
		good["content"] = object{rt.public: object{}}
	case rt.endpoint.out != nil:
		good["content"] = g.both(g.ref(rt.endpoint.out))
	}
	out[strconv.Itoa(rt.status)] = good
	return out
}

// Schemas of the types that are one text in JSON.
var textSchemas = map[reflect.Type]object{
	reflect.TypeFor[Bytes]():                {"type": "string", "contentEncoding": "base64url", "pattern": "^[A-Za-z0-9_-]*$"},
	reflect.TypeFor[sealpost.MessageID]():   {"type": "string", "pattern": uuidPattern("msg_")},
	reflect.TypeFor[sealpost.EnrolmentID](): {"type": "string", "pattern": uuidPattern("enr_")},
	reflect.TypeFor[sealpost.KeyID]():       {"type": "string", "pattern": hex32},
	reflect.TypeFor[sealpost.UnixMilli]():   {"type": "string", "format": "date-time", "pattern": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`},
}

// ref adds a struct type's schema to the components, once.
func (g *generator) ref(t reflect.Type) object {
	name := t.Name()
	if g.schemas[name] == nil {
		g.schemas[name] = object{} // before its members, so that a type may hold itself
		g.schemas[name] = g.structSchema(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (g *generator) structSchema(t reflect.Type) object {
	properties, required := object{}, list{}
	for _, m := range jsonMembers(t) {
		f := t.Field(m.field)
		schema := g.schema(f.Type)
		if key, _, _ := strings.Cut(f.Tag.Get("cbor"), ","); key != "" {
			if n, err := strconv.Atoi(key); err == nil {
				schema["x-cbor-key"] = n
			}
		}
		properties[m.name] = schema
		if !m.optional {
			required = append(required, m.name)
		}
	}
	if t == reflect.TypeFor[Problem]() {
		properties["type"].(object)["enum"] = problemTypes()
	}
	out := object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	if t == reflect.TypeFor[Verdict]() {
		out["oneOf"] = list{object{"required": list{"accepted"}}, object{"required": list{"problem"}}}
	}
	return out
}

func problemTypes() (types list) {
	for _, p := range known {
		types = append(types, p.Type)
	}
	return types
}

func (g *generator) schema(t reflect.Type) object {
	if s, ok := textSchemas[t]; ok {
		out := object{}
		for k, v := range s {
			out[k] = v
		}
		return out
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Struct:
		return g.ref(t)
	case reflect.Slice:
		return object{"type": "array", "items": g.schema(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Uint8, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Int:
		return object{"type": "integer"}
	}
	panic("api: no schema for " + t.String())
}
