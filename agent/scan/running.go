package scan

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/patchproof/patchproof/agent/scan/dpkg"
	"github.com/patchproof/patchproof/agent/scan/livepatch"
	"github.com/patchproof/patchproof/agent/scan/process"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/agent/scan/rpm"
	"github.com/patchproof/patchproof/schema"
)

// processTime is how long processes are looked at. Ten thousand take about a
// second.
const processTime = 10 * time.Second

// readLivePatches adds the live patches of the running kernel.
func (s *scan) readLivePatches() {
	patches, gaps := livepatch.Read(s.root, livepatch.Host{
		Release: s.report.Kernel.Release, OS: s.report.OS, Packages: s.packages,
	})
	if len(patches) > 0 {
		s.report.Kernel.LivePatches = patches
	}
	s.gaps(gaps)
}

// readStale makes the part of stale code, empty when no process runs any.
func (s *scan) readStale(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, processTime)
	defer cancel()
	h := process.Host{Proc: process.Live(), Root: s.root, ForeignRoot: foreignRoot}
	if !s.report.Boot.Time.IsZero() {
		h.Boot = s.report.Boot.Time.Unix()
	}
	stale, gaps, ok := process.Read(ctx, h)
	s.gaps(gaps)
	if !ok {
		return
	}
	s.nameOwners(ctx, stale)
	text, err := schema.EncodeStale(stale)
	if err != nil { // of a process, and no reason to keep the host silent
		s.gap(process.Extractor, schema.GapCorrupt, "/proc", err.Error())
		return
	}
	s.addPart(schema.PartStale, text)
}

// foreignRoot opens the root of a process that has another one than the agent:
// one in a container.
func foreignRoot(pid int) (fs.FS, error) {
	own, err := os.Stat("/")
	if err != nil {
		return nil, err
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/root"
	theirs, err := os.Stat(dir + "/")
	if err != nil || os.SameFile(own, theirs) {
		return nil, err
	}
	root, err := rootfs.Open(dir)
	if err != nil {
		return nil, err
	}
	return root, nil
}

// nameOwners names the package of each file of the host's own. Files in a
// container belong to its image.
func (s *scan) nameOwners(ctx context.Context, stale []schema.Stale) {
	var paths []string
	for i := range stale {
		if stale[i].Container == "" {
			paths = append(paths, stale[i].Path)
		}
	}
	if len(paths) == 0 {
		return
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	debs, gaps := dpkg.Owners(s.root, paths)
	s.gaps(gaps)
	rpms, gaps := rpm.Owners(ctx, s.root, s.options.Cache, paths)
	s.gaps(gaps)
	past := s.readHistory(stale)
	for i := range stale {
		f := &stale[i]
		if f.Container != "" {
			continue
		}
		if o, ok := debs[f.Path]; ok {
			f.Package, f.Arch = o.Name, s.archOf(o)
			f.Loaded = past.deb(f)
		} else if o, ok := rpms[f.Path]; ok {
			f.Package, f.Arch = o.Name, o.Arch
			f.Loaded = past.rpm(f)
		}
	}
}

// history is what package managers replaced while stale processes ran.
type history struct {
	debs map[dpkg.Owner][]rootfs.Replaced
	rpms map[rpm.Owner][]rootfs.Replaced
}

// readHistory reads the logs back to the start of the oldest stale process.
func (s *scan) readHistory(stale []schema.Stale) history {
	oldest := int64(0)
	for i := range stale {
		if at := stale[i].Started; at > 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	if oldest == 0 {
		return history{}
	}
	debs, gaps := dpkg.History(s.root, time.Local, time.Unix(oldest, 0))
	s.gaps(gaps)
	rpms, gaps := rpm.History(s.root, time.Unix(oldest, 0))
	s.gaps(gaps)
	return history{debs, rpms}
}

// deb returns the version a deb had when a process started. The log names the
// architecture always, dpkg's file lists only where it matters.
func (h history) deb(f *schema.Stale) string {
	return versionAt(f.Started, h.debs[dpkg.Owner{Name: f.Package, Arch: f.Arch}], h.debs[dpkg.Owner{Name: f.Package, Arch: "all"}])
}

// rpm is deb for rpm packages.
func (h history) rpm(f *schema.Stale) string {
	return versionAt(f.Started, h.rpms[rpm.Owner{Name: f.Package, Arch: f.Arch}])
}

// versionAt is the version that the first change after a process's start
// replaced, empty when no log tells of one.
func versionAt(started int64, logs ...[]rootfs.Replaced) string {
	if started == 0 {
		return ""
	}
	var first rootfs.Replaced
	for _, log := range logs {
		for _, r := range log {
			if r.At.Unix() >= started && (first.At.IsZero() || r.At.Before(first.At)) {
				first = r
			}
		}
	}
	return first.Old
}

// archOf returns the architecture of a deb; a file list names it only where
// several may be installed together.
func (s *scan) archOf(o dpkg.Owner) string {
	if o.Arch != "" {
		return o.Arch
	}
	for i := range s.packages {
		if p := &s.packages[i]; p.Format == schema.FormatDeb && p.Name == o.Name {
			return p.Arch
		}
	}
	return ""
}
