package query_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	f.Verdict.Arrival = rapid.Bool().Draw(t, "arrival")
	if rapid.Bool().Draw(t, "awaits") {
		f.Verdict.Due, f.Verdict.DueAt = "", time.Time{}
	}
	return f
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
		switch f.State {
		case finding.Fixed:
			c.Fixed++
		case finding.NotAffected:
			c.NotAffected++
		case finding.PendingReboot:
			c.PendingReboot++
		}
		if f.State.Running() {
			c.Running++
			switch {
			case f.Overdue:
				c.Overdue++
			case f.AwaitingFix:
				c.AwaitingFix++
			default:
				c.Within++
			}
			if f.KEV {
				c.KEV++
			}
			if f.Arrival {
				c.Arrival++
			}
		}
		out[key(f)] = c
	}
	return out
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
			if want := counted(list.Findings, groupKey[""])[""]; s.Findings != want || s.Count != want.Total {
				rt.Fatalf("%v by %s: got %+v, the list shows %+v", flt.Values(), by, s.Findings, want)
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
				if r.FindingCounts != want[r.Value] {
					rt.Fatalf("%v by %s: got %q %+v, the list shows %+v", flt.Values(), by, r.Value, r.FindingCounts, want[r.Value])
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
