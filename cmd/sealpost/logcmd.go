package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/store"
	"github.com/sealpost/sealpost/internal/translog"
)

func logCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "log", Short: "Check and read a relay's transparency log", Args: args(cobra.NoArgs)}
	cmd.AddCommand(logFsckCommand(), logCheckpointCommand(), logTailCommand(), logGuardCommand())
	return cmd
}

// A logFolder is a relay's folder as the log commands read it.
type logFolder struct {
	cfg      Config
	verifier note.Verifier
}

// logFlags adds the flags that name a folder and whom to trust. Only a command
// that opens statements needs the relay's keys.
func logFlags(cmd *cobra.Command, opens bool) func() (logFolder, error) {
	var data, keys, guard, vkey string
	cmd.Flags().StringVar(&data, "data", "", "the relay's folder, or a demo's")
	if opens {
		cmd.Flags().StringVar(&keys, "keys", "", `the relay's key folder (default: the folder with ".keys" appended)`)
		cmd.Flags().StringVar(&guard, "guard", "", `the signing guard's folder (default: the folder with ".guard" appended)`)
	}
	cmd.Flags().StringVar(&vkey, "vkey", "", "the log's verifier key (default: the folder's own log.vkey, which proves less)")
	return func() (logFolder, error) {
		if data == "" {
			return logFolder{}, usage("--data is missing; name the relay's folder")
		}
		cfg, err := Config{Data: relayFolder(data), Keys: keys, Guard: guard}.complete()
		if err != nil {
			return logFolder{}, exit{exitUsage, err}
		}
		if vkey == "" {
			b, err := readBounded(cfg.vkeyFile(), 4<<10)
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("%s is no relay's folder: %w; name the folder that data names in its configuration, or give --vkey", data, err)
			}
			if err != nil {
				return logFolder{}, err
			}
			vkey = strings.TrimSpace(string(b))
		}
		return newLogFolder(cfg, vkey)
	}
}

func newLogFolder(cfg Config, vkey string) (logFolder, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return logFolder{}, usage("log verifier key %q: %v", vkey, err)
	}
	return logFolder{cfg, v}, nil
}

// An fsckReport is what log fsck found.
type fsckReport struct {
	Origin     string   `json:"origin"`
	Size       uint64   `json:"size"`
	Root       string   `json:"root"`
	Entries    uint64   `json:"entries"`
	Files      uint64   `json:"files"`
	Statements uint64   `json:"statements"` // rows compared with the log; 0 with --log-only
	Sound      bool     `json:"sound"`
	Faults     []string `json:"faults"`
	Leftovers  []string `json:"leftovers,omitempty"`
}

func logFsckCommand() *cobra.Command {
	var asJSON, logOnly bool
	cmd := &cobra.Command{
		Use:   "fsck --data DIR",
		Short: "Recompute the whole log and compare it with every stored statement, salt and blob",
		Long: `Read every tile and recompute the root; open every stored statement, recompute
its leaf from its salt and compare it with the log; hash every blob that is still
there; follow each message's course again and compare every working row with it.
Where the signing guard is on this machine, the log must extend what it remembers.
Each fault is named with its file, bytes and index, or its table and row. The
relay must be stopped, or give --log-only.

Exit codes: 0 sound, 40 damaged, 64 usage, 70 could not check.`,
		Args: args(cobra.NoArgs),
	}
	folder := logFlags(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		report, err := f.fsck(cmd.Context(), logOnly)
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), report)
		} else {
			writeFsck(cmd.OutOrStdout(), report)
		}
		if err == nil && !report.Sound {
			return exit{code: 40}
		}
		return err
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&logOnly, "log-only", false, "leave the statements out: only the public files are read")
	return cmd
}

func writeFsck(w io.Writer, r fsckReport) {
	for _, f := range r.Faults {
		fmt.Fprintln(w, "!", f)
	}
	end, mend := "sound", ""
	if !r.Sound {
		end = "DAMAGED"
	}
	if slices.ContainsFunc(r.Faults, func(f string) bool { return !strings.HasPrefix(f, guardFault) }) {
		mend = "mend: with the relay stopped, restore what is named, or its folder, from a backup\n"
	}
	fmt.Fprintf(w, "%s: log %s, %d leaves in %d files, root %s, %d statements compared\n%s", end, r.Origin, r.Entries, r.Files, r.Root, r.Statements, mend)
}

func (f logFolder) fsck(ctx context.Context, logOnly bool) (fsckReport, error) {
	report := fsckReport{Faults: []string{}}
	opts := translog.FsckOptions{}
	if !logOnly {
		held, err := f.statements(ctx, &report)
		if err != nil {
			return report, err
		}
		opts.OnLeaf = func(index uint64, leaf []byte) error {
			if held == nil {
				return nil // the store does not open, which is named
			}
			if index >= uint64(len(held)) || string(held[index][:]) != string(leaf) {
				return errors.New("not the leaf of the statement that the store holds")
			}
			return nil
		}
	}
	before, guarded, err := f.guardHead()
	if err != nil {
		report.Faults = append(report.Faults, guardFault+err.Error())
	}
	found, err := translog.Fsck(ctx, f.cfg.logDir(), f.verifier, opts)
	if err == nil && guarded {
		report.Faults = append(report.Faults, f.guardFaults(before, found)...)
	}
	report.Origin, report.Size, report.Root = found.Origin, found.Size, hex.EncodeToString(found.Root[:])
	report.Entries, report.Files, report.Leftovers = found.Entries, found.Files, found.Leftovers
	if damage, ok := errors.AsType[*translog.DamageError](err); ok {
		for _, fault := range damage.Faults {
			report.Faults = append(report.Faults, "log/"+fault.Error())
		}
	} else if err != nil {
		return report, err
	}
	report.Sound = len(report.Faults) == 0
	return report, nil
}

// statements checks every row and blob of the store, and gives the leaves.
func (f logFolder) statements(ctx context.Context, report *fsckReport) (held []sealpost.Leaf, err error) {
	if _, err := os.Stat(f.cfg.storeKeyFile()); err != nil {
		return nil, fmt.Errorf("the statements cannot be opened without the key folder: %w; name it with --keys, or give --log-only", err)
	}
	keys, err := store.NewFileKeys(f.cfg.storeKeyFile())
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, store.Config{Dir: f.cfg.Data, Keys: keys, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%w: stop the relay, or give --log-only", err)
	}
	if errors.Is(err, store.ErrDamaged) {
		report.Faults = append(report.Faults, "store: "+err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	held = []sealpost.Leaf{}
	found, err := db.Fsck(ctx, func(seq uint64, leaf sealpost.Leaf) error {
		for uint64(len(held)) < seq && seq-uint64(len(held)) <= store.FaultsMax {
			held = append(held, sealpost.Leaf{}) // missing, and so not that of the log
		}
		held = append(held, leaf)
		return nil
	})
	report.Statements = found.Statements
	for _, fault := range found.Faults {
		report.Faults = append(report.Faults, "store: "+fault.String())
	}
	return held, errors.Join(err, db.Close())
}

func logCheckpointCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint --data DIR",
		Short: "Print the newest checkpoint, after checking its signature",
		Args:  args(cobra.NoArgs),
	}
	folder := logFlags(cmd, false)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		b, _, err := f.checkpoint()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(b)
		return err
	}
	return cmd
}

// checkpoint reads the newest signed note and the size it names.
func (f logFolder) checkpoint() ([]byte, uint64, error) {
	b, err := readBounded(filepath.Join(f.cfg.logDir(), "checkpoint"), 64<<10)
	if err != nil {
		return nil, 0, err
	}
	n, err := note.Open(b, note.VerifierList(f.verifier))
	if err != nil {
		return nil, 0, exit{40, fmt.Errorf("checkpoint: %w", err)}
	}
	var origin string
	var size uint64
	if _, err := fmt.Sscanf(n.Text, "%s\n%d\n", &origin, &size); err != nil || origin != f.verifier.Name() {
		return nil, 0, exit{40, fmt.Errorf("checkpoint: it is not of log %s", f.verifier.Name())}
	}
	return b, size, nil
}

func logTailCommand() *cobra.Command {
	var n uint64
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail --data DIR",
		Short: "Print the newest leaves: index and bytes",
		Args:  args(cobra.NoArgs),
	}
	folder := logFlags(cmd, false)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		_, size, err := f.checkpoint()
		if err != nil {
			return err
		}
		next := size - min(n, size)
		tick := time.NewTicker(tailEvery)
		defer tick.Stop()
		for {
			if next, err = f.printLeaves(cmd.OutOrStdout(), next, size); err != nil || !follow {
				return err
			}
			select {
			case <-cmd.Context().Done():
				return nil
			case <-tick.C:
			}
			if _, size, err = f.checkpoint(); err != nil {
				return err
			}
		}
	}
	cmd.Flags().Uint64VarP(&n, "lines", "n", 10, "how many leaves")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	return cmd
}

// tailEvery is how often log tail --follow looks.
const tailEvery = time.Second

// printLeaves prints the leaves from one index up to a size.
func (f logFolder) printLeaves(w io.Writer, from, size uint64) (uint64, error) {
	for ; from < size; from++ {
		leaf, err := translog.ReadLeaf(f.cfg.logDir(), from, size)
		if errors.Is(err, os.ErrNotExist) {
			return from, nil // the partial bundle of that size is gone: look again
		}
		if err != nil {
			return from, err
		}
		fmt.Fprintf(w, "%d %x\n", from, leaf)
	}
	return from, nil
}
