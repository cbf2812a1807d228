package api

import (
	"errors"
	"net/http"
	"reflect"

	"github.com/sealpost/sealpost"
)

// A route is one line of the table that the server end, the OpenAPI document
// and the contract test all read.
type route struct {
	method, path string
	summary      string
	who          who
	scope        sealpost.Scope // of a sender: any of these
	query        []parameter
	limit        int64 // bytes of the request's body
	status       int   // of an answer that is no problem
	early        bool  // a device may ask before its key is in force; see stranger
	endpoint     endpoint
	raw          func(*server, http.ResponseWriter, *http.Request) // instead of endpoint.call
	public       string                                            // media type of what raw gives anybody
}

// A parameter is a whole number or a text in the query.
type parameter struct {
	name                string
	text                bool
	least, most, absent int // of a number: its bounds, and its value when absent
}

func (rt *route) takes(name string) bool {
	for _, p := range rt.query {
		if p.name == name {
			return true
		}
	}
	return false
}

// stranger is what a request gets whose signature shows no device in force. A
// device that waits for its sender's key event is one until then, so an early
// route says "not found" to it, and says the same to a signature that is
// wrong: nobody learns which keys are enrolled.
func (rt *route) stranger(err error) error {
	if rt.early && errors.Is(err, ErrUnauthenticated) {
		return ErrNotFound
	}
	return err
}

// An endpoint does a request's work with its body decoded.
type endpoint struct {
	in, out reflect.Type // nil for none
	call    func(*server, *request) (any, error)
}

// none is the body of a request or an answer without one.
type none struct{}

// takes makes an endpoint of a function over its body's and answer's types.
func takes[In, Out any](do func(*server, *request, In) (Out, error)) endpoint {
	e := endpoint{in: bodyType[In](), out: bodyType[Out]()}
	e.call = func(s *server, r *request) (any, error) {
		var in In
		if e.in != nil {
			if p := decodeBody(r.media, r.body, &in); p != nil {
				return nil, p
			}
		}
		out, err := do(s, r, in)
		if err != nil || e.out == nil {
			return nil, err
		}
		return out, nil
	}
	return e
}

func bodyType[T any]() reflect.Type {
	if t := reflect.TypeFor[T](); t != reflect.TypeFor[none]() {
		return t
	}
	return nil
}

var (
	limitParam  = parameter{name: "limit", least: 1, most: PageMax, absent: PageDefault}
	cursorParam = parameter{name: "cursor", text: true}
	afterParam  = parameter{name: "after", most: 1<<53 - 1}
	waitParam   = parameter{name: "wait_ms", most: int(InboxWaitMax.Milliseconds())}
)

// routes is every route there is; whatever else is asked for is not found.
var routes = []route{
	{method: "POST", path: "/v1/messages", summary: "Submit one message or a batch",
		who: sender, scope: sealpost.ScopeSend, limit: BatchBodyMax, status: 202, raw: (*server).submit},
	{method: "GET", path: "/v1/messages", summary: "List the caller's messages, newest first",
		who: sender, scope: sealpost.ScopeRead, query: []parameter{cursorParam, limitParam}, status: 200, endpoint: takes(listMessages)},
	{method: "GET", path: "/v1/messages/{id}", summary: "Read a message's state and timeline",
		who: sender, scope: sealpost.ScopeRead, status: 200, endpoint: takes(readMessage)},
	{method: "GET", path: "/v1/messages/{id}/evidence", summary: "Fetch every statement of a message with its proof",
		who: sender, scope: sealpost.ScopeRead, status: 200, endpoint: takes(readEvidence)},

	{method: "POST", path: "/v1/enrolments", summary: "Invite a device of a recipient",
		who: sender, scope: sealpost.ScopeEnrol, limit: BodyMax, status: 201, endpoint: takes(invite)},
	{method: "GET", path: "/v1/enrolments", summary: "List answered invitations that wait for a key event",
		who: sender, scope: sealpost.ScopeEnrol, query: []parameter{limitParam}, status: 200, endpoint: takes(listEnrolments)},
	{method: "POST", path: "/v1/key-events", summary: "Post a signed key event",
		who: sender, scope: sealpost.ScopeEnrol, limit: BodyMax, status: 202, endpoint: takes(postKeyEvent)},
	{method: "GET", path: "/v1/recipients/{recipient}/key-events", summary: "Read the key events of a recipient's devices",
		who: sender, scope: sealpost.ScopeEnrol | sealpost.ScopeRead, status: 200, endpoint: takes(readKeyEvents)},
	{method: "POST", path: "/v1/recipients/{recipient}/key-packages/claim", summary: "Claim one KeyPackage of each named device",
		who: sender, scope: sealpost.ScopeSend, limit: BodyMax, status: 200, endpoint: takes(claimPackages)},

	{method: "POST", path: "/v1/api-keys", summary: "Make an API key; its secret is shown once",
		who: sender, scope: sealpost.ScopeManage, limit: BodyMax, status: 201, endpoint: takes(makeKey)},
	{method: "GET", path: "/v1/api-keys", summary: "List the tenant's API keys",
		who: sender, scope: sealpost.ScopeManage, status: 200, endpoint: takes(listKeys)},
	{method: "DELETE", path: "/v1/api-keys/{name}", summary: "Revoke an API key",
		who: sender, scope: sealpost.ScopeManage, status: 204, endpoint: takes(revokeKey)},

	{method: "POST", path: "/v1/device/enrolments", summary: "Answer an invitation with a device's keys",
		who: presenter, limit: BodyMax, status: 204, endpoint: takes(answerInvitation)},
	{method: "GET", path: "/v1/device/enrolment", summary: "Read the device's own key event",
		who: device, early: true, status: 200, endpoint: takes(readEnrolment)},
	{method: "GET", path: "/v1/device/messages", summary: "Wait for released messages after a seq, oldest first",
		who: device, query: []parameter{afterParam, limitParam, waitParam}, status: 200, endpoint: takes(readInbox)},
	{method: "GET", path: "/v1/device/messages/{id}", summary: "Fetch one message",
		who: device, status: 200, endpoint: takes(readArrival)},
	{method: "POST", path: "/v1/device/receipts", summary: "Post signed receipts",
		who: device, limit: BatchBodyMax, status: 200, endpoint: takes(postReceipts)},
	{method: "POST", path: "/v1/device/stock", summary: "Add KeyPackages, or replace endpoints",
		who: device, limit: BodyMax, status: 204, endpoint: takes(stock)},

	{method: "GET", path: "/healthz", summary: "Say that this end is up", status: 200, endpoint: takes(health)},
	{method: "GET", path: "/openapi.json", summary: "This document", status: 200,
		raw: (*server).serveOpenAPI, public: MediaJSON},
	{method: "GET", path: "/checkpoint", summary: "The log's newest checkpoint (C2SP tlog-tiles)", status: 200,
		raw: (*server).serveLog, public: "text/plain"},
	{method: "GET", path: "/tile/{tile...}", summary: "A tile or entry bundle of the log (C2SP tlog-tiles)", status: 200,
		raw: (*server).serveLog, public: "application/octet-stream"},
}
