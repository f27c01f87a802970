package sla_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

func TestColumn(t *testing.T) {
	for _, c := range []struct {
		name  string
		asset sla.Asset
		rule  string
		gaps  int
	}{
		{"end_user_before_internet", sla.Asset{Exposure: sla.Internet, Environment: sla.EndUser, Core: true}, "7.1/critical/enduser", 0},
		{"internet_before_environment", sla.Asset{Exposure: sla.Internet, Environment: sla.NonProduction}, "7.1/critical/internet", 0},
		{"core_is_the_internet_column", sla.Asset{Exposure: sla.Internal, Environment: sla.NonProduction, Core: true}, "7.1/critical/internet", 0},
		{"environment_last", sla.Asset{Exposure: sla.Internal, Environment: sla.NonProduction}, "7.1/critical/nonproduction", 0},
		{"unknown_exposure_is_internet", sla.Asset{Exposure: sla.UnknownExposure, Environment: sla.Production}, "7.1/critical/internet", 1},
		{"unknown_environment_is_production", sla.Asset{Exposure: sla.Internal, Environment: sla.UnknownEnvironment}, "7.1/critical/production", 1},
		{"unknown_exposure_of_an_end_user", sla.Asset{Exposure: sla.UnknownExposure, Environment: sla.EndUser}, "7.1/critical/enduser", 1},
		{"nothing_known", sla.Asset{}, "7.1/critical/internet", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Critical)
			in.Asset = c.asset
			in.Asset.Class = sla.Compute
			v := evaluate(t, shipped(), in, asked)
			gaps := 0
			for _, n := range v.Notes {
				if strings.HasPrefix(n, "classification gap: ") {
					gaps++
				}
			}
			if v.Rule != c.rule || gaps != c.gaps {
				t.Errorf("got %s with %d gaps, want %s with %d", v.Rule, gaps, c.rule, c.gaps)
			}
		})
	}
}

func TestAnEndUserApplianceHasNoRow(t *testing.T) {
	in := host(finding.High)
	in.Asset = sla.Asset{Class: sla.Appliance, Exposure: sla.Internal, Environment: sla.EndUser}
	if _, err := sla.Evaluate(shipped(), in, asked); !errors.Is(err, sla.ErrNoRow) {
		t.Errorf("got error %v, want ErrNoRow", err)
	}
	t.Run("KEV_binds_where_there_is_no_row", func(t *testing.T) {
		in := in
		in.Vulnerability.KEVAdded = "2026-03-10"
		v := evaluate(t, shipped(), in, asked)
		expect(t, v, want{"2026-03-24", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
		if !hasNote(v, "only the Zero-Day rules bind") {
			t.Errorf("the missing row is not said: %q", v.Notes)
		}
	})
}

func TestApplianceBothTables(t *testing.T) {
	in := detectedAt(finding.High, "2026-05-17T12:00:00Z") // next window ends on Jun 21
	in.Asset.Class = sla.Appliance
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-06-21", "7.2/high/production/cycle"})
	both := shipped(func(p *sla.Policy) { p.Switches.ApplianceBothTables = true })
	v := evaluate(t, both, in, asked)
	expect(t, v, want{"2026-06-16", "7.1/high/production/days"})
	expectCandidates(t, v,
		"7.1/high/production/days 2026-05-17 2026-06-16", "7.1/high/production/cycle 2026-05-17 2026-06-21",
		"7.2/high/production/cycle 2026-05-17 2026-06-21", "7.2/high/production/days 2026-05-17 2026-08-15")
}

func TestNonProductionCodeByTheSwitch(t *testing.T) {
	in := sla.Input{
		Asset:         sla.Asset{Class: sla.Code, Exposure: sla.Internal, Environment: sla.NonProduction},
		Vulnerability: sla.Vulnerability{Severity: finding.High},
		Clock:         sla.Clock{Known: monday, Released: monday},
	}
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-15", "7.1/high/nonproduction/cycle"})
	asCode := shipped(func(p *sla.Policy) { p.Switches.CodeNonProductionAsCode = true })
	expect(t, evaluate(t, asCode, in, asked), want{"2026-04-01", "7.4/high"})
	in.Vulnerability.Severity = finding.Low // and its calendar stays the non-production one
	expect(t, evaluate(t, asCode, in, asked), want{"2026-03-15", "7.4/low"})
}

func TestImageRowsOfTheSameDigest(t *testing.T) {
	in := host(finding.Critical)
	in.Asset.Class = sla.Workload
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-04-01", "7.3/workload/critical"})
	in.Asset.SameDigest = []sla.Class{sla.Image}
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-03-16", "7.3/image/critical"})
	expectCandidates(t, v, "7.3/image/critical 2026-03-02 2026-03-16", "7.3/workload/critical 2026-03-02 2026-04-01")
}

func TestNextCycleOrDaysIsTheEarlier(t *testing.T) {
	// From May 17 the next window ends on Jun 21, five weeks on.
	in := detectedAt(finding.High, "2026-05-17T12:00:00Z")
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-06-16", "7.1/high/production/days"})
	// A cold wallet's windows are a quarter apart: Jul 4, then Oct 3.
	in = detectedAt(finding.Medium, "2026-07-04T12:00:00Z")
	in.Asset.ColdWallet = true
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-10-02", "7.1/medium/production/days"})
}

func TestTiesGoByRuleID(t *testing.T) {
	in := detectedAt(finding.Medium, "2026-07-05T12:00:00Z") // 90 days end on Oct 3, as the window
	in.Asset.ColdWallet = true
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-10-03", "7.1/medium/production/cycle"})
	expectCandidates(t, v, "7.1/medium/production/cycle 2026-07-05 2026-10-03", "7.1/medium/production/days 2026-07-05 2026-10-03")
	// To the second as well: both tables give an exposed appliance 14 days.
	in = host(finding.Critical)
	in.Asset.Class, in.Asset.Exposure = sla.Appliance, sla.Internet
	for _, strict := range []bool{false, true} {
		p := shipped(func(p *sla.Policy) { p.Switches.ApplianceBothTables, p.Switches.StrictHours = true, strict })
		expect(t, evaluate(t, p, in, asked), want{"2026-03-16", "7.1/critical/internet"})
	}
}

func TestCycleOrDaysSwitch(t *testing.T) {
	mode := func(m sla.CycleOrDaysMode) *sla.Policy {
		return shipped(func(p *sla.Policy) { p.Switches.CycleOrDays = m })
	}
	in := host(finding.High) // cycle 2026-03-22, days 2026-04-01
	v := evaluate(t, mode(sla.Target), in, asked)
	expect(t, v, want{"2026-04-01", "7.1/high/production/days"})
	if v.Target != "2026-03-22" {
		t.Errorf("target %q, want the cycle 2026-03-22", v.Target)
	}
	expectCandidates(t, v, "7.1/high/production/days 2026-03-02 2026-04-01", "~7.1/high/production/cycle 2026-03-02 2026-03-22")
	v = evaluate(t, mode(sla.Latest), in, asked)
	expect(t, v, want{"2026-04-01", "7.1/high/production/days"})
	if v.Target != "" {
		t.Errorf("target %q, want none", v.Target)
	}
	in = detectedAt(finding.High, "2026-05-17T12:00:00Z") // cycle 2026-06-21, days 2026-06-16
	expect(t, evaluate(t, mode(sla.Latest), in, asked), want{"2026-06-21", "7.1/high/production/cycle"})
	expect(t, evaluate(t, mode(sla.Target), in, asked), want{"2026-06-16", "7.1/high/production/days"})
}

func TestMonotoneSeverity(t *testing.T) {
	in := host(finding.Critical) // own row 2026-04-01, a High here 2026-03-22
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-04-01", "7.1/critical/production"})
	if !hasNote(v, "a high here would be due 2026-03-22, before this critical's row (2026-04-01)") {
		t.Errorf("the strict reading is not said: %q", v.Notes)
	}
	monotone := shipped(func(p *sla.Policy) { p.Switches.MonotoneSeverity = true })
	v = evaluate(t, monotone, in, asked)
	expect(t, v, want{"2026-03-22", "7.1/high/production/cycle"})
	if hasNote(v, "would be due") {
		t.Errorf("a note on what binds anyway: %q", v.Notes)
	}
	expectCandidates(t, v,
		"7.1/high/production/cycle 2026-03-02 2026-03-22", "7.1/low/production 2026-03-02 2026-03-22",
		"7.1/medium/production/cycle 2026-03-02 2026-03-22", "7.1/critical/production 2026-03-02 2026-04-01",
		"7.1/high/production/days 2026-03-02 2026-04-01", "7.1/medium/production/days 2026-03-02 2026-05-31")
	if hasNote(evaluate(t, shipped(), host(finding.High), asked), "would be due") {
		t.Error("a note where no lower severity is due earlier")
	}
}

func TestCrownJewelTarget(t *testing.T) {
	for _, c := range []struct {
		name        string
		class       sla.Class
		severity    finding.Severity
		exposure    sla.Exposure
		detected    string
		kev         finding.Date
		noFix       bool
		target, due finding.Date
	}{
		{"half_of_14_days", sla.Compute, finding.Critical, sla.Internet, "2026-03-02T09:00:00Z", "", false, "2026-03-09", "2026-03-16"},
		{"half_of_30_days", sla.Compute, finding.Critical, sla.Internal, "2026-03-02T09:00:00Z", "", false, "2026-03-17", "2026-04-01"},
		{"half_of_30_before_the_cycle", sla.Compute, finding.High, sla.Internal, "2026-03-02T09:00:00Z", "", false, "2026-03-17", "2026-03-22"},
		{"cycle_before_half_of_90", sla.Compute, finding.Medium, sla.Internal, "2026-03-02T09:00:00Z", "", false, "2026-03-22", "2026-03-22"},
		{"half_of_90_days", sla.Image, finding.Medium, sla.Internal, "2026-03-02T09:00:00Z", "", false, "2026-04-16", "2026-05-31"},
		{"the_next_cycle_is_not_halved", sla.Compute, finding.Low, sla.Internal, "2026-03-02T09:00:00Z", "", false, "2026-03-22", "2026-03-22"},
		{"no_later_than_the_due_date", sla.Compute, finding.Critical, sla.Internal, "2026-03-02T09:00:00Z", "2026-03-02", false, "2026-03-16", "2026-03-16"},
		{"no_fix_no_target", sla.Compute, finding.Low, sla.Internal, "2026-03-02T09:00:00Z", "", true, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := sla.Input{
				Asset:         sla.Asset{Class: c.class, Exposure: c.exposure, Environment: sla.Production, CrownJewel: true},
				Vulnerability: sla.Vulnerability{Severity: c.severity, KEVAdded: c.kev},
				Clock:         sla.Clock{Detected: instant(c.detected), NoFix: c.noFix},
			}
			v := evaluate(t, shipped(), in, asked)
			if v.Target != c.target || v.Due != c.due {
				t.Errorf("got target %q, due %q, want %q, %q", v.Target, v.Due, c.target, c.due)
			}
			in.Asset.CrownJewel = false
			if v := evaluate(t, shipped(), in, asked); v.Target != "" || v.Due != c.due {
				t.Errorf("not a crown jewel: target %q, due %q", v.Target, v.Due)
			}
		})
	}
	odd := edited(t, "high: # \"30 days | Next patch cycle or 30 days | Next patch cycle or 30 days | Next patch cycle or 30 days\"\n      internet: 30 days",
		"high:\n      internet: 15 days")
	in := host(finding.High)
	in.Asset.Exposure, in.Asset.CrownJewel = sla.Internet, true
	if v := evaluate(t, odd, in, asked); v.Target != "2026-03-09" {
		t.Errorf("half of 15 days rounded down: got %s, want 2026-03-09", v.Target)
	}
}
