package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

// estate is how large a drawn estate is.
type estate struct{ assets, findings, advisories, facts int }

// build draws an estate: accounts, services and owners as companies have them,
// some vulnerabilities everywhere, most on few hosts, a third of all running.
func (e estate) build(t testing.TB, path string) *query.Service {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	r := rand.New(rand.NewPCG(1, 2))
	for i := range e.assets {
		service := r.IntN(60)
		a := store.Asset{
			ID: fmt.Sprintf("a-%05d", i), Name: fmt.Sprintf("host-%05d", i), Key: fmt.Sprintf("%064x", i), TrustedAt: now,
			Attributes: store.Attributes{
				OU: fmt.Sprint("ou-", service%12), Account: fmt.Sprint("account-", service%40), Region: []string{"eu-west-1", "eu-central-1", "us-east-1", "ap-south-1"}[r.IntN(4)],
				Service: fmt.Sprint("service-", service), Owner: []string{"", fmt.Sprint("team-", service%31)}[min(r.IntN(10), 1)],
				Class: sla.Compute, Exposure: []sla.Exposure{sla.Internal, sla.Internal, sla.Internet, sla.UnknownExposure}[r.IntN(4)],
				Environment: []sla.Environment{sla.Production, sla.NonProduction, sla.UnknownEnvironment}[r.IntN(3)], CrownJewel: service < 3,
			},
		}
		if _, err := st.TrustKey(t.Context(), a, leaf(t, "trust")); err != nil {
			t.Fatal(err)
		}
	}
	e.feeds(t, st)
	each := e.findings / e.assets
	for {
		marks, err := st.DirtyAssets(t.Context(), 32)
		if err != nil {
			t.Fatal(err)
		}
		if len(marks) == 0 {
			break
		}
		var as []store.Assessment
		for _, m := range marks {
			a := store.Assessment{Mark: m, At: now, Covered: true}
			for n := range each {
				a.Changed = append(a.Changed, scaled(r, m.Asset, n))
			}
			as = append(as, a)
		}
		l := leaf(t, "assessment")
		if _, err := st.ApplyAssessments(t.Context(), as, &l); err != nil {
			t.Fatal(err)
		}
	}
	return &query.Service{Store: st, Now: func() time.Time { return now }}
}

func (e estate) feeds(t testing.TB, st *sqlstore.Store) {
	t.Helper()
	osv := advisory.Batch{Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: "d"}
	for i := range e.advisories {
		osv.Advisories = append(osv.Advisories, advisory.Advisory{
			ID: fmt.Sprint("DSA-", i), Feed: osv.Feed.Name, Issued: now, Rating: "High", Vulnerabilities: []string{fmt.Sprint("CVE-2026-", i)},
			Affected: []advisory.Affected{{Release: debian12, Format: schema.FormatDeb, Name: "openssl", Ranges: []advisory.Range{{Introduced: "0", Fixed: "2"}}}},
		})
	}
	epss := advisory.Batch{Feed: advisory.Feed{Name: "epss", Kind: "epss"}, Snapshot: true, Digest: "e"}
	for i := range e.facts {
		epss.Facts = append(epss.Facts, advisory.Facts{Vulnerability: fmt.Sprint("CVE-2026-", i), EPSS: &advisory.EPSS{Score: 0.1}})
	}
	for _, b := range []advisory.Batch{osv, epss} {
		if _, err := st.ApplyBatch(t.Context(), b, now, leaf(t, "feed")); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// scaled is the n-th finding of a drawn asset.
func scaled(r *rand.Rand, asset string, n int) finding.Finding {
	vuln := n // the first twenty are everywhere
	if n >= 20 {
		vuln = 20 + n*100 + r.IntN(100)
	}
	f := aFinding(vuln, []finding.Severity{finding.Critical, finding.High, finding.High, finding.Medium, finding.Medium, finding.Medium, finding.Low}[r.IntN(7)],
		[]finding.State{finding.Open, finding.Open, finding.PendingReboot, finding.Fixed, finding.Fixed, finding.Fixed, finding.Fixed, finding.NotAffected}[r.IntN(8)],
		r.IntN(180)-40, vuln%97 == 0)
	f.Asset, f.Component = asset, []string{"openssl", "linux", "curl", "glibc", "systemd", "nginx"}[vuln%6]
	f.ID = finding.ID(asset, f.Vulnerability, f.Component)
	f.Verdict.Priority, f.Verdict.Arrival = fmt.Sprint("P", r.IntN(5)), r.IntN(20) == 0
	return f
}

// question is one that people ask, and how long they may wait.
type question struct {
	name  string
	limit time.Duration
	ask   func(context.Context, *query.Service) error
}

func questions() []question {
	list := func(f query.Filter) func(context.Context, *query.Service) error {
		f.Limit = 100
		return func(ctx context.Context, s *query.Service) error { _, err := s.Findings(ctx, f); return err }
	}
	summary := func(f query.Filter, by string) func(context.Context, *query.Service) error {
		return func(ctx context.Context, s *query.Service) error { _, err := s.Summary(ctx, f, by); return err }
	}
	no := false
	qs := []question{
		{"summary", 150 * time.Millisecond, summary(query.Filter{}, "")},
		{"list", 100 * time.Millisecond, list(query.Filter{OpenOnly: true})},
		{"list critical of one owner", 100 * time.Millisecond, list(query.Filter{OpenOnly: true, Severity: []string{"critical"}, Owner: []string{"team-7"}})},
		{"list of one service", 100 * time.Millisecond, list(query.Filter{OpenOnly: true, Service: []string{"service-5"}})},
		{"list unowned", 100 * time.Millisecond, list(query.Filter{Unowned: true, OpenOnly: true})},
		{"list overdue in production", 100 * time.Millisecond, list(query.Filter{Overdue: true, Environment: []string{"production"}})},
		{"list fixed", 100 * time.Millisecond, list(query.Filter{State: []string{"fixed"}})},
		{"list P0 not KEV", 100 * time.Millisecond, list(query.Filter{Priority: []string{"P0"}, KEV: &no, OpenOnly: true})},
		{"list of a component", 100 * time.Millisecond, list(query.Filter{Component: []string{"nginx"}, OpenOnly: true})},
		{"list of a package", 100 * time.Millisecond, list(query.Filter{Package: []string{"libssl3"}, OpenOnly: true})},
		{"list of an asset", 100 * time.Millisecond, list(query.Filter{Asset: []string{"a-00007"}, OpenOnly: true})},
		{"vulnerability everywhere", 100 * time.Millisecond, func(ctx context.Context, s *query.Service) error {
			_, err := s.Vulnerability(ctx, "CVE-2026-7")
			return err
		}},
		{"vulnerability on few", 100 * time.Millisecond, func(ctx context.Context, s *query.Service) error {
			_, err := s.Vulnerability(ctx, "CVE-2026-4242")
			return err
		}},
	}
	for _, v := range query.Views {
		qs = append(qs, question{"view " + v.Name, 100 * time.Millisecond, list(query.Filter{View: v.Name})})
	}
	for _, by := range query.Groupings {
		qs = append(qs, question{"summary by " + by, 150 * time.Millisecond, summary(query.Filter{}, by)})
	}
	return qs
}

// TestScale asks an estate of PATCHPROOF_SCALE (as "10000x1000000": assets and
// findings; make bench-scale) and holds the answers against what people may wait;
// without it a small one, and only against waits nobody should ever see.
func TestScale(t *testing.T) {
	e, slack, rounds := estate{assets: 500, findings: 50_000, advisories: 500, facts: 1000}, 20, 3
	path := filepath.Join(t.TempDir(), "x.db")
	if scale := os.Getenv("PATCHPROOF_SCALE"); scale != "" {
		e, slack, rounds = estate{advisories: 20_000, facts: 100_000}, 1, 100
		if _, err := fmt.Sscanf(scale, "%dx%d", &e.assets, &e.findings); err != nil {
			t.Fatalf("PATCHPROOF_SCALE %q: %v", scale, err)
		}
	} else if testing.Short() {
		t.Skip("builds 50 000 findings")
	}
	start := time.Now()
	s := e.build(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d assets, %d findings: built in %s, %d MiB", e.assets, e.findings, time.Since(start).Round(time.Second), info.Size()>>20)
	for _, q := range questions() {
		took := make([]time.Duration, rounds)
		for i := range took {
			begin := time.Now()
			if err := q.ask(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		p99 := took[(len(took)*99-1)/100]
		t.Logf("%-28s p50 %8s  p99 %8s  (limit %s)", q.name, took[len(took)/2].Round(100*time.Microsecond), p99.Round(100*time.Microsecond), q.limit)
		if limit := q.limit * time.Duration(slack); p99 > limit {
			t.Errorf("%s took %s at the 99th percentile, want at most %s", q.name, p99, limit)
		}
	}
}
