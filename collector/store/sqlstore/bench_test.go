package sqlstore_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var (
	at       = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	aLeaf    = store.Leaf{Kind: "k", At: at, Body: []byte(strings.Repeat("x", 600))}
	debian12 = inventory.Release{Distro: "debian", Version: "12"}
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func trustHost(b testing.TB, s store.Store, id string) {
	b.Helper()
	if _, err := s.TrustKey(b.Context(), store.Asset{ID: id, Name: id, Key: digest(id)}, aLeaf); err != nil {
		b.Fatal(err)
	}
}

// bigReport is one of a host with 700 packages, of which one changed.
func bigReport(asset string, seq uint64) store.Report {
	var text strings.Builder
	for i := range 700 {
		version := uint64(0)
		if i == 350 {
			version = seq
		}
		fmt.Fprintf(&text, "deb\tpackage-%04d\t0\t1.%d.%d\t1\tamd64\tsource-%04d\t1.%d\tDebian\t\t1700000000\tinstalled\n", i, version, i, i, i)
	}
	d := digest(text.String())
	raw := make([]byte, 16<<10) // what 700 packages seal to
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	return store.Report{
		ID: digest(asset + fmt.Sprint(seq)), Asset: asset, Key: digest(asset), Sequence: seq, CollectedAt: at, ReceivedAt: at,
		Release: debian12, SetDigest: d, Complete: true, Road: "nats", Raw: raw,
		Statement: schema.Report{
			Sequence: seq, TransportKey: "U", Host: schema.Host{Hostname: asset},
			Parts: []schema.Part{{Name: schema.PartPackages, Digest: d, Size: int64(text.Len()), Count: 700}},
		},
		PartsTexts: map[string]string{d: text.String()},
	}
}

func BenchmarkAcceptReport700Packages(b *testing.B) {
	s := open(b)
	trustHost(b, s, "A1")
	seq := uint64(0)
	for b.Loop() {
		seq++
		b.StopTimer()
		r := bigReport("A1", seq)
		b.StartTimer()
		if _, err := s.AcceptReport(b.Context(), r, aLeaf); err != nil {
			b.Fatal(err)
		}
	}
}

func aFinding(asset, vulnerability string, n int) finding.Finding {
	return finding.Finding{
		ID: finding.ID(asset, vulnerability, "src"), Asset: asset, Vulnerability: vulnerability, Component: "src",
		State:    []finding.State{finding.Open, finding.Open, finding.Open, finding.PendingReboot, finding.Fixed}[n%5],
		Packages: []finding.Comparison{{Package: "bin", Arch: "amd64", Installed: "1.0-1", Advisory: "DSA-1", Feed: "osv:Debian", Fixed: "1.0-2"}},
		Detected: at, SeenAt: at, Severity: []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}[n%4],
		SeveritySource: "vendor rating Important", KEV: n%50 == 0,
		Verdict: finding.Verdict{
			ClockStart: "2026-03-02", Due: "2026-04-01", DueAt: at.Add(time.Duration(n%90) * 24 * time.Hour), Rule: "7.1/compute/high/internal",
			State: finding.VerdictOpen, Cycle: "in_cycle", Priority: fmt.Sprint("P", n%5), PriorityWhy: []string{"severity high: 3", "exposed: +1"},
			Candidates: []finding.Candidate{
				{Rule: "7.1/compute/high/internal", Start: "2026-03-02", Due: "2026-04-01", Why: "30 days from vendor availability"},
				{Rule: "bod-26-04/no-kev", Start: "2026-03-02", Due: "2026-05-01", Why: "60 days, not exposed", Advisory: true},
			},
			Policy: digest("policy"), TZData: "2026a",
		},
	}
}

// fill records n findings of one host under its present mark.
func fill(b testing.TB, s store.Store, asset string, n int) {
	b.Helper()
	if err := s.MarkAll(b.Context()); err != nil {
		b.Fatal(err)
	}
	marks, err := s.DirtyAssets(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range marks {
		if m.Asset != asset {
			continue
		}
		as := store.Assessment{Mark: m, At: at}
		for i := range n {
			as.Changed = append(as.Changed, aFinding(asset, fmt.Sprintf("CVE-2026-%d", i), i))
		}
		l := aLeaf
		if _, err := s.ApplyAssessments(b.Context(), []store.Assessment{as}, &l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyAssessments1000Findings(b *testing.B) {
	s := open(b)
	trustHost(b, s, "A1")
	for b.Loop() {
		fill(b, s, "A1", 1000)
	}
}

func BenchmarkListFindingsFirstPageOf100k(b *testing.B) {
	s := open(b)
	for i := range 100 {
		id := fmt.Sprint("A", i)
		trustHost(b, s, id)
		fill(b, s, id, 1000)
	}
	yes := true
	for name, q := range map[string]store.FindingQuery{
		"all":      {Limit: 50},
		"critical": {Limit: 50, Severity: []finding.Severity{finding.Critical}, OpenOnly: true},
		"kev":      {Limit: 50, KEV: &yes},
		"asset":    {Limit: 50, AssetQuery: store.AssetQuery{Asset: []string{"A50"}}},
		"overdue":  {Limit: 50, OverdueAt: at.Add(24 * time.Hour)},
		"cve":      {Limit: 50, Vulnerability: []string{"CVE-2026-500"}},
		"deep":     {Limit: 50, After: finding.ID("A50", "CVE-2026-500", "src")},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.ListFindings(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// tracker makes a feed of one advisory a vulnerability, as Debian's tracker is.
func tracker(n int) advisory.Batch {
	b := advisory.Batch{Feed: advisory.Feed{Name: "osv:Debian", Kind: "osv"}, Snapshot: true, Digest: "d", Releases: []inventory.Release{debian12}}
	for i := range n {
		id := fmt.Sprintf("DEBIAN-CVE-2026-%d", i)
		a := advisory.Advisory{ID: id, Feed: b.Feed.Name, Modified: at, Vulnerabilities: []string{id[7:]}}
		for _, v := range []string{"11", "12", "13", "14"} {
			a.Affected = append(a.Affected, advisory.Affected{
				Release: inventory.Release{Distro: "debian", Version: v}, Format: schema.FormatDeb, Name: fmt.Sprint("source-", i%4000),
				Kind: advisory.NameSource, Ranges: []advisory.Range{{Introduced: "0", Fixed: fmt.Sprintf("1.%d-%s", i, v)}},
			})
		}
		b.Advisories = append(b.Advisories, a)
	}
	return b
}

func BenchmarkTracker60000(b *testing.B) {
	batch := tracker(60_000)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			applyTo(b, open(b), batch)
		}
	})
	s := open(b)
	applyTo(b, s, batch)
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			applyTo(b, s, batch)
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if list, err := s.AdvisoriesFor(b.Context(), debian12); err != nil || len(list) != 60_000 {
				b.Fatal(len(list), err)
			}
		}
	})
}

func applyTo(b *testing.B, s store.Store, batch advisory.Batch) {
	b.Helper()
	if _, err := s.ApplyBatch(b.Context(), batch, at, aLeaf); err != nil {
		b.Fatal(err)
	}
}
