package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sealpost/sealpost"
)

// A Client is the client end for a stranger, and what the two others share. It
// speaks CBOR, follows no redirect, sends no secret in clear beyond loopback,
// and reads at most AnswerMax bytes of an answer.
//
// A call takes as long as its context and the http.Client allow; the latter's
// Timeout must exceed [InboxWaitMax] where a device waits.
//
// Its methods return a relay's problem as a [*Problem], which errors.Is
// matches against the list of this package and which carries Retry-After in
// Retry. Any other error says that there was no answer, or none of ours: then
// nothing is known of what became of the request.
type Client struct {
	base string
	http *http.Client
	// sign adds to a request what says who asks. body is nil for none.
	sign func(r *http.Request, body []byte) error
}

// NewClient makes a client of the relay at an address such as
// "https://relay.example". Plain http is refused but for a loopback host.
// httpClient may be nil; of one that is given, the transport, jar and timeout
// are used.
func NewClient(baseURL string, httpClient *http.Client) (*Client, error) {
	base, err := checkBaseURL(baseURL)
	if err != nil {
		return nil, fmt.Errorf("relay %q: %w", baseURL, err)
	}
	if httpClient == nil {
		httpClient = &http.Client{Transport: newTransport()}
	}
	own := *httpClient
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: base, http: &own, sign: func(*http.Request, []byte) error { return nil }}, nil
}

// newTransport keeps more connections to the one host than net/http's two, so
// that concurrent calls do not dial each time.
func newTransport() *http.Transport {
	const kept = 64 // idle connections
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = kept, kept
	return t
}

// Health says whether the relay's end of the conversation is up.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	return h, c.call(ctx, http.MethodGet, "/healthz", nil, &h)
}

// Checkpoint fetches the log's newest checkpoint, a signed note. It is not
// verified here.
func (c *Client) Checkpoint(ctx context.Context) (note []byte, err error) {
	res, err := c.send(ctx, http.MethodGet, "/checkpoint", "", nil)
	if err != nil {
		return nil, err
	}
	note, err = readAnswer(res, sealpost.NoteMax)
	if err == nil && res.StatusCode != http.StatusOK {
		err = problemIn(res, note)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return note, nil
}

// call sends in as CBOR, or nothing where it is nil, and reads the answer into
// out, or none where it is nil.
func (c *Client) call(ctx context.Context, method, target string, in, out any) error {
	_, err := c.callFor(ctx, method, target, in, out)
	return err
}

// callFor is call where the caller wants the answer's headers.
func (c *Client) callFor(ctx context.Context, method, target string, in, out any) (http.Header, error) {
	var body []byte
	media := ""
	if in != nil {
		var err error
		if body, err = sealpost.Encode(in); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, target, err)
		}
		media = MediaCBOR
	}
	return c.exchange(ctx, method, target, media, body, out)
}

// exchange sends a body as it stands and reads the answer into out.
func (c *Client) exchange(ctx context.Context, method, target, media string, body []byte, out any) (http.Header, error) {
	res, err := c.send(ctx, method, target, media, body)
	if err != nil {
		return nil, err
	}
	b, err := readAnswer(res, AnswerMax)
	switch {
	case err != nil:
	case res.StatusCode < 200 || res.StatusCode > 299:
		return res.Header, problemIn(res, b)
	case out == nil:
		return res.Header, nil
	case res.Header.Get("Content-Type") != MediaCBOR:
		err = errors.New("the answer is not CBOR")
	default:
		err = sealpost.Decode(b, out)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return res.Header, nil
}

func (c *Client) send(ctx context.Context, method, target, media string, body []byte) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+target, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	r.Header["Accept"] = headerCBOR
	if media != "" {
		r.Header["Content-Type"] = []string{media}
	}
	if err := c.sign(r, body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	res, err := c.http.Do(r)
	if fault, ok := errors.AsType[*url.Error](err); ok {
		err = fault.Err // method and target are said already
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return res, nil
}

// readAnswer reads and closes an answer's body.
func readAnswer(res *http.Response, most int64) ([]byte, error) {
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("the answer is longer than %d bytes", most)
	}
	return b, nil
}

// problemIn reads the problem of an answer. One that is not ours, as a proxy
// writes it, is told by its status and is no Problem.
func problemIn(res *http.Response, b []byte) error {
	p := new(Problem)
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	var err error
	switch media {
	case MediaProblemCBOR:
		err = sealpost.Decode(b, p)
	case MediaProblemJSON:
		err = json.Unmarshal(b, p)
	default:
		err = errors.New("no problem")
	}
	if err != nil || p.Status != res.StatusCode || p.Type == "" {
		return fmt.Errorf("the answer has status %d and is not the relay's", res.StatusCode)
	}
	p.Retry = retryIn(res.Header)
	return p
}

// retryMax bounds what a Retry-After can ask of us.
const retryMax = 24 * time.Hour

// retryIn reads whole seconds of Retry-After, 0 where there are none.
func retryIn(h http.Header) time.Duration {
	n, err := strconv.ParseInt(h.Get("Retry-After"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, int64(retryMax/time.Second)))*time.Second, retryMax)
}

// retryVerdicts gives the problems of a batch that are worth a retry the wait
// that the answer asks for.
func retryVerdicts(verdicts []Verdict, h http.Header) {
	for _, v := range verdicts {
		if v.Problem != nil && (v.Problem.Status == http.StatusTooManyRequests || v.Problem.Status == http.StatusServiceUnavailable) {
			v.Problem.Retry = retryIn(h)
		}
	}
}

// inBatches sends a list in parts of at most BatchMax items and batchBytes
// bytes and returns a verdict for each item, in order. A problem of a whole
// part is that of each of its items. Where there was no answer it is
// [ErrUnavailable]: nothing is known of the item, and the same bytes may be
// sent again.
func inBatches(sizes []int, send func(from, to int) ([]Verdict, error)) []Verdict {
	verdicts := make([]Verdict, 0, len(sizes))
	for from := 0; from < len(sizes); {
		to, bytes := from, 0
		for to < len(sizes) && to-from < BatchMax && (to == from || bytes+sizes[to] <= batchBytes) {
			bytes += sizes[to]
			to++
		}
		part, err := send(from, to)
		if err == nil && !answers(part, to-from) {
			err = errors.New("the answer has not one verdict for each item")
		}
		if err != nil {
			part = everyone(to-from, problemOfCall(err))
		}
		verdicts = append(verdicts, part...)
		from = to
	}
	return verdicts
}

// batchBytes leaves room in BatchBodyMax for the heads of CBOR.
const batchBytes = BatchBodyMax - BatchMax*8 - 64

// problemOfCall puts a call that got no answer into the one form that a
// verdict has.
func problemOfCall(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return ErrUnavailable.With("no answer: %v", err)
}

// answers says whether each of n items has exactly one half of a verdict.
func answers(verdicts []Verdict, n int) bool {
	for _, v := range verdicts {
		if (v.Accepted == nil) == (v.Problem == nil) {
			return false
		}
	}
	return len(verdicts) == n
}

func everyone(n int, p *Problem) []Verdict {
	verdicts := make([]Verdict, n)
	for i := range verdicts {
		verdicts[i].Problem = p
	}
	return verdicts
}
