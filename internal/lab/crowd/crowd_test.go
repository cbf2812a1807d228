package crowd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEveryRequestIsSentOnceAndEveryAnswerRead(t *testing.T) {
	seen := map[string]int{}
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		seen[string(b)]++
		mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s for %s", b, r.Header.Get("Authorization"))
	}))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	const count = 500
	wrong := 0
	report, err := Do(context.Background(), Run{Address: address, Connections: 7, Count: count, For: time.Minute,
		Next: func(b []byte, i int) Request {
			return AppendPost(b, address, "/x", "text/plain", "Bearer k", fmt.Append(nil, i))
		},
		Answer: func(i, status int, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			if status != http.StatusAccepted || string(body) != fmt.Sprintf("%d for Bearer k", i) {
				wrong++
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent != count || len(seen) != count || wrong != 0 {
		t.Errorf("sent %d, distinct %d, wrong answers %d", report.Sent, len(seen), wrong)
	}
	if report.Latency(50) <= 0 || report.Latency(50) > report.Latency(100) {
		t.Errorf("latencies p50 %v p100 %v", report.Latency(50), report.Latency(100))
	}
}

func TestABrokenConnectionIsAnError(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	_, err := Do(context.Background(), Run{Address: address, Connections: 1, Count: 3, For: time.Minute,
		Next:   func(b []byte, _ int) Request { return AppendPost(b, address, "/", "text/plain", "", nil) },
		Answer: func(int, int, []byte) {}})
	if err == nil {
		t.Error("a lost answer was not noticed")
	}
}
