package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
)

func sendCommand() *cobra.Command {
	var dir, to, template, data, transaction string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "send --sender DIR --to NUMBER --template NAME --data JSON",
		Short: "Seal, commit and send one message",
		Long: `Seal one message for every device of a recipient, sign its commitment, and hand
both to the relay. The id is printed once the relay's promise is checked and
durable. What could not be posted stays in the sender's store; sending it again
posts the same bytes.

Templates: otp {"code"}, payment {"amount","currency","payee"}, account {"change"}.
Any other text field is shown on a line of its own.`,
		Example: `  sealpost send --sender sender --to +491511234567 --template otp --data '{"code":"493817"}' --wait 30s`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !json.Valid([]byte(orEmpty(data))) {
				return usage(`--data: want a JSON object, such as '{"code":"493817"}'`)
			}
			line, err := json.Marshal(map[string]any{"to": to, "template": template, "data": json.RawMessage(orEmpty(data))})
			if err != nil {
				return err
			}
			in, err := parseDemoLine(line)
			if err != nil {
				return usage("%v", err)
			}
			t, err := openSender(dir)
			if err != nil {
				return err
			}
			defer t.close()
			if err := t.ready(cmd.Context()); err != nil {
				return err
			}
			id, err := t.send(cmd.Context(), client.Message{To: in.To, Template: in.Template, Data: in.Data, Transaction: transaction})
			for _, p := range t.low {
				fmt.Fprintf(cmd.ErrOrStderr(), "few KeyPackages of device %v are left: %d; it makes more when it is next online\n", p.Device, p.Left)
			}
			if errors.Is(err, client.ErrData) {
				return usage("%v", err)
			}
			if errors.Is(err, client.ErrNoDevice) {
				return fmt.Errorf("%w; sealpost device invite and device approve give it one", err)
			}
			if errors.Is(err, client.ErrPending) {
				return fmt.Errorf("%w; it is kept, and the next sealpost send posts it first", err)
			}
			if err != nil {
				return err
			}
			end := ""
			if wait > 0 {
				ctx, cancel := context.WithTimeout(cmd.Context(), wait)
				defer cancel()
				status, err := t.settle(ctx, id)
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
				if end = "open"; status.End != 0 {
					end = status.End.String()
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"id": id.String(), "end": end})
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(id.String()+" "+end))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "sender", "", "the sender's folder")
	cmd.Flags().StringVar(&to, "to", "", "the recipient's phone number, such as +491511234567")
	cmd.Flags().StringVar(&template, "template", "otp", "otp, payment or account")
	cmd.Flags().StringVar(&data, "data", "", "the template's fields, a JSON object")
	cmd.Flags().StringVar(&transaction, "transaction", "", "your own transaction id; the relay sees a keyed pseudonym of it")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait this long for the outcome and its proofs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// send seals and sends one message. The relay gives out no KeyPackage of a device
// before its key event is in the log, a moment after it was approved, so it is
// asked again while it is busy. What is sealed already is never sealed again.
func (t *senderTool) send(ctx context.Context, m client.Message) (id sealpost.MessageID, err error) {
	until := time.Now().Add(busyWithin)
	for wait := pollFirst; ; wait = min(2*wait, pollMost) {
		id, err = t.Send(ctx, m)
		if !isBusy(err) || errors.Is(err, client.ErrPending) || time.Now().After(until) || pause(ctx, wait) != nil {
			return id, err
		}
	}
}

func orEmpty(data string) string {
	if data == "" {
		return "{}"
	}
	return data
}

// ready enrols the sender's own key where that was not done yet, and posts what
// a crash left behind.
func (t *senderTool) ready(ctx context.Context) error {
	if err := t.EnrolSelf(ctx); err != nil {
		return fmt.Errorf("enrol the sender's key: %w", err)
	}
	left, err := t.Flush(ctx)
	if err != nil {
		return fmt.Errorf("post what was left: %w", err)
	}
	for _, s := range left {
		if s.Err != nil && errors.Is(s.Err, client.ErrPending) {
			return fmt.Errorf("post what was left: %w", s.Err)
		}
	}
	return nil
}
