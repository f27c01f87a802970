package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/estate"
)

func newAssetSetCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "set ASSET ATTRIBUTE=VALUE... --reason TEXT",
		Short: "say by hand what an asset is, or what it is called",
		Long: `Say by hand what an asset is: class, exposure, environment, core, crown_jewel,
cold_wallet, hot_wallet, data_sensitivity, owner, service, account, ou, region; name=NEW
renames it. An operator's word holds over rules, lists and claims; an empty value takes
it back. What would let a deadline move later waits until somebody else approves, see
'patchproof approval list'.`,
		Example: `  patchproof asset set web-7 owner=payments exposure=internal --reason "behind the proxy since May"`,
		Args:    cobra.MinimumNArgs(2),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is kept as evidence")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usage(errors.New("say why: --reason TEXT"))
		}
		w, err := estate.ParseSet(args[1:])
		if err != nil {
			return usage(err)
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		res, err := c.SetAsset(cmd.Context(), args[0], api.AssetWords{Name: w.Name, Set: w.Set, Reason: reason})
		if err != nil {
			return err // the collector itself says what was being done
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		printSaid(cmd.OutOrStdout(), &res)
		return nil
	}
	return cmd
}

func printSaid(w io.Writer, r *api.AssetSaid) {
	if r.Leaf < 0 {
		fmt.Fprintf(w, "%s (%s): all of it had been said before\n", clean(r.Name), r.Asset)
		return
	}
	at := r.Attributes
	fmt.Fprintf(w, "%s (%s): class %s, exposure %s, environment %s, owner %s; leaf %d\n", clean(r.Name), r.Asset,
		at.Class, at.Exposure, at.Environment, dash(clean(at.Owner)), r.Leaf)
	fmt.Fprintln(w, "what lets deadlines move later waits for approval: patchproof approval list")
}
