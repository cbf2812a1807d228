package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/web/verify"
)

func verifyCommand() *cobra.Command {
	var policyPath, at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify FILE --policy FILE",
		Short: "Judge a bundle offline",
		Long: `Judge a bundle (.sealpost) under a policy of your own: no network, no relay. Each
claim is printed with what it rests on, its time and its limit. With --at an earlier
time, what did not exist yet proves nothing: the bundle is incomplete.

Exit codes: 0 proven, 10 incomplete, 20 trust expired, 30 diverged (two signed
histories), 40 refused, 64 usage, 70 could not check.`,
		Example: "  sealpost verify msg_….sealpost --policy policy.json\n  sealpost verify msg_….sealpost --policy policy.json --at 2027-01-01T00:00:00Z --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			moment, err := parseAt(at)
			if err != nil {
				return err
			}
			if policyPath == "" {
				return usage("--policy is missing: whom do you trust? A demo leaves one in --out, policy.json")
			}
			policy, err := readPolicy(policyPath)
			if err != nil {
				return err
			}
			raw, err := readBounded(given[0], evidence.BundleMax+1)
			if err != nil {
				return err
			}
			v := evidence.Verify(raw, policy, moment)
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), v)
			} else {
				writeVerdict(cmd.OutOrStdout(), v)
			}
			if err != nil {
				return err
			}
			if code := v.Status.ExitCode(); code != 0 {
				return exit{code: code}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&policyPath, "policy", "", "whom you trust: a JSON file")
	cmd.Flags().StringVar(&at, "at", "", "judge as of this time, RFC 3339 (default: now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the verdict as JSON")
	return cmd
}

// parseAt reads the time to judge for.
func parseAt(text string) (sealpost.UnixMilli, error) {
	if text == "" {
		return sealpost.FromTime(time.Now()), nil
	}
	t, err := verify.ParseAt(text)
	if err != nil {
		return 0, usage("--at: %v", err)
	}
	return t, nil
}

func readPolicy(path string) (evidence.Policy, error) {
	raw, err := readBounded(path, evidence.PolicyMax+1)
	if err != nil {
		return evidence.Policy{}, err
	}
	p, err := evidence.ParsePolicy(raw)
	if err != nil {
		return p, exit{exitUsage, fmt.Errorf("policy %s: %w", path, err)}
	}
	return p, nil
}

// readBounded reads at most most bytes of a file; the reader of a longer one
// sees that it is too long.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// writeVerdict prints a verdict for a person: the end first, then why.
func writeVerdict(w io.Writer, v evidence.Verdict) {
	head := strings.ToUpper(v.Status.String())
	if v.Message != "" {
		head += "  " + v.Message
	}
	fmt.Fprintf(w, "%s\n(judged as of %s)\n", head, v.At)
	for _, f := range v.Findings {
		fmt.Fprintf(w, "\n! %s: %s\n", f.Status, f)
	}
	for _, c := range v.Claims {
		fmt.Fprintf(w, "\n* %s\n", c.What)
		if c.NotBefore != nil {
			fmt.Fprintf(w, "    not before  %s\n", bound(*c.NotBefore))
		}
		if c.NotAfter != nil {
			fmt.Fprintf(w, "    not after   %s\n", bound(*c.NotAfter))
		}
		if c.Limit != "" {
			fmt.Fprintf(w, "    limit       %s\n", c.Limit)
		}
		fmt.Fprintf(w, "    rests on    %s\n", strings.Join(c.Evidence, ", "))
	}
	for _, c := range v.Conflicts {
		fmt.Fprintf(w, "\n# proof of fault: %s (print it with --json and keep it)\n", c.What)
	}
}

func bound(b evidence.Bound) string {
	if b.Time == 0 {
		return b.Source
	}
	return fmt.Sprintf("%s, %s", b.Time, b.Source)
}
