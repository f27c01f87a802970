package updateinfo_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/updateinfo"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
)

// update writes one <update>.
func update(id, body string) string {
	return `<update status="final" type="security" from="linux-security@amazon.com"><id>` + id + `</id><title>` + id + `: important priority package update</title>
<issued date="2023-02-17 20:41" /><updated date="2023-02-22 23:22" /><severity>important</severity><description>Text &amp; more.</description>` + body + `</update>`
}

func cves(ids ...string) string {
	var b strings.Builder
	b.WriteString("<references>")
	for _, id := range ids {
		fmt.Fprintf(&b, `<reference href="http://cve.mitre.org/cgi-bin/cvename.cgi?name=%s" title="" id="%s" type="cve" />`, id, id)
	}
	b.WriteString("</references>")
	return b.String()
}

// packages takes "name epoch version release arch" lines.
func packages(lines ...string) string {
	var b strings.Builder
	b.WriteString(`<pkglist><collection short="x"><name>x</name>`)
	for _, line := range lines {
		f := strings.Fields(line)
		fmt.Fprintf(&b, `<package name="%s" epoch="%s" version="%s" release="%s" arch="%s"><filename>Packages/x.rpm</filename></package>`, f[0], f[1], f[2], f[3], f[4])
	}
	b.WriteString(`</collection></pkglist>`)
	return b.String()
}

func document(updates ...string) string {
	return `<?xml version="1.0" ?>` + "\n<updates>" + strings.Join(updates, "") + "</updates>\n"
}

func parse(t *testing.T, doc string) advisory.Batch {
	t.Helper()
	b, err := updateinfo.Parse(strings.NewReader(doc), "updateinfo.xml", updateinfo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func amazon(version string) inventory.Release {
	return inventory.Release{Distro: "amazon", Version: version}
}

func TestCore(t *testing.T) {
	b := parse(t, document(update("ALAS2023-2023-001", cves("CVE-2022-24903", "CVE-2014-3634", "CVE-2022-24903")+packages(
		"rsyslog-debuginfo 0 8.2204.0 3.amzn2023.0.2 x86_64",
		"rsyslog-debugsource 0 8.2204.0 3.amzn2023.0.2 x86_64",
		"rsyslog 0 8.2204.0 3.amzn2023.0.2 x86_64",
		"rsyslog 0 8.2204.0 3.amzn2023.0.2 aarch64",
		"rsyslog 0 8.2204.0 3.amzn2023.0.2 src",
		"rsyslog-doc 1 8.2204.0 3.amzn2023.0.2 noarch"))))
	issued := time.Date(2023, 2, 17, 20, 41, 0, 0, time.UTC)
	row := advisory.Affected{
		Release: amazon("2023"), Format: "rpm", Kind: advisory.NameBinary, Name: "rsyslog", Arch: []string{"aarch64", "x86_64"},
		Ranges: []advisory.Range{{Introduced: "0", Fixed: "8.2204.0-3.amzn2023.0.2"}},
	}
	doc := row
	doc.Name, doc.Arch, doc.Ranges = "rsyslog-doc", []string{"noarch"}, []advisory.Range{{Introduced: "0", Fixed: "1:8.2204.0-3.amzn2023.0.2"}}
	want := []advisory.Advisory{{
		ID: "ALAS2023-2023-001", Feed: "updateinfo:amazon:2023", Summary: "ALAS2023-2023-001: important priority package update",
		Issued: issued, IssuedKind: advisory.DateAdvisory, Modified: time.Date(2023, 2, 22, 23, 22, 0, 0, time.UTC),
		Vulnerabilities: []string{"CVE-2014-3634", "CVE-2022-24903"}, Rating: "Important",
		Affected: []advisory.Affected{row, doc},
	}}
	if diff := cmp.Diff(want, b.Advisories); diff != "" {
		t.Errorf("advisories differ (-want +got):\n%s", diff)
	}
	if !b.Snapshot || !slices.Equal(b.Releases, []inventory.Release{amazon("2023")}) || b.Feed.Name != "updateinfo:amazon:2023" {
		t.Errorf("got feed %v, snapshot %v, releases %v", b.Feed, b.Snapshot, b.Releases)
	}
	if b.Skipped["source or debug package"] != 3 {
		t.Errorf("skipped is %v, want 3 source and debug packages", b.Skipped)
	}
	if !b.Published.Equal(want[0].Modified) {
		t.Errorf("published is %v, want the newest date", b.Published)
	}
}

// TestKernelStreams: a host on core's kernel 4.14 is not one that lacks the fix
// of the topic kernel-5.15, and a host on an early 5.15 is.
func TestKernelStreams(t *testing.T) {
	b := parse(t, document(update("ALAS2KERNEL-5.15-2022-001", cves("CVE-2022-0500")+packages("kernel 0 5.15.43 20.123.amzn2 x86_64"))))
	rg := b.Advisories[0].Affected[0].Ranges[0]
	for installed, want := range map[string]bool{
		"4.14.314-237.533.amzn2": false,
		"5.4.190-107.353.amzn2":  false,
		"5.10.109-104.500.amzn2": false,
		"5.15.2-1.amzn2":         true,
		"5.15.0-1.amzn2":         true,
		"5.15.43-20.123.amzn2":   false,
		"5.15.44-1.amzn2":        false,
	} {
		low, err := version.CompareRPM(installed, rg.Introduced)
		if err != nil {
			t.Fatal(err)
		}
		high, err := version.CompareRPM(installed, rg.Fixed)
		if err != nil {
			t.Fatal(err)
		}
		if got := low >= 0 && high < 0; got != want {
			t.Errorf("kernel %s in [%s, %s) is %v, want %v", installed, rg.Introduced, rg.Fixed, got, want)
		}
	}
	if len(b.Releases) != 0 {
		t.Errorf("an extras topic covers %v; alone it covers nothing", b.Releases)
	}
}

func TestStreamsOfExtras(t *testing.T) {
	for _, tt := range []struct{ id, pkg, introduced string }{
		{"ALAS2POSTGRESQL14-2023-001", "postgresql 0 14.3 1.amzn2 x86_64", "14"},
		{"ALAS2POSTGRESQL14-2023-001", "libpq 1 14.3 1.amzn2 x86_64", "1:14"},
		{"ALAS2PHP8.0-2023-001", "php-cli 0 8.0.27 1.amzn2 x86_64", "8.0"},
		{"ALAS2PHP8.0-2023-001", "php-pecl-imagick 0 3.4.4 1.amzn2 x86_64", "0"},
		{"ALAS2NGINX1-2023-001", "nginx 1 1.22.1 1.amzn2 x86_64", "1:1"},
		{"ALAS2NGINX1-2023-001", "nginx 1 12.1 1.amzn2 x86_64", "0"},
		{"ALAS2DOCKER-2023-001", "docker 0 20.10.17 1.amzn2 x86_64", "0"},
		{"ALAS2NITRO-ENCLAVES-2023-001", "docker 0 20.10.17 1.amzn2 x86_64", "0"},
		{"ALAS2-2023-1987", "kernel 0 4.14.304 1.amzn2 x86_64", "0"},
		{"ALAS2023NVIDIA-2025-001", "libnvidia-container1 0 1.17.4 1 x86_64", "0"},
		{"ALAS-2011-1", "httpd 0 2.2.21 1.18.amzn1 i686", "0"},
	} {
		b := parse(t, document(update(tt.id, cves("CVE-2023-0001")+packages(tt.pkg))))
		if got := b.Advisories[0].Affected[0].Ranges[0].Introduced; got != tt.introduced {
			t.Errorf("%s, %s: introduced %q, want %q", tt.id, tt.pkg, got, tt.introduced)
		}
	}
}

// TestLivePatchRowsAreNeverAFixByVersion includes the trap: an ordinary kernel
// advisory lists the empty baseline livepatch 1.0-0 of the kernel it brings.
func TestLivePatchRowsAreNeverAFixByVersion(t *testing.T) {
	b := parse(t, document(update("ALAS2KERNEL-5.15-2022-001", cves("CVE-2022-0500")+packages(
		"kernel 0 5.15.43 20.123.amzn2 x86_64",
		"kernel-livepatch-5.15.43-20.123 0 1.0 0.amzn2 x86_64",
		"kernel-livepatch-repo-cdn 0 2023.3 0.amzn2 noarch"))))
	got := map[string]bool{}
	for _, row := range b.Advisories[0].Affected {
		got[row.Name] = row.LivePatch
	}
	want := map[string]bool{"kernel": false, "kernel-livepatch-5.15.43-20.123": true, "kernel-livepatch-repo-cdn": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("live patch rows differ (-want +got):\n%s", diff)
	}
}

func TestDates(t *testing.T) {
	want := time.Date(2023, 2, 17, 20, 41, 0, 0, time.UTC)
	for _, s := range []string{"2023-02-17 20:41", "2023-02-17 20:41:00", "2023-02-17T20:41:00Z", "2023-02-17T21:41:00+01:00", "2023-02-17 20:41:00 UTC", "1676666460", " 2023-02-17 20:41 "} {
		b := parse(t, document(strings.Replace(update("ALAS2-2023-1", cves("CVE-2023-0001")+packages("a 0 1 1 x86_64")), "2023-02-17 20:41", s, 1)))
		if got := b.Advisories[0].Issued; !got.Equal(want) {
			t.Errorf("%q is read as %v, want %v", s, got, want)
		}
	}
}

func TestListedTwiceIsMerged(t *testing.T) {
	b := parse(t, document(
		update("ALAS2-2023-1", cves("CVE-2023-0002")+packages("a 0 1 1 x86_64")),
		update("ALAS2-2023-1", cves("CVE-2023-0001")+packages("a 0 1 1 x86_64", "b 0 1 1 x86_64"))))
	a := b.Advisories[0]
	if len(b.Advisories) != 1 || len(a.Affected) != 2 || !slices.Equal(a.Vulnerabilities, []string{"CVE-2023-0001", "CVE-2023-0002"}) {
		t.Errorf("got %d advisories, first %+v", len(b.Advisories), a)
	}
	if b.Skipped["advisory listed twice, merged"] != 1 {
		t.Errorf("skipped is %v", b.Skipped)
	}
}

func TestAdvisoryWithoutCVENamesItself(t *testing.T) {
	b := parse(t, document(update("ALAS2-2023-1", packages("a 0 1 1 x86_64"))))
	if got := b.Advisories[0].Vulnerabilities; !slices.Equal(got, []string{"ALAS2-2023-1"}) {
		t.Errorf("got %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	good := update("ALAS2-2023-1", cves("CVE-2023-0001")+packages("a 0 1 1 x86_64"))
	whole := document(good)
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "is empty"},
		{"no_update", document(), "no <update>"},
		{"cut_off", whole[:len(whole)-40], "unexpected EOF"},
		{"other_xml", "<html></html>", `it begins with <"html">`},
		{"not_xml", "hello", "there is no <updates>"},
		{"doctype", `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + whole, "DOCTYPE"},
		{"undefined_entity", strings.Replace(whole, "&amp;", "&xxe;", 1), "invalid character entity"},
		{"another_vendor", document(update("BRSA-1bwujdrkn6nc", packages("a 0 1 1 x86_64"))), `"BRSA-1bwujdrkn6nc" is not the id of an Amazon Linux advisory`},
		{"two_repositories", document(good, update("ALAS2023-2023-1", packages("a 0 1 1 x86_64"))), "another repository (updateinfo:amazon:2023) than those before it (updateinfo:amazon:2)"},
		{"no_id", document(`<update><title>x</title></update>`), "without an <id>"},
		{"no_packages", document(update("ALAS2-2023-1", cves("CVE-2023-0001"))), "lists no package"},
		{"no_date", document(strings.Replace(good, `<issued date="2023-02-17 20:41" />`, "", 1)), "ALAS2-2023-1: issued: there is no date"},
		{"date_in_words", document(strings.Replace(good, "2023-02-17 20:41", "yesterday", 1)), `issued: "yesterday" is not a date`},
		{"bad_epoch", document(update("ALAS2-2023-1", packages("a 01 1 1 x86_64"))), `epoch is "01"`},
		{"negative_epoch", document(update("ALAS2-2023-1", packages("a -1 1 1 x86_64"))), `epoch is "-1"`},
		{"bad_cve", document(update("ALAS2-2023-1", cves("CVE-23-1")+packages("a 0 1 1 x86_64"))), `reference "CVE-23-1" of type cve is not a CVE id`},
		{"hostile_name", document(update("ALAS2-2023-1", packages("a&#9;b 0 1 1 x86_64"))), `name is "a\tb"`},
		{"too_deep", document(strings.Repeat("<a>", 40)), "the depth of elements"},
		{"long_token", document(strings.Replace(good, "Text", strings.Repeat("x", 8<<20), 1)), "the size of one XML token"},
		{"long_title", document(strings.Replace(good, "<title>", "<title>"+strings.Repeat("x", 5000), 1)), "<title> is longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := updateinfo.Parse(strings.NewReader(tt.doc), "updateinfo.xml", updateinfo.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `"updateinfo.xml": `) {
				t.Errorf("got %v, want an error that names the file with %q", err, tt.want)
			}
			if len(b.Advisories) > 0 {
				t.Error("a part of a faulty document came out")
			}
		})
	}
}

func gzipped(tb testing.TB, text string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func repomd(packed []byte, size int, href string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo">
<data type="primary"><checksum type="sha256">00</checksum><location href="repodata/primary.xml.gz"/></data>
<data type="updateinfo"><checksum type="sha256">%x</checksum><location href="%s"/><size>%d</size></data></repomd>`, sha256.Sum256(packed), href, size)
}

func TestRepo(t *testing.T) {
	packed := gzipped(t, document(update("ALAS2023-2023-1", cves("CVE-2023-0001")+packages("a 0 1 1 x86_64"))))
	md := repomd(packed, len(packed), "repodata/abc-updateinfo.xml.gz")
	for _, prefix := range []string{"repodata/", ""} {
		b, err := updateinfo.ParseRepo(fstest.MapFS{
			prefix + "repomd.xml":            {Data: []byte(md)},
			prefix + "abc-updateinfo.xml.gz": {Data: packed},
		}, updateinfo.Options{})
		if err != nil || len(b.Advisories) != 1 {
			t.Errorf("repomd.xml in %q: got %d advisories, %v", prefix, len(b.Advisories), err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256(packed)); b.Digest != want {
			t.Errorf("digest is %s, want that of the packed file, %s", b.Digest, want)
		}
	}
}

func TestRepoRefuses(t *testing.T) {
	packed := gzipped(t, document(update("ALAS2023-2023-1", cves("CVE-2023-0001")+packages("a 0 1 1 x86_64"))))
	const href = "repodata/updateinfo.xml.gz"
	good := repomd(packed, len(packed), href)
	changed := bytes.Clone(packed)
	changed[4] ^= 1 // the time stamp: it still inflates to the same text
	for _, tt := range []struct {
		name, md string
		packed   []byte
		want     string
	}{
		{"changed", good, changed, "its sha256 is"},
		{"cut_off", good, packed[:len(packed)-3], "repomd.xml states"},
		{"wrong_size", repomd(packed, 1, href), packed, "repomd.xml states 1"},
		{"missing", good, nil, "file does not exist"},
		{"outside", repomd(packed, len(packed), "../../etc/passwd"), packed, "not a path inside the repository"},
		{"absolute", repomd(packed, len(packed), "/etc/passwd"), packed, "not a path inside the repository"},
		{"weak_sum", strings.Replace(good, `<data type="updateinfo"><checksum type="sha256">`, `<data type="updateinfo"><checksum type="sha">`, 1), packed, `checksum of type "sha"`},
		{"no_updateinfo", strings.Replace(good, `type="updateinfo"`, `type="other"`, 1), packed, "names no updateinfo"},
		{"not_repomd", "<updates/>", packed, "not a repomd document"},
		{"doctype", "<!DOCTYPE a>" + good, packed, "DOCTYPE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{"repodata/repomd.xml": {Data: []byte(tt.md)}}
			if tt.packed != nil {
				fsys[href] = &fstest.MapFile{Data: tt.packed}
			}
			if _, err := updateinfo.ParseRepo(fsys, updateinfo.Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestRealDocuments reads every updateinfo beside the checkout.
func TestRealDocuments(t *testing.T) {
	data := sharedData(t)
	for name, want := range map[string]string{
		"alas/vuln-list-update/fixtures/updateinfo_2_items.xml.gz":             "updateinfo:amazon:2 2 [amazon:2]",
		"alas/vuln-list-update/fixtures/updateinfo_AL2023.xml.gz":              "updateinfo:amazon:2023 1 [amazon:2023]",
		"alas/vuln-list-update/fixtures/updateinfo_AL2022.xml.gz":              "updateinfo:amazon:2022 1 [amazon:2022]",
		"alas/vuls-data-update/fetch/fixtures/updateinfo_1.xml.gz":             "updateinfo:amazon:1 1 [amazon:1]",
		"livepatch/amazon/updateinfo_2_kernel-5.15.xml.gz":                     "updateinfo:amazon:2:kernel-5.15 1 []",
		"livepatch/amazon/updateinfo_2023_kernel-livepatch.xml.gz":             "updateinfo:amazon:2023:livepatch 1 []",
		"livepatch/amazon/updateinfo_2023_nvidia.xml.gz":                       "updateinfo:amazon:2023:nvidia 1 []",
		"alas/vuls-data-update/fetch/fixtures/updateinfo_2_kernel-5.15.xml.gz": "updateinfo:amazon:2:kernel-5.15 1 []",
	} {
		f, err := os.Open(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := updateinfo.Parse(f, name, updateinfo.Options{})
		f.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%s %d %v", b.Feed.Name, len(b.Advisories), b.Releases); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		for _, a := range b.Advisories {
			for _, row := range a.Affected {
				if live := strings.HasPrefix(row.Name, "kernel-livepatch-"); live != row.LivePatch {
					t.Errorf("%s: %s has live patch %v", name, row.Name, row.LivePatch)
				}
			}
		}
	}
}

// sharedData finds ../shared/data beside the checkout.
func sharedData(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	data := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(data); err != nil {
		tb.Skipf("real data is not beside the checkout: %v", err)
	}
	return data
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document(update("ALAS2KERNEL-5.15-2022-001", cves("CVE-2022-0500")+packages("kernel 0 5.15.43 20.123.amzn2 x86_64")))))
	f.Add(gzipped(f, document(update("ALAS2023-2023-1", packages("a 0 1 1 x86_64")))))
	f.Add([]byte("<!DOCTYPE a><updates/>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := updateinfo.Parse(bytes.NewReader(doc), "x", updateinfo.Options{})
		if err != nil {
			return
		}
		if len(b.Advisories) == 0 || !b.Snapshot || b.Digest == "" {
			t.Fatalf("accepted as %+v", b)
		}
		for _, a := range b.Advisories {
			if a.Issued.IsZero() || len(a.Vulnerabilities) == 0 {
				t.Errorf("%s has no date or names nothing", a.ID)
			}
		}
	})
}
