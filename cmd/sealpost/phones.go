package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/internal/lab"
)

// Bounds of one process of phones.
const (
	phonesAtOnce  = 16  // that do something at the same time
	phonePushes   = 256 // that wait for one phone
	rackTryMax    = 20  // times that the push stream is opened again
	phoneLineMax  = 64 << 10
	phonesPerRack = 4096
)

// A phoneOrder is one line that the demo writes to a process of phones: one
// invitation for a new phone, or a word for all of them.
type phoneOrder struct {
	Invite string `json:"invite,omitempty"`
	Do     string `json:"do,omitempty"` // "enrolled": the sender approved; "sync": ask the relay for what no push brought
}

// A phoneEvent is one line that a process of phones writes.
type phoneEvent struct {
	Event string `json:"event"` // ready, answered, enrolled, displayed, refused, fault
	ID    string `json:"id,omitempty"`
	Why   string `json:"why,omitempty"`
}

// phonesCommand hosts phones for the demo: each with a store, a key and an
// enrolment of its own.
func phonesCommand() *cobra.Command {
	var dir, push, rack string
	cmd := &cobra.Command{
		Use:    "demo-phones",
		Short:  "Host the demo's phones; it takes orders on standard input",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := &phoneHost{dir: dir, rack: rack, push: newPhones(push), out: json.NewEncoder(cmd.OutOrStdout()),
				phones: map[string]*phone{}, busy: make(chan struct{}, phonesAtOnce)}
			return h.run(cmd.Context(), cmd.InOrStdin())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the phones' stores")
	cmd.Flags().StringVar(&push, "push", "", "the push transport")
	cmd.Flags().StringVar(&rack, "rack", "", "name of this process there")
	return cmd
}

// A phoneHost is a process of phones.
type phoneHost struct {
	dir, rack string
	push      *lab.Phones
	busy      chan struct{} // a slot for each phone at work

	outMu sync.Mutex
	out   *json.Encoder

	mu     sync.Mutex
	phones map[string]*phone // by push token
	work   sync.WaitGroup
}

// A phone is one device and the pushes that wait for it.
type phone struct {
	*deviceTool
	pushes chan lab.Push
}

func (h *phoneHost) tell(e phoneEvent) {
	h.outMu.Lock()
	defer h.outMu.Unlock()
	_ = h.out.Encode(e) // a demo that is gone needs no answer
}

// run obeys orders until the input or ctx ends, then closes every store.
func (h *phoneHost) run(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	h.work.Go(func() { h.stream(ctx) })
	h.tell(phoneEvent{Event: "ready"})
	orders := make(chan phoneOrder)
	read := make(chan error, 1)
	go func() { read <- readOrders(ctx, in, orders) }()
	for {
		select {
		case o := <-orders:
			h.obey(ctx, o)
			continue
		case <-ctx.Done():
		case <-read:
		}
		break
	}
	cancel()
	h.work.Wait()
	var faults []error
	for _, p := range h.phones {
		faults = append(faults, p.close())
	}
	return errors.Join(faults...)
}

func readOrders(ctx context.Context, in io.Reader, to chan<- phoneOrder) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, phoneLineMax)
	for lines.Scan() {
		var o phoneOrder
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		select {
		case to <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return lines.Err()
}

func (h *phoneHost) obey(ctx context.Context, o phoneOrder) {
	switch {
	case o.Invite != "":
		h.mu.Lock()
		n := len(h.phones)
		h.mu.Unlock()
		if n >= phonesPerRack {
			h.tell(phoneEvent{Event: "fault", Why: fmt.Sprintf("more than %d phones in one process", phonesPerRack)})
			return
		}
		h.each(ctx, func() error { return h.answer(ctx, o.Invite) })
	case o.Do == "enrolled":
		for _, p := range h.all() {
			h.each(ctx, func() error {
				if err := p.WaitEnrolled(ctx); err != nil {
					return err
				}
				h.tell(phoneEvent{Event: "enrolled"})
				return nil
			})
		}
	case o.Do == "sync":
		for _, p := range h.all() {
			h.each(ctx, func() error {
				arrived, err := p.Sync(ctx, 0)
				for _, a := range arrived {
					h.show(ctx, p, a.Notification, a.Err)
				}
				return err
			})
		}
	}
}

func (h *phoneHost) all() []*phone {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*phone, 0, len(h.phones))
	for _, p := range h.phones {
		out = append(out, p)
	}
	return out
}

// each does one thing for one phone, when a slot is free.
func (h *phoneHost) each(ctx context.Context, do func() error) {
	h.work.Go(func() {
		select {
		case h.busy <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-h.busy }()
		if err := do(); err != nil && ctx.Err() == nil {
			h.tell(phoneEvent{Event: "fault", Why: err.Error()})
		}
	})
}

// answer makes a phone of an invitation.
func (h *phoneHost) answer(ctx context.Context, invite string) error {
	info, err := client.ReadInvite(invite)
	if err != nil {
		return err
	}
	at, err := h.push.Register(ctx, lab.Registration{Rack: h.rack})
	if err != nil {
		return err
	}
	device, err := openDevice(filepath.Join(h.dir, at.FID+".db"), info.URL)
	if err != nil {
		return err
	}
	p := &phone{device, make(chan lab.Push, phonePushes)}
	h.mu.Lock()
	h.phones[at.Token] = p
	h.mu.Unlock()
	err = retryBusy(ctx, func() error { return p.AcceptInvite(ctx, invite, []api.DeviceEndpoint{endpointOf(at)}) })
	if err != nil {
		return err
	}
	h.work.Go(func() { h.receive(ctx, p) })
	h.tell(phoneEvent{Event: "answered"})
	return nil
}

// stream hands every push of the rack to its phone. A phone that is too slow
// loses pushes; the relay still has the messages.
func (h *phoneHost) stream(ctx context.Context) {
	for range rackTryMax {
		err := h.push.Stream(ctx, h.rack, func(p lab.Push) error {
			h.mu.Lock()
			to := h.phones[p.Token]
			h.mu.Unlock()
			if to != nil {
				select {
				case to.pushes <- p:
				default:
				}
			}
			return nil
		})
		if ctx.Err() != nil || pause(ctx, pollFirst) != nil {
			return
		}
		h.tell(phoneEvent{Event: "fault", Why: fmt.Sprintf("the push stream broke: %v", err)})
	}
}

// receive opens one phone's pushes, one after the other.
func (h *phoneHost) receive(ctx context.Context, p *phone) {
	for {
		select {
		case <-ctx.Done():
			return
		case push := <-p.pushes:
			h.each(ctx, func() error {
				data, err := pushData(push)
				if err != nil {
					return err
				}
				n, err := p.Handle(ctx, data)
				h.show(ctx, p, n, err)
				return nil
			})
		}
	}
}

// show is the screen of a phone: it signs that it displayed the text.
func (h *phoneHost) show(ctx context.Context, p *phone, n client.Notification, err error) {
	switch refusal, refused := errors.AsType[*client.Refusal](err); {
	case refused:
		h.tell(phoneEvent{Event: "refused", ID: refusal.ID.String(), Why: refusal.Error()})
	case err != nil:
		if ctx.Err() == nil {
			h.tell(phoneEvent{Event: "fault", Why: err.Error()})
		}
	case !n.Again:
		if err := p.Displayed(ctx, n.ID); err != nil {
			h.tell(phoneEvent{Event: "fault", Why: err.Error()})
			return
		}
		h.tell(phoneEvent{Event: "displayed", ID: n.ID.String()})
	}
}
