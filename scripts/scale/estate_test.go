// Package scale asks a drawn estate what people ask of theirs, and holds the
// answers and the acts against what they may take. The estate is made by the
// program's own work: lists are imported, reports taken in, feeds applied and
// every asset assessed, so that what is measured is what a collector holds.
package scale

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

var (
	// now is the day the estate is asked.
	now      = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)
	debian12 = inventory.Release{Distro: "debian", Version: "12"}
)

const (
	// sources are the source packages there are, fixes how many advisories each has:
	// the k-th is fixed in version k, so a host of version v has the others.
	sources = 1000
	fixes   = 20
	// installed are the packages of a host.
	installed = 250
)

// size is how large a drawn estate is. A host has ten findings of each source
// package that is old on it, two of which are old everywhere.
type size struct{ assets, findings int }

// world is a collector's parts over one drawn estate, at work.
type world struct {
	t        testing.TB
	size     size
	store    *sqlstore.Store
	assessor *assess.Assessor
	estate   *estate.Service
	importer *feed.Importer
	query    *query.Service
	now      time.Time
	// next is the sequence of the next report of each host.
	next map[int]uint64
}

// open gives the parts over a database, which is drawn when it is not there.
func open(t testing.TB, path string, s size) *world {
	t.Helper()
	_, err := os.Stat(path)
	drawn := err == nil
	st, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w := &world{t: t, size: s, store: st, now: now, next: map[int]uint64{}}
	log, clock := slog.New(slog.DiscardHandler), func() time.Time { return w.now }
	w.estate = &estate.Service{Store: st, Now: clock, Log: log}
	w.assessor = assess.New(st, clock, log)
	w.assessor.Classify = w.estate.Refresh
	w.importer = &feed.Importer{Store: st, Now: clock, Log: log}
	w.query = &query.Service{Store: st, Now: clock}
	if !drawn {
		w.draw(path)
	}
	return w
}

func (w *world) draw(path string) {
	w.t.Helper()
	from := time.Now()
	w.policy()
	w.feeds()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range w.size.assets {
		w.trust(i)
		w.now = now.AddDate(0, 0, -60-r.IntN(120))
		w.report(i, w.first(i))
		if i%4 != 0 {
			w.now = now.AddDate(0, 0, -r.IntN(60)).Add(-time.Hour)
			w.report(i, w.second(i))
		}
	}
	w.now = now
	w.list()
	w.drain()
	info, err := os.Stat(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%d assets, %d findings drawn in %s, %d MiB", w.size.assets, w.size.findings, time.Since(from).Round(time.Second), info.Size()>>20)
}

// in is the world within a test.
func (w *world) in(t testing.TB) *world {
	n := *w
	n.t = t
	return &n
}

func (w *world) leaf(kind string) store.Leaf {
	w.t.Helper()
	l, err := evidence.LeafFor(kind, w.now, map[string]string{"by": "ada"})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) policy() {
	w.t.Helper()
	w.now = now.AddDate(-1, 0, 0)
	p, src := policy.Default()
	rec := store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: w.now, By: "ada"}
	if _, err := w.store.ApplyPolicy(w.t.Context(), rec, w.leaf("policy")); err != nil {
		w.t.Fatal(err)
	}
}

// feeds applies the advisories of every source package, what EPSS says of five
// times as many vulnerabilities, and a few listed as known exploited.
func (w *world) feeds() {
	w.t.Helper()
	w.now = now.AddDate(0, 0, -200)
	osv := advisory.Batch{Feed: advisory.Feed{Name: "osv:Debian", Kind: "osv"}, Snapshot: true, Digest: "osv", Releases: []inventory.Release{debian12}}
	for p := range sources {
		for k := 1; k <= fixes; k++ {
			issued := now.AddDate(0, 0, -(p*7+k*11)%240)
			osv.Advisories = append(osv.Advisories, advisory.Advisory{
				ID: fmt.Sprintf("DSA-%d-%d", p, k), Feed: osv.Feed.Name, Issued: issued, IssuedKind: advisory.DateAdvisory, Modified: issued,
				Rating: []string{"Critical", "High", "High", "Medium", "Medium", "Medium", "Low"}[(p+k)%7], Vulnerabilities: []string{vulnerability(p, k)},
				Affected: []advisory.Affected{{
					Release: debian12, Format: schema.FormatDeb, Name: source(p), Kind: advisory.NameSource,
					Ranges: []advisory.Range{{Introduced: "0", Fixed: fmt.Sprintf("1.%d-1", k)}},
				}},
			})
		}
	}
	epss := advisory.Batch{Feed: advisory.Feed{Name: "epss", Kind: "epss"}, Snapshot: true, Digest: "epss"}
	for i := range 5 * sources * fixes {
		epss.Facts = append(epss.Facts, advisory.Facts{Vulnerability: fmt.Sprint("CVE-2026-", 10_000+i), EPSS: &advisory.EPSS{Score: float64(i%97) / 100}})
	}
	for _, b := range []advisory.Batch{osv, epss, kev("kev-1", exploited...)} {
		w.apply(b)
	}
}

// exploited are listed as known exploited from the beginning.
var exploited = []string{vulnerability(0, 15), vulnerability(40, 12), vulnerability(700, 14), vulnerability(701, 19)}

// kev is a catalogue that lists vulnerabilities since today.
func kev(digest string, listed ...string) advisory.Batch {
	b := advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: digest}
	for _, v := range listed {
		b.Facts = append(b.Facts, advisory.Facts{Vulnerability: v, KEV: &advisory.KEV{Added: "2026-06-10", Due: "2026-07-01"}})
	}
	return b
}

func (w *world) apply(b advisory.Batch) feed.Outcome {
	w.t.Helper()
	out, err := w.importer.Import(w.t.Context(), b, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func source(p int) string {
	if p < 6 {
		return []string{"glibc", "openssl", "curl", "systemd", "nginx", "zlib"}[p]
	}
	return fmt.Sprintf("src-%03d", p)
}

func vulnerability(p, k int) string { return fmt.Sprint("CVE-2026-", 10_000+p*fixes+k-1) }

func asset(i int) string { return fmt.Sprintf("a-%05d", i) }

func key(i int) string {
	seed := sha256.Sum256([]byte(asset(i)))
	return schema.KeyID(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

func (w *world) trust(i int) {
	w.t.Helper()
	w.now = now.AddDate(0, 0, -190)
	a := store.Asset{ID: asset(i), Name: fmt.Sprintf("host-%05d", i), Key: key(i), TrustedAt: w.now}
	l, err := evidence.TrustLeaf(a, "ada", w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.TrustKey(w.t.Context(), a, l); err != nil {
		w.t.Fatal(err)
	}
}

// old are the source packages that are old on a host at first: the first two
// on every host, then others, as many as the size asks for.
func (w *world) old(i int) []int {
	out := []int{0, 1}
	r := rand.New(rand.NewPCG(3, uint64(i)))
	for n := w.size.findings / w.size.assets / (fixes / 2); len(out) < n; {
		if p := 2 + r.IntN(installed-2); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// first is what a host has at first: the version of each of its source packages.
func (w *world) first(i int) map[int]int {
	v := map[int]int{}
	for p := range installed {
		v[w.nth(i, p)] = fixes
	}
	for _, p := range w.old(i) {
		v[w.nth(i, p)] = fixes / 2
	}
	return v
}

// second is a host after an upgrade of about half of what was old.
func (w *world) second(i int) map[int]int {
	v := w.first(i)
	for n, p := range w.old(i) {
		if n%2 == 1 {
			v[w.nth(i, p)] = fixes
		}
	}
	return v
}

// nth is the n-th source package of a host. Two in five are on every host.
func (w *world) nth(i, n int) int {
	if n < installed*2/5 {
		return n
	}
	return installed*2/5 + (n+i*37)%(sources-installed*2/5)
}

// report takes in what a host has, at the world's time.
func (w *world) report(i int, versions map[int]int) {
	w.t.Helper()
	w.accept(i, versions, nil)
}

// accept is report of a host that also says something of itself.
func (w *world) accept(i int, versions map[int]int, labels map[string]string) {
	w.t.Helper()
	packages := make([]schema.Package, 0, len(versions))
	for p, v := range versions {
		packages = append(packages, schema.Package{
			Format: schema.FormatDeb, Name: "lib" + source(p), Version: fmt.Sprintf("1.%d", v), Release: "1", Arch: "amd64",
			Source: source(p), SourceVersion: fmt.Sprintf("1.%d-1", v), Status: "installed",
		})
	}
	text, err := schema.EncodePackages(packages)
	if err != nil {
		w.t.Fatal(err)
	}
	seq := w.sequence(i)
	part := schema.NewPart(schema.PartPackages, text)
	id := sha256.Sum256(fmt.Append(nil, i, seq))
	r := store.Report{
		ID: hex.EncodeToString(id[:]), Asset: asset(i), Key: key(i), Sequence: seq, CollectedAt: w.now, ReceivedAt: w.now, Release: debian12,
		SetDigest: part.Digest, Complete: true, Raw: fmt.Append(nil, "raw ", i, seq), Road: "nats",
		Statement: schema.Report{
			Sequence: seq, CollectedAt: w.now, TransportKey: "U" + asset(i), Parts: []schema.Part{part}, Labels: labels,
			Cloud: &schema.Cloud{Provider: "aws", InstanceID: fmt.Sprintf("i-%017x", i), AccountID: account(i), Region: region(i)},
		},
		PartsTexts: map[string]string{part.Digest: text},
	}
	l, err := evidence.ReportLeaf(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.AcceptReport(w.t.Context(), r, l); err != nil {
		w.t.Fatal(err)
	}
}

// sequence numbers a host's reports on from what the store has.
func (w *world) sequence(i int) uint64 {
	if w.next[i] == 0 {
		w.next[i] = 1
		if a, err := w.store.Asset(w.t.Context(), asset(i)); err == nil && a.Head != nil {
			w.next[i] = a.Head.Sequence + 1
		}
	}
	w.next[i]++
	return w.next[i] - 1
}

func service(i int) int { return i * 7919 % 60 }

func account(i int) string { return fmt.Sprintf("%012d", service(i)%40) }

func region(i int) string {
	return []string{"eu-west-1", "eu-central-1", "us-east-1", "ap-south-1"}[i%4]
}

// list imports what the company's inventory says of every asset.
func (w *world) list() {
	w.t.Helper()
	var csv strings.Builder
	_, _ = io.WriteString(&csv, "instance_id,account,region,ou,service,owner,exposure,environment,crown_jewel\n")
	for i := range w.size.assets {
		s := service(i)
		owner, jewel := fmt.Sprint("team-", s%31), "no"
		if i%10 == 0 {
			owner = ""
		}
		if s < 3 {
			jewel = "yes"
		}
		fmt.Fprintf(&csv, "i-%017x,%s,%s,ou-%d,service-%d,%s,%s,%s,%s\n", i, account(i), region(i), s%12, s, owner,
			[]sla.Exposure{sla.Internal, sla.Internal, sla.Internet, ""}[i%4], []sla.Environment{sla.Production, sla.NonProduction, ""}[i%3], jewel)
	}
	out, err := w.estate.Import(w.t.Context(), estate.List{Source: "cmdb", File: "cmdb.csv", Data: []byte(csv.String()), By: "ada"})
	if err != nil {
		w.t.Fatal(err)
	}
	if out.Matched != w.size.assets {
		w.t.Fatalf("got %d of %d assets listed", out.Matched, w.size.assets)
	}
	a, err := w.store.Asset(w.t.Context(), asset(7))
	if err != nil || a.Classified.Provenance[classify.Service].Name != "cmdb" {
		w.t.Fatalf("got %+v (%v), want the list's word", a.Classified, err)
	}
}

func (w *world) drain() int {
	w.t.Helper()
	n, err := w.assessor.Drain(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// database is where an estate of a size is, or will be. Those of
// PATCHPROOF_SCALE_DIR stay for the next time.
func database(t testing.TB, s size) string {
	t.Helper()
	dir := os.Getenv("PATCHPROOF_SCALE_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	return filepath.Join(dir, fmt.Sprintf("%dx%d.db", s.assets, s.findings))
}
