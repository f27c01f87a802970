package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var facts = []test{
	{"MergedByKind", factsMerged},
	{"ReplacedWithinAKind", factsReplaced},
	{"DelistingKeepsThem", factsDelisted},
	{"MarkOnlyAssetsWithRunningFindings", factsMark},
	{"MarkAnAssetThatIsBeingAssessed", factsDuringAssessment},
	{"MarkForVulnerabilities", factsScope},
	{"ScopeEndsWithAnythingElse", factsScopeEnds},
	{"ANarrowAssessmentLeavesTheRest", factsNarrow},
	{"EPSSMarksWhenItCrossesAStep", factsEPSS},
	{"RefusesTwoOfOneVulnerability", factsTwice},
	{"MissingIsNotMarked", factsMissing},
	{"Many", factsMany},
}

func kevBatch(vulnerabilities ...string) advisory.Batch {
	b := advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "d"}
	for _, v := range vulnerabilities {
		b.Facts = append(b.Facts, advisory.Facts{Vulnerability: v, KEV: &advisory.KEV{Added: "2026-01-02", Due: "2026-01-23", Ransomware: true}})
	}
	return b
}

func epssBatch(scores map[string]float64) advisory.Batch {
	b := advisory.Batch{Feed: advisory.Feed{Name: "epss", Kind: "epss"}, Snapshot: true, Digest: "d"}
	for v, score := range scores {
		b.Facts = append(b.Facts, advisory.Facts{Vulnerability: v, EPSS: &advisory.EPSS{Score: score, Percentile: 0.25, Date: "2026-03-14"}})
	}
	return b
}

func factsOf(t *testing.T, s store.Store, vulnerabilities ...string) map[string]advisory.Facts {
	t.Helper()
	return must[map[string]advisory.Facts](t)(s.Facts(t.Context(), vulnerabilities))
}

func factsMerged(t *testing.T, s store.Store) {
	applyBatch(t, s, kevBatch("C1", "C2"), t0)
	applyBatch(t, s, epssBatch(map[string]float64{"C1": 0.97, "C3": 0.00043}), t0)
	ssvc := &advisory.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total", Date: "2026-01-01"}
	score := advisory.Score{Source: "cna", Version: "3.1", Vector: "CVSS:3.1/AV:N", Value: 9.8}
	applyBatch(t, s, advisory.Batch{Feed: advisory.Feed{Name: "cve", Kind: "cve"}, Facts: []advisory.Facts{
		{Vulnerability: "C1", SSVC: ssvc, Scores: []advisory.Score{score}},
	}}, t0)
	kev := &advisory.KEV{Added: "2026-01-02", Due: "2026-01-23", Ransomware: true}
	wantEqual(t, "facts", factsOf(t, s, "C1", "C2", "C3", "C4"), map[string]advisory.Facts{
		"C1": {
			Vulnerability: "C1", KEV: kev, SSVC: ssvc, Scores: []advisory.Score{score},
			EPSS: &advisory.EPSS{Score: 0.97, Percentile: 0.25, Date: "2026-03-14"},
		},
		"C2": {Vulnerability: "C2", KEV: kev},
		"C3": {Vulnerability: "C3", EPSS: &advisory.EPSS{Score: 0.00043, Percentile: 0.25, Date: "2026-03-14"}},
	})
	wantEqual(t, "of nothing", len(factsOf(t, s)), 0)
}

func factsReplaced(t *testing.T, s store.Store) {
	applyBatch(t, s, kevBatch("C1"), t0)
	b := kevBatch("C1")
	b.Facts[0].KEV = &advisory.KEV{Added: "2026-01-02"}
	ap := applyBatch(t, s, b, t0)
	wantEqual(t, "applied", ap, store.Applied{Changed: 1, Leaf: 1})
	wantEqual(t, "facts", factsOf(t, s, "C1")["C1"].KEV, &advisory.KEV{Added: "2026-01-02"})
}

func factsDelisted(t *testing.T, s store.Store) {
	applyBatch(t, s, kevBatch("C1", "C2"), t0)
	ap := applyBatch(t, s, kevBatch("C2"), t0)
	wantEqual(t, "missing", ap.Missing, 1)
	if factsOf(t, s, "C1")["C1"].KEV == nil {
		t.Error("a listing was forgotten when the catalogue dropped it")
	}
	st := must[[]store.FeedState](t)(s.Feeds(t.Context()))[0]
	wantEqual(t, "counts", []int{st.Facts, st.Missing}, []int{2, 1})
	wantEqual(t, "missing again", applyBatch(t, s, kevBatch("C2"), t0).Missing, 0)
}

// assetsWithFindings makes A1 with an open finding of C1, A2 with a fixed one of
// C1, and A3 with an open one of C2.
func assetsWithFindings(t *testing.T, s store.Store) {
	t.Helper()
	for asset, f := range map[string]finding.Finding{
		"A1": made("A1", "C1", finding.Open, ""), "A2": made("A2", "C1", finding.Fixed, ""), "A3": made("A3", "C2", finding.PendingReboot, ""),
	} {
		trust(t, s, asset)
		accept(t, s, report(asset, 1, "x"))
		apply(t, s, store.Assessment{Mark: markOf(t, s, asset), At: t0, AssessedSequence: 1, Changed: []finding.Finding{f}})
	}
}

func factsMark(t *testing.T, s store.Store) {
	assetsWithFindings(t, s)
	ap := applyBatch(t, s, kevBatch("C1", "C9"), t0)
	wantEqual(t, "marked", ap.MarkedAssets, 1)
	if m := marks(t.Context(), t, s); len(m) != 1 || m["A1"] == 0 {
		t.Errorf("marks %v, want one of A1", m)
	}
}

// scopeOf is what the mark of an asset names, sorted.
func scopeOf(t *testing.T, s store.Store, asset string) []string {
	t.Helper()
	for _, m := range must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0)) {
		if m.Asset == asset {
			return m.Vulnerabilities
		}
	}
	t.Fatalf("%s is not marked", asset)
	return nil
}

func factsScope(t *testing.T, s store.Store) {
	assetsWithFindings(t, s)
	applyBatch(t, s, kevBatch("C1", "C2", "C9"), t0)
	wantEqual(t, "A1", scopeOf(t, s, "A1"), []string{"C1"})
	wantEqual(t, "A3", scopeOf(t, s, "A3"), []string{"C2"})
	first := markOf(t, s, "A1")
	applyBatch(t, s, epssBatch(map[string]float64{"C1": 0.5}), t0)
	if m := markOf(t, s, "A1"); m.Version <= first.Version {
		t.Errorf("version %d after more facts, was %d", m.Version, first.Version)
	}
	clean(t, s)
	wantEqual(t, "running", must[[]finding.Finding](t)(s.Running(t.Context(), []string{"A1", "A2", "A3"}, []string{"C1"})),
		[]finding.Finding{storedFinding(made("A1", "C1", finding.Open, ""))})
	wantEqual(t, "attributes", must[map[string]store.Attributes](t)(s.AttributesOf(t.Context(), []string{"A1", "A9"})), map[string]store.Attributes{"A1": {}})
}

// factsScopeEnds: whatever else marks an asset, it is for everything from then on.
func factsScopeEnds(t *testing.T, s store.Store) {
	for name, mark := range map[string]func(){
		"a report":      func() { accept(t, s, report("A1", 2, "y")) },
		"everything":    func() { _ = s.MarkAll(t.Context()) },
		"what fell due": func() { _, _ = s.MarkDue(t.Context(), after(1000*time.Hour)) },
		"advisories":    func() { applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0) },
		"other attributes": func() {
			_, _ = s.SetAttributes(t.Context(), "A1", "n", store.Attributes{Owner: "o"}, leaf("attributes"))
		},
	} {
		if len(must[[]store.Asset](t)(s.Assets(t.Context()))) == 0 {
			assetsWithFindings(t, s)
		}
		clean(t, s)
		applyBatch(t, s, epssBatch(map[string]float64{"C1": float64(len(name)) / 100}), t0)
		wantEqual(t, "before "+name, scopeOf(t, s, "A1"), []string{"C1"})
		mark()
		wantEqual(t, "after "+name, scopeOf(t, s, "A1"), []string(nil))
		applyBatch(t, s, epssBatch(map[string]float64{"C1": 0.9}), t0)
		wantEqual(t, "after facts on top", scopeOf(t, s, "A1"), []string(nil))
	}
}

func factsNarrow(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	u := finding.Undetermined{Asset: "A1", Vulnerability: "C8", Component: "src", Comparison: finding.Comparison{Package: "p", Reason: "no"}}
	gaps := []schema.Gap{{Extractor: "match", Kind: "unowned"}}
	f := made("A1", "C1", finding.Open, "")
	apply(t, s, store.Assessment{
		Mark: m, At: t0, AssessedSequence: 1, Covered: true, Gaps: gaps, Undetermined: []finding.Undetermined{u}, Changed: []finding.Finding{f},
	})
	before := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	applyBatch(t, s, kevBatch("C1"), t0)
	list := must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0))
	f.KEV = true
	wantEqual(t, "leaf", apply(t, s, store.Assessment{Mark: list[0], At: after(time.Hour), Changed: []finding.Finding{f}}), leafCount(t, s)-1)
	wantEqual(t, "finding", findingsOfA1(t, s), []finding.Finding{storedFinding(f)})
	wantEqual(t, "asset", must[store.Asset](t)(s.Asset(t.Context(), "A1")), before)
	wantEqual(t, "undetermined", must[[]finding.Undetermined](t)(s.UndeterminedOf(t.Context(), "A1")), []finding.Undetermined{u})
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	applyBatch(t, s, kevBatch("C1", "C3"), t0)
	wantEqual(t, "marks of a vulnerability without findings", len(marks(t.Context(), t, s)), 0)
}

// factsDuringAssessment: what is assessed now has read no facts on C1 and has no
// finding yet, so only its mark can bring it back.
func factsDuringAssessment(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	wantEqual(t, "marked", applyBatch(t, s, kevBatch("C1"), t0).MarkedAssets, 1)
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{made("A1", "C1", finding.Open, "")}})
	if again := markOf(t, s, "A1"); again.Version <= m.Version {
		t.Errorf("mark %d after facts that came during assessment %d, want a newer one", again.Version, m.Version)
	}
}

func factsEPSS(t *testing.T, s store.Store) {
	assetsWithFindings(t, s)
	for _, step := range []struct {
		score float64
		marks int
	}{{0.41, 1}, {0.4101, 0}, {0.4199, 0}, {0.42, 1}, {0.4999, 1}, {0.5, 1}, {0.5099, 0}, {0.49, 1}, {0.29, 1}, {0.2999, 0}} {
		clean(t, s)
		ap := applyBatch(t, s, epssBatch(map[string]float64{"C1": step.score}), t0)
		wantEqual(t, fmt.Sprintf("marked at %v", step.score), ap.MarkedAssets, step.marks)
		wantEqual(t, "score", factsOf(t, s, "C1")["C1"].EPSS.Score, step.score)
	}
}

func factsTwice(t *testing.T, s store.Store) {
	b := kevBatch("C1", "C1")
	wantEqual(t, "the same twice", applyBatch(t, s, b, t0).Added, 1)
	b.Facts[1].KEV = &advisory.KEV{Added: "2020-01-01"}
	if _, err := s.ApplyBatch(t.Context(), b, t0, leaf("feed")); err == nil {
		t.Error("two facts of one kind on one vulnerability were accepted")
	}
	b = kevBatch("")
	if _, err := s.ApplyBatch(t.Context(), b, t0, leaf("feed")); err == nil {
		t.Error("a fact on no vulnerability was accepted")
	}
}

func factsMissing(t *testing.T, s store.Store) {
	assetsWithFindings(t, s)
	applyBatch(t, s, kevBatch("C1", "C3"), t0)
	clean(t, s)
	wantEqual(t, "marked", applyBatch(t, s, kevBatch("C3"), t0).MarkedAssets, 0)
}

func factsMany(t *testing.T, s store.Store) {
	assetsWithFindings(t, s)
	clean(t, s)
	scores := map[string]float64{"C1": 0.9}
	for i := range 5000 {
		scores[fmt.Sprintf("X-%d", i)] = float64(i) / 5000
	}
	ap := applyBatch(t, s, epssBatch(scores), t0)
	wantEqual(t, "first", ap, store.Applied{Added: 5001, MarkedAssets: 1, Leaf: ap.Leaf})
	clean(t, s)
	scores["C2"] = 0.1
	ap = applyBatch(t, s, epssBatch(scores), after(time.Hour))
	wantEqual(t, "second", ap, store.Applied{Added: 1, Unchanged: 5001, MarkedAssets: 1, Leaf: ap.Leaf})
	ask := make([]string, 0, len(scores))
	for v := range scores {
		ask = append(ask, v)
	}
	wantEqual(t, "known", len(factsOf(t, s, ask...)), 5002)
}
