package sla_test

import (
	"slices"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

func TestCoreAloneIsNotExposed(t *testing.T) {
	in := host(finding.Low)
	in.Clock = sla.Clock{Detected: monday, NoFix: true}
	in.Asset.Core = true
	in.Vulnerability.KEVAdded = "2026-03-10"
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-24", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
	in.Asset.Exposure = sla.UnknownExposure
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-13", "KEV/bod-26-04/exposed/ssvc-unknown"})
}

func TestMitigateByIsKAndADay(t *testing.T) {
	for _, c := range []struct {
		name     string
		detected string
		added    finding.Date
		listed   string
		mark     string
		by       string
		rule     string
	}{
		{"listed_after_detection", "2026-03-02T09:00:00Z", "2026-03-10", "", "", "2026-03-11T00:00:00Z", "2026-03-24"},
		{"detected_after_listing", "2026-03-12T15:30:00Z", "2026-03-10", "", "", "2026-03-13T15:30:00Z", "2026-03-26"},
		{"a_listing_is_the_start_of_the_local_day", "2026-03-02T09:00:00Z", "2026-06-10", "", "", "2026-06-10T23:00:00Z", "2026-06-24"},
		{"hours_over_the_short_day", "2026-03-28T15:00:00Z", "2026-03-10", "", "", "2026-03-29T15:00:00Z", "2026-04-11"},
		{"a_listing_known_to_the_instant", "2026-03-02T09:00:00Z", "2026-03-10", "2026-03-10T15:00:00Z", "", "2026-03-11T15:00:00Z", "2026-03-24"},
		{"an_operators_mark_counts_as_a_listing", "2026-03-02T09:00:00Z", "", "", "2026-03-05T08:00:00Z", "2026-03-06T08:00:00Z", "2026-03-19"},
		{"the_earlier_of_mark_and_listing", "2026-03-02T09:00:00Z", "2026-03-10", "", "2026-03-05T08:00:00Z", "2026-03-06T08:00:00Z", "2026-03-19"},
		{"the_earlier_of_listing_and_mark", "2026-03-02T09:00:00Z", "2026-03-04", "", "2026-03-05T08:00:00Z", "2026-03-05T00:00:00Z", "2026-03-18"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Low)
			in.Clock = sla.Clock{Detected: instant(c.detected), NoFix: true}
			in.Vulnerability.KEVAdded = c.added
			if c.listed != "" {
				in.Vulnerability.KEVListed = instant(c.listed)
			}
			if c.mark != "" {
				in.Vulnerability.ActiveExploitation = instant(c.mark)
			}
			v := evaluate(t, shipped(), in, asked)
			if !v.MitigateBy.Equal(instant(c.by)) || v.MitigateBy.Location() != time.UTC || v.Due != finding.Date(c.rule) {
				t.Errorf("got %s, due %s, want %s, due %s", v.MitigateBy, v.Due, c.by, c.rule)
			}
			if v.Cycle != sla.ZeroDay || v.State == finding.VerdictAwaitingFix {
				t.Errorf("cycle %s, state %s", v.Cycle, v.State)
			}
		})
	}
	if v := evaluate(t, shipped(), host(finding.Critical), asked); !v.MitigateBy.IsZero() {
		t.Errorf("a mitigation instant without a Zero-Day: %s", v.MitigateBy)
	}
}

func TestPatchByIsTheEarliest(t *testing.T) {
	in := host(finding.Critical)
	in.Asset.Exposure = sla.Internet // table: 2026-03-16
	in.Vulnerability.KEVAdded = "2026-03-15"
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-16", "7.1/critical/internet"})
	in.Vulnerability.KEVAdded = "2026-03-04"
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-03-07", "KEV/bod-26-04/exposed/ssvc-unknown"})
	expectCandidates(t, v, "KEV/bod-26-04/exposed/ssvc-unknown 2026-03-04 2026-03-07", "7.1/critical/internet 2026-03-02 2026-03-16")
	// The table wins a tie: '7' comes before 'K'.
	in.Vulnerability.KEVAdded = "2026-03-13"
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-16", "7.1/critical/internet"})
}

func TestCISADueDate(t *testing.T) {
	for _, c := range []struct {
		name     string
		exposure sla.Exposure
		core     bool
		due      finding.Date
		binds    bool
	}{
		{"exposed", sla.Internet, false, "2026-03-31", true},
		{"unknown_exposure_is_exposed", sla.UnknownExposure, false, "2026-03-31", true},
		{"not_exposed", sla.Internal, false, "2026-03-31", false},
		{"core_alone_is_not_exposed", sla.Internal, true, "2026-03-31", false},
		{"on_the_day_of_K", sla.Internet, false, "2026-03-12", true},
		{"before_K", sla.Internet, false, "2026-03-11", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Low)
			in.Clock = sla.Clock{Detected: instant("2026-03-12T18:00:00Z"), NoFix: true}
			in.Asset.Exposure, in.Asset.Core = c.exposure, c.core
			in.Vulnerability.KEVAdded, in.Vulnerability.KEVDue = "2026-03-10", c.due
			v := evaluate(t, shipped(), in, asked)
			got := slices.Contains(candidates(v), "KEV/cisa-due 2026-03-12 "+string(c.due))
			if got != c.binds || (!c.binds && !hasNote(v, "CISA's own due date "+string(c.due)+" does not bind")) {
				t.Errorf("binds %t, want %t (%q, %q)", got, c.binds, candidates(v), v.Notes)
			}
		})
	}
}

func TestAValidationShortensAZeroDay(t *testing.T) {
	in := host(finding.Low)
	in.Clock = sla.Clock{Detected: monday, NoFix: true, Validated: instant("2026-03-12T09:00:00Z")}
	in.Vulnerability.KEVAdded = "2026-03-10"
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-03-15", "KEV/validated"})
	expectCandidates(t, v, "KEV/validated 2026-03-12 2026-03-15", "KEV/bod-26-04/not-exposed/ssvc-unknown 2026-03-10 2026-03-24")
	t.Run("never_lengthens", func(t *testing.T) {
		in := in
		in.Clock.Validated = instant("2026-03-23T09:00:00Z")
		expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-24", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
	})
	t.Run("hours_over_the_short_day", func(t *testing.T) {
		in := in
		in.Vulnerability.KEVAdded = "2026-03-25"
		in.Clock.Validated = instant("2026-03-26T23:30:00Z") // + 72 h is half past midnight in Dublin
		expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-30", "KEV/validated"})
	})
	t.Run("before_K_counts_from_K", func(t *testing.T) {
		in := in
		in.Clock.Validated = instant("2026-03-04T09:00:00Z")
		expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-13", "KEV/validated"})
	})
	t.Run("without_a_zero_day_it_says_nothing", func(t *testing.T) {
		in := in
		in.Vulnerability.KEVAdded = ""
		if v := evaluate(t, shipped(), in, asked); v.State != finding.VerdictAwaitingFix {
			t.Errorf("got %+v", v)
		}
	})
}

func TestKEVOnCode(t *testing.T) {
	in := sla.Input{
		Asset:         sla.Asset{Class: sla.Code, Exposure: sla.Internal, Environment: sla.Production},
		Vulnerability: sla.Vulnerability{Severity: finding.Medium, KEVAdded: "2026-01-10"},
		Clock:         sla.Clock{Known: instant("2026-01-05T00:00:00Z"), Merged: monday},
	}
	// Code is not seen before its clock starts.
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-16", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
	in.Clock.Detected = instant("2026-03-06T10:00:00Z")
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-03-20", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
	if !v.MitigateBy.Equal(instant("2026-03-07T10:00:00Z")) {
		t.Errorf("mitigate by %s", v.MitigateBy)
	}
}
