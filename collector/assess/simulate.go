package assess

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// Simulation is what would become of the running findings under another policy.
type Simulation struct {
	// At is the instant it speaks of; InForce is the digest of the policy that rules
	// then, Policy of the one that was tried.
	At              time.Time
	InForce, Policy string
	// BySeverity counts them before and after, worst first. A finding counts under
	// the severity it has in each.
	BySeverity []SeverityShift
	// Moves are the findings whose date or severity differs: those that become
	// overdue first, then by new date.
	Moves []Move
	// Failed are the assets whose findings the policy gives no verdict for.
	Failed []Failure
}

// SeverityShift counts the running findings of one severity before and after.
type SeverityShift struct {
	Severity      finding.Severity
	Before, After Standing
}

// Standing counts running findings by where they stand; the last three sum to the first.
type Standing struct {
	Running, Overdue, Within, AwaitingFix int
	// Due counts those within time by how soon they fall due: see [DueDays].
	Due [len(DueDays)]int
}

// DueDays are the limits, in days, that Standing.Due counts by; what falls due
// later is in none.
var DueDays = [...]int{7, 14, 30, 90}

// Move is one finding whose date or severity differs.
type Move struct {
	Before, After finding.Finding
	AssetName     string
}

// NewlyOverdue reports whether the finding was not overdue at an instant and would be.
func (m *Move) NewlyOverdue(at time.Time) bool {
	return !overdue(&m.Before, at) && overdue(&m.After, at)
}

// Failure is an asset whose findings cannot be judged.
type Failure struct {
	Asset, AssetName string
	Err              error
}

// overdue reports whether a finding runs and its breach lies at or before an instant.
func overdue(f *finding.Finding, at time.Time) bool {
	return f.State.Running() && !f.Verdict.DueAt.IsZero() && !at.Before(f.Verdict.DueAt)
}

// Simulate says what the findings would become if a policy came into force now.
// Every asset is assessed with it, by the code that assesses with the one in
// force; nothing is written. Of an asset that waits for assessment, both sides are
// computed, so that the difference is the policy's alone.
func Simulate(ctx context.Context, st Store, source []byte, now time.Time) (Simulation, error) {
	p, err := policy.Read(source)
	if err != nil {
		return Simulation{}, err
	}
	now = now.UTC().Truncate(time.Microsecond)
	marks, err := st.DirtyAssets(ctx, 0)
	if err != nil {
		return Simulation{}, fmt.Errorf("list dirty assets: %w", err)
	}
	waits := make(map[string]bool, len(marks))
	for _, m := range marks {
		waits[m.Asset] = true
	}
	assets, err := st.Assets(ctx)
	if err != nil {
		return Simulation{}, fmt.Errorf("list assets: %w", err)
	}
	parts := make([]*simulator, min(runtime.GOMAXPROCS(0), maxSimulators))
	for n := range parts {
		if parts[n], err = newSimulator(ctx, st, p, now); err != nil {
			return Simulation{}, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for n, s := range parts {
		g.Go(func() error {
			for i := n; i < len(assets); i += len(parts) {
				if err := s.asset(ctx, &assets[i], waits[assets[i].ID]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Simulation{}, err
	}
	for _, s := range parts[1:] {
		parts[0].add(s)
	}
	return parts[0].result(), nil
}

// maxSimulators bounds the assessors that share a simulation: each holds the
// advisories of every release.
const maxSimulators = 4

func newSimulator(ctx context.Context, st Store, p *sla.Policy, now time.Time) (*simulator, error) {
	s := &simulator{at: now, tried: under(st, now), ruling: under(st, now), counts: map[finding.Severity]*SeverityShift{}}
	if err := s.ruling.loadPolicy(ctx, now); err != nil {
		return nil, err
	}
	s.tried.policy, s.tried.effective, s.tried.policies[p.Digest] = p, now, p
	// What a release's advisories say is the same under every policy.
	s.ruling.indexes, s.ruling.sets = s.tried.indexes, s.tried.sets
	return s, nil
}

// under is an assessor that reads as of an instant, and is never drained.
func under(st Store, now time.Time) *Assessor {
	return New(st, func() time.Time { return now }, slog.New(slog.DiscardHandler))
}

type simulator struct {
	at            time.Time
	tried, ruling *Assessor
	counts        map[finding.Severity]*SeverityShift
	moves         []Move
	failed        []Failure
}

// add takes in what another found of other assets.
func (s *simulator) add(o *simulator) {
	s.moves, s.failed = append(s.moves, o.moves...), append(s.failed, o.failed...)
	for sev, c := range o.counts {
		if s.counts[sev] == nil {
			s.counts[sev] = &SeverityShift{Severity: sev}
		}
		s.counts[sev].Before.add(c.Before)
		s.counts[sev].After.add(c.After)
	}
}

func (s *Standing) add(o Standing) {
	s.Running, s.Overdue, s.Within, s.AwaitingFix = s.Running+o.Running, s.Overdue+o.Overdue, s.Within+o.Within, s.AwaitingFix+o.AwaitingFix
	for i := range s.Due {
		s.Due[i] += o.Due[i]
	}
}

func (s *simulator) asset(ctx context.Context, as *store.Asset, waits bool) error {
	stored, err := s.tried.store.AssetFindings(ctx, as.ID)
	if err != nil {
		return fmt.Errorf("read findings of asset %s: %w", as.ID, err)
	}
	before := stored
	if waits {
		if before, err = s.ruling.foresee(ctx, as, stored, s.at); err != nil {
			return s.fail(ctx, as, err)
		}
	}
	after, err := s.tried.foresee(ctx, as, stored, s.at)
	if err != nil {
		return s.fail(ctx, as, err)
	}
	was := make(map[string]*finding.Finding, len(before))
	for i := range before {
		was[before[i].ID] = &before[i]
		s.count(&before[i], func(c *SeverityShift) *Standing { return &c.Before })
	}
	for i := range after {
		f := &after[i]
		s.count(f, func(c *SeverityShift) *Standing { return &c.After })
		if old := was[f.ID]; old != nil && f.State.Running() && (old.Verdict.Due != f.Verdict.Due || !old.Verdict.DueAt.Equal(f.Verdict.DueAt) || old.Severity != f.Severity) {
			s.moves = append(s.moves, Move{Before: *old, After: *f, AssetName: as.Name})
		}
	}
	return nil
}

// fail notes an asset that cannot be judged. That the caller went away is no fault
// of the asset's.
func (s *simulator) fail(ctx context.Context, as *store.Asset, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.failed = append(s.failed, Failure{Asset: as.ID, AssetName: as.Name, Err: err})
	return nil
}

// foresee is an asset's findings as an assessment would leave them.
func (a *Assessor) foresee(ctx context.Context, as *store.Asset, stored []finding.Finding, now time.Time) ([]finding.Finding, error) {
	out, err := a.found(ctx, store.Mark{Asset: as.ID}, *as, stored, now)
	if err != nil {
		return nil, err
	}
	changed := make(map[string]*finding.Finding, len(out.Changed))
	for i := range out.Changed {
		changed[out.Changed[i].ID] = &out.Changed[i]
	}
	list := slices.Clone(stored)
	for i := range list {
		if c := changed[list[i].ID]; c != nil {
			list[i] = *c
			delete(changed, list[i].ID)
		}
	}
	for i := range out.Changed {
		if f := &out.Changed[i]; changed[f.ID] != nil {
			list = append(list, *f)
		}
	}
	return list, nil
}

func (s *simulator) count(f *finding.Finding, side func(*SeverityShift) *Standing) {
	if !f.State.Running() {
		return
	}
	c := s.counts[f.Severity]
	if c == nil {
		c = &SeverityShift{Severity: f.Severity}
		s.counts[f.Severity] = c
	}
	st := side(c)
	st.Running++
	switch {
	case overdue(f, s.at):
		st.Overdue++
	case f.Verdict.DueAt.IsZero():
		st.AwaitingFix++
	default:
		st.Within++
		left := f.Verdict.DueAt.Sub(s.at)
		for i, n := range DueDays {
			if left <= time.Duration(n)*24*time.Hour {
				st.Due[i]++
				break
			}
		}
	}
}

func (s *simulator) result() Simulation {
	out := Simulation{At: s.at, InForce: s.ruling.policy.Digest, Policy: s.tried.policy.Digest, Moves: s.moves, Failed: s.failed}
	for _, sev := range []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low} {
		if s.counts[sev] == nil {
			s.counts[sev] = &SeverityShift{Severity: sev}
		}
	}
	for _, c := range s.counts {
		out.BySeverity = append(out.BySeverity, *c)
	}
	slices.SortFunc(out.BySeverity, func(a, b SeverityShift) int {
		return cmp.Or(cmp.Compare(b.Severity.Rank(), a.Severity.Rank()), cmp.Compare(a.Severity, b.Severity))
	})
	slices.SortFunc(out.Failed, func(a, b Failure) int { return cmp.Compare(a.Asset, b.Asset) })
	slices.SortFunc(out.Moves, func(a, b Move) int {
		return cmp.Or(
			cmp.Compare(rank(b.NewlyOverdue(s.at)), rank(a.NewlyOverdue(s.at))),
			cmp.Compare(noneLast(a.After.Verdict), noneLast(b.After.Verdict)),
			cmp.Compare(a.After.ID, b.After.ID),
		)
	})
	return out
}

func rank(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// noneLast orders verdicts by their dates, those without one last.
func noneLast(v finding.Verdict) string { return cmp.Or(string(v.Due), "9999-99-99") }
