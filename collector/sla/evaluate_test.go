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

func TestWrongInputIsRefusedAtOnce(t *testing.T) {
	_, err := sla.Evaluate(shipped(), sla.Input{
		Asset:         sla.Asset{Class: "router", Exposure: "dmz", Environment: "staging", SameDigest: []sla.Class{sla.Compute}},
		Vulnerability: sla.Vulnerability{Severity: "urgent", KEVDue: "2026-01-01"},
	}, time.Time{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, words := range []string{
		`class "router"`, `exposure "dmz"`, `environment "staging"`, `class "compute" cannot share`,
		`severity "urgent"`, "KEV due date without", "first detection is missing", "time of asking is missing",
	} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not said in: %v", words, err)
		}
	}
	for name, in := range map[string]sla.Input{
		"code without known":  {Asset: sla.Asset{Class: sla.Code}, Vulnerability: sla.Vulnerability{Severity: finding.Low}, Clock: sla.Clock{Merged: monday}},
		"code without merge":  {Asset: sla.Asset{Class: sla.Code}, Vulnerability: sla.Vulnerability{Severity: finding.Low}, Clock: sla.Clock{Known: monday}},
		"before the calendar": detectedAt(finding.Critical, "1969-06-01T00:00:00Z"),
		"after the calendar":  detectedAt(finding.Critical, "2300-06-01T00:00:00Z"),
		"KEV of another age":  {Asset: host(finding.Low).Asset, Clock: host(finding.Low).Clock, Vulnerability: sla.Vulnerability{Severity: finding.Low, KEVAdded: "9999-12-31"}},
		"a mark of another age": {Asset: host(finding.Low).Asset, Clock: host(finding.Low).Clock, Vulnerability: sla.Vulnerability{
			Severity: finding.Low, ActiveExploitation: instant("9998-01-01T00:00:00Z"),
		}},
		"KEV not a date": {Asset: host(finding.Low).Asset, Clock: host(finding.Low).Clock, Vulnerability: sla.Vulnerability{Severity: finding.Low, KEVAdded: "2026-02-30"}},
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
