package storetest

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var assessments = []test{
	{"RoundTrip", assessmentRoundTrip},
	{"NothingChangedNoLeaf", assessmentNothing},
	{"AChangeNeedsALeaf", assessmentNoLeaf},
	{"ANewerMarkStays", assessmentNewerMark},
	{"AGoneMarkIsAConflict", assessmentGoneMark},
	{"ConflictLeavesNothing", assessmentConflictAtomic},
	{"FailingLeafLeavesNothing", assessmentFailingLeaf},
	{"UnnamedFindingsStay", assessmentOthersStay},
	{"UndeterminedIsReplaced", assessmentUndetermined},
	{"RefusesAFindingOfAnotherAsset", assessmentForeign},
	{"MarksOldestFirst", marksOrder},
	{"MarkAll", markAll},
	{"MarkDue", markDue},
	{"ManyFindings", assessmentMany},
}

// made makes a finding that is due in two days, with a priority.
func made(asset, vulnerability string, state finding.State, priority string) finding.Finding {
	return finding.Finding{
		ID: finding.ID(asset, vulnerability, "src"), Asset: asset, Vulnerability: vulnerability, Component: "src", State: state,
		Packages: []finding.Comparison{{Package: "bin", Arch: "amd64", Installed: "1", Advisory: "DSA-1", Feed: "osv:Debian", Fixed: "2"}},
		Detected: after(time.Minute), DetectedReport: "r1", Available: after(-time.Hour), AvailableKind: "advisory",
		SeenReport: "r1", SeenAt: after(time.Minute), Severity: finding.High, SeveritySource: "it's ?",
		Verdict: finding.Verdict{
			ClockStart: "2026-03-14", Due: "2026-03-16", DueAt: after(48 * time.Hour), State: finding.VerdictOpen, Priority: priority,
			MitigateBy: after(24 * time.Hour), Candidates: []finding.Candidate{{Rule: "r", Start: "2026-03-14", Due: "2026-03-16", Why: "why"}},
		},
	}
}

// storedFinding is a finding as every store returns it.
func storedFinding(f finding.Finding) finding.Finding {
	f.Detected, f.Available, f.SeenAt, f.Closed = rounded(f.Detected), rounded(f.Available), rounded(f.SeenAt), rounded(f.Closed)
	f.Verdict.DueAt, f.Verdict.MitigateBy, f.Verdict.TargetAt = rounded(f.Verdict.DueAt), rounded(f.Verdict.MitigateBy), rounded(f.Verdict.TargetAt)
	return f
}

func apply(t testing.TB, s store.Store, as ...store.Assessment) int64 {
	t.Helper()
	l := leaf("assessment")
	return must[int64](t)(s.ApplyAssessments(t.Context(), as, &l))
}

func markOf(t testing.TB, s store.Store, asset string) store.Mark {
	t.Helper()
	v, ok := marks(t.Context(), t, s)[asset]
	if !ok {
		t.Fatalf("asset %s is not marked", asset)
	}
	return store.Mark{Asset: asset, Version: v}
}

// dirtyAsset makes an asset with one report.
func dirtyAsset(t testing.TB, s store.Store, id string) store.Mark {
	t.Helper()
	trust(t, s, id)
	accept(t, s, report(id, 1, "x"))
	return markOf(t, s, id)
}

func findingsOfA1(t testing.TB, s store.Store) []finding.Finding {
	t.Helper()
	return must[[]finding.Finding](t)(s.AssetFindings(t.Context(), "A1"))
}

func assessmentRoundTrip(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	f := made("A1", "C1", finding.Open, "P1")
	u := finding.Undetermined{Asset: "A1", Vulnerability: "C2", Component: "src", Comparison: finding.Comparison{Package: "p", Reason: "no"}}
	gaps := []schema.Gap{{Extractor: "match", Kind: "unowned", Detail: "6.1"}}
	n := apply(t, s, store.Assessment{
		Mark: m, At: after(time.Hour), AssessedSequence: 1, Covered: true, Gaps: gaps,
		Changed: []finding.Finding{f}, Undetermined: []finding.Undetermined{u},
	})
	wantEqual(t, "leaf", n, leafCount(t, s)-1)
	wantEqual(t, "finding", must[finding.Finding](t)(s.Finding(t.Context(), f.ID)), storedFinding(f))
	wantEqual(t, "asset's findings", findingsOfA1(t, s), []finding.Finding{storedFinding(f)})
	wantEqual(t, "undetermined", must[[]finding.Undetermined](t)(s.UndeterminedOf(t.Context(), "A1")), []finding.Undetermined{u})
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	if a.AssessedSequence != 1 || !a.Covered || !a.AssessedAt.Equal(rounded(after(time.Hour))) {
		t.Errorf("asset %+v is not assessed", a)
	}
	wantEqual(t, "gaps", a.Gaps, gaps)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	_, err := s.Finding(t.Context(), "F-NOTHING")
	wantErr(t, "an unknown finding", err, store.ErrNotFound)
}

func assessmentNothing(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	before := leafCount(t, s)
	wantEqual(t, "leaf", apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1}), int64(-1))
	wantEqual(t, "leaves", leafCount(t, s), before)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	wantEqual(t, "sequence", must[store.Asset](t)(s.Asset(t.Context(), "A1")).AssessedSequence, uint64(1))
	wantEqual(t, "of nothing", apply(t, s), int64(-1))
}

func assessmentNoLeaf(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	as := []store.Assessment{{Mark: m, At: t0, AssessedSequence: 1}}
	for name, change := range map[string]func(*store.Assessment){
		"finding":      func(a *store.Assessment) { a.Changed = []finding.Finding{made("A1", "C1", finding.Open, "")} },
		"undetermined": func(a *store.Assessment) { a.Undetermined = []finding.Undetermined{{Asset: "A1"}} },
		"coverage":     func(a *store.Assessment) { a.Covered = true },
		"gaps":         func(a *store.Assessment) { a.Gaps = []schema.Gap{{Kind: "corrupt"}} },
	} {
		changed := as[0]
		change(&changed)
		if _, err := s.ApplyAssessments(t.Context(), []store.Assessment{changed}, nil); err == nil {
			t.Errorf("a change of %s was recorded without a leaf", name)
		}
	}
	n, err := s.ApplyAssessments(t.Context(), as, nil)
	if n != -1 || err != nil {
		t.Errorf("an assessment that changes nothing: %d, %v", n, err)
	}
}

func assessmentNewerMark(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	accept(t, s, report("A1", 2, "x")) // while the first report is assessed
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{made("A1", "C1", finding.Open, "")}})
	wantEqual(t, "findings", len(findingsOfA1(t, s)), 1)
	newer := markOf(t, s, "A1")
	apply(t, s, store.Assessment{Mark: newer, At: t0, AssessedSequence: 2})
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
}

func assessmentGoneMark(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1})
	l := leaf("assessment")
	_, err := s.ApplyAssessments(t.Context(), []store.Assessment{{Mark: m, At: t0, Covered: true}}, &l)
	wantErr(t, "the same mark again", err, store.ErrConflict)
	accept(t, s, report("A1", 2, "x"))
	if again := markOf(t, s, "A1"); again.Version <= m.Version {
		t.Errorf("version %d was used again", again.Version)
	}
}

func assessmentConflictAtomic(t *testing.T, s store.Store) {
	m1, m2 := dirtyAsset(t, s, "A1"), dirtyAsset(t, s, "A2")
	apply(t, s, store.Assessment{Mark: m2, At: t0})
	before := leafCount(t, s)
	l := leaf("assessment")
	_, err := s.ApplyAssessments(t.Context(), []store.Assessment{
		{Mark: m1, At: t0, AssessedSequence: 1, Changed: []finding.Finding{made("A1", "C1", finding.Open, "")}},
		{Mark: m2, At: t0, AssessedSequence: 1},
	}, &l)
	wantErr(t, "a batch with a gone mark", err, store.ErrConflict)
	wantEqual(t, "findings", len(findingsOfA1(t, s)), 0)
	wantEqual(t, "leaves", leafCount(t, s), before)
	wantEqual(t, "the other's mark", markOf(t, s, "A1"), m1)
}

func assessmentFailingLeaf(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	l := badLeaf()
	_, err := s.ApplyAssessments(t.Context(), []store.Assessment{
		{Mark: m, At: t0, AssessedSequence: 1, Covered: true, Changed: []finding.Finding{made("A1", "C1", finding.Open, "")}},
	}, &l)
	if err == nil {
		t.Fatal("a leaf without a kind was accepted")
	}
	wantEqual(t, "findings", len(findingsOfA1(t, s)), 0)
	wantEqual(t, "mark", markOf(t, s, "A1"), m)
	if a := must[store.Asset](t)(s.Asset(t.Context(), "A1")); a.Covered || a.AssessedSequence != 0 {
		t.Errorf("the asset was assessed: %+v", a)
	}
}

func assessmentOthersStay(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	f1, f2 := made("A1", "C1", finding.Open, "P1"), made("A1", "C2", finding.Open, "P1")
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{f1, f2}})
	accept(t, s, report("A1", 2, "x"))
	f1.State, f1.Closed, f1.ClosedReport = finding.Fixed, after(time.Hour), "r2"
	apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), At: t0, AssessedSequence: 2, Changed: []finding.Finding{f1}})
	got := map[string]finding.Finding{}
	for _, f := range findingsOfA1(t, s) {
		got[f.ID] = f
	}
	wantEqual(t, "findings", got, map[string]finding.Finding{f1.ID: storedFinding(f1), f2.ID: storedFinding(f2)})
	wantEqual(t, "running", must[map[string]struct{}](t)(s.VulnerabilitiesWithFindings(t.Context())), map[string]struct{}{"C2": {}})
}

func assessmentUndetermined(t *testing.T, s store.Store) {
	m1, m2 := dirtyAsset(t, s, "A1"), dirtyAsset(t, s, "A2")
	list := func(asset string, names ...string) (us []finding.Undetermined) {
		for _, n := range names {
			us = append(us, finding.Undetermined{Asset: asset, Vulnerability: n})
		}
		return us
	}
	apply(t, s, store.Assessment{Mark: m1, At: t0, Undetermined: list("A1", "C2", "C1", "C3")},
		store.Assessment{Mark: m2, At: t0, Undetermined: list("A2", "C1")})
	wantEqual(t, "count", must[int](t)(s.CountUndetermined(t.Context())), 4)
	accept(t, s, report("A1", 2, "x"))
	apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), At: t0, Undetermined: list("A1", "C9")})
	wantEqual(t, "A1", must[[]finding.Undetermined](t)(s.UndeterminedOf(t.Context(), "A1")), list("A1", "C9"))
	wantEqual(t, "A2", must[[]finding.Undetermined](t)(s.UndeterminedOf(t.Context(), "A2")), list("A2", "C1"))
}

func assessmentForeign(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	dirtyAsset(t, s, "A2")
	l := leaf("assessment")
	for _, a := range []store.Assessment{
		{Mark: m, Changed: []finding.Finding{made("A2", "C1", finding.Open, "")}},
		{Mark: m, Undetermined: []finding.Undetermined{{Asset: "A2"}}},
	} {
		if _, err := s.ApplyAssessments(t.Context(), []store.Assessment{a}, &l); err == nil {
			t.Errorf("accepted %+v", a)
		}
	}
	wantEqual(t, "mark", markOf(t, s, "A1"), m)
}

func marksOrder(t *testing.T, s store.Store) {
	for _, id := range []string{"A3", "A1", "A2"} {
		dirtyAsset(t, s, id)
	}
	accept(t, s, report("A3", 2, "x"))
	list := must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 2))
	wantEqual(t, "two oldest", []string{list[0].Asset, list[1].Asset}, []string{"A1", "A2"})
}

func markAll(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	trust(t, s, "A2")
	if err := s.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := marks(t.Context(), t, s)
	if len(got) != 2 || got["A1"] <= m.Version {
		t.Errorf("marks %v after %v", got, m)
	}
}

func markDue(t *testing.T, s store.Store) {
	due := func(at time.Time, want ...string) {
		t.Helper()
		n := must[int](t)(s.MarkDue(t.Context(), at))
		got := marks(t.Context(), t, s)
		if n != len(want) || len(got) != len(want) {
			t.Errorf("at %s: got %d marked, marks %v, want %v", at, n, got, want)
		}
		for _, id := range want {
			if _, ok := got[id]; !ok {
				t.Errorf("at %s: %s is not marked", at, id)
			}
		}
		clean(t, s)
	}
	for i, id := range []string{"A1", "A2", "A3"} {
		f := made(id, "CVE-1", finding.Open, "P1")
		f.Episode = 1
		f.Verdict.MitigateBy = time.Time{}
		f.Verdict.DueAt = after(time.Duration(i+1) * time.Hour)
		apply(t, s, store.Assessment{Mark: dirtyAsset(t, s, id), At: t0, Changed: []finding.Finding{f}})
	}
	due(after(59 * time.Minute))
	due(after(time.Hour), "A1")
	due(after(2*time.Hour), "A1", "A2") // what is not recorded is due again

	f := made("A1", "CVE-1", finding.Open, "P1")
	f.Episode, f.Verdict.MitigateBy, f.Verdict.DueAt = 1, time.Time{}, after(time.Hour)
	f.Clock.Breaches = []finding.Breach{{Kind: finding.Patch, At: after(time.Hour), Deadline: after(time.Hour)}}
	if err := s.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), At: t0, Changed: []finding.Finding{f}})
	before := marks(t.Context(), t, s)
	wantEqual(t, "marked anew", must[int](t)(s.MarkDue(t.Context(), after(24*time.Hour))), 0)
	wantEqual(t, "marks", marks(t.Context(), t, s), before)
	clean(t, s)
	due(after(2*time.Hour), "A2") // the breach of A1 is on record
}

func assessmentMany(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	var fs []finding.Finding
	for i := range 2500 {
		fs = append(fs, made("A1", digest(string(rune(i)))[:12], finding.Open, "P2"))
	}
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: fs})
	wantEqual(t, "findings", len(findingsOfA1(t, s)), 2500)
}
