package sla_test

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

func BenchmarkEvaluate(b *testing.B) {
	p, _ := policy.Default()
	now := time.Date(2026, 4, 10, 12, 0, 0, 0, time.UTC)
	clock := sla.Clock{
		Available: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC),
		Detected:  time.Date(2026, 3, 5, 9, 0, 0, 0, time.UTC),
	}
	internal := sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production}
	exposed := sla.Asset{Class: sla.Compute, Exposure: sla.UnknownExposure, Environment: sla.UnknownEnvironment, CrownJewel: true}
	for _, c := range []struct {
		name string
		in   sla.Input
	}{
		{"low_internal", sla.Input{Asset: internal, Clock: clock, Vulnerability: sla.Vulnerability{Severity: finding.Low}}},
		{"high_internal", sla.Input{Asset: internal, Clock: clock, Vulnerability: sla.Vulnerability{Severity: finding.High, EPSS: 0.7}}},
		{"critical_exposed_kev", sla.Input{Asset: exposed, Clock: clock, Vulnerability: sla.Vulnerability{
			Severity: finding.Critical, KEVAdded: "2026-03-04", KEVDue: "2026-03-25", Automatable: "yes", Impact: "total",
		}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sla.Evaluate(p, c.in, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
