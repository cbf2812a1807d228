package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sealpost/sealpost"
)

// A SenderClient is the client end for a sender: the methods of [Intake],
// [Reading], [Directory] and [Keys] without the caller, which the relay finds
// by the API key.
type SenderClient struct{ *Client }

// NewSenderClient makes a sender's client. The secret lives in a closure, so
// that nothing can print it.
func NewSenderClient(baseURL, secret string, httpClient *http.Client) (*SenderClient, error) {
	c, err := NewClient(baseURL, httpClient)
	if err != nil {
		return nil, err
	}
	if _, ok := HashSecret(secret); !ok {
		return nil, errors.New("the API key is not of the form that a relay gives")
	}
	bearer := []string{"Bearer " + secret}
	c.sign = func(r *http.Request, _ []byte) error {
		r.Header["Authorization"] = bearer
		return nil
	}
	return &SenderClient{c}, nil
}

// Submit posts messages, in batches where they are many, and returns a verdict
// for each in order: [ErrUnavailable] where there was no answer and nothing is
// known. The same bytes may be posted again.
func (c *SenderClient) Submit(ctx context.Context, batch []sealpost.Sealed) []Verdict {
	bodies, sizes := make([][]byte, len(batch)), make([]int, len(batch))
	for i, s := range batch {
		bodies[i] = s.Bytes()
		sizes[i] = len(bodies[i])
	}
	return inBatches(sizes, func(from, to int) ([]Verdict, error) {
		if to-from == 1 {
			return c.submitOne(ctx, bodies[from])
		}
		return c.submitBatch(ctx, bodies[from:to])
	})
}

func (c *SenderClient) submitOne(ctx context.Context, body []byte) ([]Verdict, error) {
	a := new(Accepted)
	if _, err := c.exchange(ctx, http.MethodPost, "/v1/messages", MediaSubmission, body, a); err != nil {
		return nil, err
	}
	return []Verdict{{Accepted: a}}, nil
}

func (c *SenderClient) submitBatch(ctx context.Context, bodies [][]byte) (verdicts []Verdict, err error) {
	body := appendHead(nil, 0x80, len(bodies))
	for _, b := range bodies {
		body = append(appendHead(body, 0x40, len(b)), b...)
	}
	h, err := c.exchange(ctx, http.MethodPost, "/v1/messages", MediaBatch, body, &verdicts)
	retryVerdicts(verdicts, h)
	return verdicts, err
}

// Message reads one message's state.
func (c *SenderClient) Message(ctx context.Context, id sealpost.MessageID) (v MessageView, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/messages/"+id.String(), nil, &v)
}

// Messages reads a page after a cursor, "" for the first, of at most limit
// messages, 0 for [PageDefault].
func (c *SenderClient) Messages(ctx context.Context, cursor string, limit int) (page []MessageView, next string, err error) {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	setLimit(q, limit)
	var p MessagePage
	err = c.call(ctx, http.MethodGet, withQuery("/v1/messages", q), nil, &p)
	return p.Messages, p.Next, err
}

// Evidence fetches every exhibit of a message.
func (c *SenderClient) Evidence(ctx context.Context, id sealpost.MessageID) ([]Exhibit, error) {
	var e Exhibits
	err := c.call(ctx, http.MethodGet, "/v1/messages/"+id.String()+"/evidence", nil, &e)
	return e.Exhibits, err
}

// Invite asks to enrol one device of a recipient.
func (c *SenderClient) Invite(ctx context.Context, in Invitation) (out Invited, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/enrolments", in, &out)
}

// Answered lists answered invitations that wait for a key event.
func (c *SenderClient) Answered(ctx context.Context, limit int) ([]EnrolmentView, error) {
	q := url.Values{}
	setLimit(q, limit)
	var p EnrolmentPage
	err := c.call(ctx, http.MethodGet, withQuery("/v1/enrolments", q), nil, &p)
	return p.Enrolments, err
}

// PostKeyEvent posts a signed key event.
func (c *SenderClient) PostKeyEvent(ctx context.Context, statement []byte) (a Accepted, err error) {
	return a, c.call(ctx, http.MethodPost, "/v1/key-events", KeyEventPost{statement}, &a)
}

// KeyEvents gives the key events of a recipient's devices, oldest first.
func (c *SenderClient) KeyEvents(ctx context.Context, recipient sealpost.Recipient) ([]Exhibit, error) {
	var e Exhibits
	err := c.call(ctx, http.MethodGet, "/v1/recipients/"+recipient.String()+"/key-events", nil, &e)
	return e.Exhibits, err
}

// ClaimPackages takes one KeyPackage for each named device of the recipient.
func (c *SenderClient) ClaimPackages(ctx context.Context, recipient sealpost.Recipient, devices []sealpost.KeyID) ([]ClaimedPackage, error) {
	var p ClaimedPackages
	err := c.call(ctx, http.MethodPost, "/v1/recipients/"+recipient.String()+"/key-packages/claim", Claim{devices}, &p)
	return p.Packages, err
}

// MakeKey makes an API key; the view's Secret is shown this once.
func (c *SenderClient) MakeKey(ctx context.Context, name string, scopes sealpost.Scope) (v KeyView, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/api-keys", KeyOrder{name, ScopeNames(scopes)}, &v)
}

// ListKeys lists the tenant's API keys.
func (c *SenderClient) ListKeys(ctx context.Context) ([]KeyView, error) {
	var l KeyList
	err := c.call(ctx, http.MethodGet, "/v1/api-keys", nil, &l)
	return l.Keys, err
}

// RevokeKey revokes an API key of the tenant.
func (c *SenderClient) RevokeKey(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/api-keys/"+url.PathEscape(name), nil, nil)
}

func setLimit(q url.Values, limit int) {
	if limit > 0 {
		q.Set("limit", strconv.Itoa(min(limit, PageMax)))
	}
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
