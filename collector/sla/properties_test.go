package sla_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

var (
	severities   = []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}
	classes      = []sla.Class{sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Code}
	exposures    = []sla.Exposure{sla.Internet, sla.Internal, sla.UnknownExposure, ""}
	environments = []sla.Environment{sla.Production, sla.NonProduction, sla.UnknownEnvironment, ""}
)

func drawInstant(t *rapid.T, label string) time.Time {
	// Often near a window, a change of the clocks, or a month's end.
	base := rapid.SampledFrom([]string{
		"2026-03-21T22:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-04-18T21:00:00Z",
		"2028-02-29T00:00:00Z", "2026-12-31T23:00:00Z", "2026-01-03T10:00:00Z", "2026-06-30T22:59:00Z",
	}).Draw(t, label+" near")
	days := rapid.IntRange(-60, 60).Draw(t, label+" days")
	minutes := rapid.IntRange(-90, 90).Draw(t, label+" minutes")
	return instant(base).AddDate(0, 0, days).Add(time.Duration(minutes) * time.Minute)
}

func drawPolicy(t *rapid.T) *sla.Policy {
	return shipped(func(p *sla.Policy) {
		s := &p.Switches
		s.StrictHours = rapid.Bool().Draw(t, "strict_hours")
		s.CycleOrDays = rapid.SampledFrom([]sla.CycleOrDaysMode{sla.Earliest, sla.Target, sla.Latest}).Draw(t, "cycle_or_days")
		s.MonotoneSeverity = rapid.Bool().Draw(t, "monotone_severity")
		s.ApplianceBothTables = rapid.Bool().Draw(t, "appliance_both_tables")
		s.CodeNonProductionAsCode = rapid.Bool().Draw(t, "code_nonproduction")
		s.CodeClockLiteral = rapid.Bool().Draw(t, "code_clock_literal")
		s.FloorAtAssetInService = rapid.Bool().Draw(t, "floor")
		s.AwaitingFixBackstopDays = rapid.SampledFrom([]int{0, 0, 180}).Draw(t, "backstop")
		p.BOD.WithoutKEV = rapid.SampledFrom([]sla.Strength{sla.Advisory, sla.Binding, sla.Off}).Draw(t, "without_kev")
	})
}

func drawInput(t *rapid.T) sla.Input {
	in := sla.Input{
		Asset: sla.Asset{
			Class:       rapid.SampledFrom(classes).Draw(t, "class"),
			Exposure:    rapid.SampledFrom(exposures).Draw(t, "exposure"),
			Environment: rapid.SampledFrom(environments).Draw(t, "environment"),
			Core:        rapid.Bool().Draw(t, "core"),
			CrownJewel:  rapid.Bool().Draw(t, "crown jewel"),
			ColdWallet:  rapid.Bool().Draw(t, "cold wallet"),
		},
		Vulnerability: sla.Vulnerability{
			Severity:    rapid.SampledFrom(severities).Draw(t, "severity"),
			Automatable: rapid.SampledFrom([]string{"", "yes", "no"}).Draw(t, "automatable"),
			Impact:      rapid.SampledFrom([]string{"", "partial", "total"}).Draw(t, "impact"),
		},
		Clock: sla.Clock{
			Detected: drawInstant(t, "detected"),
			NoFix:    rapid.Bool().Draw(t, "no fix"),
			Known:    drawInstant(t, "known"),
			Merged:   drawInstant(t, "merged"),
		},
	}
	if in.Asset.Class != sla.Appliance && rapid.Bool().Draw(t, "end user") {
		in.Asset.Environment = sla.EndUser
	}
	if rapid.Bool().Draw(t, "available") {
		in.Clock.Available = drawInstant(t, "available")
	}
	if rapid.Bool().Draw(t, "in service") {
		in.Clock.InService = drawInstant(t, "in service")
	}
	return in
}

func drawKEV(t *rapid.T, p *sla.Policy, in sla.Input) sla.Input {
	added := drawInstant(t, "listed")
	in.Vulnerability.KEVAdded = p.LocalDate(added)
	if rapid.Bool().Draw(t, "kev due") {
		in.Vulnerability.KEVDue = p.LocalDate(added.AddDate(0, 0, rapid.IntRange(0, 40).Draw(t, "kev days")))
	}
	if rapid.Bool().Draw(t, "validated") {
		in.Clock.Validated = drawInstant(t, "validated")
	}
	return in
}

func must(t *rapid.T, p *sla.Policy, in sla.Input, now time.Time) finding.Verdict {
	v, err := sla.Evaluate(p, in, now)
	if err != nil {
		t.Fatalf("Evaluate(%+v): %v", in, err)
	}
	return v
}

// later says whether a's deadline is later than b's; none is later than any.
func later(a, b finding.Verdict) bool {
	switch {
	case b.DueAt.IsZero():
		return false
	case a.DueAt.IsZero():
		return true
	default:
		return a.DueAt.After(b.DueAt)
	}
}

func TestAnEarlierClockNeverGivesALaterDeadline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, in := drawPolicy(t), drawInput(t)
		if rapid.Bool().Draw(t, "kev") {
			in = drawKEV(t, p, in)
		}
		by := time.Duration(rapid.IntRange(0, 80*24*60).Draw(t, "earlier by minutes")) * time.Minute
		earlier := in
		instants := []*time.Time{
			&earlier.Clock.Detected, &earlier.Clock.Known, &earlier.Clock.Merged, &earlier.Clock.Available,
			&earlier.Clock.InService, &earlier.Clock.Validated,
		}
		at := instants[rapid.IntRange(0, len(instants)-1).Draw(t, "which")]
		if at.IsZero() {
			return
		}
		*at = at.Add(-by)
		a, b := must(t, p, earlier, asked), must(t, p, in, asked)
		if later(a, b) {
			t.Fatalf("due %s, earlier clock due %s\n%+v\n%+v", b.DueAt, a.DueAt, b.Candidates, a.Candidates)
		}
	})
}

func TestAListingNeverGivesALaterDeadline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, in := drawPolicy(t), drawInput(t)
		listed := drawKEV(t, p, in)
		a, b := must(t, p, listed, asked), must(t, p, in, asked)
		if later(a, b) || a.DueAt.IsZero() || a.MitigateBy.IsZero() {
			t.Fatalf("due %s, listed due %s, mitigate by %s", b.DueAt, a.DueAt, a.MitigateBy)
		}
	})
}

func TestMonotoneSeverityHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, in := drawPolicy(t), drawInput(t)
		p.Switches.MonotoneSeverity = true
		lower := in
		i := rapid.IntRange(0, 2).Draw(t, "higher")
		in.Vulnerability.Severity = severities[i]
		lower.Vulnerability.Severity = severities[rapid.IntRange(i+1, 3).Draw(t, "lower")]
		a, b := must(t, p, in, asked), must(t, p, lower, asked)
		if later(a, b) {
			t.Fatalf("%s due %s, %s due %s", in.Vulnerability.Severity, a.DueAt, lower.Vulnerability.Severity, b.DueAt)
		}
	})
}

func TestTheVerdictIsConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, in := drawPolicy(t), drawInput(t)
		if rapid.Bool().Draw(t, "kev") {
			in = drawKEV(t, p, in)
		}
		now := drawInstant(t, "now")
		v := must(t, p, in, now)
		if diff := cmp.Diff(v, must(t, p, in, now)); diff != "" {
			t.Fatalf("a replay differs:\n%s", diff)
		}
		if v.Due == "" {
			if v.State != finding.VerdictAwaitingFix || v.Rule != "" || !v.DueAt.IsZero() || v.Arrival {
				t.Fatalf("no date, and %+v", v)
			}
			return
		}
		if got := p.LocalDate(v.DueAt.Add(-time.Nanosecond)); got != v.Due {
			t.Fatalf("due %s, but the last instant lies on %s", v.Due, got)
		}
		if (v.State == finding.VerdictOverdue) != !now.Before(v.DueAt) {
			t.Fatalf("%s at %s, breach %s", v.State, now, v.DueAt)
		}
		// A Zero-Day counts from K, which may lie before the merge of code or the
		// floor of an asset's service; no other rule ends before its clock starts.
		if v.Target > v.Due || v.Due < v.ClockStart && !strings.HasPrefix(v.Rule, "KEV/") && !p.Switches.StrictHours {
			t.Fatalf("start %s, target %s, due %s", v.ClockStart, v.Target, v.Due)
		}
		first := v.Candidates[0]
		if first.Advisory || first.Rule != v.Rule || first.Due != v.Due {
			t.Fatalf("%s by %s does not stand first: %+v", v.Due, v.Rule, v.Candidates)
		}
		for _, c := range v.Candidates {
			if !c.Advisory && c.Due < v.Due {
				t.Fatalf("%s is earlier than %s", c.Rule, v.Rule)
			}
		}
	})
}

func TestTheOrderOfInputsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, in := drawPolicy(t), drawInput(t)
		in.Asset.Class = sla.Image
		in.Asset.SameDigest = []sla.Class{sla.Image, sla.Workload}
		for i := range rapid.IntRange(0, 4).Draw(t, "exceptions") {
			from := drawInstant(t, "from")
			in.Exceptions = append(in.Exceptions, sla.Exception{
				ID: string(rune('A' + i)), From: from, Until: p.LocalDate(from.AddDate(0, 0, 90)),
			})
		}
		now := drawInstant(t, "now")
		turned := in
		turned.Asset.SameDigest = []sla.Class{sla.Workload, sla.Image}
		turned.Exceptions = slices.Clone(in.Exceptions)
		slices.Reverse(turned.Exceptions)
		if diff := cmp.Diff(must(t, p, in, now), must(t, p, turned, now)); diff != "" {
			t.Fatalf("another order, another verdict:\n%s", diff)
		}
	})
}

func TestManyMayEvaluateAtOnce(t *testing.T) {
	p := shipped()
	in := host(finding.High)
	in.Vulnerability.KEVAdded = "2026-03-10"
	want := evaluate(t, p, in, asked)
	done := make(chan string)
	for range 8 {
		go func() {
			for range 200 {
				got, err := sla.Evaluate(p, in, asked)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					done <- diff
					return
				}
			}
			done <- ""
		}()
	}
	for range 8 {
		if diff := <-done; diff != "" {
			t.Errorf("differs:\n%s", diff)
		}
	}
}
