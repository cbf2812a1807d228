package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost"
)

// wantsCBOR chooses an answer's form by Accept: the first of ours that it
// names and does not give the weight 0; without one, the form of the request.
func wantsCBOR(r *http.Request) bool {
	accept := r.Header["Accept"]
	if len(accept) == 1 { // the usual cases cost no parser
		switch accept[0] {
		case MediaCBOR:
			return true
		case MediaJSON:
			return false
		}
	}
	for _, value := range accept {
		for item := range strings.SplitSeq(value, ",") {
			media, params, _ := strings.Cut(item, ";")
			if q := strings.ReplaceAll(params, " ", ""); strings.HasPrefix(q, "q=0") && strings.Trim(q[3:], ".0") == "" {
				continue
			}
			switch strings.TrimSpace(media) {
			case MediaCBOR, MediaProblemCBOR:
				return true
			case MediaJSON, MediaProblemJSON:
				return false
			}
		}
	}
	switch r.Header.Get("Content-Type") {
	case MediaCBOR, MediaSubmission, MediaBatch:
		return true
	}
	return false
}

var (
	headerCBOR        = []string{MediaCBOR}
	headerJSON        = []string{MediaJSON}
	headerProblemCBOR = []string{MediaProblemCBOR}
	headerProblemJSON = []string{MediaProblemJSON}
	headerBearer      = []string{"Bearer"}
)

// writeAnswer writes out, or nothing where out is nil.
func writeAnswer(w http.ResponseWriter, r *http.Request, status int, out any) {
	if out == nil {
		w.WriteHeader(status)
		return
	}
	b, media, err := encodeAnswer(wantsCBOR(r), out)
	if err != nil {
		panic("api: an answer of ours cannot be encoded: " + err.Error())
	}
	writeBytes(w, status, media, b)
}

func encodeAnswer(asCBOR bool, out any) (b []byte, media []string, err error) {
	if asCBOR {
		b, err = sealpost.Encode(out)
		return b, headerCBOR, err
	}
	b, err = json.Marshal(out)
	return b, headerJSON, err
}

func writeBytes(w http.ResponseWriter, status int, media []string, b []byte) {
	h := w.Header()
	h["Content-Type"] = media
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(status)
	_, _ = w.Write(b) // the caller is gone; there is nobody left to tell
}

// writeProblem writes a problem in the caller's form (RFC 9457 3).
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	h := w.Header()
	if p.Retry > 0 {
		h["Retry-After"] = []string{retrySeconds(p.Retry)}
	}
	if p.Status == http.StatusUnauthorized {
		h["Www-Authenticate"] = headerBearer
	}
	b, media, err := encodeAnswer(wantsCBOR(r), p)
	if err != nil {
		panic("api: a problem of ours cannot be encoded: " + err.Error())
	}
	if media[0] == MediaCBOR {
		media = headerProblemCBOR
	} else {
		media = headerProblemJSON
	}
	writeBytes(w, p.Status, media, b)
}

// retrySeconds rounds up: a caller that comes back early is refused again.
func retrySeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
