// Command sealpost is the one binary: the relay, the sender's and device's
// tools, the offline verifier, the demo and the bench.
//
// Exit codes are an interface: 0 proven or done, 10 incomplete, 20 trust
// expired, 30 diverged, 40 refused, 64 usage, 70 could not do it. Data goes to
// standard output, words for people to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes beyond those of a verdict.
const (
	exitUsage = 64 // the words of the call are off
	exitIO    = 70 // it could not be done or checked; nothing is known
)

func main() {
	// The signals stay caught to the very end: one that comes between the last
	// step and the exit would otherwise kill a process that has done its work.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// An exit carries the code that a command ends with.
type exit struct {
	code int
	err  error // nil where everything was said already
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// usage marks an error of the call's words.
func usage(format string, args ...any) error { return exit{exitUsage, fmt.Errorf(format, args...)} }

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	root := newRoot(args)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := exitIO
	if e, ok := errors.AsType[exit](err); ok {
		code = e.code
		err = e.err
	}
	if err != nil {
		fmt.Fprintln(errw, "sealpost:", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		fmt.Fprintln(errw, "nothing listens at that address: start the relay (sealpost serve), or mend the address; sealpost doctor says more")
	}
	return code
}

// newRoot makes the commands. cobra makes the completion command only where the
// words of the call ask for it.
func newRoot(words []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "sealpost",
		Short: "Messages sealed end to end, with evidence that anyone can check offline",
		Long: `Sealpost delivers transactional messages end-to-end encrypted to a phone and
leaves evidence that anyone can check offline: what was committed, when, by
which key, and on which device it was opened.

Begin with:  sealpost demo`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%v; run %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(commands()...)
	root.InitDefaultCompletionCmd(words...)
	group(root)
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() && (!cmd.Runnable() || cmd.Name() == "completion") {
			group(cmd)
		}
	}
	return root
}

// group makes a command of one that only holds others: alone it shows its help,
// and a wrong word after it is a usage error, with the mend in the text.
func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if len(given) > 0 {
			return usage("there is no command %q; run %s --help", given[0], cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// args makes a wrong number of arguments a usage error that shows the call.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if check(cmd, given) == nil {
			return nil
		}
		fault := "a word is missing"
		if n := len(given); n > 0 {
			fault = fmt.Sprintf("%q is a word too many", given[n-1])
		}
		return usage("%s; want: %s; run %s --help", fault, strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.CommandPath())
	}
}
