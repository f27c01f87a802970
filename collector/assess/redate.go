package assess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/store"
)

const (
	// redateSize bounds how many assets one transaction and one leaf speak of when
	// nothing but facts changed: little is read and written of each.
	redateSize = 1024
	// redateMarks bounds the marks taken at a time.
	redateMarks = 16 * redateSize
)

// redating is what marks that name vulnerabilities are dated from: the store as of
// one moment, at which it had so many leaves.
type redating struct {
	assessor   *Assessor
	past       redated
	leaves     int64
	facts      map[string]advisory.Facts
	advisories map[advisoryKey]*advisory.Advisory
	now        time.Time
}

// redated is what of the past is read of each asset.
type redated interface {
	AttributesOf(ctx context.Context, assets []string) (map[string]store.Attributes, error)
	Running(ctx context.Context, assets, vulnerabilities []string) ([]finding.Finding, error)
}

// redate dates the findings again that marks name by their vulnerabilities: what
// an assessment of the whole asset would say of them while nothing but facts
// changed. An asset it cannot say that of is assessed as a whole. While some are
// recorded the next are dated.
func (a *Assessor) redate(ctx context.Context, marks []store.Mark, now time.Time, failed map[string]error) (int, error) {
	done := 0
	err := a.store.View(ctx, func(st store.Store) error {
		a.past = st
		defer func() { a.past = a.store }()
		if err := a.loadPolicy(ctx, now); err != nil {
			return err
		}
		r, err := a.newRedating(ctx, st, marks, now)
		if err != nil {
			return err
		}
		done, err = r.run(ctx, marks, failed)
		return err
	})
	return done, err
}

func (r *redating) run(ctx context.Context, marks []store.Mark, failed map[string]error) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	dated := make(chan []store.Assessment, 1)
	g.Go(func() error {
		defer close(dated)
		for some := range slices.Chunk(marks, redateSize) {
			outcomes, err := r.assets(ctx, some, failed)
			if err != nil {
				return err
			}
			select {
			case dated <- outcomes:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	done := 0
	g.Go(func() error {
		for outcomes := range dated {
			if err := r.assessor.record(ctx, outcomes, r.now); err != nil {
				return err
			}
			done += len(outcomes)
		}
		return nil
	})
	err := g.Wait()
	return done, err
}

func (a *Assessor) newRedating(ctx context.Context, st store.Store, marks []store.Mark, now time.Time) (*redating, error) {
	r := &redating{assessor: a, past: st, advisories: map[advisoryKey]*advisory.Advisory{}, now: now}
	named := vulnerabilitiesOf(marks)
	var err error
	if r.leaves, err = st.LeafCount(ctx); err != nil {
		return nil, err
	}
	if r.facts, err = st.Facts(ctx, named); err != nil {
		return nil, fmt.Errorf("load facts: %w", err)
	}
	for _, v := range named {
		advs, err := st.AdvisoriesNaming(ctx, v)
		if err != nil {
			return nil, err
		}
		for i := range advs {
			r.advisories[advisoryKey{advs[i].Feed, advs[i].ID}] = &advs[i]
		}
	}
	return r, nil
}

// vulnerabilitiesOf lists what marks name, sorted.
func vulnerabilitiesOf(marks []store.Mark) []string {
	set := map[string]struct{}{}
	for _, m := range marks {
		for _, v := range m.Vulnerabilities {
			set[v] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// assets dates the findings of some marks. Assets that cannot be assessed are
// added to failed.
func (r *redating) assets(ctx context.Context, marks []store.Mark, failed map[string]error) ([]store.Assessment, error) {
	ids := make([]string, len(marks))
	for i, m := range marks {
		ids[i] = m.Asset
	}
	attributes, err := r.past.AttributesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	list, err := r.past.Running(ctx, ids, vulnerabilitiesOf(marks))
	if err != nil {
		return nil, err
	}
	running := make(map[string][]finding.Finding, len(marks))
	for _, f := range list {
		running[f.Asset] = append(running[f.Asset], f)
	}
	outcomes := make([]store.Assessment, 0, len(marks))
	for _, m := range marks {
		out, ok, err := r.asset(ctx, m, store.Asset{ID: m.Asset, Attributes: attributes[m.Asset]}, running[m.Asset])
		if err == nil && !ok {
			m.Vulnerabilities = nil
			out, err = r.assessor.asset(ctx, m, r.now)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			failed[m.Asset] = fmt.Errorf("assess asset %s: %w", m.Asset, err)
			continue
		}
		out.AsOf = r.leaves
		outcomes = append(outcomes, out)
	}
	return outcomes, nil
}

// asset dates the findings of one mark; ok is false when the asset has to be
// assessed as a whole.
func (r *redating) asset(ctx context.Context, m store.Mark, as store.Asset, running []finding.Finding) (out store.Assessment, ok bool, err error) {
	out = store.Assessment{Mark: m, At: r.now, Facts: map[string]advisory.Facts{}}
	for i := range running {
		old := &running[i]
		if !slices.Contains(m.Vulnerabilities, old.Vulnerability) {
			continue
		}
		cur := *old
		f, ok := r.fold(&cur)
		if !ok || !cur.Clock.Started() || cur.Episode == 0 {
			return out, false, nil
		}
		c := &classification{force: as.Attributes}
		if !r.settled(as, &cur) {
			if c, err = r.assessor.standing(ctx, as); err != nil {
				return out, false, err
			}
		}
		if known, ok := r.facts[cur.Vulnerability]; ok {
			out.Facts[cur.Vulnerability] = known
		}
		if err := r.assessor.judge(ctx, as, c, &cur, f, r.facts[cur.Vulnerability], r.now); err != nil {
			return out, false, fmt.Errorf("finding %s: %w", cur.ID, err)
		}
		if asksAnew(old, &cur) {
			return out, false, nil
		}
		if !same(*old, cur) {
			out.Changed = append(out.Changed, cur)
		}
	}
	return out, true, nil
}

// settled reports whether a finding was decided under the policy in force and
// what its asset is now, so that nobody's approval matters to it.
func (r *redating) settled(as store.Asset, f *finding.Finding) bool {
	now, was := slaAsset(as.Attributes), f.Clock.Inputs
	return was.Policy == r.assessor.policy.Digest && was.Class == string(now.Class) && was.Exposure == string(now.Exposure) &&
		was.Environment == string(now.Environment) && was.Core == now.Core && was.CrownJewel == now.CrownJewel &&
		was.ColdWallet == now.ColdWallet && was.HotWallet == now.HotWallet
}

// fold is the asset's newest state as far as one running finding shows it: its
// advisories, unless it stands without a match of its own. ok is false when one
// of them does not name it any more.
func (r *redating) fold(cur *finding.Finding) (f *fold, ok bool) {
	f = &fold{
		spans:       map[string][]lifecycle.Span{cur.ID: {{From: later(cur.Detected, cur.Reopened)}}},
		lastMatched: map[key][]*match.Match{},
	}
	if cur.Stale {
		return f, true
	}
	k := key{cur.Vulnerability, cur.Component}
	for _, p := range cur.Packages {
		adv := r.advisories[advisoryKey{p.Feed, p.Advisory}]
		if adv == nil {
			return nil, false
		}
		f.lastMatched[k] = append(f.lastMatched[k], &match.Match{Advisory: adv})
	}
	return f, true
}

// asksAnew reports whether something waits for approval that did not before:
// that is asked for by an assessment of the whole asset.
func asksAnew(old, cur *finding.Finding) bool {
	return slices.ContainsFunc(cur.Clock.Held, func(h finding.PendingApproval) bool {
		return !slices.ContainsFunc(old.Clock.Held, func(o finding.PendingApproval) bool { return o.Approval == h.Approval && o.What == h.What })
	})
}
