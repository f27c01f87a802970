package sla_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

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
