package dpkg_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/dpkg"
	"github.com/patchproof/patchproof/schema"
)

// run runs a tool that these tests cannot do without.
func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is needed to make real databases: install the package dpkg (%v)", tool, err)
	}
	cmd := exec.Command(tool, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", tool, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// build makes a .deb with one configuration file.
func build(t *testing.T, dir, control string) string {
	t.Helper()
	name := strings.ReplaceAll(strings.Fields(control)[1], "\n", "")
	tree := filepath.Join(t.TempDir(), name)
	for file, content := range map[string]string{
		"DEBIAN/control":        control + "Maintainer: Tests <tests@example.org>\nDescription: made for a test\n",
		"DEBIAN/conffiles":      "/etc/" + name + ".conf\n",
		"etc/" + name + ".conf": "x = 1\n",
	} {
		p := filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.CreateTemp(dir, "*.deb")
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	// Files keep their owner, so that whoever runs the tests can unpack them.
	run(t, "dpkg-deb", "-b", tree, f.Name())
	return f.Name()
}

// newRoot makes an empty root that dpkg takes for its own.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// query is what dpkg-query shows of the packages whose files are there.
func query(t *testing.T, admindir string) []string {
	t.Helper()
	out := run(t, "dpkg-query", "--admindir="+admindir, "-W", "-f",
		`${Package} ${Version} ${Architecture} ${source:Package} ${source:Version} ${db:Status-Status}\n`)
	var lines []string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasSuffix(line, " config-files") && !strings.HasSuffix(line, " not-installed") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func shown(ps []schema.Package) []string {
	var lines []string
	for _, p := range ps {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s %s", p.Name, p.EVR(), p.Arch, p.Source, p.SourceVersion, p.Status))
	}
	slices.Sort(lines)
	return lines
}

func TestReadWhatDpkgMade(t *testing.T) {
	root, debs := newRoot(t), t.TempDir()
	dpkgRun := func(args ...string) {
		run(t, "dpkg", append([]string{"--root=" + root, "--force-not-root", "--force-bad-path", "--force-architecture"}, args...)...)
	}
	dpkgRun("-i",
		build(t, debs, "Package: plain\nVersion: 1.2-3\nArchitecture: all\n"),
		build(t, debs, "Package: native\nVersion: 20240101\nArchitecture: all\nOrigin: Example\n"),
		build(t, debs, "Package: epoch\nVersion: 3:1.0~rc1+dfsg-2-1\nArchitecture: amd64\n"),
		build(t, debs, "Package: binnmu\nVersion: 2.0-1+b3\nArchitecture: amd64\nSource: upstream (2.0-1)\n"),
		build(t, debs, "Package: othername\nVersion: 5\nArchitecture: amd64\nSource: somesource\n"),
	)
	dpkgRun("--add-architecture", "arm64")
	dpkgRun("-i",
		build(t, debs, "Package: lib\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n"),
		build(t, debs, "Package: lib\nVersion: 1\nArchitecture: arm64\nMulti-Arch: same\n"))
	dpkgRun("--unpack", build(t, debs, "Package: onlyunpacked\nVersion: 1\nArchitecture: all\n"))
	dpkgRun("-i", build(t, debs, "Package: removed\nVersion: 1\nArchitecture: all\n"),
		build(t, debs, "Package: purged\nVersion: 1\nArchitecture: all\n"))
	dpkgRun("-r", "removed")
	dpkgRun("-P", "purged")

	got := dpkg.Read(os.DirFS(root))
	if len(got.Gaps) > 0 {
		t.Errorf("gaps %v", got.Gaps)
	}
	want := query(t, filepath.Join(root, "var/lib/dpkg"))
	if len(want) != 8 {
		t.Fatalf("dpkg-query shows %d packages, want 8:\n%s", len(want), strings.Join(want, "\n"))
	}
	if d := cmp.Diff(want, shown(got.Packages)); d != "" {
		t.Errorf("packages (-dpkg-query +got):\n%s", d)
	}
	for _, p := range got.Packages {
		file := p.Name + ".list"
		if p.Name == "lib" {
			file = "lib:" + p.Arch + ".list"
		}
		info, err := os.Stat(filepath.Join(root, "var/lib/dpkg/info", file))
		if err != nil {
			t.Fatal(err)
		}
		if p.InstalledAt != info.ModTime().Unix() {
			t.Errorf("%s installed at %d, its file list was written at %d", p.Name, p.InstalledAt, info.ModTime().Unix())
		}
		if wantVendor := map[string]string{"native": "Example"}[p.Name]; p.Vendor != wantVendor {
			t.Errorf("%s has vendor %q, want %q", p.Name, p.Vendor, wantVendor)
		}
	}
}

// A dpkg run that was killed leaves its last steps beside the status file.
func TestReadWhatDpkgLeftUnmerged(t *testing.T) {
	root, debs := newRoot(t), t.TempDir()
	run(t, "dpkg", "--root="+root, "--force-not-root", "--force-bad-path", "-i",
		build(t, debs, "Package: a\nVersion: 1\nArchitecture: all\n"))
	admin := filepath.Join(root, "var/lib/dpkg")
	stanza, err := os.ReadFile(filepath.Join(admin, "status"))
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(stanza), "Version: 1\n", "Version: 2\n", 1)
	later = strings.Replace(later, "install ok installed", "install ok half-configured", 1)
	if err := os.WriteFile(filepath.Join(admin, "updates/0003"), []byte(later), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []string{"a 2 all a 2 half-configured"}
	if d := cmp.Diff(want, query(t, admin)); d != "" {
		t.Fatalf("dpkg-query does not show the update (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, shown(dpkg.Read(os.DirFS(root)).Packages)); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
}

// The host these tests run on, when it is one of dpkg's.
func TestReadThisHost(t *testing.T) {
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		t.Skipf("this host has no dpkg database: %v", err)
	}
	got := dpkg.Read(os.DirFS("/"))
	if len(got.Gaps) > 0 {
		t.Errorf("gaps %v", got.Gaps)
	}
	if d := cmp.Diff(query(t, "/var/lib/dpkg"), shown(got.Packages)); d != "" {
		t.Errorf("packages (-dpkg-query +got):\n%s", d)
	}
}
