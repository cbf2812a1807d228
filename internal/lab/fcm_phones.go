package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Phones is the phones' side of the transport: what an app's push library does.
// It is safe for concurrent use.
type Phones struct {
	base   string
	client *http.Client
}

// NewPhones talks to the server at base ("http://127.0.0.1:9099") with client,
// which must have no overall timeout: polls and streams stay open.
func NewPhones(base string, client *http.Client) *Phones {
	return &Phones{base: base, client: client}
}

// pushLineMax bounds one line of a rack's stream, in bytes.
const pushLineMax = 64 << 10

// Register adds a phone and returns its names.
func (p *Phones) Register(ctx context.Context, reg Registration) (d Device, err error) {
	body, err := json.Marshal(reg)
	if err != nil {
		return d, fmt.Errorf("encode a registration: %w", err)
	}
	return d, p.ask(ctx, http.MethodPost, "/lab/devices", body, http.StatusCreated, &d)
}

// Unregister uninstalls the app of a phone.
func (p *Phones) Unregister(ctx context.Context, target string) error {
	return p.ask(ctx, http.MethodDelete, "/lab/devices/"+url.PathEscape(target), nil, http.StatusNoContent, nil)
}

// Poll waits up to wait, cut to seconds, for pushes numbered beyond after.
// A Batch may be empty.
func (p *Phones) Poll(ctx context.Context, target string, after uint64, wait time.Duration) (b Batch, err error) {
	path := "/lab/devices/" + url.PathEscape(target) + "/pushes?after=" + strconv.FormatUint(after, 10) +
		"&wait=" + strconv.FormatInt(int64(wait/time.Second), 10)
	return b, p.ask(ctx, http.MethodGet, path, nil, http.StatusOK, &b)
}

// Stream calls each for every push to a phone of the rack, until ctx ends, the
// connection breaks or each returns an error. It always returns an error.
func (p *Phones) Stream(ctx context.Context, rack string, each func(Push) error) error {
	resp, err := p.do(ctx, http.MethodGet, "/lab/racks/"+url.PathEscape(rack)+"/pushes", nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 16<<10), pushLineMax)
	for lines.Scan() {
		var push Push
		if err := json.Unmarshal(lines.Bytes(), &push); err != nil {
			return fmt.Errorf("read a push: %w", err)
		}
		if err := each(push); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the rack's stream: %w", err)
	}
	return io.ErrUnexpectedEOF
}

func (p *Phones) ask(ctx context.Context, method, path string, body []byte, want int, into any) error {
	resp, err := p.do(ctx, method, path, body, want)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the lab's answer: %w", err)
	}
	return nil
}

func (p *Phones) do(ctx context.Context, method, path string, body []byte, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the lab: %w", err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the lab: %w", err)
	}
	if resp.StatusCode != want {
		defer resp.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return nil, fmt.Errorf("ask the lab: status %d: %s", resp.StatusCode, bytes.TrimSpace(why))
	}
	return resp, nil
}
