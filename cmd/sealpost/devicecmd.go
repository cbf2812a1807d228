package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/internal/lab"
)

func deviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Invite and enrol devices, and be one",
		Long: `A sender invites and approves; a device enrolls, listens and shows its inbox. The
device here has a software key, and every receipt that it signs says so.`,
		Args: args(cobra.NoArgs),
	}
	cmd.AddCommand(deviceInviteCommand(), deviceApproveCommand(), deviceEnrollCommand(), deviceListenCommand(), deviceInboxCommand(), deviceActCommand())
	return cmd
}

func deviceInviteCommand() *cobra.Command {
	var dir, to string
	cmd := &cobra.Command{
		Use:   "invite --sender DIR --to NUMBER",
		Short: "Invite one device of a customer; prints the invitation, which is secret",
		Args:  args(cobra.NoArgs),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, _ []string) error {
			if !e164.MatchString(to) {
				return usage("--to: want a phone number such as +491511234567")
			}
			if err := t.ready(cmd.Context()); err != nil {
				return err
			}
			in, err := t.Invite(cmd.Context(), to)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), in.Token.Reveal())
			fmt.Fprintf(cmd.ErrOrStderr(), "hand it to the customer over a channel that you authenticate; it is good until %s\n", in.Expires)
			return nil
		}),
	}
	senderFlag(cmd, &dir)
	cmd.Flags().StringVar(&to, "to", "", "the customer's phone number")
	return cmd
}

func deviceApproveCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "approve --sender DIR",
		Short: "Check the devices that answered, and sign a key event for each good one",
		Args:  args(cobra.NoArgs),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, _ []string) error {
			done, err := t.approve(cmd.Context())
			code := 0
			for _, a := range done {
				switch {
				case a.Err == nil:
					fmt.Fprintf(cmd.OutOrStdout(), "%s %s key\n", a.Device, a.Assurance)
				case errors.Is(a.Err, client.ErrAnswer):
					code = 40
					fmt.Fprintf(cmd.ErrOrStderr(), "refused %s: %v\n", a.ID, a.Err)
				default:
					code = exitIO // nothing is known of it yet
					fmt.Fprintf(cmd.ErrOrStderr(), "signed and not yet taken by the relay, %s: %v; approve again\n", a.ID, a.Err)
				}
			}
			if err == nil && len(done) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no device waits for approval")
			}
			if err == nil && code != 0 {
				err = exit{code: code}
			}
			return err
		}),
	}
	senderFlag(cmd, &dir)
	return cmd
}

// approve decides every answer that waits. The relay takes no device's key event
// before the sender's own is in the log, a moment after the first invitation, so
// it is asked again while it is busy.
func (t *senderTool) approve(ctx context.Context) (done []client.Approval, err error) {
	until := time.Now().Add(busyWithin)
	for wait := pollFirst; ; wait = min(2*wait, pollMost) {
		round, err := t.Approve(ctx)
		if err != nil && !isBusy(err) {
			return append(done, round...), err
		}
		again := err != nil
		for _, a := range round {
			again = again || isBusy(a.Err)
		}
		if !again || time.Now().After(until) {
			return append(done, round...), err
		}
		for _, a := range round {
			if !isBusy(a.Err) {
				done = append(done, a)
			}
		}
		if err := pause(ctx, wait); err != nil {
			return done, err
		}
	}
}

func deviceEnrollCommand() *cobra.Command {
	var dir, invite, push string
	cmd := &cobra.Command{
		Use:   "enroll --device DIR --invite TOKEN",
		Short: "Answer an invitation with a new device",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || invite == "" {
				return usage("want --device, a folder for the device, and --invite, the sender's invitation")
			}
			t, err := enrollDevice(cmd.Context(), dir, invite, push)
			if err != nil {
				return err
			}
			defer t.close()
			fmt.Fprintln(cmd.OutOrStdout(), t.ID())
			fmt.Fprintf(cmd.ErrOrStderr(), "answered with a %s key; the sender approves it with sealpost device approve\n", t.Assurance())
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "device", "", "the device's folder")
	cmd.Flags().StringVar(&invite, "invite", "", "the sender's invitation")
	cmd.Flags().StringVar(&push, "push", "http://127.0.0.1:8485", "the lab's FCM server")
	return cmd
}

func deviceListenCommand() *cobra.Command {
	var dir string
	var once, act bool
	cmd := &cobra.Command{
		Use:   "listen --device DIR",
		Short: "Wait for messages, show them, and sign a receipt of each",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, file, err := openDeviceFolder(dir)
			if err != nil {
				return err
			}
			defer t.close()
			fmt.Fprintln(cmd.ErrOrStderr(), "waiting until the sender has approved this device …")
			if err := t.WaitEnrolled(cmd.Context()); err != nil {
				return ended(cmd.Context(), err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "listening; interrupt to end")
			l := listener{t, newPhones(file.Push), file.Token, cmd.OutOrStdout(), cmd.ErrOrStderr(), act}
			return ended(cmd.Context(), l.run(cmd.Context(), once))
		},
	}
	cmd.Flags().StringVar(&dir, "device", "", "the device's folder")
	cmd.Flags().BoolVar(&once, "once", false, "end after the first message")
	cmd.Flags().BoolVar(&act, "act", false, "also sign that a person acted on each message")
	return cmd
}

// ended makes nothing of an error that came because the caller ended it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// A listener shows what arrives: pushes first, and what no push brought.
type listener struct {
	device *deviceTool
	phones *lab.Phones
	token  string
	out    io.Writer
	words  io.Writer
	act    bool
}

// Waiting for pushes.
const (
	pushWait  = 20 * time.Second // of one poll; after it the relay is asked too
	pushAgain = time.Second      // after an error
)

func (l listener) run(ctx context.Context, once bool) error {
	shown, err := l.sync(ctx)
	if err != nil || (once && shown > 0) {
		return err
	}
	for after := uint64(0); ; {
		batch, err := l.phones.Poll(ctx, l.token, after, pushWait)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(l.words, "the push transport: %v\n", err)
			if err := pause(ctx, pushAgain); err != nil {
				return err
			} // and then the relay is asked, as after any wait that brought nothing
		}
		shown := 0
		for _, p := range batch.Pushes {
			after = max(after, p.N)
			data, err := pushData(p)
			if err != nil {
				fmt.Fprintf(l.words, "%v\n", err)
				continue
			}
			n, err := l.device.Handle(ctx, data)
			shown += l.show(ctx, n, err)
		}
		if len(batch.Pushes) == 0 || batch.Pushes[0].Dropped {
			more, err := l.sync(ctx)
			if err != nil {
				fmt.Fprintf(l.words, "the relay: %v\n", err)
			}
			shown += more
		}
		if once && shown > 0 {
			return nil
		}
	}
}

// sync asks the relay, which heals every push that was lost.
func (l listener) sync(ctx context.Context) (shown int, err error) {
	arrived, err := l.device.Sync(ctx, 0)
	for _, a := range arrived {
		shown += l.show(ctx, a.Notification, a.Err)
	}
	return shown, err
}

// show prints a message and signs that it was displayed.
func (l listener) show(ctx context.Context, n client.Notification, err error) int {
	if err != nil {
		fmt.Fprintf(l.words, "%v\n", err)
		return 0
	}
	if n.Again {
		return 0
	}
	fmt.Fprintf(l.out, "%s  %s  %s\n", n.ID, n.App, n.Text)
	if err := l.device.Displayed(ctx, n.ID); err != nil {
		fmt.Fprintf(l.words, "%v\n", err)
		return 1
	}
	if l.act {
		if err := l.device.Acted(ctx, n.ID); err != nil {
			fmt.Fprintf(l.words, "%v\n", err)
		}
	}
	return 1
}

func deviceInboxCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inbox --device DIR",
		Short: "Show the messages that this device opened",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, _, err := openDeviceFolder(dir)
			if err != nil {
				return err
			}
			defer t.close()
			all, err := t.Inbox()
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), append([]client.Notification{}, all...))
			}
			rows := [][]string{}
			for _, n := range all {
				rows = append(rows, []string{n.ID.String(), n.Received.String(), n.App, n.Text})
			}
			writeTable(cmd.OutOrStdout(), rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "device", "", "the device's folder")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func deviceActCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "act MSG --device DIR",
		Short: "Sign that a person acted on a message",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := sealpost.ParseMessageID(given[0])
			if err != nil {
				return usage("%v", err)
			}
			t, _, err := openDeviceFolder(dir)
			if err != nil {
				return err
			}
			defer t.close()
			return t.Acted(cmd.Context(), id)
		},
	}
	cmd.Flags().StringVar(&dir, "device", "", "the device's folder")
	return cmd
}
