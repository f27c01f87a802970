package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Running is what really runs on a host, by its newest report, next to what is
// on its disk (VPM-02.3).
type Running struct {
	Kernel   string    `json:"kernel,omitempty" doc:"Release (uname -r)."`
	BootedAt time.Time `json:"booted_at,omitzero"`
	Lockdown string    `json:"lockdown,omitempty"`
	// Installed are the kernels on disk.
	Installed     []schema.InstalledKernel `json:"installed"`
	NextBoot      *schema.NextBoot         `json:"next_boot,omitempty" doc:"Absent where no file says."`
	RebootMarkers []schema.RebootMarker    `json:"reboot_markers"`
	LivePatches   []schema.LivePatch       `json:"live_patches"`
	// Looked says whether the host's processes were looked at. Without it nobody
	// knows what they run.
	Looked bool           `json:"looked"`
	Stale  []StalePackage `json:"stale" doc:"Old code that processes run, by package."`
}

// StalePackage is one version of a package that processes still run though it is
// not on disk any more.
type StalePackage struct {
	Package   string         `json:"package,omitempty" doc:"Empty for files that no package owns."`
	Arch      string         `json:"arch,omitempty"`
	Loaded    string         `json:"loaded,omitempty" doc:"The version that runs; empty when not known."`
	Container string         `json:"container,omitempty"`
	Files     []string       `json:"files" doc:"At most 8."`
	Processes []StaleProcess `json:"processes"`
}

// StaleProcess is one process that runs old code.
type StaleProcess struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Unit    string    `json:"unit,omitempty"`
	Started time.Time `json:"started,omitzero"`
}

// maxStaleFiles is how many files of a package are named.
const maxStaleFiles = 8

// running reads what runs on an asset, nil before its first report.
func (s *Service) running(ctx context.Context, a *store.Asset) (*Running, error) {
	if a.Head == nil {
		return nil, nil
	}
	r, err := s.Store.Report(ctx, a.Head.ReportID)
	if err != nil {
		return nil, fmt.Errorf("read the newest report of %s: %w", a.ID, err)
	}
	k := &r.Statement.Kernel
	out := &Running{
		Kernel: k.Release, BootedAt: r.Statement.Boot.Time, Lockdown: k.Lockdown, NextBoot: k.NextBoot,
		Installed: append([]schema.InstalledKernel{}, k.Installed...), RebootMarkers: append([]schema.RebootMarker{}, k.RebootMarkers...),
		LivePatches: append([]schema.LivePatch{}, k.LivePatches...), Stale: []StalePackage{},
	}
	part, ok := r.Statement.Part(schema.PartStale)
	if !ok {
		return out, nil
	}
	out.Looked = true
	text, err := s.Store.Part(ctx, part.Digest)
	if err != nil {
		return nil, fmt.Errorf("read the stale part of %s: %w", a.ID, err)
	}
	stale, err := schema.DecodeStale(text)
	if err != nil {
		return nil, fmt.Errorf("decode the stale part of %s: %w", a.ID, err)
	}
	out.Stale = stalePackages(stale)
	return out, nil
}

// stalePackages sorts stale code by what an operator has to think of: a package
// in a version, and its processes.
func stalePackages(stale []schema.Stale) []StalePackage {
	type key struct{ pkg, arch, loaded, container string }
	at := map[key]*StalePackage{}
	for _, u := range stale {
		k := key{u.Package, u.Arch, u.Loaded, u.Container}
		p := at[k]
		if p == nil {
			p = &StalePackage{Package: u.Package, Arch: u.Arch, Loaded: u.Loaded, Container: u.Container, Files: []string{}}
			at[k] = p
		}
		if len(p.Files) < maxStaleFiles && !slices.Contains(p.Files, u.Path) {
			p.Files = append(p.Files, u.Path)
		}
		if !slices.ContainsFunc(p.Processes, func(q StaleProcess) bool { return q.PID == u.PID }) {
			q := StaleProcess{PID: u.PID, Command: u.Command, Unit: u.Unit}
			if u.Started > 0 {
				q.Started = time.Unix(u.Started, 0).UTC()
			}
			p.Processes = append(p.Processes, q)
		}
	}
	out := make([]StalePackage, 0, len(at))
	for _, p := range at {
		slices.Sort(p.Files)
		slices.SortFunc(p.Processes, func(a, b StaleProcess) int { return cmp.Compare(a.PID, b.PID) })
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b StalePackage) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Loaded, b.Loaded), cmp.Compare(a.Container, b.Container))
	})
	return out
}
