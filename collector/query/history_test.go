package query_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

func TestHistoryTellsEveryRecordedState(t *testing.T) {
	f := newFixture(t, t.TempDir())
	fd := aFinding(1, finding.High, finding.Open, 9, false)
	f.put(t, fd)
	before, err := f.q.FindingHistory(t.Context(), fd.ID)
	if err != nil || len(before.Versions) != 1 {
		t.Fatalf("got %+v, %v", before, err)
	}
	fd.State, fd.Closed, fd.Reason = finding.Fixed, now, "replaced"
	f.put(t, fd)
	f.classify(t, store.Attributes{Owner: "someone else"})
	f.q.Now = func() time.Time { return now.AddDate(1, 0, 0) }
	after, err := f.q.FindingHistory(t.Context(), fd.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Versions) != 2 || after.Versions[1].Finding.State != finding.Fixed || after.Versions[0].Leaf >= after.Versions[1].Leaf || after.Count != 2 {
		t.Errorf("got %+v, want the open state and then the fixed one", after.Versions)
	}
	// What was told once is told again, byte for byte, a year and a reclassification later.
	a, errA := json.Marshal(before.Versions[0])
	b, errB := json.Marshal(after.Versions[0])
	if string(a) != string(b) || errA != nil || errB != nil {
		t.Errorf("the first state was told as\n%s\nand is now told as\n%s", a, b)
	}
	if !after.Versions[0].RecordedAt.Equal(now) || after.Versions[0].Policy != "p" {
		t.Errorf("got %+v, want when and under which policy it was recorded", after.Versions[0])
	}
	if _, err := f.q.FindingHistory(t.Context(), "F-NOTHING"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want %v", err, store.ErrNotFound)
	}
}

func TestGapsOfAllAssetsAreListedByExtractor(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.trust(t, "a-2")
	for id, gaps := range map[string][]schema.Gap{
		"a-1": {{Extractor: "rpm", Kind: "unreadable", Path: "/var/lib/rpm", Detail: "torn"}, {Extractor: "dpkg", Kind: "parse"}},
		"a-2": {{Extractor: "dpkg", Kind: "missing"}},
	} {
		if err := f.st.MarkAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		marks, err := f.st.DirtyAssets(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range marks {
			if m.Asset == id {
				l := leaf(t, "assessment")
				if _, err := f.st.ApplyAssessments(t.Context(), []store.Assessment{{Mark: m, At: now, Gaps: gaps}}, &l); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	l, err := f.q.Gaps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range l.Gaps {
		got = append(got, g.Extractor+" "+g.Asset)
	}
	if want := []string{"dpkg a-2", "dpkg a-1", "rpm a-1"}; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
	if l.Assets != 2 || l.Count != 3 || l.Gaps[2].Detail != "torn" || l.Gaps[2].LastReport.IsZero() || !l.Gaps[0].LastReport.IsZero() {
		t.Errorf("got %+v", l)
	}
}
