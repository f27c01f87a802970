package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newAssetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "asset", Short: "the hosts we track"}
	cmd.AddCommand(newAssetListCommand(), newAssetShowCommand(), newAssetHistoryCommand(), newAssetImportCommand(), newAssetSetCommand(),
		newAssetStandingCommand(true), newAssetStandingCommand(false))
	return cmd
}

func newAssetListCommand() *cobra.Command {
	q := answers[query.AssetList]{
		past:  true,
		what:  "list assets",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (query.AssetList, error) { return c.Assets(ctx) },
		about: func(l *query.AssetList) query.Meta { return l.Meta },
		table: func(l *query.AssetList) *table { return assetTable(l.Assets) },
		items: func(l *query.AssetList) iter.Seq[any] { return each(l.Assets) },
		talk:  func(w io.Writer, l *query.AssetList) { footer(w, l.Meta, "asset") },
	}
	return q.command(&cobra.Command{Use: "list", Short: "list hosts with what is open on each", Args: cobra.NoArgs})
}

func assetTable(as []query.Asset) *table {
	t := &table{columns: []column{
		{head: "NAME", min: 8},
		{head: "RELEASE", min: 9, drop: 1},
		{head: "KERNEL", min: 12, drop: 5},
		{head: "PACKAGES", right: true, drop: 4},
		{head: "OPEN", right: true},
		{head: "OVERDUE", right: true},
		{head: "KEV", right: true},
		{head: "GAPS", right: true},
		{head: "COVERED"},
		{head: "LAST REPORT"},
		{head: "PRESENCE"},
		{head: "CLASS", drop: 6},
		{head: "EXPOSURE", drop: 2},
		{head: "ENVIRONMENT", drop: 3},
		{head: "ID", drop: 1},
	}}
	for i := range as {
		a := &as[i]
		last := stamp(a.LastReport)
		if last == "" {
			last = "never"
		}
		t.add(a.Name, dash(a.Release), dash(a.Kernel), strconv.Itoa(a.Packages), strconv.Itoa(a.Open.Total), strconv.Itoa(a.Open.Overdue),
			strconv.Itoa(a.Open.KEV), strconv.Itoa(len(a.Gaps)), coveredWord(a), last, presenceWord(a.Presence), string(a.Attributes.Class),
			string(a.Attributes.Exposure), string(a.Attributes.Environment), a.ID)
	}
	return t
}

// presenceWord shouts what contradicts itself.
func presenceWord(p query.Presence) string {
	if p == query.Back {
		return "BACK"
	}
	return string(p)
}

func coveredWord(a *query.Asset) string {
	switch {
	case a.LastReport.IsZero():
		return "-"
	case a.Covered:
		return "yes"
	default:
		return "NO FEED"
	}
}

func newAssetShowCommand() *cobra.Command {
	q := answers[query.AssetDetail]{
		past: true,
		what: "show asset",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.AssetDetail, error) {
			return c.Asset(ctx, args[0])
		},
		about: func(d *query.AssetDetail) query.Meta { return d.Meta },
		show:  printAsset,
		talk:  func(w io.Writer, d *query.AssetDetail) { footer(w, d.Meta, "finding") },
	}
	return q.command(&cobra.Command{Use: "show ASSET", Short: "one host, by id or name: facts, gaps, what is due", Args: cobra.ExactArgs(1)})
}

func newAssetHistoryCommand() *cobra.Command {
	q := answers[query.AssetHistory]{
		past: true,
		what: "tell history of asset",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.AssetHistory, error) {
			return c.AssetHistory(ctx, args[0])
		},
		about: func(h *query.AssetHistory) query.Meta { return h.Meta },
		table: func(h *query.AssetHistory) *table {
			t := &table{columns: []column{{head: "AT"}, {head: "LEAF", right: true}, {head: "EVENT"}, {head: "BY", min: 8, drop: 1}, {head: "WHAT", min: 24}}, wrapLast: true}
			for i := range h.Events {
				e := &h.Events[i]
				t.add(stamp(e.At), strconv.FormatInt(e.Leaf, 10), string(e.Kind), dash(e.By), e.What)
			}
			return t
		},
		items: func(h *query.AssetHistory) iter.Seq[any] { return each(h.Events) },
		talk:  func(w io.Writer, h *query.AssetHistory) { footer(w, h.Meta, "event") },
	}
	return q.command(&cobra.Command{
		Use: "history ASSET", Short: "what became of a host: reports, names, keys, attributes by whose word, gaps", Args: cobra.ExactArgs(1),
	})
}

// shownFindings is how many findings a person sees of one host before the list command takes over.
const shownFindings = 20

func printAsset(w io.Writer, d *query.AssetDetail) {
	a := &d.Asset
	say := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", label, clean(fmt.Sprintf(format, args...)))
	}
	say("asset", "%s (%s)", a.Name, a.ID)
	if a.CloneSuspect {
		say("CLONE?", "two hosts may be speaking with its key: see patchproof host lines %s", a.ID)
	}
	if a.Presence == query.Back {
		say("BACK", "%s; and yet it reports. Reinstate it, or find out what it is", a.GoneWhy)
	} else if a.GoneWhy != "" {
		say("gone", "%s", a.GoneWhy)
	}
	say("host", "%s, %s, %s", dash(a.Hostname), dash(a.OS), dash(a.Arch))
	say("kernel", "%s running", dash(a.Kernel))
	sayRunning(say, d.Running)
	say("packages", "%d, inventory %s", a.Packages, completeWord(a.Complete))
	say("covered", "%s (%s)", coveredWord(a), dash(a.Release))
	at := a.Attributes
	say("classified", "class %s, exposure %s, environment %s%s%s%s", dash(string(at.Class)), dash(string(at.Exposure)), dash(string(at.Environment)),
		flag(at.Core, ", core"), flag(at.CrownJewel, ", crown jewel"), flag(at.ColdWallet, ", cold wallet"))
	for _, o := range a.Provenance {
		say("", "%s", originWords(&o))
	}
	say("owner", "%s, service %s, account %s, region %s", dash(at.Owner), dash(at.Service), dash(at.Account), dash(at.Region))
	say("reported", "%s, sequence %d, agent %s", dash(stamp(a.LastReport)), a.Sequence, dash(a.Agent))
	say("fingerprint", "%s", a.Fingerprint)
	say("open", "%d: %d critical, %d high, %d medium, %d low; %d overdue, %d KEV; %d undetermined", a.Open.Total, a.Open.Critical,
		a.Open.High, a.Open.Medium, a.Open.Low, a.Open.Overdue, a.Open.KEV, a.Undetermined)
	for _, g := range a.Gaps {
		say("gap", "%s", strings.Join(strings.Fields(g.Extractor+": "+g.Kind+" "+g.Path+" "+g.Detail), " "))
	}
	for i, u := range d.Undetermined {
		if i == shownFindings {
			say("", "… and %d more undetermined; -o json has them all", len(d.Undetermined)-i)
			break
		}
		say("undetermined", "%s %s %s: %s", u.Vulnerability, u.Package, u.Installed, u.Reason)
	}
	if len(d.Findings) == 0 {
		return
	}
	fmt.Fprintln(w)
	findingTable(d.Findings[:min(len(d.Findings), shownFindings)]).print(w)
	if n := len(d.Findings) - shownFindings; n > 0 {
		fmt.Fprintf(w, "… and %d more: patchproof finding list --asset %s\n", n, clean(a.Name))
	}
}

// originWords says by whose word an attribute stands.
func originWords(o *query.AttributeOrigin) string {
	s := fmt.Sprintf("%s %s: ", o.Attribute, dash(o.Value))
	switch {
	case o.Claimed:
		s += "claimed by " + o.Name
		if o.Instead != "" {
			s += ", stricter than the record's " + o.Instead
		}
	case o.Source == classify.ByNobody:
		return s + "nobody says" + countsAs(o.Attribute)
	default:
		s += strings.TrimSpace(string(o.Source) + " " + o.Name)
	}
	if o.Detail != "" {
		s += " (" + o.Detail + ")"
	}
	if o.By != "" {
		s += ", by " + o.By
	}
	if at := stamp(o.At); at != "" {
		s += ", " + at
	}
	return s
}

func completeWord(ok bool) string {
	if ok {
		return "complete"
	}
	return "INCOMPLETE (see gaps)"
}

func flag(on bool, word string) string {
	if on {
		return word
	}
	return ""
}
