package assess

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// date gives every finding that needs them its severity and verdict, and returns
// the findings that differ from what the store has, and the facts it read.
func (a *Assessor) date(ctx context.Context, as store.Asset, c *classification, f *fold, now time.Time) (changed []finding.Finding, facts map[string]advisory.Facts, err error) {
	merged := f.merged()
	if facts, err = a.past.Facts(ctx, toDate(merged)); err != nil {
		return nil, nil, fmt.Errorf("load facts: %w", err)
	}
	for _, cur := range merged {
		if undated(cur) {
			if err := a.judge(ctx, as, c, cur, f, facts[cur.Vulnerability], now); err != nil {
				return nil, nil, fmt.Errorf("finding %s: %w", cur.ID, err)
			}
		} else if !cur.End.Final {
			cur.Clock = lifecycle.Pass(cur.Verdict, cur.Clock, f.spans[cur.ID], now)
		}
		if !cur.State.Running() {
			cur.End = lifecycle.End(cur, f.window, now)
		}
		if old, ok := f.stored[cur.ID]; !ok || !same(old, *cur) {
			changed = append(changed, *cur)
		}
	}
	return changed, facts, nil
}

// judge applies severity and deadlines to one finding. A finding that
// is kept open without a match of its own (a gap, an undetermined comparison)
// keeps the severity it had.
func (a *Assessor) judge(ctx context.Context, as store.Asset, cl *classification, cur *finding.Finding, f *fold, facts advisory.Facts, now time.Time) error {
	kept := a.policy
	if was := cur.Clock.Inputs.Policy; was != "" {
		var err error
		if kept, err = a.policyOf(ctx, was); err != nil {
			return err
		}
	}
	ms := f.lastMatched[key{cur.Vulnerability, cur.Component}]
	severity := func(p *sla.Policy) (finding.Severity, string) {
		if len(ms) == 0 && cur.Severity != "" {
			return cur.Severity, cur.SeveritySource
		}
		return p.Severity.Of(claims(ms, facts))
	}
	cur.EPSS = 0
	if facts.EPSS != nil {
		cur.EPSS = facts.EPSS.Score
	}
	c := lifecycle.Case{
		Policy: a.policy, Effective: a.effective, Kept: kept,
		Input: input(as.Attributes, cur, facts), Spans: f.spans[cur.ID],
		Classification: cl.request, PolicyChange: cl.policy,
	}
	if !cur.Clock.Started() {
		c.Input.Asset = slaAsset(cl.force)
	}
	c.Input.Vulnerability.Severity, _ = severity(a.policy)
	c.KeptSeverity, _ = severity(kept)
	var err error
	if c.Input.Clock.Available, err = a.issued(cur.Available); err != nil {
		return err
	}
	if cur.Verdict, cur.Clock, err = lifecycle.Decide(cur.Verdict, cur.Clock, c, now); err != nil {
		return fmt.Errorf("decide deadline: %w", err)
	}
	binding := a.policy
	if cur.Clock.Inputs.Policy != binding.Digest {
		binding = kept
	}
	cur.Severity, cur.SeveritySource = severity(binding)
	cur.KEV = cur.Clock.Inputs.KEVAdded != ""
	return nil
}

// issued reads an advisory's date in the policy's zone: publishers write a date
// without a time as midnight UTC, and it means that day, wherever one is.
func (a *Assessor) issued(at time.Time) (time.Time, error) {
	at = at.UTC()
	if at.IsZero() || !at.Equal(at.Truncate(24*time.Hour)) {
		return at, nil
	}
	start, err := a.policy.StartOf(finding.Date(at.Format(time.DateOnly)))
	if err != nil {
		return at, fmt.Errorf("issue date %s: %w", at.Format(time.DateOnly), err)
	}
	return start, nil
}

// claims gathers every score, and the worst rating among the advisories.
func claims(ms []*match.Match, facts advisory.Facts) ([]advisory.Score, string) {
	scores := append([]advisory.Score{}, facts.Scores...)
	rating := ""
	seen := map[*advisory.Advisory]bool{}
	for _, m := range ms {
		if seen[m.Advisory] {
			continue
		}
		seen[m.Advisory] = true
		// An advisory's score speaks of one flaw; where it names several, whose it is
		// cannot be told, and the worst stands for each.
		scores = append(scores, m.Advisory.Scores...)
		if worse(m.Advisory.Rating, rating) {
			rating = m.Advisory.Rating
		}
	}
	return scores, rating
}

func worse(a, b string) bool {
	if a == "" {
		return false
	}
	if b == "" {
		return true
	}
	sa, _ := sla.SeverityOf(nil, a)
	sb, _ := sla.SeverityOf(nil, b)
	return cmp.Compare(sa.Rank(), sb.Rank()) > 0
}

// input restates an asset, a finding and the facts in the engine's terms.
func input(at store.Attributes, f *finding.Finding, facts advisory.Facts) sla.Input {
	in := sla.Input{
		Asset: slaAsset(at),
		Vulnerability: sla.Vulnerability{
			Severity:           f.Severity,
			EPSS:               f.EPSS,
			SensitiveComponent: sensitive(f.Component),
		},
		Clock: sla.Clock{Available: f.Available, NoFix: f.Available.IsZero(), Detected: f.Detected},
	}
	if facts.KEV != nil {
		in.Vulnerability.KEVAdded = finding.Date(facts.KEV.Added)
		in.Vulnerability.KEVDue = finding.Date(facts.KEV.Due)
	}
	if facts.SSVC != nil {
		in.Vulnerability.Exploitation = facts.SSVC.Exploitation
		in.Vulnerability.Automatable = facts.SSVC.Automatable
		in.Vulnerability.Impact = facts.SSVC.Impact
	}
	return in
}

// sensitivePrefixes are the components VPM-07.2 asks to be patched first on hot
// wallets: kernel, OpenSSL and language runtimes.
var sensitivePrefixes = []string{
	"linux-", "kernel-", "openssl", "python2", "python3", "ruby", "openjdk", "java-", "nodejs", "perl", "php", "golang", "go-toolset", "dotnet", "gcc-toolset",
}

func sensitive(component string) bool {
	if component == "linux" || component == "kernel" {
		return true
	}
	for _, p := range sensitivePrefixes {
		if strings.HasPrefix(component, p) {
			return true
		}
	}
	return false
}

// same compares findings as the store would give them back. What only time
// changes in a verdict (open becoming overdue) is left out: it follows from
// the due instant whenever somebody asks.
func same(a, b finding.Finding) bool {
	a.Verdict.State, b.Verdict.State = "", ""
	return reflect.DeepEqual(a, b)
}
