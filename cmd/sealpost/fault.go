package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
)

// A plaintiff keeps what others did wrong, and can show it.
type plaintiff interface {
	Faults() ([]client.Fault, error)
	close() error
	accuse(id sealpost.MessageID) (*evidence.Bundle, error)
}

// accuse adds nothing that opens the message.
func (t *senderTool) accuse(id sealpost.MessageID) (*evidence.Bundle, error) {
	return t.Accuse(id, client.Disclose{})
}

func (t *deviceTool) accuse(id sealpost.MessageID) (*evidence.Bundle, error) { return t.Accuse(id) }

func faultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Show what others did wrong, and prove it",
		Long: `A sender and a device keep what they refused: a KeyPackage for a key that nobody
enrolled, an answer to an invitation by a stranger, a forged receipt, another blob
than was committed to, two histories of one log. Nothing of it is asked of the
relay again.`,
		Args: args(cobra.NoArgs),
	}
	cmd.AddCommand(faultListCommand(), faultProveCommand())
	return cmd
}

// openPlaintiff opens the one folder that is given.
func openPlaintiff(sender, device string) (plaintiff, error) {
	switch {
	case (sender == "") == (device == ""):
		return nil, usage("give --sender or --device: whose evidence?")
	case sender != "":
		return openSender(sender)
	}
	t, _, err := openDeviceFolder(device)
	return t, err
}

// A faultView is a fault as it is printed. Salts are not: a bundle has them.
type faultView struct {
	Time       string   `json:"time"`
	Message    string   `json:"message,omitempty"`
	What       string   `json:"what"`
	Parts      []string `json:"parts,omitempty"`      // as received, base64url
	Statements []string `json:"statements,omitempty"` // COSE_Sign1, base64url
}

func viewFault(f client.Fault) faultView {
	v := faultView{Time: f.Time.String(), What: strings.ReplaceAll(f.What, "\n", "; ")}
	if f.ID != (sealpost.MessageID{}) {
		v.Message = f.ID.String()
	}
	for _, p := range f.Parts {
		v.Parts = append(v.Parts, base64.RawURLEncoding.EncodeToString(p))
	}
	for _, x := range f.Exhibits {
		v.Statements = append(v.Statements, base64.RawURLEncoding.EncodeToString(x.Statement))
	}
	return v
}

// faultsOf lists faults by the time they were seen, about one message where one
// is named.
func faultsOf(p plaintiff, id sealpost.MessageID) ([]faultView, error) {
	all, err := p.Faults()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b client.Fault) int { return cmp.Compare(a.Time, b.Time) })
	views := []faultView{}
	for _, f := range all {
		if id == (sealpost.MessageID{}) || f.ID == id {
			views = append(views, viewFault(f))
		}
	}
	return views, nil
}

func faultListCommand() *cobra.Command {
	var sender, device string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --sender DIR | --device DIR",
		Short: "List what was refused, from the store of who refused it",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := openPlaintiff(sender, device)
			if err != nil {
				return err
			}
			defer p.close()
			views, err := faultsOf(p, sealpost.MessageID{})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), views)
			}
			rows := make([][]string, len(views))
			for i, v := range views {
				rows[i] = []string{v.Time, orDash(v.Message), v.What}
			}
			writeTable(cmd.OutOrStdout(), rows)
			return nil
		},
	}
	plaintiffFlags(cmd, &sender, &device)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the bytes that were refused")
	return cmd
}

func faultProveCommand() *cobra.Command {
	var sender, device, out string
	cmd := &cobra.Command{
		Use:   "prove MSG -o FILE --sender DIR | --device DIR",
		Short: "Write what was refused about a message as a bundle",
		Long: `Write a bundle with every statement about a message that was refused, beside what
was not. sealpost verify refuses it too, and says of each statement what is wrong
with it and whether the relay signed, promised or logged it. It comes from the
store alone and opens nothing of the message.`,
		Example: "  sealpost fault prove msg_… -o fault.sealpost --device phone\n  sealpost verify fault.sealpost --policy policy.json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := bundleOf(given[0], out)
			if err != nil {
				return err
			}
			p, err := openPlaintiff(sender, device)
			if err != nil {
				return err
			}
			defer p.close()
			b, err := p.accuse(id)
			if err != nil {
				return err
			}
			raw, err := b.Encode()
			if err != nil {
				return err
			}
			return os.WriteFile(out, raw, 0o644)
		},
	}
	plaintiffFlags(cmd, &sender, &device)
	cmd.Flags().StringVarP(&out, "out", "o", "", "the bundle's file")
	return cmd
}

func plaintiffFlags(cmd *cobra.Command, sender, device *string) {
	cmd.Flags().StringVar(sender, "sender", "", "the sender's folder")
	cmd.Flags().StringVar(device, "device", "", "the device's folder")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// An ownView is what a sender's own store holds of a message, whatever the
// relay tells.
type ownView struct {
	State    string        `json:"state"`
	Receipts []receiptView `json:"receipts,omitempty"`
	Outcomes int           `json:"outcomes"` // that the relay signed: two are proof of its fault
	Faults   []faultView   `json:"faults,omitempty"`
}

type receiptView struct {
	Level  string `json:"level"`
	Device string `json:"device"`
	Time   string `json:"time"` // as the device claims
	Reason string `json:"reason,omitempty"`
}

// own reads the sender's own store; nil where it holds nothing of the message.
func (t *senderTool) own(id sealpost.MessageID) (*ownView, error) {
	status, err := t.Status(id)
	if errors.Is(err, sealpost.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := &ownView{State: endWord(status), Outcomes: status.Outcomes}
	slices.SortStableFunc(status.Receipts, func(a, b sealpost.Receipt) int { return cmp.Compare(a.DeviceTime, b.DeviceTime) })
	for _, r := range status.Receipts {
		x := receiptView{Level: r.Level.String(), Device: r.Key.String(), Time: r.DeviceTime.String()}
		if r.Reason != sealpost.ReasonNone {
			x.Reason = r.Reason.String()
		}
		v.Receipts = append(v.Receipts, x)
	}
	v.Faults, err = faultsOf(t, id)
	return v, err
}

// writeOwn prints the view for a person.
func writeOwn(w io.Writer, v *ownView) {
	fmt.Fprintf(w, "in the sender's own store: %s\n", v.State)
	rows := [][]string{}
	for _, r := range v.Receipts {
		rows = append(rows, []string{"  " + r.Time, "receipt", fmt.Sprintf("%s by device %.8s", r.Level, r.Device), r.Reason})
	}
	for _, f := range v.Faults {
		rows = append(rows, []string{"  " + f.Time, "refused", f.What})
	}
	writeTable(w, rows)
}
