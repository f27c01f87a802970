package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/server"
)

func newEvidenceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "evidence", Short: "what an auditor can check alone"}
	cmd.AddCommand(newEvidenceVerifyCommand())
	return cmd
}

func newEvidenceVerifyCommand() *cobra.Command {
	var o server.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "recompute the log, its checkpoints, every envelope, and every decision",
		Long: `Recompute everything that the evidence log bears witness to: the Merkle tree from
its leaves, every signed checkpoint, every report's envelope and signature, every
host's chain of reports, and what was trusted, configured and found. Every
assessment is then made again from the record as it was, and what it decided -
states, deadlines, moves, breaches, outcomes - held against what is stored.

It reads the data directory of a collector, running or not, or a copy of one, and
asks nobody. Exit status 1 when something does not fit.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data", cmp.Or(os.Getenv("PATCHPROOF_DATA"), defaultData), "data directory of the collector, or a copy ($PATCHPROOF_DATA)")
	f.StringVar(&o.LogKey, "log-key", "", "the log's verifier key as you know it from elsewhere; default: the one in the data directory")
	out := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Progress = progress(cmd.ErrOrStderr(), "patchproof: checking leaves")
		r, err := server.VerifyEvidence(cmd.Context(), o)
		if errors.Is(err, server.ErrNoData) {
			return withHint(fmt.Errorf("verify evidence: %w", err), "name a collector's data directory with --data")
		}
		if err != nil {
			return fmt.Errorf("verify evidence: %w", err)
		}
		if *out == "json" {
			if err := printJSON(cmd.OutOrStdout(), r); err != nil {
				return err
			}
		} else {
			for line := range strings.Lines(r.Summary()) {
				fmt.Fprintln(cmd.OutOrStdout(), clean(strings.TrimSuffix(line, "\n")))
			}
		}
		if !r.OK {
			return withHint(errors.New("the evidence does not hold"), "keep this database as it is, and compare it with a backup and with checkpoints kept elsewhere")
		}
		return nil
	}
	return cmd
}

// progress shows how far a long job is, when someone watches.
func progress(talk io.Writer, text string) func(done, all int64) {
	if terminalWidth(talk) == 0 {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, all int64) {
		if bar == nil {
			bar = progressbar.NewOptions64(all, progressbar.OptionSetWriter(talk), progressbar.OptionSetDescription(text),
				progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish())
		}
		_ = bar.Set64(done)
	}
}
