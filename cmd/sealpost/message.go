package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/web/verify"
)

func messageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "message", Short: "List messages and show what became of one", Args: args(cobra.NoArgs)}
	cmd.AddCommand(messageListCommand(), messageShowCommand())
	return cmd
}

func messageListCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --sender DIR",
		Short: "List the sender's messages, from its own store",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := openSender(dir)
			if err != nil {
				return err
			}
			defer t.close()
			ids, err := t.Messages()
			if err != nil {
				return err
			}
			rows := [][]string{}
			for _, id := range ids {
				status, err := t.Status(id)
				if err != nil {
					return err
				}
				rows = append(rows, []string{id.String(), id.Created().String(), endWord(status)})
			}
			if asJSON {
				list := make([]map[string]string, len(rows))
				for i, r := range rows {
					list[i] = map[string]string{"id": r[0], "created": r[1], "end": r[2]}
				}
				return writeJSON(cmd.OutOrStdout(), list)
			}
			writeTable(cmd.OutOrStdout(), rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "sender", "", "the sender's folder")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// endWord says how a message stands at its sender.
func endWord(s client.Status) string {
	switch {
	case s.Refused != "":
		return "refused by the relay"
	case s.Outcomes > 1:
		return "two outcomes, proof of the relay's fault"
	case s.End != 0:
		return s.End.String()
	case s.Promised:
		return "promised"
	}
	return "not yet posted"
}

func messageShowCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show MSG --sender DIR",
		Short: "Show the timeline of one message, as the relay tells it, and what the sender holds",
		Long: `Ask the relay for a message's timeline. It is the relay's telling. Below it stands
what the sender's own store holds, with the relay stopped too: receipts, refusals
included, and what the relay offered that was refused. For proof, use sealpost
prove, sealpost fault prove and sealpost verify.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := sealpost.ParseMessageID(given[0])
			if err != nil {
				return usage("%v", err)
			}
			t, err := openSender(dir)
			if err != nil {
				return err
			}
			defer t.close()
			own, err := t.own(id)
			if err != nil {
				return err
			}
			view, told := t.api.Message(cmd.Context(), id)
			shown := shownMessage{Own: own}
			if told == nil {
				shown.MessageView = &view
			}
			if asJSON {
				return errors.Join(writeJSON(cmd.OutOrStdout(), shown), told)
			}
			if told == nil {
				writeTimeline(cmd.OutOrStdout(), view)
			}
			if own != nil {
				writeOwn(cmd.OutOrStdout(), own)
			}
			return told
		},
	}
	cmd.Flags().StringVar(&dir, "sender", "", "the sender's folder")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A shownMessage is a message as the relay tells it, where it does, and as the
// sender's own store holds it.
type shownMessage struct {
	*api.MessageView
	Own *ownView `json:"own,omitempty"`
}

// writeTimeline prints what the relay tells of a message.
func writeTimeline(w io.Writer, view api.MessageView) {
	end := view.End
	if end == "" {
		end = "open"
	}
	fmt.Fprintf(w, "%s  %s  expires %s\n", view.ID, end, view.Expires)
	rows := [][]string{}
	for _, e := range view.Timeline {
		rows = append(rows, []string{"  " + e.Time.String(), fmt.Sprint(e.Seq), e.Kind, e.What})
	}
	writeTable(w, rows)
}

func proveCommand() *cobra.Command {
	var dir, out, policyOut, pagePath string
	var disclose, html bool
	var fields []string
	cmd := &cobra.Command{
		Use:   "prove MSG -o FILE --sender DIR",
		Short: "Write the evidence of one message as a bundle",
		Long: `Write a bundle that sealpost verify judges offline. It comes from the sender's own
store, so it works with the relay stopped; with the relay running, what is newer
there is fetched first. The bundle says nothing of the content unless you open it
with --disclose or single fields with --field.

With --html the file is a page that has the bundle and the sender's own policy inside
and judges it in any browser, with the network off. It is a convenience: whoever makes
a file decides what it shows, and the page says so. The reader can save the bundle
from it and judge it with a verifier and a policy of its own.`,
		Example: "  sealpost prove msg_… -o otp.sealpost --sender sender --policy-out policy.json\n  sealpost prove msg_… -o otp.html --html --sender sender",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := bundleOf(given[0], out)
			if err != nil {
				return err
			}
			page, err := pageFor(html, pagePath)
			if err != nil {
				return err
			}
			t, err := openSender(dir)
			if err != nil {
				return err
			}
			defer t.close()
			switch _, err := t.Sync(cmd.Context(), id); {
			case errors.Is(err, sealpost.ErrNotFound):
				return fmt.Errorf("%w in this sender's store; sealpost message list shows what is there", err)
			case errors.Is(err, client.ErrExhibit):
				fmt.Fprintf(cmd.ErrOrStderr(), "without what was refused, which sealpost fault prove writes: %v\n", err)
			case err != nil:
				fmt.Fprintf(cmd.ErrOrStderr(), "from the sender's own store alone: %v\n", err)
			}
			raw, err := t.bundle(id, client.Disclose{All: disclose, Fields: fields})
			if err != nil {
				return err
			}
			file := raw
			if html {
				policy, err := t.policy().Encode()
				if err != nil {
					return err
				}
				if file, err = verify.Carry(page, raw, policy); err != nil {
					return err
				}
			}
			if err := os.WriteFile(out, file, 0o644); err != nil {
				return err
			}
			if policyOut != "" {
				if err := writePolicy(policyOut, t.policy()); err != nil {
					return err
				}
			}
			v := evidence.Verify(raw, t.policy(), sealpost.FromTime(time.Now()))
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s under the sender's own policy\n", out, v.Status)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "sender", "", "the sender's folder")
	cmd.Flags().StringVarP(&out, "out", "o", "", "the bundle's file")
	cmd.Flags().StringVar(&policyOut, "policy-out", "", "also write the sender's own trust policy")
	cmd.Flags().BoolVar(&html, "html", false, "write a page that has the bundle inside and judges it in a browser")
	cmd.Flags().StringVar(&pagePath, "page", "", "the page to take for --html, as make web makes it (default: the one inside this binary)")
	cmd.Flags().BoolVar(&disclose, "disclose", false, "open the whole message in the bundle")
	cmd.Flags().StringSliceVar(&fields, "field", nil, "open single fields in the bundle, by name")
	return cmd
}

// pageMax bounds the page that --page names, in bytes: about six times what
// make web makes.
const pageMax = 16 << 20

// pageFor is the page that --html asks for, from a file where one is named. That
// it takes a bundle is tried before anything else is done.
func pageFor(html bool, path string) (page []byte, err error) {
	switch {
	case !html && path != "":
		return nil, usage("--page is for --html, which is missing")
	case !html:
		return nil, nil
	case path == "":
		page, err = verify.Page()
	default:
		page, err = readBounded(path, pageMax)
	}
	if err != nil {
		return nil, fmt.Errorf("--html: %w", err)
	}
	if _, err := verify.Carry(page, nil, nil); err != nil {
		return nil, fmt.Errorf("--html: %s: %w", path, err)
	}
	return page, nil
}

func writePolicy(path string, p evidence.Policy) error {
	b, err := p.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// bundleOf reads which message a bundle is to be written of, and wants a file for it.
func bundleOf(message, file string) (sealpost.MessageID, error) {
	id, err := sealpost.ParseMessageID(message)
	if err != nil {
		return id, usage("%v", err)
	}
	if file == "" {
		return id, usage("-o is missing: where to write the bundle")
	}
	return id, nil
}
