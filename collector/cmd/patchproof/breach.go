package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newBreachCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "breach", Short: "deadlines that passed while the finding stood"}
	cmd.AddCommand(newBreachListCommand())
	return cmd
}

func newBreachListCommand() *cobra.Command {
	var b query.BreachQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list breaches, each once for every episode and kind of deadline",
		Long: `List breached deadlines: when each was breached, and why its date was that. A breach
stays on record whatever becomes of the finding. Filters are those of findings.`,
		Example: `  patchproof breach list --breached-after 2026-04-01 --owner payments
  patchproof breach list --kind mitigate -o xlsx > mitigations.xlsx`,
		Args: cobra.NoArgs,
	}
	filterFlags(cmd, &b.Filter)
	fl := cmd.Flags()
	fl.StringSliceVar(&b.Kinds, "kind", nil, "only these deadlines: patch, mitigate")
	fl.StringVar(&b.BreachedAfter, "breached-after", "", "only breached after this date or instant")
	fl.StringVar(&b.BreachedBefore, "breached-before", "", "only breached before this date or instant")
	fl.IntVar(&b.Limit, "limit", 0, "at most this many rows; 0 is no limit")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if b.Limit < 0 {
			return usage(fmt.Errorf("limit %d: want a positive number, or 0 for no limit", b.Limit))
		}
		if err := b.Check(); err != nil {
			return usage(err)
		}
		return nil
	}
	q := answers[query.BreachList]{
		past: true,
		what: "list breaches",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.BreachList, error) {
			return everyBreach(b, func(b query.BreachQuery) (query.BreachList, error) { return c.Breaches(ctx, b) })
		},
		about: func(l *query.BreachList) query.Meta { return l.Meta },
		table: func(l *query.BreachList) *table {
			t := &table{columns: []column{
				{head: "BREACHED"},
				{head: "DEADLINE"},
				{head: "SEVERITY", drop: 2},
				{head: "ASSET", min: 10},
				{head: "VULNERABILITY"},
				{head: "STATE", drop: 1},
				{head: "FINDING", drop: 3},
				{head: "WHY", min: 20},
			}, wrapLast: true}
			for i := range l.Breaches {
				r := &l.Breaches[i]
				t.add(stamp(r.At), string(r.Kind), string(r.Finding.Severity), r.Finding.AssetName, r.Finding.Vulnerability,
					stateWord(&r.Finding), r.Finding.ID, strings.Join(r.Why, "; "))
			}
			return t
		},
		sheet: breachSheet,
		items: func(l *query.BreachList) iter.Seq[any] { return each(l.Breaches) },
		talk:  func(w io.Writer, l *query.BreachList) { footer(w, l.Meta, "breach") },
	}
	return q.command(cmd)
}

// breachSheet is the sheet of the findings, with the breaches before it.
func breachSheet(l *query.BreachList) *table {
	fs := make([]query.Finding, len(l.Breaches))
	for i := range l.Breaches {
		fs[i] = l.Breaches[i].Finding
	}
	t := findingSheet(fs)
	t.columns = append([]column{{head: "breached"}, {head: "deadline_kind"}, {head: "deadline"}, {head: "breach_rule"}, {head: "breach_why"}}, t.columns...)
	for i := range t.rows {
		b := &l.Breaches[i]
		t.rows[i] = append([]string{stamp(b.At), string(b.Kind), stamp(b.Deadline), b.Rule, strings.Join(b.Why, "; ")}, t.rows[i]...)
	}
	return t
}

// everyBreach goes through the pages.
func everyBreach(b query.BreachQuery, ask func(query.BreachQuery) (query.BreachList, error)) (query.BreachList, error) {
	want := b.Limit
	var all []query.BreachRow
	for {
		b.Limit = pageSize
		if want > 0 {
			b.Limit = min(pageSize, want-len(all))
		}
		page, err := ask(b)
		if err != nil {
			return page, err
		}
		all = append(all, page.Breaches...)
		if page.Next == "" || want > 0 && len(all) >= want {
			page.Breaches, page.Count = append([]query.BreachRow{}, all...), len(all)
			return page, nil
		}
		b.After = page.Next
	}
}
