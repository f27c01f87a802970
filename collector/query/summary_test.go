package query_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// trust makes another asset.
func (f *fixture) trust(t testing.TB, id string) {
	t.Helper()
	if _, err := f.st.TrustKey(t.Context(), store.Asset{ID: id, Name: "host " + id, Key: fmt.Sprintf("%064x", len(id)*1000+int(id[len(id)-1])), TrustedAt: now}, leaf(t, "trust")); err != nil {
		t.Fatal(err)
	}
}

// assess records findings of an asset.
func (f *fixture) assess(t testing.TB, asset string, fs ...finding.Finding) {
	t.Helper()
	if err := f.st.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks, err := f.st.DirtyAssets(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if m.Asset != asset {
			continue
		}
		l := leaf(t, "assessment")
		if _, err := f.st.ApplyAssessments(t.Context(), []store.Assessment{{Mark: m, At: now, Covered: true, Changed: fs}}, &l); err != nil {
			t.Fatal(err)
		}
	}
}

// drawnFinding draws a finding of an asset.
func drawnFinding(t *rapid.T, asset string) finding.Finding {
	f := aFinding(
		rapid.IntRange(1, 9).Draw(t, "n"),
		rapid.SampledFrom([]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}).Draw(t, "severity"),
		rapid.SampledFrom([]finding.State{finding.Open, finding.PendingReboot, finding.Fixed, finding.NotAffected}).Draw(t, "state"),
		rapid.IntRange(-20, 100).Draw(t, "days"), rapid.Bool().Draw(t, "kev"))
	f.Asset, f.ID = asset, finding.ID(asset, f.Vulnerability, f.Component)
	f.Verdict.Arrival, f.Regression = rapid.Bool().Draw(t, "arrival"), rapid.Bool().Draw(t, "regression")
	switch rapid.IntRange(0, 3).Draw(t, "dated") {
	case 0:
		f.Verdict.Due, f.Verdict.DueAt = "", time.Time{}
	case 1:
		f.Verdict.Rule = "exception/X-1"
	}
	if rapid.Bool().Draw(t, "jewel") {
		f.Verdict.TargetAt = now.AddDate(0, 0, rapid.IntRange(-20, 20).Draw(t, "target"))
		f.Verdict.Target = finding.Date(f.Verdict.TargetAt.AddDate(0, 0, -1).Format(time.DateOnly))
	}
	if !f.State.Running() {
		f.End = drawnEnd(t, f.State)
		f.End.TargetMissed = f.End.TargetMissed && f.Verdict.Target != ""
	}
	return f
}

// drawnEnd draws how a finding ended, or that nothing is on record of it.
func drawnEnd(t *rapid.T, state finding.State) finding.End {
	outcomes := []finding.Outcome{finding.WasNotAffected}
	if state == finding.Fixed {
		outcomes = []finding.Outcome{"", finding.FixedOnTime, finding.FixedLate, finding.RetiredInTime, finding.RetiredOverdue, finding.NotRunning}
	}
	e := finding.End{Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome")}
	if e.Outcome != "" {
		e.FinalAt, e.Final = now.AddDate(0, 0, 1), rapid.Bool().Draw(t, "final")
		e.OnTimeClaimed, e.TargetMissed = rapid.Bool().Draw(t, "claimed"), rapid.Bool().Draw(t, "missed")
	}
	return e
}

func drawnAttributes(t *rapid.T) store.Attributes {
	word := rapid.SampledFrom([]string{"", "a", "b"})
	return store.Attributes{
		OU: word.Draw(t, "ou"), Account: word.Draw(t, "account"), Region: word.Draw(t, "region"), Service: word.Draw(t, "service"), Owner: word.Draw(t, "owner"),
		Class:       rapid.SampledFrom([]sla.Class{sla.Compute, sla.Appliance}).Draw(t, "class"),
		Exposure:    rapid.SampledFrom([]sla.Exposure{sla.Internet, sla.Internal, sla.UnknownExposure}).Draw(t, "exposure"),
		Environment: rapid.SampledFrom([]sla.Environment{sla.Production, sla.NonProduction, sla.UnknownEnvironment}).Draw(t, "environment"),
		CrownJewel:  rapid.Bool().Draw(t, "crown jewel"),
	}
}

// drawnFilter sets a few filters.
func drawnFilter(t *rapid.T) query.Filter {
	var f query.Filter
	set := func(name, value string) {
		for i := range query.Fields {
			if query.Fields[i].Name == name {
				if err := query.Fields[i].Set(&f, value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom([][2]string{
		{"severity", "high,low"},
		{"severity", "critical"},
		{"state", "open"},
		{"state", "fixed,pending_reboot"},
		{"kev", "true"},
		{"kev", "false"},
		{"overdue", "true"},
		{"awaiting_fix", "true"},
		{"open", "true"},
		{"flag", "arrival"},
		{"flag", "regression,target_missed"},
		{"flag", "on_time_claimed"},
		{"outcome", "within,overdue"},
		{"outcome", "awaiting_fix,accepted,fixed_late"},
		{"outcome", "fixed_on_time,not_affected"},
		{"outcome", "retired_in_time,retired_overdue,not_running"},
		{"owner", "a,b"},
		{"unowned", "true"},
		{"ou", "a"},
		{"account", "b"},
		{"exposure", "internet"},
		{"class", "appliance"},
		{"column", "internet"},
		{"crown_jewel", "true"},
		{"package", "libssl3"},
		{"due_before", "2026-07-01"},
	}), 0, 3, func(c [2]string) string { return strings.Replace(c[0], "unowned", "owner", 1) }).Draw(t, "filters") {
		set(c[0], c[1])
	}
	return f
}

// counted counts a list of findings as a summary must.
func counted(fs []query.Finding, key func(query.Finding) string) map[string]query.FindingCounts {
	out := map[string]query.FindingCounts{}
	for _, f := range fs {
		c := out[key(f)]
		c.Total++
		if f.State.Running() {
			c.Running++
			c.KEV += one(f.KEV)
			c.Arrival += one(f.Arrival)
		} else {
			c.Provisional += one(!f.Final)
		}
		switch f.Outcome {
		case finding.Within:
			c.Within++
		case finding.Overdue:
			c.Overdue++
		case finding.AwaitingFix:
			c.AwaitingFix++
		case finding.Accepted:
			c.Accepted++
		case finding.FixedOnTime:
			c.Fixed++
			c.FixedOnTime++
		case finding.FixedLate:
			c.Fixed++
			c.FixedLate++
		case finding.WasNotAffected:
			c.NotAffected++
		case finding.NotRunning:
			c.NotRunning++
		case finding.RetiredInTime:
			c.RetiredInTime++
		case finding.RetiredOverdue:
			c.RetiredOverdue++
		}
		c.PendingReboot += one(f.State == finding.PendingReboot)
		c.Flags.Arrival += one(f.Arrival)
		c.Flags.Regression += one(f.Regression)
		c.Flags.OnTimeClaimed += one(f.OnTimeClaimed)
		c.Flags.TargetMissed += one(f.TargetMissed)
		c.OnTime = onTime(c.OnTime, f)
		out[key(f)] = c
	}
	return out
}

// onTime counts a finding towards the share that was in time: of those with a
// deadline that were fixed, or retired after it.
func onTime(was *query.OnTime, f query.Finding) *query.OnTime {
	in := f.Outcome == finding.FixedOnTime
	if f.Due == "" || !in && f.Outcome != finding.FixedLate && f.Outcome != finding.RetiredOverdue {
		return was
	}
	next := query.OnTime{InTime: one(in), Of: 1}
	if was != nil {
		next.InTime, next.Of = was.InTime+next.InTime, was.Of+1
	}
	next.Percent = math.Floor(1000*float64(next.InTime)/float64(next.Of)) / 10
	return &next
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sums is what a row's outcomes must add up to.
func sums(c query.FindingCounts) [3]int {
	return [3]int{
		c.Within + c.Overdue + c.AwaitingFix + c.Accepted - c.Running,
		c.FixedOnTime + c.FixedLate - c.Fixed,
		c.Running + c.Fixed + c.NotAffected + c.NotRunning + c.RetiredInTime + c.RetiredOverdue - c.Total,
	}
}

var groupKey = map[string]func(query.Finding) string{
	"":            func(query.Finding) string { return "" },
	"ou":          func(f query.Finding) string { return f.OU },
	"account":     func(f query.Finding) string { return f.Account },
	"region":      func(f query.Finding) string { return f.Region },
	"service":     func(f query.Finding) string { return f.Service },
	"owner":       func(f query.Finding) string { return f.Owner },
	"severity":    func(f query.Finding) string { return string(f.Severity) },
	"class":       func(f query.Finding) string { return f.Class },
	"exposure":    func(f query.Finding) string { return f.Exposure },
	"environment": func(f query.Finding) string { return f.Environment },
}

// Whatever the estate, the filter and the grouping: a summary counts what a list
// of the same findings shows, row by row, and its rows sum to the whole.
func TestSummariesCountWhatListsShow(t *testing.T) {
	f := newFixture(t, t.TempDir())
	ids := []string{"a-1", "a-2", "a-3", "a-4"}
	for _, id := range ids[1:] {
		f.trust(t, id)
	}
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.SampledFrom(ids).Draw(rt, "asset")
		if rapid.Bool().Draw(rt, "move") {
			if _, err := f.st.SetAttributes(t.Context(), id, id, drawnAttributes(rt), leaf(t, "attributes")); err != nil {
				rt.Fatal(err)
			}
		}
		f.assess(t, id, drawnFinding(rt, id))
		flt := drawnFilter(rt)
		list, err := f.q.Findings(t.Context(), flt)
		if err != nil {
			rt.Fatal(err)
		}
		for by, key := range groupKey {
			s, err := f.q.Summary(t.Context(), flt, by)
			if err != nil {
				rt.Fatal(err)
			}
			if want := counted(list.Findings, groupKey[""])[""]; !cmp.Equal(s.Findings, want) || s.Count != want.Total {
				rt.Fatalf("%v by %s (-got +list):\n%s", flt.Values(), by, cmp.Diff(s.Findings, want))
			}
			if sums(s.Findings) != [3]int{} {
				rt.Fatalf("%v: the outcomes do not add up: %+v", flt.Values(), s.Findings)
			}
			due := 0
			for _, d := range s.DueSoon {
				due += d.Count
			}
			if soon := dueWithin(list.Findings, 90); due != soon {
				rt.Fatalf("%v: got %d due within 90 days, the list shows %d", flt.Values(), due, soon)
			}
			if by == "" {
				continue
			}
			want := counted(list.Findings, key)
			for _, r := range s.Rows {
				if !cmp.Equal(r.FindingCounts, want[r.Value]) {
					rt.Fatalf("%v by %s, %q (-got +list):\n%s", flt.Values(), by, r.Value, cmp.Diff(r.FindingCounts, want[r.Value]))
				}
				delete(want, r.Value)
			}
			if len(want) > 0 {
				rt.Fatalf("%v by %s: the rows lack %v", flt.Values(), by, want)
			}
		}
	})
}

func dueWithin(fs []query.Finding, days int) (n int) {
	for _, f := range fs {
		if f.State.Running() && f.Due != "" && !f.Overdue && f.DaysLeft < days {
			n++
		}
	}
	return n
}

func TestSummaryRefusesUnknownGroupings(t *testing.T) {
	f := newFixture(t, t.TempDir())
	if _, err := f.q.Summary(t.Context(), query.Filter{}, "colour"); !errors.Is(err, query.ErrFilter) {
		t.Errorf("got %v, want %v", err, query.ErrFilter)
	}
}

func TestAssetsAreCountedAlone(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.trust(t, "a-2")
	f.put(t, aFinding(1, finding.Critical, finding.Open, -3, true), aFinding(2, finding.Low, finding.Open, 3, false), aFinding(3, finding.Low, finding.Fixed, 3, false))
	l, err := f.q.Assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]query.Counts{"a-1": {Critical: 1, Low: 1, Total: 2, Overdue: 1, KEV: 1}, "a-2": {}}
	for _, a := range l.Assets {
		if a.Open != want[a.ID] {
			t.Errorf("%s: got %+v, want %+v", a.ID, a.Open, want[a.ID])
		}
	}
}
