package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// story is a company's collector with one host, told day by day: sealed reports
// go through the door, documents through the importer, people's acts through the
// services that carry them out, and a clock is moved. What the lists of findings
// and assets say after each day is one line of its timeline.
type story struct {
	*testing.T
	clock    time.Time
	store    *sqlstore.Store
	keys     *trust.Keys
	log      *evidence.Log
	door     *ingest.Door
	assessor *assess.Assessor
	estate   *estate.Service
	importer *feed.Importer
	standard *standard.Keeper
	query    *query.Service

	host     *natstest.Host
	asset    string
	sequence uint64
	previous string
	timeline []string
}

// opens starts a collector on a day, with the shipped policy and one trusted host.
func opens(t *testing.T, day string, at store.Attributes) *story {
	t.Helper()
	dir := t.TempDir()
	s := &story{T: t, host: natstest.NewHost(t, 1)}
	s.on(day)
	now, quiet := func() time.Time { return s.clock }, slog.New(slog.DiscardHandler)
	var err error
	s.keys = must(trust.OpenKeys(filepath.Join(dir, "keys")))(t)
	s.store = must(sqlstore.Open(t.Context(), filepath.Join(dir, "collector.db")))(t)
	t.Cleanup(func() { _ = s.store.Close() })
	s.log = must(evidence.OpenLog(t.Context(), evidence.Options{
		Store: s.store, Signer: s.keys.Log, Verifier: s.keys.LogVerifier, HeadFile: filepath.Join(dir, "head"), Now: now,
	}))(t)
	s.door = ingest.NewDoor(ingest.Options{
		Store: s.store, ReceiptKey: s.keys.Receipt, LogOrigin: s.log.Origin(), LogEpoch: s.log.Epoch(), Now: now, Log: quiet,
		Accepted: func() {}, Count: func(string, string) {}, Publish: func(string, string, []byte) error { return nil },
	})
	s.estate = &estate.Service{Store: s.store, Now: now, Log: quiet}
	s.assessor = assess.New(s.store, now, quiet)
	s.assessor.Classify = s.estate.Refresh
	s.importer = &feed.Importer{Store: s.store, Now: now, Log: quiet}
	s.standard = &standard.Keeper{Store: s.store, Now: now}
	s.query = &query.Service{Store: s.store, Now: now}
	_, src := policy.Default()
	s.apply(src)
	trusted, err := s.door.Trust(t.Context(), ingest.TrustRequest{Key: schema.KeyID(s.host.Public()), Name: "host", Attributes: at, By: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	s.asset = trusted.Asset.ID
	return s
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// on moves the clock to 09:00 UTC of a day.
func (s *story) on(day string) {
	s.Helper()
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		s.Fatal(err)
	}
	s.clock = d.Add(9 * time.Hour)
}

// day tells one day: what is done, and how everything stands after it.
func (s *story) day(day, what string, do ...func()) {
	s.Helper()
	s.on(day)
	for _, f := range do {
		f()
	}
	if _, err := s.assessor.Drain(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.timeline = append(s.timeline, day+" "+what+" | "+s.stands())
}

// stands is what the lists say: the asset when it is not just reporting, and each
// episode.
func (s *story) stands() string {
	s.Helper()
	var out []string
	as := must(s.query.Assets(s.Context()))(s.T)
	for _, a := range as.Assets {
		if a.Presence != query.Reporting && a.Presence != query.Silent {
			out = append(out, strings.ToUpper(string(a.Presence)))
		}
	}
	l := must(s.query.Findings(s.Context(), query.Filter{Sort: []string{"detected"}}))(s.T)
	for i := range l.Findings {
		f := &l.Findings[i]
		words := []string{string(f.Severity), string(f.State), "due", string(f.Due), string(f.Outcome)}
		if f.Final {
			words = append(words, "final")
		}
		for _, w := range []struct {
			is   bool
			flag finding.Flag
		}{{f.Arrival, finding.FlagArrival}, {f.Regression, finding.FlagRegression}, {f.OnTimeClaimed, finding.FlagOnTimeClaimed}, {f.TargetMissed, finding.FlagTargetMissed}} {
			if w.is {
				words = append(words, string(w.flag))
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	for _, a := range must(s.store.Approvals(s.Context()))(s.T) {
		if a.State == store.ApprovalPending {
			what := a.What
			if a.Cause == finding.CausePolicy {
				what = "the looser policy" // what names its digest
			}
			out = append(out, a.RequestedBy+" waits for approval: "+what)
		}
	}
	return strings.Join(out, "; ")
}

// ends holds the timeline against what it has to be, the summary against the
// lists, and the evidence of it all against what was signed.
func (s *story) ends(want string) {
	s.Helper()
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), s.timeline); diff != "" {
		s.Errorf("timeline (-want +told):\n%s\ntold:\n%s", diff, strings.Join(s.timeline, "\n"))
	}
	l := must(s.query.Findings(s.Context(), query.Filter{}))(s.T)
	for _, by := range query.Groupings {
		sum := must(s.query.Summary(s.Context(), query.Filter{}, by))(s.T)
		total := 0
		for _, r := range sum.Rows {
			total += r.Total
		}
		if total != len(l.Findings) || sum.Findings.Total != total {
			s.Errorf("by %s: the rows sum to %d, the whole is %d of %d findings", by, total, sum.Findings.Total, len(l.Findings))
		}
	}
	if _, err := s.log.Integrate(s.Context()); err != nil {
		s.Fatal(err)
	}
	r := must(evidence.Verify(s.Context(), s.store, s.keys.LogVerifier))(s.T)
	if len(r.Problems) > 0 {
		s.Errorf("the evidence does not hold: %+v", r.Problems)
	}
}

// reports seals and delivers the host's next report with one version of openssl.
func (s *story) reports(version string) func() {
	return func() {
		s.Helper()
		s.sequence++
		r := s.host.Report(s.T, s.sequence, natstest.Package("openssl", version))
		r.CollectedAt, r.Previous = s.clock.Add(-time.Minute), s.previous
		raw, id := s.host.Seal(s.T, r)
		s.previous = id
		if _, err := s.door.Accept(s.Context(), ingest.Delivery{Raw: raw, Road: "nats", TransportKey: s.host.TransportKey()}); err != nil {
			s.Fatal(err)
		}
	}
}

const vulnerable, patched = "3.0.11", "3.0.14"

// publishes imports the vendor's advisory, issued on a day, with a rating.
func (s *story) publishes(issued, rating string) func() {
	return func() {
		s.Helper()
		at := must(time.Parse(time.DateOnly, issued))(s.T)
		debian := inventory.Release{Distro: "debian", Version: "12"}
		s.imports(advisory.Batch{
			Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: fmt.Sprintf("%x", s.clock.UnixNano()),
			Published: s.clock, Releases: []inventory.Release{debian},
			Advisories: []advisory.Advisory{{
				ID: "DSA-1", Feed: "osv:Debian:12", Issued: at, IssuedKind: advisory.DateAdvisory, Modified: s.clock, Rating: rating,
				Vulnerabilities: []string{"CVE-2026-0001"},
				Affected: []advisory.Affected{{
					Release: debian, Format: schema.FormatDeb, Name: "openssl", Kind: advisory.NameSource,
					Ranges: []advisory.Range{{Introduced: "0", Fixed: patched + "-1"}},
				}},
			}},
		})
	}
}

// lists imports CISA's list with the vulnerability on it.
func (s *story) lists(added, due string) func() {
	return func() {
		s.Helper()
		s.imports(advisory.Batch{
			Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "kev " + added, Published: s.clock,
			Facts: []advisory.Facts{{Vulnerability: "CVE-2026-0001", KEV: &advisory.KEV{Added: added, Due: due}}},
		})
	}
}

func (s *story) imports(b advisory.Batch) {
	s.Helper()
	if o := must(s.importer.Import(s.Context(), b, false))(s.T); o.Result != feed.Applied {
		s.Fatalf("import of %s: %+v", b.Feed.Name, o)
	}
}

// apply puts a policy in force.
func (s *story) apply(src []byte) {
	s.Helper()
	if _, err := s.standard.Apply(s.Context(), standard.Request{Source: src, AcceptLooser: true}, "ada"); err != nil {
		s.Fatal(err)
	}
}

// changes edits a cell of the shipped policy.
func (s *story) changes(from, to string) func() {
	return func() {
		s.Helper()
		_, src := policy.Default()
		if !strings.Contains(string(src), from) {
			s.Fatalf("the shipped policy does not say %q", from)
		}
		s.apply([]byte(strings.Replace(string(src), from, to, 1)))
	}
}

// approves grants the one request that waits, as somebody else than who asked.
func (s *story) approves() {
	s.Helper()
	all := must(s.store.Approvals(s.Context()))(s.T)
	i := slices.IndexFunc(all, func(a store.Approval) bool { return a.State == store.ApprovalPending })
	if i < 0 {
		s.Fatalf("nothing waits for approval: %+v", all)
	}
	for _, by := range []string{all[i].RequestedBy, "bob"} {
		a := all[i]
		a.State, a.DecidedBy, a.DecidedAt, a.Reason = store.ApprovalGranted, by, s.clock, "agreed"
		leaf := must(evidence.ApprovalLeaf(a))(s.T)
		_, err := s.store.DecideApproval(s.Context(), a, leaf)
		if own := by == a.RequestedBy; own != errors.Is(err, store.ErrOwnRequest) || !own && err != nil {
			s.Fatalf("%s decides on what %s asked: %v", by, a.RequestedBy, err)
		}
	}
}

// list imports the cloud's list of machines.
func (s *story) list(text string, whole bool) func() {
	return func() {
		s.Helper()
		if _, err := s.estate.Import(s.Context(), estate.List{Source: "ec2", File: "ec2.csv", Data: []byte(text), By: "ada", Whole: whole}); err != nil {
			s.Fatal(err)
		}
	}
}

// acts carries out what somebody says of the host.
func (s *story) acts(f func(ctx context.Context) error) func() {
	return func() {
		s.Helper()
		if err := f(s.Context()); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *story) sets(words ...string) func() {
	return s.acts(func(ctx context.Context) error {
		w, err := estate.ParseSet(words)
		if err != nil {
			return err
		}
		w.Reason, w.By = "moved", "ada"
		_, err = s.estate.Set(ctx, s.asset, w)
		return err
	})
}

var internet = store.Attributes{Class: "compute", Exposure: "internet", Environment: "production"}

// A cold-wallet host over a year. Its windows are the first Saturdays of January,
// April, July and October.
func TestStoryOfAWalletHostOverAYear(t *testing.T) {
	s := opens(t, "2026-01-10", store.Attributes{Class: "compute", Exposure: "internal", Environment: "production", ColdWallet: true, CrownJewel: true})
	s.day("2026-01-10", "the vendor publishes, the host has it", s.publishes("2026-01-10", "Medium"), s.reports(vulnerable))
	s.day("2026-02-01", "the vendor rates it up", s.publishes("2026-01-10", "High"))
	s.day("2026-02-10", "the vendor rates it down", s.publishes("2026-01-10", "Medium"))
	s.day("2026-04-04", "patched in the quarter's window", s.reports(patched))
	s.day("2026-04-12", "the old image is back", s.reports(vulnerable))
	s.day("2026-04-20", "patched", s.reports(patched))
	s.day("2026-05-04", "nothing for 14 days")
	s.day("2026-07-01", "the old image is back", s.reports(vulnerable))
	s.day("2026-07-04", "patched in the quarter's window", s.reports(patched))
	s.day("2026-12-31", "the year ends")
	s.ends(`
2026-01-10 the vendor publishes, the host has it | medium open due 2026-04-04 within
2026-02-01 the vendor rates it up | high open due 2026-03-03 within
2026-02-10 the vendor rates it down | medium open due 2026-04-04 within
2026-04-04 patched in the quarter's window | medium fixed due 2026-04-04 fixed_on_time target_missed
2026-04-12 the old image is back | medium open due 2026-04-04 overdue target_missed
2026-04-20 patched | medium fixed due 2026-04-04 fixed_late target_missed
2026-05-04 nothing for 14 days | medium fixed due 2026-04-04 fixed_late final target_missed
2026-07-01 the old image is back | medium fixed due 2026-04-04 fixed_late final target_missed; medium open due 2026-04-04 overdue arrival regression target_missed
2026-07-04 patched in the quarter's window | medium fixed due 2026-04-04 fixed_late final target_missed; medium fixed due 2026-04-04 fixed_late arrival regression target_missed
2026-12-31 the year ends | medium fixed due 2026-04-04 fixed_late final target_missed; medium fixed due 2026-04-04 fixed_late final arrival regression target_missed
`)
}

// An internet host through a listing as known exploited.
func TestStoryOfAnInternetHostThroughKEV(t *testing.T) {
	s := opens(t, "2026-03-02", internet)
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "High"), s.reports(vulnerable))
	s.day("2026-03-10", "CISA lists it", s.lists("2026-03-09", "2026-03-30"))
	s.day("2026-03-13", "nobody reports")
	s.day("2026-03-14", "patched", s.reports(patched))
	s.day("2026-03-28", "nothing for 14 days")
	s.ends(`
2026-03-02 the vendor published, the host has it | high open due 2026-03-29 within
2026-03-10 CISA lists it | high open due 2026-03-12 within
2026-03-13 nobody reports | high open due 2026-03-12 overdue
2026-03-14 patched | high fixed due 2026-03-12 fixed_late
2026-03-28 nothing for 14 days | high fixed due 2026-03-12 fixed_late final
`)
}

// The vendor rates a vulnerability down, before the breach and after it.
func TestStoryOfADowngrade(t *testing.T) {
	s := opens(t, "2026-03-02", internet)
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "Critical"), s.reports(vulnerable))
	s.day("2026-03-06", "the vendor rates it down", s.publishes("2026-02-27", "High"))
	s.day("2026-03-30", "its day has passed")
	s.day("2026-03-31", "the vendor rates it down again", s.publishes("2026-02-27", "Low"))
	s.day("2026-04-01", "patched", s.reports(patched))
	s.ends(`
2026-03-02 the vendor published, the host has it | critical open due 2026-03-13 within
2026-03-06 the vendor rates it down | high open due 2026-03-29 within
2026-03-30 its day has passed | high open due 2026-03-29 overdue
2026-03-31 the vendor rates it down again | low open due 2026-03-29 overdue
2026-04-01 patched | low fixed due 2026-03-29 fixed_late
`)
}

// The policy becomes stricter, then looser, which somebody else has to approve.
func TestStoryOfAPolicyChange(t *testing.T) {
	const high = "internet: 30 days\n      production: next cycle or 30 days"
	s := opens(t, "2026-03-02", internet)
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "High"), s.reports(vulnerable))
	s.day("2026-03-10", "High on the internet: 7 days", s.changes(high, strings.Replace(high, "30 days", "7 days", 1)))
	s.day("2026-03-12", "High on the internet: 60 days", s.changes(high, strings.Replace(high, "30 days", "60 days", 1)))
	s.day("2026-03-13", "bob approves", s.approves)
	s.day("2026-04-01", "patched", s.reports(patched))
	s.ends(`
2026-03-02 the vendor published, the host has it | high open due 2026-03-29 within
2026-03-10 High on the internet: 7 days | high open due 2026-03-17 within
2026-03-12 High on the internet: 60 days | high open due 2026-03-17 within; ada waits for approval: the looser policy
2026-03-13 bob approves | high open due 2026-04-28 within
2026-04-01 patched | high fixed due 2026-04-28 fixed_on_time
`)
}

// What was fixed comes back: within the window, and after it.
func TestStoryOfARegression(t *testing.T) {
	s := opens(t, "2026-03-02", internet)
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "High"), s.reports(vulnerable))
	s.day("2026-03-05", "patched", s.reports(patched))
	s.day("2026-03-18", "rolled back", s.reports(vulnerable))
	s.day("2026-03-19", "patched", s.reports(patched))
	s.day("2026-04-02", "rolled back, 14 days later", s.reports(vulnerable))
	s.day("2026-04-03", "patched", s.reports(patched))
	s.day("2026-04-17", "nothing for 14 days")
	s.ends(`
2026-03-02 the vendor published, the host has it | high open due 2026-03-29 within
2026-03-05 patched | high fixed due 2026-03-29 fixed_on_time
2026-03-18 rolled back | high open due 2026-03-29 within
2026-03-19 patched | high fixed due 2026-03-29 fixed_on_time
2026-04-02 rolled back, 14 days later | high fixed due 2026-03-29 fixed_on_time final; high open due 2026-03-29 overdue arrival regression
2026-04-03 patched | high fixed due 2026-03-29 fixed_on_time final; high fixed due 2026-03-29 fixed_late arrival regression
2026-04-17 nothing for 14 days | high fixed due 2026-03-29 fixed_on_time final; high fixed due 2026-03-29 fixed_late final arrival regression
`)
}

// The cloud terminates a host, which then reports all the same.
func TestStoryOfATerminatedHost(t *testing.T) {
	s := opens(t, "2026-03-02", internet)
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "High"), s.reports(vulnerable),
		s.list("name,state\nhost,running\nother,running\n", false))
	s.day("2026-03-10", "the cloud lists it as terminated", s.list("name,state\nhost,terminated\nother,running\n", false))
	s.day("2026-03-12", "the vendor rates it up", s.publishes("2026-02-27", "Critical"))
	s.day("2026-03-15", "it reports", s.reports(vulnerable))
	s.day("2026-03-16", "ada reinstates it", s.acts(func(ctx context.Context) error {
		_, err := s.estate.Reinstate(ctx, s.asset, "the export was another region's", "ada")
		return err
	}))
	s.day("2026-03-17", "the cloud lists it as running", s.list("name,state\nhost,running\nother,running\n", true))
	s.day("2026-04-10", "a whole list leaves it out", s.list("name,state\nother,running\n", true))
	s.day("2026-04-24", "nothing for 14 days")
	s.day("2026-05-01", "it reports", s.reports(vulnerable))
	s.day("2026-05-02", "patched", s.reports(patched))
	s.day("2026-05-03", "ada retires it", s.acts(func(ctx context.Context) error {
		_, err := s.estate.Retire(ctx, s.asset, "", "sold", "ada")
		return err
	}))
	s.ends(`
2026-03-02 the vendor published, the host has it | high open due 2026-03-29 within
2026-03-10 the cloud lists it as terminated | TERMINATED; high retired due 2026-03-29 retired_in_time
2026-03-12 the vendor rates it up | TERMINATED; high retired due 2026-03-29 retired_in_time
2026-03-15 it reports | BACK; critical open due 2026-03-29 within
2026-03-16 ada reinstates it | critical open due 2026-03-29 within
2026-03-17 the cloud lists it as running | critical open due 2026-03-29 within
2026-04-10 a whole list leaves it out | TERMINATED; critical retired due 2026-03-29 retired_overdue
2026-04-24 nothing for 14 days | TERMINATED; critical retired due 2026-03-29 retired_overdue final
2026-05-01 it reports | BACK; critical retired due 2026-03-29 retired_overdue final; critical open due 2026-03-13 overdue arrival regression
2026-05-02 patched | BACK; critical retired due 2026-03-29 retired_overdue final; critical fixed due 2026-03-13 fixed_late arrival regression
2026-05-03 ada retires it | RETIRED; critical retired due 2026-03-29 retired_overdue final; critical fixed due 2026-03-13 fixed_late arrival regression
`)
}

// An operator moves a host behind a proxy: what is looser waits for somebody else.
func TestStoryOfAHostThatIsMoved(t *testing.T) {
	s := opens(t, "2026-03-02", store.Attributes{Class: "compute", Exposure: "internal", Environment: "nonproduction"})
	s.day("2026-03-02", "the vendor published, the host has it", s.publishes("2026-02-27", "Critical"), s.reports(vulnerable))
	s.day("2026-03-05", "ada puts it on the internet", s.sets("exposure=internet", "environment=production"))
	s.day("2026-03-06", "ada takes it back", s.sets("exposure=internal", "environment=nonproduction"))
	s.day("2026-03-07", "bob approves", s.approves)
	s.day("2026-03-08", "patched", s.reports(patched))
	s.ends(`
2026-03-02 the vendor published, the host has it | critical open due 2026-03-29 within
2026-03-05 ada puts it on the internet | critical open due 2026-03-19 within
2026-03-06 ada takes it back | critical open due 2026-03-19 within; ada waits for approval: exposure internet to internal, environment production to nonproduction
2026-03-07 bob approves | critical open due 2026-03-29 within
2026-03-08 patched | critical fixed due 2026-03-29 fixed_on_time
`)
}
