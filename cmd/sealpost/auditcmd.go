package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/internal/audit"
)

// auditMost bounds the messages of one audit: about 100 MB of bundles.
const auditMost = 10_000

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Hold a relay to what it signed", Args: args(cobra.NoArgs)}
	cmd.AddCommand(auditPromisesCommand())
	return cmd
}

func auditPromisesCommand() *cobra.Command {
	var sender, policyPath, log, out, at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "promises --sender DIR | FILE... --policy FILE --log URL|DIR",
		Short: "Find promises that the relay did not keep, and write the proof",
		Long: `Hold every promise that the relay gave against its public log: of the messages in a
sender's own store, or in bundles of anybody (sealpost prove, sealpost fault prove).
Each broken promise is written as one file with the promise, the leaves that the log
has in its place and a signed checkpoint, which sealpost verify judges offline (30).

A checkpoint names no time. Without witnesses a promise is therefore proven broken by
a later one of the same relay, which says how far the log was: where none is at hand,
post anything and audit again. At most ` + fmt.Sprint(evidence.SpanMax) + ` leaves fit into one file, and the
newest ` + fmt.Sprint(auditMost) + ` messages of a store are looked at.

Exit codes: 0 every promise that is due was kept, 10 some cannot be told, 30 broken,
64 usage, 70 could not check.`,
		Example: "  sealpost audit promises --sender sender -o broken\n  sealpost audit promises fault.sealpost --policy policy.json --log https://relay.example",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error {
			moment, err := parseAt(at)
			if err != nil {
				return err
			}
			var c auditCase
			switch {
			case (sender == "") == (len(given) == 0):
				return usage("give --sender or bundles: whose promises?")
			case sender != "":
				c, err = auditSender(cmd.Context(), cmd.ErrOrStderr(), sender)
			default:
				c, err = auditBundles(given, policyPath, log)
			}
			if err == nil && policyPath != "" {
				c.policy, err = readPolicy(policyPath)
			}
			if err == nil && log != "" {
				c.files, err = logFiles(log)
			}
			if err != nil {
				return err
			}
			report, err := audit.Promises(cmd.Context(), c.files, c.bundles, c.policy, moment)
			if err != nil {
				return err
			}
			if err := writeBroken(out, report); err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				writeAudit(cmd.OutOrStdout(), report, out)
			}
			switch {
			case err != nil:
				return err
			case len(report.Broken) > 0:
				return exit{code: evidence.Diverged.ExitCode()}
			case len(report.Open) > 0:
				return exit{code: evidence.Incomplete.ExitCode()}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&sender, "sender", "", "the sender's folder; its own policy and relay are used")
	cmd.Flags().StringVar(&policyPath, "policy", "", "whom you trust: a JSON file")
	cmd.Flags().StringVar(&log, "log", "", "the relay's address, or a folder with the log's public files")
	cmd.Flags().StringVarP(&out, "out", "o", "", "a folder for the proofs")
	cmd.Flags().StringVar(&at, "at", "", "audit as of this time, RFC 3339 (default: now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// An auditCase is what an audit holds against each other.
type auditCase struct {
	files   audit.Files
	bundles []*evidence.Bundle
	policy  evidence.Policy
}

// auditSender takes the messages of a sender's store. What the relay has not
// shown of them is asked for first: it may have kept its promise since.
func auditSender(ctx context.Context, words io.Writer, dir string) (auditCase, error) {
	t, err := openSender(dir)
	if err != nil {
		return auditCase{}, err
	}
	defer t.close()
	open, err := t.Open()
	if err != nil {
		return auditCase{}, err
	}
	said := false
	for _, id := range open[max(0, len(open)-auditMost):] {
		if _, err := t.Sync(ctx, id); err != nil && !said {
			said = true
			fmt.Fprintf(words, "%v: from the sender's own store alone: %v\n", id, err)
		}
	}
	ids, err := t.Messages()
	if err != nil {
		return auditCase{}, err
	}
	if n := len(ids); n > auditMost {
		fmt.Fprintf(words, "%d messages: the newest %d are looked at\n", n, auditMost)
		ids = ids[n-auditMost:]
	}
	c := auditCase{files: t.api, policy: t.policy()}
	for _, id := range ids {
		b, err := t.accuse(id)
		if err != nil {
			return c, err
		}
		if len(b.Exhibits) > 0 {
			c.bundles = append(c.bundles, b)
		}
	}
	return c, nil
}

// auditBundles reads bundles from files.
func auditBundles(paths []string, policyPath, log string) (c auditCase, err error) {
	switch {
	case policyPath == "":
		return c, usage("--policy is missing: whom do you trust?")
	case log == "":
		return c, usage("--log is missing: the relay's address, or a folder with its log")
	case len(paths) > auditMost:
		return c, usage("%d bundles; at most %d in one audit", len(paths), auditMost)
	}
	for _, path := range paths {
		raw, err := readBounded(path, evidence.BundleMax+1)
		if err != nil {
			return c, err
		}
		b, err := evidence.ParseBundle(raw)
		if err != nil {
			return c, exit{evidence.Refused.ExitCode(), fmt.Errorf("%s: %w", path, err)}
		}
		c.bundles = append(c.bundles, b)
	}
	return c, nil
}

// logFiles reads a log over HTTP or from a folder.
func logFiles(where string) (audit.Files, error) {
	if strings.Contains(where, "://") {
		return api.NewClient(where, nil)
	}
	if _, err := os.Stat(filepath.Join(where, "checkpoint")); err != nil {
		return nil, fmt.Errorf("--log: %w; want the relay's address, or the folder in which the log's checkpoint is", err)
	}
	return audit.Folder(where), nil
}

// writeBroken writes the proofs, where a folder is named for them.
func writeBroken(dir string, r audit.Report) error {
	if dir == "" || len(r.Broken) == 0 {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	for _, b := range r.Broken {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, b.File), b.Bundle, 0o644))
	}
	return err
}

// writeAudit prints a report for a person.
func writeAudit(w io.Writer, r audit.Report, dir string) {
	for _, b := range r.Broken {
		fmt.Fprintf(w, "! %s: %s\n", b.Message, b.What)
		if dir != "" {
			fmt.Fprintf(w, "  proof: %s\n", filepath.Join(dir, b.File))
		} else {
			fmt.Fprintln(w, "  give -o DIR for the proof")
		}
	}
	for _, o := range r.Open {
		fmt.Fprintf(w, "? %s: %s: %s\n", o.Message, o.What, o.Why)
	}
	fmt.Fprintf(w, "%d promises: %d kept, %d not due, %d broken, %d cannot be told\n", r.Promises, r.Kept, r.NotDue, len(r.Broken), len(r.Open))
}
