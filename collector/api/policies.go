package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
)

// maxPolicy bounds a policy file in a request.
const maxPolicy = 1 << 20

// PolicyInfo is one policy as it was applied.
type PolicyInfo struct {
	Digest      string    `json:"digest" doc:"SHA-256 of the file's bytes."`
	State       string    `json:"state" enum:"in_force,scheduled,past,replaced,shipped" doc:"replaced: another took its place before it came into force. shipped: of the program, not of the record."`
	AppliedAt   time.Time `json:"applied_at,omitzero"`
	EffectiveAt time.Time `json:"effective_at,omitzero" doc:"In force from this instant."`
	Until       time.Time `json:"until,omitzero" doc:"When the next one takes its place; absent when none does."`
	By          string    `json:"by,omitempty" doc:"The token that applied it."`
	Leaf        int64     `json:"leaf" doc:"Index of its evidence leaf; -1 when it was never applied."`
	// Looser are the cells that were made looser knowingly.
	Looser []store.LooserCell `json:"looser"`
}

// PolicyList is every policy that was applied, in the order in which they come into force.
type PolicyList struct {
	AsOf     time.Time    `json:"as_of"`
	Count    int          `json:"count"`
	InForce  string       `json:"in_force"`
	Policies []PolicyInfo `json:"policies"`
}

// PolicyFile is a policy with its source.
type PolicyFile struct {
	PolicyInfo
	Name   string `json:"name"`
	Source string `json:"source" doc:"The YAML file, byte for byte."`
}

// PolicyApplied says what became of a policy.
type PolicyApplied struct {
	Digest      string           `json:"digest"`
	Unchanged   bool             `json:"unchanged" doc:"It is in force then anyway; nothing was recorded."`
	AppliedAt   time.Time        `json:"applied_at"`
	EffectiveAt time.Time        `json:"effective_at"`
	Leaf        int64            `json:"leaf"`
	Against     string           `json:"against,omitempty" doc:"The policy it replaces."`
	Changes     []policy.Change  `json:"changes"`
	Warnings    []policy.Problem `json:"warnings"`
}

// PolicyDiff is how a policy differs from another, cell by cell.
type PolicyDiff struct {
	From    string          `json:"from"`
	To      string          `json:"to"`
	Count   int             `json:"count"`
	Changes []policy.Change `json:"changes"`
}

// PolicySimulation is what would become of the running findings under a policy.
type PolicySimulation struct {
	AsOf    time.Time `json:"as_of"`
	InForce string    `json:"in_force"`
	Policy  string    `json:"policy" doc:"The policy that was tried; nothing of it was kept."`
	// Findings are running ones.
	Findings     int             `json:"findings"`
	Moved        int             `json:"moved" doc:"Whose date or severity differs."`
	Earlier      int             `json:"earlier"`
	Later        int             `json:"later" doc:"Of the moved: the date is later, or gone."`
	NewlyOverdue int             `json:"newly_overdue"`
	BySeverity   []PolicyShift   `json:"by_severity"`
	Count        int             `json:"count" doc:"Rows in moves; fewer than moved when the limit cut them."`
	Moves        []PolicyMove    `json:"moves" doc:"Those that become overdue first, then by new date."`
	Failed       []PolicyFailure `json:"failed" doc:"Assets that the policy has no verdict for."`
}

// PolicyShift counts running findings of a severity under both policies.
type PolicyShift struct {
	Severity finding.Severity `json:"severity"`
	Before   PolicyStanding   `json:"before"`
	After    PolicyStanding   `json:"after"`
}

// PolicyStanding counts running findings: overdue, within and awaiting_fix sum to running.
type PolicyStanding struct {
	Running     int            `json:"running"`
	Overdue     int            `json:"overdue"`
	Within      int            `json:"within"`
	AwaitingFix int            `json:"awaiting_fix"`
	DueSoon     []query.DueRow `json:"due_soon" doc:"Of those within time: how soon they fall due, each row without the ones before."`
}

// PolicyMove is a finding whose date or severity differs.
type PolicyMove struct {
	Finding        string           `json:"finding"`
	Asset          string           `json:"asset"`
	AssetName      string           `json:"asset_name"`
	Vulnerability  string           `json:"vulnerability"`
	Component      string           `json:"component"`
	SeverityBefore finding.Severity `json:"severity_before"`
	Severity       finding.Severity `json:"severity"`
	DueBefore      finding.Date     `json:"due_before,omitempty"`
	Due            finding.Date     `json:"due,omitempty"`
	RuleBefore     string           `json:"rule_before,omitempty"`
	Rule           string           `json:"rule,omitempty"`
	NewlyOverdue   bool             `json:"newly_overdue"`
}

// PolicyFailure is an asset that a policy has no verdict for.
type PolicyFailure struct {
	Asset     string `json:"asset"`
	AssetName string `json:"asset_name"`
	Error     string `json:"error"`
}

type referenceInput struct {
	Reference string `path:"reference" maxLength:"64" doc:"A digest or its first 8 digits or more, current, or default for the shipped one."`
}

type diffInput struct {
	From string `query:"from" required:"true" maxLength:"64" doc:"As in /v1/policies/{reference}."`
	To   string `query:"to" required:"true" maxLength:"64"`
}

type applyInput struct {
	Effective    string `query:"effective" maxLength:"10" doc:"Day YYYY-MM-DD, in the policy's zone, from which it is in force; at once when absent."`
	AcceptLooser bool   `query:"accept_looser" doc:"Apply it although it makes cells looser, and record that."`
	RawBody      []byte `contentType:"application/yaml"`
}

type simulateInput struct {
	Limit   int    `query:"limit" minimum:"0" maximum:"1000000" default:"1000" doc:"Most rows in moves; counts are always whole."`
	RawBody []byte `contentType:"application/yaml"`
}

func (s *server) policies(api huma.API) {
	get(s, api, "/v1/policies", "list-policies", "Every policy that was applied, and when it is in force", s.policyHistory)
	get(s, api, "/v1/policies/{reference}", "show-policy", "One policy with its source", s.policyFile)
	get(s, api, "/v1/policies/diff", "diff-policies", "How a policy differs from another, cell by cell", s.policyDiff)
	act(s, api, "/v1/policies", "apply-policy", "Put a policy in force, at once or from a day on", s.applyPolicy)
	act(s, api, "/v1/policies/simulate", "simulate-policy", "What would become due when, and what overdue, under a policy; nothing is changed", s.simulatePolicy)
}

func (s *server) policyHistory(ctx context.Context, _ *none) (PolicyList, error) {
	entries, err := s.Policies.History(ctx)
	out := PolicyList{AsOf: s.asOf(), Count: len(entries), Policies: []PolicyInfo{}}
	for _, e := range entries {
		info := s.policyInfo(e)
		if info.State == "in_force" {
			out.InForce = info.Digest
		}
		out.Policies = append(out.Policies, info)
	}
	return out, err
}

func (s *server) policyInfo(e standard.Entry) PolicyInfo {
	info := PolicyInfo{
		Digest: e.Digest, AppliedAt: e.AppliedAt, EffectiveAt: e.EffectiveAt, Until: e.Until, By: e.By, Leaf: e.Leaf, Looser: e.Looser,
	}
	if info.Looser == nil {
		info.Looser = []store.LooserCell{}
	}
	switch now := s.Now(); {
	case e.Leaf < 0:
		info.State = "shipped"
	case e.Never():
		info.State, info.Until = "replaced", time.Time{}
	case e.In(now):
		info.State = "in_force"
	case now.Before(e.EffectiveAt):
		info.State = "scheduled"
	default:
		info.State = "past"
	}
	return info
}

func (s *server) policyFile(ctx context.Context, in *referenceInput) (PolicyFile, error) {
	rec, err := s.findPolicy(ctx, in.Reference)
	if err != nil {
		return PolicyFile{}, err
	}
	entry := standard.Entry{PolicyRecord: rec}
	entries, err := s.Policies.History(ctx)
	if err != nil {
		return PolicyFile{}, err
	}
	for _, e := range entries {
		if e.Leaf == rec.Leaf {
			entry = e
		}
	}
	p, err := policy.Read(rec.Source)
	if err != nil {
		return PolicyFile{}, fmt.Errorf("policy %s: %w", rec.Digest, err)
	}
	return PolicyFile{PolicyInfo: s.policyInfo(entry), Name: p.Name, Source: string(rec.Source)}, nil
}

func (s *server) findPolicy(ctx context.Context, ref string) (store.PolicyRecord, error) {
	rec, err := s.Policies.Find(ctx, ref)
	if errors.Is(err, standard.ErrReference) {
		return rec, &BadInput{Err: err}
	}
	return rec, err
}

func (s *server) policyDiff(ctx context.Context, in *diffInput) (PolicyDiff, error) {
	from, err := s.findPolicy(ctx, in.From)
	if err != nil {
		return PolicyDiff{}, err
	}
	to, err := s.findPolicy(ctx, in.To)
	if err != nil {
		return PolicyDiff{}, err
	}
	a, err := policy.Read(from.Source)
	if err != nil {
		return PolicyDiff{}, fmt.Errorf("policy %s: %w", from.Digest, err)
	}
	b, err := policy.Read(to.Source)
	if err != nil {
		return PolicyDiff{}, fmt.Errorf("policy %s: %w", to.Digest, err)
	}
	changes := changeList(policy.Diff(a, b))
	return PolicyDiff{From: a.Digest, To: b.Digest, Count: len(changes), Changes: changes}, nil
}

func changeList(c []policy.Change) []policy.Change {
	if c == nil {
		return []policy.Change{}
	}
	return c
}

func (s *server) applyPolicy(ctx context.Context, in *applyInput) (PolicyApplied, error) {
	done, err := s.Policies.Apply(ctx, standard.Request{
		Source: bytes.Clone(in.RawBody), Effective: finding.Date(in.Effective), AcceptLooser: in.AcceptLooser,
	}, tokenName(ctx))
	if err != nil {
		return PolicyApplied{}, policyProblem(err)
	}
	out := PolicyApplied{
		Digest: done.Record.Digest, Unchanged: done.Unchanged, AppliedAt: done.Record.AppliedAt, EffectiveAt: done.Record.EffectiveAt,
		Leaf: done.Record.Leaf, Against: done.Against, Changes: changeList(done.Changes), Warnings: done.Warnings,
	}
	if out.Warnings == nil {
		out.Warnings = []policy.Problem{}
	}
	return out, nil
}

// policyProblem says every fault of a policy, and every cell nobody owned.
func policyProblem(err error) error {
	if bad, ok := errors.AsType[*standard.Invalid](err); ok {
		return invalidPolicy(bad.Problems)
	}
	if looser, ok := errors.AsType[*standard.Looser](err); ok {
		var details []error
		for _, c := range looser.Changes {
			details = append(details, &huma.ErrorDetail{Message: c.From + " -> " + c.To + " (looser)", Location: c.Path})
		}
		return huma.Error409Conflict(err.Error()+"; say accept_looser to apply it, and it is recorded", details...)
	}
	if errors.Is(err, standard.ErrPast) || errors.Is(err, standard.ErrDate) {
		return &BadInput{Err: err}
	}
	return err
}

func invalidPolicy(problems []policy.Problem) error {
	var details []error
	for _, p := range problems {
		if p.Severity == policy.Error {
			details = append(details, &huma.ErrorDetail{Message: p.String()})
		}
	}
	return huma.Error422UnprocessableEntity(policy.ErrInvalid.Error(), details...)
}

func (s *server) simulatePolicy(ctx context.Context, in *simulateInput) (PolicySimulation, error) {
	if _, err := policy.Read(in.RawBody); err != nil {
		_, problems, _ := policy.Parse(in.RawBody)
		return PolicySimulation{}, invalidPolicy(problems)
	}
	select { // one at a time: each assesses the whole estate
	case s.simulating <- struct{}{}:
		defer func() { <-s.simulating }()
	case <-ctx.Done():
		return PolicySimulation{}, huma.Error503ServiceUnavailable("another simulation is running")
	}
	var sim assess.Simulation
	err := s.Store.View(ctx, func(st store.Store) (err error) {
		sim, err = assess.Simulate(ctx, st, in.RawBody, s.Now())
		return err
	})
	if err != nil {
		return PolicySimulation{}, err
	}
	return simulation(&sim, in.Limit), nil
}

func simulation(sim *assess.Simulation, limit int) PolicySimulation {
	out := PolicySimulation{
		AsOf: sim.At.Truncate(time.Second), InForce: sim.InForce, Policy: sim.Policy, Moved: len(sim.Moves), Moves: []PolicyMove{}, Failed: []PolicyFailure{},
	}
	for _, c := range sim.BySeverity {
		out.Findings += c.After.Running
		out.BySeverity = append(out.BySeverity, PolicyShift{Severity: c.Severity, Before: standing(c.Before), After: standing(c.After)})
	}
	for i := range sim.Moves {
		m := &sim.Moves[i]
		before, after := m.Before.Verdict, m.After.Verdict
		late := m.NewlyOverdue(sim.At)
		switch {
		case late:
			out.NewlyOverdue++
			out.Earlier++
		case after.DueAt.Equal(before.DueAt):
		case !after.DueAt.IsZero() && (before.DueAt.IsZero() || after.DueAt.Before(before.DueAt)):
			out.Earlier++
		default:
			out.Later++
		}
		if len(out.Moves) < limit {
			out.Moves = append(out.Moves, PolicyMove{
				Finding: m.After.ID, Asset: m.After.Asset, AssetName: m.AssetName, Vulnerability: m.After.Vulnerability, Component: m.After.Component,
				SeverityBefore: m.Before.Severity, Severity: m.After.Severity, DueBefore: before.Due, Due: after.Due,
				RuleBefore: before.Rule, Rule: after.Rule, NewlyOverdue: late,
			})
		}
	}
	out.Count = len(out.Moves)
	for _, f := range sim.Failed {
		out.Failed = append(out.Failed, PolicyFailure{Asset: f.Asset, AssetName: f.AssetName, Error: f.Err.Error()})
	}
	return out
}

func standing(s assess.Standing) PolicyStanding {
	out := PolicyStanding{Running: s.Running, Overdue: s.Overdue, Within: s.Within, AwaitingFix: s.AwaitingFix}
	for i, n := range assess.DueDays {
		out.DueSoon = append(out.DueSoon, query.DueRow{WithinDays: n, Count: s.Due[i]})
	}
	return out
}
