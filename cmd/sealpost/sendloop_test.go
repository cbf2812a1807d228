package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/client"
)

// A sentLine is what send-loop prints: first that it is ready, then each
// message whose promise is checked and durable.
type sentLine struct {
	Ready bool   `json:"ready,omitempty"`
	ID    string `json:"id,omitempty"`
	Text  string `json:"text,omitempty"` // no two messages have the same
}

// sendLoop is a business that sends without end: send-loop SENDER EPOCH TO….
// It ends well when it is told to.
func sendLoop() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := sendAlways(ctx, os.Args[1], os.Args[2], os.Args[3:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "send-loop:", err)
		os.Exit(exitIO)
	}
}

func sendAlways(ctx context.Context, dir, epoch string, to []string) error {
	t, err := openSender(dir)
	if err != nil {
		return err
	}
	defer t.close()
	for err := t.ready(ctx); err != nil; err = t.ready(ctx) { // the relay may be down
		fmt.Fprintln(os.Stderr, err)
		if err := pause(ctx, pollFirst); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(sentLine{Ready: true}); err != nil {
		return err
	}
	for n := 0; ; {
		messages := make([]client.Message, 1+rand.N(4))
		for i := range messages {
			n++
			messages[i] = client.Message{To: to[rand.N(len(to))], Template: "account", Data: map[string]string{"change": fmt.Sprintf("change %s-%d", epoch, n)}}
		}
		pending := false
		for i, sent := range t.SendAll(ctx, messages) {
			if pending = pending || errors.Is(sent.Err, client.ErrPending); sent.Err != nil {
				fmt.Fprintln(os.Stderr, sent.Err)
				continue
			}
			if err := out.Encode(sentLine{ID: sent.ID.String(), Text: messages[i].Data["change"]}); err != nil {
				return err
			}
		}
		if pending {
			_, _ = t.Flush(ctx) // what still pends is posted by the next
		}
		if err := pause(ctx, rand.N(60*time.Millisecond)); err != nil {
			return err
		}
	}
}
