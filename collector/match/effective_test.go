package match_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

var amazon = inventory.Release{Distro: "amazon", Version: "2023"}

func rpmOf(name, version, release, source string) schema.Package {
	return schema.Package{
		Format: schema.FormatRPM, Name: name, Version: version, Release: release, Arch: "x86_64",
		Source: source, SourceVersion: version + "-" + release, Status: schema.StatusInstalled,
	}
}

func rpmRow(r inventory.Release, name, fixed string) advisory.Affected {
	return advisory.Affected{
		Release: r, Format: schema.FormatRPM, Kind: advisory.NameBinary, Name: name, Arch: []string{"x86_64"},
		Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
	}
}

func liveRow(r inventory.Release, name, fixed string) advisory.Affected {
	row := rpmRow(r, name, fixed)
	row.LivePatch = true
	return row
}

// liveAdvisories: a kernel advisory of two vulnerabilities, and a live patch for one.
func liveAdvisories() []advisory.Advisory {
	return []advisory.Advisory{
		{
			ID: "ALAS2023-2023-150", Vulnerabilities: []string{"CVE-2023-26545", "CVE-2023-28466"},
			Affected: []advisory.Affected{rpmRow(amazon, "kernel", "6.1.15-28.43.amzn2023")},
		},
		{
			ID: "ALAS2023LIVEPATCH-2023-001", Vulnerabilities: []string{"CVE-2023-26545"},
			Affected: []advisory.Affected{liveRow(amazon, "kernel-livepatch-6.1.12-19.43", "1.0-1.amzn2023")},
		},
	}
}

func liveHost(patchVersion string, patches ...schema.LivePatch) inventory.State {
	s := inventory.State{
		Release: amazon,
		Kernel:  inventory.Kernel{Release: "6.1.12-19.43.amzn2023.x86_64", Machine: "x86_64", LivePatches: patches},
		Set: inventory.Set{Packages: []schema.Package{
			rpmOf("kernel", "6.1.12", "19.43.amzn2023", "kernel"),
		}},
	}
	if patchVersion != "" {
		s.Set.Packages = append(s.Set.Packages, rpmOf("kernel-livepatch-6.1.12-19.43", "1.0", patchVersion, "kernel-livepatch-6.1.12-19.43"))
	}
	return s
}

// livePatch is what the agent says of a module that a package brought.
func livePatch(version string) schema.LivePatch {
	return schema.LivePatch{
		Provider: schema.ProviderAmazon, Name: "livepatch_CVE_2023_26545",
		Package: "kernel-livepatch-6.1.12-19.43-1.0-" + version + ".x86_64",
		Loaded:  true, Enabled: true,
	}
}

// told says what a result says of each vulnerability: the worst word of any match.
func told(res match.Result) map[string]string {
	rank := []string{"not_affected", "live_patched", "undetermined", "pending_restart", "pending_reboot", "affected"}
	out := map[string]string{}
	for _, m := range res.Matches {
		for _, v := range m.Advisory.Vulnerabilities {
			word := string(m.Verdict)
			if m.LivePatched[v] != "" {
				word = "live_patched"
			}
			if slices.Index(rank, word) > slices.Index(rank, out[v]) {
				out[v] = word
			}
		}
	}
	return out
}

func TestLivePatchCoversWhileItIsInForce(t *testing.T) {
	const covered, other = "CVE-2023-26545", "CVE-2023-28466"
	change := func(f func(*schema.LivePatch)) schema.LivePatch {
		p := livePatch("1.amzn2023")
		f(&p)
		return p
	}
	for _, tc := range []struct {
		name string
		host inventory.State
		want string
	}{
		{"enabled", liveHost("1.amzn2023", livePatch("1.amzn2023")), "live_patched"},
		{"later_patches_cumulate", liveHost("4.amzn2023", livePatch("4.amzn2023")), "live_patched"},
		{"no_patch", liveHost(""), "affected"},
		{"installed_and_not_loaded", liveHost("1.amzn2023"), "affected"},
		{"baseline_package", liveHost("0.amzn2023", livePatch("0.amzn2023")), "affected"},
		{"in_transition", liveHost("1.amzn2023", change(func(p *schema.LivePatch) { p.Transition = true })), "affected"},
		{"disabled", liveHost("1.amzn2023", change(func(p *schema.LivePatch) { p.Enabled = false })), "affected"},
		{"another_package_loaded", liveHost("1.amzn2023", livePatch("0.amzn2023")), "affected"},
		{"module_of_no_known_package", liveHost("1.amzn2023", change(func(p *schema.LivePatch) { p.Package = "" })), "affected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := told(match.NewIndex(amazon, liveAdvisories()).Match(tc.host))
			if diff := cmp.Diff(map[string]string{covered: tc.want, other: "affected"}, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// A patch is for one kernel: booted into another one, the same package covers nothing.
func TestLivePatchIsForOneKernel(t *testing.T) {
	s := liveHost("1.amzn2023", livePatch("1.amzn2023"))
	s.Set.Packages = append(s.Set.Packages, rpmOf("kernel", "6.1.10", "15.42.amzn2023", "kernel"))
	s.Kernel.Release = "6.1.10-15.42.amzn2023.x86_64"
	got := told(match.NewIndex(amazon, liveAdvisories()).Match(s))
	if got["CVE-2023-26545"] == "live_patched" {
		t.Errorf("told %v", got)
	}
}

func TestLivePatchAdvisoryAloneExposes(t *testing.T) {
	ix := match.NewIndex(amazon, liveAdvisories()[1:])
	res := ix.Match(liveHost(""))
	if len(res.Matches) != 1 || res.Matches[0].Verdict != match.Affected || res.Matches[0].Package.Name != "kernel" ||
		!strings.Contains(res.Matches[0].Reason, "kernel-livepatch-6.1.12-19.43 1.0-1.amzn2023 is not in force") {
		t.Errorf("matches %+v", res.Matches)
	}
	if got := told(ix.Match(liveHost("1.amzn2023", livePatch("1.amzn2023")))); len(got) > 0 {
		t.Errorf("patched: told %v", got)
	}
	other := liveHost("")
	other.Kernel.Release, other.Set.Packages[0].Release = "6.1.12-19.44.amzn2023.x86_64", "19.44.amzn2023"
	if got := told(ix.Match(other)); len(got) > 0 {
		t.Errorf("another kernel: told %v", got)
	}
}

// An ordinary kernel advisory lists the empty package its kernel comes with.
func TestBaselinePackageIsNoLivePatch(t *testing.T) {
	advs := []advisory.Advisory{{
		ID: "ALAS2KERNEL-5.15-2022-001", Vulnerabilities: []string{"CVE-2022-0500"},
		Affected: []advisory.Affected{
			rpmRow(amazon, "kernel", "6.1.12-19.43.amzn2023"), liveRow(amazon, "kernel-livepatch-6.1.12-19.43", "1.0-0.amzn2023"),
		},
	}}
	if got := told(match.NewIndex(amazon, advs).Match(liveHost("1.amzn2023", livePatch("1.amzn2023")))); len(got) > 0 {
		t.Errorf("told %v", got)
	}
}

func TestCanonicalLivePatchIsToldByItsModule(t *testing.T) {
	ubuntu := inventory.Release{Distro: "ubuntu", Version: "22.04"}
	kernel := schema.Package{
		Format: schema.FormatDeb, Name: "linux-image-5.15.0-100-generic", Version: "5.15.0", Release: "100.110", Arch: "amd64",
		Source: "linux", SourceVersion: "5.15.0-100.110", Status: schema.StatusInstalled,
	}
	const pattern = `lkp_Ubuntu_5_15_0[_|\d]+_generic_(\d+)`
	advs := []advisory.Advisory{
		{ID: "USN-6700-1", Vulnerabilities: []string{"CVE-2024-1086", "CVE-2024-0001"}, Affected: []advisory.Affected{{
			Release: ubuntu, Format: schema.FormatDeb, Kind: advisory.NameSource, Name: "linux",
			Ranges: []advisory.Range{{Introduced: "0", Fixed: "5.15.0-101.111"}},
		}}},
		{ID: "LSN-0102-1", Vulnerabilities: []string{"CVE-2024-1086"}, Affected: []advisory.Affected{{
			Release: ubuntu, Format: schema.FormatDeb, Kind: advisory.NameSource, Name: "linux", LivePatch: true,
			ModuleName: pattern, ModuleVersion: 102,
		}}},
		{ID: "LSN-9999-1", Vulnerabilities: []string{"CVE-2024-0001"}, Affected: []advisory.Affected{{
			Release: ubuntu, Format: schema.FormatDeb, Kind: advisory.NameSource, Name: "linux", LivePatch: true,
			ModuleName: "(", ModuleVersion: 1,
		}}},
	}
	for module, want := range map[string]string{
		"lkp_Ubuntu_5_15_0_100_110_generic_104":    "live_patched", // cumulates what 102 brought
		"lkp_Ubuntu_5_15_0_100_110_generic_102":    "live_patched",
		"lkp_Ubuntu_5_15_0_100_110_generic_101":    "affected",
		"lkp_Ubuntu_5_15_0_100_110_lowlatency_104": "affected",
		"x_lkp_Ubuntu_5_15_0_100_110_generic_104":  "affected",
	} {
		got := told(match.NewIndex(ubuntu, advs).Match(inventory.State{
			Release: ubuntu, Set: inventory.Set{Packages: []schema.Package{kernel}},
			Kernel: inventory.Kernel{
				Release: "5.15.0-100-generic", Version: "#110-Ubuntu SMP", Machine: "x86_64",
				LivePatches: []schema.LivePatch{{Provider: schema.ProviderCanonical, Name: module, Loaded: true, Enabled: true}},
			},
		}))
		if diff := cmp.Diff(map[string]string{"CVE-2024-1086": want, "CVE-2024-0001": "affected"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", module, diff)
		}
	}
}

// KernelCare states which kernel the running one is as good as.
func TestEffectiveVersionIsJudgedLikeAKernel(t *testing.T) {
	for effective, want := range map[string]string{
		"6.1.15-28.43.amzn2023":        "live_patched",
		"6.1.15-28.43.amzn2023.x86_64": "live_patched",
		"6.1.14-20.43.amzn2023":        "affected",
		"":                             "affected",
	} {
		host := liveHost("", schema.LivePatch{
			Provider: schema.ProviderKernelCare, Name: "kcare", Loaded: true, Enabled: true, Effective: effective,
		})
		got := told(match.NewIndex(amazon, liveAdvisories()[:1]).Match(host))
		if diff := cmp.Diff(map[string]string{"CVE-2023-26545": want, "CVE-2023-28466": want}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", effective, diff)
		}
	}
}

func openssl() (advisory.Advisory, schema.Package) {
	debian := inventory.Release{Distro: "debian", Version: "12"}
	adv := advisory.Advisory{
		ID: "DSA-5764-1", Vulnerabilities: []string{"CVE-2024-6119"},
		Affected: []advisory.Affected{{
			Release: debian, Format: schema.FormatDeb, Kind: advisory.NameSource, Name: "openssl",
			Ranges: []advisory.Range{{Introduced: "0", Fixed: "3.0.14-1~deb12u2"}},
		}},
	}
	pkg := schema.Package{
		Format: schema.FormatDeb, Name: "libssl3", Version: "3.0.14", Release: "1~deb12u2", Arch: "amd64",
		Source: "openssl", SourceVersion: "3.0.14-1~deb12u2", Status: schema.StatusInstalled,
	}
	return adv, pkg
}

func staleIn(loaded, unit string, pid int) schema.Stale {
	return schema.Stale{
		Package: "libssl3", Arch: "amd64", Loaded: loaded, Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Kind: schema.StaleReplaced,
		PID: pid, Command: "nginx", Unit: unit,
	}
}

func TestStaleCodeIsJudgedByWhatRuns(t *testing.T) {
	adv, pkg := openssl()
	ix := match.NewIndex(adv.Affected[0].Release, []advisory.Advisory{adv})
	state := func(p schema.Package, stale ...schema.Stale) inventory.State {
		return inventory.State{Release: adv.Affected[0].Release, Set: inventory.Set{Packages: []schema.Package{p}}, Stale: stale}
	}
	res := ix.Match(state(pkg, staleIn("3.0.11-1~deb12u2", "nginx.service", 812), staleIn("3.0.11-1~deb12u2", "nginx.service", 811), staleIn("3.0.13-1~deb12u1", "", 900)))
	const want = "fixed libssl3 3.0.14-1~deb12u2 is installed; 3.0.11-1~deb12u2 still runs in nginx.service (811 812); " +
		"3.0.13-1~deb12u1 still runs in nginx (900): restart"
	if len(res.Matches) != 1 || res.Matches[0].Verdict != match.PendingRestart || res.Matches[0].Reason != want || len(res.Stale) > 0 {
		t.Errorf("matches %+v, stale %v", res.Matches, res.Stale)
	}
	// What runs may be fixed for this one though it is old.
	if got := told(ix.Match(state(pkg, staleIn("3.0.14-1~deb12u2", "", 900)))); len(got) > 0 {
		t.Errorf("reinstalled: %v", got)
	}
	// On disk it is affected anyway: that is what counts.
	vulnerable := pkg
	vulnerable.Version, vulnerable.Release, vulnerable.SourceVersion = "3.0.13", "1~deb12u1", "3.0.13-1~deb12u1"
	if got := told(ix.Match(state(vulnerable, staleIn("3.0.11-1~deb12u2", "", 900)))); got["CVE-2024-6119"] != "affected" {
		t.Errorf("affected on disk: %v", got)
	}
}

func TestStaleCodeOfAnUnknownVersionIsToldApart(t *testing.T) {
	adv, pkg := openssl()
	ix := match.NewIndex(adv.Affected[0].Release, []advisory.Advisory{adv})
	for name, change := range map[string]func(*schema.Package, *schema.Stale){
		"no_log":           func(*schema.Package, *schema.Stale) {},
		"source_differs":   func(p *schema.Package, s *schema.Stale) { p.SourceVersion, s.Loaded = "1:9", "3.0.11-1" },
		"epoch_of_letters": func(_ *schema.Package, s *schema.Stale) { s.Loaded = "x:3.0.11-1" },
	} {
		p, s := pkg, staleIn("", "nginx.service", 812)
		change(&p, &s)
		res := ix.Match(inventory.State{
			Release: adv.Affected[0].Release, Set: inventory.Set{Packages: []schema.Package{p}}, Stale: []schema.Stale{s},
		})
		want := map[match.Component]string{
			{Format: schema.FormatDeb, Name: "openssl"}: "libssl3 3.0.14-1~deb12u2 is installed; an older version still runs in nginx.service (812): restart",
		}
		if diff := cmp.Diff(want, res.Stale); diff != "" {
			t.Errorf("%s: stale (-want +got):\n%s", name, diff)
		}
	}
}

func TestStaleCodeOfAContainerIsNotTheHosts(t *testing.T) {
	adv, pkg := openssl()
	ix := match.NewIndex(adv.Affected[0].Release, []advisory.Advisory{adv})
	s := staleIn("", "", 812)
	s.Package, s.Arch, s.Container = "", "", strings.Repeat("ab", 32)
	res := ix.Match(inventory.State{Release: adv.Affected[0].Release, Set: inventory.Set{Packages: []schema.Package{pkg}}, Stale: []schema.Stale{s}})
	if len(res.Matches)+len(res.Stale) > 0 {
		t.Errorf("matches %+v, stale %v", res.Matches, slices.Collect(maps.Values(res.Stale)))
	}
}
