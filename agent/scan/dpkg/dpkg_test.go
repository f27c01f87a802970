package dpkg_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/dpkg"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// tree is a root with the given files below var/lib/dpkg.
func tree(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, content := range files {
		m["var/lib/dpkg/"+name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	return m
}

func status(content string) fs.FS { return tree(map[string]string{"status": content}) }

func deb(p schema.Package) schema.Package {
	p.Format = schema.FormatDeb
	if p.Status == "" {
		p.Status = schema.StatusInstalled
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	if p.SourceVersion == "" {
		p.SourceVersion = p.EVR()
	}
	return p
}

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []schema.Package
	}{
		{
			"plain",
			"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2+b7\nSource: bash (5.2.15-2)\n\n",
			[]schema.Package{{
				Name: "bash", Arch: "amd64", Version: "5.2.15", Release: "2+b7", SourceVersion: "5.2.15-2",
			}},
		},
		{
			"epoch and hyphens in the upstream version",
			"Package: vim\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 2:9.0-rc1-4\n\n",
			[]schema.Package{{Name: "vim", Arch: "amd64", Epoch: 2, Version: "9.0-rc1", Release: "4", SourceVersion: "2:9.0-rc1-4"}},
		},
		{
			"native and source without version",
			"Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4+deb12u5\nSource: files\nOrigin: Debian\n\n",
			[]schema.Package{{
				Name: "base-files", Arch: "amd64", Version: "12.4+deb12u5", Source: "files", Vendor: "Debian",
			}},
		},
		{
			"any case, tabs, a description that looks like fields",
			"PACKAGE:a\nsTaTuS:\tinstall ok installed \nARCHITECTURE:all\nversion: 1\nDescription: x\n Version: 9\n .\n\tPackage: other\n\n",
			[]schema.Package{{Name: "a", Arch: "all", Version: "1"}},
		},
		{
			"states in between are on disk",
			"Package: a\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\n\n" +
				"Package: b\nStatus: install reinstreq half-installed\nArchitecture: all\nVersion: 1\n\n" +
				"Package: c\nStatus: install ok half-configured\nArchitecture: all\nVersion: 1\n\n" +
				"Package: d\nStatus: install ok triggers-awaited\nArchitecture: all\nVersion: 1\n\n" +
				"Package: e\nStatus: install ok triggers-pending\nArchitecture: all\nVersion: 1\n\n",
			[]schema.Package{
				{Name: "a", Arch: "all", Version: "1", Status: "unpacked"},
				{Name: "b", Arch: "all", Version: "1", Status: "half-installed"},
				{Name: "c", Arch: "all", Version: "1", Status: "half-configured"},
				{Name: "d", Arch: "all", Version: "1", Status: "triggers-awaited"},
				{Name: "e", Arch: "all", Version: "1", Status: "triggers-pending"},
			},
		},
		{
			"gone packages are none",
			"Package: a\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n" +
				"Package: b\nStatus: purge ok not-installed\n\n",
			nil,
		},
		{
			"a first unpack that broke off",
			"Package: a\nStatus: install reinstreq half-installed\nArchitecture: all\n\n",
			[]schema.Package{{Name: "a", Arch: "all", Status: "half-installed"}},
		},
		{
			"two architectures",
			"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 2\n\n" +
				"Package: libc6\nStatus: install ok installed\nArchitecture: i386\nMulti-Arch: same\nVersion: 2\n\n",
			[]schema.Package{{Name: "libc6", Arch: "amd64", Version: "2"}, {Name: "libc6", Arch: "i386", Version: "2"}},
		},
		{
			"carriage returns and many empty lines",
			"\n\nPackage: a\r\nStatus: install ok installed\r\nVersion: 1\r\n\r\n\n\n",
			[]schema.Package{{Name: "a", Version: "1"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want []schema.Package
			for _, p := range tc.want {
				want = append(want, deb(p))
			}
			got := dpkg.Read(status(tc.in))
			if len(got.Gaps) > 0 || !got.Found {
				t.Errorf("found %v, gaps %v, want a whole database", got.Found, got.Gaps)
			}
			if d := cmp.Diff(want, got.Packages, emptyIsNil); d != "" {
				t.Errorf("packages (-want +got):\n%s", d)
			}
		})
	}
}

var emptyIsNil = cmp.Transformer("len0", func(ps []schema.Package) []schema.Package {
	if len(ps) == 0 {
		return nil
	}
	return ps
})

const good = "Package: good\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n"

// Each of these is one stanza nobody can list. It must be said, and the good
// one behind it must still come.
func TestReadBrokenStanza(t *testing.T) {
	for name, in := range map[string]string{
		"no name":             "Status: install ok installed\nVersion: 1\n\n",
		"no status":           "Package: a\nVersion: 1\n\n",
		"no version":          "Package: a\nStatus: install ok installed\n\n",
		"two status words":    "Package: a\nStatus: install installed\nVersion: 1\n\n",
		"unknown state":       "Package: a\nStatus: install ok half\nVersion: 1\n\n",
		"twice the version":   "Package: a\nStatus: install ok installed\nVersion: 1\nVersion: 2\n\n",
		"folded version":      "Package: a\nStatus: install ok installed\nVersion: 1\n 2\n\n",
		"letter epoch":        "Package: a\nStatus: install ok installed\nVersion: x:1\n\n",
		"huge epoch":          "Package: a\nStatus: install ok installed\nVersion: 2147483648:1\n\n",
		"signed epoch":        "Package: a\nStatus: install ok installed\nVersion: +1:1\n\n",
		"empty revision":      "Package: a\nStatus: install ok installed\nVersion: 1-\n\n",
		"only a revision":     "Package: a\nStatus: install ok installed\nVersion: -1\n\n",
		"space in version":    "Package: a\nStatus: install ok installed\nVersion: 1 2\n\n",
		"NUL in version":      "Package: a\nStatus: install ok installed\nVersion: 1\x00\n\n",
		"not UTF-8":           "Package: a\nStatus: install ok installed\nVersion: 1\xff\n\n",
		"no colon":            "Package: a\nStatus: install ok installed\nVersion: 1\nwhat\n\n",
		"empty field name":    "Package: a\nStatus: install ok installed\nVersion: 1\n: x\n\n",
		"open source version": "Package: a\nStatus: install ok installed\nVersion: 1\nSource: b (1\n\n",
		"empty source":        "Package: a\nStatus: install ok installed\nVersion: 1\nSource: (1)\n\n",
		"bad source version":  "Package: a\nStatus: install ok installed\nVersion: 1\nSource: b (1_2)\n\n",
		"tail after source":   "Package: a\nStatus: install ok installed\nVersion: 1\nSource: b (1) c\n\n",
		"long name":           "Package: " + strings.Repeat("a", schema.MaxField+1) + "\nStatus: install ok installed\nVersion: 1\n\n",
		"endless line":        "Package: a\nStatus: install ok installed\nVersion: 1\nX: " + strings.Repeat("a", dpkg.DefaultLimits.Line+1) + "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := dpkg.Read(status(in + good))
			if len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapCorrupt || got.Gaps[0].Path != "/var/lib/dpkg/status" {
				t.Errorf("gaps %+v, want one corrupt stanza of /var/lib/dpkg/status", got.Gaps)
			}
			if len(got.Packages) != 1 || got.Packages[0].Name != "good" {
				t.Errorf("packages %+v, want only the good one", got.Packages)
			}
		})
	}
}

// A value may be long when no one uses it.
func TestReadLongLine(t *testing.T) {
	in := "Package: a\nStatus: install ok installed\nDepends: " + strings.Repeat("b, ", 100_000) + "\nVersion: 1\n\n" + good
	got := dpkg.Read(status(in))
	if len(got.Gaps) != 0 || len(got.Packages) != 2 {
		t.Errorf("%d packages, gaps %v, want 2 and none", len(got.Packages), got.Gaps)
	}
}

// However a status file was cut short, it is said: by the missing empty line,
// or by the file lists of the packages that are no longer in it.
func TestReadCutAnywhere(t *testing.T) {
	var whole strings.Builder
	files := map[string]string{}
	for _, name := range []string{"alpha", "beta", "gamma"} {
		fmt.Fprintf(&whole, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.3-4\nSource: src (2.3)\nDescription: x\n y\n\n", name)
		files["info/"+name+".list"] = "/.\n"
	}
	files["status"] = whole.String()
	if got := dpkg.Read(tree(files)); len(got.Gaps) != 0 || len(got.Packages) != 3 {
		t.Fatalf("whole file: %d packages, gaps %v", len(got.Packages), got.Gaps)
	}
	for n := range whole.Len() {
		files["status"] = whole.String()[:n]
		got := dpkg.Read(tree(files))
		if len(got.Gaps) == 0 {
			t.Errorf("cut after %d of %d bytes: %d packages and no gap", n, whole.Len(), len(got.Packages))
		}
		for _, p := range got.Packages {
			if p.EVR() != "1:2.3-4" || p.Source != "src" {
				t.Errorf("cut after %d bytes: %+v was not in the file", n, p)
			}
		}
	}
}

func TestReadStatusDir(t *testing.T) {
	const stanza = "Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\nDescription: zones"
	got := dpkg.Read(tree(map[string]string{
		"status.d/tzdata":         stanza, // no newline at the end: the tools that write these differ
		"status.d/tzdata.md5sums": "0123  usr/share/zoneinfo/UTC\n",
		"status.d/base":           "Package: base-files\nVersion: 12\nArchitecture: all\n",
	}))
	want := []schema.Package{
		deb(schema.Package{Name: "base-files", Arch: "all", Version: "12"}),
		deb(schema.Package{Name: "tzdata", Arch: "all", Version: "2024a", Release: "0+deb12u1"}),
	}
	if d := cmp.Diff(want, got.Packages); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
	if len(got.Gaps) > 0 {
		t.Errorf("gaps %v", got.Gaps)
	}
}

func TestReadStatusDirCut(t *testing.T) {
	for name, in := range map[string]string{
		"within the version": "Package: a\nArchitecture: all\nVersion: 1.2",
		"empty":              "",
	} {
		t.Run(name, func(t *testing.T) {
			got := dpkg.Read(tree(map[string]string{"status.d/a": in}))
			if len(got.Packages) != 0 || len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapTruncated {
				t.Errorf("packages %v, gaps %v, want one truncated", got.Packages, got.Gaps)
			}
		})
	}
}

// dpkg notes each step beside the status file and merges at the end of a run;
// dpkg-query reads both, and so must we.
func TestReadUpdates(t *testing.T) {
	got := dpkg.Read(tree(map[string]string{
		"status":        good + "Package: gone\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n",
		"updates/0001":  "Package: good\nStatus: install ok unpacked\nArchitecture: all\nVersion: 2\n",
		"updates/0002":  "Package: good\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n",
		"updates/0010":  "Package: gone\nStatus: purge ok not-installed\nArchitecture: all\n",
		"updates/tmp.i": "Package: never",
	}))
	want := []schema.Package{deb(schema.Package{Name: "good", Arch: "all", Version: "2"})}
	if d := cmp.Diff(want, got.Packages); d != "" || len(got.Gaps) > 0 {
		t.Errorf("gaps %v, packages (-want +got):\n%s", got.Gaps, d)
	}
}

// merging is a root whose dpkg merges an update while the agent reads: the
// status file is replaced and the update dropped between the two.
type merging struct {
	fstest.MapFS

	merged bool
}

func (m *merging) Open(name string) (fs.File, error) {
	if name == "var/lib/dpkg/updates" && !m.merged {
		m.merged = true
		m.MapFS["var/lib/dpkg/status"] = &fstest.MapFile{
			Data: []byte(good + strings.ReplaceAll(good, "good", "new")), Mode: 0o644, ModTime: time.Unix(1, 0),
		}
	}
	return m.MapFS.Open(name)
}

func (m *merging) Stat(name string) (fs.FileInfo, error) { return m.MapFS.Stat(name) }

func TestReadWhileDpkgMerges(t *testing.T) {
	m := &merging{MapFS: tree(map[string]string{"status": good, "info/good.list": "", "info/new.list": ""}).(fstest.MapFS)}
	got := dpkg.Read(m)
	if len(got.Packages) != 2 || len(got.Gaps) > 0 {
		t.Errorf("packages %v, gaps %v, want both and none", got.Packages, got.Gaps)
	}
}

func TestReadNothing(t *testing.T) {
	got := dpkg.Read(fstest.MapFS{})
	if got.Found || len(got.Gaps) > 0 || len(got.Packages) > 0 {
		t.Errorf("got %+v of an empty root", got)
	}
}

func TestReadLimits(t *testing.T) {
	many := strings.Repeat("X: y\n", 100) + "\n" + good
	for name, l := range map[string]dpkg.Limits{
		"file":     {File: 300, Line: 100, Packages: 10, Entries: 10, Gaps: 10},
		"packages": {File: 1 << 20, Line: 100, Packages: 0, Entries: 10, Gaps: 10},
	} {
		t.Run(name, func(t *testing.T) {
			got := l.Read(status(many))
			last := got.Gaps[len(got.Gaps)-1]
			if last.Kind != schema.GapTruncated || len(got.Packages) != 0 {
				t.Errorf("packages %v, gaps %+v, want a truncated one", got.Packages, got.Gaps)
			}
		})
	}
	t.Run("gaps", func(t *testing.T) {
		l := dpkg.DefaultLimits
		l.Gaps = 3
		got := l.Read(status(strings.Repeat("broken\n\n", 10) + good))
		if len(got.Gaps) != 4 || !strings.HasPrefix(got.Gaps[3].Detail, "7 more") {
			t.Errorf("gaps %+v, want three and one that counts seven more", got.Gaps)
		}
	})
}

func TestReadDirectoryInPlaceOfStatus(t *testing.T) {
	got := dpkg.Read(tree(map[string]string{"status/x": "y"}))
	if len(got.Gaps) == 0 || !got.Found {
		t.Errorf("found %v, gaps %v, want a gap", got.Found, got.Gaps)
	}
}

// sharedData returns a file of the data beside the checkout.
func sharedData(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			data := filepath.Join(dir, "..", "shared", "data")
			if _, err := os.Stat(data); err != nil {
				t.Skipf("no real data beside the checkout: %v", err)
			}
			return filepath.Join(data, name)
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// A real host of 949 packages, against what dpkg-query printed there.
func TestReadRealHost(t *testing.T) {
	in, err := os.ReadFile(sharedData(t, "hosts/this-machine-debian12/status"))
	if err != nil {
		t.Fatal(err)
	}
	tsv, err := os.ReadFile(sharedData(t, "hosts/this-machine-debian12/dpkg-query.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(tsv)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if state := f[5][1]; state == 'n' || state == 'c' {
			continue
		}
		f[0], _, _ = strings.Cut(f[0], ":") // binary:Package carries the architecture
		want = append(want, strings.Join(f[:5], " "))
	}
	r := dpkg.Read(status(string(in)))
	var got []string
	for _, p := range r.Packages {
		got = append(got, strings.Join([]string{p.Name, p.EVR(), p.Arch, p.Source, p.SourceVersion}, " "))
	}
	if d := cmp.Diff(want, got); d != "" || len(r.Gaps) > 0 {
		t.Errorf("gaps %v, packages (-dpkg-query +got):\n%s", r.Gaps, d)
	}
	if len(got) != 949 {
		t.Errorf("%d packages, want 949", len(got))
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(good), []byte(""))
	f.Add([]byte("Package: a\nStatus: install ok installed\nVersion: 1:2-3\nSource: b (4)\n x\n\n"), []byte("Package: x\nVersion: 1\n"))
	f.Add([]byte("\n: \nPackage\n\n#\n"), []byte("Package: good\nStatus: install ok unpacked\n"))
	f.Fuzz(func(t *testing.T, main, single []byte) {
		files := map[string]string{"status": string(main), "status.d/one": string(single), "updates/1": string(single)}
		got := dpkg.Read(tree(files))
		if _, err := schema.EncodePackages(got.Packages); err != nil {
			t.Errorf("packages cannot be stated: %v", err)
		}
		for _, p := range got.Packages {
			if p.Version == "" && p.Status != schema.StatusHalfInstalled {
				t.Errorf("%+v has no version", p)
			}
		}
		// What is not a gap must be a stanza that begins with something.
		if len(got.Gaps) == 0 && len(got.Packages) == 0 && strings.Contains(string(main), "installed") &&
			!strings.Contains(string(main), "not-installed") && !strings.Contains(string(main), "config-files") &&
			strings.Contains(strings.ToLower(string(main)), "\nstatus: install ok installed\n") {
			t.Errorf("an installed package disappeared from %q", main)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	root := os.DirFS("/")
	if r := dpkg.Read(root); !r.Found {
		b.Skip("this host has no dpkg database")
	}
	b.ReportAllocs()
	for b.Loop() {
		dpkg.Read(root)
	}
}

func TestOwners(t *testing.T) {
	root := fstest.MapFS{
		"var/lib/dpkg/info/libc6:amd64.list":       {Data: []byte("/.\n/lib\n/lib/x86_64-linux-gnu/libc.so.6\n")},
		"var/lib/dpkg/info/openssh-server.list":    {Data: []byte("/usr/sbin/sshd\n/usr/sbin/sshd.old")},
		"var/lib/dpkg/info/openssh-server.md5sums": {Data: []byte("/opt/app\n")},
	}
	got, gaps := dpkg.Owners(root, []string{
		"/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/sbin/sshd", "/usr/sbin/sshd.old", "/opt/app", "/usr/sbin",
	})
	want := map[string]dpkg.Owner{
		"/usr/lib/x86_64-linux-gnu/libc.so.6": {Name: "libc6", Arch: "amd64"},
		"/usr/sbin/sshd":                      {Name: "openssh-server"},
		"/usr/sbin/sshd.old":                  {Name: "openssh-server"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("owners (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}

func TestOwnersAsDpkgSays(t *testing.T) {
	out, err := exec.Command("dpkg", "-S", "/bin/ls", "/usr/bin/dpkg").Output()
	if err != nil {
		t.Skip("no dpkg here to compare with")
	}
	root, err := rootfs.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for line := range strings.Lines(string(out)) {
		pkg, path, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got, gaps := dpkg.Owners(root, []string{path})
		if got[path].Name != pkg || len(gaps) > 0 {
			t.Errorf("%s: got %+v, dpkg says %s; gaps %v", path, got, pkg, gaps)
		}
	}
}
