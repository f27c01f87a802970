package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
)

func newMatchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "match --sbom FILE | --report FILE --feed PATH...",
		Short: "match an SBOM or a report against feeds, without a server",
		Long: `Match what is on one host or image against advisories and facts from files.

  --sbom takes CycloneDX JSON. --report takes what 'patchproof-agent inventory -o json'
  prints, or a statement with its packages. --feed takes what 'patchproof feed import'
  does, and may be given several times: advisories, KEV, EPSS, CVE records.

With --fail-on the exit status is 3 when a finding of that severity or above is
found. It is 3 as well when something could not be judged: a release that no feed
covers, a comparison that cannot be made. What was not judged never passes.`,
		Args: cobra.NoArgs,
	}
	var in matchInput
	var feeds []string
	var failOn string
	cmd.Flags().StringVar(&in.sbom, "sbom", "", "CycloneDX JSON `FILE`; - is standard input")
	cmd.Flags().StringVar(&in.report, "report", "", "inventory or statement JSON `FILE`; - is standard input")
	cmd.Flags().StringArrayVar(&feeds, "feed", nil, "file or directory of a feed (`PATH`, may be repeated)")
	cmd.Flags().StringVar(&failOn, "fail-on", "", "exit with 3 at this `SEVERITY` or above: critical, high, medium, low")
	out := outputFlag(cmd, "table", "json", "csv")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkMatchFlags(in, feeds, failOn); err != nil {
			return err
		}
		// A command that lives for a second: half the collector's slack costs it a
		// few percent of time and saves a sixth of its memory.
		defer debug.SetGCPercent(debug.SetGCPercent(50))
		found, err := matchOnce(in, feeds, cmd.InOrStdin())
		if err != nil {
			return err
		}
		if err := found.write(cmd.OutOrStdout(), *out); err != nil {
			return err
		}
		found.warn(cmd.ErrOrStderr())
		return found.gate(finding.Severity(failOn))
	}
	return cmd
}

func checkMatchFlags(in matchInput, feeds []string, failOn string) error {
	if (in.sbom == "") == (in.report == "") {
		return usage(errors.New("give one of --sbom and --report"))
	}
	if len(feeds) == 0 {
		return usage(errors.New("give at least one --feed: without advisories nothing can be judged"))
	}
	if failOn != "" && finding.Severity(failOn).Rank() == 0 {
		return usage(fmt.Errorf("--fail-on %q: want one of critical, high, medium, low", failOn))
	}
	return nil
}

// matchOnce reads the input, then the feeds for its releases, and matches.
func matchOnce(in matchInput, feeds []string, stdin io.Reader) (*matchAnswer, error) {
	subject, err := in.read(stdin)
	if err != nil {
		return nil, err
	}
	releases := map[inventory.Release]bool{}
	for _, s := range subject.states {
		releases[s.Release] = true
	}
	opts := feed.Options{Keep: func(r inventory.Release) bool { return releases[r] }}
	var advs []advisory.Advisory
	var facts [][]advisory.Facts
	for _, path := range feeds {
		batches, err := feed.Load(path, opts)
		if err != nil {
			return nil, err
		}
		for i := range batches {
			advs = append(advs, batches[i].Advisories...)
			facts = append(facts, batches[i].Facts)
		}
	}
	results := make([]match.Result, len(subject.states))
	for i, s := range subject.states {
		results[i] = match.NewIndex(s.Release, advs).Match(s)
	}
	a := &matchAnswer{subject: subject}
	known := factsOn(results, facts)
	for i, res := range results {
		a.take(res, subject.states[i].Release, known)
	}
	a.finish()
	return a, nil
}

// factsOn picks the facts on the vulnerabilities that results name.
func factsOn(results []match.Result, facts [][]advisory.Facts) map[string]advisory.Facts {
	out := map[string]advisory.Facts{}
	for _, res := range results {
		for i := range res.Matches {
			for _, v := range res.Matches[i].Advisory.Vulnerabilities {
				out[v] = advisory.Facts{}
			}
		}
	}
	for _, list := range facts {
		for i := range list {
			if old, ok := out[list[i].Vulnerability]; ok {
				out[list[i].Vulnerability] = mergeFacts(old, list[i])
			}
		}
	}
	return out
}

// mergeFacts adds the facts of another feed on the same vulnerability.
func mergeFacts(a, b advisory.Facts) advisory.Facts {
	if a.Vulnerability == "" {
		return b
	}
	a.Scores = append(slices.Clip(a.Scores), b.Scores...)
	if b.KEV != nil {
		a.KEV = b.KEV
	}
	if b.EPSS != nil && (a.EPSS == nil || b.EPSS.Date >= a.EPSS.Date) {
		a.EPSS = b.EPSS
	}
	if b.SSVC != nil {
		a.SSVC = b.SSVC
	}
	return a
}

// gate is the policy's answer. It fails closed: what was not judged is not
// below any severity.
func (a *matchAnswer) gate(failOn finding.Severity) error {
	if failOn == "" {
		return nil
	}
	n := 0
	for _, f := range a.Findings {
		if f.Severity.Rank() >= failOn.Rank() {
			n++
		}
	}
	var why []string
	if n > 0 {
		why = append(why, fmt.Sprintf("%s %s or above", plural(n, "finding"), failOn))
	}
	if u := len(a.Undetermined); u > 0 {
		why = append(why, strconv.Itoa(u)+" undetermined")
	}
	if a.Uncovered {
		why = append(why, "not everything is covered by the feeds")
	}
	if len(why) == 0 {
		return nil
	}
	return &statusError{code: exitPolicy, err: errors.New("policy says no: " + strings.Join(why, "; "))}
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}
