package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newSummaryCommand() *cobra.Command {
	var f query.Filter
	var by, from, to string
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "the whole estate on one screen",
		Long: `The whole estate on one screen, or the findings that filters let through, by what
you group by. The rows of a grouping sum to the whole, whatever the filters.

ON TIME is, of the findings that had a deadline and were fixed, or whose asset was
retired after it, the share that was fixed in time. What is open is not in it, nor
what turned out not to affect anybody.

With --from it tells what became of them in a period, and all else as of its end: what
was open, detected, came back, closed and how, and is open still, which balances.`,
		Example: `  patchproof summary --from 2026-01-01 --to 2026-03-31 --by service
  patchproof summary --by owner
  patchproof summary --by account --view kev-internet -o csv`,
		Args: cobra.NoArgs,
	}
	filterFlags(cmd, &f)
	cmd.Flags().StringVar(&by, "by", "", "count by this: "+strings.Join(query.Groupings, ", "))
	cmd.Flags().StringVar(&from, "from", "", "tell of a period that begins with this date, or after this instant (RFC 3339)")
	cmd.Flags().StringVar(&to, "to", "", "the period ends with this date, or instant (default: now)")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if from == "" && to != "" {
			return usage(errors.New("--to ends a period that --from begins"))
		}
		if from != "" && cmd.Flags().Changed("as-of") {
			return usage(errors.New("--from and --as-of exclude each other: a period is as of its end"))
		}
		if by != "" && !slices.Contains(query.Groupings, by) {
			return usage(fmt.Errorf("group by %q: want %s", by, strings.Join(query.Groupings, ", ")))
		}
		if err := f.Check(); err != nil {
			return usage(err)
		}
		return nil
	}
	q := answers[query.Summary]{
		past: true,
		what: "read summary",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.Summary, error) {
			if from != "" {
				return c.Period(ctx, from, to, f, by)
			}
			return c.Summary(ctx, f, by)
		},
		about: func(s *query.Summary) query.Meta { return s.Meta },
		show:  printSummary,
		sheet: func(s *query.Summary) *table {
			if s.Period != nil {
				return periodTable(s)
			}
			if s.By != "" {
				return groupSheet(s)
			}
			return severityTable(s)
		},
		items: func(s *query.Summary) iter.Seq[any] {
			if s.Period != nil {
				return each(periodRows(s))
			}
			if s.By != "" {
				return each(s.Rows)
			}
			return each(s.BySeverity)
		},
	}
	return q.command(cmd)
}

// periodRows are the groups of a period and then the whole.
func periodRows(s *query.Summary) []query.PeriodRow {
	return append(slices.Clone(s.Period.Rows), query.PeriodRow{Value: "all", PeriodCounts: s.Period.PeriodCounts})
}

func periodTable(s *query.Summary) *table {
	head := strings.ToUpper(s.By)
	if head == "" {
		head = "FINDINGS"
	}
	t := &table{columns: []column{
		{head: head, min: 8},
		{head: "START", right: true},
		{head: "DETECTED", right: true},
		{head: "REOPENED", right: true, drop: 3},
		{head: "ON TIME", right: true},
		{head: "LATE", right: true},
		{head: "NOT AFFECTED", right: true, drop: 4},
		{head: "NOT RUNNING", right: true, drop: 6},
		{head: "RETIRED", right: true, drop: 5},
		{head: "RETIRED OVERDUE", right: true, drop: 7},
		{head: "END", right: true},
		{head: "BREACHED", right: true},
		{head: "UNMITIGATED", right: true, drop: 2},
		{head: "FELL DUE", right: true, drop: 1},
		{head: "ON TIME %", right: true},
	}}
	for _, r := range periodRows(s) {
		rate := "-"
		if r.OnTime != nil {
			rate = strconv.FormatFloat(r.OnTime.Percent, 'f', 1, 64)
		}
		cells := []string{dash(r.Value)}
		for _, n := range []int{
			r.OpenAtStart, r.Detected, r.Reopened, r.FixedOnTime, r.FixedLate, r.NotAffected, r.NotRunning, r.RetiredInTime, r.RetiredOverdue,
			r.OpenAtEnd, r.Breached, r.Unmitigated, r.Due,
		} {
			cells = append(cells, strconv.Itoa(n))
		}
		t.add(append(cells, rate)...)
	}
	return t
}

func groupTable(s *query.Summary) *table {
	t := &table{columns: []column{
		{head: strings.ToUpper(s.By), min: 8},
		{head: "TOTAL", right: true, drop: 2},
		{head: "RUNNING", right: true},
		{head: "OVERDUE", right: true},
		{head: "WITHIN", right: true},
		{head: "AWAITING FIX", right: true},
		{head: "KEV", right: true},
		{head: "ON TIME", right: true},
		{head: "FIXED", right: true, drop: 3},
		{head: "FIXED LATE", right: true, drop: 3},
		{head: "NOT AFFECTED", right: true, drop: 4},
		{head: "RETIRED", right: true, drop: 4},
		{head: "RETIRED OVERDUE", right: true, drop: 4},
	}}
	for i := range s.Rows {
		r := &s.Rows[i]
		t.add(dash(r.Value), strconv.Itoa(r.Total), strconv.Itoa(r.Running), strconv.Itoa(r.Overdue), strconv.Itoa(r.Within),
			strconv.Itoa(r.AwaitingFix), strconv.Itoa(r.KEV), percent(r.OnTime), strconv.Itoa(r.Fixed), strconv.Itoa(r.FixedLate),
			strconv.Itoa(r.NotAffected), strconv.Itoa(r.RetiredInTime+r.RetiredOverdue), strconv.Itoa(r.RetiredOverdue))
	}
	return t
}

// groupCounts are the counts of a grouping for a spreadsheet: the outcomes, which
// sum to the total, then what is told on top.
var groupCounts = []struct {
	name string
	of   func(*query.FindingCounts) int
}{
	{"total", func(c *query.FindingCounts) int { return c.Total }},
	{"running", func(c *query.FindingCounts) int { return c.Running }},
	{"overdue", func(c *query.FindingCounts) int { return c.Overdue }},
	{"within", func(c *query.FindingCounts) int { return c.Within }},
	{"awaiting_fix", func(c *query.FindingCounts) int { return c.AwaitingFix }},
	{"accepted", func(c *query.FindingCounts) int { return c.Accepted }},
	{"kev", func(c *query.FindingCounts) int { return c.KEV }},
	{"fixed", func(c *query.FindingCounts) int { return c.Fixed }},
	{"fixed_on_time", func(c *query.FindingCounts) int { return c.FixedOnTime }},
	{"fixed_late", func(c *query.FindingCounts) int { return c.FixedLate }},
	{"not_affected", func(c *query.FindingCounts) int { return c.NotAffected }},
	{"not_running", func(c *query.FindingCounts) int { return c.NotRunning }},
	{"retired_in_time", func(c *query.FindingCounts) int { return c.RetiredInTime }},
	{"retired_overdue", func(c *query.FindingCounts) int { return c.RetiredOverdue }},
	{"provisional", func(c *query.FindingCounts) int { return c.Provisional }},
	{"arrival", func(c *query.FindingCounts) int { return c.Flags.Arrival }},
	{"regression", func(c *query.FindingCounts) int { return c.Flags.Regression }},
	{"on_time_claimed", func(c *query.FindingCounts) int { return c.Flags.OnTimeClaimed }},
	{"target_missed", func(c *query.FindingCounts) int { return c.Flags.TargetMissed }},
}

func groupSheet(s *query.Summary) *table {
	t := &table{columns: []column{{head: s.By}}}
	for _, c := range groupCounts {
		t.columns = append(t.columns, column{head: c.name, right: true})
	}
	t.columns = append(t.columns, column{head: "on_time_percent", right: true})
	for i := range s.Rows {
		r := &s.Rows[i]
		cells := []string{dash(r.Value)}
		for _, c := range groupCounts {
			cells = append(cells, strconv.Itoa(c.of(&r.FindingCounts)))
		}
		share := ""
		if r.OnTime != nil {
			share = strconv.FormatFloat(r.OnTime.Percent, 'f', 1, 64)
		}
		t.add(append(cells, share)...)
	}
	return t
}

func percent(o *query.OnTime) string {
	if o == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", o.Percent)
}

func severityTable(s *query.Summary) *table {
	t := &table{columns: []column{
		{head: "SEVERITY"},
		{head: "RUNNING", right: true},
		{head: "OVERDUE", right: true},
		{head: "WITHIN", right: true},
		{head: "AWAITING FIX", right: true},
		{head: "KEV", right: true},
	}}
	for _, r := range s.BySeverity {
		t.add(string(r.Severity), strconv.Itoa(r.Running), strconv.Itoa(r.Overdue), strconv.Itoa(r.Within), strconv.Itoa(r.AwaitingFix), strconv.Itoa(r.KEV))
	}
	return t
}

func printSummary(w io.Writer, s *query.Summary) {
	a, f := s.Assets, s.Findings
	fmt.Fprintf(w, "As of %s under policy %s\n", stamp(s.AsOf), short(s.Policy))
	if len(s.Filters) > 0 {
		fmt.Fprintf(w, "Findings of %s\n", clean(filterWords(s.Filters)))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "Assets    %d: %d reporting, %d silent, %d never reported\n", a.Total, a.Reporting, a.Silent, a.NeverReported)
	if a.Gone+a.Back > 0 {
		fmt.Fprintf(w, "          %d retired or terminated; %d of those in use are BACK: gone, and reporting\n", a.Gone, a.Back)
	}
	fmt.Fprintf(w, "          %d with gaps, %d on a release no feed covers\n", a.WithGaps, a.Uncovered)
	if n := known(a.Waiting); n > 0 {
		fmt.Fprintf(w, "          %d with news that is not assessed yet\n", n)
	}
	if n := known(a.PendingKeys); n > 0 {
		fmt.Fprintf(w, "          %s not trusted yet: patchproof host list\n", plural(n, "key"))
	}
	fmt.Fprintf(w, "Findings  %d running: %d overdue, %d within time, %d awaiting a fix\n", f.Running, f.Overdue, f.Within, f.AwaitingFix)
	fmt.Fprintf(w, "          of these %d wait for a reboot, %d for a restart,\n", f.PendingReboot, f.PendingRestart)
	fmt.Fprintf(w, "          %d were overdue on arrival, %d KEV\n", f.Arrival, f.KEV)
	fmt.Fprintf(w, "          %d fixed, %d not affected; %s undetermined\n", f.Fixed, f.NotAffected, plural(s.Undetermined, "comparison"))
	if n := f.RetiredInTime + f.RetiredOverdue; n > 0 {
		fmt.Fprintf(w, "          %d ended with their asset's retirement, %d of them overdue\n", n, f.RetiredOverdue)
	}
	if f.OnTime != nil {
		fmt.Fprintf(w, "On time   %s: %d of %d that had a deadline\n", percent(f.OnTime), f.OnTime.InTime, f.OnTime.Of)
	}
	fmt.Fprintln(w)
	severityTable(s).print(w)
	if f.Within > 0 {
		var parts []string
		for _, d := range s.DueSoon {
			if d.Count > 0 {
				parts = append(parts, fmt.Sprintf("%d within %d days", d.Count, d.WithinDays))
			}
		}
		fmt.Fprintf(w, "\nFalls due  %s\n", strings.Join(parts, ", "))
	}
	if s.Period != nil {
		fmt.Fprintf(w, "\nFrom %s to %s\n", stamp(s.Period.From), stamp(s.Period.To))
		periodTable(s).print(w)
	} else if s.By != "" {
		fmt.Fprintln(w)
		groupTable(s).print(w)
	}
	fmt.Fprintln(w, "\nFeeds")
	feedTable(s.Feeds, s.AsOf).print(w)
}

// known is a count that answers on the past are without.
func known(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func feedTable(fs []query.Feed, at time.Time) *table {
	t := &table{columns: []column{
		{head: "FEED", min: 14},
		{head: "AGE", right: true},
		{head: "PUBLISHED", drop: 2},
		{head: "ADVISORIES", right: true},
		{head: "FACTS", right: true},
		{head: "MISSING", right: true, drop: 1},
		{head: "WITHDRAWN", right: true, drop: 3},
		{head: "SNAPSHOT", drop: 4},
		{head: "COVERS", min: 12},
		{head: "HELD", min: 12},
	}}
	for _, f := range fs {
		held := "-"
		if f.Held != nil {
			held = f.Held.Reason
		}
		t.add(f.Name, age(at.Sub(f.ImportedAt)), day(f.Published), strconv.Itoa(f.Advisories), strconv.Itoa(f.Facts), strconv.Itoa(f.Missing),
			strconv.Itoa(f.Withdrawn), short(f.Digest), dash(strings.Join(f.Releases, " ")), held)
	}
	return t
}

func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
