package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/sealpost/sealpost"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or begin a relay's configuration", Args: args(cobra.NoArgs)}
	cmd.AddCommand(configCheckCommand(), configInitCommand())
	return cmd
}

func configCheckCommand() *cobra.Command {
	var path string
	var show bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read a configuration and report every fault; opens nothing else",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usage("--config is missing; name the YAML file")
			}
			c, err := readConfig(path)
			if err != nil {
				return err
			}
			if show {
				return yaml.NewEncoder(cmd.OutOrStdout()).Encode(c)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is in order: %s, log %s, data in %s\n", path, tenants(len(c.Tenants)), c.Origin, c.Data)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the YAML file")
	cmd.Flags().BoolVar(&show, "show", false, "print the configuration with its defaults filled in")
	return cmd
}

func tenants(n int) string {
	if n == 1 {
		return "1 tenant"
	}
	return fmt.Sprintf("%d tenants", n)
}

func configInitCommand() *cobra.Command {
	var dir, app, listen, fcmURL string
	cmd := &cobra.Command{
		Use:   "init --app NAME",
		Short: "Write a relay's configuration and a sender that knows it",
		Long: `Write DIR/sealpost.yaml for a relay, and DIR/sender/ with the keys and the
configuration of one sender that it serves. The FCM server is the lab's until you
name your own project in the file.`,
		Example: "  sealpost config init --app mybank --dir .",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !sealpost.IsName(app) {
				return usage("--app %q: want 1 to %d printable characters without a space", app, sealpost.NameMax)
			}
			s := setup{dir: dir, app: app, listen: listen, fcm: fcmURL}
			cfg, err := s.writeRelay()
			if err == nil {
				err = s.writeSender(cfg, "http://"+cfg.Listen)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), `wrote %[1]s and %[2]s
now, each in a terminal of its own:
  sealpost lab fcm --account %[3]s
  sealpost serve --config %[1]s
  sealpost device invite --sender %[2]s --to +491511234567
`, filepath.Join(dir, relayFile), filepath.Join(dir, senderDir), filepath.Join(dir, accountFile))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the folder to write to")
	cmd.Flags().StringVar(&app, "app", "", "the business's id")
	cmd.Flags().StringVar(&listen, "listen", defaultListen, "the relay's address")
	cmd.Flags().StringVar(&fcmURL, "fcm", "http://127.0.0.1:8485", "base URL of the FCM server")
	return cmd
}
