//go:build unix

package scan_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan"
	"github.com/patchproof/patchproof/schema"
)

// root is a root file system made for a test.
type root string

func newRoot(t testing.TB) root { return root(t.TempDir()) }

func (r root) write(t testing.TB, name, content string) {
	t.Helper()
	p := filepath.Join(string(r), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r root) link(t testing.TB, target, name string) {
	t.Helper()
	p := filepath.Join(string(r), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, p); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, dir root) *schema.Report {
	t.Helper()
	r, ps, err := scan.Run(t.Context(), scan.Options{Root: string(dir), AgentVersion: "test", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r, ps)
	return r
}

// checkReport holds what every report has, and that it can be stated.
func checkReport(t testing.TB, r *schema.Report, ps []schema.Package) {
	t.Helper()
	body, ok := r.Bodies[schema.PartPackages]
	if part, named := r.Part(schema.PartPackages); ok != named || (ok && part != schema.NewPart(schema.PartPackages, body)) {
		t.Errorf("part %+v is not that of its body", part)
	}
	if text, err := schema.EncodePackages(ps); err != nil || text != body {
		t.Errorf("the packages are not those of the part (%v)", err)
	}
	if !ok && len(r.Gaps) == 0 {
		t.Error("neither packages nor a gap")
	}
	stated := *r
	stated.Sequence, stated.TransportKey = 1, "UCZJRJ64DITQ7X3LGC4D5O6PWJYR6UQOZATYW7C7RJLAS6FJ5QQOHU4U"
	if _, err := schema.EncodeStatement(&stated); err != nil {
		t.Errorf("the report cannot be stated: %v", err)
	}
}

const debian = "ID=debian\nVERSION_ID=\"12\"\n"

func status(name, version string) string {
	return "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n"
}

func TestRunImage(t *testing.T) {
	dir := newRoot(t)
	dir.write(t, "usr/lib/os-release", debian)
	dir.link(t, "/usr/lib/os-release", "etc/os-release")
	dir.write(t, "etc/hostname", "golden\n")
	dir.write(t, "var/lib/dpkg/status", status("linux-image-6.1.0-18-amd64", "6.1.76-1")+status("bash", "5.2.15-2"))
	dir.write(t, "boot/vmlinuz-6.1.0-18-amd64", "")

	r := run(t, dir)
	if len(r.Gaps) > 0 {
		t.Errorf("gaps %v", r.Gaps)
	}
	want := "deb\tbash\t0\t5.2.15\t2\tamd64\tbash\t5.2.15-2\t\t\t0\tinstalled\n" +
		"deb\tlinux-image-6.1.0-18-amd64\t0\t6.1.76\t1\tamd64\tlinux-image-6.1.0-18-amd64\t6.1.76-1\t\t\t0\tinstalled\n"
	if d := cmp.Diff(want, r.Bodies[schema.PartPackages]); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
	// Nothing of the system the agent runs on may be said of an image.
	if r.Kernel.Release != "" || r.Boot.ID != "" || r.Host.CPUs != 0 || len(r.Host.Addresses) > 0 || r.Host.ProductUUID != "" || r.Host.Arch != "" {
		t.Errorf("facts of this system in an image: %+v %+v %+v", r.Host, r.Kernel, r.Boot)
	}
	installed := []schema.InstalledKernel{{Release: "6.1.0-18-amd64", Package: "linux-image-6.1.0-18-amd64_6.1.76-1"}}
	if d := cmp.Diff(installed, r.Kernel.Installed); d != "" {
		t.Errorf("kernels (-want +got):\n%s", d)
	}
	if r.OS.ID != "debian" || r.Host.Hostname != "golden" {
		t.Errorf("os %+v, host %+v", r.OS, r.Host)
	}
}

func TestRunWithoutDatabase(t *testing.T) {
	for _, tc := range []struct{ name, release, extractor, kind string }{
		{"Debian", debian, "dpkg", schema.GapUnreadable},
		{"derived from Debian", "ID=kali\nID_LIKE=debian\n", "dpkg", schema.GapUnreadable},
		{"Amazon Linux", "ID=\"amzn\"\nID_LIKE=\"fedora\"\n", "rpm", schema.GapUnreadable},
		{"SUSE", "ID=\"sles\"\nID_LIKE=\"suse\"\n", "rpm", schema.GapUnreadable},
		{"of neither", "ID=alpine\n", "scan", schema.GapUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newRoot(t)
			dir.write(t, "etc/os-release", tc.release)
			r := run(t, dir)
			if len(r.Parts) != 0 || len(r.Gaps) != 1 || r.Gaps[0].Extractor != tc.extractor || r.Gaps[0].Kind != tc.kind {
				t.Errorf("parts %v, gaps %+v, want none and one of %s", r.Parts, r.Gaps, tc.extractor)
			}
		})
	}
}

// An empty database is no host without packages.
func TestRunEmptyDatabase(t *testing.T) {
	dir := newRoot(t)
	dir.write(t, "etc/os-release", debian)
	dir.write(t, "var/lib/dpkg/status", "")
	r := run(t, dir)
	if len(r.Parts) != 0 || len(r.Gaps) != 1 || r.Gaps[0].Detail != "the database is empty, though os-release says debian" {
		t.Errorf("parts %v, gaps %+v", r.Parts, r.Gaps)
	}
}

// A file in a database's place that would hang or lead out of the root.
func TestRunHostileRoot(t *testing.T) {
	dir := newRoot(t)
	dir.write(t, "etc/os-release", debian)
	dir.link(t, "/etc", "var/lib/rpm")
	dir.link(t, "../../../../../../../../etc/passwd", "etc/hostname")
	if err := os.MkdirAll(filepath.Join(string(dir), "var/lib/dpkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"var/lib/dpkg/status", "etc/machine-id", "etc/rpmdb.sqlite"} {
		if err := syscall.Mkfifo(filepath.Join(string(dir), name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan *schema.Report, 1)
	go func() {
		r, _, err := scan.Run(context.WithoutCancel(t.Context()), scan.Options{Root: string(dir), Now: time.Now})
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	select {
	case r := <-done:
		var paths []string
		for _, g := range r.Gaps {
			paths = append(paths, g.Path)
		}
		want := []string{"/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/etc/machine-id"}
		if d := cmp.Diff(want, paths); d != "" || r.Host.Hostname != "" {
			t.Errorf("hostname %q, gaps of (-want +got):\n%s", r.Host.Hostname, d)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the scan hangs")
	}
}

func TestRunNoRoot(t *testing.T) {
	_, _, err := scan.Run(t.Context(), scan.Options{Root: filepath.Join(t.TempDir(), "none"), Now: time.Now})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestRunCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := newRoot(t)
	dir.write(t, "var/lib/dpkg/status", status("bash", "5"))
	if _, _, err := scan.Run(ctx, scan.Options{Root: string(dir), Now: time.Now}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// The running system: what it says of itself is there, also asked through an
// endpoint that its operator named.
func TestRunHere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not Linux")
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	r, ps, err := scan.Run(t.Context(), scan.Options{
		Root: "/", AgentVersion: "test", Now: time.Now, Labels: map[string]string{"team": "x"}, IMDS: true, IMDSEndpoint: srv.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r, ps)
	if r.Kernel.Release == "" || r.Boot.ID == "" || r.Host.CPUs == 0 || r.Host.Arch == "" || r.Labels["team"] != "x" {
		t.Errorf("host %+v, kernel %+v, boot %+v", r.Host, r.Kernel, r.Boot)
	}
	if r.Cost.CPU <= 0 || r.Cost.PeakRSS <= 0 || r.Cost.Duration <= 0 {
		t.Errorf("cost %+v", r.Cost)
	}
	asked := slices.ContainsFunc(r.Gaps, func(g schema.Gap) bool { return g.Extractor == "imds" })
	if !asked {
		t.Errorf("gaps %v, want one of the metadata service that answers nothing", r.Gaps)
	}
}

// scanner builds a program that scans a root once. It stands for the agent:
// the same code, with the start of a process around it.
func scanner(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "scanner")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./testdata/scanner")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the scanner: %v\n%s", err, out)
	}
	return bin
}

// The agent runs no program and never opens the live database for writing,
// whatever its libraries could do.
func TestRunSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("strace is needed to see the system calls: install the package strace (%v)", err)
	}
	dir := newRoot(t)
	dir.write(t, "etc/os-release", "ID=amzn\n")
	db, err := os.ReadFile("rpm/testdata/Packages.db")
	if err != nil {
		t.Fatal(err)
	}
	dir.write(t, "var/lib/rpm/Packages.db", string(db))
	bin := scanner(t)
	for _, scanned := range []string{"/", string(dir)} {
		log := filepath.Join(t.TempDir(), "log")
		cmd := exec.Command(strace, "-f", "-qq", "-e", "trace=execve,execveat,fork,vfork,open,openat,unlink,unlinkat,rename,renameat,renameat2", "-o", log, bin, scanned)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("strace: %v\n%s", err, out)
		}
		calls, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(calls, []byte("execve")); n != 1 {
			t.Errorf("scan of %s: %d programs started, want only the scanner itself", scanned, n)
		}
		writes := regexp.MustCompile(`(?m)^.*(O_WRONLY|O_RDWR|O_CREAT|unlink|rename).*$`)
		for _, call := range writes.FindAllString(string(calls), -1) {
			if !inTemp(call) {
				t.Errorf("scan of %s: %s", scanned, call)
			}
		}
	}
}

// inTemp recognises calls on the scan's own temporary directory, also those by
// which it is emptied: they are relative to a directory already open.
func inTemp(call string) bool {
	return strings.Contains(call, `"`+os.TempDir()+"/patchproof-rpm-") ||
		regexp.MustCompile(`unlinkat\(\d+, "(patchproof-rpm-|rpm-[0-9a-f]{8}-)`).MatchString(call)
}

// The scan of this host stays within what operators were promised: 20 ms of CPU
// and 20 MB. The best of several runs, since other work shares the processors.
func TestRunCost(t *testing.T) {
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		t.Skipf("the promise is for dpkg hosts: %v", err)
	}
	bin := scanner(t)
	best, peak := time.Hour, int64(1)<<40
	for range 5 {
		cmd := exec.Command(bin, "/")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("scanner: %v\n%s", err, out)
		}
		best = min(best, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		cost := regexp.MustCompile(`peak=(\d+)`).FindSubmatch(out)
		if cost == nil {
			t.Fatalf("scanner says no cost: %s", out)
		}
		n, err := strconv.ParseInt(string(cost[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		peak = min(peak, n)
	}
	t.Logf("%v CPU, %.1f MB", best, float64(peak)/1e6)
	if best > 20*time.Millisecond || peak > 20e6 {
		t.Errorf("%v CPU and %d bytes, want at most 20ms and 20 MB", best, peak)
	}
}

func BenchmarkRun(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := scan.Run(b.Context(), scan.Options{Root: "/", Now: time.Now}); err != nil {
			b.Fatal(err)
		}
	}
}
