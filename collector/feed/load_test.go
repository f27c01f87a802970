package feed_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
)

const (
	osvRecord = `{"schema_version":"1.7.0","id":"DSA-1","modified":"2024-05-06T07:08:09Z","related":["CVE-2024-0001"],
		"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}]}`
	osvOfTwoReleases = `{"details":"first a key that tells nothing","affected":[{"package":{"ecosystem":"Debian:11","name":"a"}},{"package":{"ecosystem":"Debian:12","name":"a"}}],"id":"DSA-2"}`
	cveRecord        = `{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2024-0001","state":"PUBLISHED"},"containers":{"cna":{}}}`
	kevCatalogue     = `{"title":"x","catalogVersion":"1","dateReleased":"2024-05-06T07:08:09Z","count":0,"vulnerabilities":[]}`
	epssScores       = "cve,epss,percentile\nCVE-2024-0001,0.1,0.2\n"
	updateinfoXML    = `<?xml version="1.0"?><updates><update><id>ALAS2023-2023-001</id><issued date="2023-02-17 20:41"/><pkglist><collection>
		<package name="a" epoch="0" version="1" release="1" arch="x86_64"/></collection></pkglist></update></updates>`
)

func gzipped(tb testing.TB, text string) string {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.String()
}

func zipped(tb testing.TB, name, body string) string {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Write([]byte(body)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.String()
}

// tree writes files into a new directory.
func tree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, body := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// words says in one line what batches are.
func words(bs []advisory.Batch) string {
	var out []string
	for _, b := range bs {
		kind := "upsert"
		if b.Snapshot {
			kind = "snapshot"
		}
		out = append(out, fmt.Sprintf("%s %s %d+%d", b.Feed.Name, kind, len(b.Advisories), len(b.Facts)))
	}
	return strings.Join(out, ", ")
}

// TestLoadGoesByBytesNotByName gives every file the same misleading name.
func TestLoadGoesByBytesNotByName(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"osv_record", osvRecord, "osv:Debian:12 upsert 1+0"},
		{"osv_record_gzipped", gzipped(t, osvRecord), "osv:Debian:12 upsert 1+0"},
		{"osv_of_two_releases", "\xef\xbb\xbf \n" + osvOfTwoReleases, "osv:Debian:11 upsert 1+0, osv:Debian:12 upsert 1+0"},
		{"osv_archive", zipped(t, "DSA-1.json", osvRecord), "osv:Debian:12 snapshot 1+0"},
		{"cve_record", cveRecord, "cve upsert 0+1"},
		{"cve_lines", gzipped(t, cveRecord+"\n"+strings.Replace(cveRecord, "0001", "0002", 1)), "cve upsert 0+2"},
		{"cve_archive", zipped(t, "CVE-2024-0001.json", cveRecord), "cve upsert 0+1"},
		{"kev", kevCatalogue, "kev snapshot 0+0"},
		{"epss", epssScores, "epss snapshot 0+1"},
		{"epss_gzipped_without_header", gzipped(t, "CVE-2024-0001,0.1,0.2\n"), "epss snapshot 0+1"},
		{"updateinfo", updateinfoXML, "updateinfo:amazon:2023 snapshot 1+0"},
		{"updateinfo_gzipped", gzipped(t, updateinfoXML), "updateinfo:amazon:2023 snapshot 1+0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bs, err := feed.Load(filepath.Join(tree(t, map[string]string{"feed.bin": tt.body}), "feed.bin"), feed.Options{})
			if got := words(bs); err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestLoadDirectories(t *testing.T) {
	packed := gzipped(t, updateinfoXML)
	md := fmt.Sprintf(`<repomd><data type="updateinfo"><checksum type="sha256">%x</checksum><location href="repodata/u.xml.gz"/></data></repomd>`, sha256.Sum256([]byte(packed)))
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"osv_records", map[string]string{"DSA-1.json": osvRecord, "DSA-2.json": osvOfTwoReleases, "README.md": "x"}, "osv:Debian:12 snapshot 2+0"},
		{"osv_records_below", map[string]string{"dsa/2024/DSA-1.json": osvRecord, "dsa/2025/DSA-2.json": osvOfTwoReleases}, "osv:Debian:12 snapshot 2+0"},
		{"cve_records", map[string]string{"2024/CVE-2024-0001.json": cveRecord}, "cve upsert 0+1"},
		{"repository", map[string]string{"repodata/repomd.xml": md, "repodata/u.xml.gz": packed, "Packages/a.rpm": "x"}, "updateinfo:amazon:2023 snapshot 1+0"},
		{"repodata", map[string]string{"repomd.xml": md, "u.xml.gz": packed, "primary.sqlite": "x"}, "updateinfo:amazon:2023 snapshot 1+0"},
		{"several_feeds", map[string]string{
			"a.zip": zipped(t, "DSA-1.json", osvRecord), "kev.json": kevCatalogue, "epss.csv": epssScores, "LICENSE": "x", ".hidden": "x",
			"amazon/repodata/repomd.xml": md, "amazon/repodata/u.xml.gz": packed,
		}, "osv:Debian:12 snapshot 1+0, updateinfo:amazon:2023 snapshot 1+0, epss snapshot 0+1, kev snapshot 0+0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bs, err := feed.Load(tree(t, tt.files), feed.Options{})
			if got := words(bs); err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		path  string
		want  string
	}{
		{"missing", nil, "nothing", "no such file"},
		{"empty_file", map[string]string{"f": ""}, "f", "is empty; want an OSV record"},
		{"empty_directory", map[string]string{"d/.keep": ""}, "d", "is empty; want an OSV record"},
		{"picture", map[string]string{"f": "\x89PNG\r\n"}, "f", "not a feed we read; want"},
		{"other_json", map[string]string{"f": `{"a":1,"b":[2]}`}, "f", "JSON without the keys of an OSV record"},
		{"broken_json", map[string]string{"f": `{"details":"x`}, "f", "broken JSON at byte"},
		{"repomd_alone", map[string]string{"f": `<?xml version="1.0"?><repomd></repomd>`}, "f", "give the directory of the repository"},
		{"kev_csv", map[string]string{"f": "cveID,vendorProject\nCVE-2024-0001,x\n"}, "f", "not a feed we read"},
		{"archive_in_archive", map[string]string{"f": zipped(t, "cves.zip", zipped(t, "a", "b"))}, "f", `"cves.zip" is an archive inside the archive`},
		{"archive_of_pictures", map[string]string{"f": zipped(t, "a.png", "\x89PNG")}, "f", `"a.png": not a feed we read`},
		{"stray_file_in_directory", map[string]string{"kev.json": kevCatalogue, "notes.doc": "hello"}, ".", `"notes.doc": not a feed we read`},
		{"broken_record_in_directory", map[string]string{"a.json": osvRecord, "b.json": "{"}, ".", `"b.json": broken JSON`},
		{"broken_first_record_in_directory", map[string]string{"a.json": "{", "b.json": osvRecord}, ".", `"a.json": broken JSON`},
		{"foreign_record_in_directory", map[string]string{"a.json": osvRecord, "b.json": kevCatalogue}, ".", `"b.json": not an OSV record: it has no id`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bs, err := feed.Load(filepath.Join(tree(t, tt.files), tt.path), feed.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "load feed: ") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(bs) > 0 {
				t.Errorf("got %s beside the error", words(bs))
			}
		})
	}
}

func TestLoadDoesNotOpenPipesOrFollowLinksInDirectories(t *testing.T) {
	dir := tree(t, map[string]string{"kev.json": kevCatalogue})
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero")); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Load(dir, feed.Options{}); err == nil || !strings.Contains(err.Error(), `"zero": not a regular file`) {
		t.Errorf("got %v, want the link refused", err)
	}
}

func TestLoadKeeps(t *testing.T) {
	dir := tree(t, map[string]string{"f": osvOfTwoReleases})
	bs, err := feed.Load(filepath.Join(dir, "f"), feed.Options{Keep: func(r inventory.Release) bool { return r == debian12 }})
	if got := words(bs); err != nil || got != "osv:Debian:12 upsert 1+0" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDemoSnapshot holds the facts the repository ships.
func TestDemoSnapshot(t *testing.T) {
	bs, err := feed.Load(filepath.Join("..", "..", "scripts", "demo", "feeds"), feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := words(bs), "cve upsert 0+799, kev snapshot 0+24, osv:Debian:12 snapshot 437+0"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	named := map[string]bool{}
	for _, a := range bs[2].Advisories {
		if a.IssuedKind != advisory.DateChangelog || a.Issued.IsZero() {
			t.Errorf("%s is dated %v of kind %s; its date is a changelog's", a.ID, a.Issued, a.IssuedKind)
		}
		for _, v := range a.Vulnerabilities {
			named[v] = true
		}
	}
	if len(named) != 8939 {
		t.Errorf("%d vulnerabilities are named, want 8939", len(named))
	}
	for _, b := range bs[:2] {
		for _, f := range b.Facts {
			if !named[f.Vulnerability] {
				t.Errorf("%s has facts and no advisory", f.Vulnerability)
			}
		}
	}
}

// TestDemoSnapshotKnowsRebuilds: a rebuild for Debian 12 sorts before the
// version of unstable that it holds, and has the fix.
func TestDemoSnapshotKnowsRebuilds(t *testing.T) {
	bs, err := feed.Load(filepath.Join("..", "..", "scripts", "demo", "feeds", "osv-debian-12.zip"), feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	affected := map[string]bool{}
	installed := map[string]string{"less": "590-2.1~deb12u2", "librsvg": "2.54.7+dfsg-1~deb12u1", "openjdk-17": "17.0.15+6-1~deb12u1", "xz-utils": "5.4.1-1"}
	for _, a := range bs[0].Advisories {
		row := a.Affected[0]
		if v, ok := installed[row.Name]; ok {
			c, err := version.CompareDeb(v, row.Ranges[0].Fixed)
			if err != nil {
				t.Fatal(err)
			}
			affected[row.Name] = affected[row.Name] || c < 0
		}
	}
	want := map[string]bool{"less": false, "librsvg": false, "openjdk-17": false, "xz-utils": true}
	if diff := cmp.Diff(want, affected); diff != "" {
		t.Errorf("affected differs (-want +got):\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	for _, body := range []string{osvRecord, osvOfTwoReleases, cveRecord, kevCatalogue, epssScores, updateinfoXML, gzipped(f, updateinfoXML), zipped(f, "DSA-1.json", osvRecord)} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		name := filepath.Join(t.TempDir(), "feed")
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
		bs, err := feed.Load(name, feed.Options{})
		if err != nil && len(bs) > 0 {
			t.Errorf("got %s beside %v", words(bs), err)
		}
		for _, b := range bs {
			if b.Feed.Name == "" || b.Feed.Kind == "" || len(b.Digest) != 64 {
				t.Errorf("got a batch without a name or digest: %+v", b.Feed)
			}
		}
	})
}
