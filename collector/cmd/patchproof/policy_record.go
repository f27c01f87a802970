package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
)

func newPolicyApplyCommand() *cobra.Command {
	var effective string
	var looser bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "put a policy in force, at once or from a day on",
		Long: `Put a policy in force. The collector keeps the file's bytes with a leaf of evidence,
and never reads the file again. What can give a later date than the policy it
replaces is listed cell by cell; --yes-looser applies it all the same, and the
record names each cell and who applied it.`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&effective, "effective", "", "day YYYY-MM-DD, in the policy's zone, from which it is in force; at once when not given")
	cmd.Flags().BoolVar(&looser, "yes-looser", false, "apply it although it makes cells looser; that is recorded")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := readPolicy(args[0])
		if err != nil {
			return err
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		done, err := c.ApplyPolicy(cmd.Context(), src, finding.Date(effective), looser)
		if err != nil {
			return refusedPolicy(cmd.ErrOrStderr(), args[0], err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), done)
		}
		printApplied(cmd.OutOrStdout(), cmd.ErrOrStderr(), &done)
		return nil
	}
	return cmd
}

// refusedPolicy lists what was wrong with a policy, or looser, one a line.
func refusedPolicy(w io.Writer, file string, err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || len(p.Errors) == 0 {
		return fmt.Errorf("apply policy %s: %w", file, err)
	}
	for _, e := range p.Errors {
		line := e.Message
		if e.Location != "" {
			line = e.Location + ": " + line
		}
		fmt.Fprintf(w, "patchproof: %s\n", clean(line))
	}
	words := fmt.Errorf("apply policy %s: %s", file, p.Detail)
	if p.Status == 409 {
		return withHint(words, "if that is meant, apply it with --yes-looser; 'patchproof policy simulate' shows what it does")
	}
	return withHint(words, "'patchproof policy check' says what to do about each")
}

func printApplied(w, talk io.Writer, d *api.PolicyApplied) {
	for _, p := range d.Warnings {
		fmt.Fprintf(talk, "patchproof: warning: %s\n", clean(p.String()))
	}
	if d.Unchanged {
		fmt.Fprintf(w, "policy %s is in force already, since %s\n", short(d.Digest), stamp(d.EffectiveAt))
		return
	}
	if len(d.Changes) > 0 {
		changeTable(d.Changes).print(w)
	}
	fmt.Fprintf(w, "policy %s applied, in force from %s, leaf %d\n", short(d.Digest), stamp(d.EffectiveAt), d.Leaf)
}

func changeTable(changes []policy.Change) *table {
	t := &table{columns: []column{{head: "CELL", min: 20}, {head: "FROM", min: 12}, {head: "TO", min: 12}, {head: "EFFECT"}}}
	for _, c := range changes {
		t.add(c.Path, c.From, c.To, string(c.Effect))
	}
	return t
}

// shippedPolicy is the JSON form of 'policy show --default', which asks no collector;
// its keys are those of api.PolicyFile.
func shippedPolicy() api.PolicyFile {
	p, src := policy.Default()
	return api.PolicyFile{
		PolicyInfo: api.PolicyInfo{Digest: p.Digest, State: "shipped", Leaf: -1, Looser: []store.LooserCell{}},
		Name:       p.Name, Source: string(src),
	}
}

func newPolicyShowCommand() *cobra.Command {
	var shipped bool
	var digest string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "print a policy file: the one in force, an older one, or the shipped one",
		Args:  cobra.NoArgs,
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "yaml", "json")
	cmd.Flags().BoolVar(&shipped, "default", false, "the policy this program ships: the standard")
	cmd.Flags().StringVar(&digest, "digest", "", "one that was applied, by its digest or the first 8 digits or more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if shipped && digest != "" {
			return usage(errors.New("--default and --digest name two policies: give one"))
		}
		p := shippedPolicy()
		if !shipped {
			c, err := conn.client()
			if err != nil {
				return err
			}
			if p, err = c.Policy(cmd.Context(), cmp.Or(digest, standard.Current)); err != nil {
				return fmt.Errorf("show policy: %w", err)
			}
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), p)
		}
		_, err := io.WriteString(cmd.OutOrStdout(), p.Source)
		return err
	}
	return cmd
}

func newPolicyHistoryCommand() *cobra.Command {
	q := answers[api.PolicyList]{
		what: "read policy history",
		ask: func(ctx context.Context, c *client.Client, _ []string) (api.PolicyList, error) {
			return c.Policies(ctx)
		},
		about: func(l *api.PolicyList) query.Meta { return query.Meta{AsOf: l.AsOf, Count: l.Count, Policy: l.InForce} },
		table: policyTable,
		items: func(l *api.PolicyList) iter.Seq[any] { return each(l.Policies) },
	}
	return q.command(&cobra.Command{Use: "history", Short: "list every policy that was applied, and when it is in force", Args: cobra.NoArgs})
}

func policyTable(l *api.PolicyList) *table {
	t := &table{columns: []column{
		{head: "STATE"},
		{head: "DIGEST", min: 12},
		{head: "IN FORCE FROM"},
		{head: "UNTIL", drop: 2},
		{head: "APPLIED", drop: 3},
		{head: "BY", min: 5, drop: 1},
		{head: "LOOSER", right: true},
		{head: "LEAF", right: true, drop: 4},
	}}
	for i := range l.Policies {
		p := &l.Policies[i]
		t.add(strings.ReplaceAll(p.State, "_", " "), p.Digest, stamp(p.EffectiveAt), dash(stamp(p.Until)), stamp(p.AppliedAt),
			dash(p.By), strconv.Itoa(len(p.Looser)), strconv.FormatInt(p.Leaf, 10))
	}
	return t
}

func newPolicyDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "say cell by cell how policy B differs from policy A",
		Long: `Say cell by cell how policy B differs from policy A, and whether it is stricter or
looser. A and B are each a file, a digest (8 digits or more), current (the one in
force) or default (the shipped one). A file with such a name is written ./NAME.`,
		Args: cobra.ExactArgs(2),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json", "csv")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := diffOf(cmd.Context(), conn, args[0], args[1])
		if err != nil {
			return err
		}
		switch *out {
		case "json":
			return printJSON(cmd.OutOrStdout(), d)
		case "csv":
			return changeTable(d.Changes).csv(cmd.OutOrStdout())
		}
		if d.Count > 0 {
			changeTable(d.Changes).print(cmd.OutOrStdout())
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "patchproof: %s: %d stricter, %d looser\n", plural(d.Count, "change"), count(d.Changes, policy.Stricter), count(d.Changes, policy.Looser))
		return nil
	}
	return cmd
}

func count(changes []policy.Change, e policy.Effect) int {
	n := 0
	for _, c := range changes {
		if c.Effect == e {
			n++
		}
	}
	return n
}

// diffOf compares two policies here when one of them is a file, which no
// collector needs to see.
func diffOf(ctx context.Context, conn *connection, from, to string) (api.PolicyDiff, error) {
	if standard.IsReference(from) && standard.IsReference(to) && from != standard.Shipped && to != standard.Shipped {
		c, err := conn.client()
		if err != nil {
			return api.PolicyDiff{}, err
		}
		d, err := c.PolicyDiff(ctx, from, to)
		if err != nil {
			return d, fmt.Errorf("compare policies: %w", err)
		}
		return d, nil
	}
	var sources [2][]byte
	for i, name := range []string{from, to} {
		var err error
		if sources[i], err = policySource(ctx, conn, name); err != nil {
			return api.PolicyDiff{}, err
		}
	}
	a, err := policy.Read(sources[0])
	if err != nil {
		return api.PolicyDiff{}, fmt.Errorf("policy %s: %w", from, err)
	}
	b, err := policy.Read(sources[1])
	if err != nil {
		return api.PolicyDiff{}, fmt.Errorf("policy %s: %w", to, err)
	}
	changes := append([]policy.Change{}, policy.Diff(a, b)...)
	return api.PolicyDiff{From: a.Digest, To: b.Digest, Count: len(changes), Changes: changes}, nil
}

// policySource is the source of a policy that is named on the command line.
func policySource(ctx context.Context, conn *connection, name string) ([]byte, error) {
	if name == standard.Shipped {
		_, src := policy.Default()
		return src, nil
	}
	if !standard.IsReference(name) {
		return readPolicy(name)
	}
	c, err := conn.client()
	if err != nil {
		return nil, err
	}
	p, err := c.Policy(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", name, err)
	}
	return []byte(p.Source), nil
}

func newPolicySimulateCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "simulate FILE",
		Short: "say what would become due when, and what overdue, under a policy",
		Long: `Say what would become of the running findings if this policy came into force now:
how many of each severity would be overdue, within time or waiting for a fix, and
which dates move. The collector assesses every host with it and keeps nothing.`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json", "csv")
	cmd.Flags().IntVar(&limit, "limit", 1000, "most findings to list; the counts are always whole")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 || limit > 1_000_000 {
			return usage(fmt.Errorf("--limit %d: from 0 to 1000000", limit))
		}
		src, err := readPolicy(args[0])
		if err != nil {
			return err
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		sim, err := c.SimulatePolicy(cmd.Context(), src, limit)
		if err != nil {
			return fmt.Errorf("simulate policy %s: %w", args[0], err)
		}
		switch *out {
		case "json":
			return printJSON(cmd.OutOrStdout(), sim)
		case "csv":
			return moveTable(&sim).csv(cmd.OutOrStdout())
		}
		printSimulation(cmd.OutOrStdout(), &sim)
		return nil
	}
	return cmd
}

func printSimulation(w io.Writer, s *api.PolicySimulation) {
	fmt.Fprintf(w, "As of %s, policy %s in place of %s\n\n", stamp(s.AsOf), short(s.Policy), short(s.InForce))
	shiftTable(s).print(w)
	fmt.Fprintf(w, "\n%s of %d move: %d earlier, %d later; %d become overdue\n", plural(s.Moved, "finding"), s.Findings, s.Earlier, s.Later, s.NewlyOverdue)
	if len(s.Moves) > 0 {
		fmt.Fprintln(w)
		moveTable(s).print(w)
	}
	if s.Count < s.Moved {
		fmt.Fprintf(w, "%d more not listed: --limit\n", s.Moved-s.Count)
	}
	for _, f := range s.Failed {
		fmt.Fprintf(w, "no verdict for asset %s (%s): %s\n", clean(f.AssetName), f.Asset, clean(f.Error))
	}
}

func shiftTable(s *api.PolicySimulation) *table {
	t := &table{columns: []column{
		{head: "SEVERITY"},
		{head: "RUNNING", right: true},
		{head: "OVERDUE", right: true},
		{head: "WITHIN", right: true},
		{head: "AWAITING FIX", right: true, drop: 1},
		{head: "IN 7 DAYS", right: true, drop: 4},
		{head: "IN 30 DAYS", right: true, drop: 3},
	}}
	arrow := func(a, b int) string {
		if a == b {
			return strconv.Itoa(a)
		}
		return fmt.Sprintf("%d -> %d", a, b)
	}
	within := func(p api.PolicyStanding, days int) int {
		n := 0
		for _, d := range p.DueSoon {
			if d.WithinDays <= days {
				n += d.Count
			}
		}
		return n
	}
	for _, r := range s.BySeverity {
		t.add(string(r.Severity), arrow(r.Before.Running, r.After.Running), arrow(r.Before.Overdue, r.After.Overdue),
			arrow(r.Before.Within, r.After.Within), arrow(r.Before.AwaitingFix, r.After.AwaitingFix),
			arrow(within(r.Before, 7), within(r.After, 7)), arrow(within(r.Before, 30), within(r.After, 30)))
	}
	return t
}

func moveTable(s *api.PolicySimulation) *table {
	t := &table{columns: []column{
		{head: "FINDING"},
		{head: "SEVERITY", drop: 2},
		{head: "VULNERABILITY"},
		{head: "ASSET", min: 6},
		{head: "COMPONENT", min: 6, drop: 1},
		{head: "WAS DUE"},
		{head: "DUE"},
		{head: "BECOMES OVERDUE", drop: 4},
		{head: "RULE", min: 10, drop: 3},
	}}
	for i := range s.Moves {
		m := &s.Moves[i]
		t.add(m.Finding, string(m.Severity), m.Vulnerability, m.AssetName, m.Component,
			dash(string(m.DueBefore)), dash(string(m.Due)), strconv.FormatBool(m.NewlyOverdue), dash(m.Rule))
	}
	return t
}
