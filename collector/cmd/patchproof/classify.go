package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newClassifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "classify", Short: "what assets are, and by whose word"}
	cmd.AddCommand(newClassifyApplyCommand(), newClassifyShowCommand(), newClassifyTestCommand(), newClassifyGapsCommand())
	return cmd
}

func newClassifyApplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "put a file of classification rules in force",
		Long: `Put a file of classification rules in force and classify every asset again. The
file is recorded as it is, with its digest and an evidence leaf. 'patchproof
classify test --file FILE' says before what it would change.`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := readRules(args[0])
		if err != nil {
			return err
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		res, err := c.ApplyRules(cmd.Context(), src)
		if err != nil {
			return fmt.Errorf("apply rules: %w", err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		if res.Leaf < 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "rules %s are in force already\n", res.Digest)
			return nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s in force; %s of %d classified anew; digest %s, leaf %d\n",
			plural(res.Rules, "rule"), plural(res.Changed, "asset"), res.Assets, res.Digest, res.Leaf)
		return nil
	}
	return cmd
}

// readRules reads a rules file and refuses one with faults before it is sent.
func readRules(path string) ([]byte, error) {
	src, err := readBounded(path, classify.MaxRules)
	if err != nil {
		return nil, err
	}
	if _, err := classify.ParseRules(src); err != nil {
		return nil, fmt.Errorf("rules %s: %w", path, err)
	}
	return src, nil
}

// readBounded reads a file that must not be larger than limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(src)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return src, nil
}

func newClassifyShowCommand() *cobra.Command {
	var source bool
	q := answers[query.Classification]{
		what: "show classification",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.Classification, error) {
			return c.Classification(ctx)
		},
		about: func(s *query.Classification) query.Meta { return s.Meta },
		table: classificationTable,
		items: func(s *query.Classification) iter.Seq[any] { return both(each(s.History), each(s.Imports)) },
		show: func(w io.Writer, s *query.Classification) {
			if source {
				fmt.Fprint(w, s.Source)
				return
			}
			classificationTable(s).print(w)
		},
		talk: func(w io.Writer, s *query.Classification) {
			if s.Count == 0 {
				fmt.Fprintln(w, "patchproof: no rules and no lists yet; 'patchproof classify apply FILE', 'patchproof asset import FILE --source NAME'")
			}
		},
	}
	cmd := q.command(&cobra.Command{Use: "show", Short: "the rules in force, and every list imported", Args: cobra.NoArgs})
	cmd.Flags().BoolVar(&source, "source", false, "print the rules file as it was applied")
	return cmd
}

func classificationTable(s *query.Classification) *table {
	t := &table{columns: []column{
		{head: "AT"},
		{head: "KIND"},
		{head: "STATE"},
		{head: "ENTRIES", right: true},
		{head: "BY", min: 5, drop: 3},
		{head: "FILE", min: 8, drop: 2},
		{head: "LEAF", right: true, drop: 1},
		{head: "DIGEST", min: 12},
	}}
	for i, r := range s.History {
		state, rules := "replaced", "-"
		if i == 0 {
			state, rules = "in force", strconv.Itoa(s.Rules.Rules)
		}
		t.add(stamp(r.AppliedAt), "rules", state, rules, dash(r.AppliedBy), "-", strconv.FormatInt(r.Leaf, 10), r.Digest)
	}
	newest := map[string]bool{}
	for _, im := range s.Imports {
		state := "newest"
		if newest[im.Source] {
			state = "older"
		}
		newest[im.Source] = true
		t.add(stamp(im.ImportedAt), "list "+im.Source, state, strconv.Itoa(im.Entries), dash(im.ImportedBy), dash(im.File), strconv.FormatInt(im.Leaf, 10), im.Digest)
	}
	return t
}

func newClassifyTestCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "test [ASSET] [--file RULES]",
		Short: "explain an asset attribute by attribute, or try rules without applying them",
		Long: `With an ASSET: by whose word each of its attributes stands, and who else says what.
With --file: the same under rules that are not applied. With --file alone: what
these rules would change, asset by asset.`,
		Args: cobra.MaximumNArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json", "csv")
	cmd.Flags().StringVar(&file, "file", "", "rules to try instead of those in force")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asset := ""
		if len(args) == 1 {
			asset = args[0]
		}
		if asset == "" && file == "" {
			return usage(errors.New("name an asset, or rules with --file"))
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		if file == "" {
			a, err := c.Classified(cmd.Context(), asset)
			if err != nil {
				return fmt.Errorf("explain classification: %w", err)
			}
			return showClassified(cmd, *out, &a)
		}
		src, err := readRules(file)
		if err != nil {
			return err
		}
		res, err := c.TestRules(cmd.Context(), src, asset)
		if err != nil {
			return fmt.Errorf("test rules: %w", err)
		}
		if res.Asset != nil {
			return showClassified(cmd, *out, res.Asset)
		}
		return showTrial(cmd, *out, &res)
	}
	return cmd
}

func showClassified(cmd *cobra.Command, out string, a *query.Classified) error {
	w := cmd.OutOrStdout()
	t := &table{columns: []column{
		{head: "ATTRIBUTE"},
		{head: "VALUE", min: 8},
		{head: "HOLDS"},
		{head: "SOURCE"},
		{head: "NAME", min: 8},
		{head: "BY", min: 5, drop: 2},
		{head: "AT", drop: 1},
		{head: "WHY", min: 16},
	}, wrapLast: true}
	for _, e := range a.Explained {
		if len(e.Words) == 0 {
			t.add(string(e.Attribute), dash(e.Value), "yes", string(classify.ByNobody), "-", "-", "-", "nobody says"+countsAs(e.Attribute))
		}
		for _, word := range e.Words {
			t.add(wordCells(e.Attribute, &word)...)
		}
	}
	switch out {
	case "json":
		return printJSON(w, a)
	case "csv":
		return t.csv(w)
	}
	fmt.Fprintf(w, "%s (%s): class %s, column %s\n", clean(a.Name), clean(a.Asset), a.Attributes.Class, a.Column)
	t.print(w)
	for _, n := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", clean(n))
	}
	return nil
}

func wordCells(n classify.Attribute, w *classify.Word) []string {
	holds, why := "no", w.Why
	if w.Wins {
		holds, why = "yes", ""
	}
	if w.Origin.Detail != "" {
		why = strings.TrimSuffix(w.Origin.Detail+"; "+why, "; ")
	}
	if w.Wins && w.Origin.Instead != "" {
		why = strings.TrimPrefix(why+"; stricter than the record's "+w.Origin.Instead, "; ")
	}
	source := string(w.Origin.Source)
	if w.Origin.Claimed {
		source = "claimed"
	}
	return []string{string(n), w.Value, holds, source, dash(w.Origin.Name), dash(w.Origin.By), dash(stamp(w.Origin.At)), dash(why)}
}

func countsAs(n classify.Attribute) string {
	switch n {
	case classify.Exposure:
		return ": counts as internet"
	case classify.Environment:
		return ": counts as production"
	case classify.Class:
		return ": counts as compute"
	default:
		return ""
	}
}

func showTrial(cmd *cobra.Command, out string, res *api.RulesTest) error {
	w, r := cmd.OutOrStdout(), res.Trial
	t := &table{columns: []column{{head: "NAME", min: 8}, {head: "ATTRIBUTE"}, {head: "BEFORE", min: 6}, {head: "AFTER", min: 6}, {head: "RULE", min: 8}, {head: "ASSET", drop: 1}}}
	for _, c := range r.Changes {
		t.add(c.Name, string(c.Attribute), dash(c.Before), dash(c.After), dash(c.Rule), c.Asset)
	}
	switch out {
	case "json":
		return printJSON(w, res)
	case "csv":
		return t.csv(w)
	}
	t.print(w)
	for _, id := range r.Unused {
		fmt.Fprintf(cmd.ErrOrStderr(), "patchproof: rule %s decides nothing\n", id)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "patchproof: %s on %s, as of %s; nothing was applied\n", plural(len(r.Changes), "change"), plural(r.Assets, "asset"), stamp(r.AsOf))
	return nil
}

func newClassifyGapsCommand() *cobra.Command {
	q := answers[query.ClassificationGaps]{
		past: true,
		what: "list classification gaps",
		ask: func(ctx context.Context, c *client.Client, _ []string) (query.ClassificationGaps, error) {
			return c.ClassificationGaps(ctx)
		},
		about: func(g *query.ClassificationGaps) query.Meta { return g.Meta },
		table: gapTable,
		items: func(g *query.ClassificationGaps) iter.Seq[any] { return each(g.Gaps) },
		talk:  func(w io.Writer, g *query.ClassificationGaps) { footer(w, g.Meta, "gap") },
	}
	return q.command(&cobra.Command{
		Use: "gaps", Short: "assets whose exposure, environment or owner nobody vouches for", Args: cobra.NoArgs,
	})
}

func gapTable(g *query.ClassificationGaps) *table {
	t := &table{columns: []column{
		{head: "NAME", min: 8}, {head: "ATTRIBUTE"}, {head: "KIND"}, {head: "COUNTS AS"}, {head: "ASSET", drop: 1}, {head: "DETAIL", min: 16},
	}, wrapLast: true}
	for _, r := range g.Gaps {
		t.add(r.Name, dash(string(r.Attribute)), string(r.Kind), dash(r.CountsAs), r.Asset, dash(r.Detail))
	}
	return t
}

func newAssetImportCommand() *cobra.Command {
	var u api.AssetUpload
	cmd := &cobra.Command{
		Use:   "import FILE --source NAME",
		Short: "import a list of assets: CMDB CSV or JSON, AWS EC2, Config, SSM, Organizations",
		Long: `Import a list of the assets that should be there. CSV has a header line; JSON is
an array of objects with the same names, or what these print:

  aws ec2 describe-instances
  aws configservice select-resource-config, list-discovered-resources; snapshots
  aws ssm describe-instance-information, get-inventory
  aws organizations list-accounts, list-organizational-units-for-parent

Entries go to assets by instance id, else by account and name. What no asset
answers to is expected, and 'patchproof coverage' shows it. A newer file of the
same source replaces the entries it holds and leaves the others; with --whole it is
all of the list, and machines it leaves out are terminated, as those that it says
are. Findings of a terminated asset end as retired.`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&u.Source, "source", "", "name of the list, such as cmdb or config")
	cmd.Flags().BoolVar(&u.Whole, "whole", false, "the file is all of the list: machines it leaves out are terminated")
	cmd.Flags().BoolVar(&u.Confirm, "confirm", false, "take a whole list that leaves out more than a fifth of the machines, and more than ten")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if u.Source == "" {
			return usage(errors.New("name the list with --source, such as cmdb or config"))
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		c, err := conn.client()
		if err != nil {
			return err
		}
		u.File, u.Body = filepath.Base(args[0]), f
		res, err := c.ImportAssets(cmd.Context(), u)
		if err != nil {
			return fmt.Errorf("import assets: %w", err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		printAssetImport(cmd.OutOrStdout(), &res)
		return nil
	}
	return cmd
}

func printAssetImport(w io.Writer, r *api.AssetsImported) {
	entries := fmt.Sprintf("%d entries", r.Entries)
	if r.Entries == 1 {
		entries = "1 entry"
	}
	fmt.Fprintf(w, "%s of %s taken in as %s; given to %s of %d; %d classified anew; digest %s, leaf %d\n",
		entries, clean(r.Source), r.Format, plural(r.Matched, "asset"), r.Assets, r.Changed, r.Digest, r.Leaf)
	if r.Absent > 0 {
		fmt.Fprintf(w, "%s not listed any more: terminated\n", plural(r.Absent, "machine"))
	}
	if len(r.Ignored) > 0 {
		fmt.Fprintf(w, "columns nobody reads: %s\n", clean(strings.Join(r.Ignored, ", ")))
	}
	kinds := make([]string, 0, len(r.Skipped))
	for k := range r.Skipped {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		fmt.Fprintf(w, "left out: %d of %s\n", r.Skipped[k], clean(k))
	}
}
