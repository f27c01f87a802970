// Package kernel reads which kernel runs and which are installed.
//
// The running kernel is what the kernel itself says under proc/sys/kernel; it
// exists only when the root is the running system's. Installed kernels are the
// images under boot and the module trees under lib/modules; the package that
// owns one is found by its name, since distributions name kernel packages after
// the release they install. A running kernel nobody owns is a gap: no advisory
// will ever speak of it.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "kernel"

// maxEntries is the most names read of one directory.
const maxEntries = 4096

// Running reads the running kernel and the current boot. root must be the
// running system's.
func Running(root fs.FS) (schema.Kernel, schema.Boot, []schema.Gap) {
	var r reader
	k := schema.Kernel{
		Release: r.line(root, "proc/sys/kernel/osrelease"),
		Version: r.line(root, "proc/sys/kernel/version"),
	}
	r.started(root, &k)
	boot := schema.Boot{ID: r.line(root, "proc/sys/kernel/random/boot_id")}
	at, err := bootTime(root)
	if err != nil {
		r.gap(schema.GapUnreadable, "proc/stat", err.Error())
	}
	boot.Time = at
	return k, boot, r.gaps
}

// Installed reads the kernels on disk, each with the package of packages that
// owns it.
func Installed(root fs.FS, packages []schema.Package) ([]schema.InstalledKernel, []schema.Gap) {
	var r reader
	releases := r.releases(root)
	if len(releases) > schema.MaxInstalledKernels {
		r.gap(schema.GapTruncated, "boot", fmt.Sprintf("%d kernels, %d are reported", len(releases), schema.MaxInstalledKernels))
		releases = releases[:schema.MaxInstalledKernels]
	}
	if len(releases) == 0 {
		return nil, r.gaps
	}
	owners := ownersOf(packages)
	kernels := make([]schema.InstalledKernel, len(releases))
	for i, release := range releases {
		kernels[i] = schema.InstalledKernel{Release: release, Package: owners.of(release)}
	}
	return kernels, r.gaps
}

// Owner returns the package that owns a kernel release, empty when none does.
func Owner(release string, packages []schema.Package) string {
	return ownersOf(packages).of(release)
}

// reader gathers gaps.
type reader struct{ gaps []schema.Gap }

func (r *reader) gap(kind, name, detail string) {
	r.gaps = append(r.gaps, schema.Gap{Extractor: Extractor, Kind: kind, Path: "/" + name, Detail: detail})
}

// line reads a file of one line.
func (r *reader) line(root fs.FS, name string) string {
	line, err := rootfs.ReadLine(root, name)
	if err != nil {
		r.gap(schema.GapUnreadable, name, err.Error())
		return ""
	}
	return line
}

// bootTime is btime of proc/stat, in whole seconds. It moves when the clock is
// set, so the boot id is what tells boots apart.
func bootTime(root fs.FS) (time.Time, error) {
	// The line stands behind one line a processor and the line of interrupts.
	b, err := rootfs.ReadFile(root, "proc/stat", 1<<20)
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(b)) {
		value, ok := strings.CutPrefix(line, "btime ")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("read the boot time: %w", err)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	return time.Time{}, errors.New("no boot time")
}

// imagePrefixes are how images of kernels are named, each before the release.
// SUSE and ARM builds name them after their format.
var imagePrefixes = []string{"vmlinuz-", "vmlinux-", "Image-"}

// releases lists the kernels on disk, sorted, each once.
func (r *reader) releases(root fs.FS) []string {
	var found []string
	for _, name := range r.names(root, "boot") {
		for _, prefix := range imagePrefixes {
			if release, ok := strings.CutPrefix(name, prefix); ok && plausible(release) {
				found = append(found, release)
			}
		}
	}
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		for _, name := range r.names(root, dir) {
			if plausible(name) && r.isKernel(root, path.Join(dir, name)) {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// plausible tells a release from rescue images (0-rescue-...), backups and other
// files.
func plausible(release string) bool {
	if release == "" || release[0] < '1' || release[0] > '9' || len(release) > 128 {
		return false
	}
	return !strings.ContainsFunc(release, func(c rune) bool { return c <= ' ' || c >= 0x7f }) &&
		!strings.HasSuffix(release, ".old") && !strings.HasSuffix(release, ".bak")
}

// isKernel tells a module tree that a kernel package installed from one that
// only outlived its kernel, with modules built on the host.
func (r *reader) isKernel(root fs.FS, dir string) bool {
	for _, name := range []string{"kernel", "vmlinuz", "modules.builtin"} {
		if _, err := fs.Stat(root, path.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

func (r *reader) names(root fs.FS, dir string) []string {
	entries, err := rootfs.Entries(root, dir, maxEntries)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, rootfs.ErrManyEntries):
		r.gap(schema.GapTruncated, dir, err.Error())
	default:
		r.gap(schema.GapUnreadable, dir, err.Error())
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
