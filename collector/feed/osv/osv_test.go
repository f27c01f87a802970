package osv_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/osv"
	"github.com/patchproof/patchproof/collector/inventory"
)

// parseRecord reads a file of testdata as one record.
func parseRecord(t *testing.T, name string) advisory.Batch {
	t.Helper()
	doc, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := osv.ParseOne(doc)
	if err != nil {
		t.Fatalf("parse %s: %v", name, err)
	}
	return b
}

func only(t *testing.T, b advisory.Batch) advisory.Advisory {
	t.Helper()
	if len(b.Advisories) != 1 {
		t.Fatalf("got %d advisories, want 1", len(b.Advisories))
	}
	return b.Advisories[0]
}

func day(s string) time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return at
}

func TestModularAlmaLinuxAdvisory(t *testing.T) {
	b := parseRecord(t, "alma-module.json")
	release := inventory.Release{Distro: "almalinux", Version: "9"}
	row := advisory.Affected{
		Release: release, Format: "rpm", Kind: advisory.NameBinary, Module: "nodejs:18",
		Ranges: []advisory.Range{{Introduced: "0", Fixed: "1:18.19.1-1.module_el9.3.0+90+0f6a6e0d"}},
	}
	nodejs, npm := row, row
	nodejs.Name, npm.Name = "nodejs", "npm"
	npm.Ranges = []advisory.Range{{Introduced: "0", Fixed: "1:10.2.4-1.18.19.1.1.module_el9.3.0+90+0f6a6e0d"}}
	want := advisory.Advisory{
		ID: "ALSA-2024:9001", Feed: "osv:AlmaLinux:9", Summary: "Important: nodejs:18 security update",
		Issued: day("2024-03-25T00:00:00Z"), IssuedKind: advisory.DateAdvisory, Modified: day("2024-03-26T09:15:22Z"),
		Vulnerabilities: []string{"CVE-2024-21892", "CVE-2024-22019"}, Rating: "Important",
		References: []string{"https://errata.almalinux.org/9/ALSA-2024-9001.html"},
		Affected:   []advisory.Affected{nodejs, npm},
	}
	if diff := cmp.Diff(want, only(t, b)); diff != "" {
		t.Errorf("advisory differs (-want +got):\n%s", diff)
	}
	if b.Snapshot || len(b.Digest) != 64 {
		t.Errorf("one record is an upsert with a digest, got snapshot %v, digest %q", b.Snapshot, b.Digest)
	}
}

func TestModuleStreams(t *testing.T) {
	for _, tt := range []struct{ summary, fixed, want string }{
		{"Important: nodejs:18 security update", "1-1.module_el9.3.0+1+2", "nodejs:18"},
		{"Moderate: container-tools:rhel8 security update", "1-1.module_el8.6.0+1+2", "container-tools:rhel8"},
		{"virt:rhel bug fix update", "1-1.module+el8.4.0+1+2", "virt:rhel"},
		{"Important: virt:rhel and virt-devel:rhel security update", "1-1.module_el8.6.0+1+2", "virt:rhel virt-devel:rhel"},
		{"Moderate: idm:DL1, idm:client security update", "1-1.module_el8.6.0+1+2", "idm:DL1 idm:client"},
		{"Important: httpd:2.4/mod_http2 security update", "1-1.module_el8.6.0+1+2", "httpd:2.4"},
		{"new module: maven:3.9", "1-1.module_el9.3.0+1+2", "maven:3.9"},
		{"Moderate: varnish security update", "1-1.module_el8.6.0+1+2", "*"},
		{"Important: nodejs:18 security update", "1-1.el9_3", ""},
		{"Important: bash security update", "1-1.el9_3", ""},
	} {
		doc := fmt.Sprintf(`{"id":"ALSA-1","summary":%q,"affected":[{"package":{"ecosystem":"AlmaLinux:9","name":"p"},
			"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, tt.summary, tt.fixed)
		b, err := osv.ParseOne([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if got := only(t, b).Affected[0].Module; got != tt.want {
			t.Errorf("%q with fix %s: got module %q, want %q", tt.summary, tt.fixed, got, tt.want)
		}
	}
}

// TestDebianCVERecord: such a record is dated by the CVE, so it has no issue date.
func TestDebianCVERecord(t *testing.T) {
	b := parseRecord(t, "debian-cve.json")
	a := only(t, b)
	if !a.Issued.IsZero() || a.IssuedKind != advisory.DateFirstSeen {
		t.Errorf("issued %v of kind %s; want none, first_seen: published is when the CVE was", a.Issued, a.IssuedKind)
	}
	if want := []string{"CVE-2024-40001"}; !slices.Equal(a.Vulnerabilities, want) {
		t.Errorf("got vulnerabilities %v, want %v: related is merely related here", a.Vulnerabilities, want)
	}
	if want := []advisory.Score{{Source: "nvd", Version: "3.1", Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", Value: 7.5}}; !slices.Equal(a.Scores, want) {
		t.Errorf("got scores %v, want %v", a.Scores, want)
	}
	if a.Rating != "low" {
		t.Errorf("got rating %q, want the worst urgency, low", a.Rating)
	}
	want := []advisory.Affected{
		{Release: inventory.Release{Distro: "debian", Version: "11"}, Format: "deb", Kind: advisory.NameSource, Name: "expat", Urgency: "unimportant", Ranges: []advisory.Range{{Introduced: "0"}}},
		{Release: inventory.Release{Distro: "debian", Version: "12"}, Format: "deb", Kind: advisory.NameSource, Name: "expat", Urgency: "low**", Ranges: []advisory.Range{{Introduced: "0", Fixed: "2.5.0-1+deb12u1"}}},
	}
	if diff := cmp.Diff(want, a.Affected); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
	if b.Feed.Name != "osv:Debian" {
		t.Errorf("feed is %s, want osv:Debian", b.Feed.Name)
	}
}

func TestDebianAdvisoryNamesItsCVEsAsRelated(t *testing.T) {
	a := only(t, parseRecord(t, "debian-dsa.json"))
	if want := []string{"CVE-2024-0553", "CVE-2024-0567"}; !slices.Equal(a.Vulnerabilities, want) {
		t.Errorf("got %v, want %v", a.Vulnerabilities, want)
	}
	if !a.Issued.Equal(day("2024-01-25T00:00:00Z")) || a.IssuedKind != advisory.DateAdvisory {
		t.Errorf("got issued %v of kind %s, want 2024-01-25, advisory", a.Issued, a.IssuedKind)
	}
}

func TestUbuntuProIsNotThePlainRelease(t *testing.T) {
	b := parseRecord(t, "ubuntu-usn.json")
	a := only(t, b)
	if len(a.Affected) != 1 || a.Affected[0].Release != (inventory.Release{Distro: "ubuntu", Version: "22.04"}) {
		t.Errorf("got rows %+v, want one for ubuntu:22.04", a.Affected)
	}
	if got := b.Skipped["release out of scope: Ubuntu:Pro:18.04:LTS"]; got != 1 {
		t.Errorf("skipped is %v, want the Pro row counted", b.Skipped)
	}
	if want := []string{"CVE-2024-5535"}; !slices.Equal(a.Vulnerabilities, want) {
		t.Errorf("got %v, want %v", a.Vulnerabilities, want)
	}
	if a.Rating != "low" {
		t.Errorf("got rating %q, want low", a.Rating)
	}
}

func TestRows(t *testing.T) {
	for _, tt := range []struct {
		name, affected string
		ranges         []advisory.Range
		versions       []string
		livePatch      bool
	}{
		{"never_fixed", `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]`, []advisory.Range{{Introduced: "0"}}, nil, false},
		{
			"two_spans", `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"},{"introduced":"2"},{"fixed":"3"}]}]`,
			[]advisory.Range{{Introduced: "0", Fixed: "1"}, {Introduced: "2", Fixed: "3"}},
			nil, false,
		},
		{
			"last_affected", `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"1"},{"last_affected":"2"}]}]`,
			[]advisory.Range{{Introduced: "1", LastAffected: "2"}},
			nil, false,
		},
		{
			"two_ends_keep_the_wider", `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"},{"fixed":"2"}]}]`,
			[]advisory.Range{{Introduced: "0", Fixed: "1"}, {Introduced: "0", Fixed: "2"}},
			nil, false,
		},
		{
			"two_starts", `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"introduced":"2"},{"fixed":"3"}]}]`,
			[]advisory.Range{{Introduced: "0"}, {Introduced: "2", Fixed: "3"}},
			nil, false,
		},
		{"versions_only", `"versions":["1","2"]`, nil, []string{"1", "2"}, false},
		{
			"ranges_make_versions_superfluous", `"versions":["1","2"],"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3"}]}]`,
			[]advisory.Range{{Introduced: "0", Fixed: "3"}},
			nil, false,
		},
		{"neither_means_all", `"versions":[]`, []advisory.Range{{Introduced: "0"}}, nil, false},
		{"git_range_is_not_of_packages", `"versions":["7"],"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]`, nil, []string{"7"}, false},
		{
			"live_patch", `"ecosystem_specific":{"module_name_regex":"lkp_"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}]`,
			[]advisory.Range{{Introduced: "0", Fixed: "1"}},
			nil, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := osv.ParseOne([]byte(`{"id":"DSA-1","affected":[{"package":{"ecosystem":"Debian:12","name":"p"},` + tt.affected + `}]}`))
			if err != nil {
				t.Fatal(err)
			}
			row := only(t, b).Affected[0]
			if diff := cmp.Diff(tt.ranges, row.Ranges); diff != "" {
				t.Errorf("ranges differ (-want +got):\n%s", diff)
			}
			if !slices.Equal(row.Versions, tt.versions) || row.LivePatch != tt.livePatch {
				t.Errorf("got versions %v, live patch %v; want %v, %v", row.Versions, row.LivePatch, tt.versions, tt.livePatch)
			}
		})
	}
}

func TestReferencesNameTheCVEsWhereNothingElseDoes(t *testing.T) {
	const record = `{"id":"ALSA-2023:6077","related":[%s],"affected":[{"package":{"ecosystem":"AlmaLinux:9","name":"toolbox"}}],
		"references":[{"type":"REPORT","url":"https://access.redhat.com/security/cve/CVE-2023-44487"}]}`
	for related, want := range map[string]string{`"CVE-2023-39325"`: "CVE-2023-39325", ``: "CVE-2023-44487"} {
		b, err := osv.ParseOne(fmt.Appendf(nil, record, related))
		if err != nil {
			t.Fatal(err)
		}
		if got := only(t, b).Vulnerabilities; !slices.Equal(got, []string{want}) {
			t.Errorf("related [%s]: got %v, want %s", related, got, want)
		}
	}
	b, err := osv.ParseOne([]byte(`{"id":"ALBA-2026:39332","affected":[{"package":{"ecosystem":"AlmaLinux:9","name":"kernel"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := only(t, b).Vulnerabilities; !slices.Equal(got, []string{"ALBA-2026:39332"}) {
		t.Errorf("got %v, want the advisory's own id", got)
	}
}

func TestIssuedKindOfARestatedRecord(t *testing.T) {
	const record = `{"id":"DEB12-CHANGELOG-a-1","published":"2024-01-02T03:04:05Z","upstream":["CVE-2024-1234"],
		"affected":[{"package":{"ecosystem":"Debian:12","name":"a"}}],"database_specific":{"patchproof":{"issued_kind":%q}}}`
	b, err := osv.ParseOne(fmt.Appendf(nil, record, "changelog"))
	if err != nil {
		t.Fatal(err)
	}
	if a := only(t, b); a.IssuedKind != advisory.DateChangelog || !a.Issued.Equal(day("2024-01-02T03:04:05Z")) {
		t.Errorf("got %v of kind %s", a.Issued, a.IssuedKind)
	}
	if _, err := osv.ParseOne(fmt.Appendf(nil, record, "advisory")); err == nil || !strings.Contains(err.Error(), "issued_kind") {
		t.Errorf("a record that calls itself better than it is gives %v, want an error", err)
	}
}

func TestParseOneRefuses(t *testing.T) {
	const row = `"affected":[{"package":{"ecosystem":"Debian:12","name":"a"}}]`
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", ``, "broken JSON at byte 0"},
		{"cut_off", `{"id":"DSA-1",`, "broken JSON at byte 14"},
		{"two_documents", `{"id":"DSA-1"} {}`, "broken JSON at byte 16"},
		{"list", `[]`, "not an OSV record at byte 1: the document is a list"},
		{"wrong_type", `{"id":"DSA-1","affected":7}`, `not an OSV record at byte 26: "affected" is a number`},
		{"no_id", `{` + row + `}`, "it has no id"},
		{"id_with_escapes", `{"id":"DSA\u001b[2J",` + row + `}`, `the id "DSA\x1b[2J" is not printable`},
		{"no_affected", `{"id":"DSA-1"}`, "DSA-1: not an OSV record of packages: it has no affected list"},
		{"name_with_space", `{"id":"DSA-1","affected":[{"package":{"ecosystem":"Debian:12","name":"a b"}}]}`, `package name "a b"`},
		{"version_with_escapes", `{"id":"DSA-1","affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"versions":["\u0007"]}]}`, `version "\a"`},
		{"unknown_range", `{"id":"DSA-1","affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"X"}]}]}`, `range type "X" is not known`},
		{"date_in_words", `{"id":"DSA-1","published":"yesterday",` + row + `}`, `DSA-1: published "yesterday" is not an RFC 3339 time`},
		{"date_before_software", `{"id":"DSA-1","modified":"0001-01-01T00:00:00Z",` + row + `}`, "not a date of this era"},
		{"go", `{"id":"GO-2024-1","affected":[{"package":{"ecosystem":"Go","name":"std"}}]}`, "not a supported distribution: Go (1 rows)"},
		{"alpine", `{"id":"ALPINE-1","affected":[{"package":{"ecosystem":"Alpine:v3.19","name":"a"}}]}`, "not a supported distribution: Alpine (1 rows)"},
		{"suse", `{"id":"SUSE-SU-1","affected":[{"package":{"ecosystem":"SUSE:Linux Enterprise Server 15 SP5","name":"a"}}]}`, "not a supported distribution: SUSE"},
		{"debian_without_release", `{"id":"DSA-1","affected":[{"package":{"ecosystem":"Debian","name":"a"}}]}`, "release out of scope: Debian"},
		{"eus", `{"id":"RHSA-1","affected":[{"package":{"ecosystem":"Red Hat:rhel_eus:9.2::appstream","name":"a"}}]}`, "release out of scope: Red Hat:rhel_eus:9.2::appstream"},
		{"special_interest_group", `{"id":"RXSA-2023:0101","affected":[{"package":{"ecosystem":"Rocky Linux:8","name":"kernel"}}]}`, "special interest group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := osv.ParseOne([]byte(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(b.Advisories) > 0 {
				t.Error("an advisory came out beside the error")
			}
		})
	}
}

func TestEcosystems(t *testing.T) {
	for ecosystem, want := range map[string]inventory.Release{
		"AlmaLinux:9":                         {Distro: "almalinux", Version: "9"},
		"Debian:12":                           {Distro: "debian", Version: "12"},
		"Debian:6.0":                          {Distro: "debian", Version: "6"},
		"Ubuntu:22.04:LTS":                    {Distro: "ubuntu", Version: "22.04"},
		"Ubuntu:24.10":                        {Distro: "ubuntu", Version: "24.10"},
		"Rocky Linux:9":                       {Distro: "rocky", Version: "9"},
		"Red Hat:enterprise_linux:9::baseos":  {Distro: "rhel", Version: "9"},
		"Red Hat:enterprise_linux:10.0":       {Distro: "rhel", Version: "10"},
		"Red Hat:enterprise_linux:8::nfv":     {Distro: "rhel", Version: "8"},
		"Red Hat:enterprise_linux_eus:10.0":   {},
		"Red Hat:rhel_aus:8.2::baseos":        {},
		"Ubuntu:Pro:22.04:LTS":                {},
		"Ubuntu:Pro:FIPS:22.04:LTS":           {},
		"Ubuntu:22.04:LTS:for:NVIDIA:BlueFie": {},
		"AlmaLinux":                           {},
		"AlmaLinux:next":                      {},
		"Debian:12:backports":                 {},
	} {
		doc := fmt.Sprintf(`{"id":"X-1","affected":[{"package":{"ecosystem":%q,"name":"a"}}]}`, ecosystem)
		b, err := osv.ParseOne([]byte(doc))
		if (want == inventory.Release{}) {
			if !errors.Is(err, osv.ErrNotDistribution) {
				t.Errorf("%s: got %+v, %v; want it kept out", ecosystem, b.Releases, err)
			}
			continue
		}
		if err != nil || !slices.Equal(b.Releases, []inventory.Release{want}) {
			t.Errorf("%s: got %v, %v; want %v", ecosystem, b.Releases, err, want)
		}
	}
}

func zipOf(tb testing.TB, records map[string]string) *bytes.Reader {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, body := range records {
		fw, err := w.Create(name)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(fw, body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return bytes.NewReader(buf.Bytes())
}

func record(id, modified string, ecosystems ...string) string {
	var rows []string
	for _, e := range ecosystems {
		rows = append(rows, fmt.Sprintf(`{"package":{"ecosystem":%q,"name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}`, e))
	}
	return fmt.Sprintf(`{"id":%q,"modified":%q,"affected":[%s]}`, id, modified, strings.Join(rows, ","))
}

const today = "2024-05-06T07:08:09Z"

func TestSnapshotIsOfWhatEveryRecordNames(t *testing.T) {
	for _, tt := range []struct {
		name    string
		records map[string]string
		feed    string
		rows    int
	}{
		{"one_release", map[string]string{"a": record("A-1", today, "AlmaLinux:9"), "b": record("A-2", today, "AlmaLinux:9", "AlmaLinux:8")}, "osv:AlmaLinux:9", 2},
		{"whole_distribution", map[string]string{"a": record("A-1", today, "AlmaLinux:9"), "b": record("A-2", today, "AlmaLinux:8")}, "osv:AlmaLinux", 2},
		{"a_distribution_with_guests", map[string]string{"a": record("A-1", today, "Debian:12", "Alpine:v3.19"), "b": record("A-2", today, "Debian:11", "Ubuntu:22.04:LTS")}, "osv:Debian", 2},
		{"records_of_pro_only", map[string]string{"a": record("A-1", today, "Ubuntu:22.04:LTS"), "b": record("A-2", today, "Ubuntu:24.04:LTS"), "c": record("A-3", today, "Ubuntu:Pro:18.04:LTS")}, "osv:Ubuntu", 2},
		{"withdrawn_without_rows", map[string]string{"a": record("A-1", today, "AlmaLinux:9"), "b": `{"id":"A-2","withdrawn":"2024-05-06T07:08:09Z"}`}, "osv:AlmaLinux:9", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := zipOf(t, tt.records)
			b, err := osv.ParseZip(doc, doc.Size(), osv.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			for _, a := range b.Advisories {
				rows += len(a.Affected)
				if a.Feed != tt.feed {
					t.Errorf("%s is of feed %s", a.ID, a.Feed)
				}
			}
			if b.Feed.Name != tt.feed || rows != tt.rows || !b.Snapshot {
				t.Errorf("got feed %s with %d rows, snapshot %v; want %s with %d", b.Feed.Name, rows, b.Snapshot, tt.feed, tt.rows)
			}
		})
	}
}

func TestSnapshotRefuses(t *testing.T) {
	good := record("A-1", today, "AlmaLinux:9")
	for _, tt := range []struct {
		name, want string
		records    map[string]string
	}{
		{"one_broken_record", `"b.json": broken JSON at byte 3`, map[string]string{"a.json": good, "b.json": `{"i`}},
		{"one_record_without_id", `"b.json": not an OSV record: it has no id`, map[string]string{"a.json": good, "b.json": `{}`}},
		{"hostile_name", `"\x1b]0;pwned\a.json": broken JSON`, map[string]string{"\x1b]0;pwned\a.json": `{`}},
		{"mixed", "several distributions", map[string]string{"a.json": good, "b.json": record("B-1", today, "Debian:12")}},
		{"same_id_same_date", `both hold A-1`, map[string]string{"a.json": good, "b.json": good}},
		{"no_distribution", "not a supported distribution: Go", map[string]string{"a.json": record("GO-1", today, "Go")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := zipOf(t, tt.records)
			b, err := osv.ParseZip(doc, doc.Size(), osv.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(b.Advisories) > 0 || b.Feed.Name != "" {
				t.Errorf("a part of a faulty snapshot came out: %+v", b)
			}
		})
	}
}

func TestNewerOfTwoRecordsWithOneIDHolds(t *testing.T) {
	doc := zipOf(t, map[string]string{
		"old.json": record("A-1", "2024-01-01T00:00:00Z", "AlmaLinux:9"),
		"new.json": strings.ReplaceAll(record("A-1", "2024-02-01T00:00:00Z", "AlmaLinux:9"), `"2"`, `"3"`),
	})
	b, err := osv.ParseZip(doc, doc.Size(), osv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := only(t, b).Affected[0].Ranges[0].Fixed; got != "3" {
		t.Errorf("got the fix %s, want that of the newer record, 3", got)
	}
	if got := b.Skipped["older record of an id that is there twice"]; got != 1 {
		t.Errorf("skipped is %v, want the older record counted", b.Skipped)
	}
}

func TestWithdrawnRecordIsKeptAsWithdrawn(t *testing.T) {
	b, err := osv.ParseOne([]byte(`{"id":"DSA-1","related":["CVE-2024-1111"],"withdrawn":"2024-05-06T07:08:09Z","affected":[{"package":{"ecosystem":"Debian:12","name":"a"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if w := only(t, b).Withdrawn; w == nil || !w.Equal(day(today)) {
		t.Errorf("got withdrawn %v, want %s", w, today)
	}
}

func TestKeepCoversOnlyWhatItKeeps(t *testing.T) {
	keep := osv.Options{Keep: func(r inventory.Release) bool { return r.Version == "9" }}
	doc := zipOf(t, map[string]string{"a": record("A-1", today, "AlmaLinux:9"), "b": record("A-2", today, "AlmaLinux:8")})
	b, err := osv.ParseZip(doc, doc.Size(), keep)
	if err != nil {
		t.Fatal(err)
	}
	if a := only(t, b); a.ID != "A-1" || !slices.Equal(b.Releases, []inventory.Release{almalinux("9")}) {
		t.Errorf("got %s, releases %v; want A-1, almalinux:9", a.ID, b.Releases)
	}
	doc = zipOf(t, map[string]string{"b": record("A-2", today, "AlmaLinux:8", "AlmaLinux:9"), "c": record("A-3", today, "AlmaLinux:8")})
	b, err = osv.ParseZip(doc, doc.Size(), keep)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Releases) != 0 || len(b.Advisories) != 0 {
		t.Errorf("an archive of AlmaLinux 8 claims to cover %v with %d advisories; it is no snapshot of 9", b.Releases, len(b.Advisories))
	}
}

func TestSplitGivesEachReleaseItsFeed(t *testing.T) {
	b, err := osv.ParseOne([]byte(record("A-1", today, "AlmaLinux:8", "AlmaLinux:9")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range osv.Split(b) {
		a := only(t, s)
		got = append(got, fmt.Sprintf("%s %v %s %d %s", s.Feed.Name, s.Releases, a.Feed, len(a.Affected), a.Affected[0].Release))
	}
	want := []string{
		"osv:AlmaLinux:8 [almalinux:8] osv:AlmaLinux:8 1 almalinux:8",
		"osv:AlmaLinux:9 [almalinux:9] osv:AlmaLinux:9 1 almalinux:9",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("split differs (-want +got):\n%s", diff)
	}
}

func TestDirAndZipGiveTheSame(t *testing.T) {
	records := map[string]string{"a.json": record("A-1", today, "AlmaLinux:9"), "b.json": record("A-2", today, "AlmaLinux:9")}
	fsys := fstest.MapFS{}
	for name, body := range records {
		fsys[name] = &fstest.MapFile{Data: []byte(body)}
	}
	doc := zipOf(t, records)
	z, err := osv.ParseZip(doc, doc.Size(), osv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := osv.ParseDir(fsys, osv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Digest, z.Digest = "", ""
	if diff := cmp.Diff(z, d); diff != "" {
		t.Errorf("directory differs from archive (-zip +dir):\n%s", diff)
	}
}

func FuzzParseOne(f *testing.F) {
	for _, name := range []string{"alma-module.json", "debian-cve.json", "debian-dsa.json", "ubuntu-usn.json"} {
		doc, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := osv.ParseOne(doc)
		if err != nil {
			return
		}
		if len(b.Releases) == 0 || len(b.Advisories) > 1 || b.Digest == "" {
			t.Fatalf("accepted as %+v", b)
		}
		for _, a := range b.Advisories {
			if len(a.Vulnerabilities) == 0 {
				t.Error("an advisory names no vulnerability, not even itself")
			}
			for _, row := range a.Affected {
				if len(row.Ranges)+len(row.Versions) == 0 {
					t.Error("a row affects nothing")
				}
			}
		}
	})
}
