package query_test

import (
	"errors"
	"net/url"
	"slices"
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

// sample draws a value a filter takes.
func sample(t *rapid.T, d *query.Field) string {
	switch d.Kind {
	case query.KindDate:
		return "2026-06-0" + rapid.SampledFrom([]string{"1", "9"}).Draw(t, d.Name)
	case query.KindTime:
		return rapid.SampledFrom([]string{"2026-06-01", "2026-06-09T10:00:00Z"}).Draw(t, d.Name)
	case query.KindChoice:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, d.Name)
	case query.KindSwitch:
		return "true"
	}
	known := d.Words
	if len(known) == 0 {
		known = []string{"one", "two words", "Ünï", "%2C&="}
	}
	return strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom(known), 1, len(known), rapid.ID[string]).Draw(t, d.Name), ",")
}

func TestFilterSurvivesItsSpelling(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var f query.Filter
		for i := range query.Fields {
			d := &query.Fields[i]
			if d.Name == "unowned" || !rapid.Bool().Draw(rt, "set "+d.Name) {
				continue // unowned excludes owner
			}
			if err := d.Set(&f, sample(rt, d)); err != nil {
				rt.Fatal(err)
			}
		}
		f.Sort = []string{"due", "-severity"}
		f.View, f.Limit, f.After = "kev-internet", 7, "F-1"
		v, err := url.ParseQuery(f.Values().Encode())
		if err != nil {
			rt.Fatal(err)
		}
		got, err := query.ParseFilter(v)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(f, got); diff != "" {
			rt.Fatalf("(-sent +read):\n%s", diff)
		}
	})
}

func TestFilterRefusesWhatNobodyCanAnswer(t *testing.T) {
	for text, want := range map[string]string{
		"severity=severe":                  `severity "severe": want critical, high, medium or low`,
		"severity=high,,low":               `severity ""`,
		"due_before=2026-06-01T00:00:00Z":  "want a date, YYYY-MM-DD",
		"due_before=tomorrow":              `due_before "tomorrow"`,
		"closed_after=2026-13-01":          "want a date",
		"kev=perhaps":                      "want true or false",
		"flag=broken":                      "want arrival, regression, on_time_claimed or target_missed",
		"view=nothing":                     "want kev-internet",
		"sort=due,-nothing":                `sort key "-nothing"`,
		"unowned=true&owner=payments":      "exclude each other",
		"limit=-1":                         "want a number of rows",
		"exposure=internet&exposure=moon":  `exposure "moon"`,
		"state=open&state=pending_reboot,": `state ""`,
	} {
		v, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = query.ParseFilter(v)
		if !errors.Is(err, query.ErrFilter) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestEveryViewCanBeAsked(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.put(t, aFinding(1, finding.High, finding.Open, -1, true))
	for _, v := range query.Views {
		if _, err := f.q.Findings(t.Context(), query.Filter{View: v.Name}); err != nil {
			t.Errorf("view %s: %v", v.Name, err)
		}
	}
}

// classify gives the asset attributes.
func (f *fixture) classify(t testing.TB, at store.Attributes) {
	t.Helper()
	if _, err := f.st.SetAttributes(t.Context(), "a-1", "web-1", at, leaf(t, "attributes")); err != nil {
		t.Fatal(err)
	}
}

func TestFiltersLetThroughWhatTheySay(t *testing.T) {
	f := newFixture(t, t.TempDir())
	kev := aFinding(1, finding.Critical, finding.Open, -3, true)
	kev.Verdict.Cycle, kev.Verdict.Arrival, kev.Verdict.Target, kev.Verdict.Priority = "zero_day", true, "2026-06-09", "P0"
	kev.Verdict.TargetAt = now.Truncate(24 * time.Hour)
	fixed := aFinding(2, finding.Low, finding.Fixed, 30, false)
	waits := aFinding(3, finding.Medium, finding.Open, 0, false)
	waits.Verdict.Due, waits.Verdict.DueAt = "", time.Time{}
	waits.Component, waits.Packages[0].Package, waits.Packages[0].Advisory = "curl", "libcurl4", "DSA-2"
	f.put(t, kev, fixed, waits)
	f.classify(t, store.Attributes{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production, Owner: "payments", OU: "prod", CrownJewel: true})
	for text, want := range map[string]string{
		"":                                     "1 3 2",
		"severity=critical,low":                "1 2",
		"state=fixed":                          "2",
		"priority=P0":                          "1",
		"cycle=zero_day":                       "1",
		"kev=true":                             "1",
		"kev=false":                            "3 2",
		"flag=arrival":                         "1",
		"flag=target_missed":                   "1",
		"flag=on_time_claimed":                 "",
		"flag=regression":                      "",
		"flag=arrival,target_missed":           "1",
		"overdue=true":                         "1",
		"awaiting_fix=true":                    "3",
		"open=true":                            "1 3",
		"component=curl":                       "3",
		"package=libssl3":                      "1 2",
		"package=libcurl4,libssl3":             "1 3 2",
		"package=libssl":                       "",
		"advisory=DSA-2":                       "3",
		"vulnerability=CVE-2026-2":             "2",
		"asset=web-1&open=true":                "1 3",
		"owner=payments&ou=prod":               "1 3 2",
		"owner=nobody":                         "",
		"unowned=true":                         "",
		"class=compute&column=internet":        "1 3 2",
		"column=production":                    "",
		"crown_jewel=true":                     "1 3 2",
		"crown_jewel=false":                    "",
		"cold_wallet=false":                    "1 3 2",
		"due_before=2026-06-08":                "1",
		"due_before=2026-06-07":                "",
		"due_after=2026-06-07":                 "2",
		"closed_after=2026-06-10":              "2",
		"closed_before=2026-06-10":             "",
		"closed_before=2026-06-11":             "2",
		"detected_after=2026-06-10":            "",
		"detected_before=2026-06-10T00:00:00Z": "1 3 2",
		"view=kev-internet":                    "1",
		"view=kev-internet&exposure=internal":  "",
		"view=arrivals&flag=target_missed":     "1",
		"sort=severity":                        "2 3 1",
		"sort=-severity":                       "1 3 2",
		"sort=-vulnerability":                  "3 2 1",
		"sort=component,-due":                  "3 2 1",
		"sort=asset,kev,-vulnerability":        "3 2 1",
		"sort=-closed,priority":                "2 1 3",
	} {
		v, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		flt, err := query.ParseFilter(v)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		l, err := f.q.Findings(t.Context(), flt)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, r := range l.Findings {
			got = append(got, strings.TrimPrefix(r.Vulnerability, "CVE-2026-"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
		if l.Count != len(got) || len(l.Filters) != len(v) {
			t.Errorf("%s: got count %d and filters %v", text, l.Count, l.Filters)
		}
		if pages := f.pages(t, flt); !slices.Equal(pages, got) {
			t.Errorf("%s: got pages of one %v, want %v", text, pages, got)
		}
	}
}

// pages asks for one row at a time.
func (f *fixture) pages(t testing.TB, flt query.Filter) []string {
	t.Helper()
	var got []string
	flt.Limit = 1
	for {
		l, err := f.q.Findings(t.Context(), flt)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.Findings {
			got = append(got, strings.TrimPrefix(r.Vulnerability, "CVE-2026-"))
		}
		if l.Next == "" {
			return got
		}
		flt.After = l.Next
	}
}

func TestFindingsSayWhatTheirAssetIs(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.put(t, aFinding(1, finding.Critical, finding.Open, -3, true))
	f.classify(t, store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.NonProduction, Owner: "o", Account: "1", Region: "r", Service: "s"})
	l, err := f.q.Findings(t.Context(), query.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r := l.Findings[0]
	if r.AssetName != "web-1" || r.Owner != "o" || r.Account != "1" || r.Region != "r" || r.Service != "s" || r.Column != "nonproduction" || r.Class != "compute" {
		t.Errorf("got %+v", r)
	}
}
