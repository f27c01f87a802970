package assess_test

import (
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// standing records an operator's word as of now, or of an earlier instant.
func (w *world) standing(retired bool, since string) {
	w.t.Helper()
	r := store.Retirement{Retired: retired, At: w.clock, Reason: "sold", By: "ada"}
	if since != "" {
		r.At = instant(w.t, since)
	}
	leaf, err := evidence.RetirementLeaf(assetID, r, w.clock)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.st.Retire(w.t.Context(), assetID, r, leaf); err != nil {
		w.t.Fatal(err)
	}
	w.assess()
}

func (w *world) gaps() string {
	w.t.Helper()
	a, err := w.st.Asset(w.t.Context(), assetID)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, g := range a.Gaps {
		out = append(out, g.Extractor+" "+g.Kind+" "+g.Detail)
	}
	return strings.Join(out, "; ")
}

// onInternet is a host that reported an old openssl on 1 March: High, due in 30 days.
func onInternet(t *testing.T) *world {
	w := newWorldOf(t, store.Attributes{Exposure: "internet", Environment: "production"})
	w.on("2026-03-01")
	w.feed(rated("High", "2026-03-01"))
	w.vulnerable(1)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31"})
	return w
}

func TestARetiredHostsFindingsEndAndAreNotFixed(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-10")
	w.standing(true, "")
	f := w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Outcome: finding.RetiredInTime})
	if !f.Closed.Equal(w.clock) || f.Reason != "retired by ada: sold" || !f.End.Fix.At.IsZero() {
		t.Errorf("got closed %s, reason %q, fix %+v", f.Closed, f.Reason, f.End.Fix)
	}
	// What is learnt later was never true of it.
	w.on("2026-03-12")
	w.feed(rated("Critical", "2026-03-01"), fixedIn("DSA-2", "CVE-2026-0002", "openssl", "9", w.clock))
	w.assess()
	w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Outcome: finding.RetiredInTime})
	if n := len(w.all()); n != 1 {
		t.Errorf("got %d findings of a host that is gone, want 1", n)
	}
	w.on("2026-03-25")
	w.assess()
	w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Outcome: finding.RetiredInTime, Final: true})
}

func TestRetiringUndoesNoBreach(t *testing.T) {
	w := onInternet(t)
	w.on("2026-04-02")
	w.assess()
	breach := "patch 2026-03-31T23:00:00Z"
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31", Breached: breach})
	w.standing(true, "2026-03-10T00:00:00Z") // before the breach, so says the operator
	w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Breached: breach, Outcome: finding.RetiredOverdue})
}

func TestARetirementAfterTheDeadlineIsOverdue(t *testing.T) {
	w := onInternet(t)
	w.on("2026-04-20")
	w.standing(true, "") // nothing was assessed since 1 March
	w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Breached: "patch 2026-03-31T23:00:00Z", Outcome: finding.RetiredOverdue})
}

func TestARetiredHostThatReportsIsBack(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-10")
	w.standing(true, "")
	w.on("2026-03-15")
	w.vulnerable(2)
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31"})
	if f.Episode != 1 || !f.Reopened.Equal(w.clock) || f.SeenReport == "" {
		t.Errorf("got episode %d, reopened %s, want the same episode since its report", f.Episode, f.Reopened)
	}
	if got, want := w.gaps(), "estate back retired by ada since 2026-03-10T09:00:00Z, and it reports again"; got != want {
		t.Errorf("got gaps %q, want %q", got, want)
	}
	w.on("2026-03-16")
	w.standing(false, "")
	if got := w.gaps(); got != "" {
		t.Errorf("got gaps %q of a reinstated host, want none", got)
	}
	w.on("2026-03-17")
	w.fixed(3)
	w.wants(opensslID, stand{State: finding.Fixed, Due: "2026-03-31", Outcome: finding.FixedOnTime})
}

// The deadline passes while the host is said to be gone: it is breached when the
// host proves that it was not.
func TestADeadlineThatPassedWhileItWasGone(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-25")
	w.standing(true, "")
	w.on("2026-04-02")
	w.vulnerable(2)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31", Breached: "patch 2026-04-02T09:00:00Z"})
}

func TestAHostThatIsBackAfterTheWindowBeginsAnEpisode(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-10")
	w.standing(true, "")
	w.on("2026-03-25")
	w.vulnerable(2)
	w.wants(opensslID, stand{State: finding.Retired, Due: "2026-03-31", Outcome: finding.RetiredInTime, Final: true})
	f := w.wants(opensslID2, stand{State: finding.Open, Due: "2026-03-31", Breached: ""})
	if !f.Regression || !f.Detected.Equal(w.clock) {
		t.Errorf("got regression %t, detected %s", f.Regression, f.Detected)
	}
}

// Nothing closes for want of data: what was open on a host that is back stays open
// until a state shows that it is fixed.
func TestAHostThatIsBackWithABrokenInventory(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-10")
	w.standing(true, "")
	w.on("2026-03-12")
	w.report(statement{sequence: 2, incomplete: true, gaps: []schema.Gap{{Extractor: "dpkg", Kind: schema.GapUnreadable}}})
	w.assess()
	if f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31"}); !f.Stale {
		t.Error("got a finding that is not stale, though nothing could show it")
	}
}

func TestReinstatingOpensWhatEnded(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-10")
	w.standing(true, "")
	w.on("2026-03-11")
	w.standing(false, "")
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-31"})
	if !f.Reopened.Equal(w.clock) || f.Regression {
		t.Errorf("got reopened %s, regression %t", f.Reopened, f.Regression)
	}
}

// An older report that comes late makes everything be folded again: what ended by
// retirement stays as it is.
func TestFoldingAgainKeepsRetirements(t *testing.T) {
	w := onInternet(t)
	w.on("2026-03-05")
	w.vulnerable(3)
	w.on("2026-03-10")
	w.standing(true, "")
	before := w.all()
	w.on("2026-03-11")
	w.vulnerable(2)
	after := w.all()
	if len(before) != 1 || len(after) != 1 || after[0].State != finding.Retired || !after[0].Closed.Equal(before[0].Closed) {
		t.Errorf("got %+v, want %+v", after, before)
	}
}
