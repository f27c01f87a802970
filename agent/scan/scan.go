// Package scan states what is on a root file system: it runs every extractor and
// makes one report of what they found.
//
// Invariants:
//   - It reads files, /proc, /sys, the network interfaces and, on EC2, the
//     metadata service. It runs no program and changes nothing outside its own
//     cache directory.
//   - What cannot be read is a gap in the report, never an error and never an
//     empty list. A root without any package database says so.
//   - Facts of the running system (kernel, boot, hardware, metadata service) are
//     stated only of the running system's own root.
package scan

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/patchproof/patchproof/agent/scan/dpkg"
	"github.com/patchproof/patchproof/agent/scan/host"
	"github.com/patchproof/patchproof/agent/scan/imds"
	"github.com/patchproof/patchproof/agent/scan/kernel"
	"github.com/patchproof/patchproof/agent/scan/osrelease"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/agent/scan/rpm"
	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package itself carry.
const Extractor = "scan"

// Options say what to scan and how.
type Options struct {
	// Root is the root file system: "/" for the running system, otherwise an
	// image's, of which no facts of a running system are stated.
	Root string
	// Cache is a directory of the agent's own for copies of rpm databases and
	// what was read from them. Empty means a temporary one, removed afterwards.
	Cache string
	// Labels are the operator's own words for this host.
	Labels map[string]string
	// AgentVersion names the agent in the report.
	AgentVersion string
	// IMDS allows asking the EC2 metadata service, when the machine says it is
	// an EC2 instance. IMDSEndpoint is another address of it, which is asked on
	// any machine.
	IMDS         bool
	IMDSEndpoint string
	// Now is the host's clock.
	Now func() time.Time
}

// Run scans a root. The report has no sequence and no keys yet; its parts travel
// in it. The packages are those of the report's package part, in its order. An
// error means that there is no root to read or ctx ended.
func Run(ctx context.Context, o Options) (*schema.Report, []schema.Package, error) {
	start, used := o.Now(), cpuTime()
	root, err := rootfs.Open(o.Root)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }()
	s := &scan{options: o, root: root, live: isLive(o.Root)}
	if err := s.run(ctx); err != nil {
		return nil, nil, err
	}
	s.report.CollectedAt = start
	s.report.Cost = schema.Cost{
		CPU: cpuTime() - used, PeakRSS: peakRSS(), Duration: o.Now().Sub(start), PartsReused: s.reused,
	}
	return &s.report, s.packages, nil
}

// Machine returns what tells the machine at o.Root from another. The gaps say
// what of it could not be read. Only Root, IMDS and IMDSEndpoint of o matter.
func Machine(ctx context.Context, o Options) (schema.Machine, []schema.Gap, error) {
	root, err := rootfs.Open(o.Root)
	if err != nil {
		return schema.Machine{}, nil, err
	}
	defer func() { _ = root.Close() }()
	h, gaps := host.Machine(root)
	said := schema.Report{Host: h}
	if endpoint := o.metadata(root); endpoint != "" {
		id, more := imds.InstanceID(ctx, endpoint)
		said.Cloud = &schema.Cloud{Provider: imds.Provider, InstanceID: id}
		gaps = append(gaps, more...)
	}
	return said.Machine(), gaps, nil
}

// metadata returns the address of the metadata service to ask, empty for none.
func (o Options) metadata(root fs.FS) string {
	switch {
	case !o.IMDS || o.IMDSEndpoint == "" && !imds.OnEC2(root):
		return ""
	case o.IMDSEndpoint == "":
		return imds.Endpoint
	}
	return o.IMDSEndpoint
}

// isLive tells the running system's root from an image's.
func isLive(dir string) bool {
	abs, err := filepath.Abs(dir)
	return err == nil && abs == "/" && runtime.GOOS == "linux"
}

// scan is one run.
type scan struct {
	options  Options
	root     fs.FS
	live     bool
	report   schema.Report
	packages []schema.Package
	reused   int
}

func (s *scan) run(ctx context.Context) error {
	s.report.Agent = schema.Agent{
		Version: s.options.AgentVersion, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	s.report.Labels = s.options.Labels
	s.readOS()
	if err := s.readPackages(ctx); err != nil {
		return err
	}
	if s.live {
		s.readRunning(ctx)
	} else {
		h, gaps := host.Named(s.root)
		s.report.Host = h
		s.gaps(gaps)
	}
	s.readKernels()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("scan %s: %w", s.options.Root, err)
	}
	return nil
}

func (s *scan) gaps(gaps []schema.Gap) { s.report.Gaps = append(s.report.Gaps, gaps...) }

func (s *scan) gap(extractor, kind, path, detail string) {
	s.report.Gaps = append(s.report.Gaps, schema.Gap{Extractor: extractor, Kind: kind, Path: path, Detail: detail})
}

func (s *scan) readOS() {
	release, gaps := osrelease.Read(s.root)
	s.report.OS = release
	s.gaps(gaps)
}

// readPackages asks both package managers, since a root can hold both, and
// makes the package part.
func (s *scan) readPackages(ctx context.Context) error {
	deb := dpkg.Read(s.root)
	s.gaps(deb.Gaps)
	red := rpm.Read(ctx, s.root, s.options.Cache)
	s.gaps(red.Gaps)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("scan %s: %w", s.options.Root, err)
	}
	s.reused += red.Reused
	s.packages = slices.Concat(deb.Packages, red.Packages)
	s.checkExpected(deb, red)
	return s.makePart()
}

// makePart writes the package part. When nothing could be read there is none:
// an empty one would say that the host has no packages.
func (s *scan) makePart() error {
	if len(s.packages) == 0 {
		return nil
	}
	if len(s.packages) > schema.MaxPackages {
		s.gap(Extractor, schema.GapTruncated, "", fmt.Sprintf("%d packages, %d are reported", len(s.packages), schema.MaxPackages))
		s.packages = s.packages[:schema.MaxPackages]
	}
	text, err := schema.EncodePackages(s.packages)
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.options.Root, err)
	}
	s.addPart(schema.PartPackages, text)
	return nil
}

// addPart adds a part with its body. Parts are added in the order of their names.
func (s *scan) addPart(name, text string) {
	if s.report.Bodies == nil {
		s.report.Bodies = map[string]string{}
	}
	s.report.Parts = append(s.report.Parts, schema.NewPart(name, text))
	s.report.Bodies[name] = text
}

// checkExpected reports a package database that should be there and is not, or
// is empty.
func (s *scan) checkExpected(deb dpkg.Result, red rpm.Result) {
	id, like := s.report.OS.ID, s.report.OS.IDLike
	switch {
	case isOneOf(debianLike, id, like) && len(deb.Packages) == 0 && len(deb.Gaps) == 0:
		s.gap(dpkg.Extractor, schema.GapUnreadable, "/var/lib/dpkg/status",
			absence(deb.Found)+fmt.Sprintf(", though os-release says %s", id))
	case isOneOf(rpmLike, id, like) && len(red.Packages) == 0 && len(red.Gaps) == 0:
		s.gap(rpm.Extractor, schema.GapUnreadable, "/var/lib/rpm",
			absence(red.Found)+fmt.Sprintf(", though os-release says %s", id))
	case len(s.packages) == 0 && len(deb.Gaps) == 0 && len(red.Gaps) == 0:
		s.gap(Extractor, schema.GapUnsupported, "",
			fmt.Sprintf("no dpkg or rpm database with packages (os-release says %q)", id))
	}
}

func absence(found bool) string {
	if found {
		return "the database is empty"
	}
	return "there is no database"
}

// Distributions by their package manager, as os-release names them.
var (
	debianLike = []string{"debian", "ubuntu"}
	rpmLike    = []string{
		"rhel", "fedora", "centos", "amzn", "almalinux", "rocky", "ol", "suse", "opensuse", "sles", "sled",
		"opensuse-leap", "opensuse-tumbleweed", "azurelinux", "mariner", "photon", "openeuler", "anolis",
	}
)

func isOneOf(family []string, id string, like []string) bool {
	return slices.Contains(family, id) || slices.ContainsFunc(like, func(l string) bool {
		return slices.Contains(family, l)
	})
}

// readRunning adds what only the running system has.
func (s *scan) readRunning(ctx context.Context) {
	h, gaps := host.Running(s.root)
	s.report.Host = h
	s.gaps(gaps)
	k, boot, gaps := kernel.Running(s.root)
	k.Machine = h.Arch
	s.report.Kernel, s.report.Boot = k, boot
	s.gaps(gaps)
	s.readLivePatches()
	s.readCloud(ctx)
	s.readStale(ctx)
}

func (s *scan) readCloud(ctx context.Context) {
	endpoint := s.options.metadata(s.root)
	if endpoint == "" {
		return
	}
	cloud, gaps := imds.Fetch(ctx, endpoint)
	s.report.Cloud = cloud
	s.gaps(gaps)
}

// readKernels lists the kernels on disk, and says when the running one belongs
// to no package.
func (s *scan) readKernels() {
	installed, gaps := kernel.Installed(s.root, s.packages)
	s.report.Kernel.Installed = installed
	s.gaps(gaps)
	s.report.Kernel.NextBoot, gaps = kernel.NextBoot(s.root)
	s.gaps(gaps)
	if s.live {
		s.report.Kernel.RebootMarkers, gaps = kernel.RebootMarkers(s.root)
		s.gaps(gaps)
	}
	running := s.report.Kernel.Release
	if running != "" && len(s.packages) > 0 && kernel.Owner(running, s.packages) == "" {
		s.gap(kernel.Extractor, schema.GapUnowned, "",
			fmt.Sprintf("the running kernel %.80q belongs to no installed package", running))
	}
}
