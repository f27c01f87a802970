package match_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

var versions = []string{"1-1", "1-2", "1:0-1", "2~rc1-1", "2-1", "?", "2-1.module_el9+1"}

func drawPackage(t *rapid.T) schema.Package {
	p := rpm(rapid.SampledFrom([]string{"bash", "zlib", "kernel-core", "kernel-headers"}).Draw(t, "name"),
		rapid.SampledFrom(versions).Draw(t, "version"), rapid.SampledFrom([]string{"x86_64", "i686", "noarch"}).Draw(t, "arch"))
	p.Module = rapid.SampledFrom([]string{"", "", "m:1:2:3"}).Draw(t, "module")
	p.Source = rapid.SampledFrom([]string{p.Name, "src"}).Draw(t, "source")
	return p
}

func drawAdvisory(t *rapid.T, id string) advisory.Advisory {
	a := advisory.Advisory{ID: id, Vulnerabilities: []string{"CVE-" + id}}
	v := rapid.SampledFrom(append([]string{""}, versions...))
	for range rapid.IntRange(1, 3).Draw(t, "rows") {
		a.Affected = append(a.Affected, advisory.Affected{
			Release: alma9, Format: schema.FormatRPM, Kind: rapid.SampledFrom([]advisory.NameKind{advisory.NameBinary, advisory.NameSource}).Draw(t, "kind"),
			Name:   rapid.SampledFrom([]string{"bash", "kernel-core", "kernel-headers", "src"}).Draw(t, "name"),
			Arch:   rapid.SampledFrom([][]string{nil, {"x86_64"}, {"src", "noarch"}}).Draw(t, "arch"),
			Module: rapid.SampledFrom([]string{"", "", "*", "m:1", "m:2"}).Draw(t, "module"),
			Ranges: []advisory.Range{{Introduced: v.Draw(t, "introduced"), Fixed: v.Draw(t, "fixed"), LastAffected: v.Draw(t, "last")}},
		})
	}
	return a
}

// TestOrderOfInputDoesNotMatter permutes packages, advisories, and the rows within one.
func TestOrderOfInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pkgs []schema.Package
		for range rapid.IntRange(0, 8).Draw(t, "packages") {
			pkgs = append(pkgs, drawPackage(t))
		}
		var advs []advisory.Advisory
		for _, id := range []string{"A", "B", "C", "D"}[:rapid.IntRange(0, 4).Draw(t, "advisories")] {
			advs = append(advs, drawAdvisory(t, id))
		}
		kernel := inventory.Kernel{Release: rapid.SampledFrom([]string{"", "1-1.x86_64", "2-1.x86_64", "other"}).Draw(t, "kernel")}
		run := func(pkgs []schema.Package, advs []advisory.Advisory) match.Result {
			return match.NewIndex(alma9, advs).Match(inventory.State{Release: alma9, Kernel: kernel, Set: inventory.Set{Packages: pkgs}})
		}
		first := run(pkgs, advs)
		shuffled := rapid.Permutation(advs).Draw(t, "advisories shuffled")
		for i := range shuffled {
			shuffled[i].Affected = rapid.Permutation(shuffled[i].Affected).Draw(t, "rows shuffled")
		}
		second := run(rapid.Permutation(pkgs).Draw(t, "packages shuffled"), shuffled)
		if diff := cmp.Diff(said(first), said(second)); diff != "" {
			t.Errorf("order mattered (-first +second):\n%s", diff)
		}
		checkLaws(t, first, pkgs)
	})
}

// checkLaws holds what is true of every result.
func checkLaws(t *rapid.T, res match.Result, pkgs []schema.Package) {
	type pair struct {
		pkg *schema.Package
		adv string
	}
	seen := map[pair]bool{}
	for _, m := range res.Matches {
		p := pair{m.Package, m.Advisory.ID}
		if seen[p] {
			t.Errorf("%s %s: two matches", m.Package.Name, m.Advisory.ID)
		}
		seen[p] = true
		if (m.Verdict == match.Affected) != (m.Reason == "") {
			t.Errorf("%s %s: %s with reason %q", m.Package.Name, m.Advisory.ID, m.Verdict, m.Reason)
		}
		if !slices.ContainsFunc(pkgs, func(x schema.Package) bool { return cmp.Equal(x, *m.Package) }) {
			t.Errorf("%s: not one of the packages", m.Package.Name)
		}
	}
}
