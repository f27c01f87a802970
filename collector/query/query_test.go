package query_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

var (
	now      = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)
	debian12 = inventory.Release{Distro: "debian", Version: "12"}
)

type fixture struct {
	st *sqlstore.Store
	q  *query.Service
}

func leaf(t testing.TB, kind string) store.Leaf {
	t.Helper()
	l, err := evidence.LeafFor(kind, now, map[string]string{"kind": kind})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newFixture is an estate of one reporting asset, one advisory and no findings yet.
func newFixture(t testing.TB, dir string) *fixture {
	t.Helper()
	st := sqltest.OpenAt(t, filepath.Join(dir, "store.db"))
	if _, err := st.TrustKey(t.Context(), store.Asset{ID: "a-1", Name: "web-1", Key: realKey, TrustedAt: now}, leaf(t, "trust")); err != nil {
		t.Fatal(err)
	}
	part := schema.NewPart(schema.PartPackages, "")
	_, err := st.AcceptReport(t.Context(), store.Report{
		ID: reportID, Asset: "a-1", Key: realKey, Sequence: 1, CollectedAt: now, ReceivedAt: now, Release: debian12,
		SetDigest: part.Digest, Complete: true, Raw: []byte("raw"), Road: "test",
		Statement: schema.Report{Sequence: 1, Parts: []schema.Part{part}, Host: schema.Host{Hostname: "web-1"}}, PartsTexts: map[string]string{part.Digest: ""},
	}, leaf(t, "report"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.ApplyBatch(t.Context(), advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: "d1", Releases: []inventory.Release{debian12},
		Advisories: []advisory.Advisory{{
			ID: "DSA-1", Feed: "osv:Debian:12", Issued: now.AddDate(0, 0, -40), IssuedKind: advisory.DateAdvisory, Rating: "High",
			Summary: "openssl", Vulnerabilities: []string{"CVE-2026-1"},
			Affected: []advisory.Affected{{
				Release: debian12, Format: schema.FormatDeb, Name: "openssl", Kind: advisory.NameSource,
				Ranges: []advisory.Range{{Introduced: "0", Fixed: "3.0.14-1"}},
			}},
		}},
	}, now, leaf(t, "feed"))
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{st: st, q: &query.Service{Store: st, Now: func() time.Time { return now }}}
}

const (
	// realKey is the public half of RFC 8032's first test vector.
	realKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)

var reportID = strings.Repeat("0", 64)

// put records findings of the asset.
func (f *fixture) put(t testing.TB, fs ...finding.Finding) {
	t.Helper()
	if err := f.st.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks, err := f.st.DirtyAssets(t.Context(), 1)
	if err != nil || len(marks) != 1 {
		t.Fatalf("got marks %v, %v, want one", marks, err)
	}
	l := leaf(t, "assessment")
	if _, err := f.st.ApplyAssessments(t.Context(), []store.Assessment{{Mark: marks[0], At: now, AssessedSequence: 1, Covered: true, Changed: fs}}, &l); err != nil {
		t.Fatal(err)
	}
}

// aFinding is due some days from now; closed when state says so.
func aFinding(n int, sev finding.Severity, state finding.State, days int, kev bool) finding.Finding {
	vuln := fmt.Sprintf("CVE-2026-%d", n)
	due := now.AddDate(0, 0, days)
	f := finding.Finding{
		ID: finding.ID("a-1", vuln, "openssl"), Asset: "a-1", Vulnerability: vuln, Component: "openssl", State: state,
		Detected: now.AddDate(0, 0, -1), DetectedReport: reportID, SeenReport: reportID, SeenAt: now, Severity: sev,
		SeveritySource: "vendor rating", KEV: kev, Available: now.AddDate(0, 0, -40), AvailableKind: advisory.DateAdvisory, AvailableAdvisory: "DSA-1",
		Packages: []finding.Comparison{
			{Package: "libssl3", Format: schema.FormatDeb, Arch: "amd64", Installed: "3.0.11-1", Advisory: "DSA-1", Feed: "osv:Debian:12", Fixed: "3.0.14-1"},
		},
		Verdict: finding.Verdict{
			ClockStart: "2026-05-01", Due: finding.Date(due.Format(time.DateOnly)), DueAt: due, Rule: "7.1/high/internet", State: "open",
			Cycle: "in_cycle", Priority: "P2", Candidates: []finding.Candidate{{Rule: "7.1/high/internet", Due: "2026-06-01", Why: "30 days"}}, Policy: "p", TZData: "t",
		},
	}
	if !state.Running() {
		f.Closed, f.ClosedReport, f.Reason = now, reportID, "libssl3 3.0.11-1 replaced by 3.0.14-1"
	}
	return f
}

func TestOverdueFollowsFromTheTimeOfAsking(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.put(t, aFinding(1, finding.High, finding.Open, 2, false))
	for _, c := range []struct {
		days    int
		overdue bool
		left    int
	}{{0, false, 2}, {1, false, 1}, {2, true, 0}, {5, true, -3}} {
		f.q.Now = func() time.Time { return now.AddDate(0, 0, c.days) }
		l, err := f.q.Findings(t.Context(), query.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		got := l.Findings[0]
		if got.Overdue != c.overdue || got.DaysLeft != c.left {
			t.Errorf("after %d days: got overdue %t with %d left, want %t, %d", c.days, got.Overdue, got.DaysLeft, c.overdue, c.left)
		}
		o, err := f.q.Findings(t.Context(), query.Filter{Overdue: true})
		if err != nil {
			t.Fatal(err)
		}
		if (len(o.Findings) == 1) != c.overdue {
			t.Errorf("after %d days: the overdue filter gives %d rows, want overdue %t", c.days, len(o.Findings), c.overdue)
		}
	}
}

func TestPagesTogetherAreTheWhole(t *testing.T) {
	f := newFixture(t, t.TempDir())
	for i := range 7 {
		f.put(t, aFinding(i, finding.Medium, finding.Open, i, false))
	}
	var got []string
	after := ""
	for {
		p, err := f.q.Findings(t.Context(), query.Filter{Limit: 3, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Findings {
			got = append(got, r.Vulnerability)
		}
		if after = p.Next; after == "" {
			break
		}
	}
	want := "CVE-2026-0 CVE-2026-1 CVE-2026-2 CVE-2026-3 CVE-2026-4 CVE-2026-5 CVE-2026-6"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want every finding once, by due date", got)
	}
}

func TestSummarySumsToThePopulation(t *testing.T) {
	f := newFixture(t, t.TempDir())
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		fd := aFinding(
			n,
			rapid.SampledFrom([]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}).Draw(rt, "severity"),
			rapid.SampledFrom([]finding.State{finding.Open, finding.PendingReboot, finding.Fixed, finding.NotAffected}).Draw(rt, "state"),
			rapid.IntRange(-100, 100).Draw(rt, "days"), rapid.Bool().Draw(rt, "kev"))
		if rapid.Bool().Draw(rt, "awaits") {
			fd.Verdict.Due, fd.Verdict.DueAt = "", time.Time{}
		}
		f.put(t, fd)
		s, err := f.q.Summary(t.Context(), query.Filter{}, "")
		if err != nil {
			rt.Fatal(err)
		}
		c := s.Findings
		if c.Within+c.Overdue+c.AwaitingFix != c.Running || c.Running+c.Fixed+c.NotAffected != c.Total || c.Total != n {
			rt.Fatalf("got %+v of %d findings: the columns do not sum", c, n)
		}
		sum := 0
		for _, r := range s.BySeverity {
			sum += r.Running
			if r.Within+r.Overdue+r.AwaitingFix != r.Running {
				rt.Fatalf("got row %+v: it does not sum", r)
			}
		}
		if sum != c.Running {
			rt.Fatalf("got %d running by severity, want %d", sum, c.Running)
		}
	})
}

func TestExplainTellsTheStory(t *testing.T) {
	f := newFixture(t, t.TempDir())
	fd := aFinding(1, finding.High, finding.Open, -9, true)
	f.put(t, fd)
	e, err := f.q.Explain(t.Context(), fd.ID)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(e.Story, "\n")
	for _, want := range []string{
		"CVE-2026-1 affects openssl 3.0.11-1 on web-1; fixed in 3.0.14-1.", "known exploited", "2026-05-01 (advisory date of DSA-1)",
		"by rule 7.1/high/internet: 30 days", "overdue by 9 days",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the story lacks %q:\n%s", want, text)
		}
	}
	if e.Proof.Detected == nil || e.Proof.Detected.ID != reportID || len(e.Sources) != 1 || e.Sources[0].Snapshot != "d1" {
		t.Errorf("got proof %+v, sources %+v", e.Proof, e.Sources)
	}
	if e.Policy != "" || len(e.Feeds) != 1 {
		t.Errorf("got policy %q and %d feeds, want none and one", e.Policy, len(e.Feeds))
	}
}

func TestVulnerabilityShowsFixesWithoutAnyFinding(t *testing.T) {
	f := newFixture(t, t.TempDir())
	v, err := f.q.Vulnerability(t.Context(), "CVE-2026-1")
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Fixes) != 1 || v.Fixes[0].Fixed != "3.0.14-1" || v.Fixes[0].Release != "debian:12" || len(v.Findings) != 0 {
		t.Errorf("got %+v", v)
	}
	if _, err := f.q.Vulnerability(t.Context(), "CVE-1999-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound for a name no feed knows", err)
	}
}

func TestSilentAndUncoveredAssetsAreCounted(t *testing.T) {
	f := newFixture(t, t.TempDir())
	if _, err := f.st.TrustKey(t.Context(), store.Asset{ID: "a-2", Name: "db-1", Key: strings.Repeat("3d", 32), TrustedAt: now}, leaf(t, "trust")); err != nil {
		t.Fatal(err)
	}
	f.q.Now = func() time.Time { return now.AddDate(0, 0, 3) }
	s, err := f.q.Summary(t.Context(), query.Filter{}, "")
	if err != nil {
		t.Fatal(err)
	}
	a := s.Assets
	if a.Total != 2 || a.Silent != 1 || a.NeverReported != 1 || a.Reporting != 0 || a.Uncovered != 1 {
		t.Errorf("got %+v, want one silent and uncovered (not assessed yet), one that never reported", a)
	}
}
