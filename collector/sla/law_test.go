package sla_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

// Every date here was worked out by hand with a calendar. In 2026 the third
// Saturdays are Jan 17, Feb 21, Mar 21, Apr 18, May 16, Jun 20, Jul 18; the second
// ones Mar 14, Apr 11; the second Wednesdays Mar 11, Apr 8; the first Saturdays of
// the quarters Jan 3, Apr 4, Jul 4, Oct 3. Dublin is on UTC until Mar 29, 01:00 UTC,
// then one hour ahead until Oct 25, 01:00 UTC.

// monday is the clock start of most tests: a Monday morning.
var monday = instant("2026-03-02T09:00:00Z")

// asked is a time of asking before any of the dates.
var asked = instant("2026-03-02T12:00:00Z")

func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// shipped is the standard with switches changed.
func shipped(change ...func(*sla.Policy)) *sla.Policy {
	p, _ := policy.Default()
	for _, f := range change {
		f(p)
	}
	return p
}

func evaluate(t *testing.T, p *sla.Policy, in sla.Input, now time.Time) finding.Verdict {
	t.Helper()
	v, err := sla.Evaluate(p, in, now)
	if err != nil {
		t.Fatalf("Evaluate(%+v): %v", in, err)
	}
	return v
}

// host is an internal production host with a vulnerability whose fix came on monday.
func host(sev finding.Severity) sla.Input {
	return sla.Input{
		Asset:         sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production},
		Vulnerability: sla.Vulnerability{Severity: sev},
		Clock:         sla.Clock{Available: monday, Detected: monday},
	}
}

// want is what a test expects of a verdict.
type want struct {
	due  finding.Date
	rule string
}

func expect(t *testing.T, v finding.Verdict, w want) {
	t.Helper()
	if v.Due != w.due || v.Rule != w.rule {
		t.Errorf("got due %q by %q, want %q by %q (candidates %+v)", v.Due, v.Rule, w.due, w.rule, v.Candidates)
	}
}

// candidates restates a verdict's candidates as "rule start due", "~" for advisory ones.
func candidates(v finding.Verdict) []string {
	var list []string
	for _, c := range v.Candidates {
		s := c.Rule + " " + string(c.Start) + " " + string(c.Due)
		if c.Advisory {
			s = "~" + s
		}
		list = append(list, s)
	}
	return list
}

func expectCandidates(t *testing.T, v finding.Verdict, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, candidates(v)); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func hasNote(v finding.Verdict, words string) bool {
	return strings.Contains(strings.Join(v.Notes, "\n"), words)
}

func TestEveryCellOfSection7(t *testing.T) {
	const start = " 2026-03-02 "
	for _, c := range []struct {
		name        string
		class       sla.Class
		severity    finding.Severity
		exposure    sla.Exposure
		environment sla.Environment
		due         finding.Date
		candidates  []string
	}{
		// §7.1
		{"7.1/critical/internet", sla.Compute, finding.Critical, sla.Internet, sla.Production, "2026-03-16", []string{"7.1/critical/internet" + start + "2026-03-16"}},
		{"7.1/critical/production", sla.Compute, finding.Critical, sla.Internal, sla.Production, "2026-04-01", []string{"7.1/critical/production" + start + "2026-04-01"}},
		{"7.1/critical/nonproduction", sla.Compute, finding.Critical, sla.Internal, sla.NonProduction, "2026-04-01", []string{"7.1/critical/nonproduction" + start + "2026-04-01"}},
		{"7.1/critical/enduser", sla.Compute, finding.Critical, sla.Internal, sla.EndUser, "2026-04-01", []string{"7.1/critical/enduser" + start + "2026-04-01"}},
		{"7.1/high/internet", sla.Compute, finding.High, sla.Internet, sla.Production, "2026-04-01", []string{"7.1/high/internet" + start + "2026-04-01"}},
		{"7.1/high/production", sla.Compute, finding.High, sla.Internal, sla.Production, "2026-03-22", []string{"7.1/high/production/cycle" + start + "2026-03-22", "7.1/high/production/days" + start + "2026-04-01"}},
		{"7.1/high/nonproduction", sla.Compute, finding.High, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.1/high/nonproduction/cycle" + start + "2026-03-15", "7.1/high/nonproduction/days" + start + "2026-04-01"}},
		{"7.1/high/enduser", sla.Compute, finding.High, sla.Internal, sla.EndUser, "2026-03-12", []string{"7.1/high/enduser/cycle" + start + "2026-03-12", "7.1/high/enduser/days" + start + "2026-04-01"}},
		{"7.1/medium/internet", sla.Compute, finding.Medium, sla.Internet, sla.Production, "2026-03-22", []string{"7.1/medium/internet/cycle" + start + "2026-03-22", "7.1/medium/internet/days" + start + "2026-05-31"}},
		{"7.1/medium/production", sla.Compute, finding.Medium, sla.Internal, sla.Production, "2026-03-22", []string{"7.1/medium/production/cycle" + start + "2026-03-22", "7.1/medium/production/days" + start + "2026-05-31"}},
		{"7.1/medium/nonproduction", sla.Compute, finding.Medium, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.1/medium/nonproduction/cycle" + start + "2026-03-15", "7.1/medium/nonproduction/days" + start + "2026-05-31"}},
		{"7.1/medium/enduser", sla.Compute, finding.Medium, sla.Internal, sla.EndUser, "2026-03-12", []string{"7.1/medium/enduser/cycle" + start + "2026-03-12", "7.1/medium/enduser/days" + start + "2026-05-31"}},
		{"7.1/low/internet", sla.Compute, finding.Low, sla.Internet, sla.Production, "2026-03-22", []string{"7.1/low/internet" + start + "2026-03-22"}},
		{"7.1/low/production", sla.Compute, finding.Low, sla.Internal, sla.Production, "2026-03-22", []string{"7.1/low/production" + start + "2026-03-22"}},
		{"7.1/low/nonproduction", sla.Compute, finding.Low, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.1/low/nonproduction" + start + "2026-03-15"}},
		{"7.1/low/enduser", sla.Compute, finding.Low, sla.Internal, sla.EndUser, "2026-03-12", []string{"7.1/low/enduser" + start + "2026-03-12"}},
		// §7.2
		{"7.2/critical/internet", sla.Appliance, finding.Critical, sla.Internet, sla.Production, "2026-03-16", []string{"7.2/critical/internet" + start + "2026-03-16"}},
		{"7.2/critical/production", sla.Appliance, finding.Critical, sla.Internal, sla.Production, "2026-04-01", []string{"7.2/critical/production" + start + "2026-04-01"}},
		{"7.2/critical/nonproduction", sla.Appliance, finding.Critical, sla.Internal, sla.NonProduction, "2026-04-01", []string{"7.2/critical/nonproduction" + start + "2026-04-01"}},
		{"7.2/high/internet", sla.Appliance, finding.High, sla.Internet, sla.Production, "2026-04-01", []string{"7.2/high/internet" + start + "2026-04-01"}},
		{"7.2/high/production", sla.Appliance, finding.High, sla.Internal, sla.Production, "2026-03-22", []string{"7.2/high/production/cycle" + start + "2026-03-22", "7.2/high/production/days" + start + "2026-05-31"}},
		{"7.2/high/nonproduction", sla.Appliance, finding.High, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.2/high/nonproduction/cycle" + start + "2026-03-15", "7.2/high/nonproduction/days" + start + "2026-05-31"}},
		{"7.2/medium/internet", sla.Appliance, finding.Medium, sla.Internet, sla.Production, "2026-03-22", []string{"7.2/medium/internet/cycle" + start + "2026-03-22", "7.2/medium/internet/days" + start + "2026-05-31"}},
		{"7.2/medium/production", sla.Appliance, finding.Medium, sla.Internal, sla.Production, "2026-03-22", []string{"7.2/medium/production/cycle" + start + "2026-03-22", "7.2/medium/production/days" + start + "2026-05-31"}},
		{"7.2/medium/nonproduction", sla.Appliance, finding.Medium, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.2/medium/nonproduction/cycle" + start + "2026-03-15", "7.2/medium/nonproduction/days" + start + "2026-05-31"}},
		{"7.2/low/internet", sla.Appliance, finding.Low, sla.Internet, sla.Production, "2026-03-22", []string{"7.2/low/internet" + start + "2026-03-22"}},
		{"7.2/low/production", sla.Appliance, finding.Low, sla.Internal, sla.Production, "2026-03-22", []string{"7.2/low/production" + start + "2026-03-22"}},
		{"7.2/low/nonproduction", sla.Appliance, finding.Low, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.2/low/nonproduction" + start + "2026-03-15"}},
		// §7.3
		{"7.3/image/critical", sla.Image, finding.Critical, sla.Internal, sla.Production, "2026-03-16", []string{"7.3/image/critical" + start + "2026-03-16"}},
		{"7.3/image/high", sla.Image, finding.High, sla.Internal, sla.Production, "2026-04-01", []string{"7.3/image/high" + start + "2026-04-01"}},
		{"7.3/image/medium", sla.Image, finding.Medium, sla.Internal, sla.Production, "2026-05-31", []string{"7.3/image/medium" + start + "2026-05-31"}},
		{"7.3/image/low", sla.Image, finding.Low, sla.Internal, sla.Production, "2026-03-22", []string{"7.3/image/low" + start + "2026-03-22"}},
		{"7.3/workload/critical", sla.Workload, finding.Critical, sla.Internal, sla.Production, "2026-04-01", []string{"7.3/workload/critical" + start + "2026-04-01"}},
		{"7.3/workload/high", sla.Workload, finding.High, sla.Internal, sla.Production, "2026-04-01", []string{"7.3/workload/high" + start + "2026-04-01"}},
		{"7.3/workload/medium", sla.Workload, finding.Medium, sla.Internal, sla.Production, "2026-05-31", []string{"7.3/workload/medium" + start + "2026-05-31"}},
		{"7.3/workload/low", sla.Workload, finding.Low, sla.Internal, sla.Production, "2026-03-22", []string{"7.3/workload/low" + start + "2026-03-22"}},
		// §7.3, non-production: §7.1 internal non-production
		{"7.3/image/critical/nonproduction", sla.Image, finding.Critical, sla.Internal, sla.NonProduction, "2026-04-01", []string{"7.1/critical/nonproduction" + start + "2026-04-01"}},
		{"7.3/image/low/nonproduction", sla.Image, finding.Low, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.1/low/nonproduction" + start + "2026-03-15"}},
		{"7.3/workload/high/nonproduction", sla.Workload, finding.High, sla.Internal, sla.NonProduction, "2026-03-15", []string{"7.1/high/nonproduction/cycle" + start + "2026-03-15", "7.1/high/nonproduction/days" + start + "2026-04-01"}},
		{"7.3/workload/medium/nonproduction", sla.Workload, finding.Medium, sla.Internet, sla.NonProduction, "2026-03-15", []string{"7.1/medium/nonproduction/cycle" + start + "2026-03-15", "7.1/medium/nonproduction/days" + start + "2026-05-31"}},
		// §7.4
		{"7.4/critical", sla.Code, finding.Critical, sla.Internal, sla.Production, "2026-03-16", []string{"7.4/critical" + start + "2026-03-16"}},
		{"7.4/high", sla.Code, finding.High, sla.Internal, sla.Production, "2026-04-01", []string{"7.4/high" + start + "2026-04-01"}},
		{"7.4/medium", sla.Code, finding.Medium, sla.Internal, sla.Production, "2026-05-31", []string{"7.4/medium" + start + "2026-05-31"}},
		{"7.4/low", sla.Code, finding.Low, sla.Internal, sla.Production, "2026-03-22", []string{"7.4/low" + start + "2026-03-22"}},
		{"7.4/critical/nonproduction", sla.Code, finding.Critical, sla.Internal, sla.NonProduction, "2026-04-01", []string{"7.1/critical/nonproduction" + start + "2026-04-01"}},
		{"7.4/low/nonproduction", sla.Code, finding.Low, sla.Internet, sla.NonProduction, "2026-03-15", []string{"7.1/low/nonproduction" + start + "2026-03-15"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(c.severity)
			in.Asset = sla.Asset{Class: c.class, Exposure: c.exposure, Environment: c.environment}
			if c.class == sla.Code {
				in.Clock = sla.Clock{Known: monday, Merged: monday}
			}
			v := evaluate(t, shipped(), in, asked)
			if v.Due != c.due || v.State != finding.VerdictOpen || v.ClockStart != "2026-03-02" {
				t.Errorf("got due %s, %s from %s, want %s, open from 2026-03-02", v.Due, v.State, v.ClockStart, c.due)
			}
			expectCandidates(t, v, c.candidates...)
			if v.Rule != v.Candidates[0].Rule {
				t.Errorf("rule %q, want that of the first candidate %q", v.Rule, v.Candidates[0].Rule)
			}
			for _, c := range v.Candidates {
				if c.Why == "" {
					t.Errorf("candidate %s has no why", c.Rule)
				}
			}
		})
	}
}

func TestEveryRowOfBOD2604(t *testing.T) {
	for _, c := range []struct {
		name                string
		kev, exposed        bool
		automatable, impact string
		candidate           string // empty for "at upgrade"
		forensics           bool
	}{
		{"no-kev/not-exposed/auto-no/partial", false, false, "no", "partial", "", false},
		{"no-kev/not-exposed/auto-no/total", false, false, "no", "total", "", false},
		{"no-kev/not-exposed/auto-yes/partial", false, false, "yes", "partial", "~BOD-26-04/no-kev/not-exposed/auto-yes/partial 2026-03-02 2026-05-01", false},
		{"no-kev/not-exposed/auto-yes/total", false, false, "yes", "total", "~BOD-26-04/no-kev/not-exposed/auto-yes/total 2026-03-02 2026-05-01", false},
		{"no-kev/exposed/auto-no/partial", false, true, "no", "partial", "~BOD-26-04/no-kev/exposed/auto-no/partial 2026-03-02 2026-05-01", false},
		{"no-kev/exposed/auto-no/total", false, true, "no", "total", "~BOD-26-04/no-kev/exposed/auto-no/total 2026-03-02 2026-03-16", false},
		{"no-kev/exposed/auto-yes/partial", false, true, "yes", "partial", "~BOD-26-04/no-kev/exposed/auto-yes/partial 2026-03-02 2026-03-16", false},
		{"no-kev/exposed/auto-yes/total", false, true, "yes", "total", "~BOD-26-04/no-kev/exposed/auto-yes/total 2026-03-02 2026-03-05", false},
		{"kev/not-exposed/auto-no/partial", true, false, "no", "partial", "KEV/bod-26-04/not-exposed/auto-no/partial 2026-03-10 2026-03-24", false},
		{"kev/not-exposed/auto-no/total", true, false, "no", "total", "KEV/bod-26-04/not-exposed/auto-no/total 2026-03-10 2026-03-24", false},
		{"kev/not-exposed/auto-yes/partial", true, false, "yes", "partial", "KEV/bod-26-04/not-exposed/auto-yes/partial 2026-03-10 2026-03-24", false},
		{"kev/not-exposed/auto-yes/total", true, false, "yes", "total", "KEV/bod-26-04/not-exposed/auto-yes/total 2026-03-10 2026-03-13", true},
		{"kev/exposed/auto-no/partial", true, true, "no", "partial", "KEV/bod-26-04/exposed/auto-no/partial 2026-03-10 2026-03-24", false},
		{"kev/exposed/auto-no/total", true, true, "no", "total", "KEV/bod-26-04/exposed/auto-no/total 2026-03-10 2026-03-13", true},
		{"kev/exposed/auto-yes/partial", true, true, "yes", "partial", "KEV/bod-26-04/exposed/auto-yes/partial 2026-03-10 2026-03-13", false},
		{"kev/exposed/auto-yes/total", true, true, "yes", "total", "KEV/bod-26-04/exposed/auto-yes/total 2026-03-10 2026-03-13", true},
		// Without both decision points: 3 days if exposed, 14 if not, and no forensics.
		{"kev/exposed/ssvc-unknown", true, true, "", "", "KEV/bod-26-04/exposed/ssvc-unknown 2026-03-10 2026-03-13", false},
		{"kev/not-exposed/ssvc-unknown", true, false, "", "", "KEV/bod-26-04/not-exposed/ssvc-unknown 2026-03-10 2026-03-24", false},
		{"kev/exposed/impact-unknown", true, true, "yes", "", "KEV/bod-26-04/exposed/ssvc-unknown 2026-03-10 2026-03-13", false},
		{"kev/exposed/automatable-unknown", true, true, "", "total", "KEV/bod-26-04/exposed/ssvc-unknown 2026-03-10 2026-03-13", false},
		{"kev/not-exposed/no-word-of-ssvc", true, false, "maybe", "total", "KEV/bod-26-04/not-exposed/ssvc-unknown 2026-03-10 2026-03-24", false},
		{"no-kev/exposed/impact-unknown", false, true, "yes", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A Low without a fix has no date of its own: only CISA's table speaks.
			in := host(finding.Low)
			in.Clock = sla.Clock{Detected: monday, NoFix: true}
			in.Vulnerability.Automatable, in.Vulnerability.Impact = c.automatable, c.impact
			if c.exposed {
				in.Asset.Exposure = sla.Internet
			}
			if c.kev {
				in.Vulnerability.KEVAdded = "2026-03-10"
			}
			v := evaluate(t, shipped(), in, asked)
			var want []string
			if c.candidate != "" {
				want = []string{c.candidate}
			}
			expectCandidates(t, v, want...)
			if v.Forensics != c.forensics {
				t.Errorf("forensics %t, want %t", v.Forensics, c.forensics)
			}
			if c.kev && (v.State != finding.VerdictOpen || v.Rule != v.Candidates[0].Rule) {
				t.Errorf("a KEV row did not bind: %+v", v)
			}
			if !c.kev && (v.State != finding.VerdictAwaitingFix || v.Due != "") {
				t.Errorf("an advisory row bound: %+v", v)
			}
		})
	}
}

func TestBODWithoutKEVByTheSwitch(t *testing.T) {
	in := host(finding.Medium)
	in.Asset.Exposure = sla.Internet
	in.Vulnerability.Automatable, in.Vulnerability.Impact = "yes", "total"
	binding := func(p *sla.Policy) { p.BOD.WithoutKEV = sla.Binding }
	expect(t, evaluate(t, shipped(), in, asked), want{"2026-03-22", "7.1/medium/internet/cycle"})
	expect(t, evaluate(t, shipped(binding), in, asked), want{"2026-03-05", "BOD-26-04/no-kev/exposed/auto-yes/total"})
	v := evaluate(t, shipped(func(p *sla.Policy) { p.BOD.WithoutKEV = sla.Off }), in, asked)
	expectCandidates(t, v, "7.1/medium/internet/cycle 2026-03-02 2026-03-22", "7.1/medium/internet/days 2026-03-02 2026-05-31")
	// A listing does not take away the row that bound before it.
	in.Vulnerability.KEVAdded = "2026-03-10"
	expect(t, evaluate(t, shipped(binding), in, asked), want{"2026-03-05", "BOD-26-04/no-kev/exposed/auto-yes/total"})
}
