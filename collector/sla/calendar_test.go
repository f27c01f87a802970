package sla_test

import (
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

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
