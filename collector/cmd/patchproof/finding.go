package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/query"
)

func newFindingCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "finding", Short: "what is due when, and why"}
	cmd.AddCommand(newFindingListCommand(), newFindingViewsCommand(), newFindingShowCommand(), newFindingExplainCommand(), newFindingHistoryCommand())
	return cmd
}

func newFindingListCommand() *cobra.Command {
	var f query.Filter
	var all, why bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list findings, most urgent first",
		Long: `List findings, most urgent first: those whose clock runs, unless --all, --state,
--outcome or a filter on when they were closed asks for others. A list of words is
separated by commas, or said by a flag several times, and lets through what is one
of them; all filters together must hold. A word that holds a comma stands in double
quotes, which the shell must let through: --owner '"Smith, Jones",payments'.`,
		Example: `  patchproof finding list --view kev-internet
  patchproof finding list --owner payments --severity critical,high --due-before 2026-07-01
  patchproof finding list --outcome fixed_late,retired_overdue --closed-after 2026-04-01
  patchproof finding list --state fixed --closed-after 2026-04-01 -o xlsx > quarter.xlsx`,
		Args: cobra.NoArgs,
	}
	filterFlags(cmd, &f)
	sortFlag(cmd, &f)
	fl := cmd.Flags()
	fl.BoolVar(&all, "all", false, "closed ones too")
	fl.BoolVar(&why, "why", false, "say under each row where its date comes from")
	fl.IntVar(&f.Limit, "limit", 0, "at most this many rows; 0 is no limit")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if f.Limit < 0 {
			return usage(fmt.Errorf("limit %d: want a positive number, or 0 for no limit", f.Limit))
		}
		f.OpenOnly = !all && len(f.State)+len(f.Outcome) == 0 && f.ClosedBefore == "" && f.ClosedAfter == "" &&
			!slices.Contains(f.Flag, string(finding.FlagOnTimeClaimed))
		if err := f.Check(); err != nil {
			return usage(err)
		}
		return nil
	}
	q := answers[query.FindingList]{
		past: true,
		what: "list findings",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.FindingList, error) {
			return everyFinding(f, func(f query.Filter) (query.FindingList, error) { return c.Findings(ctx, f) })
		},
		about: func(l *query.FindingList) query.Meta { return l.Meta },
		table: func(l *query.FindingList) *table {
			t := findingTable(l.Findings)
			if why {
				t.notes = reasons(l.Findings)
			}
			return t
		},
		sheet: func(l *query.FindingList) *table { return findingSheet(l.Findings) },
		items: func(l *query.FindingList) iter.Seq[any] { return each(l.Findings) },
		talk:  func(w io.Writer, l *query.FindingList) { footer(w, l.Meta, "finding") },
	}
	return q.command(cmd)
}

func newFindingHistoryCommand() *cobra.Command {
	q := answers[query.FindingHistory]{
		past: true,
		what: "tell history of finding",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.FindingHistory, error) {
			return c.FindingHistory(ctx, args[0])
		},
		about: func(h *query.FindingHistory) query.Meta { return h.Meta },
		table: historyTable,
		items: func(h *query.FindingHistory) iter.Seq[any] { return each(h.Versions) },
		talk:  func(w io.Writer, h *query.FindingHistory) { footer(w, h.Meta, "recorded state") },
	}
	return q.command(&cobra.Command{Use: "history ID", Short: "every recorded state of a finding, with its leaf in the evidence log", Args: cobra.ExactArgs(1)})
}

func historyTable(h *query.FindingHistory) *table {
	t := &table{columns: []column{
		{head: "RECORDED"},
		{head: "LEAF", right: true},
		{head: "STATE"},
		{head: "SEVERITY"},
		{head: "DUE"},
		{head: "RULE", min: 12, drop: 1},
		{head: "INSTALLED", min: 12, drop: 2},
		{head: "POLICY", drop: 3},
		{head: "REASON", min: 20},
	}, wrapLast: true}
	for i := range h.Versions {
		v := &h.Versions[i]
		f := &v.Finding
		t.add(stamp(v.RecordedAt), strconv.FormatInt(v.Leaf, 10), stateWord(f), string(f.Severity), dueWord(f), dash(f.Rule), f.Installed, short(v.Policy), f.Reason)
	}
	return t
}

func newFindingViewsCommand() *cobra.Command {
	q := answers[api.ViewList]{
		what:  "list views",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (api.ViewList, error) { return c.Views(ctx) },
		about: func(l *api.ViewList) query.Meta { return query.Meta{Count: len(l.Views)} },
		table: func(l *api.ViewList) *table {
			t := &table{columns: []column{{head: "VIEW"}, {head: "WHAT", min: 20}, {head: "FILTERS", min: 20}}, wrapLast: true}
			for _, v := range l.Views {
				t.add(v.Name, v.Doc, filterWords(v.Filters))
			}
			return t
		},
		items: func(l *api.ViewList) iter.Seq[any] { return each(l.Views) },
	}
	return q.command(&cobra.Command{Use: "views", Short: "the ready-made questions that --view knows", Args: cobra.NoArgs})
}

// filterWords says filters as they are typed.
func filterWords(filters map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		out = append(out, "--"+flagName(name)+"="+filters[name])
	}
	return strings.Join(out, " ")
}

// pageSize is how many findings one call asks for.
const pageSize = 1000

// everyFinding follows the pages up to the filter's limit.
func everyFinding(f query.Filter, page func(query.Filter) (query.FindingList, error)) (query.FindingList, error) {
	want := f.Limit
	var all query.FindingList
	for {
		f.Limit = pageSize
		if want > 0 {
			f.Limit = min(pageSize, want-len(all.Findings))
		}
		p, err := page(f)
		if err != nil {
			return all, err
		}
		all.Meta = p.Meta
		all.Findings = append(all.Findings, p.Findings...)
		all.Next = p.Next
		if p.Next == "" || want > 0 && len(all.Findings) >= want {
			break
		}
		f.After = p.Next
	}
	all.Count = len(all.Findings)
	if all.Findings == nil {
		all.Findings = []query.Finding{}
	}
	return all, nil
}

func findingTable(fs []query.Finding) *table {
	t := &table{columns: []column{
		{head: "DUE"},
		{head: "LEFT", right: true, drop: 2},
		{head: "PRI", drop: 5},
		{head: "SEVERITY"},
		{head: "KEV", drop: 1},
		{head: "VULNERABILITY", min: 14},
		{head: "ASSET", min: 10},
		{head: "COMPONENT", min: 8},
		{head: "INSTALLED", min: 16, drop: 6},
		{head: "FIXED IN", min: 16, drop: 3},
		{head: "STATE", drop: 4},
		{head: "FLAGS", drop: 7},
		{head: "ID"},
	}}
	for i := range fs {
		f := &fs[i]
		t.add(dueWord(f), leftWord(f), f.Priority, string(f.Severity), yes(f.KEV), f.Vulnerability, f.AssetName,
			f.Component, f.Installed, dash(f.Fixed), stateWord(f), dash(flagWords(f)), f.ID)
	}
	return t
}

// flagWords are a finding's flags, but for arrival, which its state says.
func flagWords(f *query.Finding) string {
	var out []string
	for _, w := range []struct {
		flag finding.Flag
		is   bool
	}{
		{finding.FlagRegression, f.Regression},
		{finding.FlagOnTimeClaimed, f.OnTimeClaimed},
		{finding.FlagTargetMissed, f.TargetMissed},
	} {
		if w.is {
			out = append(out, string(w.flag))
		}
	}
	return strings.Join(out, " ")
}

// reasons says for each finding where its date comes from.
func reasons(fs []query.Finding) []string {
	out := make([]string, len(fs))
	for i := range fs {
		f := &fs[i]
		clock := "detected " + day(f.Detected)
		if !f.Available.IsZero() {
			clock = "fix available " + day(f.Available) + ", " + clock
		}
		out[i] = fmt.Sprintf("%s: %s; %s", f.Rule, f.Why, clock)
		if f.Due == "" {
			out[i] = "awaits a fix; " + clock
		}
	}
	return out
}

// findingSheet holds every field a spreadsheet user may sort by.
func findingSheet(fs []query.Finding) *table {
	t := &table{}
	for _, h := range []string{
		"id", "asset", "asset_name", "vulnerability", "component", "installed", "fixed", "severity", "severity_source", "kev", "epss",
		"priority", "cycle", "state", "overdue", "awaiting_fix", "arrival", "detected", "available", "clock_start", "due", "days_left",
		"target", "mitigate_by", "rule", "why", "reason", "closed",
		"target_missed", "outcome", "final", "final_at", "regression", "on_time_claimed", "column", "class", "exposure", "environment", "ou", "account", "region", "service", "owner", "crown_jewel", "cold_wallet",
	} {
		t.columns = append(t.columns, column{head: h, right: h == "epss" || h == "days_left"})
	}
	for i := range fs {
		f := &fs[i]
		left := ""
		if f.Due != "" {
			left = strconv.Itoa(f.DaysLeft)
		}
		t.add(f.ID, f.Asset, f.AssetName, f.Vulnerability, f.Component, f.Installed, f.Fixed, string(f.Severity), f.SeveritySource,
			strconv.FormatBool(f.KEV), strconv.FormatFloat(f.EPSS, 'f', -1, 64), f.Priority, f.Cycle, string(f.State),
			strconv.FormatBool(f.Overdue), strconv.FormatBool(f.AwaitingFix), strconv.FormatBool(f.Arrival),
			stamp(f.Detected), stamp(f.Available), string(f.ClockStart), string(f.Due), left, string(f.Target),
			stamp(f.MitigateBy), f.Rule, f.Why, f.Reason, stamp(f.Closed),
			strconv.FormatBool(f.TargetMissed), string(f.Outcome), strconv.FormatBool(f.Final), stamp(f.FinalAt),
			strconv.FormatBool(f.Regression), strconv.FormatBool(f.OnTimeClaimed), f.Column, f.Class, f.Exposure, f.Environment, f.OU, f.Account, f.Region, f.Service, f.Owner,
			strconv.FormatBool(f.CrownJewel), strconv.FormatBool(f.ColdWallet))
	}
	return t
}

func newFindingExplainCommand() *cobra.Command {
	q := answers[query.Explanation]{
		past: true,
		what: "explain finding",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.Explanation, error) {
			return c.Explain(ctx, args[0])
		},
		show: printExplanation,
	}
	return q.command(&cobra.Command{
		Use:   "explain ID",
		Short: "why a finding stands where it stands: advisory, versions, every candidate deadline, evidence",
		Args:  cobra.ExactArgs(1),
	})
}

func printExplanation(w io.Writer, e *query.Explanation) {
	f := &e.Finding
	say := func(format string, args ...any) { fmt.Fprintln(w, clean(fmt.Sprintf(format, args...))) }
	say("%s  %s  %s on %s", f.ID, f.Vulnerability, f.Component, f.AssetName)
	fmt.Fprintln(w)
	for _, s := range e.Story {
		for _, line := range wrapTo(clean(s), proseWidth(w)) {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintln(w)
	why := fmt.Sprintf("Priority %s (%s); cycle %s.", f.Priority, strings.Join(e.Verdict.PriorityWhy, ", "), strings.ReplaceAll(f.Cycle, "_", " "))
	for _, line := range wrapTo(clean(why), proseWidth(w)) {
		fmt.Fprintln(w, line)
	}

	fmt.Fprintln(w, "\nCompared")
	t := &table{wrapLast: true, columns: []column{
		{head: "PACKAGE", min: 14}, {head: "INSTALLED", min: 16}, {head: "FIXED IN", min: 16}, {head: "ADVISORY", drop: 1}, {head: "NOTE", min: 20},
	}}
	for _, c := range e.Compare {
		t.add(c.Package+archSuffix(c.Arch), c.Installed, dash(c.Fixed), c.Advisory, c.Reason)
	}
	t.print(w)

	fmt.Fprintln(w, "\nAdvisories")
	for i := range e.Sources {
		printSource(w, &e.Sources[i])
	}

	fmt.Fprintln(w, "\nCandidate deadlines (the earliest binding one wins)")
	t = &table{columns: []column{{head: ""}, {head: "DUE"}, {head: "START"}, {head: "RULE", min: 20}, {head: "WHY", min: 24}}, wrapLast: true}
	for _, c := range e.Verdict.Candidates {
		mark := ""
		switch {
		case c.Advisory:
			mark = "(advisory)"
		case c.Rule == e.Verdict.Rule && c.Due == e.Verdict.Due:
			mark = "=>"
		}
		t.add(mark, string(c.Due), string(c.Start), c.Rule, c.Why)
	}
	t.print(w)

	fmt.Fprintln(w, "\nEvidence")
	t = &table{columns: []column{{head: "WHAT"}, {head: "REPORT"}, {head: "SEQUENCE", right: true}, {head: "RECEIVED"}, {head: "LEAF", right: true}}}
	refs := []struct {
		what string
		ref  *query.ReportRef
	}{{"first shown by", e.Proof.Detected}, {"last shown by", e.Proof.LastSeen}, {"closed by", e.Proof.Closed}}
	for _, r := range refs {
		if r.ref != nil {
			t.add(r.what, short(r.ref.ID), strconv.FormatUint(r.ref.Sequence, 10), stamp(r.ref.ReceivedAt), strconv.FormatInt(r.ref.Leaf, 10))
		}
	}
	t.print(w)
	say("policy %s  tzdata %s  check the log: patchproof evidence verify", short(e.Verdict.Policy), e.Verdict.TZData)
}

// printSource writes one advisory: its facts on a line, its summary under them.
func printSource(w io.Writer, a *query.Source) {
	facts := fmt.Sprintf("issued %s, rating %s, feed %s, snapshot %s", day(a.Issued), dash(a.Rating), a.Feed, short(a.Snapshot))
	if a.IssuedKind != "" {
		facts = fmt.Sprintf("issued %s (%s), rating %s, feed %s, snapshot %s", day(a.Issued), a.IssuedKind, dash(a.Rating), a.Feed, short(a.Snapshot))
	}
	fmt.Fprintln(w, clean(a.ID))
	for _, text := range []string{facts, a.Summary} {
		if text == "" {
			continue
		}
		for _, line := range wrapTo(clean(text), proseWidth(w)-4) {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
}

// footer says on standard error what a list stands on.
func footer(w io.Writer, m query.Meta, noun string) {
	fmt.Fprintf(w, "patchproof: %s as of %s, policy %s, %s\n", plural(m.Count, noun), stamp(m.AsOf), short(m.Policy), plural(len(m.Feeds), "feed"))
	if len(m.Feeds) == 0 {
		fmt.Fprintln(w, "patchproof: warning: no feed was ever imported: nothing was judged")
	}
	for _, c := range []struct {
		n    int
		what string
	}{
		{known(m.Coverage.Waiting), "with news that is not assessed yet"},
		{m.Coverage.Uncovered, "on a release that no feed covers"},
		{m.Coverage.WithGaps, "with gaps"},
		{m.Coverage.Back, "retired or terminated, and yet reporting"},
		{m.Coverage.Silent, "silent"},
		{m.Coverage.NeverReported, "that never reported"},
	} {
		if c.n > 0 {
			fmt.Fprintf(w, "patchproof: note: %s %s\n", plural(c.n, "asset"), c.what)
		}
	}
}

func dueWord(f *query.Finding) string {
	switch {
	case f.Due != "":
		return string(f.Due)
	case f.State.Running():
		return "awaits fix"
	default:
		return "-"
	}
}

func leftWord(f *query.Finding) string {
	if f.Due == "" || !f.State.Running() {
		return "-"
	}
	return strconv.Itoa(f.DaysLeft) + "d"
}

func stateWord(f *query.Finding) string {
	switch {
	case f.Overdue && f.Arrival:
		return "overdue (arrival)"
	case f.Overdue && f.State == finding.PendingReboot:
		return "overdue, reboot"
	case f.Overdue && f.State == finding.PendingRestart:
		return "overdue, restart"
	case f.Overdue:
		return "overdue"
	case f.Outcome == finding.Accepted:
		return string(f.State) + ", accepted"
	case !f.State.Running() && !f.Final:
		return string(f.Outcome) + ", provisional"
	case !f.State.Running():
		return string(f.Outcome)
	default:
		return string(f.State)
	}
}

func yes(b bool) string {
	if b {
		return "KEV"
	}
	return ""
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func archSuffix(arch string) string {
	if arch == "" {
		return ""
	}
	return "." + arch
}

// short shows the head of a digest; the JSON has it whole.
func short(digest string) string {
	if len(digest) > 12 {
		digest = digest[:12]
	}
	return dash(clean(digest))
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
