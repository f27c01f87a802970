package feed_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/feed"
)

const updateinfoText = `<?xml version="1.0"?><updates><update status="final" version="1.4" author="a" type="security" from="a">
<id>ALAS2023-2026-001</id><title>t</title><issued date="2026-02-17 20:41"/><updated date="2026-02-18 20:41"/><severity>Important</severity>
<description>d</description><references><reference href="h" title="" id="CVE-2026-5001" type="cve"/></references>
<pkglist><collection short="amazon-linux-2023"><name>Amazon Linux 2023</name>
<package name="bash" version="5.2" release="2.amzn2023" epoch="0" arch="x86_64"><filename>f</filename></package></collection></pkglist></update></updates>`

// travel writes a path's documents to files, as they arrive at a collector, and loads them.
func travel(t *testing.T, path string) []feed.Outcome {
	t.Helper()
	docs, err := feed.Documents(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []feed.Outcome
	for i, d := range docs {
		r, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), fmt.Sprintf("upload-%d", i))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		batches, err := feed.Load(name, feed.Options{})
		if err != nil {
			t.Fatalf("load what travelled of %s: %v", d.Name, err)
		}
		for _, b := range batches {
			out = append(out, feed.Outcome{Feed: b.Feed.Name, Snapshot: b.Snapshot, Advisories: len(b.Advisories)})
		}
	}
	return out
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARepositoryTravelsWithItsIndex(t *testing.T) {
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(updateinfoText))
	put(t, dir, "repodata/updateinfo.xml", updateinfoText)
	put(t, dir, "repodata/primary.xml.gz", "not needed")
	put(t, dir, "repodata/repomd.xml", fmt.Sprintf(`<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="updateinfo">
<checksum type="sha256">%s</checksum><location href="repodata/updateinfo.xml"/><size>%d</size></data></repomd>`, hex.EncodeToString(sum[:]), len(updateinfoText)))
	want := []feed.Outcome{{Feed: "updateinfo:amazon:2023", Snapshot: true, Advisories: 1}}
	if d := cmp.Diff(want, travel(t, dir)); d != "" {
		t.Errorf("what arrives differs (-want +got):\n%s", d)
	}
	put(t, dir, "repodata/updateinfo.xml", updateinfoText+" ")
	docs, err := feed.Documents(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := docs[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Load(name, feed.Options{}); err == nil {
		t.Error("a file that its index does not know was taken")
	}
}

func TestADirectoryOfRecordsTravelsAsASnapshot(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		put(t, dir, fmt.Sprintf("DSA-%d.json", i), fmt.Sprintf(`{"id":"DSA-%d","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z","upstream":["CVE-2026-%d"],
"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.14-1"}]}]}]}`, i, 1000+i))
	}
	want := []feed.Outcome{{Feed: "osv:Debian:12", Snapshot: true, Advisories: 3}}
	if d := cmp.Diff(want, travel(t, dir)); d != "" {
		t.Errorf("what arrives differs (-want +got):\n%s", d)
	}
}

func TestADirectoryOfFeedsTravelsOneByOne(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "README.md", "notes")
	put(t, dir, "one.xml", updateinfoText)
	put(t, dir, "kev.json", `{"title":"t","catalogVersion":"2026.01.01","dateReleased":"2026-01-01T00:00:00.0Z","count":1,"vulnerabilities":[
{"cveID":"CVE-2026-5001","vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":"2026-01-01","shortDescription":"s","requiredAction":"r","dueDate":"2026-01-22","knownRansomwareCampaignUse":"Unknown","notes":""}]}`)
	docs, err := feed.Documents(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names bytes.Buffer
	for _, d := range docs {
		fmt.Fprintln(&names, filepath.Base(d.Name))
	}
	if names.String() != "kev.json\none.xml\n" {
		t.Errorf("got documents %q", names.String())
	}
	if got := travel(t, dir); len(got) != 2 {
		t.Errorf("got %+v, want both feeds", got)
	}
	if _, err := feed.Documents(t.TempDir()); err == nil {
		t.Error("an empty directory gave no error")
	}
}
