package sla_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

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

func TestRelease(t *testing.T) {
	now := instant("2026-03-02T12:00:00Z")
	clean := sla.GateInput{Image: "sha256:aa", Feed: "bb", FeedAsOf: now.Add(-24 * 60 * 60 * 1e9), KnownDistribution: true}
	with := func(f func(*sla.GateInput)) sla.GateInput { in := clean; f(&in); return in }
	remains := func(f sla.GateFinding) sla.GateInput {
		f.Vulnerability = "CVE-2026-1"
		return with(func(in *sla.GateInput) { in.Remaining = []sla.GateFinding{f} })
	}
	accepted := []sla.Exception{{ID: "X", From: now.Add(-1), Until: "2026-03-02"}}
	ended := []sla.Exception{{ID: "X", From: now.Add(-1), Until: "2026-03-01"}}
	for _, c := range []struct {
		name    string
		in      sla.GateInput
		reasons []string
	}{
		{"clean", clean, nil},
		{"critical", remains(sla.GateFinding{Severity: finding.Critical}), []string{"CVE-2026-1 remains (critical)"}},
		{"high", remains(sla.GateFinding{Severity: finding.High}), []string{"CVE-2026-1 remains (high)"}},
		{"medium", remains(sla.GateFinding{Severity: finding.Medium}), []string{"CVE-2026-1 remains (medium)"}},
		{"low_passes", remains(sla.GateFinding{Severity: finding.Low}), nil},
		{"a_new_KEV_entry_revokes", remains(sla.GateFinding{Severity: finding.Low, Exploited: true}), []string{"CVE-2026-1 remains (low, exploited)"}},
		{"vex_not_affected_passes", remains(sla.GateFinding{Severity: finding.Critical, NotAffected: true}), nil},
		{"exception_in_force_passes", remains(sla.GateFinding{Severity: finding.Critical, Exceptions: accepted}), nil},
		{"exception_ended", remains(sla.GateFinding{Severity: finding.Critical, Exceptions: ended}), []string{"CVE-2026-1 remains (critical)"}},
		{"severity_nobody_knows", remains(sla.GateFinding{Severity: "odd"}), []string{"CVE-2026-1 remains (odd)"}},
		{"scan_error", with(func(in *sla.GateInput) { in.ScanError = "layer 3" }), []string{"scan error: layer 3"}},
		{"unknown_distribution", with(func(in *sla.GateInput) { in.KnownDistribution = false }), []string{"unknown distribution"}},
		{"feed_too_old", with(func(in *sla.GateInput) { in.FeedAsOf = in.FeedAsOf.Add(-1) }), []string{"the feed is older than 24h0m0s"}},
		{"feed_of_the_future", with(func(in *sla.GateInput) { in.FeedAsOf = now.Add(1) }), []string{"the feed's date lies in the future"}},
		{"no_feed", sla.GateInput{Image: "sha256:aa", ScanError: "x"}, []string{"no feed was read", "scan error: x", "unknown distribution"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := sla.Release(shipped(), c.in, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.reasons, d.Reasons); diff != "" || d.Releasable != (len(c.reasons) == 0) {
				t.Errorf("releasable %t, reasons (-want +got):\n%s", d.Releasable, diff)
			}
			if d.Releasable && !d.Expires.Equal(instant("2026-03-09T12:00:00Z")) || !d.Releasable && !d.Expires.IsZero() {
				t.Errorf("expires %s", d.Expires)
			}
		})
	}
	if _, err := sla.Release(shipped(), sla.GateInput{}, now); err == nil {
		t.Error("a decision bound to no image")
	}
}
