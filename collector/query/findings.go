package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/version"
)

// Finding is one row of a list of findings.
type Finding struct {
	ID             string           `json:"id"`
	Asset          string           `json:"asset"`
	AssetName      string           `json:"asset_name"`
	Vulnerability  string           `json:"vulnerability"`
	Component      string           `json:"component" doc:"Source package."`
	Installed      string           `json:"installed"`
	Fixed          string           `json:"fixed,omitempty" doc:"Version that clears it; empty when there is none yet."`
	Severity       finding.Severity `json:"severity"`
	SeveritySource string           `json:"severity_source"`
	KEV            bool             `json:"kev"`
	EPSS           float64          `json:"epss,omitempty"`
	Priority       string           `json:"priority"`
	Cycle          string           `json:"cycle"`
	State          finding.State    `json:"state"`
	Reason         string           `json:"reason,omitempty"`
	// Overdue as of the answer: the clock runs and the due date has passed.
	Overdue     bool `json:"overdue"`
	AwaitingFix bool `json:"awaiting_fix,omitempty"`
	// Outcome is how it is counted as of the answer; FinalAt is when that of a closed
	// one stops being provisional, and Final is whether the record says it has.
	Outcome       finding.Outcome `json:"outcome" doc:"within, overdue, awaiting_fix, accepted, fixed_on_time, fixed_late, not_affected, not_running, retired_in_time or retired_overdue."`
	Final         bool            `json:"final,omitempty" doc:"The outcome will not change any more."`
	FinalAt       time.Time       `json:"final_at,omitzero" doc:"When the outcome of a closed one becomes final."`
	Arrival       bool            `json:"arrival,omitempty" doc:"The window had closed at first sight."`
	Regression    bool            `json:"regression,omitempty" doc:"It came back after the window: a new episode."`
	OnTimeClaimed bool            `json:"on_time_claimed,omitempty" doc:"Fixed in time by the host's word alone."`
	Detected      time.Time       `json:"detected"`
	Available     time.Time       `json:"available,omitzero" doc:"When the vendor issued a fix."`
	ClockStart    finding.Date    `json:"clock_start"`
	Due           finding.Date    `json:"due,omitempty"`
	DueAt         time.Time       `json:"due_at,omitzero" doc:"First instant out of time."`
	// DaysLeft counts whole days to the breach, negative after it; meaningless without Due.
	DaysLeft     int          `json:"days_left"`
	Target       finding.Date `json:"target,omitempty"`
	MitigateBy   time.Time    `json:"mitigate_by,omitzero"`
	TargetMissed bool         `json:"target_missed,omitempty" doc:"It stands, or stood, after its target."`
	Rule         string       `json:"rule,omitempty"`
	Why          string       `json:"why,omitempty" doc:"The winning rule in words."`
	Closed       time.Time    `json:"closed,omitzero"`
	// What its asset is, as of the answer.
	Column      string `json:"column" doc:"Column of the timelines."`
	Class       string `json:"class"`
	Exposure    string `json:"exposure"`
	Environment string `json:"environment"`
	OU          string `json:"ou,omitempty"`
	Account     string `json:"account,omitempty"`
	Region      string `json:"region,omitempty"`
	Service     string `json:"service,omitempty"`
	Owner       string `json:"owner,omitempty"`
	CrownJewel  bool   `json:"crown_jewel,omitempty"`
	ColdWallet  bool   `json:"cold_wallet,omitempty"`
}

// FindingList is a page of findings.
type FindingList struct {
	Meta
	Findings []Finding `json:"findings"`
	// Next is the cursor of the next page, empty on the last.
	Next string `json:"next,omitempty"`
}

// Findings lists findings, most urgent first or as the filter sorts them.
func (s *Service) Findings(ctx context.Context, f Filter) (FindingList, error) {
	at := s.now()
	out := FindingList{Findings: []Finding{}}
	q, possible, err := s.findingQuery(ctx, f, at)
	if err != nil {
		return out, err
	}
	var rows []finding.Finding
	if possible {
		if f.Limit > 0 {
			q.Limit = f.Limit + 1 // one more tells whether there is a next page
		}
		if rows, err = s.Store.ListFindings(ctx, q); err != nil {
			return out, fmt.Errorf("list findings: %w", err)
		}
	}
	if f.Limit > 0 && len(rows) > f.Limit {
		rows = rows[:f.Limit]
		out.Next = rows[len(rows)-1].ID
	}
	if out.Findings, err = s.rows(ctx, rows, at); err != nil {
		return out, err
	}
	out.Meta, err = s.meta(ctx, at, len(out.Findings))
	out.Filters = f.words()
	return out, err
}

// findingQuery says a filter in the store's terms. It is not possible when the
// filter and its view exclude each other.
func (s *Service) findingQuery(ctx context.Context, f Filter, at time.Time) (q store.FindingQuery, possible bool, err error) {
	if err := f.Check(); err != nil {
		return q, false, err
	}
	if f, possible, err = f.merged(); err != nil || !possible {
		return q, false, err
	}
	q = store.FindingQuery{
		AssetQuery: store.AssetQuery{
			OU: f.OU, Account: f.Account, Region: f.Region, Service: f.Service, Owner: f.Owner, Unowned: f.Unowned,
			Class: f.Class, Exposure: f.Exposure, Environment: f.Environment, Column: f.Column,
			CrownJewel: f.CrownJewel, ColdWallet: f.ColdWallet, HotWallet: f.HotWallet,
		},
		Priority: f.Priority, Cycle: f.Cycle, Vulnerability: f.Vulnerability, Component: f.Component,
		Package: f.Package, Advisory: f.Advisory, KEV: f.KEV, OpenOnly: f.OpenOnly, AwaitingFix: f.AwaitingFix,
		DueBefore: finding.Date(f.DueBefore), DueAfter: finding.Date(f.DueAfter), After: f.After,
	}
	for _, w := range f.Severity {
		q.Severity = append(q.Severity, finding.Severity(w))
	}
	for _, w := range f.State {
		q.State = append(q.State, finding.State(w))
	}
	for _, k := range f.Sort {
		key, turned := strings.CutPrefix(k, "-")
		q.Sort = append(q.Sort, store.SortKey{Key: key, Descending: turned})
	}
	if f.Overdue {
		q.OverdueAt = at
	}
	for _, w := range f.Outcome {
		q.Outcome = append(q.Outcome, finding.Outcome(w))
	}
	for _, w := range f.Flag {
		q.Flags = append(q.Flags, finding.Flag(w))
	}
	if len(q.Outcome)+len(q.Flags) > 0 {
		q.OutcomeAt = at
	}
	for _, t := range []struct {
		word string
		into *time.Time
	}{
		{f.DetectedBefore, &q.DetectedBefore},
		{f.DetectedAfter, &q.DetectedAfter},
		{f.ClosedBefore, &q.ClosedBefore},
		{f.ClosedAfter, &q.ClosedAfter},
	} {
		if *t.into, err = when(t.word); err != nil {
			return q, false, fmt.Errorf("%w: %q is no date and no instant", ErrFilter, t.word)
		}
	}
	for _, name := range f.Asset {
		a, err := s.Store.Asset(ctx, name)
		if err != nil {
			return q, false, fmt.Errorf("asset %q: %w", name, err)
		}
		q.Asset = append(q.Asset, a.ID)
	}
	return q, true, nil
}

// rows restates stored findings with what their assets are, in two reads.
func (s *Service) rows(ctx context.Context, fs []finding.Finding, at time.Time) ([]Finding, error) {
	out := make([]Finding, 0, len(fs))
	if len(fs) == 0 {
		return out, nil
	}
	ids := map[string]struct{}{}
	for i := range fs {
		ids[fs[i].Asset] = struct{}{}
	}
	list, err := s.Store.AssetsByID(ctx, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, fmt.Errorf("read assets of findings: %w", err)
	}
	assets := make(map[string]store.Asset, len(list))
	for _, a := range list {
		assets[a.ID] = a
	}
	for i := range fs {
		r := row(&fs[i], "", at)
		r.describe(assets[r.Asset])
		out = append(out, r)
	}
	return out, nil
}

// describe says what a finding's asset is.
func (r *Finding) describe(a store.Asset) {
	at := a.Attributes
	r.AssetName, r.OU, r.Account, r.Region, r.Service, r.Owner = a.Name, at.OU, at.Account, at.Region, at.Service, at.Owner
	r.Class = string(at.Class)
	r.Exposure = string(cmp.Or(at.Exposure, sla.UnknownExposure))
	r.Environment = string(cmp.Or(at.Environment, sla.UnknownEnvironment))
	r.CrownJewel, r.ColdWallet = at.CrownJewel, at.ColdWallet
	r.Column = string(sla.ColumnOf(sla.Asset{Exposure: at.Exposure, Environment: at.Environment, Core: at.Core}))
}

// row restates a stored finding as of an instant.
func row(f *finding.Finding, assetName string, at time.Time) Finding {
	v := &f.Verdict
	r := Finding{
		ID: f.ID, Asset: f.Asset, AssetName: assetName, Vulnerability: f.Vulnerability, Component: f.Component,
		Severity: f.Severity, SeveritySource: f.SeveritySource, KEV: f.KEV, EPSS: f.EPSS,
		Priority: v.Priority, Cycle: v.Cycle, State: f.State, Reason: f.Reason,
		AwaitingFix: f.State.Running() && v.Due == "", Outcome: f.Outcome(at),
		Arrival: v.Arrival, Regression: f.Regression, OnTimeClaimed: f.End.OnTimeClaimed, TargetMissed: f.TargetMissed(at),
		Detected: f.Detected, Available: f.Available, ClockStart: v.ClockStart,
		Due: v.Due, DueAt: v.DueAt, Target: v.Target, MitigateBy: v.MitigateBy, Rule: v.Rule, Closed: f.Closed,
	}
	for _, c := range v.Candidates {
		if c.Rule == v.Rule && !c.Advisory {
			r.Why = c.Why
			break
		}
	}
	if !f.State.Running() {
		r.Final, r.FinalAt = f.End.Final, f.End.FinalAt
	}
	r.Installed, r.Fixed = versions(f.Packages)
	if !v.DueAt.IsZero() {
		r.Overdue = f.State.Running() && !at.Before(v.DueAt)
		r.DaysLeft = wholeDays(v.DueAt.Sub(at))
	}
	return r
}

func wholeDays(d time.Duration) int {
	days := int(d / (24 * time.Hour))
	if d < 0 && d%(24*time.Hour) != 0 {
		days--
	}
	return days
}

// versions names the installed version of a finding's packages and the one that
// clears every advisory: the highest fix there is.
func versions(cs []finding.Comparison) (installed, fixed string) {
	for _, c := range cs {
		if installed == "" {
			installed = c.Installed
		}
		if c.Fixed == "" {
			continue
		}
		// Fixes of one component compare; one that does not is shown over none.
		if order, err := version.Compare(c.Format, c.Fixed, fixed); fixed == "" || err == nil && order > 0 {
			fixed = c.Fixed
		}
	}
	return installed, fixed
}

// Explanation tells everything behind one finding.
type Explanation struct {
	Meta
	Finding Finding              `json:"finding"`
	Story   []string             `json:"story" doc:"The finding in sentences."`
	Compare []finding.Comparison `json:"comparisons" doc:"Each package held against each advisory."`
	Verdict finding.Verdict      `json:"verdict" doc:"The decision with every candidate deadline."`
	History History              `json:"history" doc:"What became of the deadline, and of the finding."`
	Sources []Source             `json:"advisories"`
	Proof   Proof                `json:"evidence"`
	// Inventories are what an auditor compares.
	Inventories Inventories `json:"inventories" doc:"What the host reported of the component, before and after."`
}

// Source is an advisory behind a finding, with the snapshot it came from.
type Source struct {
	ID         string    `json:"id"`
	Feed       string    `json:"feed"`
	Summary    string    `json:"summary,omitempty"`
	Rating     string    `json:"rating,omitempty"`
	Issued     time.Time `json:"issued,omitzero"`
	IssuedKind string    `json:"issued_kind,omitempty"`
	HeldSince  time.Time `json:"held_since,omitzero"`
	Snapshot   string    `json:"snapshot" doc:"Digest of the feed's newest snapshot."`
	References []string  `json:"references"`
}

// Proof points into the evidence log.
type Proof struct {
	Detected   *ReportRef `json:"detected,omitempty" doc:"The report that first showed it."`
	LastSeen   *ReportRef `json:"last_seen,omitempty" doc:"The last report that showed it."`
	Closed     *ReportRef `json:"closed,omitempty" doc:"The report that showed it closed."`
	Checkpoint string     `json:"checkpoint,omitempty" doc:"Newest signed checkpoint of the log."`
}

// ReportRef names a report and its place in the log.
type ReportRef struct {
	ID         string    `json:"id"`
	Sequence   uint64    `json:"sequence"`
	ReceivedAt time.Time `json:"received_at"`
	Leaf       int64     `json:"leaf"`
}

// Explain tells why a finding stands where it stands.
func (s *Service) Explain(ctx context.Context, id string) (Explanation, error) {
	at := s.now()
	f, err := s.Store.Finding(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	as, err := s.Store.Asset(ctx, f.Asset)
	if err != nil {
		return Explanation{}, fmt.Errorf("asset of finding %s: %w", id, err)
	}
	out := Explanation{Compare: f.Packages, Verdict: f.Verdict, History: history(&f)}
	rows, err := s.rows(ctx, []finding.Finding{f}, at)
	if err != nil {
		return out, err
	}
	out.Finding = rows[0]
	if out.Meta, err = s.meta(ctx, at, 1); err != nil {
		return out, err
	}
	if out.Sources, err = s.sources(ctx, &f, out.Feeds); err != nil {
		return out, err
	}
	if out.Proof, err = s.proof(ctx, &f, as); err != nil {
		return out, err
	}
	if out.Inventories, err = s.inventories(ctx, &f, out.Proof); err != nil {
		return out, err
	}
	out.Filters["finding"] = id
	out.Story = story(&f, out.Finding)
	return out, nil
}

func (s *Service) sources(ctx context.Context, f *finding.Finding, feeds []Feed) ([]Source, error) {
	digests := map[string]string{}
	for _, fd := range feeds {
		digests[fd.Name] = fd.Digest
	}
	out := []Source{}
	seen := map[[2]string]bool{}
	for _, c := range f.Packages {
		if seen[[2]string{c.Feed, c.Advisory}] {
			continue
		}
		seen[[2]string{c.Feed, c.Advisory}] = true
		adv, err := s.Store.Advisory(ctx, c.Feed, c.Advisory)
		if err != nil {
			return nil, fmt.Errorf("advisory %s of %s: %w", c.Advisory, c.Feed, err)
		}
		out = append(out, Source{
			ID: adv.ID, Feed: adv.Feed, Summary: adv.Summary, Rating: adv.Rating, Issued: adv.Issued,
			IssuedKind: string(adv.IssuedKind), HeldSince: adv.HeldSince, Snapshot: digests[adv.Feed],
			References: append([]string{}, adv.References...),
		})
	}
	return out, nil
}

func (s *Service) proof(ctx context.Context, f *finding.Finding, as store.Asset) (Proof, error) {
	var p Proof
	lastSeen := f.SeenReport
	if f.State.Running() && as.Head != nil {
		lastSeen = as.Head.ReportID
	}
	for _, want := range []struct {
		id   string
		into **ReportRef
	}{{f.DetectedReport, &p.Detected}, {lastSeen, &p.LastSeen}, {f.ClosedReport, &p.Closed}} {
		if want.id == "" {
			continue
		}
		r, err := s.Store.Report(ctx, want.id)
		if err != nil {
			return p, fmt.Errorf("report %s: %w", want.id, err)
		}
		*want.into = &ReportRef{ID: r.ID, Sequence: r.Sequence, ReceivedAt: r.ReceivedAt, Leaf: r.LeafIndex}
	}
	c, err := s.Store.LastCheckpoint(ctx)
	if err == nil {
		p.Checkpoint = string(c.Note)
	} else if !errors.Is(err, store.ErrNotFound) {
		return p, fmt.Errorf("read checkpoint: %w", err)
	}
	return p, nil
}

// story says a finding in sentences, for people who do not read tables.
func story(f *finding.Finding, r Finding) []string {
	var out []string
	fix := "no fix is known"
	if r.Fixed != "" {
		fix = "fixed in " + r.Fixed
	}
	out = append(out, fmt.Sprintf("%s affects %s %s on %s; %s.", r.Vulnerability, r.Component, r.Installed, r.AssetName, fix))
	out = append(out, fmt.Sprintf("Severity %s, from %s.", r.Severity, r.SeveritySource))
	if r.KEV {
		out = append(out, "It is on CISA's list of known exploited vulnerabilities.")
	}
	if !r.Available.IsZero() {
		out = append(out, fmt.Sprintf("The fix has been available since %s (%s date of %s); first detected %s.",
			r.Available.Format(time.DateOnly), f.AvailableKind, f.AvailableAdvisory, r.Detected.Format(time.DateOnly)))
	} else {
		out = append(out, fmt.Sprintf("First detected %s.", r.Detected.Format(time.DateOnly)))
	}
	switch {
	case !f.State.Running():
		out = append(out, fmt.Sprintf("Closed %s as %s: %s.", r.Closed.Format(time.DateOnly), f.State, f.Reason))
	case r.Due == "":
		out = append(out, "No date yet: it awaits a fix.")
	case r.Overdue:
		out = append(out, fmt.Sprintf("It was due %s by rule %s: %s. It is overdue by %d days.", r.Due, r.Rule, r.Why, -r.DaysLeft))
	default:
		out = append(out, fmt.Sprintf("It is due %s by rule %s: %s. %d days are left.", r.Due, r.Rule, r.Why, r.DaysLeft))
	}
	if f.State == finding.PendingReboot {
		out = append(out, "The fix is on disk; the running kernel is the old one. Reboot to clear it: "+f.Reason+".")
	}
	if f.State == finding.PendingRestart {
		out = append(out, "The fix is on disk; processes still run the old code. Restart them to clear it: "+f.Reason+".")
	}
	if r.Arrival {
		out = append(out, "Its window had already closed when it was first seen (arrival).")
	}
	out = append(out, lifeStory(f)...)
	for _, n := range f.Verdict.Notes {
		out = append(out, sentence(n))
	}
	return out
}

// sentence writes a note as a sentence.
func sentence(note string) string {
	first, size := utf8.DecodeRuneInString(note)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(note[size:], ".") + "."
}
