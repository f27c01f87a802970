package match_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

var (
	alma9  = inventory.Release{Distro: "almalinux", Version: "9"}
	debian = inventory.Release{Distro: "debian", Version: "12"}
)

// rpm makes a package of name, [epoch:]version-release and architecture.
func rpm(name, evr, arch string) schema.Package {
	p := splitVersion(schema.Package{Format: schema.FormatRPM, Name: name, Arch: arch, Source: name, Status: "installed"}, evr, "")
	p.SourceVersion = p.EVR()
	return p
}

// deb makes a package whose source is source at sourceVersion.
func deb(name, v, source, sourceVersion string) schema.Package {
	p := splitVersion(schema.Package{Format: schema.FormatDeb, Name: name, Arch: "amd64", Source: source, Status: "installed"}, v, "")
	p.SourceVersion = sourceVersion
	return p
}

// rows makes an advisory that names packages of alma9 with one range each.
func rpmAdvisory(id string, ranges ...advisory.Range) advisory.Advisory {
	return advisory.Advisory{ID: id, Vulnerabilities: []string{"CVE-" + id}, Affected: []advisory.Affected{{
		Release: alma9, Format: schema.FormatRPM, Kind: advisory.NameBinary, Name: "bash", Ranges: ranges,
	}}}
}

func state(r inventory.Release, pkgs ...schema.Package) inventory.State {
	return inventory.State{Release: r, Set: inventory.Set{Packages: pkgs}}
}

// said renders a result, one match a line.
func said(res match.Result) string {
	var b strings.Builder
	for _, m := range res.Matches {
		b.WriteString(strings.TrimSpace(strings.Join([]string{string(m.Verdict), m.Package.Name, m.Package.EVR(), m.Advisory.ID, "fixed=" + m.Fixed, m.Reason}, " ")) + "\n")
	}
	return b.String()
}

func check(t *testing.T, res match.Result, want ...string) {
	t.Helper()
	joined := strings.Join(want, "\n")
	if joined != "" {
		joined += "\n"
	}
	if diff := cmp.Diff(joined, said(res)); diff != "" {
		t.Errorf("matches (-want +got):\n%s", diff)
	}
}

func TestRanges(t *testing.T) {
	const unclear = "the advisory's version cannot be compared: unparseable version: rpm "
	cases := []struct {
		name   string
		ranges []advisory.Range
		exact  []string
		want   string // of bash 1.5-1, empty for nothing
	}{
		{"Before", []advisory.Range{{Introduced: "0", Fixed: "1.6-1"}}, nil, "affected bash 1.5-1 A fixed=1.6-1"},
		{"Fixed", []advisory.Range{{Introduced: "0", Fixed: "1.5-1"}}, nil, ""},
		{"After", []advisory.Range{{Introduced: "0", Fixed: "1.4-1"}}, nil, ""},
		{"EpochFixes", []advisory.Range{{Fixed: "0:1.5-1"}}, nil, ""},
		{"EpochAffects", []advisory.Range{{Fixed: "1:0.1-1"}}, nil, "affected bash 1.5-1 A fixed=1:0.1-1"},
		{"NotYetIntroduced", []advisory.Range{{Introduced: "1.6-1", Fixed: "1.7-1"}}, nil, ""},
		{"JustIntroduced", []advisory.Range{{Introduced: "1.5-1", Fixed: "1.7-1"}}, nil, "affected bash 1.5-1 A fixed=1.7-1"},
		{"NoFix", []advisory.Range{{Introduced: "0"}}, nil, "affected bash 1.5-1 A fixed="},
		{"NoFixNoStart", []advisory.Range{{}}, nil, "affected bash 1.5-1 A fixed="},
		{"LastAffected", []advisory.Range{{LastAffected: "1.5-1"}}, nil, "affected bash 1.5-1 A fixed="},
		{"AfterLastAffected", []advisory.Range{{LastAffected: "1.4-9"}}, nil, ""},
		{"SecondBranch", []advisory.Range{{Fixed: "1.2-1"}, {Introduced: "1.4-1", Fixed: "1.7-1"}}, nil, "affected bash 1.5-1 A fixed=1.7-1"},
		{"BetweenBranches", []advisory.Range{{Fixed: "1.2-1"}, {Introduced: "1.6-1", Fixed: "1.7-1"}}, nil, ""},
		{"Exact", nil, []string{"1.4-1", "1.5-1"}, "affected bash 1.5-1 A fixed="},
		{"ExactEqualNotSame", nil, []string{"0:1.05-1"}, "affected bash 1.5-1 A fixed="},
		{"ExactOther", nil, []string{"1.4-1"}, ""},
		{"ExactIgnoredWithRanges", []advisory.Range{{Fixed: "1.2-1"}}, []string{"1.5-1"}, ""},
		{"ExactUnreadable", nil, []string{"1.4-1", "what?"}, "undetermined bash 1.5-1 A fixed= " + unclear + `"what?": a character is not allowed in an rpm version`},
		{"ExactUnreadableButThere", nil, []string{"what?", "1.5-1"}, "affected bash 1.5-1 A fixed="},
		{"Nothing", nil, nil, "undetermined bash 1.5-1 A fixed= the advisory names no affected versions"},
		{"FixUnreadable", []advisory.Range{{Fixed: "<unfixed>"}}, nil, "undetermined bash 1.5-1 A fixed=<unfixed> " + unclear + `"<unfixed>": a character is not allowed in an rpm version`},
		{"StartUnreadable", []advisory.Range{{Introduced: "?", Fixed: "1.6-1"}}, nil, "undetermined bash 1.5-1 A fixed=1.6-1 " + unclear + `"?": a character is not allowed in an rpm version`},
		{"StartUnreadableFixed", []advisory.Range{{Introduced: "?", Fixed: "1.5-1"}}, nil, ""},
		{"EndUnreadableNotStarted", []advisory.Range{{Introduced: "1.6-1", Fixed: "?"}}, nil, ""},
		{"LastUnreadable", []advisory.Range{{LastAffected: "?"}}, nil, "undetermined bash 1.5-1 A fixed= " + unclear + `"?": a character is not allowed in an rpm version`},
		{"OtherRangeSettles", []advisory.Range{{Fixed: "?"}, {Fixed: "2-1"}}, nil, "affected bash 1.5-1 A fixed=2-1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := rpmAdvisory("A", c.ranges...)
			a.Affected[0].Versions = c.exact
			var want []string
			if c.want != "" {
				want = append(want, c.want)
			}
			check(t, match.NewIndex(alma9, []advisory.Advisory{a}).Match(state(alma9, rpm("bash", "1.5-1", "x86_64"))), want...)
		})
	}
}

func TestUnreadableInstalledVersionIsUndetermined(t *testing.T) {
	p := rpm("bash", "1.5-1", "x86_64")
	p.Release = "1 el9"
	a, b := rpmAdvisory("A", advisory.Range{Fixed: "0.1-1"}), rpmAdvisory("B", advisory.Range{Fixed: "9-1"})
	check(t, match.NewIndex(alma9, []advisory.Advisory{b, a}).Match(state(alma9, p)),
		`undetermined bash 1.5-1 el9 A fixed=0.1-1 installed version cannot be compared: rpm "1.5-1 el9": a character is not allowed in an rpm version`,
		`undetermined bash 1.5-1 el9 B fixed=9-1 installed version cannot be compared: rpm "1.5-1 el9": a character is not allowed in an rpm version`)
}

func TestMissingSourceVersionIsUndetermined(t *testing.T) {
	p := deb("libssl3", "3.0.15-1", "openssl", "")
	check(t, match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "openssl", "3.0.16-1")}).Match(state(debian, p)),
		"undetermined libssl3 3.0.15-1 D fixed=3.0.16-1 installed version cannot be compared: the version of its source is not recorded")
}

func debAdvisory(id, source, fixed string) advisory.Advisory {
	return advisory.Advisory{ID: id, Vulnerabilities: []string{"CVE-" + id}, Affected: []advisory.Affected{{
		Release: debian, Format: schema.FormatDeb, Kind: advisory.NameSource, Name: source, Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
	}}}
}

// A deb advisory names the source, whose version may have another epoch than the binary's.
func TestDebComparesTheSourceVersion(t *testing.T) {
	ix := match.NewIndex(debian, []advisory.Advisory{debAdvisory("D", "lvm2", "2.03.16-3"), debAdvisory("E", "dmsetup", "9")})
	check(t, ix.Match(state(debian, deb("dmsetup", "2:1.02.185-2", "lvm2", "2.03.16-2"), deb("liblvm2cmd2.03", "2.03.16-3", "lvm2", "2.03.16-3"))),
		"affected dmsetup 2:1.02.185-2 D fixed=2.03.16-3")
}

func TestOtherReleasesAndFormatsDoNotCount(t *testing.T) {
	a := rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
	b := rpmAdvisory("B", advisory.Range{Fixed: "9-1"})
	b.Affected[0].Release.Version = "8"
	c := rpmAdvisory("C", advisory.Range{Fixed: "9-1"})
	c.Affected[0].Format = schema.FormatDeb
	res := match.NewIndex(alma9, []advisory.Advisory{c, b, a}).Match(state(alma9, rpm("bash", "1-1", "x86_64")))
	check(t, res, "affected bash 1-1 A fixed=9-1")
	if !res.Covered {
		t.Error("got uncovered")
	}
}

func TestUncovered(t *testing.T) {
	withdrawn := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	gone := rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
	gone.Withdrawn = &withdrawn
	for name, advs := range map[string][]advisory.Advisory{"Nothing": nil, "Withdrawn": {gone}, "OtherRelease": {debAdvisory("D", "bash", "9")}} {
		t.Run(name, func(t *testing.T) {
			ix := match.NewIndex(alma9, advs)
			res := ix.Match(state(alma9, rpm("bash", "1-1", "x86_64")))
			check(t, res)
			if res.Covered || !res.Unjudged(schema.FormatRPM, "bash") || ix.Release() != alma9 {
				t.Errorf("got %+v of %v, want uncovered", res, ix.Release())
			}
		})
	}
}

func TestLivePatchRowsAreNoFix(t *testing.T) {
	a := rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
	a.Affected[0].LivePatch = true
	res := match.NewIndex(alma9, []advisory.Advisory{a}).Match(state(alma9, rpm("bash", "1-1", "x86_64")))
	check(t, res)
	if res.Covered {
		t.Error("a live patch covers no release")
	}
}

func TestOneMatchForAnAdvisoryInSeveralFeeds(t *testing.T) {
	a, b := rpmAdvisory("A", advisory.Range{Fixed: "9-1"}), rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
	a.Feed, b.Feed = "osv:AlmaLinux:8", "osv:AlmaLinux:9"
	b.Modified = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	res := match.NewIndex(alma9, []advisory.Advisory{a, b}).Match(state(alma9, rpm("bash", "1-1", "x86_64")))
	check(t, res, "affected bash 1-1 A fixed=9-1")
	if got := res.Matches[0].Advisory.Feed; got != b.Feed {
		t.Errorf("feed: got %s, want the newest copy's, %s", got, b.Feed)
	}
	b.Withdrawn = &b.Modified
	check(t, match.NewIndex(alma9, []advisory.Advisory{a, b}).Match(state(alma9, rpm("bash", "1-1", "x86_64"))))
	a.Modified = b.Modified.Add(time.Hour)
	check(t, match.NewIndex(alma9, []advisory.Advisory{a, b}).Match(state(alma9, rpm("bash", "1-1", "x86_64"))), "affected bash 1-1 A fixed=9-1")
}

// One advisory may list the same package's builds for several minor releases.
func TestBuildsForSeveralMinorReleases(t *testing.T) {
	a := rpmAdvisory("A", advisory.Range{Fixed: "1-1.el9_1"})
	for _, fixed := range []string{"1-1.el9_3", "1-1.el9_2"} {
		row := a.Affected[0]
		row.Ranges = []advisory.Range{{Introduced: "0", Fixed: fixed}}
		a.Affected = append(a.Affected, row)
	}
	ix := match.NewIndex(alma9, []advisory.Advisory{a})
	check(t, ix.Match(state(alma9, rpm("bash", "1-0", "x86_64"))), "affected bash 1-0 A fixed=1-1.el9_3")
	check(t, ix.Match(state(alma9, rpm("bash", "1-1.el9_1.5", "x86_64"))), "affected bash 1-1.el9_1.5 A fixed=1-1.el9_3")
	check(t, ix.Match(state(alma9, rpm("bash", "1-1.el9_2", "x86_64")))) // the very build the advisory brought
	check(t, ix.Match(state(alma9, rpm("bash", "1-1.el9_3", "x86_64"))))
	// With one range open, nothing fixes it.
	open := a.Affected[0]
	open.Ranges = []advisory.Range{{Introduced: "0"}}
	a.Affected = append(a.Affected, open)
	check(t, match.NewIndex(alma9, []advisory.Advisory{a}).Match(state(alma9, rpm("bash", "1-1.el9_2", "x86_64"))), "affected bash 1-1.el9_2 A fixed=")
}

func TestArchitectures(t *testing.T) {
	cases := []struct {
		listed    []string
		installed string
		want      bool
	}{
		{nil, "x86_64", true},
		{[]string{"x86_64"}, "x86_64", true},
		{[]string{"x86_64"}, "aarch64", false},
		{[]string{"aarch64", "x86_64"}, "aarch64", true},
		{[]string{"x86_64"}, "amd64", true},
		{[]string{"x86_64"}, "i686", false},
		{[]string{"i686"}, "i386", true},
		{[]string{"noarch"}, "x86_64", true},
		{[]string{"x86_64"}, "noarch", true},
		{[]string{"x86_64"}, "", true},
		{[]string{"src"}, "x86_64", false},
		{[]string{"src"}, "noarch", false},
		{[]string{"src", "x86_64"}, "noarch", true},
	}
	for _, c := range cases {
		a := rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
		a.Affected[0].Arch = c.listed
		res := match.NewIndex(alma9, []advisory.Advisory{a}).Match(state(alma9, rpm("bash", "1-1", c.installed)))
		if got := len(res.Matches) == 1; got != c.want {
			t.Errorf("listed %v, installed %q: got %v, want %v", c.listed, c.installed, got, c.want)
		}
	}
}

func TestModules(t *testing.T) {
	const (
		plain   = "1.0-1.el9"
		build   = "1.0-1.module_el9.2.0+1+abc"
		unknown = "undetermined bash " + build + " A fixed=9-1 bash is of a module whose stream is not recorded; the advisory speaks of "
	)
	cases := []struct {
		name, row, label, evr string
		want                  string
	}{
		{"PlainPlain", "", "", plain, "affected bash " + plain + " A fixed=9-1"},
		{"PlainRowModularPackage", "", "nodejs:18:9020:abc", build, ""},
		{"PlainRowUnlabelledModuleBuild", "", "", build, ""},
		{"StreamRowPlainPackage", "nodejs:18", "", plain, ""},
		{"SameStream", "nodejs:18", "nodejs:18:9020:abc", build, "affected bash " + build + " A fixed=9-1"},
		{"ShortLabel", "nodejs:18", "nodejs:18", build, "affected bash " + build + " A fixed=9-1"},
		{"OtherStream", "nodejs:18", "nodejs:16:9020:abc", build, ""},
		{"OtherModule", "nodejs:18", "ruby:18:9020:abc", build, ""},
		{"StreamPrefix", "nodejs:1", "nodejs:18:9020:abc", build, ""},
		{"SeveralStreams", "virt:rhel virt-devel:rhel", "virt-devel:rhel:8:x", build, "affected bash " + build + " A fixed=9-1"},
		{"NotOneOfSeveral", "virt:rhel virt-devel:rhel", "virt:av:8:x", build, ""},
		{"AnyStream", "*", "nodejs:16:9020:abc", build, "affected bash " + build + " A fixed=9-1"},
		{"AnyStreamUnlabelled", "*", "", build, "affected bash " + build + " A fixed=9-1"},
		{"AnyStreamPlain", "*", "", plain, ""},
		{"StreamUnknown", "nodejs:18", "", build, unknown + "nodejs:18"},
		{"LabelBroken", "nodejs:18", "nodejs", build, unknown + "nodejs:18"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := rpmAdvisory("A", advisory.Range{Fixed: "9-1"})
			a.Affected[0].Module = c.row
			p := rpm("bash", c.evr, "x86_64")
			p.Module = c.label
			var want []string
			if c.want != "" {
				want = append(want, c.want)
			}
			check(t, match.NewIndex(alma9, []advisory.Advisory{a}).Match(state(alma9, p)), want...)
		})
	}
}

// A publisher may name the binary in one row and its source in another of one advisory.
func TestBinaryAndSourceRowsAreOneMatch(t *testing.T) {
	a := debAdvisory("A", "openssl", "3.0.14-1")
	a.Affected = append(a.Affected, advisory.Affected{
		Release: debian, Format: schema.FormatDeb, Kind: advisory.NameBinary, Name: "libssl3", Ranges: []advisory.Range{{Fixed: "3.0.16-1"}},
	})
	b := debAdvisory("B", "openssl", "3.0.16-1")
	check(t, match.NewIndex(debian, []advisory.Advisory{b, a}).Match(state(debian, deb("libssl3", "3.0.15-1", "openssl", "3.0.15-1"))),
		"affected libssl3 3.0.15-1 A fixed=3.0.16-1", "affected libssl3 3.0.15-1 B fixed=3.0.16-1")
}
