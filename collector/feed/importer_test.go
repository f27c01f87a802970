package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

var (
	debian12 = inventory.Release{Distro: "debian", Version: "12"}
	start    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// bench is an importer on a real store, with a clock that a test moves.
type bench struct {
	*feed.Importer
	t     *testing.T
	store *sqlstore.Store
	now   time.Time
	log   bytes.Buffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	st := sqltest.Open(t)
	b := &bench{t: t, store: st, now: start}
	b.Importer = &feed.Importer{Store: st, Now: func() time.Time { return b.now }, Log: slog.New(slog.NewTextHandler(&b.log, nil))}
	return b
}

func (b *bench) wants(batch advisory.Batch, confirm bool, result feed.Result, reason string) feed.Outcome {
	b.t.Helper()
	b.now = b.now.Add(time.Hour)
	out, err := b.Import(b.t.Context(), batch, confirm)
	if err != nil {
		b.t.Fatal(err)
	}
	if out.Result != result || !strings.Contains(strings.Join(out.Reasons, "; "), reason) {
		b.t.Fatalf("import is %s (%q), want %s with %q", out.Result, out.Reasons, result, reason)
	}
	return out
}

func (b *bench) state(name string) store.FeedState {
	b.t.Helper()
	states, err := b.store.Feeds(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range states {
		if s.Feed.Name == name {
			return s
		}
	}
	b.t.Fatalf("feed %s is not in %+v", name, states)
	return store.FeedState{}
}

func (b *bench) leaves() []string {
	b.t.Helper()
	all, err := b.store.Leaves(b.t.Context(), 0, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	var bodies []string
	for _, l := range all {
		bodies = append(bodies, l.Kind+" "+string(l.Body))
	}
	return bodies
}

// runningFinding gives some asset a vulnerability.
func (b *bench) runningFinding(vulnerability string) {
	b.t.Helper()
	ctx := b.t.Context()
	leaf, err := evidence.LeafFor("test", b.now, vulnerability)
	if err != nil {
		b.t.Fatal(err)
	}
	asset := "A-" + vulnerability
	if _, err := b.store.TrustKey(ctx, store.Asset{ID: asset, Name: asset, Key: asset, TrustedAt: b.now}, leaf); err != nil {
		b.t.Fatal(err)
	}
	if err := b.store.MarkAll(ctx); err != nil {
		b.t.Fatal(err)
	}
	marks, err := b.store.DirtyAssets(ctx, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	at := slices.IndexFunc(marks, func(m store.Mark) bool { return m.Asset == asset })
	if at < 0 {
		b.t.Fatalf("%s is not marked", asset)
	}
	f := finding.Finding{
		ID: finding.ID(asset, vulnerability, "a"), Asset: asset, Vulnerability: vulnerability, Component: "a",
		State: finding.Open, Detected: b.now, Severity: finding.High, SeenAt: b.now,
	}
	if _, err := b.store.ApplyAssessments(ctx, []store.Assessment{{Mark: marks[at], At: b.now, Changed: []finding.Finding{f}}}, &leaf); err != nil {
		b.t.Fatal(err)
	}
}

func cve(n int) string { return fmt.Sprintf("CVE-2024-%04d", n) }

func one(n int) advisory.Advisory {
	return advisory.Advisory{
		ID: fmt.Sprintf("DSA-%d", n), Feed: "osv:Debian:12", Issued: start, IssuedKind: advisory.DateAdvisory, Modified: start,
		Vulnerabilities: []string{cve(n)},
		Affected: []advisory.Affected{{
			Release: debian12, Format: "deb", Kind: advisory.NameSource, Name: "a", Ranges: []advisory.Range{{Introduced: "0", Fixed: "2"}},
		}},
	}
}

// snapshot holds the advisories first to last.
func snapshot(digest string, first, last int) advisory.Batch {
	b := advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: digest,
		Releases: []inventory.Release{debian12}, Published: start,
	}
	for n := first; n <= last; n++ {
		b.Advisories = append(b.Advisories, one(n))
	}
	return b
}

func TestFirstSnapshotIsApplied(t *testing.T) {
	b := newBench(t)
	out := b.wants(snapshot("d1", 1, 100), false, feed.Applied, "")
	if out.Applied.Added != 100 || out.Advisories != 100 {
		t.Errorf("got %+v", out)
	}
	if s := b.state("osv:Debian:12"); s.Digest != "d1" || s.Advisories != 100 || s.Held != nil || !s.SnapshotAt.Equal(b.now) {
		t.Errorf("got state %+v", s)
	}
	if got := b.leaves(); len(got) != 1 || !strings.Contains(got[0], `"digest":"d1"`) || strings.Contains(got[0], "confirmed") {
		t.Errorf("got leaves %v", got)
	}
}

func TestSameBytesAgainChangeNothing(t *testing.T) {
	b := newBench(t)
	b.wants(snapshot("d1", 1, 10), false, feed.Applied, "")
	b.wants(snapshot("d1", 1, 10), false, feed.Unchanged, "the same bytes were imported at 2026-01-02T04:04:05Z")
	b.wants(snapshot("d1", 1, 10), true, feed.Unchanged, "the same bytes")
	if got := b.leaves(); len(got) != 1 {
		t.Errorf("got leaves %v, want one", got)
	}
}

func TestSnapshotsThatTakeSomethingAwayAreHeld(t *testing.T) {
	older := snapshot("d2", 1, 100)
	older.Published = start.Add(-time.Hour)
	nowhere := snapshot("d2", 1, 100)
	nowhere.Releases = nil
	withdrawn := snapshot("d2", 1, 100)
	for i := range withdrawn.Advisories {
		withdrawn.Advisories[i].Withdrawn = &start
	}
	fewer := snapshot("d2", 1, 97)
	fewer.Advisories[0].Vulnerabilities = []string{cve(1), cve(98), cve(99), cve(100)}
	unnamed := snapshot("d2", 1, 100)
	for i := range 3 {
		unnamed.Advisories[i].Vulnerabilities = []string{cve(50)}
	}
	for _, tt := range []struct {
		name   string
		batch  advisory.Batch
		result feed.Result
		reason string
	}{
		{"empty", snapshot("d2", 1, 0), feed.Held, "the snapshot is empty"},
		{"three_in_a_hundred_missing", snapshot("d2", 1, 97), feed.Held, "it has 97 vulnerabilities and 100 are held, 3.0 % fewer (limit 2 %)"},
		{"two_in_a_hundred_missing", snapshot("d2", 1, 98), feed.Applied, ""},
		{"advisories_missing_vulnerabilities_not", fewer, feed.Held, "it has 97 advisories and 100 are held"},
		{"vulnerabilities_missing_advisories_not", unnamed, feed.Held, "it has 97 vulnerabilities and 100 are held"},
		{"a_finding_dropped", snapshot("d2", 2, 100), feed.Held, "it no longer names one vulnerability with running findings: CVE-2024-0001"},
		{"another_dropped", func() advisory.Batch {
			b := snapshot("d2", 1, 100)
			b.Advisories = slices.Delete(b.Advisories, 1, 2)
			return b
		}(), feed.Applied, ""},
		{"older", older, feed.Held, "older than the one held"},
		{"release_lost", nowhere, feed.Held, "it no longer covers debian:12"},
		{"all_withdrawn", withdrawn, feed.Applied, ""},
		{"more", snapshot("d2", 1, 200), feed.Applied, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.wants(snapshot("d1", 1, 100), false, feed.Applied, "")
			b.runningFinding(cve(1))
			before := len(b.leaves())
			b.wants(tt.batch, false, tt.result, tt.reason)
			s := b.state("osv:Debian:12")
			if leaves := b.leaves(); len(leaves) != before+1 {
				t.Errorf("got %d leaves, want %d", len(leaves), before+1)
			}
			if tt.result == feed.Applied {
				if s.Digest != "d2" || s.Held != nil {
					t.Errorf("got state %+v", s)
				}
				return
			}
			if s.Digest != "d1" || s.Missing != 0 || s.Withdrawn != 0 || s.Held == nil || s.Held.Digest != "d2" || !strings.Contains(s.Held.Reason, tt.reason) {
				t.Errorf("a held snapshot left state %+v (%+v)", s, s.Held)
			}
			b.wants(tt.batch, false, feed.Held, tt.reason)
			if leaves := b.leaves(); len(leaves) != before+1 {
				t.Errorf("holding the same again made a leaf: %v", leaves)
			}
		})
	}
}

func TestConfirmationAppliesWhatWasHeldAndIsOnRecord(t *testing.T) {
	b := newBench(t)
	b.wants(snapshot("d1", 1, 100), false, feed.Applied, "")
	b.runningFinding(cve(1))
	b.wants(snapshot("d2", 2, 50), false, feed.Held, "running findings")
	b.now = b.now.Add(time.Hour)
	out, err := b.ImportAs(t.Context(), snapshot("d2", 2, 50), true, "alice")
	if err != nil || out.Result != feed.Applied || out.Applied.Missing != 51 {
		t.Fatalf("got %+v, %v", out, err)
	}
	if s := b.state("osv:Debian:12"); s.Digest != "d2" || s.Held != nil || s.Missing != 51 || s.Advisories != 100 {
		t.Errorf("got state %+v; nothing is deleted, 51 are missing", s)
	}
	last := b.leaves()[len(b.leaves())-1]
	for _, want := range []string{`"confirmed":true`, `"by":"alice"`, `"overruled":"it has 49 vulnerabilities`, "CVE-2024-0001"} {
		if !strings.Contains(last, want) {
			t.Errorf("the leaf of the confirmation is %s, want it to have %s", last, want)
		}
	}
	b.wants(snapshot("d3", 2, 50), false, feed.Applied, "")
}

func TestNewerSnapshotReleasesAHold(t *testing.T) {
	b := newBench(t)
	b.wants(snapshot("d1", 1, 100), false, feed.Applied, "")
	b.wants(snapshot("d2", 1, 0), false, feed.Held, "empty")
	b.wants(snapshot("d3", 1, 101), false, feed.Applied, "")
	if s := b.state("osv:Debian:12"); s.Held != nil || s.Digest != "d3" {
		t.Errorf("got state %+v", s)
	}
}

func TestFactsAreHeldTheSameWay(t *testing.T) {
	batch := func(digest string, first, last int) advisory.Batch {
		b := advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: digest}
		for n := first; n <= last; n++ {
			b.Facts = append(b.Facts, advisory.Facts{Vulnerability: cve(n), KEV: &advisory.KEV{Added: "2024-01-01"}})
		}
		return b
	}
	b := newBench(t)
	b.wants(batch("d1", 1, 100), false, feed.Applied, "")
	b.runningFinding(cve(1))
	b.wants(batch("d2", 2, 100), false, feed.Held, "no longer names one vulnerability")
	b.wants(batch("d3", 1, 90), false, feed.Held, "10.0 % fewer")
	b.wants(batch("d4", 1, 0), false, feed.Held, "empty")
	b.wants(batch("d5", 1, 99), false, feed.Applied, "")
}

func upsert(digest string, as ...advisory.Advisory) advisory.Batch {
	return advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Digest: digest, Advisories: as, Releases: []inventory.Release{debian12},
	}
}

func TestUpsertMerges(t *testing.T) {
	b := newBench(t)
	b.wants(snapshot("d1", 1, 10), false, feed.Applied, "")
	changed := one(3)
	changed.Modified, changed.Vulnerabilities = start.Add(time.Hour), []string{cve(3), cve(11)}
	out := b.wants(upsert("u1", changed, one(12)), false, feed.Applied, "")
	if out.Applied.Added != 1 || out.Applied.Changed != 1 || out.Applied.Missing != 0 {
		t.Errorf("got %+v, want one added, one changed", out.Applied)
	}
	if s := b.state("osv:Debian:12"); s.Advisories != 11 || s.Missing != 0 {
		t.Errorf("got state %+v", s)
	}
	b.wants(upsert("u1", changed, one(12)), false, feed.Unchanged, "the same bytes")
}

func TestUpsertMustNotTakeAway(t *testing.T) {
	b := newBench(t)
	b.wants(snapshot("d1", 1, 10), false, feed.Applied, "")
	b.runningFinding(cve(3))
	older := one(3)
	older.Modified = start.Add(-time.Hour)
	b.wants(upsert("u1", older), false, feed.Held, "DSA-3 is of 2026-01-02T02:04:05Z, older than the one held")
	narrowed := one(3)
	narrowed.Modified, narrowed.Vulnerabilities = start.Add(time.Hour), []string{cve(4)}
	b.wants(upsert("u2", narrowed), false, feed.Held, "no longer names one vulnerability with running findings: CVE-2024-0003")
	b.wants(upsert("u3"), false, feed.Held, "nothing in it")
	withdrawn := one(3)
	withdrawn.Modified, withdrawn.Withdrawn = start.Add(time.Hour), &start
	b.wants(upsert("u4", withdrawn), false, feed.Applied, "")
	if s := b.state("osv:Debian:12"); s.Withdrawn != 1 {
		t.Errorf("got state %+v, want one withdrawn", s)
	}
}

func TestUpsertGoesToTheWholeDistributionWhereThatIsHeld(t *testing.T) {
	b := newBench(t)
	whole := snapshot("d1", 1, 10)
	whole.Feed.Name = "osv:Debian"
	for i := range whole.Advisories {
		whole.Advisories[i].Feed = "osv:Debian"
	}
	b.wants(whole, false, feed.Applied, "")
	changed := one(3)
	changed.Modified = start.Add(time.Hour)
	out := b.wants(upsert("u1", changed), false, feed.Applied, "")
	if out.Feed != "osv:Debian" || out.Applied.Changed != 1 {
		t.Errorf("got %+v, want a change of osv:Debian", out)
	}
}

func TestImportRefusesABatchWithoutAName(t *testing.T) {
	b := newBench(t)
	if _, err := b.Import(t.Context(), advisory.Batch{}, false); err == nil {
		t.Error("a batch without feed and digest was taken")
	}
}

func TestImportStopsWithItsContext(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Import(ctx, snapshot("d1", 1, 10), false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	if n := len(b.leaves()); n != 0 {
		t.Errorf("%d leaves were made", n)
	}
}
