package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

var advisories = []test{
	{"RoundTrip", advisoryRoundTrip},
	{"CountsWhatChanged", advisoryCounts},
	{"OnlyTheReleasesRows", advisoryRows},
	{"OrderedByFeedThenID", advisoryOrder},
	{"MissingIsKept", advisoryMissing},
	{"UpsertMissesNothing", advisoryUpsert},
	{"WithdrawnIsReturned", advisoryWithdrawn},
	{"MovesBetweenReleases", advisoryMoves},
	{"Naming", advisoryNaming},
	{"FirstSeenDatesAnUndatedFix", advisoryFirstSeen},
	{"FirstSeenKnowsEachRelease", advisoryFirstSeenRelease},
	{"FirstSeenTakesThePublishersDate", advisoryFirstSeenPublished},
	{"FirstSeenOnlyMovesEarlier", advisoryFirstSeenEarlier},
	{"NoFixNoDate", advisoryNoFix},
	{"HeldSinceIsTheStores", advisoryHeldSince},
	{"RefusesTwoOfOneID", advisoryTwice},
	{"RefusesAForeignAdvisory", advisoryForeign},
	{"FailingLeafLeavesNothing", batchFailingLeaf},
	{"MarksAssetsOfTheRelease", batchMarks},
	{"MarksWhenCoverageChanges", batchMarksCoverage},
	{"UnchangedMarksNothing", batchUnchanged},
	{"Generation", batchGeneration},
	{"HeldUntilApplied", batchHeld},
	{"FeedState", feedState},
	{"FeedVulnerabilities", feedVulnerabilities},
	{"CoveredReleases", coveredReleases},
	{"LargeBatch", batchLarge},
}

var (
	alma9    = inventory.Release{Distro: "almalinux", Version: "9"}
	debian13 = inventory.Release{Distro: "debian", Version: "13"}
	osvFeed  = advisory.Feed{Name: "osv:Debian", Kind: "osv"}
)

// adv makes a dated advisory on one package of debian 12.
func adv(id, fixed string, vulnerabilities ...string) advisory.Advisory {
	return advisory.Advisory{
		ID: id, Feed: osvFeed.Name, Summary: "it's ? \u2028", Issued: rounded(t0), IssuedKind: advisory.DateAdvisory,
		Vulnerabilities: vulnerabilities, Rating: "Important",
		Scores:   []advisory.Score{{Source: "cna", Version: "3.1", Vector: "CVSS:3.1/AV:N", Value: 9.8}},
		Affected: []advisory.Affected{row(debian12, "pkg-"+id, fixed)},
	}
}

func row(r inventory.Release, name, fixed string) advisory.Affected {
	return advisory.Affected{
		Release: r, Format: "deb", Name: name, Kind: advisory.NameSource,
		Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
	}
}

// since is an advisory as a store returns it that held it first at an instant.
func since(at time.Time, a advisory.Advisory) advisory.Advisory {
	a.HeldSince = rounded(at)
	return a
}

func snapshot(list ...advisory.Advisory) advisory.Batch {
	return advisory.Batch{
		Feed: osvFeed, Snapshot: true, Digest: digest(fmt.Sprint(list)), Advisories: list, Releases: []inventory.Release{debian12},
	}
}

func upsert(list ...advisory.Advisory) advisory.Batch {
	b := snapshot(list...)
	b.Snapshot = false
	return b
}

func applyBatch(t testing.TB, s store.Store, b advisory.Batch, at time.Time) store.Applied {
	t.Helper()
	b.Advisories = slices.Clone(b.Advisories)
	return must[store.Applied](t)(s.ApplyBatch(t.Context(), b, at, leaf("feed")))
}

func advisoriesFor(t testing.TB, s store.Store, r inventory.Release) []advisory.Advisory {
	t.Helper()
	return must[[]advisory.Advisory](t)(s.AdvisoriesFor(t.Context(), r))
}

func advisoryRoundTrip(t *testing.T, s store.Store) {
	a := adv("DSA-1", "1.2-3", "CVE-2026-1", "CVE-2026-2")
	a.Modified = rounded(after(time.Hour))
	ap := applyBatch(t, s, snapshot(a), t0)
	wantEqual(t, "applied", ap, store.Applied{Added: 1, Leaf: 0})
	want := since(t0, a)
	wantEqual(t, "for the release", advisoriesFor(t, s, debian12), []advisory.Advisory{want})
	wantEqual(t, "by id", must[advisory.Advisory](t)(s.Advisory(t.Context(), osvFeed.Name, "DSA-1")), want)
	wantEqual(t, "for another release", len(advisoriesFor(t, s, alma9)), 0)
	_, err := s.Advisory(t.Context(), osvFeed.Name, "nothing")
	wantErr(t, "an unknown advisory", err, store.ErrNotFound)
}

func advisoryCounts(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("2", "1", "C2"), adv("3", "1", "C3")), t0)
	ap := applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("2", "2", "C2"), adv("4", "1", "C4")), after(time.Hour))
	wantEqual(t, "applied", ap, store.Applied{Added: 1, Changed: 1, Unchanged: 1, Missing: 1, Leaf: 1})
	got := must[advisory.Advisory](t)(s.Advisory(t.Context(), osvFeed.Name, "2"))
	if err := s.CheckAdvisories(t.Context(), func(feed, id, what string) { t.Errorf("%s of %s: %s", id, feed, what) }); err != nil {
		t.Error(err)
	}
	wantEqual(t, "the changed one, held as long as its first version", got, since(t0, adv("2", "2", "C2")))
}

func advisoryRows(t *testing.T, s store.Store) {
	a := adv("1", "1", "C1")
	a.Affected = append(a.Affected, row(debian13, "pkg-1", "2"), row(debian12, "other", "3"))
	applyBatch(t, s, snapshot(a), t0)
	want := since(t0, a)
	want.Affected = []advisory.Affected{a.Affected[0], a.Affected[2]}
	wantEqual(t, "debian 12", advisoriesFor(t, s, debian12), []advisory.Advisory{want})
	want.Affected = []advisory.Affected{a.Affected[1]}
	wantEqual(t, "debian 13", advisoriesFor(t, s, debian13), []advisory.Advisory{want})
}

func advisoryOrder(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("b", "1", "C"), adv("a", "1", "C"), adv("B", "1", "C")), t0)
	other := adv("z", "1", "C")
	other.Feed = "a-feed"
	applyBatch(t, s, advisory.Batch{Feed: advisory.Feed{Name: "a-feed", Kind: "osv"}, Advisories: []advisory.Advisory{other}}, t0)
	var got []string
	for _, a := range advisoriesFor(t, s, debian12) {
		got = append(got, a.ID)
	}
	wantEqual(t, "order", got, []string{"z", "B", "a", "b"})
}

func advisoryMissing(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("2", "1", "C2")), t0)
	clean(t, s)
	gen := must[int64](t)(s.Generation(t.Context(), debian12))
	ap := applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0)
	wantEqual(t, "applied", ap.Missing, 1)
	wantEqual(t, "still returned", len(advisoriesFor(t, s, debian12)), 2)
	wantEqual(t, "counted", must[[]store.FeedState](t)(s.Feeds(t.Context()))[0].Missing, 1)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	wantEqual(t, "generation", must[int64](t)(s.Generation(t.Context(), debian12)), gen)
	applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("2", "1", "C2")), t0)
	wantEqual(t, "listed again", must[[]store.FeedState](t)(s.Feeds(t.Context()))[0].Missing, 0)
}

func advisoryUpsert(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("2", "1", "C2")), t0)
	ap := applyBatch(t, s, upsert(adv("2", "2", "C2"), adv("3", "1", "C3")), t0)
	wantEqual(t, "applied", ap, store.Applied{Added: 1, Changed: 1, Leaf: 1})
	wantEqual(t, "all", len(advisoriesFor(t, s, debian12)), 3)
}

func advisoryWithdrawn(t *testing.T, s store.Store) {
	a := adv("1", "1", "C1")
	at := t0
	a.Withdrawn = &at
	applyBatch(t, s, snapshot(a), t0)
	got := advisoriesFor(t, s, debian12)
	if len(got) != 1 || got[0].Withdrawn == nil || !got[0].Withdrawn.Equal(rounded(t0)) {
		t.Fatalf("got %+v, want the withdrawn advisory", got)
	}
	wantEqual(t, "counted", must[[]store.FeedState](t)(s.Feeds(t.Context()))[0].Withdrawn, 1)
}

func advisoryMoves(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	applyBatch(t, s, snapshot(adv("1", "1", "C1", "C2")), t0)
	clean(t, s)
	moved := adv("1", "1", "C2", "C3")
	moved.Affected[0].Release = debian13
	ap := applyBatch(t, s, snapshot(moved), t0)
	wantEqual(t, "marked, since it left debian 12", ap.MarkedAssets, 1)
	wantEqual(t, "debian 12", len(advisoriesFor(t, s, debian12)), 0)
	wantEqual(t, "debian 13", len(advisoriesFor(t, s, debian13)), 1)
	wantEqual(t, "naming C1", len(must[[]advisory.Advisory](t)(s.AdvisoriesNaming(t.Context(), "C1"))), 0)
}

func advisoryNaming(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("2", "1", "C1", "C2"), adv("1", "1", "C1"), adv("3", "1", "C10")), t0)
	var got []string
	for _, a := range must[[]advisory.Advisory](t)(s.AdvisoriesNaming(t.Context(), "C1")) {
		got = append(got, a.ID)
	}
	wantEqual(t, "naming", got, []string{"1", "2"})
}

// unissued makes an advisory without a date, as trackers publish them.
func unissued(id, fixed string) advisory.Advisory {
	a := adv(id, fixed, id)
	a.Issued, a.IssuedKind = time.Time{}, ""
	return a
}

func issued(t *testing.T, s store.Store, r inventory.Release, id string) (time.Time, advisory.DateKind) {
	t.Helper()
	for _, a := range advisoriesFor(t, s, r) {
		if a.ID == id {
			return a.Issued, a.IssuedKind
		}
	}
	t.Fatalf("no advisory %s for %s", id, r)
	return time.Time{}, ""
}

func wantIssued(t *testing.T, s store.Store, r inventory.Release, id string, want time.Time) {
	t.Helper()
	got, kind := issued(t, s, r, id)
	if !got.Equal(rounded(want)) || kind != advisory.DateFirstSeen {
		t.Errorf("%s of %s is issued %s (%s), want %s (%s)", id, r, got, kind, rounded(want), advisory.DateFirstSeen)
	}
}

func advisoryFirstSeen(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(unissued("1", "")), t0)
	applyBatch(t, s, snapshot(unissued("1", "2.0")), after(time.Hour))
	wantIssued(t, s, debian12, "1", after(time.Hour))
	applyBatch(t, s, snapshot(unissued("1", "2.0")), after(48*time.Hour))
	wantIssued(t, s, debian12, "1", after(time.Hour))
	first := unissued("2", "1")
	first.Issued, first.IssuedKind = rounded(after(-time.Hour)), advisory.DateFirstSeen
	applyBatch(t, s, upsert(first), after(time.Minute))
	wantIssued(t, s, debian12, "2", after(time.Minute))
	a := must[advisory.Advisory](t)(s.Advisory(t.Context(), osvFeed.Name, "1"))
	wantEqual(t, "the whole advisory's date", a.Issued, rounded(after(time.Hour)))
}

func advisoryFirstSeenRelease(t *testing.T, s store.Store) {
	a := unissued("1", "2.0")
	a.Affected = append(a.Affected, row(debian13, "pkg-1", ""))
	applyBatch(t, s, snapshot(a), t0)
	a.Affected[1] = row(debian13, "pkg-1", "3.0")
	applyBatch(t, s, snapshot(a), after(time.Hour))
	wantIssued(t, s, debian12, "1", t0)
	wantIssued(t, s, debian13, "1", after(time.Hour))
}

func advisoryFirstSeenPublished(t *testing.T, s store.Store) {
	b := snapshot(unissued("1", "2.0"))
	b.Published = after(-24 * time.Hour)
	applyBatch(t, s, b, t0)
	wantIssued(t, s, debian12, "1", after(-24*time.Hour))
	b = snapshot(unissued("1", "2.0"), unissued("2", "1"))
	b.Published = after(24 * time.Hour) // a date to come proves nothing
	applyBatch(t, s, b, t0)
	wantIssued(t, s, debian12, "2", t0)
}

func advisoryFirstSeenEarlier(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(unissued("1", "2.0")), t0)
	older := snapshot(unissued("1", "2.0"))
	older.Published = after(-time.Hour)
	applyBatch(t, s, older, after(time.Hour))
	wantIssued(t, s, debian12, "1", after(-time.Hour))
	applyBatch(t, s, snapshot(unissued("1", "3.0")), after(2*time.Hour))
	wantIssued(t, s, debian12, "1", after(2*time.Hour))
	applyBatch(t, s, snapshot(unissued("1", "2.0")), after(3*time.Hour)) // as before
	wantIssued(t, s, debian12, "1", after(-time.Hour))
}

func advisoryNoFix(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(unissued("1", "")), t0)
	at, kind := issued(t, s, debian12, "1")
	if !at.IsZero() || kind != "" {
		t.Errorf("an advisory without a fix is issued %s (%s)", at, kind)
	}
}

func advisoryHeldSince(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0)
	again := advisoriesFor(t, s, debian12)[0] // handed back as it was returned
	again.HeldSince = rounded(after(-1000 * time.Hour))
	wantEqual(t, "applied", applyBatch(t, s, snapshot(again), after(time.Hour)).Unchanged, 1)
	applyBatch(t, s, snapshot(adv("1", "2", "C1"), adv("2", "1", "C2")), after(2*time.Hour))
	list := advisoriesFor(t, s, debian12)
	wantEqual(t, "one that changed", list[0].HeldSince, rounded(t0))
	wantEqual(t, "one that came later", list[1].HeldSince, rounded(after(2*time.Hour)))
}

func advisoryTwice(t *testing.T, s store.Store) {
	ap := applyBatch(t, s, snapshot(adv("1", "1", "C1"), adv("1", "1", "C1")), t0)
	wantEqual(t, "the same twice", ap.Added, 1)
	if _, err := s.ApplyBatch(t.Context(), snapshot(adv("2", "1", "C1"), adv("2", "2", "C1")), t0, leaf("feed")); err == nil {
		t.Error("two advisories of one id were accepted")
	}
	wantEqual(t, "all", len(advisoriesFor(t, s, debian12)), 1)
}

func advisoryForeign(t *testing.T, s store.Store) {
	a := adv("1", "1", "C1")
	a.Feed = "another"
	if _, err := s.ApplyBatch(t.Context(), snapshot(a), t0, leaf("feed")); err == nil {
		t.Error("an advisory of another feed was accepted")
	}
	a.Feed = ""
	applyBatch(t, s, snapshot(a), t0)
	wantEqual(t, "feed", advisoriesFor(t, s, debian12)[0].Feed, osvFeed.Name)
}

func batchFailingLeaf(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	clean(t, s)
	b := snapshot(adv("1", "1", "C1"))
	b.Facts = []advisory.Facts{{Vulnerability: "C1", KEV: &advisory.KEV{Added: "2026-01-01"}}}
	if _, err := s.ApplyBatch(t.Context(), b, t0, badLeaf()); err == nil {
		t.Fatal("a leaf without a kind was accepted")
	}
	wantEqual(t, "advisories", len(advisoriesFor(t, s, debian12)), 0)
	wantEqual(t, "facts", len(must[map[string]advisory.Facts](t)(s.Facts(t.Context(), []string{"C1"}))), 0)
	wantEqual(t, "feeds", len(must[[]store.FeedState](t)(s.Feeds(t.Context()))), 0)
	wantEqual(t, "covered", len(must[[]inventory.Release](t)(s.CoveredReleases(t.Context()))), 0)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	wantEqual(t, "generation", must[int64](t)(s.Generation(t.Context(), debian12)), int64(0))
}

func batchMarks(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	trust(t, s, "A2")
	r := report("A2", 1, "x")
	r.Release = alma9
	accept(t, s, r)
	trust(t, s, "A3") // no report yet
	applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0)
	clean(t, s)
	ap := applyBatch(t, s, snapshot(adv("1", "2", "C1")), t0)
	wantEqual(t, "marked", ap.MarkedAssets, 1)
	if m := marks(t.Context(), t, s); len(m) != 1 || m["A1"] == 0 {
		t.Errorf("marks %v, want one of A1", m)
	}
}

func batchMarksCoverage(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	clean(t, s)
	wantEqual(t, "a first, empty snapshot covers", applyBatch(t, s, snapshot(), t0).MarkedAssets, 1)
	clean(t, s)
	b := snapshot()
	b.Releases = []inventory.Release{debian13}
	wantEqual(t, "one that covers no longer", applyBatch(t, s, b, t0).MarkedAssets, 1)
}

func batchUnchanged(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	b := snapshot(adv("1", "1", "C1"), unissued("2", "1"))
	b.Facts = []advisory.Facts{{Vulnerability: "C1", KEV: &advisory.KEV{Added: "2026-01-01"}}}
	applyBatch(t, s, b, t0)
	clean(t, s)
	gen := must[int64](t)(s.Generation(t.Context(), debian12))
	ap := applyBatch(t, s, b, after(time.Hour))
	wantEqual(t, "applied", ap, store.Applied{Unchanged: 3}, cmpopts.IgnoreFields(store.Applied{}, "Leaf"))
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	wantEqual(t, "generation", must[int64](t)(s.Generation(t.Context(), debian12)), gen)
}

func batchGeneration(t *testing.T, s store.Store) {
	gen := func(r inventory.Release) int64 { return must[int64](t)(s.Generation(t.Context(), r)) }
	applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0)
	d12, d13 := gen(debian12), gen(debian13)
	applyBatch(t, s, snapshot(adv("1", "2", "C1")), t0)
	if gen(debian12) == d12 || gen(debian13) != d13 {
		t.Errorf("an advisory of debian 12 moved debian 12 from %d to %d, debian 13 from %d to %d", d12, gen(debian12), d13, gen(debian13))
	}
	d12 = gen(debian12)
	applyBatch(t, s, kevBatch("C9"), t0)
	if gen(debian12) != d12 || gen(debian13) != d13 {
		t.Error("facts moved the generation of a release, and no index holds any")
	}
}

func batchHeld(t *testing.T, s store.Store) {
	h := store.Held{Digest: "d", At: t0, Reason: "shrinks by 3 %"}
	if err := s.HoldBatch(t.Context(), osvFeed, h, leaf("feed_held")); err != nil {
		t.Fatal(err)
	}
	h.At = rounded(t0)
	heldNow := func() *store.Held { return must[[]store.FeedState](t)(s.Feeds(t.Context()))[0].Held }
	wantEqual(t, "held", heldNow(), &h)
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
	applyBatch(t, s, upsert(adv("1", "1", "C1")), t0)
	wantEqual(t, "held after an upsert", heldNow(), &h)
	applyBatch(t, s, snapshot(adv("1", "1", "C1")), t0)
	if got := heldNow(); got != nil {
		t.Errorf("held after a snapshot: %+v", got)
	}
	if err := s.HoldBatch(t.Context(), osvFeed, h, badLeaf()); err == nil || heldNow() != nil {
		t.Error("a failing leaf left the feed held")
	}
}

func feedState(t *testing.T, s store.Store) {
	b := upsert(adv("1", "1", "C1"))
	b.Releases, b.Published = []inventory.Release{debian12, debian12, alma9}, after(-time.Hour)
	applyBatch(t, s, b, t0)
	want := store.FeedState{
		Feed: osvFeed, Digest: b.Digest, Published: rounded(b.Published), ImportedAt: rounded(t0), Advisories: 1,
		Releases: []inventory.Release{alma9, debian12},
	}
	wantEqual(t, "after an upsert", must[[]store.FeedState](t)(s.Feeds(t.Context())), []store.FeedState{want})
	b = snapshot(adv("1", "1", "C1"), adv("2", "1", "C2"))
	applyBatch(t, s, b, after(time.Hour))
	want.Digest, want.Published, want.ImportedAt, want.SnapshotAt = b.Digest, time.Time{}, rounded(after(time.Hour)), rounded(after(time.Hour))
	want.Advisories, want.Releases = 2, []inventory.Release{debian12}
	wantEqual(t, "after a snapshot", must[[]store.FeedState](t)(s.Feeds(t.Context())), []store.FeedState{want})
	b.Feed.Kind = "updateinfo"
	if _, err := s.ApplyBatch(t.Context(), b, t0, leaf("feed")); err == nil {
		t.Error("a feed changed its kind")
	}
}

func feedVulnerabilities(t *testing.T, s store.Store) {
	gone := adv("2", "1", "C2", "C3")
	applyBatch(t, s, snapshot(adv("1", "1", "C1", "C3"), gone), t0)
	at := t0
	withdrawn := adv("3", "1", "C4")
	withdrawn.Withdrawn = &at
	applyBatch(t, s, snapshot(adv("1", "1", "C1", "C3"), withdrawn), t0)
	got := must[map[string]struct{}](t)(s.FeedVulnerabilities(t.Context(), osvFeed.Name))
	wantEqual(t, "named now", got, map[string]struct{}{"C1": {}, "C3": {}})
	applyBatch(t, s, kevBatch("C7", "C8"), t0)
	applyBatch(t, s, kevBatch("C8"), t0)
	got = must[map[string]struct{}](t)(s.FeedVulnerabilities(t.Context(), "kev"))
	wantEqual(t, "of facts", got, map[string]struct{}{"C8": {}})
}

func coveredReleases(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(), t0)
	b := upsert()
	b.Feed, b.Releases = advisory.Feed{Name: "other", Kind: "updateinfo"}, []inventory.Release{debian12, alma9}
	applyBatch(t, s, b, t0)
	got := must[[]inventory.Release](t)(s.CoveredReleases(t.Context()))
	wantEqual(t, "covered", got, []inventory.Release{alma9, debian12})
}

func batchLarge(t *testing.T, s store.Store) {
	const n = 3000
	list := make([]advisory.Advisory, n)
	for i := range list {
		list[i] = adv(fmt.Sprintf("A-%05d", i), "1", fmt.Sprintf("C-%d", i), fmt.Sprintf("C-%d", i+1))
	}
	wantEqual(t, "added", applyBatch(t, s, snapshot(list...), t0).Added, n)
	list[n/2] = adv(fmt.Sprintf("A-%05d", n/2), "2", "C-x")
	ap := applyBatch(t, s, snapshot(list...), t0)
	wantEqual(t, "again", ap, store.Applied{Changed: 1, Unchanged: n - 1, Leaf: 1})
	for i := range list {
		list[i] = since(t0, list[i])
	}
	wantEqual(t, "returned", advisoriesFor(t, s, debian12), list)
}
