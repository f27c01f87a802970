package sla_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

// One test for each sentence of the rules, named by it.

// edited is the shipped policy file with one text replaced, parsed.
func edited(t *testing.T, old, new string) *sla.Policy {
	t.Helper()
	_, src := policy.Default()
	if strings.Count(string(src), old) != 1 {
		t.Fatalf("%q is not once in the shipped policy", old)
	}
	p, _, err := policy.Parse([]byte(strings.Replace(string(src), old, new, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// detectedAt is a host's vulnerability whose fix was out at first detection.
func detectedAt(sev finding.Severity, at string) sla.Input {
	in := host(sev)
	in.Clock = sla.Clock{Available: instant(at), Detected: instant(at)}
	return in
}

func TestADeadlineEndsWithItsDay(t *testing.T) {
	in := host(finding.Critical) // 2026-04-01, summer time
	v := evaluate(t, shipped(), in, instant("2026-04-01T22:59:59Z"))
	if !v.DueAt.Equal(instant("2026-04-01T23:00:00Z")) || v.State != finding.VerdictOpen {
		t.Errorf("got breach %s, %s", v.DueAt, v.State)
	}
	v = evaluate(t, shipped(), in, instant("2026-04-01T23:00:00Z"))
	if v.State != finding.VerdictOverdue || v.Due != "2026-04-01" {
		t.Errorf("at the first instant of the next day: %s, due %s", v.State, v.Due)
	}
}

func TestDaysAreCalendarDaysFromTheLocalDate(t *testing.T) {
	for _, c := range []struct {
		name, at string
		start    finding.Date
		due      finding.Date // 30 days
	}{
		{"first_instant_of_a_winter_day", "2026-03-02T00:00:00Z", "2026-03-02", "2026-04-01"},
		{"last_instant_of_a_winter_day", "2026-03-02T23:59:59Z", "2026-03-02", "2026-04-01"},
		{"just_before_summer_time", "2026-03-29T00:59:59Z", "2026-03-29", "2026-04-28"},
		{"just_after_summer_time", "2026-03-29T01:00:00Z", "2026-03-29", "2026-04-28"},
		{"last_instant_of_the_short_day", "2026-03-29T22:59:59Z", "2026-03-29", "2026-04-28"},
		{"summer_midnight_is_the_utc_day_before", "2026-06-09T23:00:00Z", "2026-06-10", "2026-07-10"},
		{"before_summer_midnight", "2026-06-09T22:59:59Z", "2026-06-09", "2026-07-09"},
		{"last_summer_midnight", "2026-10-24T23:00:00Z", "2026-10-25", "2026-11-24"},
		{"last_instant_of_the_long_day", "2026-10-25T23:59:59Z", "2026-10-25", "2026-11-24"},
		{"after_the_long_day", "2026-10-26T00:00:00Z", "2026-10-26", "2026-11-25"},
		{"month_of_31_days", "2026-01-31T12:00:00Z", "2026-01-31", "2026-03-02"},
		{"over_new_year", "2026-12-15T12:00:00Z", "2026-12-15", "2027-01-14"},
		{"to_the_leap_day", "2028-01-30T12:00:00Z", "2028-01-30", "2028-02-29"},
		{"over_the_leap_day", "2028-01-31T12:00:00Z", "2028-01-31", "2028-03-01"},
		{"no_leap_day", "2027-01-30T12:00:00Z", "2027-01-30", "2027-03-01"},
		{"from_the_leap_day", "2028-02-29T12:00:00Z", "2028-02-29", "2028-03-30"},
		{"century_without_leap_day", "2100-02-27T12:00:00Z", "2100-02-27", "2100-03-29"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := evaluate(t, shipped(), detectedAt(finding.Critical, c.at), instant(c.at))
			if v.ClockStart != c.start || v.Due != c.due {
				t.Errorf("got %s to %s, want %s to %s", v.ClockStart, v.Due, c.start, c.due)
			}
		})
	}
}

func TestStrictHoursAreTwentyFourEach(t *testing.T) {
	strict := shipped(func(p *sla.Policy) { p.Switches.StrictHours = true })
	for _, c := range []struct {
		name, at, breach string
		due              finding.Date
	}{
		{"to_the_second", "2026-03-02T10:00:00Z", "2026-04-01T10:00:00Z", "2026-04-01"},
		{"from_midnight_ends_with_the_day_before", "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z", "2026-01-31"},
		{"over_the_short_day", "2026-03-20T23:30:00Z", "2026-04-19T23:30:00Z", "2026-04-20"},
		{"over_the_long_day", "2026-10-10T22:30:00Z", "2026-11-09T22:30:00Z", "2026-11-09"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := evaluate(t, strict, detectedAt(finding.Critical, c.at), instant(c.at))
			if !v.DueAt.Equal(instant(c.breach)) || v.Due != c.due {
				t.Errorf("got %s, breach %s, want %s, breach %s", v.Due, v.DueAt, c.due, c.breach)
			}
		})
	}
	// Of two candidates on one day the earlier instant wins, whatever its rule id.
	in := detectedAt(finding.High, "2026-05-22T10:00:00Z") // 30 x 24 h end on the window's last day, before its end
	expect(t, evaluate(t, strict, in, monday), want{"2026-06-21", "7.1/high/production/days"})
	expect(t, evaluate(t, shipped(), in, monday), want{"2026-06-21", "7.1/high/production/cycle"})
}

func TestNothingPausesAClock(t *testing.T) {
	// 14 days from Saturday, Dec 12 end on Boxing Day, a Saturday.
	in := detectedAt(finding.Critical, "2026-12-12T12:00:00Z")
	in.Asset.Exposure = sla.Internet
	expect(t, evaluate(t, shipped(), in, monday), want{"2026-12-26", "7.1/critical/internet"})
}

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

func TestCoreAloneIsNotExposed(t *testing.T) {
	in := host(finding.Low)
	in.Clock = sla.Clock{Detected: monday, NoFix: true}
	in.Asset.Core = true
	in.Vulnerability.KEVAdded = "2026-03-10"
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-24", "KEV/bod-26-04/not-exposed/ssvc-unknown"})
	in.Asset.Exposure = sla.UnknownExposure
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-13", "KEV/bod-26-04/exposed/ssvc-unknown"})
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

func TestCalendarOfAnAsset(t *testing.T) {
	for _, c := range []struct {
		name  string
		asset sla.Asset
		due   finding.Date
	}{
		{"cold_wallet_first", sla.Asset{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.EndUser, ColdWallet: true}, "2026-04-04"},
		{"cold_wallet_image_nonproduction", sla.Asset{Class: sla.Image, Environment: sla.NonProduction, ColdWallet: true}, "2026-04-04"},
		{"end_user_before_internet", sla.Asset{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.EndUser}, "2026-03-12"},
		{"internet_uses_production", sla.Asset{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.NonProduction}, "2026-03-22"},
		{"core_uses_production", sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.NonProduction, Core: true}, "2026-03-22"},
		{"nonproduction", sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.NonProduction}, "2026-03-15"},
		{"nonproduction_image_exposed", sla.Asset{Class: sla.Image, Exposure: sla.Internet, Environment: sla.NonProduction}, "2026-03-15"},
		{"nonproduction_workload_core", sla.Asset{Class: sla.Workload, Exposure: sla.Internal, Environment: sla.NonProduction, Core: true}, "2026-03-15"},
		{"unknown_environment_image", sla.Asset{Class: sla.Image, Exposure: sla.Internal}, "2026-03-22"},
		{"end_user_image", sla.Asset{Class: sla.Image, Exposure: sla.Internal, Environment: sla.EndUser}, "2026-03-12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Low)
			in.Asset = c.asset
			if v := evaluate(t, shipped(), in, asked); v.Due != c.due {
				t.Errorf("got %s by %s, want %s", v.Due, v.Rule, c.due)
			}
		})
	}
}

func TestInfrastructureClockStart(t *testing.T) {
	early, late := instant("2026-02-10T09:00:00Z"), instant("2026-03-02T09:00:00Z")
	for _, c := range []struct {
		name  string
		clock sla.Clock
		start finding.Date
		note  string
	}{
		{"availability_is_earlier", sla.Clock{Available: early, Detected: late}, "2026-02-10", ""},
		{"detection_is_earlier", sla.Clock{Available: late, Detected: early}, "2026-02-10", ""},
		{"no_fix_yet_is_first_detection", sla.Clock{NoFix: true, Detected: late}, "2026-03-02", ""},
		{"no_fix_ignores_an_availability", sla.Clock{NoFix: true, Available: early, Detected: late}, "2026-03-02", ""},
		{"unknown_availability", sla.Clock{Detected: late}, "2026-03-02", "the date of the fix is not known"},
		{"in_service_is_not_looked_at", sla.Clock{Available: early, Detected: late, InService: late}, "2026-02-10", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Critical)
			in.Clock = c.clock
			v := evaluate(t, shipped(), in, asked)
			if v.ClockStart != c.start || (c.note != "" && !hasNote(v, c.note)) {
				t.Errorf("got %s with notes %q, want %s", v.ClockStart, v.Notes, c.start)
			}
		})
	}
	t.Run("a_fix_that_comes_later_never_moves_it", func(t *testing.T) {
		in := host(finding.Critical)
		in.Clock = sla.Clock{NoFix: true, Detected: early}
		before := evaluate(t, shipped(), in, asked)
		in.Clock = sla.Clock{Available: late, Detected: early}
		if after := evaluate(t, shipped(), in, asked); after.Due != before.Due || before.Due != "2026-03-12" {
			t.Errorf("due %s without and %s with the fix, want 2026-03-12", before.Due, after.Due)
		}
	})
}

func TestFloorAtAssetInService(t *testing.T) {
	floor := shipped(func(p *sla.Policy) { p.Switches.FloorAtAssetInService = true })
	in := host(finding.Critical)
	in.Clock = sla.Clock{Available: instant("2026-01-05T00:00:00Z"), Detected: monday, InService: instant("2026-02-20T00:00:00Z")}
	if v := evaluate(t, shipped(), in, asked); v.ClockStart != "2026-01-05" || !v.Arrival {
		t.Errorf("without the switch: %s, arrival %t", v.ClockStart, v.Arrival)
	}
	if v := evaluate(t, floor, in, asked); v.ClockStart != "2026-02-20" || v.Arrival {
		t.Errorf("with the switch: %s, arrival %t", v.ClockStart, v.Arrival)
	}
}

func TestArrival(t *testing.T) {
	for _, c := range []struct {
		name, available string
		arrival         bool
	}{
		{"due_the_day_before_detection", "2026-01-30T12:00:00Z", true}, // due 2026-03-01
		{"due_on_the_day_of_detection", "2026-01-31T12:00:00Z", false}, // due 2026-03-02
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Critical)
			in.Clock.Available = instant(c.available)
			v := evaluate(t, shipped(), in, asked)
			if v.Arrival != c.arrival || (v.State == finding.VerdictOverdue) != c.arrival {
				t.Errorf("arrival %t, %s, due %s", v.Arrival, v.State, v.Due)
			}
		})
	}
}

func TestCodeClockStart(t *testing.T) {
	jan, feb, mar := instant("2026-01-05T09:00:00Z"), instant("2026-02-05T09:00:00Z"), instant("2026-03-05T09:00:00Z")
	for _, c := range []struct {
		name    string
		clock   sla.Clock
		start   finding.Date
		literal finding.Date
	}{
		{"known_after_merge", sla.Clock{Merged: jan, Known: feb}, "2026-02-05", "2026-01-05"},
		{"known_before_merge", sla.Clock{Merged: mar, Known: feb}, "2026-03-05", "2026-03-05"},
		{"known_after_release", sla.Clock{Released: jan, Known: feb}, "2026-02-05", "2026-01-05"},
		{"earlier_of_merge_and_release", sla.Clock{Merged: mar, Released: feb, Known: jan}, "2026-02-05", "2026-02-05"},
		{"earlier_of_release_and_merge", sla.Clock{Merged: feb, Released: mar, Known: jan}, "2026-02-05", "2026-02-05"},
		{"availability_and_detection_do_not_count", sla.Clock{Merged: feb, Known: jan, Available: jan, Detected: jan}, "2026-02-05", "2026-02-05"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := sla.Input{Asset: sla.Asset{Class: sla.Code}, Vulnerability: sla.Vulnerability{Severity: finding.High}, Clock: c.clock}
			if v := evaluate(t, shipped(), in, asked); v.ClockStart != c.start {
				t.Errorf("got %s, want %s", v.ClockStart, c.start)
			}
			literal := shipped(func(p *sla.Policy) { p.Switches.CodeClockLiteral = true })
			if v := evaluate(t, literal, in, asked); v.ClockStart != c.literal {
				t.Errorf("code_clock_literal: got %s, want %s", v.ClockStart, c.literal)
			}
		})
	}
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

func TestAWindowAlreadyOpenDoesNotCount(t *testing.T) {
	for _, c := range []struct {
		name, at string
		due      finding.Date
	}{
		{"a_second_before_it_opens", "2026-03-21T21:59:59Z", "2026-03-22"},
		{"as_it_opens", "2026-03-21T22:00:00Z", "2026-04-19"},
		{"while_open", "2026-03-22T03:00:00Z", "2026-04-19"},
		{"summer_a_second_before", "2026-04-18T20:59:59Z", "2026-04-19"},
		{"summer_as_it_opens", "2026-04-18T21:00:00Z", "2026-05-17"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, evaluate(t, shipped(), detectedAt(finding.Low, c.at), asked), want{c.due, "7.1/low/production"})
		})
	}
}

func TestTheContentCutOffDecides(t *testing.T) {
	p := edited(t, `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`,
		`production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8, cutoff_hours: 120}`)
	expect(t, evaluate(t, p, detectedAt(finding.Low, "2026-03-16T21:59:59Z"), asked), want{"2026-03-22", "7.1/low/production"})
	expect(t, evaluate(t, p, detectedAt(finding.Low, "2026-03-16T22:00:00Z"), asked), want{"2026-04-19", "7.1/low/production"})
}

func TestAWindowsDeadlineIsTheDateItEndsOn(t *testing.T) {
	for _, c := range []struct {
		name, hours string
		due         finding.Date
	}{
		{"ends_on_the_next_day", "hours: 3}", "2026-03-22"},
		{"ends_at_midnight", "hours: 2}", "2026-03-21"},
		{"ends_on_the_same_day", "hours: 1}", "2026-03-21"},
		{"ends_two_days_later", "hours: 27}", "2026-03-23"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := edited(t, `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`,
				`production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", `+c.hours)
			expect(t, evaluate(t, p, host(finding.Low), asked), want{c.due, "7.1/low/production"})
		})
	}
}

func TestNextAvailableCycleIsAfterTheFix(t *testing.T) {
	in := host(finding.Low)
	in.Clock = sla.Clock{Detected: monday, Available: instant("2026-03-25T09:00:00Z")}
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-04-19", "7.1/low/production"})
	if v.ClockStart != "2026-03-02" || v.Candidates[0].Start != "2026-03-02" {
		t.Errorf("the clock start moved: %s", v.ClockStart)
	}
	// "Next patch cycle or N days" does not wait for a fix.
	in.Vulnerability.Severity = finding.Medium
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-22", "7.1/medium/production/cycle"})
	in.Clock = sla.Clock{Detected: monday, NoFix: true}
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-22", "7.1/medium/production/cycle"})
}

func TestAwaitingFix(t *testing.T) {
	for _, class := range []sla.Class{sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Code} {
		t.Run(string(class), func(t *testing.T) {
			in := host(finding.Low)
			in.Asset.Class = class
			in.Clock = sla.Clock{NoFix: true, Detected: monday, Known: monday, Merged: monday}
			v := evaluate(t, shipped(), in, instant("2036-01-01T00:00:00Z"))
			if v.State != finding.VerdictAwaitingFix || v.Due != "" || v.Rule != "" || len(v.Candidates) != 0 || !v.DueAt.IsZero() {
				t.Errorf("got %+v", v)
			}
			backstop := shipped(func(p *sla.Policy) { p.Switches.AwaitingFixBackstopDays = 180 })
			v = evaluate(t, backstop, in, asked)
			if v.Due != "2026-08-29" || !strings.HasSuffix(v.Rule, "/backstop") || v.State != finding.VerdictOpen {
				t.Errorf("backstop: got %s by %s, %s", v.Due, v.Rule, v.State)
			}
		})
	}
}

func TestCodeHasNoFixAvailabilityUnlessGiven(t *testing.T) {
	in := sla.Input{
		Asset:         sla.Asset{Class: sla.Code, Exposure: sla.Internal, Environment: sla.Production},
		Vulnerability: sla.Vulnerability{Severity: finding.Low},
		Clock:         sla.Clock{Known: monday, Merged: monday},
	}
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-22", "7.4/low"})
	in.Clock.Available = instant("2026-03-25T09:00:00Z")
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-04-19", "7.4/low"})
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

func TestImageRowsOfTheSameDigest(t *testing.T) {
	in := host(finding.Critical)
	in.Asset.Class = sla.Workload
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-04-01", "7.3/workload/critical"})
	in.Asset.SameDigest = []sla.Class{sla.Image}
	v := evaluate(t, shipped(), in, asked)
	expect(t, v, want{"2026-03-16", "7.3/image/critical"})
	expectCandidates(t, v, "7.3/image/critical 2026-03-02 2026-03-16", "7.3/workload/critical 2026-03-02 2026-04-01")
}

func TestExceptions(t *testing.T) {
	in := host(finding.Critical) // due 2026-04-01
	approved := instant("2026-03-20T10:00:00Z")
	x := sla.Exception{ID: "X-1", From: approved, Until: "2026-05-10"}
	with := func(xs ...sla.Exception) sla.Input {
		in := in
		in.Exceptions = xs
		return in
	}
	inForce := instant("2026-04-10T00:00:00Z")

	v := evaluate(t, shipped(), with(x), inForce)
	expect(t, v, want{"2026-05-10", "exception/X-1"})
	if v.State != finding.VerdictOpen {
		t.Errorf("in force: %s", v.State)
	}
	expectCandidates(t, v, "7.1/critical/production 2026-03-02 2026-04-01", "exception/X-1 2026-03-20 2026-05-10")

	t.Run("not_yet_approved", func(t *testing.T) {
		expect(t, evaluate(t, shipped(), with(x), approved.Add(-time.Second)), want{"2026-04-01", "7.1/critical/production"})
	})
	t.Run("in_force_to_the_end_of_its_day", func(t *testing.T) {
		expect(t, evaluate(t, shipped(), with(x), instant("2026-05-10T22:59:59Z")), want{"2026-05-10", "exception/X-1"})
	})
	t.Run("afterwards_the_earliest_stands_again", func(t *testing.T) {
		v := evaluate(t, shipped(), with(x), instant("2026-05-10T23:00:00Z"))
		expect(t, v, want{"2026-04-01", "7.1/critical/production"})
		if v.State != finding.VerdictOverdue {
			t.Errorf("got %s", v.State)
		}
	})
	t.Run("suspended", func(t *testing.T) {
		s := x
		s.Suspended = true
		v := evaluate(t, shipped(), with(s), inForce)
		expect(t, v, want{"2026-04-01", "7.1/critical/production"})
		if !hasNote(v, "X-1 is suspended") {
			t.Errorf("notes %q", v.Notes)
		}
	})
	t.Run("without_approval_or_end_it_moves_nothing", func(t *testing.T) {
		for _, bad := range []sla.Exception{{ID: "X-2", Until: "2026-05-10"}, {ID: "X-2", From: approved, Until: "soon"}, {ID: "X-2", From: approved}} {
			v := evaluate(t, shipped(), with(bad), inForce)
			expect(t, v, want{"2026-04-01", "7.1/critical/production"})
			if !hasNote(v, "X-2 lacks a readable approval or end") {
				t.Errorf("notes %q", v.Notes)
			}
		}
	})
	t.Run("the_last_approval_counts_in_any_order", func(t *testing.T) {
		renewal := sla.Exception{ID: "X-0", From: approved.Add(time.Hour), Until: "2026-04-30"}
		expect(t, evaluate(t, shipped(), with(x, renewal), inForce), want{"2026-04-30", "exception/X-0"})
		expect(t, evaluate(t, shipped(), with(renewal, x), inForce), want{"2026-04-30", "exception/X-0"})
	})
	t.Run("gives_a_date_where_there_was_none", func(t *testing.T) {
		in := with(x)
		in.Vulnerability.Severity = finding.Low
		in.Clock = sla.Clock{Detected: monday, NoFix: true}
		v := evaluate(t, shipped(), in, inForce)
		expect(t, v, want{"2026-05-10", "exception/X-1"})
		if v.State != finding.VerdictOpen {
			t.Errorf("got %s", v.State)
		}
	})
	t.Run("does_not_hide_an_arrival", func(t *testing.T) {
		in := with(x)
		in.Clock.Available = instant("2026-01-05T00:00:00Z")
		if v := evaluate(t, shipped(), in, inForce); !v.Arrival || v.State != finding.VerdictOpen {
			t.Errorf("arrival %t, %s", v.Arrival, v.State)
		}
	})
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

func TestGoldenImagesHaveNoClock(t *testing.T) {
	in := sla.Input{
		Asset:         sla.Asset{Class: sla.Golden, Exposure: sla.Internal, Environment: sla.Production, CrownJewel: true},
		Vulnerability: sla.Vulnerability{Severity: finding.Critical, KEVAdded: "2026-03-10", KEVDue: "2026-03-31"},
	}
	v := evaluate(t, shipped(), in, asked)
	if v.State != finding.VerdictGate || v.Due != "" || v.Rule != "" || v.ClockStart != "" || v.Target != "" ||
		!v.MitigateBy.IsZero() || v.Candidates == nil || len(v.Candidates) != 0 || v.Arrival || v.Forensics {
		t.Errorf("got %+v", v)
	}
	if v.Cycle != sla.ZeroDay || v.Priority != "P0" || v.Policy == "" || v.TZData == "" {
		t.Errorf("got %+v", v)
	}
	in.Vulnerability = sla.Vulnerability{Severity: finding.Low}
	if v := evaluate(t, shipped(), in, asked); v.State != finding.VerdictGate || !hasNote(v, "does not hold a release") {
		t.Errorf("got %+v", v)
	}
}

func TestCycleLabel(t *testing.T) {
	exposed := func(in sla.Input) sla.Input { in.Asset.Exposure = sla.Internet; return in }
	listed := func(in sla.Input) sla.Input { in.Vulnerability.KEVAdded = "2030-01-01"; return in }
	marked := func(in sla.Input) sla.Input { in.Vulnerability.ActiveExploitation = monday; return in }
	active := func(in sla.Input) sla.Input { in.Vulnerability.Exploitation = "active"; return in }
	for _, c := range []struct {
		name string
		in   sla.Input
		want string
	}{
		{"critical_before_the_window_ends", exposed(host(finding.Critical)), sla.OutOfCycle},               // 03-16, 03-22
		{"critical_after_the_window_ends", host(finding.Critical), sla.InCycle},                            // 04-01, 03-22
		{"high_on_the_day_the_window_ends", host(finding.High), sla.InCycle},                               // 03-22, 03-22
		{"high_the_day_before", exposed(detectedAt(finding.High, "2026-05-21T12:00:00Z")), sla.OutOfCycle}, // 06-20, 06-21
		{"high_by_days_on_the_last_day", exposed(detectedAt(finding.High, "2026-05-22T12:00:00Z")), sla.InCycle},
		{"medium_is_in_cycle", host(finding.Medium), sla.InCycle},
		{"medium_by_days", detectedAt(finding.Medium, "2026-07-04T12:00:00Z"), sla.InCycle},
		{"kev", listed(host(finding.Low)), sla.ZeroDay},
		{"operators_mark", marked(host(finding.Low)), sla.ZeroDay},
		{"ssvc_active", active(host(finding.Low)), sla.ZeroDay},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v := evaluate(t, shipped(), c.in, asked); v.Cycle != c.want {
				t.Errorf("got %s, want %s (due %s)", v.Cycle, c.want, v.Due)
			}
		})
	}
}

func TestPriority(t *testing.T) {
	type facts struct {
		sev                         finding.Severity
		kev, mark, active, exposed  bool
		epss                        float64
		public, poc                 bool
		jewel, data, hot, sensitive bool
	}
	for _, c := range []struct {
		name  string
		facts facts
		want  string
		steps string // points of the last step
	}{
		{"critical_alone", facts{sev: finding.Critical}, "P2", "4 points: P2"},
		{"high_alone", facts{sev: finding.High}, "P3", "3 points: P3"},
		{"medium_alone", facts{sev: finding.Medium}, "P4", "2 points: P4"},
		{"low_alone", facts{sev: finding.Low}, "P4", "1 point: P4"},
		{"kev_adds_two", facts{sev: finding.High, kev: true}, "P1", "5 points: P1"},
		{"a_mark_adds_two", facts{sev: finding.High, mark: true}, "P1", "5 points: P1"},
		{"ssvc_active_adds_two", facts{sev: finding.High, active: true}, "P1", "5 points: P1"},
		{"kev_and_mark_add_two_once", facts{sev: finding.High, kev: true, mark: true, active: true}, "P1", "5 points: P1"},
		{"epss_at_the_threshold", facts{sev: finding.High, epss: 0.5}, "P2", "4 points: P2"},
		{"epss_below", facts{sev: finding.High, epss: 0.4999}, "P3", "3 points: P3"},
		{"public_exploit", facts{sev: finding.High, public: true}, "P2", "4 points: P2"},
		{"ssvc_poc", facts{sev: finding.High, poc: true}, "P2", "4 points: P2"},
		{"likely_counts_once", facts{sev: finding.High, epss: 0.9, public: true, poc: true}, "P2", "4 points: P2"},
		{"exposed", facts{sev: finding.High, exposed: true}, "P2", "4 points: P2"},
		{"crown_jewel", facts{sev: finding.High, jewel: true}, "P2", "4 points: P2"},
		{"data_sensitivity", facts{sev: finding.High, data: true}, "P2", "4 points: P2"},
		{"jewel_or_data_counts_once", facts{sev: finding.High, jewel: true, data: true}, "P2", "4 points: P2"},
		{"hot_wallet_component", facts{sev: finding.High, hot: true, sensitive: true}, "P2", "4 points: P2"},
		{"hot_wallet_other_component", facts{sev: finding.High, hot: true}, "P3", "3 points: P3"},
		{"component_elsewhere", facts{sev: finding.High, sensitive: true}, "P3", "3 points: P3"},
		{"five_points", facts{sev: finding.Critical, exposed: true}, "P1", "5 points: P1"},
		{"six_points", facts{sev: finding.Critical, exposed: true, jewel: true}, "P1", "6 points: P1"},
		{"seven_points", facts{sev: finding.Critical, exposed: true, jewel: true, epss: 1}, "P0", "7 points: P0"},
		{"all_of_it", facts{sev: finding.Critical, kev: true, exposed: true, jewel: true, epss: 1, hot: true, sensitive: true}, "P0", "KEV on an exposed asset is always P0"},
		{"kev_on_an_exposed_low", facts{sev: finding.Low, kev: true, exposed: true}, "P0", "KEV on an exposed asset is always P0"},
		{"kev_on_a_hidden_low", facts{sev: finding.Low, kev: true}, "P3", "3 points: P3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(c.facts.sev)
			f := c.facts
			if f.kev {
				in.Vulnerability.KEVAdded = "2026-03-10"
			}
			if f.mark {
				in.Vulnerability.ActiveExploitation = monday
			}
			if f.exposed {
				in.Asset.Exposure = sla.Internet
			}
			if f.active {
				in.Vulnerability.Exploitation = "active"
			}
			if f.poc {
				in.Vulnerability.Exploitation = "poc"
			}
			in.Vulnerability.EPSS, in.Vulnerability.PublicExploit, in.Vulnerability.SensitiveComponent = f.epss, f.public, f.sensitive
			in.Asset.CrownJewel, in.Asset.HighDataSensitivity, in.Asset.HotWallet = f.jewel, f.data, f.hot
			v := evaluate(t, shipped(), in, asked)
			if v.Priority != c.want || v.PriorityWhy[len(v.PriorityWhy)-1] != c.steps {
				t.Errorf("got %s by %q, want %s by %q", v.Priority, v.PriorityWhy, c.want, c.steps)
			}
		})
	}
}

func TestAPublicExploitAsksForAZeroDay(t *testing.T) {
	const ask = "decide whether to declare Zero-Day"
	in := host(finding.Medium)
	in.Vulnerability.PublicExploit = true
	if hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("asked on an internal asset that is no crown jewel")
	}
	in.Asset.CrownJewel = true
	if !hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("not asked on a crown jewel")
	}
	in.Asset.CrownJewel, in.Asset.Exposure = false, sla.Internet
	if !hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("not asked on an exposed asset")
	}
	in.Vulnerability.ActiveExploitation = monday
	if hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("asked where it was declared")
	}
}

func TestWrongInputIsRefusedAtOnce(t *testing.T) {
	_, err := sla.Evaluate(shipped(), sla.Input{
		Asset:         sla.Asset{Class: "router", Exposure: "dmz", Environment: "staging", SameDigest: []sla.Class{sla.Compute}},
		Vulnerability: sla.Vulnerability{Severity: "urgent", KEVDue: "2026-01-01"},
	}, time.Time{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, words := range []string{`class "router"`, `exposure "dmz"`, `environment "staging"`, `class "compute" cannot share`,
		`severity "urgent"`, "KEV due date without", "first detection is missing", "time of asking is missing"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not said in: %v", words, err)
		}
	}
	for name, in := range map[string]sla.Input{
		"code without known":  {Asset: sla.Asset{Class: sla.Code}, Vulnerability: sla.Vulnerability{Severity: finding.Low}, Clock: sla.Clock{Merged: monday}},
		"code without merge":  {Asset: sla.Asset{Class: sla.Code}, Vulnerability: sla.Vulnerability{Severity: finding.Low}, Clock: sla.Clock{Known: monday}},
		"before the calendar": detectedAt(finding.Critical, "1969-06-01T00:00:00Z"),
		"after the calendar":  detectedAt(finding.Critical, "2300-06-01T00:00:00Z"),
		"KEV not a date":      {Asset: host(finding.Low).Asset, Clock: host(finding.Low).Clock, Vulnerability: sla.Vulnerability{Severity: finding.Low, KEVAdded: "2026-02-30"}},
	} {
		if v, err := sla.Evaluate(shipped(), in, asked); err == nil {
			t.Errorf("%s: accepted as %+v", name, v)
		}
	}
	broken := shipped(func(p *sla.Policy) { p.Calendars.Production = nil })
	if _, err := sla.Evaluate(broken, host(finding.Critical), asked); err == nil {
		t.Error("a missing calendar gave a verdict")
	}
	if _, err := sla.Evaluate(nil, host(finding.Critical), asked); err == nil {
		t.Error("no policy gave a verdict")
	}
}

func TestAVerdictNamesItsPolicyAndReplays(t *testing.T) {
	p := shipped()
	_, src := policy.Default()
	again, _, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	in := host(finding.High)
	in.Vulnerability.KEVAdded = "2026-03-10"
	first := evaluate(t, p, in, asked)
	if diff := cmp.Diff(first, evaluate(t, again, in, asked)); diff != "" {
		t.Errorf("a replay differs:\n%s", diff)
	}
	if first.Policy != policy.Digest(src) || first.TZData != policy.TZData {
		t.Errorf("got policy %s, zone data %s", first.Policy, first.TZData)
	}
}
