package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// A ServerConfig names the rooms behind the server end. Every one is needed.
type ServerConfig struct {
	Intake     Intake
	Reading    Reading
	Directory  Directory
	DeviceRoad DeviceRoad
	Keys       Keys
	Gate       Gate
	// Log serves /checkpoint and the files below /tile/ to anybody.
	Log    http.Handler
	Now    func() time.Time
	Logger *slog.Logger
	// BaseURL is how devices write the relay's address, "https://relay.example":
	// scheme and host, and the path that a proxy takes off, if any. A device signs it. Where it is
	// empty, requests signed for a loopback host pass and no other: a Host header
	// alone would let another server hand on what a device signed for it.
	BaseURL string
}

// A server answers requests with the rooms of its configuration.
type server struct {
	ServerConfig
	mux      *http.ServeMux
	openapi  []byte
	inFlight atomic.Int64 // bytes of request bodies
	waiting  atomic.Int64 // devices in their inbox
}

// NewServer is the server end. It panics where a room is missing: that is a
// fault of its caller's wiring, not of the world.
func NewServer(cfg ServerConfig) http.Handler {
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	s := &server{ServerConfig: cfg, mux: http.NewServeMux(), openapi: OpenAPI()}
	s.checkWiring()
	s.mount()
	return s
}

func (s *server) checkWiring() {
	for name, missing := range map[string]bool{
		"Intake": s.Intake == nil, "Reading": s.Reading == nil, "Directory": s.Directory == nil,
		"DeviceRoad": s.DeviceRoad == nil, "Keys": s.Keys == nil, "Gate": s.Gate == nil,
		"Log": s.Log == nil, "Now": s.Now == nil, "Logger": s.Logger == nil,
	} {
		if missing {
			panic("api: ServerConfig." + name + " is missing")
		}
	}
}

// mount registers every route, and for each path the answer to other methods.
func (s *server) mount() {
	allowed := map[string][]string{}
	for i := range routes {
		rt := &routes[i]
		s.mux.HandleFunc(rt.method+" "+rt.path, s.door(rt))
		allowed[rt.path] = append(allowed[rt.path], rt.method)
		if rt.method == http.MethodGet {
			allowed[rt.path] = append(allowed[rt.path], http.MethodHead)
		}
	}
	for path, methods := range allowed {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			writeProblem(w, r, ErrMethod)
		})
	}
	s.mux.HandleFunc("/", notFound)
	s.mux.HandleFunc("/tile", notFound) // else the mux redirects it to "/tile/"
}

func notFound(w http.ResponseWriter, r *http.Request) { writeProblem(w, r, ErrNotFound) }

// ServeHTTP answers one request. A path that is not in its shortest form is
// not found: nothing is redirected.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Content-Type-Options"] = headerNosniff
	h["Cache-Control"] = headerNoStore
	h["Content-Security-Policy"] = headerPolicy
	h["Strict-Transport-Security"] = headerTransport
	p := r.URL.Path
	if p == "" || p[0] != '/' || r.RequestURI == "" || r.RequestURI[0] != '/' || path.Clean(p) != p {
		writeProblem(w, r, ErrNotFound)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Headers of every answer, shared so that setting them costs nothing.
var (
	headerNosniff   = []string{"nosniff"}
	headerNoStore   = []string{"no-store"}
	headerPolicy    = []string{"default-src 'none'; frame-ancestors 'none'"}
	headerTransport = []string{"max-age=31536000"}
)

// door is where a route's request comes in and where every fault is answered
// and, if it is ours, logged once.
func (s *server) door(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer s.recover(w, r, rt)
		if rt.raw != nil {
			rt.raw(s, w, r)
			return
		}
		out, err := s.perform(rt, w, r)
		if err != nil {
			s.refuse(w, r, rt.path, err)
			return
		}
		writeAnswer(w, r, rt.status, out)
	}
}

// refuse answers with the problem of an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, route string, err error) {
	p := ProblemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.Logger.ErrorContext(r.Context(), "request failed", "route", route, "error", err)
	}
	writeProblem(w, r, p)
}

// recover turns a panic into a problem. What was passed to panic may hold a
// caller's content, so only its type is logged, with the stack.
func (s *server) recover(w http.ResponseWriter, r *http.Request, rt *route) {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		s.Logger.ErrorContext(r.Context(), "request panicked", "route", rt.path,
			"type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		writeProblem(w, r, ErrInternal)
	}
}

// A request is one request on its way to an endpoint.
type request struct {
	*http.Request
	route  *route
	writer http.ResponseWriter
	caller Caller
	claim  deviceClaim // of a device or a presenter
	media  string
	body   []byte // valid until the endpoint returns
}

// perform takes a request from the door to its endpoint: who asks, as far as
// the headers tell; the body; who asks, where the body is signed; the
// endpoint. A stranger's body is never read.
func (s *server) perform(rt *route, w http.ResponseWriter, hr *http.Request) (any, error) {
	r := &request{Request: hr, route: rt, writer: w}
	if err := s.admit(r); err != nil {
		return nil, err
	}
	if p := checkQuery(rt, hr); p != nil {
		return nil, p
	}
	if rt.endpoint.in == nil {
		if hr.ContentLength != 0 {
			return nil, ErrMalformed.With("the request has no body")
		}
	} else {
		b, p := readBody(hr, rt.limit, &s.inFlight)
		if p != nil {
			return nil, p
		}
		defer b.free()
		r.media, r.body = mediaType(hr.Header), b.bytes()
	}
	if rt.who == device {
		if err := s.admitDevice(r); err != nil {
			return nil, err
		}
	}
	return rt.endpoint.call(s, r)
}

func checkQuery(rt *route, r *http.Request) *Problem {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ErrMalformed.With("the query cannot be read")
	}
	for name, values := range query {
		if !rt.takes(name) || len(values) != 1 {
			return ErrMalformed.With("a query parameter is not known or stands twice")
		}
	}
	return nil
}
