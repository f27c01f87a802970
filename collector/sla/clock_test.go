package sla_test

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

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
		name, available, detected string
		arrival                   bool
	}{
		{"due_the_day_before_detection", "2026-01-30T12:00:00Z", "2026-03-02T09:00:00Z", true}, // due 2026-03-01
		{"detected_at_the_breach", "2026-01-30T12:00:00Z", "2026-03-02T00:00:00Z", true},
		{"detected_in_the_last_second", "2026-01-30T12:00:00Z", "2026-03-01T23:59:59Z", false},
		{"due_on_the_day_of_detection", "2026-01-31T12:00:00Z", "2026-03-02T09:00:00Z", false}, // due 2026-03-02
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(finding.Critical)
			in.Clock = sla.Clock{Available: instant(c.available), Detected: instant(c.detected)}
			v := evaluate(t, shipped(), in, instant(c.detected))
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
		for _, bad := range []sla.Exception{{ID: "X-2", Until: "2026-05-10"}, {ID: "X-2", From: approved, Until: "soon"}, {ID: "X-2", From: approved, Until: "9999-12-31"}, {ID: "X-2", From: approved}} {
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
