package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

var findings = []test{
	{"UrgencyOrder", findingOrder},
	{"Filters", findingFilters},
	{"OverdueIsTheBreach", findingOverdue},
	{"PagesCoverEverythingOnce", findingPages},
	{"SortedByKeys", findingSort},
	{"CountsAreOfWhatIsListed", findingCounts},
	{"OutcomesAndFlagsAreWhatFindingsSay", findingOutcomes},
	{"AfterAnUnknownFinding", findingAfterUnknown},
	{"HistoryKeepsEveryState", findingHistory},
}

// ranked records findings that differ by one key each, most urgent first.
func ranked(t *testing.T, s store.Store) []finding.Finding {
	t.Helper()
	m := dirtyAsset(t, s, "A1")
	due := func(d time.Duration, f finding.Finding) finding.Finding {
		f.Verdict.DueAt = after(d)
		return f
	}
	none := func(f finding.Finding) finding.Finding {
		f.Verdict.DueAt, f.Verdict.Due = time.Time{}, ""
		return f
	}
	with := func(f finding.Finding, sev finding.Severity, kev bool) finding.Finding {
		f.Severity, f.KEV = sev, kev
		return f
	}
	n := 0
	next := func(state finding.State, priority string) finding.Finding {
		n++
		return made("A1", fmt.Sprintf("C%d", n), state, priority)
	}
	list := []finding.Finding{
		due(-time.Hour, next(finding.Open, "P4")),
		due(time.Hour, next(finding.PendingReboot, "P0")),
		due(time.Hour, with(next(finding.Open, "P1"), finding.Critical, false)),
		due(time.Hour, with(next(finding.Open, "P1"), finding.High, true)),
		due(time.Hour, with(next(finding.Open, "P1"), finding.High, false)),
		due(time.Hour, with(next(finding.Open, "P1"), finding.Low, true)),
		due(time.Hour, with(next(finding.Open, "P1"), "", true)),
		due(time.Hour, next(finding.Open, "")),
		due(2*time.Hour, next(finding.Open, "P0")),
		none(next(finding.Open, "P0")),
		none(next(finding.PendingReboot, "P1")),
		due(-time.Hour, next(finding.Fixed, "P0")),
		none(next(finding.NotAffected, "P0")),
	}
	shuffled := make([]finding.Finding, len(list))
	for i, f := range list {
		shuffled[(i*7+3)%len(list)] = f
	}
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: shuffled})
	return list
}

func names(list []finding.Finding) []string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = f.Vulnerability
	}
	return out
}

func listFindings(t *testing.T, s store.Store, q store.FindingQuery) []finding.Finding {
	t.Helper()
	return must[[]finding.Finding](t)(s.ListFindings(t.Context(), q))
}

func findingOrder(t *testing.T, s store.Store) {
	want := ranked(t, s)
	got := listFindings(t, s, store.FindingQuery{})
	wantEqual(t, "order", names(got), names(want))
	wantEqual(t, "content", got[3], storedFinding(want[3]))
}

func findingFilters(t *testing.T, s store.Store) {
	all := ranked(t, s)
	m := dirtyAsset(t, s, "A2")
	other := made("A2", "C1", finding.Open, "P0")
	apply(t, s, store.Assessment{Mark: m, At: t0, Changed: []finding.Finding{other}})
	yes, no := true, false
	count := func(keep func(finding.Finding) bool) (n int) {
		for _, f := range append([]finding.Finding{other}, all...) {
			if keep(f) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name string
		q    store.FindingQuery
		keep func(finding.Finding) bool
	}{
		{"severity", store.FindingQuery{Severity: []finding.Severity{finding.Critical}}, func(f finding.Finding) bool { return f.Severity == finding.Critical }},
		{"kev", store.FindingQuery{KEV: &yes}, func(f finding.Finding) bool { return f.KEV }},
		{"not kev", store.FindingQuery{KEV: &no}, func(f finding.Finding) bool { return !f.KEV }},
		{"open", store.FindingQuery{OpenOnly: true}, func(f finding.Finding) bool { return f.State.Running() }},
		{"asset", store.FindingQuery{AssetQuery: store.AssetQuery{Asset: []string{"A2"}}}, func(f finding.Finding) bool { return f.Asset == "A2" }},
		{"vulnerability", store.FindingQuery{Vulnerability: []string{"C1"}}, func(f finding.Finding) bool { return f.Vulnerability == "C1" }},
		{"state", store.FindingQuery{State: []finding.State{finding.PendingReboot}}, func(f finding.Finding) bool { return f.State == finding.PendingReboot }},
		{"two at once", store.FindingQuery{AssetQuery: store.AssetQuery{Asset: []string{"A1"}}, Vulnerability: []string{"C1"}}, func(f finding.Finding) bool {
			return f.Asset == "A1" && f.Vulnerability == "C1"
		}},
		{"all", store.FindingQuery{}, func(finding.Finding) bool { return true }},
	} {
		got := listFindings(t, s, c.q)
		wantEqual(t, c.name, len(got), count(c.keep))
		for _, f := range got {
			if !c.keep(f) {
				t.Errorf("%s: %+v is not asked for", c.name, f)
			}
		}
	}
}

func findingOverdue(t *testing.T, s store.Store) {
	ranked(t, s)
	overdue := func(at time.Time) []string { return names(listFindings(t, s, store.FindingQuery{OverdueAt: at})) }
	wantEqual(t, "an hour before the first", overdue(after(-2*time.Hour)), []string{})
	wantEqual(t, "at the breach", overdue(after(-time.Hour)), []string{"C1"})
	wantEqual(t, "long after", len(overdue(after(10000*time.Hour))), 9)
}

func findingPages(t *testing.T, s store.Store) {
	want := names(ranked(t, s))
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for last := ""; ; {
			page := listFindings(t, s, store.FindingQuery{Limit: limit, After: last})
			if len(page) > limit {
				t.Fatalf("a page of %d holds %d", limit, len(page))
			}
			got = append(got, names(page)...)
			if len(page) < limit {
				break
			}
			last = page[len(page)-1].ID
		}
		wantEqual(t, fmt.Sprint("pages of ", limit), got, want)
	}
}

func findingAfterUnknown(t *testing.T, s store.Store) {
	_, err := s.ListFindings(t.Context(), store.FindingQuery{After: "F-NOTHING"})
	wantErr(t, "after an unknown finding", err, store.ErrNotFound)
}

func findingHistory(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	open, other := made("A1", "C1", finding.Open, "P1"), made("A1", "C2", finding.Open, "P1")
	first := apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{open, other}})
	accept(t, s, report("A1", 2, "x"))
	fixed := open
	fixed.State, fixed.Closed = finding.Fixed, after(time.Hour)
	second := apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), At: t0, AssessedSequence: 2, Changed: []finding.Finding{fixed}})
	wantEqual(t, "history", must[[]store.FindingVersion](t)(s.FindingHistory(t.Context(), open.ID)), []store.FindingVersion{
		{Leaf: first, Finding: storedFinding(open)}, {Leaf: second, Finding: storedFinding(fixed)},
	})
	wantEqual(t, "recorded first", len(must[[]finding.Finding](t)(s.RecordedFindings(t.Context(), first))), 2)
	wantEqual(t, "recorded second", must[[]finding.Finding](t)(s.RecordedFindings(t.Context(), second)), []finding.Finding{storedFinding(fixed)})
	wantEqual(t, "history of nothing", len(must[[]store.FindingVersion](t)(s.FindingHistory(t.Context(), "F-NOTHING"))), 0)
	if err := s.CheckFindings(t.Context(), func(id, what string) { t.Errorf("finding %s: %s", id, what) }); err != nil {
		t.Error(err)
	}
}

func findingSort(t *testing.T, s store.Store) {
	ranked(t, s)
	for _, key := range store.SortKeys {
		up := names(listFindings(t, s, store.FindingQuery{Sort: []store.SortKey{{Key: key}, {Key: "vulnerability"}}}))
		down := names(listFindings(t, s, store.FindingQuery{Sort: []store.SortKey{{Key: key, Descending: true}, {Key: "vulnerability", Descending: true}}}))
		slices.Reverse(down)
		wantEqual(t, key+" both ways", down, up)
	}
	if _, err := s.ListFindings(t.Context(), store.FindingQuery{Sort: []store.SortKey{{Key: "colour"}}}); err == nil {
		t.Error("got no error for a key that does not exist")
	}
}

func findingCounts(t *testing.T, s store.Store) {
	ranked(t, s)
	for _, q := range []store.FindingQuery{
		{},
		{OpenOnly: true},
		{Severity: []finding.Severity{finding.High, finding.Low}},
		{Priority: []string{"P1"}},
		{AwaitingFix: true},
		{OverdueAt: after(90 * time.Minute)},
		{Outcome: []finding.Outcome{finding.Within, finding.FixedLate}, OutcomeAt: after(90 * time.Minute)},
		{Outcome: []finding.Outcome{finding.Overdue, finding.AwaitingFix, finding.Accepted}, OutcomeAt: after(90 * time.Minute)},
		{Flags: []finding.Flag{finding.FlagArrival}},
		{Flags: []finding.Flag{finding.FlagTargetMissed}, OutcomeAt: after(90 * time.Minute)},
	} {
		list := listFindings(t, s, q)
		for _, by := range append([]string{""}, store.Groupings...) {
			got := 0
			for _, c := range must[[]store.FindingCount](t)(s.CountFindings(t.Context(), q, by, t0)) {
				got += c.Total
			}
			wantEqual(t, fmt.Sprintf("%+v by %q", q, by), got, len(list))
		}
	}
	wantEqual(t, "falls due", must[[]int](t)(s.CountDue(t.Context(), store.FindingQuery{}, []time.Time{after(0), after(2 * time.Hour), after(3 * time.Hour)})), []int{7, 1})
	if _, err := s.CountFindings(t.Context(), store.FindingQuery{}, "colour", t0); err == nil {
		t.Error("got no error for a grouping that does not exist")
	}
	colour := store.FindingQuery{Flags: []finding.Flag{"colour"}}
	if _, err := s.CountFindings(t.Context(), colour, "", t0); err == nil {
		t.Error("got no error for counting by a flag that does not exist")
	}
	if _, err := s.ListFindings(t.Context(), colour); err == nil {
		t.Error("got no error for listing by a flag that does not exist")
	}
}

// findingOutcomes holds every outcome and flag against what the findings say, in
// lists and in counts, now and as recorded.
func findingOutcomes(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	var all []finding.Finding
	add := func(state finding.State, due time.Duration, rule string, e finding.End) *finding.Finding {
		f := made("A1", fmt.Sprint("C", len(all)), state, "P1")
		f.Verdict.Due, f.Verdict.DueAt, f.Verdict.Rule, f.End = "2026-03-05", after(due), rule, e
		if !state.Running() {
			f.Closed = after(time.Minute)
		}
		all = append(all, f)
		return &all[len(all)-1]
	}
	add(finding.Open, time.Hour, "7.1", finding.End{})
	add(finding.Open, -time.Hour, "7.1", finding.End{}).Verdict.Arrival = true
	add(finding.PendingReboot, time.Hour, "exception/X", finding.End{}).Verdict.TargetAt = after(-time.Hour)
	add(finding.Open, -time.Hour, "exception/X", finding.End{}).Regression = true
	awaits := add(finding.Open, 0, "", finding.End{})
	awaits.Verdict.Due, awaits.Verdict.DueAt = "", time.Time{}
	add(finding.Fixed, time.Hour, "7.1", finding.End{Outcome: finding.FixedOnTime, FinalAt: t0, Final: true, OnTimeClaimed: true})
	add(finding.Fixed, -time.Hour, "7.1", finding.End{Outcome: finding.FixedLate, FinalAt: t0, TargetMissed: true}).Verdict.TargetAt = after(-2 * time.Hour)
	add(finding.NotAffected, -time.Hour, "7.1", finding.End{})
	add(finding.Fixed, -time.Hour, "7.1", finding.End{}) // recorded before outcomes were
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: all})
	answeredByOutcome(t, s, all)
	later := slices.Clone(all)
	for i := range later { // what was recorded of them is then read from the record
		later[i].State, later[i].Verdict, later[i].End, later[i].Regression = finding.NotAffected, finding.Verdict{}, finding.End{}, false
	}
	must[any](t)(nil, s.MarkAll(t.Context()))
	l := leafAt("assessment", after(time.Hour))
	must[int64](t)(s.ApplyAssessments(t.Context(), []store.Assessment{{Mark: markOf(t, s, "A1"), At: t0, AssessedSequence: 1, Changed: later}}, &l))
	answeredByOutcome(t, s, later)
	asOf(t, s, after(time.Minute), func(st store.Store) error { answeredByOutcome(t, st, all); return nil })
}

func answeredByOutcome(t *testing.T, s store.Store, all []finding.Finding) {
	t.Helper()
	for _, o := range finding.Outcomes {
		q := store.FindingQuery{Outcome: []finding.Outcome{o}, OutcomeAt: t0}
		answered(t, s, q, string(o), all, func(f *finding.Finding) bool { return f.Outcome(t0) == o })
	}
	for w, is := range map[finding.Flag]func(*finding.Finding) bool{
		finding.FlagArrival:       func(f *finding.Finding) bool { return f.Verdict.Arrival },
		finding.FlagRegression:    func(f *finding.Finding) bool { return f.Regression },
		finding.FlagOnTimeClaimed: func(f *finding.Finding) bool { return f.End.OnTimeClaimed },
		finding.FlagTargetMissed:  func(f *finding.Finding) bool { return f.TargetMissed(t0) },
	} {
		answered(t, s, store.FindingQuery{Flags: []finding.Flag{w}, OutcomeAt: t0}, string(w), all, is)
	}
}

// answered holds what a query lists and counts against those of all that it means.
func answered(t *testing.T, s store.Store, q store.FindingQuery, what string, all []finding.Finding, is func(*finding.Finding) bool) {
	t.Helper()
	want := []string{}
	outcomes := map[finding.Outcome]int{}
	for i := range all {
		if f := storedFinding(all[i]); is(&f) {
			want = append(want, f.Vulnerability)
			outcomes[f.Outcome(t0)]++
		}
	}
	got := names(listFindings(t, s, q))
	slices.Sort(got)
	wantEqual(t, what, got, want)
	counted := map[finding.Outcome]int{}
	for _, c := range must[[]store.FindingCount](t)(s.CountFindings(t.Context(), q, "", t0)) {
		counted[c.Outcome] += c.Total
	}
	wantEqual(t, what+" counted", counted, outcomes)
}
