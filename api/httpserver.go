package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Limits of one connection. A request that takes longer to arrive, or an
// answer longer to take, is cut off; a device that waits in its inbox gets the
// time that it asked for.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second
	answerTimeout  = time.Minute
	idleTimeout    = 2 * time.Minute
	headerMax      = 16 << 10 // bytes of a request's header
)

// HTTPServer makes a server for h with limits on everything that a slow or
// hostile peer could hold. It speaks HTTP/1.1 with connections kept alive:
// HTTP/2 costs three times as much for bodies of this size. Address, listener
// and TLS are its caller's.
func HTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		ErrorLog:          slog.NewLogLogger(connectionLog{logger.Handler()}, slog.LevelDebug),
	}
}

// connectionLog keeps net/http's own complaints and drops the peer's address,
// which is personal data.
type connectionLog struct{ slog.Handler }

func (l connectionLog) Handle(ctx context.Context, r slog.Record) error {
	words, _, _ := strings.Cut(r.Message, " from ")
	return l.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, words, 0))
}
