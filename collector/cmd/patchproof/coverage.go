package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newCoverageCommand() *cobra.Command {
	var cadence time.Duration
	var presence []string
	q := answers[query.Coverage]{
		past: true,
		what: "show coverage",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.Coverage, error) {
			if err := checkPresence(presence); err != nil {
				return query.Coverage{}, usage(err)
			}
			if cadence <= 0 {
				return query.Coverage{}, usage(fmt.Errorf("cadence %s: want more than nothing", cadence))
			}
			cov, err := c.Coverage(ctx, cadence)
			if len(presence) > 0 {
				cov.Rows = slices.DeleteFunc(cov.Rows, func(r query.CoverageRow) bool { return !slices.Contains(presence, string(r.Presence)) })
				cov.Count = len(cov.Rows)
			}
			return cov, err
		},
		about: func(c *query.Coverage) query.Meta { return c.Meta },
		table: coverageTable,
		show:  printCoverage,
		items: func(c *query.Coverage) iter.Seq[any] { return each(c.Rows) },
		talk:  func(w io.Writer, c *query.Coverage) { footer(w, c.Meta, "row") },
	}
	cmd := q.command(&cobra.Command{
		Use: "coverage", Short: "what is expected against what reports", Args: cobra.NoArgs,
		Long: `What lists and operators expect against what reports: back (retired or terminated,
and yet it reports), never seen, silent beyond the cadence, terminated, retired,
reporting. What is wrong or missing comes first.`,
	})
	cmd.Flags().DurationVar(&cadence, "cadence", query.DefaultCadence, "how long a host may be silent")
	cmd.Flags().StringSliceVar(&presence, "presence", nil, "show only these rows: "+presences())
	return cmd
}

func presences() string {
	names := make([]string, len(query.Presences))
	for i, p := range query.Presences {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

func checkPresence(asked []string) error {
	for _, p := range asked {
		if !slices.Contains(query.Presences, query.Presence(p)) {
			return fmt.Errorf("presence %q: want %s", p, presences())
		}
	}
	return nil
}

func coverageTable(c *query.Coverage) *table {
	t := &table{columns: []column{
		{head: "PRESENCE"},
		{head: "NAME", min: 8},
		{head: "INSTANCE", min: 10, drop: 2},
		{head: "ACCOUNT", drop: 4},
		{head: "REGION", drop: 5},
		{head: "LAST REPORT"},
		{head: "LISTS", min: 6, drop: 3},
		{head: "LISTED", drop: 6},
		{head: "ASSET", drop: 7},
		{head: "DETAIL", min: 16, drop: 1},
	}, wrapLast: true}
	for i := range c.Rows {
		r := &c.Rows[i]
		last := stamp(r.LastReport)
		if last == "" {
			last = "never"
		}
		t.add(string(r.Presence), r.Name, dash(r.InstanceID), dash(r.Account), dash(r.Region), last,
			dash(strings.Join(r.Lists, " ")), dash(stamp(r.ListedAt)), dash(r.Asset), dash(r.Detail))
	}
	return t
}

func printCoverage(w io.Writer, c *query.Coverage) {
	coverageTable(c).print(w)
	fmt.Fprintf(w, "\nexpected %d: %d reporting, %d silent beyond %s, %d never seen; terminated %d, retired %d\n",
		c.Expected, c.Reporting, c.Silent, c.Cadence, c.NeverSeen, c.Terminated, c.Retired)
	if c.Back > 0 {
		fmt.Fprintf(w, "BACK: %s retired or terminated and yet reporting: their findings are open again\n", plural(c.Back, "asset"))
	}
	fmt.Fprintf(w, "of those tracked: %d on no list, %d with no feed for their release, %d with an incomplete inventory, %d with a classification gap\n",
		c.Unlisted, c.Unfed, c.Incomplete, c.Unclassified)
	if c.Waiting != nil {
		fmt.Fprintf(w, "%s wait for trust\n", plural(*c.Waiting, "key"))
	}
	if c.CloneSuspect > 0 {
		fmt.Fprintf(w, "of those tracked: %d whose key may be in use twice (clone_suspect): see patchproof host lines\n", c.CloneSuspect)
	}
	for _, l := range c.Lists {
		fmt.Fprintf(w, "list %s: imported %s\n", clean(l.Source), stamp(l.ImportedAt))
	}
}
