package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/schema"
)

// matchDir holds the files of one match.
type matchDir struct{ dir string }

func newMatchDir(t *testing.T) matchDir { return matchDir{t.TempDir()} }

func (d matchDir) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// feed writes one OSV record of an AlmaLinux 9 package.
func (d matchDir) feed(t *testing.T, id, summary, name, fixed string, cves ...string) string {
	t.Helper()
	related, _ := json.Marshal(cves)
	return d.write(t, strings.ReplaceAll(id, ":", "-")+".json", fmt.Sprintf(`{"id":%q,"summary":%q,"published":"2026-01-02T00:00:00Z","modified":"2026-01-02T00:00:00Z",
		"related":%s,"affected":[{"package":{"ecosystem":"AlmaLinux:9","name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`,
		id, summary, related, name, fixed))
}

func (d matchDir) sbom(t *testing.T, purls ...string) string {
	t.Helper()
	var cs []string
	for _, p := range purls {
		cs = append(cs, fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, p))
	}
	return d.write(t, "sbom.cdx.json", `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[`+strings.Join(cs, ",")+`]}`)
}

const (
	bashPURL = "pkg:rpm/almalinux/bash@5.1.8-6.el9?arch=x86_64&distro=almalinux-9.3"
	zlibPURL = "pkg:rpm/almalinux/zlib@1.2.11-1.el9?arch=x86_64&distro=almalinux-9.3"
)

func runMatch(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"match"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestMatchJSONIsAsPromised(t *testing.T) {
	d := newMatchDir(t)
	sbom := d.sbom(t, zlibPURL, bashPURL, "pkg:rpm/almalinux/bash@5.1.8-6.el9?arch=i686&distro=almalinux-9.3", "pkg:npm/left-pad@1.0.0", "pkg:rpm/almalinux/broken?distro=almalinux-9")
	args := []string{
		"--sbom", sbom, "-o", "json",
		"--feed", d.feed(t, "ALSA-2026:0002", "Important: bash security update", "bash", "5.1.8-9.el9", "CVE-2026-0002", "CVE-2026-0001"),
		"--feed", d.feed(t, "ALBA-2026:0001", "None: zlib bug fix update", "zlib", "1.2.11-40.el9"),
		"--feed", d.write(t, "kev.json", `{"catalogVersion":"2026.01.03","dateReleased":"2026-01-03T00:00:00Z","count":1,"vulnerabilities":[{"cveID":"CVE-2026-0001","vulnerabilityName":"Bash","dateAdded":"2026-01-03","dueDate":"2026-01-24","knownRansomwareCampaignUse":"Unknown","vendorProject":"GNU","product":"Bash","shortDescription":"x","requiredAction":"y"}]}`),
		"--feed", d.write(t, "epss.csv", "#model_version:v2025.03.14,score_date:2026-01-03T00:00:00+0000\ncve,epss,percentile\nCVE-2026-0002,0.25000,0.90000\n"),
	}
	code, stdout, stderr := runMatch(t, args...)
	want := `{
  "findings": [
    {
      "vulnerability": "ALBA-2026:0001",
      "advisory": "ALBA-2026:0001",
      "package": "zlib",
      "installed": "1.2.11-1.el9",
      "fixed": "1.2.11-40.el9",
      "severity": "low",
      "kev": false,
      "epss": null
    },
    {
      "vulnerability": "CVE-2026-0001",
      "advisory": "ALSA-2026:0002",
      "package": "bash",
      "installed": "5.1.8-6.el9",
      "fixed": "5.1.8-9.el9",
      "severity": "high",
      "kev": true,
      "epss": null
    },
    {
      "vulnerability": "CVE-2026-0002",
      "advisory": "ALSA-2026:0002",
      "package": "bash",
      "installed": "5.1.8-6.el9",
      "fixed": "5.1.8-9.el9",
      "severity": "high",
      "kev": false,
      "epss": 0.25
    }
  ],
  "undetermined": [
    {
      "vulnerability": "",
      "advisory": "",
      "package": "x",
      "installed": "",
      "fixed": null,
      "reason": "pkg:rpm/almalinux/broken?distro=almalinux-9: it has no version"
    }
  ],
  "uncovered": false
}
`
	if diff := cmp.Diff(want, stdout); diff != "" || code != exitOK {
		t.Errorf("exit %d, stdout (-want +got):\n%s", code, diff)
	}
	wantErr := "patchproof: warning: 1 undetermined; they may be affected\n" +
		"patchproof: warning: not judged: 1 component that no distribution packaged (npm 1)\n"
	if diff := cmp.Diff(wantErr, stderr); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
	// The order of feeds does not show.
	shuffled := []string{"--feed", args[11], "--feed", args[9], "--feed", args[7], "--feed", args[5], "-o", "json", "--sbom", sbom}
	if _, again, _ := runMatch(t, shuffled...); again != stdout {
		t.Errorf("another order of feeds gave another answer:\n%s", cmp.Diff(stdout, again))
	}
}

func TestMatchNothingFoundHasNoNulls(t *testing.T) {
	d := newMatchDir(t)
	code, stdout, stderr := runMatch(t, "--sbom", d.sbom(t, zlibPURL), "--feed", d.feed(t, "ALSA-2026:0002", "Important: bash", "bash", "5.1.8-9.el9"), "-o", "json", "--fail-on", "low")
	if want := "{\n  \"findings\": [],\n  \"undetermined\": [],\n  \"uncovered\": false\n}\n"; stdout != want || code != exitOK || stderr != "" {
		t.Errorf("got exit %d, %q, %q, want %q", code, stdout, stderr, want)
	}
}

func TestMatchFailOn(t *testing.T) {
	for name, c := range map[string]struct {
		failOn string
		purls  []string
		code   int
		says   string
	}{
		"Above":        {"medium", []string{bashPURL}, exitPolicy, "policy says no: 1 finding medium or above"},
		"At":           {"high", []string{bashPURL}, exitPolicy, "policy says no: 1 finding high or above"},
		"Below":        {"critical", []string{bashPURL}, exitOK, ""},
		"Unset":        {"", []string{bashPURL}, exitOK, ""},
		"Uncovered":    {"critical", []string{"pkg:deb/debian/bash@5.2-1?distro=debian-12"}, exitPolicy, "not everything is covered by the feeds"},
		"UncoveredToo": {"critical", []string{zlibPURL, "pkg:deb/debian/bash@5.2-1?distro=debian-12"}, exitPolicy, "no feed covers release debian:12"},
		"NoRelease":    {"critical", []string{"pkg:rpm/bash@5.1.8-6.el9"}, exitPolicy, "no feed covers release unknown"},
		"NoPackages":   {"critical", []string{"pkg:npm/left-pad@1.0.0"}, exitPolicy, "no package of a distribution was found"},
		"Unread":       {"critical", []string{zlibPURL, "pkg:rpm/almalinux/bash"}, exitPolicy, "1 undetermined"},
		"Undetermined": {"critical", []string{"pkg:rpm/almalinux/bash@5.1.8-6%2Cel9?distro=almalinux-9"}, exitPolicy, "1 undetermined"},
		"NotFailing":   {"", []string{"pkg:rpm/bash@5.1.8-6.el9"}, exitOK, "warning: no feed covers release unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMatchDir(t)
			args := []string{"--sbom", d.sbom(t, c.purls...), "--feed", d.feed(t, "ALSA-2026:0002", "Important: bash security update", "bash", "5.1.8-9.el9", "CVE-2026-0001")}
			if c.failOn != "" {
				args = append(args, "--fail-on", c.failOn)
			}
			code, _, stderr := runMatch(t, args...)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("got exit %d, %q, want %d, %q", code, stderr, c.code, c.says)
			}
		})
	}
}

func TestMatchUsage(t *testing.T) {
	d := newMatchDir(t)
	sbom, f := d.sbom(t, bashPURL), d.feed(t, "A:1", "x", "bash", "9-1")
	for name, args := range map[string][]string{
		"Nothing":   {},
		"NoInput":   {"--feed", f},
		"TwoInputs": {"--feed", f, "--sbom", sbom, "--report", sbom},
		"NoFeed":    {"--sbom", sbom},
		"Severity":  {"--sbom", sbom, "--feed", f, "--fail-on", "severe"},
		"Output":    {"--sbom", sbom, "--feed", f, "-o", "xml"},
		"Flag":      {"--sbom", sbom, "--feed", f, "--nope"},
		"Argument":  {"--sbom", sbom, "--feed", f, "extra"},
	} {
		if code, stdout, stderr := runMatch(t, args...); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "patchproof: ") {
			t.Errorf("%s: got exit %d, %q, %q, want usage", name, code, stdout, stderr)
		}
	}
}

func TestMatchErrors(t *testing.T) {
	d := newMatchDir(t)
	sbom, f, junk := d.sbom(t, bashPURL), d.feed(t, "A:1", "x", "bash", "9-1"), d.write(t, "junk.json", `{"what":1}`)
	for name, args := range map[string][]string{
		"NoSuchSBOM":   {"--sbom", filepath.Join(d.dir, "none"), "--feed", f},
		"NotAnSBOM":    {"--sbom", junk, "--feed", f},
		"NotAReport":   {"--report", junk, "--feed", f},
		"NoSuchFeed":   {"--sbom", sbom, "--feed", filepath.Join(d.dir, "none")},
		"NotAFeed":     {"--sbom", sbom, "--feed", junk},
		"ReportNoJSON": {"--report", d.write(t, "r.txt", "hello"), "--feed", f},
		"NoPackages":   {"--report", d.write(t, "nopkg.json", `{"report":{"os":{"id":"almalinux","version_id":"9.3"}}}`), "--feed", f},
		"NullPackages": {"--report", d.write(t, "null.json", `{"report":{"os":{"id":"almalinux","version_id":"9.3"}},"packages":null}`), "--feed", f},
		"BadStatement": {"--report", d.write(t, "st.json", `{"_type":"https://in-toto.io/Statement/v1"}`), "--feed", f},
	} {
		if code, stdout, stderr := runMatch(t, args...); code != exitError || stdout != "" || !strings.HasPrefix(stderr, "patchproof: ") {
			t.Errorf("%s: got exit %d, %q, %q, want an error", name, code, stdout, stderr)
		}
	}
}

func kernelPackage(name, release string) schema.Package {
	return schema.Package{Format: schema.FormatRPM, Name: name, Version: "5.14.0", Release: release, Arch: "x86_64", Source: "kernel", SourceVersion: "5.14.0-" + release, Status: schema.StatusInstalled}
}

// testReport is a report as an agent seals it.
func testReport(uname string, gaps ...schema.Gap) *schema.Report {
	return &schema.Report{
		Sequence: 1, CollectedAt: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC),
		TransportKey: "UBYU6F6CDBFVJJZR6QVUKQ5WQU5PRYAXUAR3NDH6AFPVTTQNEBFGZ2DS",
		Agent:        schema.Agent{Version: "1", GoVersion: "go1.26", Platform: "linux/amd64"},
		Host:         schema.Host{Hostname: "h", Arch: "x86_64"},
		OS:           schema.OSRelease{ID: "almalinux", VersionID: "9.3"},
		Kernel:       schema.Kernel{Release: uname, Machine: "x86_64"},
		Gaps:         gaps,
	}
}

func inventoryJSON(t *testing.T, r *schema.Report, pkgs ...schema.Package) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"report": r, "packages": pkgs})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMatchReport(t *testing.T) {
	d := newMatchDir(t)
	f := d.feed(t, "ALSA-2026:0003", "Important: kernel security update", "kernel-core", "5.14.0-2.el9", "CVE-2026-0003")
	pkgs := []schema.Package{kernelPackage("kernel-core", "1.el9"), kernelPackage("kernel-core", "2.el9")}
	r := testReport("5.14.0-1.el9.x86_64")
	text, err := schema.EncodePackages(pkgs)
	if err != nil {
		t.Fatal(err)
	}
	full := *r
	full.Parts = []schema.Part{schema.NewPart(schema.PartPackages, text)}
	full.Bodies = map[string]string{schema.PartPackages: text}
	statement, err := schema.EncodeStatement(&full)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"Inventory": inventoryJSON(t, r, pkgs...), "Statement": string(statement), "StatementNewline": string(statement) + "\n"} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runMatch(t, "--report", d.write(t, "report.json", file), "--feed", f, "-o", "csv")
			want := "severity,vulnerability,package,installed,fixed,kev,epss,advisory,reason\n" +
				"high,CVE-2026-0003,kernel-core,5.14.0-1.el9,5.14.0-2.el9,no,,ALSA-2026:0003,\"fixed kernel-core 5.14.0-2.el9 is installed, 5.14.0-1.el9.x86_64 still runs: reboot\"\n"
			if diff := cmp.Diff(want, stdout); diff != "" || code != exitOK {
				t.Errorf("exit %d %s, stdout (-want +got):\n%s", code, stderr, diff)
			}
		})
	}
	byDigest := full
	byDigest.Bodies = nil
	if statement, err = schema.EncodeStatement(&byDigest); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runMatch(t, "--report", d.write(t, "digest.json", string(statement)), "--feed", f)
	if code != exitError || !strings.Contains(stderr, "by digest only") {
		t.Errorf("by digest: got exit %d, %q", code, stderr)
	}
}

// A host that could not read its packages, or whose kernel is nobody's, is never green.
func TestMatchReportGaps(t *testing.T) {
	d := newMatchDir(t)
	f := d.feed(t, "ALSA-2026:0003", "Important: kernel security update", "kernel-core", "5.14.0-2.el9", "CVE-2026-0003")
	broken := schema.Gap{Extractor: "rpm", Kind: schema.GapCorrupt, Path: "/var/lib/rpm/rpmdb.sqlite", Detail: "malformed"}
	unowned := schema.Gap{Extractor: "kernel", Kind: schema.GapUnowned, Detail: "6.18.0"}
	elsewhere := schema.Gap{Extractor: "imds", Kind: schema.GapTimeout}
	for name, c := range map[string]struct {
		report *schema.Report
		want   []string
	}{
		"Broken":           {testReport("5.14.0-2.el9.x86_64", broken), []string{"rpm: gap: corrupt /var/lib/rpm/rpmdb.sqlite: malformed"}},
		"Elsewhere":        {testReport("5.14.0-2.el9.x86_64", elsewhere), nil},
		"Unowned":          {testReport("6.18.0"), []string{"kernel: gap: unowned: running kernel 6.18.0 belongs to no installed package; what it is exposed to is not known"}},
		"UnownedSaidTwice": {testReport("6.18.0", unowned), []string{"kernel: gap: unowned: 6.18.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := d.write(t, "report.json", inventoryJSON(t, c.report, kernelPackage("kernel-core", "2.el9")))
			code, stdout, _ := runMatch(t, "--report", file, "--feed", f, "-o", "json", "--fail-on", "critical")
			var answer struct {
				Undetermined []struct{ Package, Reason string }
			}
			if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range answer.Undetermined {
				got = append(got, u.Package+": "+u.Reason)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("undetermined (-want +got):\n%s", diff)
			}
			if want := map[bool]int{true: exitOK, false: exitPolicy}[len(c.want) == 0]; code != want {
				t.Errorf("got exit %d, want %d", code, want)
			}
		})
	}
}

func TestMatchOutputIsSafe(t *testing.T) {
	d := newMatchDir(t)
	sbom := d.sbom(t, "pkg:rpm/almalinux/=cmd()@1-1?distro=almalinux-9")
	f := d.feed(t, "ALSA-2026:0004", "Important: x", "=cmd()", "2-1", "CVE-2026-0004")
	_, csv, _ := runMatch(t, "--sbom", sbom, "--feed", f, "-o", "csv")
	if !strings.Contains(csv, ",'=cmd(),") {
		t.Errorf("a cell may become a formula:\n%s", csv)
	}
	_, tab, _ := runMatch(t, "--sbom", sbom, "--feed", f)
	if !strings.Contains(tab, "high      CVE-2026-0004  =cmd()   1-1        2-1    no      -  ALSA-2026:0004") {
		t.Errorf("table:\n%s", tab)
	}
}

// TestMatchAgreesWithTheOracle runs the command on a real AlmaLinux 9 host and
// the three archives of its distribution, as a person would.
func TestMatchAgreesWithTheOracle(t *testing.T) {
	data := matchData(t)
	var host struct {
		Packages    map[string]struct{ Name, Version, Release, Arch, ModularityLabel string }
		SrcPackages map[string]struct {
			Name, Version string
			BinaryNames   []string
		}
	}
	readMatchJSON(t, filepath.Join(data, "hosts/vulsio-integration/alma_9.json"), &host)
	sources := map[string]string{}
	for _, s := range host.SrcPackages {
		for _, b := range s.BinaryNames {
			_, v, _ := strings.Cut(":"+s.Version, ":")
			sources[b] = s.Name + "-" + v[strings.LastIndex(v, ":")+1:] + ".src.rpm"
		}
	}
	var purls []string
	for _, p := range host.Packages {
		v, epoch := p.Version, "0"
		if e, rest, ok := strings.Cut(v, ":"); ok {
			epoch, v = e, rest
		}
		purls = append(purls, fmt.Sprintf("pkg:rpm/almalinux/%s@%s-%s?arch=%s&distro=almalinux-9.0&epoch=%s&upstream=%s", strings.ReplaceAll(p.Name, "+", "%2B"), v, p.Release, p.Arch, epoch, strings.ReplaceAll(sources[p.Name], "+", "%2B")))
	}
	d := newMatchDir(t)
	args := []string{"--sbom", d.sbom(t, purls...), "-o", "json", "--fail-on", "critical"}
	for _, r := range []string{"8", "9", "10"} {
		args = append(args, "--feed", filepath.Join(data, "advisories/osv/AlmaLinux-"+r+"/all.zip"))
	}
	code, stdout, stderr := runMatch(t, args...)
	var answer struct {
		Findings     []struct{ Vulnerability, Advisory, Severity string }
		Undetermined []any
		Uncovered    bool
	}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var oracle struct {
		Findings []struct {
			ID   string
			CVEs []string
		}
	}
	readMatchJSON(t, filepath.Join(data, "oracles/computed/expected-alma_9.json"), &oracle)
	want, got := map[string]bool{}, map[string]bool{}
	for _, f := range oracle.Findings {
		want[f.ID] = true
		for _, c := range f.CVEs {
			want[f.ID+" "+c] = true
		}
	}
	for _, f := range answer.Findings {
		got[f.Advisory] = true
		if strings.HasPrefix(f.Vulnerability, "CVE-") {
			got[f.Advisory+" "+f.Vulnerability] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("advisories and CVEs (-oracle +ours):\n%s", diff)
	}
	critical := slices.ContainsFunc(answer.Findings, func(f struct{ Vulnerability, Advisory, Severity string }) bool { return f.Severity == "critical" })
	if !critical || code != exitPolicy || len(answer.Undetermined) != 0 || answer.Uncovered {
		t.Errorf("got exit %d, %d undetermined, uncovered %v, critical %v", code, len(answer.Undetermined), answer.Uncovered, critical)
	}
}

func readMatchJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// matchData finds ../shared/data beside the repository root and skips without it.
func matchData(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	found := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(found); err != nil {
		t.Skipf("real data is not there: %v", err)
	}
	return found
}
