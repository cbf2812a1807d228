package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/sealpost/sealpost"
)

// POST /v1/messages is the hot path, so it goes by hand from the request's
// bytes to the room and back: one buffer from a pool, no reflection over the
// answer.

// headerReplayed tells that a submission was held before (the idempotency key
// of a message is its id).
const headerReplayed = "Idempotency-Replayed"

var headerTrue = []string{"true"}

// submit reads one submission or a batch in any of three media types, has the
// intake hold it, and answers 202 or a problem for one, 200 and a verdict for
// each of a batch.
func (s *server) submit(w http.ResponseWriter, r *http.Request) {
	caller, err := s.admitSender(r, sealpost.ScopeSend)
	if err != nil {
		s.refuse(w, r, "/v1/messages", err)
		return
	}
	media := mediaType(r.Header)
	limit, known := submitLimits[media]
	if !known || r.URL.RawQuery != "" {
		writeProblem(w, r, submitMisfit(known))
		return
	}
	b, p := readBody(r, limit, &s.inFlight)
	if p != nil {
		writeProblem(w, r, p)
		return
	}
	defer b.free()
	switch {
	case media == MediaSubmission:
		sealed, p := parseSubmission(b.bytes())
		s.submitOne(w, r, caller, b, sealed, p)
	case media == MediaBatch:
		items, p := splitBatch(b.bytes())
		s.submitBatch(w, r, caller, items, parseSubmission, p)
	case isJSONArray(b.bytes()):
		items, p := splitJSONBatch(b.bytes())
		s.submitBatch(w, r, caller, items, parseJSONSubmission, p)
	default:
		sealed, p := parseJSONSubmission(b.bytes())
		s.submitOne(w, r, caller, b, sealed, p)
	}
}

// submitLimits are the bytes of a body by media type. A batch in JSON has the
// limit of any batch.
var submitLimits = map[string]int64{
	MediaSubmission: sealpost.SubmissionMax,
	MediaBatch:      BatchBodyMax,
	MediaJSON:       BatchBodyMax,
}

func submitMisfit(mediaKnown bool) *Problem {
	if mediaKnown {
		return ErrMalformed.With("a query parameter is not known or stands twice")
	}
	return ErrMediaType
}

// submitOne answers one submission, in the memory of the body that it was read from.
func (s *server) submitOne(w http.ResponseWriter, r *http.Request, caller Caller, b body, sealed sealpost.Sealed, p *Problem) {
	if p == nil {
		p = checkIdempotencyKey(r.Header, sealed.ID())
	}
	if p != nil {
		writeProblem(w, r, p)
		return
	}
	verdicts := s.Intake.Submit(r.Context(), caller, []sealpost.Sealed{sealed})
	mustAnswer(verdicts, 1)
	if p := verdicts[0].Problem; p != nil {
		writeProblem(w, r, p)
		return
	}
	a := verdicts[0].Accepted
	if a.Again {
		w.Header()[headerReplayed] = headerTrue
	}
	if wantsCBOR(r) {
		writeBytes(w, http.StatusAccepted, headerCBOR, appendAccepted(b.reuse(), a))
		return
	}
	writeAnswer(w, r, http.StatusAccepted, a)
}

// checkIdempotencyKey allows the header that a message does not need: its id
// is the key (DESIGN section 12, Requests).
func checkIdempotencyKey(h http.Header, id sealpost.MessageID) *Problem {
	keys := h["Idempotency-Key"]
	if len(keys) == 0 || (len(keys) == 1 && keys[0] == id.String()) {
		return nil
	}
	return ErrMalformed.With("the Idempotency-Key of a message is its id")
}

// submitBatch answers each item of a batch: the ones that parse go to the
// intake together, in their order.
func (s *server) submitBatch(w http.ResponseWriter, r *http.Request, caller Caller, items [][]byte,
	parse func([]byte) (sealpost.Sealed, *Problem), p *Problem) {
	if p == nil && len(r.Header["Idempotency-Key"]) != 0 {
		p = ErrMalformed.With("a batch has no Idempotency-Key: each message's id is its own")
	}
	if p != nil {
		writeProblem(w, r, p)
		return
	}
	verdicts := make([]Verdict, len(items))
	batch, places := make([]sealpost.Sealed, 0, len(items)), make([]int, 0, len(items))
	for i, item := range items {
		sealed, p := parse(item)
		if p != nil {
			verdicts[i].Problem = p.within(i)
			continue
		}
		batch, places = append(batch, sealed), append(places, i)
	}
	if len(batch) > 0 {
		held := s.Intake.Submit(r.Context(), caller, batch)
		mustAnswer(held, len(batch))
		for i, v := range held {
			verdicts[places[i]] = v
		}
	}
	setRetryAfter(w, verdicts)
	writeVerdicts(w, r, verdicts)
}

// within puts the item's place in a batch before the pointer.
func (p *Problem) within(i int) *Problem { return p.At("/" + strconv.Itoa(i) + p.Pointer) }

func writeVerdicts(w http.ResponseWriter, r *http.Request, verdicts []Verdict) {
	if !wantsCBOR(r) {
		writeAnswer(w, r, http.StatusOK, verdicts)
		return
	}
	size := 3
	for _, v := range verdicts {
		size += 1 << 8
		if v.Accepted != nil {
			size += acceptedSize(v.Accepted)
		}
	}
	out := appendHead(make([]byte, 0, size), 0x80, len(verdicts))
	for _, v := range verdicts {
		out = appendVerdict(out, v)
	}
	writeBytes(w, http.StatusOK, headerCBOR, out)
}

// appendVerdict is sealpost.Encode of a verdict, by hand where it is the usual
// one.
func appendVerdict(b []byte, v Verdict) []byte {
	if v.Accepted != nil {
		return appendAccepted(append(b, 0xa1, 0x01), v.Accepted)
	}
	problem, err := sealpost.Encode(v)
	if err != nil {
		panic("api: a problem of ours cannot be encoded: " + err.Error())
	}
	return append(b, problem...)
}

func acceptedSize(a *Accepted) int { return 32 + len(a.ID) + len(a.Salt) + len(a.Promise) }

// appendAccepted is sealpost.Encode of an Accepted (RFC 8949 4.2.1).
func appendAccepted(b []byte, a *Accepted) []byte {
	b = appendHead(append(b, 0xa4, 0x01), 0x40, len(a.ID))
	b = append(b, a.ID[:]...)
	b = appendHead(append(b, 0x02), 0x40, len(a.Salt))
	b = append(b, a.Salt...)
	b = appendHead(append(b, 0x03), 0x40, len(a.Promise))
	b = append(b, a.Promise...)
	if a.Again {
		return append(b, 0x04, 0xf5)
	}
	return append(b, 0x04, 0xf4)
}

// appendHead writes a CBOR head with its shortest length.
func appendHead(b []byte, major byte, n int) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

// cutHead reads a head of a major type in its shortest form.
func cutHead(b []byte, major byte) (n int, rest []byte, ok bool) {
	if len(b) == 0 || b[0]&0xe0 != major {
		return 0, nil, false
	}
	info, rest := b[0]&0x1f, b[1:]
	switch {
	case info < 24:
		return int(info), rest, true
	case info == 24 && len(rest) >= 1:
		return int(rest[0]), rest[1:], rest[0] >= 24
	case info == 25 && len(rest) >= 2:
		n = int(binary.BigEndian.Uint16(rest))
		return n, rest[2:], n >= 1<<8
	case info == 26 && len(rest) >= 4:
		v := binary.BigEndian.Uint32(rest)
		return int(v), rest[4:], v >= 1<<16
	}
	return 0, nil, false
}

// cutBytes reads a byte string without copying it.
func cutBytes(b []byte) (value, rest []byte, ok bool) {
	size, rest, ok := cutHead(b, 0x40)
	if !ok || size > len(rest) {
		return nil, nil, false
	}
	return rest[:size:size], rest[size:], true
}

// splitBatch takes an array of byte strings apart without copying them.
func splitBatch(b []byte) ([][]byte, *Problem) {
	bad := ErrMalformed.With("a batch is a CBOR array of byte strings in its one encoding")
	n, rest, ok := cutHead(b, 0x80)
	if !ok || n == 0 {
		return nil, bad
	}
	if n > BatchMax {
		return nil, ErrTooLarge.With("a batch has at most %d submissions", BatchMax)
	}
	items := make([][]byte, n)
	for i := range items {
		if items[i], rest, ok = cutBytes(rest); !ok {
			return nil, bad
		}
	}
	if len(rest) != 0 {
		return nil, bad
	}
	return items, nil
}

func isJSONArray(b []byte) bool {
	t := bytes.TrimLeft(b, " \t\r\n")
	return len(t) > 0 && t[0] == '['
}

func splitJSONBatch(b []byte) (items [][]byte, p *Problem) {
	p = eachElement(b, "", BatchMax, func(_ int, value json.RawMessage) *Problem {
		items = append(items, value)
		return nil
	})
	if p == nil && len(items) == 0 {
		p = ErrMalformed.With("a batch has at least one submission")
	}
	return items, p
}

// parseSubmission reads what sealpost.ParseSealed reads, and names what is
// wrong with what is not (R7).
func parseSubmission(b []byte) (sealpost.Sealed, *Problem) {
	sealed, err := sealpost.ParseSealed(b)
	if err == nil {
		return sealed, nil
	}
	if len(b) > sealpost.SubmissionMax {
		return sealpost.Sealed{}, ErrTooLarge.With("a submission may have %d bytes", sealpost.SubmissionMax)
	}
	commitment, blob, ok := splitSubmission(b)
	if !ok {
		return sealpost.Sealed{}, submissionFault(b)
	}
	return sealpost.Sealed{}, diagnose(commitment, blob, err)
}

// splitSubmission takes {1: byte string, 2: byte string} apart.
func splitSubmission(b []byte) (commitment, blob []byte, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte{0xa2, 0x01})
	if !ok {
		return nil, nil, false
	}
	if commitment, rest, ok = cutBytes(rest); !ok {
		return nil, nil, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte{0x02}); !ok {
		return nil, nil, false
	}
	blob, rest, ok = cutBytes(rest)
	return commitment, blob, ok && len(rest) == 0
}

func joinSubmission(commitment, blob []byte) (sealpost.Sealed, *Problem) {
	signed, err := sealpost.Parse(commitment)
	if err != nil {
		return sealpost.Sealed{}, diagnose(commitment, blob, err)
	}
	sealed, err := sealpost.NewSealed(signed, blob)
	if err != nil {
		return sealpost.Sealed{}, diagnose(commitment, blob, err)
	}
	return sealed, nil
}

// The members of a submission in JSON.
const (
	memberDigest = "signed_digest"
	memberBlob   = "encrypted_blob"
)

// parseJSONSubmission reads a Submission. Every other member is a statement
// about the message that nobody signed (R6).
func parseJSONSubmission(b []byte) (sealed sealpost.Sealed, p *Problem) {
	if !utf8.Valid(b) {
		return sealed, notJSON("")
	}
	if p := unsignedMember(b); p != nil {
		return sealed, p
	}
	var in Submission
	if p := decodeJSON(b, &in); p != nil {
		return sealed, p
	}
	if len(in.EncryptedBlob) > sealpost.BlobMax {
		return sealed, ErrTooLarge.With("a blob may have %d bytes", sealpost.BlobMax).At("/" + memberBlob)
	}
	if len(in.SignedDigest) > sealpost.CommitmentMax {
		return sealed, ErrTooLarge.With("a commitment may have %d bytes", sealpost.CommitmentMax).At("/" + memberDigest)
	}
	sealed, p = joinSubmission(in.SignedDigest, in.EncryptedBlob)
	switch {
	case p == nil:
		return sealed, nil
	case p.Is(ErrBlobMismatch):
		return sealed, p.At("/" + memberBlob)
	}
	return sealed, p.At("/" + memberDigest)
}

func unsignedMember(b []byte) *Problem {
	return eachMember(b, "", func(name string, _ json.RawMessage) *Problem {
		if name == memberDigest || name == memberBlob {
			return nil
		}
		return ErrUnsignedMetadata.At("/" + pointerToken(name))
	})
}

// diagnose names the problem of a submission that the root package refused
// with err (R7). A part that is too long is so whatever else is wrong with it.
func diagnose(commitment, blob []byte, err error) *Problem {
	if len(commitment) > sealpost.CommitmentMax || len(blob) > sealpost.BlobMax {
		return ErrTooLarge
	}
	return ProblemOf(err)
}
