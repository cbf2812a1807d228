package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
)

func blobHash(b []byte) sealpost.Hash { return sha256.Sum256(b) }

// problemOf reads the problem of a refused request in JSON or CBOR.
func problemOf(t *testing.T, rec *httptest.ResponseRecorder) *Problem {
	t.Helper()
	p := new(Problem)
	var err error
	switch media := rec.Header().Get("Content-Type"); media {
	case MediaProblemJSON:
		err = json.Unmarshal(rec.Body.Bytes(), p)
	case MediaProblemCBOR:
		err = sealpost.Decode(rec.Body.Bytes(), p)
	default:
		t.Fatalf("status %d has the media type %q, want a problem: %s", rec.Code, media, rec.Body)
	}
	if err != nil {
		t.Fatalf("problem %q: %v", rec.Body, err)
	}
	if p.Status != rec.Code {
		t.Fatalf("problem says status %d, the answer %d", p.Status, rec.Code)
	}
	return p
}

func submissionJSON(t *testing.T, s sealpost.Sealed) []byte {
	t.Helper()
	b, err := json.Marshal(Submission{Bytes(s.Statement().Bytes()), s.Blob()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSubmitOneInEveryForm(t *testing.T) {
	s := sealedMessage(t)
	for _, c := range []struct {
		media string
		body  []byte
		want  string
	}{
		{MediaSubmission, s.Bytes(), MediaCBOR},
		{MediaJSON, submissionJSON(t, s), MediaJSON},
		{"application/json; charset=utf-8", submissionJSON(t, s), MediaJSON},
	} {
		w := newWorld(t)
		rec := w.do(w.request("POST", "/v1/messages", c.media, c.body))
		if rec.Code != http.StatusAccepted || rec.Header().Get("Content-Type") != c.want {
			t.Fatalf("%s: %d %q: %s", c.media, rec.Code, rec.Header().Get("Content-Type"), rec.Body)
		}
		var a Accepted
		if c.want == MediaCBOR {
			if err := sealpost.Decode(rec.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
		} else if p := decodeJSON(rec.Body.Bytes(), &a); p != nil {
			t.Fatal(p)
		}
		if a.ID != s.ID() || !bytes.Equal(a.Salt, someAccepted.Salt) || !bytes.Equal(a.Promise, someAccepted.Promise) || a.Again {
			t.Errorf("%s: %+v", c.media, a)
		}
		method, caller, args := w.last()
		if method != "Submit" || caller.App != "bank" {
			t.Errorf("%s: asked %s as %+v", c.media, method, caller)
		}
		if got := args[0].([]sealpost.Sealed); len(got) != 1 || !bytes.Equal(got[0].Bytes(), s.Bytes()) {
			t.Errorf("%s: another submission arrived", c.media)
		}
	}
}

// R6: every member beside the two is refused with a pointer to it, and so is
// each of the two where it is missing.
func TestSubmissionMembers(t *testing.T) {
	s := sealedMessage(t)
	honest := map[string]any{"signed_digest": Bytes(s.Statement().Bytes()), "encrypted_blob": Bytes(s.Blob())}
	post := func(v any) (*world, *httptest.ResponseRecorder) {
		w := newWorld(t)
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return w, w.do(w.request("POST", "/v1/messages", MediaJSON, body))
	}
	if _, rec := post(honest); rec.Code != http.StatusAccepted {
		t.Fatalf("honest: %d %s", rec.Code, rec.Body)
	}
	for _, c := range []struct {
		name    string
		member  string
		value   any // nil removes the member
		want    *Problem
		pointer string
	}{
		{"timestamp", "timestamp", "2026-11-24T04:00:00.000Z", ErrUnsignedMetadata, "/timestamp"},
		{"transaction id", "transaction_id", "t1", ErrUnsignedMetadata, "/transaction_id"},
		{"correlation id", "correlation_id", "c1", ErrUnsignedMetadata, "/correlation_id"},
		{"metadata", "metadata", map[string]any{"timestamp": 1}, ErrUnsignedMetadata, "/metadata"},
		{"carrier", "carrier", "rcs", ErrUnsignedMetadata, "/carrier"}, // R57: one POST; the channel is an attempt's
		{"a name with a slash", "a/b~c", 1, ErrUnsignedMetadata, "/a~1b~0c"},
		{"another case", "Signed_digest", Bytes{1}, ErrUnsignedMetadata, "/Signed_digest"},
		{"no digest", "signed_digest", nil, ErrMalformed, "/signed_digest"},
		{"no blob", "encrypted_blob", nil, ErrMalformed, "/encrypted_blob"},
		{"digest is a number", "signed_digest", 7, ErrMalformed, "/signed_digest"},
		{"digest is padded base64", "signed_digest", "AA==", ErrMalformed, "/signed_digest"},
		{"digest is no statement", "signed_digest", Bytes{1, 2}, ErrMalformed, "/signed_digest"},
		{"another blob", "encrypted_blob", Bytes{1, 2}, ErrBlobMismatch, "/encrypted_blob"},
		{"blob too large", "encrypted_blob", make(Bytes, sealpost.BlobMax+1), ErrTooLarge, "/encrypted_blob"},
		{"digest too large", "signed_digest", make(Bytes, sealpost.CommitmentMax+1), ErrTooLarge, "/signed_digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoiled := map[string]any{}
			for k, v := range honest {
				spoiled[k] = v
			}
			spoiled[c.member] = c.value
			if c.value == nil {
				delete(spoiled, c.member)
			}
			w, rec := post(spoiled)
			if p := problemOf(t, rec); !p.Is(c.want) || p.Pointer != c.pointer {
				t.Errorf("got %s at %q, want %s at %q", p.Type, p.Pointer, c.want.Type, c.pointer)
			}
			if w.calls() != 0 {
				t.Error("the intake was asked")
			}
			_, rec = post([]any{honest, spoiled}) // and inside a batch, where the other is accepted
			var verdicts []Verdict
			if err := json.Unmarshal(rec.Body.Bytes(), &verdicts); err != nil || len(verdicts) != 2 {
				t.Fatalf("batch: %d %s: %v", rec.Code, rec.Body, err)
			}
			if verdicts[0].Accepted == nil || verdicts[1].Problem == nil || verdicts[1].Problem.Pointer != "/1"+c.pointer {
				t.Errorf("batch: %s", rec.Body)
			}
		})
	}
	for name, body := range map[string]string{
		"null": "null", "text": `"x"`, "nothing": "", "two values": `{"signed_digest":"","encrypted_blob":""} {}`,
		"twice": `{"signed_digest":"","signed_digest":"","encrypted_blob":""}`, "empty batch": "[]", "open batch": "[",
		"null member": `{"signed_digest":null,"encrypted_blob":""}`, "bad UTF-8": "{\"signed_digest\xff\":\"\"}",
	} {
		w := newWorld(t)
		if p := problemOf(t, w.do(w.request("POST", "/v1/messages", MediaJSON, []byte(body)))); !p.Is(ErrMalformed) {
			t.Errorf("%s: %s", name, p.Type)
		}
	}
}

// R6: so it is in CBOR: whatever stands beside the two is named by its key, and
// so is each of the two where it is missing, in whichever form the caller reads.
func TestSubmissionMembersInCBOR(t *testing.T) {
	s := sealedMessage(t)
	member := func(key string, value []byte) []byte { // key in CBOR, value as a byte string
		return append(append([]byte(key), appendHead(nil, 0x40, len(value))...), value...)
	}
	commitment, blob := member("\x01", s.Statement().Bytes()), member("\x02", s.Blob())
	body := func(n byte, members ...[]byte) []byte { return append([]byte{0xa0 | n}, bytes.Join(members, nil)...) }
	if honest := body(2, commitment, blob); !bytes.Equal(honest, s.Bytes()) {
		t.Fatal("the honest body is not what the root package writes")
	}
	for _, c := range []struct {
		name    string
		body    []byte
		want    *Problem
		pointer string
	}{
		{"honest", body(2, commitment, blob), nil, ""},
		{"another number", body(3, commitment, blob, member("\x03", []byte("t1"))), ErrUnsignedMetadata, "/3"},
		{"a timestamp", body(3, commitment, blob, append([]byte("\x69timestamp"), 0x18, 0x2a)), ErrUnsignedMetadata, "/timestamp"},
		{"a transaction id in front", body(3, append([]byte("\x6etransaction_id"), 0x61, 't'), commitment, blob), ErrUnsignedMetadata, "/transaction_id"},
		{"a name with a slash", body(3, commitment, blob, member("\x63a/b", nil)), ErrUnsignedMetadata, "/a~1b"},
		{"a name that is not plain", body(3, commitment, blob, member("\x62\xc3\xa9", nil)), ErrUnsignedMetadata, "/?"},
		{"a member for the blob", body(2, commitment, member("\x03", s.Blob())), ErrUnsignedMetadata, "/3"},
		{"no commitment", body(1, blob), ErrMalformed, "/1"},
		{"no blob", body(1, commitment), ErrMalformed, "/2"},
		{"neither", body(0), ErrMalformed, "/1"},
		{"commitment twice", body(3, commitment, commitment, blob), ErrMalformed, "/1"},
		{"blob is a number", body(2, commitment, []byte{2, 7}), ErrMalformed, "/2"},
		{"commitment is a text", body(2, append([]byte{1}, 0x61, 'x'), blob), ErrMalformed, "/1"},
		{"the other way round", body(2, blob, commitment), ErrMalformed, ""},
		{"something follows", append(body(2, commitment, blob), 0), ErrMalformed, ""},
		{"more promised than there is", body(4, commitment, blob), ErrMalformed, ""},
		{"a key of another type", body(3, commitment, blob, []byte{0xf5, 0x40}), ErrMalformed, ""},
		{"no map", []byte{0x82, 0x40, 0x40}, ErrMalformed, ""},
		{"nothing", nil, ErrMalformed, ""},
	} {
		for _, accept := range []string{"", MediaJSON} {
			w := newWorld(t)
			r := w.request("POST", "/v1/messages", MediaSubmission, c.body)
			if accept != "" {
				r.Header.Set("Accept", accept)
			}
			rec := w.do(r)
			if c.want == nil {
				if rec.Code != http.StatusAccepted {
					t.Errorf("%s: %d %s", c.name, rec.Code, rec.Body)
				}
				continue
			}
			if p := problemOf(t, rec); !p.Is(c.want) || p.Pointer != c.pointer {
				t.Errorf("%s: got %s at %q, want %s at %q", c.name, p.Type, p.Pointer, c.want.Type, c.pointer)
			}
			if media := map[string]string{"": MediaProblemCBOR, MediaJSON: MediaProblemJSON}[accept]; rec.Header().Get("Content-Type") != media {
				t.Errorf("%s: %s, want %s", c.name, rec.Header().Get("Content-Type"), media)
			}
			if w.calls() != 0 {
				t.Errorf("%s: the intake was asked", c.name)
			}
		}
	}
}

// R7: what can be told from the bytes alone has its own problem each, in both
// forms, and reaches no room.
func TestSubmissionProblems(t *testing.T) {
	s := sealedMessage(t)
	statement := s.Statement().Bytes()
	// A payload is edited in place: the signature no longer holds, and is not
	// looked at here.
	edit := func(old, new string) []byte {
		if bytes.Count(statement, []byte(old)) != 1 {
			t.Fatalf("%x stands %d times in the statement", old, bytes.Count(statement, []byte(old)))
		}
		return bytes.Replace(statement, []byte(old), []byte(new), 1)
	}
	recipient := fmt.Sprintf("\x08\x58\x20%s", make([]byte, 32))
	for _, c := range []struct {
		name      string
		statement []byte
		blob      []byte
		want      *Problem
	}{
		{"honest", statement, s.Blob(), nil},
		{"signature algorithm", edit("\xa3\x01\x27\x03", "\xa3\x01\x26\x03"), s.Blob(), nil}, // ES256 is ours
		{"unknown signature algorithm", edit("\xa3\x01\x27\x03", "\xa3\x01\x22\x03"), s.Blob(), ErrAlgorithm},
		{"unknown hash algorithm", edit("\x09\x2f\x0a", "\x09\x2e\x0a"), s.Blob(), ErrAlgorithm},
		{"canonicalization", edit("\x07\x01"+recipient, "\x07\x02"+recipient), s.Blob(), ErrCanonicalization},
		{"pattern", edit("\x0e\x01\x0f\x41\x02", "\x0e\x02\x0f\x41\x02"), s.Blob(), ErrPattern},
		{"blob", statement, append(s.Blob(), 0), ErrBlobMismatch},
		{"another rule", edit("\x0f\x41\x02\x10\x02", "\x0f\x41\x02\x10\x07"), s.Blob(), ErrMalformed},
		{"cut", statement[:len(statement)-1], s.Blob(), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			asCBOR, err := sealpost.Encode(struct {
				Commitment []byte `cbor:"1,keyasint"`
				Blob       []byte `cbor:"2,keyasint"`
			}{c.statement, c.blob})
			if err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.Marshal(Submission{c.statement, c.blob})
			if err != nil {
				t.Fatal(err)
			}
			for media, body := range map[string][]byte{MediaSubmission: asCBOR, MediaJSON: asJSON} {
				w := newWorld(t)
				rec := w.do(w.request("POST", "/v1/messages", media, body))
				if c.want == nil {
					if rec.Code != http.StatusAccepted {
						t.Errorf("%s: %d %s", media, rec.Code, rec.Body)
					}
					continue
				}
				if p := problemOf(t, rec); !p.Is(c.want) {
					t.Errorf("%s: %s (%s), want %s", media, p.Type, p.Detail, c.want.Type)
				}
				if w.calls() != 0 {
					t.Errorf("%s: the intake was asked", media)
				}
			}
		})
	}
}

func TestSubmitLimitsAndHeaders(t *testing.T) {
	s := sealedMessage(t)
	batch := func(n int) []byte {
		b := appendHead(nil, 0x80, n)
		for range n {
			b = append(b, 0x41, 0)
		}
		return b
	}
	for name, c := range map[string]struct {
		media  string
		body   []byte
		header [2]string
		want   *Problem
	}{
		"submission too long":       {media: MediaSubmission, body: make([]byte, sealpost.SubmissionMax+1), want: ErrTooLarge},
		"batch too long":            {media: MediaBatch, body: make([]byte, BatchBodyMax+1), want: ErrTooLarge},
		"batch of too many":         {media: MediaBatch, body: batch(BatchMax + 1), want: ErrTooLarge},
		"empty batch":               {media: MediaBatch, body: batch(0), want: ErrMalformed},
		"batch with an end":         {media: MediaBatch, body: append(batch(2), 0), want: ErrMalformed},
		"batch cut":                 {media: MediaBatch, body: batch(2)[:4], want: ErrMalformed},
		"batch with a long head":    {media: MediaBatch, body: []byte{0x98, 1, 0x41, 0}, want: ErrMalformed},
		"no media type":             {body: s.Bytes(), want: ErrMediaType},
		"another media type":        {media: "text/plain", body: s.Bytes(), want: ErrMediaType},
		"plain CBOR":                {media: MediaCBOR, body: s.Bytes(), want: ErrMediaType},
		"another charset":           {media: "application/json; charset=latin1", body: submissionJSON(t, s), want: ErrMediaType},
		"another idempotency key":   {media: MediaSubmission, body: s.Bytes(), header: [2]string{"Idempotency-Key", someID.String()}, want: ErrMalformed},
		"an idempotency key, batch": {media: MediaBatch, body: append([]byte{0x81, 0x59, byte(len(s.Bytes()) >> 8), byte(len(s.Bytes()))}, s.Bytes()...), header: [2]string{"Idempotency-Key", s.ID().String()}, want: ErrMalformed},
		"the right idempotency key": {media: MediaSubmission, body: s.Bytes(), header: [2]string{"Idempotency-Key", s.ID().String()}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.request("POST", "/v1/messages", c.media, c.body)
			if c.header[0] != "" {
				r.Header.Set(c.header[0], c.header[1])
			}
			rec := w.do(r)
			if c.want == nil {
				if rec.Code != http.StatusAccepted {
					t.Fatalf("%d %s", rec.Code, rec.Body)
				}
				return
			}
			if p := problemOf(t, rec); !p.Is(c.want) {
				t.Errorf("%s, want %s", p.Type, c.want.Type)
			}
			if w.calls() != 0 {
				t.Error("the intake was asked")
			}
		})
	}
	t.Run("a query", func(t *testing.T) {
		w := newWorld(t)
		if p := problemOf(t, w.do(w.request("POST", "/v1/messages?x=1", MediaSubmission, s.Bytes()))); !p.Is(ErrMalformed) {
			t.Error(p)
		}
	})
	t.Run("a body without a length", func(t *testing.T) {
		w := newWorld(t)
		r := w.request("POST", "/v1/messages", MediaSubmission, make([]byte, sealpost.SubmissionMax+1))
		r.ContentLength = -1
		if p := problemOf(t, w.do(r)); !p.Is(ErrTooLarge) {
			t.Error(p)
		}
	})
}

func TestBatchMixesVerdicts(t *testing.T) {
	w := newWorld(t)
	a, b := sealedMessage(t), sealedMessage(t)
	items := [][]byte{a.Bytes(), []byte("no submission"), b.Bytes()}
	body := appendHead(nil, 0x80, len(items))
	for _, item := range items {
		body = append(appendHead(body, 0x40, len(item)), item...)
	}
	rec := w.do(w.request("POST", "/v1/messages", MediaBatch, body))
	var got []Verdict
	if err := sealpost.Decode(rec.Body.Bytes(), &got); err != nil || rec.Code != http.StatusOK || len(got) != 3 {
		t.Fatalf("%d %d verdicts: %v", rec.Code, len(got), err)
	}
	if got[0].Accepted.ID != a.ID() || !got[1].Problem.Is(ErrMalformed) || got[2].Accepted.ID != b.ID() {
		t.Errorf("verdicts are out of order: %+v", got)
	}
	if _, _, args := w.last(); w.calls() != 1 || len(args[0].([]sealpost.Sealed)) != 2 {
		t.Error("the two good ones did not reach the intake together")
	}
}

func TestRefusalCarriesRetryAfter(t *testing.T) {
	s := sealedMessage(t)
	for media, body := range map[string][]byte{MediaSubmission: s.Bytes(),
		MediaBatch: append(appendHead([]byte{0x81}, 0x40, len(s.Bytes())), s.Bytes()...)} {
		w := newWorld(t)
		w.fail = ErrBusy.After(1500 * time.Millisecond)
		rec := w.do(w.request("POST", "/v1/messages", media, body))
		if got := rec.Header().Get("Retry-After"); got != "2" { // rounded up
			t.Errorf("%s: Retry-After %q", media, got)
		}
	}
}

func TestReplayedSubmissionSaysSo(t *testing.T) {
	w := newWorld(t)
	body := sealedMessage(t).Bytes()
	if got := w.do(w.request("POST", "/v1/messages", MediaSubmission, body)).Header().Get(headerReplayed); got != "" {
		t.Errorf("first: %q", got)
	}
	w.again = true
	if got := w.do(w.request("POST", "/v1/messages", MediaSubmission, body)).Header().Get(headerReplayed); got != "true" {
		t.Errorf("again: %q", got)
	}
}

// The encoding by hand is the one encoding.
func TestAcceptedByHand(t *testing.T) {
	for _, size := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		for _, again := range []bool{false, true} {
			a := Accepted{ID: someID, Salt: make(Bytes, 32), Promise: make(Bytes, size), Again: again}
			for _, v := range []Verdict{{Accepted: &a}, {Problem: ErrBusy.With("x").At("/0")}} {
				want, err := sealpost.Encode(v)
				if err != nil {
					t.Fatal(err)
				}
				if got := appendVerdict(nil, v); !bytes.Equal(got, want) {
					t.Errorf("promise of %d bytes: %x, want %x", size, got[:8], want[:8])
				}
			}
		}
	}
}

func FuzzSplitBatch(f *testing.F) {
	f.Add([]byte{0x82, 0x41, 0, 0x40})
	f.Add([]byte{0x98, 0x18})
	f.Add([]byte{0x9a, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		items, p := splitBatch(b)
		if p != nil {
			return
		}
		again := appendHead(nil, 0x80, len(items))
		for _, item := range items {
			again = append(appendHead(again, 0x40, len(item)), item...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x is accepted and is written %x", b, again)
		}
	})
}

// The parser by hand and the root package's accept the same bytes and no
// others.
func FuzzSubmission(f *testing.F) {
	s := sealedMessage(f)
	f.Add(s.Bytes())
	f.Add(append([]byte{0xbf}, s.Bytes()[1:]...))
	f.Add([]byte{0xa2, 1, 0x41, 0, 2, 0x41, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, p := parseSubmission(b)
		theirs, err := sealpost.ParseSealed(b)
		if (p == nil) != (err == nil) {
			t.Fatalf("%x: %v and %v", b, p, err)
		}
		if err == nil && !bytes.Equal(ours.Bytes(), theirs.Bytes()) {
			t.Errorf("%x is read twice", b)
		}
	})
}

func TestSplitSubmissionTakesOneEncoding(t *testing.T) {
	good := []byte{0xa2, 1, 0x42, 7, 8, 2, 0x41, 9}
	if c, b, ok := splitSubmission(good); !ok || !bytes.Equal(c, []byte{7, 8}) || !bytes.Equal(b, []byte{9}) {
		t.Fatalf("%x %x %v", c, b, ok)
	}
	for name, bad := range map[string][]byte{
		"trailing": append(bytes.Clone(good), 0), "cut": good[:7], "long head": {0xa2, 1, 0x58, 2, 7, 8, 2, 0x41, 9},
		"keys swapped": {0xa2, 2, 0x41, 9, 1, 0x42, 7, 8}, "one member": {0xa1, 1, 0x42, 7, 8},
		"indefinite": {0xbf, 1, 0x42, 7, 8, 2, 0x41, 9, 0xff}, "text": {0xa2, 1, 0x62, 7, 8, 2, 0x41, 9}, "nothing": {},
	} {
		if _, _, ok := splitSubmission(bad); ok {
			t.Errorf("%s is taken", name)
		}
	}
}
