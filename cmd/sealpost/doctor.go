package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/internal/dispatch/fcm"
)

// A finding of the doctor: what was looked at, how it is, and the mend.
type diagnosis struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"`
}

// Bounds of the doctor's own tries.
const (
	doctorAsks  = 5 * time.Second
	doctorSyncs = 20 // writes, each synced
	syncSlow    = 20 * time.Millisecond
)

func doctorCommand() *cobra.Command {
	var configPath, dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE] [--sender DIR]",
		Short: "Look at a relay's set-up or a sender's, and say what to mend",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if configPath == "" && dir == "" {
				return usage("give --config for a relay, --sender for a sender, or both")
			}
			var found []diagnosis
			if configPath != "" {
				found = append(found, examineRelay(configPath)...)
			}
			if dir != "" {
				found = append(found, examineSender(cmd.Context(), dir)...)
			}
			var err error
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), found)
			} else {
				for _, d := range found {
					fmt.Fprintln(cmd.OutOrStdout(), d)
				}
			}
			for _, d := range found {
				if !d.OK {
					return errors.Join(err, exit{code: exitIO})
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&configPath, "config", "", "the relay's YAML file")
	senderFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (d diagnosis) String() string {
	if d.OK {
		return "ok    " + d.Check + ": " + d.Says
	}
	return "MEND  " + d.Check + ": " + d.Says + "\n      " + d.Mend
}

// examine makes a diagnosis of an error.
func examine(check string, err error, says, mend string) diagnosis {
	if err != nil {
		return diagnosis{check, false, err.Error(), mend}
	}
	return diagnosis{check, true, says, ""}
}

func examineRelay(path string) []diagnosis {
	cfg, err := readConfig(path)
	found := []diagnosis{examine("configuration", err, path+" is in order", "mend the file; sealpost config check reads it again")}
	if err != nil {
		return found
	}
	for _, key := range []string{cfg.logKeyFile(), cfg.stmtKeyFile(), cfg.storeKeyFile()} {
		found = append(found, examineKeyFile(key))
	}
	found = append(found, examineDisk(cfg.Data), examineListen(cfg.Listen))
	if cfg.FCM != nil {
		raw, err := os.ReadFile(cfg.FCM.ServiceAccount)
		if err == nil {
			_, err = fcm.ParseAccount(raw)
		}
		found = append(found, examine("FCM service account", err, "it can be read", "get the JSON file from the Firebase console, or run sealpost lab fcm"))
	}
	return append(found, diagnosis{"witnesses", true, "none: every claim about the log rests on this relay's own word", ""})
}

func examineKeyFile(path string) diagnosis {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return diagnosis{"key " + filepath.Base(path), true, "not there yet; serve makes it", ""}
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("others can read it (mode %o)", info.Mode().Perm())
	}
	return examine("key "+filepath.Base(path), err, "a file that only its owner reads", "chmod 600 "+path)
}

// examineDisk measures what group commit stands on: a synced append.
func examineDisk(dir string) diagnosis {
	took, err := syncedAppend(dir)
	if err == nil && took > syncSlow {
		err = fmt.Errorf("a synced write takes %v", took)
	}
	return examine("disk", err, fmt.Sprintf("a synced write takes %v", took), "use a folder on a local SSD that can be written to")
}

func syncedAppend(dir string) (time.Duration, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	start := time.Now()
	for range doctorSyncs {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	return (time.Since(start) / doctorSyncs).Round(time.Microsecond), f.Close()
}

func examineListen(address string) diagnosis {
	l, err := net.Listen("tcp", address)
	if err == nil {
		err = l.Close()
	}
	return examine("address "+address, err, "free", "stop what listens there (a relay that runs, perhaps), or choose another listen")
}

// examineFaults tells of evidence against others. There is nothing to mend
// about it here.
func examineFaults(p plaintiff, whose string) diagnosis {
	all, err := p.Faults()
	says := "none is kept"
	if len(all) > 0 {
		says = fmt.Sprintf("%d kept; sealpost fault list %s shows what was refused", len(all), whose)
	}
	return examine("faults of others", err, says, "the store cannot be read")
}

func examineSender(ctx context.Context, dir string) []diagnosis {
	t, err := openSender(dir)
	found := []diagnosis{examine("sender folder", err, dir+" is in order", "sealpost config init makes one")}
	if err != nil {
		return found
	}
	defer t.close()
	found = append(found, examineFaults(t, "--sender "+dir))
	ctx, cancel := context.WithTimeout(ctx, doctorAsks)
	defer cancel()
	_, err = t.api.Health(ctx)
	found = append(found, examine("relay", err, "it answers", "start it with sealpost serve, or mend relay in "+senderFile))
	if err != nil {
		return found
	}
	_, err = t.api.ListKeys(ctx)
	found = append(found, examine("API key", err, "the relay knows it", "sealpost key make with another key that may, and put it into "+apiKeyFile))
	_, err = t.api.Checkpoint(ctx)
	return append(found, examine("log", err, "it shows a checkpoint", "look at the relay's own words"))
}
