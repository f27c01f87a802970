package sbom_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/sbom"
	"github.com/patchproof/patchproof/schema"
)

// document wraps components, each the JSON of one, or just its purl.
func document(components ...string) string {
	for i, c := range components {
		if !strings.HasPrefix(c, "{") {
			components[i] = fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, c)
		}
	}
	return `{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[` + strings.Join(components, ",") + `]}`
}

func parse(t *testing.T, doc string) *sbom.Document {
	t.Helper()
	d, err := sbom.Parse(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPackages(t *testing.T) {
	alma, debian := inventory.Release{Distro: "almalinux", Version: "9"}, inventory.Release{Distro: "debian", Version: "12"}
	cases := []struct {
		purl    string
		release inventory.Release
		want    schema.Package
	}{
		{
			"pkg:rpm/almalinux/bash@5.1.8-6.el9?arch=x86_64&distro=almalinux-9.3&upstream=bash-5.1.8-6.el9.src.rpm&epoch=1", alma,
			schema.Package{Format: "rpm", Name: "bash", Epoch: 1, Version: "5.1.8", Release: "6.el9", Arch: "x86_64", Source: "bash", SourceVersion: "1:5.1.8-6.el9"},
		},
		{
			"pkg:rpm/almalinux/NetworkManager@1.36.0-4.el9_0?arch=x86_64&distro=almalinux-9&epoch=1", alma,
			schema.Package{Format: "rpm", Name: "NetworkManager", Epoch: 1, Version: "1.36.0", Release: "4.el9_0", Arch: "x86_64", Source: "NetworkManager", SourceVersion: "1:1.36.0-4.el9_0"},
		},
		{
			"pkg:rpm/almalinux/kernel-core@5.14.0-1.el9?distro=almalinux-9.3&upstream=kernel-5.14.0-1.el9.src.rpm", alma,
			schema.Package{Format: "rpm", Name: "kernel-core", Version: "5.14.0", Release: "1.el9", Source: "kernel", SourceVersion: "5.14.0-1.el9"},
		},
		{
			"pkg:rpm/almalinux/nodejs@18.1-1.module_el9%2B1%2Bab?distro=almalinux-9&rpmmod=nodejs%3A18%3A9020%3Aab", alma,
			schema.Package{Format: "rpm", Name: "nodejs", Version: "18.1", Release: "1.module_el9+1+ab", Source: "nodejs", SourceVersion: "18.1-1.module_el9+1+ab", Module: "nodejs:18:9020:ab"},
		},
		{
			"pkg:rpm/almalinux/nodejs@18.1-1.module_el9+1+ab?distro=almalinux-9&rpmmod=nodejs:18:9020:ab", alma,
			schema.Package{Format: "rpm", Name: "nodejs", Version: "18.1", Release: "1.module_el9+1+ab", Source: "nodejs", SourceVersion: "18.1-1.module_el9+1+ab", Module: "nodejs:18:9020:ab"},
		},
		{
			"pkg:rpm/almalinux/vim@2%3A8.2-1.el9?distro=almalinux-9", alma,
			schema.Package{Format: "rpm", Name: "vim", Epoch: 2, Version: "8.2", Release: "1.el9", Source: "vim", SourceVersion: "2:8.2-1.el9"},
		},
		{
			"pkg:rpm/almalinux/vim@2:8.2-1.el9?distro=almalinux-9&epoch=02", alma,
			schema.Package{Format: "rpm", Name: "vim", Epoch: 2, Version: "8.2", Release: "1.el9", Source: "vim", SourceVersion: "2:8.2-1.el9"},
		},
		{
			"pkg:rpm/alma/bash@1-1?distro=alma-9.3", alma, // as trivy writes it
			schema.Package{Format: "rpm", Name: "bash", Version: "1", Release: "1", Source: "bash", SourceVersion: "1-1"},
		},
		{
			"pkg:rpm/amzn/bash@1-1?distro=amazon-2%20%28Karoo%29",
			inventory.Release{Distro: "amazon", Version: "2"},
			schema.Package{Format: "rpm", Name: "bash", Version: "1", Release: "1", Source: "bash", SourceVersion: "1-1"},
		},
		{
			"pkg:rpm/redhat/bash@1-1?distro=rhel-9.4",
			inventory.Release{Distro: "rhel", Version: "9"},
			schema.Package{Format: "rpm", Name: "bash", Version: "1", Release: "1", Source: "bash", SourceVersion: "1-1"},
		},
		{
			"pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12&upstream=glibc", debian,
			schema.Package{Format: "deb", Name: "libc6", Version: "2.36", Release: "9+deb12u9", Arch: "amd64", Source: "glibc", SourceVersion: "2.36-9+deb12u9"},
		},
		{
			"pkg:deb/debian/dmsetup@2%3A1.02.185-2?arch=amd64&distro=debian-12&upstream=lvm2%402.03.16-2", debian,
			schema.Package{Format: "deb", Name: "dmsetup", Epoch: 2, Version: "1.02.185", Release: "2", Arch: "amd64", Source: "lvm2", SourceVersion: "2.03.16-2"},
		},
		{
			"pkg:deb/debian/linux-image-6.1.0-29-amd64@6.1.123-1?arch=amd64&distro=debian-bookworm&upstream=linux-signed-amd64%406.1.123+1", debian,
			schema.Package{Format: "deb", Name: "linux-image-6.1.0-29-amd64", Version: "6.1.123", Release: "1", Arch: "amd64", Source: "linux-signed-amd64", SourceVersion: "6.1.123+1"},
		},
		{
			"pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12.5", debian,
			schema.Package{Format: "deb", Name: "adduser", Version: "3.134", Arch: "all", Source: "adduser", SourceVersion: "3.134"},
		},
		{
			"pkg:deb/ubuntu/bash@5.1-6ubuntu1?distro=ubuntu-22.04",
			inventory.Release{Distro: "ubuntu", Version: "22.04"},
			schema.Package{Format: "deb", Name: "bash", Version: "5.1", Release: "6ubuntu1", Source: "bash", SourceVersion: "5.1-6ubuntu1"},
		},
		{
			"pkg:apk/alpine/libcrypto1.1@1.1.1c-r0?arch=x86_64&distro=alpine-3.10.2&upstream=openssl",
			inventory.Release{Distro: "alpine", Version: "3.10"},
			schema.Package{Format: "apk", Name: "libcrypto1.1", Version: "1.1.1c-r0", Arch: "x86_64", Source: "openssl", SourceVersion: "1.1.1c-r0"},
		},
	}
	for _, c := range cases {
		t.Run(c.purl, func(t *testing.T) {
			c.want.Status = "installed"
			want := &sbom.Document{
				States:  []inventory.State{{Release: c.release, Set: inventory.Set{Packages: []schema.Package{c.want}}}},
				Ignored: map[string]int{},
			}
			if diff := cmp.Diff(want, parse(t, document(c.purl))); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnread(t *testing.T) {
	for purl, reason := range map[string]string{
		"pkg:rpm":                       "purl cannot be read: ",
		"not a purl":                    "purl cannot be read: ",
		"pkg:rpm/almalinux/bash@1%zz-1": "purl cannot be read: ",
		"pkg:rpm/almalinux/bash?distro=almalinux-9":                             "it has no version",
		"pkg:rpm/almalinux/bash@5.1.8?distro=almalinux-9":                       "has no release",
		"pkg:rpm/almalinux/bash@5.1.8-?distro=almalinux-9":                      "is not VERSION-RELEASE",
		"pkg:rpm/almalinux/bash@1-1?distro=almalinux-9&epoch=one":               "is not a number",
		"pkg:rpm/almalinux/bash@1-1?distro=almalinux-9&epoch=-1":                "is not a number",
		"pkg:rpm/almalinux/bash@1-1?distro=almalinux-9&epoch=99999999999":       "is not a number",
		"pkg:rpm/almalinux/bash@1:1-1?distro=almalinux-9&epoch=2":               "its version says epoch 1 and its qualifier 2",
		"pkg:rpm/almalinux/bash@1-1?distro=centos-8":                            "its namespace says almalinux and its distro centos-8",
		"pkg:deb/ubuntu/bash@1-1?distro=debian-12":                              "its namespace says ubuntu and its distro debian-12",
		"pkg:rpm/almalinux/bash@1-1?distro=almalinux":                           "is not NAME-VERSION",
		"pkg:rpm/almalinux/bash@1-1?distro=almalinux-9&upstream=bash.src.rpm":   "is not NAME-VERSION-RELEASE.src.rpm",
		"pkg:deb/debian/bash@1-1?distro=debian-12&upstream=bash@":               "is not SOURCE or SOURCE@VERSION",
		"pkg:rpm/almalinux/ba%20sh@1-1?distro=almalinux-9":                      "which is no name or version",
		"pkg:rpm/almalinux/bash@1-1%0A?distro=almalinux-9":                      "which is no name or version",
		"pkg:rpm/almalinux/" + strings.Repeat("b", 600) + "@1?distro=almalinux": "which is no name or version",
	} {
		d := parse(t, document(purl))
		if len(d.Unread) != 1 || len(d.States) != 0 || len(d.Ignored) != 0 || !strings.Contains(d.Unread[0].Reason, reason) || d.Unread[0].PURL != purl {
			t.Errorf("%s: got %+v, want it unread: %s", purl, d, reason)
		}
	}
}

func TestReleaseOfTheDocument(t *testing.T) {
	const (
		alma    = `{"type":"operating-system","name":"almalinux","version":"9.3"}`
		debian  = `{"type":"operating-system","name":"debian","version":"12"}`
		nothing = "pkg:rpm/almalinux/bash@1-1"
	)
	for name, c := range map[string]struct {
		components []string
		want       inventory.Release
		unread     int
	}{
		"Component": {[]string{alma, nothing}, inventory.Release{Distro: "almalinux", Version: "9"}, 0},
		"None":      {[]string{nothing}, inventory.Release{}, 0},
		"Two":       {[]string{alma, debian, nothing}, inventory.Release{}, 0},
		"Conflict":  {[]string{debian, nothing}, inventory.Release{}, 1},
		"Unknown":   {[]string{`{"type":"operating-system","name":"Haiku","version":"R1"}`, "pkg:rpm/bash@1-1"}, inventory.Release{Distro: "haiku", Version: "R1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, document(c.components...))
			if len(d.Unread) != c.unread || len(d.States) != 1-c.unread {
				t.Fatalf("got %+v, want %d unread", d, c.unread)
			}
			if c.unread == 0 && d.States[0].Release != c.want {
				t.Errorf("got %v, want %v", d.States[0].Release, c.want)
			}
		})
	}
	d := parse(t, `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":`+alma+`},"components":[{"type":"library","name":"bash","purl":"pkg:rpm/bash@1-1"}]}`)
	if len(d.States) != 1 || d.States[0].Release != (inventory.Release{Distro: "almalinux", Version: "9"}) {
		t.Errorf("metadata: got %+v, want almalinux 9", d)
	}
}

func TestMixedDistributionsKeepTheirOwnRelease(t *testing.T) {
	d := parse(t, document("pkg:deb/debian/bash@1-1?distro=debian-12", "pkg:rpm/almalinux/bash@1-1?distro=almalinux-9.3", "pkg:rpm/almalinux/zlib@1-1?distro=almalinux-9.1"))
	got := []string{}
	for _, s := range d.States {
		got = append(got, fmt.Sprint(s.Release, " ", len(s.Set.Packages)))
	}
	if diff := cmp.Diff([]string{"almalinux:9 2", "debian:12 1"}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestNestedDuplicatesAndIgnored(t *testing.T) {
	bash := `{"type":"library","name":"bash","purl":"pkg:rpm/almalinux/bash@1-1?distro=almalinux-9"}`
	d := parse(t, document(
		`{"type":"container","name":"image","components":[`+bash+`,{"type":"application","name":"app","components":[`+bash+`,{"type":"library","name":"left-pad","purl":"pkg:npm/left-pad@1.0.0"}]}]}`,
		bash, `{"type":"file","name":"/etc/passwd"}`, `{"type":"library","name":"vendored"}`, "pkg:npm/x@1", "pkg:golang/example.org/y@v1"))
	want := map[string]int{"npm": 2, "golang": 1, sbom.NoPURL: 2}
	if diff := cmp.Diff(want, d.Ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	if len(d.States) != 1 || len(d.States[0].Set.Packages) != 1 || len(d.Unread) != 0 {
		t.Errorf("got %+v, want bash once", d)
	}
}

func TestTrivyProperties(t *testing.T) {
	d := parse(t, document(`{"type":"library","name":"libidn2-0","purl":"pkg:deb/debian/libidn2-0@2.0.5-1?arch=amd64&distro=debian-10.1","properties":[
		{"name":"aquasecurity:trivy:SrcName","value":"libidn2"},{"name":"aquasecurity:trivy:SrcVersion","value":"2.0.5"},
		{"name":"aquasecurity:trivy:SrcRelease","value":"1"},{"name":"aquasecurity:trivy:SrcEpoch","value":"1"}]}`))
	p := d.States[0].Set.Packages[0]
	if p.Source != "libidn2" || p.SourceVersion != "1:2.0.5-1" {
		t.Errorf("got source %s %s, want libidn2 1:2.0.5-1", p.Source, p.SourceVersion)
	}
}

func TestNotADocument(t *testing.T) {
	for name, doc := range map[string]string{
		"Empty": "", "Truncated": `{"bomFormat":"CycloneDX"`, "SPDX": `{"spdxVersion":"SPDX-2.3"}`, "List": `[]`, "XML": `<bom/>`,
		"Deep": strings.Repeat(`{"components":[`, 20000), "WrongType": `{"bomFormat":"CycloneDX","components":{}}`,
	} {
		if d, err := sbom.Parse(strings.NewReader(doc)); !errors.Is(err, sbom.ErrFormat) {
			t.Errorf("%s: got %v, %v, want ErrFormat", name, d, err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 128 MiB")
	}
	if _, err := sbom.Parse(endless{}); !errors.Is(err, sbom.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	many := `{"bomFormat":"CycloneDX","components":[` + strings.Repeat(`{},`, sbom.MaxComponents) + `{}]}`
	if _, err := sbom.Parse(strings.NewReader(many)); !errors.Is(err, sbom.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// FuzzParse holds the law of the package: every component with a purl is in a
// state, unread, or ignored.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document("pkg:rpm/almalinux/bash@5.1.8-6.el9?arch=x86_64&distro=almalinux-9.3&upstream=bash-5.1.8-6.el9.src.rpm&epoch=1")))
	f.Add([]byte(document("pkg:deb/debian/libc6@2.36-9?distro=debian-12&upstream=glibc@2.36-9", "pkg:npm/x@1", "pkg:rpm/x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := sbom.Parse(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		purls := map[string]bool{}
		var walk func(cs []json.RawMessage)
		walk = func(cs []json.RawMessage) {
			for _, raw := range cs {
				var c struct {
					PURL       string            `json:"purl"`
					Components []json.RawMessage `json:"components"`
				}
				if json.Unmarshal(raw, &c) == nil {
					purls[c.PURL] = true
					walk(c.Components)
				}
			}
		}
		var doc struct {
			Components []json.RawMessage `json:"components"`
		}
		if json.Unmarshal(data, &doc) == nil {
			walk(doc.Components)
		}
		delete(purls, "")
		if said := len(d.States) + len(d.Unread) + len(d.Ignored); len(purls) > 0 && said == 0 {
			t.Errorf("%d purls and nothing said of them", len(purls))
		}
		for _, s := range d.States {
			for _, p := range s.Set.Packages {
				if p.Name == "" || p.Version == "" || p.Source == "" || p.Format == schema.FormatRPM && p.Release == "" {
					t.Errorf("package not whole: %+v", p)
				}
			}
		}
	})
}

// TestSyftDocument reads what syft wrote of an Alpine image, where it is.
func TestSyftDocument(t *testing.T) {
	path := filepath.Join(root(t), "..", "shared", "data", "scans", "heimdall", "cyclonedx_sbom_mapper", "sample_input_report")
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Skipf("real data is not there: %v", err)
	}
	read := 0
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), `"CycloneDX"`) {
			continue
		}
		if _, err := sbom.Parse(strings.NewReader(string(data))); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
		read++
	}
	if read == 0 {
		t.Error("no CycloneDX document read")
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above the test")
	return ""
}
