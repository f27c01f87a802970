package match

import (
	"path"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/schema"
)

// role is a package's part in a kernel.
type role struct {
	kind kernelRole
	// why is the reason of a package beside a kernel. Unsure: the package's source
	// is not recorded and its name says nothing of a kernel; then it counts only
	// for an advisory that is on a kernel.
	why    string
	unsure bool
}

// kernelRole is what a package has to do with a kernel.
type kernelRole uint8

const (
	notOfKernel  kernelRole = iota // an ordinary package
	besideKernel                   // built from a kernel source, but no part of a kernel
	kernelPart                     // a kernel's image or modules
)

// beside lists binary packages that come from a kernel source and are no kernel,
// with the reason people are shown. Patterns are those of path.Match. Those that
// do not say kernel or linux in their names count only with a kernel's source.
var beside = map[schema.PackageFormat][]struct{ pattern, why string }{
	schema.FormatRPM: {
		{"kernel*-headers", "C headers for building programs"},
		{"kernel*-devel", "headers for building modules"},
		{"kernel*-devel-matched", "a metapackage of headers for building modules"},
		{"kernel*-doc", "documentation"},
		{"kernel*-docs", "documentation"},
		{"kernel*-docs-html", "documentation"},
		{"kernel*-tools", "programs that run outside the kernel"},
		{"kernel*-tools-libs", "libraries of programs that run outside the kernel"},
		{"kernel*-tools-libs-devel", "headers of libraries that run outside the kernel"},
		{"kernel*-tools-devel", "headers of libraries that run outside the kernel"},
		{"kernel*-abi-stablelists", "lists of symbols"},
		{"kernel*-abi-whitelists", "lists of symbols"},
		{"kernel*-abi-whitelist", "lists of symbols"},
		{"kernel*-srpm-macros", "macros for building packages"},
		{"kernel*-rpm-macros", "macros for building packages"},
		{"kernel*-macros", "macros for building packages"},
		{"kernel*-source", "source code"},
		{"kernel*-source-*", "source code"},
		{"kernel*-syms", "build information"},
		{"kernel*-syms-*", "build information"},
		{"kernel*-selftests-internal", "tests"},
		{"kernel*-debuginfo", "debug symbols"},
		{"kernel*-debuginfo-common*", "debug symbols"},
		{"kernel*-debugsource", "debug symbols"},
		{"kernel*-ipaclones-internal", "build information"},
		{"kernel-livepatch-[0-9]*", "a live patch, judged by what is loaded and not by its version"},
		{"kpatch-patch-*", "a live patch, judged by what is loaded and not by its version"},
		{"perf", "a program that runs outside the kernel"},
		{"perf-*", "a program that runs outside the kernel"},
		{"python*-perf", "a library that runs outside the kernel"},
		{"bpftool", "a program that runs outside the kernel"},
		{"bpftool-debuginfo", "debug symbols"},
		{"rtla", "a program that runs outside the kernel"},
		{"rv", "a program that runs outside the kernel"},
		{"libperf", "a library that runs outside the kernel"},
		{"libperf-devel", "headers of a library that runs outside the kernel"},
	},
	schema.FormatDeb: {
		{"linux-headers-*", "headers for building modules"},
		{"linux-*-headers-*", "headers for building modules"}, // linux-aws-headers-…, linux-hwe-5.15-headers-…
		{"linux-libc-dev*", "C headers for building programs"},
		{"linux-doc*", "documentation"},
		{"linux-source*", "source code"},
		{"linux-*-source-*", "source code"},
		{"linux-tools-*", "programs that run outside the kernel"},
		{"linux-*-tools-*", "programs that run outside the kernel"},
		{"linux-cloud-tools-*", "programs that run outside the kernel"},
		{"linux-*-cloud-tools-*", "programs that run outside the kernel"},
		{"linux-perf*", "a program that runs outside the kernel"},
		{"linux-cpupower", "a program that runs outside the kernel"},
		{"linux-bpf-dev", "headers of a library that runs outside the kernel"},
		{"linux-kbuild-*", "build scripts"},
		{"linux-compiler-*", "a metapackage of the compiler"},
		{"linux-config-*", "build configuration"},
		{"linux-support-*", "build scripts"},
		{"linux-buildinfo-*", "build information"},
		{"linux-lib-rust-*", "headers for building modules"},
		{"linux-image-*-dbg", "debug symbols"},
		{"linux-image-*-dbgsym", "debug symbols"},
		{"libcpupower*", "a library that runs outside the kernel"},
		{"usbip", "a program that runs outside the kernel"},
		{"bpftool", "a program that runs outside the kernel"},
		{"hyperv-daemons", "programs that run outside the kernel"},
		{"intel-sdsi", "a program that runs outside the kernel"},
		{"rtla", "a program that runs outside the kernel"},
		{"lockdep", "a program that runs outside the kernel"},
		{"liblockdep*", "a library that runs outside the kernel"},
	},
}

// roleOf says what a package has to do with a kernel, and for those beside one
// the reason.
func roleOf(p *schema.Package) role {
	if !mayConcernKernel(p) {
		return role{}
	}
	source := isKernelSource(p.Format, p.Source)
	unnamed := p.Source == p.Name || p.Source == "" // as in an SBOM that names no source
	if p.Format == schema.FormatRPM && kernelName(p.Name) && (source || unnamed) {
		return role{kind: kernelPart}
	}
	for _, b := range beside[p.Format] {
		if ok, _ := path.Match(b.pattern, p.Name); !ok {
			continue
		}
		r := role{kind: besideKernel, why: "not a kernel: " + b.why}
		if source || alwaysBeside(p.Name) {
			return r
		}
		if unnamed {
			r.unsure = !strings.HasPrefix(p.Name, "kernel") && !strings.HasPrefix(p.Name, "linux-")
			return r
		}
	}
	if p.Format == schema.FormatDeb {
		return debRole(p)
	}
	return role{}
}

// alwaysBeside names packages that have a source of their own.
func alwaysBeside(n string) bool {
	live, _ := path.Match("kernel-livepatch-[0-9]*", n)
	return live || n == "kernel-srpm-macros" || n == "kernel-rpm-macros" || strings.HasPrefix(n, "kpatch-patch-")
}

// onKernel reports whether an advisory names a kernel's parts.
func onKernel(a *advisory.Advisory) bool {
	for i := range a.Affected {
		aff := &a.Affected[i]
		if aff.Kind == advisory.NameSource && isKernelSource(aff.Format, aff.Name) || aff.Kind == advisory.NameBinary && kernelName(aff.Name) {
			return true
		}
	}
	return false
}

// mayConcernKernel is a quick look that spares most packages the table.
func mayConcernKernel(p *schema.Package) bool {
	switch p.Format {
	case schema.FormatRPM:
		return strings.HasPrefix(p.Name, "kernel") || strings.HasPrefix(p.Source, "kernel") || strings.HasPrefix(p.Name, "kpatch-patch") ||
			p.Source == p.Name && (strings.HasSuffix(p.Name, "perf") || p.Name == "bpftool" || p.Name == "rtla" || p.Name == "rv")
	case schema.FormatDeb:
		return strings.HasPrefix(p.Source, "linux") || strings.HasPrefix(p.Name, "linux-") || kernelRelease(p) != ""
	default:
		return false
	}
}

// debRole tells images and modules, named after the kernel they are, from the
// metapackages that only depend on them.
func debRole(p *schema.Package) role {
	if kernelRelease(p) != "" {
		return role{kind: kernelPart}
	}
	if isMetaSource(p.Source) || isKernelSource(p.Format, p.Source) && debMeta(p.Name) {
		return role{kind: besideKernel, why: "not a kernel: a metapackage, it holds no code"}
	}
	return role{}
}

func debMeta(n string) bool {
	return strings.HasPrefix(n, "linux-image-") || strings.HasPrefix(n, "linux-modules-") || n == "linux-generic" || n == "linux-virtual"
}

func isMetaSource(source string) bool {
	return source == "linux-latest" || source == "linux-meta" || strings.HasPrefix(source, "linux-meta-")
}

// debKernelPrefixes are what comes before the kernel release in the name of a
// package that holds a kernel or modules of it, longest first.
var debKernelPrefixes = []string{
	"linux-image-unsigned-", "linux-image-uc-", "linux-image-", "linux-modules-extra-", "linux-modules-",
	"proxmox-kernel-", "pve-kernel-",
}

// kernelRelease returns the kernel release, as uname -r says it, that a deb is
// named after; empty for any other package.
func kernelRelease(p *schema.Package) string {
	if p.Format != schema.FormatDeb {
		return ""
	}
	for _, prefix := range debKernelPrefixes {
		rest, ok := strings.CutPrefix(p.Name, prefix)
		if !ok {
			continue
		}
		rest = strings.TrimSuffix(strings.TrimSuffix(rest, "-unsigned"), "-signed")
		if rest == "" || rest[0] < '0' || rest[0] > '9' || strings.Count(debVersionPart(rest), ".") < 2 {
			return "" // linux-image-amd64, linux-image-5.10-amd64: metapackages
		}
		return rest
	}
	return ""
}

// debVersionPart is the first word of a kernel release: 6.1.0 of 6.1.0-29-amd64.
func debVersionPart(release string) string {
	v, _, _ := strings.Cut(release, "-")
	return v
}

// debFlavour is what follows the numbers: cloud-amd64 of 6.1.0-29-cloud-amd64.
func debFlavour(release string) string {
	for release != "" && release[0] >= '0' && release[0] <= '9' {
		_, release, _ = strings.Cut(release, "-")
	}
	return release
}

// rpmWords are the words that make up the names of an rpm kernel's packages:
// kernel-rt-core, kernel-64k-debug-modules-extra, kernel6.12-modules-extra-common.
var rpmWords = []string{
	"core", "modules", "extra", "internal", "partner", "common", "uki", "virt", "container", "base", "optional",
	"usb", "wireless", "deprecated", "desktop", "rt", "64k", "debug", "zfcpdump", "uek", "uek64k", "default",
	"azure", "kvmsmall", "preempt", "pae", "PAE", "xen", "smp", "hugemem", "ml", "lt", "lpae", "addons", "auto", "automotive", "kdump",
}

// kernelName reports whether a binary rpm is named as a kernel's part is.
func kernelName(n string) bool {
	first, rest, more := strings.Cut(n, "-")
	if !kernelWord(first) {
		return false
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "-")
		if !slices.Contains(rpmWords, word) {
			return false
		}
	}
	return true
}

// kernelWord is kernel, or kernel6.12 as Amazon Linux names the later ones.
func kernelWord(s string) bool {
	v, ok := strings.CutPrefix(s, "kernel")
	return ok && strings.Trim(v, "0123456789.") == ""
}

// rpmSourceWords and debSourceWords are the words beside kernel and linux in the
// names of kernel source packages.
var (
	rpmSourceWords = []string{
		"rt", "64k", "uek", "uek64k", "default", "azure", "kvmsmall", "preempt", "debug", "ml", "lt", "pae", "xen", "lpae", "automotive", "zfcpdump",
		"core", "modules", "extra", "internal", "common",
	}
	debSourceWords = []string{
		"allwinner", "aws", "azure", "bluefield", "cloud", "fde", "fips", "gcp", "gke", "gkeop", "hwe", "edge", "ibm", "intel", "iot", "iotg",
		"kvm", "laptop", "lowlatency", "mtk", "nvidia", "tegra", "igx", "oem", "oracle", "raspi", "raspi2", "raspi-realtime", "realtime", "rt", "riscv",
		"starfive", "xilinx", "zynqmp", "snapdragon", "64k", "lts", "xenial", "bionic", "trusty", "vivid", "utopic", "wily", "qcom",
	}
)

// isKernelSource reports whether a source package builds kernels: linux,
// linux-6.1, linux-aws-5.15, kernel, kernel-rt, kernel6.12. A deb's signed
// source and the metapackages' count with it.
func isKernelSource(f schema.PackageFormat, source string) bool {
	words := rpmSourceWords
	first, rest, more := strings.Cut(source, "-")
	switch f {
	case schema.FormatRPM:
		if !kernelWord(first) {
			return false
		}
	case schema.FormatDeb:
		words = debSourceWords
		source, _ = unsigned(source, "")
		if first, rest, more = strings.Cut(source, "-"); first != "linux" {
			return false
		}
		if isMetaSource(source) {
			return true
		}
	default:
		return false
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "-")
		if !slices.Contains(words, word) && strings.Trim(word, "0123456789.") != "" {
			return false
		}
	}
	return true
}

// unsigned maps the source package of signed kernel images to the source that
// was signed, which is the one advisories name: linux-signed-amd64 (6.1.123+1)
// to linux (6.1.123-1), linux-signed-aws to linux-aws.
func unsigned(source, v string) (string, string) {
	rest, ok := strings.CutPrefix(source, "linux-signed")
	if !ok || rest != "" && rest[0] != '-' {
		return source, v
	}
	for _, arch := range []string{"-amd64", "-arm64", "-i386", "-armhf", "-ppc64el", "-riscv64"} {
		if r, cut := strings.CutSuffix(rest, arch); cut {
			// Debian writes the revision of what was signed behind a plus.
			if !strings.Contains(v, "-") {
				v = strings.Replace(v, "+", "-", 1)
			}
			rest = r
			break
		}
	}
	return "linux" + rest, v
}
