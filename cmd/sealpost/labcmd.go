package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/internal/lab"
)

// A labReady line is what a lab server prints once it takes requests.
type labReady struct {
	URL            string `json:"url"`
	ServiceAccount string `json:"service_account"`
}

func labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run the strict servers that tests and the demo are held to",
		Long: `Run a neighbour of the relay on loopback, as strict as the real one. It is for
trying things out: nothing in it is meant for production.`,
		Args: args(cobra.NoArgs),
	}
	cmd.AddCommand(labFCMCommand(), labRelayCommand())
	return cmd
}

func labFCMCommand() *cobra.Command {
	var listen, account string
	cmd := &cobra.Command{
		Use:   "fcm --account FILE",
		Short: "Run an FCM HTTP v1 server, which is also the phones' push transport",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if account == "" {
				return usage("--account is missing: where to write the service account for the relay")
			}
			l, err := listenLoopback(listen)
			if err != nil {
				return err
			}
			url := "http://" + l.Addr().String()
			if err := os.Remove(account); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err // an account of a run before: its key is gone
			}
			trusted, err := writeAccount(account, url)
			if err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			f, err := lab.NewFCM(lab.FCMConfig{Account: trusted, TokenURL: url + "/token", Log: logger})
			if err != nil {
				return err
			}
			if err := printLine(cmd, labReady{url, account}); err != nil {
				return err
			}
			return f.Run(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8485", "a loopback address")
	cmd.Flags().StringVar(&account, "account", "", "where to write the service account")
	return cmd
}

func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLoopback(host) {
		return nil, usage("--listen %q: want a loopback address such as 127.0.0.1:8485", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}
