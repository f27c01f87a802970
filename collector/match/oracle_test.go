package match_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

// TestAlmaHostAgreesWithTheOracle holds a real host against all of AlmaLinux 9's
// advisories, and every difference from an independent matcher against the list
// of those we explain. An explanation that explains nothing fails.
func TestAlmaHostAgreesWithTheOracle(t *testing.T) {
	state := hostState(t, "alma_9.json", inventory.Release{Distro: "almalinux", Version: "9"})
	want, wantCVEs := almaOracle(t)
	res := match.NewIndex(state.Release, almaAdvisories(t, "9")).Match(state)
	got, gotCVEs := map[string]string{}, map[string]bool{}
	said := map[string]match.Match{}
	for _, m := range res.Matches {
		key := m.Advisory.ID + " " + m.Package.Name
		said[key] = m
		if m.Verdict != match.Affected {
			continue
		}
		got[key] = m.Package.EVR() + " -> " + m.Fixed
		for _, v := range m.Advisory.Vulnerabilities {
			gotCVEs[v] = true
		}
	}
	used := map[string]bool{}
	for _, key := range differences(want, got) {
		pkg := key[strings.LastIndexByte(key, ' ')+1:]
		why, ok := almaDifferences[pkg]
		if !ok || said[key].Verdict != match.NotAffected || said[key].Reason != why {
			t.Errorf("%s: got %q (%v %q), oracle says %q", key, got[key], said[key].Verdict, said[key].Reason, want[key])
			continue
		}
		used[pkg] = true
	}
	for pkg := range almaDifferences {
		if !used[pkg] {
			t.Errorf("no difference needs the explanation of %s", pkg)
		}
	}
	// At the grain of advisories and of CVEs nothing differs.
	if diff := cmp.Diff(advisoriesOf(want), advisoriesOf(got)); diff != "" {
		t.Errorf("advisories (-oracle +ours):\n%s", diff)
	}
	if diff := cmp.Diff(wantCVEs, gotCVEs); diff != "" {
		t.Errorf("CVEs (-oracle +ours):\n%s", diff)
	}
	if len(wantCVEs) != 1335 || len(advisoriesOf(got)) != 368 {
		t.Errorf("got %d CVEs and %d advisories, want 1335 and 368", len(wantCVEs), len(advisoriesOf(got)))
	}
	for _, m := range res.Matches {
		if m.Verdict == match.Undetermined || m.Verdict == match.PendingReboot {
			t.Errorf("%s %s: got %s %q, want none", m.Advisory.ID, m.Package.Name, m.Verdict, m.Reason)
		}
	}
}

// almaDifferences are packages that the oracle counts as affected and we do not,
// with the reason a person is shown: they come from the kernel's source, and a
// flaw of the kernel is not in them.
var almaDifferences = map[string]string{
	"kernel-tools":      "not a kernel: programs that run outside the kernel",
	"kernel-tools-libs": "not a kernel: libraries of programs that run outside the kernel",
}

func advisoriesOf(pairs map[string]string) map[string]bool {
	out := map[string]bool{}
	for key := range pairs {
		id, _, _ := strings.Cut(key, " ")
		out[id] = true
	}
	return out
}

func differences(a, b map[string]string) []string {
	var out []string
	for key := range a {
		if b[key] != a[key] {
			out = append(out, key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// TestTrivyImagesAgree holds real images' packages against the fixture
// advisories of trivy's integration tests. Left out are centos-6, whose entries
// (Red Hat's, by repository index) are of a format we do not read.
func TestTrivyImagesAgree(t *testing.T) {
	for _, image := range []string{"debian-buster", "amazon-2", "opensuse-leap-151", "alpine-310"} {
		t.Run(image, func(t *testing.T) {
			f := readTrivy(t, image)
			state, advs := f.state(t)
			res := match.NewIndex(state.Release, advs).Match(state)
			got, want := map[string]string{}, map[string]string{}
			for _, m := range res.Matches {
				if m.Verdict != match.Affected {
					t.Errorf("%s %s: got %s %q, want only affected", m.Advisory.ID, m.Package.Name, m.Verdict, m.Reason)
				}
				got[m.Advisory.ID+" "+m.Package.Name] = m.Package.EVR() + " -> " + m.Fixed
			}
			for _, e := range f.Expected {
				want[e.VulnerabilityID+" "+e.PkgName] = e.InstalledVersion + " -> " + e.FixedVersion
			}
			if len(want) == 0 {
				t.Fatal("the oracle expects nothing")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("findings (-oracle +ours):\n%s", diff)
			}
			if !res.Covered {
				t.Error("got uncovered")
			}
		})
	}
}

// TestRealHostsOwnTheirKernel matches every real host against one advisory on
// its kernel, fixed far ahead: all of them run a kernel of an installed package
// and must be told to be affected, exactly in parts of that kernel.
func TestRealHostsOwnTheirKernel(t *testing.T) {
	hosts := map[string]struct {
		release inventory.Release
		names   []string // that the advisory names
		want    []string // packages affected
		ahead   string
	}{
		"alma_9.json":      {inventory.Release{Distro: "almalinux", Version: "9"}, rpmKernelNames, []string{"kernel", "kernel-core", "kernel-modules"}, "99-1"},
		"rhel_80.json":     {inventory.Release{Distro: "rhel", Version: "8"}, rpmKernelNames, []string{"kernel", "kernel-core", "kernel-modules"}, "99-1"},
		"rhel_90.json":     {inventory.Release{Distro: "rhel", Version: "9"}, rpmKernelNames, []string{"kernel", "kernel-core", "kernel-modules"}, "99-1"},
		"rocky_9.json":     {inventory.Release{Distro: "rocky", Version: "9"}, rpmKernelNames, []string{"kernel", "kernel-core", "kernel-modules"}, "99-1"},
		"oracle_9.json":    {inventory.Release{Distro: "oracle", Version: "9"}, rpmKernelNames, []string{"kernel-uek-core"}, "99-1"},
		"amazon_2.json":    {inventory.Release{Distro: "amazon", Version: "2"}, rpmKernelNames, []string{"kernel"}, "99-1"},
		"amazon_2023.json": {inventory.Release{Distro: "amazon", Version: "2023"}, rpmKernelNames, []string{"kernel", "kernel-modules-extra", "kernel-modules-extra-common"}, "99-1"},
		"sles15.json":      {inventory.Release{Distro: "suse", Version: "15.3"}, rpmKernelNames, []string{"kernel-default"}, "99-1"},
		"debian_12.json":   {inventory.Release{Distro: "debian", Version: "12"}, []string{"linux"}, []string{"linux-image-6.1.0-29-amd64"}, "99-1"},
		"ubuntu_2004.json": {inventory.Release{Distro: "ubuntu", Version: "20.04"}, []string{"linux"}, []string{"linux-image-5.4.0-139-generic", "linux-modules-5.4.0-139-generic"}, "99-1"},
		"ubuntu_2204.json": {inventory.Release{Distro: "ubuntu", Version: "22.04"}, []string{"linux"}, []string{"linux-image-5.15.0-69-generic", "linux-modules-5.15.0-69-generic"}, "99-1"},
	}
	for _, file := range slices.Sorted(maps.Keys(hosts)) {
		t.Run(file, func(t *testing.T) {
			h := hosts[file]
			state := hostState(t, file, h.release)
			adv := advisory.Advisory{ID: "ADV-1", Vulnerabilities: []string{"CVE-2999-0001"}}
			format, kind := state.Set.Packages[0].Format, advisory.NameBinary
			if format == schema.FormatDeb {
				kind = advisory.NameSource
			}
			for _, n := range h.names {
				adv.Affected = append(adv.Affected, advisory.Affected{
					Release: h.release, Format: format, Kind: kind, Name: n, Ranges: []advisory.Range{{Introduced: "0", Fixed: h.ahead}},
				})
			}
			res := match.NewIndex(h.release, []advisory.Advisory{adv}).Match(state)
			var affected []string
			for _, m := range res.Matches {
				switch m.Verdict {
				case match.Affected:
					affected = append(affected, m.Package.Name)
				case match.NotAffected:
					if !strings.HasPrefix(m.Reason, "not a kernel: ") {
						t.Errorf("%s: got reason %q", m.Package.Name, m.Reason)
					}
				default:
					t.Errorf("%s: got %s %q", m.Package.Name, m.Verdict, m.Reason)
				}
			}
			if diff := cmp.Diff(h.want, affected); diff != "" {
				t.Errorf("affected (-want +got):\n%s", diff)
			}
			if len(res.Gaps) != 0 {
				t.Errorf("gaps: got %v, want none", res.Gaps)
			}
		})
	}
}

var rpmKernelNames = []string{
	"kernel", "kernel-core", "kernel-modules", "kernel-modules-extra", "kernel-modules-extra-common", "kernel-headers", "kernel-devel",
	"kernel-tools", "kernel-tools-libs", "kernel-uek-core", "kernel-uek-devel", "kernel-default", "kernel-srpm-macros", "perf", "bpftool",
}

func BenchmarkAlma9(b *testing.B) {
	state := hostState(b, "alma_9.json", inventory.Release{Distro: "almalinux", Version: "9"})
	state.Set.Packages = padded(state.Set.Packages, 700)
	advs := almaAdvisories(b, "9")
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			match.NewIndex(state.Release, advs)
		}
	})
	ix := match.NewIndex(state.Release, advs)
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ix.Match(state)
		}
	})
}

// padded repeats packages, under their names and one architecture more, up to n.
func padded(pkgs []schema.Package, n int) []schema.Package {
	out := slices.Clone(pkgs)
	for i := 0; len(out) < n; i++ {
		p := pkgs[i]
		p.Arch = "i686"
		out = append(out, p)
	}
	return out
}

// hostState reads one of the real host inventories.
func hostState(t testing.TB, file string, r inventory.Release) inventory.State {
	t.Helper()
	var host struct {
		RunningKernel struct{ Release, Version string }
		Packages      map[string]struct{ Name, Version, Release, Arch, ModularityLabel string }
		SrcPackages   map[string]struct {
			Name, Version string
			BinaryNames   []string
		}
	}
	readJSON(t, sharedData(t, filepath.Join("hosts", "vulsio-integration", file)), &host)
	format := schema.FormatRPM
	if r.Distro == "debian" || r.Distro == "ubuntu" {
		format = schema.FormatDeb
	}
	sources := map[string][2]string{}
	for _, s := range host.SrcPackages {
		for _, b := range s.BinaryNames {
			sources[b] = [2]string{s.Name, s.Version}
		}
	}
	state := inventory.State{Release: r, Kernel: inventory.Kernel{Release: host.RunningKernel.Release}}
	if v := host.RunningKernel.Version; v != "" {
		state.Kernel.Version = "#1 SMP PREEMPT_DYNAMIC Debian " + v + " (2025-01-02)"
	}
	for _, name := range slices.Sorted(maps.Keys(host.Packages)) {
		h := host.Packages[name]
		p := splitVersion(schema.Package{Format: format, Name: h.Name, Arch: h.Arch, Module: h.ModularityLabel, Status: "installed"}, h.Version, h.Release)
		p.Source, p.SourceVersion = p.Name, p.EVR()
		if src, ok := sources[name]; ok {
			p.Source, p.SourceVersion = src[0], src[1]
			delete(sources, name)
		}
		state.Set.Packages = append(state.Set.Packages, p)
	}
	// The inventories of debs list some binaries only under their sources.
	if format == schema.FormatDeb {
		for _, name := range slices.Sorted(maps.Keys(sources)) {
			src := sources[name]
			p := splitVersion(schema.Package{Format: format, Name: name, Source: src[0], SourceVersion: src[1], Status: "installed"}, src[1], "")
			state.Set.Packages = append(state.Set.Packages, p)
		}
	}
	return state
}

// splitVersion reads [epoch:]version and, for a deb, -revision.
func splitVersion(p schema.Package, v, release string) schema.Package {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		fmt.Sscan(e, &p.Epoch)
		v = rest
	}
	if i := strings.LastIndexByte(v, '-'); release == "" && i >= 0 {
		v, release = v[:i], v[i+1:]
	}
	p.Version, p.Release = v, release
	return p
}

func almaOracle(t testing.TB) (pairs map[string]string, cves map[string]bool) {
	t.Helper()
	var want struct {
		Findings []struct {
			ID       string
			CVEs     []string
			Packages []struct{ Package, Installed, Fixed string }
		}
	}
	readJSON(t, sharedData(t, "oracles/computed/expected-alma_9.json"), &want)
	pairs, cves = map[string]string{}, map[string]bool{}
	for _, f := range want.Findings {
		for _, p := range f.Packages {
			pairs[f.ID+" "+p.Package] = p.Installed + " -> " + p.Fixed
		}
		for _, c := range f.CVEs {
			cves[c] = true
		}
	}
	return pairs, cves
}

// almaAdvisories reads an OSV archive of AlmaLinux by a reader of its own, so
// that this package's tests stand alone.
func almaAdvisories(t testing.TB, release string) []advisory.Advisory {
	t.Helper()
	z, err := zip.OpenReader(sharedData(t, "advisories/osv/AlmaLinux-"+release+"/all.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out []advisory.Advisory
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, osvAdvisory(t, data))
	}
	return out
}

func osvAdvisory(t testing.TB, data []byte) advisory.Advisory {
	t.Helper()
	var doc struct {
		ID, Summary string
		Related     []string
		Affected    []struct {
			Package struct{ Ecosystem, Name string }
			Ranges  []struct {
				Events []struct{ Introduced, Fixed string }
			}
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	a := advisory.Advisory{ID: doc.ID, Summary: doc.Summary, Vulnerabilities: doc.Related}
	for _, x := range doc.Affected {
		_, version, _ := strings.Cut(x.Package.Ecosystem, ":")
		ev := x.Ranges[0].Events
		row := advisory.Affected{
			Release: inventory.Release{Distro: "almalinux", Version: version}, Format: schema.FormatRPM, Kind: advisory.NameBinary,
			Name: x.Package.Name, Ranges: []advisory.Range{{Introduced: ev[0].Introduced, Fixed: ev[1].Fixed}},
		}
		if strings.Contains(row.Ranges[0].Fixed, ".module") {
			row.Module = streamsOf(doc.Summary)
		}
		a.Affected = append(a.Affected, row)
	}
	return a
}

// streamsOf reads the module streams a summary names, "*" when it names none.
func streamsOf(summary string) string {
	var out []string
	for word := range strings.FieldsSeq(summary) {
		word, _, _ = strings.Cut(strings.Trim(word, ","), "/")
		if n, stream, ok := strings.Cut(word, ":"); ok && n != "" && stream != "" {
			out = append(out, word)
		}
	}
	if len(out) == 0 {
		return "*"
	}
	return strings.Join(out, " ")
}

type trivyFile struct {
	OS       struct{ Family, Name string }
	Packages []struct {
		Name, Version, Release, Arch    string
		Epoch                           int
		SrcName, SrcVersion, SrcRelease string
		SrcEpoch                        int
		Modularitylabel                 string
	}
	Advisories []struct {
		Bucket string
		Pairs  []struct {
			Key   string
			Value struct{ FixedVersion string }
		}
	}
	Expected []struct{ VulnerabilityID, PkgName, InstalledVersion, FixedVersion string }
}

func readTrivy(t *testing.T, image string) trivyFile {
	t.Helper()
	var f trivyFile
	readJSON(t, sharedData(t, "oracles/trivy/combined/"+image+".json"), &f)
	return f
}

// state turns an image into ours. Debian's and Alpine's buckets are source
// packages, the others' binary ones.
func (f trivyFile) state(t *testing.T) (inventory.State, []advisory.Advisory) {
	t.Helper()
	format, kind := schema.FormatRPM, advisory.NameBinary
	switch f.OS.Family {
	case "debian":
		format, kind = schema.FormatDeb, advisory.NameSource
	case "alpine":
		format, kind = "apk", advisory.NameSource
	}
	r := inventory.Release{Distro: f.OS.Family, Version: f.OS.Name}
	state := inventory.State{Release: r}
	for _, x := range f.Packages {
		src := schema.Package{Epoch: x.SrcEpoch, Version: x.SrcVersion, Release: x.SrcRelease}
		state.Set.Packages = append(state.Set.Packages, schema.Package{
			Format: format, Name: x.Name, Epoch: x.Epoch, Version: x.Version, Release: x.Release, Arch: x.Arch,
			Source: x.SrcName, SourceVersion: src.EVR(), Module: x.Modularitylabel, Status: "installed",
		})
	}
	var advs []advisory.Advisory
	for _, b := range f.Advisories {
		for _, p := range b.Pairs {
			advs = append(advs, advisory.Advisory{ID: p.Key, Vulnerabilities: []string{p.Key}, Affected: []advisory.Affected{{
				Release: r, Format: format, Kind: kind, Name: b.Bucket, Ranges: []advisory.Range{{Introduced: "0", Fixed: p.Value.FixedVersion}},
			}}})
		}
	}
	return state, advs
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// sharedData finds ../shared/data beside the repository root and skips without it.
func sharedData(t testing.TB, path string) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	found := filepath.Join(dir, "..", "shared", "data", path)
	if _, err := os.Stat(found); err != nil {
		t.Skipf("real data is not there: %v", err)
	}
	return found
}
