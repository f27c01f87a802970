package assess_test

import (
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// suspect returns why the asset is suspected, empty when it is not.
func (w *world) suspect() string {
	w.t.Helper()
	a, err := w.st.Asset(w.t.Context(), assetID)
	if err != nil {
		w.t.Fatal(err)
	}
	var why []string
	for _, g := range a.Gaps {
		if g.Extractor == lineage.Extractor && g.Kind == lineage.CloneSuspect {
			why = append(why, g.Detail)
		}
	}
	return strings.Join(why, "\n")
}

func (w *world) keep(s statement) {
	w.t.Helper()
	l, err := w.st.Lineage(w.t.Context(), assetID)
	if err != nil {
		w.t.Fatal(err)
	}
	d := store.CloneDecision{Asset: assetID, Keep: s.id(), By: "ann", At: w.clock, Reason: "the other is a copy"}
	leaf, err := evidence.CloneLeaf(d, len(l.Nodes))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.st.DecideClone(w.t.Context(), d, len(l.Nodes), leaf); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantState(want finding.State) finding.Finding {
	w.t.Helper()
	f := w.only(opensslKey)
	if f.State != want {
		w.t.Errorf("the finding is %s (%s), want %s", f.State, f.Reason, want)
	}
	return f
}

var (
	vulnerable = []schema.Package{opensslOld}
	patched    = []schema.Package{opensslNew}
)

// A clone that is patched does not close the finding of the host that is not,
// and the other way round, in whichever order they report.
func TestFindingIsOpenWhileOneLineShowsIt(t *testing.T) {
	for name, order := range map[string][]statement{
		"clone_first": {{sequence: 2, branch: "b", packages: patched}, {sequence: 2, branch: "a", packages: vulnerable}},
		"host_first":  {{sequence: 2, branch: "a", packages: vulnerable}, {sequence: 2, branch: "b", packages: patched}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.feed(opensslAdv)
			w.report(statement{sequence: 1, packages: vulnerable})
			w.assess()
			first := w.wantState(finding.Open)
			for _, s := range order {
				w.days(1)
				w.report(s)
				w.assess()
			}
			f := w.wantState(finding.Open)
			if !f.Detected.Equal(first.Detected) || f.ID != first.ID || f.Verdict.Due != first.Verdict.Due {
				t.Errorf("detected %s due %s, before %s and %s", f.Detected, f.Verdict.Due, first.Detected, first.Verdict.Due)
			}
			if !strings.Contains(w.suspect(), "sequence 2 was used for two reports") {
				t.Errorf("suspicion %q", w.suspect())
			}
			// The patched line goes on alone: the other still counts.
			w.days(1)
			w.report(statement{sequence: 3, branch: "b", previous: "b", packages: patched})
			w.assess()
			w.wantState(finding.Open)
			// Both are patched: now none shows it.
			w.days(1)
			w.report(statement{sequence: 3, branch: "a", previous: "a", packages: patched})
			w.assess()
			f = w.wantState(finding.Fixed)
			if !f.Closed.Equal(w.clock) {
				t.Errorf("closed %s, want when the last line showed it, %s", f.Closed, w.clock)
			}
			if w.suspect() == "" {
				t.Error("two lines that agree are still two lines")
			}
		})
	}
}

// A finding that only the clone shows is a finding.
func TestCloneAddsExposure(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: patched})
	w.report(statement{sequence: 2, branch: "a", packages: patched})
	w.assess()
	if n := len(w.findings()); n != 0 {
		t.Fatalf("%d findings", n)
	}
	w.days(1)
	w.report(statement{sequence: 2, branch: "b", packages: vulnerable})
	w.assess()
	f := w.wantState(finding.Open)
	if want := (statement{sequence: 2, branch: "b"}).id(); f.DetectedReport != want || !f.Detected.Equal(w.clock) {
		t.Errorf("detected by %s at %s, want %s", f.DetectedReport, f.Detected, want)
	}
	// It stays while the host itself goes on reporting.
	w.days(1)
	w.report(statement{sequence: 3, previous: "a", packages: patched})
	w.assess()
	w.wantState(finding.Open)
}

// A line that cannot list its packages closes nothing.
func TestIncompleteLineClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: vulnerable})
	w.report(statement{sequence: 2, branch: "a", packages: vulnerable, incomplete: true})
	w.report(statement{sequence: 2, branch: "b", packages: patched})
	w.assess()
	w.wantState(finding.Open)
	w.report(statement{sequence: 3, branch: "a", previous: "a", packages: patched, incomplete: true})
	w.assess()
	if f := w.wantState(finding.Open); !f.Stale {
		t.Error("not stale, though one line cannot tell")
	}
}

// An old report that was never delivered and is now changes the past, not the present.
func TestOldReplayClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: vulnerable})
	w.report(statement{sequence: 3, packages: vulnerable})
	w.assess()
	before := w.wantState(finding.Open)
	w.days(1)
	w.report(statement{sequence: 2, packages: patched})
	w.assess()
	if f := w.wantState(finding.Open); !f.Detected.Equal(before.Detected) || w.suspect() != "" {
		t.Errorf("detected %s, before %s; suspicion %q", f.Detected, before.Detected, w.suspect())
	}
	// A stale copy of the state directory, whose report was made before.
	w.report(statement{sequence: 2, branch: "b", packages: patched})
	w.assess()
	w.wantState(finding.Open)
	if w.suspect() == "" {
		t.Error("a second report 2 raises no suspicion")
	}
}

// An image's copy that speaks with the key of the first machine is caught at its
// first report, though its chain looks like the host's own.
func TestKeyOnAnotherMachine(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, instance: "i-1", packages: vulnerable})
	w.assess()
	if why := w.suspect(); why != "" {
		t.Fatalf("suspicion %q of one machine", why)
	}
	w.report(statement{sequence: 2, instance: "i-2", packages: patched})
	w.assess()
	w.wantState(finding.Open)
	if !strings.Contains(w.suspect(), "one key on two machines: instance ec2/i-1; and instance ec2/i-2") {
		t.Errorf("suspicion %q", w.suspect())
	}
}

// The operator's word ends the suspicion and what only the other line showed; the
// line that was set aside raises it again when it goes on.
func TestOperatorKeepsALine(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: vulnerable})
	w.report(statement{sequence: 2, branch: "a", packages: patched})
	w.report(statement{sequence: 2, branch: "b", packages: vulnerable})
	w.assess()
	w.wantState(finding.Open)
	w.days(1)
	w.keep(statement{sequence: 2, branch: "a"})
	w.assess()
	w.wantState(finding.Fixed)
	if why := w.suspect(); why != "" {
		t.Errorf("still suspected: %s", why)
	}
	w.days(1)
	w.report(statement{sequence: 3, previous: "a", packages: patched})
	w.assess()
	if why := w.suspect(); why != "" {
		t.Errorf("suspected again by the line that was kept: %s", why)
	}
	w.days(1)
	w.report(statement{sequence: 3, branch: "b", previous: "b", packages: vulnerable})
	w.assess()
	w.wantState(finding.Open)
	if !strings.Contains(w.suspect(), "continues a line that was set aside") {
		t.Errorf("suspicion %q", w.suspect())
	}
}

// Assessing again changes nothing: an unchanged fork makes no new leaf.
func TestForkIsAssessedOnce(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	for _, s := range []statement{{sequence: 1, packages: vulnerable}, {sequence: 2, branch: "a", packages: patched}, {sequence: 2, branch: "b", packages: vulnerable}} {
		w.report(s)
	}
	w.assess()
	before := w.leaves()
	for range 3 {
		if err := w.st.MarkAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.assess()
	}
	if after := w.leaves(); after != before {
		t.Errorf("%d leaves, before %d", after, before)
	}
}

func (w *world) leaves() int64 {
	w.t.Helper()
	n, err := w.st.LeafCount(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A host's own gaps cannot say that it is suspected, nor that it is not.
func TestHostDoesNotSpeakOfItsLines(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: patched, gaps: []schema.Gap{{Extractor: lineage.Extractor, Kind: lineage.CloneSuspect, Detail: "says the host"}}})
	w.assess()
	if why := w.suspect(); why != "" {
		t.Errorf("suspicion %q by the host's own word", why)
	}
}
