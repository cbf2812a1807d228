package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sealpost/sealpost"
)

// A DeviceClient is the client end for a device: the methods of [DeviceRoad]
// without the device's key id, which the relay finds by the signature.
type DeviceClient struct{ *Client }

// NewDeviceClient makes a device's client. Every request is signed by signer,
// with the time of now, which must be within [SignatureWindow] of the relay's,
// and a nonce from random, a cryptographic source. Concurrent use is fine
// where all three allow it.
func NewDeviceClient(baseURL string, signer sealpost.Signer, now func() time.Time, random io.Reader, httpClient *http.Client) (*DeviceClient, error) {
	c, err := NewClient(baseURL, httpClient)
	if err != nil {
		return nil, err
	}
	c.sign = func(r *http.Request, body []byte) error { return signDevice(r, body, signer, now(), random) }
	return &DeviceClient{c}, nil
}

// Answer presents the device's keys to an invitation, once. The client's
// signer must be the key that it presents.
func (c *DeviceClient) Answer(ctx context.Context, in Answer) error {
	return c.call(ctx, http.MethodPost, "/v1/device/enrolments", in, nil)
}

// Enrolment gives the device's own key event, and [ErrNotFound] until the
// sender posted it.
func (c *DeviceClient) Enrolment(ctx context.Context) (e Exhibit, err error) {
	return e, c.call(ctx, http.MethodGet, "/v1/device/enrolment", nil, &e)
}

// Inbox gives released, open messages after a seq, oldest first, and waits up
// to waitMS milliseconds, at most [InboxWaitMax], for the first. It also says what
// is left of the device's KeyPackages.
func (c *DeviceClient) Inbox(ctx context.Context, after uint64, limit int, waitMS int) (a Arrivals, err error) {
	q := url.Values{}
	if after > 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	setLimit(q, limit)
	if waitMS > 0 {
		q.Set("wait_ms", strconv.Itoa(min(waitMS, waitParam.most)))
	}
	return a, c.call(ctx, http.MethodGet, withQuery("/v1/device/messages", q), nil, &a)
}

// Arrival fetches one message.
func (c *DeviceClient) Arrival(ctx context.Context, id sealpost.MessageID) (a Arrival, err error) {
	return a, c.call(ctx, http.MethodGet, "/v1/device/messages/"+id.String(), nil, &a)
}

// PostReceipts posts signed receipts, in batches where they are many, and
// returns a verdict for each in order: [ErrUnavailable] where there was no
// answer and nothing is known. The same bytes may be posted again.
func (c *DeviceClient) PostReceipts(ctx context.Context, receipts [][]byte) []Verdict {
	sizes := make([]int, len(receipts))
	for i, r := range receipts {
		sizes[i] = len(r)
	}
	return inBatches(sizes, func(from, to int) ([]Verdict, error) {
		var out Verdicts
		h, err := c.callFor(ctx, http.MethodPost, "/v1/device/receipts", ReceiptBatch{apiBytes(receipts[from:to])}, &out)
		retryVerdicts(out.Verdicts, h)
		return out.Verdicts, err
	})
}

// Stock adds KeyPackages to the device's pool and, where endpoints are named,
// replaces its endpoints.
func (c *DeviceClient) Stock(ctx context.Context, packages [][]byte, endpoints []DeviceEndpoint) error {
	return c.call(ctx, http.MethodPost, "/v1/device/stock", Stocking{apiBytes(packages), endpoints}, nil)
}

func apiBytes(list [][]byte) []Bytes {
	out := make([]Bytes, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}
