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
	h := process.Host{Root: s.root, ForeignRoot: foreignRoot}
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
	for i := range stale {
		f := &stale[i]
		if f.Container != "" {
			continue
		}
		if o, ok := debs[f.Path]; ok {
			f.Package, f.Arch = o.Name, s.archOf(o)
		} else if o, ok := rpms[f.Path]; ok {
			f.Package, f.Arch = o.Name, o.Arch
		}
	}
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
