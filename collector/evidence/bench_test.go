package evidence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/internal/recordtest"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// BenchmarkVerifyHundredThousand verifies and replays a record of 500 hosts with
// 200 findings each: 100 000 findings, a fifth of them fixed since.
//
//	go test ./collector/evidence -run xxx -bench HundredThousand -benchtime 1x -timeout 30m
func BenchmarkVerifyHundredThousand(b *testing.B) {
	const hosts, flaws = 500, 200
	r := recordtest.New(b)
	r.Begin()
	var list []advisory.Advisory
	for i := range flaws {
		list = append(list, recordtest.Advisory(fmt.Sprint("DSA-", i), fmt.Sprint("CVE-2026-", 1000+i), fmt.Sprint("source-", i), "2.0-1", recordtest.Start.AddDate(0, 0, -i%40)))
	}
	r.Import(recordtest.Snapshot(list...), true)
	// Hosts come in ten kinds, as fleets do.
	packages := func(kind int, fixed bool) []schema.Package {
		out := []schema.Package{recordtest.Deb("kind", fmt.Sprint(kind))}
		for i := range flaws {
			version := "1.0"
			if fixed && i%5 == 0 {
				version = "2.0"
			}
			out = append(out, recordtest.Deb(fmt.Sprint("source-", i), version))
		}
		return out
	}
	for n := range hosts {
		exposure := sla.Internal
		if n%4 == 0 {
			exposure = sla.Internet
		}
		r.Trust(100+n, fmt.Sprint("host-", n), store.Attributes{Exposure: exposure, Environment: sla.Production})
		r.Report(100+n, packages(n%10, false)...)
	}
	r.Assess()
	r.Pass(20 * 24 * time.Hour)
	for n := range hosts {
		r.Report(100+n, packages(n%10, true)...)
	}
	r.Assess()
	r.Sign()
	for b.Loop() {
		at := time.Now()
		must[evidence.Report](b)(evidence.Verifier{Store: r.Store, Key: r.Keys.LogVerifier}.Verify(b.Context()))
		without := time.Since(at)
		rep := r.Verify()
		if !rep.OK || rep.Replayed.Decisions < hosts*flaws {
			b.Fatalf("not ok:\n%s", rep.Summary())
		}
		b.ReportMetric(without.Seconds(), "s/leaves")
		b.ReportMetric((time.Since(at) - without).Seconds(), "s/whole")
		b.ReportMetric(float64(rep.Replayed.Decisions), "decisions")
	}
}
