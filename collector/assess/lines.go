package assess

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/store"
)

// lines makes the steps of an asset whose reports are not one chain: after each
// sequence, one state that is the worst of all lines that count.
func (a *Assessor) lines(ctx context.Context, as store.Asset) (chain, error) {
	l, err := a.past.Lineage(ctx, as.ID)
	if err != nil {
		return chain{}, err
	}
	states, err := a.past.States(ctx, as.ID, 0)
	if err != nil {
		return chain{}, err
	}
	held := make(map[string]store.Report, len(states))
	for _, s := range states {
		held[s.ID] = s
	}
	p := lineage.Trace(l.Nodes, l.Decisions)
	c := chain{heads: p.Heads, gaps: p.Gaps()}
	standing := map[string]step{}
	for _, group := range p.Order {
		if err := a.advance(ctx, standing, group, &p, held); err != nil {
			return chain{}, err
		}
		next := worst(standing, group)
		if n := len(c.steps); n > 0 {
			c.steps[n-1].until = next.report.ReceivedAt
		}
		c.steps = append(c.steps, next)
	}
	if len(c.steps) == 0 {
		return chain{}, fmt.Errorf("asset %s has a head and no reports that count: %w", as.ID, store.ErrNotFound)
	}
	return c, nil
}

// advance lets the reports of one sequence take the places of those they follow.
func (a *Assessor) advance(ctx context.Context, standing map[string]step, group []string, p *lineage.Picture, held map[string]store.Report) error {
	for _, id := range group {
		for _, before := range p.Follows[id] {
			delete(standing, before)
		}
	}
	for _, id := range group {
		r, ok := held[id]
		if !ok {
			return fmt.Errorf("report %s: %w", id, store.ErrNotFound)
		}
		s, err := a.matchState(ctx, r)
		if err != nil {
			return err
		}
		standing[id] = s
	}
	return nil
}

// worst joins the states of several lines into one that shows what any of them
// shows, and is as incomplete as the least complete. It bears the report of the
// group that was received last: only then was it known that none shows a thing.
func worst(standing map[string]step, group []string) step {
	if len(standing) == 1 {
		return standing[group[0]]
	}
	order := slices.Sorted(maps.Keys(standing))
	out := step{said: map[key]*evidenceFor{}, advisories: map[advisoryKey]*advisory.Advisory{}, result: match.Result{Covered: true}}
	newest := slices.MaxFunc(group, func(a, b string) int {
		return cmp.Or(standing[a].report.ReceivedAt.Compare(standing[b].report.ReceivedAt), strings.Compare(a, b))
	})
	out.report, out.installed, out.packages = standing[newest].report, standing[newest].installed, standing[newest].packages
	for _, id := range order {
		s := standing[id]
		out.report.Complete = out.report.Complete && s.report.Complete
		out.result.Covered = out.result.Covered && s.result.Covered
		out.result.KernelUnowned = out.result.KernelUnowned || s.result.KernelUnowned
		out.result.Gaps = joinGaps(out.result.Gaps, s.result.Gaps)
		out.unlooked = cmp.Or(out.unlooked, s.unlooked)
		if out.result.Stale == nil {
			out.result.Stale = map[match.Component]string{}
		}
		maps.Copy(out.result.Stale, s.result.Stale)
		maps.Copy(out.advisories, s.advisories)
		for k, e := range s.said {
			out.said[k] = join(out.said[k], e, s.report)
		}
	}
	return out
}

// join adds what one line's state says of a finding to what others say. What is
// shown counts from the earliest report that shows it.
func join(all, e *evidenceFor, by store.Report) *evidenceFor {
	if all == nil {
		all = &evidenceFor{}
	}
	if len(e.exposed) > 0 && (all.shownBy == nil || by.ReceivedAt.Before(all.shownBy.ReceivedAt)) {
		all.shownBy = &by
	}
	all.exposed = distinct(all.exposed, e.exposed)
	all.patched = append(all.patched, e.patched...)
	all.undetermined = distinct(all.undetermined, e.undetermined)
	all.cleared = distinct(all.cleared, e.cleared)
	return all
}

// distinct adds matches that are not there yet: lines mostly say the same.
func distinct(all, more []*match.Match) []*match.Match {
	for _, m := range more {
		same := func(o *match.Match) bool { return o.Verdict == m.Verdict && comparison(o) == comparison(m) }
		if !slices.ContainsFunc(all, same) {
			all = append(all, m)
		}
	}
	return all
}
