package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/signer"
	"github.com/sealpost/sealpost/internal/translog"
)

func logGuardCommand() *cobra.Command {
	var path, data, checkpoint string
	cmd := &cobra.Command{
		Use:   "guard (--config FILE | --data DIR) [--checkpoint FILE]",
		Short: "Print the last head that the signing guard remembers, or tell it where the log stands",
		Long: `Print the size and the root of the last head that the relay's log key signed, as
its guard remembers it.

Where the guard's folder is lost, is to move, or is itself an older copy, stop
the relay and give --checkpoint with the newest checkpoint of this log that is
known anywhere: at a device, a sender, a witness, a mirror. The guard goes
forward only, and the key is bound to it. What the key signed after that
checkpoint is forgotten then, and signing something else over it is proof of
two histories: ask everybody first.`,
		Example: "  sealpost log guard --config sealpost.yaml\n  sealpost log guard --data ./relay --checkpoint newest.checkpoint",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := serveConfig(path, data)
			if err != nil {
				return err
			}
			var head sealpost.Head
			if checkpoint == "" {
				head, err = signer.ReadHead(cfg.Guard)
			} else {
				head, err = bindLog(cmd, cfg, checkpoint)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d %x\n", head.Size, head.Root)
			return err
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the relay's YAML file")
	cmd.Flags().StringVar(&data, "data", "", "the relay's folder, where there is no file")
	cmd.Flags().StringVar(&checkpoint, "checkpoint", "", "the newest checkpoint that is known, a signed note")
	return cmd
}

func bindLog(cmd *cobra.Command, cfg Config, checkpoint string) (sealpost.Head, error) {
	b, err := readBounded(checkpoint, translog.CheckpointSizeMax)
	if err != nil {
		return sealpost.Head{}, err
	}
	return signer.BindLog(cmd.Context(), cfg.logKeyFile(), cfg.Guard, cfg.Origin, b)
}

// guardMend is said with every fault between a log and its guard.
const guardMend = "mend: put back the newer files of the log, which every mirror and reader of it has too, or begin a log with another origin"

// guardFault begins what fsck says of the guard: a backup mends none of it.
const guardFault = "guard: "

// guardHead reads what the guard remembers. A copy of the folder on another
// machine has no guard.
func (f logFolder) guardHead() (last sealpost.Head, there bool, err error) {
	last, err = signer.ReadHead(f.cfg.Guard)
	if errors.Is(err, fs.ErrNotExist) {
		return last, false, nil
	}
	return last, err == nil, err
}

// guardFaults compares a sound log with what the guard remembered before it was
// read, and with what it remembers now: a relay may be running.
func (f logFolder) guardFaults(before sealpost.Head, found translog.Report) []string {
	if before.Size > found.Integrated {
		return []string{fmt.Sprintf("%s%d leaves were signed and the log has %d: an older copy stands here; %s", guardFault, before.Size, found.Integrated, guardMend)}
	}
	root, err := translog.ReadRoot(f.cfg.logDir(), before.Size, found.Integrated)
	if err != nil {
		return []string{guardFault + err.Error()}
	}
	if root != before.Root {
		return []string{fmt.Sprintf("%sother leaves than these %d were signed; %s", guardFault, before.Size, guardMend)}
	}
	now, _, err := f.guardHead()
	if err != nil {
		return []string{guardFault + err.Error()}
	}
	if now.Size < found.Size {
		return []string{fmt.Sprintf("%sit remembers %d leaves and the checkpoint has %d: the guard is an older copy; mend: sealpost log guard --checkpoint", guardFault, now.Size, found.Size)}
	}
	return nil
}
