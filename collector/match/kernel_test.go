package match_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

const (
	oldEL = "5.14.0-70.13.1.el9_0"
	newEL = "5.14.0-687.26.1.el9_8"
)

func kernelAdvisory(fixed string, names ...string) *match.Index {
	a := advisory.Advisory{ID: "A", Vulnerabilities: []string{"CVE-1"}}
	for _, n := range names {
		a.Affected = append(a.Affected, advisory.Affected{
			Release: alma9, Format: schema.FormatRPM, Kind: advisory.NameBinary, Name: n, Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
		})
	}
	return match.NewIndex(alma9, []advisory.Advisory{a})
}

func kernelRPM(name, evr string) schema.Package {
	p := rpm(name, evr, "x86_64")
	p.Source = "kernel"
	return p
}

func running(s inventory.State, release, version string) inventory.State {
	s.Kernel = inventory.Kernel{Release: release, Version: version, Machine: "x86_64"}
	return s
}

func TestRPMKernelRunningIsAffected(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core", "kernel-modules")
	s := state(alma9, kernelRPM("kernel-core", oldEL), kernelRPM("kernel-modules", oldEL))
	check(t, ix.Match(running(s, oldEL+".x86_64", "")),
		"affected kernel-core "+oldEL+" A fixed="+newEL, "affected kernel-modules "+oldEL+" A fixed="+newEL)
}

func TestRPMKernelPendingReboot(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core", "kernel-modules")
	s := state(alma9, kernelRPM("kernel-core", newEL), kernelRPM("kernel-core", oldEL), kernelRPM("kernel-modules", oldEL))
	check(t, ix.Match(running(s, oldEL+".x86_64", "")),
		"pending_reboot kernel-core "+oldEL+" A fixed="+newEL+" fixed kernel-core "+newEL+" is installed, "+oldEL+".x86_64 still runs: reboot",
		"affected kernel-modules "+oldEL+" A fixed="+newEL)
}

func TestRPMKernelFixedRunsOldOneInstalled(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core")
	s := state(alma9, kernelRPM("kernel-core", newEL), kernelRPM("kernel-core", oldEL))
	res := ix.Match(running(s, newEL+".x86_64", ""))
	check(t, res, "not_affected kernel-core "+oldEL+" A fixed="+newEL+" installed, not running: "+newEL+".x86_64 runs")
	if len(res.Gaps) != 0 || res.Unjudged(schema.FormatRPM, "kernel") {
		t.Errorf("got %+v, want no gap", res)
	}
}

// Neither is fixed: the newer one pends on nothing.
func TestRPMKernelNewerIsAffectedToo(t *testing.T) {
	ix := kernelAdvisory("9-1", "kernel-core")
	s := state(alma9, kernelRPM("kernel-core", newEL), kernelRPM("kernel-core", oldEL))
	check(t, ix.Match(running(s, oldEL+".x86_64", "")),
		"affected kernel-core "+oldEL+" A fixed=9-1",
		"not_affected kernel-core "+newEL+" A fixed=9-1 installed, not running: "+oldEL+".x86_64 runs")
}

// An older fixed branch on disk is no fix to boot into.
func TestRPMKernelOlderFixedOnDiskDoesNotPend(t *testing.T) {
	a := advisory.Advisory{ID: "A", Vulnerabilities: []string{"CVE-1"}, Affected: []advisory.Affected{{
		Release: alma9, Format: schema.FormatRPM, Kind: advisory.NameBinary, Name: "kernel",
		Ranges: []advisory.Range{{Introduced: "5-1", Fixed: "5.10-2"}},
	}}}
	ix := match.NewIndex(alma9, []advisory.Advisory{a})
	s := state(alma9, kernelRPM("kernel", "5.10-1.el9"), kernelRPM("kernel", "4.14-1.el9"))
	check(t, ix.Match(running(s, "5.10-1.el9.x86_64", "")), "affected kernel 5.10-1.el9 A fixed=5.10-2")
}

func TestRPMKernelUnowned(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core", "bash")
	s := state(alma9, kernelRPM("kernel-core", oldEL), rpm("bash", "1-1", "x86_64"))
	res := ix.Match(running(s, "6.18.0-custom", ""))
	check(t, res,
		"affected bash 1-1 A fixed="+newEL,
		"undetermined kernel-core "+oldEL+" A fixed="+newEL+" running kernel 6.18.0-custom belongs to no installed package")
	want := []schema.Gap{{Extractor: "kernel", Kind: "unowned", Detail: "running kernel 6.18.0-custom belongs to no installed package; what it is exposed to is not known"}}
	if diff := cmp.Diff(want, res.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if !res.Unjudged(schema.FormatRPM, "kernel") || res.Unjudged(schema.FormatRPM, "bash") {
		t.Error("kernels are unjudged and nothing else is")
	}
}

// The package of what runs was removed, and the fixed one is on disk: by uname
// the running one is old, so nothing may read as clean.
func TestRPMKernelRemovedWhileItRuns(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core")
	s := state(alma9, kernelRPM("kernel-core", newEL))
	check(t, ix.Match(running(s, oldEL+".x86_64", "")),
		"undetermined kernel-core "+newEL+" A fixed="+newEL+" running kernel "+oldEL+".x86_64 belongs to no installed package; by its version, "+oldEL+", it is affected")
	check(t, ix.Match(running(s, "5.14.0-999.1.1.el9_9.x86_64", "")))
}

func TestKernelNotKnownCountsEveryInstalledOne(t *testing.T) {
	ix := kernelAdvisory(newEL, "kernel-core", "kernel-headers")
	s := state(alma9, kernelRPM("kernel-core", oldEL), kernelRPM("kernel-core", newEL), kernelRPM("kernel-core", "5.14.0-1.el9"), kernelRPM("kernel-headers", oldEL))
	res := ix.Match(s)
	check(t, res,
		"affected kernel-core 5.14.0-1.el9 A fixed="+newEL,
		"affected kernel-core "+oldEL+" A fixed="+newEL,
		"not_affected kernel-headers "+oldEL+" A fixed="+newEL+" not a kernel: C headers for building programs")
	if len(res.Gaps) != 0 {
		t.Errorf("gaps: got %v, want none", res.Gaps)
	}
}

func TestRunningRPMKernels(t *testing.T) {
	cases := []struct {
		pkg, source, evr, uname string
		want                    bool
	}{
		{"kernel-core", "kernel", "5.14.0-1.el9", "5.14.0-1.el9.x86_64", true},
		{"kernel-core", "kernel", "5.14.0-1.el9", "5.14.0-1.el9.x86_64+debug", false},
		{"kernel-debug-core", "kernel", "5.14.0-1.el9", "5.14.0-1.el9.x86_64+debug", true},
		{"kernel-debug-core", "kernel", "5.14.0-1.el9", "5.14.0-1.el9.x86_64", false},
		{"kernel-debug", "kernel", "3.10.0-1160.el7", "3.10.0-1160.el7.x86_64.debug", true},
		{"kernel", "kernel", "3.10.0-1160.el7", "3.10.0-1160.el7.x86_64.debug", false},
		{"kernel-rt-core", "kernel", "5.14.0-427.el9", "5.14.0-427.el9.x86_64+rt", true},
		{"kernel-rt-core", "kernel", "5.14.0-427.el9", "5.14.0-427.el9.x86_64", false},
		{"kernel-rt-core", "kernel-rt", "5.14.0-70.rt21.83.el9_0", "5.14.0-70.rt21.83.el9_0.x86_64", true},
		{"kernel-rt-debug-core", "kernel-rt", "5.14.0-70.rt21.83.el9_0", "5.14.0-70.rt21.83.el9_0.x86_64+debug", true},
		{"kernel-64k-modules-core", "kernel", "5.14.0-427.el9", "5.14.0-427.el9.x86_64+64k", true},
		{"kernel-64k-debug-core", "kernel", "5.14.0-427.el9", "5.14.0-427.el9.x86_64+64k-debug", true},
		{"kernel-uek-core", "kernel-uek", "5.15.0-0.30.20.el9uek", "5.15.0-0.30.20.el9uek.x86_64", true},
		{"kernel-modules-extra", "kernel", "5.14.0-1.el9", "5.14.0-1.el9.x86_64", true},
		{"kernel6.12", "kernel6.12", "6.12.1-1.amzn2023", "6.12.1-1.amzn2023.x86_64", true},
		{"kernel6.12-modules-extra-common", "kernel6.12", "6.12.1-1.amzn2023", "6.12.1-1.amzn2023.x86_64", true},
		{"kernel-default", "kernel-default", "5.3.18-59.37.2", "5.3.18-59.37-default", true},
		{"kernel-default", "kernel-default", "5.3.18-59.370.2", "5.3.18-59.37-default", false},
		{"kernel-azure", "kernel-azure", "5.3.18-59.37.2", "5.3.18-59.37-default", false},
		{"kernel-core", "kernel-core", "5.14.0-1.el9", "5.14.0-1.el9.x86_64", true}, // an SBOM that names no source
	}
	for _, c := range cases {
		p := kernelRPM(c.pkg, c.evr)
		p.Source = c.source
		ix := kernelAdvisory("99-1", c.pkg)
		res := ix.Match(running(state(alma9, p), c.uname, ""))
		if got := len(res.Gaps) == 0 && len(res.Matches) == 1 && res.Matches[0].Verdict == match.Affected; got != c.want {
			t.Errorf("%s of %s %s, uname %s: got %v, want %v (%s)", c.pkg, c.source, c.evr, c.uname, got, c.want, said(res))
		}
	}
}

// Every binary of a kernel's source that is no kernel is told apart with the reason.
func TestBesideRPMKernels(t *testing.T) {
	names := strings.FieldsSeq(`kernel-headers kernel-cross-headers kernel-devel kernel-devel-matched kernel-rt-devel kernel-64k-devel-matched kernel-debug-devel
		kernel-uek-devel kernel-doc kernel-tools kernel-tools-libs kernel-tools-libs-devel kernel-uek-tools kernel6.12-tools kernel6.12-headers kernel-abi-stablelists
		kernel-abi-whitelists kernel-rt-debug-devel kernel-debuginfo kernel-debuginfo-common-x86_64 kernel-selftests-internal perf python3-perf bpftool rtla rv libperf
		kernel-srpm-macros kernel-livepatch-6.1.79-99.164 kpatch-patch-5_14_0-70_13_1`)
	for n := range names {
		res := kernelAdvisory("99-1", n).Match(running(state(alma9, kernelRPM(n, oldEL), kernelRPM("kernel-core", oldEL)), oldEL+".x86_64", ""))
		if len(res.Matches) != 1 || res.Matches[0].Verdict != match.NotAffected || !strings.HasPrefix(res.Matches[0].Reason, "not a kernel: ") {
			t.Errorf("%s: got %s, want not affected", n, said(res))
		}
	}
}

// Software with kernel in its name, or a tool built from a source of its own, is
// ordinary software.
func TestOrdinaryPackagesNamedAlike(t *testing.T) {
	for n, source := range map[string]string{
		"kernel-firmware": "kernel-firmware", "nfs-kernel-server": "nfs-kernel-server", "bpftool": "bpftool", "perf": "perf-tool",
		"kernelshark": "kernelshark", "purge-kernels-service": "purge-kernels-service", "kernel-livepatch-repo-cdn": "system-release", "linux-firmware": "linux-firmware",
	} {
		p := kernelRPM(n, oldEL)
		p.Source = source
		check(t, kernelAdvisory("99-1", n).Match(running(state(alma9, p, kernelRPM("kernel-core", newEL)), newEL+".x86_64", "")),
			"affected "+n+" "+oldEL+" A fixed=99-1")
	}
}

// An SBOM may not name the source: then a tool of the kernel is told by the
// advisory, which names a kernel too.
func TestToolWithoutASource(t *testing.T) {
	for _, n := range []string{"bpftool", "perf", "python3-perf", "rtla"} {
		p := rpm(n, oldEL, "x86_64")
		check(t, kernelAdvisory(newEL, n, "kernel-core").Match(state(alma9, p)),
			"not_affected "+n+" "+oldEL+" A fixed="+newEL+" "+toolReason(n))
		check(t, kernelAdvisory(newEL, n).Match(state(alma9, p)), "affected "+n+" "+oldEL+" A fixed="+newEL)
	}
}

func toolReason(n string) string {
	if strings.HasPrefix(n, "python") {
		return "not a kernel: a library that runs outside the kernel"
	}
	return "not a kernel: a program that runs outside the kernel"
}

const debUname = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.123-1 (2025-01-02)"

func debKernel(release, v string) schema.Package {
	return deb("linux-image-"+release, v, "linux-signed-amd64", strings.Replace(v, "-", "+", 1))
}

func TestDebKernelOfTheSignedSource(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "6.1.124-1")})
	old := debKernel("6.1.0-29-amd64", "6.1.123-1")
	meta := deb("linux-image-amd64", "6.1.123-1", "linux-signed-amd64", "6.1.123+1")
	libc := deb("linux-libc-dev", "6.1.123-1", "linux", "6.1.123-1")
	check(t, ix.Match(running(state(debian, old, meta, libc), "6.1.0-29-amd64", debUname)),
		"affected linux-image-6.1.0-29-amd64 6.1.123-1 D fixed=6.1.124-1",
		"not_affected linux-image-amd64 6.1.123-1 D fixed=6.1.124-1 not a kernel: a metapackage, it holds no code",
		"not_affected linux-libc-dev 6.1.123-1 D fixed=6.1.124-1 not a kernel: C headers for building programs")
}

func TestDebKernelPendingReboot(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "6.1.124-1")})
	s := state(debian, debKernel("6.1.0-29-amd64", "6.1.123-1"), debKernel("6.1.0-30-amd64", "6.1.124-1"), debKernel("6.1.0-28-amd64", "6.1.119-1"))
	check(t, ix.Match(running(s, "6.1.0-29-amd64", debUname)),
		"not_affected linux-image-6.1.0-28-amd64 6.1.119-1 D fixed=6.1.124-1 installed, not running: 6.1.0-29-amd64 runs",
		"pending_reboot linux-image-6.1.0-29-amd64 6.1.123-1 D fixed=6.1.124-1 fixed linux-image-6.1.0-30-amd64 6.1.124-1 is installed, 6.1.0-29-amd64 still runs: reboot")
	// Another flavour on disk is not what a boot brings.
	s = state(debian, debKernel("6.1.0-29-amd64", "6.1.123-1"), debKernel("6.1.0-30-cloud-amd64", "6.1.124-1"))
	check(t, ix.Match(running(s, "6.1.0-29-amd64", debUname)), "affected linux-image-6.1.0-29-amd64 6.1.123-1 D fixed=6.1.124-1")
}

// The image was upgraded under its name; uname -v tells that the old build runs.
func TestDebKernelUpgradedInPlace(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "6.1.124-1"), debAdvisory("E", "linux", "6.1.120-1"), debAdvisory("F", "linux", "6.2-1")})
	s := state(debian, debKernel("6.1.0-29-amd64", "6.1.124-1"))
	check(t, ix.Match(running(s, "6.1.0-29-amd64", debUname)),
		"pending_reboot linux-image-6.1.0-29-amd64 6.1.124-1 D fixed=6.1.124-1 fixed linux-image-6.1.0-29-amd64 6.1.124-1 is installed, build 6.1.123-1 of it still runs: reboot",
		"affected linux-image-6.1.0-29-amd64 6.1.124-1 F fixed=6.2-1")
	check(t, ix.Match(running(s, "6.1.0-29-amd64", strings.Replace(debUname, "123", "124", 1))),
		"affected linux-image-6.1.0-29-amd64 6.1.124-1 F fixed=6.2-1")
}

func TestDebKernelUnowned(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "6.1.124-1")})
	s := state(debian, debKernel("6.1.0-30-amd64", "6.1.124-1"))
	check(t, ix.Match(running(s, "6.1.0-29-amd64", debUname)),
		"undetermined linux-image-6.1.0-30-amd64 6.1.124-1 D fixed=6.1.124-1 running kernel 6.1.0-29-amd64 belongs to no installed package; by its version, 6.1.123-1, it is affected")
	res := ix.Match(running(state(debian, deb("bash", "5-1", "bash", "5-1")), "6.18.5", "#1 SMP"))
	check(t, res)
	if len(res.Gaps) != 1 || !res.Unjudged(schema.FormatDeb, "linux-signed-amd64") || res.Unjudged(schema.FormatDeb, "linux-firmware") {
		t.Errorf("got %+v, want the gap, and kernels unjudged", res)
	}
}

func TestUbuntuKernels(t *testing.T) {
	aws := debAdvisory("U", "linux-aws", "6.8.0-1010.10")
	generic := debAdvisory("V", "linux", "6.8.0-40.40")
	ix := match.NewIndex(debian, []advisory.Advisory{aws, generic})
	image := deb("linux-image-6.8.0-1009-aws", "6.8.0-1009.9", "linux-signed-aws", "6.8.0-1009.9")
	modules := deb("linux-modules-6.8.0-1009-aws", "6.8.0-1009.9", "linux-aws", "6.8.0-1009.9")
	unsigned := deb("linux-image-unsigned-6.8.0-39-generic", "6.8.0-39.39", "linux", "6.8.0-39.39")
	headers := deb("linux-aws-headers-6.8.0-1009", "6.8.0-1009.9", "linux-aws", "6.8.0-1009.9")
	meta := deb("linux-image-aws", "6.8.0-1009.9", "linux-meta-aws", "6.8.0-1009.9")
	s := state(debian, image, modules, unsigned, headers, meta)
	check(t, ix.Match(running(s, "6.8.0-1009-aws", "#9-Ubuntu SMP Mon Jan 6 00:00:00 UTC 2025")),
		"not_affected linux-aws-headers-6.8.0-1009 6.8.0-1009.9 U fixed=6.8.0-1010.10 not a kernel: headers for building modules",
		"affected linux-image-6.8.0-1009-aws 6.8.0-1009.9 U fixed=6.8.0-1010.10",
		"not_affected linux-image-unsigned-6.8.0-39-generic 6.8.0-39.39 V fixed=6.8.0-40.40 installed, not running: 6.8.0-1009-aws runs",
		"affected linux-modules-6.8.0-1009-aws 6.8.0-1009.9 U fixed=6.8.0-1010.10")
	res := ix.Match(running(s, "6.8.0-39-generic", "#39-Ubuntu SMP Mon Jan 6 00:00:00 UTC 2025"))
	if len(res.Gaps) != 0 || !strings.Contains(said(res), "affected linux-image-unsigned-6.8.0-39-generic 6.8.0-39.39 V fixed=6.8.0-40.40\n") {
		t.Errorf("generic: got %v\n%s", res.Gaps, said(res))
	}
	// A respin of the upload number that still runs.
	image.Version, image.Release = "6.8.0", "1010.10"
	image.SourceVersion = "6.8.0-1010.10"
	check(t, ix.Match(running(state(debian, image), "6.8.0-1009-aws", "#9-Ubuntu SMP Mon Jan 6 00:00:00 UTC 2025")),
		"pending_reboot linux-image-6.8.0-1009-aws 6.8.0-1010.10 U fixed=6.8.0-1010.10 fixed linux-image-6.8.0-1009-aws 6.8.0-1010.10 is installed, build 6.8.0-1009.9 of it still runs: reboot")
}

func TestBesideDebKernels(t *testing.T) {
	names := strings.FieldsSeq(`linux-headers-6.1.0-29-amd64 linux-headers-amd64 linux-libc-dev linux-libc-dev-arm64-cross linux-doc-6.1 linux-source-6.1 linux-perf linux-perf-6.1
		linux-cpupower libcpupower1 libcpupower-dev linux-kbuild-6.1 linux-compiler-gcc-12-x86 linux-config-6.1 linux-support-6.1.0-29 usbip bpftool hyperv-daemons
		rtla linux-tools-5.15.0-69 linux-tools-common linux-cloud-tools-5.15.0-69-generic linux-buildinfo-5.15.0-69-generic linux-image-6.1.0-29-amd64-dbg
		linux-lib-rust-6.8.0-31-generic linux-bpf-dev`)
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "99-1")})
	for n := range names {
		res := ix.Match(running(state(debian, deb(n, "6.1.123-1", "linux", "6.1.123-1"), debKernel("6.1.0-30-amd64", "100-1")), "6.1.0-30-amd64", ""))
		if len(res.Matches) != 1 || res.Matches[0].Verdict != match.NotAffected || !strings.HasPrefix(res.Matches[0].Reason, "not a kernel: ") {
			t.Errorf("%s: got %s, want not affected", n, said(res))
		}
	}
}

// A binary of a kernel's source that no line of the table knows stays exposed.
func TestUnknownBinaryOfAKernelSourceIsAffected(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "99-1")})
	check(t, ix.Match(running(state(debian, deb("kvm-helper", "6.1.123-1", "linux", "6.1.123-1"), debKernel("6.1.0-30-amd64", "100-1")), "6.1.0-30-amd64", "")),
		"affected kvm-helper 6.1.123-1 D fixed=99-1")
}

func TestUnreadableKernelVersionIsUndetermined(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "linux", "<unfixed>")})
	check(t, ix.Match(running(state(debian, debKernel("6.1.0-29-amd64", "6.1.123-1")), "6.1.0-29-amd64", debUname)),
		`undetermined linux-image-6.1.0-29-amd64 6.1.123-1 D fixed=<unfixed> the advisory's version cannot be compared: unparseable version: deb "<unfixed>": it does not start with a digit`)
}

// BenchmarkPendingKernel is the worst of Debian: every one of the tracker's few
// thousand vulnerabilities of linux, on a host with a fixed kernel on disk.
func BenchmarkPendingKernel(b *testing.B) {
	var advs []advisory.Advisory
	for i := range 4000 {
		advs = append(advs, debAdvisory(fmt.Sprintf("D-%04d", i), "linux", "6.1.124-1"))
	}
	ix := match.NewIndex(debian, advs)
	s := running(state(debian, debKernel("6.1.0-29-amd64", "6.1.123-1"), debKernel("6.1.0-30-amd64", "6.1.124-1"), debKernel("6.1.0-28-amd64", "6.1.119-1")), "6.1.0-29-amd64", debUname)
	b.ReportAllocs()
	for b.Loop() {
		if res := ix.Match(s); len(res.Matches) != 8000 {
			b.Fatal(len(res.Matches))
		}
	}
}
