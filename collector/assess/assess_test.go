package assess_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

var (
	debian12 = inventory.Release{Distro: "debian", Version: "12"}
	start    = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
)

const assetID = "a-test"

// world is a collector's memory with one asset, and a clock.
type world struct {
	t        testing.TB
	st       *sqlstore.Store
	assessor *assess.Assessor
	clock    time.Time
	key      string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, store.Attributes{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production})
}

func newWorldOf(t testing.TB, at store.Attributes) *world {
	t.Helper()
	st := sqltest.Open(t)
	w := &world{t: t, st: st, clock: start, key: strings.Repeat("ab", 32)}
	w.assessor = assess.New(st, func() time.Time { return w.clock }, slog.New(slog.DiscardHandler))
	p, src := policy.Default()
	if _, err := st.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: start.AddDate(-1, 0, 0)}, w.leaf("policy")); err != nil {
		t.Fatal(err)
	}
	_, err := st.TrustKey(t.Context(), store.Asset{
		ID: assetID, Name: "web-1", Key: w.key, TrustedAt: start, Attributes: at,
	}, w.leaf("trust"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) leaf(kind string) store.Leaf {
	w.t.Helper()
	l, err := evidence.LeafFor(kind, w.clock, map[string]string{"at": w.clock.String(), "by": "operator"})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// statement is what one report says.
type statement struct {
	sequence uint64
	// branch tells reports of one sequence apart; previous is the branch of the one before.
	branch, previous string
	instance         string
	kernel           string
	packages         []schema.Package
	incomplete       bool
	release          inventory.Release
	gaps             []schema.Gap
	patches          []schema.LivePatch
	// stale is nil when the report has no such part.
	stale []schema.Stale
}

func deb(name, source, evr string) schema.Package {
	version, release, _ := strings.Cut(evr, "-")
	return schema.Package{
		Format: schema.FormatDeb, Name: name, Version: version, Release: release, Arch: "amd64",
		Source: source, SourceVersion: evr, Status: "installed",
	}
}

// id is the id of its report.
func (s statement) id() string { return s.branch + fmt.Sprintf("%0*x", 64-len(s.branch), s.sequence) }

func (s statement) before() string {
	if s.sequence <= 1 {
		return ""
	}
	return statement{sequence: s.sequence - 1, branch: s.previous}.id()
}

// report records a statement as the door would, at the world's clock.
func (w *world) report(s statement) {
	w.t.Helper()
	text, err := schema.EncodePackages(s.packages)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.release == (inventory.Release{}) {
		s.release = debian12
	}
	part := schema.NewPart(schema.PartPackages, text)
	r := store.Report{
		ID: s.id(), Asset: assetID, Key: w.key, Sequence: s.sequence, Previous: s.before(),
		CollectedAt: w.clock, ReceivedAt: w.clock, Release: s.release, Kernel: inventory.Kernel{Release: s.kernel, LivePatches: s.patches},
		SetDigest: part.Digest, Complete: !s.incomplete, Raw: fmt.Appendf(nil, "raw %d", s.sequence), Road: "test",
		Statement:  schema.Report{Sequence: s.sequence, CollectedAt: w.clock, Parts: []schema.Part{part}, Gaps: s.gaps},
		PartsTexts: map[string]string{part.Digest: text},
	}
	if s.instance != "" {
		r.Statement.Cloud = &schema.Cloud{Provider: "aws", InstanceID: s.instance}
	}
	if s.stale != nil {
		text, err := schema.EncodeStale(s.stale)
		if err != nil {
			w.t.Fatal(err)
		}
		part := schema.NewPart(schema.PartStale, text)
		r.Statement.Parts, r.PartsTexts[part.Digest] = append(r.Statement.Parts, part), text
	}
	if _, err := w.st.AcceptReport(w.t.Context(), r, w.leaf("report")); err != nil {
		w.t.Fatal(err)
	}
}

func fixedIn(id, cve, source, fixed string, issued time.Time) advisory.Advisory {
	return advisory.Advisory{
		ID: id, Feed: "osv:Debian:12", Issued: issued, IssuedKind: advisory.DateAdvisory, Modified: issued,
		Vulnerabilities: []string{cve}, Rating: "High",
		Affected: []advisory.Affected{{
			Release: debian12, Format: schema.FormatDeb, Name: source, Kind: advisory.NameSource,
			Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
		}},
	}
}

// feed applies advisories as a snapshot.
func (w *world) feed(advs ...advisory.Advisory) {
	w.t.Helper()
	w.apply(advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: fmt.Sprintf("%x", w.clock.UnixNano()),
		Advisories: advs, Releases: []inventory.Release{debian12},
	})
}

func (w *world) apply(b advisory.Batch) {
	w.t.Helper()
	if _, err := w.st.ApplyBatch(w.t.Context(), b, w.clock, w.leaf("feed")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) assess() {
	w.t.Helper()
	if _, err := w.assessor.Drain(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) findings() map[string]finding.Finding {
	w.t.Helper()
	fs, err := w.st.AssetFindings(context.Background(), assetID)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]finding.Finding{}
	for _, f := range fs {
		out[f.Vulnerability+" "+f.Component] = f
	}
	return out
}

func (w *world) only(key string) finding.Finding {
	w.t.Helper()
	all := w.findings()
	f, ok := all[key]
	if !ok || len(all) != 1 {
		w.t.Fatalf("got findings %v, want only %q", keys(all), key)
	}
	return f
}

func keys(m map[string]finding.Finding) []string {
	var out []string
	for k, f := range m {
		out = append(out, k+"="+string(f.State))
	}
	return out
}

func (w *world) days(n int) { w.clock = w.clock.AddDate(0, 0, n) }

const opensslKey = "CVE-2026-0001 openssl"

var (
	opensslOld = deb("libssl3", "openssl", "3.0.11-1~deb12u1")
	opensslNew = deb("libssl3", "openssl", "3.0.14-1~deb12u2")
	opensslAdv = fixedIn("DSA-1", "CVE-2026-0001", "openssl", "3.0.14-1~deb12u2", start.AddDate(0, 0, -3))
)

func TestVulnerablePackageOpensAndUpgradeCloses(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.days(1)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	f := w.only(opensslKey)
	if f.State != finding.Open || !f.Detected.Equal(w.clock) || f.AvailableAdvisory != "DSA-1" || f.Severity != finding.High {
		t.Fatalf("got %+v, want open since %s, available by DSA-1, high", f, w.clock)
	}
	// §7.1 High, internet: 30 days from the advisory of 27 February.
	if f.Verdict.Due != "2026-03-29" {
		t.Errorf("got due %s, want 2026-03-29", f.Verdict.Due)
	}
	vulnerable := w.clock
	w.days(2)
	w.report(statement{sequence: 2, packages: []schema.Package{opensslNew}})
	w.assess()
	f = w.only(opensslKey)
	if f.State != finding.Fixed || !f.Closed.Equal(w.clock) || !f.SeenAt.Equal(vulnerable) {
		t.Errorf("got %s closed %s last seen %s, want fixed at %s, last seen %s", f.State, f.Closed, f.SeenAt, w.clock, vulnerable)
	}
	if !strings.Contains(f.Reason, "libssl3 3.0.11-1~deb12u1 replaced by 3.0.14-1~deb12u2") {
		t.Errorf("got reason %q, want the versions named", f.Reason)
	}
}

func TestRemovedPackageIsFixed(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld, deb("bash", "bash", "5.2-1")}})
	w.assess()
	w.report(statement{sequence: 2, packages: []schema.Package{deb("bash", "bash", "5.2-1")}})
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Fixed || f.Reason != "libssl3 removed" {
		t.Errorf("got %s (%s), want fixed, removed", f.State, f.Reason)
	}
}

func TestIncompleteReportClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	w.report(statement{sequence: 2, incomplete: true})
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s, want open: an inventory with a gap says nothing", f.State)
	}
}

func TestReleaseNoFeedCoversClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	w.report(statement{sequence: 2, packages: []schema.Package{opensslNew}, release: inventory.Release{Distro: "debian", Version: "13"}})
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s, want open: no feed covers debian:13", f.State)
	}
	as, err := w.st.Asset(t.Context(), assetID)
	if err != nil {
		t.Fatal(err)
	}
	if as.Covered {
		t.Error("got covered, want the asset shown as uncovered")
	}
}

func TestAdvisoryMissingFromSnapshotClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	w.days(1)
	w.feed(fixedIn("DSA-2", "CVE-2026-0002", "bash", "9", start))
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s, want open", f.State)
	}
}

func TestWithdrawnAdvisoryCloses(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	w.days(1)
	gone := opensslAdv
	gone.Withdrawn = &w.clock
	w.feed(gone)
	w.assess()
	f := w.only(opensslKey)
	if f.State != finding.NotAffected || !strings.Contains(f.Reason, "DSA-1 withdrawn by its publisher on 2026-03-03") {
		t.Errorf("got %s (%s), want not affected by withdrawal", f.State, f.Reason)
	}
}

func TestAdvisoryAfterReportIsDetectedWhenHeld(t *testing.T) {
	w := newWorld(t)
	w.feed(fixedIn("DSA-9", "CVE-2026-0009", "bash", "9", start))
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	w.days(5)
	w.feed(fixedIn("DSA-9", "CVE-2026-0009", "bash", "9", start), opensslAdv)
	w.assess()
	if f := w.only(opensslKey); !f.Detected.Equal(w.clock) {
		t.Errorf("got detected %s, want %s: the advisory came then", f.Detected, w.clock)
	}
}

func TestUncomparableVersionIsUndeterminedAndStaysOpen(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	odd := opensslNew
	odd.SourceVersion = "not a version"
	w.report(statement{sequence: 2, packages: []schema.Package{odd}})
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Open || !strings.HasPrefix(f.Reason, "undetermined") {
		t.Errorf("got %s (%s), want open and undetermined", f.State, f.Reason)
	}
	und, err := w.st.UndeterminedOf(t.Context(), assetID)
	if err != nil {
		t.Fatal(err)
	}
	if len(und) != 1 || und[0].Vulnerability != "CVE-2026-0001" {
		t.Errorf("got %+v, want the comparison listed as undetermined", und)
	}
}

func TestKernelFixedOnDiskWaitsForReboot(t *testing.T) {
	w := newWorld(t)
	const kernelKey = "CVE-2026-0100 linux"
	w.feed(fixedIn("DSA-100", "CVE-2026-0100", "linux", "6.1.140-1", start))
	old := deb("linux-image-6.1.0-30-amd64", "linux", "6.1.124-1")
	fixed := deb("linux-image-6.1.0-35-amd64", "linux", "6.1.140-1")
	w.report(statement{sequence: 1, kernel: "6.1.0-30-amd64", packages: []schema.Package{old}})
	w.assess()
	if f := w.only(kernelKey); f.State != finding.Open {
		t.Fatalf("got %s, want open", f.State)
	}
	w.days(1)
	w.report(statement{sequence: 2, kernel: "6.1.0-30-amd64", packages: []schema.Package{old, fixed}})
	w.assess()
	if f := w.only(kernelKey); f.State != finding.PendingReboot || f.Verdict.Due == "" {
		t.Fatalf("got %s due %q, want pending_reboot with the clock running", f.State, f.Verdict.Due)
	}
	w.days(1)
	w.report(statement{sequence: 3, kernel: "6.1.0-35-amd64", packages: []schema.Package{old, fixed}})
	w.assess()
	if f := w.only(kernelKey); f.State != finding.Fixed || !strings.Contains(f.Reason, "running kernel is now 6.1.0-35-amd64") {
		t.Errorf("got %s (%s), want fixed by the boot", f.State, f.Reason)
	}
}

func TestKernelNoPackageOwnsIsOneGap(t *testing.T) {
	w := newWorld(t)
	w.feed()
	told := schema.Gap{Extractor: "kernel", Kind: schema.GapUnowned, Detail: "the host's own words"}
	for i, gaps := range [][]schema.Gap{nil, {told}} {
		w.report(statement{sequence: uint64(i + 1), kernel: "6.18.44-custom", packages: []schema.Package{deb("bash", "bash", "5.2-1")}, gaps: gaps})
		w.assess()
		a, err := w.st.Asset(t.Context(), assetID)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Gaps) != 1 || a.Gaps[0].Extractor != told.Extractor || a.Gaps[0].Kind != told.Kind {
			t.Errorf("report with gaps %v: got %v, want the kernel's gap once", gaps, a.Gaps)
		}
	}
}

func TestUnownedRunningKernelClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(fixedIn("DSA-100", "CVE-2026-0100", "linux", "6.1.140-1", start))
	w.report(statement{sequence: 1, kernel: "6.1.0-30-amd64", packages: []schema.Package{deb("linux-image-6.1.0-30-amd64", "linux", "6.1.124-1")}})
	w.assess()
	w.report(statement{sequence: 2, kernel: "6.9-custom", packages: []schema.Package{deb("linux-image-6.1.0-35-amd64", "linux", "6.1.140-1")}})
	w.assess()
	if f := w.only("CVE-2026-0100 linux"); f.State != finding.Open {
		t.Errorf("got %s (%s), want open: nobody knows what the running kernel has", f.State, f.Reason)
	}
	as, err := w.st.Asset(t.Context(), assetID)
	if err != nil {
		t.Fatal(err)
	}
	if len(as.Gaps) != 1 || as.Gaps[0].Kind != schema.GapUnowned {
		t.Errorf("got gaps %+v, want the unowned kernel", as.Gaps)
	}
}

func TestReportWithoutPackagesClosesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	r := store.Report{
		ID: fmt.Sprintf("%064x", 2), Asset: assetID, Key: w.key, Sequence: 2, CollectedAt: w.clock, ReceivedAt: w.clock,
		Release: debian12, Raw: []byte("raw 2"), Road: "test",
		Statement: schema.Report{Sequence: 2, Gaps: []schema.Gap{{Extractor: "dpkg", Kind: schema.GapUnreadable}}},
	}
	if _, err := w.st.AcceptReport(t.Context(), r, w.leaf("report")); err != nil {
		t.Fatal(err)
	}
	w.assess()
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s (%s), want open", f.State, f.Reason)
	}
}

// TestOneFaultyAssetHoldsUpNobody: an asset whose part is gone keeps its mark,
// the others are assessed.
func TestOneFaultyAssetHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	other := strings.Repeat("cd", 32)
	if _, err := w.st.TrustKey(t.Context(), store.Asset{ID: "a-0", Name: "broken", Key: other, TrustedAt: start}, w.leaf("trust")); err != nil {
		t.Fatal(err)
	}
	text := "not a package line\n"
	part := schema.NewPart(schema.PartPackages, text)
	r := store.Report{
		ID: strings.Repeat("e", 64), Asset: "a-0", Key: other, Sequence: 1, CollectedAt: w.clock, ReceivedAt: w.clock,
		Release: debian12, SetDigest: part.Digest, Complete: true, Raw: []byte("raw"), Road: "test",
		Statement:  schema.Report{Sequence: 1, Parts: []schema.Part{part}},
		PartsTexts: map[string]string{part.Digest: text},
	}
	if _, err := w.st.AcceptReport(t.Context(), r, w.leaf("report")); err != nil {
		t.Fatal(err)
	}
	n, err := w.assessor.Drain(t.Context())
	if n != 1 || err == nil || !strings.Contains(err.Error(), "a-0") {
		t.Errorf("got %d assessed and %v, want the sound asset assessed and the other named", n, err)
	}
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s, want open", f.State)
	}
	marks, err := w.st.DirtyAssets(t.Context(), 10)
	if err != nil || len(marks) != 1 || marks[0].Asset != "a-0" {
		t.Errorf("got marks %v, %v, want the faulty asset still marked", marks, err)
	}
}

// What one host says may not be read; the assets that are marked with it are
// assessed all the same, and it is named.
func TestAnAssetThatCannotBeClassifiedHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	if _, err := w.st.TrustKey(t.Context(), store.Asset{ID: "a-0", Name: "odd", Key: strings.Repeat("cd", 32), TrustedAt: start}, w.leaf("trust")); err != nil {
		t.Fatal(err)
	}
	if err := w.st.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asked [][]string
	w.assessor.Classify = func(_ context.Context, assets []string) error {
		asked = append(asked, assets)
		if slices.Contains(assets, "a-0") {
			return errors.New("its labels hold no text")
		}
		return nil
	}
	n, err := w.assessor.Drain(t.Context())
	if n != 1 || err == nil || !strings.Contains(err.Error(), "a-0") || !strings.Contains(err.Error(), "its labels") {
		t.Errorf("got %d assessed and %v, want the other asset assessed and this one named", n, err)
	}
	if f := w.only(opensslKey); f.State != finding.Open {
		t.Errorf("got %s, want open", f.State)
	}
	if marks, err := w.st.DirtyAssets(t.Context(), 10); err != nil || len(marks) != 1 || marks[0].Asset != "a-0" {
		t.Errorf("got marks %v, %v, want it still marked", marks, err)
	}
	if diff := cmp.Diff([][]string{{"a-0", assetID}, {"a-0"}, {assetID}}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	w.assessor.Classify = func(context.Context, []string) error { return nil }
	w.assess()
}

func TestKEVListingMovesTheDate(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	before := w.only(opensslKey).Verdict
	w.days(1)
	w.apply(advisory.Batch{
		Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "kev1",
		Facts: []advisory.Facts{{Vulnerability: "CVE-2026-0001", KEV: &advisory.KEV{Added: "2026-03-03", Due: "2026-03-24"}}},
	})
	w.assess()
	f := w.only(opensslKey)
	if !f.KEV || f.Verdict.Cycle != "zero_day" || f.Verdict.Priority != "P0" || f.Verdict.Due >= before.Due || f.Verdict.MitigateBy.IsZero() {
		t.Errorf("got kev %t cycle %s priority %s due %s (was %s), want a Zero-Day with an earlier date", f.KEV, f.Verdict.Cycle, f.Verdict.Priority, f.Verdict.Due, before.Due)
	}
}

func TestUnchangedReportWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	before := w.only(opensslKey)
	w.days(1)
	w.report(statement{sequence: 2, packages: []schema.Package{opensslOld}})
	leaves, err := w.st.LeafCount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.assess()
	after, err := w.st.LeafCount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after != leaves {
		t.Errorf("got %d new leaves, want none: nothing changed", after-leaves)
	}
	if d := cmp.Diff(before, w.only(opensslKey)); d != "" {
		t.Errorf("finding changed (-before +after):\n%s", d)
	}
}

// TestOrderOfArrivalLeavesNoTrace feeds the same four reports in every order,
// assessing after each, and wants the same findings.
func TestOrderOfArrivalLeavesNoTrace(t *testing.T) {
	statements := []statement{
		{sequence: 1, packages: []schema.Package{opensslOld}},
		{sequence: 2, packages: []schema.Package{opensslNew}},
		{sequence: 3, packages: []schema.Package{opensslOld, deb("bash", "bash", "5.2-1")}},
		{sequence: 4, packages: []schema.Package{opensslNew, deb("bash", "bash", "5.2-1")}},
	}
	bashAdv := fixedIn("DSA-7", "CVE-2026-0007", "bash", "5.2-2", start)
	var want map[string]finding.Finding
	permute(len(statements), func(order []int) {
		w := newWorld(t)
		w.feed(opensslAdv, bashAdv)
		for _, i := range order {
			w.report(statements[i])
			w.assess()
		}
		got := w.findings()
		if want == nil {
			want = got
			return
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("order %v leaves another database (-in order +this):\n%s", order, d)
		}
	})
	if f := want[opensslKey]; f.State != finding.Fixed || f.DetectedReport != fmt.Sprintf("%064x", 1) {
		t.Errorf("got %s detected by %s, want fixed, detected by the first report", f.State, f.DetectedReport)
	}
}

// permute calls f with every order of n things, the identity first.
func permute(n int, f func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var rec func(k int)
	rec = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			rec(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	rec(0)
}

// TestDateWithoutATimeIsThatDayEverywhere: publishers write a date as midnight
// UTC; west of Greenwich that instant is the day before.
func TestDateWithoutATimeIsThatDayEverywhere(t *testing.T) {
	w := newWorld(t)
	_, src := policy.Default()
	src = []byte(strings.ReplaceAll(string(src), "Europe/Dublin", "America/New_York"))
	p, _, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: start}, w.leaf("policy")); err != nil {
		t.Fatal(err)
	}
	adv := opensslAdv
	adv.Issued = time.Date(2026, 2, 20, 0, 0, 0, 0, time.UTC)
	w.feed(adv)
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld}})
	w.assess()
	if got := w.only(opensslKey).Verdict.ClockStart; got != "2026-02-20" {
		t.Errorf("got clock start %s, want the publisher's day 2026-02-20", got)
	}
}
