package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost/internal/lab/liar"
)

// A lyingLine is what lab relay prints once it takes requests.
type lyingLine struct {
	readyLine
	Lie   string `json:"lie"`
	Tries string `json:"tries"`
}

func labRelayCommand() *cobra.Command {
	var path, name string
	var list bool
	cmd := &cobra.Command{
		Use:   "relay --lie NAME --config FILE",
		Short: "Run a relay whose operator has root and lies",
		Long: `Run the relay of a configuration, on its own data and with its own keys, and lie to
senders and devices as an operator with root could. They find out, and keep what
shows it: sealpost fault list and sealpost fault prove. Use a folder for trying
things out: some lies are logged for ever. No carrier is asked, because a push
would bring honestly what is lied about; devices fetch by themselves.`,
		Example: "  sealpost lab relay --list\n  sealpost lab relay --lie forge-receipt --config sealpost.yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				rows := [][]string{}
				for _, l := range liar.Lies() {
					rows = append(rows, []string{l.Name, l.Tries})
				}
				writeTable(cmd.OutOrStdout(), rows)
				return nil
			}
			lie, err := findLie(name)
			if err != nil {
				return err
			}
			cfg, err := serveConfig(path, "")
			if err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			s, err := openServer(cmd.Context(), cfg, logger)
			if err != nil {
				return err
			}
			l, err := s.lying()
			if err == nil {
				err = l.Tell(lie.Name)
			}
			if err == nil {
				err = printLine(cmd, lyingLine{s.ready(), lie.Name, lie.Tries})
			}
			if err != nil {
				return errors.Join(err, s.close())
			}
			err = s.run(cmd.Context())
			fmt.Fprintf(cmd.ErrOrStderr(), "the operator could open %d messages\n", len(l.Read()))
			return err
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the relay's YAML file")
	cmd.Flags().StringVar(&name, "lie", "", "which lie, by its name")
	cmd.Flags().BoolVar(&list, "list", false, "list the lies and end")
	return cmd
}

func findLie(name string) (liar.Lie, error) {
	names := []string{}
	for _, l := range liar.Lies() {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return liar.Lie{}, usage("--lie %q: want one of %s", name, strings.Join(names, ", "))
}

// lying puts an operator before the rooms of a relay that does not serve yet,
// with the relay's own keys in its hand.
func (s *server) lying() (*liar.Liar, error) {
	// No guard binds whoever can read the key's file, as an operator with root can.
	b, err := readBounded(s.cfg.logKeyFile(), 4<<10)
	if err != nil {
		return nil, err
	}
	secret, _, _ := strings.Cut(string(b), "\n")
	log, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	l, err := liar.New(s.doors(), liar.Hand{Statement: s.statement, Log: log, Hold: s.relay.Hold,
		Logged: relayLog{s.log}.WaitPublished, Leaves: s.store.Leaves})
	if err != nil {
		return nil, err
	}
	s.handler, s.dispatcher = l, nil
	return l, nil
}
