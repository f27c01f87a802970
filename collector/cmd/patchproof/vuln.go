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

func newVulnCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "vuln", Short: "one vulnerability across the estate"}
	q := answers[query.Vulnerability]{
		past: true,
		what: "show vulnerability",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.Vulnerability, error) {
			return wholeVulnerability(ctx, c, strings.ToUpper(args[0]))
		},
		about: func(v *query.Vulnerability) query.Meta { return v.Meta },
		show:  printVulnerability,
		sheet: func(v *query.Vulnerability) *table { return findingSheet(v.Findings) },
		items: func(v *query.Vulnerability) iter.Seq[any] { return each(v.Findings) },
		talk:  func(w io.Writer, v *query.Vulnerability) { footer(w, v.Meta, "finding") },
	}
	cmd.AddCommand(q.command(&cobra.Command{Use: "show CVE", Short: "who has it, where it is fixed, when it is due", Args: cobra.ExactArgs(1)}))
	return cmd
}

// wholeVulnerability follows the pages of a vulnerability's findings.
func wholeVulnerability(ctx context.Context, c *client.Client, id string) (query.Vulnerability, error) {
	v, err := c.Vulnerability(ctx, id)
	for err == nil && v.Next != "" {
		var more query.FindingList
		more, err = c.Findings(ctx, query.Filter{Vulnerability: []string{id}, Limit: pageSize, After: v.Next})
		v.Findings, v.Next = append(v.Findings, more.Findings...), more.Next
	}
	v.Count = len(v.Findings)
	return v, err
}

func printVulnerability(w io.Writer, v *query.Vulnerability) {
	fmt.Fprintln(w, clean(v.ID))
	f := v.Facts
	if f.KEV != nil {
		fmt.Fprintf(w, "  KEV      listed %s, CISA's due date %s\n", clean(f.KEV.Added), clean(dash(f.KEV.Due)))
	}
	if f.EPSS != nil {
		fmt.Fprintf(w, "  EPSS     %.5f (percentile %.3f) of %s\n", f.EPSS.Score, f.EPSS.Percentile, clean(dash(f.EPSS.Date)))
	}
	if f.SSVC != nil {
		fmt.Fprintf(w, "  SSVC     exploitation %s, automatable %s, impact %s\n", clean(dash(f.SSVC.Exploitation)), clean(dash(f.SSVC.Automatable)), clean(dash(f.SSVC.Impact)))
	}
	for _, s := range f.Scores {
		fmt.Fprintf(w, "  CVSS     %.1f (%s, %s) %s\n", s.Value, clean(s.Version), clean(s.Source), clean(s.Vector))
	}
	if len(v.Fixes) > 0 {
		fmt.Fprintln(w, "\nFixed where")
		t := &table{columns: []column{
			{head: "RELEASE"}, {head: "PACKAGE", min: 8}, {head: "FIXED IN", min: 16}, {head: "ISSUED"}, {head: "ADVISORY", min: 14}, {head: "RATING", drop: 1}, {head: "FEED", min: 10, drop: 2},
		}}
		for _, x := range v.Fixes {
			fixed := dash(x.Fixed)
			if x.Withdrawn {
				fixed = "withdrawn"
			}
			t.add(x.Release, x.Package, fixed, day(x.Issued), x.Advisory, dash(x.Rating), x.Feed)
		}
		t.print(w)
	}
	if len(v.Findings) == 0 {
		fmt.Fprintln(w, "\nNo asset has a finding on it.")
		return
	}
	fmt.Fprintln(w, "\nWho has it")
	findingTable(v.Findings).print(w)
}
