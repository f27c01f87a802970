package api_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// estateWorld is a collector that hosts, publishers and operators act on, asked
// over its API.
type estateWorld struct {
	*fixture
	t        *testing.T
	assessor *assess.Assessor
	estate   *estate.Service
	policies *standard.Keeper
	log      *evidence.Log
	sequence map[string]uint64
	acts     int
}

var (
	hostNames = []string{"web", "db", "wallet"}
	packages  = []string{"openssl", "sudo", "zlib"}
	debian12  = inventory.Release{Distro: "debian", Version: "12"}
)

func newEstateWorld(t *testing.T) *estateWorld {
	t.Helper()
	w := &estateWorld{fixture: newFixture(t), t: t, sequence: map[string]uint64{}}
	clock := func() time.Time { return w.clock }
	quiet := slog.New(slog.DiscardHandler)
	w.estate = &estate.Service{Store: w.st, Now: clock, Log: quiet}
	w.assessor = assess.New(w.st, clock, quiet)
	w.assessor.Classify = w.estate.Refresh
	w.policies = &standard.Keeper{Store: w.st, Now: clock}
	keys, err := trust.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	must(t, err)
	w.log, err = evidence.OpenLog(t.Context(), evidence.Options{
		Store: w.st, Signer: keys.Log, Verifier: keys.LogVerifier, HeadFile: filepath.Join(t.TempDir(), "head"), Now: clock,
	})
	must(t, err)
	_, src := policy.Default()
	_, err = w.policies.Apply(t.Context(), standard.Request{Source: src}, "ada")
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pass lets time pass and then everybody who works by the clock work.
func (w *estateWorld) pass(d time.Duration) {
	w.t.Helper()
	w.clock = w.clock.Add(d)
	w.acts++
	_, err := w.assessor.Drain(w.t.Context())
	must(w.t, err)
	_, err = w.log.Integrate(w.t.Context())
	must(w.t, err)
}

func (w *estateWorld) key(host string) string {
	seed := sha256.Sum256([]byte(host))
	return schema.KeyID(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

func (w *estateWorld) trust(host string) {
	a := store.Asset{ID: "a-" + host, Name: host, Key: w.key(host), TrustedAt: w.clock, Declared: classify.Declared{By: "ada", At: w.clock}}
	l, err := evidence.TrustLeaf(a, "ada", w.clock)
	must(w.t, err)
	_, err = w.st.TrustKey(w.t.Context(), a, l)
	must(w.t, err)
}

// report takes in what a host runs: versions by package.
func (w *estateWorld) report(host string, sequence uint64, installed map[string]string, gaps ...schema.Gap) {
	w.t.Helper()
	var list []schema.Package
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		list = append(list, schema.Package{
			Format: schema.FormatDeb, Name: "lib" + name, Version: installed[name], Release: "1", Arch: "amd64",
			Source: name, SourceVersion: installed[name] + "-1", Status: "installed",
		})
	}
	text, err := schema.EncodePackages(list)
	must(w.t, err)
	part := schema.NewPart(schema.PartPackages, text)
	r := store.Report{
		ID: fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, host, sequence))), Asset: "a-" + host, Key: w.key(host), Sequence: sequence,
		CollectedAt: w.clock.Add(-time.Minute), ReceivedAt: w.clock, Release: debian12, SetDigest: part.Digest, Complete: len(gaps) == 0,
		Raw: fmt.Append(nil, host, sequence), Road: "test", PartsTexts: map[string]string{part.Digest: text},
		Statement: schema.Report{
			Sequence: sequence, CollectedAt: w.clock.Add(-time.Minute), Parts: []schema.Part{part}, Gaps: gaps,
			Host: schema.Host{Hostname: host}, Cloud: &schema.Cloud{Provider: "aws", InstanceID: "i-" + host, AccountID: "111122223333"},
		},
	}
	l, err := evidence.ReportLeaf(r)
	must(w.t, err)
	_, err = w.st.AcceptReport(w.t.Context(), r, l)
	must(w.t, err)
}

// feed publishes, as a snapshot, a fixed version of each package.
func (w *estateWorld) feed(fixed map[string]string) {
	w.t.Helper()
	b := advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian:12", Kind: "osv"}, Snapshot: true, Digest: fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, w.clock))),
		Releases: []inventory.Release{debian12}, Published: w.clock.Add(-time.Hour),
	}
	for _, name := range slices.Sorted(maps.Keys(fixed)) {
		b.Advisories = append(b.Advisories, advisory.Advisory{
			ID: "DSA-" + name, Feed: b.Feed.Name, Issued: w.clock.Add(-48 * time.Hour), IssuedKind: advisory.DateAdvisory, Rating: "High",
			Vulnerabilities: []string{"CVE-2026-" + name}, Summary: fixed[name],
			Affected: []advisory.Affected{{
				Release: debian12, Format: schema.FormatDeb, Name: name, Kind: advisory.NameSource,
				Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed[name] + "-1"}},
			}},
		})
	}
	w.apply(b)
}

func (w *estateWorld) apply(b advisory.Batch) {
	w.t.Helper()
	l, err := evidence.FeedLeaf(b, "", "", w.clock)
	must(w.t, err)
	_, err = w.st.ApplyBatch(w.t.Context(), b, w.clock, l)
	must(w.t, err)
}

// listings are the lists, and facts, of vulnerabilities.
func (w *estateWorld) listings(kev []string, epss map[string]float64) {
	w.t.Helper()
	b := advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: fmt.Sprint("kev", w.clock.Unix())}
	for _, name := range kev {
		b.Facts = append(b.Facts, advisory.Facts{Vulnerability: "CVE-2026-" + name, KEV: &advisory.KEV{Added: w.clock.Format(time.DateOnly), Due: w.clock.AddDate(0, 0, 14).Format(time.DateOnly)}})
	}
	w.apply(b)
	b = advisory.Batch{Feed: advisory.Feed{Name: "epss", Kind: "epss"}, Snapshot: true, Digest: fmt.Sprint("epss", w.clock.Unix())}
	for name, score := range epss {
		b.Facts = append(b.Facts, advisory.Facts{Vulnerability: "CVE-2026-" + name, EPSS: &advisory.EPSS{Score: score}})
	}
	w.apply(b)
}

func (w *estateWorld) relabel(host, name, owner string) {
	w.t.Helper()
	at := store.Attributes{Owner: owner}
	l, err := evidence.AttributesLeaf("a-"+host, name, at, "ada", w.clock)
	must(w.t, err)
	_, err = w.st.SetAttributes(w.t.Context(), "a-"+host, name, at, l)
	must(w.t, err)
}

// asOfQuestions are all questions that can be asked of the past, by the API's own
// document.
func (w *estateWorld) asOfQuestions() []string {
	w.t.Helper()
	_, _, body := w.get(w.t, "/v1/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	must(w.t, json.Unmarshal([]byte(body), &doc))
	var out []string
	for path, methods := range doc.Paths {
		for _, p := range methods["get"].Parameters {
			if p.Name == "as_of" {
				out = append(out, w.paths(path)...)
			}
		}
	}
	slices.Sort(out)
	return out
}

// paths are the questions of one path: each thing it can name, each way to group
// and sort.
func (w *estateWorld) paths(path string) []string {
	w.t.Helper()
	stem, _, one := strings.Cut(path, "{id}")
	tail := strings.TrimPrefix(path, stem+"{id}")
	switch {
	case strings.HasPrefix(path, "/v1/findings/") && one:
		var out []string
		for _, p := range packages {
			out = append(out, stem+finding.ID("a-web", "CVE-2026-"+p, p)+tail)
		}
		return out
	case strings.HasPrefix(path, "/v1/vulnerabilities/"):
		return []string{stem + "CVE-2026-openssl", stem + "CVE-2026-zlib"}
	case one:
		return []string{stem + "a-web" + tail, stem + "a-wallet" + tail}
	case path == "/v1/findings":
		out := []string{path, path + "?open=true", path + "?owner=ada", path + "?package=libzlib", path + "?limit=2", path + "?flag=target_missed"}
		return append(out, path+"?sort=-asset,severity", path+"?view=kev-internet&sort=-detected", path+"?view=unowned")
	case path == "/v1/summary":
		return []string{path, path + "?kev=true", path + "?owner=ada,bob&by=severity", path + "?by=owner", path + "?by=environment"}
	default:
		return []string{path}
	}
}

// answersAt asks everything as of a moment.
func (w *estateWorld) answersAt(questions []string, moment string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for _, q := range questions {
		sep := "?"
		if strings.Contains(q, "?") {
			sep = "&"
		}
		status, _, body := w.get(w.t, q+sep+"as_of="+url.QueryEscape(moment), w.token)
		if status != http.StatusOK && status != http.StatusNotFound {
			w.t.Fatalf("%s as of %s: got status %d: %s", q, moment, status, body)
		}
		if status == http.StatusOK {
			out[q] = body
		} else if out[q] = "not found"; strings.HasPrefix(q, "/v1/assets") {
			w.t.Fatalf("%s as of %s: %s", q, moment, body) // there from the beginning
		}
	}
	return out
}

// kinds are what can happen to a collector.
var kinds = []string{"report", "late", "gap", "feed", "facts", "relabel", "rules", "list", "policy", "wait"}

// act lets something of a kind happen, in a way that is drawn.
func (w *estateWorld) act(rt *rapid.T, kind string) {
	host := rapid.SampledFrom(hostNames).Draw(rt, "host")
	versions := func() map[string]string {
		out := map[string]string{}
		for _, p := range packages {
			if v := rapid.IntRange(0, 4).Draw(rt, p); v > 0 {
				out[p] = fmt.Sprint(v)
			}
		}
		return out
	}
	switch kind {
	case "report":
		w.sequence[host] += 2
		w.report(host, w.sequence[host], versions())
	case "gap":
		w.sequence[host] += 2
		w.report(host, w.sequence[host], versions(), schema.Gap{Extractor: "dpkg", Kind: "unreadable", Detail: "x"})
	case "late": // a bundle that was on its way
		if w.sequence[host] > 2 && w.sequence[host]%2 == 0 {
			w.report(host, w.sequence[host]-1, versions())
			w.sequence[host]++
		}
	case "feed":
		w.feed(versions())
	case "facts":
		epss := map[string]float64{}
		for _, p := range packages {
			epss[p] = float64(rapid.IntRange(0, 9).Draw(rt, "epss")) / 10
		}
		w.listings(rapid.SliceOfDistinct(rapid.SampledFrom(packages), rapid.ID).Draw(rt, "kev"), epss)
	case "relabel":
		w.relabel(host, rapid.SampledFrom([]string{host, host + "-new"}).Draw(rt, "name"), rapid.SampledFrom([]string{"ada", "bob", ""}).Draw(rt, "owner"))
	case "rules":
		env := rapid.SampledFrom([]string{"production", "nonproduction"}).Draw(rt, "environment")
		_, err := w.estate.ApplyRules(w.t.Context(), []byte("version: 1\nrules:\n  - id: all\n    match: {name: [web, db]}\n    set: {environment: "+env+", exposure: internal}\n"), "ada")
		must(w.t, err)
	case "list":
		owner := rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(rt, "owner")
		state := rapid.SampledFrom([]string{"running", "terminated"}).Draw(rt, "state")
		_, err := w.estate.Import(w.t.Context(), estate.List{
			Source: "cmdb", File: "f.csv", By: "ada", Data: []byte("name,owner,state\n" + host + "," + owner + "," + state + "\nghost," + owner + ",running\n"),
		})
		must(w.t, err)
	case "policy":
		days := rapid.SampledFrom([]string{"20", "25", "30"}).Draw(rt, "days")
		_, src := policy.Default()
		changed := strings.Replace(string(src), "days: 30", "days: "+days, 1)
		_, err := w.policies.Apply(w.t.Context(), standard.Request{Source: []byte(changed), AcceptLooser: true}, "ada")
		must(w.t, err)
	}
	w.pass(time.Duration(rapid.SampledFrom([]int{1, 60, 24 * 60, 9 * 24 * 60}).Draw(rt, "minutes")) * time.Minute)
}

// TestAnswersOnThePastNeverChange: an answer as of a moment is byte for byte the
// same whenever it is asked, whatever arrived since.
func TestAnswersOnThePastNeverChange(t *testing.T) {
	few(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := newEstateWorld(t)
		for _, h := range hostNames {
			w.trust(h)
			w.pass(time.Minute)
		}
		w.feed(map[string]string{"openssl": "2", "zlib": "3"})
		w.report("web", 1, map[string]string{"openssl": "1", "zlib": "1"})
		w.pass(time.Hour)
		questions := w.asOfQuestions()
		type answer struct {
			moment string
			said   map[string]string
		}
		var told []answer
		for range 5 {
			w.act(rt, rapid.SampledFrom(kinds).Draw(rt, "act"))
			at := w.clock.Add(-time.Duration(rapid.SampledFrom([]int64{1, int64(time.Second), int64(time.Hour)}).Draw(rt, "ago")) - time.Nanosecond)
			moment := at.Format(time.RFC3339Nano)
			if day := at.AddDate(0, 0, -1); rapid.Bool().Draw(rt, "day") && day.After(now.AddDate(0, 0, 1)) {
				moment = day.Format(time.DateOnly)
			}
			told = append(told, answer{moment, w.answersAt(questions, moment)})
		}
		w.periods(rt, told[0].moment, told[len(told)-1].moment)
		for _, kind := range kinds { // whatever arrives later
			w.act(rt, kind)
		}
		found := false
		for _, a := range told {
			for q, again := range w.answersAt(questions, a.moment) {
				found = found || strings.HasPrefix(q, "/v1/findings/") && again != "not found"
				if again != a.said[q] {
					rt.Fatalf("%s as of %s: was\n%s\nis\n%s", q, a.moment, a.said[q], again)
				}
			}
		}
		if !found {
			rt.Error("no finding was ever found: nothing was asked of one")
		}
	})
}

// few bounds how often a property is tried that costs seconds each time, unless
// somebody asks for a number.
func few(t *testing.T) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	must(t, f.Value.Set("2"))
	t.Cleanup(func() { must(t, f.Value.Set(f.DefValue)) })
}

// periods holds what is said of a period against what is said as of its ends.
func (w *estateWorld) periods(rt *rapid.T, from, to string) {
	w.t.Helper()
	if len(from) == len(time.DateOnly) || len(to) == len(time.DateOnly) || from >= to {
		return // the start of a day is not its end
	}
	ask := func(path string, into any) {
		status, _, body := w.get(w.t, path, w.token)
		if status != http.StatusOK {
			rt.Fatalf("%s: got status %d: %s", path, status, body)
		}
		must(w.t, json.Unmarshal([]byte(body), into))
	}
	for _, filter := range []string{"", "&owner=ada", "&kev=true&severity=high"} {
		var before, after, all query.Summary
		var breaches query.BreachList
		ask("/v1/summary?as_of="+url.QueryEscape(from)+filter, &before)
		ask("/v1/summary?as_of="+url.QueryEscape(to)+filter, &after)
		period := "/v1/summary?by=environment&from=" + url.QueryEscape(from) + "&to=" + url.QueryEscape(to) + filter
		ask(period, &all)
		ask("/v1/breaches?limit=10000&as_of="+url.QueryEscape(to)+"&breached_after="+url.QueryEscape(all.Period.From.Format(time.RFC3339Nano))+filter, &breaches)
		p := all.Period
		if p.OpenAtStart+p.Detected+p.Reopened-p.Closed != p.OpenAtEnd || p.OpenAtEnd != after.Findings.Running || filter == "" && p.OpenAtStart != before.Findings.Running {
			rt.Fatalf("%s does not balance: %+v; as of its start %d run, as of its end %d", period, p.PeriodCounts, before.Findings.Running, after.Findings.Running)
		}
		if ended := p.FixedOnTime + p.FixedLate + p.NotAffected + p.NotRunning + p.RetiredInTime + p.RetiredOverdue; ended != p.Closed {
			rt.Fatalf("%s: outcomes are %d, closed %d", period, ended, p.Closed)
		}
		if p.Breached+p.Unmitigated != breaches.Count {
			rt.Fatalf("%s: %d and %d breaches, the list has %d", period, p.Breached, p.Unmitigated, breaches.Count)
		}
		seen := map[string]bool{}
		for _, b := range breaches.Breaches {
			if k := string(b.Kind) + b.Finding.ID; seen[k] {
				rt.Fatalf("breach %s is listed twice", k)
			} else {
				seen[k] = true
			}
			if len(b.Why) == 0 {
				rt.Fatalf("breach of %s does not say why", b.Finding.ID)
			}
		}
		var sum query.PeriodCounts
		for _, r := range p.Rows {
			sum.OpenAtStart += r.OpenAtStart
			sum.Detected += r.Detected
			sum.Closed += r.Closed
			sum.OpenAtEnd += r.OpenAtEnd
			sum.Breached += r.Breached
		}
		if sum.OpenAtStart != p.OpenAtStart || sum.Detected != p.Detected || sum.Closed != p.Closed || sum.OpenAtEnd != p.OpenAtEnd || sum.Breached != p.Breached {
			rt.Fatalf("%s: its rows sum to %+v, the whole is %+v", period, sum, p.PeriodCounts)
		}
	}
}
