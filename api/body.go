package api

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost"
)

// keepMax is how large a buffer may have grown and still go back to the pool,
// so that one large batch does not stay in memory.
const keepMax = 256 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// A body is a request's body in a borrowed buffer. Nothing may keep its bytes
// after free.
type body struct {
	buf      *bytes.Buffer
	inFlight *atomic.Int64
	reserved int64
}

func (b body) bytes() []byte {
	if b.buf == nil {
		return nil
	}
	return b.buf.Bytes()
}

// reuse gives the body's memory for something else; its bytes are gone then.
func (b body) reuse() []byte {
	b.buf.Reset()
	return b.buf.AvailableBuffer()
}

func (b body) free() {
	if b.buf == nil {
		return
	}
	b.inFlight.Add(-b.reserved)
	if b.buf.Cap() <= keepMax {
		b.buf.Reset()
		buffers.Put(b.buf)
	}
}

// readBody reads a body of at most limit bytes. What all requests hold at once
// stays within BodiesInFlight: a body without a length counts as its limit.
func readBody(r *http.Request, limit int64, inFlight *atomic.Int64) (body, *Problem) {
	if r.ContentLength > limit {
		return body{}, ErrTooLarge.With("the body may have %d bytes", limit)
	}
	size := r.ContentLength
	if size < 0 {
		size = limit
	}
	b := body{inFlight: inFlight, reserved: size}
	if inFlight.Add(size) > BodiesInFlight {
		inFlight.Add(-size)
		return body{}, ErrBusy.After(time.Second)
	}
	b.buf = buffers.Get().(*bytes.Buffer)
	b.buf.Grow(int(min(size, keepMax)))
	n, err := b.buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	if p := bodyFault(n, limit, err); p != nil {
		b.free()
		return body{}, p
	}
	return b, nil
}

func bodyFault(n, limit int64, err error) *Problem {
	if n > limit {
		return ErrTooLarge.With("the body may have %d bytes", limit)
	}
	if err != nil {
		return ErrMalformed.With("the body ended early")
	}
	return nil
}

// mediaType is a Content-Type without its parameters, of which charset=utf-8
// alone is let through, and that for JSON.
func mediaType(h http.Header) string {
	value := h.Get("Content-Type")
	switch value {
	case MediaSubmission, MediaBatch, MediaCBOR, MediaJSON: // the usual case costs no parser
		return value
	}
	t, params, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	for name, v := range params {
		if name != "charset" || t != MediaJSON || (v != "utf-8" && v != "UTF-8") {
			return ""
		}
	}
	return t
}

// decodeBody reads a body of CBOR or JSON into v.
func decodeBody(media string, b []byte, v any) *Problem {
	switch media {
	case MediaCBOR:
		if err := sealpost.Decode(b, v); err != nil {
			return malformedBy(err)
		}
		return nil
	case MediaJSON:
		return decodeJSON(b, v)
	}
	return ErrMediaType
}
