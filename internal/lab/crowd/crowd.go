// Package crowd is many callers at once: a load generator for one HTTP/1.1
// server on loopback, cheap enough to share two cores with what it measures.
//
// It writes requests that were built beforehand and reads answers by hand,
// because net/http's client costs as much as the server that it would measure.
//
// # Units
//
// Rates are requests per second. Latencies run from the moment a request was
// due, not from when it was sent, so that a stalled server cannot hide behind
// a generator that waits for it (coordinated omission).
//
// # Errors
//
// A connection that breaks ends the run with its error: on loopback nothing
// may be lost.
package crowd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a run.
const (
	ConnectionsMax = 4096
	answerMax      = 1 << 20 // bytes of one answer's body
	headerMax      = 8 << 10 // bytes of one answer's head
)

// A Request is one POST, ready to write.
type Request []byte

// Post builds a keep-alive POST.
func Post(host, path, contentType, authorization string, body []byte) Request {
	return AppendPost(make([]byte, 0, 256+len(body)), host, path, contentType, authorization, body)
}

// AppendPost is Post into a buffer.
func AppendPost(b []byte, host, path, contentType, authorization string, body []byte) Request {
	for _, s := range []string{"POST ", path, " HTTP/1.1\r\nHost: ", host, "\r\nContent-Type: ", contentType, "\r\nContent-Length: "} {
		b = append(b, s...)
	}
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	if authorization != "" {
		b = append(append(append(b, "Authorization: "...), authorization...), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

// A Run says what to do.
type Run struct {
	Address     string
	Connections int
	// Count is how many requests there are; Next builds the i-th into a buffer of
	// its connection, each asked for once, concurrently.
	Count int
	Next  func(buffer []byte, i int) Request
	// Answer is given each answer's status and body, concurrently; the body is
	// valid during the call only.
	Answer func(i, status int, body []byte)
	// Rate paces the run in requests per second over all connections; 0 is as
	// fast as answers come.
	Rate float64
	// For ends the run; requests in flight are finished.
	For time.Duration
}

// A Report is what came of it.
type Report struct {
	Sent    int
	Elapsed time.Duration
	latency []time.Duration // sorted
}

// PerSecond is the rate of answers.
func (r Report) PerSecond() float64 { return float64(r.Sent) / r.Elapsed.Seconds() }

// Latency is a percentile, 0 to 100.
func (r Report) Latency(percentile float64) time.Duration {
	if len(r.latency) == 0 {
		return 0
	}
	i := int(percentile / 100 * float64(len(r.latency)))
	return r.latency[min(i, len(r.latency)-1)]
}

// Do runs until Count, For or ctx ends it.
func Do(ctx context.Context, run Run) (Report, error) {
	if run.Connections < 1 || run.Connections > ConnectionsMax || run.Count < 1 {
		return Report{}, fmt.Errorf("crowd: want 1 to %d connections and at least one request", ConnectionsMax)
	}
	ctx, cancel := context.WithTimeout(ctx, run.For)
	defer cancel()
	conns, err := dial(ctx, run)
	if err != nil {
		return Report{}, err
	}
	var next atomic.Int64
	latencies := make([][]time.Duration, len(conns))
	faults := make([]error, len(conns))
	start := time.Now()
	var all sync.WaitGroup
	for c, conn := range conns {
		all.Go(func() {
			defer conn.Close()
			latencies[c], faults[c] = caller{run, conn, start}.loop(ctx, &next)
			if faults[c] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	report := Report{Elapsed: time.Since(start), latency: slices.Concat(latencies...)}
	report.Sent = len(report.latency)
	slices.Sort(report.latency)
	return report, errors.Join(faults...)
}

func dial(ctx context.Context, run Run) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, run.Connections)
	for range run.Connections {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", run.Address)
		if err != nil {
			for _, open := range conns {
				open.Close()
			}
			return nil, fmt.Errorf("crowd: %w", err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// A caller is one connection: one request at a time.
type caller struct {
	run   Run
	conn  net.Conn
	start time.Time
}

func (c caller) loop(ctx context.Context, next *atomic.Int64) ([]time.Duration, error) {
	latency := make([]time.Duration, 0, c.run.Count/c.run.Connections*2+16)
	in := bufio.NewReaderSize(c.conn, headerMax)
	body, request := make([]byte, 0, 4<<10), make(Request, 0, 4<<10)
	for ctx.Err() == nil {
		i := int(next.Add(1)) - 1
		if i >= c.run.Count {
			break
		}
		due, ok := c.await(ctx, i)
		if !ok {
			break
		}
		request = c.run.Next(request[:0], i)
		if _, err := c.conn.Write(request); err != nil {
			return latency, fmt.Errorf("crowd: send: %w", err)
		}
		status, b, err := readAnswer(in, body[:0])
		if err != nil {
			return latency, fmt.Errorf("crowd: answer: %w", err)
		}
		latency = append(latency, time.Since(due))
		c.run.Answer(i, status, b)
		body = b
	}
	return latency, nil
}

// await returns when request i is due, and that moment.
func (c caller) await(ctx context.Context, i int) (time.Time, bool) {
	if c.run.Rate == 0 {
		return time.Now(), true
	}
	due := c.start.Add(time.Duration(float64(i) / c.run.Rate * float64(time.Second)))
	if wait := time.Until(due); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return due, false
		}
	}
	return due, true
}

// readAnswer reads one answer with a Content-Length.
func readAnswer(in *bufio.Reader, body []byte) (int, []byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, body, err
	}
	if len(line) < 12 {
		return 0, body, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, body, fmt.Errorf("status line %q", line)
	}
	length := 0
	for {
		line, err = in.ReadSlice('\n')
		if err != nil {
			return 0, body, err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); len(name) == 14 && bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 || length > answerMax {
				return 0, body, fmt.Errorf("content-length %q", value)
			}
		}
	}
	body = slices.Grow(body, length)[:length]
	_, err = io.ReadFull(in, body)
	return status, body, err
}
