package fcm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// Codes of this adapter. Others are the vendor's: INVALID_ARGUMENT,
// THIRD_PARTY_AUTH_ERROR, SENDER_ID_MISMATCH, UNREGISTERED, QUOTA_EXCEEDED, INTERNAL,
// UNAVAILABLE, UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND, RESOURCE_EXHAUSTED.
const (
	CodeAccepted       = "OK"
	CodeTargetRefused  = "INVALID_TARGET" // the vendor calls the token malformed: quarantine it, do not delete it yet
	CodeGarbled        = "GARBLED_ANSWER"
	CodeCutOff         = "ANSWER_CUT_OFF"
	CodeTimeout        = "TIMEOUT"
	CodeNotConnected   = "NOT_CONNECTED"
	CodeConnectionLost = "CONNECTION_LOST"
	CodeUntrusted      = "TLS_UNTRUSTED"
)

// Waits the vendor documents for answers without a Retry-After.
const (
	quotaWait  = time.Minute
	serverWait = 10 * time.Second
)

// An answer is what is needed of an error body (google.rpc.Status).
type answer struct {
	Error struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []struct {
			Type       string `json:"@type"`
			Code       string `json:"errorCode"`
			Violations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

const typeFcmError = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

// readAnswer parses an error body. What is no JSON leaves the answer empty: the
// HTTP status then decides alone.
func readAnswer(body []byte) (a answer) {
	if json.Unmarshal(body, &a) != nil {
		return answer{}
	}
	return a
}

// vendorCode is the errorCode of the FcmError detail, if there is one.
func (a answer) vendorCode() string {
	for _, d := range a.Error.Details {
		if d.Type == typeFcmError {
			return d.Code
		}
	}
	return ""
}

// blamesTarget reports whether a 400 is about the device's token and not about the
// rest of the request, which is our own making.
func (a answer) blamesTarget() bool {
	for _, d := range a.Error.Details {
		for _, v := range d.Violations {
			if v.Field != "message.token" && v.Field != "message.fid" {
				return false
			}
		}
	}
	m := strings.ToLower(a.Error.Message)
	return a.vendorCode() == "INVALID_ARGUMENT" &&
		(strings.Contains(m, "token") || strings.Contains(m, "installation"))
}

// classify maps an answer to an outcome. Texts of the vendor never reach the code:
// each is one of a list, or HTTP_ and the status.
func classify(status int, header http.Header, body []byte, now time.Time) dispatch.Result {
	if status == http.StatusOK {
		return accepted(body)
	}
	a := readAnswer(body)
	wait, asked := dispatch.ParseRetryAfter(header.Get("Retry-After"), now)
	orWait := func(d time.Duration) time.Duration {
		if asked {
			return wait
		}
		return d
	}
	r := dispatch.Result{Code: "HTTP_" + strconv.Itoa(status), RetryAfter: wait}
	switch status {
	case http.StatusBadRequest:
		r.Outcome, r.Code = sealpost.Invalid, "INVALID_ARGUMENT"
		if a.blamesTarget() {
			r.Outcome, r.Code = sealpost.Unreachable, CodeTargetRefused
		}
	case http.StatusUnauthorized:
		r.Outcome, r.Code = sealpost.ConfigFault, pick(a.vendorCode(), "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")
	case http.StatusForbidden:
		r.Outcome, r.Code = sealpost.ConfigFault, pick(a.vendorCode(), "PERMISSION_DENIED", "SENDER_ID_MISMATCH")
		if r.Code == "SENDER_ID_MISMATCH" { // the token belongs to another project: the binding is dead
			r.Outcome = sealpost.EndpointGone
		}
	case http.StatusNotFound:
		r.Outcome, r.Code = sealpost.ConfigFault, pick(a.vendorCode(), "NOT_FOUND", "UNREGISTERED")
		if r.Code == "UNREGISTERED" {
			r.Outcome = sealpost.EndpointGone
		}
	case http.StatusTooManyRequests:
		r.Outcome, r.Code = sealpost.Throttled, pick(a.vendorCode(), "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
		r.RetryAfter = orWait(quotaWait)
	case http.StatusInternalServerError:
		r.Outcome, r.Code = sealpost.Transient, "INTERNAL"
		r.RetryAfter = orWait(serverWait)
	case http.StatusServiceUnavailable:
		r.Outcome, r.Code = sealpost.Transient, "UNAVAILABLE"
		r.RetryAfter = orWait(serverWait)
	default:
		r.Outcome = otherStatus(status)
	}
	return r
}

// otherStatus judges what the vendor does not document.
func otherStatus(status int) sealpost.Result {
	switch {
	case status >= 500: // a gateway in between: the service behind it may have the message
		return sealpost.Ambiguous
	case status >= 400:
		return sealpost.Invalid
	case status >= 300: // not followed: the base URL is wrong, or somebody stands in between
		return sealpost.ConfigFault
	}
	return sealpost.Ambiguous
}

// pick returns got if it is the known code, else the default.
func pick(got, otherwise, known string) string {
	if got == known {
		return known
	}
	return otherwise
}

// accepted holds a 200 to its promise: {"name": "projects/*/messages/*"}.
func accepted(body []byte) dispatch.Result {
	var a struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(body, &a) != nil || !strings.HasPrefix(a.Name, "projects/") || !strings.Contains(a.Name, "/messages/") {
		return dispatch.Result{Outcome: sealpost.Ambiguous, Code: CodeGarbled}
	}
	return dispatch.Result{Outcome: sealpost.Accepted, Code: CodeAccepted}
}
