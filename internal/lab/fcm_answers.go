package lab

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

var jsonContent = []string{"application/json; charset=UTF-8"}

// An apiError is an error answer in the vendor's envelope (google.rpc.Status).
type apiError struct {
	http       int
	status     string // google.rpc.Code by name
	message    string
	code       string       // FcmError.errorCode, may be empty
	reason     string       // google.rpc.ErrorInfo, may be empty
	violations []*violation // google.rpc.BadRequest
	retryAfter time.Duration
	date       bool // Retry-After as an HTTP date
}

// vendorErrors is the table of FcmError codes (reference ErrorCode).
var vendorErrors = map[string]apiError{
	"INVALID_ARGUMENT": {http: 400, status: "INVALID_ARGUMENT",
		message: "The registration token is not a valid FCM registration token"},
	"THIRD_PARTY_AUTH_ERROR": {http: 401, status: "UNAUTHENTICATED",
		message: "APNs certificate or web push auth key was invalid or missing."},
	"SENDER_ID_MISMATCH": {http: 403, status: "PERMISSION_DENIED", message: "SenderId mismatch"},
	"UNREGISTERED":       {http: 404, status: "NOT_FOUND", message: "Requested entity was not found."},
	"QUOTA_EXCEEDED":     {http: 429, status: "RESOURCE_EXHAUSTED", message: "Quota exceeded for the project."},
	"INTERNAL":           {http: 500, status: "INTERNAL", message: "Internal error encountered."},
	"UNAVAILABLE":        {http: 503, status: "UNAVAILABLE", message: "The service is currently unavailable."},
}

func vendorError(code string) apiError {
	e := vendorErrors[code]
	e.code = code
	return e
}

// badRequest answers a request that does not follow the schema: field violations
// and no FcmError, by which an adapter tells its own bug from a bad token.
func badRequest(err error) apiError {
	e := apiError{http: http.StatusBadRequest, status: "INVALID_ARGUMENT", message: err.Error()}
	if v, ok := errors.AsType[*violation](err); ok {
		e.violations = []*violation{v}
	}
	return e
}

// journalCode names the answer for the journal.
func (e apiError) journalCode() string {
	if e.code != "" {
		return e.code
	}
	if e.violations != nil {
		return "BAD_REQUEST"
	}
	return e.status
}

func (e apiError) body() []byte {
	var details []map[string]any
	if e.code != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": e.code,
		})
	}
	if e.violations != nil {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": e.violations,
		})
	}
	if e.reason != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": e.reason, "domain": "googleapis.com",
		})
	}
	inner := map[string]any{"code": e.http, "message": e.message, "status": e.status}
	if details != nil {
		inner["details"] = details
	}
	out, err := json.MarshalIndent(map[string]any{"error": inner}, "", "  ")
	if err != nil {
		panic("lab: an error answer of strings and numbers does not encode: " + err.Error())
	}
	return append(out, '\n')
}

// refuse sends e and records the request.
func (f *FCM) refuse(w http.ResponseWriter, r *http.Request, body []byte, e apiError) {
	f.record(r, body, e.http, e.journalCode())
	h := w.Header()
	h["Content-Type"] = jsonContent
	if e.http == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/"`)
	}
	if e.retryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.cfg.Now(), e.retryAfter, e.date))
	}
	w.WriteHeader(e.http)
	w.Write(e.body())
}

// retryAfter writes both forms of RFC 9110 10.2.3, rounded up to a second.
func retryAfter(now time.Time, d time.Duration, date bool) string {
	if date {
		return now.Add(d + time.Second - 1).UTC().Format(http.TimeFormat)
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// misbehave plays one fault of the script on a request that has no push target.
// It reports whether the request has been dealt with.
func (f *FCM) misbehave(w http.ResponseWriter, r *http.Request, body []byte, target string) bool {
	fault, ok := f.faults.take(r.URL.Path, target)
	if !ok {
		return false
	}
	return f.before(w, r, body, fault) || f.after(w, r, body, fault, []byte(`{"access_token":"ya29.lab-never-valid","expires_in":3599}`))
}

// before plays the faults that come instead of the work.
func (f *FCM) before(w http.ResponseWriter, r *http.Request, body []byte, fault Fault) (dealt bool) {
	switch fault.Kind {
	case FaultStatus:
		e := apiError{http: fault.Status, status: http.StatusText(fault.Status), message: "scripted"}
		if known, ok := vendorErrors[fault.Code]; ok {
			e.message, e.status = known.message, known.status
		}
		e.code, e.retryAfter, e.date = fault.Code, fault.RetryAfter, fault.Date
		f.refuse(w, r, body, e)
		return true
	case FaultReset:
		f.record(r, body, 0, "RESET")
		breakOff(w)
	case FaultDelay:
		f.wait(r, fault.Delay)
	}
	return false
}

// after plays the faults that come when the work is done.
func (f *FCM) after(w http.ResponseWriter, r *http.Request, body []byte, fault Fault, answer []byte) (dealt bool) {
	switch fault.Kind {
	case FaultLost:
		f.record(r, body, 0, "LOST")
		breakOff(w)
	case FaultTruncate:
		f.record(r, body, http.StatusOK, "TRUNCATED")
		sendHalf(w, answer)
		breakOff(w)
	case FaultSlow:
		f.record(r, body, http.StatusOK, "SLOW")
		sendHalf(w, answer)
		f.wait(r, fault.Delay)
		w.Write(answer[len(answer)/2:])
		return true
	case FaultGarbage:
		f.record(r, body, http.StatusOK, "GARBAGE")
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<html><title>Sign in to the hotel's network</title></html>"))
		return true
	case FaultFlood:
		f.record(r, body, http.StatusOK, "FLOOD")
		w.Header()["Content-Type"] = jsonContent
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = ' '
		}
		for sent := 0; sent < FloodBytes; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return true
			}
		}
		return true
	}
	return false
}

// wait returns after d, or when the client or the server goes away.
func (f *FCM) wait(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-f.quit:
	}
}

// sendHalf promises the whole answer and sends the first half of it.
func sendHalf(w http.ResponseWriter, answer []byte) {
	w.Header()["Content-Type"] = jsonContent
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer[:len(answer)/2])
	http.NewResponseController(w).Flush()
}

// breakOff breaks an HTTP/1.1 connection with a TCP reset, an HTTP/2 stream with
// RST_STREAM. It does not return.
func breakOff(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		raw := conn
		if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
			raw = wrapped.NetConn()
		}
		if tcp, ok := raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		raw.Close()
	}
	panic(http.ErrAbortHandler)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("lab: an answer does not encode: " + err.Error())
	}
	w.Header()["Content-Type"] = jsonContent
	w.WriteHeader(status)
	w.Write(b)
}
