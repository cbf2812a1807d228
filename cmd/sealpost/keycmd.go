package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/api"
)

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Show and manage a sender's keys", Args: args(cobra.NoArgs)}
	cmd.AddCommand(keyShowCommand(), keyListCommand(), keyMakeCommand(), keyRevokeCommand(), keyRotateCommand())
	return cmd
}

func keyShowCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "show --sender DIR",
		Short: "Print the id of the sender's signing key, which a relay's configuration names",
		Args:  args(cobra.NoArgs),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), t.key.ID())
			return nil
		}),
	}
	senderFlag(cmd, &dir)
	return cmd
}

func keyListCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --sender DIR",
		Short: "List the tenant's API keys",
		Args:  args(cobra.NoArgs),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, _ []string) error {
			keys, err := t.api.ListKeys(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), keys)
			}
			rows := [][]string{}
			for _, k := range keys {
				state := "in force"
				if k.Revoked {
					state = "revoked"
				}
				rows = append(rows, []string{k.Name, state, strings.Join(k.Scopes, ","), k.Created.String()})
			}
			writeTable(cmd.OutOrStdout(), rows)
			return nil
		}),
	}
	senderFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func keyMakeCommand() *cobra.Command {
	var dir string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "make NAME --scopes send,read --sender DIR",
		Short: "Make an API key and print its secret, once",
		Args:  args(cobra.ExactArgs(1)),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, given []string) error {
			set, err := api.ParseScopes(scopes)
			if err != nil {
				return usage("--scopes: want some of send, read, enrol and manage, none twice")
			}
			k, err := t.api.MakeKey(cmd.Context(), given[0], set)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), k.Secret)
			return nil
		}),
	}
	senderFlag(cmd, &dir)
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "some of send, read, enrol, manage")
	return cmd
}

func keyRevokeCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "revoke NAME --sender DIR",
		Short: "Revoke an API key",
		Args:  args(cobra.ExactArgs(1)),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, given []string) error {
			return t.api.RevokeKey(cmd.Context(), given[0])
		}),
	}
	senderFlag(cmd, &dir)
	return cmd
}

func keyRotateCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "rotate NAME --sender DIR",
		Short: "Put a new API key in the place of NAME, which the sender uses, and revoke NAME",
		Args:  args(cobra.ExactArgs(1)),
		RunE: withSender(&dir, func(cmd *cobra.Command, t *senderTool, given []string) error {
			fresh, err := rotateKey(cmd.Context(), t, dir, given[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is in use, %s is revoked\n", fresh, given[0])
			return nil
		}),
	}
	senderFlag(cmd, &dir)
	return cmd
}

// rotateKey makes a key with the scopes of the old one, writes it in the old
// one's place, and only then revokes the old one: a crash leaves both in force.
func rotateKey(ctx context.Context, t *senderTool, dir, name string) (string, error) {
	keys, err := t.api.ListKeys(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		if k.Name != name || k.Revoked {
			continue
		}
		scopes, err := api.ParseScopes(k.Scopes)
		if err != nil {
			return "", err
		}
		fresh, err := t.api.MakeKey(ctx, "key-"+time.Now().UTC().Format("20060102T150405.000Z"), scopes)
		if err != nil {
			return "", err
		}
		file, err := readSenderFile(filepath.Join(dir, senderFile))
		if err != nil {
			return "", err
		}
		if err := replaceFile(filepath.Join(dir, file.APIKeyFile), []byte(fresh.Secret+"\n")); err != nil {
			return "", err
		}
		return fresh.Name, t.api.RevokeKey(ctx, name)
	}
	return "", usage("there is no API key %q in force; run sealpost key list", name)
}

// replaceFile puts new bytes in a file's place, whole or not at all.
func replaceFile(path string, b []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	f, err := os.Open(next)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func senderFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "sender", "", "the sender's folder")
}

// withSender opens the sender's folder around a command.
func withSender(dir *string, do func(*cobra.Command, *senderTool, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, given []string) error {
		t, err := openSender(*dir)
		if err != nil {
			return err
		}
		return errors.Join(do(cmd, t, given), t.close())
	}
}
