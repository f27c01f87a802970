package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newFindingShowCommand() *cobra.Command {
	q := answers[query.Explanation]{
		past: true,
		what: "show finding",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.Explanation, error) {
			return c.Explain(ctx, args[0])
		},
		about: func(e *query.Explanation) query.Meta { return e.Meta },
		show:  printFinding,
		talk:  func(w io.Writer, e *query.Explanation) { footer(w, e.Meta, "finding") },
	}
	return q.command(&cobra.Command{
		Use:   "show ID",
		Short: "what an auditor asks of a finding: state, dates, inventories before and after, evidence",
		Long: `One screen for an auditor: where a finding stands, the dates it stands on, what the
host reported of the component before and after, and where that is in the evidence
log. -o json holds all of it, with every candidate deadline and the advisories.`,
		Args: cobra.ExactArgs(1),
	})
}

func printFinding(w io.Writer, e *query.Explanation) {
	f := &e.Finding
	say := func(label, format string, args ...any) {
		for i, line := range wrapTo(clean(fmt.Sprintf(format, args...)), max(proseWidth(w)-12, 20)) {
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(w, "%-11s %s\n", label, line)
		}
	}
	say("finding", "%s: %s in %s on %s", f.ID, f.Vulnerability, f.Component, f.AssetName)
	say("state", "%s, %s, %s%s", stateWord(f), f.Severity, dash(f.Priority), flag(f.KEV, ", known exploited"))
	say("detected", "%s; fix available %s", stamp(f.Detected), dash(day(f.Available)))
	say("due", "%s by %s: %s", dueWord(f), dash(f.Rule), dash(f.Why))
	if !f.Closed.IsZero() {
		say("closed", "%s: %s", stamp(f.Closed), f.Reason)
	}
	for _, b := range e.History.Breaches {
		say("breach", "its deadline to %s was %s, breached at %s", b.Kind, stamp(b.Deadline), stamp(b.At))
	}
	if end := e.History.End; end != nil {
		say("outcome", "%s%s", end.Outcome, flag(!end.Final, ", provisional until "+stamp(end.FinalAt)))
	}
	printInventory(w, "Before: the last report that showed it vulnerable", e.Inventories.Vulnerable)
	printInventory(w, "After: the report that showed it closed", e.Inventories.Fixed)
	if e.Proof.Checkpoint == "" {
		fmt.Fprintln(w, "\nNo checkpoint was signed yet.")
		return
	}
	fmt.Fprintln(w, "\nCheckpoint")
	for line := range strings.Lines(e.Proof.Checkpoint) {
		fmt.Fprintf(w, "  %s\n", clean(strings.TrimSuffix(line, "\n")))
	}
}

func printInventory(w io.Writer, title string, in *query.Inventory) {
	fmt.Fprintf(w, "\n%s\n", title)
	if in == nil {
		fmt.Fprintln(w, "  none")
		return
	}
	fmt.Fprintf(w, "  report    %s\n", clean(in.ID))
	fmt.Fprintf(w, "  received  %s, sequence %d, leaf %d\n", stamp(in.ReceivedAt), in.Sequence, in.Leaf)
	fmt.Fprintf(w, "  leaf hash %s\n", clean(in.LeafHash))
	fmt.Fprintf(w, "  packages  sha256 %s%s\n", clean(in.Part), flag(!in.Complete, ", INCOMPLETE"))
	if len(in.Lines) == 0 {
		fmt.Fprintln(w, "  the component is not installed")
	}
	for _, line := range in.Lines {
		for _, part := range wrapTo(clean(strings.ReplaceAll(line, "\t", "  ")), max(proseWidth(w)-4, 20)) {
			fmt.Fprintf(w, "    %s\n", part)
		}
	}
	if in.Left > 0 {
		fmt.Fprintf(w, "    … and %d lines more in the package list\n", in.Left)
	}
}
