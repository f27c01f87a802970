package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
)

// newAssetStandingCommand retires an asset, or takes that back.
func newAssetStandingCommand(retire bool) *cobra.Command {
	var r api.Retirement
	verb, done := "reinstate", "in use again"
	cmd := &cobra.Command{
		Short: "take a retirement back: what ended by it opens again",
		Long: `Take a retirement back, or outweigh the list that has an asset as terminated.
Findings that ended by it open again: as the same episode within 14 days, later as
a new one where a report shows them.`,
		Args: cobra.ExactArgs(1),
	}
	if retire {
		verb, done = "retire", "retired"
		cmd.Short = "say that an asset is in use no more: what is open on it ends"
		cmd.Long = `Say that an asset is in use no more. What is open on it ends as retired_in_time or
retired_overdue, never as fixed; a breach stays in the record. A report that comes
later opens it again, and the asset is shown as BACK until somebody says what it is.`
		cmd.Flags().StringVar(&r.At, "at", "", "since when, a date or an instant not before its last report (default: now)")
	}
	cmd.Use = verb + " ASSET --reason TEXT"
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why; it is kept as evidence")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.Reason == "" {
			return usage(errors.New("say why: --reason TEXT"))
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		act := func() (api.Retired, error) { return c.ReinstateAsset(cmd.Context(), args[0], r.Reason) }
		if retire {
			act = func() (api.Retired, error) { return c.RetireAsset(cmd.Context(), args[0], r) }
		}
		res, err := act()
		if err != nil {
			return err // the collector itself says what was being done
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s (%s) is %s since %s; leaf %d\n", clean(res.Name), res.Asset, done, stamp(res.Since), res.Leaf)
		return nil
	}
	return cmd
}
