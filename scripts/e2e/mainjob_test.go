package e2e_test

import (
	"archive/zip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTheMainJob goes the whole way on this host, as the operator's guide does:
// collector up, agent up, compare fingerprints, trust, feeds, what is due and
// why, evidence. Each step stands on the one before.
func TestTheMainJob(t *testing.T) {
	c := newCollector(t)
	j := &job{collector: c, agent: newAgent(t, c), os: osRelease(t)}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *job)
	}{
		{"CollectorKeepsItsSecrets", collectorKeepsItsSecrets},
		{"UnknownKeyWaits", unknownKeyWaits},
		{"Trust", trustByFingerprint},
		{"UncoveredBeforeFeeds", uncoveredBeforeFeeds},
		{"Feeds", importFeeds},
		{"FindingsEqualDpkg", findingsEqualDpkg},
		{"KnownAdvisory", knownAdvisory},
		{"Answers", answers},
		{"Terminals", terminals},
		{"WithdrawnAdvisoryCloses", withdrawnAdvisoryCloses},
		{"Classified", classified},
		{"AgentOnce", agentOnce},
		{"Evidence", evidenceHolds},
		{"EditedDatabaseIsFound", editedDatabaseIsFound},
		{"CollectorStops", collectorStops},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			j.collector.use(t)
			j.agent.use(t)
			step.run(t, j)
		}) {
			t.Fatalf("%s failed; the steps after it stand on it\n%s", step.name, c.tail())
		}
	}
}

// job is what the steps share.
type job struct {
	collector *collector
	agent     *hostAgent
	os        map[string]string
	asset     asset
	finding   finding // of the advisory the test publishes
}

// published is the advisory the test publishes on a package of this host.
const (
	publishedCVE = "CVE-2999-0001"
	publishedID  = "E2E-2999-1"
	assetName    = "web-1"
)

func collectorKeepsItsSecrets(t *testing.T, j *job) {
	for _, path := range []string{"token", "keys/receipt.pem", "keys/log.key"} {
		info, err := os.Stat(filepath.Join(j.collector.data, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o, want 0600", path, info.Mode().Perm())
		}
	}
	if info, err := os.Stat(j.collector.data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v; want mode 0700", info.Mode(), err)
	}
	token, err := os.ReadFile(filepath.Join(j.collector.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if log := j.collector.tail(); strings.Contains(log, strings.TrimSpace(string(token))) {
		t.Error("the log holds the token")
	}
	hasShape(t, "key-show", j.collector.ask("key", "show", "-o", "json"))
	text := j.collector.ask("key", "show").exits(t, 0).stdout
	if want := "receipt_key: " + read[receiptKey](t, j.collector.ask("key", "show", "-o", "json")).ReceiptKey + "\n"; !strings.HasPrefix(text, want) {
		t.Errorf("key show: got %q, want it to start with %q, a line for the agent's configuration", text, want)
	}
	hasShape(t, "feed-status-none", j.collector.ask("feed", "status", "-o", "json"))
	j.collector.ask("feed", "status").exits(t, 0).says(t, "no feed was ever imported")
	j.collector.ask("finding", "list").exits(t, 0).says(t, "no feed was ever imported: nothing was judged")
}

func unknownKeyWaits(t *testing.T, j *job) {
	j.agent.ask("status").exits(t, 1).says(t, "patchproof-agent: ", "hint: ")
	j.agent.start()
	var list hostList
	eventually(t, 30*time.Second, "the agent's key waits for trust", func() bool {
		j.agent.alive()
		list = read[hostList](t, j.collector.ask("host", "list", "-o", "json"))
		return len(list.Pending) == 1
	})
	if got, want := list.Pending[0].Fingerprint, j.agent.status().Fingerprint; got != want {
		t.Errorf("the collector shows fingerprint %s, the agent %s; want the same", got, want)
	}
	hasShape(t, "host-list", j.collector.ask("host", "list", "-o", "json"))
	hasShape(t, "quarantine-list", j.collector.ask("quarantine", "list", "-o", "json"))
	j.collector.ask("host", "list").exits(t, 0).says(t, "WAITS", list.Pending[0].Fingerprint, "patchproof host trust FINGERPRINT")
	j.collector.ask("quarantine", "list").exits(t, 0).says(t, "unknown_key")
	eventually(t, 10*time.Second, "the agent knows that it is not trusted", func() bool {
		r := j.agent.status().Spool.LastRejected
		return r != nil && r.Reason == "unknown_key"
	})
	j.agent.ask("status").exits(t, 0).says(t, "patchproof host trust "+list.Pending[0].Fingerprint)
	hasShape(t, "agent-status", j.agent.ask("status", "-o", "json"))
	if s := read[summary](t, j.collector.ask("summary", "-o", "json")); s.Assets.PendingKeys != 1 || s.Assets.Total != 0 {
		t.Errorf("summary: %+v, want one pending key and no asset", s.Assets)
	}
}

func trustByFingerprint(t *testing.T, j *job) {
	right := j.agent.status().Fingerprint
	other := strings.Repeat("A", len(strings.ReplaceAll(right, "-", "")))
	j.collector.ask("host", "trust", "not-a-fingerprint").exits(t, 2).says(t, "fingerprint")
	j.collector.ask("host", "trust", other).exits(t, 1).says(t, "patchproof: trust host: ")
	j.collector.ask("host", "trust", right, "--class", "toaster").exits(t, 2).says(t, `class "toaster": want compute`)
	if n := len(read[hostList](t, j.collector.ask("host", "list", "-o", "json")).Assets); n != 0 {
		t.Fatalf("%d hosts trusted by wrong fingerprints, want none", n)
	}
	// A fingerprint may be typed as it was read out over a telephone.
	spoken := strings.ToLower(strings.ReplaceAll(right, "-", " "))
	a := j.collector.ask("host", "trust", spoken, "--name", assetName, "--exposure", "internet", "--environment", "production",
		"--owner", "platform", "-o", "json")
	hasShape(t, "host-trust", a)
	eventually(t, 30*time.Second, "the report that waited is receipted", func() bool {
		j.agent.alive()
		return j.agent.status().settled()
	})
	list := read[hostList](t, j.collector.ask("host", "list", "-o", "json"))
	if len(list.Pending) != 0 || len(list.Assets) != 1 || list.Assets[0].Name != assetName || list.Assets[0].Fingerprint != right {
		t.Fatalf("hosts: %+v, want %s trusted and nothing waiting", list, assetName)
	}
	j.asset = list.Assets[0]
	hasShape(t, "host-list", j.collector.ask("host", "list", "-o", "json"))
	j.collector.ask("host", "trust", right).exits(t, 1).says(t, "patchproof: trust host: ")
	hasShape(t, "agent-status", j.agent.ask("status", "-o", "json"))
}

func uncoveredBeforeFeeds(t *testing.T, j *job) {
	var a asset
	eventually(t, 10*time.Second, "the report is assessed", func() bool {
		a = j.show(t)
		return a.Packages > 0
	})
	if a.Covered {
		t.Error("an asset is covered before any feed was imported")
	}
	j.collector.ask("asset", "list").exits(t, 0).says(t, "NO FEED")
	if s := read[summary](t, j.collector.ask("summary", "-o", "json")); s.Assets.Uncovered != 1 || s.Assets.Reporting != 1 {
		t.Errorf("summary: %+v, want one asset that reports and is not covered", s.Assets)
	}
}

// show asks for the one asset.
func (j *job) show(t *testing.T) asset {
	t.Helper()
	type detail struct {
		Asset asset `json:"asset"`
	}
	return read[detail](t, j.collector.ask("asset", "show", assetName, "-o", "json")).Asset
}

func importFeeds(t *testing.T, j *job) {
	dir := filepath.Dir(demoFeeds(t))
	a := j.collector.ask("feed", "import", demoFeeds(t), filepath.Join(dir, "kev.json"), filepath.Join(dir, "cve-facts.jsonl.gz"), "-o", "json")
	hasShape(t, "feed-import", a)
	hasShape(t, "feed-status", j.collector.ask("feed", "status", "-o", "json"))
	j.collector.ask("feed", "import", demoFeeds(t)).exits(t, 0).says(t, "unchanged")

	// A snapshot that has shrunk to one advisory is held, and changes nothing.
	held := j.collector.ask("feed", "import", shrunk(t)).exits(t, 3).says(t, "HELD: ", "patchproof: snapshot of osv:Debian:12 held: ", "--confirm")
	if !strings.Contains(held.stderr, "patchproof: hint: ") {
		t.Errorf("no hint on what to do with a held snapshot: %s", held.stderr)
	}
	j.collector.ask("feed", "status").exits(t, 0).says(t, "437")

	junk := filepath.Join(t.TempDir(), "junk.json")
	if err := os.WriteFile(junk, []byte(`{"vulnerabilities": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := j.collector.ask("feed", "import", junk).exits(t, 1).says(t, "junk.json"); a.stdout != "" {
		t.Errorf("an import that failed prints %q", a.stdout)
	}

	if j.debian12() {
		eventually(t, 20*time.Second, "the asset is covered", func() bool { return j.show(t).Covered })
	} else if j.show(t).Covered {
		t.Errorf("%s is covered by a feed for Debian 12", j.os["PRETTY_NAME"])
	}
}

func (j *job) debian12() bool { return j.os["ID"] == "debian" && j.os["VERSION_ID"] == "12" }

// shrunk makes an archive of the demo's first advisory.
func shrunk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	archive := readZip(t, demoFeeds(t))
	names, err := fs.Glob(archive, "*.json")
	if err != nil || len(names) < 2 {
		t.Fatalf("demo archive holds %d advisories (%v)", len(names), err)
	}
	text, err := fs.ReadFile(archive, names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, names[0]), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// findingsEqualDpkg compares the findings with what dpkg itself says of the same
// advisories: every installed package of a fixed source that is older.
func findingsEqualDpkg(t *testing.T, j *job) {
	if !j.debian12() {
		t.Skipf("this host is %s; the shipped feed is of Debian 12", j.os["PRETTY_NAME"])
	}
	want := dpkgFindings(t, readZip(t, demoFeeds(t)))
	var got []string
	eventually(t, 20*time.Second, "findings are assessed", func() bool {
		got = nil
		for _, f := range read[findingList](t, j.collector.ask("finding", "list", "-o", "json")).Findings {
			if !strings.HasPrefix(f.Component, "linux") { // a kernel counts when it runs, which dpkg does not know
				got = append(got, f.Vulnerability+" "+f.Component)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	t.Logf("%d findings, the same as by dpkg --compare-versions", len(got))
}

func knownAdvisory(t *testing.T, j *job) {
	published := time.Now().UTC().Add(-40 * 24 * time.Hour).Truncate(time.Second)
	path, ok := j.advisory(t, published, time.Time{})
	if !ok {
		t.Skipf("no OSV ecosystem is known for %s", j.os["PRETTY_NAME"])
	}
	j.collector.ask("feed", "import", path).exits(t, 0).says(t, "applied")
	eventually(t, 20*time.Second, "the published advisory makes a finding", func() bool {
		list := read[findingList](t, j.collector.ask("finding", "list", "--vulnerability", publishedCVE, "-o", "json"))
		if list.Count != 1 {
			return false
		}
		j.finding = list.Findings[0]
		return true
	})
	f := j.finding
	if f.Severity != "critical" || f.State != "open" || f.AssetName != assetName || f.Component != j.manager() || f.Installed == "" || f.Fixed != "99:1" {
		t.Errorf("finding %+v, want a critical open one on %s of %s, fixed in 99:1", f, j.manager(), assetName)
	}
	if !f.Available.Equal(published) {
		t.Errorf("available %s, want the advisory's date %s", f.Available, published)
	}
	// The same question asked without a server must give the same date.
	type explained struct{ Due, Rule string }
	sla := read[explained](t, ask(t, plainEnv(), "patchproof", "sla", "explain", "--class", "compute", "--severity", "critical", "--exposure", "internet",
		"--environment", "production", "--available", f.Available.Format(time.RFC3339), "--detected", f.Detected.Format(time.RFC3339Nano), "-o", "json"))
	if f.Due == "" || f.Due != sla.Due || f.Rule != sla.Rule {
		t.Errorf("finding is due %s by %s, sla explain says %s by %s", f.Due, f.Rule, sla.Due, sla.Rule)
	}
}

// manager is a source package that this host has for certain: its package manager.
func (j *job) manager() string {
	if j.os["ID"] == "debian" || j.os["ID"] == "ubuntu" {
		return "dpkg"
	}
	return "rpm"
}

// advisory writes an OSV record on a package of this host.
func (j *job) advisory(t *testing.T, published, withdrawn time.Time) (path string, ok bool) {
	t.Helper()
	ecosystem := map[string]string{
		"debian":    "Debian:" + j.os["VERSION_ID"],
		"ubuntu":    "Ubuntu:" + j.os["VERSION_ID"] + ":LTS",
		"almalinux": "AlmaLinux:" + major(j.os["VERSION_ID"]),
		"rocky":     "Rocky Linux:" + major(j.os["VERSION_ID"]),
	}[j.os["ID"]]
	if ecosystem == "" {
		return "", false
	}
	record := map[string]any{
		"schema_version": "1.7.0", "id": publishedID, "upstream": []string{publishedCVE}, "aliases": []string{publishedCVE},
		"summary": "Critical: an advisory that the test publishes", "published": published, "modified": published,
		"severity": []any{map[string]string{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}},
		"affected": []any{map[string]any{
			"package": map[string]string{"ecosystem": ecosystem, "name": j.manager()},
			"ranges":  []any{map[string]any{"type": "ECOSYSTEM", "events": []any{map[string]string{"introduced": "0"}, map[string]string{"fixed": "99:1"}}}},
		}},
	}
	if !withdrawn.IsZero() {
		record["modified"], record["withdrawn"] = withdrawn, withdrawn
	}
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), publishedID+".json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, true
}

func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// answers asks every question in every form.
func answers(t *testing.T, j *job) {
	moment := time.Now().UTC().Add(-time.Millisecond).Format(time.RFC3339Nano)
	hasShape(t, "summary", j.collector.ask("summary", "-o", "json"))
	hasShape(t, "summary-by", j.collector.ask("summary", "--by", "exposure", "-o", "json"))
	hasShape(t, "finding-views", j.collector.ask("finding", "views", "-o", "json"))
	hasShape(t, "gap-list", j.collector.ask("gap", "list", "-o", "json"))
	hasShape(t, "asset-list", j.collector.ask("asset", "list", "-o", "json"))
	hasShape(t, "asset-show", j.collector.ask("asset", "show", j.asset.ID, "-o", "json"))
	hasShape(t, "asset-history", j.collector.ask("asset", "history", j.asset.ID, "-o", "json"))
	hasShape(t, "breach-list", j.collector.ask("breach", "list", "-o", "json"))
	hasShape(t, "summary-period", j.collector.ask("summary", "--from", moment, "--by", "exposure", "-o", "json"))
	hasShape(t, "finding-list", j.collector.ask("finding", "list", "-o", "json"))
	if j.finding.ID != "" {
		hasShape(t, "finding-explain", j.collector.ask("finding", "explain", j.finding.ID, "-o", "json"))
		j.collector.ask("finding", "show", j.finding.ID).exits(t, 0).says(t, publishedCVE, "Before: ", "leaf hash", "After: ", "Checkpoint")
		hasShape(t, "finding-history", j.collector.ask("finding", "history", j.finding.ID, "-o", "json"))
		hasShape(t, "vuln-show", j.collector.ask("vuln", "show", strings.ToLower(publishedCVE), "-o", "json"))
		j.collector.ask("finding", "explain", j.finding.ID).exits(t, 0).says(t, publishedCVE, "Compared", "Candidate deadlines", j.finding.Due, "Evidence")
		j.collector.ask("vuln", "show", publishedCVE).exits(t, 0).says(t, "Fixed where", "Who has it", assetName)
		rows := readCSV(t, j.collector.ask("vuln", "show", publishedCVE, "-o", "csv"))
		if len(rows) != 2 || !slices.Contains(rows[1], j.finding.ID) {
			t.Errorf("vuln show -o csv: %v, want a head and the finding", rows)
		}
	}
	hasShape(t, "sla-explain", ask(t, plainEnv(), "patchproof", "sla", "explain", "--class", "compute", "--severity", "high", "--detected", "2026-03-10", "-o", "json"))
	hasShape(t, "agent-version", j.agent.ask("version", "-o", "json"))
	hasShape(t, "agent-inventory", j.agent.ask("inventory", "-o", "json"))

	all := read[findingList](t, j.collector.ask("finding", "list", "-o", "json"))
	if rows := readCSV(t, j.collector.ask("finding", "list", "-o", "csv")); len(rows)-1 != all.Count {
		t.Errorf("finding list: %d rows as CSV, %d as JSON", len(rows)-1, all.Count)
	}
	if n := strings.Count(j.collector.ask("finding", "list").exits(t, 0).stdout, "\n"); n-1 != all.Count {
		t.Errorf("finding list: %d rows as a table, %d as JSON", n-1, all.Count)
	}
	lines := strings.SplitAfter(j.collector.ask("finding", "list", "-o", "jsonl").exits(t, 0).stdout, "\n")
	for i, line := range lines[:len(lines)-1] {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.ID != all.Findings[i].ID {
			t.Errorf("finding list -o jsonl, line %d: %s, %v; want %s", i+1, f.ID, err, all.Findings[i].ID)
		}
	}
	if len(lines)-1 != all.Count {
		t.Errorf("finding list: %d rows as JSON lines, %d as JSON", len(lines)-1, all.Count)
	}
	book := j.collector.ask("finding", "list", "-o", "xlsx").exits(t, 0).stdout
	if _, err := zip.NewReader(strings.NewReader(book), int64(len(book))); err != nil {
		t.Errorf("finding list -o xlsx is no workbook: %v", err)
	}
	critical := read[findingList](t, j.collector.ask("finding", "list", "--severity", "critical", "-o", "json"))
	for _, f := range critical.Findings {
		if f.Severity != "critical" {
			t.Errorf("finding list --severity critical holds one that is %s", f.Severity)
		}
	}
	if one := read[findingList](t, j.collector.ask("finding", "list", "--limit", "1", "-o", "json")); all.Count > 0 && (one.Count != 1 || one.Findings[0].ID != all.Findings[0].ID) {
		t.Errorf("finding list --limit 1: %+v, want the first of all", one)
	}
	s := read[summary](t, j.collector.ask("summary", "-o", "json"))
	if s.Findings.Running != all.Count || s.Findings.Within+s.Findings.Overdue+s.Findings.AwaitingFix != s.Findings.Running {
		t.Errorf("summary counts %+v, the list holds %d", s.Findings, all.Count)
	}
	if got := j.show(t).Open.Total; got != all.Count {
		t.Errorf("asset show counts %d open, the list holds %d", got, all.Count)
	}
	for _, args := range [][]string{{"asset", "list"}, {"host", "list"}, {"feed", "status"}, {"summary"}, {"quarantine", "list"}} {
		if rows := readCSV(t, j.collector.ask(append(args, "-o", "csv")...)); len(rows) == 0 {
			t.Errorf("%v -o csv has no head", args)
		}
	}
	pastAnswers(t, j)
	j.collector.ask("finding", "explain", "F-NOSUCHFINDING").exits(t, 1).says(t, "hint: ")
	j.collector.ask("asset", "show", "no-such-host").exits(t, 1).says(t, "hint: ")
}

// pastAnswers asks as of a moment that has just passed, twice.
func pastAnswers(t *testing.T, j *job) {
	moment := time.Now().UTC().Add(-time.Millisecond).Format(time.RFC3339Nano)
	for _, args := range [][]string{{"finding", "list"}, {"summary", "--by", "exposure"}, {"asset", "list"}, {"coverage"}, {"gap", "list"}, {"breach", "list"}, {"asset", "history", j.asset.ID}} {
		args = append(args, "--as-of", moment, "-o", "json")
		first := j.collector.ask(args...).exits(t, 0).stdout
		if again := j.collector.ask(args...).exits(t, 0).stdout; again != first || !strings.Contains(first, `"leaf": `) {
			t.Errorf("%v: it answered\n%s\nand then\n%s", args, first, again)
		}
	}
	for _, moment := range []string{"2001-01-01", "2101-01-01", "whenever"} {
		j.collector.ask("summary", "--as-of", moment).exits(t, 1).says(t, "as of")
	}
}

func withdrawnAdvisoryCloses(t *testing.T, j *job) {
	if j.finding.ID == "" {
		t.Skip("no advisory was published for this host")
	}
	path, _ := j.advisory(t, j.finding.Available, time.Now().UTC().Truncate(time.Second))
	j.collector.ask("feed", "import", path).exits(t, 0).says(t, "applied")
	var f finding
	eventually(t, 20*time.Second, "the finding is closed", func() bool {
		list := read[findingList](t, j.collector.ask("finding", "list", "--vulnerability", publishedCVE, "--all", "-o", "json"))
		if len(list.Findings) != 1 {
			t.Fatalf("%d findings of a withdrawn advisory, want the one with its history", len(list.Findings))
		}
		f = list.Findings[0]
		return f.State != "open"
	})
	if f.ID != j.finding.ID || f.State != "not_affected" || f.Closed.IsZero() || f.Reason == "" {
		t.Errorf("finding %+v, want %s not affected, with the time and the reason", f, j.finding.ID)
	}
	hasShape(t, "finding-list", j.collector.ask("finding", "list", "--all", "-o", "json"))
	hasShape(t, "finding-explain", j.collector.ask("finding", "explain", f.ID, "-o", "json"))
}

func agentOnce(t *testing.T, j *job) {
	j.agent.ask("once").exits(t, 1).says(t, "patchproof-agent: ") // another agent works on the same state
	before := j.agent.status().Spool.LastSealed.Sequence
	j.agent.stop()
	j.agent.ask("once").exits(t, 0).says(t, fmt.Sprintf("report %d is on record: leaf ", before+1))
	if s := j.agent.status(); !s.settled() || s.Spool.LastReceipt.Sequence != before+1 {
		t.Errorf("after once: %+v, want report %d receipted", s.Spool, before+1)
	}
	if got := j.show(t).Sequence; got != before+1 {
		t.Errorf("the collector is at sequence %d, want %d", got, before+1)
	}
	j.agent.ask("check-config").exits(t, 0)
}

func evidenceHolds(t *testing.T, j *job) {
	hasShape(t, "evidence-verify", j.collector.ask("evidence", "verify", "-o", "json"))
	v := read[verification](t, j.collector.ask("evidence", "verify", "-o", "json"))
	if !v.OK || v.Reports != int(j.agent.status().Spool.LastSealed.Sequence) {
		t.Errorf("evidence: %+v, want it to hold with every report", v)
	}
	j.collector.ask("evidence", "verify").exits(t, 0).says(t, "ok: every row that was checked is what was signed")
}

// editedDatabaseIsFound edits copies of the data as someone who wants to be on
// time would, and holds that each edit is found.
func editedDatabaseIsFound(t *testing.T, j *job) {
	eventually(t, 20*time.Second, "every leaf is under a checkpoint", func() bool {
		v := read[verification](t, j.collector.ask("evidence", "verify", "-o", "json"))
		return v.Leaves == v.Covered
	})
	j.collector.stop()
	edited := 0
	for _, edit := range []struct{ name, sql string }{
		{"ReportReceivedEarlier", "UPDATE report SET received_at = received_at - 86400000000"},
		{"FindingVersionGone", "DELETE FROM finding_version WHERE rowid IN (SELECT rowid FROM finding_version LIMIT 1)"},
		{"FindingDueLater", "UPDATE finding SET order_due = order_due + 1"},
		{"LeafBody", "UPDATE leaf SET body = CAST(replace(CAST(body AS TEXT), '2', '3') AS BLOB) WHERE idx = 3"},
		{"LastLeafGone", "PRAGMA foreign_keys=OFF; DELETE FROM leaf WHERE idx = (SELECT max(idx) FROM leaf)"},
		{"Checkpoint", "UPDATE checkpoint SET note = CAST(replace(CAST(note AS TEXT), 'A', 'B') AS BLOB)"},
		{"ReportGone", "PRAGMA foreign_keys=OFF; DELETE FROM report WHERE sequence = 1"},
		{"Nothing", "VACUUM"},
	} {
		t.Run(edit.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(data, os.DirFS(j.collector.data)); err != nil {
				t.Fatal(err)
			}
			modes(t, j.collector.data, data)
			out, err := exec.Command("sqlite3", filepath.Join(data, "collector.db"), edit.sql+"; SELECT changes()").CombinedOutput()
			if err != nil {
				t.Fatalf("sqlite3: %v\n%s", err, out)
			}
			a := ask(t, plainEnv(), "patchproof", "evidence", "verify", "--data", data)
			if strings.TrimSpace(string(out)) == "0" { // nothing was edited: VACUUM, or no finding on this host
				a.exits(t, 0)
				return
			}
			edited++
			a.exits(t, 1).says(t, "NOT OK", "problem ", "patchproof: the evidence does not hold", "patchproof: hint: ")
		})
	}
	if edited < 5 {
		t.Errorf("%d edits did something, want at least 5", edited)
	}
	j.collector.start()
	j.collector.ready()
}

// modes gives copies the modes of what they are copies of.
func modes(t *testing.T, from, to string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(from), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(to, path), info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

func collectorStops(t *testing.T, j *job) {
	before := read[findingList](t, j.collector.ask("finding", "list", "--all", "-o", "json"))
	j.collector.stop()
	if _, err := os.Stat(filepath.Join(j.collector.data, "endpoints.json")); err == nil {
		t.Error("endpoints.json is still there after the collector has ended")
	}
	j.collector.ask("summary").exits(t, 1).says(t, "no collector runs on data directory")
	j.collector.start()
	j.collector.ready()
	after := read[findingList](t, j.collector.ask("finding", "list", "--all", "-o", "json"))
	if before.Count != after.Count {
		t.Errorf("%d findings before a restart, %d after", before.Count, after.Count)
	}
}

func readCSV(t *testing.T, a answer) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(a.exits(t, 0).stdout)).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(a.args, " "), err)
	}
	return rows
}

// osRelease reads what this host is.
func osRelease(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[key] = strings.Trim(value, `"'`)
		}
	}
	return out
}
